/* Attention on vectors: spans of keys, tiles of query rows within them; the parts of a row join span by span.
 *
 * A tile's scores stay in the nearest cache. Keys and values of a span stay in the next for all tiles: pages that are
 * not floats are made floats once for them, or, for a few rows (decoding), while they are read. */
#ifndef DT_KERNEL_BODY_ATTN_H
#define DT_KERNEL_BODY_ATTN_H

#include "kernel/x86/body_tile.h"

enum { SPAN_PAGES = DT_ATTN_SPAN / DT_KV_PAGE, FETCH_BYTES = 2048 };

/* One call, its scratch laid out, and the span in work. */
typedef struct attn_work {
    const dt_attn *a;
    int rows, span;
    size_t E, lde;         /* lde: E in whole vectors */
    float *M, *Z;          /* [rows] joined so far */
    float *s, *o, *q;      /* tile: scores, result, packed rows */
    int8_t *q8;            /* all rows */
    float *dq;
    int32_t *sum;
    float *k_panel, *v_panel; /* NULL: pages are read as they are */
    int k_src, v_src;
    const void *next; /* keys of the next span, read as they are; or NULL */
    const void *k[SPAN_PAGES], *v[SPAN_PAGES];
} attn_work;

static void quantise_rows(attn_work *w) {
    const dt_attn *a = w->a;
    size_t blocks = w->E / 32;
    for (int r = 0; r < w->rows; r++) {
        const float *q = a->q + r / a->n_heads * a->ldq + r % a->n_heads * w->E;
        for (size_t b = 0; b < blocks; b++) {
            v16 x = v_load(q + 32 * b), y = v_load(q + 32 * b + 16), top = v_zero();
            top = v_max(v_abs(x), top);
            top = v_max(v_abs(y), top);
            float d = v_fold_max(top) / 127.0f, inv = 0.0f;
            if (d < 1e-30f)
                d = 0.0f;
            else
                inv = 1.0f / d;
            int8_t *out = w->q8 + r * w->E + 32 * b;
            v_store_bytes(out, v_within_127(v_mul(x, v_set(inv))));
            v_store_bytes(out + 16, v_within_127(v_mul(y, v_set(inv))));
            int32_t sum = 0;
            for (int i = 0; i < 32; i++)
                sum += out[i];
            w->dq[r * blocks + b] = d;
            w->sum[r * blocks + b] = sum;
        }
    }
}

static attn_work work_of(const dt_attn *a) {
    size_t E = (size_t)a->d_head, R = (size_t)(a->nq * a->n_heads), blocks = E / 32;
    attn_work w = {.a = a, .rows = (int)R, .E = E, .lde = (E + 15) / 16 * 16};
    float *p = (float *)(((uintptr_t)a->scratch + 63) & ~(uintptr_t)63);
    w.s = p, p += ATTN_ROWS * DT_ATTN_SPAN;
    w.o = p, p += ATTN_ROWS * w.lde;
    w.q = p, p += ATTN_ROWS * E;
    w.M = p, p += R;
    w.Z = p, p += R;
    w.k_src = w.v_src = a->type == DT_F32 ? SRC_F32 : a->type == DT_F16 ? SRC_F16 : SRC_Q8;
    if (w.k_src == SRC_Q8) {
        w.dq = p, p += R * blocks;
        w.sum = (int32_t *)(void *)p, p += R * blocks;
        w.q8 = (int8_t *)p, p += R * E / 4;
        quantise_rows(&w);
    }
    if (w.k_src != SRC_F32 && R > DT_ATTN_DIRECT) {
        p = (float *)(((uintptr_t)p + 63) & ~(uintptr_t)63);
        w.v_panel = p, p += DT_ATTN_SPAN * E;
        w.v_src = SRC_F32;
        if (w.k_src == SRC_F16) {
            w.k_panel = p;
            w.k_src = SRC_F32;
        }
    }
    return w;
}

/* The keys of row r in the span, counted from its beginning; none: from = to = 0. */
static void keys_of(const attn_work *w, int r, size_t *from, size_t *to) {
    const dt_attn *a = w->a;
    int i = r / a->n_heads, base = w->span * DT_ATTN_SPAN, first = a->first_key ? a->first_key[i] - base : -base;
    int end = a->n_keys[i] - base;
    first = first < 0 ? 0 : first;
    end = end > DT_ATTN_SPAN ? DT_ATTN_SPAN : end;
    *from = first < end ? (size_t)first : 0;
    *to = first < end ? (size_t)end : 0;
}

static void floats_of_halves(float *out, const uint16_t *in, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store(out + i, v_load_half(in + i));
}

static void floats_of_bytes(float *out, const void *page, size_t E) {
    const uint16_t *half = page;
    const int8_t *q = (const int8_t *)(half + E / 32 * DT_KV_PAGE);
    for (size_t b = 0; b < E / 2; b++, q += 32, out += 32) {
        v16 d = v_set(half_to_float(half[b]));
        v_store(out, v_mul(d, v_load_bytes(q)));
        v_store(out + 16, v_mul(d, v_load_bytes(q + 16)));
    }
}

/* Page pointers of the span, and its panels, for pages [p0,p1) of it. `last`: no span comes after it. */
static void open_span(attn_work *w, size_t p0, size_t p1, bool last) {
    const dt_attn *a = w->a;
    size_t base = (size_t)w->span * SPAN_PAGES, n = w->E * DT_KV_PAGE;
    w->next = last || w->v_panel ? NULL : a->k[base + SPAN_PAGES];
    for (size_t p = p0; p < p1; p++) {
        w->k[p] = a->k[base + p];
        w->v[p] = a->v[base + p];
        if (w->k_panel) {
            floats_of_halves(w->k_panel + p * n, w->k[p], n);
            w->k[p] = w->k_panel + p * n;
        }
        if (w->v_panel && a->type == DT_F16)
            floats_of_halves(w->v_panel + p * n, w->v[p], n);
        else if (w->v_panel)
            floats_of_bytes(w->v_panel + p * n, w->v[p], w->E);
        if (w->v_panel)
            w->v[p] = w->v_panel + p * n;
    }
}

/* What streams next begins to come while softmax leaves memory idle. */
static void fetch_begin(const void *p) {
    for (size_t i = 0; i < FETCH_BYTES; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

/* Rows i0 .. i0+rows-1 over the span: o into w->o, m and z; false if none of them has a key there. */
static bool attend_tile(attn_work *w, int i0, int rows, float *m, float *z) {
    const dt_attn *a = w->a;
    size_t E = w->E, from[ATTN_ROWS], to[ATTN_ROWS], first = SIZE_MAX, last = 0;
    for (int r = 0; r < rows; r++) {
        keys_of(w, i0 + r, &from[r], &to[r]);
        if (to[r] && from[r] < first)
            first = from[r];
        last = to[r] > last ? to[r] : last;
    }
    if (!last)
        return false;
    attn_tile t = {.q = a->q + i0 * a->ldq, .ldq = a->ldq, .E = E, .scale = a->scale};
    if (w->k_src == SRC_Q8) {
        t.q8 = w->q8 + i0 * E;
        t.dq = w->dq + i0 * (E / 32);
        t.sum = w->sum + i0 * (E / 32);
    } else if (a->nq == 1) {
        t.q = a->q + i0 * E;
        t.ldq = E;
    } else if (a->n_heads > 1) {
        for (int r = 0; r < rows; r++)
            memcpy(w->q + r * E, a->q + (i0 + r) / a->n_heads * a->ldq + (i0 + r) % a->n_heads * E, E * sizeof *w->q);
        t.q = w->q;
        t.ldq = E;
    }
    size_t page = first / 16;
    scores[w->k_src][rows](&t, w->k + page, (last + 15) / 16 - page, w->s + page * 16, DT_ATTN_SPAN);
    if (i0 == 0 && !w->v_panel) /* later tiles find them in the cache */
        fetch_begin(w->v[page]);
    if (i0 == 0 && w->next)
        fetch_begin(w->next);
    for (int r = 0; r < rows; r++) {
        softmax_row(w->s + r * DT_ATTN_SPAN, from[r], to[r], &m[r], &z[r]);
        if (!to[r])
            z[r] = DT_NO_KEYS;
    }
    mix_ragged(w->v_src, rows,
               (mix_args){.c = w->o, .ldc = w->lde, .w = w->s, .wrs = DT_ATTN_SPAN, .wcs = 1, .pages = w->v, .E = E}, from, to);
    return true;
}

static void join(float *O, float *M, float *Z, const float *o, float m, float z, size_t E) {
    if (z == DT_NO_KEYS)
        return;
    if (*Z == DT_NO_KEYS) {
        memcpy(O, o, E * sizeof *O);
        *M = m;
        *Z = z;
        return;
    }
    float top = m > *M ? m : *M, now = dt_expf_inline(m - top), before = dt_expf_inline(*M - top);
    v16 av = v_set(before), bv = v_set(now);
    *M = top;
    *Z = fmaf(now, z, before * *Z);
    FOR_BLOCKS(E, put(O + i, v_fma(bv, get(o + i, b), v_mul(av, get(O + i, b))), b););
}

static void finish(const dt_attn *a, int row, float *o, float M, float Z) {
    size_t E = (size_t)a->d_head;
    if (Z == DT_NO_KEYS) {
        memset(o, 0, E * sizeof *o);
        Z = 0.0f;
    } else {
        v16 zv = v_set(Z);
        FOR_BLOCKS(E, put(o + i, v_div(get(o + i, b), zv), b););
    }
    if (a->max_out)
        a->max_out[row] = M;
    if (a->sum_out)
        a->sum_out[row] = Z;
}

/* Pages of the span that any row needs; false if none. */
static bool span_pages(attn_work *w, size_t *p0, size_t *p1) {
    size_t from, to;
    *p0 = SIZE_MAX;
    *p1 = 0;
    for (int r = 0; r < w->rows; r += w->a->n_heads) {
        keys_of(w, r, &from, &to);
        if (to && from / 16 < *p0)
            *p0 = from / 16;
        if ((to + 15) / 16 > *p1)
            *p1 = (to + 15) / 16;
    }
    return *p1 > 0;
}

static float *row_of(const dt_attn *a, int r) {
    return a->o + r / a->n_heads * a->ldo + r % a->n_heads * (size_t)a->d_head;
}

static void attn(const dt_attn *a) {
    attn_work w = work_of(a);
    size_t p0, p1;
    int longest = 0;
    for (int i = 0; i < a->nq; i++)
        longest = a->n_keys[i] > longest ? a->n_keys[i] : longest;
    for (int r = 0; r < w.rows; r++) {
        w.M[r] = -INFINITY;
        w.Z[r] = DT_NO_KEYS;
    }
    for (; w.span * DT_ATTN_SPAN < longest; w.span++) {
        if (!span_pages(&w, &p0, &p1))
            continue;
        open_span(&w, p0, p1, (w.span + 1) * DT_ATTN_SPAN >= longest);
        for (int i = 0; i < w.rows; i += ATTN_ROWS) {
            int rows = w.rows - i < ATTN_ROWS ? w.rows - i : ATTN_ROWS;
            float m[ATTN_ROWS], z[ATTN_ROWS];
            if (!attend_tile(&w, i, rows, m, z))
                continue;
            for (int r = 0; r < rows; r++)
                join(row_of(a, i + r), &w.M[i + r], &w.Z[i + r], w.o + r * w.lde, m[r], z[r], w.E);
        }
    }
    for (int r = 0; r < w.rows; r++)
        finish(a, r, row_of(a, r), w.M[r], w.Z[r]);
}

static void attn_spans(const dt_attn *a, int span0, int span1, float *part) {
    attn_work w = work_of(a);
    size_t P = dt_attn_part(a->d_head), p0, p1;
    for (w.span = span0; w.span < span1; w.span++) {
        bool any = span_pages(&w, &p0, &p1);
        if (any)
            open_span(&w, p0, p1, w.span + 1 == span1);
        for (int i = 0; i < w.rows; i += ATTN_ROWS) {
            int rows = w.rows - i < ATTN_ROWS ? w.rows - i : ATTN_ROWS;
            float m[ATTN_ROWS], z[ATTN_ROWS];
            bool some = any && attend_tile(&w, i, rows, m, z);
            for (int r = 0; r < rows; r++, part += P) {
                if (some)
                    memcpy(part, w.o + r * w.lde, w.E * sizeof *part);
                part[P - 2] = some ? m[r] : -INFINITY;
                part[P - 1] = some ? z[r] : DT_NO_KEYS;
            }
        }
    }
}

static void attn_join(const dt_attn *a, int n, const float *part) {
    size_t P = dt_attn_part(a->d_head), rows = (size_t)(a->nq * a->n_heads);
    for (size_t r = 0; r < rows; r++) {
        float M = -INFINITY, Z = DT_NO_KEYS, *o = row_of(a, (int)r);
        for (int span = 0; span < n; span++) {
            const float *p = part + ((size_t)span * rows + r) * P;
            join(o, &M, &Z, p, p[P - 2], p[P - 1], (size_t)a->d_head);
        }
        finish(a, (int)r, o, M, Z);
    }
}

#endif
