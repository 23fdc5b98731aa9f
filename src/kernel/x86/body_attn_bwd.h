/* The backward pass of attention: scores twice (q k and d_o v), then mix for dq (over k), dk (over q) and dv (over d_o). */
#ifndef DT_KERNEL_BODY_ATTN_BWD_H
#define DT_KERNEL_BODY_ATTN_BWD_H

#include "kernel/x86/body_attn.h"

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
        mix_ragged(SRC_F32, rows, (mix_args){.c = out + j * a->lddkv,
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
            for (size_t page = a->first_key ? (size_t)a->first_key[i] / 16 : 0; page * 16 < i + rows; page += SPAN_PAGES) {
                const void *ks[SPAN_PAGES], *vs[SPAN_PAGES];
                size_t n = (i + rows + 15) / 16 - page;
                if (n > SPAN_PAGES)
                    n = SPAN_PAGES;
                for (size_t l = 0; l < n; l++) {
                    ks[l] = k_pages + (page + l) * 16 * E;
                    vs[l] = v_pages + (page + l) * 16 * E;
                }
                scores[SRC_F32][rows](&(attn_tile){.q = q, .ldq = a->ldq, .E = E, .scale = a->scale}, ks, n, pi + page * 16, lds);
                scores[SRC_F32][rows](&(attn_tile){.q = d_o, .ldq = a->ldo, .E = E, .scale = 1.0f}, vs, n, di + page * 16, lds);
            }
            for (int r = 0; r < rows; r++) {
                float c = dot_row(d_o + r * a->ldo, a->o + (i + r) * a->ldo, E);
                from[r] = a->first_key ? (size_t)a->first_key[i + r] : 0;
                end[r] = i + r + 1;
                bwd_row(pi + r * lds, di + r * lds, from[r], end[r], a->mx[i + r], a->z[i + r], c, a->scale);
            }
            mix_ragged(SRC_F32, rows,
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
