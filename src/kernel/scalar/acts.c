/* Activations in the form they are multiplied in: the specification of packed.h, and the layout of layout.h. */
#include "kernel/layout.h"
#include "kernel/scalar/scalar.h"

#include <math.h>

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* x[n] to int8; gives the scale. The largest magnitude is found among the bits, where a NaN is above infinity. */
static float to_int8(const float *x, int n, int8_t *q) {
    uint32_t top = 0;
    for (int i = 0; i < n; i++) {
        const uint32_t u = bits_of(x[i]) & 0x7fffffffu;
        if (u > top) top = u;
    }
    float amax;
    memcpy(&amax, &top, sizeof amax);
    const bool finite = top < 0x7f800000u, zero = !finite || amax < DT_Q_TINY;
    const float inv = zero ? 0.0f : 127.0f / amax;
    for (int i = 0; i < n; i++)
        q[i] = zero ? 0 : (int8_t)nearbyintf(x[i] * inv);
    return !finite ? NAN : zero ? 0.0f : amax / 127.0f;
}

static int sum_of(const int8_t *q, int n) {
    int s = 0;
    for (int i = 0; i < n; i++)
        s += q[i];
    return s;
}

static void put_int8(uint32_t *dst, const int8_t *q, int n, int R) {
    for (int i = 0; i < n; i += 4)
        memcpy(dst + i / 4 * R, q + i, 4);
}

static uint32_t pair(int low, int high) {
    return (uint16_t)low | (uint32_t)(uint16_t)high << 16;
}

static void block_32(uint32_t *dst, const float *x, int R) {
    int8_t q[DT_QK];
    const float s = to_int8(x, DT_QK, q);
    const int sum = sum_of(q, DT_QK);
    put_int8(dst, q, DT_QK, R);
    dst[8 * R] = bits_of(s);
    dst[9 * R] = (uint32_t)(-128 * sum);
    dst[10 * R] = bits_of(s * (float)sum);
}

static void block_256(uint32_t *dst, const float *x, int R) {
    int8_t q[DT_QK_K];
    int sum[16];
    const float s = to_int8(x, DT_QK_K, q);
    put_int8(dst, q, DT_QK_K, R);
    dst[64 * R] = bits_of(s);
    for (int i = 0; i < 16; i++) {
        sum[i] = sum_of(q + 16 * i, 16);
        dst[(65 + i) * R] = (uint32_t)(-32 * sum[i]);
    }
    for (int i = 0; i < 8; i++)
        dst[(81 + i) * R] = pair(sum[2 * i], sum[2 * i + 1]);
    for (int i = 0; i < 4; i++)
        dst[(89 + i) * R] = pair(sum[4 * i] + sum[4 * i + 1], sum[4 * i + 2] + sum[4 * i + 3]);
}

void dt_scalar_act_tile(dt_act_form form, uint32_t *dst, const float *a, size_t lda, int R, int K) {
    for (int r = 0; r < R; r++, a += lda, dst++) {
        switch (form) {
        case DT_ACT_F32:
            for (int k = 0; k < K; k++)
                dst[k * R] = bits_of(a[k]);
            break;
        case DT_ACT_BF16:
            for (int k = 0; k < K; k += 2)
                dst[k / 2 * R] = dt_f32_to_bf16(a[k]) | (uint32_t)(k + 1 < K ? dt_f32_to_bf16(a[k + 1]) : 0) << 16;
            break;
        case DT_ACT_Q32:
            for (int k = 0; k < K; k += DT_QK)
                block_32(dst + k / DT_QK * DT_Q32_WORDS * R, a + k, R);
            break;
        case DT_ACT_Q256:
            for (int k = 0; k < K; k += DT_QK_K)
                block_256(dst + k / DT_QK_K * DT_Q256_WORDS * R, a + k, R);
            break;
        default:
            break;
        }
    }
}
