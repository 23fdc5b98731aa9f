/* Names of tensors in Hugging Face folders and in GGUF files, and the order of the rows of q and k. */
#include "format/gguf_model.h"

#include <stdlib.h>
#include <string.h>

enum { ALL = 3, GEMMA = 1, OTHERS = 2 };

/* In the order in which a layer uses them. */
static const struct {
    const char *hf, *gguf;
    int in;
} parts[] =
    {
        {"input_layernorm",            "attn_norm",           ALL   },
        {"self_attn.q_proj",           "attn_q",              ALL   },
        {"self_attn.k_proj",           "attn_k",              ALL   },
        {"self_attn.v_proj",           "attn_v",              ALL   },
        {"self_attn.q_norm",           "attn_q_norm",         ALL   },
        {"self_attn.k_norm",           "attn_k_norm",         ALL   },
        {"self_attn.o_proj",           "attn_output",         ALL   },
        {"post_attention_layernorm",   "ffn_norm",            OTHERS},
        {"post_attention_layernorm",   "post_attention_norm", GEMMA },
        {"pre_feedforward_layernorm",  "ffn_norm",            GEMMA },
        {"mlp.gate_proj",              "ffn_gate",            ALL   },
        {"mlp.up_proj",                "ffn_up",              ALL   },
        {"mlp.down_proj",              "ffn_down",            ALL   },
        {"post_feedforward_layernorm", "post_ffw_norm",       GEMMA },
},
  whole[] = {
      {"model.embed_tokens", "token_embd", ALL},
      {"model.norm", "output_norm", ALL},
      {"lm_head", "output", ALL},
};

static int family(const dt_hf_config *c) {
    return c->arch == DT_ARCH_GEMMA3 ? GEMMA : OTHERS;
}

/* s is `stem` and then ".weight" or ".bias": that tail, else NULL. */
static const char *tail_after(const char *s, const char *stem) {
    const size_t n = strlen(stem);
    if (strncmp(s, stem, n))
        return NULL;
    return !strcmp(s + n, ".weight") || !strcmp(s + n, ".bias") ? s + n : NULL;
}

/* "PREFIX7.rest": the number (without leading zeros, below 100000) and the rest. */
static const char *after_layer(const char *s, const char *prefix, int *layer) {
    const size_t n = strlen(prefix);
    if (strncmp(s, prefix, n) || s[n] < '0' || s[n] > '9')
        return NULL;
    char *end = NULL;
    const long l = strtol(s + n, &end, 10);
    if (*end != '.' || l > 99999 || (s[n] == '0' && end != s + n + 1))
        return NULL;
    *layer = (int)l;
    return end + 1;
}

static dt_gguf_change change_of(const dt_hf_config *c, const char *gguf_stem) {
    if (family(c) == GEMMA && strstr(gguf_stem, "norm"))
        return DT_GGUF_NORM_PLUS_1;
    const bool rotated = !strcmp(gguf_stem, "attn_q") || !strcmp(gguf_stem, "attn_k");
    return rotated && (c->arch == DT_ARCH_LLAMA || c->arch == DT_ARCH_MISTRAL) ? DT_GGUF_ROPE_ROWS : DT_GGUF_SAME;
}

/* One direction or the other; the first match, since within an architecture names are unique both ways. */
static bool translate(const dt_hf_config *c, const char *name, bool to_hf, char out[DT_GGUF_NAME],
                      dt_gguf_change *change) {
    static const char *const prefix[2] = {"model.layers.", "blk."};
    int layer = 0;
    const char *rest = after_layer(name, prefix[to_hf], &layer);
    for (size_t i = 0; rest && i < DT_COUNT(parts); i++) {
        const char *tail = tail_after(rest, to_hf ? parts[i].gguf : parts[i].hf);
        if (!tail || !(parts[i].in & family(c)))
            continue;
        snprintf(out, DT_GGUF_NAME, "%s%d.%s%s", prefix[!to_hf], layer, to_hf ? parts[i].hf : parts[i].gguf, tail);
        if (change)
            *change = change_of(c, parts[i].gguf);
        return true;
    }
    for (size_t i = 0; i < DT_COUNT(whole); i++) {
        const char *tail = tail_after(name, to_hf ? whole[i].gguf : whole[i].hf);
        if (!tail)
            continue;
        snprintf(out, DT_GGUF_NAME, "%s%s", to_hf ? whole[i].hf : whole[i].gguf, tail);
        if (change)
            *change = change_of(c, whole[i].gguf);
        return true;
    }
    return false;
}

bool dt_gguf_name_from_hf(const dt_hf_config *c, const char *hf, char out[DT_GGUF_NAME], dt_gguf_change *change) {
    return translate(c, hf, false, out, change);
}

bool dt_gguf_name_to_hf(const dt_hf_config *c, const char *gguf, char out[DT_GGUF_NAME], dt_gguf_change *change) {
    return translate(c, gguf, true, out, change);
}

int dt_gguf_layer_of(const char *gguf) {
    int layer = -1;
    return after_layer(gguf, "blk.", &layer) ? layer : -1;
}

size_t dt_gguf_rope_row_to_hf(size_t r, size_t E) {
    const size_t i = r % E;
    return r - i + i / 2 + (i % 2) * (E / 2);
}

size_t dt_gguf_rope_row_from_hf(size_t r, size_t E) {
    const size_t i = r % E;
    return r - i + (i < E / 2 ? 2 * i : 2 * (i - E / 2) + 1);
}

void dt_gguf_rope_rows_to_hf(void *dst, const void *src, size_t n_rows, size_t E, size_t row_bytes) {
    for (size_t r = 0; r < n_rows; r++)
        memcpy((char *)dst + dt_gguf_rope_row_to_hf(r, E) * row_bytes, (const char *)src + r * row_bytes, row_bytes);
}

void dt_gguf_rope_rows_from_hf(void *dst, const void *src, size_t n_rows, size_t E, size_t row_bytes) {
    for (size_t r = 0; r < n_rows; r++)
        memcpy((char *)dst + dt_gguf_rope_row_from_hf(r, E) * row_bytes, (const char *)src + r * row_bytes, row_bytes);
}
