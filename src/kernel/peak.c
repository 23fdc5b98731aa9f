/* What this machine can do at best: fused multiply-adds from registers, and reading memory. */
#include "kernel/isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BURST 100000
#define READ_BYTES ((size_t)128 << 20) /* far larger than the caches */
#define READ_TASK ((size_t)4 << 20)

typedef struct fma_job {
    dt_fma_burst_fn burst;
    double flops; /* of one task */
    size_t n;
} fma_job;

static volatile atomic_uint sink; /* results go here, so that the compiler cannot drop the work */

static void fma_task(void *arg, size_t task, int thread) {
    fma_job *j = arg;
    float s = 0.0f;
    (void)thread;
    double flops = j->burst(j->n, &s);
    atomic_store_explicit(&sink, s > 0.0f, memory_order_relaxed);
    if (task == 0)
        j->flops = flops;
}

static dt_fma_burst_fn best_burst(void) {
    switch (dt_kernels_get()->isa) {
#if defined(__x86_64__)
    case DT_ISA_AVX512:
        return dt_fma_burst_avx512;
    case DT_ISA_AVX2:
        return dt_fma_burst_avx2;
#endif
    default:
        return dt_fma_burst_scalar;
    }
}

double dt_peak_flops(dt_pool *pool, double seconds) {
    fma_job j = {best_burst(), 0.0, BURST};
    size_t tasks = (size_t)dt_pool_threads(pool) * 4;
    double best = 0.0, end = dt_now() + seconds;
    do {
        double t0 = dt_now();
        dt_pool_run(pool, tasks, fma_task, &j);
        double rate = j.flops * (double)tasks / (dt_now() - t0);
        if (rate > best)
            best = rate;
    } while (dt_now() < end);
    return best;
}

static void read_task(void *arg, size_t task, int thread) {
    const uint64_t *p = (const uint64_t *)arg + task * (READ_TASK / sizeof(uint64_t));
    uint64_t s[8] = {0};
    (void)thread;
    for (size_t i = 0; i < READ_TASK / sizeof *p; i += 8)
        for (int l = 0; l < 8; l++)
            s[l] += p[i + l];
    for (int l = 1; l < 8; l++)
        s[0] += s[l];
    atomic_store_explicit(&sink, (unsigned)s[0], memory_order_relaxed);
}

double dt_peak_bandwidth(dt_pool *pool, double seconds) {
    void *block = dt_alloc_aligned(READ_BYTES, 1);
    if (!block)
        return 0.0;
    memset(block, 1, READ_BYTES); /* real pages, not the shared zero page */
    double best = 0.0, end = dt_now() + seconds;
    do {
        double t0 = dt_now();
        dt_pool_run(pool, READ_BYTES / READ_TASK, read_task, block);
        double rate = (double)READ_BYTES / (dt_now() - t0);
        if (rate > best)
            best = rate;
    } while (dt_now() < end);
    free(block);
    return best;
}
