/* Elementwise operations: SwiGLU and GeGLU forward and backward, addition, the AdamW step, sum of squares. */
#include "kernel/scalar/scalar.h"

void dt_scalar_swiglu(float *h, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++)
        h[i] = (g[i] / (1.0f + dt_expf_inline(-g[i]))) * u[i];
}

/* silu'(g) = s (1 + g (1 - s)) with s = 1 / (1 + exp(-g)). */
void dt_scalar_swiglu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float s = 1.0f / (1.0f + dt_expf_inline(-g[i])), d = dh[i];
        float slope = s * fmaf(g[i], 1.0f - s, 1.0f);
        dg[i] = (d * u[i]) * slope;
        du[i] = d * (g[i] * s);
    }
}

void dt_scalar_geglu(float *h, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float k = g[i] * fmaf(DT_GELU_3 * g[i], g[i], DT_GELU_1);
        h[i] = (g[i] / (1.0f + dt_expf_inline(-k))) * u[i];
    }
}

/* gelu'(g) = s (1 + g (1 - s) k') with s = 1 / (1 + exp(-k)), k' = DT_GELU_1 + 3 DT_GELU_3 g^2. */
void dt_scalar_geglu_bwd(float *dg, float *du, const float *dh, const float *g, const float *u, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float k = g[i] * fmaf(DT_GELU_3 * g[i], g[i], DT_GELU_1), dk = fmaf(3.0f * DT_GELU_3 * g[i], g[i], DT_GELU_1);
        float s = 1.0f / (1.0f + dt_expf_inline(-k)), d = dh[i];
        float slope = s * fmaf(g[i] * (1.0f - s), dk, 1.0f);
        dg[i] = (d * u[i]) * slope;
        du[i] = d * (g[i] * s);
    }
}

void dt_scalar_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = y[i] + x[i];
}

void dt_scalar_adamw(float *p, const float *g, float *m, float *v, size_t n, float gscale, float lr, float b1, float b2,
                     float eps, float wd, float bc1, float bc2) {
    float a1 = 1.0f - b1, a2 = 1.0f - b2;
    for (size_t i = 0; i < n; i++) {
        float d = g[i] * gscale;
        float mi = m[i] = fmaf(b1, m[i], a1 * d);
        float vi = v[i] = fmaf(b2, v[i], (a2 * d) * d);
        float step = (mi / bc1) / (sqrtf(vi / bc2) + eps);
        p[i] = fmaf(-lr, fmaf(wd, p[i], step), p[i]);
    }
}

/* The product of two floats is exact in double, so fused or not makes no difference here. */
double dt_scalar_sumsq(const float *x, size_t n) {
    double v[DT_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        v[i % DT_LANES] += (double)x[i] * (double)x[i];
    for (int w = DT_LANES / 2; w; w /= 2)
        for (int l = 0; l < w; l++)
            v[l] = v[l] + v[l + w];
    return v[0];
}

double dt_fma_burst_scalar(size_t n, float *sink) {
    float a[8] = {0};
    for (size_t i = 0; i < n; i++)
        for (int l = 0; l < 8; l++)
            a[l] = fmaf(0.999f, a[l], 1e-3f);
    for (int l = 0; l < 8; l++)
        *sink += a[l];
    return 16.0 * (double)n;
}
