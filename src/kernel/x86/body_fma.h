/* The rate of fused multiply-adds from registers: FMA_CHAINS independent chains of 16 lanes. */
#ifndef DT_KERNEL_BODY_FMA_H
#define DT_KERNEL_BODY_FMA_H

static double fma_burst(size_t n, float *sink) {
    v16 a[FMA_CHAINS], x = v_set(0.999f), y = v_set(1e-3f);
    for (int l = 0; l < FMA_CHAINS; l++)
        a[l] = v_set(*sink + (float)l);
    for (size_t i = 0; i < n; i++) {
#pragma GCC unroll 10
        for (int l = 0; l < FMA_CHAINS; l++)
            a[l] = v_fma(a[l], x, y);
    }
    for (int l = 0; l < FMA_CHAINS; l++)
        *sink += v_fold_sum(a[l]);
    return FMA_CHAINS * 16.0 * 2.0 * (double)n;
}

#endif
