/* Sixteen floats in one AVX-512 register: the operations the kernel bodies are written in.
 * Only for files compiled with the AVX-512 flags; v16_avx2.h offers the same names. */
#ifndef DT_V16_AVX512_H
#define DT_V16_AVX512_H

#include <immintrin.h>

#include "kernel/expf.h"
#include "kernel/isa.h"

#define V16_INLINE static inline __attribute__((always_inline))

#define GEMM_ROWS 12 /* 12 x 2 accumulators, 2 of B, the rest for broadcasts */
#define GEMM_COLS 2
#define FMA_CHAINS 10
#define ATTN_ROWS DT_ATTN_TILE
#define ATTN_VECS 8
#define ATTN_VECS_FOR(rows) ((rows) <= 3 ? 8 : 4) /* vectors next to so many rows */

typedef __m512 v16;

V16_INLINE v16 v_zero(void) {
    return _mm512_setzero_ps();
}
V16_INLINE v16 v_set(float x) {
    return _mm512_set1_ps(x);
}
V16_INLINE v16 v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
V16_INLINE void v_store(float *p, v16 a) {
    _mm512_storeu_ps(p, a);
}
V16_INLINE __mmask16 first_n(size_t n) {
    return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1u);
}
/* The first n elements (0..16); the others read as 0 and are not touched. */
V16_INLINE v16 v_load_n(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps(first_n(n), p);
}
V16_INLINE void v_store_n(float *p, v16 a, size_t n) {
    _mm512_mask_storeu_ps(p, first_n(n), a);
}
/* Elements from n on become `fill`. */
V16_INLINE v16 v_keep_n(v16 a, size_t n, float fill) {
    return _mm512_mask_mov_ps(_mm512_set1_ps(fill), first_n(n), a);
}
/* Lanes of elements j..j+15 outside [first, end) become `fill`; j < end, j + 16 > first. */
V16_INLINE v16 v_keep_range(v16 a, size_t j, size_t first, size_t end, float fill) {
    if (end - j < 16)
        a = v_keep_n(a, end - j, fill);
    if (j < first)
        a = _mm512_mask_mov_ps(a, first_n(first - j), _mm512_set1_ps(fill));
    return a;
}
V16_INLINE v16 v_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}
V16_INLINE v16 v_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}
V16_INLINE v16 v_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}
V16_INLINE v16 v_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}
V16_INLINE v16 v_sqrt(v16 a) {
    return _mm512_sqrt_ps(a);
}
V16_INLINE v16 v_neg(v16 a) {
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0x80000000u)));
}
V16_INLINE v16 v_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* a > b ? a : b, so b where either is NaN. */
V16_INLINE v16 v_max(v16 a, v16 b) {
    return _mm512_max_ps(a, b);
}
V16_INLINE v16 v_min(v16 a, v16 b) {
    return _mm512_min_ps(a, b);
}
/* x where p is not 0 (or is NaN), else 0. */
V16_INLINE v16 v_where_nonzero(v16 p, v16 x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(p, _mm512_setzero_ps(), _CMP_NEQ_UQ), x);
}
/* The two scale factors 2^floor(i/2), 2^(i - floor(i/2)) of dt_expf, from t = magic + i. */
V16_INLINE void v_exp_scales(v16 t, v16 *s1, v16 *s2) {
    __m512i i = _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32((int)DT_EXP_MAGIC_BITS));
    __m512i half = _mm512_srai_epi32(i, 1), bias = _mm512_set1_epi32(127);
    *s1 = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(half, bias), 23));
    *s2 = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(i, half), bias), 23));
}

/* Lane l += lane l+8, l+4, l+2, l+1, as the contract says. */
V16_INLINE float v_fold_sum(v16 a) {
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
V16_INLINE float v_fold_max(v16 a) {
    __m256 b = _mm256_max_ps(_mm512_extractf32x8_ps(a, 1), _mm512_castps512_ps256(a));
    __m128 c = _mm_max_ps(_mm256_extractf128_ps(b, 1), _mm256_castps256_ps128(b));
    c = _mm_max_ps(_mm_movehl_ps(c, c), c);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(c), c));
}

V16_INLINE v16 v_abs(v16 a) {
    return _mm512_abs_ps(a);
}
/* Within +-127; NaN becomes -127. */
V16_INLINE v16 v_within_127(v16 a) {
    return v_min(v_max(a, v_set(-127.0f)), v_set(127.0f));
}
V16_INLINE float half_to_float(uint16_t h) {
    return _cvtsh_ss(h);
}
V16_INLINE uint16_t float_to_half(float x) {
    return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* Halves (binary16) and bytes to floats and back. */
V16_INLINE v16 v_load_half(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
V16_INLINE void v_store_half(uint16_t *p, v16 a) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
V16_INLINE v16 v_load_bytes(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
/* To the nearest integer, ties to even; within +-127. */
V16_INLINE void v_store_bytes(int8_t *p, v16 a) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}

/* Sixteen sums of products of four bytes: lane l of b times the bytes of q. Exact within +-127. */
typedef __m512i i16x32;
typedef struct {
    __m512i bytes;
#ifndef DT_VNNI
    __m512i abs;
#endif
} b64;

V16_INLINE b64 b_load(const int8_t *p) {
    __m512i x = _mm512_loadu_si512(p);
#ifdef DT_VNNI
    return (b64){_mm512_xor_si512(x, _mm512_set1_epi8((char)0x80))}; /* + 128: unsigned */
#else
    return (b64){x, _mm512_abs_epi8(x)};
#endif
}
/* Sums begin here; sum is that of all bytes of q that will be multiplied. */
V16_INLINE i16x32 i_begin(int32_t sum) {
#ifdef DT_VNNI
    return _mm512_set1_epi32(-128 * sum);
#else
    (void)sum;
    return _mm512_setzero_si512();
#endif
}
V16_INLINE i16x32 i_dot4(i16x32 s, b64 b, int32_t q) {
#ifdef DT_VNNI
    return _mm512_dpbusd_epi32(s, b.bytes, _mm512_set1_epi32(q));
#else
    __m512i x = _mm512_set1_epi32(q);
    x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(b.bytes), _mm512_setzero_si512(), x);
    return _mm512_add_epi32(s, _mm512_madd_epi16(_mm512_maddubs_epi16(b.abs, x), _mm512_set1_epi16(1)));
#endif
}
V16_INLINE v16 v_from_int(i16x32 s) {
    return _mm512_cvtepi32_ps(s);
}

/* Sixteen doubles, for sums of squares. */
typedef struct {
    __m512d a, b;
} d16;

V16_INLINE d16 d_zero(void) {
    return (d16){_mm512_setzero_pd(), _mm512_setzero_pd()};
}
V16_INLINE d16 d_add_squares(d16 s, v16 x) {
    __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return (d16){_mm512_fmadd_pd(lo, lo, s.a), _mm512_fmadd_pd(hi, hi, s.b)};
}
V16_INLINE void d_store(double *p, d16 s) {
    _mm512_storeu_pd(p, s.a);
    _mm512_storeu_pd(p + 8, s.b);
}

#endif
