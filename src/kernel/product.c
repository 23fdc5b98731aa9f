/* Whole products with packed weights over the thread pool: converting activations, and cutting C into parts.
 *
 * How C is cut changes no bits: every element is one chain over k, whatever its part. */
#include "kernel/layout.h"

#include <stdatomic.h>

#define SMALL_WORK 200000.0            /* multiply-adds below which waking the pool costs more than it gives */
#define SMALL_ROWS 32768               /* floats that one thread converts sooner than two */
#define STEP_BYTES ((size_t)16 << 10)  /* of weights: far more work than taking them */
#define ROWS_A_BLOCK 384               /* rows whose activations stay in the second cache; each block meets all panels */
#define MOST_RANGES 64

size_t dt_acts_bytes(dt_act_form form, int M, int K) {
    return dt_act_words(form, K) * (size_t)M * sizeof(uint32_t);
}

typedef struct make_job {
    const dt_kernels *kern;
    const dt_acts *a;
    int tiles;
} make_job;

static void make_tile(void *arg, size_t task, int thread) {
    const make_job *j = arg;
    const dt_acts *a = j->a;
    (void)thread;
    const int m0 = dt_act_row(a->M, j->tiles, (int)task), m1 = dt_act_row(a->M, j->tiles, (int)task + 1);
    j->kern->act_tile(a->form, a->data + (size_t)m0 * dt_act_words(a->form, a->K), a->rows + (size_t)m0 * a->ld, a->ld, m1 - m0,
                      a->K);
}

void dt_acts_make(dt_pool *pool, dt_acts *out, dt_act_form form, const float *a, size_t lda, int M, int K, void *memory) {
    const dt_kernels *kern = dt_kernels_get();
    *out = (dt_acts){.form = form, .M = M, .K = K, .tile_rows = kern->act_rows[form], .rows = a, .ld = lda, .data = memory};
    if (form == DT_ACT_ROWS || M <= 0) return;
    make_job j = {kern, out, dt_act_tiles(M, out->tile_rows)};
    dt_pool_run((double)M * K < SMALL_ROWS ? NULL : pool, (size_t)j.tiles, make_tile, &j);
}

typedef void (*product_fn)(const dt_product_part *part, int t0, int t1, size_t p0, size_t p1);

/* Panels that a thread walks from the first to the last, so that memory sees one stream; who is done helps the others. */
typedef struct range {
    _Alignas(64) atomic_size_t next;
    size_t end;
} range;

typedef struct product_job {
    dt_product_part part;
    product_fn product;
    int t0, t1;  /* tiles of rows */
    size_t step; /* panels taken at a time */
    size_t n_ranges;
    range ranges[MOST_RANGES];
} product_job;

static void product_task(void *arg, size_t task, int thread) {
    product_job *j = arg;
    (void)thread;
    for (size_t i = 0; i < j->n_ranges; i++) {
        range *r = &j->ranges[(task + i) % j->n_ranges];
        for (size_t p; (p = atomic_fetch_add_explicit(&r->next, j->step, memory_order_relaxed)) < r->end;)
            j->product(&j->part, j->t0, j->t1, p, p + j->step < r->end ? p + j->step : r->end);
    }
}

static product_fn product_of(dt_act_form form) {
    const dt_kernels *k = dt_kernels_get();
    return form == DT_ACT_F32 ? k->product_float : form == DT_ACT_BF16 ? k->product_bf16 : k->product_int;
}

static size_t ratio_up(size_t a, size_t b) {
    return (a + b - 1) / b;
}

void dt_product_acts(dt_pool *pool, float *c, size_t ldc, const dt_acts *a, const dt_packed *w, bool accumulate) {
    if (a->M <= 0 || w->N <= 0) return;
    if (w->type == DT_F32) {
        dt_gemm(pool, c, ldc, a->rows, a->ld, 1, w->data, a->M, w->N, w->K, accumulate);
        return;
    }
    product_job j = {.part = {w, a, c, ldc, accumulate}, .product = product_of(a->form)};
    const size_t panels = ratio_up((size_t)w->N, DT_NR), threads = (size_t)dt_pool_threads(pool);
    const int tiles = dt_act_tiles(a->M, a->tile_rows);
    if ((double)a->M * w->N * w->K < SMALL_WORK || threads == 1) {
        j.product(&j.part, 0, tiles, 0, panels);
        return;
    }
    j.step = ratio_up(STEP_BYTES, w->bytes / panels + 1);
    j.n_ranges = threads < MOST_RANGES ? threads : MOST_RANGES;
    const size_t blocks = ratio_up((size_t)a->M, ROWS_A_BLOCK);
    for (size_t b = 0; b < blocks; b++) {
        j.t0 = (int)((size_t)tiles * b / blocks);
        j.t1 = (int)((size_t)tiles * (b + 1) / blocks);
        for (size_t i = 0; i < j.n_ranges; i++) {
            atomic_init(&j.ranges[i].next, panels * i / j.n_ranges);
            j.ranges[i].end = panels * (i + 1) / j.n_ranges;
        }
        dt_pool_run(pool, threads, product_task, &j);
    }
}

size_t dt_product_scratch(dt_dtype type, int M, int K) {
    const dt_packed w = {.type = type, .exact = true};
    return dt_acts_bytes(dt_packed_form(&w), M, K);
}

void dt_product(dt_pool *pool, float *c, size_t ldc, const float *a, size_t lda, const dt_packed *w, int M, bool accumulate,
                void *scratch) {
    dt_acts acts;
    dt_acts_make(pool, &acts, dt_packed_form(w), a, lda, M, w->K, scratch);
    dt_product_acts(pool, c, ldc, &acts, w, accumulate);
}
