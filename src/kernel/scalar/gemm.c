/* C = or += A * B, one tile: each element one chain of fused multiply-adds, k ascending. */
#include "kernel/scalar/scalar.h"

void dt_scalar_gemm_tile(float *c, size_t ldc, const float *a, size_t rsa, size_t csa, const float *bp, int N, int K,
                         int m0, int m1, int p0, int p1, bool accumulate) {
    for (int m = m0; m < m1; m++) {
        for (int n = p0 * DT_NR; n < p1 * DT_NR && n < N; n++) {
            const float *b = bp + (size_t)(n / DT_NR) * K * DT_NR + n % DT_NR;
            float s = accumulate ? c[m * ldc + n] : 0.0f;
            for (int k = 0; k < K; k++)
                s = fmaf(a[m * rsa + k * csa], b[(size_t)k * DT_NR], s);
            c[m * ldc + n] = s;
        }
    }
}
