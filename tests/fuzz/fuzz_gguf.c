/* Any bytes as a GGUF file: refused with a sentence, or every key and every tensor can be read to its end,
 * and it has a configuration or a sentence that says why not. */
#include "format/gguf_model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned read_key(const dt_gguf *g, const dt_gguf_kv *kv) {
    unsigned sum = 0;
    dt_gguf_str s;
    size_t at = 0, n = 0;
    if (dt_gguf_find_key(g, kv->key) != kv)
        abort();
    if (kv->elem != DT_GGUF_STRING) {
        for (size_t i = 0; i < kv->n; i++)
            sum += (unsigned)dt_gguf_int_at(kv, i) + (dt_gguf_real_at(kv, i) > 0);
        return sum;
    }
    dt_gguf_str *all = dt_gguf_strings(kv);
    while (dt_gguf_next_str(kv, &at, &s)) {
        if (!all || all[n].s != s.s || all[n].n != s.n)
            abort();
        n++;
        for (size_t i = 0; i < s.n; i++)
            sum += (unsigned char)s.s[i];
    }
    free(all);
    if (n != kv->n || at != kv->n_bytes)
        abort();
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_gguf *g = NULL;
    duet_status st = dt_gguf_open_mem("fuzz", data, size, &g, &err);
    if (st ? !err.text[0] || g : !g)
        abort();
    volatile unsigned sum = 0;
    for (size_t i = 0; g && i < dt_gguf_n_keys(g); i++)
        sum = sum + read_key(g, dt_gguf_key(g, i));
    for (size_t i = 0; g && i < dt_gguf_count(g); i++) {
        const dt_view *v = dt_gguf_view(g, i);
        size_t bytes = 0;
        if (!dt_view_count(v, NULL, &bytes) || dt_gguf_find(g, dt_gguf_tensor_name(g, i)) != v)
            abort();
        for (size_t k = 0; k < bytes; k++)
            sum = sum + ((const uint8_t *)v->data)[k];
    }
    dt_hf_config c;
    dt_hf_generation gen;
    if (g && dt_gguf_config(g, &c, &err) == DUET_OK && (c.n_layers < 1 || c.d_head < 2 || c.n_heads % c.n_kv))
        abort();
    if (g && dt_gguf_generation(g, &gen, &err) > 0)
        abort();
    dt_gguf_close(g);
    return 0;
}
