/* Products with quantised weights for one instruction set; included after body_product.h. */
#ifndef DT_KERNEL_BODY_PRODUCT_INT_H
#define DT_KERNEL_BODY_PRODUCT_INT_H

/* ---- types with blocks of 32 ---- */

/* Stored numbers of group g; w points at the vector of outputs. */
V16_INLINE i16 stored_32(dt_dtype t, const uint8_t *w, int g) {
    i16 x = i_load(w + dt_word_low(t, 0, 0, g) * DT_WORD_BYTES);
    if (t == DT_Q8_0) return x;
    x = i_and(g < 4 ? x : i_right(x, 4), i_set(0x0f0f0f0fu));
    if (t != DT_Q5_0 && t != DT_Q5_1) return x;
    i16 h = i_load(w + dt_word_high(t, 0, g) * DT_WORD_BYTES);
    h = i_and(g <= 4 ? i_left(h, 4 - g) : i_right(h, g - 4), i_set(0x10101010u));
    return i_or(x, h);
}

/* What an integer sum starts from, so that it ends without the offset of the stored numbers. */
V16_INLINE i16 start_32(dt_dtype t, const uint32_t *a) {
    if (t == DT_Q4_1 || t == DT_Q5_1 || (t == DT_Q8_0 && Q8_SIGNED)) return i_zero();
    i16 s = i_set(*a);
    return t == DT_Q8_0 ? s : i_right_signed(s, t == DT_Q4_0 ? 4 : 3);
}

V16_INLINE void tile_32(dt_dtype t, int R, int C, bool ahead, TILE_ARGS) {
    const dt_layout l = dt_layout_of(t);
    const size_t d = dt_layout_d(&l);
    v16 acc[INT_ROWS][PROD_COLS];
    tile_load(acc, R, C, c, ldc, width, from_c);
    for (size_t n = k / (size_t)l.elems; n; n--, w += l.size, a += DT_Q32_WORDS * R) {
        i16 dot[INT_ROWS][PROD_COLS];
#pragma GCC unroll 16
        for (int m = 0; m < R; m++)
#pragma GCC unroll 2
            for (int x = 0; x < C; x++)
                dot[m][x] = start_32(t, a + 9 * R + m);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            i16 u[PROD_COLS];
            if (ahead && !WHOLE_PANELS) fetch_ahead(w, l.size / 64, (size_t)g, 8);
#pragma GCC unroll 2
            for (int x = 0; x < C; x++)
                u[x] = stored_32(t, w + (half + x) * 64, g);
#pragma GCC unroll 16
            for (int m = 0; m < R; m++) {
                const i16 s = i_set(a[g * R + m]);
#pragma GCC unroll 2
                for (int x = 0; x < C; x++)
                    dot[m][x] = t == DT_Q8_0 ? i_dot_wide(dot[m][x], u[x], s) : i_dot(dot[m][x], u[x], s);
            }
        }
#pragma GCC unroll 2
        for (int x = 0; x < C; x++) {
            const v16 dx = v_half(w + d + (half + x) * 32);
#pragma GCC unroll 16
            for (int m = 0; m < R; m++)
                acc[m][x] = v_fma(i_to_float(dot[m][x]), v_mul(dx, v_set(float_at(a + 8 * R + m))), acc[m][x]);
            if (!l.has_m) continue;
            const v16 mx = v_half(w + d + DT_HALF_BYTES + (half + x) * 32);
#pragma GCC unroll 16
            for (int m = 0; m < R; m++)
                acc[m][x] = v_fma(mx, v_set(float_at(a + 10 * R + m)), acc[m][x]);
        }
    }
    tile_store(acc, R, C, c, ldc, width);
}

/* ---- types with blocks of 256 ---- */

/* Stored numbers of group g in run j of part h (of 64 or 128 elements); w points at the words. */
V16_INLINE i16 stored_256(dt_dtype t, const uint8_t *w, int h, int j, int g) {
    const i16 low4 = i_set(0x0f0f0f0fu);
    i16 x = i_load(w + dt_word_low(t, h, j, g) * DT_WORD_BYTES), y;
    switch (t) {
    case DT_Q4_K:
    case DT_Q5_K:
        x = i_and(j ? i_right(x, 4) : x, low4);
        if (t == DT_Q4_K) return x;
        y = i_load(w + dt_word_high(t, h, g) * DT_WORD_BYTES);
        y = 2 * (g % 4) + j <= 4 ? i_left(y, 4 - (2 * (g % 4) + j)) : i_right(y, 2 * (g % 4) + j - 4);
        return i_or(x, i_and(y, i_set(0x10101010u)));
    case DT_Q6_K:
        x = i_and(j / 2 ? i_right(x, 4) : x, low4);
        y = i_load(w + dt_word_high(t, h, g) * DT_WORD_BYTES);
        y = j <= 2 ? i_left(y, 4 - 2 * j) : i_right(y, 2 * j - 4);
        return i_or(x, i_and(y, i_set(0x30303030u)));
    default: /* Q2_K, Q3_K */
        x = i_and(i_right(x, 2 * j), i_set(0x03030303u));
        if (t == DT_Q2_K) return x;
        y = i_load(w + dt_word_high(t, h, g) * DT_WORD_BYTES);
        y = 4 * (g % 2) + j <= 2 ? i_left(y, 2 - (4 * (g % 2) + j)) : i_right(y, 4 * (g % 2) + j - 2);
        return i_or(x, i_and(y, i_set(0x04040404u)));
    }
}

/* Scale of run 2 p + odd; p16: the 16 outputs of a pair. */
V16_INLINE i16 scale_256(dt_dtype t, const uint8_t *p16, int odd) {
    const i16 x = i_widen_u16(p16);
    switch (t) {
    case DT_Q2_K: return i_and(odd ? i_right(x, 8) : x, i_set(15));
    case DT_Q4_K:
    case DT_Q5_K: return odd ? i_right(x, 8) : i_and(x, i_set(255));
    default: return i_right_signed(i_left(x, odd ? 16 : 24), 24);
    }
}

V16_INLINE i16 start_256(dt_dtype t, const uint32_t *a, int run) {
    if (t != DT_Q6_K && t != DT_Q3_K) return i_zero();
    const i16 s = i_set(a[run]);
    return t == DT_Q6_K ? s : i_right_signed(s, 3);
}

/* Runs of a part that are summed in one walk over its words: as many as there are registers for where these come from memory;
 * else one, which computes fastest. */
V16_INLINE int runs_at_once(int runs_a_part, int R, int C, bool ahead) {
    int n = ahead ? runs_a_part : 1;
    while (n > 1 && n * R * C > RUN_SUMS)
        n /= 2;
    return n;
}

/* Integer sums of one block: scale times dot over its runs. */
V16_INLINE void runs_256(dt_dtype t, int R, int C, bool ahead, i16 sum[INT_ROWS][PROD_COLS], const uint8_t *w, int half,
                         const uint32_t *a) {
    const dt_layout l = dt_layout_of(t);
    const bool four = l.run == 16; /* runs of 16: parts of 128 with four times 32; else parts of 64 with two */
    const int runs_a_part = four ? 4 : 2, cuts = 32 / l.run, groups = l.run / 4, at_once = runs_at_once(runs_a_part, R, C, ahead);
    const uint8_t *sc = w + dt_layout_d(&l) + (1 + l.has_m) * DT_HALF_BYTES, *words = w + dt_layout_words(&l);
    const uint32_t *start = a + 65 * R;
    const bool in_order = WHOLE_PANELS && at_once == runs_a_part && R <= 2; /* more rows: too slow a walk to be seen as one */
    if (ahead && in_order) meet(w, dt_layout_words(&l));
    for (int h = 0; h < DT_QK_K / 32 / runs_a_part; h++) {
#pragma GCC unroll 4
        for (int j0 = 0; j0 < runs_a_part; j0 += at_once) {
#pragma GCC unroll 2
            for (int cut = 0; cut < cuts; cut++) {
                i16 dot[4][INT_ROWS][PROD_COLS];
#pragma GCC unroll 4
                for (int j = 0; j < at_once; j++)
#pragma GCC unroll 16
                    for (int m = 0; m < R; m++)
#pragma GCC unroll 2
                        for (int x = 0; x < C; x++)
                            dot[j][m][x] = start_256(t, start + m, ((h * runs_a_part + j0 + j) * cuts + cut) * R);
#pragma GCC unroll 8
                for (int i = 0; i < groups; i++) {
                    const int g = cut * groups + i, step = (h * runs_a_part + j0) / at_once * 8 + g;
                    if (ahead && !in_order) fetch_ahead(w, l.size / 64, (size_t)step, (size_t)(DT_QK_K / 4 / at_once));
#pragma GCC unroll 4
                    for (int j = 0; j < at_once; j++) {
                        i16 u[PROD_COLS];
#pragma GCC unroll 2
                        for (int x = 0; x < C; x++)
                            u[x] = stored_256(t, words + (half + x) * 64, h, j0 + j, g);
#pragma GCC unroll 16
                        for (int m = 0; m < R; m++) {
                            const i16 s = i_set(a[((h * runs_a_part + j0 + j) * 8 + g) * R + m]);
#pragma GCC unroll 2
                            for (int x = 0; x < C; x++)
                                dot[j][m][x] = i_dot(dot[j][m][x], u[x], s);
                        }
                    }
                }
#pragma GCC unroll 4
                for (int j = 0; j < at_once; j++) {
                    const int run = (h * runs_a_part + j0 + j) * cuts + cut, odd = ((j0 + j) * cuts + cut) % 2;
#pragma GCC unroll 2
                    for (int x = 0; x < C; x++) {
                        const i16 s = scale_256(t, sc + run / 2 * DT_HALF_BYTES + (half + x) * 32, odd);
#pragma GCC unroll 16
                        for (int m = 0; m < R; m++)
                            sum[m][x] = i_now(i_add(sum[m][x], i_mul(dot[j][m][x], s)));
                    }
                }
            }
        }
    }
}

/* Integer sums of one block: min times sum of activations over its runs. */
V16_INLINE void mins_256(dt_dtype t, int R, int C, i16 sum[INT_ROWS][PROD_COLS], const uint8_t *w, int half,
                         const uint32_t *a) {
    const dt_layout l = dt_layout_of(t);
    const uint8_t *mn = w + dt_layout_d(&l) + (2 + (t == DT_Q2_K ? 0 : l.sc)) * DT_HALF_BYTES;
    const uint32_t *sums = a + (t == DT_Q2_K ? 81 : 89) * R;
    for (int p = 0; p < (t == DT_Q2_K ? 8 : 4); p++) {
#pragma GCC unroll 2
        for (int x = 0; x < C; x++) {
            i16 v = i_widen_pairs(mn + p * DT_HALF_BYTES + (half + x) * 32);
            if (t == DT_Q2_K) v = i_and(i_right(v, 4), i_set(0x000f000fu));
#pragma GCC unroll 16
            for (int m = 0; m < R; m++)
                sum[m][x] = i_dot_pairs(sum[m][x], v, i_set(sums[p * R + m]));
        }
    }
}

V16_INLINE void tile_256(dt_dtype t, int R, int C, bool ahead, TILE_ARGS) {
    const dt_layout l = dt_layout_of(t);
    const size_t d = dt_layout_d(&l);
    v16 floats[INT_ROWS][PROD_COLS], (*acc)[PROD_COLS] = floats; /* in memory: the registers are for the integers */
    __asm__("" : "+r"(acc) : : "memory");
    tile_load(acc, R, C, c, ldc, width, from_c);
    for (size_t n = k / (size_t)l.elems; n; n--, w += l.size, a += DT_Q256_WORDS * R) {
        i16 sum[INT_ROWS][PROD_COLS];
#pragma GCC unroll 16
        for (int m = 0; m < R; m++)
#pragma GCC unroll 2
            for (int x = 0; x < C; x++)
                sum[m][x] = i_zero();
        runs_256(t, R, C, ahead, sum, w, half, a);
#pragma GCC unroll 2
        for (int x = 0; x < C; x++) {
            const v16 dx = v_half(w + d + (half + x) * 32);
#pragma GCC unroll 16
            for (int m = 0; m < R; m++)
                acc[m][x] = v_fma(i_to_float(sum[m][x]), v_mul(dx, v_set(float_at(a + 64 * R + m))), acc[m][x]);
        }
        if (!l.has_m) continue;
#pragma GCC unroll 16
        for (int m = 0; m < R; m++)
#pragma GCC unroll 2
            for (int x = 0; x < C; x++)
                sum[m][x] = i_zero();
        mins_256(t, R, C, sum, w, half, a);
#pragma GCC unroll 2
        for (int x = 0; x < C; x++) {
            const v16 dx = v_half(w + d + DT_HALF_BYTES + (half + x) * 32);
#pragma GCC unroll 16
            for (int m = 0; m < R; m++)
                acc[m][x] = v_fma(v_neg(i_to_float(sum[m][x])), v_mul(dx, v_set(float_at(a + 64 * R + m))), acc[m][x]);
        }
    }
    tile_store(acc, R, C, c, ldc, width);
}

/* tile_T_R_1 is for weights that come from memory, tile_T_R_0 for those in the cache. */
#define TILE_32(T, R, AHEAD)                                                                                                        \
    static void tile_##T##_##R##_##AHEAD(TILE_ARGS) {                                                                               \
        tile_32(DT_##T, R, PROD_COLS, AHEAD, c, ldc, w, PROD_COLS == 2 ? 0 : half, a, k, width, from_c);                            \
    }
#define TILE_256(T, R, AHEAD)                                                                                                       \
    static void tile_##T##_##R##_##AHEAD(TILE_ARGS) {                                                                               \
        tile_256(DT_##T, R, PROD_COLS, AHEAD, c, ldc, w, PROD_COLS == 2 ? 0 : half, a, k, width, from_c);                           \
    }
#if WHOLE_PANELS /* blocks of 32 are met in order in any case */
#define TILES_32(T) TILE_32(T, 1, 0) TILE_32(T, 2, 0) TILE_32(T, 3, 0) TILE_32(T, 4, 0)
#define NAMES_32(T)                                                                                                                 \
    {{tile_##T##_1_0, tile_##T##_2_0, tile_##T##_3_0, tile_##T##_4_0}, {tile_##T##_1_0, tile_##T##_2_0, tile_##T##_3_0, tile_##T##_4_0}}
#define TILES_256(T) \
    TILE_256(T, 1, 1) TILE_256(T, 2, 1) TILE_256(T, 3, 1) TILE_256(T, 4, 1) TILE_256(T, 2, 0) TILE_256(T, 3, 0) TILE_256(T, 4, 0)
#define NAMES_256(T)                                                                                                                \
    {{tile_##T##_1_1, tile_##T##_2_0, tile_##T##_3_0, tile_##T##_4_0}, {tile_##T##_1_1, tile_##T##_2_1, tile_##T##_3_1, tile_##T##_4_1}}
#else
#define TILES_32(T) TILE_32(T, 1, 1) TILE_32(T, 2, 1) TILE_32(T, 3, 1) TILE_32(T, 2, 0) TILE_32(T, 3, 0)
#define TILES_256(T) TILE_256(T, 1, 1) TILE_256(T, 2, 1) TILE_256(T, 3, 1) TILE_256(T, 2, 0) TILE_256(T, 3, 0)
#define NAMES_32(T) {{tile_##T##_1_1, tile_##T##_2_0, tile_##T##_3_0}, {tile_##T##_1_1, tile_##T##_2_1, tile_##T##_3_1}}
#define NAMES_256(T) NAMES_32(T)
#endif
TILES_32(Q4_0)
TILES_32(Q4_1)
TILES_32(Q5_0)
TILES_32(Q5_1)
TILES_32(Q8_0)
TILES_256(Q2_K)
TILES_256(Q3_K)
TILES_256(Q4_K)
TILES_256(Q5_K)
TILES_256(Q6_K)

static const tile_fn int_tiles[DT_N_DTYPES][2][TILE_ROWS] = {
    [DT_Q4_0] = NAMES_32(Q4_0), [DT_Q4_1] = NAMES_32(Q4_1), [DT_Q5_0] = NAMES_32(Q5_0), [DT_Q5_1] = NAMES_32(Q5_1),
    [DT_Q8_0] = NAMES_32(Q8_0), [DT_Q2_K] = NAMES_256(Q2_K), [DT_Q3_K] = NAMES_256(Q3_K), [DT_Q4_K] = NAMES_256(Q4_K),
    [DT_Q5_K] = NAMES_256(Q5_K), [DT_Q6_K] = NAMES_256(Q6_K),
};

static void product_int(const dt_product_part *p, int t0, int t1, size_t p0, size_t p1) {
    run_tiles(p, int_tiles[p->w->type], t1 - t0 > 8 ? SMALL_SLICE : LARGE_SLICE, t0, t1, p0, p1);
}

#endif
