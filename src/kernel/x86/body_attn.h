/* Attention on vectors. Two inner loops do the work, each on up to ATTN_ROWS rows at a time:
 *   scores: rows of q against pages of 16 keys, one lane a key, chains over e;
 *   mix:    c[r] += sum over j of w[r,j] * x[j], lanes over e, chains over j.
 * The forward pass is scores, softmax, mix over V. The backward pass is scores twice (q k and d_o v), then mix for
 * dq (over k), dk (over q) and dv (over d_o). Each element is the one chain that scalar/attn.c spells out. */
#ifndef DT_KERNEL_BODY_ATTN_H
#define DT_KERNEL_BODY_ATTN_H

#include "kernel/x86/body_elem.h"
#include "kernel/x86/body_exp.h"

/* s[r*lds + 16*page + lane] = (chain over e of q[r][e] * k[page][e][lane]) * scale. */
V16_INLINE void scores_block(int rows, int pages, const float *q, size_t ldq, const float *const *k, size_t E,
                             float scale, float *s, size_t lds) {
    v16 acc[ATTN_ROWS][ATTN_PAGES];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int p = 0; p < pages; p++)
            acc[r][p] = v_zero();
    }
    for (size_t e = 0; e < E; e++) {
        v16 kv[ATTN_PAGES];
#pragma GCC unroll 4
        for (int p = 0; p < pages; p++)
            kv[p] = v_load(k[p] + e * 16);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            v16 qv = v_set(q[r * ldq + e]);
#pragma GCC unroll 4
            for (int p = 0; p < pages; p++)
                acc[r][p] = v_fma(qv, kv[p], acc[r][p]);
        }
    }
    v16 sv = v_set(scale);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int p = 0; p < pages; p++)
            v_store(s + r * lds + p * 16, v_mul(acc[r][p], sv));
    }
}

/* c[r][0..16*vecs) = or += sum over j in [j0,j1) of w[r*wrs + j*wcs] * x[j]; the last vector has `last` elements.
 * Row j of x is at x + j*ldx, or in pages of 16 rows where pages is not NULL. */
V16_INLINE void mix_block(int rows, int vecs, float *c, size_t ldc, const float *w, size_t wrs, size_t wcs,
                          const float *const *pages, const float *x, size_t ldx, size_t e0, size_t j0, size_t j1,
                          size_t last, bool from_c) {
    v16 acc[ATTN_ROWS][ATTN_VECS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            if (!from_c)
                acc[r][v] = v_zero();
            else
                acc[r][v] = last == 16 ? v_load(c + r * ldc + e0 + v * 16) : v_load_n(c + r * ldc + e0, last);
        }
    }
    while (j0 < j1) {
        size_t end = pages ? (j0 / 16 + 1) * 16 : j1;
        if (end > j1)
            end = j1;
        const float *row = (pages ? pages[j0 / 16] + j0 % 16 * ldx : x + j0 * ldx) + e0;
        const float *wj = w + j0 * wcs;
        for (; j0 < end; j0++, row += ldx, wj += wcs) {
            v16 xv[ATTN_VECS];
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++)
                xv[v] = last == 16 ? v_load(row + v * 16) : v_load_n(row, last);
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                v16 wv = v_set(wj[r * wrs]);
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++)
                    acc[r][v] = v_fma(wv, xv[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            if (last == 16)
                v_store(c + r * ldc + e0 + v * 16, acc[r][v]);
            else
                v_store_n(c + r * ldc + e0, acc[r][v], last);
        }
    }
}

/* What a call of mix needs besides the rows; see mix_block. */
typedef struct mix_args {
    float *c;
    const float *w;
    const float *const *pages;
    const float *x;
    size_t ldc, wrs, wcs, ldx, E, j0, j1;
    bool from_c;
} mix_args;

V16_INLINE void mix_rows(int rows, int max_vecs, const mix_args *m) {
    size_t e = 0;
#define MIX(V, LAST)                                                                                                   \
    mix_block(rows, V, m->c, m->ldc, m->w, m->wrs, m->wcs, m->pages, m->x, m->ldx, e, m->j0, m->j1, LAST, m->from_c)
    if (max_vecs >= 4)
        for (; e + 64 <= m->E; e += 64)
            MIX(4, 16);
    if (max_vecs >= 2)
        for (; e + 32 <= m->E; e += 32)
            MIX(2, 16);
    for (; e + 16 <= m->E; e += 16)
        MIX(1, 16);
    if (e < m->E)
        MIX(1, m->E - e);
#undef MIX
}

V16_INLINE void scores_rows(int rows, int max_pages, const float *q, size_t ldq, const float *const *k, size_t n_pages,
                            size_t E, float scale, float *s, size_t lds) {
    size_t p = 0;
    if (max_pages >= 4)
        for (; p + 4 <= n_pages; p += 4)
            scores_block(rows, 4, q, ldq, k + p, E, scale, s + p * 16, lds);
    if (max_pages >= 2)
        for (; p + 2 <= n_pages; p += 2)
            scores_block(rows, 2, q, ldq, k + p, E, scale, s + p * 16, lds);
    for (; p < n_pages; p++)
        scores_block(rows, 1, q, ldq, k + p, E, scale, s + p * 16, lds);
}

#define ATTN_INSTANCES(R)                                                                                              \
    static void mix_##R(const mix_args *m) {                                                                           \
        mix_rows(R, ATTN_VECS_FOR(R), m);                                                                              \
    }                                                                                                                  \
    static void scores_##R(const float *q, size_t ldq, const float *const *k, size_t n_pages, size_t E, float scale,   \
                           float *s, size_t lds) {                                                                     \
        scores_rows(R, ATTN_VECS_FOR(R), q, ldq, k, n_pages, E, scale, s, lds);                                        \
    }
ATTN_INSTANCES(1)
ATTN_INSTANCES(2)
ATTN_INSTANCES(3)
ATTN_INSTANCES(4)
ATTN_INSTANCES(5)
ATTN_INSTANCES(6)

typedef void (*mix_fn)(const mix_args *m);
typedef void (*scores_fn)(const float *q, size_t ldq, const float *const *k, size_t n_pages, size_t E, float scale,
                          float *s, size_t lds);
static const mix_fn mix[ATTN_ROWS + 1] = {NULL, mix_1, mix_2, mix_3, mix_4, mix_5, mix_6};
static const scores_fn scores[ATTN_ROWS + 1] = {NULL, scores_1, scores_2, scores_3, scores_4, scores_5, scores_6};

/* Rows that end at different j: together up to the shortest, then each alone. end[r] is row r's own j1. */
static void mix_ragged(int rows, mix_args m, const size_t *end) {
    size_t common = end[0];
    for (int r = 1; r < rows; r++)
        common = end[r] < common ? end[r] : common;
    m.j1 = common;
    mix[rows](&m);
    for (int r = 0; r < rows; r++) {
        if (end[r] == common)
            continue;
        mix_args one = m;
        one.c += r * m.ldc;
        one.w += r * m.wrs;
        one.j0 = common;
        one.j1 = end[r];
        one.from_c = true;
        mix_1(&one);
    }
}

/* s[0..n) becomes exp(s - max); returns the max and the sum. */
static void softmax_row(float *s, size_t n, float *max_out, float *sum_out) {
    size_t full = n & ~(size_t)15, tail = n - full;
    v16 top = v_set(-INFINITY), sum = v_zero();
    for (size_t j = 0; j < full; j += 16)
        top = v_max(v_load(s + j), top);
    if (tail)
        top = v_max(v_keep_n(v_load(s + full), tail, -INFINITY), top);
    float mx = v_fold_max(top);
    v16 mv = v_set(mx);
    for (size_t j = 0; j < full; j += 16) {
        v16 p = v_exp(v_sub(v_load(s + j), mv));
        v_store(s + j, p);
        sum = v_add(sum, p);
    }
    if (tail) {
        v16 p = v_keep_n(v_exp(v_sub(v_load(s + full), mv)), tail, 0.0f);
        v_store(s + full, p);
        sum = v_add(sum, p);
    }
    *max_out = mx;
    *sum_out = v_fold_sum(sum);
}

static void divide_row(float *o, size_t E, float z) {
    v16 zv = v_set(z);
    FOR_BLOCKS(E, put(o + i, v_div(get(o + i, b), zv), b););
}

static void attend_rows(const dt_attn *a, int i0, int rows, size_t lds) {
    size_t E = (size_t)a->d_head, end[ATTN_ROWS], longest = 0;
    float *s = a->scratch, *o = a->o + i0 * a->ldo;

    for (int r = 0; r < rows; r++) {
        end[r] = (size_t)a->n_keys[i0 + r];
        longest = end[r] > longest ? end[r] : longest;
    }
    scores[rows](a->q + i0 * a->ldq, a->ldq, a->k, (longest + 15) / 16, E, a->scale, s, lds);

    float mx[ATTN_ROWS], z[ATTN_ROWS];
    for (int r = 0; r < rows; r++)
        softmax_row(s + r * lds, end[r], &mx[r], &z[r]);
    mix_ragged(rows, (mix_args){.c = o, .ldc = a->ldo, .w = s, .wrs = lds, .wcs = 1, .pages = a->v, .ldx = E, .E = E},
               end);
    for (int r = 0; r < rows; r++) {
        if (end[r])
            divide_row(o + r * a->ldo, E, z[r]);
        if (a->max_out)
            a->max_out[i0 + r] = mx[r];
        if (a->sum_out)
            a->sum_out[i0 + r] = z[r];
    }
}

static void attn(const dt_attn *a) {
    int longest = 0;
    for (int i = 0; i < a->nq; i++)
        longest = a->n_keys[i] > longest ? a->n_keys[i] : longest;
    size_t lds = ((size_t)longest + 15) / 16 * 16;
    for (int i = 0; i < a->nq; i += ATTN_ROWS)
        attend_rows(a, i, a->nq - i < ATTN_ROWS ? a->nq - i : ATTN_ROWS, lds);
}

/* x[T] rows of E to pages [E][16], zeros after the last row. */
static void to_pages(float *out, const float *x, size_t ldx, size_t T, size_t E) {
    for (size_t j0 = 0; j0 < T; j0 += 16, out += 16 * E) {
        for (size_t l = 0; l < 16; l++) {
            const float *row = x + (j0 + l) * ldx;
            for (size_t e = 0; e < E; e++)
                out[e * 16 + l] = j0 + l < T ? row[e] : 0.0f;
        }
    }
}

/* One row: p from scores, ds from g = d_o . v; both in place, keys 0..n-1 (what follows is left unspecified). */
static void bwd_row(float *p, float *g, size_t n, float mx, float z, float c, float scale) {
    v16 mv = v_set(mx), iz = v_set(1.0f / z), cv = v_set(c), sv = v_set(scale);
    for (size_t j = 0; j < n; j += 16) {
        v16 pv = v_mul(v_exp(v_sub(v_load(p + j), mv)), iz);
        v_store(p + j, pv);
        v_store(g + j, v_mul(v_mul(pv, v_sub(v_load(g + j), cv)), sv));
    }
}

static float dot_row(const float *x, const float *y, size_t n) {
    v16 s = v_zero();
    FOR_BLOCKS(n, s = v_fma(get(x + i, b), get(y + i, b), s););
    return v_fold_sum(s);
}

/* dk (or dv) of all keys += sum over query rows [i0,i1) of w[i - i0][j] * x[i]; key j is seen by rows i >= j. */
static void bwd_keys(float *out, size_t ld, const float *w, size_t lds, const float *x, size_t ldx, size_t E, size_t i0,
                     size_t i1) {
    for (size_t j = 0; j < i1; j += ATTN_ROWS) {
        int rows = i1 - j < ATTN_ROWS ? (int)(i1 - j) : ATTN_ROWS;
        size_t all = j + rows - 1 > i0 ? j + rows - 1 : i0; /* from this row on all keys of the block are seen */
        mix_args m = {.c = out + j * ld,
                      .ldc = ld,
                      .w = w + j,
                      .wrs = 1,
                      .wcs = lds,
                      .x = x + i0 * ldx,
                      .ldx = ldx,
                      .E = E,
                      .j0 = all - i0,
                      .j1 = i1 - i0,
                      .from_c = true};
        for (size_t r = 0; r + 1 < (size_t)rows; r++) {
            mix_args one = m;
            one.c += r * ld;
            one.w += r;
            one.j0 = j + r > i0 ? j + r - i0 : 0;
            one.j1 = all - i0;
            if (one.j0 < one.j1)
                mix_1(&one);
        }
        mix[rows](&m);
    }
}

static void attn_bwd(const dt_attn_bwd *a) {
    size_t T = (size_t)a->T, E = (size_t)a->d_head, n_pages = (T + 15) / 16, lds = n_pages * 16;
    float *k_pages = a->scratch, *v_pages = k_pages + lds * E, *p = v_pages + lds * E, *ds = p + DT_BWD_ROWS * lds;

    to_pages(k_pages, a->k, a->ldkv, T, E);
    to_pages(v_pages, a->v, a->ldkv, T, E);
    for (size_t i0 = 0; i0 < T; i0 += DT_BWD_ROWS) {
        size_t i1 = i0 + DT_BWD_ROWS < T ? i0 + DT_BWD_ROWS : T;
        for (size_t i = i0; i < i1; i += ATTN_ROWS) {
            int rows = i1 - i < ATTN_ROWS ? (int)(i1 - i) : ATTN_ROWS;
            float *pi = p + (i - i0) * lds, *di = ds + (i - i0) * lds;
            const float *q = a->q + i * a->ldq, *d_o = a->d_o + i * a->ldo;
            size_t end[ATTN_ROWS];
            for (size_t page = 0; page * 16 < i + rows; page += ATTN_PAGES) {
                const float *ks[ATTN_PAGES], *vs[ATTN_PAGES];
                size_t n = (i + rows + 15) / 16 - page;
                if (n > ATTN_PAGES)
                    n = ATTN_PAGES;
                for (size_t l = 0; l < n; l++) {
                    ks[l] = k_pages + (page + l) * 16 * E;
                    vs[l] = v_pages + (page + l) * 16 * E;
                }
                scores[rows](q, a->ldq, ks, n, E, a->scale, pi + page * 16, lds);
                scores[rows](d_o, a->ldo, vs, n, E, 1.0f, di + page * 16, lds);
            }
            for (int r = 0; r < rows; r++) {
                float c = dot_row(d_o + r * a->ldo, a->o + (i + r) * a->ldo, E);
                end[r] = i + r + 1;
                bwd_row(pi + r * lds, di + r * lds, end[r], a->mx[i + r], a->z[i + r], c, a->scale);
            }
            mix_ragged(rows,
                       (mix_args){.c = a->dq + i * a->lddq,
                                  .ldc = a->lddq,
                                  .w = di,
                                  .wrs = lds,
                                  .wcs = 1,
                                  .x = a->k,
                                  .ldx = a->ldkv,
                                  .E = E},
                       end);
        }
        bwd_keys(a->dk, a->lddkv, ds, lds, a->q, a->ldq, E, i0, i1);
        bwd_keys(a->dv, a->lddkv, p, lds, a->d_o, a->ldo, E, i0, i1);
    }
}

#endif
