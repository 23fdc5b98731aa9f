/* Ids -> text, at once or token by token, and what can be asked about a token.
 * Bytes of all tokens are joined first and read as UTF-8 then: a character may be spread over several tokens. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* Appends s with every invalid prefix replaced. With `open_end` an incomplete last character is left; returns how
 * many bytes of s were used up. */
static size_t add_lossy(dt_buf *out, const char *s, size_t n, bool open_end) {
    size_t i = 0, from = 0;
    while (i < n) {
        i += dt_utf8_bad(s + i, n - i);
        if (i == n)
            break;
        uint32_t cp = 0;
        bool cut = false;
        const int len = dt_utf8_next((const uint8_t *)s + i, n - i, &cp, &cut);
        if (cut && open_end)
            break;
        if (i > from)
            dt_buf_add(out, s + from, i - from);
        dt_buf_add(out, replacement, 3);
        i += (size_t)-len;
        from = i;
    }
    if (i > from)
        dt_buf_add(out, s + from, i - from);
    return i;
}

static const dt_token *token_of(const duet_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->vocab.size && t->vocab.tokens[id].flags ? &t->vocab.tokens[id] : NULL;
}

static duet_status add_bytes(const duet_tokenizer *t, int32_t id, bool skip_special, dt_buf *out, duet_err *err) {
    const dt_token *k = token_of(t, id);
    if (!k)
        return dt_fail(err, DUET_E_RANGE, "there is no token %d (ids are 0..%d)", id, t->vocab.size - 1);
    if (skip_special && (k->flags & DT_TOK_SPECIAL))
        return DUET_OK;
    if (k->n && !dt_buf_add(out, t->vocab.pool.data + k->off, k->n))
        return dt_fail(err, DUET_E_NOMEM, "no memory to decode");
    return DUET_OK;
}

duet_status duet_tokenizer_decode(const duet_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                                  duet_text *out, duet_err *err) {
    duet_status st = DUET_OK;
    dt_buf raw = {0}, text = {0};

    *out = (duet_text){0};
    for (size_t i = 0; !st && i < n; i++)
        st = add_bytes(t, ids[i], skip_special, &raw, err);
    if (st)
        goto done;
    const size_t skip = t->strip_space && raw.len && raw.data[0] == ' ';
    if (raw.len > skip)
        add_lossy(&text, raw.data + skip, raw.len - skip, false);
    if (!dt_buf_reserve(&text, 1) || text.failed) {
        st = dt_fail(err, DUET_E_NOMEM, "no memory to decode %zu tokens", n);
        goto done;
    }
    text.data[text.len] = 0;
    out->n = text.len;
    out->data = dt_buf_take(&text);
done:
    dt_buf_clear(&raw);
    dt_buf_clear(&text);
    return st;
}

int32_t duet_tokenizer_size(const duet_tokenizer *t) {
    return t->vocab.size;
}

int32_t duet_tokenizer_id(const duet_tokenizer *t, const char *content) {
    const size_t n = strlen(content);
    for (size_t i = 0; i < t->n_added; i++)
        if (t->added[i].n == n && !memcmp(t->added[i].content, content, n))
            return t->added[i].id;
    const int32_t id = dt_vocab_find_spelled(&t->vocab, content, n);
    return id >= 0 ? id : dt_vocab_find(&t->vocab, content, n, false);
}

const char *duet_tokenizer_bytes(const duet_tokenizer *t, int32_t id, size_t *n) {
    const dt_token *k = token_of(t, id);
    *n = k ? k->n : 0;
    return k ? t->vocab.pool.data + k->off : NULL;
}

bool duet_tokenizer_is_added(const duet_tokenizer *t, int32_t id) {
    const dt_token *k = token_of(t, id);
    return k && (k->flags & DT_TOK_ADDED);
}

bool duet_tokenizer_is_special(const duet_tokenizer *t, int32_t id) {
    const dt_token *k = token_of(t, id);
    return k && (k->flags & DT_TOK_SPECIAL);
}

/* ---- streaming ---- */

struct duet_decoder {
    const duet_tokenizer *t; /* borrowed */
    bool skip_special;
    bool begun;  /* bytes have come, so that a space is not the first any more */
    dt_buf held; /* bytes that are not yet a whole character */
    dt_buf text; /* what the last push gave */
};

duet_status duet_decoder_create(const duet_tokenizer *t, bool skip_special, duet_decoder **out, duet_err *err) {
    *out = dt_calloc(1, sizeof **out);
    if (!*out)
        return dt_fail(err, DUET_E_NOMEM, "no memory for a decoder");
    (*out)->t = t;
    (*out)->skip_special = skip_special;
    return DUET_OK;
}

void duet_decoder_destroy(duet_decoder *d) {
    if (!d)
        return;
    dt_buf_clear(&d->held);
    dt_buf_clear(&d->text);
    free(d);
}

duet_status duet_decoder_push(duet_decoder *d, int32_t id, const char **text, size_t *n, duet_err *err) {
    *text = "";
    *n = 0;
    d->text.len = 0;
    if (id != -1) {
        duet_status st = add_bytes(d->t, id, d->skip_special, &d->held, err);
        if (st)
            return st;
    }
    if (!d->held.len)
        return DUET_OK;
    if (!d->begun && d->t->strip_space && d->held.data[0] == ' ')
        memmove(d->held.data, d->held.data + 1, --d->held.len);
    d->begun = true;
    const size_t used = add_lossy(&d->text, d->held.data, d->held.len, id != -1);
    if (d->text.failed)
        return dt_fail(err, DUET_E_NOMEM, "no memory to decode token %d", id);
    memmove(d->held.data, d->held.data + used, d->held.len - used);
    d->held.len -= used;
    if (d->text.len)
        *text = d->text.data;
    *n = d->text.len;
    return DUET_OK;
}
