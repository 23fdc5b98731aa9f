/* Text -> ids: added tokens first, then normalization, splitting and merging of what stands between them.
 * A call keeps the ids of the short pieces it has met, so a long text merges each of its words once. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define CACHE_SLOTS 4096
#define CACHE_BYTES 23  /* longest piece that is kept: nearly all words */
#define CACHE_FROM 2048 /* shorter texts do not repay the table */

typedef struct cached {
    uint8_t n; /* 0 = free */
    char s[CACHE_BYTES];
    uint32_t n_ids;
    size_t at; /* its ids stand in the output already */
} cached;

typedef struct encoder {
    const duet_tokenizer *t;
    int flags;
    duet_ids *out;
    dt_regex_work *regex;
    dt_bpe_work *bpe;
    dt_pieces pieces, scratch;
    cached *cache;
    dt_buf spaced; /* a segment with the space that ByteLevel puts before it */
    bool begun;    /* something of the text is behind */
    const char *text;
    size_t n_text;
    dt_piece_fn visit; /* takes the pieces instead of the merges; NULL = encode them */
    void *user;
    duet_err *err;
} encoder;

static duet_status no_memory(encoder *e) {
    return dt_fail(e->err, DUET_E_NOMEM, "no memory to encode %zu bytes of text", e->n_text);
}

/* The character around byte `bad` of a piece is not in a reduced alphabet: name it, and where the text first has it. */
static duet_status unknown_char(encoder *e, const char *s, size_t n, size_t bad) {
    char q[DT_TOK_QUOTE];
    uint32_t cp = 0;
    bool cut = false;
    while (bad && ((uint8_t)s[bad] & 0xc0) == 0x80)
        bad--;
    const int len = dt_utf8_next((const uint8_t *)s + bad, n - bad, &cp, &cut);
    const size_t k = (size_t)(len < 0 ? -len : len);
    const char *at = memmem(e->text, e->n_text, s + bad, k);
    if (!at) /* normalization made it */
        return dt_fail(e->err, DUET_E_FORMAT, "character %s is not in this tokenizer's alphabet",
                       dt_tok_quote(q, s + bad, k));
    return dt_fail(e->err, DUET_E_FORMAT, "character %s at byte %zu is not in this tokenizer's alphabet",
                   dt_tok_quote(q, s + bad, k), (size_t)(at - e->text));
}

static duet_status encode_piece(encoder *e, const char *s, size_t n) {
    size_t bad = 0;
    const size_t at = e->out->n;
    cached *c = NULL;
    if (e->visit)
        return e->visit(e->user, s, n, e->err);
    if (e->cache && n <= CACHE_BYTES) {
        c = &e->cache[dt_hash64(s, n, 0) & (CACHE_SLOTS - 1)];
        if (c->n == n && !memcmp(c->s, s, n)) {
            for (uint32_t i = 0; i < c->n_ids; i++)
                if (!dt_tok_push(e->out, e->out->v[c->at + i]))
                    return no_memory(e);
            return DUET_OK;
        }
    }
    duet_status st = dt_bpe_piece(&e->t->vocab, e->bpe, (const uint8_t *)s, n, e->out, &bad);
    if (st == DUET_E_FORMAT)
        return unknown_char(e, s, n, bad);
    if (st)
        return no_memory(e);
    if (c) {
        c->n = (uint8_t)n;
        memcpy(c->s, s, n);
        c->at = at;
        c->n_ids = (uint32_t)(e->out->n - at);
    }
    return DUET_OK;
}

/* Normalized text without added tokens. */
static duet_status encode_words(encoder *e, const char *s, size_t n) {
    if (!n)
        return DUET_OK;
    const bool prefix = e->t->prefix_space && !(e->begun && e->t->prefix_first);
    e->begun = true;
    if (prefix && s[0] != ' ') {
        e->spaced.len = 0;
        if (!dt_buf_add(&e->spaced, " ", 1) || !dt_buf_add(&e->spaced, s, n))
            return no_memory(e);
        s = e->spaced.data;
        n = e->spaced.len;
    }
    duet_status st = dt_split_run(e->t->splits, e->t->n_splits, e->regex, s, n, &e->pieces, &e->scratch, e->err);
    for (size_t i = 0; !st && i < e->pieces.n; i++)
        st = encode_piece(e, s + e->pieces.v[i].off, e->pieces.v[i].n);
    return st;
}

/* Cuts s at the added tokens of one trie; what is between goes to `rest`. */
typedef duet_status (*rest_fn)(encoder *e, const char *s, size_t n);
static duet_status encode_around(encoder *e, const dt_trie *trie, const char *s, size_t n, rest_fn rest) {
    size_t done = 0, scan = 0, b = 0, end = 0;
    int32_t k = 0;
    duet_status st = DUET_OK;
    while (!st && dt_added_next(trie, e->t->added, e->flags, s, n, done, &scan, &k, &b, &end)) {
        if (b > done)
            st = rest(e, s + done, b - done);
        if (!st && !dt_tok_push(e->out, e->t->added[k].id))
            st = no_memory(e);
        e->begun = true;
        if (end > done)
            done = end;
    }
    return st ? st : rest(e, s + done, n - done);
}

static duet_status encode_raw(encoder *e, const char *s, size_t n) {
    char *mem = NULL;
    duet_status st = n ? dt_tok_normalize(e->t, s, n, &mem, &s, &n, e->err) : DUET_OK;
    if (!st)
        st = encode_around(e, &e->t->normal, s, n, encode_words);
    free(mem);
    return st;
}

static duet_status encode_text(encoder *e) {
    const duet_tokenizer *t = e->t;
    const bool whole = (e->flags & DUET_ENC_ADD_SPECIAL) != 0;
    const size_t n_before = e->out->n, n = e->n_text;
    duet_status st = DUET_OK;

    if (n > INT32_MAX)
        return dt_fail(e->err, DUET_E_RANGE, "a text of %zu bytes is too long to encode at once", n);
    const size_t bad = dt_utf8_bad(e->text, n);
    if (bad < n)
        return dt_fail(e->err, DUET_E_FORMAT, "text is not UTF-8: byte 0x%02x at offset %zu",
                       (unsigned)(uint8_t)e->text[bad], bad);

    e->regex = dt_regex_work_create();
    e->bpe = dt_bpe_work_create();
    if (n >= CACHE_FROM)
        e->cache = dt_calloc(CACHE_SLOTS, sizeof *e->cache);
    if (!e->regex || !e->bpe || (n >= CACHE_FROM && !e->cache)) {
        st = no_memory(e);
        goto done;
    }
    if (whole && !dt_tok_append(e->out, t->prefix.v, t->prefix.n))
        st = no_memory(e);
    if (!st && n)
        st = encode_around(e, &t->raw, e->text, n, encode_raw);
    if (!st && whole && !dt_tok_append(e->out, t->suffix.v, t->suffix.n))
        st = no_memory(e);
done:
    if (st)
        e->out->n = n_before; /* all or nothing */
    dt_regex_work_destroy(e->regex);
    dt_bpe_work_destroy(e->bpe);
    free(e->pieces.v);
    free(e->scratch.v);
    free(e->cache);
    dt_buf_clear(&e->spaced);
    return st;
}

duet_status duet_tokenizer_encode(const duet_tokenizer *t, const char *text, size_t n, int flags, duet_ids *out,
                                  duet_err *err) {
    encoder e = {.t = t, .flags = flags, .out = out, .text = text, .n_text = n, .err = err};
    return encode_text(&e);
}

duet_status dt_tokenizer_pieces(const duet_tokenizer *t, const char *text, size_t n, dt_piece_fn fn, void *user,
                                duet_err *err) {
    duet_ids none = {0}; /* the added tokens land here */
    encoder e = {.t = t, .out = &none, .text = text, .n_text = n, .visit = fn, .user = user, .err = err};
    duet_status st = encode_text(&e);
    duet_ids_free(&none);
    return st;
}
