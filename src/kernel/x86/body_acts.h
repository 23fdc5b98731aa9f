/* Activations in the form they are multiplied in, for one instruction set; included after its i16 header. Bits: packed.h. */
#ifndef DT_KERNEL_BODY_ACTS_H
#define DT_KERNEL_BODY_ACTS_H

#include "kernel/layout.h"

#include <math.h>

/* Integers of 16 n floats; gives their scale. */
V16_INLINE float acts_to_int8(const float *x, int n, int8_t *q) {
    i16 top = i_zero();
    for (int i = 0; i < n; i++)
        top = i_max(top, i_and(i_of_float(v_load(x + 16 * i)), i_set(0x7fffffffu)));
    const uint32_t bits = (uint32_t)i_largest(top); /* among bits a NaN is above infinity */
    const float amax = float_at(&bits);
    if (bits >= 0x7f800000u || amax < DT_Q_TINY) {
        memset(q, 0, (size_t)n * 16);
        return bits >= 0x7f800000u ? NAN : 0.0f;
    }
    const v16 inv = v_set(127.0f / amax);
    for (int i = 0; i < n; i++)
        i_store_bytes(q + 16 * i, i_nearest(v_mul(v_load(x + 16 * i), inv)));
    return amax / 127.0f;
}

/* Sums of 16 neighbouring numbers, of which 64 lie in q. */
V16_INLINE void acts_sums(const int8_t *q, int32_t sum[4]) {
    int32_t four[16];
    const i16 s = i_dot(i_zero(), i_set(0x01010101u), i_load(q));
    memcpy(four, &s, sizeof four);
    for (int i = 0; i < 4; i++)
        sum[i] = four[4 * i] + four[4 * i + 1] + four[4 * i + 2] + four[4 * i + 3];
}

static void acts_put(uint32_t *dst, const int8_t *q, int words, int R) {
    if (R == 1) {
        memcpy(dst, q, (size_t)words * 4);
        return;
    }
    for (int i = 0; i < words; i++)
        memcpy(dst + (size_t)i * (size_t)R, q + 4 * i, 4);
}

static void acts_block_32(uint32_t *dst, const float *x, int R) {
    int8_t q[64] = {0}; /* half of it stays 0 */
    int32_t sum[4];
    const float s = acts_to_int8(x, 2, q);
    acts_sums(q, sum);
    const int all = sum[0] + sum[1];
    const float fsum = s * (float)all;
    acts_put(dst, q, 8, R);
    memcpy(dst + 8 * R, &s, 4);
    dst[9 * R] = (uint32_t)(-128 * all);
    memcpy(dst + 10 * R, &fsum, 4);
}

static void acts_block_256(uint32_t *dst, const float *x, int R) {
    int8_t q[DT_QK_K];
    int32_t sum[16];
    const float s = acts_to_int8(x, 16, q);
    acts_put(dst, q, 64, R);
    memcpy(dst + 64 * R, &s, 4);
    for (int i = 0; i < 4; i++)
        acts_sums(q + 64 * i, sum + 4 * i);
    for (int i = 0; i < 16; i++)
        dst[(65 + i) * R] = (uint32_t)(-32 * sum[i]);
    for (int i = 0; i < 8; i++)
        dst[(81 + i) * R] = (uint16_t)sum[2 * i] | (uint32_t)(uint16_t)sum[2 * i + 1] << 16;
    for (int i = 0; i < 4; i++)
        dst[(89 + i) * R] = (uint16_t)(sum[4 * i] + sum[4 * i + 1]) | (uint32_t)(uint16_t)(sum[4 * i + 2] + sum[4 * i + 3]) << 16;
}

/* Nearest even; a NaN stays one. A copy of dt_f32_to_bf16, so that the loop below becomes vectors. */
static inline uint16_t acts_bf16(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    const uint32_t nan = u >> 16 | 0x40, near = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : near);
}

static void acts_row_bf16(uint32_t *dst, const float *x, int R, int K) {
    uint16_t b[64];
    for (int k = 0; k < K; k += 64, dst += 32 * R) {
        const int n = K - k < 64 ? K - k : 64;
        for (int i = 0; i < n; i++)
            b[i] = acts_bf16(x[k + i]);
        if (n % 2) b[n] = 0;
        acts_put(dst, (const int8_t *)b, (n + 1) / 2, R);
    }
}

static void act_tile(dt_act_form form, uint32_t *dst, const float *a, size_t lda, int R, int K) {
    for (int r = 0; r < R; r++, a += lda, dst++) {
        switch (form) {
        case DT_ACT_F32:
            for (int k = 0; k < K; k++)
                memcpy(dst + (size_t)k * (size_t)R, a + k, 4);
            break;
        case DT_ACT_BF16:
            acts_row_bf16(dst, a, R, K);
            break;
        case DT_ACT_Q32:
            for (int k = 0; k < K; k += DT_QK)
                acts_block_32(dst + (size_t)(k / DT_QK) * DT_Q32_WORDS * (size_t)R, a + k, R);
            break;
        case DT_ACT_Q256:
            for (int k = 0; k < K; k += DT_QK_K)
                acts_block_256(dst + (size_t)(k / DT_QK_K) * DT_Q256_WORDS * (size_t)R, a + k, R);
            break;
        default:
            break;
        }
    }
}

#endif
