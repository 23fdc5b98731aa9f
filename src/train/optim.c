/* AdamW over one block of parameters, with the gradient clipped by its norm.
 *
 * The block is cut in chunks whose size depends on nothing but the number of parameters; each chunk's sum of squares
 * goes to a slot of its own and the slots are added in order, so the result has the same bits on any number of threads. */
#include "train/train.h"

#include <math.h>

#define MAX_CHUNKS 256
#define MIN_CHUNK 4096

typedef struct update {
    const dt_kernels *kr;
    dt_optim *o;
    float *params;
    const float *grad;
    size_t chunk;
    double sum[MAX_CHUNKS];
    float scale, lr, b1, b2, eps, wd, bc1, bc2;
} update;

static size_t chunk_size(size_t n) {
    size_t c = (n + MAX_CHUNKS - 1) / MAX_CHUNKS;
    c = (c + 15) / 16 * 16; /* whole lanes: chunks start aligned */
    return c < MIN_CHUNK ? MIN_CHUNK : c;
}

static size_t chunk_len(const update *u, size_t i) {
    size_t left = u->o->n - i * u->chunk;
    return left < u->chunk ? left : u->chunk;
}

static void sumsq_task(void *arg, size_t i, int thread) {
    update *u = arg;
    (void)thread;
    u->sum[i] = u->kr->sumsq(u->grad + i * u->chunk, chunk_len(u, i));
}

static void adamw_task(void *arg, size_t i, int thread) {
    update *u = arg;
    size_t at = i * u->chunk;
    (void)thread;
    u->kr->adamw(u->params + at, u->grad + at, u->o->m + at, u->o->v + at, chunk_len(u, i), u->scale, u->lr, u->b1, u->b2, u->eps,
                 u->wd, u->bc1, u->bc2);
}

void dt_adamw_step(dt_pool *pool, const dt_adamw *h, dt_optim *o, float *params, const float *grad, double *norm, double *clip) {
    update u = {.kr = dt_kernels_get(), .o = o, .params = params, .grad = grad, .chunk = chunk_size(o->n)};
    size_t n_chunks = (o->n + u.chunk - 1) / u.chunk;
    double total = 0, scale = 1;

    dt_pool_run(pool, n_chunks, sumsq_task, &u);
    for (size_t i = 0; i < n_chunks; i++)
        total += u.sum[i];
    total = sqrt(total);
    if (h->max_norm > 0) scale = fmin(1.0, h->max_norm / (total + 1e-6));
    if (norm) *norm = total;
    if (clip) *clip = scale;
    if (!isfinite(total)) return;

    o->step++;
    u.scale = (float)scale;
    u.lr = (float)h->lr;
    u.b1 = (float)h->beta1;
    u.b2 = (float)h->beta2;
    u.eps = (float)h->eps;
    u.wd = (float)h->weight_decay;
    u.bc1 = (float)(1 - pow(h->beta1, (double)o->step));
    u.bc2 = (float)(1 - pow(h->beta2, (double)o->step));
    dt_pool_run(pool, n_chunks, adamw_task, &u);
}
