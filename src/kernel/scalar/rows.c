/* Operations on rows of activations: RMS norm and rotary positions, forward and backward. */
#include "kernel/scalar/scalar.h"

void dt_scalar_rmsnorm(float *y, size_t ldy, const float *x, size_t ldx, const float *w, float plus, float *inv, int T,
                       int D, float eps) {
    for (int t = 0; t < T; t++) {
        const float *xr = x + t * ldx;
        float ss[DT_LANES] = {0};
        for (int d = 0; d < D; d++)
            ss[d % DT_LANES] = fmaf(xr[d], xr[d], ss[d % DT_LANES]);
        float r = 1.0f / sqrtf(dt_fold_sum(ss) / (float)D + eps);
        for (int d = 0; d < D; d++)
            y[t * ldy + d] = (xr[d] * r) * (w[d] + plus);
        if (inv)
            inv[t] = r;
    }
}

/* y = x r v with v = w + plus and r = (mean(x^2) + eps)^(-1/2), so dr/dx = -r^3 x / D and
 * dx = r (dy v) - x r^3/D sum(dy v x);  dw += dy x r. */
void dt_scalar_rmsnorm_bwd(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx,
                           const float *w, float plus, const float *inv, int T, int D, bool acc) {
    for (int t = 0; t < T; t++) {
        const float *xr = x + t * ldx, *gr = dy + t * lddy;
        float *out = dx + t * lddx, r = inv[t], dot[DT_LANES] = {0};
        for (int d = 0; d < D; d++)
            dot[d % DT_LANES] = fmaf(gr[d] * (w[d] + plus), xr[d], dot[d % DT_LANES]);
        float c = -(dt_fold_sum(dot) * (r * r * r) / (float)D);
        for (int d = 0; d < D; d++) {
            float v = fmaf(c, xr[d], (gr[d] * (w[d] + plus)) * r);
            dw[d] = fmaf(gr[d], xr[d] * r, dw[d]); /* before out: dx may be dy */
            out[d] = acc ? out[d] + v : v;
        }
    }
}

void dt_scalar_rope(float *x, size_t ld, int T, int n, int E, const int *pos, const float *cos_t, const float *sin_t,
                    float sign) {
    int half = E / 2;
    for (int t = 0; t < T; t++) {
        const float *co = cos_t + (size_t)pos[t] * half, *si = sin_t + (size_t)pos[t] * half;
        for (int h = 0; h < n; h++) {
            float *lo = x + t * ld + (size_t)h * E, *hi = lo + half;
            for (int e = 0; e < half; e++) {
                float s = si[e] * sign, a = lo[e], b = hi[e];
                lo[e] = fmaf(a, co[e], -(b * s));
                hi[e] = fmaf(b, co[e], a * s);
            }
        }
    }
}
