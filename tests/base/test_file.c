/* Whole files: read with a cap, replaced as a whole or not at all, folders made and removed, maps. */
#include "format/folder.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static folder here; /* fresh for each test */

static int setup(void **state) {
    (void)state;
    here = folder_make();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    folder_remove(&here);
    return 0;
}

static const char *at(const char *name) {
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    return folder_at(&here, name, p, sizeof path[0]);
}

static size_t n_entries(const char *dir) {
    char command[600];
    unsigned long n = 0;
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu", &n), 1);
    pclose(f);
    return n;
}

static void holds(const char *path, const void *want, size_t n) {
    dt_buf b = {0};
    duet_err err = {{0}};
    if (dt_file_read(path, n + 100, &b, &err)) fail_msg("%s", err.text);
    assert_int_equal(b.len, n);
    assert_memory_equal(b.data, want, n);
    assert_int_equal(b.data[n], 0);
    dt_buf_clear(&b);
}

/* An error sentence that names the file and holds `part`. */
static void says(const duet_err *err, const char *path, const char *part) {
    if (!strstr(err->text, path) || !strstr(err->text, part)) fail_msg("'%s' does not say '%s' of %s", err->text, part, path);
}

static void test_read(void **state) {
    (void)state;
    duet_err err = {{0}};
    dt_buf b = {0};
    char big[200000];
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31 >> 3);
    folder_put(&here, "big", big, sizeof big);
    folder_put(&here, "empty", "", 0);
    assert_int_equal(dt_file_read(at("big"), sizeof big, &b, &err), DUET_OK); /* exactly the cap */
    assert_int_equal(b.len, sizeof big);
    assert_memory_equal(b.data, big, sizeof big);
    dt_buf_clear(&b);
    assert_int_equal(dt_file_read(at("big"), sizeof big - 1, &b, &err), DUET_E_RANGE);
    says(&err, at("big"), "199999 bytes");
    dt_buf_clear(&b);
    assert_int_equal(dt_file_read(at("empty"), 0, &b, &err), DUET_OK);
    assert_string_equal(b.data, "");
    dt_buf_clear(&b);
    b.max = 1000; /* the buffer's own cap */
    assert_int_equal(dt_file_read(at("big"), sizeof big, &b, &err), DUET_E_NOMEM);
    dt_buf_clear(&b);
    assert_int_equal(dt_file_read(at("nothing"), 10, &b, &err), DUET_E_IO);
    says(&err, at("nothing"), "No such file");
    assert_int_equal(dt_file_read(here.path, 10, &b, &err), DUET_E_IO);
    says(&err, here.path, "Is a directory");
    dt_buf_clear(&b);
}

static void test_write_replaces(void **state) {
    (void)state;
    duet_err err = {{0}};
    assert_int_equal(dt_file_write_atomic(at("f"), "first", 5, &err), DUET_OK);
    holds(at("f"), "first", 5);
    assert_int_equal(dt_file_write_atomic(at("f"), "a\0b", 3, &err), DUET_OK);
    holds(at("f"), "a\0b", 3);
    assert_int_equal(dt_file_write_atomic(at("f"), NULL, 0, &err), DUET_OK);
    holds(at("f"), "", 0);
    assert_int_equal(n_entries(here.path), 1); /* no temporary file is left */
}

/* A disk that fills up half way, as a limit on the size of files shows it to us. */
static void test_write_on_a_full_disk_keeps_the_old_file(void **state) {
    (void)state;
    duet_err err = {{0}};
    struct rlimit before, small;
    char big[100000];
    memset(big, 'n', sizeof big);
    assert_int_equal(dt_file_write_atomic(at("f"), "old", 3, &err), DUET_OK);

    void (*old_handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 50000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    duet_status st = dt_file_write_atomic(at("f"), big, sizeof big, &err);
    duet_status fits = dt_file_write_atomic(at("g"), big, 50000, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old_handler);

    assert_int_equal(st, DUET_E_IO);
    says(&err, at("f"), "what was there before is kept");
    holds(at("f"), "old", 3);
    assert_int_equal(fits, DUET_OK);
    assert_int_equal(n_entries(here.path), 2); /* the half that was written is gone */

    assert_int_equal(dt_file_write_atomic(at("f"), big, sizeof big, &err), DUET_OK); /* with room again */
    holds(at("f"), big, sizeof big);
}

static void test_write_where_it_cannot(void **state) {
    (void)state;
    duet_err err = {{0}};
    assert_int_equal(dt_file_write_atomic(at("no/such/f"), "x", 1, &err), DUET_E_IO);
    says(&err, at("no/such/f"), "cannot create: No such file");
    assert_int_equal(dt_mkdirs(at("dir/in"), &err), DUET_OK);
    assert_int_equal(dt_file_write_atomic(at("dir"), "x", 1, &err), DUET_E_IO);
    says(&err, at("dir"), "is not a regular file");
    assert_true(dt_path_is_dir(at("dir/in")));
    assert_int_equal(n_entries(here.path), 1);
    if (!folder_fill_disk(&here, "f")) {
        printf("skipped: there is no /dev/full to write to\n");
        return;
    }
    assert_int_equal(dt_file_write_atomic(at("f"), "x", 1, &err), DUET_E_IO);
    says(&err, at("f"), "No space left");
    assert_false(dt_path_exists(at("f")));
}

static void test_mkdirs(void **state) {
    (void)state;
    duet_err err = {{0}};
    static const char *const cases[] = {"a", "b/c/d", "b/c/d", "b//e/", "./f"};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        if (dt_mkdirs(at(cases[i]), &err)) fail_msg("%s: %s", cases[i], err.text);
        if (!dt_path_is_dir(at(cases[i]))) fail_msg("%s is not there", cases[i]);
    }
    assert_int_equal(dt_mkdirs("/", &err), DUET_OK);
    folder_put(&here, "file", "x", 1);
    assert_int_equal(dt_mkdirs(at("file"), &err), DUET_E_IO);
    assert_int_equal(dt_mkdirs(at("file/below"), &err), DUET_E_IO);
    says(&err, at("file"), "Not a directory");
    holds(at("file"), "x", 1);
}

static void test_remove_tree(void **state) {
    (void)state;
    duet_err err = {{0}};
    assert_int_equal(dt_mkdirs(at("keep"), &err), DUET_OK);
    folder_put(&here, "keep/file", "x", 1);
    assert_int_equal(dt_mkdirs(at("gone/a/b"), &err), DUET_OK);
    folder_put(&here, "gone/a/b/file", "y", 1);
    folder_put(&here, "gone/.hidden", "z", 1);
    assert_int_equal(symlink(at("keep"), at("gone/link")), 0);     /* a link to a folder: the link goes, the folder stays */
    assert_int_equal(symlink("nowhere", at("gone/a/dangling")), 0);
    assert_int_equal(dt_remove_tree(at("gone"), &err), DUET_OK);
    assert_false(dt_path_exists(at("gone")));
    holds(at("keep/file"), "x", 1);
    assert_int_equal(dt_remove_tree(at("gone"), &err), DUET_OK); /* not there: nothing to do */
    assert_int_equal(dt_remove_tree(at("keep/file"), &err), DUET_OK);
    assert_false(dt_path_exists(at("keep/file")));
    assert_true(dt_path_is_dir(at("keep")));
}

static void test_join(void **state) {
    (void)state;
    static const struct {
        const char *name, *dir, *file, *want;
    } cases[] = {
        {"plain", "a", "b", "a/b"}, {"slash at the end", "a/", "b", "a/b"}, {"root", "/", "b", "/b"}, {"no folder", "", "b", "b"}, {"deep", "a/b", "c/d", "a/b/c/d"},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char *p = dt_path_join(cases[i].dir, cases[i].file);
        if (strcmp(p, cases[i].want)) fail_msg("%s: %s", cases[i].name, p);
        free(p);
    }
}

static void test_map(void **state) {
    (void)state;
    duet_err err = {{0}};
    dt_map m;
    folder_put(&here, "f", "map\0ped", 7);
    folder_put(&here, "empty", "", 0);
    assert_int_equal(dt_map_open(&m, at("f"), &err), DUET_OK);
    assert_int_equal(m.size, 7);
    assert_memory_equal(m.data, "map\0ped", 7);
    assert_string_equal(m.path, at("f"));
    assert_int_equal(dt_file_write_atomic(at("f"), "new", 3, &err), DUET_OK); /* the map still shows the file it opened */
    assert_memory_equal(m.data, "map\0ped", 7);
    dt_map_close(&m);
    assert_null(m.data);
    dt_map_close(&m); /* twice is fine */
    assert_int_equal(dt_map_open(&m, at("empty"), &err), DUET_OK);
    assert_int_equal(m.size, 0);
    assert_null(m.data);
    dt_map_close(&m);
    assert_int_equal(dt_map_open(&m, at("nothing"), &err), DUET_E_IO);
    says(&err, at("nothing"), "No such file");
    assert_int_equal(dt_map_open(&m, here.path, &err), DUET_E_IO);
    says(&err, here.path, "not a regular file");
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_read),
        IN_FOLDER(test_write_replaces),
        IN_FOLDER(test_write_on_a_full_disk_keeps_the_old_file),
        IN_FOLDER(test_write_where_it_cannot),
        IN_FOLDER(test_mkdirs),
        IN_FOLDER(test_remove_tree),
        cmocka_unit_test(test_join),
        IN_FOLDER(test_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
