/* Low-rank adapters (Hu et al., "LoRA", 2021) beside the matrices of a model: making them, and what they add to a product,
 * forward and backward. THE ORDER IS SPECIFIED, for one row x of a matrix W [rows, cols] with A [r, cols] and B [rows, r]:
 *
 *   y[o] = the product of W, whatever its type (kernel/packed.h), residual included where there is one
 *   h[j] = fma chain over k ascending of x[k] * A[j][k], from 0;  h[j] = h[j] * s, s = (float)(alpha / r)
 *   y[o] = fma chain over j ascending of h[j] * B[o][j], from y[o]
 *
 * Both walks come through here, so rollout and training give the same bits; a row depends on no other row. */
#include "model/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const targets[] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

/* ---- making them ---- */

static bool is_target(const char *name, size_t n) {
    for (size_t i = 0; i < DT_COUNT(targets); i++)
        if (strlen(targets[i]) == n && !strncmp(targets[i], name, n)) return true;
    return false;
}

/* The next name in a list with commas, blanks around it left out; its length in *n, 0 at the end. */
static const char *next_name(const char **at, size_t *n) {
    const char *p = *at + strspn(*at, ", ");
    *n = strcspn(p, ", ");
    *at = p + *n;
    return p;
}

duet_status dt_lora_targets_check(const char *list, duet_err *err) {
    size_t n = 0, count = 0;
    if (!strcmp(list, "all-linear")) return DUET_OK;
    for (const char *at = list, *p; (p = next_name(&at, &n)), n; count++)
        if (!is_target(p, n))
            return dt_fail(err, DUET_E_USAGE,
                           "\"%.*s\" is no target; there are all-linear, or q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj", (int)n, p);
    return count ? DUET_OK : dt_fail(err, DUET_E_USAGE, "names no target");
}

/* Whether the list names the parameter "model.layers.0.mlp.up_proj.weight". */
static bool names(const char *list, const char *param) {
    const char *end = strrchr(param, '.'), *begin = end;
    size_t n = 0;
    while (begin && begin > param && begin[-1] != '.')
        begin--;
    if (!end || strcmp(end, ".weight") || !is_target(begin, (size_t)(end - begin))) return false;
    if (!strcmp(list, "all-linear")) return true;
    for (const char *at = list, *p; (p = next_name(&at, &n)), n;)
        if (n == (size_t)(end - begin) && !strncmp(p, begin, n)) return true;
    return false;
}

void dt_lora_tensor_name(const char *param, char which, char out[128]) {
    size_t n = strlen(param), tail = strlen(".weight");
    snprintf(out, 128, "base_model.model.%.*s.lora_%c.weight", (int)(n > tail ? n - tail : 0), param, which);
}

void dt_lora_destroy(dt_lora *a) {
    if (!a) return;
    for (int i = 0; a->adapter && i < a->n_adapters; i++) {
        dt_packed_clear(&a->adapter[i].pa);
        dt_packed_clear(&a->adapter[i].pb);
    }
    free(a->adapter);
    free(a->params);
    free(a->base);
    free(a);
}

/* Places the adapters of one matrix behind those that are there. */
static duet_status place(duet_model *m, dt_lora *a, dt_matrix *x, const bool *wanted, duet_err *err) {
    int row = 0;
    x->adapter = a->n_adapters;
    for (int k = 0; k < x->n_params; k++) {
        const dt_param *p = &m->param[x->param + k];
        if (wanted[x->param + k]) {
            if (a->rank > p->rows || a->rank > p->cols)
                return dt_fail(err, DUET_E_USAGE, "rank %d is above a side of %s [%d, %d]", a->rank, p->name, p->rows, p->cols);
            dt_adapter *d = &a->adapter[a->n_adapters++];
            *d = (dt_adapter){.param = x->param + k, .row = row, .rows = p->rows, .cols = p->cols, .a = a->n};
            a->n += (size_t)a->rank * (size_t)p->cols;
            d->b = a->n;
            a->n += (size_t)a->rank * (size_t)p->rows;
            duet_status st = dt_packed_init(&d->pa, DT_F32, a->rank, p->cols, err);
            if (!st) st = dt_packed_init(&d->pb, DT_F32, p->rows, a->rank, err);
            if (st) return st;
        }
        row += p->rows;
    }
    x->n_adapters = a->n_adapters - x->adapter;
    return DUET_OK;
}

duet_status dt_lora_make(duet_model *m, int rank, double alpha, const bool *wanted, const char *base, duet_err *err) {
    dt_matrix *x;
    duet_status st = DUET_OK;
    dt_lora *a = dt_calloc(1, sizeof *a);
    if (!a) return dt_fail(err, DUET_E_NOMEM, "no memory for adapters");
    a->rank = rank;
    a->alpha = alpha;
    a->base = dt_strdup(base);
    a->adapter = dt_calloc((size_t)m->n_param, sizeof *a->adapter);
    if (!a->adapter || (base && !a->base)) st = dt_fail(err, DUET_E_NOMEM, "no memory for adapters");
    for (size_t i = 1; !st && (x = dt_model_matrix(m, i)); i++) /* 0 is the head, which has none */
        st = place(m, a, x, wanted, err);
    if (!st && !(a->params = dt_alloc_aligned(a->n, sizeof(float)))) st = dt_fail(err, DUET_E_NOMEM, "no memory for adapters of %zu numbers", a->n);
    if (st) {
        for (size_t i = 1; (x = dt_model_matrix(m, i)); i++)
            x->n_adapters = 0;
        dt_lora_destroy(a);
        return st;
    }
    for (size_t i = 0; (x = dt_model_matrix(m, i)); i++)
        x->trained = false;
    m->embed_trained = false;
    m->lora = a;
    return DUET_OK;
}

static void init_a(dt_lora *a, const duet_model *m, uint64_t seed) {
    char name[128];
    for (int i = 0; i < a->n_adapters; i++) {
        const dt_adapter *d = &a->adapter[i];
        dt_lora_tensor_name(m->param[d->param].name, 'A', name);
        dt_rng r = dt_rng_make(seed, dt_hash64(name, strlen(name), 0));
        double bound = 1.0 / sqrt((double)d->cols); /* Kaiming-uniform with a = sqrt(5) */
        for (size_t j = 0; j < (size_t)a->rank * (size_t)d->cols; j++)
            a->params[d->a + j] = (float)(bound * (2 * dt_rng_uniform(&r) - 1));
    }
}

duet_status dt_lora_attach(duet_model *m, const dt_lora_options *opt, duet_err *err) {
    if (m->lora) return dt_fail(err, DUET_E_USAGE, "the model has adapters already");
    if (opt->rank < 1) return dt_fail(err, DUET_E_USAGE, "rank %d is below 1", opt->rank);
    duet_status st = dt_lora_targets_check(opt->targets, err);
    if (st) return st;
    bool *wanted = dt_calloc((size_t)m->n_param, sizeof *wanted);
    if (!wanted) return dt_fail(err, DUET_E_NOMEM, "no memory for adapters");
    for (int i = 0; i < m->n_param; i++)
        wanted[i] = names(opt->targets, m->param[i].name);
    st = dt_lora_make(m, opt->rank, opt->alpha, wanted, opt->base, err);
    free(wanted);
    if (st) return st;
    init_a(m->lora, m, opt->seed);
    return dt_model_publish(m, NULL, err);
}

void dt_lora_publish(dt_lora *a, dt_pool *pool) {
    for (int i = 0; i < a->n_adapters; i++) {
        dt_packed_fill(pool, &a->adapter[i].pa, a->params + a->adapter[i].a);
        dt_packed_fill(pool, &a->adapter[i].pb, a->params + a->adapter[i].b);
    }
}

size_t dt_lora_bytes(const dt_lora *a) {
    size_t n = a ? a->n * sizeof(float) : 0;
    for (int i = 0; a && i < a->n_adapters; i++)
        n += a->adapter[i].pa.bytes + a->adapter[i].pb.bytes;
    return n;
}

/* ---- what they add ---- */

size_t dt_lora_scratch(const dt_lora *a, int rows) {
    return 2 * (size_t)rows * (size_t)a->rank * sizeof(float);
}

static void scale(float *x, size_t n, float s) {
    for (size_t i = 0; i < n; i++)
        x[i] *= s;
}

static float scale_of(const dt_lora *a) {
    return (float)(a->alpha / a->rank);
}

/* h[T, r] = s in A^T. */
static void lower(dt_walk *w, const dt_adapter *d, const float *in, float *h) {
    const dt_lora *a = w->m->lora;
    dt_product(w->pool, h, (size_t)a->rank, in, (size_t)d->cols, &d->pa, w->T, false, NULL); /* F32 needs no scratch */
    scale(h, (size_t)w->T * (size_t)a->rank, scale_of(a));
}

void dt_lora_forward(dt_walk *w, const dt_matrix *x, float *y, const float *in) {
    const dt_lora *a = w->m->lora;
    float *h = w->scratch;
    for (int i = 0; i < x->n_adapters; i++) {
        const dt_adapter *d = &a->adapter[x->adapter + i];
        lower(w, d, in, h);
        dt_product(w->pool, y + d->row, (size_t)x->rows, h, (size_t)a->rank, &d->pb, w->T, true, NULL);
    }
}

/* dB += dy^T (s h);  dh = s dy B;  dA += dh^T x;  dx += dh A. */
void dt_lora_backward(dt_walk *w, const dt_matrix *x, float *dx, const float *dy, const float *in, dt_grads *g) {
    const dt_lora *a = w->m->lora;
    size_t O = (size_t)x->rows, I = (size_t)x->cols, r = (size_t)a->rank;
    float *h = w->scratch, *dh = h + (size_t)w->T * r;
    for (int i = 0; i < x->n_adapters; i++) {
        const dt_adapter *d = &a->adapter[x->adapter + i];
        lower(w, d, in, h);
        dt_pack(w->pool, g->pack_x, h, r, 1, w->T, a->rank);
        dt_gemm(w->pool, g->lora + d->b, r, dy + d->row, 1, O, g->pack_x, d->rows, a->rank, w->T, true);
    }
    dt_pack(w->pool, g->pack_x, in, I, 1, w->T, x->cols);
    for (int i = 0; i < x->n_adapters; i++) {
        const dt_adapter *d = &a->adapter[x->adapter + i];
        dt_pack(w->pool, g->pack_w, a->params + d->b, r, 1, d->rows, a->rank);
        dt_gemm(w->pool, dh, r, dy + d->row, O, 1, g->pack_w, w->T, a->rank, d->rows, false);
        scale(dh, (size_t)w->T * r, scale_of(a));
        dt_gemm(w->pool, g->lora + d->a, I, dh, 1, r, g->pack_x, a->rank, x->cols, w->T, true);
        if (!dx) continue;
        dt_pack(w->pool, g->pack_w, a->params + d->a, I, 1, a->rank, x->cols);
        dt_gemm(w->pool, dx, I, dh, r, 1, g->pack_w, w->T, x->cols, a->rank, true);
    }
}
