/* The config.json and generation_config.json of a Hugging Face model folder, and its weights:
 * model.safetensors, or the shards that model.safetensors.index.json names.
 *
 * Every number is checked against what is possible (positive, products without overflow, heads a
 * multiple of kv heads, even head width); a missing or absurd one is named with its value. */
#ifndef DT_HF_CONFIG_H
#define DT_HF_CONFIG_H

#include "format/safetensors.h"

#define DT_MAX_EOS 16

#define DT_MAX_LAYERS 1024
#define DT_MAX_POS (1 << 28)

typedef enum dt_arch { DT_ARCH_QWEN3, DT_ARCH_QWEN2, DT_ARCH_LLAMA, DT_ARCH_MISTRAL, DT_ARCH_GEMMA3 } dt_arch;
typedef enum dt_rope_kind { DT_ROPE_NONE, DT_ROPE_LLAMA3, DT_ROPE_LINEAR, DT_ROPE_YARN } dt_rope_kind;
typedef enum dt_act { DT_ACT_SILU, DT_ACT_GELU_TANH } dt_act;

/* What the engine needs to know of a model. Whoever fills one from another format starts with dt_hf_config_start(),
 * which sets what an architecture implies, then the sizes, then calls dt_hf_config_check(). `arch` itself decides only
 * the names in config.json and of the tensors; the computation follows from the other fields. */
typedef struct dt_hf_config {
    dt_arch arch;
    char model_type[32]; /* as written: "qwen3", "gemma3_text", ... */
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
    bool tied;          /* tie_word_embeddings */
    bool qk_norm;       /* qwen3, gemma3: a norm over each head of q and k */
    bool qkv_bias;      /* qwen2 */
    bool post_norms;    /* gemma3: what attention and the feed-forward part give is normed before it is added */
    bool norm_plus_one; /* norms multiply by 1 + w: gemma3. (GGUF files hold 1 + w, and 1 is taken off) */
    bool scaled_embed;  /* gemma3: embeddings are multiplied by sqrt(D), in f32 */
    dt_act act;         /* of the gate: hidden_act, hidden_activation */
    double attn_scalar; /* query_pre_attn_scalar: scores are q.k / sqrt(attn_scalar); 0 = E */
    /* Layers whose bit l % 64 of windowed[l / 64] is set see `window` keys, their own position included
     * (sliding_window; 0 = no layer does). Gemma 3: all but each sixth; Mistral 7B v0.1: all. */
    int window;
    uint64_t windowed[DT_MAX_LAYERS / 64];
    dt_rope_kind rope_kind;  /* of rope_theta's layers */
    double rope_local_theta; /* gemma3: base of windowed layers, never scaled; 0 = they are as all others */
    double rope_factor;      /* linear, yarn, llama3 */
    double rope_original;    /* yarn, llama3: original_max_position_embeddings; max_pos is what scaling makes of it */
    double rope_low, rope_high;  /* llama3: low_freq_factor, high_freq_factor */
    double rope_fast, rope_slow; /* yarn: beta_fast, beta_slow */
    double rope_attn;            /* yarn: attention_factor, by which cos and sin are multiplied */
    bool rope_untruncated;       /* yarn: truncate is false */
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

const char *dt_hf_arch_type(dt_arch arch);                     /* "gemma3_text" */
const char *dt_hf_arch_class(dt_arch arch);                    /* "Gemma3ForCausalLM" */
bool dt_hf_arch_find(const char *model_type, dt_arch *out);    /* false: unknown */
/* Zeros, and what `arch` implies: flags, activation, thetas. */
void dt_hf_config_start(dt_hf_config *c, dt_arch arch);
void dt_hf_config_window_layer(dt_hf_config *c, int layer); /* this layer is windowed */
/* All layers but each period-th (gemma3: 6) are windowed; period 0: every layer is. n_layers is set. */
void dt_hf_config_window_layers(dt_hf_config *c, int period);
int dt_hf_config_window(const dt_hf_config *c, int layer); /* keys a row of the layer sees; 0 = all before it */
double dt_hf_yarn_attn(double factor); /* attention_factor where none is given: 0.1 ln(factor) + 1 */
/* Relations between fields: heads and kv heads, even head width, windows, rope scaling. `name` is for messages.
 * DUET_E_FORMAT. */
duet_status dt_hf_config_check(const dt_hf_config *c, const char *name, duet_err *err);

/* Asks for a longer context than the model's own: KIND:FACTOR or KIND:FACTOR:ORIGINAL, with KIND yarn or linear and
 * ORIGINAL the context it was trained for (its own, where the file has no such scaling yet). max_pos becomes FACTOR times
 * ORIGINAL. DUET_E_USAGE: not such a text, or no scaling of this model. */
duet_status dt_hf_config_scale_rope(dt_hf_config *c, const char *text, duet_err *err);

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
int dt_hf_weights_files(const dt_hf_weights *w);
const char *dt_hf_weights_name(const dt_hf_weights *w, size_t i);
const dt_view *dt_hf_weights_view(const dt_hf_weights *w, size_t i);

#endif
