/* Whole products with packed weights over the thread pool: converting activations, and cutting C into parts.
 *
 * How C is cut changes no bits: every element is one chain over k, whatever its part. */
#include "kernel/layout.h"

#define SMALL_WORK 200000.0            /* multiply-adds below which waking the pool costs more than it gives */
#define SMALL_ROWS 32768               /* floats that one thread converts sooner than two */
#define CHUNK_BYTES ((size_t)64 << 10) /* of weights that one thread reads in a row: less costs bandwidth */
#define TASKS_A_THREAD 4               /* so that a thread which starts late or runs slower does not hold up the rest */
#define ROWS_A_TASK 384                /* rows whose activations stay in the second cache */

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

typedef struct product_job {
    dt_product_part part;
    product_fn product;
    int tiles, tiles_a_task;
    size_t panels, panels_a_task, n_col_tasks;
} product_job;

static void product_task(void *arg, size_t task, int thread) {
    const product_job *j = arg;
    (void)thread;
    const int t0 = (int)(task / j->n_col_tasks) * j->tiles_a_task, t1 = t0 + j->tiles_a_task;
    const size_t p0 = task % j->n_col_tasks * j->panels_a_task, p1 = p0 + j->panels_a_task;
    j->product(&j->part, t0, t1 < j->tiles ? t1 : j->tiles, p0, p1 < j->panels ? p1 : j->panels);
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
    product_job j = {.part = {w, a, c, ldc, accumulate}, .product = product_of(a->form), .panels = ratio_up((size_t)w->N, DT_NR)};
    const size_t threads = (size_t)dt_pool_threads(pool);
    j.tiles = j.tiles_a_task = dt_act_tiles(a->M, a->tile_rows);
    j.panels_a_task = j.panels;
    j.n_col_tasks = 1;
    if ((double)a->M * w->N * w->K < SMALL_WORK || threads == 1) {
        j.product(&j.part, 0, j.tiles, 0, j.panels);
        return;
    }
    /* Blocks of rows whose activations stay in the cache, each over all panels; panels in runs long enough to read fast. */
    const size_t row_tasks = ratio_up((size_t)a->M, ROWS_A_TASK), want = threads * TASKS_A_THREAD;
    j.tiles_a_task = (int)ratio_up((size_t)j.tiles, row_tasks);
    size_t least = a->M <= 64 ? ratio_up(CHUNK_BYTES, w->bytes / j.panels + 1) : 1;
    if (least > ratio_up(j.panels, threads)) least = ratio_up(j.panels, threads);
    j.panels_a_task = ratio_up(j.panels, ratio_up(want, row_tasks));
    if (j.panels_a_task < least) j.panels_a_task = least;
    j.n_col_tasks = ratio_up(j.panels, j.panels_a_task);
    dt_pool_run(pool, ratio_up((size_t)j.tiles, (size_t)j.tiles_a_task) * j.n_col_tasks, product_task, &j);
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
