/* A packed matrix filled piece by piece is the one filled at once, for every element type that has a product. */
#include "support.h"

#include "kernel/packed.h"

enum { N = 5 * DT_NR + 7, K = 512 };

static void pieces_equal_whole(void **state) {
    (void)state;
    int n_types = 0;
    for (int t = 0; t < DT_N_DTYPES; t++) {
        if (!dt_packed_supports((dt_dtype)t)) continue;
        dt_view v = {.dtype = (dt_dtype)t, .n_dims = 2, .dims = {N, K}};
        dt_packed a = {0}, b = {0};
        size_t bytes = 0;
        assert_true(dt_view_count(&v, NULL, &bytes));
        uint8_t *rows = dt_alloc_aligned(bytes, 1);
        assert_non_null(rows);
        dt_rng r = dt_rng_make(7, (uint64_t)t);
        for (size_t i = 0; i < bytes; i++) /* small exponents: numbers, whatever the type */
            rows[i] = (uint8_t)(dt_rng_u32(&r) & 0x3b);
        assert_int_equal(dt_packed_init(&a, v.dtype, N, K, NULL), DUET_OK);
        assert_int_equal(dt_packed_init(&b, v.dtype, N, K, NULL), DUET_OK);
        dt_packed_fill(NULL, &a, rows);
        const int cut[] = {0, DT_NR, 3 * DT_NR, N};
        for (int i = 0; i < 3; i++) {
            dt_packed piece = dt_packed_rows(&b, cut[i], cut[i + 1] - cut[i]);
            dt_packed_fill(NULL, &piece, rows + bytes / N * (size_t)cut[i]);
        }
        assert_int_equal(a.bytes, b.bytes);
        if (memcmp(a.data, b.data, a.bytes)) fail_msg("%s: pieces differ from the whole", dt_dtype_name(v.dtype));
        dt_packed_clear(&a);
        dt_packed_clear(&b);
        free(rows);
        n_types++;
    }
    assert_true(n_types > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_equal_whole)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
