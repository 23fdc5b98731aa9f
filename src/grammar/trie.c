/* A vocabulary in the order of its bytes: a trie whose places stand before what is below them, each with the place where its
 * branch ends, so that a branch is left in one step. */
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TOKEN 255 /* bytes; the few longer ones never come */

typedef struct entry {
    const char *bytes;
    size_t n;
    int32_t id;
} entry;

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->bytes, y->bytes, n);
    return order ? order : x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->id > y->id) - (x->id < y->id);
}

static size_t collect(const duet_tokenizer *t, int32_t size, entry *v, size_t *n_bytes) {
    size_t n = 0;
    *n_bytes = 0;
    for (int32_t id = 0; id < size; id++) {
        size_t len = 0;
        const char *bytes = duet_tokenizer_bytes(t, id, &len);
        if (bytes && len > 0 && len <= MAX_TOKEN && !duet_tokenizer_is_added(t, id) && !duet_tokenizer_is_special(t, id)) {
            v[n++] = (entry){bytes, len, id};
            *n_bytes += len;
        }
    }
    qsort(v, n, sizeof *v, by_bytes);
    return n;
}

static void fill(duet_vocab_trie *t, const entry *v, size_t n) {
    int32_t open[MAX_TOKEN + 1]; /* the place at each depth of the way to the last token */
    size_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        size_t same = 0;
        while (same < depth && same < v[i].n && v[i].bytes[same] == v[i - 1].bytes[same]) {
            same++;
        }
        t->sorted[i] = v[i].id;
        t->again[i] = i > 0 && same == v[i].n && v[i].n == v[i - 1].n;
        if (t->again[i]) {
            continue;
        }
        for (; depth > same; depth--) {
            t->places[open[depth - 1]].end = t->n_places;
        }
        for (; depth < v[i].n; depth++) {
            open[depth] = t->n_places;
            t->places[t->n_places++] = (dt_trie_place){.token = -1, .byte = (uint8_t)v[i].bytes[depth], .depth = (uint8_t)depth};
        }
        t->places[t->n_places - 1].token = (int32_t)i;
    }
    for (; depth > 0; depth--) {
        t->places[open[depth - 1]].end = t->n_places;
    }
    t->n_sorted = (int32_t)n;
}

static int missing(const entry *v, size_t n) {
    bool alone[256] = {false};
    for (size_t i = 0; i < n; i++) {
        alone[(uint8_t)v[i].bytes[0]] = alone[(uint8_t)v[i].bytes[0]] || v[i].n == 1;
    }
    for (int b = ' '; b < 0x7F; b++) {
        if (!alone[b]) {
            return b;
        }
    }
    return alone['\n'] ? -1 : '\n';
}

duet_status duet_vocab_trie_create(const duet_tokenizer *tok, duet_vocab_trie **out, duet_err *err) {
    int32_t size = duet_tokenizer_size(tok);
    size_t n = 0, n_bytes = 0;
    *out = NULL;
    duet_vocab_trie *t = dt_calloc(1, sizeof *t);
    entry *v = dt_calloc((size_t)size + 1, sizeof *v);
    if (t && v) {
        t->t = tok;
        t->size = size;
        n = collect(tok, size, v, &n_bytes);
        t->sorted = dt_calloc(n + 1, sizeof *t->sorted);
        t->again = dt_calloc(n + 1, 1);
        t->places = n_bytes < INT32_MAX ? dt_calloc(n_bytes + 1, sizeof *t->places) : NULL;
    }
    if (!t || !v || !t->sorted || !t->again || !t->places) {
        free(v);
        duet_vocab_trie_destroy(t);
        return dt_fail(err, DUET_E_NOMEM, "grammar: no memory for a vocabulary of %d tokens", (int)size);
    }
    fill(t, v, n);
    t->lacks = missing(v, n);
    dt_trie_place *places = dt_realloc(t->places, (size_t)t->n_places + 1, sizeof *places);
    t->places = places ? places : t->places;
    free(v);
    *out = t;
    return DUET_OK;
}

void duet_vocab_trie_destroy(duet_vocab_trie *t) {
    if (t) {
        free(t->sorted);
        free(t->again);
        free(t->places);
        free(t);
    }
}
