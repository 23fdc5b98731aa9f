/* The rate of products of small numbers from registers; included after an i16 header. */
#ifndef DT_KERNEL_BODY_DOT_H
#define DT_KERNEL_BODY_DOT_H

static inline double int8_burst(size_t n, float *sink) {
    i16 a[FMA_CHAINS], x = i_set(0x01010101u);
#pragma GCC unroll 10
    for (int l = 0; l < FMA_CHAINS; l++)
        a[l] = i_set((uint32_t)l);
    for (size_t i = 0; i < n; i++) {
#pragma GCC unroll 10
        for (int l = 0; l < FMA_CHAINS; l++)
            a[l] = i_dot(a[l], x, x);
    }
#pragma GCC unroll 10
    for (int l = 0; l < FMA_CHAINS; l++)
        *sink += (float)i_sum(a[l]);
    return FMA_CHAINS * 64.0 * 2.0 * (double)n;
}

static inline double bf16_burst(size_t n, float *sink) {
    v16 a[FMA_CHAINS];
    i16 x = i_set(0x3f003f00u); /* one half, twice */
#pragma GCC unroll 10
    for (int l = 0; l < FMA_CHAINS; l++)
        a[l] = v_set(*sink + (float)l);
    for (size_t i = 0; i < n; i++) {
#pragma GCC unroll 10
        for (int l = 0; l < FMA_CHAINS; l++)
            a[l] = v_dot_bf16(a[l], x, x);
    }
#pragma GCC unroll 10
    for (int l = 0; l < FMA_CHAINS; l++)
        *sink += v_fold_sum(a[l]);
    return FMA_CHAINS * 32.0 * 2.0 * (double)n;
}

#endif
