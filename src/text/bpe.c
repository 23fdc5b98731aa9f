/* Byte-pair merging of one piece: again and again the neighbours with the lowest rank, leftmost first, become one.
 * Short pieces (nearly all) look for the lowest rank each time; long ones keep a heap over a linked list, so a
 * piece of n bytes costs n log n. Both give the same ids.
 *
 * A piece begins as its bytes or, in a vocabulary of characters, as its characters. Two neighbours merge if a merge
 * lists them or, in a vocabulary with scores, if the bytes of both spell a token. A character without a token waits
 * for that too, and becomes the tokens of its bytes, or the unknown token, at the end. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define SHORT 32

#define NONE UINT32_MAX
#define NO_TOKEN (-1) /* a character that has none */
#define GONE (-2)     /* part of the symbol before */

typedef struct symbol {
    int32_t id;
    uint32_t off, n;     /* bytes of the piece */
    uint32_t prev, next; /* NONE at the ends */
} symbol;

typedef struct candidate {
    int32_t rank, id;
    uint32_t pos;
    uint32_t n_left, n_both; /* bytes: still these two when it is taken out? */
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

typedef struct merged {
    int32_t rank, id;
} merged;
static const merged no_merge = {INT32_MAX, NO_TOKEN};

/* What neighbours a and b of piece s become. */
static merged pair_of(const dt_vocab *v, const uint8_t *s, const symbol *a, const symbol *b) {
    if (v->ranks) {
        const size_t n = (size_t)a->n + b->n;
        const int32_t id = n <= v->max_bytes ? dt_vocab_find(v, s + a->off, n, false) : NO_TOKEN;
        return id < 0 ? no_merge : (merged){v->ranks[id], id};
    }
    if (a->id < 0 || b->id < 0)
        return no_merge;
    const dt_merge_slot *m = dt_vocab_merge(v, (uint32_t)a->id, (uint32_t)b->id);
    return m ? (merged){m->rank, m->id} : no_merge;
}

/* The piece as its first symbols; returns how many. */
static size_t first_symbols(const dt_vocab *v, const uint8_t *s, size_t n, symbol *out) {
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        bool cut = false;
        int32_t id = v->chars ? NO_TOKEN : v->byte_id[s[i]];
        size_t len = 1;
        if (v->chars) {
            const int c = dt_utf8_next(s + i, n - i, &cp, &cut);
            len = (size_t)(c < 0 ? -c : c);
            id = dt_vocab_find(v, s + i, len, false);
        }
        out[k++] = (symbol){.id = id, .off = (uint32_t)i, .n = (uint32_t)len};
        i += len;
    }
    return k;
}

/* A symbol as ids: its token, else the tokens of its bytes, else the unknown token, one for neighbours if those are
 * fused (*after_unknown). */
static duet_status push_symbol(const dt_vocab *v, const uint8_t *s, const symbol *a, bool *after_unknown, duet_ids *out,
                               size_t *bad) {
    if (a->id >= 0) {
        *after_unknown = false;
        return dt_tok_push(out, a->id) ? DUET_OK : DUET_E_NOMEM;
    }
    bool bytes = true;
    for (uint32_t i = 0; i < a->n; i++)
        bytes = bytes && v->byte_id[s[a->off + i]] >= 0;
    if (bytes) {
        *after_unknown = false;
        for (uint32_t i = 0; i < a->n; i++)
            if (!dt_tok_push(out, v->byte_id[s[a->off + i]]))
                return DUET_E_NOMEM;
        return DUET_OK;
    }
    if (!v->has_unknown) {
        *bad = a->off;
        return DUET_E_FORMAT;
    }
    const bool skip = *after_unknown && v->fuse_unknown;
    *after_unknown = true;
    return skip || dt_tok_push(out, v->unknown) ? DUET_OK : DUET_E_NOMEM;
}

static duet_status merge_short(const dt_vocab *v, const uint8_t *s, size_t n, duet_ids *out, size_t *bad) {
    symbol sym[SHORT];
    merged made[SHORT]; /* of sym[i] with sym[i + 1] */
    size_t k = first_symbols(v, s, n, sym);
    for (size_t i = 0; i + 1 < k; i++)
        made[i] = pair_of(v, s, &sym[i], &sym[i + 1]);
    while (k > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < k; i++)
            if (made[i].rank < made[best].rank)
                best = i;
        if (made[best].id < 0)
            break;
        sym[best].id = made[best].id;
        sym[best].n += sym[best + 1].n;
        k--;
        for (size_t i = best + 1; i < k; i++) {
            sym[i] = sym[i + 1];
            made[i - 1] = made[i];
        }
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < k; i++)
            made[i] = pair_of(v, s, &sym[i], &sym[i + 1]);
    }
    bool after_unknown = false;
    duet_status st = DUET_OK;
    for (size_t i = 0; !st && i < k; i++)
        st = push_symbol(v, s, &sym[i], &after_unknown, out, bad);
    return st;
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

static bool offer(const dt_vocab *v, const uint8_t *s, dt_bpe_work *w, uint32_t pos) {
    const symbol *a = &w->sym[pos];
    if (a->next == NONE)
        return true;
    const symbol *b = &w->sym[a->next];
    const merged m = pair_of(v, s, a, b);
    return m.id < 0 || heap_push(w, (candidate){m.rank, m.id, pos, a->n, a->n + b->n});
}

static duet_status merge_long(const dt_vocab *v, dt_bpe_work *w, const uint8_t *s, size_t n, duet_ids *out,
                              size_t *bad) {
    if (n > w->cap) {
        symbol *sym = dt_realloc(w->sym, n, sizeof *sym);
        if (!sym)
            return DUET_E_NOMEM;
        w->sym = sym;
        w->cap = n;
    }
    w->n_heap = 0;
    const size_t k = first_symbols(v, s, n, w->sym);
    for (size_t i = 0; i < k; i++) {
        w->sym[i].prev = i ? (uint32_t)i - 1 : NONE;
        w->sym[i].next = i + 1 < k ? (uint32_t)i + 1 : NONE;
    }
    for (size_t i = 0; i < k; i++)
        if (!offer(v, s, w, (uint32_t)i))
            return DUET_E_NOMEM;
    while (w->n_heap) {
        const candidate c = heap_pop(w);
        symbol *a = &w->sym[c.pos];
        if (a->id == GONE || a->next == NONE || a->n != c.n_left || a->n + w->sym[a->next].n != c.n_both)
            continue; /* merged otherwise since */
        symbol *b = &w->sym[a->next];
        a->id = c.id;
        a->n = c.n_both;
        b->id = GONE;
        a->next = b->next;
        if (a->next != NONE)
            w->sym[a->next].prev = c.pos;
        if (a->prev != NONE && !offer(v, s, w, a->prev))
            return DUET_E_NOMEM;
        if (!offer(v, s, w, c.pos))
            return DUET_E_NOMEM;
    }
    bool after_unknown = false;
    duet_status st = DUET_OK;
    for (uint32_t i = 0; !st && i != NONE; i = w->sym[i].next)
        st = push_symbol(v, s, &w->sym[i], &after_unknown, out, bad);
    return st;
}

duet_status dt_bpe_piece(const dt_vocab *v, dt_bpe_work *w, const uint8_t *s, size_t n, duet_ids *out, size_t *bad) {
    if (!n)
        return DUET_OK;
    if (v->ignore_merges) {
        int32_t id = dt_vocab_find(v, s, n, false);
        if (id >= 0)
            return dt_tok_push(out, id) ? DUET_OK : DUET_E_NOMEM;
    }
    return n <= SHORT ? merge_short(v, s, n, out, bad) : merge_long(v, w, s, n, out, bad);
}
