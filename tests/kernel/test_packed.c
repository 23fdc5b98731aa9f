/* Products with packed weights of every type: against the values of the file in double, every instruction set against
 * scalar, and rows that depend on nothing else. */
#include "kernel_test.h"

#include "kernel/isa.h"
#include "kernel/layout.h"

static const dt_dtype types[] = {DT_BF16, DT_F16,  DT_Q8_0, DT_Q4_0, DT_Q4_1, DT_Q5_0,
                                 DT_Q5_1, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};

static uint32_t number(uint32_t below) {
    test_seed = test_seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)test_seed * below) >> 32);
}

typedef struct matrix {
    dt_dtype type;
    int N, K;
    size_t row_bytes;
    uint8_t *file;
    dt_packed w;
} matrix;

/* Where the half floats of a block stand: the rest of it may be any bytes. */
static void set_halves(dt_dtype t, uint8_t *b, uint16_t d, uint16_t m) {
    size_t at = 0;
    switch (t) {
    case DT_Q2_K: at = offsetof(dt_q2_k, d); break;
    case DT_Q3_K: at = offsetof(dt_q3_k, d); break;
    case DT_Q6_K: at = offsetof(dt_q6_k, d); break;
    default: break;
    }
    memcpy(b + at, &d, 2);
    if (dt_layout_of(t).has_m) memcpy(b + at + 2, &m, 2);
}

/* Random weights; with `same` every byte of the numbers is that value: the largest sums there can be. */
static matrix matrix_make(dt_dtype t, int N, int K, int same) {
    matrix x = {.type = t, .N = N, .K = K, .row_bytes = (size_t)K / dt_dtype_block(t) * dt_dtype_size(t)};
    const size_t n = x.row_bytes * (size_t)N;
    x.file = malloc(n + 1);
    assert_non_null(x.file);
    for (size_t i = 0; i < n; i++)
        x.file[i] = same < 0 ? (uint8_t)number(256) : (uint8_t)same;
    if (dt_dtype_is_quantised(t)) {
        for (size_t i = 0; i < n; i += dt_dtype_size(t))
            set_halves(t, x.file + i, dt_f32_to_f16(uniform(-0.1f, 0.1f)), dt_f32_to_f16(uniform(-0.1f, 0.1f)));
    } else {
        for (size_t i = 0; i < n; i += 2) {
            const float f = uniform(-1, 1);
            const uint16_t h = t == DT_F16 ? dt_f32_to_f16(f) : dt_f32_to_bf16(f);
            memcpy(x.file + i, &h, 2);
        }
    }
    assert_int_equal(dt_packed_init(&x.w, t, N, K, NULL), 0);
    dt_packed_fill(NULL, &x.w, x.file);
    return x;
}

static void matrix_clear(matrix *x) {
    dt_packed_clear(&x->w);
    free(x->file);
}

static float *values_of(const matrix *x) {
    float *v = floats((size_t)x->N * (size_t)x->K);
    dt_view view = {.dtype = x->type, .n_dims = 2, .dims = {(size_t)x->N, (size_t)x->K}, .data = x->file};
    dt_view_to_f32(&view, v);
    return v;
}

/* The product on one table, in one thread, with activations that this table converts. */
static void product_on(const dt_kernels *k, float *c, size_t ldc, const float *a, size_t lda, const dt_packed *w, int M, bool acc) {
    dt_acts x = {.form = dt_packed_form(w), .M = M, .K = w->K, .rows = a, .ld = lda};
    x.tile_rows = k->act_rows[x.form];
    const size_t words = dt_act_words(x.form, w->K);
    x.data = malloc(words * (size_t)M * 4 + 4);
    assert_non_null(x.data);
    const int tiles = dt_act_tiles(M, x.tile_rows);
    for (int t = 0; t < tiles; t++) {
        const int m0 = dt_act_row(M, tiles, t), m1 = dt_act_row(M, tiles, t + 1);
        k->act_tile(x.form, x.data + (size_t)m0 * words, a + (size_t)m0 * lda, lda, m1 - m0, w->K);
    }
    dt_product_part part = {w, &x, c, ldc, acc};
    (x.form == DT_ACT_F32 ? k->product_float : x.form == DT_ACT_BF16 ? k->product_bf16 : k->product_int)(&part, 0, tiles, 0, ((size_t)w->N + DT_NR - 1) / DT_NR);
    free(x.data);
}

static const struct {
    const char *name;
    int M, N, blocks;
} shapes[] = {
    {"one by one",    1,  1,  1},
    {"below a panel", 3,  31, 1},
    {"one panel",     6,  32, 2},
    {"above a panel", 7,  33, 3},
    {"half panel",    13, 48, 2},
    {"many",          33, 70, 5},
    {"long",          2,  40, 19},
    {"slices",        25, 64, 41},
};

/* Inputs of a shape: blocks of the type, or as many odd numbers of single elements. */
static int width_of(dt_dtype t, int blocks) {
    const int e = (int)dt_dtype_block(t);
    return e == 1 ? blocks * 31 : e == 256 ? (blocks + 3) / 4 * e : blocks * e;
}

/* How far y may be from the sum in double: half a step of int8 for each activation (the largest of its block over 127), half
 * an ulp of bfloat16, and the roundings of the chain. */
static double allowed(const matrix *x, const float *v, const float *a, dt_act_form form) {
    const int block = form == DT_ACT_Q32 ? 32 : form == DT_ACT_Q256 ? 256 : 1;
    double sum = 0;
    for (int k = 0; k < x->K; k += block) {
        double amax = 0, w = 0;
        for (int i = k; i < k + block; i++) {
            amax = fmax(amax, fabs((double)a[i]));
            w += fabs((double)v[i]);
        }
        sum += w * amax * (form == DT_ACT_BF16 ? 0x1p-9 : block > 1 ? 0.5001 / 127 : 0);
        sum += w * amax * 4e-6 * (1 + x->K / 512.0);
        /* m and d * q may cancel in v, not in the sums */
        if (dt_layout_of(x->type).has_m) sum += 0.5 * amax * block * 64 * 1e-5;
    }
    return sum + 1e-6;
}

static void scalar_is_right(void **state) {
    (void)state;
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        for (size_t s = 0; s < DT_COUNT(shapes); s++) {
            const int M = shapes[s].M < 4 ? shapes[s].M : 4, N = shapes[s].N, K = width_of(types[t], shapes[s].blocks);
            matrix x = matrix_make(types[t], N, K, -1);
            const size_t lda = (size_t)K + 3, ldc = (size_t)N + 5;
            float *a = floats((size_t)M * lda), *c = floats((size_t)M * ldc), *v = values_of(&x);
            float *before = copy_floats(c, (size_t)M * ldc);
            product_on(scalar(), c, ldc, a, lda, &x.w, M, true);
            for (int m = 0; m < M; m++) {
                for (int n = 0; n < N; n++) {
                    double want = (double)before[(size_t)m * ldc + (size_t)n];
                    for (int k = 0; k < K; k++)
                        want += (double)a[(size_t)m * lda + (size_t)k] * (double)v[(size_t)n * (size_t)K + (size_t)k];
                    const double got = (double)c[(size_t)m * ldc + (size_t)n];
                    const double bound = allowed(&x, v + (size_t)n * (size_t)K, a + (size_t)m * lda, dt_packed_form(&x.w));
                    if (!(fabs(got - want) <= bound))
                        fail_msg("%s %s: row %d, output %d is %.9g, wanted %.9g within %.2g", dt_dtype_name(types[t]), shapes[s].name,
                                 m, n, got, want, bound);
                }
            }
            free(before);
            free(v);
            free(a);
            free(c);
            matrix_clear(&x);
        }
    }
}

/* With integer activations that need no rounding, the products of the 32-element types are exact: any mistake shows. */
static void whole_numbers_are_exact(void **state) {
    (void)state;
    enum { N = 37, K = 512 };
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        matrix x = matrix_make(types[t], N, K, -1);
        const dt_layout l = dt_layout_of(types[t]);
        for (size_t i = 0; l.elems >= DT_QK && i < x.row_bytes * N; i += dt_dtype_size(types[t]))
            set_halves(types[t], x.file + i, dt_f32_to_f16(0.5f), dt_f32_to_f16(-0.25f));
        dt_packed_fill(NULL, &x.w, x.file);
        float *a = floats(K), *c = floats(N), *v = values_of(&x);
        for (int k = 0; k < K; k++)
            a[k] = k % 32 == 5 ? 127.0f : (float)number(255) - 127.0f;
        product_on(scalar(), c, N, a, K, &x.w, 1, false);
        for (int n = 0; n < N; n++) {
            double want = 0, size = 0;
            for (int k = 0; k < K; k++) {
                want += (double)a[k] * (double)v[n * K + k];
                size += fabs((double)a[k] * (double)v[n * K + k]);
            }
            const double bound = l.elems >= DT_QK ? 0 : size * 1e-6 + 1e-6;
            if (!(fabs((double)c[n] - want) <= bound + size * 2e-7))
                fail_msg("%s: output %d is %.9g, wanted %.9g", dt_dtype_name(types[t]), n, (double)c[n], want);
        }
        free(v);
        free(a);
        free(c);
        matrix_clear(&x);
    }
}

/* Rows of activations that may go wrong: nothing, the smallest and largest numbers, alternating signs, infinity, NaN. */
static void odd_rows(float *a, size_t lda, int M, int K) {
    for (int m = 0; m < M; m++) {
        float *x = a + (size_t)m * lda;
        for (int k = 0; k < K; k++) {
            switch (m % 10) {
            case 1: x[k] = 0.0f; break;
            case 2: x[k] = k % 2 ? 1.0f : -1.0f; break;
            case 3: x[k] = 1.0f; break;
            case 4: x[k] *= 1e-36f; break;
            case 5: x[k] *= 3e38f; break;
            case 6: x[k] *= k / 32 % 2 ? 1e-31f : 1e-30f; break;
            case 7: x[k] *= ldexpf(1.0f, -(int)number(140)); break;
            default: break;
            }
        }
        if (m % 10 == 8) x[K / 2] = INFINITY;
        if (m % 10 == 9) x[K - 1] = NAN;
    }
}

/* The tables to compare, and AVX-512 as a CPU without VNNI and bfloat16 instructions has it. */
static const dt_kernels *next_table(int *i) {
    const dt_kernels *k = NULL;
    if (*i <= (int)DT_ISA_AVX512 && (k = next_isa(i))) return k;
#if defined(__x86_64__)
    static dt_kernels plain;
    if (*i == (int)DT_ISA_AVX512 + 1 && dt_kernels_isa(DT_ISA_AVX512)) {
        ++*i;
        plain = *dt_kernels_isa(DT_ISA_AVX512);
        plain.name = "avx512 without vnni";
        dt_product_fill_avx512(&plain);
        return &plain;
    }
#endif
    return NULL;
}

/* The same bits; one NaN is as good as another. */
static void check_same(const char *what, const char *type, const dt_kernels *k, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n + 16; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0 && !(isnan(got[i]) && isnan(want[i])))
            fail_msg("%s %s %s: element %zu of %zu is %.9g (%a), scalar has %.9g (%a)", k->name, type, what, i, n, (double)got[i],
                     (double)got[i], (double)want[i], (double)want[i]);
}

static void compare_isas(const char *what, const matrix *x, int M, bool odd) {
    const size_t lda = (size_t)x->K + 3, ldc = (size_t)x->N + 5, n = (size_t)M * ldc;
    float *a = floats((size_t)M * lda), *c = floats(n);
    const dt_kernels *k;
    if (odd) odd_rows(a, lda, M, x->K);
    for (int acc = 0; acc < 2; acc++) {
        float *want = copy_floats(c, n);
        product_on(scalar(), want, ldc, a, lda, &x->w, M, acc);
        for (int i = 0; (k = next_table(&i));) {
            float *got = copy_floats(c, n);
            product_on(k, got, ldc, a, lda, &x->w, M, acc);
            check_same(what, dt_dtype_name(x->type), k, got, want, n);
            free(got);
        }
        free(want);
    }
    free(a);
    free(c);
}

static void every_isa_has_the_bits_of_scalar(void **state) {
    (void)state;
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        for (size_t s = 0; s < DT_COUNT(shapes); s++) {
            matrix x = matrix_make(types[t], shapes[s].N, width_of(types[t], shapes[s].blocks), -1);
            compare_isas(shapes[s].name, &x, shapes[s].M, false);
            compare_isas(shapes[s].name, &x, shapes[s].M, true);
            x.w.exact = true;
            compare_isas("exact", &x, shapes[s].M, true);
            matrix_clear(&x);
        }
        for (int M = 1; M <= 34 && dt_dtype_is_quantised(types[t]); M++) {
            matrix x = matrix_make(types[t], 32, width_of(types[t], 1), -1);
            compare_isas("each number of rows", &x, M, false);
            matrix_clear(&x);
        }
        static const int ends[] = {0x00, 0x7f, 0x80, 0xff};
        for (size_t i = 0; i < DT_COUNT(ends); i++) {
            matrix x = matrix_make(types[t], 32, width_of(types[t], 2), ends[i]);
            compare_isas("extreme weights", &x, 10, true);
            matrix_clear(&x);
        }
    }
}

/* Weights and activations so small that products and sums fall below 2^-126. */
static void small_bfloat16_are_flushed_alike(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        matrix x = matrix_make(DT_BF16, 64, 63, -1);
        for (size_t i = 0; i < x.row_bytes * 64; i += 2) {
            const uint16_t h = (uint16_t)((number(2) << 15) | (44 + number(40)) << 7 | number(128));
            memcpy(x.file + i, &h, 2);
        }
        dt_packed_fill(NULL, &x.w, x.file);
        float a[5 * 63], want[5 * 64], got[5 * 64];
        for (size_t i = 0; i < DT_COUNT(a); i++)
            a[i] = ldexpf(uniform(-1, 1), (int)number(44) - 84);
        for (size_t i = 0; i < DT_COUNT(want); i++)
            want[i] = ldexpf(uniform(-1, 1), (int)number(6) - 128);
        float *before = copy_floats(want, DT_COUNT(want) - 16);
        product_on(scalar(), want, 64, a, 63, &x.w, 5, true);
        const dt_kernels *k;
        for (int i = 0; (k = next_table(&i));) {
            memcpy(got, before, sizeof got);
            product_on(k, got, 64, a, 63, &x.w, 5, true);
            check_same("small", "BF16", k, got, want, DT_COUNT(want) - 16);
        }
        free(before);
        matrix_clear(&x);
    }
}

static void exact_bfloat16_is_the_product_of_floats(void **state) {
    (void)state;
    enum { M = 9, N = 50, K = 333 };
    matrix x = matrix_make(DT_BF16, N, K, -1);
    float *v = values_of(&x), *a = floats(M * K), *want = floats(M * N), *got = copy_floats(want, M * N);
    dt_packed f;
    assert_int_equal(dt_packed_init(&f, DT_F32, N, K, NULL), 0);
    dt_packed_fill(NULL, &f, v);
    void *scratch = malloc(dt_product_scratch(DT_BF16, M, K));
    x.w.exact = true;
    dt_product(NULL, want, N, a, K, &f, M, false, NULL);
    dt_product(NULL, got, N, a, K, &x.w, M, false, scratch);
    check_bits("exact", dt_kernels_get(), got, want, M * N);
    free(scratch);
    dt_packed_clear(&f);
    free(v);
    free(a);
    free(want);
    free(got);
    matrix_clear(&x);
}

/* A row alone, in a small batch, in a large batch, with and without threads, weights filled in pieces: the same bits. */
static void rows_depend_on_nothing_else(void **state) {
    (void)state;
    enum { M = 45, N = 290 };
    dt_pool *pool = NULL;
    assert_int_equal(dt_pool_create(3, &pool, NULL), 0);
    for (size_t t = 0; t <= DT_COUNT(types); t++) {
        const dt_dtype type = t < DT_COUNT(types) ? types[t] : DT_F32;
        const int K = width_of(type, 12);
        matrix x = {.file = NULL};
        const size_t ldc = N + 3, lda = (size_t)K + 1;
        float *a = floats(M * lda), *want = floats(M * ldc), *before = copy_floats(want, M * ldc), *got = copy_floats(want, M * ldc);
        float *weights = NULL;
        const void *file;
        if (type == DT_F32) {
            x = (matrix){.type = type, .N = N, .K = K, .row_bytes = (size_t)K * 4};
            file = weights = floats(N * (size_t)K);
            assert_int_equal(dt_packed_init(&x.w, type, N, K, NULL), 0);
            dt_packed_fill(NULL, &x.w, file);
        } else {
            x = matrix_make(type, N, K, -1);
            file = x.file;
        }
        void *scratch = malloc(dt_product_scratch(type, M, K) + 1);
        dt_product(NULL, want, ldc, a, lda, &x.w, M, false, scratch);
        dt_product(pool, got, ldc, a, lda, &x.w, M, false, scratch);
        check_same("threads", dt_dtype_name(type), dt_kernels_get(), got, want, M * ldc);
        static const int batch[] = {1, 2, 4, 7, 16, 32};
        for (size_t b = 0; b < DT_COUNT(batch); b++) {
            memcpy(got, before, (M * ldc + 16) * sizeof *got);
            for (int m = 0; m < M; m += batch[b])
                dt_product(pool, got + (size_t)m * ldc, ldc, a + (size_t)m * lda, lda, &x.w, M - m < batch[b] ? M - m : batch[b], false,
                           scratch);
            check_same("batch", dt_dtype_name(type), dt_kernels_get(), got, want, M * ldc);
        }
        static const int cuts[] = {0, 5, 33, 96, 97, 288, N};
        dt_packed parts;
        assert_int_equal(dt_packed_init(&parts, type, N, K, NULL), 0);
        for (size_t i = 0; i + 1 < DT_COUNT(cuts); i++)
            dt_packed_fill_rows(pool, &parts, cuts[i], cuts[i + 1], (const char *)file + (size_t)cuts[i] * x.row_bytes);
        assert_memory_equal(parts.data, x.w.data, parts.bytes);
        dt_packed_clear(&parts);
        free(scratch);
        free(weights);
        free(a);
        free(want);
        free(before);
        free(got);
        matrix_clear(&x);
    }
    dt_pool_destroy(pool);
}

static void memory_is_near_that_of_the_file(void **state) {
    (void)state;
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        const size_t file = (size_t)4096 * 4096 / dt_dtype_block(types[t]) * dt_dtype_size(types[t]);
        const size_t packed = dt_packed_bytes(types[t], 4096, 4096);
        if (packed < file || (double)packed > 1.037 * (double)file)
            fail_msg("%s: %zu bytes for %zu of the file", dt_dtype_name(types[t]), packed, file);
    }
    assert_int_equal(dt_packed_bytes(DT_F32, 33, 5), 64 * 5 * 4);
    dt_packed w;
    duet_err err;
    assert_int_equal(dt_packed_init(&w, DT_I32, 4, 4, &err), DUET_E_UNSUPPORTED);
    assert_int_equal(dt_packed_init(&w, DT_Q4_K, 4, 128, &err), DUET_E_RANGE);
    assert_int_equal(dt_packed_init(&w, DT_Q8_0, 70000, 64, &err), DUET_OK); /* of huge pages */
    assert_int_equal((uintptr_t)w.data % 64, 0);
    dt_packed_clear(&w);
    dt_packed_clear(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_is_right),
        cmocka_unit_test(whole_numbers_are_exact),
        cmocka_unit_test(every_isa_has_the_bits_of_scalar),
        cmocka_unit_test(small_bfloat16_are_flushed_alike),
        cmocka_unit_test(exact_bfloat16_is_the_product_of_floats),
        cmocka_unit_test(rows_depend_on_nothing_else),
        cmocka_unit_test(memory_is_near_that_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
