/* model: tokens + weights -> logits; d(log-probs) -> gradients. One definition of a layer (block.c), two
 * walks over it: infer.c (ragged batch on KV pages) and learn.c (full sequences, saved or recomputed).
 * Both use the same kernels on rows, so a token's log-prob is the same bits in both. */
#ifndef DT_MODEL_H
#define DT_MODEL_H

#include "duet/model.h"
#include "kernel/packed.h"
#include "kv/kv.h"
#include "model/files.h"

#define DT_NONE SIZE_MAX /* as an offset into params: not there */

/* One parameter: name as in a Hugging Face folder, shape [rows, cols] (vectors: rows = 1). */
typedef struct dt_param {
    char name[80];
    int rows, cols;
    bool is_vector;
    size_t offset;  /* in duet_model.params, floats; DT_NONE: a matrix held in the type of its file */
    dt_tensor file; /* while the model's files are open: how they have it */
} dt_param;

#define DT_MAX_PARTS 3

/* A low-rank adapter of one parameter W [rows, cols]: y = x W^T + (s h) B^T with h = x A^T, s = alpha / rank (lora.c). */
typedef struct dt_adapter {
    int param;
    int row, rows, cols; /* its first row in the matrix, and the shape of W */
    size_t a, b;         /* offsets into dt_lora.params: A [rank, cols], B [rows, rank] */
    dt_packed pa, pb;    /* both packed: refreshed by dt_model_publish */
} dt_adapter;

/* All adapters of a model; its other parameters are then never trained. */
typedef struct dt_lora {
    int rank;
    double alpha;
    float *params; /* in the order of the parameters that they adapt, A before B */
    size_t n;      /* floats in it */
    dt_adapter *adapter;
    int n_adapters;
    char *base;    /* the model under them, as a path */
} dt_lora;

/* A matrix y = x W^T as the walks use it: the rows of one or several parameters, one after the other (q, k, v; gate, up),
 * packed for the forward pass. Parameters of one element type share a part. */
typedef struct dt_matrix {
    int rows, cols;      /* outputs, inputs */
    int param, n_params; /* its parameters: param[param] .. param[param + n_params - 1] of the model */
    size_t offset;       /* of its first row in params; DT_NONE: held in the types of its file only */
    bool trained;        /* the backward pass adds to its gradient; never where offset is DT_NONE */
    int adapter, n_adapters; /* of dt_lora.adapter */
    int n_parts;
    dt_packed part[DT_MAX_PARTS]; /* its rows, in order; of one in params: refreshed by dt_model_publish */
} dt_matrix;

/* Offsets into params; DT_NONE = the architecture has none. */
typedef struct dt_rope_table {
    float *cos_t, *sin_t; /* [rope_len][E/2], grown by dt_model_rope_reserve */
} dt_rope_table;

typedef struct dt_layer {
    size_t norm1, q_norm, k_norm, qkv_bias, norm2;
    size_t post1, post2; /* norms of what attention and the feed-forward part add */
    dt_matrix qkv, o, gate_up, down;
    int window; /* keys that a row attends to, its own included; 0 = all before it */
    const dt_rope_table *rope; /* one of the model's */
} dt_layer;

struct duet_model {
    dt_hf_config cfg;
    dt_hf_generation gen;
    duet_weights weights; /* how they are held: F32, FILE or EXACT */
    dt_model_files *files;    /* owned; NULL where everything is in params */
    /* One block of floats; order: embed, layers, final norm, lm_head. All parameters, or the vectors alone where the
     * matrices are held in the types of their file. */
    float *params;
    size_t n_params; /* floats in it */
    void *packed;    /* one block for the parts of all matrices: whole huge pages */
    size_t packed_bytes;
    size_t n_all;    /* numbers of all parameters */
    dt_param *param;
    int n_param;
    dt_layer *layer;
    int embed_param;             /* index of the embeddings in param */
    size_t embed, final_norm;    /* offsets; embed DT_NONE: rows are read from the file */
    bool embed_trained;
    dt_matrix head;              /* of the same parameter as embed when tied */
    dt_lora *lora;               /* owned; NULL = none */
    dt_rope_table rope, rope_local; /* the second for windowed layers that rotate by a base of their own, else empty */
    int rope_len;
    double open_s;    /* seconds that opening took */
    uint64_t version; /* bumped by dt_model_publish; engines drop cached pages of older versions */
};

/* What to do about a context that the model does not have, for messages. */
#define DT_LONGER "a longer context needs rope scaling (--rope-scaling yarn:4)"

/* Repacks the matrices that lie in params after these changed, and bumps version. Call between steps, never during one. */
duet_status dt_model_publish(duet_model *m, dt_pool *pool, duet_err *err);
/* The vector that training changes, *n floats: the adapters where there are any, else params. */
float *dt_model_trained(const duet_model *m, size_t *n);
duet_status dt_model_rope_reserve(duet_model *m, int n_pos, duet_err *err); /* tables for positions < n_pos */
duet_status dt_model_clone(const duet_model *m, duet_model **out, duet_err *err); /* e.g. the KL reference */
void dt_model_hash(const duet_model *m, char out[65]); /* duet_model_fingerprint */

dt_dtype dt_model_kv_dtype(const duet_model *m, duet_kv_type type); /* the default resolved */

/* ---- low-rank adapters (lora.c, adapter.c) ---- */

typedef struct dt_lora_options {
    int rank;            /* 1 .. the smaller side of every matrix that gets one */
    double alpha;
    const char *targets; /* "all-linear", or names from q_proj k_proj v_proj o_proj gate_proj up_proj down_proj with commas */
    const char *base;    /* path of the model, for the adapter's folder; copied */
    uint64_t seed;       /* A is uniform in +-1/sqrt(cols), as PEFT begins; B is 0 */
} dt_lora_options;

/* Gives m adapters, before anything that works on it is made. Nothing else of it is trained from now on, and with B = 0
 * no result changes. DUET_E_USAGE: rank or targets. */
duet_status dt_lora_attach(duet_model *m, const dt_lora_options *opt, duet_err *err);
/* DUET_E_USAGE names what in the list is no target, or says that it is empty. */
duet_status dt_lora_targets_check(const char *targets, duet_err *err);

/* ---- inference (infer.c) ---- */

/* A run of new tokens of one sequence: positions pos0 .. pos0+n-1, keys and values of 0..pos0-1 are in pages;
 * the pages already have room for the new ones. */
typedef struct dt_infer_seq {
    const int32_t *ids;
    int n, pos0;
    const int *pages;  /* page table, covers pos0 + n tokens */
    int n_logits;      /* logits wanted for the last n_logits tokens of the run: 0, 1 or n */
} dt_infer_seq;

typedef struct dt_infer dt_infer; /* scratch for up to max_rows tokens a call; one thread at a time */

duet_status dt_infer_create(duet_model *m, dt_pool *pool, int max_rows, dt_infer **out, duet_err *err);
void dt_infer_destroy(dt_infer *f);
/* vain(arg) is asked between layers from now on: true gives a run up, DUET_E_CANCELLED, its logits undefined and its new keys
 * and values to be written again. */
void dt_infer_watch(dt_infer *f, bool (*vain)(void *arg), void *arg);
/* Sum of n over seqs <= max_rows. logits: [sum of n_logits][V], in the order of seqs. */
duet_status dt_infer_run(dt_infer *f, dt_kv *kv, const dt_infer_seq *seqs, int n_seqs, float *logits, duet_err *err);

/* ---- training (learn.c) ---- */

/* Sequences laid one after the other; sequence s is tokens start[s] .. start[s+1]-1, positions from 0. */
typedef struct dt_batch {
    const int32_t *ids;
    const int *start; /* [n_seqs + 1] */
    int n_seqs;
} dt_batch;

typedef struct dt_learn dt_learn;

typedef struct dt_learn_options {
    int max_tokens;  /* largest batch, tokens */
    bool recompute;  /* keep only each layer's input and recompute the rest in the backward pass */
} dt_learn_options;

duet_status dt_learn_create(duet_model *m, dt_pool *pool, const dt_learn_options *opt, dt_learn **out, duet_err *err);
void dt_learn_destroy(dt_learn *l);
size_t dt_learn_bytes(const dt_hf_config *c, const dt_learn_options *opt); /* memory it will take, without gradients */
size_t dt_learn_logit_bytes(const dt_hf_config *c, const dt_learn_options *opt); /* of it for the logits of a chunk, and the head packed */
size_t dt_lora_bytes(const dt_lora *a); /* in memory; NULL: 0 */
/* log p(ids[t+1] | ...) at temperature 1/inv_temp into logp[t] for every t that is not the last of its sequence
 * (0 there), [total tokens]; entropy may be NULL. Keeps what dt_learn_backward needs. */
duet_status dt_learn_forward(dt_learn *l, const dt_batch *b, float inv_temp, float *logp, float *entropy, duet_err *err);
/* The same without keeping anything (old and reference log-probs, evaluation). */
duet_status dt_learn_score(dt_learn *l, const dt_batch *b, float inv_temp, float *logp, float *entropy, duet_err *err);
/* The same as if the model had no adapters: the model that training began from. */
duet_status dt_learn_score_base(dt_learn *l, const dt_batch *b, float inv_temp, float *logp, float *entropy, duet_err *err);
/* grad += d( sum_t coef[t] * logp[t] ) / d dt_model_trained, for the batch of the last dt_learn_forward. */
duet_status dt_learn_backward(dt_learn *l, const float *coef, float *grad, duet_err *err);

/* FLOPs of a training step on a batch (forward, backward; recomputation not counted), and of one forward. */
double dt_model_train_flops(const dt_hf_config *c, const dt_batch *b);

#endif
