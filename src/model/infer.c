/* The inference walk: a ragged batch of new tokens of many sequences, keys and values in pages. Saves nothing. */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

#define QUERY_BLOCK 16 /* query rows of one attention call in a long run */

typedef struct attend_task {
    int seq, head, row0, n; /* rows of the run, relative to its first */
} attend_task;

struct dt_infer {
    duet_model *m;
    dt_pool *pool;
    int max_rows, n_threads;
    dt_layer_rows acts;
    float *block;     /* all of acts */
    float *norm_out;  /* [max_rows, D] rows whose logits are wanted */
    void *product;    /* scratch of products */
    int *pos;         /* [max_rows] */
    int *row0;        /* first row of each sequence, [max_rows] */
    attend_task *task;
    size_t n_task, cap_task;
    const float **pages; /* per thread: k pointers, then v pointers */
    int cap_pages;
    float *scratch;      /* per thread */
    size_t scratch_stride;
    /* of the call in progress */
    dt_kv *kv;
    const dt_infer_seq *seqs;
    int n_seqs, max_keys;
    int layer;
};

duet_status dt_infer_create(duet_model *m, dt_pool *pool, int max_rows, dt_infer **out, duet_err *err) {
    const dt_hf_config *c = &m->cfg;
    size_t R = (size_t)max_rows, D = (size_t)c->d_model, F = (size_t)c->d_ffn, HE = (size_t)(c->n_heads * c->d_head);
    size_t W = (size_t)((c->n_heads + 2 * c->n_kv) * c->d_head);

    *out = NULL;
    dt_infer *f = dt_calloc(1, sizeof *f);
    if (!f) return dt_fail(err, DUET_E_NOMEM, "inference: no memory");
    f->m = m;
    f->pool = pool;
    f->max_rows = max_rows;
    f->n_threads = dt_pool_threads(pool);
    size_t apart = c->post_norms ? D : 0;
    f->block = dt_alloc_aligned(R, (D * 2 + 2 * W + HE + 3 * F + apart) * sizeof(float));
    f->norm_out = dt_alloc_aligned(R, D * sizeof(float));
    f->product = dt_alloc_aligned(dt_model_scratch(m, max_rows), 1);
    f->pos = dt_calloc(R, sizeof *f->pos);
    f->row0 = dt_calloc(R, sizeof *f->row0);
    if (!f->block || !f->norm_out || !f->product || !f->pos || !f->row0) {
        dt_infer_destroy(f);
        return dt_fail(err, DUET_E_NOMEM, "inference: no memory for %d rows", max_rows);
    }
    float *p = f->block;
    f->acts.x = f->acts.x2 = p;
    f->acts.h1 = f->acts.h2 = f->acts.tmp = p += R * D; /* whoever reads one is done before the next is written */
    f->acts.qkv = p += R * D;
    f->acts.rot = p += R * W;
    f->acts.a = p += R * W;
    f->acts.gu = p += R * HE;
    f->acts.f = p += R * 2 * F;
    f->acts.o = f->acts.d = p + R * F;
    *out = f;
    return DUET_OK;
}

void dt_infer_destroy(dt_infer *f) {
    if (!f) return;
    free(f->block);
    free(f->norm_out);
    free(f->product);
    free(f->pos);
    free(f->row0);
    free(f->task);
    free(f->pages);
    free(f->scratch);
    free(f);
}

static void store_kv_task(void *arg, size_t task, int thread) {
    dt_infer *f = arg;
    const dt_hf_config *c = &f->m->cfg;
    const dt_infer_seq *s = &f->seqs[task];
    int H = c->n_heads, K = c->n_kv, E = c->d_head, row0 = f->row0[task];
    size_t W = (size_t)((H + 2 * K) * E);
    (void)thread;
    for (int i = 0; i < s->n; i++) {
        const float *row = f->acts.rot + (size_t)(row0 + i) * W;
        int at = s->pos0 + i, page = s->pages[at / DT_KV_PAGE], slot = at % DT_KV_PAGE;
        for (int h = 0; h < K; h++) {
            const float *k = row + (H + h) * E, *v = row + (H + K + h) * E;
            float *pk = dt_kv_k(f->kv, page, f->layer, h), *pv = dt_kv_v(f->kv, page, f->layer, h);
            for (int e = 0; e < E; e++)
                pk[e * DT_KV_PAGE + slot] = k[e];
            memcpy(pv + slot * E, v, (size_t)E * sizeof *pv);
        }
    }
}

static void attend_task_run(void *arg, size_t task, int thread) {
    dt_infer *f = arg;
    const dt_hf_config *c = &f->m->cfg;
    const attend_task *t = &f->task[task];
    const dt_infer_seq *s = &f->seqs[t->seq];
    int H = c->n_heads, K = c->n_kv, E = c->d_head, G = H / K, n_keys[QUERY_BLOCK], first_key[QUERY_BLOCK];
    size_t W = (size_t)((H + 2 * K) * E), HE = (size_t)(H * E);
    const float **k = f->pages + (size_t)thread * 2 * (size_t)f->cap_pages, **v = k + f->cap_pages;
    int last = s->pos0 + t->row0 + t->n, window = f->m->layer[f->layer].window, n_pages = (last + DT_KV_PAGE - 1) / DT_KV_PAGE;

    for (int i = 0; i < n_pages; i++) {
        k[i] = dt_kv_k(f->kv, s->pages[i], f->layer, t->head);
        v[i] = dt_kv_v(f->kv, s->pages[i], f->layer, t->head);
    }
    size_t row = (size_t)(f->row0[t->seq] + t->row0);
    dt_attn a = {.q = f->acts.rot + row * W + (size_t)(t->head * G * E),
                 .o = f->acts.a + row * HE + (size_t)(t->head * G * E),
                 .d_head = E, .first_key = first_key, .n_keys = n_keys, .k = k, .v = v, .scale = dt_attn_scale(c),
                 .scratch = f->scratch + (size_t)thread * f->scratch_stride};
    if (t->n == 1) { /* decoding: the query heads of one kv head are the rows */
        a.ldq = a.ldo = (size_t)E;
        for (int g0 = 0; g0 < G; g0 += QUERY_BLOCK) {
            a.nq = G - g0 < QUERY_BLOCK ? G - g0 : QUERY_BLOCK;
            for (int i = 0; i < a.nq; i++)
                dt_attn_range(last - 1, window, &first_key[i], &n_keys[i]);
            dt_attn part = a;
            part.q += g0 * E;
            part.o += g0 * E;
            dt_kernels_get()->attn(&part);
        }
        return;
    }
    a.ldq = W;
    a.ldo = HE;
    a.nq = t->n;
    for (int i = 0; i < t->n; i++)
        dt_attn_range(s->pos0 + t->row0 + i, window, &first_key[i], &n_keys[i]);
    for (int g = 0; g < G; g++) {
        dt_attn part = a;
        part.q += g * E;
        part.o += g * E;
        dt_kernels_get()->attn(&part);
    }
}

static void attend(dt_walk *w, int layer, dt_layer_rows *a) {
    dt_infer *f = w->ctx;
    (void)a;
    f->layer = layer;
    dt_pool_run(w->pool, (size_t)f->n_seqs, store_kv_task, f);
    dt_pool_run(w->pool, f->n_task, attend_task_run, f);
}

/* Cuts the batch in attention tasks: (sequence, kv head, block of query rows). */
static duet_status plan(dt_infer *f, const dt_infer_seq *seqs, int n_seqs, int *n_rows, duet_err *err) {
    const dt_hf_config *c = &f->m->cfg;
    int rows = 0;
    size_t n = 0;
    f->max_keys = 0;
    for (int i = 0; i < n_seqs; i++) {
        const dt_infer_seq *s = &seqs[i];
        if (s->n < 1 || s->pos0 < 0 || s->n_logits < 0 || s->n_logits > s->n || rows + s->n > f->max_rows || i >= f->max_rows)
            return dt_fail(err, DUET_E_INTERNAL, "inference: batch of %d sequences does not fit in %d rows", n_seqs, f->max_rows);
        if (s->pos0 + s->n > f->m->rope_len)
            return dt_fail(err, DUET_E_RANGE, "inference: position %d, tables reach %d", s->pos0 + s->n, f->m->rope_len);
        f->row0[i] = rows;
        for (int j = 0; j < s->n; j++) {
            if (s->ids[j] < 0 || s->ids[j] >= c->n_vocab)
                return dt_fail(err, DUET_E_RANGE, "token id %d is outside the vocabulary (0..%d)", (int)s->ids[j], c->n_vocab - 1);
            f->pos[rows + j] = s->pos0 + j;
        }
        rows += s->n;
        n += (size_t)((s->n + QUERY_BLOCK - 1) / QUERY_BLOCK) * (size_t)c->n_kv;
        if (s->pos0 + s->n > f->max_keys) f->max_keys = s->pos0 + s->n;
    }
    if (n > f->cap_task) {
        attend_task *t = dt_realloc(f->task, n, sizeof *t);
        if (!t) return dt_fail(err, DUET_E_NOMEM, "inference: no memory for %zu attention tasks", n);
        f->task = t;
        f->cap_task = n;
    }
    int need = (f->max_keys + DT_KV_PAGE - 1) / DT_KV_PAGE;
    if (need > f->cap_pages) {
        int cap = need < 32 ? 32 : need + need / 2;
        size_t stride = (size_t)cap * DT_KV_PAGE * QUERY_BLOCK;
        free(f->pages);
        free(f->scratch);
        f->pages = dt_calloc((size_t)f->n_threads * 2 * (size_t)cap, sizeof *f->pages);
        f->scratch = dt_alloc_aligned((size_t)f->n_threads * stride, sizeof(float));
        f->cap_pages = f->pages && f->scratch ? cap : 0;
        f->scratch_stride = stride;
        if (!f->cap_pages) return dt_fail(err, DUET_E_NOMEM, "inference: no memory for attention over %d keys", f->max_keys);
    }
    f->n_task = 0;
    for (int i = 0; i < n_seqs; i++)
        for (int h = 0; h < c->n_kv; h++)
            for (int r = 0; r < seqs[i].n; r += QUERY_BLOCK)
                f->task[f->n_task++] = (attend_task){
                    .seq = i, .head = h, .row0 = r, .n = seqs[i].n - r < QUERY_BLOCK ? seqs[i].n - r : QUERY_BLOCK};
    *n_rows = rows;
    return DUET_OK;
}

duet_status dt_infer_run(dt_infer *f, dt_kv *kv, const dt_infer_seq *seqs, int n_seqs, float *logits, duet_err *err) {
    duet_model *m = f->m;
    size_t D = (size_t)m->cfg.d_model;
    int rows = 0, wanted = 0;
    if (n_seqs == 0) return DUET_OK;
    duet_status st = plan(f, seqs, n_seqs, &rows, err);
    if (st) return st;
    f->kv = kv;
    f->seqs = seqs;
    f->n_seqs = n_seqs;
    for (int i = 0; i < n_seqs; i++)
        for (int j = 0; j < seqs[i].n; j++)
            dt_embed_row(m, f->acts.x + (size_t)(f->row0[i] + j) * D, seqs[i].ids[j]);

    dt_walk w = {.m = m, .kr = dt_kernels_get(), .pool = f->pool, .T = rows, .pos = f->pos, .scratch = f->product,
                 .attend = attend, .ctx = f};
    for (int l = 0; l < m->cfg.n_layers; l++)
        dt_block_forward(&w, l, &f->acts, f->acts.x);

    for (int i = 0; i < n_seqs; i++)
        for (int j = seqs[i].n - seqs[i].n_logits; j < seqs[i].n; j++)
            memcpy(f->norm_out + (size_t)wanted++ * D, f->acts.x + (size_t)(f->row0[i] + j) * D, D * sizeof(float));
    if (!wanted) return DUET_OK;
    w.T = wanted;
    dt_rows_norm(&w, f->acts.h1, f->norm_out, m->params + m->final_norm, NULL);
    dt_matrix_multiply(f->pool, &m->head, logits, f->acts.h1, wanted, false, f->product);
    return DUET_OK;
}
