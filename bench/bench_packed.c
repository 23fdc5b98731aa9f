/* bench_packed: speed of products with packed weights, by type, beside what this machine can do.
 *
 * Usage: bench_packed [threads [seconds-per-line [type ...]]]
 * One line a type and shape: how fast weights are packed; one row (decoding) in GB/s of file bytes and as a share of the
 * rate of reading the same memory just before or after; 4, 16, 32 and 512 rows in Gop/s and as a share of the peak of their arithmetic. The
 * weights of a shape are repeated until no cache holds them. */
#include "kernel/packed.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_COPIES = 512 };
#define ALL_BYTES ((size_t)512 << 20) /* less, and a cache of 32 MiB keeps a part of it */

static double budget = 0.2;

static void *need(void *p) {
    if (p) return p;
    fputs("bench_packed: no memory\n", stderr);
    exit(1);
}

static uint32_t state = 1;
static uint32_t next(void) {
    return state = state * 1664525u + 1013904223u;
}

typedef struct weights {
    dt_packed copy[MOST_COPIES];
    int n;
    void *pages;
    size_t bytes, file_bytes; /* of all; of one in the file */
    double fill_s;
} weights;

/* Any bytes will do as weights: what is measured does not look at them. (Halves are kept finite.) */
static void make(dt_pool *pool, weights *w, dt_dtype t, int N, int K) {
    w->file_bytes = (size_t)N * ((size_t)K / dt_dtype_block(t) * dt_dtype_size(t));
    uint8_t *file = need(malloc(w->file_bytes));
    for (size_t i = 0; i < w->file_bytes; i++)
        file[i] = (uint8_t)(next() >> 24) & 0x3f;
    const size_t one = dt_packed_bytes(t, N, K);
    w->n = one * MOST_COPIES < ALL_BYTES ? MOST_COPIES : (int)(ALL_BYTES / one) + 1;
    w->bytes = one * (size_t)w->n;
    w->pages = need(dt_pages_alloc(w->bytes));
    double best = 1e30;
    for (int i = 0; i < w->n; i++) {
        dt_packed_place(&w->copy[i], t, N, K, (uint8_t *)w->pages + (size_t)i * one, NULL);
        double t0 = dt_now();
        dt_packed_fill(pool, &w->copy[i], file);
        double s = dt_now() - t0;
        if (s < best) best = s;
    }
    w->fill_s = best;
    free(file);
}

static double best_seconds(dt_pool *pool, const weights *w, int M) {
    const int N = w->copy[0].N, K = w->copy[0].K;
    float *a = need(dt_alloc_aligned((size_t)M * (size_t)K, sizeof *a)), *c = need(dt_alloc_aligned((size_t)M * (size_t)N, sizeof *c));
    void *scratch = need(dt_alloc_aligned(dt_acts_bytes(dt_packed_form(&w->copy[0]), M, K) + 64, 1));
    for (size_t i = 0; i < (size_t)M * (size_t)K; i++)
        a[i] = (float)(next() >> 8) * 0x1p-24f - 0.5f;
    double best = 1e30, end = dt_now() + budget;
    const int some = M == 1 ? w->n : w->n < 4 ? w->n : 4;
    int at = 0;
    do { /* the best of several walks over enough copies */
        double t0 = dt_now();
        for (int i = 0; i < some; i++, at = (at + 1) % w->n)
            dt_product(pool, c, (size_t)N, a, (size_t)K, &w->copy[at], M, false, scratch);
        double s = (dt_now() - t0) / some;
        if (s < best) best = s;
    } while (dt_now() < end);
    free(a);
    free(c);
    free(scratch);
    return best;
}

static double peak_for(dt_pool *pool, const dt_packed *w) {
    switch (dt_packed_form(w)) {
    case DT_ACT_ROWS:
    case DT_ACT_F32: return dt_peak_flops(pool, 0.05);
    case DT_ACT_BF16: return dt_peak_bf16(pool, 0.05);
    default: return dt_peak_int8(pool, 0.05);
    }
}

int main(int argc, char **argv) {
    static const struct {
        int N, K;
    } shapes[] = {
        {3072,   1024},
        {151936, 1024},
        {9728,   2560},
    };
    static const dt_dtype all[] = {DT_Q8_0, DT_Q4_0, DT_Q4_K, DT_Q6_K, DT_BF16, DT_Q4_1, DT_Q5_0,
                                   DT_Q5_1, DT_Q2_K, DT_Q3_K, DT_Q5_K, DT_F16,  DT_F32};
    static const int rows[] = {4, 16, 32, 512};
    dt_pool *pool = NULL;
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (argc > 2) budget = atof(argv[2]);
    if (threads > 1 && dt_pool_create(threads, &pool, NULL)) return 1;
    printf("kernel %s, %d threads; peaks: f32 %.0f GFLOP/s, bfloat16 %.0f GFLOP/s, int8 %.0f Gop/s\n", dt_kernels_get()->name, threads,
           dt_peak_flops(pool, 0.2) * 1e-9, dt_peak_bf16(pool, 0.2) * 1e-9, dt_peak_int8(pool, 0.2) * 1e-9);
    puts("type  N       K      fill GB/s | M=1 GB/s  of read | M=4 Gop/s | M=16 Gop/s     | M=32           | M=512");
    for (size_t t = 0; t < DT_COUNT(all); t++) {
        bool wanted = argc <= 3;
        for (int i = 3; i < argc; i++)
            wanted |= !strcmp(argv[i], dt_dtype_name(all[t]));
        for (size_t s = 0; wanted && s < DT_COUNT(shapes); s++) {
            const int N = shapes[s].N, K = shapes[s].K;
            if (argc <= 3 && s && t > 4) continue; /* the rarer types on one shape */
            static weights w;
            make(pool, &w, all[t], N, K);
            const double read = dt_peak_reading(pool, w.pages, w.bytes, 0.1), one = best_seconds(pool, &w, 1);
            const double again = dt_peak_reading(pool, w.pages, w.bytes, 0.1);
            const double gb = (double)w.file_bytes / one * 1e-9;
            printf("%-5s %-7d %-5d %8.1f    | %8.1f %4.0f %% |", dt_dtype_name(all[t]), N, K, (double)w.file_bytes / w.fill_s * 1e-9, gb,
                   100e9 * gb / (read > again ? read : again));
            for (size_t i = 0; i < DT_COUNT(rows); i++) {
                const double ops = 2.0 * rows[i] * N * K / best_seconds(pool, &w, rows[i]);
                printf(" %7.0f (%2.0f %%) |", ops * 1e-9, 100 * ops / peak_for(pool, &w.copy[0]));
            }
            putchar('\n');
            fflush(stdout);
            dt_pages_free(w.pages, w.bytes);
        }
    }
    dt_pool_destroy(pool);
    return 0;
}
