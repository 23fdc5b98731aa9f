/* What the fuzz targets of tokenizer files do with one that opened: encode in every mode, decode, the same as a
 * stream. */
#ifndef DT_TOKENIZER_PROBE_H
#define DT_TOKENIZER_PROBE_H

#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static inline void check(bool ok) {
    if (!ok)
        abort();
}

static const char standard[] =
    "a b <t> <think>\n\nab abc 12'll \xc3\xa9\xcc\x81\xe4\xb8\xad\xf0\x9f\x98\x80</think>  XX";

static inline void probe(const duet_tokenizer *t, const char *text, size_t n) {
    static const int modes[] = {0, DUET_ENC_ADD_SPECIAL, DUET_ENC_PLAIN, DUET_ENC_NO_SPECIAL};
    for (size_t i = 0; i < DT_COUNT(modes); i++) {
        duet_ids ids = {0};
        duet_text whole = {0};
        duet_decoder *d = NULL;
        dt_buf streamed = {0};
        if (!duet_tokenizer_encode(t, text, n, modes[i], &ids, NULL)) {
            check(!duet_tokenizer_decode(t, ids.v, ids.n, i & 1, &whole, NULL));
            check(dt_utf8_bad(whole.data, whole.n) == whole.n);
            check(!duet_decoder_create(t, i & 1, &d, NULL));
            for (size_t k = 0; k <= ids.n; k++) {
                const char *s = NULL;
                size_t n_s = 0;
                check(!duet_decoder_push(d, k < ids.n ? ids.v[k] : -1, &s, &n_s, NULL));
                check(dt_utf8_bad(s, n_s) == n_s);
                dt_buf_add(&streamed, s, n_s);
            }
            check(streamed.len == whole.n && (!whole.n || !memcmp(streamed.data, whole.data, whole.n)));
        }
        duet_decoder_destroy(d);
        dt_buf_clear(&streamed);
        duet_ids_free(&ids);
        duet_text_free(&whole);
    }
}

#endif
