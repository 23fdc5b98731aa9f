/* A regular expression (a bounded part of ECMA 262's) as nodes that spell the texts it matches the way a JSON string does.
 *
 *   pattern   alternatives of pieces; ^ and $ only at the ends of an alternative of the whole; without them anything may stand
 *             before and behind
 *   piece     atom, then * + ? {n} {n,} {n,m}
 *   atom      a character, ., [a-z], [^a-z], \d \w \s (ASCII) and \D \W \S (the rest of ASCII), an escape, ( ), (?: )
 *
 * It becomes a tree first, for nodes are built from the end. */
#include "grammar/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATTERN 2048
#define MAX_NESTED 64
#define MAX_REPEAT 1000
#define NO_BOUND (-1)

typedef enum kind { SET, TEXT, EMPTY, PAIR, EITHER, REPEAT } kind;

typedef struct tree {
    kind kind;
    uint32_t ascii[4]; /* SET */
    bool above;        /* SET: characters of several bytes */
    bool begins, ends; /* anchored; of an alternative of the whole */
    char text[4];      /* TEXT: a character of several bytes */
    int n_text, min, max;
    int a, b; /* places in the list of trees */
} tree;

typedef struct parser {
    const char *s;
    size_t n, at;
    tree *v;
    int n_trees, cap;
    int depth, steps;
    duet_err *err;
    duet_status st;
} parser;

static int refuse(parser *p, duet_status st, const char *what) {
    if (!p->st) {
        p->st = dt_fail(p->err, st, "pattern \"%.*s\": %s at byte %zu", (int)(p->n < 60 ? p->n : 60), p->s, what, p->at);
    }
    return 0;
}

static int add(parser *p, tree t) {
    if (p->n_trees == p->cap) {
        tree *v = dt_realloc(p->v, (size_t)p->cap * 2, sizeof *v);
        if (!v) {
            return refuse(p, DUET_E_NOMEM, "no memory");
        }
        p->v = v;
        p->cap *= 2;
    }
    p->v[p->n_trees] = t;
    return p->n_trees++;
}

static bool more(const parser *p) {
    return !p->st && p->at < p->n;
}

static int peek(const parser *p) {
    return more(p) ? (unsigned char)p->s[p->at] : -1;
}

/* ---- sets ---- */

static void put(tree *t, int lo, int hi) {
    for (int c = lo; c <= hi; c++) {
        t->ascii[c / 32] |= (uint32_t)1 << (c % 32);
    }
}

static bool has(const tree *t, int c) {
    return t->ascii[c / 32] >> (c % 32) & 1;
}

static void turn_round(tree *t) {
    for (int i = 0; i < 4; i++) {
        t->ascii[i] = ~t->ascii[i];
    }
    t->ascii[0] &= ~(uint32_t)1; /* no NUL */
}

static bool class_of(int c, tree *t) {
    tree x = {.kind = SET};
    switch (c | 0x20) {
    case 'd':
        put(&x, '0', '9');
        break;
    case 'w':
        put(&x, '0', '9');
        put(&x, 'a', 'z');
        put(&x, 'A', 'Z');
        put(&x, '_', '_');
        break;
    case 's':
        put(&x, '\t', '\r');
        put(&x, ' ', ' ');
        break;
    default:
        return false;
    }
    if (c < 'a') {
        turn_round(&x);
    }
    for (int i = 0; i < 4; i++) {
        t->ascii[i] |= x.ascii[i];
    }
    return true;
}

static int hex_value(parser *p, int digits) {
    int value = 0;
    for (int i = 0; i < digits; i++) {
        int c = peek(p);
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (d < 0) {
            refuse(p, DUET_E_FORMAT, "hexadecimal digits are missing");
            return 0;
        }
        value = value * 16 + d;
        p->at++;
    }
    return value;
}

/* The character behind a backslash; -1: a class, in t. */
static int escaped(parser *p, tree *t) {
    static const char plain[] = "^$\\.*+?()[]{}|/-\"'#&,:;<=>@_~!%` ";
    int c = peek(p);
    p->at++;
    if (c > 0 && class_of(c, t)) {
        return -1;
    }
    switch (c) {
    case 't':
        return '\t';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 'f':
        return '\f';
    case 'v':
        return '\v';
    case 'x':
    case 'u':
        c = hex_value(p, c == 'x' ? 2 : 4);
        if (c < 1 || c > 0x7F) {
            refuse(p, DUET_E_UNSUPPORTED, "an escape beyond ASCII is not supported: write the character itself");
        }
        return c & 0x7F;
    default:
        p->at -= p->at > 0;
        if (c < 0 || !strchr(plain, c)) {
            refuse(p, c < 0 ? DUET_E_FORMAT : DUET_E_UNSUPPORTED, "this escape is not supported");
            return 0;
        }
        p->at++;
        return c;
    }
}

static int parse_class(parser *p) {
    tree t = {.kind = SET};
    bool negated = peek(p) == '^', only_characters = true;
    p->at += negated;
    while (more(p) && peek(p) != ']') {
        int lo = peek(p);
        p->at++;
        lo = lo == '\\' ? escaped(p, &t) : lo;
        if (lo > 0x7F) {
            return refuse(p, DUET_E_UNSUPPORTED, "a set of characters beyond ASCII is not supported");
        }
        if (lo < 0) {
            only_characters = false;
            continue;
        }
        int hi = lo;
        if (peek(p) == '-' && p->at + 1 < p->n && p->s[p->at + 1] != ']') {
            p->at++;
            hi = peek(p);
            p->at++;
            hi = hi == '\\' ? escaped(p, &t) : hi;
            if (hi > 0x7F) {
                return refuse(p, DUET_E_UNSUPPORTED, "a set of characters beyond ASCII is not supported");
            }
            if (hi < lo) {
                return refuse(p, DUET_E_FORMAT, "a range that ends before it begins");
            }
        }
        put(&t, lo, hi);
    }
    if (peek(p) != ']') {
        return refuse(p, DUET_E_FORMAT, "[ without ]");
    }
    p->at++;
    if (negated) {
        turn_round(&t);
        t.above = only_characters;
    }
    if (!t.above && !(t.ascii[0] | t.ascii[1] | t.ascii[2] | t.ascii[3])) {
        return refuse(p, DUET_E_FORMAT, "an empty set of characters");
    }
    return add(p, t);
}

/* ---- pieces ---- */

static int parse_either(parser *p, bool whole);

static int parse_group(parser *p) {
    if (peek(p) == '?') {
        if (p->at + 1 >= p->n || p->s[p->at + 1] != ':') {
            return refuse(p, DUET_E_UNSUPPORTED, "a group of this kind is not supported");
        }
        p->at += 2;
    }
    if (++p->depth > MAX_NESTED) {
        return refuse(p, DUET_E_RANGE, "groups are nested too deeply");
    }
    int t = parse_either(p, false);
    p->depth--;
    if (peek(p) != ')') {
        return refuse(p, DUET_E_FORMAT, "( without )");
    }
    p->at++;
    return t;
}

static int parse_atom(parser *p) {
    tree t = {.kind = SET};
    int c = peek(p);
    p->at++;
    switch (c) {
    case '(':
        return parse_group(p);
    case '[':
        return parse_class(p);
    case '.':
        put(&t, '\n', '\n');
        put(&t, '\r', '\r');
        turn_round(&t);
        t.above = true;
        return add(p, t);
    case '\\':
        c = escaped(p, &t);
        if (c >= 0) {
            put(&t, c, c);
        }
        return add(p, t);
    case '^':
    case '$':
        p->at--;
        return refuse(p, DUET_E_UNSUPPORTED, "^ and $ are supported at the ends of the pattern only");
    case '*':
    case '+':
    case '?':
    case '{':
        p->at--;
        return refuse(p, DUET_E_FORMAT, "nothing to repeat");
    case 0:
        return refuse(p, DUET_E_UNSUPPORTED, "a NUL");
    default:
        break;
    }
    if (c <= 0x7F) {
        put(&t, c, c);
        return add(p, t);
    }
    t.kind = TEXT; /* the schema was UTF-8: the length is in the first byte */
    t.n_text = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (p->at - 1 + (size_t)t.n_text > p->n) {
        return refuse(p, DUET_E_FORMAT, "a broken character");
    }
    memcpy(t.text, p->s + p->at - 1, (size_t)t.n_text);
    p->at += (size_t)t.n_text - 1;
    return add(p, t);
}

static int parse_count(parser *p) {
    int value = 0, digits = 0;
    for (; peek(p) >= '0' && peek(p) <= '9'; digits++, p->at++) {
        value = value > MAX_REPEAT ? value : value * 10 + (peek(p) - '0');
    }
    if (digits == 0) {
        refuse(p, DUET_E_FORMAT, "a count is missing");
    }
    if (value > MAX_REPEAT) {
        refuse(p, DUET_E_RANGE, "a count above 1000");
    }
    return value;
}

static int parse_piece(parser *p) {
    int t = parse_atom(p);
    while (more(p) && strchr("*+?{", peek(p))) {
        tree r = {.kind = REPEAT, .a = t, .max = NO_BOUND};
        int c = peek(p);
        p->at++;
        r.min = c == '+';
        r.max = c == '?' ? 1 : NO_BOUND;
        if (c == '{') {
            r.min = r.max = parse_count(p);
            if (peek(p) == ',') {
                p->at++;
                r.max = peek(p) == '}' ? NO_BOUND : parse_count(p);
            }
            if (peek(p) != '}' || (r.max != NO_BOUND && r.max < r.min)) {
                return refuse(p, DUET_E_FORMAT, "a count that is none");
            }
            p->at++;
        }
        if (peek(p) == '?' || peek(p) == '+') { /* lazy: the same texts; possessive: not */
            if (peek(p) == '+') {
                return refuse(p, DUET_E_UNSUPPORTED, "possessive counts are not supported");
            }
            p->at++;
        }
        if (++p->depth > MAX_NESTED) {
            return refuse(p, DUET_E_RANGE, "counts are nested too deeply");
        }
        t = add(p, r);
    }
    return t;
}

static int parse_pieces(parser *p, bool whole) {
    bool begins = whole && peek(p) == '^', ends = false;
    p->at += begins;
    int t = add(p, (tree){.kind = EMPTY}), depth = p->depth;
    while (more(p) && peek(p) != '|' && peek(p) != ')') {
        if (whole && peek(p) == '$' && (p->at + 1 == p->n || p->s[p->at + 1] == '|')) {
            p->at++;
            ends = true;
            break;
        }
        int piece = parse_piece(p);
        p->depth = depth;
        t = add(p, (tree){.kind = PAIR, .a = t, .b = piece});
    }
    if (!p->st) {
        p->v[t].begins = begins;
        p->v[t].ends = ends;
    }
    return t;
}

static int parse_either(parser *p, bool whole) {
    int t = parse_pieces(p, whole);
    while (more(p) && peek(p) == '|') {
        p->at++;
        int other = parse_pieces(p, whole);
        t = add(p, (tree){.kind = EITHER, .a = t, .b = other});
    }
    return t;
}

/* ---- nodes ---- */

static int32_t spell(dt_program *g, int c, int32_t next) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = strchr(from, c);
    if (at) {
        return dt_gr_byte(g, '\\', '\\', dt_gr_byte(g, to[at - from], to[at - from], next));
    }
    char text[8];
    int n = snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    return dt_gr_text(g, text, (size_t)n, next);
}

static int32_t either(dt_program *g, int32_t x, int32_t y) {
    return x < 0 ? y : dt_gr_alt(g, x, y);
}

static int32_t emit_set(dt_program *g, const tree *t, int32_t next) {
    int32_t x = -1;
    for (int c = 1; c < 128; c++) {
        if (!has(t, c)) {
            continue;
        }
        if (c < ' ' || c == '"' || c == '\\') {
            x = either(g, x, spell(g, c, next));
            continue;
        }
        int from = c;
        while (c + 1 < 128 && has(t, c + 1) && c + 1 != '"' && c + 1 != '\\') {
            c++;
        }
        x = either(g, x, dt_gr_byte(g, from, c, next));
    }
    return t->above ? either(g, x, dt_gr_bytes_above(g, next)) : x;
}

static int32_t emit(parser *p, dt_program *g, int i, int32_t next) {
    const tree *t = &p->v[i];
    g->full = g->full || ++p->steps > 2 * DT_GR_MAX_NODES; /* of nothing a thousand times a thousand times */
    if (g->full || g->no_memory) {
        return next;
    }
    switch (t->kind) {
    case SET:
        return emit_set(g, t, next);
    case TEXT:
        return dt_gr_text(g, t->text, (size_t)t->n_text, next);
    case EMPTY:
        return next;
    case PAIR: /* a list that leans to the left: as deep as the pattern is long */
        for (; p->v[i].kind == PAIR; i = p->v[i].a) {
            next = emit(p, g, p->v[i].b, next);
        }
        return emit(p, g, i, next);
    case EITHER: {
        int32_t x = -1;
        for (; p->v[i].kind == EITHER; i = p->v[i].a) {
            x = either(g, x, emit(p, g, p->v[i].b, next));
        }
        return either(g, x, emit(p, g, i, next));
    }
    case REPEAT:
        break;
    }
    int32_t at = next;
    if (t->max == NO_BOUND) {
        at = dt_gr_open(g);
        dt_gr_close(g, at, emit(p, g, t->a, at), next);
    }
    for (int n = t->max; n > t->min && !g->full && !g->no_memory; n--) {
        at = dt_gr_maybe(g, emit(p, g, t->a, at), next);
    }
    for (int n = t->min; n > 0 && !g->full && !g->no_memory; n--) {
        at = emit(p, g, t->a, at);
    }
    return at;
}

static int32_t emit_whole(parser *p, dt_program *g, int i, int32_t next) {
    int32_t x = -1;
    for (;; i = p->v[i].a) {
        bool last = p->v[i].kind != EITHER;
        int k = last ? i : p->v[i].b;
        int32_t y = emit(p, g, k, p->v[k].ends ? next : dt_gr_chars(g, next));
        x = either(g, x, p->v[k].begins ? y : dt_gr_chars(g, y));
        if (last) {
            return x;
        }
    }
}

duet_status dt_pattern_compile(dt_program *g, const char *pattern, size_t n, int32_t next, int32_t *out, duet_err *err) {
    parser p = {.s = pattern, .n = n, .cap = 64, .err = err};
    *out = next;
    if (n > MAX_PATTERN) {
        return dt_fail(err, DUET_E_RANGE, "a pattern of %zu bytes: at most %d", n, MAX_PATTERN);
    }
    p.v = dt_calloc((size_t)p.cap, sizeof *p.v);
    if (!p.v) {
        return dt_fail(err, DUET_E_NOMEM, "pattern: no memory");
    }
    int t = parse_either(&p, true);
    if (!p.st && p.at < p.n) {
        refuse(&p, DUET_E_FORMAT, p.s[p.at] == ')' ? ") without (" : "something it cannot end with");
    }
    if (!p.st) {
        *out = emit_whole(&p, g, t, next);
    }
    free(p.v);
    return p.st;
}
