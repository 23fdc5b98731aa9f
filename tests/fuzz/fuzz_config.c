/* Any bytes as config.json: refused with a sentence, or every number is usable for sizes. */
#include "format/hf_config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_hf_config c;
    duet_status st = dt_hf_config_parse("fuzz", (const char *)data, size, &c, &err);
    if (st) {
        if (!err.text[0])
            abort();
        return 0;
    }
    if (c.n_layers < 1 || c.d_model < 1 || c.n_kv < 1 || c.n_heads % c.n_kv || c.d_head % 2 || c.d_ffn < 1 ||
        c.n_vocab < 1 || c.max_pos < 1 || !(c.rope_theta >= 1) || !(c.rms_eps >= 0) || c.n_eos < 0 ||
        c.n_eos > DT_MAX_EOS || !(c.attn_scalar >= 0) || c.window < 0)
        abort();
    if (c.rope_kind == DT_ROPE_YARN && (!(c.rope_factor >= 1) || !(c.rope_attn > 0) || !(c.rope_original >= 1) ||
                                        !(c.rope_fast >= c.rope_slow) || !(c.rope_theta > 1)))
        abort();
    for (int l = 0; l < c.n_layers; l++)
        if (dt_hf_config_window(&c, l) != 0 && dt_hf_config_window(&c, l) != c.window)
            abort();
    return 0;
}
