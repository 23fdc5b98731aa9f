/* Sixteen floats in two AVX2 registers: the operations the kernel bodies are written in.
 * Only for files compiled with the AVX2 flags; v16_avx512.h offers the same names. */
#ifndef DT_V16_AVX2_H
#define DT_V16_AVX2_H

#include <immintrin.h>

#include "kernel/expf.h"
#include "kernel/isa.h"

#define V16_INLINE static inline __attribute__((always_inline))

#define GEMM_ROWS 6 /* 6 x 2 accumulators, 2 of B, 2 for broadcasts */
#define GEMM_COLS 1
#define FMA_CHAINS 6
#define ATTN_ROWS DT_ATTN_TILE
#define ATTN_VECS 4
#define ATTN_VECS_FOR(rows) ((rows) == 1 ? 4 : (rows) <= 3 ? 2 : 1) /* vectors next to so many rows */

typedef struct {
    __m256 a, b;
} v16;

V16_INLINE v16 v_zero(void) {
    return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}
V16_INLINE v16 v_set(float x) {
    __m256 y = _mm256_set1_ps(x);
    return (v16){y, y};
}
V16_INLINE v16 v_load(const float *p) {
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
V16_INLINE void v_store(float *p, v16 x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
/* All ones in the lanes below n, for lanes 0..7 and 8..15. */
V16_INLINE void first_n(size_t n, __m256i *lo, __m256i *hi) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), limit = _mm256_set1_epi32((int)n);
    *lo = _mm256_cmpgt_epi32(limit, lane);
    *hi = _mm256_cmpgt_epi32(limit, _mm256_add_epi32(lane, _mm256_set1_epi32(8)));
}
/* The first n elements (0..16); the others read as 0 and are not touched. */
V16_INLINE v16 v_load_n(const float *p, size_t n) {
    __m256i lo, hi;
    first_n(n, &lo, &hi);
    return (v16){_mm256_maskload_ps(p, lo), _mm256_maskload_ps(p + 8, hi)};
}
V16_INLINE void v_store_n(float *p, v16 x, size_t n) {
    __m256i lo, hi;
    first_n(n, &lo, &hi);
    _mm256_maskstore_ps(p, lo, x.a);
    _mm256_maskstore_ps(p + 8, hi, x.b);
}
/* Elements from n on become `fill`. */
V16_INLINE v16 v_keep_n(v16 x, size_t n, float fill) {
    __m256i lo, hi;
    __m256 f = _mm256_set1_ps(fill);
    first_n(n, &lo, &hi);
    return (v16){_mm256_blendv_ps(f, x.a, _mm256_castsi256_ps(lo)), _mm256_blendv_ps(f, x.b, _mm256_castsi256_ps(hi))};
}
/* Lanes of elements j..j+15 outside [first, end) become `fill`; j < end, j + 16 > first. */
V16_INLINE v16 v_keep_range(v16 x, size_t j, size_t first, size_t end, float fill) {
    if (end - j < 16)
        x = v_keep_n(x, end - j, fill);
    if (j < first) {
        __m256i lo, hi;
        __m256 f = _mm256_set1_ps(fill);
        first_n(first - j, &lo, &hi);
        x = (v16){_mm256_blendv_ps(x.a, f, _mm256_castsi256_ps(lo)), _mm256_blendv_ps(x.b, f, _mm256_castsi256_ps(hi))};
    }
    return x;
}
V16_INLINE v16 v_add(v16 x, v16 y) {
    return (v16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
V16_INLINE v16 v_sub(v16 x, v16 y) {
    return (v16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
V16_INLINE v16 v_mul(v16 x, v16 y) {
    return (v16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
V16_INLINE v16 v_div(v16 x, v16 y) {
    return (v16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
V16_INLINE v16 v_sqrt(v16 x) {
    return (v16){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}
V16_INLINE v16 v_neg(v16 x) {
    __m256 s = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_xor_ps(x.a, s), _mm256_xor_ps(x.b, s)};
}
V16_INLINE v16 v_fma(v16 x, v16 y, v16 z) {
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
/* x > y ? x : y, so y where either is NaN. */
V16_INLINE v16 v_max(v16 x, v16 y) {
    return (v16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
V16_INLINE v16 v_min(v16 x, v16 y) {
    return (v16){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
/* x where p is not 0 (or is NaN), else 0. */
V16_INLINE v16 v_where_nonzero(v16 p, v16 x) {
    __m256 z = _mm256_setzero_ps();
    return (v16){_mm256_and_ps(x.a, _mm256_cmp_ps(p.a, z, _CMP_NEQ_UQ)),
                 _mm256_and_ps(x.b, _mm256_cmp_ps(p.b, z, _CMP_NEQ_UQ))};
}
V16_INLINE void exp_scales_8(__m256 t, __m256 *s1, __m256 *s2) {
    __m256i i = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_set1_epi32((int)DT_EXP_MAGIC_BITS));
    __m256i half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    *s1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    *s2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23));
}
/* The two scale factors 2^floor(i/2), 2^(i - floor(i/2)) of dt_expf, from t = magic + i. */
V16_INLINE void v_exp_scales(v16 t, v16 *s1, v16 *s2) {
    exp_scales_8(t.a, &s1->a, &s2->a);
    exp_scales_8(t.b, &s1->b, &s2->b);
}

/* Lane l += lane l+8, l+4, l+2, l+1, as the contract says. */
V16_INLINE float v_fold_sum(v16 x) {
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
V16_INLINE float v_fold_max(v16 x) {
    __m256 b = _mm256_max_ps(x.b, x.a);
    __m128 c = _mm_max_ps(_mm256_extractf128_ps(b, 1), _mm256_castps256_ps128(b));
    c = _mm_max_ps(_mm_movehl_ps(c, c), c);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(c), c));
}

V16_INLINE v16 v_abs(v16 x) {
    return (v16){_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.a), _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.b)};
}
/* Within +-127; NaN becomes -127. */
V16_INLINE v16 v_within_127(v16 x) {
    return v_min(v_max(x, v_set(-127.0f)), v_set(127.0f));
}
V16_INLINE float half_to_float(uint16_t h) {
    return _cvtsh_ss(h);
}
V16_INLINE uint16_t float_to_half(float x) {
    return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* Halves (binary16) and bytes to floats and back. */
V16_INLINE v16 v_load_half(const uint16_t *p) {
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}
V16_INLINE void v_store_half(uint16_t *p, v16 x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)(void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
V16_INLINE v16 v_load_bytes(const int8_t *p) {
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
/* To the nearest integer, ties to even; within +-127. */
V16_INLINE void v_store_bytes(int8_t *p, v16 x) {
    __m256i h = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)); /* halves interleaved by lanes */
    h = _mm256_permute4x64_epi64(h, 0xd8);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packs_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
}

/* Sixteen sums of products of four bytes: lane l of b times the bytes of q. Exact within +-127. */
typedef struct {
    __m256i a, b;
} i16x32;
typedef struct {
    __m256i a, b;
} b64;

V16_INLINE b64 b_load(const int8_t *p) {
    return (b64){_mm256_loadu_si256((const __m256i *)(const void *)p), _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))};
}
/* Sums begin here; sum is that of all bytes of q that will be multiplied. */
V16_INLINE i16x32 i_begin(int32_t sum) {
    (void)sum;
    return (i16x32){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
V16_INLINE __m256i dot4_8(__m256i s, __m256i b, __m256i q) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(b), _mm256_sign_epi8(q, b));
    return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
V16_INLINE i16x32 i_dot4(i16x32 s, b64 b, int32_t q) {
    __m256i x = _mm256_set1_epi32(q);
    return (i16x32){dot4_8(s.a, b.a, x), dot4_8(s.b, b.b, x)};
}
V16_INLINE v16 v_from_int(i16x32 s) {
    return (v16){_mm256_cvtepi32_ps(s.a), _mm256_cvtepi32_ps(s.b)};
}

/* Sixteen doubles, for sums of squares. */
typedef struct {
    __m256d v[4];
} d16;

V16_INLINE d16 d_zero(void) {
    __m256d z = _mm256_setzero_pd();
    return (d16){
        {z, z, z, z}
    };
}
V16_INLINE d16 d_add_squares(d16 s, v16 x) {
    __m256d d[4] = {_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
                    _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
    for (int i = 0; i < 4; i++)
        s.v[i] = _mm256_fmadd_pd(d[i], d[i], s.v[i]);
    return s;
}
V16_INLINE void d_store(double *p, d16 s) {
    for (int i = 0; i < 4; i++)
        _mm256_storeu_pd(p + 4 * i, s.v[i]);
}

#endif
