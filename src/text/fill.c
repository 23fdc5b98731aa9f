/* Lists of a vocabulary file -> dt_vocab: every id, size and merge is checked here once, whatever file it came from. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

duet_status dt_tok_measure(dt_tok_room *r, const char *s, size_t n, int64_t id, duet_err *err) {
    char q[DT_TOK_QUOTE];
    if (id < 0 || id >= DT_TOK_MAX_IDS)
        return dt_fail(err, DUET_E_FORMAT, "token %s has the id %lld, outside 0..%d", dt_tok_quote(q, s, n),
                       (long long)id, DT_TOK_MAX_IDS - 1);
    if (n > DT_TOK_MAX_BYTES)
        return dt_fail(err, DUET_E_FORMAT, "token %d has %zu bytes, more than %zu", (int)id, n, DT_TOK_MAX_BYTES);
    if (id >= r->size)
        r->size = (int32_t)id + 1;
    r->n_bytes += n;
    r->n_tokens++;
    return DUET_OK;
}

/* Appends one token straight into the pool, where its raw bytes are wanted anyway. */
static duet_status put_token(dt_vocab *v, const dt_tok_entry *e, duet_err *err) {
    const int32_t id = (int32_t)e->id;
    char q[DT_TOK_QUOTE], small[256], *raw = e->n <= sizeof small ? small : malloc(e->n);
    size_t k = 0;
    if (!raw)
        return dt_fail(err, DUET_E_NOMEM, "no memory for the vocabulary");
    uint32_t kind = 0;
    if (e->raw)
        k = dt_spaces_unspell(e->s, e->n, raw);
    else
        kind = dt_vocab_unspell(v, e->s, e->n, raw, &k);
    const int32_t byte = kind == DT_TOK_BYTE ? v->byte_id[(uint8_t)raw[0]] : -1;
    const bool put = dt_vocab_put(v, id, raw, k, DT_TOK_VOCAB | kind);
    const int32_t first = byte >= 0 ? byte : kind == DT_TOK_BYTE ? id : dt_vocab_find(v, raw, k, kind == DT_TOK_ODD);
    if (raw != small)
        free(raw);
    if (!put)
        return dt_fail(err, DUET_E_NOMEM, "no memory for the vocabulary");
    if (first != id)
        return dt_fail(err, DUET_E_FORMAT, "ids %d and %d are the same token %s", first, id,
                       dt_tok_quote(q, e->s, e->n));
    return DUET_OK;
}

duet_status dt_tok_fill(dt_vocab *v, const dt_tok_lists *l, dt_tok_room *more, duet_err *err) {
    char q[DT_TOK_QUOTE];
    for (size_t i = 0; i < l->n_vocab; i++) {
        duet_status st = dt_tok_measure(more, l->vocab[i].s, l->vocab[i].n, l->vocab[i].id, err);
        if (st)
            return st;
    }
    if ((size_t)more->size > more->n_tokens + DT_TOK_MAX_GAP)
        return dt_fail(err, DUET_E_FORMAT, "the largest id is %d but there are only %zu tokens", more->size - 1,
                       more->n_tokens);
    if (!dt_vocab_reserve(v, more->n_tokens, more->size, more->n_bytes))
        return dt_fail(err, DUET_E_NOMEM, "no memory for %d tokens", more->size);
    for (size_t i = 0; i < l->n_vocab; i++) {
        const dt_tok_entry *e = &l->vocab[i];
        if (v->tokens[e->id].flags)
            return dt_fail(err, DUET_E_FORMAT, "id %d is given twice, once to token %s", (int)e->id,
                           dt_tok_quote(q, e->s, e->n));
        duet_status st = put_token(v, e, err);
        if (st)
            return st;
    }
    return DUET_OK;
}

/* Ids of left, right and both together. Where the spelling of the whole is that of its parts, which it is in all real
 * files, each part is unspelled once. */
static int find_merge(const dt_vocab *v, const dt_tok_pair *m, dt_buf *b, int32_t id[3]) {
    size_t k[2] = {0, 0};
    b->len = 0;
    if (!dt_buf_reserve(b, m->n[0] + m->n[1]))
        return -1;
    if (!dt_vocab_unspell(v, m->s[0], m->n[0], b->data, &k[0]) &&
        !dt_vocab_unspell(v, m->s[1], m->n[1], b->data + k[0], &k[1])) {
        id[0] = dt_vocab_find(v, b->data, k[0], false);
        id[1] = dt_vocab_find(v, b->data + k[0], k[1], false);
        id[2] = dt_vocab_find(v, b->data, k[0] + k[1], false);
    } else {
        dt_buf_add(b, m->s[0], m->n[0]);
        dt_buf_add(b, m->s[1], m->n[1]);
        id[0] = dt_vocab_find_spelled(v, m->s[0], m->n[0]);
        id[1] = dt_vocab_find_spelled(v, m->s[1], m->n[1]);
        id[2] = dt_vocab_find_spelled(v, b->data, b->len);
    }
    for (int j = 0; j < 3; j++)
        if (id[j] < 0)
            return j + 1;
    return 0;
}

duet_status dt_tok_fill_merges(dt_vocab *v, const dt_tok_lists *l, duet_err *err) {
    duet_status st = DUET_OK;
    dt_buf b = {0};
    char q[DT_TOK_QUOTE];

    if (l->n_merges > INT32_MAX || !dt_vocab_reserve_merges(v, l->n_merges))
        return dt_fail(err, DUET_E_NOMEM, "no memory for %zu merges", l->n_merges);
    for (size_t i = 0; !st && i < l->n_merges; i++) {
        const dt_tok_pair *m = &l->merges[i];
        int32_t id[3] = {0};
        if (!m->n[0] || !m->n[1] || m->n[0] > DT_TOK_MAX_BYTES || m->n[1] > DT_TOK_MAX_BYTES) {
            st = dt_fail(err, DUET_E_FORMAT, "merge %zu is not a pair of tokens", i);
            break;
        }
        const int bad = find_merge(v, m, &b, id);
        if (bad < 0) {
            st = dt_fail(err, DUET_E_NOMEM, "no memory for merges");
        } else if (bad == 3) {
            b.len = 0;
            dt_buf_add(&b, m->s[0], m->n[0]);
            dt_buf_add(&b, m->s[1], m->n[1]);
            st = dt_fail(err, DUET_E_FORMAT, "merge %zu makes %s, which is not in the vocabulary", i,
                         dt_tok_quote(q, b.data, b.len));
        } else if (bad) {
            st = dt_fail(err, DUET_E_FORMAT, "merge %zu names %s, which is not in the vocabulary", i,
                         dt_tok_quote(q, m->s[bad - 1], m->n[bad - 1]));
        } else {
            dt_vocab_add_merge(v, (uint32_t)id[0], (uint32_t)id[1], (uint32_t)id[2]);
        }
    }
    dt_buf_clear(&b);
    return st;
}

/* ---- added tokens ---- */

duet_status dt_tok_reserve_added(duet_tokenizer *t, size_t n, size_t n_bytes, duet_err *err) {
    t->added = dt_calloc(n + 1, sizeof *t->added);
    t->added_text = dt_calloc(n_bytes + n + 1, 1);
    return t->added && t->added_text ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
}

/* Its raw bytes: an added token stands in texts as it is written, but where U+2581 is how the file writes a space. */
static bool put_added(duet_tokenizer *t, const dt_added *a, uint32_t flags) {
    if (!t->vocab.chars)
        return dt_vocab_put(&t->vocab, a->id, a->content, a->n, flags);
    dt_buf b = {0};
    const bool ok = dt_buf_reserve(&b, a->n) &&
                    dt_vocab_put(&t->vocab, a->id, b.data, dt_spaces_unspell(a->content, a->n, b.data), flags);
    dt_buf_clear(&b);
    return ok;
}

/* The token of the vocabulary that an added token is, -1 = none. Its own id goes before its spelling: a GGUF file may
 * write real spaces. */
static int32_t find_content(const dt_vocab *v, const dt_added *a) {
    const dt_token *tok = &v->tokens[a->id];
    const int32_t id = dt_vocab_find_spelled(v, a->content, a->n);
    if (id < 0 && (tok->flags & DT_TOK_VOCAB) && tok->n == a->n && !memcmp(v->pool.data + tok->off, a->content, a->n))
        return a->id;
    return id;
}

duet_status dt_tok_put_added(duet_tokenizer *t, const dt_added *a, duet_err *err) {
    char q[DT_TOK_QUOTE];
    dt_token *tok = &t->vocab.tokens[a->id];
    const uint32_t flags = DT_TOK_ADDED | (a->special ? DT_TOK_SPECIAL : 0u);
    const int32_t in_vocab = find_content(&t->vocab, a);
    if (in_vocab >= 0 && in_vocab != a->id)
        return dt_fail(err, DUET_E_FORMAT, "added token %s has the id %d, but the vocabulary gives it %d",
                       dt_tok_quote(q, a->content, a->n), a->id, in_vocab);
    if (tok->flags && in_vocab != a->id)
        return dt_fail(err, DUET_E_FORMAT, "added token %s has the id %d, which another token has",
                       dt_tok_quote(q, a->content, a->n), a->id);
    if (tok->flags & DT_TOK_ADDED)
        return dt_fail(err, DUET_E_FORMAT, "added token %s is listed twice", dt_tok_quote(q, a->content, a->n));
    dt_added *to = &t->added[t->n_added++];
    *to = *a;
    to->content = t->added_text + t->n_added_text;
    memcpy(t->added_text + t->n_added_text, a->content, a->n);
    t->n_added_text += a->n + 1;
    if (tok->flags)
        tok->flags |= flags;
    else if (!put_added(t, a, flags))
        return dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
    return DUET_OK;
}

static int by_id(const void *a, const void *b) {
    const int32_t x = ((const dt_added *)a)->id, y = ((const dt_added *)b)->id;
    return (x > y) - (x < y);
}

/* Contents that are to be found in normalized text are normalized themselves. */
duet_status dt_tok_index_added(duet_tokenizer *t, duet_err *err) {
    if (t->n_added)
        qsort(t->added, t->n_added, sizeof *t->added, by_id);
    for (size_t i = 0; i < t->n_added; i++) {
        const dt_added *a = &t->added[i];
        const char *s = a->content;
        size_t n = a->n;
        char *mem = NULL;
        int32_t was = -1;
        duet_status st = DUET_OK;
        if (a->normalized && n)
            st = dt_tok_normalize(t, a->content, a->n, &mem, &s, &n, err);
        if (!st && n && !dt_trie_add(a->normalized ? &t->normal : &t->raw, s, n, (int32_t)i, &was))
            st = dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
        free(mem);
        if (!st && was >= 0 && t->added[was].n == a->n && !memcmp(t->added[was].content, a->content, a->n))
            st = dt_fail(err, DUET_E_FORMAT, "ids %d and %d are the same added token", t->added[was].id, a->id);
        if (st)
            return st;
    }
    return DUET_OK;
}
