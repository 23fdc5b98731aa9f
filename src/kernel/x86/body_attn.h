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

/* Rows whose sums begin and end at different j: row r over [from[r], to[r]). What all share together, the rest of each
 * alone before and after it, so each element stays one chain. */
static void mix_ragged(int rows, mix_args m, const size_t *from, const size_t *to) {
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
        mix_1(&one);
    }
    if (!same)
        m.from_c = true;
    m.j0 = j0;
    m.j1 = j1;
    if (j0 < j1 || !m.from_c)
        mix[rows](&m);
    for (int r = 0; r < rows; r++) {
        mix_args one = m;
        one.c += r * m.ldc;
        one.w += r * m.wrs;
        one.j0 = from[r] > j1 ? from[r] : j1;
        one.j1 = to[r];
        one.from_c = true;
        if (one.j0 < one.j1)
            mix_1(&one);
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

static void divide_row(float *o, size_t E, float z) {
    v16 zv = v_set(z);
    FOR_BLOCKS(E, put(o + i, v_div(get(o + i, b), zv), b););
}

static void attend_rows(const dt_attn *a, int i0, int rows, size_t lds) {
    size_t E = (size_t)a->d_head, from[ATTN_ROWS], end[ATTN_ROWS], first = SIZE_MAX, last = 0;
    float *s = a->scratch, *o = a->o + i0 * a->ldo;

    for (int r = 0; r < rows; r++) {
        end[r] = (size_t)a->n_keys[i0 + r];
        from[r] = a->first_key ? (size_t)a->first_key[i0 + r] : 0;
        if (from[r] >= end[r])
            from[r] = end[r] = 0;
        else
            first = from[r] < first ? from[r] : first;
        last = end[r] > last ? end[r] : last;
    }
    if (first < last)
        scores[rows](a->q + i0 * a->ldq, a->ldq, a->k + first / 16, (last + 15) / 16 - first / 16, E, a->scale,
                     s + first / 16 * 16, lds);

    float mx[ATTN_ROWS], z[ATTN_ROWS];
    for (int r = 0; r < rows; r++)
        softmax_row(s + r * lds, from[r], end[r], &mx[r], &z[r]);
    mix_ragged(rows, (mix_args){.c = o, .ldc = a->ldo, .w = s, .wrs = lds, .wcs = 1, .pages = a->v, .ldx = E, .E = E},
               from, end);
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

/* One row: p from scores, ds from g = d_o . v; both in place, keys first..n-1 (the others of their blocks of 16 are left
 * unspecified). */
static void bwd_row(float *p, float *g, size_t first, size_t n, float mx, float z, float c, float scale) {
    v16 mv = v_set(mx), iz = v_set(1.0f / z), cv = v_set(c), sv = v_set(scale);
    for (size_t j = first & ~(size_t)15; j < n; j += 16) {
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

/* dk (or dv) of the keys from j0 on += sum over query rows [i0,i1) of w[i - i0][j] * x[i]; key j is seen by the rows from
 * j to the last whose first key is not beyond it. */
static void bwd_keys(const dt_attn_bwd *a, float *out, const float *w, size_t lds, const float *x, size_t ldx, size_t i0,
                     size_t i1) {
    size_t first = a->first_key ? (size_t)a->first_key[i0] : 0;
    for (size_t j = first; j < i1; j += ATTN_ROWS) {
        int rows = i1 - j < ATTN_ROWS ? (int)(i1 - j) : ATTN_ROWS;
        size_t from[ATTN_ROWS], to[ATTN_ROWS];
        for (int r = 0; r < rows; r++) {
            size_t end = i1;
            while (a->first_key && (size_t)a->first_key[end - 1] > j + r)
                end--;
            from[r] = j + r > i0 ? j + r - i0 : 0;
            to[r] = end > i0 ? end - i0 : 0;
            if (to[r] < from[r])
                to[r] = from[r];
        }
        mix_ragged(rows, (mix_args){.c = out + j * a->lddkv,
                                    .ldc = a->lddkv,
                                    .w = w + j,
                                    .wrs = 1,
                                    .wcs = lds,
                                    .x = x + i0 * ldx,
                                    .ldx = ldx,
                                    .E = (size_t)a->d_head,
                                    .from_c = true}, from, to);
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
            size_t from[ATTN_ROWS], end[ATTN_ROWS];
            for (size_t page = a->first_key ? (size_t)a->first_key[i] / 16 : 0; page * 16 < i + rows; page += ATTN_PAGES) {
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
                from[r] = a->first_key ? (size_t)a->first_key[i + r] : 0;
                end[r] = i + r + 1;
                bwd_row(pi + r * lds, di + r * lds, from[r], end[r], a->mx[i + r], a->z[i + r], c, a->scale);
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
                       from, end);
        }
        bwd_keys(a, a->dk, ds, lds, a->q, a->ldq, i0, i1);
        bwd_keys(a, a->dv, p, lds, a->d_o, a->ldo, i0, i1);
    }
}

#endif
