/* TensorBoard events: known checksums, and a reader of our own that walks every byte written. */
#include "format/folder.h"
#include "format/tfevents.h"

#include <dirent.h>

/* Test vectors of RFC 3720, appendix B.4, and the common check value. */
static void test_crc32c(void **state) {
    (void)state;
    uint8_t b[32];
    assert_int_equal(dt_crc32c("", 0), 0);
    assert_int_equal(dt_crc32c("123456789", 9), 0xE3069283u);
    memset(b, 0, 32);
    assert_int_equal(dt_crc32c(b, 32), 0x8A9136AAu);
    memset(b, 0xff, 32);
    assert_int_equal(dt_crc32c(b, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)i;
    assert_int_equal(dt_crc32c(b, 32), 0x46DD794Eu);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    assert_int_equal(dt_crc32c(b, 32), 0x113FDB5Cu);
}

static uint64_t le(const uint8_t *p, int n) {
    uint64_t x = 0;
    for (int i = n - 1; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static uint32_t masked(const uint8_t *p, size_t n) {
    uint32_t c = dt_crc32c(p, n);
    return (uint32_t)((c >> 15 | c << 17) + 0xa282ead8u);
}

static uint64_t varint(const uint8_t **p) {
    uint64_t x = 0;
    for (int shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        x |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            return x;
    }
}

/* Appends "step tag=value ..." of one event to out. */
static void describe(const uint8_t *p, const uint8_t *end, dt_buf *out) {
    while (p < end) {
        uint64_t key = varint(&p);
        if (key == (1 << 3 | 1)) {
            double t = 0;
            memcpy(&t, p, 8);
            dt_buf_addf(out, "t%g ", t > 1e9 ? 0 : t); /* the first event holds the time of day */
            p += 8;
        } else if (key == (2 << 3 | 0)) {
            dt_buf_addf(out, "step%lld ", (long long)varint(&p));
        } else if (key == (3 << 3 | 2)) {
            size_t n = (size_t)varint(&p);
            dt_buf_addf(out, "%.*s ", (int)n, (const char *)p);
            p += n;
        } else if (key == (5 << 3 | 2)) {
            size_t n = (size_t)varint(&p);
            const uint8_t *stop = p + n;
            while (p < stop) {
                float x = 0;
                assert_int_equal(varint(&p), 1 << 3 | 2);
                const uint8_t *value_end = p + 1;
                uint64_t len = varint(&p);
                value_end = p + len;
                assert_int_equal(varint(&p), 1 << 3 | 2);
                size_t n_tag = (size_t)varint(&p);
                dt_buf_addf(out, "%.*s=", (int)n_tag, (const char *)p);
                p += n_tag;
                assert_int_equal(varint(&p), 2 << 3 | 5);
                memcpy(&x, p, 4);
                dt_buf_addf(out, "%g ", (double)x);
                p += 4;
                assert_ptr_equal(p, value_end);
            }
        } else {
            fail_msg("unknown field %llu", (unsigned long long)key);
        }
    }
}

static void test_file(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512] = "";
    duet_err err = {{0}};
    dt_tfevents *t = NULL;
    const char *tags[] = {"train/loss",
                          "a tag that is longer than one hundred and twenty-eight bytes, so that its length needs a "
                          "second byte in the variable-length numbers of the format"};
    if (dt_tfevents_open(dir.path, &t, &err))
        fail_msg("%s", err.text);
    if (dt_tfevents_scalars(t, 1, 10.5, tags, (double[]){0.25, -3}, 2, &err))
        fail_msg("%s", err.text);
    if (dt_tfevents_scalars(t, 300, 11, tags, (double[]){0}, 1, &err))
        fail_msg("%s", err.text);
    if (dt_tfevents_scalars(t, 301, 12, tags, NULL, 0, &err))
        fail_msg("%s", err.text);
    dt_tfevents_close(t);

    DIR *d = opendir(dir.path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, "tfevents"))
            folder_at(&dir, e->d_name, path, sizeof path);
    closedir(d);
    dt_buf b = {0}, text = {0};
    if (dt_file_read(path, 1 << 20, &b, &err))
        fail_msg("%s", err.text);
    size_t at = 0;
    while (at < b.len) {
        const uint8_t *p = (const uint8_t *)b.data + at;
        size_t n = (size_t)le(p, 8);
        assert_true(at + 16 + n <= b.len);
        assert_int_equal(le(p + 8, 4), masked(p, 8));
        assert_int_equal(le(p + 12 + n, 4), masked(p + 12, n));
        describe(p + 12, p + 12 + n, &text);
        dt_buf_adds(&text, "| ");
        at += 16 + n;
    }
    dt_buf want = {0};
    dt_buf_addf(&want,
                "t0 brain.Event:2 | t10.5 step1 train/loss=0.25 %s=-3 | t11 step300 train/loss=0 | t12 step301 | ",
                tags[1]);
    assert_string_equal(text.data, want.data);
    dt_buf_clear(&b);
    dt_buf_clear(&text);
    dt_buf_clear(&want);
    folder_remove(&dir);
}

static void test_refused(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512];
    duet_err err = {{0}};
    dt_tfevents *t = NULL;
    folder_put(&dir, "file", "x", 1);
    assert_int_equal(dt_tfevents_open(folder_at(&dir, "file/logs", path, sizeof path), &t, &err), DUET_E_IO);
    assert_null(t);
    dt_tfevents *a = NULL, *b = NULL; /* two runs that start within one second do not share a file */
    assert_int_equal(dt_tfevents_open(dir.path, &a, &err), DUET_OK);
    assert_int_equal(dt_tfevents_open(dir.path, &b, &err), DUET_OK);
    dt_tfevents_close(a);
    dt_tfevents_close(b);
    dt_tfevents_close(NULL);
    folder_remove(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crc32c), cmocka_unit_test(test_file),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
