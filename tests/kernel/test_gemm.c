/* Matrix products: against double, every instruction set against scalar, and rows that depend on nothing else. */
#include "kernel_test.h"

static const struct {
    const char *name;
    int M, N, K;
} shapes[] = {
    {"one by one",      1,   1,   1  },
    {"empty k",         3,   5,   0  },
    {"below a panel",   5,   31,  7  },
    {"one panel",       6,   32,  16 },
    {"above a panel",   7,   33,  17 },
    {"half panel",      12,  16,  33 },
    {"half and one",    13,  17,  64 },
    {"below k block",   11,  40,  255},
    {"one k block",     12,  64,  256},
    {"above k block",   13,  65,  257},
    {"two k blocks",    25,  96,  515},
    {"below row block", 143, 32,  31 },
    {"one row block",   144, 48,  32 },
    {"above row block", 145, 100, 40 },
    {"two row blocks",  300, 70,  19 },
    {"no rows",         0,   8,   8  },
};

/* How A and B lie in memory: y = x W^T, dx = dy W, dW += dy^T x, and strides that are neither 1. */
typedef struct layout {
    const char *name;
    bool a_by_k, b_by_n, spread;
} layout;
static const layout layouts[] = {
    {"forward", false, false, false},
    {"dx",      false, true,  false},
    {"dW",      true,  true,  false},
    {"spread",  false, true,  true },
};

typedef struct product {
    int M, N, K;
    size_t rsa, csa, rsb, csb, ldc;
    float *a, *b, *bp, *c;
} product;

static product product_make(int M, int N, int K, const layout *l) {
    product p = {.M = M, .N = N, .K = K, .ldc = (size_t)N + 3};
    size_t step = l->spread ? 2 : 1;
    p.rsa = l->a_by_k ? 1 : (size_t)K * step + 1;
    p.csa = l->a_by_k ? (size_t)M + 2 : step;
    p.rsb = l->b_by_n ? (size_t)N + 5 : 1;
    p.csb = l->b_by_n ? 1 : (size_t)K + 1;
    p.a = floats((size_t)M * p.rsa + (size_t)K * p.csa);
    p.b = floats((size_t)K * p.rsb + (size_t)N * p.csb);
    p.bp = floats(dt_packed_floats(K, N));
    p.c = floats((size_t)M * p.ldc);
    dt_pack(NULL, p.bp, p.b, p.rsb, p.csb, K, N);
    return p;
}

static void product_clear(product *p) {
    free(p->a);
    free(p->b);
    free(p->bp);
    free(p->c);
}

static void tile(const dt_kernels *k, const product *p, float *c, bool acc) {
    k->gemm_tile(c, p->ldc, p->a, p->rsa, p->csa, p->bp, p->N, p->K, 0, p->M, 0, (p->N + DT_NR - 1) / DT_NR, acc);
}

static void scalar_is_right(void **state) {
    (void)state;
    for (size_t s = 0; s < DT_COUNT(shapes); s++) {
        for (size_t l = 0; l < DT_COUNT(layouts); l++) {
            product p = product_make(shapes[s].M, shapes[s].N, shapes[s].K, &layouts[l]);
            float *before = copy_floats(p.c, (size_t)p.M * p.ldc);
            tile(scalar(), &p, p.c, true);
            for (int m = 0; m < p.M; m++) {
                for (int n = 0; n < p.N; n++) {
                    double want = (double)before[m * p.ldc + n];
                    for (int k = 0; k < p.K; k++)
                        want += (double)p.a[m * p.rsa + k * p.csa] * (double)p.b[k * p.rsb + n * p.csb];
                    check_near(shapes[s].name, &p.c[m * p.ldc + n], &want, 1, 2e-5);
                }
            }
            free(before);
            product_clear(&p);
        }
    }
}

static void every_isa_has_the_bits_of_scalar(void **state) {
    (void)state;
    const dt_kernels *k;
    for (size_t s = 0; s < DT_COUNT(shapes); s++) {
        for (size_t l = 0; l < DT_COUNT(layouts); l++) {
            for (int acc = 0; acc < 2; acc++) {
                product p = product_make(shapes[s].M, shapes[s].N, shapes[s].K, &layouts[l]);
                size_t n = (size_t)p.M * p.ldc;
                float *want = copy_floats(p.c, n);
                tile(scalar(), &p, want, acc);
                for (int i = 0; (k = next_isa(&i));) {
                    float *got = copy_floats(p.c, n);
                    tile(k, &p, got, acc);
                    check_bits(shapes[s].name, k, got, want, n);
                    free(got);
                }
                free(want);
                product_clear(&p);
            }
        }
    }
}

/* A row alone, in a small batch, in a large batch, with and without threads: the same bits. */
static void rows_depend_on_nothing_else(void **state) {
    (void)state;
    enum { M = 200, N = 130, K = 300 };
    dt_pool *pool = NULL;
    assert_int_equal(dt_pool_create(3, &pool, NULL), 0);
    for (size_t l = 0; l < DT_COUNT(layouts); l++) {
        product p = product_make(M, N, K, &layouts[l]);
        float *want = copy_floats(p.c, M * p.ldc), *got = copy_floats(p.c, M * p.ldc);
        float *packed = copy_floats(p.bp, dt_packed_floats(K, N));
        dt_gemm(NULL, want, p.ldc, p.a, p.rsa, p.csa, p.bp, M, N, K, false);
        dt_pack(pool, packed, p.b, p.rsb, p.csb, K, N);
        check_bits("pack", dt_kernels_get(), packed, p.bp, dt_packed_floats(K, N));
        dt_gemm(pool, got, p.ldc, p.a, p.rsa, p.csa, p.bp, M, N, K, false);
        check_bits("threads", dt_kernels_get(), got, want, M * p.ldc);
        static const int batch[] = {1, 2, 5, 7, 16, 64};
        for (size_t b = 0; b < DT_COUNT(batch); b++) {
            memcpy(got, p.c, (M * p.ldc + 16) * sizeof *got);
            for (int m = 0; m < M; m += batch[b])
                dt_gemm(pool, got + m * p.ldc, p.ldc, p.a + m * p.rsa, p.rsa, p.csa, p.bp,
                        M - m < batch[b] ? M - m : batch[b], N, K, false);
            check_bits("batch", dt_kernels_get(), got, want, M * p.ldc);
        }
        free(want);
        free(got);
        free(packed);
        product_clear(&p);
    }
    dt_pool_destroy(pool);
}

/* Accumulating over two halves of k is the chain over the whole. */
static void the_chain_goes_on_from_c(void **state) {
    (void)state;
    enum { M = 9, N = 50, K = 600, HALF = 217 };
    float *a = floats(M * K), *b = floats(K * N), *want = floats(M * N), *got = copy_floats(want, M * N);
    float *whole = floats(dt_packed_floats(K, N)), *first = floats(dt_packed_floats(HALF, N)),
          *second = floats(dt_packed_floats(K - HALF, N));
    dt_pack(NULL, whole, b, N, 1, K, N);
    dt_pack(NULL, first, b, N, 1, HALF, N);
    dt_pack(NULL, second, b + HALF * N, N, 1, K - HALF, N);
    dt_gemm(NULL, want, N, a, K, 1, whole, M, N, K, false);
    dt_gemm(NULL, got, N, a, K, 1, first, M, N, HALF, false);
    dt_gemm(NULL, got, N, a + HALF, K, 1, second, M, N, K - HALF, true);
    check_bits("halves", dt_kernels_get(), got, want, M * N);
    free(a);
    free(b);
    free(want);
    free(got);
    free(whole);
    free(first);
    free(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_is_right),
        cmocka_unit_test(every_isa_has_the_bits_of_scalar),
        cmocka_unit_test(rows_depend_on_nothing_else),
        cmocka_unit_test(the_chain_goes_on_from_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
