/* The scalar kernels: short, naive, exact. They are the specification of every result's bits. */
#ifndef DT_KERNEL_SCALAR_H
#define DT_KERNEL_SCALAR_H

#include "kernel/expf.h"
#include "kernel/isa.h"

/* Folds 16 lanes: l += l+8, l+4, l+2, l+1. */
static inline float dt_fold_sum(float v[DT_LANES]) {
    for (int w = DT_LANES / 2; w; w /= 2)
        for (int l = 0; l < w; l++)
            v[l] = v[l] + v[l + w];
    return v[0];
}

static inline float dt_fold_max(float v[DT_LANES]) {
    for (int w = DT_LANES / 2; w; w /= 2)
        for (int l = 0; l < w; l++)
            v[l] = v[l + w] > v[l] ? v[l + w] : v[l];
    return v[0];
}

void dt_scalar_gemm_tile(float *c, size_t ldc, const float *a, size_t rsa, size_t csa, const float *bp, int N, int K,
                         int m0, int m1, int p0, int p1, bool accumulate);
void dt_scalar_act_tile(dt_act_form form, uint32_t *dst, const float *a, size_t lda, int rows, int K);
void dt_scalar_product(const struct dt_product_part *part, int t0, int t1, size_t p0, size_t p1);
/* Fused multiply-add of a bfloat16 product: operands below 2^-126 and results below it become 0. */
float dt_fma_flushed(float x, float y, float z);
double dt_scalar_int8_burst(size_t n, float *sink);
double dt_scalar_bf16_burst(size_t n, float *sink);
void dt_scalar_rmsnorm(float *y, size_t ldy, const float *x, size_t ldx, const float *w, float plus, float *inv, int T,
                       int D, float eps);
void dt_scalar_rmsnorm_bwd(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx,
                           const float *w, float plus, const float *inv, int T, int D, bool acc);
void dt_scalar_rope(float *x, size_t ld, int T, int n, int E, const int *pos, const float *cos_t, const float *sin_t,
                    float sign);
void dt_scalar_attn(const dt_attn *a);
void dt_scalar_attn_spans(const dt_attn *a, int span0, int span1, float *part);
void dt_scalar_attn_join(const dt_attn *a, int n, const float *part);
void dt_scalar_kv_store(dt_dtype type, void *k_page, void *v_page, int slot, const float *k, const float *v, int E);
void dt_scalar_attn_bwd(const dt_attn_bwd *a);
void dt_scalar_swiglu(float *h, const float *g, const float *u, size_t n);
void dt_scalar_swiglu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n);
void dt_scalar_geglu(float *h, const float *g, const float *u, size_t n);
void dt_scalar_geglu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n);
void dt_scalar_add(float *y, const float *x, size_t n);
float dt_scalar_max(const float *x, size_t n);
void dt_scalar_exp_weights(float *w, const float *x, size_t n, float shift, float scale);
void dt_scalar_xent(const float *logits, size_t ld, const int32_t *target, int T, int V, float inv_temp, float *logp,
                    float *entropy, float *lse);
void dt_scalar_xent_bwd(float *logits, size_t ld, const int32_t *target, const float *lse, const float *coef, int T,
                        int V, float inv_temp);
void dt_scalar_adamw(float *p, const float *g, float *m, float *v, size_t n, float gscale, float lr, float b1, float b2,
                     float eps, float wd, float bc1, float bc2);
double dt_scalar_sumsq(const float *x, size_t n);

#endif
