/* What the architectures imply, and the relations between the fields of a configuration, whatever file it came from. */
#include "format/hf_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    dt_arch arch;
    const char *model_type, *class_name;
} archs[] = {
    {DT_ARCH_QWEN3,   "qwen3",       "Qwen3ForCausalLM"  },
    {DT_ARCH_QWEN2,   "qwen2",       "Qwen2ForCausalLM"  },
    {DT_ARCH_LLAMA,   "llama",       "LlamaForCausalLM"  },
    {DT_ARCH_MISTRAL, "mistral",     "MistralForCausalLM"},
    {DT_ARCH_GEMMA3,  "gemma3_text", "Gemma3ForCausalLM" },
};

const char *dt_hf_arch_type(dt_arch arch) {
    return archs[arch].model_type;
}

const char *dt_hf_arch_class(dt_arch arch) {
    return archs[arch].class_name;
}

bool dt_hf_arch_find(const char *model_type, dt_arch *out) {
    for (size_t i = 0; i < DT_COUNT(archs); i++) {
        if (strcmp(model_type, archs[i].model_type))
            continue;
        *out = archs[i].arch;
        return true;
    }
    return false;
}

void dt_hf_config_start(dt_hf_config *c, dt_arch arch) {
    bool gemma = arch == DT_ARCH_GEMMA3;
    *c = (dt_hf_config){.arch = arch,
                        .rms_eps = 1e-6,
                        .rope_theta = gemma ? 1e6 : 1e4,
                        .rope_local_theta = gemma ? 1e4 : 0,
                        .tied = gemma,
                        .qk_norm = arch == DT_ARCH_QWEN3 || gemma,
                        .qkv_bias = arch == DT_ARCH_QWEN2,
                        .post_norms = gemma,
                        .norm_plus_one = gemma,
                        .scaled_embed = gemma,
                        .act = gemma ? DT_ACT_GELU_TANH : DT_ACT_SILU,
                        .init_range = 0.02,
                        .bos_id = -1};
    snprintf(c->model_type, sizeof c->model_type, "%s", dt_hf_arch_type(arch));
}

void dt_hf_config_window_layer(dt_hf_config *c, int layer) {
    c->windowed[layer / 64] |= (uint64_t)1 << (layer % 64);
}

void dt_hf_config_window_layers(dt_hf_config *c, int period) {
    for (int l = 0; l < c->n_layers; l++)
        if (period < 1 || (l + 1) % period)
            dt_hf_config_window_layer(c, l);
}

int dt_hf_config_window(const dt_hf_config *c, int layer) {
    return c->windowed[layer / 64] >> (layer % 64) & 1 ? c->window : 0;
}

double dt_hf_yarn_attn(double factor) {
    return factor > 1 ? 0.1 * log(factor) + 1 : 1;
}

static bool any_windowed(const dt_hf_config *c) {
    for (int l = 0; l < c->n_layers; l++)
        if (c->windowed[l / 64] >> (l % 64) & 1)
            return true;
    return false;
}

static duet_status check_rope(const dt_hf_config *c, const char *name, duet_err *err) {
    switch (c->rope_kind) {
    case DT_ROPE_NONE:
        return DUET_OK;
    case DT_ROPE_LLAMA3:
        return c->rope_high > c->rope_low
                   ? DUET_OK
                   : dt_fail(err, DUET_E_FORMAT, "%s: rope_scaling.high_freq_factor %g is not above low_freq_factor %g",
                             name, c->rope_high, c->rope_low);
    case DT_ROPE_YARN:
        if (c->rope_fast < c->rope_slow)
            return dt_fail(err, DUET_E_FORMAT, "%s: rope_scaling.beta_fast %g is below beta_slow %g", name,
                           c->rope_fast, c->rope_slow);
        if (!(c->rope_theta > 1))
            return dt_fail(err, DUET_E_FORMAT, "%s: rope_theta %g leaves yarn nothing to scale", name, c->rope_theta);
        break;
    case DT_ROPE_LINEAR:
        break;
    }
    return c->rope_factor >= 1
               ? DUET_OK
               : dt_fail(err, DUET_E_FORMAT, "%s: rope_scaling.factor %g is below 1", name, c->rope_factor);
}

duet_status dt_hf_config_check(const dt_hf_config *c, const char *name, duet_err *err) {
    if (c->n_layers < 1 || c->n_layers > DT_MAX_LAYERS || c->d_model < 1 || c->n_heads < 1 || c->n_kv < 1 ||
        c->d_head < 1 || c->d_ffn < 1 || c->n_vocab < 1 || c->max_pos < 1)
        return dt_fail(err, DUET_E_FORMAT,
                       "%s: %d layers of width %d, %d heads of %d (%d for keys), feed-forward width %d, "
                       "vocabulary %d, context %d: each must be at least 1, layers at most %d",
                       name, c->n_layers, c->d_model, c->n_heads, c->d_head, c->n_kv, c->d_ffn, c->n_vocab, c->max_pos,
                       DT_MAX_LAYERS);
    if (c->n_heads % c->n_kv)
        return dt_fail(err, DUET_E_FORMAT, "%s: %d attention heads are no multiple of %d key/value heads", name,
                       c->n_heads, c->n_kv);
    if (c->d_head % 2)
        return dt_fail(err, DUET_E_FORMAT, "%s: head_dim %d is odd", name, c->d_head);
    if (any_windowed(c) != (c->window > 0))
        return dt_fail(err, DUET_E_FORMAT,
                       c->window > 0 ? "%s: sliding_window is %d, but no layer has one"
                                     : "%s: layers with sliding_attention, but sliding_window is %d",
                       name, c->window);
    return check_rope(c, name, err);
}

/* ":NUMBER" at *at, which moves behind it. */
static bool take_number(const char **at, double lo, double hi, double *out) {
    char *end = NULL;
    if (**at != ':' || (*at)[1] < '0' || (*at)[1] > '9')
        return false;
    *out = strtod(*at + 1, &end);
    *at = end;
    return *out >= lo && *out <= hi;
}

duet_status dt_hf_config_scale_rope(dt_hf_config *c, const char *text, duet_err *err) {
    bool yarn = !strncmp(text, "yarn:", 5), linear = !strncmp(text, "linear:", 7);
    bool has_own = c->rope_kind == DT_ROPE_YARN || c->rope_kind == DT_ROPE_LINEAR;
    const char *at = text + (yarn ? 4 : 6);
    double factor, original = 0;
    if ((!yarn && !linear) || !take_number(&at, 1, 1e6, &factor) ||
        (*at && !take_number(&at, 1, DT_MAX_POS, &original)) || *at)
        return dt_fail(err, DUET_E_USAGE,
                       "rope scaling \"%.60s\" is not KIND:FACTOR or KIND:FACTOR:CONTEXT, with KIND yarn or linear and "
                       "FACTOR at least 1: yarn:4, yarn:4:32768",
                       text);
    if (c->rope_kind == DT_ROPE_LLAMA3)
        return dt_fail(err, DUET_E_USAGE,
                       "rope scaling \"%.60s\": the model was trained with a scaling of its own (llama3)", text);
    if (has_own && original == 0)
        return dt_fail(err, DUET_E_USAGE,
                       "rope scaling \"%.60s\": the model has one of its own (%s, %g); say for which context it was "
                       "trained, as in %s:%g:32768",
                       text, c->rope_kind == DT_ROPE_YARN ? "yarn" : "linear", c->rope_factor, yarn ? "yarn" : "linear",
                       factor);
    if (original == 0)
        original = c->max_pos;
    c->rope_kind = yarn ? DT_ROPE_YARN : DT_ROPE_LINEAR;
    c->rope_factor = factor;
    c->rope_original = yarn ? floor(original) : 0;
    c->rope_fast = yarn ? 32 : 0;
    c->rope_slow = yarn ? 1 : 0;
    c->rope_attn = yarn ? dt_hf_yarn_attn(factor) : 0;
    c->rope_untruncated = false;
    c->max_pos = original * factor < DT_MAX_POS ? (int)(original * factor) : DT_MAX_POS;
    return dt_hf_config_check(c, "rope scaling", err);
}
