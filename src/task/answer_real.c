/* Subsets of the real line: intervals, unions, differences, finite sets, and inequalities in one variable all become
 * sorted parts with open or closed ends, and are compared part by part. */
#include "task/answer.h"

#include <string.h>

enum { MAX_PARTS = 24 };

typedef struct part {
    const dt_node *lo, *hi; /* NULL: -infinity, +infinity */
    bool lo_in, hi_in;
} part;

typedef struct reals {
    part v[MAX_PARTS];
    int n;
    const char *var; /* of an inequality */
    size_t var_n;
    bool sure;       /* no tuple could be meant */
} reals;

static bool build(dt_ans *c, const dt_node *n, reals *out, dt_method *by, int depth);

static bool compare(dt_ans *c, const dt_node *a, const dt_node *b, int *sign, dt_method *by) {
    if (!dt_ans_ball_order(c, a, b, sign)) return false;
    return *sign || dt_ans_number_equal(c, a, b, by) == DT_YES;
}

/* Where does a begin against where b begins: -1, 0, 1; ends likewise. */
static bool begins(dt_ans *c, const part *a, const part *b, int *s, dt_method *by) {
    if (!a->lo || !b->lo) {
        *s = !a->lo && !b->lo ? 0 : !a->lo ? -1 : 1;
        return true;
    }
    if (!compare(c, a->lo, b->lo, s, by)) return false;
    if (!*s) *s = (int)b->lo_in - (int)a->lo_in;
    return true;
}

static bool ends(dt_ans *c, const part *a, const part *b, int *s, dt_method *by) {
    if (!a->hi || !b->hi) {
        *s = !a->hi && !b->hi ? 0 : !a->hi ? 1 : -1;
        return true;
    }
    if (!compare(c, a->hi, b->hi, s, by)) return false;
    if (!*s) *s = (int)a->hi_in - (int)b->hi_in;
    return true;
}

/* Sorted, empty parts gone, touching parts joined. */
static bool tidy(dt_ans *c, reals *r, dt_method *by) {
    int k = 0, s = 0;
    for (int i = 0; i < r->n; i++) {
        part p = r->v[i];
        if (p.lo && p.hi) {
            if (!compare(c, p.lo, p.hi, &s, by)) return false;
            if (s > 0 || (s == 0 && !(p.lo_in && p.hi_in))) continue;
        }
        int at = k++;
        for (; at > 0; at--) {
            if (!begins(c, &p, &r->v[at - 1], &s, by)) return false;
            if (s >= 0) break;
            r->v[at] = r->v[at - 1];
        }
        r->v[at] = p;
    }
    r->n = k;
    for (int i = 0; i + 1 < r->n;) {
        part *p = &r->v[i], *q = &r->v[i + 1];
        bool join = !p->hi || !q->lo;
        if (!join) {
            if (!compare(c, p->hi, q->lo, &s, by)) return false;
            join = s > 0 || (s == 0 && (p->hi_in || q->lo_in));
        }
        if (!join) {
            i++;
            continue;
        }
        if (!ends(c, q, p, &s, by)) return false;
        if (s > 0) p->hi = q->hi, p->hi_in = q->hi_in;
        memmove(q, q + 1, (size_t)(r->n - i - 2) * sizeof *q);
        r->n--;
    }
    return true;
}

static bool add(reals *r, part p) {
    if (r->n == MAX_PARTS) return false;
    r->v[r->n++] = p;
    return true;
}

static bool complement(dt_ans *c, reals *r, dt_method *by) {
    if (!tidy(c, r, by)) return false;
    reals out = {.var = r->var, .var_n = r->var_n, .sure = r->sure};
    part gap = {0};
    for (int i = 0; i < r->n; i++) {
        gap.hi = r->v[i].lo;
        gap.hi_in = !r->v[i].lo_in;
        if (gap.hi && !add(&out, gap)) return false;
        if (!r->v[i].hi) {
            *r = out;
            return true;
        }
        gap = (part){.lo = r->v[i].hi, .lo_in = !r->v[i].hi_in};
    }
    if (!add(&out, gap)) return false;
    *r = out;
    return true;
}

static bool same_variable(reals *a, const reals *b) {
    if (!b->var) return true;
    if (a->var && (a->var_n != b->var_n || memcmp(a->var, b->var, a->var_n) != 0)) return false;
    a->var = b->var;
    a->var_n = b->var_n;
    return true;
}

static bool unite(dt_ans *c, reals *a, const reals *b, dt_method *by) {
    if (!same_variable(a, b)) return false;
    for (int i = 0; i < b->n; i++)
        if (!add(a, b->v[i])) return false;
    return tidy(c, a, by);
}

static bool intersect(dt_ans *c, reals *a, reals *b, dt_method *by) {
    if (!same_variable(a, b) || !complement(c, a, by) || !complement(c, b, by)) return false;
    return unite(c, a, b, by) && complement(c, a, by);
}

static bool is_variable(const dt_node *n) {
    return (n->kind == N_SYM && !(n->sn == 1 && (n->s[0] == 'e' || n->s[0] == 'i')) && !(n->sn == 3 && !memcmp(n->s, "\\pi", 3)) && !(n->sn == 5 && !memcmp(n->s, "bb(R)", 5))) ||
           (n->kind == N_OPAQUE && n->sn == 1 && n->s[0] == '_' && n->kid[0]->kind == N_SYM) || (n->kind == N_MUL && n->n == 2 && n->kid[0]->kind == N_SYM && n->kid[1]->paren && dt_ans_is_name(n));
}

bool dt_ans_is_line(const dt_node *n) {
    return (n->kind == N_SYM && n->sn == 5 && !memcmp(n->s, "bb(R)", 5)) ||
           (n->kind == N_OPAQUE && n->sn == 2 && !memcmp(n->s, "bb", 2) && n->kid[0]->kind == N_SYM && n->kid[0]->sn == 1 && n->kid[0]->s[0] == 'R');
}

/* An end: +-infinity as NULL (at the side `up`), or any expression; whether it is a real number shows when it is compared. */
static bool end_of(const dt_node *n, bool up, const dt_node **out) {
    while (n->kind == N_NEG && n->kid[0]->kind == N_NEG)
        n = n->kid[0]->kid[0];
    bool minus = n->kind == N_NEG && n->kid[0]->kind == N_INF;
    *out = n;
    if (n->kind != N_INF && !minus) return true;
    *out = NULL;
    return minus != up;
}

static bool half_line(const dt_node *value, char op, reals *out) {
    part p = {0};
    const dt_node *end = NULL;
    switch (op) {
    case '<': case 'l':
        p.hi_in = op == 'l';
        if (!end_of(value, true, &p.hi)) return false;
        return add(out, p);
    case '>': case 'g':
        p.lo_in = op == 'g';
        if (!end_of(value, false, &p.lo)) return false;
        return add(out, p);
    case '=': return add(out, (part){value, value, true, true});
    case 'n':
        end = value;
        return add(out, (part){.hi = end}) && add(out, (part){.lo = end});
    default: return false;
    }
}

static char mirrored(char op) { return (char)(op == '<' ? '>' : op == '>' ? '<' : op == 'l' ? 'g' : op == 'g' ? 'l' : op); }

/* |x| < a, |x - m| >= a, ... */
static bool distance(dt_ans *c, const dt_node *n, reals *out, dt_method *by) {
    bool first = n->kid[0]->kind == N_FUNC && n->kid[0]->fn == F_ABS;
    const dt_node *in = n->kid[!first];
    dt_node *a = n->kid[first], *mid = NULL;
    char op = first ? n->s[0] : mirrored(n->s[0]);
    if (in->kind != N_FUNC || in->fn != F_ABS || !strchr("<l>g", op)) return false;
    in = in->kid[0];
    if (in->kind == N_ADD && in->n == 2 && is_variable(in->kid[0])) {
        mid = dt_ans_node(c, N_NEG, 1, in->kid[1]);
        in = in->kid[0];
    }
    if (!is_variable(in) || in->kind != N_SYM) return false;
    dt_node *lo = dt_ans_node(c, N_NEG, 1, a), *hi = a;
    if (mid) lo = dt_ans_node(c, N_ADD, 2, mid, lo), hi = dt_ans_node(c, N_ADD, 2, mid, a);
    bool inside = op == '<' || op == 'l', closed = inside == (op == 'l' || op == 'g');
    out->sure = true;
    out->var = in->s;
    out->var_n = in->sn;
    return lo && hi && add(out, (part){lo, hi, closed, closed}) && tidy(c, out, by) && (inside || complement(c, out, by));
}

static bool relation(dt_ans *c, const dt_node *n, reals *out, dt_method *by, int depth) {
    if (n->n == 2 && distance(c, n, out, by)) return true;
    out->sure = true;
    int at = -1;
    for (int i = 0; i < n->n; i++)
        if (is_variable(n->kid[i])) at = at < 0 ? i : -2;
    if (at < 0 || n->n > 3 || (n->n == 3 && at != 1)) return false;
    out->var = n->kid[at]->s;
    out->var_n = n->kid[at]->sn;
    if (n->kid[at]->kind != N_SYM && !(out->var = dt_ans_key(c, n->kid[at], &out->var_n))) return false;
    if (n->n == 2 && n->s[0] == 'm') {
        const char *var = out->var;
        size_t len = out->var_n;
        if (at != 0 || !build(c, n->kid[1], out, by, depth + 1)) return false;
        out->var = var;
        out->var_n = len;
        return true;
    }
    if (n->n == 2 && dt_ans_has_pm(n->kid[1 - at])) { /* x \ne \pm 1 */
        dt_node *up = dt_ans_choose(c, n->kid[1 - at], true), *down = dt_ans_choose(c, n->kid[1 - at], false);
        reals other = {.var = out->var, .var_n = out->var_n};
        if (!up || !down || !half_line(up, n->s[0], out) || !half_line(down, n->s[0], &other)) return false;
        return n->s[0] == '=' ? unite(c, out, &other, by) : n->s[0] == 'n' && intersect(c, out, &other, by);
    }
    if (n->n == 2) return half_line(n->kid[1 - at], at == 0 ? n->s[0] : mirrored(n->s[0]), out);
    if (n->s[0] == '=' || n->s[1] == '=' || n->s[0] == 'n' || n->s[1] == 'n') return false;
    reals right = {.var = out->var, .var_n = out->var_n};
    return half_line(n->kid[0], mirrored(n->s[0]), out) && half_line(n->kid[2], n->s[1], &right) && intersect(c, out, &right, by);
}

/* The conditions of a set: a comma means "and", and x in R says nothing. NULL = no memory. */
static const dt_node *conditions(dt_ans *c, const dt_node *n) {
    if (n->kind != N_LIST || n->n < 2 || n->s[0] == 'o') return n;
    dt_node *x = dt_ans_node(c, N_LIST, 0);
    if (!x || !(x->kid = dt_ans_alloc(c, (size_t)n->n, sizeof *x->kid))) return NULL;
    x->s = "a";
    x->sn = 1;
    for (int i = 0; i < n->n; i++) {
        const dt_node *k = n->kid[i];
        bool real = k->kind == N_REL && k->n == 2 && k->s[0] == 'm' && dt_ans_is_line(k->kid[1]);
        if (!real) x->kid[x->n++] = n->kid[i];
    }
    return x->n == 1 ? x->kid[0] : x->n ? x : n;
}

static bool build(dt_ans *c, const dt_node *n, reals *out, dt_method *by, int depth) {
    reals other = {0};
    if (depth > 20 || !dt_ans_spend(c, 5)) return false;
    if (dt_ans_is_line(n)) {
        out->sure = true;
        return add(out, (part){0});
    }
    switch (n->kind) {
    case N_EMPTY: return true;
    case N_TUPLE: {
        part p = {.lo_in = n->s[0] == '[', .hi_in = n->s[1] == ']'};
        if (n->n != 2 || !end_of(n->kid[0], false, &p.lo) || !end_of(n->kid[1], true, &p.hi)) return false;
        if (!p.lo || !p.hi || p.lo_in || p.hi_in) out->sure = true;
        if (!p.lo) p.lo_in = false;
        if (!p.hi) p.hi_in = false;
        return add(out, p) && tidy(c, out, by);
    }
    case N_SET:
        for (int i = 0; i < n->n; i++)
            if (!add(out, (part){n->kid[i], n->kid[i], true, true})) return false;
        return tidy(c, out, by);
    case N_CUP: case N_CAP: case N_SETMINUS:
        if (!build(c, n->kid[0], out, by, depth + 1) || !build(c, n->kid[1], &other, by, depth + 1)) return false;
        out->sure = true;
        if (n->kind == N_CUP) return unite(c, out, &other, by);
        return (n->kind == N_CAP || complement(c, &other, by)) && intersect(c, out, &other, by);
    case N_REL: return relation(c, n, out, by, depth);
    case N_LIST: {
        bool hole = false, rel = true;
        for (int i = 0; i < n->n; i++) {
            rel = rel && n->kid[i]->kind == N_REL;
            hole = hole || (n->kid[i]->kind == N_REL && memchr(n->kid[i]->s, 'n', n->kid[i]->sn));
        }
        if (!rel || (n->s[0] == ',' && !hole)) return false; /* "x > 1, x < 3" may mean either */
        for (int i = 0; i < n->n; i++) {
            reals one = {0};
            if (!build(c, n->kid[i], &one, by, depth + 1)) return false;
            if (!i) *out = one;
            else if (!(n->s[0] == 'o' ? unite(c, out, &one, by) : intersect(c, out, &one, by))) return false;
        }
        out->sure = true;
        return true;
    }
    case N_BUILD: {
        const dt_node *pattern = n->kid[0], *cond = n->kid[1];
        if (pattern->kind == N_REL && pattern->n == 2 && pattern->s[0] == 'm' && dt_ans_is_line(pattern->kid[1])) pattern = pattern->kid[0];
        if (!(cond = conditions(c, cond))) return false;
        if (!is_variable(pattern) || !build(c, cond, out, by, depth + 1)) return false;
        out->var = NULL; /* it is bound */
        return true;
    }
    default: return false;
    }
}

dt_tri dt_ans_real_equal(dt_ans *c, const dt_node *a, const dt_node *b, dt_method *by) {
    reals x = {0}, y = {0};
    dt_method how = DT_BY_EXACT;
    dt_tri res = DT_YES;
    if (!build(c, a, &x, &how, 0) || !build(c, b, &y, &how, 0) || !(x.sure || y.sure) || !tidy(c, &x, &how) || !tidy(c, &y, &how)) return DT_UNKNOWN;
    if (x.var && y.var && !same_variable(&x, &y)) return DT_NO;
    if (x.n != y.n) return DT_NO;
    for (int i = 0; i < x.n; i++) {
        const part *p = &x.v[i], *q = &y.v[i];
        if (!p->lo != !q->lo || !p->hi != !q->hi || p->lo_in != q->lo_in || p->hi_in != q->hi_in) return DT_NO;
        dt_tri lo = p->lo ? dt_ans_number_equal(c, p->lo, q->lo, &how) : DT_YES, hi = p->hi ? dt_ans_number_equal(c, p->hi, q->hi, &how) : DT_YES;
        if (lo == DT_NO || hi == DT_NO) return DT_NO;
        if (lo != DT_YES || hi != DT_YES) res = DT_UNKNOWN;
    }
    if (res == DT_YES && how > *by) *by = how;
    return res;
}
