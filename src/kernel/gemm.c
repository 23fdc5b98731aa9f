/* Whole matrix products over the thread pool: packing of B, and cutting C into tiles.
 *
 * How C is cut changes no bits: every element is one chain over k, whatever its tile. */
#include "kernel/isa.h"

#include <string.h>

#define PACK_K 64           /* rows of B packed at a time, so that strided reads stay in the cache */
#define SMALL_WORK 200000.0 /* multiply-adds below which waking the pool costs more than it gives */
#define TILE_M 144          /* rows of one task: what the vector kernels keep of A in the cache */
#define TASKS_A_THREAD 6    /* so that a thread which starts late or runs slower does not hold up the rest */
#define GOOD_PANELS 4       /* panels of one task that make its copy of A cheap */

static size_t n_panels(int N) {
    return ((size_t)N + DT_NR - 1) / DT_NR;
}

size_t dt_packed_floats(int K, int N) {
    return n_panels(N) * DT_NR * (size_t)K;
}

typedef struct pack_job {
    float *bp;
    const float *b;
    size_t rsb, csb;
    int K, N;
} pack_job;

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* All panels of PACK_K rows of B that are contiguous: reads them in memory order. */
static void pack_rows(void *arg, size_t chunk, int thread) {
    const pack_job *j = arg;
    (void)thread;
    size_t K = (size_t)j->K, N = (size_t)j->N, k0 = chunk * PACK_K, k1 = least(k0 + PACK_K, K);
    for (size_t k = k0; k < k1; k++) {
        const float *in = j->b + k * j->rsb;
        float *out = j->bp + k * DT_NR;
        size_t n = 0;
        for (; n + DT_NR <= N; n += DT_NR)
            memcpy(out + n * K, in + n, DT_NR * sizeof *out);
        if (n == N)
            continue;
        memset(out + n * K, 0, DT_NR * sizeof *out);
        memcpy(out + n * K, in + n, (N - n) * sizeof *out);
    }
}

/* One panel of a B with any strides. */
static void pack_panel(void *arg, size_t panel, int thread) {
    const pack_job *j = arg;
    (void)thread;
    size_t K = (size_t)j->K, n0 = panel * DT_NR, width = least((size_t)j->N - n0, DT_NR);
    float *out = j->bp + n0 * K;
    const float *in = j->b + n0 * j->csb;
    for (size_t k0 = 0; k0 < K; k0 += PACK_K) {
        size_t k1 = least(k0 + PACK_K, K);
        for (size_t n = 0; n < DT_NR; n++)
            for (size_t k = k0; k < k1; k++)
                out[k * DT_NR + n] = n < width ? in[k * j->rsb + n * j->csb] : 0.0f;
    }
}

void dt_pack(dt_pool *pool, float *bp, const float *b, size_t rsb, size_t csb, int K, int N) {
    if (K <= 0 || N <= 0)
        return;
    pack_job j = {bp, b, rsb, csb, K, N};
    if ((double)K * N < SMALL_WORK / 4)
        pool = NULL;
    if (csb == 1)
        dt_pool_run(pool, ((size_t)K + PACK_K - 1) / PACK_K, pack_rows, &j);
    else
        dt_pool_run(pool, n_panels(N), pack_panel, &j);
}

typedef struct gemm_job {
    float *c;
    const float *a, *bp;
    size_t ldc, rsa, csa;
    int M, N, K;
    bool accumulate;
    const dt_kernels *kern;
    size_t rows, panels, n_col_tasks; /* of one task */
} gemm_job;

static void gemm_task(void *arg, size_t task, int thread) {
    const gemm_job *j = arg;
    (void)thread;
    size_t m0 = task / j->n_col_tasks * j->rows, p0 = task % j->n_col_tasks * j->panels;
    size_t m1 = m0 + j->rows, p1 = p0 + j->panels, P = n_panels(j->N);
    if (m1 > (size_t)j->M)
        m1 = (size_t)j->M;
    if (p1 > P)
        p1 = P;
    j->kern->gemm_tile(j->c, j->ldc, j->a, j->rsa, j->csa, j->bp, j->N, j->K, (int)m0, (int)m1, (int)p0, (int)p1,
                       j->accumulate);
}

void dt_gemm(dt_pool *pool, float *c, size_t ldc, const float *a, size_t rsa, size_t csa, const float *bp, int M, int N,
             int K, bool accumulate) {
    if (M <= 0 || N <= 0)
        return;
    gemm_job j = {c, a, bp, ldc, rsa, csa, M, N, K, accumulate, dt_kernels_get(), (size_t)M, n_panels(N), 1};
    size_t threads = (size_t)dt_pool_threads(pool), P = n_panels(N);

    if ((double)M * N * K < SMALL_WORK || threads == 1) {
        gemm_task(&j, 0, 0);
        return;
    }
    /* Rows first: a block of rows is copied once for all its panels. Then panels, until there are enough tasks;
     * under GOOD_PANELS a task only where threads would have nothing to do. */
    size_t want = threads * TASKS_A_THREAD, row_tasks = least(((size_t)M + TILE_M - 1) / TILE_M, want);
    j.rows = ((size_t)M + row_tasks - 1) / row_tasks;
    j.rows = (j.rows + DT_TILE_ROWS - 1) / DT_TILE_ROWS * DT_TILE_ROWS;
    row_tasks = ((size_t)M + j.rows - 1) / j.rows;
    size_t col_tasks = least((want + row_tasks - 1) / row_tasks, P);
    size_t cheap = (P + GOOD_PANELS - 1) / GOOD_PANELS, enough = (2 * threads + row_tasks - 1) / row_tasks;
    if (col_tasks > cheap)
        col_tasks = least(col_tasks, cheap > enough ? cheap : enough);
    j.panels = (P + col_tasks - 1) / col_tasks;
    j.n_col_tasks = (P + j.panels - 1) / j.panels;
    dt_pool_run(pool, row_tasks * j.n_col_tasks, gemm_task, &j);
}
