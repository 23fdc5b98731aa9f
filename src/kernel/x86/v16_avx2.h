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
#define ATTN_ROWS 6
#define ATTN_VECS 4
#define ATTN_PAGES 4
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
