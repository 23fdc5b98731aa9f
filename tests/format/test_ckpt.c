/* Checkpoint folders: a folder counts only after its rename; leftovers are ignored and removed; the last k stay. */
#include "format/ckpt.h"
#include "format/folder.h"

#include <sys/stat.h>

static void put(const folder *dir, const char *step, const char *text) {
    char name[256], path[512];
    snprintf(name, sizeof name, "ckpt/%s", step);
    duet_err err = {{0}};
    if (dt_mkdirs(folder_at(dir, name, path, sizeof path), &err))
        fail_msg("%s", err.text);
    snprintf(name, sizeof name, "ckpt/%s/state.json", step);
    folder_put(dir, name, text, strlen(text));
}

static bool there(const folder *dir, const char *name) {
    char path[512];
    return dt_path_exists(folder_at(dir, name, path, sizeof path));
}

static void write_step(const char *root, int64_t step, const char *text, int keep) {
    duet_err err = {{0}};
    char *tmp = NULL, *sub = NULL, *file = NULL;
    if (dt_ckpt_begin(root, step, &tmp, &err))
        fail_msg("%s", err.text);
    sub = dt_path_join(tmp, "M");
    file = dt_path_join(sub, "state.json");
    if (dt_mkdirs(sub, &err) || dt_file_write_atomic(file, text, strlen(text), &err))
        fail_msg("%s", err.text);
    if (dt_ckpt_commit(root, step, tmp, keep, &err))
        fail_msg("%s", err.text);
    free(tmp);
    free(sub);
    free(file);
}

static void expect_latest(const char *root, int64_t want, const char *text) {
    duet_err err = {{0}};
    char *path = NULL;
    int64_t step = 0;
    dt_buf b = {0};
    duet_status st = dt_ckpt_latest(root, &path, &step, &err);
    if (st != (want < 0 ? DUET_END : DUET_OK) || step != want)
        fail_msg("latest is %lld (%s), wanted %lld", (long long)step, err.text, (long long)want);
    if (text) {
        char *file = dt_path_join(path, "M/state.json");
        if (dt_file_read(file, 100, &b, &err))
            fail_msg("%s", err.text);
        assert_string_equal(b.data, text);
        free(file);
    }
    dt_buf_clear(&b);
    free(path);
}

static void test_order_and_keep(void **state) {
    (void)state;
    folder dir = folder_make();
    char root[512];
    folder_at(&dir, "runs/a/ckpt", root, sizeof root);
    expect_latest(root, -1, NULL); /* no folder yet */
    write_step(root, 5, "five", 2);
    expect_latest(root, 5, "five");
    write_step(root, 10, "ten", 2);
    write_step(root, 1000000, "million", 2); /* seven digits sort after six */
    expect_latest(root, 1000000, "million");
    assert_false(there(&dir, "runs/a/ckpt/step-000005"));
    assert_true(there(&dir, "runs/a/ckpt/step-000010"));
    write_step(root, 1000000, "again", 2); /* replaces */
    expect_latest(root, 1000000, "again");
    write_step(root, 1000001, "x", 0); /* keeps all */
    assert_true(there(&dir, "runs/a/ckpt/step-000010"));
    assert_false(there(&dir, "runs/a/ckpt/step-1000001.tmp"));
    folder_remove(&dir);
}

static void test_leftovers(void **state) {
    (void)state;
    folder dir = folder_make();
    char root[512];
    folder_at(&dir, "ckpt", root, sizeof root);
    put(&dir, "step-000003", "good");
    put(&dir, "step-000009.tmp", "half written");
    put(&dir, "step-000002.old.tmp", "half removed");
    put(&dir, "step-12", "another's name");
    put(&dir, "step-", "no number");
    put(&dir, "step-0000x1", "no number");
    put(&dir, "best", "kept by hand");
    folder_put(&dir, "ckpt/step-000099", "a file, no folder", 17);
    expect_latest(root, 3, NULL);
    assert_true(there(&dir, "ckpt/step-000009.tmp")); /* reading changes nothing */
    duet_err err = {{0}};
    char *tmp = NULL;
    if (dt_ckpt_begin(root, 9, &tmp, &err))
        fail_msg("%s", err.text);
    assert_false(there(&dir, "ckpt/step-000009.tmp/state.json"));
    assert_true(there(&dir, "ckpt/step-000009.tmp"));
    assert_false(there(&dir, "ckpt/step-000002.old.tmp"));
    assert_true(there(&dir, "ckpt/best/state.json"));
    assert_true(there(&dir, "ckpt/step-12/state.json"));
    expect_latest(root, 3, NULL); /* not committed: it does not count */
    free(tmp);
    folder_remove(&dir);
}

static void test_refused(void **state) {
    (void)state;
    folder dir = folder_make();
    char root[512];
    duet_err err = {{0}};
    char *path = NULL;
    int64_t step = 0;
    folder_put(&dir, "file", "x", 1);
    folder_at(&dir, "file/ckpt", root, sizeof root);
    assert_int_equal(dt_ckpt_begin(root, 1, &path, &err), DUET_E_IO);
    assert_null(path);
    assert_non_null(strstr(err.text, "file/ckpt"));
    assert_int_equal(dt_ckpt_latest(folder_at(&dir, "file", root, sizeof root), &path, &step, &err), DUET_E_IO);

    folder_at(&dir, "ckpt", root, sizeof root);
    write_step(root, 1, "one", 1);
    assert_int_equal(dt_ckpt_commit(root, 2, folder_at(&dir, "gone.tmp", (char[512]){0}, 512), 1, &err), DUET_E_IO);
    expect_latest(root, 1, "one"); /* a failed commit costs nothing that was there */
    folder_remove(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order_and_keep), cmocka_unit_test(test_leftovers),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
