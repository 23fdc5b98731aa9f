/* Sixteen 32-bit integers in one AVX-512 register: what products with packed weights are written in, beside v16_avx512.h.
 * Only for files compiled with the AVX-512 flags; i16_avx2.h offers the same names. With the flags of VNNI and of the bfloat16
 * instructions i_dot, i_dot_pairs and v_dot_bf16 are one instruction each, with the same results. */
#ifndef DT_I16_AVX512_H
#define DT_I16_AVX512_H

#include "kernel/x86/v16_avx512.h"

#define INT_ROWS 4    /* 4 x 2 sums of integers, 4 x 2 sums of floats */
#define RUN_SUMS 16   /* sums of integers of several runs */
#define FLOAT_ROWS 12 /* 12 x 2 sums */
#define PROD_COLS 2   /* vectors of outputs together: a panel */
#define Q8_SIGNED 0   /* i_dot_wide takes the stored numbers as they are */

typedef __m512i i16;
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef int32_t s32x16 __attribute__((vector_size(64)));

V16_INLINE i16 i_zero(void) {
    return _mm512_setzero_si512();
}
V16_INLINE i16 i_set(uint32_t x) {
    return _mm512_set1_epi32((int)x);
}
/* The same number, which the compiler has to have in a register now: else it regroups long sums and runs out of registers. */
V16_INLINE i16 i_now(i16 a) {
    __asm__("" : "+v"(a));
    return a;
}
V16_INLINE i16 i_load(const void *p) {
    return _mm512_loadu_si512(p);
}
V16_INLINE i16 i_and(i16 a, i16 b) {
    return _mm512_and_si512(a, b);
}
V16_INLINE i16 i_or(i16 a, i16 b) {
    return _mm512_or_si512(a, b);
}
V16_INLINE i16 i_add(i16 a, i16 b) {
    return _mm512_add_epi32(a, b);
}
V16_INLINE i16 i_mul(i16 a, i16 b) {
    return _mm512_mullo_epi32(a, b);
}
V16_INLINE i16 i_max(i16 a, i16 b) {
    return _mm512_max_epi32(a, b);
}
V16_INLINE i16 i_right(i16 a, int n) {
    return (i16)((u32x16)a >> n);
}
V16_INLINE i16 i_left(i16 a, int n) {
    return (i16)((u32x16)a << n);
}
V16_INLINE i16 i_right_signed(i16 a, int n) {
    return (i16)((s32x16)a >> n);
}
V16_INLINE v16 i_to_float(i16 a) {
    return _mm512_cvtepi32_ps(a);
}
V16_INLINE i16 i_nearest(v16 a) { /* even */
    return _mm512_cvtps_epi32(a);
}
V16_INLINE v16 i_as_float(i16 a) {
    return _mm512_castsi512_ps(a);
}
V16_INLINE i16 i_of_float(v16 a) { /* the bits */
    return _mm512_castps_si512(a);
}
V16_INLINE i16 i_widen_u16(const void *p) { /* 16 numbers */
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
}
V16_INLINE i16 i_widen_pairs(const void *p) { /* 32 bytes to 16 bits each */
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(p));
}
V16_INLINE v16 v_half(const void *p) { /* 16 half floats */
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
V16_INLINE int i_sum(i16 a) {
    return _mm512_reduce_add_epi32(a);
}
V16_INLINE int i_largest(i16 a) {
    return _mm512_reduce_max_epi32(a);
}
V16_INLINE void i_store_bytes(int8_t *p, i16 a) { /* each in -128..127 */
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(a));
}

/* acc += the four products of unsigned bytes of u (at most 63) with signed bytes of s, in each lane. */
V16_INLINE i16 i_dot(i16 acc, i16 u, i16 s) {
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(acc, u, s);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(u, s), _mm512_set1_epi16(1)));
#endif
}
/* The same for any u: without VNNI its top bit apart, so that no sum of two overflows 16 bits. */
V16_INLINE i16 i_dot_wide(i16 acc, i16 u, i16 s) {
#ifdef __AVX512VNNI__
    return _mm512_dpbusd_epi32(acc, u, s);
#else
    i16 low = i_and(u, _mm512_set1_epi8(127)), top = i_and(i_right(u, 7), _mm512_set1_epi8(1));
    acc = i_dot(acc, low, s);
    return _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(top, s), _mm512_set1_epi16(128)));
#endif
}
/* acc += the two products of 16-bit numbers in each lane. */
V16_INLINE i16 i_dot_pairs(i16 acc, i16 a, i16 b) {
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(acc, a, b);
#else
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
#endif
}
/* Two fused multiply-adds of bfloat16 pairs, the high one first; flushed (without the instruction: by the mode set for the
 * whole product). */
V16_INLINE v16 v_dot_bf16(v16 acc, i16 a, i16 b) {
#ifdef __AVX512BF16__
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#else
    const i16 high = i_set(0xffff0000u);
    acc = v_fma(i_as_float(i_and(a, high)), i_as_float(i_and(b, high)), acc);
    return v_fma(i_as_float(i_left(a, 16)), i_as_float(i_left(b, 16)), acc);
#endif
}

#endif
