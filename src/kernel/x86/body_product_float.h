/* Products with BF16 and F16 weights for one instruction set; included after body_product.h. */
#ifndef DT_KERNEL_BODY_PRODUCT_FLOAT_H
#define DT_KERNEL_BODY_PRODUCT_FLOAT_H

typedef enum float_kind { PAIRS, EXACT, HALVES } float_kind;

/* One block: a pair of k, or one k of HALVES. `last`: the pair has one element only. */
V16_INLINE void float_block(float_kind kind, int R, int C, bool last, v16 acc[FLOAT_ROWS][PROD_COLS], const uint8_t *w, int half,
                            const uint32_t *a) {
    i16 u[PROD_COLS];
    v16 lo[PROD_COLS], hi[PROD_COLS];
#pragma GCC unroll 2
    for (int x = 0; x < C; x++) {
        if (kind == HALVES) {
            lo[x] = v_half(w + (half + x) * 32);
        } else {
            u[x] = i_load(w + (half + x) * 64);
            lo[x] = i_as_float(i_left(u[x], 16));
            hi[x] = i_as_float(i_and(u[x], i_set(0xffff0000u)));
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < R; m++) {
#pragma GCC unroll 2
        for (int x = 0; x < C; x++) {
            if (kind == PAIRS) {
                acc[m][x] = v_dot_bf16(acc[m][x], i_set(a[m]), u[x]);
            } else {
                acc[m][x] = v_fma(v_set(float_at(a + m)), lo[x], acc[m][x]);
                if (kind == EXACT && !last) acc[m][x] = v_fma(v_set(float_at(a + R + m)), hi[x], acc[m][x]);
            }
        }
    }
}

V16_INLINE void tile_float(float_kind kind, int R, int C, TILE_ARGS) {
    const size_t size = kind == HALVES ? DT_HALF_BYTES : DT_WORD_BYTES;
    const size_t whole = kind == EXACT ? k / 2 : kind == PAIRS ? (k + 1) / 2 : k, step = (size_t)(kind == EXACT ? 2 * R : R);
    v16 acc[FLOAT_ROWS][PROD_COLS];
    tile_load(acc, R, C, c, ldc, width, from_c);
    for (size_t b = 0; b < whole; b++, w += size, a += step) {
        if (R <= 4 && !WHOLE_PANELS) fetch_ahead(w, size / 64, 0, 1);
        float_block(kind, R, C, false, acc, w, half, a);
    }
    if (kind == EXACT && k % 2) float_block(kind, R, C, true, acc, w, half, a);
    tile_store(acc, R, C, c, ldc, width);
}

#define TILE_FLOAT(K, R)                                                                                                \
    static void tile_##K##_##R(TILE_ARGS) {                                                                             \
        tile_float(K, R, PROD_COLS, c, ldc, w, PROD_COLS == 2 ? 0 : half, a, k, width, from_c);                         \
    }
#define FLOAT_SIX(K) \
    TILE_FLOAT(K, 1) TILE_FLOAT(K, 2) TILE_FLOAT(K, 3) TILE_FLOAT(K, 4) TILE_FLOAT(K, 5) TILE_FLOAT(K, 6)
#if FLOAT_ROWS == 12
#define FLOAT_TILES(K) \
    FLOAT_SIX(K) TILE_FLOAT(K, 7) TILE_FLOAT(K, 8) TILE_FLOAT(K, 9) TILE_FLOAT(K, 10) TILE_FLOAT(K, 11) TILE_FLOAT(K, 12)
#define FLOAT_NAMES(K)                                                                                                  \
    {tile_##K##_1, tile_##K##_2, tile_##K##_3, tile_##K##_4, tile_##K##_5, tile_##K##_6,                                \
     tile_##K##_7, tile_##K##_8, tile_##K##_9, tile_##K##_10, tile_##K##_11, tile_##K##_12}
#else
#define FLOAT_TILES(K) FLOAT_SIX(K)
#define FLOAT_NAMES(K) {tile_##K##_1, tile_##K##_2, tile_##K##_3, tile_##K##_4, tile_##K##_5, tile_##K##_6}
#endif
FLOAT_TILES(PAIRS)

static const tile_fn pair_tiles[2][TILE_ROWS] = {FLOAT_NAMES(PAIRS), FLOAT_NAMES(PAIRS)};

/* Without the bfloat16 instructions: in the mode in which operands and results below 2^-126 are 0. */
static void product_bf16(const dt_product_part *p, int t0, int t1, size_t p0, size_t p1) {
#ifdef __AVX512BF16__
    run_tiles(p, pair_tiles, LARGE_SLICE, t0, t1, p0, p1);
#else
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040u); /* flush to zero, denormals are zero */
    run_tiles(p, pair_tiles, LARGE_SLICE, t0, t1, p0, p1);
    _mm_setcsr(mode);
#endif
}

#ifndef __AVX512BF16__ /* what that file is not for */
FLOAT_TILES(EXACT)
FLOAT_TILES(HALVES)

static void product_float(const dt_product_part *p, int t0, int t1, size_t p0, size_t p1) {
    static const tile_fn exact_tiles[2][TILE_ROWS] = {FLOAT_NAMES(EXACT), FLOAT_NAMES(EXACT)},
                         half_tiles[2][TILE_ROWS] = {FLOAT_NAMES(HALVES), FLOAT_NAMES(HALVES)};
    run_tiles(p, p->w->type == DT_F16 ? half_tiles : exact_tiles, LARGE_SLICE, t0, t1, p0, p1);
}
#endif

#endif
