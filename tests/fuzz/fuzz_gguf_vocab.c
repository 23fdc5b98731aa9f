/* The tokenizer of a GGUF file from anywhere: it opens or is refused with a sentence, and what opens encodes and
 * decodes a text without a wild read. */
#include "format/gguf.h"
#include "tokenizer_probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_tokenizer *t = NULL;
    dt_gguf *g = NULL;
    duet_err err = {{0}};
    if (dt_gguf_open_mem("fuzz", data, size, &g, &err))
        return 0;
    duet_status st = dt_tokenizer_from_gguf(g, &t, &err);
    dt_gguf_close(g); /* nothing of the tokenizer may point into it */
    check((st == DUET_OK) == (t != NULL));
    check(st == DUET_OK || (err.text[0] && !strchr(err.text, '\n')));
    if (!t)
        return 0;
    check(duet_tokenizer_same(t, t));
    static const char few[] = "ab a  ab1 <t> XX<think>b\nabc"; /* for small alphabets */
    probe(t, standard, sizeof standard - 1);
    probe(t, few, sizeof few - 1);
    probe(t, few, 4);
    for (int32_t i = 0; i < duet_tokenizer_size(t); i++) {
        size_t n = 0;
        const char *s = duet_tokenizer_bytes(t, i, &n);
        check(s || !n);
    }
    duet_tokenizer_close(t);
    return 0;
}
