/* What this machine can do at best: fused multiply-adds from registers, and reading memory. */
#include "kernel/isa.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BURST 100000
#define READ_BYTES ((size_t)512 << 20) /* a cache of 32 MiB that keeps a part of it still shows */
#define ROUND_BYTES ((size_t)64 << 20) /* of a small block, between two looks at the clock */

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

static double peak_of(dt_pool *pool, dt_fma_burst_fn burst, double seconds) {
    fma_job j = {burst, 0.0, BURST};
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

double dt_peak_flops(dt_pool *pool, double seconds) {
    return peak_of(pool, best_burst(), seconds);
}

double dt_peak_int8(dt_pool *pool, double seconds) {
    return peak_of(pool, dt_kernels_get()->int8_burst, seconds);
}

double dt_peak_bf16(dt_pool *pool, double seconds) {
    return peak_of(pool, dt_kernels_get()->bf16_burst, seconds);
}

typedef struct read_job {
    const uint64_t *p;
    size_t words, rounds; /* of one task; words is a multiple of 8 */
} read_job;

static void read_task(void *arg, size_t task, int thread) {
    const read_job *j = arg;
    const uint64_t *p = j->p + task * j->words;
    uint64_t s[8] = {0};
    (void)thread;
    for (size_t r = 0; r < j->rounds; r++) {
        for (size_t i = 0; i < j->words; i += 8)
            for (int l = 0; l < 8; l++)
                s[l] += p[i + l];
        atomic_signal_fence(memory_order_seq_cst); /* the next round reads again */
    }
    for (int l = 1; l < 8; l++)
        s[0] += s[l];
    atomic_store_explicit(&sink, (unsigned)s[0], memory_order_relaxed);
}

double dt_peak_reading(dt_pool *pool, const void *block, size_t bytes, double seconds) {
    size_t tasks = (size_t)dt_pool_threads(pool); /* one each: a thread's part of the block stays its own */
    read_job j = {.p = block, .words = bytes / tasks / 64 * 8};
    size_t size = tasks * j.words * sizeof *j.p;
    if (!size)
        return 0.0;
    j.rounds = ROUND_BYTES / size + 1;
    double best = 0.0, end = dt_now() + seconds;
    do {
        double t0 = dt_now();
        dt_pool_run(pool, tasks, read_task, &j);
        double rate = (double)size * (double)j.rounds / (dt_now() - t0);
        if (rate > best)
            best = rate;
    } while (dt_now() < end);
    return best;
}

double dt_peak_bandwidth(dt_pool *pool, double seconds) {
    void *block = dt_pages_alloc(READ_BYTES); /* as weights are held */
    if (!block)
        return 0.0;
    memset(block, 1, READ_BYTES); /* real pages, not the shared zero page */
    double rate = dt_peak_reading(pool, block, READ_BYTES, seconds);
    dt_pages_free(block, READ_BYTES);
    return rate;
}
