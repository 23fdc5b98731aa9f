/* A model's configuration as GGUF keys: the other way of gguf_model.c. */
#include "format/gguf_export.h"

#include <math.h>
#include <string.h>

typedef struct keys {
    dt_gguf_writer *w;
    const char *arch;
    char full[96];
} keys;

static const char *key(keys *k, const char *name) {
    snprintf(k->full, sizeof k->full, "%s.%s", k->arch, name);
    return k->full;
}

static void put_int(keys *k, const char *name, int x) {
    dt_gguf_put_u32(k->w, key(k, name), (uint32_t)x);
}

static void put_real(keys *k, const char *name, double x) {
    dt_gguf_put_f32(k->w, key(k, name), (float)x);
}

static void put_rope(keys *k, const dt_hf_config *c) {
    put_real(k, "rope.freq_base", c->rope_theta);
    if (c->rope_local_theta > 0)
        put_real(k, "rope.freq_base_swa", c->rope_local_theta);
    if (c->rope_kind != DT_ROPE_LINEAR && c->rope_kind != DT_ROPE_YARN)
        return; /* llama3: a tensor */
    dt_gguf_put_text(k->w, key(k, "rope.scaling.type"), c->rope_kind == DT_ROPE_YARN ? "yarn" : "linear");
    put_real(k, "rope.scaling.factor", c->rope_factor);
    if (c->rope_kind == DT_ROPE_LINEAR)
        return;
    put_int(k, "rope.scaling.original_context_length", (int)c->rope_original);
    put_real(k, "rope.scaling.yarn_beta_fast", c->rope_fast);
    put_real(k, "rope.scaling.yarn_beta_slow", c->rope_slow);
    if (fabs(c->rope_attn / dt_hf_yarn_attn(c->rope_factor) - 1) > 1e-6)
        put_real(k, "rope.scaling.attn_factor", c->rope_attn / dt_hf_yarn_attn(c->rope_factor));
}

/* The period of gemma3's pattern of windows; -1 = it has none. */
static int window_period(const dt_hf_config *c) {
    for (int period = 0; period <= 64; period++) {
        dt_hf_config other = *c;
        memset(other.windowed, 0, sizeof other.windowed);
        dt_hf_config_window_layers(&other, period);
        if (!memcmp(other.windowed, c->windowed, sizeof other.windowed))
            return period;
    }
    return -1;
}

static duet_status put_windows(keys *k, const dt_hf_config *c, duet_err *err) {
    const bool gemma = c->arch == DT_ARCH_GEMMA3;
    const int period = c->window > 0 ? window_period(c) : 0;
    if (c->window == 0)
        return DUET_OK;
    if (period < 0 || (!gemma && period != 0))
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "the layers with a sliding window follow no pattern that a GGUF file can say");
    put_int(k, "attention.sliding_window", c->window);
    if (gemma && period != 6)
        put_int(k, "attention.sliding_window_pattern", period);
    return DUET_OK;
}

static void put_sampling(dt_gguf_writer *w, const dt_hf_generation *gen) {
    if (gen->do_sample == 0) {
        dt_gguf_put_f32(w, "general.sampling.temp", 0);
        return;
    }
    if (gen->temperature >= 0)
        dt_gguf_put_f32(w, "general.sampling.temp", (float)gen->temperature);
    if (gen->top_k >= 0)
        dt_gguf_put_i32(w, "general.sampling.top_k", gen->top_k);
    if (gen->top_p >= 0)
        dt_gguf_put_f32(w, "general.sampling.top_p", (float)gen->top_p);
    if (gen->min_p >= 0)
        dt_gguf_put_f32(w, "general.sampling.min_p", (float)gen->min_p);
}

duet_status dt_gguf_put_config(dt_gguf_writer *w, const char *name, const dt_hf_config *c, const dt_hf_generation *gen,
                               duet_err *err) {
    keys k = {.w = w, .arch = dt_gguf_arch(c->arch)};
    const double implied = c->arch == DT_ARCH_GEMMA3 && c->n_layers == 62 ? (double)c->d_model / c->n_heads : c->d_head;
    if (c->attn_scalar > 0 && c->attn_scalar != implied)
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "query_pre_attn_scalar %g cannot be said in a GGUF file, which implies %g", c->attn_scalar,
                       implied);
    if (c->rope_kind == DT_ROPE_YARN && c->rope_untruncated)
        return dt_fail(err, DUET_E_UNSUPPORTED, "yarn scaling with truncate false cannot be said in a GGUF file");
    dt_gguf_put_text(w, "general.architecture", k.arch);
    dt_gguf_put_text(w, "general.type", "model");
    dt_gguf_put_text(w, "general.name", name);
    put_sampling(w, gen);
    put_int(&k, "block_count", c->n_layers);
    put_int(&k, "context_length", c->max_pos);
    put_int(&k, "embedding_length", c->d_model);
    put_int(&k, "feed_forward_length", c->d_ffn);
    put_int(&k, "attention.head_count", c->n_heads);
    put_int(&k, "attention.head_count_kv", c->n_kv);
    put_int(&k, "attention.key_length", c->d_head);
    put_int(&k, "attention.value_length", c->d_head);
    put_real(&k, "attention.layer_norm_rms_epsilon", c->rms_eps);
    put_int(&k, "rope.dimension_count", c->d_head);
    put_int(&k, "vocab_size", c->n_vocab);
    put_rope(&k, c);
    return put_windows(&k, c, err);
}
