/* bench_kernels: FLOP/s of the kernel room on the shapes of training and decoding.
 *
 * Usage: bench_kernels [threads [seconds-per-shape]]
 * Prints one line a shape: GFLOP/s of the best run and its share of the measured peak. */
#include "kernel/kernel.h"

#include <stdlib.h>
#include <string.h>

static double budget = 0.3;

static float *random_floats(size_t n, uint32_t seed) {
    float *p = dt_alloc_aligned(n ? n : 1, sizeof *p);
    if (!p) {
        fputs("bench_kernels: no memory\n", stderr);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (float)(seed >> 8) * 0x1p-24f - 0.5f;
    }
    return p;
}

typedef struct shape {
    const char *what;
    int M, N, K;
    char layout; /* 'f' y = x W^T, 'x' dx = dy W, 'w' dW += dy^T x */
    bool pack;   /* count packing B as part of the time */
} shape;

static void bench_gemm(dt_pool *pool, double peak, const shape *s) {
    float *a = random_floats((size_t)s->M * s->K, 1), *b = random_floats((size_t)s->K * s->N, 2);
    float *c = random_floats((size_t)s->M * s->N, 3), *bp = random_floats(dt_packed_floats(s->K, s->N), 4);
    size_t rsa = s->layout == 'w' ? 1 : (size_t)s->K, csa = s->layout == 'w' ? (size_t)s->M : 1;
    size_t rsb = s->layout == 'f' ? 1 : (size_t)s->N, csb = s->layout == 'f' ? (size_t)s->K : 1;
    double best = 1e30, end = dt_now() + budget;

    dt_pack(pool, bp, b, rsb, csb, s->K, s->N);
    do {
        double t0 = dt_now();
        if (s->pack) dt_pack(pool, bp, b, rsb, csb, s->K, s->N);
        dt_gemm(pool, c, (size_t)s->N, a, rsa, csa, bp, s->M, s->N, s->K, s->layout == 'w');
        double dt = dt_now() - t0;
        if (dt < best) best = dt;
    } while (dt_now() < end);
    double rate = 2.0 * s->M * s->N * s->K / best;
    printf("gemm %-8s M=%-5d N=%-5d K=%-5d %8.1f GFLOP/s %5.1f %%%s\n", s->what, s->M, s->N, s->K, rate * 1e-9,
           100 * rate / peak, s->pack ? " (with packing)" : "");
    free(a);
    free(b);
    free(c);
    free(bp);
}

int main(int argc, char **argv) {
    static const shape shapes[] = {
        {"forward", 512, 128, 128, 'f', false},  {"forward", 2048, 256, 256, 'f', false},
        {"forward", 2048, 512, 128, 'f', false}, {"forward", 4096, 384, 1024, 'f', false},
        {"forward", 4096, 1024, 1024, 'f', false}, {"forward", 2048, 1000, 250, 'f', false},
        {"dx", 2048, 256, 256, 'x', false},      {"dx", 4096, 256, 1024, 'x', true},
        {"dW", 256, 256, 2048, 'w', false},      {"dW", 128, 512, 8192, 'w', true},
        {"dW", 1024, 384, 4096, 'w', true},      {"dW", 1024, 1024, 8192, 'w', true},
        {"decode", 1, 1024, 256, 'f', false},    {"decode", 1, 256, 1024, 'f', false},
        {"decode", 4, 1024, 256, 'f', false},    {"decode", 8, 1024, 256, 'f', false},
        {"decode", 16, 1024, 256, 'f', false},   {"decode", 16, 256, 1024, 'f', false},
        {"decode", 64, 512, 128, 'f', false},
    };
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    dt_pool *pool = NULL;

    if (argc > 2) budget = atof(argv[2]);
    if (threads > 1 && dt_pool_create(threads, &pool, NULL)) return 1;
    double peak = dt_peak_flops(pool, 0.3), bandwidth = dt_peak_bandwidth(pool, 0.3);
    printf("kernel %s, %d threads: peak %.1f GFLOP/s, memory %.1f GB/s\n", dt_kernels_get()->name, threads, peak * 1e-9,
           bandwidth * 1e-9);
    for (size_t i = 0; i < DT_COUNT(shapes); i++) bench_gemm(pool, peak, &shapes[i]);
    dt_pool_destroy(pool);
    return 0;
}
