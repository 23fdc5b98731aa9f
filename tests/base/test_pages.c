/* Blocks of pages, dropped pages of a mapped file, and free memory. */
#include "support.h"

#include <unistd.h>

static void blocks_of_any_size(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 4096, ((size_t)1 << 20) - 1, (size_t)1 << 20, ((size_t)5 << 20) + 1};
    for (size_t i = 0; i < DT_COUNT(sizes); i++) {
        uint8_t *p = dt_pages_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t j = 0; j < sizes[i]; j += 4095) {
            assert_int_equal(p[j], 0);
            p[j] = 1;
        }
        dt_pages_free(p, sizes[i]);
    }
    assert_null(dt_pages_alloc(SIZE_MAX));
    dt_pages_free(NULL, 0);
    dt_pages_free(NULL, (size_t)1 << 30);
}

/* What was dropped reads the same again. */
static void dropped_pages_come_back(void **state) {
    (void)state;
    enum { SIZE = 70000 };
    char path[] = "/tmp/duet-pages-XXXXXX";
    uint8_t *data = malloc(SIZE);
    dt_map m = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0 && data);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    assert_int_equal(write(fd, data, SIZE), SIZE);
    close(fd);
    assert_int_equal(dt_map_open(&m, path, NULL), DUET_OK);
    assert_memory_equal(m.data, data, SIZE);
    dt_map_drop(m.data + 5, SIZE - 9);
    dt_map_drop(m.data, 0);
    assert_memory_equal(m.data, data, SIZE);
    dt_map_close(&m);
    unlink(path);
    free(data);
}

static void free_memory_is_known_or_said(void **state) {
    (void)state;
    unsetenv("DUET_MEMORY");
    assert_true(dt_memory_free() > (size_t)1 << 20);
    setenv("DUET_MEMORY", "3", 1);
    assert_int_equal(dt_memory_free(), 3 << 20);
    setenv("DUET_MEMORY", "3x", 1);
    assert_true(dt_memory_free() != 3 << 20);
    unsetenv("DUET_MEMORY");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_of_any_size), cmocka_unit_test(dropped_pages_come_back),
                                       cmocka_unit_test(free_memory_is_known_or_said)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
