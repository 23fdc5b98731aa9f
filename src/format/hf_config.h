/* The config.json and generation_config.json of a Hugging Face model folder, and its weights:
 * model.safetensors, or the shards that model.safetensors.index.json names.
 *
 * Every number is checked against what is possible (positive, products without overflow, heads a
 * multiple of kv heads, even head width); a missing or absurd one is named with its value. */
#ifndef DT_HF_CONFIG_H
#define DT_HF_CONFIG_H

#include "format/safetensors.h"

#define DT_MAX_EOS 16

typedef enum dt_arch { DT_ARCH_QWEN3, DT_ARCH_QWEN2, DT_ARCH_LLAMA } dt_arch;
typedef enum dt_rope_kind { DT_ROPE_NONE, DT_ROPE_LLAMA3 } dt_rope_kind;

typedef struct dt_hf_config {
    dt_arch arch;
    char model_type[32];
    int n_layers;  /* num_hidden_layers */
    int d_model;   /* D: hidden_size */
    int n_heads;   /* H: num_attention_heads */
    int n_kv;      /* K: num_key_value_heads (default H) */
    int d_head;    /* E: head_dim (default D / H) */
    int d_ffn;     /* F: intermediate_size */
    int n_vocab;   /* V: vocab_size */
    int max_pos;   /* max_position_embeddings */
    double rms_eps;
    double rope_theta;
    bool tied;      /* tie_word_embeddings */
    bool qk_norm;   /* qwen3 */
    bool qkv_bias;  /* qwen2; llama's attention_bias */
    dt_rope_kind rope_kind;
    double rope_factor, rope_low, rope_high, rope_original; /* llama3 scaling */
    double init_range; /* initializer_range, default 0.02 */
    dt_dtype dtype;    /* torch_dtype: DT_F32 or DT_BF16 */
    int32_t bos_id;    /* -1 = none */
    int32_t eos_ids[DT_MAX_EOS];
    int n_eos;
} dt_hf_config;

/* generation_config.json; a missing file gives greedy defaults (found = false). Missing fields: -1. */
typedef struct dt_hf_generation {
    bool found;
    int do_sample; /* -1 unknown */
    double temperature, top_p, min_p;
    int top_k;
    int32_t eos_ids[DT_MAX_EOS];
    int n_eos;
} dt_hf_generation;

duet_status dt_hf_config_parse(const char *name, const char *json, size_t n, dt_hf_config *out, duet_err *err);
duet_status dt_hf_config_read(const char *dir, dt_hf_config *out, duet_err *err);
duet_status dt_hf_config_write(const char *dir, const dt_hf_config *c, duet_err *err); /* transformers can load it */
duet_status dt_hf_generation_read(const char *dir, dt_hf_generation *out, duet_err *err);
duet_status dt_hf_generation_write(const char *dir, const dt_hf_generation *g, duet_err *err);

/* All tensors of a model folder, whatever the number of files. */
typedef struct dt_hf_weights dt_hf_weights;
duet_status dt_hf_weights_open(const char *dir, dt_hf_weights **out, duet_err *err);
void dt_hf_weights_close(dt_hf_weights *w);
const dt_view *dt_hf_weights_find(const dt_hf_weights *w, const char *name); /* NULL = not there */
size_t dt_hf_weights_count(const dt_hf_weights *w);
const char *dt_hf_weights_name(const dt_hf_weights *w, size_t i);
const dt_view *dt_hf_weights_view(const dt_hf_weights *w, size_t i);

#endif
