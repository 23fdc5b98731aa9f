/* Shared inside the room: allocation of a bound model, and the one definition of a layer (block.c). */
#ifndef DT_MODEL_INTERNAL_H
#define DT_MODEL_INTERNAL_H

#include "model/model.h"

/* Which parameters there are, under which names; no memory for them yet. f32: all in params, and trained; else the vectors,
 * and matrices without parts. */
duet_status dt_model_bind(const dt_hf_config *cfg, bool f32, duet_model **out, duet_err *err);
/* Memory for params and for the parts of the matrices, which are planned (type, N, K) or, with f32, one each. Zero. */
duet_status dt_model_hold(duet_model *m, duet_err *err);
/* Finds every parameter in m->files; all that are missing or misshapen are named in one sentence. (load.c) */
duet_status dt_model_find_tensors(duet_model *m, duet_err *err);
bool dt_model_count(const dt_hf_config *c, size_t *n); /* all parameters; false: more than memory can number */

/* What a layer reads and writes for T rows. Rows of width: D (x, x2, h), QKV = (H + 2K) E, HE = H E, 2F, F.
 * In a walk that saves, each layer has its own set; in one that does not, all layers share one set. */
typedef struct dt_layer_rows {
    float *x;      /* [T, D] input of the layer */
    float *h1;     /* [T, D] after norm1 */
    float *qkv;    /* [T, QKV] as multiplied, biases added */
    float *rot;    /* [T, QKV] q and k normed and rotated, v copied */
    float *a;      /* [T, HE] attention output */
    float *o;      /* [T, D] what attention gives, where a norm follows; d alike, of the feed-forward part */
    float *d;
    float *x2;     /* [T, D] after attention; may be x itself where nothing is saved */
    float *h2;     /* [T, D] after norm2 */
    float *gu;     /* [T, 2F] gate and up */
    float *f;      /* [T, F] act(gate) * up */
    float *tmp;    /* [T, D] scratch, where norms follow: saved by no step */
    float *inv1, *inv2, *inv_o, *inv_d; /* [T] */
    float *inv_q, *inv_k; /* [T, H], [T, K] */
    float *mx, *z;        /* [T, H] of the softmax */
} dt_layer_rows;

/* Gradients in flight; one set for all layers. */
typedef struct dt_grads {
    float *dx;   /* [T, D] of the residual stream: in place from the layer's output to its input */
    float *dh;   /* [T, D] */
    float *dqkv; /* [T, QKV] */
    float *da;   /* [T, HE] */
    float *dgu;  /* [T, 2F] */
    float *df;   /* [T, F] */
    float *pack_w;  /* packed weights, largest matrix */
    float *pack_x;  /* packed activations, largest width */
    float *partial; /* [chunks, max(D, QKV)] of sums over rows */
    float *attn;    /* scratch of attention, per thread */
    size_t attn_stride;
    float *param;   /* [n_params], accumulated; NULL: the model has adapters, and only they learn */
    float *lora;    /* [lora.n], accumulated; NULL without adapters */
} dt_grads;

typedef struct dt_walk dt_walk;
struct dt_walk {
    const duet_model *m;
    const dt_kernels *kr;
    dt_pool *pool;
    int T;
    const int *pos; /* [T] */
    bool plain;     /* leave the adapters out */
    void *scratch;  /* of products: dt_model_scratch bytes for T rows */
    /* Attention is the one step that sees other rows: the walk says where keys and values are. Forward, it may lower T: the
     * rows of a that are left stand at the front. */
    void (*attend)(dt_walk *w, int layer, dt_layer_rows *a);
    void (*attend_bwd)(dt_walk *w, int layer, dt_layer_rows *a, dt_grads *g);
    void *ctx;
};

/* x (a->x) -> out [T, D]; out may be a->x. */
void dt_block_forward(dt_walk *w, int layer, dt_layer_rows *a, float *out);
/* g->dx: gradient of the layer's output on entry, of its input on return; g->param accumulates. */
void dt_block_backward(dt_walk *w, int layer, dt_layer_rows *a, dt_grads *g);

/* y[T, D] = rmsnorm(x), over the pool. */
void dt_rows_norm(dt_walk *w, float *y, const float *x, const float *weight, float *inv);
/* dx (+)= backward of the above; dw (NULL = not wanted) accumulates, summed over fixed chunks in order. */
void dt_rows_norm_bwd(dt_walk *w, float *dx, float *dw, const float *dy, const float *x, const float *weight, const float *inv,
                      bool acc, float *partial);
/* ---- matrices (matrix.c) ---- */

/* Bytes of scratch that any product of the model needs for `rows` rows. */
size_t dt_model_scratch(const duet_model *m, int rows);
/* Every matrix of the model in a fixed order, head first: i = 0, 1, ...; NULL after the last. */
dt_matrix *dt_model_matrix(duet_model *m, size_t i);
const dt_matrix *dt_model_matrix_at(const duet_model *m, size_t i); /* the same for readers */
size_t dt_model_packed_bytes(const duet_model *m);
void dt_embed_lookup(const duet_model *m, int32_t id, float *row); /* row[D] of the table, wherever it is */
/* y[T, rows] = or += in[T, cols] W^T. scratch: dt_model_scratch bytes. */
void dt_matrix_multiply(dt_pool *pool, const dt_matrix *x, float *y, const float *in, int T, bool acc, void *scratch);
/* W as the backward product reads it: B of dx = dy B, K = rows, N = cols; bp: dt_packed_floats(rows, cols). */
void dt_matrix_pack_back(dt_pool *pool, const duet_model *m, const dt_matrix *x, float *bp);
/* dW[rows, cols] += dy^T x where the matrix is trained, and dx = or += dy W (dx may be NULL). */
void dt_matrix_bwd(dt_walk *w, const dt_matrix *x, float *dx, const float *dy, const float *in, dt_grads *g, bool acc);

/* ---- adapters (lora.c) ---- */

void dt_lora_destroy(dt_lora *a); /* NULL is fine */
void dt_lora_publish(dt_lora *a, dt_pool *pool);
size_t dt_lora_scratch(const dt_lora *a, int rows); /* bytes; of w->scratch, used when the matrix itself is done */
/* y[T, rows] += what the adapters of x add for in[T, cols]. */
void dt_lora_forward(dt_walk *w, const dt_matrix *x, float *y, const float *in);
/* g->lora += gradients of its adapters, and dx (may be NULL) += what passes through them. */
void dt_lora_backward(dt_walk *w, const dt_matrix *x, float *dx, const float *dy, const float *in, dt_grads *g);
/* Adapters for the parameters whose `wanted` is set, A and B all 0. */
duet_status dt_lora_make(duet_model *m, int rank, double alpha, const bool *wanted, const char *base, duet_err *err);
/* "model.layers.3.mlp.up_proj.weight" -> "base_model.model.model.layers.3.mlp.up_proj.lora_A.weight", which: 'A' or 'B'. */
void dt_lora_tensor_name(const char *param, char which, char out[128]);

/* ---- adapters as PEFT's folders (adapter.c) ---- */

duet_status dt_adapter_save(const duet_model *m, const char *dir, duet_err *err);
duet_status dt_adapter_open(const char *dir, const duet_model_options *opt, duet_model **out, duet_err *err);

/* 1 / sqrt(attn_scalar), and sqrt(D) or 1, each rounded once: both walks use these values. */
float dt_attn_scale(const dt_hf_config *c);
float dt_embed_scale(const dt_hf_config *c);
/* x[D]: the token's row of the embeddings, scaled. */
void dt_embed_row(const duet_model *m, float *x, int32_t id);

#define DT_ATTN_TOKENS 64 /* tokens of one attention call, at most */
#define DT_ATTN_ROWS 128  /* about so many query rows share one reading of keys and values */
int dt_attn_tokens(int heads); /* tokens of a call where so many query heads share a kv head */

/* ---- attention of the inference walk (attend.c) ---- */

typedef struct dt_attend dt_attend; /* how a batch is cut in tasks, and their scratch */

duet_status dt_attend_create(const duet_model *m, dt_pool *pool, dt_attend **out, duet_err *err);
void dt_attend_destroy(dt_attend *x);
/* For the runs seqs[n_seqs], whose rows begin at row0[i]; borrowed until the next plan. */
duet_status dt_attend_plan(dt_attend *x, dt_kv *kv, const dt_infer_seq *seqs, const int *row0, int n_seqs, duet_err *err);
/* Keys and values of rot [T, QKV] into pages, then attention: out [T, HE]. wanted_only: rows of a prompt whose logits are not wanted
 * may be left out. */
void dt_attend_run(dt_attend *x, int layer, bool wanted_only, const float *rot, float *out);
/* The keys that position pos sees in a layer of this window (0 = no window): *first .. *end - 1. */
static inline void dt_attn_range(int pos, int window, int *first, int *end) {
    *first = window > 0 && pos >= window ? pos - window + 1 : 0;
    *end = pos + 1;
}
/* Pairs of a query and a key that n positions from `before` on have in such a layer. (limit.c) */
double dt_attn_pairs(double before, double n, int window);

#define DT_ROW_CHUNK 64 /* rows of one task; also the fixed chunk of sums over rows */

#endif
