/* tokenizer.json from anywhere: it opens or is refused with a sentence, and what opens encodes and decodes a probe
 * text without a wild read. A text after a NUL byte in the input is the probe; else a built-in one is used. */
#include "text/template.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static const char standard[] =
    "a b <t> <think>\n\nab abc 12'll \xc3\xa9\xcc\x81\xe4\xb8\xad\xf0\x9f\x98\x80</think>  XX";

static void probe(const duet_tokenizer *t, const char *text, size_t n) {
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

static void probe_template(const duet_tokenizer *t, const char *q, size_t n) {
    dt_tmpl m;
    duet_ids ids = {0}, turn = {0};
    if (dt_tmpl_detect(t, "chatml-think", &m, NULL))
        return;
    if (!duet_tokenizer_encode(t, q, n, 0, &ids, NULL)) { /* the text as a sample, its signal back into a prompt */
        const dt_signal_span s = dt_tmpl_signal(&m, t, ids.v, ids.n);
        check(s.begin <= s.end && s.end <= ids.n);
        if (!dt_tmpl_user(&m, t, q, n, &turn, NULL))
            dt_tmpl_think(&m, t, ids.v + s.begin, s.end - s.begin, &turn, NULL);
    }
    duet_ids_free(&ids);
    duet_ids_free(&turn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n_json = nul ? (size_t)(nul - data) : size;
    const char *text = nul ? (const char *)nul + 1 : standard;
    const size_t n_text = nul ? size - n_json - 1 : sizeof standard - 1;
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    duet_status st = dt_tokenizer_parse("fuzz", (const char *)data, n_json, NULL, 0, &t, &err);
    check((st == DUET_OK) == (t != NULL));
    check(st == DUET_OK || (err.text[0] && !strchr(err.text, '\n')));
    if (!t)
        return 0;
    check(duet_tokenizer_same(t, t));
    probe(t, text, n_text < 4096 ? n_text : 4096);
    probe_template(t, text, n_text < 4096 ? n_text : 4096);
    duet_tokenizer_close(t);
    return 0;
}
