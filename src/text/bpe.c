/* Byte-pair merging of one piece: again and again the neighbours with the lowest rank, leftmost first, become one.
 * Short pieces (nearly all) look for the lowest rank each time; long ones keep a heap over a linked list, so a
 * piece of n bytes costs n log n. Both give the same ids. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define SHORT 32

typedef struct symbol {
    int32_t id;
    uint32_t prev, next; /* NONE at the ends */
} symbol;
#define NONE UINT32_MAX

typedef struct candidate {
    int32_t rank, id;
    uint32_t pos;
    int32_t left, right; /* still these two when it is taken out? */
} candidate;

struct dt_bpe_work {
    symbol *sym;
    size_t cap;
    candidate *heap;
    size_t n_heap, cap_heap;
};

dt_bpe_work *dt_bpe_work_create(void) {
    return dt_calloc(1, sizeof(dt_bpe_work));
}

void dt_bpe_work_destroy(dt_bpe_work *w) {
    if (!w)
        return;
    free(w->sym);
    free(w->heap);
    free(w);
}

static duet_status merge_short(const dt_vocab *v, const uint8_t *s, size_t n, duet_ids *out) {
    int32_t id[SHORT], rank[SHORT], made[SHORT]; /* rank[i], made[i]: of id[i] with id[i + 1] */
    for (size_t i = 0; i < n; i++)
        id[i] = v->byte_id[s[i]];
    for (size_t i = 0; i + 1 < n; i++) {
        const dt_merge_slot *m = dt_vocab_merge(v, (uint32_t)id[i], (uint32_t)id[i + 1]);
        rank[i] = m ? m->rank : INT32_MAX;
        made[i] = m ? m->id : -1;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == INT32_MAX)
            break;
        id[best] = made[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            rank[i - 1] = rank[i];
            made[i - 1] = made[i];
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const dt_merge_slot *m = dt_vocab_merge(v, (uint32_t)id[i], (uint32_t)id[i + 1]);
            rank[i] = m ? m->rank : INT32_MAX;
            made[i] = m ? m->id : -1;
        }
    }
    return dt_tok_append(out, id, n) ? DUET_OK : DUET_E_NOMEM;
}

static bool before(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static bool heap_push(dt_bpe_work *w, candidate c) {
    if (w->n_heap == w->cap_heap) {
        size_t cap = w->cap_heap ? 2 * w->cap_heap : 256;
        candidate *h = dt_realloc(w->heap, cap, sizeof *h);
        if (!h)
            return false;
        w->heap = h;
        w->cap_heap = cap;
    }
    size_t i = w->n_heap++;
    while (i && before(&c, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = c;
    return true;
}

static candidate heap_pop(dt_bpe_work *w) {
    const candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= w->n_heap)
            break;
        if (k + 1 < w->n_heap && before(&w->heap[k + 1], &w->heap[k]))
            k++;
        if (!before(&w->heap[k], &last))
            break;
        w->heap[i] = w->heap[k];
        i = k;
    }
    w->heap[i] = last;
    return top;
}

static bool offer(const dt_vocab *v, dt_bpe_work *w, uint32_t pos) {
    const symbol *a = &w->sym[pos];
    if (a->next == NONE)
        return true;
    const int32_t right = w->sym[a->next].id;
    const dt_merge_slot *m = dt_vocab_merge(v, (uint32_t)a->id, (uint32_t)right);
    return !m || heap_push(w, (candidate){m->rank, m->id, pos, a->id, right});
}

static duet_status merge_long(const dt_vocab *v, dt_bpe_work *w, const uint8_t *s, size_t n, duet_ids *out) {
    if (n > w->cap) {
        symbol *sym = dt_realloc(w->sym, n, sizeof *sym);
        if (!sym)
            return DUET_E_NOMEM;
        w->sym = sym;
        w->cap = n;
    }
    w->n_heap = 0;
    for (size_t i = 0; i < n; i++)
        w->sym[i] = (symbol){v->byte_id[s[i]], i ? (uint32_t)i - 1 : NONE, i + 1 < n ? (uint32_t)i + 1 : NONE};
    for (size_t i = 0; i < n; i++)
        if (!offer(v, w, (uint32_t)i))
            return DUET_E_NOMEM;
    while (w->n_heap) {
        const candidate c = heap_pop(w);
        symbol *a = &w->sym[c.pos];
        if (a->id != c.left || a->next == NONE || w->sym[a->next].id != c.right)
            continue; /* merged otherwise since */
        symbol *b = &w->sym[a->next];
        a->id = c.id;
        b->id = -1;
        a->next = b->next;
        if (a->next != NONE)
            w->sym[a->next].prev = c.pos;
        if (a->prev != NONE && !offer(v, w, a->prev))
            return DUET_E_NOMEM;
        if (!offer(v, w, c.pos))
            return DUET_E_NOMEM;
    }
    for (uint32_t i = 0; i != NONE; i = w->sym[i].next)
        if (!dt_tok_push(out, w->sym[i].id))
            return DUET_E_NOMEM;
    return DUET_OK;
}

duet_status dt_bpe_piece(const dt_vocab *v, dt_bpe_work *w, const uint8_t *s, size_t n, duet_ids *out, size_t *bad) {
    if (!n)
        return DUET_OK;
    if (v->ignore_merges) {
        int32_t id = dt_vocab_find(v, s, n, false);
        if (id >= 0)
            return dt_tok_push(out, id) ? DUET_OK : DUET_E_NOMEM;
    }
    for (size_t i = 0; i < n; i++)
        if (v->byte_id[s[i]] < 0) {
            *bad = i;
            return DUET_E_FORMAT;
        }
    return n <= SHORT ? merge_short(v, s, n, out) : merge_long(v, w, s, n, out);
}
