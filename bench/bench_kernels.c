/* bench_kernels: speed of the kernel room on the shapes of training and decoding.
 *
 * Usage: bench_kernels [threads [seconds-per-shape]]
 * Matrix products run on the pool, attention and row operations on one thread. Prints one line a shape: the best run,
 * in GFLOP/s and as a share of the peak measured at the start, or in nanoseconds an element. */
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
        if (s->pack)
            dt_pack(pool, bp, b, rsb, csb, s->K, s->N);
        dt_gemm(pool, c, (size_t)s->N, a, rsa, csa, bp, s->M, s->N, s->K, s->layout == 'w');
        double dt = dt_now() - t0;
        if (dt < best)
            best = dt;
    } while (dt_now() < end);
    double rate = 2.0 * s->M * s->N * s->K / best;
    printf("gemm %-8s M=%-5d N=%-5d K=%-5d %8.1f GFLOP/s %5.1f %%%s\n", s->what, s->M, s->N, s->K, rate * 1e-9,
           100 * rate / peak, s->pack ? " (with packing)" : "");
    free(a);
    free(b);
    free(c);
    free(bp);
}

/* Attention of one head over a causal sequence of T tokens, forward and backward, or of one new token (decode). */
static void bench_attn(double peak, int T, int E, bool decode) {
    const dt_kernels *kern = dt_kernels_get();
    size_t n = (size_t)T * E, keys = ((size_t)T + 15) / 16 * 16;
    float *q = random_floats(n, 1), *k = random_floats(n, 2), *v = random_floats(n, 3), *o = random_floats(n, 4);
    float *d_o = random_floats(n, 5), *dq = random_floats(n, 6), *dk = random_floats(n, 7), *dv = random_floats(n, 8);
    float *kp = random_floats(keys * E, 9), *vp = random_floats(keys * E, 10), *mx = random_floats(T, 11);
    float *z = random_floats(T, 12), *scratch = random_floats(dt_attn_scratch(DT_F32, T, E), 13);
    float *bwd_scratch = random_floats(dt_attn_bwd_scratch(T, E), 14);
    const void **pages = dt_calloc(keys / 8, sizeof *pages);
    int *n_keys = dt_calloc((size_t)T, sizeof *n_keys), nq = decode ? 1 : T;
    if (!pages || !n_keys)
        exit(1);
    for (size_t i = 0; i < keys / 16; i++) {
        pages[i] = kp + i * 16 * E;
        pages[keys / 16 + i] = vp + i * 16 * E;
    }
    for (int i = 0; i < nq; i++)
        n_keys[i] = T - nq + i + 1;
    dt_attn f = {.q = q,
                 .o = o,
                 .ldq = E,
                 .ldo = E,
                 .nq = nq,
                 .n_heads = 1,
                 .d_head = E,
                 .n_keys = n_keys,
                 .k = pages,
                 .v = pages + keys / 16,
                 .scale = 0.125f,
                 .scratch = scratch,
                 .max_out = mx,
                 .sum_out = z};
    dt_attn_bwd b = {.q = q,
                     .k = k,
                     .v = v,
                     .o = o,
                     .d_o = d_o,
                     .dq = dq,
                     .dk = dk,
                     .dv = dv,
                     .ldq = E,
                     .ldkv = E,
                     .ldo = E,
                     .lddq = E,
                     .lddkv = E,
                     .mx = mx,
                     .z = z,
                     .T = T,
                     .d_head = E,
                     .scale = 0.125f,
                     .scratch = bwd_scratch};
    double pairs = decode ? T : 0.5 * T * (T + 1), fwd = 1e30, bwd = 1e30, end = dt_now() + budget;
    do {
        double t0 = dt_now();
        kern->attn(&f);
        double t1 = dt_now();
        if (!decode)
            kern->attn_bwd(&b);
        double t2 = dt_now();
        if (t1 - t0 < fwd)
            fwd = t1 - t0;
        if (t2 - t1 < bwd)
            bwd = t2 - t1;
    } while (dt_now() < end);
    printf("attention %-7s T=%-5d E=%-4d forward %6.1f GFLOP/s %5.1f %%", decode ? "decode" : "causal", T, E,
           4 * E * pairs / fwd * 1e-9, 400 * E * pairs / fwd / peak);
    if (!decode)
        printf("  backward %6.1f GFLOP/s %5.1f %%", 10 * E * pairs / bwd * 1e-9, 1000 * E * pairs / bwd / peak);
    putchar('\n');
    float *all[] = {q, k, v, o, d_o, dq, dk, dv, kp, vp, mx, z, scratch, bwd_scratch};
    for (size_t i = 0; i < DT_COUNT(all); i++)
        free(all[i]);
    free(pages);
    free(n_keys);
}

enum { ROWS = 64, WIDTH = 1024 };

typedef struct row_bench {
    float *x, *y, *z, *w, *u;
    int32_t target[ROWS];
    float a[ROWS], b[ROWS], c[ROWS];
} row_bench;

static void run_rmsnorm(const dt_kernels *k, row_bench *r) {
    k->rmsnorm(r->y, WIDTH, r->x, WIDTH, r->w, 0, r->a, ROWS, WIDTH, 1e-5f);
}
static void run_rmsnorm_bwd(const dt_kernels *k, row_bench *r) {
    k->rmsnorm_bwd(r->y, WIDTH, r->u, r->z, WIDTH, r->x, WIDTH, r->w, 0, r->a, ROWS, WIDTH, false);
}
static void run_swiglu(const dt_kernels *k, row_bench *r) {
    k->swiglu(r->y, r->x, r->z, ROWS * WIDTH);
}
static void run_swiglu_bwd(const dt_kernels *k, row_bench *r) {
    k->swiglu_bwd(r->y, r->u, r->z, r->x, r->w, ROWS * WIDTH);
}
static void run_geglu(const dt_kernels *k, row_bench *r) {
    k->geglu(r->y, r->x, r->z, ROWS * WIDTH);
}
static void run_geglu_bwd(const dt_kernels *k, row_bench *r) {
    k->geglu_bwd(r->y, r->u, r->z, r->x, r->w, ROWS * WIDTH);
}
static void run_xent(const dt_kernels *k, row_bench *r) {
    k->xent(r->x, WIDTH, r->target, ROWS, WIDTH, 1.0f, r->a, r->b, r->c);
}
static void run_xent_bwd(const dt_kernels *k, row_bench *r) {
    k->xent_bwd(r->y, WIDTH, r->target, r->c, r->c, ROWS, WIDTH, 1.0f);
}
static void run_adamw(const dt_kernels *k, row_bench *r) {
    k->adamw(r->y, r->x, r->z, r->w, ROWS * WIDTH, 1.0f, 1e-9f, 0.9f, 0.99f, 1e-8f, 0.0f, 0.1f, 0.01f);
}

static void bench_rows(void) {
    static const struct {
        const char *name;
        void (*run)(const dt_kernels *k, row_bench *r);
    } ops[] = {
        {"rmsnorm",     run_rmsnorm    },
        {"rmsnorm_bwd", run_rmsnorm_bwd},
        {"swiglu",      run_swiglu     },
        {"swiglu_bwd",  run_swiglu_bwd },
        {"geglu",       run_geglu      },
        {"geglu_bwd",   run_geglu_bwd  },
        {"xent",        run_xent       },
        {"xent_bwd",    run_xent_bwd   },
        {"adamw",       run_adamw      },
    };
    row_bench r = {.x = random_floats(ROWS * WIDTH, 1), .y = random_floats(ROWS * WIDTH, 2)};
    r.z = random_floats(ROWS * WIDTH, 3);
    r.w = random_floats(ROWS * WIDTH, 4);
    r.u = random_floats(ROWS * WIDTH, 5);
    for (size_t i = 0; i < ROWS * WIDTH; i++)
        r.w[i] += 1.0f;
    for (size_t i = 0; i < DT_COUNT(ops); i++) {
        double best = 1e30, end = dt_now() + budget;
        do {
            double t0 = dt_now();
            ops[i].run(dt_kernels_get(), &r);
            double dt = dt_now() - t0;
            if (dt < best)
                best = dt;
        } while (dt_now() < end);
        printf("%-12s %.3f ns an element\n", ops[i].name, best * 1e9 / (ROWS * WIDTH));
    }
    free(r.x);
    free(r.y);
    free(r.z);
    free(r.w);
    free(r.u);
}

int main(int argc, char **argv) {
    static const shape shapes[] = {
        {"forward", 512,  128,  128,  'f', false},
        {"forward", 2048, 256,  256,  'f', false},
        {"forward", 2048, 512,  128,  'f', false},
        {"forward", 4096, 384,  1024, 'f', false},
        {"forward", 4096, 1024, 1024, 'f', false},
        {"forward", 2048, 1000, 250,  'f', false},
        {"dx",      2048, 256,  256,  'x', false},
        {"dx",      4096, 256,  1024, 'x', true },
        {"dW",      256,  256,  2048, 'w', false},
        {"dW",      128,  512,  8192, 'w', true },
        {"dW",      1024, 384,  4096, 'w', true },
        {"dW",      1024, 1024, 8192, 'w', true },
        {"decode",  1,    1024, 256,  'f', false},
        {"decode",  1,    256,  1024, 'f', false},
        {"decode",  4,    1024, 256,  'f', false},
        {"decode",  8,    1024, 256,  'f', false},
        {"decode",  16,   1024, 256,  'f', false},
        {"decode",  16,   256,  1024, 'f', false},
        {"decode",  64,   512,  128,  'f', false},
    };
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    dt_pool *pool = NULL;

    if (argc > 2)
        budget = atof(argv[2]);
    if (threads > 1 && dt_pool_create(threads, &pool, NULL))
        return 1;
    double peak = dt_peak_flops(pool, 0.3), bandwidth = dt_peak_bandwidth(pool, 0.3);
    printf("kernel %s, %d threads: peak %.1f GFLOP/s, memory %.1f GB/s\n", dt_kernels_get()->name, threads, peak * 1e-9,
           bandwidth * 1e-9);
    for (size_t i = 0; i < DT_COUNT(shapes); i++)
        bench_gemm(pool, peak, &shapes[i]);
    peak = dt_peak_flops(NULL, 0.3);
    for (int E = 16; E <= 128; E *= 2) {
        bench_attn(peak, 64, E, false);
        bench_attn(peak, 300, E, false);
        bench_attn(peak, 512, E, true);
    }
    bench_rows();
    dt_pool_destroy(pool);
    return 0;
}
