/* kernel: tensor operations, forward and backward, chosen for this CPU once at start.
 *
 * THE ARITHMETIC IS SPECIFIED, NOT ONLY THE RESULT: every instruction set gives the same bits, so
 * one seed gives one text on any machine, and each row's result depends on nothing but that row.
 *   - A dot product is one chain of fused multiply-adds, k ascending, from 0 (or from C when accumulating).
 *   - A reduction over a row (sum of squares, sum of exp, max) keeps 16 lanes: lane l takes elements
 *     l, l+16, ... in order; then lanes fold: l += l+8, l += l+4, l += l+2, l += l+1 (for l below that).
 *     A missing tail element contributes nothing (+0.0 for sums, -inf for max).
 *   - exp is dt_expf (expf.h): one range reduction and polynomial in fma, no libm.
 *   - sums that feed other rows (weight gradients of norms) are cut in fixed chunks by the caller.
 * Elementwise formulas are written with explicit fma or without; sources of this room are compiled with
 * -ffp-contract=off so that the compiler adds none.
 *
 * Shapes are row major; ld* are strides in floats. Functions are called from pool tasks unless they take
 * a pool. No allocation in any of them: scratch comes from the caller. */
#ifndef DT_KERNEL_H
#define DT_KERNEL_H

#include "tensor/tensor.h"

#define DT_NR 32      /* outputs in one panel of a packed matrix */
#define DT_KV_PAGE 16 /* tokens in one KV page */

typedef enum dt_isa { DT_ISA_SCALAR, DT_ISA_AVX2, DT_ISA_AVX512 } dt_isa;

/* How rows of activations meet a weight matrix, by its element type (packed.h). */
typedef enum dt_act_form {
    DT_ACT_ROWS, /* the rows themselves: F32 */
    DT_ACT_F32,  /* floats: F16, exact BF16 */
    DT_ACT_BF16, /* bfloat16: BF16 */
    DT_ACT_Q32,  /* int8, a scale each 32: Q4_0 .. Q8_0 */
    DT_ACT_Q256, /* int8, a scale each 256: Q2_K .. Q6_K */
    DT_N_ACT_FORMS
} dt_act_form;

/* KEYS AND VALUES of one kv head in one page of 16 tokens. A page is read as floats without rounding; what rounds is
 * storing (kv_store):
 *   F32   K [E][16] (transposed), V [16][E]
 *   F16   the same in binary16: clamped to +-65504, then rounded to nearest even
 *   Q8_0  E is a multiple of 32, at most 512. For 32 elements of one token: d = the largest |x| / 127 as float, then as binary16 (at
 *         most 65504); r = 1 / d (0 where d is 0); x becomes the integer nearest to x * r, ties to even, within +-127.
 *         K: d as [E/32][16] halves, then bytes [E/4][16][4]; V: d as [16][E/32] halves, then bytes [16][E]. */
#define DT_KV_MAX_Q8 512 /* widest head as Q8_0 */
bool dt_kv_type_fits(dt_dtype type, int E);       /* whether keys and values of width E can be held so */
size_t dt_kv_half_bytes(dt_dtype type, int E);    /* of K, or of V, of one head in one page */

#define DT_ATTN_SPAN 512 /* keys of one span; whole pages */

/* Attention of nq tokens and the n_heads query heads that share one kv head: row r is token r / n_heads, head
 * r % n_heads. Token i attends to keys first_key[i] .. n_keys[i]-1, as if the others did not exist.
 * Keys are taken in spans of 512 by their position; within a span the lane of key j is j mod 16:
 *   s_j = (fma chain over e of q[e] * k[j][e]) * scale;  m = lane max;  p_j = dt_expf(s_j - m)
 *   z = 16-lane sum of p_j;  o[e] = fma chain over j of p_j * v[j][e], from 0
 * With Q8_0 keys q is rounded too: for 32 elements d = the largest |q| / 127 as float, r = 1 / d (d below 1e-30: d and r
 * are 0), integers as above; s_j = chain over blocks b of fma(dq_b, (float)(integer dot product) * dk_jb, s), times scale.
 * Spans with keys join in ascending order; the first is taken as it is, then
 *   M' = max(M, m);  a = dt_expf(M - M'), b = dt_expf(m - M');  Z = fma(b, z, a * Z);  O[e] = fma(b, o[e], a * O[e])
 * and the row's result is O[e] / Z. A row with no keys gives zeros. What lies in a page after the last key is never used. */
typedef struct dt_attn {
    const float *q;          /* token i, head h: q + i * ldq + h * E */
    float *o;                /* the same with ldo */
    size_t ldq, ldo;
    int nq, n_heads, d_head;
    const int *first_key;    /* [nq] or NULL: all 0 (a window: n_keys[i] - its width, at least 0) */
    const int *n_keys;       /* [nq] */
    dt_dtype type;           /* of the pages */
    const void *const *k;    /* page pointers by position / 16; those of keys that nobody attends to are not read */
    const void *const *v;
    float scale;
    float *scratch;          /* dt_attn_scratch(type, nq * n_heads, E) floats */
    float *max_out, *sum_out; /* [nq * n_heads] or NULL: M (-inf without keys) and Z, saved for the backward pass */
} dt_attn;

/* Backward of attention for one (sequence, query head), contiguous tokens 0..T-1, causal: row i sees
 * first_key[i]..i, and first_key never falls.
 * Recomputes s and p as above. dq is written; dk and dv are accumulated (query heads that share a kv head
 * are called one after the other). Every element is one fma chain, over ascending keys (dq) or ascending query
 * rows (dk, dv), so this too has the same bits on every instruction set. */
typedef struct dt_attn_bwd {
    const float *q, *k, *v, *o, *d_o; /* rows of E with strides below */
    float *dq, *dk, *dv;
    size_t ldq, ldkv, ldo, lddq, lddkv;
    const int *first_key; /* [T] or NULL: all 0 */
    const float *mx, *z; /* [T], saved by the forward pass */
    int T, d_head;
    float scale;
    float *scratch; /* dt_attn_bwd_scratch(T, E) floats */
} dt_attn_bwd;

struct dt_product_part; /* layout.h */

typedef struct dt_kernels {
    dt_isa isa;
    const char *name; /* "scalar", "avx2", "avx512" */

    /* C[M,N] = or += A[M,K] * B[K,N], one tile range: rows [m0,m1), panels [p0,p1) of DT_NR columns.
     * A element (m,k) at a[m*rsa + k*csa]. bp: packed B, bp[p][k][DT_NR] zero padded. */
    void (*gemm_tile)(float *c, size_t ldc, const float *a, size_t rsa, size_t csa, const float *bp, int N, int K,
                      int m0, int m1, int p0, int p1, bool accumulate);

    /* Products with packed weights of other types (packed.h; where things lie: layout.h). Activations are converted in tiles
     * of at most act_rows[form] rows; a part is tiles [t0, t1) and panels [p0, p1). */
    int act_rows[DT_N_ACT_FORMS];
    void (*act_tile)(dt_act_form form, uint32_t *dst, const float *a, size_t lda, int rows, int K);
    void (*product_int)(const struct dt_product_part *part, int t0, int t1, size_t p0, size_t p1);   /* Q32, Q256 */
    void (*product_bf16)(const struct dt_product_part *part, int t0, int t1, size_t p0, size_t p1);  /* BF16 */
    void (*product_float)(const struct dt_product_part *part, int t0, int t1, size_t p0, size_t p1); /* F32 */
    /* n steps of independent int8 (bfloat16) dot products in registers: gives the operations done; for peak.c. */
    double (*int8_burst)(size_t n, float *sink);
    double (*bf16_burst)(size_t n, float *sink);

    /* y = (x / sqrt(mean(x^2) + eps)) * (w + plus), plus 0 or 1; inv[t] = 1/sqrt(..) saved where not NULL. Rows T of
     * width D. y may be x. */
    void (*rmsnorm)(float *y, size_t ldy, const float *x, size_t ldx, const float *w, float plus, float *inv, int T, int D,
                    float eps);
    /* dx is written or accumulated (acc) and may be dy itself; dw[D] += over these rows in order. */
    void (*rmsnorm_bwd)(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx,
                        const float *w, float plus, const float *inv, int T, int D, bool acc);
    /* rotate half, in place: heads n of width E in each of T rows (stride ld); cos/sin row: table[pos[t]*E/2 ..];
     * backward is sign = -1. */
    void (*rope)(float *x, size_t ld, int T, int n, int E, const int *pos, const float *cos_t, const float *sin_t, float sign);
    void (*attn)(const dt_attn *a);
    /* The same in two steps, for keys shared out between threads: spans span0 .. span1-1 of each row to
     * part[span - span0][row] of dt_attn_part(E) floats; then, with the parts of spans span0 .. span0 + n - 1 that hold all
     * keys of the rows, o and the rest. Same bits. */
    void (*attn_spans)(const dt_attn *a, int span0, int span1, float *part);
    void (*attn_join)(const dt_attn *a, int n, const float *part);
    /* Token `slot` (0..15) of a page: k[E] and v[E] rounded to the type. */
    void (*kv_store)(dt_dtype type, void *k_page, void *v_page, int slot, const float *k, const float *v, int E);
    void (*attn_bwd)(const dt_attn_bwd *a);
    /* h = silu(g) * u, silu(z) = z / (1 + exp(-z)) */
    void (*swiglu)(float *h, const float *g, const float *u, size_t n);
    void (*swiglu_bwd)(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n);
    /* h = gelu(g) * u with the tanh form of gelu, z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))), which is
     * z / (1 + exp(-k)) with k = z * fma(DT_GELU_3 * z, z, DT_GELU_1) (isa.h) */
    void (*geglu)(float *h, const float *g, const float *u, size_t n);
    void (*geglu_bwd)(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n);
    void (*add)(float *y, const float *x, size_t n); /* y += x */

    /* Rows of logits [T] of width V, stride ld, scaled by inv_temp: logp[t] of target[t] (skipped where < 0),
     * entropy[t] in nats and lse[t] (log of the sum of exp, max included). Any output may be NULL. A logit of
     * -inf is a token that cannot come; the log of the sum is dt_logf of a float. */
    void (*xent)(const float *logits, size_t ld, const int32_t *target, int T, int V, float inv_temp, float *logp,
                 float *entropy, float *lse);
    /* In place: logits -> coef[t] * inv_temp * (onehot(target) - softmax): the gradient of sum_t coef[t]*logp[t].
     * Rows with target < 0 or coef 0 become 0. */
    void (*xent_bwd)(float *logits, size_t ld, const int32_t *target, const float *lse, const float *coef, int T, int V,
                     float inv_temp);
    float (*max)(const float *x, size_t n); /* -inf for n = 0; NaNs never win */
    /* w[i] = dt_expf((x[i] - shift) * scale), two roundings before it; 0 where that is NaN or not above -87. */
    void (*exp_weights)(float *w, const float *x, size_t n, float shift, float scale);

    /* AdamW (Loshchilov & Hutter), n elements: g is scaled by gscale first; bc1 = 1 - b1^t, bc2 = 1 - b2^t. */
    void (*adamw)(float *p, const float *g, float *m, float *v, size_t n, float gscale, float lr, float b1, float b2,
                  float eps, float wd, float bc1, float bc2);
    double (*sumsq)(const float *x, size_t n); /* in double, 16-lane order */
} dt_kernels;

/* The table for this process: the best this CPU has, or what DUET_KERNEL=scalar|avx2|avx512 asks for
 * (an unknown or unsupported name falls back to the best and is logged). Thread-safe. */
const dt_kernels *dt_kernels_get(void);
/* A given table, NULL if this CPU or build lacks it. For tests and benchmarks. Every table is whole. */
const dt_kernels *dt_kernels_isa(dt_isa isa);

/* ---- on top of the table (gemm.c) ---- */

size_t dt_packed_floats(int K, int N); /* floats a packed [K,N] matrix takes */
/* bp from B: element (k,n) at b[k*rsb + n*csb]. Parallel over panels. */
void dt_pack(dt_pool *pool, float *bp, const float *b, size_t rsb, size_t csb, int K, int N);
/* The whole product, tiles spread over the pool; bits do not depend on the number of threads. */
void dt_gemm(dt_pool *pool, float *c, size_t ldc, const float *a, size_t rsa, size_t csa, const float *bp, int M, int N,
             int K, bool accumulate);
size_t dt_attn_bwd_scratch(int T, int E); /* floats */
size_t dt_attn_scratch(dt_dtype type, int rows, int E); /* floats */
size_t dt_attn_part(int E);               /* floats of one row's result over one span */

/* The specified exponential, scalar. */
float dt_expf(float x);

/* Measured f32 FMA rate of this CPU over the pool, FLOP/s (runs about `seconds`). */
double dt_peak_flops(dt_pool *pool, double seconds);
/* The same for products of int8 and of bfloat16 numbers as packed.h uses them, operations/s. */
double dt_peak_int8(dt_pool *pool, double seconds);
double dt_peak_bf16(dt_pool *pool, double seconds);
/* Measured bytes/s of reading a block again and again, each thread its own part: the best round, at least one. 0: a block of less
 * than 64 bytes a thread. */
double dt_peak_reading(dt_pool *pool, const void *block, size_t bytes, double seconds);
/* The same with half a gigabyte of its own, which is memory and no cache; 0 where there is not so much. */
double dt_peak_bandwidth(dt_pool *pool, double seconds);

#endif
