/* tokenizer.json from anywhere: it opens or is refused with a sentence, and what opens encodes and decodes a probe
 * text without a wild read. A text after a NUL byte in the input is the probe; else a built-in one is used. */
#include "text/template.h"
#include "tokenizer_probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
