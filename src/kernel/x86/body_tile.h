/* The two inner loops of attention, each on up to ATTN_ROWS rows at a time:
 *   scores: rows of q against pages of 16 keys, one lane a key, chains over e;
 *   mix:    c[r] += sum over j of w[r,j] * x[j], lanes over e, chains over j.
 * Pages are read in the type they are stored in, which is part of each instance. Each element is the one chain that
 * scalar/attn.c spells out. */
#ifndef DT_KERNEL_BODY_TILE_H
#define DT_KERNEL_BODY_TILE_H

#include "kernel/x86/body_blocks.h"
#include "kernel/x86/body_exp.h"

enum { SRC_F32, SRC_F16, SRC_Q8, N_SRC };

/* Query rows of one tile. */
typedef struct attn_tile {
    const float *q; /* rows of E, ldq apart */
    size_t ldq, E;
    float scale;
    /* against SRC_Q8: rows of E bytes, scales [E/32] and sums of bytes [E/32] of each row */
    const int8_t *q8;
    const float *dq;
    const int32_t *sum;
} attn_tile;

V16_INLINE size_t bytes_of(int src, size_t n) {
    return src == SRC_F32 ? n * sizeof(float) : src == SRC_F16 ? n * sizeof(uint16_t) : n;
}

V16_INLINE v16 load_src(int src, const void *p, size_t at) {
    return src == SRC_F32 ? v_load((const float *)p + at) : v_load_half((const uint16_t *)p + at);
}

/* s[r*lds + lane] = (chain over e of q[r][e] * k[e][lane]) * scale, one page. (One page after the other, though two at a time
 * would have more chains in flight: what streams from memory comes faster as one stream than as several.) */
V16_INLINE void scores_page(int src, int rows, const attn_tile *t, const void *k, float *s, size_t lds) {
    v16 acc[ATTN_ROWS], scale = v_set(t->scale);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        acc[r] = v_zero();
    for (size_t e = 0; e < t->E; e++) {
        v16 kv = load_src(src, k, e * 16);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
            acc[r] = v_fma(v_set(t->q[r * t->ldq + e]), kv, acc[r]);
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        v_store(s + r * lds, v_mul(acc[r], scale));
}

/* The same against bytes: exact sums over 32 elements, then a chain over these. */
V16_INLINE void scores_q8_page(int rows, const attn_tile *t, const void *k, float *s, size_t lds) {
    size_t blocks = t->E / 32;
    const int8_t *bytes = (const int8_t *)k + 32 * blocks; /* the scales are before them */
    v16 acc[ATTN_ROWS], scale = v_set(t->scale);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        acc[r] = v_zero();
    for (size_t b = 0; b < blocks; b++) {
        i16x32 sum[ATTN_ROWS];
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
            sum[r] = i_begin(t->sum[r * blocks + b]);
        for (size_t i = 8 * b; i < 8 * b + 8; i++) {
            b64 x = b_load(bytes + 64 * i);
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                int32_t q;
                memcpy(&q, t->q8 + r * t->E + 4 * i, sizeof q);
                sum[r] = i_dot4(sum[r], x, q);
            }
        }
        v16 d = v_load_half((const uint16_t *)k + 16 * b);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
            acc[r] = v_fma(v_set(t->dq[r * blocks + b]), v_mul(v_from_int(sum[r]), d), acc[r]);
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        v_store(s + r * lds, v_mul(acc[r], scale));
}

enum { MAX_BLOCKS = DT_KV_MAX_Q8 / 32 };

/* What a call of mix needs besides the rows. Row j of x is at x + j*ldx, or in pages of 16 rows of E where pages is not
 * NULL. */
typedef struct mix_args {
    float *c;
    const float *w; /* of (r, j) at w[r*wrs + j*wcs] */
    const void *const *pages;
    const float *x;
    size_t ldc, wrs, wcs, ldx, E, j0, j1;
    bool from_c;
} mix_args;

/* Lanes n.. of a short vector of halves read as 0. */
V16_INLINE v16 load_half_n(const uint16_t *p, size_t n) {
    uint16_t h[16] = {0};
    memcpy(h, p, n * sizeof *h);
    return v_load_half(h);
}

/* c[r][e0 .. e0 + 16*vecs) = or += sum over j in [j0,j1) of w[r,j] * x[j]; the last vector has `last` elements. */
V16_INLINE void mix_block(int src, int rows, int vecs, const mix_args *m, size_t e0, size_t last) {
    v16 acc[ATTN_ROWS][ATTN_VECS];
    size_t j0 = m->j0, E = m->E, blocks = E / 32;
    float d[MAX_BLOCKS * 16]; /* SRC_Q8: scales of the page, [16][blocks] */
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < vecs; v++) {
            if (!m->from_c)
                acc[r][v] = v_zero();
            else
                acc[r][v] = last == 16 ? v_load(m->c + r * m->ldc + e0 + v * 16) : v_load_n(m->c + r * m->ldc + e0, last);
        }
    }
    while (j0 < m->j1) {
        size_t end = m->pages ? (j0 / 16 + 1) * 16 : m->j1, page = j0 / 16, slot = j0 % 16, ldx = m->pages ? E : m->ldx;
        if (end > m->j1)
            end = m->j1;
        const char *row;
        if (src == SRC_F32 && !m->pages) {
            row = (const char *)(m->x + j0 * ldx + e0);
        } else {
            size_t at = bytes_of(src, slot * E + e0) + (src == SRC_Q8 ? 32 * blocks : 0);
            row = (const char *)m->pages[page] + at;
        }
        if (src == SRC_Q8) {
            const uint16_t *half = m->pages[page];
            for (size_t i = 0; i < blocks; i++)
                v_store(d + 16 * i, v_load_half(half + 16 * i));
        }
        const float *wj = m->w + j0 * m->wcs;
        for (; j0 < end; j0++, slot++, row += bytes_of(src, ldx), wj += m->wcs) {
            v16 xv[ATTN_VECS];
#pragma GCC unroll 8
            for (int v = 0; v < vecs; v++) {
                if (src == SRC_F32)
                    xv[v] = last == 16 ? v_load((const float *)(const void *)row + v * 16) : v_load_n((const float *)(const void *)row, last);
                else if (src == SRC_F16)
                    xv[v] = last == 16 ? v_load_half((const uint16_t *)(const void *)row + v * 16) : load_half_n((const uint16_t *)(const void *)row, last);
                else
                    xv[v] = v_mul(v_set(d[slot * blocks + (e0 + 16 * (size_t)v) / 32]), v_load_bytes((const int8_t *)row + v * 16));
            }
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                v16 wv = v_set(wj[r * m->wrs]);
#pragma GCC unroll 8
                for (int v = 0; v < vecs; v++)
                    acc[r][v] = v_fma(wv, xv[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int v = 0; v < vecs; v++) {
            if (last == 16)
                v_store(m->c + r * m->ldc + e0 + v * 16, acc[r][v]);
            else
                v_store_n(m->c + r * m->ldc + e0, acc[r][v], last);
        }
    }
}

V16_INLINE void mix_rows(int src, int rows, int max_vecs, const mix_args *m) {
    size_t e = 0;
    if (max_vecs >= 8)
        for (; e + 128 <= m->E; e += 128)
            mix_block(src, rows, 8, m, e, 16);
    if (max_vecs >= 4)
        for (; e + 64 <= m->E; e += 64)
            mix_block(src, rows, 4, m, e, 16);
    if (max_vecs >= 2)
        for (; e + 32 <= m->E; e += 32)
            mix_block(src, rows, 2, m, e, 16);
    for (; e + 16 <= m->E; e += 16)
        mix_block(src, rows, 1, m, e, 16);
    if (e < m->E && src != SRC_Q8)
        mix_block(src, rows, 1, m, e, m->E - e);
}

V16_INLINE void scores_rows(int src, int rows, const attn_tile *t, const void *const *k, size_t n_pages, float *s, size_t lds) {
    for (size_t p = 0; p < n_pages; p++, s += 16) {
        if (src == SRC_Q8)
            scores_q8_page(rows, t, k[p], s, lds);
        else
            scores_page(src, rows, t, k[p], s, lds);
    }
}

typedef void (*mix_fn)(const mix_args *m);
typedef void (*scores_fn)(const attn_tile *t, const void *const *k, size_t n_pages, float *s, size_t lds);

#define ATTN_INSTANCES(R)                                                                                              \
    static void mix_f32_##R(const mix_args *m) {                                                                       \
        mix_rows(SRC_F32, R, ATTN_VECS_FOR(R), m);                                                                     \
    }                                                                                                                  \
    static void mix_f16_##R(const mix_args *m) {                                                                       \
        mix_rows(SRC_F16, R, ATTN_VECS_FOR(R), m);                                                                     \
    }                                                                                                                  \
    static void mix_q8_##R(const mix_args *m) {                                                                        \
        mix_rows(SRC_Q8, R, ATTN_VECS_FOR(R), m);                                                                      \
    }                                                                                                                  \
    static void scores_f32_##R(const attn_tile *t, const void *const *k, size_t n, float *s, size_t lds) {             \
        scores_rows(SRC_F32, R, t, k, n, s, lds);                                                                      \
    }                                                                                                                  \
    static void scores_f16_##R(const attn_tile *t, const void *const *k, size_t n, float *s, size_t lds) {             \
        scores_rows(SRC_F16, R, t, k, n, s, lds);                                                                      \
    }                                                                                                                  \
    static void scores_q8_##R(const attn_tile *t, const void *const *k, size_t n, float *s, size_t lds) {              \
        scores_rows(SRC_Q8, R, t, k, n, s, lds);                                                                       \
    }
ATTN_INSTANCES(1)
ATTN_INSTANCES(2)
ATTN_INSTANCES(3)
ATTN_INSTANCES(4)
ATTN_INSTANCES(5)
ATTN_INSTANCES(6)

static const mix_fn mix[N_SRC][ATTN_ROWS + 1] = {
    {NULL, mix_f32_1, mix_f32_2, mix_f32_3, mix_f32_4, mix_f32_5, mix_f32_6},
    {NULL, mix_f16_1, mix_f16_2, mix_f16_3, mix_f16_4, mix_f16_5, mix_f16_6},
    {NULL, mix_q8_1,  mix_q8_2,  mix_q8_3,  mix_q8_4,  mix_q8_5,  mix_q8_6 },
};
static const scores_fn scores[N_SRC][ATTN_ROWS + 1] = {
    {NULL, scores_f32_1, scores_f32_2, scores_f32_3, scores_f32_4, scores_f32_5, scores_f32_6},
    {NULL, scores_f16_1, scores_f16_2, scores_f16_3, scores_f16_4, scores_f16_5, scores_f16_6},
    {NULL, scores_q8_1,  scores_q8_2,  scores_q8_3,  scores_q8_4,  scores_q8_5,  scores_q8_6 },
};

/* Rows whose sums begin and end at different j: row r over [from[r], to[r]). What all share together, the rest of each
 * alone before and after it, so each element stays one chain. */
static void mix_ragged(int src, int rows, mix_args m, const size_t *from, const size_t *to) {
    size_t j0 = 0, j1 = SIZE_MAX;
    bool same = true;
    for (int r = 0; r < rows; r++) {
        j0 = from[r] > j0 ? from[r] : j0;
        j1 = to[r] < j1 ? to[r] : j1;
        same = same && from[r] == from[0];
    }
    if (j0 > j1)
        j0 = j1; /* nothing is shared: each row is all tail or, where it begins later, nothing but its own range */
    for (int r = 0; !same && r < rows; r++) {
        mix_args one = m;
        one.c += r * m.ldc;
        one.w += r * m.wrs;
        one.j0 = from[r];
        one.j1 = j0 > from[r] ? j0 : from[r];
        mix[src][1](&one);
    }
    if (!same)
        m.from_c = true;
    m.j0 = j0;
    m.j1 = j1;
    if (j0 < j1 || !m.from_c)
        mix[src][rows](&m);
    for (int r = 0; r < rows; r++) {
        mix_args one = m;
        one.c += r * m.ldc;
        one.w += r * m.wrs;
        one.j0 = from[r] > j1 ? from[r] : j1;
        one.j1 = to[r];
        one.from_c = true;
        if (one.j0 < one.j1)
            mix[src][1](&one);
    }
}

/* s[first..n) becomes exp(s - max); returns the max and the sum. s has whole blocks of 16 around that range. */
static void softmax_row(float *s, size_t first, size_t n, float *max_out, float *sum_out) {
    v16 top = v_set(-INFINITY), sum = v_zero();
    for (size_t j = first & ~(size_t)15; j < n; j += 16)
        top = v_max(v_keep_range(v_load(s + j), j, first, n, -INFINITY), top);
    float mx = v_fold_max(top);
    v16 mv = v_set(mx);
    for (size_t j = first & ~(size_t)15; j < n; j += 16) {
        v16 p = v_keep_range(v_exp(v_sub(v_load(s + j), mv)), j, first, n, 0.0f);
        v_store(s + j, p);
        sum = v_add(sum, p);
    }
    *max_out = mx;
    *sum_out = v_fold_sum(sum);
}

#endif
