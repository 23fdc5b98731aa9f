/* A tree as one string, the same for every order of what commutes: the name of opaque pieces, and the last resort when
 * nothing can be computed. */
#include "task/answer.h"

#include <stdlib.h>
#include <string.h>

#define MAX_KEY ((size_t)1 << 16)

typedef struct piece {
    const char *s;
    size_t n;
} piece;

static int by_text(const void *a, const void *b) {
    const piece *x = a, *y = b;
    int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

static bool commutes(const dt_node *n) {
    return n->kind == N_ADD || n->kind == N_MUL || n->kind == N_SET || n->kind == N_CUP || n->kind == N_CAP ||
           (n->kind == N_FUNC && (n->fn == F_MAX || n->fn == F_MIN || n->fn == F_GCD || n->fn == F_LCM));
}

static bool put(dt_ans *c, dt_buf *b, const dt_node *n);

/* Kids of n, with those of nested sums in a sum (products in a product) as if they were its own. */
static bool gather(dt_ans *c, const dt_node *n, dt_node_kind kind, piece *out, size_t cap, size_t *len) {
    for (int i = 0; i < n->n; i++) {
        if (n->kid[i]->kind == kind && (kind == N_ADD || kind == N_MUL)) {
            if (!gather(c, n->kid[i], kind, out, cap, len)) return false;
            continue;
        }
        dt_buf b = {.max = MAX_KEY};
        bool ok = *len < cap && put(c, &b, n->kid[i]) && !b.failed;
        out[*len].s = ok ? dt_ans_copy(c, b.data, b.len) : NULL;
        out[*len].n = b.len;
        dt_buf_clear(&b);
        if (!ok || !out[*len].s) return dt_ans_stop(c, "too long an answer");
        ++*len;
    }
    return true;
}

static size_t count(const dt_node *n, dt_node_kind kind) {
    size_t k = 0;
    for (int i = 0; i < n->n; i++)
        k += n->kid[i]->kind == kind ? count(n->kid[i], kind) : 1;
    return k;
}

static void put_number(dt_buf *b, const dt_node *n) {
    size_t from = 0, to = n->sn;
    int scale = n->scale;
    while (from + 1 < to - (size_t)scale && n->s[from] == '0')
        from++;
    if (!n->repeat)
        while (scale > 0 && to > from + 1 && n->s[to - 1] == '0')
            to--, scale--;
    dt_buf_add(b, n->s + from, to - from);
    if (scale) dt_buf_addf(b, "s%d", scale);
    if (n->repeat) dt_buf_addf(b, "r%d", n->repeat);
    if (n->exp10) dt_buf_addf(b, "e%ld", n->exp10);
}

static bool put(dt_ans *c, dt_buf *b, const dt_node *n) {
    if (!dt_ans_spend(c, 1) || b->failed) return false;
    if (n->kind == N_NUM) {
        put_number(b, n);
        return true;
    }
    if (n->kind == N_SYM) return dt_buf_add(b, n->s, n->sn);
    dt_buf_addf(b, "(%d", (int)n->kind);
    if (n->kind == N_FUNC) dt_buf_addf(b, "f%d", (int)n->fn);
    if (n->kind == N_MATRIX) dt_buf_addf(b, "m%d", n->rows);
    if (n->s) {
        dt_buf_adds(b, ":");
        dt_buf_add(b, n->s, n->sn);
    }
    if (commutes(n)) {
        size_t cap = count(n, n->kind), len = 0;
        piece *p = dt_ans_alloc(c, cap + 1, sizeof *p);
        if (!p || !gather(c, n, n->kind, p, cap, &len)) return false;
        qsort(p, len, sizeof *p, by_text);
        for (size_t i = 0; i < len; i++) {
            dt_buf_adds(b, " ");
            dt_buf_add(b, p[i].s, p[i].n);
        }
    } else {
        for (int i = 0; i < n->n; i++) {
            dt_buf_adds(b, " ");
            if (!put(c, b, n->kid[i])) return false;
        }
    }
    return dt_buf_adds(b, ")");
}

const char *dt_ans_key(dt_ans *c, const dt_node *n, size_t *len) {
    dt_buf b = {.max = MAX_KEY};
    const char *s = NULL;
    if (put(c, &b, n) && !b.failed) {
        s = dt_ans_copy(c, b.data, b.len);
        *len = b.len;
    } else {
        dt_ans_stop(c, "too long an answer");
    }
    dt_buf_clear(&b);
    return s;
}
