/* Sixteen 32-bit integers in two AVX2 registers: what products with packed weights are written in, beside v16_avx2.h.
 * Only for files compiled with the AVX2 flags; i16_avx512.h offers the same names. */
#ifndef DT_I16_AVX2_H
#define DT_I16_AVX2_H

#include "kernel/x86/v16_avx2.h"

#define INT_ROWS 3 /* 3 sums of integers, 3 of floats, of two registers each */
#define RUN_SUMS 3 /* sums of integers of several runs */
#define FLOAT_ROWS 6
#define PROD_COLS 1 /* vectors of outputs together: half a panel */
#define Q8_SIGNED 1 /* i_dot_wide takes 128 off itself */

typedef struct {
    __m256i a, b;
} i16;

typedef uint32_t u32x8 __attribute__((vector_size(32)));
typedef int32_t s32x8 __attribute__((vector_size(32)));

V16_INLINE i16 i_zero(void) {
    return (i16){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
V16_INLINE i16 i_set(uint32_t x) {
    __m256i y = _mm256_set1_epi32((int)x);
    return (i16){y, y};
}
/* The same number, which the compiler has to have in registers now: else it regroups long sums and runs out of them. */
V16_INLINE i16 i_now(i16 x) {
    __asm__("" : "+x"(x.a), "+x"(x.b));
    return x;
}
V16_INLINE i16 i_load(const void *p) {
    const __m256i *q = p;
    return (i16){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
V16_INLINE i16 i_and(i16 x, i16 y) {
    return (i16){_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)};
}
V16_INLINE i16 i_or(i16 x, i16 y) {
    return (i16){_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
V16_INLINE i16 i_add(i16 x, i16 y) {
    return (i16){_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
V16_INLINE i16 i_mul(i16 x, i16 y) {
    return (i16){_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
V16_INLINE i16 i_max(i16 x, i16 y) {
    return (i16){_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
V16_INLINE i16 i_right(i16 x, int n) {
    return (i16){(__m256i)((u32x8)x.a >> n), (__m256i)((u32x8)x.b >> n)};
}
V16_INLINE i16 i_left(i16 x, int n) {
    return (i16){(__m256i)((u32x8)x.a << n), (__m256i)((u32x8)x.b << n)};
}
V16_INLINE i16 i_right_signed(i16 x, int n) {
    return (i16){(__m256i)((s32x8)x.a >> n), (__m256i)((s32x8)x.b >> n)};
}
V16_INLINE v16 i_to_float(i16 x) {
    return (v16){_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
V16_INLINE i16 i_nearest(v16 x) { /* even */
    return (i16){_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
V16_INLINE v16 i_as_float(i16 x) {
    return (v16){_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
V16_INLINE i16 i_of_float(v16 x) { /* the bits */
    return (i16){_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
V16_INLINE i16 i_widen_u16(const void *p) { /* 16 numbers */
    const __m128i *q = p;
    return (i16){_mm256_cvtepu16_epi32(_mm_loadu_si128(q)), _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
}
V16_INLINE i16 i_widen_pairs(const void *p) { /* 32 bytes to 16 bits each */
    const __m128i *q = p;
    return (i16){_mm256_cvtepu8_epi16(_mm_loadu_si128(q)), _mm256_cvtepu8_epi16(_mm_loadu_si128(q + 1))};
}
V16_INLINE v16 v_half(const void *p) { /* 16 half floats */
    const __m128i *q = p;
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
V16_INLINE int i_sum(i16 x) {
    __m256i s = _mm256_add_epi32(x.a, x.b);
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}
V16_INLINE int i_largest(i16 x) {
    __m256i s = _mm256_max_epi32(x.a, x.b);
    __m128i t = _mm_max_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}
V16_INLINE void i_store_bytes(int8_t *p, i16 x) { /* each in -128..127 */
    __m128i a = _mm_packs_epi32(_mm256_castsi256_si128(x.a), _mm256_extracti128_si256(x.a, 1));
    __m128i b = _mm_packs_epi32(_mm256_castsi256_si128(x.b), _mm256_extracti128_si256(x.b, 1));
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(a, b));
}

V16_INLINE __m256i dot_8(__m256i acc, __m256i u, __m256i s) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1)));
}
/* acc += the four products of unsigned bytes of u (at most 63) with signed bytes of s, in each lane. */
V16_INLINE i16 i_dot(i16 acc, i16 u, i16 s) {
    return (i16){dot_8(acc.a, u.a, s.a), dot_8(acc.b, u.b, s.b)};
}
/* The same for u - 128: magnitudes times signed numbers, so that no sum of two overflows 16 bits. */
V16_INLINE __m256i dot_8_wide(__m256i acc, __m256i u, __m256i s) {
    __m256i w = _mm256_xor_si256(u, _mm256_set1_epi8(-128));
    return dot_8(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(s, w));
}
V16_INLINE i16 i_dot_wide(i16 acc, i16 u, i16 s) {
    return (i16){dot_8_wide(acc.a, u.a, s.a), dot_8_wide(acc.b, u.b, s.b)};
}
/* acc += the two products of 16-bit numbers in each lane. */
V16_INLINE i16 i_dot_pairs(i16 acc, i16 x, i16 y) {
    return (i16){_mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a)), _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b))};
}
/* Two fused multiply-adds of bfloat16 pairs, the high one first; flushed by the mode set for the whole product. */
V16_INLINE v16 v_dot_bf16(v16 acc, i16 x, i16 y) {
    const i16 high = i_set(0xffff0000u);
    acc = v_fma(i_as_float(i_and(x, high)), i_as_float(i_and(y, high)), acc);
    return v_fma(i_as_float(i_left(x, 16)), i_as_float(i_left(y, 16)), acc);
}

#endif
