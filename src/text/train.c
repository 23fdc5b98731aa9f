/* Byte-pair training: the most frequent pair of neighbours becomes a token, until there are enough.
 * Equal counts are decided by the lower pair of ids, so a corpus gives one file on every machine. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct word {
    size_t off; /* into corpus.sym and corpus.bytes: a word never grows */
    uint32_t n, n_bytes;
    uint64_t count;
} word;

typedef struct pair {
    int32_t left, right; /* left -1: free */
    uint64_t count;
    uint32_t *where; /* words that have or had it, in the order they were met */
    size_t n_where, cap_where;
} pair;

typedef struct best {
    uint64_t count;
    int32_t left, right;
} best;

typedef struct corpus {
    dt_buf bytes;
    int32_t *sym; /* current symbols of all words */
    word *words;
    size_t n_words, cap_words;
    uint32_t *slots; /* word index + 1 by hash of bytes */
    size_t n_slots;
    pair *pairs; /* open addressing */
    size_t n_pairs, cap_pairs;
    best *heap; /* counts in it may be out of date: too high, never too low */
    size_t n_heap, cap_heap;
} corpus;

static void corpus_clear(corpus *c) {
    for (size_t i = 0; i < c->cap_pairs; i++)
        free(c->pairs[i].where);
    free(c->pairs);
    free(c->heap);
    free(c->slots);
    free(c->words);
    free(c->sym);
    dt_buf_clear(&c->bytes);
    *c = (corpus){0};
}

/* ---- words ---- */

static bool grow_words(corpus *c) {
    const size_t cap = c->cap_words ? 2 * c->cap_words : 1024;
    word *w = dt_realloc(c->words, cap, sizeof *w);
    if (!w)
        return false;
    c->words = w;
    c->cap_words = cap;
    uint32_t *slots = dt_calloc(2 * cap, sizeof *slots);
    if (!slots)
        return false;
    for (size_t k = 0; k < c->n_words; k++) {
        size_t i = dt_hash64(c->bytes.data + w[k].off, w[k].n_bytes, 0) & (2 * cap - 1);
        while (slots[i])
            i = (i + 1) & (2 * cap - 1);
        slots[i] = (uint32_t)k + 1;
    }
    free(c->slots);
    c->slots = slots;
    c->n_slots = 2 * cap;
    return true;
}

static duet_status count_word(void *user, const char *s, size_t n, duet_err *err) {
    corpus *c = user;
    if (c->n_words == c->cap_words && (c->n_words >= UINT32_MAX / 4 || !grow_words(c)))
        goto no_memory;
    size_t i = dt_hash64(s, n, 0) & (c->n_slots - 1);
    for (; c->slots[i]; i = (i + 1) & (c->n_slots - 1)) {
        word *w = &c->words[c->slots[i] - 1];
        if (w->n_bytes == n && !memcmp(c->bytes.data + w->off, s, n)) {
            w->count++;
            return DUET_OK;
        }
    }
    c->words[c->n_words] = (word){c->bytes.len, (uint32_t)n, (uint32_t)n, 1};
    if (!dt_buf_add(&c->bytes, s, n))
        goto no_memory;
    c->slots[i] = (uint32_t)++c->n_words;
    return DUET_OK;
no_memory:
    return dt_fail(err, DUET_E_NOMEM, "no memory for the words of the training texts");
}

/* ---- pairs ---- */

static pair *pair_slot(const corpus *c, int32_t left, int32_t right) {
    const uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 32) & (c->cap_pairs - 1);
    while (c->pairs[i].left >= 0 && (c->pairs[i].left != left || c->pairs[i].right != right))
        i = (i + 1) & (c->cap_pairs - 1);
    return &c->pairs[i];
}

static bool grow_pairs(corpus *c) {
    corpus old = *c;
    c->cap_pairs = old.cap_pairs ? 2 * old.cap_pairs : 4096;
    c->pairs = dt_calloc(c->cap_pairs, sizeof *c->pairs);
    if (!c->pairs) {
        c->pairs = old.pairs;
        c->cap_pairs = old.cap_pairs;
        return false;
    }
    for (size_t i = 0; i < c->cap_pairs; i++)
        c->pairs[i].left = -1;
    for (size_t i = 0; i < old.cap_pairs; i++)
        if (old.pairs[i].left >= 0)
            *pair_slot(c, old.pairs[i].left, old.pairs[i].right) = old.pairs[i];
    free(old.pairs);
    return true;
}

/* Adds the word's pairs to the counts; with `fresh` only pairs of that id are noted for the heap. */
static bool add_pairs(corpus *c, uint32_t k) {
    const word *w = &c->words[k];
    for (uint32_t i = 0; i + 1 < w->n; i++) {
        if (2 * c->n_pairs >= c->cap_pairs && !grow_pairs(c))
            return false;
        /* a word has symbols, so sym is there. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
        pair *p = pair_slot(c, c->sym[w->off + i], c->sym[w->off + i + 1]);
        if (p->left < 0) {
            *p = (pair){.left = c->sym[w->off + i], .right = c->sym[w->off + i + 1]};
            c->n_pairs++;
        }
        p->count += w->count;
        if (p->n_where && p->where[p->n_where - 1] == k)
            continue;
        if (p->n_where == p->cap_where) {
            const size_t cap = p->cap_where ? 2 * p->cap_where : 4;
            uint32_t *v = dt_realloc(p->where, cap, sizeof *v);
            if (!v)
                return false;
            p->where = v;
            p->cap_where = cap;
        }
        p->where[p->n_where++] = k;
    }
    return true;
}

static void remove_pairs(corpus *c, uint32_t k) {
    const word *w = &c->words[k];
    for (uint32_t i = 0; i + 1 < w->n; i++)
        pair_slot(c, c->sym[w->off + i], c->sym[w->off + i + 1])->count -= w->count;
}

/* ---- the heap of pairs ---- */

static bool ahead(const best *a, const best *b) {
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static bool heap_push(corpus *c, best b) {
    if (c->n_heap == c->cap_heap) {
        const size_t cap = c->cap_heap ? 2 * c->cap_heap : 1024;
        best *h = dt_realloc(c->heap, cap, sizeof *h);
        if (!h)
            return false;
        c->heap = h;
        c->cap_heap = cap;
    }
    size_t i = c->n_heap++;
    for (; i && ahead(&b, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
        c->heap[i] = c->heap[(i - 1) / 2];
    c->heap[i] = b;
    return true;
}

static best heap_pop(corpus *c) {
    const best top = c->heap[0], last = c->heap[--c->n_heap];
    size_t i = 0;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= c->n_heap)
            break;
        if (k + 1 < c->n_heap && ahead(&c->heap[k + 1], &c->heap[k]))
            k++;
        if (!ahead(&c->heap[k], &last))
            break;
        c->heap[i] = c->heap[k];
        i = k;
    }
    c->heap[i] = last;
    return top;
}

/* ---- training ---- */

static bool merge_in_word(corpus *c, uint32_t k, int32_t left, int32_t right, int32_t id) {
    word *w = &c->words[k];
    int32_t *s = c->sym + w->off;
    uint32_t n = 0;
    bool found = false;
    for (uint32_t i = 0; i + 1 < w->n && !found; i++)
        found = s[i] == left && s[i + 1] == right; /* as above. NOLINT(clang-analyzer-core.NullDereference) */
    if (!found)
        return true; /* merged otherwise since it was noted */
    remove_pairs(c, k);
    for (uint32_t i = 0; i < w->n; n++) {
        const bool hit = i + 1 < w->n && s[i] == left && s[i + 1] == right;
        s[n] = hit ? id : s[i];
        i += hit ? 2 : 1;
    }
    w->n = n;
    return add_pairs(c, k);
}

/* Pairs with the new id that a word brought: they are the only ones whose count can have grown. */
static bool offer_new(corpus *c, uint32_t k, int32_t id) {
    const word *w = &c->words[k];
    const int32_t *s = c->sym + w->off;
    for (uint32_t i = 0; i + 1 < w->n; i++)
        if (s[i] == id || s[i + 1] == id) {
            const pair *p = pair_slot(c, s[i], s[i + 1]);
            if (!heap_push(c, (best){p->count, s[i], s[i + 1]}))
                return false;
        }
    return true;
}

static bool merge_pair(corpus *c, const best *b, int32_t id) {
    pair *p = pair_slot(c, b->left, b->right);
    uint32_t *where = p->where; /* the table may move below, and (x x) grows its own list */
    const size_t n = p->n_where;
    bool ok = true;
    p->where = NULL;
    p->n_where = p->cap_where = 0;
    for (size_t i = 0; ok && i < n; i++)
        ok = merge_in_word(c, where[i], b->left, b->right, id);
    for (size_t i = 0; ok && i < n; i++) /* after all words: with the final counts */
        ok = offer_new(c, where[i], id);
    free(where);
    return ok;
}

static duet_status add_merged(dt_vocab *v, const best *b, duet_err *err) {
    const dt_token *l = &v->tokens[b->left], *r = &v->tokens[b->right];
    dt_buf both = {0};
    bool ok = dt_buf_add(&both, v->pool.data + l->off, l->n) && dt_buf_add(&both, v->pool.data + r->off, r->n);
    duet_status st = DUET_OK;
    if (ok && dt_vocab_find(v, both.data, both.len, false) >= 0) {
        st = DUET_END; /* the same bytes are a token already, made from other parts */
    } else if (ok && dt_vocab_put(v, v->size, both.data, both.len, DT_TOK_VOCAB)) {
        dt_vocab_add_merge(v, (uint32_t)b->left, (uint32_t)b->right, (uint32_t)v->size);
        v->size++;
    } else {
        st = dt_fail(err, DUET_E_NOMEM, "no memory for the vocabulary");
    }
    dt_buf_clear(&both);
    return st;
}

static duet_status learn(corpus *c, dt_vocab *v, int32_t size, uint64_t min_count, duet_err *err) {
    static const char no_memory[] = "no memory to train a tokenizer on %zu different words";
    c->sym = dt_calloc(c->bytes.len, sizeof *c->sym);
    bool ok = c->sym || !c->bytes.len;
    for (size_t i = 0; ok && i < c->bytes.len; i++)
        c->sym[i] = v->byte_id[(uint8_t)c->bytes.data[i]];
    for (size_t k = 0; ok && k < c->n_words; k++)
        ok = add_pairs(c, (uint32_t)k);
    for (size_t i = 0; ok && i < c->cap_pairs; i++)
        if (c->pairs[i].left >= 0)
            ok = heap_push(c, (best){c->pairs[i].count, c->pairs[i].left, c->pairs[i].right});
    while (ok && v->size < size && c->n_heap) {
        best b = heap_pop(c);
        const uint64_t now = pair_slot(c, b.left, b.right)->count;
        if (now < b.count) { /* fell since: back to where it belongs */
            if (now >= min_count)
                ok = heap_push(c, (best){now, b.left, b.right});
            continue;
        }
        if (b.count < min_count)
            break;
        const duet_status st = add_merged(v, &b, err);
        if (st == DUET_END)
            continue;
        if (st)
            return st;
        ok = merge_pair(c, &b, v->size - 1);
    }
    return ok ? DUET_OK : dt_fail(err, DUET_E_NOMEM, no_memory, c->n_words);
}

duet_status duet_tokenizer_train(const duet_bpe_train *opt, const char *const *texts, const size_t *lens, size_t n,
                                 duet_tokenizer **out, duet_err *err) {
    dt_vocab v = {0};
    corpus c = {0};
    duet_tokenizer *splitter = NULL;
    bool use[256];
    int n_base = 0;

    *out = NULL;
    memset(use, 1, sizeof use);
    duet_status st = dt_tok_begin(&v, use, 0, err); /* a tokenizer without merges cuts the texts */
    if (!st)
        st = dt_tok_finish(&v, opt->pattern, &splitter, err);
    for (size_t i = 0; !st && i < n; i++) {
        st = dt_tokenizer_pieces(splitter, texts[i], lens[i], count_word, &c, err);
        if (st)
            st = dt_fail_in(err, st, "training text %zu", i);
    }
    if (st)
        goto done;

    if (opt->alphabet) { /* printable ASCII and the newline, which chat layouts need, and what occurs */
        for (int b = 0; b < 256; b++)
            use[b] = (b >= 32 && b < 127) || b == '\n';
        for (size_t i = 0; i < c.bytes.len; i++)
            use[(uint8_t)c.bytes.data[i]] = true;
    }
    for (int b = 0; b < 256; b++)
        n_base += use[b];
    if (opt->n_vocab < n_base + DT_TOK_N_ADDED) {
        st = dt_fail(err, DUET_E_RANGE, "a vocabulary of %d is too small: %d bytes and %d added tokens are needed",
                     opt->n_vocab, n_base, DT_TOK_N_ADDED);
        goto done;
    }
    dt_vocab_clear(&v);
    st = dt_tok_begin(&v, use, (size_t)(opt->n_vocab - DT_TOK_N_ADDED - n_base), err);
    if (!st)
        st = learn(&c, &v, opt->n_vocab - DT_TOK_N_ADDED, opt->min_count > 0 ? (uint64_t)opt->min_count : 2, err);
    if (!st)
        st = dt_tok_finish(&v, opt->pattern, out, err);
done:
    corpus_clear(&c);
    dt_vocab_clear(&v);
    duet_tokenizer_close(splitter);
    return st;
}
