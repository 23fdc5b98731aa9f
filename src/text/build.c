/* New tokenizers from a list of merges. Ids: base bytes, then merges, then the added tokens. */
#include "text/tokenizer.h"

#include <string.h>

duet_status dt_tok_begin(dt_vocab *v, const bool use[256], size_t n_more, duet_err *err) {
    bool ok = n_more <= DT_TOK_MAX_IDS - 256 - DT_TOK_N_ADDED;
    if (!ok)
        return dt_fail(err, DUET_E_RANGE, "%zu merges are too many", n_more);
    ok = dt_vocab_reserve(v, 256 + n_more, (int32_t)(256 + n_more), 0) && dt_vocab_reserve_merges(v, n_more);
    v->size = 0;
    for (int i = 0; ok && i < 256; i++) {
        const uint8_t b = dt_bytes_order(i);
        if (use[b])
            ok = dt_vocab_put(v, v->size++, &b, 1, DT_TOK_VOCAB);
    }
    return ok ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for %zu merges", n_more);
}

duet_status dt_tok_finish(const dt_vocab *v, const char *pattern, duet_tokenizer **out, duet_err *err) {
    dt_buf json = {0}, config = {0};
    duet_status st = dt_tok_write(v, pattern, &json, &config, err);
    if (!st)
        st = dt_tokenizer_parse("new tokenizer", json.data, json.len, config.data, config.len, out, err);
    dt_buf_clear(&json);
    dt_buf_clear(&config);
    return st;
}

static duet_status add_piece(dt_vocab *v, size_t i, const char *s, size_t cut, duet_err *err) {
    const size_t n = strlen(s);
    char q[DT_TOK_QUOTE], part[DT_TOK_QUOTE];
    if (!cut || cut >= n)
        return dt_fail(err, DUET_E_USAGE, "merge %zu: %s cannot be cut at byte %zu", i, dt_tok_quote(q, s, n), cut);
    const int32_t left = dt_vocab_find(v, s, cut, false), right = dt_vocab_find(v, s + cut, n - cut, false);
    if (left < 0 || right < 0) {
        const char *missing = left < 0 ? dt_tok_quote(part, s, cut) : dt_tok_quote(part, s + cut, n - cut);
        return dt_fail(err, DUET_E_USAGE,
                       "merge %zu: %s needs %s, which is neither in the alphabet nor merged before it", i,
                       dt_tok_quote(q, s, n), missing);
    }
    if (dt_vocab_find(v, s, n, false) >= 0)
        return dt_fail(err, DUET_E_USAGE, "merge %zu: %s is there already", i, dt_tok_quote(q, s, n));
    const int32_t id = v->size;
    if (!dt_vocab_put(v, id, s, n, DT_TOK_VOCAB))
        return dt_fail(err, DUET_E_NOMEM, "no memory for merges");
    v->size++;
    dt_vocab_add_merge(v, (uint32_t)left, (uint32_t)right, (uint32_t)id);
    return DUET_OK;
}

duet_status duet_tokenizer_build(const char *pattern, const char *const *merged, const size_t *cut, size_t n,
                                 const char *alphabet, duet_tokenizer **out, duet_err *err) {
    dt_vocab v = {0};
    bool use[256];
    *out = NULL;
    memset(use, !alphabet, sizeof use);
    for (const char *p = alphabet; p && *p; p++)
        use[(uint8_t)*p] = true;
    duet_status st = dt_tok_begin(&v, use, n, err);
    for (size_t i = 0; !st && i < n; i++)
        st = add_piece(&v, i, merged[i], cut[i], err);
    if (!st)
        st = dt_tok_finish(&v, pattern, out, err);
    dt_vocab_clear(&v);
    return st;
}
