/* A model's weights: opened from a Hugging Face folder or a GGUF file, made new from a config, saved back.
 *
 * Threads: reading calls may run concurrently; whoever changes weights (training) owns the model. */
#ifndef DUET_MODEL_H
#define DUET_MODEL_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_model duet_model;

/* How the weights lie in memory. */
typedef enum duet_weights {
    DUET_WEIGHTS_AUTO,  /* F32 where that is at most 64 MiB, else FILE */
    DUET_WEIGHTS_F32,   /* all as f32, and once more in the order in which they are multiplied: this can be trained */
    DUET_WEIGHTS_FILE,  /* matrices in the element types of their file, once, in the order in which they are multiplied;
                         * a type without a product of its own becomes F32. Results for F32 files are those of F32. With
                         * BF16 weights the other factor is rounded to bf16 too; with quantised ones, to int8 blocks */
    DUET_WEIGHTS_EXACT, /* FILE, but with BF16 weights the other factor stays f32: slower */
} duet_weights;
const char *duet_weights_name(duet_weights w); /* auto f32 file exact */

/* How keys and values are held. f16 halves their memory and reading, q8_0 takes 8.5 bits each (heads a multiple of 32
 * wide). The default is f32 where the matrices are floats, so that generation and training give the same bits, else f16. */
typedef enum duet_kv_type { DUET_KV_DEFAULT, DUET_KV_F32, DUET_KV_F16, DUET_KV_Q8_0 } duet_kv_type;

typedef struct duet_model_options {
    duet_weights weights;
    int n_threads;    /* that read and repack; 0 = all CPUs */
    size_t ctx;       /* longest context it will be used with, tokens, and how its keys and values will be held: */
    duet_kv_type kv_type; /* counted when free memory is checked */
    /* A longer context than the model's own: "yarn:FACTOR" or "linear:FACTOR", which slow its rotary positions, or with
     * ":TOKENS" behind, the context it was trained for. NULL = none. Borrowed during the call. */
    const char *rope_scaling;
} duet_model_options;

typedef struct duet_model_info {
    char arch[32]; /* "qwen3", ... */
    int n_layers, d_model, n_heads, n_kv, d_head, d_ffn, n_vocab, max_pos;
    bool tied;
    char dtype[8];        /* that it is saved as: "F32" or "BF16" */
    duet_weights weights; /* how they are held: never AUTO */
    char held[64];        /* element types of the matrices in memory, the one with most bytes first: "Q4_K, Q6_K" */
    size_t n_params;      /* tied embeddings counted once */
    size_t weight_bytes;  /* in memory now, packed copies included */
    duet_kv_type kv_type;      /* the default of this model */
    size_t kv_bytes_per_token; /* with it */
    int lora_rank;        /* of its adapters; 0 = it has none */
    size_t lora_params;   /* numbers in them */
    double open_s;        /* what reading and repacking took, seconds; a new one: 0 */
} duet_model_info;

/* Opens a folder (config.json + safetensors) or a GGUF file, or a folder with a low-rank adapter as PEFT writes it
 * (adapter_config.json + adapter_model.safetensors): the model that it names (base_model_name_or_path: as it is, or
 * relative to the folder) with the adapter applied. opt NULL = defaults. *out owned by the caller:
 * duet_model_close. The files must stay as they are until then: with FILE, rows of embeddings are read when needed.
 * Errors name every missing or misshapen tensor, and what would fit where memory does not suffice.
 * DUET_E_IO, DUET_E_FORMAT, DUET_E_UNSUPPORTED, DUET_E_NOMEM; DUET_E_USAGE: rope_scaling is not such a text. */
duet_status duet_model_open(const char *path, const duet_model_options *opt, duet_model **out, duet_err *err);
/* New random weights (normal, standard deviation initializer_range; norms 1) for a config.json text. */
duet_status duet_model_new(const char *config_json, size_t n, uint64_t seed, duet_model **out, duet_err *err);
void duet_model_close(duet_model *m); /* NULL is fine */
/* Writes config.json, generation_config.json and model.safetensors into dir (made if missing), atomically
 * file by file; F32, or BF16 where the config says so. DUET_E_UNSUPPORTED: not held as F32. Of a model with an adapter
 * only the adapter is written, as PEFT's files, in F32. */
duet_status duet_model_save(const duet_model *m, const char *dir, duet_err *err);
/* Writes what an adapter's folder `path` stands for as one plain model, W + (alpha/rank) B A, into the folder `dir`:
 * matrices and vectors in F32, or with bf16 in BF16. One matrix is in memory at a time.
 * DUET_E_USAGE: path is no adapter. */
duet_status duet_model_merge(const char *path, const char *dir, bool bf16, int n_threads, duet_err *err);
duet_status duet_model_describe(const duet_model *m, duet_model_info *out, duet_err *err);
/* SHA-256 of all parameters in the order in which the architecture names them, each as it is held: f32, or the bytes of its
 * file. Reads all of them: seconds for gigabytes. */
duet_status duet_model_fingerprint(const duet_model *m, char out[65], duet_err *err);

size_t duet_model_kv_bytes(const duet_model *m, duet_kv_type type); /* of one token's keys and values */
const char *duet_kv_type_name(duet_kv_type type);                   /* "default", "f32", "f16", "q8_0" */

const char *duet_kernel_name(void); /* the instruction set in use: "scalar", "avx2", "avx512". Results do not depend on it */

/* log p(ids[t+1] | ids[0..t]) for t = 0..n-2 into out[n-1]: natural log, temperature 1, the same bits as at
 * rollout and in training. n_threads 0 = all CPUs. */
duet_status duet_model_logprobs(duet_model *m, const int32_t *ids, size_t n, int n_threads, float *out, duet_err *err);
/* Logits of every position, [n][n_vocab]. */
duet_status duet_model_logits(duet_model *m, const int32_t *ids, size_t n, int n_threads, float *out, duet_err *err);

/* What n_threads (0 = all CPUs) of this machine were measured to do at best (takes up to 1.1 s). */
typedef struct duet_peak {
    double flops_per_s; /* fused multiply-adds of floats from registers, two operations each */
    double bf16_per_s;  /* the same for products of bfloat16 and of int8; 0 where the model has no such matrices */
    double int8_per_s;
    double bytes_per_s; /* reading the model's matrices again and again: from a cache, if they fit */
} duet_peak;
duet_status duet_model_measure_peak(const duet_model *m, int n_threads, duet_peak *out, duet_err *err);
/* bytes_per_s alone (takes about 0.2 s): on some machines it changes from minute to minute. */
duet_status duet_model_measure_reading(const duet_model *m, int n_threads, double *bytes_per_s, duet_err *err);
/* A step: `batch` sequences, each n_new tokens from position pos0 on and the logits of the last. */
typedef struct duet_step {
    size_t batch, n_new, pos0;
    duet_kv_type kv_type;
    size_t shared; /* positions of pos0 whose keys and values are the same for all of them */
} duet_step;
/* Seconds that a step takes at least: the longer of computing it, each matrix at the rate of its type, and of reading what
 * is there in memory once: the matrices, the keys and values of each sequence, those that are shared once for all.
 * *memory_bound says which. */
double duet_model_least_seconds(const duet_model *m, const duet_peak *peak, const duet_step *s, bool *memory_bound);

#ifdef __cplusplus
}
#endif
#endif
