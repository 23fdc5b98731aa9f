/* Answers, step 2: tokens to a tree, by precedence climbing. From loose to tight: commas and connectors, relations, set
 * operations, sums, products (written or implied), signs, powers, what stands behind (factorial, percent, degrees). */
#include "task/answer.h"

#include <stdarg.h>
#include <string.h>

typedef struct parser {
    dt_ans *c;
    const dt_token *t;
    size_t i;
    bool semicolon; /* the last separator had one */
    int depth, bars, braces_set; /* open |, and open sets (there a colon separates) */
    dt_token rest;               /* the digits of a split number that remain; kind T_NUM while there are some */
    dt_token now;
} parser;

dt_node *dt_ans_node(dt_ans *c, dt_node_kind kind, int n, ...) {
    dt_node *x = dt_ans_alloc(c, 1, sizeof *x);
    if (!x) return NULL;
    x->kind = kind;
    x->n = n;
    if (!n) return x;
    x->kid = dt_ans_alloc(c, (size_t)n, sizeof *x->kid);
    if (!x->kid) return NULL;
    va_list ap;
    va_start(ap, n);
    for (int i = 0; i < n; i++) {
        x->kid[i] = va_arg(ap, dt_node *);
        if (!x->kid[i]) x = NULL;
        if (!x) break;
    }
    va_end(ap);
    return x;
}

static dt_node *fail(parser *p, const char *why) {
    dt_ans_stop(p->c, why);
    return NULL;
}

static const dt_token *peek(const parser *p) { return p->rest.kind == T_NUM ? &p->rest : &p->t[p->i]; }
static const dt_token *peek2(const parser *p) { return p->rest.kind == T_NUM || p->t[p->i].kind == T_END ? &p->t[p->i] : &p->t[p->i + 1]; }
static bool at(const parser *p, dt_tok_kind k) { return peek(p)->kind == k; }

static dt_token next(parser *p) {
    if (p->rest.kind == T_NUM) {
        p->rest.kind = T_END;
        return p->rest.s ? (dt_token){.kind = T_NUM, .s = p->rest.s, .n = p->rest.n, .scale = p->rest.scale, .repeat = p->rest.repeat, .exp10 = p->rest.exp10} : p->rest;
    }
    dt_token t = p->t[p->i];
    if (t.kind != T_END) p->i++;
    return t;
}

static bool named_so(const dt_token *t, const char *name) { return t->n == strlen(name) && !memcmp(t->s, name, t->n); }

static bool accept(parser *p, dt_tok_kind k) {
    if (!at(p, k)) return false;
    next(p);
    return true;
}

static dt_node *num_node(parser *p, const dt_token *t) {
    dt_node *x = dt_ans_node(p->c, N_NUM, 0);
    if (!x) return NULL;
    x->s = t->s;
    x->sn = t->n;
    x->scale = t->scale;
    x->repeat = t->repeat;
    x->exp10 = t->exp10;
    return x;
}

static dt_node *named(parser *p, dt_node_kind kind, const char *s, size_t n) {
    dt_node *x = dt_ans_node(p->c, kind, 0);
    if (!x) return NULL;
    x->s = s;
    x->sn = n;
    return x;
}

static dt_node *with_name(dt_node *x, const char *s) {
    if (!x) return NULL;
    x->s = s;
    x->sn = strlen(s);
    return x;
}

static dt_node *func(parser *p, dt_fn fn, dt_node *arg) {
    dt_node *x = dt_ans_node(p->c, N_FUNC, 1, arg);
    if (x) x->fn = fn;
    return x;
}

static dt_node *func2(parser *p, dt_fn fn, dt_node *a, dt_node *b) {
    dt_node *x = dt_ans_node(p->c, N_FUNC, 2, a, b);
    if (x) x->fn = fn;
    return x;
}

/* A growing list of kids. */
typedef struct kids {
    dt_node **v;
    int n, cap;
} kids;

static bool add_kid(parser *p, kids *k, dt_node *x) {
    if (!x) return false;
    if (k->n == k->cap) {
        int cap = k->cap ? 2 * k->cap : 4;
        dt_node **v = dt_ans_alloc(p->c, (size_t)cap, sizeof *v);
        if (!v) return false;
        if (k->n) memcpy(v, k->v, (size_t)k->n * sizeof *v);
        k->v = v;
        k->cap = cap;
    }
    k->v[k->n++] = x;
    return true;
}

static dt_node *of_kids(parser *p, dt_node_kind kind, const kids *k) {
    dt_node *x = dt_ans_node(p->c, kind, 0);
    if (!x) return NULL;
    x->kid = k->v;
    x->n = k->n;
    return x;
}

static dt_node *parse_list(parser *p);
static dt_node *parse_primary(parser *p);
static dt_node *parse_relation(parser *p);
static dt_node *parse_sum(parser *p);
static dt_node *parse_power(parser *p);
static dt_node *parse_product(parser *p);

/* One argument of a command: a braced group, or one token, of a number only its first digit. */
static dt_node *argument(parser *p) {
    const dt_token *t = peek(p);
    if (t->kind == T_LBRACE) {
        next(p);
        dt_node *x = parse_list(p);
        if (!x) return NULL;
        return accept(p, T_RBRACE) ? x : fail(p, "a brace is not closed");
    }
    if (t->kind == T_NUM) {
        dt_token all = next(p), first = all;
        first.n = 1;
        first.scale = first.repeat = 0;
        first.exp10 = 0;
        if (all.scale == (int)all.n) return num_node(p, &all); /* .5 */
        if (all.n > 1) {
            p->rest = all;
            p->rest.s++;
            p->rest.n--;
            p->rest.space = false;
        } else if (all.exp10) {
            return num_node(p, &all);
        }
        return num_node(p, &first);
    }
    if (t->kind == T_SYM || t->kind == T_TEXT) {
        dt_token s = next(p);
        return named(p, s.kind == T_SYM ? N_SYM : N_TEXT, s.s, s.n);
    }
    if (t->kind == T_INF) {
        next(p);
        return dt_ans_node(p->c, N_INF, 0);
    }
    return parse_power(p);
}

/* Behind ^: a group, a number read whole (people type 3^10), a sign and one of them. */
static dt_node *exponent(parser *p) {
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    dt_node *x = NULL;
    if (accept(p, T_MINUS))
        x = dt_ans_node(p->c, N_NEG, 1, exponent(p));
    else if (accept(p, T_PLUS))
        x = exponent(p);
    else if (at(p, T_NUM)) {
        dt_token t = next(p);
        x = num_node(p, &t);
    } else if (at(p, T_LBRACE))
        x = argument(p);
    else if (at(p, T_MUL)) { /* z^* */
        next(p);
        x = named(p, N_SYM, "*", 1);
    } else
        x = parse_power(p);
    p->depth--;
    return x;
}

static bool starts_operand(const parser *p) {
    switch (peek(p)->kind) {
    case T_NUM: case T_SYM: case T_FUNC: case T_INF: case T_LPAR: case T_LBRACE: case T_LSET: case T_LFLOOR: case T_LCEIL:
    case T_FRAC: case T_SQRT: case T_BINOM: case T_BEGIN: case T_BIG: case T_ACCENT: case T_LANGLE: case T_EMPTY: return true;
    case T_LBRACK: /* ]1, 2[ ends here */
        switch (peek2(p)->kind) {
        case T_END: case T_CUP: case T_CAP: case T_RPAR: case T_RSET: case T_RBRACE: case T_COMMA: return false;
        default: return true;
        }
    case T_BAR: case T_DBAR: return p->bars == 0;
    default: return false;
    }
}

/* The argument of sin, ln, ... without brackets: an implied product up to the next function, bracket or sign. */
static dt_node *bare_argument(parser *p) {
    if (accept(p, T_MINUS)) return dt_ans_node(p->c, N_NEG, 1, bare_argument(p));
    kids k = {0};
    while (k.n < DT_ANS_MAX_ITEMS) {
        if (k.n && !(at(p, T_NUM) || at(p, T_SYM) || at(p, T_FRAC) || at(p, T_SQRT) || at(p, T_LBRACE))) break;
        if (!add_kid(p, &k, parse_power(p))) return NULL;
    }
    return k.n == 1 ? k.v[0] : of_kids(p, N_MUL, &k);
}

static dt_node *parse_function(parser *p) {
    dt_fn fn = (dt_fn)next(p).id;
    dt_node *power = NULL, *base = NULL, *x = NULL;
    for (int k = 0; k < 2; k++) {
        if (!power && accept(p, T_POW) && !(power = exponent(p))) return NULL;
        if (!base && accept(p, T_SUB)) {
            if (at(p, T_NUM) && peek(p)->n == 2 && !memcmp(peek(p)->s, "10", 2)) {
                dt_token t = next(p);
                base = num_node(p, &t);
            } else {
                bool split = at(p, T_NUM) && !peek2(p)->space && peek2(p)->kind == T_NUM;
                if (at(p, T_NUM) && !split) { /* \log_28 is log_2 8, \log_{16} 2 is not; log_12(5) has its argument */
                    const dt_token *after = peek2(p);
                    if (after->kind == T_LPAR || after->kind == T_LBRACE || after->space) {
                        dt_token t = next(p);
                        base = num_node(p, &t);
                    }
                }
                if (!base) base = argument(p);
            }
            if (!base) return NULL;
        }
    }
    if (fn == F_SQRT && accept(p, T_LBRACK)) {
        base = parse_sum(p);
        if (!base || !accept(p, T_RBRACK)) return fail(p, "a bracket is not closed");
    }
    if (power && power->kind == N_NEG && power->kid[0]->kind == N_NUM && power->kid[0]->sn == 1 && power->kid[0]->s[0] == '1' && fn <= F_CSC) {
        fn = (dt_fn)(fn == F_SIN ? F_ASIN : fn == F_COS ? F_ACOS : fn == F_TAN ? F_ATAN : fn == F_COT ? F_ACOT : fn == F_SEC ? F_ASEC : F_ACSC);
        power = NULL;
    }
    if (at(p, T_LPAR)) {
        next(p);
        if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
        int bars = p->bars;
        p->bars = 0;
        dt_node *in = parse_list(p);
        p->bars = bars;
        p->depth--;
        if (!in || !accept(p, T_RPAR)) return fail(p, "a bracket is not closed");
        if (in->kind == N_LIST) {
            x = dt_ans_node(p->c, N_FUNC, 0);
            if (!x) return NULL;
            x->fn = fn;
            x->n = in->n;
            x->kid = in->kid;
            if (fn == F_LOG && in->n != 2) return fail(p, "log wants one or two arguments");
            if (fn == F_BINOM && in->n != 2) return fail(p, "a binomial wants two arguments");
            if (fn != F_LOG && fn != F_MAX && fn != F_MIN && fn != F_GCD && fn != F_LCM && fn != F_BINOM) return fail(p, "a function of one argument has several");
        } else {
            if (fn == F_BINOM) return fail(p, "a binomial wants two arguments");
            in->paren = false;
            x = func(p, fn, in);
        }
    } else if (fn == F_BINOM) { /* binom{5}{2} without its backslash */
        dt_node *n = argument(p), *k = n ? argument(p) : NULL;
        x = k ? func2(p, fn, n, k) : NULL;
    } else {
        dt_node *in = bare_argument(p);
        if (!in) return NULL;
        x = func(p, fn, in);
    }
    if (x && fn == F_SQRT && x->n == 1) x = base ? dt_ans_node(p->c, N_ROOT, 2, x->kid[0], base) : dt_ans_node(p->c, N_ROOT, 2, x->kid[0], num_node(p, &(dt_token){.kind = T_NUM, .s = "2", .n = 1}));
    else if (x && base && fn != F_BINOM) x = func2(p, fn, x->kid[0], base);
    return x && power ? dt_ans_node(p->c, N_POW, 2, x, power) : x;
}

static dt_node *parse_sqrt(parser *p) {
    dt_token two = {.kind = T_NUM, .s = "2", .n = 1};
    dt_node *index = NULL;
    next(p);
    if (accept(p, T_LBRACK)) {
        index = parse_sum(p);
        if (!index || !accept(p, T_RBRACK)) return fail(p, "a bracket is not closed");
    }
    if (!index) index = num_node(p, &two);
    dt_node *x = at(p, T_LPAR) ? parse_power(p) : argument(p);
    return x ? dt_ans_node(p->c, N_ROOT, 2, x, index) : NULL;
}

static bool env_is(const dt_token *t, const char *name) { return t->n >= strlen(name) && strstr(t->s, name) && strstr(t->s, name) < t->s + t->n; }

static dt_node *parse_env(parser *p) {
    dt_token open = next(p);
    kids k = {0};
    int rows = 0, cols = -1, in_row = 0;
    bool matrix = env_is(&open, "matrix") || env_is(&open, "array");
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    int bars = p->bars;
    p->bars = 0;
    for (;;) {
        if (at(p, T_ENDENV) && !in_row) break; /* an empty last row */
        if (!add_kid(p, &k, matrix ? parse_relation(p) : parse_list(p))) return NULL;
        in_row++;
        if (accept(p, T_AMP)) continue;
        rows++;
        if (cols >= 0 && cols != in_row && matrix) return fail(p, "rows of different lengths in a matrix");
        cols = in_row;
        in_row = 0;
        if (accept(p, T_ROW)) continue;
        break;
    }
    p->bars = bars;
    p->depth--;
    if (!accept(p, T_ENDENV)) return fail(p, "an environment is not closed");
    if (!k.n) return fail(p, "an empty environment");
    if (!matrix) {
        dt_node *x = k.n == 1 ? k.v[0] : with_name(of_kids(p, env_is(&open, "cases") ? N_OPAQUE : N_LIST, &k), env_is(&open, "cases") ? "cases" : ",");
        return x;
    }
    dt_node *x = of_kids(p, N_MATRIX, &k);
    if (x) x->rows = rows;
    return x && env_is(&open, "vmatrix") ? func(p, F_DET, x) : x;
}

/* ( ... ), [ ... ), ] ... [ : a group, a tuple or an interval. */
static dt_node *parse_bracket(parser *p) {
    dt_token open = next(p);
    bool outward = open.kind == T_RBRACK; /* ]a,b[ */
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    int bars = p->bars, sets = p->braces_set;
    p->bars = p->braces_set = 0;
    if (open.kind == T_LPAR && accept(p, T_RPAR)) {
        p->depth--;
        p->bars = bars;
        return with_name(dt_ans_node(p->c, N_TUPLE, 0), "()");
    }
    dt_node *in = parse_list(p);
    p->bars = bars;
    p->braces_set = sets;
    p->depth--;
    if (!in) return NULL;
    dt_token close = next(p);
    bool ok = open.kind == T_LANGLE ? close.kind == T_RANGLE : close.kind == T_RPAR || close.kind == T_RBRACK || (close.kind == T_LBRACK && (outward || open.kind == T_LBRACK));
    if (!ok) return fail(p, "a bracket is not closed");
    if (in->kind == N_LIST && !in->paren && in->s[0] == ',') {
        char *b = dt_ans_alloc(p->c, 3, 1);
        dt_node *x = dt_ans_node(p->c, N_TUPLE, 0);
        if (!b || !x) return NULL;
        b[0] = open.kind == T_LBRACK ? '[' : '(';
        b[1] = close.kind == T_RBRACK ? ']' : ')';
        x->s = b;
        x->sn = 2;
        x->n = in->n;
        x->kid = in->kid;
        return x;
    }
    if (open.kind == T_LANGLE) return with_name(dt_ans_node(p->c, N_TUPLE, 1, in), "()");
    if ((open.kind == T_LPAR) != (close.kind == T_RPAR) || outward) return fail(p, "brackets that do not go together");
    in->paren = true;
    return in;
}

/* { ... } without backslashes: a group; with a list in it, a set as people type it. */
static dt_node *parse_brace(parser *p) {
    next(p);
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    int bars = p->bars;
    p->bars = 0;
    dt_node *x = NULL, *n = NULL;
    if (accept(p, T_RBRACE)) {
        p->bars = bars;
        p->depth--;
        return starts_operand(p) ? parse_power(p) : fail(p, "an empty group");
    }
    x = parse_list(p);
    if (x && accept(p, T_CHOOSE)) {
        n = parse_list(p);
        x = func2(p, F_BINOM, x, n);
    } else if (x && accept(p, T_OVER)) {
        n = parse_list(p);
        x = n ? dt_ans_node(p->c, N_DIV, 2, x, n) : NULL;
    }
    p->bars = bars;
    p->depth--;
    if (!x || !accept(p, T_RBRACE)) return fail(p, "a brace is not closed");
    if (x->kind == N_LIST) x->kind = N_SET;
    return x;
}

static dt_node *parse_set(parser *p) {
    next(p);
    if (accept(p, T_RSET)) return dt_ans_node(p->c, N_EMPTY, 0);
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    int bars = p->bars;
    p->bars = 1; /* a bar ends the pattern */
    p->braces_set++;
    dt_node *x = parse_list(p), *cond = NULL;
    if (x && (at(p, T_BAR) || at(p, T_MID) || at(p, T_COLON))) {
        next(p);
        p->bars = 0;
        cond = parse_list(p);
        x = cond ? dt_ans_node(p->c, N_BUILD, 2, x, cond) : NULL;
    }
    p->bars = bars;
    p->braces_set--;
    p->depth--;
    if (!x || !accept(p, T_RSET)) return fail(p, "a set is not closed");
    if (cond) return x;
    if (x->kind == N_LIST && !x->paren) {
        x->kind = N_SET;
        return x;
    }
    return dt_ans_node(p->c, N_SET, 1, x);
}

static dt_node *parse_abs(parser *p) {
    dt_tok_kind bar = next(p).kind;
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    p->bars++;
    dt_node *x = parse_sum(p);
    p->bars--;
    p->depth--;
    if (!x || !accept(p, bar)) return fail(p, "a bar is not closed");
    return func(p, F_ABS, x);
}

static dt_node *parse_rounding(parser *p) {
    bool floor = next(p).kind == T_LFLOOR;
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    dt_node *x = parse_sum(p);
    p->depth--;
    if (!x || !accept(p, floor ? T_RFLOOR : T_RCEIL)) return fail(p, "a bracket is not closed");
    return func(p, floor ? F_FLOOR : F_CEIL, x);
}

/* \sum_{k=0}^{n} body and its kin; the body is a product. */
static dt_node *parse_big(parser *p) {
    dt_token t = next(p);
    dt_node *lo = NULL, *hi = NULL;
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    for (int k = 0; k < 2; k++) {
        if (!lo && accept(p, T_SUB) && !(lo = argument(p))) return NULL;
        if (!hi && accept(p, T_POW) && !(hi = exponent(p))) return NULL;
    }
    dt_node *none = named(p, N_SYM, "?", 1), *body = parse_product(p);
    p->depth--;
    if (!body || !none) return NULL;
    dt_node *x = dt_ans_node(p->c, N_BIG, 3, lo ? lo : none, hi ? hi : none, body);
    if (!x) return NULL;
    x->s = t.s;
    x->sn = t.n;
    return x;
}

static dt_node *opaque(parser *p, const char *name, dt_node *in) { return with_name(in ? dt_ans_node(p->c, N_OPAQUE, 1, in) : NULL, name); }

static dt_node *parse_primary(parser *p) {
    dt_token t = *peek(p);
    dt_node *x = NULL;
    switch (t.kind) {
    case T_NUM:
        next(p);
        if (accept(p, T_DOTS)) { /* 0.333... : the last digits are taken to go on, which only rounding may use */
            x = num_node(p, &t);
            return x;
        }
        if (at(p, T_SUB) && !t.scale) { /* 204_5: digits in a base */
            next(p);
            dt_node *base = argument(p);
            x = base ? dt_ans_node(p->c, N_BASE, 1, base) : NULL;
            if (x) x->s = t.s, x->sn = t.n;
            return x;
        }
        x = num_node(p, &t);
        if (x && !t.scale && at(p, T_FRAC)) { /* 3\frac{1}{2}: a mixed number */
            dt_node *f = parse_primary(p); /* what stands behind goes with all of it: 33\frac13\% */
            if (!f) return NULL;
            bool plain = f->kind == N_DIV && f->kid[0]->kind == N_NUM && f->kid[1]->kind == N_NUM && !f->kid[0]->scale && !f->kid[1]->scale;
            return dt_ans_node(p->c, plain ? N_ADD : N_MUL, 2, x, f);
        }
        if (x && !t.scale && at(p, T_NUM) && peek(p)->space && !peek(p)->scale && peek2(p)->kind == T_DIV) { /* 3 1/2 */
            dt_token a = next(p);
            next(p);
            if (!at(p, T_NUM)) return fail(p, "two numbers side by side");
            dt_token b = next(p);
            return dt_ans_node(p->c, N_ADD, 2, x, dt_ans_node(p->c, N_DIV, 2, num_node(p, &a), num_node(p, &b)));
        }
        return x;
    case T_SYM:
        next(p);
        if (named_so(&t, "\\angle") || named_so(&t, "\\triangle")) return opaque(p, "figure", parse_power(p));
        return named(p, N_SYM, t.s, t.n);
    case T_TEXT: next(p); return named(p, N_TEXT, t.s, t.n);
    case T_INF: next(p); return dt_ans_node(p->c, N_INF, 0);
    case T_EMPTY: next(p); return dt_ans_node(p->c, N_EMPTY, 0);
    case T_DOTS: next(p); return named(p, N_SYM, "...", 3);
    case T_FUNC: return parse_function(p);
    case T_SQRT: return parse_sqrt(p);
    case T_FRAC: {
        next(p);
        dt_node *a = argument(p), *b = a ? argument(p) : NULL;
        return b ? dt_ans_node(p->c, N_DIV, 2, a, b) : NULL;
    }
    case T_BINOM: {
        next(p);
        dt_node *a = argument(p), *b = a ? argument(p) : NULL;
        return b ? func2(p, F_BINOM, a, b) : NULL;
    }
    case T_ACCENT:
        next(p);
        return opaque(p, t.s, argument(p));
    case T_LPAR: case T_LBRACK: case T_RBRACK: case T_LANGLE: return parse_bracket(p);
    case T_LBRACE: return parse_brace(p);
    case T_LSET: return parse_set(p);
    case T_BAR: case T_DBAR: return parse_abs(p);
    case T_LFLOOR: case T_LCEIL: return parse_rounding(p);
    case T_BEGIN: return parse_env(p);
    case T_BIG: return parse_big(p);
    case T_CUR: {
        next(p);
        dt_node *in = parse_product(p);
        x = in ? dt_ans_node(p->c, N_UNIT, 1, in) : NULL;
        if (x) x->s = t.s, x->sn = t.n;
        return x;
    }
    case T_END: return fail(p, "an operand is missing at the end");
    default: return fail(p, "an operand is missing");
    }
}

/* {\circ} or {\prime} */
static bool mark_group(const parser *p, dt_tok_kind mark) { return at(p, T_LBRACE) && p->rest.kind != T_NUM && p->t[p->i + 1].kind == mark && p->t[p->i + 2].kind == T_RBRACE; }

/* A primary with what stands behind it: powers, subscripts, primes, !, %, degrees. */
static dt_node *parse_power(parser *p) {
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    dt_node *x = parse_primary(p);
    while (x) {
        if (accept(p, T_BANG)) {
            x = accept(p, T_BANG) ? opaque(p, "!!", x) : dt_ans_node(p->c, N_FACT, 1, x);
        } else if (accept(p, T_PERCENT)) {
            x = dt_ans_node(p->c, N_PERCENT, 1, x);
        } else if (at(p, T_CIRC) && peek(p)->id == 1) {
            next(p);
            x = dt_ans_node(p->c, N_DEG, 1, x);
        } else if (accept(p, T_CIRC)) { /* "degrees", or \circ without ^ */
            x = dt_ans_node(p->c, N_DEG, 1, x);
        } else if (accept(p, T_PRIME)) {
            x = opaque(p, "prime", x);
        } else if (at(p, T_SUB)) {
            next(p);
            dt_node *sub = argument(p);
            x = sub ? with_name(dt_ans_node(p->c, N_OPAQUE, 2, x, sub), "_") : NULL;
        } else if (accept(p, T_POW)) {
            if (accept(p, T_CIRC)) {
                x = dt_ans_node(p->c, N_DEG, 1, x);
            } else if (mark_group(p, T_CIRC)) {
                p->i += 3;
                x = dt_ans_node(p->c, N_DEG, 1, x);
            } else if (mark_group(p, T_PRIME)) {
                p->i += 3;
                x = opaque(p, "prime", x);
            } else if (accept(p, T_PRIME)) {
                x = opaque(p, "prime", x);
            } else {
                dt_node *e = exponent(p);
                x = e ? dt_ans_node(p->c, N_POW, 2, x, e) : NULL;
            }
        } else {
            break;
        }
    }
    p->depth--;
    return x;
}

/* Text behind a quantity, with the power of a unit: cm^2. */
static dt_node *unit(parser *p, dt_node *x) {
    dt_token t = next(p);
    const char *s = t.s;
    size_t n = t.n;
    if (accept(p, T_POW)) {
        dt_node *e = exponent(p);
        if (!e) return NULL;
        char *b = dt_ans_alloc(p->c, n + 3, 1);
        if (!b) return NULL;
        memcpy(b, s, n);
        b[n++] = '^';
        b[n++] = e->kind == N_NUM && e->sn == 1 ? e->s[0] : '?';
        s = b;
    }
    x = dt_ans_node(p->c, N_UNIT, 1, x);
    if (x) x->s = s, x->sn = n;
    return x;
}

static dt_node *parse_signed(parser *p) {
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    dt_node *x = NULL;
    if (accept(p, T_MINUS)) {
        x = parse_signed(p);
        x = x ? dt_ans_node(p->c, N_NEG, 1, x) : NULL;
    } else if (accept(p, T_PLUS)) {
        x = parse_signed(p);
    } else if (at(p, T_PM) || at(p, T_MP)) {
        bool plus = next(p).kind == T_PM;
        x = parse_product(p);
        x = with_name(x ? dt_ans_node(p->c, N_PM, 1, x) : NULL, plus ? "+" : "-");
    } else {
        x = parse_power(p);
    }
    p->depth--;
    return x;
}

/* 2 hours 30 minutes; 37^\circ 30': the second part is added. Anything else behind a quantity is a factor. */
static dt_node *parse_rest_of_quantity(parser *p, dt_node *first) {
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    dt_node *y = parse_product(p);
    p->depth--;
    if (!y) return NULL;
    if (first->kind == N_UNIT) {
        bool sum = y->kind == N_UNIT || (y->kind == N_ADD && y->kid[0]->kind == N_UNIT);
        return dt_ans_node(p->c, sum ? N_ADD : N_MUL, 2, first, y);
    }
    if (y->kind != N_OPAQUE || strcmp(y->s, "prime") != 0 || y->kid[0]->kind != N_NUM) return dt_ans_node(p->c, N_MUL, 2, first, y);
    dt_node *part = dt_ans_node(p->c, N_DIV, 2, y->kid[0], num_node(p, &(dt_token){.kind = T_NUM, .s = "60", .n = 2}));
    return dt_ans_node(p->c, N_DEG, 1, dt_ans_node(p->c, N_ADD, 2, first->kid[0], part));
}

static dt_node *parse_product(parser *p) {
    dt_node *x = parse_signed(p);
    kids k = {0};
    if (!x || !add_kid(p, &k, x)) return NULL;
    for (;;) {
        dt_node *y = NULL;
        bool div = false;
        if (accept(p, T_MUL)) {
            y = parse_signed(p);
        } else if (accept(p, T_DIV)) {
            y = parse_signed(p);
            div = true;
        } else if (at(p, T_TEXT)) {
            dt_node *all = k.n == 1 ? k.v[0] : of_kids(p, N_MUL, &k);
            if (!all || all->kind == N_TEXT || !(y = unit(p, all))) return NULL;
            k = (kids){0};
            if (!add_kid(p, &k, y)) return NULL;
            continue;
        } else if (accept(p, T_MOD)) {
            y = parse_signed(p);
            dt_node *all = k.n == 1 ? k.v[0] : of_kids(p, N_MUL, &k);
            if (!y || !all) return NULL;
            return with_name(dt_ans_node(p->c, N_OPAQUE, 2, all, y), "mod");
        } else if (starts_operand(p)) {
            if (at(p, T_NUM) && k.v[k.n - 1]->kind == N_NUM) return fail(p, "two numbers side by side");
            if (at(p, T_NUM) && k.n == 1 && (k.v[0]->kind == N_UNIT || k.v[0]->kind == N_DEG)) return parse_rest_of_quantity(p, k.v[0]);
            if (k.v[k.n - 1]->kind == N_TEXT) return fail(p, "words before a number");
            y = parse_power(p);
        } else {
            break;
        }
        if (!y) return NULL;
        if (div) {
            dt_node *all = k.n == 1 ? k.v[0] : of_kids(p, N_MUL, &k);
            if (!all) return NULL;
            k = (kids){0};
            y = dt_ans_node(p->c, N_DIV, 2, all, y);
        }
        if (!add_kid(p, &k, y)) return NULL;
    }
    return k.n == 1 ? k.v[0] : of_kids(p, N_MUL, &k);
}

static dt_node *parse_sum(parser *p) {
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    dt_node *x = parse_product(p);
    kids k = {0};
    if (!x || !add_kid(p, &k, x)) return NULL;
    for (;;) {
        dt_node *y = NULL;
        if (accept(p, T_PLUS)) {
            y = parse_product(p);
        } else if (accept(p, T_MINUS)) {
            y = parse_product(p);
            y = y ? dt_ans_node(p->c, N_NEG, 1, y) : NULL;
        } else if (at(p, T_PM) || at(p, T_MP)) {
            bool plus = next(p).kind == T_PM;
            y = parse_product(p);
            dt_node *all = k.n == 1 ? k.v[0] : of_kids(p, N_ADD, &k);
            if (!y || !all) return NULL;
            k = (kids){0};
            y = with_name(dt_ans_node(p->c, N_PM, 2, all, y), plus ? "+" : "-");
        } else {
            break;
        }
        if (!y || !add_kid(p, &k, y)) return NULL;
    }
    p->depth--;
    return k.n == 1 ? k.v[0] : of_kids(p, N_ADD, &k);
}

static dt_node *parse_sets(parser *p) {
    dt_node *x = parse_sum(p);
    while (x && (at(p, T_CUP) || at(p, T_CAP) || at(p, T_SETMINUS))) {
        dt_tok_kind op = next(p).kind;
        dt_node *y = parse_sum(p);
        x = y ? dt_ans_node(p->c, op == T_CUP ? N_CUP : op == T_CAP ? N_CAP : N_SETMINUS, 2, x, y) : NULL;
    }
    if (x && at(p, T_COLON) && !p->braces_set) {
        kids k = {0};
        if (!add_kid(p, &k, x)) return NULL;
        while (accept(p, T_COLON))
            if (!add_kid(p, &k, parse_sum(p))) return NULL;
        x = of_kids(p, N_RATIO, &k);
    }
    return x;
}

static dt_node *parse_relation(parser *p) {
    if (++p->depth > DT_ANS_MAX_DEPTH) return fail(p, "nested too deeply");
    kids k = {0};
    char ops[DT_ANS_MAX_ITEMS];
    if (!add_kid(p, &k, parse_sets(p))) return NULL;
    while ((at(p, T_REL) || at(p, T_IN)) && k.n < DT_ANS_MAX_ITEMS) {
        dt_token t = next(p);
        ops[k.n - 1] = t.kind == T_IN ? 'm' : (char)t.id;
        if (!add_kid(p, &k, parse_sets(p))) return NULL;
    }
    p->depth--;
    if (k.n == 1) return k.v[0];
    dt_node *x = of_kids(p, N_REL, &k);
    if (!x) return NULL;
    x->s = dt_ans_copy(p->c, ops, (size_t)k.n - 1);
    x->sn = (size_t)k.n - 1;
    return x->s ? x : NULL;
}

static bool separator(parser *p, char *what) {
    bool any = false;
    *what = ',';
    p->semicolon = false;
    while (at(p, T_COMMA) || at(p, T_AND) || at(p, T_OR) || (at(p, T_ROW) && p->depth == 0)) {
        if (at(p, T_AND)) *what = 'a';
        if (at(p, T_OR)) *what = 'o';
        if (at(p, T_COMMA) && peek(p)->id == ';') p->semicolon = true;
        next(p);
        any = true;
    }
    return any;
}

/* What was read since the last semicolon, as one item: p = 5, q = 2; p = 7, q = 2. */
static bool close_group(parser *p, kids *groups, kids *k) {
    dt_node *x = k->n == 1 ? k->v[0] : with_name(of_kids(p, N_LIST, k), ",");
    *k = (kids){0};
    return add_kid(p, groups, x);
}

static dt_node *parse_list(parser *p) {
    kids k = {0}, groups = {0};
    char kind = ',', what = ',';
    if (!add_kid(p, &k, parse_relation(p))) return NULL;
    while (separator(p, &what)) {
        if (what != ',') kind = what;
        if (p->semicolon && !close_group(p, &groups, &k)) return NULL;
        if (at(p, T_END) || at(p, T_RPAR) || at(p, T_RBRACK) || at(p, T_RBRACE) || at(p, T_RSET)) break; /* a trailing comma */
        if (!add_kid(p, &k, parse_relation(p))) return NULL;
        if (k.n > DT_ANS_MAX_TOKENS) return fail(p, "too long a list");
    }
    if (groups.n && k.n && !close_group(p, &groups, &k)) return NULL;
    if (groups.n) k = groups;
    if (k.n == 1) return k.v[0];
    return with_name(of_kids(p, N_LIST, &k), kind == ',' ? "," : kind == 'a' ? "a" : "o");
}

dt_node *dt_ans_parse(dt_ans *c, const dt_tokens *t) {
    parser p = {.c = c, .t = t->v};
    if (!t->n) return fail(&p, "no answer");
    dt_node *x = parse_list(&p);
    if (!x) return fail(&p, "not an expression");
    return at(&p, T_END) ? x : fail(&p, "something is left after the expression");
}
