/* The two things the public calls fill: lists of token ids and owned bytes. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

void duet_ids_free(duet_ids *a) {
    if (!a)
        return;
    free(a->v);
    *a = (duet_ids){0};
}

void duet_text_free(duet_text *t) {
    if (!t)
        return;
    free(t->data);
    *t = (duet_text){0};
}

static bool grow(duet_ids *a, size_t more) {
    size_t need = 0;
    if (!dt_add_size(a->n, more, &need))
        return false;
    if (need <= a->cap)
        return true;
    size_t cap = a->cap ? a->cap + a->cap / 2 : 64;
    if (cap < need)
        cap = need;
    int32_t *v = dt_realloc(a->v, cap, sizeof *v);
    if (!v)
        return false;
    a->v = v;
    a->cap = cap;
    return true;
}

bool dt_tok_push(duet_ids *a, int32_t id) {
    if (a->n == a->cap && !grow(a, 1))
        return false;
    a->v[a->n++] = id;
    return true;
}

bool dt_tok_append(duet_ids *a, const int32_t *v, size_t n) {
    if (!n)
        return true;
    if (!grow(a, n))
        return false;
    memcpy(a->v + a->n, v, n * sizeof *v);
    a->n += n;
    return true;
}
