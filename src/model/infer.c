/* The inference walk: a ragged batch of new tokens of many sequences, keys and values in pages. Saves nothing. */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

struct dt_infer {
    duet_model *m;
    dt_pool *pool;
    int max_rows;
    dt_layer_rows acts;
    float *block;     /* all of acts */
    void *product;    /* scratch of products */
    size_t block_bytes, product_bytes;
    int *pos;         /* [max_rows] */
    int *row0;        /* first row of each sequence, [max_rows] */
    dt_attend *attend;
    const dt_infer_seq *seqs; /* of the batch in progress */
    int n_seqs;
    bool (*vain)(void *arg); /* NULL = runs are never given up */
    void *vain_arg;
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
    size_t apart = c->post_norms ? D : 0;
    f->block_bytes = R * (D * 2 + W + HE + 3 * F + apart) * sizeof(float);
    f->product_bytes = dt_model_scratch(m, max_rows);
    f->block = dt_pages_alloc(f->block_bytes); /* few rows touch little of it */
    f->product = dt_pages_alloc(f->product_bytes);
    f->pos = dt_calloc(R, sizeof *f->pos);
    f->row0 = dt_calloc(R, sizeof *f->row0);
    if (!f->block || !f->product || !f->pos || !f->row0) {
        dt_infer_destroy(f);
        return dt_fail(err, DUET_E_NOMEM, "inference: no memory for %d rows", max_rows);
    }
    duet_status st = dt_attend_create(m, pool, &f->attend, err);
    if (st) {
        dt_infer_destroy(f);
        return st;
    }
    float *p = f->block;
    f->acts.x = f->acts.x2 = p;
    f->acts.h1 = f->acts.h2 = f->acts.tmp = p += R * D; /* whoever reads one is done before the next is written */
    f->acts.qkv = f->acts.rot = p += R * D;
    f->acts.a = p += R * W;
    f->acts.gu = p += R * HE;
    f->acts.f = p += R * 2 * F;
    f->acts.o = f->acts.d = p + R * F;
    *out = f;
    return DUET_OK;
}

void dt_infer_destroy(dt_infer *f) {
    if (!f) return;
    dt_pages_free(f->block, f->block_bytes);
    dt_pages_free(f->product, f->product_bytes);
    free(f->pos);
    free(f->row0);
    dt_attend_destroy(f->attend);
    free(f);
}

void dt_infer_watch(dt_infer *f, bool (*vain)(void *arg), void *arg) {
    f->vain = vain;
    f->vain_arg = arg;
}

/* Rows whose logits are wanted move to the front, and the walk goes on with them alone. */
static void keep_wanted(dt_walk *w, dt_layer_rows *a) {
    const dt_infer *f = w->ctx;
    const dt_hf_config *c = &f->m->cfg;
    size_t D = (size_t)c->d_model, HE = (size_t)(c->n_heads * c->d_head), to = 0;
    for (int i = 0; i < f->n_seqs; i++)
        for (int j = f->seqs[i].n - f->seqs[i].n_logits; j < f->seqs[i].n; j++, to++) {
            size_t from = (size_t)(f->row0[i] + j);
            if (from == to) continue;
            memmove(f->acts.x + to * D, f->acts.x + from * D, D * sizeof(float));
            memmove(a->a + to * HE, a->a + from * HE, HE * sizeof(float));
        }
    w->T = (int)to;
}

/* What follows the keys and values of the last layer is computed for few rows of a prompt. */
static void attend(dt_walk *w, int layer, dt_layer_rows *a) {
    dt_infer *f = w->ctx;
    bool last = layer == f->m->cfg.n_layers - 1;
    dt_attend_run(f->attend, layer, last, a->rot, a->a);
    if (last) keep_wanted(w, a);
}

/* Checks the batch; rows and positions of all its tokens. */
static duet_status place_rows(dt_infer *f, const dt_infer_seq *seqs, int n_seqs, int *n_rows, duet_err *err) {
    const dt_hf_config *c = &f->m->cfg;
    int rows = 0;
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
    }
    *n_rows = rows;
    return DUET_OK;
}

duet_status dt_infer_run(dt_infer *f, dt_kv *kv, const dt_infer_seq *seqs, int n_seqs, float *logits, duet_err *err) {
    duet_model *m = f->m;
    size_t D = (size_t)m->cfg.d_model;
    int rows = 0;
    if (n_seqs == 0) return DUET_OK;
    duet_status st = place_rows(f, seqs, n_seqs, &rows, err);
    if (!st) st = dt_attend_plan(f->attend, kv, seqs, f->row0, n_seqs, err);
    if (st) return st;
    f->seqs = seqs;
    f->n_seqs = n_seqs;
    for (int i = 0; i < n_seqs; i++)
        for (int j = 0; j < seqs[i].n; j++)
            dt_embed_row(m, f->acts.x + (size_t)(f->row0[i] + j) * D, seqs[i].ids[j]);

    dt_walk w = {.m = m, .kr = dt_kernels_get(), .pool = f->pool, .T = rows, .pos = f->pos, .scratch = f->product,
                 .attend = attend, .ctx = f};
    for (int l = 0; l < m->cfg.n_layers; l++) {
        if (f->vain && f->vain(f->vain_arg)) return dt_fail(err, DUET_E_CANCELLED, "inference: given up");
        dt_block_forward(&w, l, &f->acts, f->acts.x);
    }
    if (w.T == 0) return DUET_OK; /* nobody asks for logits */
    dt_rows_norm(&w, f->acts.h1, f->acts.x, m->params + m->final_norm, NULL);
    dt_matrix_multiply(f->pool, &m->head, logits, f->acts.h1, w.T, false, f->product);
    return DUET_OK;
}
