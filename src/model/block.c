/* THE definition of a layer, as a list of steps: each has a forward, a backward, and what it saves in dt_layer_rows.
 * Inference and training are two walks over this list; they differ only in where keys and values live.
 *
 *   h1 = norm(x)          qkv = h1 Wqkv^T (+ b)      rot = rope(headnorm(q)), rope(headnorm(k)), v
 *   a  = attention(rot)   x2  = x + a Wo^T           h2 = norm(x2)
 *   gu = h2 Wgu^T         f   = act(g) * u           out = x2 + f Wd^T
 *
 * A step says which models have it: head norms and biases aside, act is silu or gelu, and gemma3 norms what it adds,
 * x2 = x + norm(a Wo^T) and out = x2 + norm(f Wd^T). */
#include "model/internal.h"

#include <math.h>
#include <string.h>

float dt_attn_scale(const dt_hf_config *c) {
    return (float)(1.0 / sqrt(c->attn_scalar > 0 ? c->attn_scalar : (double)c->d_head));
}

float dt_embed_scale(const dt_hf_config *c) {
    return c->scaled_embed ? (float)sqrt((double)c->d_model) : 1.0f;
}

void dt_embed_row(const duet_model *m, float *x, int32_t id) {
    float scale = dt_embed_scale(&m->cfg);
    dt_embed_lookup(m, id, x);
    for (size_t i = 0; i < (size_t)m->cfg.d_model; i++)
        x[i] *= scale;
}

/* What norms add to their weight. */
static float norm_plus(const dt_walk *w) {
    return w->m->cfg.norm_plus_one ? 1.0f : 0.0f;
}

/* ---- rows in chunks over the pool ---- */

typedef void (*rows_fn)(void *ctx, int t0, int t1);

typedef struct rows_job {
    rows_fn fn;
    void *ctx;
    int T;
} rows_job;

static void rows_task(void *arg, size_t task, int thread) {
    rows_job *j = arg;
    (void)thread;
    int t0 = (int)task * DT_ROW_CHUNK, t1 = t0 + DT_ROW_CHUNK < j->T ? t0 + DT_ROW_CHUNK : j->T;
    j->fn(j->ctx, t0, t1);
}

static void over_rows(dt_walk *w, rows_fn fn, void *ctx) {
    rows_job j = {.fn = fn, .ctx = ctx, .T = w->T};
    dt_pool_run(w->pool, ((size_t)w->T + DT_ROW_CHUNK - 1) / DT_ROW_CHUNK, rows_task, &j);
}

typedef struct norm_ctx {
    dt_walk *w;
    float *y, *inv;
    const float *x, *weight, *dy;
    float *dx, *partial;
    bool acc;
} norm_ctx;

static void norm_rows(void *ctx, int t0, int t1) {
    norm_ctx *c = ctx;
    size_t D = (size_t)c->w->m->cfg.d_model, at = (size_t)t0 * D;
    c->w->kr->rmsnorm(c->y + at, D, c->x + at, D, c->weight, norm_plus(c->w), c->inv ? c->inv + t0 : NULL,
                      t1 - t0, (int)D, (float)c->w->m->cfg.rms_eps);
}

void dt_rows_norm(dt_walk *w, float *y, const float *x, const float *weight, float *inv) {
    norm_ctx c = {.w = w, .y = y, .x = x, .weight = weight, .inv = inv};
    over_rows(w, norm_rows, &c);
}

static void norm_bwd_rows(void *ctx, int t0, int t1) {
    norm_ctx *c = ctx;
    size_t D = (size_t)c->w->m->cfg.d_model, at = (size_t)t0 * D;
    float *dw = c->partial + (size_t)(t0 / DT_ROW_CHUNK) * D;
    memset(dw, 0, D * sizeof *dw);
    c->w->kr->rmsnorm_bwd(c->dx + at, D, dw, c->dy + at, D, c->x + at, D, c->weight, norm_plus(c->w), c->inv + t0, t1 - t0, (int)D,
                          c->acc);
}

/* dst[n] += sum of the chunks' rows, in order: the bits do not depend on threads. */
static void sum_chunks(dt_walk *w, float *dst, const float *partial, size_t n) {
    size_t chunks = ((size_t)w->T + DT_ROW_CHUNK - 1) / DT_ROW_CHUNK;
    for (size_t c = 0; c < chunks; c++)
        w->kr->add(dst, partial + c * n, n);
}

void dt_rows_norm_bwd(dt_walk *w, float *dx, float *dw, const float *dy, const float *x, const float *weight, const float *inv,
                      bool acc, float *partial) {
    union {
        const float *c;
        float *v;
    } u = {.c = inv};
    norm_ctx c = {.w = w, .x = x, .weight = weight, .inv = u.v, .dy = dy, .dx = dx, .partial = partial, .acc = acc};
    over_rows(w, norm_bwd_rows, &c);
    if (dw) sum_chunks(w, dw, partial, (size_t)w->m->cfg.d_model);
}

static void multiply(dt_walk *w, const dt_matrix *x, float *y, const float *in, bool acc) {
    dt_matrix_multiply(w->pool, x, y, in, w->T, acc, w->scratch);
    if (x->n_adapters && !w->plain) dt_lora_forward(w, x, y, in);
}

/* Where the gradient of the vector at `offset` goes; NULL: it is not trained. */
static float *grad_at(const dt_grads *g, size_t offset) {
    return g->param ? g->param + offset : NULL;
}

/* ---- the steps ---- */

typedef struct step_ctx {
    dt_walk *w;
    const dt_layer *y;
    dt_layer_rows *a;
    dt_grads *g;
    float *out;
    int layer;
} step_ctx;

static void norm1_fwd(step_ctx *s) {
    dt_rows_norm(s->w, s->a->h1, s->a->x, s->w->m->params + s->y->norm1, s->a->inv1);
}

static void norm1_bwd(step_ctx *s) {
    dt_rows_norm_bwd(s->w, s->g->dx, grad_at(s->g, s->y->norm1), s->g->dh, s->a->x, s->w->m->params + s->y->norm1, s->a->inv1, true,
                     s->g->partial);
}

static void bias_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    size_t n = (size_t)s->y->qkv.rows;
    for (int t = t0; t < t1; t++)
        s->w->kr->add(s->a->qkv + (size_t)t * n, s->w->m->params + s->y->qkv_bias, n);
}

static void qkv_fwd(step_ctx *s) {
    multiply(s->w, &s->y->qkv, s->a->qkv, s->a->h1, false);
    if (s->y->qkv_bias != DT_NONE) over_rows(s->w, bias_rows, s);
}

static void bias_bwd_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    size_t n = (size_t)s->y->qkv.rows;
    float *sum = s->g->partial + (size_t)(t0 / DT_ROW_CHUNK) * n;
    memset(sum, 0, n * sizeof *sum);
    for (int t = t0; t < t1; t++)
        s->w->kr->add(sum, s->g->dqkv + (size_t)t * n, n);
}

static void qkv_bwd(step_ctx *s) {
    if (s->y->qkv_bias != DT_NONE && s->g->param) {
        over_rows(s->w, bias_bwd_rows, s);
        sum_chunks(s->w, s->g->param + s->y->qkv_bias, s->g->partial, (size_t)s->y->qkv.rows);
    }
    dt_matrix_bwd(s->w, &s->y->qkv, s->g->dh, s->g->dqkv, s->a->h1, s->g, false);
}

/* Head norms (qwen3, gemma3) and rotation of q and k; v is copied so that one buffer holds what attention reads (nothing is copied
 * where rot is qkv). */
static void rotate_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    const dt_hf_config *c = &s->w->m->cfg;
    const float *p = s->w->m->params;
    int H = c->n_heads, K = c->n_kv, E = c->d_head;
    size_t W = (size_t)s->y->qkv.rows, k_at = (size_t)H * (size_t)E;
    float plus = norm_plus(s->w);
    for (int t = t0; t < t1; t++) {
        const float *src = s->a->qkv + (size_t)t * W;
        float *dst = s->a->rot + (size_t)t * W;
        if (dst != src) memcpy(dst, src, W * sizeof *dst);
        if (s->y->q_norm != DT_NONE) {
            float *iq = s->a->inv_q ? s->a->inv_q + (size_t)t * (size_t)H : NULL;
            float *ik = s->a->inv_k ? s->a->inv_k + (size_t)t * (size_t)K : NULL;
            s->w->kr->rmsnorm(dst, (size_t)E, src, (size_t)E, p + s->y->q_norm, plus, iq, H, E, (float)c->rms_eps);
            s->w->kr->rmsnorm(dst + k_at, (size_t)E, src + k_at, (size_t)E, p + s->y->k_norm, plus, ik, K, E,
                              (float)c->rms_eps);
        }
    }
    s->w->kr->rope(s->a->rot + (size_t)t0 * W, W, t1 - t0, H + K, E, s->w->pos + t0, s->y->rope->cos_t,
                   s->y->rope->sin_t, 1.0f);
}

static void rotate_fwd(step_ctx *s) {
    over_rows(s->w, rotate_rows, s);
}

static void rotate_bwd_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    const dt_hf_config *c = &s->w->m->cfg;
    const float *p = s->w->m->params;
    int H = c->n_heads, K = c->n_kv, E = c->d_head;
    size_t W = (size_t)s->y->qkv.rows, k_at = (size_t)H * (size_t)E;
    s->w->kr->rope(s->g->dqkv + (size_t)t0 * W, W, t1 - t0, H + K, E, s->w->pos + t0, s->y->rope->cos_t,
                   s->y->rope->sin_t, -1.0f);
    if (s->y->q_norm == DT_NONE) return;
    float *dq_w = s->g->partial + (size_t)(t0 / DT_ROW_CHUNK) * 2 * (size_t)E, *dk_w = dq_w + E;
    memset(dq_w, 0, 2 * (size_t)E * sizeof *dq_w);
    float plus = norm_plus(s->w);
    for (int t = t0; t < t1; t++) {
        float *d = s->g->dqkv + (size_t)t * W;
        const float *x = s->a->qkv + (size_t)t * W;
        s->w->kr->rmsnorm_bwd(d, (size_t)E, dq_w, d, (size_t)E, x, (size_t)E, p + s->y->q_norm, plus,
                              s->a->inv_q + (size_t)t * (size_t)H, H, E, false);
        s->w->kr->rmsnorm_bwd(d + k_at, (size_t)E, dk_w, d + k_at, (size_t)E, x + k_at, (size_t)E, p + s->y->k_norm, plus,
                              s->a->inv_k + (size_t)t * (size_t)K, K, E, false);
    }
}

static void rotate_bwd(step_ctx *s) {
    size_t E = (size_t)s->w->m->cfg.d_head, chunks = ((size_t)s->w->T + DT_ROW_CHUNK - 1) / DT_ROW_CHUNK;
    over_rows(s->w, rotate_bwd_rows, s);
    if (s->y->q_norm == DT_NONE || !s->g->param) return;
    for (size_t c = 0; c < chunks; c++) {
        s->w->kr->add(s->g->param + s->y->q_norm, s->g->partial + c * 2 * E, E);
        s->w->kr->add(s->g->param + s->y->k_norm, s->g->partial + c * 2 * E + E, E);
    }
}

static void attend_fwd(step_ctx *s) {
    s->w->attend(s->w, s->layer, s->a);
}

static void attend_bwd(step_ctx *s) {
    s->w->attend_bwd(s->w, s->layer, s->a, s->g);
}

static void copy_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    size_t D = (size_t)s->w->m->cfg.d_model;
    memcpy(s->a->x2 + (size_t)t0 * D, s->a->x + (size_t)t0 * D, (size_t)(t1 - t0) * D * sizeof(float));
}

static void o_fwd(step_ctx *s) {
    if (s->a->x2 != s->a->x) over_rows(s->w, copy_rows, s);
    multiply(s->w, &s->y->o, s->a->x2, s->a->a, true); /* residual: accumulates onto x */
}

static void o_bwd(step_ctx *s) {
    dt_matrix_bwd(s->w, &s->y->o, s->g->da, s->g->dx, s->a->a, s->g, false);
}

/* Where a norm follows: not yet added to x. */
static void o_apart_fwd(step_ctx *s) {
    multiply(s->w, &s->y->o, s->a->o, s->a->a, false);
}

static void o_apart_bwd(step_ctx *s) {
    dt_matrix_bwd(s->w, &s->y->o, s->g->da, s->g->dh, s->a->a, s->g, false);
}

typedef struct post_ctx {
    dt_walk *w;
    float *y, *tmp, *inv;
    const float *x, *in, *weight;
} post_ctx;

static void post_rows(void *ctx, int t0, int t1) {
    post_ctx *c = ctx;
    size_t D = (size_t)c->w->m->cfg.d_model, at = (size_t)t0 * D, n = (size_t)(t1 - t0) * D;
    c->w->kr->rmsnorm(c->tmp + at, D, c->in + at, D, c->weight, norm_plus(c->w), c->inv ? c->inv + t0 : NULL, t1 - t0, (int)D,
                      (float)c->w->m->cfg.rms_eps);
    if (c->y != c->x) memcpy(c->y + at, c->x + at, n * sizeof(float));
    c->w->kr->add(c->y + at, c->tmp + at, n);
}

/* y = x + norm(in); y may be x. */
static void post_norm(step_ctx *s, float *y, const float *x, const float *in, size_t weight, float *inv) {
    post_ctx c = {.w = s->w, .y = y, .tmp = s->a->tmp, .inv = inv, .x = x, .in = in, .weight = s->w->m->params + weight};
    over_rows(s->w, post_rows, &c);
}

static void post1_fwd(step_ctx *s) {
    post_norm(s, s->a->x2, s->a->x, s->a->o, s->y->post1, s->a->inv_o);
}

static void post1_bwd(step_ctx *s) {
    dt_rows_norm_bwd(s->w, s->g->dh, grad_at(s->g, s->y->post1), s->g->dx, s->a->o, s->w->m->params + s->y->post1, s->a->inv_o, false,
                     s->g->partial);
}

static void norm2_fwd(step_ctx *s) {
    dt_rows_norm(s->w, s->a->h2, s->a->x2, s->w->m->params + s->y->norm2, s->a->inv2);
}

static void norm2_bwd(step_ctx *s) {
    dt_rows_norm_bwd(s->w, s->g->dx, grad_at(s->g, s->y->norm2), s->g->dh, s->a->x2, s->w->m->params + s->y->norm2, s->a->inv2, true,
                     s->g->partial);
}

static void gate_up_fwd(step_ctx *s) {
    multiply(s->w, &s->y->gate_up, s->a->gu, s->a->h2, false);
}

static void gate_up_bwd(step_ctx *s) {
    dt_matrix_bwd(s->w, &s->y->gate_up, s->g->dh, s->g->dgu, s->a->h2, s->g, false);
}

/* f = act(gate) * up */
static void gate_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    const dt_kernels *kr = s->w->kr;
    size_t F = (size_t)s->w->m->cfg.d_ffn;
    for (int t = t0; t < t1; t++) {
        const float *gu = s->a->gu + (size_t)t * 2 * F;
        (s->w->m->cfg.act == DT_ACT_SILU ? kr->swiglu : kr->geglu)(s->a->f + (size_t)t * F, gu, gu + F, F);
    }
}

static void gate_fwd(step_ctx *s) {
    over_rows(s->w, gate_rows, s);
}

static void gate_bwd_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    const dt_kernels *kr = s->w->kr;
    size_t F = (size_t)s->w->m->cfg.d_ffn;
    for (int t = t0; t < t1; t++) {
        const float *gu = s->a->gu + (size_t)t * 2 * F;
        float *d = s->g->dgu + (size_t)t * 2 * F;
        (s->w->m->cfg.act == DT_ACT_SILU ? kr->swiglu_bwd : kr->geglu_bwd)(d, d + F, s->g->df + (size_t)t * F, gu, gu + F, F);
    }
}

static void gate_bwd(step_ctx *s) {
    over_rows(s->w, gate_bwd_rows, s);
}

static void copy_out_rows(void *ctx, int t0, int t1) {
    step_ctx *s = ctx;
    size_t D = (size_t)s->w->m->cfg.d_model;
    memcpy(s->out + (size_t)t0 * D, s->a->x2 + (size_t)t0 * D, (size_t)(t1 - t0) * D * sizeof(float));
}

static void down_fwd(step_ctx *s) {
    if (s->out != s->a->x2) over_rows(s->w, copy_out_rows, s);
    multiply(s->w, &s->y->down, s->out, s->a->f, true); /* residual */
}

static void down_bwd(step_ctx *s) {
    dt_matrix_bwd(s->w, &s->y->down, s->g->df, s->g->dx, s->a->f, s->g, false);
}

static void down_apart_fwd(step_ctx *s) {
    multiply(s->w, &s->y->down, s->a->d, s->a->f, false);
}

static void down_apart_bwd(step_ctx *s) {
    dt_matrix_bwd(s->w, &s->y->down, s->g->df, s->g->dh, s->a->f, s->g, false);
}

static void post2_fwd(step_ctx *s) {
    post_norm(s, s->out, s->a->x2, s->a->d, s->y->post2, s->a->inv_d);
}

static void post2_bwd(step_ctx *s) {
    dt_rows_norm_bwd(s->w, s->g->dh, grad_at(s->g, s->y->post2), s->g->dx, s->a->d, s->w->m->params + s->y->post2, s->a->inv_d, false,
                     s->g->partial);
}

/* ---- the list ---- */

static bool adds_plain(const dt_hf_config *c) {
    return !c->post_norms;
}

static bool adds_normed(const dt_hf_config *c) {
    return c->post_norms;
}

static const struct {
    void (*forward)(step_ctx *);
    void (*backward)(step_ctx *);
    bool (*of)(const dt_hf_config *); /* models that have this step; NULL = all */
} steps[] = {
    {norm1_fwd,      norm1_bwd,      NULL       }, /* saves x, inv1 */
    {qkv_fwd,        qkv_bwd,        NULL       }, /* saves h1 */
    {rotate_fwd,     rotate_bwd,     NULL       }, /* saves qkv, inv_q, inv_k */
    {attend_fwd,     attend_bwd,     NULL       }, /* saves rot, a, mx, z */
    {o_fwd,          o_bwd,          adds_plain }, /* saves a */
    {o_apart_fwd,    o_apart_bwd,    adds_normed}, /* saves a */
    {post1_fwd,      post1_bwd,      adds_normed}, /* saves o, inv_o */
    {norm2_fwd,      norm2_bwd,      NULL       }, /* saves x2, inv2 */
    {gate_up_fwd,    gate_up_bwd,    NULL       }, /* saves h2 */
    {gate_fwd,       gate_bwd,       NULL       }, /* saves gu */
    {down_fwd,       down_bwd,       adds_plain }, /* saves f */
    {down_apart_fwd, down_apart_bwd, adds_normed}, /* saves f */
    {post2_fwd,      post2_bwd,      adds_normed}, /* saves d, inv_d */
};

static bool has_step(const dt_walk *w, size_t i) {
    return !steps[i].of || steps[i].of(&w->m->cfg);
}

void dt_block_forward(dt_walk *w, int layer, dt_layer_rows *a, float *out) {
    step_ctx s = {.w = w, .y = &w->m->layer[layer], .a = a, .out = out, .layer = layer};
    for (size_t i = 0; i < DT_COUNT(steps) && w->T > 0; i++) /* attention may leave no rows to go on with */
        if (has_step(w, i)) steps[i].forward(&s);
}

void dt_block_backward(dt_walk *w, int layer, dt_layer_rows *a, dt_grads *g) {
    step_ctx s = {.w = w, .y = &w->m->layer[layer], .a = a, .g = g, .layer = layer};
    for (size_t i = DT_COUNT(steps); i-- > 0;)
        if (has_step(w, i)) steps[i].backward(&s);
}
