/* Growing byte buffer and growing list of token ids. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

void dt_buf_clear(dt_buf *b) {
    size_t max = b->max;
    free(b->data);
    *b = (dt_buf){.max = max};
}

bool dt_buf_reserve(dt_buf *b, size_t more) {
    size_t need = 0;
    if (b->failed) return false;
    if (!dt_add_size(b->len, more, &need) || !dt_add_size(need, 1, &need) || (b->max && need - 1 > b->max)) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *p = realloc(b->data, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->data = p;
    b->cap = cap;
    return true;
}

bool dt_buf_add(dt_buf *b, const void *p, size_t n) {
    if (!dt_buf_reserve(b, n)) return false;
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0; /* reserved. NOLINT(clang-analyzer-core.NullDereference) */
    return true;
}

bool dt_buf_adds(dt_buf *b, const char *s) {
    return dt_buf_add(b, s, strlen(s));
}

bool dt_buf_addf(dt_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !dt_buf_reserve(b, (size_t)n)) {
        b->failed = true;
        return false;
    }
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

char *dt_buf_take(dt_buf *b) {
    if (!b->failed && !b->data) dt_buf_add(b, "", 0);
    char *p = b->failed ? NULL : b->data;
    if (b->failed) free(b->data);
    *b = (dt_buf){.max = b->max};
    return p;
}

void dt_ids_clear(dt_ids *a) {
    free(a->v);
    *a = (dt_ids){0};
}

bool dt_ids_add(dt_ids *a, const int32_t *v, size_t n) {
    size_t need = 0;
    if (!dt_add_size(a->n, n, &need)) return false;
    if (need > a->cap) {
        size_t cap = a->cap ? a->cap : 64;
        while (cap < need)
            cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        int32_t *p = dt_realloc(a->v, cap, sizeof *p);
        if (!p) return false;
        a->v = p;
        a->cap = cap;
    }
    if (n) memcpy(a->v + a->n, v, n * sizeof *v);
    a->n = need;
    return true;
}

bool dt_ids_push(dt_ids *a, int32_t id) {
    return dt_ids_add(a, &id, 1);
}
