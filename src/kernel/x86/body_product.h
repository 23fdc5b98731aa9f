/* Products with packed weights for one instruction set; included after its i16 header. Bits: packed.h; layout: layout.h.
 *
 * A tile is R rows by PROD_COLS vectors of outputs. Weights are unpacked in registers, each for R rows. With several tiles of
 * rows a panel is cut along k into slices that stay in a cache while all tiles meet them; between slices the chain rests in C: no
 * bit changes. Tiles of many rows, or few tiles, gain nothing from slices as small as the first cache. */
#ifndef DT_KERNEL_BODY_PRODUCT_H
#define DT_KERNEL_BODY_PRODUCT_H

#include "kernel/layout.h"

#ifndef AHEAD_BYTES
#define AHEAD_BYTES 6144 /* weights are fetched so far ahead: the way of a read from memory at full rate */
#endif
#define SMALL_SLICE ((size_t)20 << 10)  /* of a panel, bytes: in the first cache */
#define LARGE_SLICE ((size_t)256 << 10) /* in the second */

/* Tile functions take the block of weights they begin with, the half of the panel (where a tile is one), activations of their
 * tile, and k elements (whole blocks but for the end of a row). */
#define TILE_ARGS float *c, size_t ldc, const uint8_t *w, int half, const uint32_t *a, size_t k, size_t width, bool from_c
typedef void (*tile_fn)(TILE_ARGS);
#define TILE_ROWS (INT_ROWS > FLOAT_ROWS ? INT_ROWS : FLOAT_ROWS)

V16_INLINE float float_at(const uint32_t *p) {
    float f;
    memcpy(&f, p, sizeof f);
    return f;
}

V16_INLINE v16 c_load(const float *c, size_t width, int col, bool from_c) {
    const size_t left = width > (size_t)col * 16 ? width - (size_t)col * 16 : 0;
    if (!from_c) return v_zero();
    return left >= 16 ? v_load(c + col * 16) : v_load_n(c + col * 16, left);
}
V16_INLINE void c_store(float *c, size_t width, int col, v16 x) {
    const size_t left = width > (size_t)col * 16 ? width - (size_t)col * 16 : 0;
    if (left >= 16)
        v_store(c + col * 16, x);
    else if (left)
        v_store_n(c + col * 16, x, left);
}

/* A tile of R rows and C vectors of C, in and out. */
V16_INLINE void tile_load(v16 (*acc)[PROD_COLS], int R, int C, const float *c, size_t ldc, size_t width, bool from_c) {
#pragma GCC unroll 16
    for (int m = 0; m < R; m++)
#pragma GCC unroll 2
        for (int x = 0; x < C; x++)
            acc[m][x] = c_load(c + (size_t)m * ldc, width, x, from_c);
}
V16_INLINE void tile_store(v16 (*acc)[PROD_COLS], int R, int C, float *c, size_t ldc, size_t width) {
#pragma GCC unroll 16
    for (int m = 0; m < R; m++)
#pragma GCC unroll 2
        for (int x = 0; x < C; x++)
            c_store(c + (size_t)m * ldc, width, x, acc[m][x]);
}

/* Weights that come from memory. A walk that meets them in the order in which they lie is best left alone: the processor sees
 * one stream and fetches it at the full rate, which nothing it is asked for comes near to. One that turns back, or takes half a
 * panel, has to ask. */
#define WHOLE_PANELS (PROD_COLS * 16 == DT_NR)

/* The part-th of `parts` of a block of `lines` cache lines: spread over the work on it, so that loads are always under way. In
 * finely cut parts: a processor that has too many loads under way drops what else is asked for. */
V16_INLINE void fetch_ahead(const uint8_t *w, size_t lines, size_t part, size_t parts) {
    for (size_t i = lines * part / parts; i < lines * (part + 1) / parts; i++)
        __builtin_prefetch((const char *)w + AHEAD_BYTES + i * 64);
}

/* Lines that are needed here and there during the work on a block, met in their order before it. */
V16_INLINE void meet(const uint8_t *w, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)w + i);
}

/* Runs the tiles of a part, whatever the type: fns[1][R - 1] for the first tile of R rows, to which the weights come from memory,
 * fns[0] for those that find them in the cache. */
V16_INLINE void run_tiles(const dt_product_part *p, const tile_fn (*fns)[TILE_ROWS], size_t slice_bytes, int t0, int t1, size_t p0,
                          size_t p1) {
    const dt_acts *a = p->a;
    const dt_layout l = dt_layout_of(p->w->type);
    const size_t N = (size_t)p->w->N, blocks = ((size_t)a->K + (size_t)l.elems - 1) / (size_t)l.elems;
    const size_t words = dt_act_words(a->form, a->K), step = dt_act_words(a->form, l.elems);
    const int tiles = dt_act_tiles(a->M, a->tile_rows);
    const size_t slice = t1 - t0 > 1 ? slice_bytes / l.size + 1 : blocks;
    for (size_t panel = p0; panel < p1; panel++) {
        const uint8_t *w = (const uint8_t *)p->w->data + panel * blocks * l.size;
        size_t b = 0;
        do { /* once even when K is 0: C must be written */
            const size_t n = blocks - b < slice ? blocks - b : slice, k0 = b * (size_t)l.elems, left = (size_t)a->K - k0;
            const size_t k = n * (size_t)l.elems < left ? n * (size_t)l.elems : left;
            for (int t = t0; t < t1; t++) {
                const int m0 = dt_act_row(a->M, tiles, t), R = dt_act_row(a->M, tiles, t + 1) - m0;
                const uint32_t *x = a->data + (size_t)m0 * words + b * step * (size_t)R;
                for (size_t col = 0; col < DT_NR; col += 16 * PROD_COLS) {
                    const size_t n0 = panel * DT_NR + col;
                    if (n0 >= N) break;
                    fns[t == t0][R - 1](p->c + (size_t)m0 * p->ldc + n0, p->ldc, w + b * l.size, (int)col / 16, x, k, N - n0,
                               p->accumulate || b > 0);
                }
            }
            b += n;
        } while (b < blocks);
    }
}

#endif
