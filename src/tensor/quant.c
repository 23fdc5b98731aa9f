/* Blocks of quantised elements to floats: the reference for every kernel that multiplies with them. */
#include "tensor/quant.h"

static float half(const uint8_t b[2]) {
    return dt_f16_to_f32((uint16_t)(b[0] | b[1] << 8));
}

/* Element i of 32 that are stored as nibbles: the low ones first, then the high ones. */
static int nibble(const uint8_t qs[16], int i) {
    return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

static int fifth(const uint8_t qh[4], int i) {
    return (qh[i / 8] >> (i % 8) & 1) << 4;
}

static void q4_0(const void *block, float *x) {
    const dt_q4_0 *b = block;
    const float d = half(b->d);
    for (int i = 0; i < DT_QK; i++)
        x[i] = d * (float)(nibble(b->qs, i) - 8);
}

static void q4_1(const void *block, float *x) {
    const dt_q4_1 *b = block;
    const float d = half(b->d), m = half(b->m);
    for (int i = 0; i < DT_QK; i++)
        x[i] = d * (float)nibble(b->qs, i) + m;
}

static void q5_0(const void *block, float *x) {
    const dt_q5_0 *b = block;
    const float d = half(b->d);
    for (int i = 0; i < DT_QK; i++)
        x[i] = d * (float)((nibble(b->qs, i) | fifth(b->qh, i)) - 16);
}

static void q5_1(const void *block, float *x) {
    const dt_q5_1 *b = block;
    const float d = half(b->d), m = half(b->m);
    for (int i = 0; i < DT_QK; i++)
        x[i] = d * (float)(nibble(b->qs, i) | fifth(b->qh, i)) + m;
}

static void q8_0(const void *block, float *x) {
    const dt_q8_0 *b = block;
    const float d = half(b->d);
    for (int i = 0; i < DT_QK; i++)
        x[i] = d * (float)b->qs[i];
}

/* Q2_K and Q3_K: element i = 128 h + 32 j + l has its two bits at bit 2 j of qs[32 h + l]. */
static int two_bits(const uint8_t qs[64], int i) {
    return qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3;
}

static void q2_k(const void *block, float *x) {
    const dt_q2_k *b = block;
    const float d = half(b->d), dmin = half(b->dmin);
    for (int i = 0; i < DT_QK_K; i++) {
        const uint8_t s = b->scales[i / 16];
        x[i] = d * (float)(s & 15) * (float)two_bits(b->qs, i) - dmin * (float)(s >> 4);
    }
}

/* Q3_K: run r of 16 has the low four bits of its scale in a nibble of scales[r % 8] (low for r < 8), the high two at bit
 * 2 (r / 4) of scales[8 + r % 4]. The third bit of element i is bit i / 32 of hmask[i % 32]; where it is 0, 4 is taken off. */
int dt_q3_k_scale(const uint8_t scales[12], int r) {
    const int low = r < 8 ? scales[r] & 15 : scales[r - 8] >> 4;
    return (low | (scales[8 + r % 4] >> (2 * (r / 4)) & 3) << 4) - 32;
}

static void q3_k(const void *block, float *x) {
    const dt_q3_k *b = block;
    const float d = half(b->d);
    for (int i = 0; i < DT_QK_K; i++) {
        const int q = two_bits(b->qs, i) - (b->hmask[i % 32] >> (i / 32) & 1 ? 0 : 4);
        x[i] = d * (float)dt_q3_k_scale(b->scales, i / 16) * (float)q;
    }
}

/* Q4_K and Q5_K: run r of 32. r < 4: the low six bits of scales[r] (scale) and scales[r + 4] (min). r >= 4: a nibble of
 * scales[r + 4] (low: scale, high: min), and above it the top two bits of scales[r - 4] (scale) and scales[r] (min). */
void dt_q4_k_scale(const uint8_t scales[12], int r, int *sc, int *mn) {
    if (r < 4) {
        *sc = scales[r] & 63;
        *mn = scales[r + 4] & 63;
    } else {
        *sc = (scales[r + 4] & 15) | scales[r - 4] >> 6 << 4;
        *mn = scales[r + 4] >> 4 | scales[r] >> 6 << 4;
    }
}

/* Element i = 64 h + 32 j + l has its nibble in qs[32 h + l], low for j = 0. */
static int k_nibble(const uint8_t qs[128], int i) {
    const uint8_t q = qs[i / 64 * 32 + i % 32];
    return i % 64 < 32 ? q & 15 : q >> 4;
}

static void q4_k(const void *block, float *x) {
    const dt_q4_k *b = block;
    const float d = half(b->d), dmin = half(b->dmin);
    for (int i = 0; i < DT_QK_K; i++) {
        int sc, mn;
        dt_q4_k_scale(b->scales, i / 32, &sc, &mn);
        x[i] = d * (float)sc * (float)k_nibble(b->qs, i) - dmin * (float)mn;
    }
}

/* Q5_K: the fifth bit of element i is bit i / 32 of qh[i % 32]. */
static void q5_k(const void *block, float *x) {
    const dt_q5_k *b = block;
    const float d = half(b->d), dmin = half(b->dmin);
    for (int i = 0; i < DT_QK_K; i++) {
        int sc, mn;
        dt_q4_k_scale(b->scales, i / 32, &sc, &mn);
        const int q = k_nibble(b->qs, i) | (b->qh[i % 32] >> (i / 32) & 1) << 4;
        x[i] = d * (float)sc * (float)q - dmin * (float)mn;
    }
}

/* Q6_K: element i = 128 h + 32 j + l has its low four bits in ql[64 h + 32 (j % 2) + l], in the low nibble for j < 2, and its
 * high two at bit 2 j of qh[32 h + l]. */
static void q6_k(const void *block, float *x) {
    const dt_q6_k *b = block;
    const float d = half(b->d);
    for (int i = 0; i < DT_QK_K; i++) {
        const int h = i / 128, j = i % 128 / 32, l = i % 32, r = i / 16;
        const uint8_t low = b->ql[64 * h + 32 * (j % 2) + l];
        const int q = (j < 2 ? low & 15 : low >> 4) | (b->qh[32 * h + l] >> (2 * j) & 3) << 4;
        x[i] = d * (float)b->scales[r] * (float)(q - 32);
    }
}

void dt_quant_to_f32(dt_dtype t, const void *blocks, float *dst, size_t n) {
    static void (*const readers[DT_N_DTYPES])(const void *, float *) = {
        [DT_Q4_0] = q4_0, [DT_Q4_1] = q4_1, [DT_Q5_0] = q5_0, [DT_Q5_1] = q5_1, [DT_Q8_0] = q8_0,
        [DT_Q2_K] = q2_k, [DT_Q3_K] = q3_k, [DT_Q4_K] = q4_k, [DT_Q5_K] = q5_k, [DT_Q6_K] = q6_k,
    };
    const size_t block = dt_dtype_block(t), size = dt_dtype_size(t);
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i += block, p += size)
        readers[t](p, dst + i);
}
