/* The training walk: full sequences, saved or recomputed, then backwards. Rows go through the same kernels as in
 * infer.c, so a token's log-prob is the same bits. Logits exist for a chunk of rows at a time only. */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

#define LOGIT_CHUNK_BYTES ((size_t)16 << 20)

typedef struct attend_task {
    int seq, head; /* kv head */
} attend_task;

struct dt_learn {
    duet_model *m;
    dt_pool *pool;
    int max_tokens, n_threads;
    bool recompute;
    dt_layer_rows *acts;    /* [n_layers], or one set shared when recomputing */
    float *act_block;
    float *xs;        /* recompute: [n_layers][T, D] inputs of the layers */
    float *x_out;     /* [T, D] output of the last layer */
    float *hf, *inv_f;/* [T, D], [T] final norm */
    dt_grads g;
    float *grad_block;
    float *dhf;       /* [T, D] */
    void *product;    /* scratch of products */
    float *kpages;    /* K and V pages of all sequences of one layer */
    const void **pages;
    size_t *page0;    /* first page of each sequence, [n_seqs] */
    size_t cap_pages;
    attend_task *task;
    size_t cap_task, n_task;
    size_t cap_start;
    float *scratch;
    size_t scratch_stride;
    float *logits;    /* [chunk, V] */
    int chunk;
    int *pos;
    int *first_key;   /* [T] of the layer in the backward pass, where it has a window */
    int32_t *target;
    float *lse;
    /* the batch of the last forward */
    int32_t *ids;
    int *start;
    int n_seqs, T;
    float inv_temp;
    bool plain;       /* score without the adapters */
    bool ready;
};

static size_t acts_floats(const dt_hf_config *c) {
    size_t D = (size_t)c->d_model, F = (size_t)c->d_ffn, H = (size_t)c->n_heads, K = (size_t)c->n_kv, E = (size_t)c->d_head;
    size_t W = (H + 2 * K) * E;
    return 4 * D + 2 * W + H * E + 3 * F + 2 + H + K + 2 * H + (c->post_norms ? 2 * D + 2 : 0);
}

static void acts_place(const dt_hf_config *c, size_t T, float *p, dt_layer_rows *a) {
    size_t D = (size_t)c->d_model, F = (size_t)c->d_ffn, H = (size_t)c->n_heads, K = (size_t)c->n_kv, E = (size_t)c->d_head;
    size_t W = (H + 2 * K) * E;
    a->x = p, p += T * D;
    a->h1 = p, p += T * D;
    a->x2 = p, p += T * D;
    a->h2 = p, p += T * D;
    a->qkv = p, p += T * W;
    a->rot = p, p += T * W;
    a->a = p, p += T * H * E;
    a->gu = p, p += T * 2 * F;
    a->f = p, p += T * F;
    a->inv1 = p, p += T;
    a->inv2 = p, p += T;
    a->inv_q = p, p += T * H;
    a->inv_k = p, p += T * K;
    a->mx = p, p += T * H;
    a->z = p, p += T * H;
    if (!c->post_norms) return;
    a->o = p, p += T * D;
    a->d = p, p += T * D;
    a->inv_o = p, p += T;
    a->inv_d = p;
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t grads_floats(const dt_hf_config *c) { /* per token */
    size_t D = (size_t)c->d_model, F = (size_t)c->d_ffn, H = (size_t)c->n_heads, E = (size_t)c->d_head;
    size_t W = (H + 2 * (size_t)c->n_kv) * E;
    return 3 * D + W + H * E + 3 * F;
}

static size_t pack_w_floats(const dt_hf_config *c) {
    int HE = c->n_heads * c->d_head, W = (c->n_heads + 2 * c->n_kv) * c->d_head, D = c->d_model, F = c->d_ffn;
    size_t n = largest(dt_packed_floats(W, D), dt_packed_floats(D, HE));
    n = largest(n, largest(dt_packed_floats(2 * F, D), dt_packed_floats(D, F)));
    return largest(n, dt_packed_floats(c->n_vocab, D));
}

static int logit_chunk(const dt_hf_config *c, int T) {
    size_t n = LOGIT_CHUNK_BYTES / ((size_t)c->n_vocab * sizeof(float));
    n = n < 32 ? 32 : n / 32 * 32;
    return n < (size_t)T ? (int)n : T;
}

size_t dt_learn_bytes(const dt_hf_config *c, const dt_learn_options *opt) {
    size_t T = (size_t)opt->max_tokens, sets = opt->recompute ? 1 : (size_t)c->n_layers;
    size_t n = T * acts_floats(c) * sets + T * grads_floats(c) + 3 * T * (size_t)c->d_model;
    if (opt->recompute) n += T * (size_t)c->d_model * (size_t)c->n_layers;
    n += pack_w_floats(c) + (T + 32) * largest((size_t)c->d_model, largest((size_t)c->d_ffn, (size_t)(c->n_heads * c->d_head)));
    n += (size_t)logit_chunk(c, opt->max_tokens) * (size_t)c->n_vocab;
    n += (T + T / 2) * (size_t)c->n_kv * (size_t)c->d_head * 2;
    return n * sizeof(float);
}

size_t dt_learn_logit_bytes(const dt_hf_config *c, const dt_learn_options *opt) {
    return ((size_t)logit_chunk(c, opt->max_tokens) * (size_t)c->n_vocab + pack_w_floats(c)) * sizeof(float);
}

duet_status dt_learn_create(duet_model *m, dt_pool *pool, const dt_learn_options *opt, dt_learn **out, duet_err *err) {
    const dt_hf_config *c = &m->cfg;
    size_t T = (size_t)opt->max_tokens, D = (size_t)c->d_model, F = (size_t)c->d_ffn, HE = (size_t)(c->n_heads * c->d_head);
    size_t W = (size_t)((c->n_heads + 2 * c->n_kv) * c->d_head), sets = opt->recompute ? 1 : (size_t)c->n_layers;
    size_t chunks = (T + DT_ROW_CHUNK - 1) / DT_ROW_CHUNK, widest = largest(D, largest(F, HE));

    *out = NULL;
    if (opt->max_tokens < 1) return dt_fail(err, DUET_E_RANGE, "training: max_tokens %d is below 1", opt->max_tokens);
    dt_learn *l = dt_calloc(1, sizeof *l);
    if (!l) return dt_fail(err, DUET_E_NOMEM, "training: no memory");
    l->m = m;
    l->pool = pool;
    l->max_tokens = opt->max_tokens;
    l->n_threads = dt_pool_threads(pool);
    l->recompute = opt->recompute;
    l->chunk = logit_chunk(c, opt->max_tokens);
    l->acts = dt_calloc((size_t)c->n_layers, sizeof *l->acts);
    l->act_block = dt_alloc_aligned(T * acts_floats(c), sets * sizeof(float));
    l->xs = opt->recompute ? dt_alloc_aligned(T * D, (size_t)c->n_layers * sizeof(float)) : NULL;
    l->x_out = dt_alloc_aligned(T * D, sizeof(float));
    l->hf = dt_alloc_aligned(T * D, sizeof(float));
    l->dhf = dt_alloc_aligned(T * D, sizeof(float));
    l->inv_f = dt_alloc_aligned(T, sizeof(float));
    l->grad_block = dt_alloc_aligned(T * grads_floats(c), sizeof(float));
    l->g.pack_w = dt_alloc_aligned(pack_w_floats(c), sizeof(float));
    l->g.pack_x = dt_alloc_aligned(dt_packed_floats(opt->max_tokens, (int)widest), sizeof(float));
    l->g.partial = dt_alloc_aligned(chunks * largest(largest(D, W), 2 * (size_t)c->d_head), sizeof(float));
    l->logits = dt_alloc_aligned((size_t)l->chunk * (size_t)c->n_vocab, sizeof(float));
    l->product = dt_alloc_aligned(dt_model_scratch(m, opt->max_tokens), 1);
    l->pos = dt_calloc(T, sizeof *l->pos);
    l->first_key = dt_calloc(T, sizeof *l->first_key);
    l->target = dt_calloc(T, sizeof *l->target);
    l->lse = dt_calloc(T, sizeof *l->lse);
    l->ids = dt_calloc(T, sizeof *l->ids);
    if (!l->acts || !l->act_block || (opt->recompute && !l->xs) || !l->x_out || !l->hf || !l->dhf || !l->inv_f || !l->grad_block ||
        !l->g.pack_w || !l->g.pack_x || !l->g.partial || !l->logits || !l->product || !l->pos || !l->first_key || !l->target || !l->lse ||
        !l->ids) {
        dt_learn_destroy(l);
        return dt_fail(err, DUET_E_NOMEM, "training: no memory for batches of %d tokens (%zu MiB); lower the batch or recompute",
                       opt->max_tokens, dt_learn_bytes(c, opt) >> 20);
    }
    for (int i = 0; i < c->n_layers; i++)
        acts_place(c, T, l->act_block + (opt->recompute ? 0 : (size_t)i * T * acts_floats(c)), &l->acts[i]);
    float *p = l->grad_block;
    l->g.dx = p, p += T * D;
    l->g.dh = p, p += T * D;
    l->g.dqkv = p, p += T * W;
    l->g.da = p, p += T * HE;
    l->g.dgu = p, p += T * 2 * F;
    l->g.df = p;
    for (int i = 0; i < c->n_layers; i++)
        l->acts[i].tmp = l->g.dh; /* no gradient is in flight during a forward pass of a layer */
    *out = l;
    return DUET_OK;
}

void dt_learn_destroy(dt_learn *l) {
    if (!l) return;
    free(l->acts);
    free(l->act_block);
    free(l->xs);
    free(l->x_out);
    free(l->hf);
    free(l->dhf);
    free(l->inv_f);
    free(l->grad_block);
    free(l->g.pack_w);
    free(l->g.pack_x);
    free(l->g.partial);
    free(l->logits);
    free(l->product);
    free(l->pos);
    free(l->first_key);
    free(l->target);
    free(l->lse);
    free(l->ids);
    free(l->start);
    free(l->kpages);
    free(l->pages);
    free(l->page0);
    free(l->task);
    free(l->scratch);
    free(l);
}

/* ---- attention over whole sequences ---- */

typedef struct attend_ctx {
    dt_learn *l;
    dt_layer_rows *a;
    dt_grads *g;
    int layer;
} attend_ctx;

static void attend_task_run(void *arg, size_t task, int thread) {
    attend_ctx *x = arg;
    dt_learn *l = x->l;
    const dt_hf_config *c = &l->m->cfg;
    const attend_task *t = &l->task[task];
    int H = c->n_heads, K = c->n_kv, E = c->d_head, G = H / K, s0 = l->start[t->seq], T = l->start[t->seq + 1] - s0;
    size_t W = (size_t)((H + 2 * K) * E), HE = (size_t)(H * E), page = (size_t)E * DT_KV_PAGE;
    size_t n_pages = ((size_t)T + DT_KV_PAGE - 1) / DT_KV_PAGE, first = l->page0[t->seq] * (size_t)K + (size_t)t->head * n_pages;
    float *kp = l->kpages + 2 * first * page, *vp = kp + n_pages * page;
    const void **k = l->pages + 2 * first, **v = k + n_pages;

    for (size_t i = 0; i < n_pages; i++) {
        k[i] = kp + i * page;
        v[i] = vp + i * page;
    }
    for (int i = 0; i < T; i++) {
        const float *row = x->a->rot + (size_t)(s0 + i) * W;
        size_t at = (size_t)(i / DT_KV_PAGE) * page;
        dt_kernels_get()->kv_store(DT_F32, kp + at, vp + at, i % DT_KV_PAGE, row + (H + t->head) * E, row + (H + K + t->head) * E, E);
    }
    int n_keys[DT_ATTN_TOKENS], first_key[DT_ATTN_TOKENS], block = dt_attn_tokens(G);
    for (int r = 0; r < T; r += block) {
        size_t row = (size_t)(s0 + r), q_at = (size_t)(t->head * G * E);
        float *mx = l->scratch + (size_t)thread * l->scratch_stride, *z = mx + block * G;
        dt_attn a = {.q = x->a->rot + row * W + q_at, .o = x->a->a + row * HE + q_at, .ldq = W, .ldo = HE,
                     .nq = T - r < block ? T - r : block, .n_heads = G, .d_head = E, .first_key = first_key, .n_keys = n_keys,
                     .type = DT_F32, .k = k, .v = v, .scale = dt_attn_scale(c), .scratch = z + block * G, .max_out = mx, .sum_out = z};
        for (int i = 0; i < a.nq; i++)
            dt_attn_range(r + i, l->m->layer[x->layer].window, &first_key[i], &n_keys[i]);
        dt_kernels_get()->attn(&a);
        for (int i = 0; i < a.nq * G; i++) { /* [H][T]: the backward pass reads a head's row */
            size_t to = (size_t)(t->head * G + i % G) * (size_t)l->T + row + (size_t)(i / G);
            x->a->mx[to] = mx[i];
            x->a->z[to] = z[i];
        }
    }
}

static void attend(dt_walk *w, int layer, dt_layer_rows *a) {
    dt_learn *l = w->ctx;
    attend_ctx x = {.l = l, .a = a, .layer = layer};
    dt_pool_run(w->pool, l->n_task, attend_task_run, &x);
}

static void attend_bwd_task(void *arg, size_t task, int thread) {
    attend_ctx *x = arg;
    dt_learn *l = x->l;
    const dt_hf_config *c = &l->m->cfg;
    const attend_task *t = &l->task[task];
    int H = c->n_heads, K = c->n_kv, E = c->d_head, G = H / K, s0 = l->start[t->seq], T = l->start[t->seq + 1] - s0;
    size_t W = (size_t)((H + 2 * K) * E), HE = (size_t)(H * E), row = (size_t)s0;
    size_t k_at = row * W + (size_t)((H + t->head) * E), v_at = row * W + (size_t)((H + K + t->head) * E);

    for (int i = 0; i < T; i++) {
        memset(x->g->dqkv + k_at + (size_t)i * W, 0, (size_t)E * sizeof(float));
        memset(x->g->dqkv + v_at + (size_t)i * W, 0, (size_t)E * sizeof(float));
    }
    const int *first_key = l->m->layer[x->layer].window ? l->first_key + s0 : NULL;
    for (int h = t->head * G; h < (t->head + 1) * G; h++) {
        size_t q_at = row * W + (size_t)(h * E), o_at = row * HE + (size_t)(h * E);
        dt_attn_bwd b = {.q = x->a->rot + q_at, .k = x->a->rot + k_at, .v = x->a->rot + v_at, .o = x->a->a + o_at, .d_o = x->g->da + o_at,
                         .dq = x->g->dqkv + q_at, .dk = x->g->dqkv + k_at, .dv = x->g->dqkv + v_at, .ldq = W, .ldkv = W, .ldo = HE,
                         .lddq = W, .lddkv = W, .mx = x->a->mx + (size_t)h * (size_t)l->T + row, .z = x->a->z + (size_t)h * (size_t)l->T + row,
                         .T = T, .d_head = E, .first_key = first_key, .scale = dt_attn_scale(c), .scratch = l->scratch + (size_t)thread * l->scratch_stride};
        dt_kernels_get()->attn_bwd(&b);
    }
}

static void attend_bwd(dt_walk *w, int layer, dt_layer_rows *a, dt_grads *g) {
    dt_learn *l = w->ctx;
    attend_ctx x = {.l = l, .a = a, .g = g, .layer = layer};
    int end, window = l->m->layer[layer].window;
    for (int t = 0; window && t < l->T; t++)
        dt_attn_range(l->pos[t], window, &l->first_key[t], &end);
    dt_pool_run(w->pool, l->n_task, attend_bwd_task, &x);
}

/* ---- a batch ---- */

static duet_status take_batch(dt_learn *l, const dt_batch *b, duet_err *err) {
    const dt_hf_config *c = &l->m->cfg;
    int T = b->start[b->n_seqs], longest = 0;
    size_t n_pages = 0, n_task = (size_t)b->n_seqs * (size_t)c->n_kv;

    l->ready = false;
    if (b->n_seqs < 1 || T < 1 || T > l->max_tokens)
        return dt_fail(err, DUET_E_RANGE, "training: a batch of %d tokens, at most %d fit", T, l->max_tokens);
    for (int t = 0; t < T; t++)
        if (b->ids[t] < 0 || b->ids[t] >= c->n_vocab)
            return dt_fail(err, DUET_E_RANGE, "token id %d is outside the vocabulary (0..%d)", (int)b->ids[t], c->n_vocab - 1);
    for (int s = 0; s < b->n_seqs; s++) {
        int n = b->start[s + 1] - b->start[s];
        if (n < 1) return dt_fail(err, DUET_E_RANGE, "training: sequence %d is empty", s);
        if (n > longest) longest = n;
        n_pages += ((size_t)n + DT_KV_PAGE - 1) / DT_KV_PAGE;
        for (int i = 0; i < n; i++) {
            l->pos[b->start[s] + i] = i;
            l->target[b->start[s] + i] = i + 1 < n ? b->ids[b->start[s] + i + 1] : -1;
        }
    }
    duet_status st = dt_model_rope_reserve(l->m, longest, err);
    if (st) return st;
    if ((size_t)b->n_seqs + 1 > l->cap_start) {
        size_t cap = (size_t)b->n_seqs * 2 + 1;
        int *start = dt_realloc(l->start, cap, sizeof *start);
        if (start) l->start = start;
        size_t *page0 = dt_realloc(l->page0, cap, sizeof *page0);
        if (page0) l->page0 = page0;
        attend_task *task = dt_realloc(l->task, cap * (size_t)c->n_kv, sizeof *task);
        if (task) l->task = task;
        if (!start || !page0 || !task) return dt_fail(err, DUET_E_NOMEM, "training: no memory for %d sequences", b->n_seqs);
        l->cap_start = cap;
    }
    if (n_pages > l->cap_pages) {
        size_t cap = n_pages + n_pages / 4, n = cap * 2 * (size_t)c->n_kv;
        free(l->kpages);
        free(l->pages);
        l->kpages = dt_alloc_aligned(n * (size_t)c->d_head * DT_KV_PAGE, sizeof(float));
        l->pages = dt_calloc(n, sizeof *l->pages);
        l->cap_pages = l->kpages && l->pages ? cap : 0;
        if (!l->cap_pages) return dt_fail(err, DUET_E_NOMEM, "training: no memory for %zu key pages", n_pages);
    }
    int rows = dt_attn_tokens(c->n_heads / c->n_kv) * (c->n_heads / c->n_kv);
    size_t stride = largest(dt_attn_scratch(DT_F32, rows, c->d_head) + 2 * (size_t)rows, dt_attn_bwd_scratch(longest, c->d_head));
    stride = (stride + 15) / 16 * 16;
    if (stride > l->scratch_stride) {
        free(l->scratch);
        l->scratch = dt_alloc_aligned(stride * (size_t)l->n_threads, sizeof(float));
        l->scratch_stride = l->scratch ? stride : 0;
        if (!l->scratch) return dt_fail(err, DUET_E_NOMEM, "training: no memory for attention over %d keys", longest);
    }
    memcpy(l->ids, b->ids, (size_t)T * sizeof *l->ids);
    memcpy(l->start, b->start, ((size_t)b->n_seqs + 1) * sizeof *l->start);
    l->n_seqs = b->n_seqs;
    l->T = T;
    l->n_task = n_task;
    n_pages = n_task = 0;
    for (int s = 0; s < b->n_seqs; s++) {
        l->page0[s] = n_pages;
        n_pages += ((size_t)(b->start[s + 1] - b->start[s]) + DT_KV_PAGE - 1) / DT_KV_PAGE;
        for (int h = 0; h < c->n_kv; h++)
            l->task[n_task++] = (attend_task){.seq = s, .head = h};
    }
    return DUET_OK;
}

static dt_walk walk_of(dt_learn *l) {
    return (dt_walk){.m = l->m, .kr = dt_kernels_get(), .pool = l->pool, .T = l->T, .pos = l->pos, .plain = l->plain, .scratch = l->product,
                     .attend = attend, .attend_bwd = attend_bwd, .ctx = l};
}

static void embed_rows(dt_learn *l, float *x) {
    size_t D = (size_t)l->m->cfg.d_model;
    for (int t = 0; t < l->T; t++)
        dt_embed_row(l->m, x + (size_t)t * D, l->ids[t]);
}

typedef struct xent_ctx {
    dt_learn *l;
    int t0, n;
    float *logp, *entropy;
    const float *coef;
} xent_ctx;

#define XENT_ROWS 16

static void xent_task(void *arg, size_t task, int thread) {
    xent_ctx *x = arg;
    dt_learn *l = x->l;
    int r = (int)task * XENT_ROWS, n = x->n - r < XENT_ROWS ? x->n - r : XENT_ROWS, V = l->m->cfg.n_vocab, t = x->t0 + r;
    float *rows = l->logits + (size_t)r * (size_t)V;
    (void)thread;
    if (x->coef)
        dt_kernels_get()->xent_bwd(rows, (size_t)V, l->target + t, l->lse + t, x->coef + t, n, V, l->inv_temp);
    else
        dt_kernels_get()->xent(rows, (size_t)V, l->target + t, n, V, l->inv_temp, x->logp + t, x->entropy ? x->entropy + t : NULL, l->lse + t);
}

static void head_logits(dt_learn *l, int t0, int n) {
    dt_matrix_multiply(l->pool, &l->m->head, l->logits, l->hf + (size_t)t0 * (size_t)l->m->cfg.d_model, n, false, l->product);
}

static void head_forward(dt_learn *l, dt_walk *w, float *logp, float *entropy) {
    dt_rows_norm(w, l->hf, l->x_out, l->m->params + l->m->final_norm, l->inv_f);
    for (int t = 0; t < l->T; t += l->chunk) {
        xent_ctx x = {.l = l, .t0 = t, .n = l->T - t < l->chunk ? l->T - t : l->chunk, .logp = logp, .entropy = entropy};
        head_logits(l, t, x.n);
        dt_pool_run(l->pool, ((size_t)x.n + XENT_ROWS - 1) / XENT_ROWS, xent_task, &x);
    }
    for (int s = 0; s < l->n_seqs; s++)
        logp[l->start[s + 1] - 1] = 0; /* the last token of a sequence predicts nothing */
}

static duet_status forward(dt_learn *l, const dt_batch *b, bool keep, float inv_temp, float *logp, float *entropy, duet_err *err) {
    size_t D = (size_t)l->m->cfg.d_model;
    int L = l->m->cfg.n_layers;
    duet_status st = take_batch(l, b, err);
    if (st) return st;
    dt_walk w = walk_of(l);
    l->inv_temp = inv_temp;
    if (l->recompute || !keep) {
        dt_layer_rows *a = &l->acts[0];
        embed_rows(l, a->x);
        for (int i = 0; i < L; i++) {
            if (l->recompute && keep) memcpy(l->xs + (size_t)i * (size_t)l->max_tokens * D, a->x, (size_t)l->T * D * sizeof(float));
            dt_block_forward(&w, i, a, i + 1 < L ? a->x : l->x_out);
        }
    } else {
        embed_rows(l, l->acts[0].x);
        for (int i = 0; i < L; i++)
            dt_block_forward(&w, i, &l->acts[i], i + 1 < L ? l->acts[i + 1].x : l->x_out);
    }
    head_forward(l, &w, logp, entropy);
    l->ready = keep;
    return DUET_OK;
}

duet_status dt_learn_forward(dt_learn *l, const dt_batch *b, float inv_temp, float *logp, float *entropy, duet_err *err) {
    return forward(l, b, true, inv_temp, logp, entropy, err);
}

duet_status dt_learn_score(dt_learn *l, const dt_batch *b, float inv_temp, float *logp, float *entropy, duet_err *err) {
    return forward(l, b, false, inv_temp, logp, entropy, err);
}

duet_status dt_learn_score_base(dt_learn *l, const dt_batch *b, float inv_temp, float *logp, float *entropy, duet_err *err) {
    l->plain = true;
    duet_status st = forward(l, b, false, inv_temp, logp, entropy, err);
    l->plain = false;
    return st;
}

/* ---- backwards ---- */

static void head_backward(dt_learn *l, const float *coef, float *grad) {
    const dt_hf_config *c = &l->m->cfg;
    size_t D = (size_t)c->d_model, V = (size_t)c->n_vocab;
    dt_matrix_pack_back(l->pool, l->m, &l->m->head, l->g.pack_w);
    for (int t = 0; t < l->T; t += l->chunk) {
        int n = l->T - t < l->chunk ? l->T - t : l->chunk;
        float *hf = l->hf + (size_t)t * D;
        xent_ctx x = {.l = l, .t0 = t, .n = n, .coef = coef};
        head_logits(l, t, n);
        dt_pool_run(l->pool, ((size_t)n + XENT_ROWS - 1) / XENT_ROWS, xent_task, &x);
        dt_gemm(l->pool, l->dhf + (size_t)t * D, D, l->logits, V, 1, l->g.pack_w, n, c->d_model, c->n_vocab, false);
        if (!l->m->head.trained) continue;
        dt_pack(l->pool, l->g.pack_x, hf, D, 1, n, c->d_model);
        dt_gemm(l->pool, grad + l->m->head.offset, D, l->logits, 1, V, l->g.pack_x, c->n_vocab, c->d_model, n, true);
    }
}

typedef struct embed_ctx {
    dt_learn *l;
    float *grad;
} embed_ctx;

#define EMBED_COLS 32

/* Columns are split over tasks, tokens are added in order: the bits do not depend on threads. */
static void embed_bwd_task(void *arg, size_t task, int thread) {
    embed_ctx *x = arg;
    size_t D = (size_t)x->l->m->cfg.d_model, c0 = task * EMBED_COLS, n = D - c0 < EMBED_COLS ? D - c0 : EMBED_COLS;
    float scale = dt_embed_scale(&x->l->m->cfg);
    (void)thread;
    for (int t = 0; t < x->l->T; t++) {
        float *d = x->grad + (size_t)x->l->ids[t] * D + c0;
        const float *s = x->l->g.dx + (size_t)t * D + c0;
        for (size_t i = 0; i < n; i++)
            d[i] += s[i] * scale;
    }
}

duet_status dt_learn_backward(dt_learn *l, const float *coef, float *grad, duet_err *err) {
    if (!l->ready) return dt_fail(err, DUET_E_INTERNAL, "training: backward without a forward pass before it");
    duet_model *m = l->m;
    size_t D = (size_t)m->cfg.d_model;
    dt_walk w = walk_of(l);
    l->g.param = m->lora ? NULL : grad;
    l->g.lora = m->lora ? grad : NULL;
    head_backward(l, coef, l->g.param);
    dt_rows_norm_bwd(&w, l->g.dx, m->lora ? NULL : grad + m->final_norm, l->dhf, l->x_out, m->params + m->final_norm, l->inv_f, false, l->g.partial);
    for (int i = m->cfg.n_layers; i-- > 0;) {
        if (l->recompute) { /* the same steps on the same input give the same bits again */
            memcpy(l->acts[i].x, l->xs + (size_t)i * (size_t)l->max_tokens * D, (size_t)l->T * D * sizeof(float));
            dt_block_forward(&w, i, &l->acts[i], l->hf);
        }
        dt_block_backward(&w, i, &l->acts[i], &l->g);
    }
    embed_ctx x = {.l = l, .grad = grad + (m->embed_trained ? m->embed : 0)};
    if (m->embed_trained) dt_pool_run(l->pool, (D + EMBED_COLS - 1) / EMBED_COLS, embed_bwd_task, &x);
    l->ready = false;
    return DUET_OK;
}

double dt_model_train_flops(const dt_hf_config *c, const dt_batch *b) {
    double D = c->d_model, F = c->d_ffn, E = c->d_head, H = c->n_heads, W = (H + 2 * c->n_kv) * E, T = b->start[b->n_seqs], att = 0;
    int window = 0;
    double mat = c->n_layers * (W * D + H * E * D + 3 * F * D) + (double)c->n_vocab * D;
    for (int s = 0; s < b->n_seqs; s++) {
        double n = b->start[s + 1] - b->start[s], pairs = 0;
        for (int l = 0; l < c->n_layers; l++) { /* neighbours mostly have the same window */
            if (!l || window != dt_hf_config_window(c, l)) pairs = dt_attn_pairs(0, n, window = dt_hf_config_window(c, l));
            att += pairs;
        }
    }
    /* forward 2 per multiply-add, backward twice that; attention: scores and mix, backward five products of which one recomputes */
    return 6 * mat * T + H * E * att * (4 + 8);
}
