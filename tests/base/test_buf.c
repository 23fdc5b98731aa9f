/* Sizes that would wrap around, buffers with a cap, lists of ids, the arena. */
#include "base/base.h"
#include "support.h"

static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t a, b;
        bool mul, add;
    } cases[] = {
        {"zero",              0,                0,                true,  true },
        {"zero times most",   0,                SIZE_MAX,         true,  true },
        {"most times zero",   SIZE_MAX,         0,                true,  true },
        {"one times most",    1,                SIZE_MAX,         true,  false},
        {"half, twice",       SIZE_MAX / 2,     2,                true,  true },
        {"half and one more", SIZE_MAX / 2 + 1, 2,                false, true },
        {"square",            (size_t)1 << 32,  (size_t)1 << 32,  false, true },
        {"most and most",     SIZE_MAX,         SIZE_MAX,         false, false},
        {"sum is the most",   SIZE_MAX / 2,     SIZE_MAX / 2 + 1, false, true },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        size_t out = 42;
        if (dt_mul_size(cases[i].a, cases[i].b, &out) != cases[i].mul) fail_msg("%s: product", cases[i].name);
        if (out != (cases[i].mul ? cases[i].a * cases[i].b : 42)) fail_msg("%s: product is %zu", cases[i].name, out);
        out = 42;
        if (dt_add_size(cases[i].a, cases[i].b, &out) != cases[i].add) fail_msg("%s: sum", cases[i].name);
        if (out != (cases[i].add ? cases[i].a + cases[i].b : 42)) fail_msg("%s: sum is %zu", cases[i].name, out);
    }
}

/* Behind a volatile, so that the compiler does not warn about sizes that cannot be had. */
static volatile size_t huge = SIZE_MAX / 2 + 1;

static void test_allocations(void **state) {
    (void)state;
    uint8_t *p = dt_alloc_aligned(13, 7);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (int i = 0; i < 13 * 7; i++)
        assert_int_equal(p[i], 0);
    free(p);
    p = dt_alloc_aligned(0, 4);
    assert_non_null(p);
    free(p);
    assert_null(dt_alloc_aligned(huge, 2));
    assert_null(dt_alloc_aligned(SIZE_MAX - 3 + (huge - huge), 1)); /* the rounding up would wrap */
    assert_null(dt_calloc(huge, 2));
    p = dt_calloc(0, 0);
    assert_non_null(p);
    assert_null(dt_realloc(p, huge, 2)); /* p stays */
    p[0] = 1;
    free(p);
    assert_null(dt_strdup(NULL));
}

static void test_buffer_grows(void **state) {
    (void)state;
    dt_buf b = {0};
    char want[4001];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(want + 4 * i, 5, "%03u.", i % 1000);
        assert_true(i % 2 ? dt_buf_addf(&b, "%03u.", i) : dt_buf_add(&b, want + 4 * i, 4));
        assert_int_equal(b.data[b.len], 0);
    }
    assert_int_equal(b.len, 4000);
    assert_string_equal(b.data, want);
    assert_true(dt_buf_add(&b, "a\0b", 3)); /* NULs are bytes like others */
    assert_int_equal(b.len, 4003);
    assert_memory_equal(b.data + 4000, "a\0b", 4);
    char *p = dt_buf_take(&b);
    assert_non_null(p);
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    free(p);
    p = dt_buf_take(&b); /* of nothing: an empty string */
    assert_string_equal(p, "");
    free(p);
    dt_buf_clear(&b);
}

static void test_buffer_cap(void **state) {
    (void)state;
    dt_buf b = {.max = 5};
    assert_true(dt_buf_adds(&b, "abc"));
    assert_true(dt_buf_adds(&b, "de")); /* exactly the cap */
    assert_false(dt_buf_adds(&b, "f"));
    assert_true(b.failed);
    assert_string_equal(b.data, "abcde"); /* nothing is added in part */
    assert_false(dt_buf_add(&b, "", 0));  /* the failure stays, so one check at the end is enough */
    assert_null(dt_buf_take(&b));
    assert_false(b.failed); /* ready for reuse, cap kept */
    assert_int_equal(b.max, 5);
    assert_false(dt_buf_addf(&b, "%d", 123456));
    dt_buf_clear(&b);
    assert_int_equal(b.max, 5);
    assert_true(dt_buf_addf(&b, "%d", 12345));
    dt_buf_clear(&b);

    dt_buf big = {0};
    assert_true(dt_buf_adds(&big, "x"));
    assert_false(dt_buf_reserve(&big, SIZE_MAX - 1)); /* len + more + 1 would wrap */
    assert_true(big.failed);
    assert_string_equal(big.data, "x");
    dt_buf_clear(&big);
}

static void test_ids(void **state) {
    (void)state;
    dt_ids a = {0};
    int32_t some[3] = {-1, 0, INT32_MAX};
    assert_true(dt_ids_add(&a, NULL, 0));
    for (int32_t i = 0; i < 200; i++)
        assert_true(dt_ids_push(&a, i));
    assert_true(dt_ids_add(&a, some, 3));
    assert_int_equal(a.n, 203);
    for (int32_t i = 0; i < 200; i++)
        assert_int_equal(a.v[i], i);
    assert_memory_equal(a.v + 200, some, sizeof some);
    assert_false(dt_ids_add(&a, some, SIZE_MAX - 5)); /* refused before anything is read */
    assert_int_equal(a.n, 203);
    dt_ids_clear(&a);
    assert_null(a.v);
}

static void test_arena(void **state) {
    (void)state;
    dt_arena a = {.block_bytes = 1024};
    uint8_t *p[40];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            p[i] = dt_arena_alloc(&a, (size_t)(1 + i * 13), 3);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 64, 0);
            memset(p[i], i, (size_t)(1 + i * 13) * 3);
        }
        for (int i = 0; i < 40; i++) /* nobody wrote over a neighbour */
            for (int j = 0; j < (1 + i * 13) * 3; j++)
                assert_int_equal(p[i][j], i);
        size_t peak = a.peak;
        dt_arena_reset(&a);
        assert_int_equal(a.used, 0);
        assert_int_equal(a.peak, peak); /* later rounds need no more */
    }
    assert_null(dt_arena_alloc(&a, huge, 2));
    assert_null(dt_arena_alloc(&a, SIZE_MAX - 3 + (huge - huge), 1));
    dt_arena_clear(&a);
    assert_null(a.head);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_allocations), cmocka_unit_test(test_buffer_grows),
        cmocka_unit_test(test_buffer_cap), cmocka_unit_test(test_ids),         cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
