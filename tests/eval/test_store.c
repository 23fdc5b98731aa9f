/* The store: samples come back as they were put, once each, from any number of threads, processes and kills; files that are
 * no store, damaged, locked or read-only are one sentence. */
#include "support.h"

#include "duet/duet.h"
#include "eval/ordered.h"
#include "eval/store.h"

#include <math.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/duet-store-XXXXXX", path[64], other[96];

static int set_up(void **state) {
    (void)state;
    if (!mkdtemp(dir)) return 1;
    snprintf(path, sizeof path, "%s/store.db", dir);
    snprintf(other, sizeof other, "%s/other.db", dir);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return dt_remove_tree(dir, NULL);
}

static void forget(const char *file) {
    char name[128];
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < DT_COUNT(ends); i++) {
        snprintf(name, sizeof name, "%s%s", file, ends[i]);
        unlink(name);
    }
}

static duet_store *opened(const char *file) {
    duet_store *s = NULL;
    duet_err err = {{0}};
    if (duet_store_open(file, 0, &s, &err)) fail_msg("%s", err.text);
    return s;
}

static void key_of(size_t i, char key[65]) {
    snprintf(key, 65, "%064zx", i);
}

static char *bytes(const char *text, size_t n) {
    char *p = malloc(n + 1);
    assert_non_null(p);
    memcpy(p, text, n);
    p[n] = 0;
    return p;
}

/* Sample i: texts with a NUL and a byte that is no UTF-8, ids, counts, times. */
static duet_pair_request sample(size_t i) {
    char text[64];
    int n = snprintf(text, sizeof text, "answer %zu", i);
    duet_pair_request r = {.signal_text = bytes("a\0b\xff", 4), .n_signal_text = 4, .answer_text = bytes(text, (size_t)n), .n_answer_text = (size_t)n,
                           .signal_ids = (int32_t *)(void *)bytes("\1\0\0\0\2\0\0\0", 8), .n_signal_ids = 2, .signal_status = DUET_SIGNAL_TRUNCATED, .handoff = DUET_HANDOFF_BUDGET,
                           .answer_cut = i % 2, .signal_cut = i % 3 == 0};
    r.ledger = (duet_ledger){.M = {.prompt_tokens = 10, .output_tokens = i, .cached_tokens = SIZE_MAX, .prefill_s = 0.25, .decode_s = (double)NAN},
                             .m = {.prompt_tokens = 30, .output_tokens = 2, .prefill_s = 1}, .total_s = 1.5};
    r.ledger.M.estimated = i % 2;
    r.ledger.m.estimated = i % 5 == 0;
    return r;
}

static void same_sample(const duet_pair_request *a, const duet_pair_request *b) {
    assert_int_equal(a->n_signal_text, b->n_signal_text);
    assert_int_equal(a->n_answer_text, b->n_answer_text);
    assert_memory_equal(a->signal_text, b->signal_text, a->n_signal_text + 1);
    assert_memory_equal(a->answer_text, b->answer_text, a->n_answer_text + 1);
    assert_int_equal(a->n_signal_ids, b->n_signal_ids);
    assert_memory_equal(a->signal_ids, b->signal_ids, a->n_signal_ids * sizeof(int32_t));
    assert_true(!a->answer_ids == !b->answer_ids && a->signal_status == b->signal_status && a->handoff == b->handoff);
    assert_true(a->answer_cut == b->answer_cut && a->signal_cut == b->signal_cut);
    assert_true(a->ledger.M.output_tokens == b->ledger.M.output_tokens && a->ledger.M.cached_tokens == b->ledger.M.cached_tokens);
    assert_true(a->ledger.m.prompt_tokens == b->ledger.m.prompt_tokens && isnan(a->ledger.M.decode_s) == isnan(b->ledger.M.decode_s));
    assert_true(a->ledger.M.estimated == b->ledger.M.estimated && a->ledger.m.estimated == b->ledger.m.estimated);
    assert_true(a->ledger.M.prefill_s == b->ledger.M.prefill_s && a->ledger.total_s == b->ledger.total_s);
}

static void samples_come_back_as_they_were(void **state) {
    (void)state;
    duet_err err = {{0}};
    char key[65];
    bool found = true;
    forget(path);
    for (int round = 0; round < 2; round++) { /* the second time from the disk */
        duet_store *s = opened(path);
        for (size_t i = 0; i < 7; i++) {
            duet_pair_request was = sample(i), got = {0};
            key_of(i, key);
            if (!round) {
                assert_int_equal(duet_store_get(s, key, &got, &err), DUET_END);
                assert_int_equal(duet_store_put(s, key, &was, &found, &err), DUET_OK);
                assert_false(found);
            }
            if (duet_store_get(s, key, &got, &err)) fail_msg("%s", err.text);
            same_sample(&was, &got);
            assert_true(isnan(got.ledger.cost) && got.ledger.M_alone_tokens == SIZE_MAX);
            duet_pair_request_clear(&got);
            duet_pair_request_clear(&was);
        }
        size_t n = 0;
        assert_int_equal(duet_store_count(s, &n, &err), DUET_OK);
        assert_int_equal(n, 7);
        duet_store_close(s);
    }
    /* who comes second has what the first brought */
    duet_store *a = opened(path), *b = opened(path);
    duet_pair_request first = sample(100), second = sample(200);
    key_of(100, key);
    assert_true(duet_store_put(a, key, &first, &found, &err) == DUET_OK && !found);
    assert_true(duet_store_put(b, key, &second, &found, &err) == DUET_OK && found);
    same_sample(&first, &second);
    duet_pair_request_clear(&first);
    duet_pair_request_clear(&second);
    duet_store_close(a);
    duet_store_close(b);
}

static void empty_texts_are_not_missing_ones(void **state) {
    (void)state;
    duet_err err = {{0}};
    bool found = false;
    char key[65];
    forget(path);
    duet_store *s = opened(path);
    duet_pair_request was = {.answer_text = bytes("", 0)}, got = {0};
    key_of(1, key);
    assert_int_equal(duet_store_put(s, key, &was, &found, &err), DUET_OK);
    assert_int_equal(duet_store_get(s, key, &got, &err), DUET_OK);
    assert_true(got.answer_text && !*got.answer_text && !got.n_answer_text && !got.signal_text && !got.signal_ids);
    duet_pair_request_clear(&was);
    duet_pair_request_clear(&got);
    duet_store_close(s);
}

/* ---- many at once ---- */

enum { MANY = 60 };

static void put_many(const char *file, int salt) {
    duet_store *s = NULL;
    duet_err err = {{0}};
    if (duet_store_open(file, 0, &s, &err)) {
        fprintf(stderr, "%s\n", err.text);
        _exit(2);
    }
    for (size_t i = 0; i < MANY; i++) {
        char key[65];
        bool found = false;
        size_t which = salt % 2 ? MANY - 1 - i : i; /* from both ends */
        duet_pair_request r = sample(which), want = sample(which);
        key_of(which, key);
        if (duet_store_put(s, key, &r, &found, &err) || strcmp(r.answer_text, want.answer_text)) _exit(3);
        duet_pair_request_clear(&r);
        duet_pair_request_clear(&want);
    }
    duet_store_close(s);
}

static void check_many(const char *file, size_t at_least) {
    duet_store *s = opened(file);
    duet_err err = {{0}};
    size_t n = 0, sound = 0;
    for (size_t i = 0; i < MANY; i++) {
        char key[65];
        duet_pair_request r = {0};
        key_of(i, key);
        duet_status st = duet_store_get(s, key, &r, &err);
        if (st && st != DUET_END) fail_msg("sample %zu: %s", i, err.text);
        sound += !st;
        duet_pair_request_clear(&r);
    }
    assert_int_equal(duet_store_count(s, &n, &err), DUET_OK);
    assert_true(n == sound && n >= at_least);
    duet_store_close(s);
}

static void processes_share_a_file(void **state) {
    (void)state;
    enum { PROCESSES = 4 };
    pid_t pid[PROCESSES];
    forget(path);
    for (int i = 0; i < PROCESSES; i++) { /* all of them make the file */
        pid[i] = fork();
        assert_true(pid[i] >= 0);
        if (!pid[i]) {
            put_many(path, i);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int how = -1;
        assert_int_equal(waitpid(pid[i], &how, 0), pid[i]);
        if (how) fail_msg("process %d ended with %x", i, (unsigned)how);
    }
    check_many(path, MANY);
}

static void kills_leave_it_sound(void **state) {
    (void)state;
    forget(path);
    for (int i = 0; i < 12; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (!pid) {
            put_many(path, i);
            _exit(0);
        }
        usleep((useconds_t)(dt_rng_at(1, 2, (uint64_t)i) * 8000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        check_many(path, 0);
    }
    put_many(path, 0);
    check_many(path, MANY);
}

/* ---- files that are no store ---- */

static void refused(const char *file, duet_status want, const char *words) {
    duet_store *s = NULL;
    duet_err err = {{0}};
    duet_status st = duet_store_open(file, 0.05, &s, &err);
    if (st != want || s || !strstr(err.text, words) || !strstr(err.text, file) || strchr(err.text, '\n'))
        fail_msg("%s: status %d, '%s'; wanted %d, '%s'", file, (int)st, err.text, (int)want, words);
}

static void write_file(const char *file, const char *text, size_t n) {
    FILE *f = fopen(file, "wb");
    assert_true(f && fwrite(text, 1, n, f) == n && !fclose(f));
}

static void sql(const char *file, const char *text) {
    sqlite3 *db = NULL;
    char *why = NULL;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &why)) fail_msg("%s", why);
    sqlite3_close(db);
}

static void other_files_are_refused(void **state) {
    (void)state;
    dt_buf was = {0}, now = {0};
    forget(other);
    write_file(other, "this is a diary, not a database, and it is longer than a header of a hundred bytes, which is what SQLite reads first", 115);
    refused(other, DUET_E_FORMAT, "not an SQLite file");
    forget(other);
    sql(other, "CREATE TABLE letters(x)");
    assert_int_equal(dt_file_read(other, 1 << 20, &was, NULL), DUET_OK);
    refused(other, DUET_E_FORMAT, "of another program");
    assert_int_equal(dt_file_read(other, 1 << 20, &now, NULL), DUET_OK); /* and left as it is */
    assert_true(was.len == now.len && !memcmp(was.data, now.data, was.len));
    dt_buf_clear(&was);
    dt_buf_clear(&now);
    forget(other);
    duet_store_close(opened(other));
    sql(other, "PRAGMA user_version=99");
    refused(other, DUET_E_FORMAT, "made by a newer duet (format 99");
    refused(dir, DUET_E_IO, "cannot be opened");
    refused("/nowhere/at/all.db", DUET_E_IO, "cannot be opened or made");
    forget(other);
}

static void locked_files_are_waited_for(void **state) {
    (void)state;
    sqlite3 *db = NULL;
    forget(path);
    duet_store_close(opened(path));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    refused(path, DUET_E_IO, "locked by another program for more than 0.05 s");
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    duet_store_close(opened(path));
}

static void read_only_files_are_refused(void **state) {
    (void)state;
    forget(path);
    duet_store_close(opened(path));
    if (!geteuid()) {
        printf("skipped: root may write everywhere\n");
        skip();
    }
    assert_int_equal(chmod(path, 0444), 0);
    refused(path, DUET_E_IO, "read-only");
    chmod(path, 0644);
}

/* Bytes all over the file are changed, one at a time: what is read is what was put, or there is an error; nothing else. */
static void damage_is_noticed(void **state) {
    (void)state;
    dt_buf whole = {0};
    duet_err err = {{0}};
    char key[65];
    size_t noticed = 0, opened_well = 0;
    bool found = false;
    forget(path);
    duet_store *s = opened(path);
    duet_pair_request was = sample(5);
    key_of(5, key);
    assert_int_equal(duet_store_put(s, key, &was, &found, &err), DUET_OK);
    duet_store_close(s);
    assert_int_equal(dt_file_read(path, 1 << 20, &whole, NULL), DUET_OK);
    for (size_t at = 0; at < whole.len; at += 401) {
        duet_pair_request got = {0};
        forget(other);
        whole.data[at] = (char)(whole.data[at] ^ 0x55);
        write_file(other, whole.data, whole.len);
        whole.data[at] = (char)(whole.data[at] ^ 0x55);
        duet_status st = duet_store_open(other, 0.05, &s, &err);
        if (!st) {
            opened_well++;
            st = duet_store_get(s, key, &got, &err);
            if (!st) same_sample(&was, &got);
        }
        noticed += st && st != DUET_END;
        duet_pair_request_clear(&got);
        duet_store_close(s);
    }
    assert_true(opened_well > 0 && noticed > 0);
    sql(path, "UPDATE sample SET answer='another'");
    s = opened(path);
    duet_pair_request got = {0};
    assert_int_equal(duet_store_get(s, key, &got, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "damaged: sample 0000000000000000 is not what was kept"));
    duet_store_close(s);
    duet_pair_request_clear(&was);
    dt_buf_clear(&whole);
}

/* ---- hashes of files ---- */

static void hashes_are_those_of_sha256sum(void **state) {
    (void)state;
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char hex[65], again[65], file[128], model[64];
    size_t n = 0;
    duet_err err = {{0}};
    forget(path);
    duet_store *s = opened(path);
    snprintf(model, sizeof model, "%s/model", dir);
    snprintf(file, sizeof file, "%s/config.json", model);
    assert_int_equal(dt_mkdirs(model, NULL), DUET_OK);
    write_file(file, "abc", 3);
    assert_int_equal(duet_store_hash_file(s, file, hex, &n, &err), DUET_OK);
    assert_string_equal(hex, abc);
    assert_int_equal(n, 3);
    assert_int_equal(duet_store_hash_file(s, model, hex, &n, &err), DUET_OK);
    dt_sha256 h;
    dt_sha256_init(&h);
    dt_sha256_add(&h, abc, 64);
    dt_sha256_add(&h, "  config.json\n", 14);
    dt_sha256_hex(&h, again);
    assert_string_equal(hex, again);
    snprintf(file, sizeof file, "%s/README.md", model); /* a card is no part of the model */
    write_file(file, "words", 5);
    assert_int_equal(duet_store_hash_file(s, model, again, &n, &err), DUET_OK);
    assert_string_equal(hex, again);
    /* what is remembered is used, and not used for a file that changed */
    snprintf(file, sizeof file, "%s/config.json", model);
    duet_store_close(s);
    sql(path, "UPDATE file SET sha256='cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc'");
    s = opened(path);
    assert_int_equal(duet_store_hash_file(s, file, hex, NULL, &err), DUET_OK);
    assert_true(hex[0] == 'c' && hex[63] == 'c');
    write_file(file, "abd", 3);
    assert_int_equal(duet_store_hash_file(s, file, hex, NULL, &err), DUET_OK);
    assert_true(strcmp(hex, abc) && hex[63] != 'c');
    static const char adapter[] = "{\"peft_type\":\"LORA\",\"r\":1,\"lora_alpha\":1,\"target_modules\":[\"q_proj\"],\"base_model_name_or_path\":\"../model\"}";
    char lora[64];
    snprintf(lora, sizeof lora, "%s/lora", dir);
    assert_int_equal(dt_mkdirs(lora, NULL), DUET_OK);
    snprintf(other, sizeof other, "%s/adapter_config.json", lora);
    write_file(other, adapter, sizeof adapter - 1);
    if (duet_store_hash_file(s, lora, hex, NULL, &err)) fail_msg("%s", err.text);
    write_file(file, "abe", 3);
    assert_int_equal(duet_store_hash_file(s, lora, again, NULL, &err), DUET_OK);
    assert_string_not_equal(hex, again); /* another base */
    write_file(file, "abd", 3);
    assert_int_equal(duet_store_hash_file(s, file, hex, NULL, &err), DUET_OK);
    for (int part = 1; part <= 2; part++) {
        snprintf(other, sizeof other, "%s/x-0000%d-of-00002.gguf", dir, part);
        write_file(other, part == 1 ? "abc" : "abd", 3);
    }
    dt_sha256_init(&h);
    dt_sha256_add(&h, abc, 64);
    dt_sha256_add(&h, "  x-00001-of-00002.gguf\n", 24);
    dt_sha256_add(&h, hex, 64);
    dt_sha256_add(&h, "  x-00002-of-00002.gguf\n", 24);
    dt_sha256_hex(&h, again);
    snprintf(other, sizeof other, "%s/x-00001-of-00002.gguf", dir);
    char whole[65];
    assert_int_equal(duet_store_hash_file(s, other, whole, &n, &err), DUET_OK);
    assert_string_equal(whole, again);
    assert_int_equal(n, 6);
    unlink(other);
    assert_int_equal(duet_store_hash_file(s, other, whole, &n, &err), DUET_E_IO);
    snprintf(other, sizeof other, "%s/other.db", dir);
    assert_int_equal(duet_store_hash_file(s, "/nowhere", hex, NULL, &err), DUET_E_IO);
    duet_store_close(s);
    assert_int_equal(duet_store_hash_file(NULL, file, again, NULL, &err), DUET_OK);
    assert_string_equal(hex, again);
}

/* ---- lanes ---- */

typedef struct lanes {
    size_t next, bad_at;
    size_t out[64];
    bool order;
} lanes;

static duet_status square(void *user, size_t i, duet_err *err) {
    lanes *l = user;
    usleep((useconds_t)(dt_rng_at(3, 4, i) * 300));
    if (i + 1 == l->bad_at) return dt_fail(err, DUET_E_BACKEND, "piece %zu", i);
    l->out[i % 16] = i * i;
    return DUET_OK;
}

static void take(void *user, size_t i) {
    lanes *l = user;
    l->order = l->order && i == l->next && l->out[i % 16] == i * i;
    l->next++;
}

static void results_are_handed_on_in_order(void **state) {
    (void)state;
    static const struct {
        size_t n;
        int lanes;
    } cases[] = {{0, 4}, {1, 4}, {50, 1}, {50, 2}, {50, 16}, {50, 40}};
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        lanes l = {.order = true};
        dt_ordered o = {.n = cases[c].n, .lanes = cases[c].lanes, .window = 16, .work = square, .emit = take, .user = &l};
        assert_int_equal(dt_ordered_run(&o, NULL), DUET_OK);
        if (!l.order || l.next != cases[c].n) fail_msg("%zu pieces, %d lanes: %zu handed on", cases[c].n, cases[c].lanes, l.next);
        duet_err err = {{0}};
        l = (lanes){.order = true, .bad_at = 20};
        if (cases[c].n < 20) continue;
        assert_int_equal(dt_ordered_run(&o, &err), DUET_E_BACKEND);
        assert_string_equal(err.text, "piece 19");
        assert_true(l.order && l.next <= 19);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_come_back_as_they_were), cmocka_unit_test(empty_texts_are_not_missing_ones), cmocka_unit_test(processes_share_a_file),
        cmocka_unit_test(kills_leave_it_sound),           cmocka_unit_test(other_files_are_refused),          cmocka_unit_test(locked_files_are_waited_for),
        cmocka_unit_test(read_only_files_are_refused),    cmocka_unit_test(damage_is_noticed),                cmocka_unit_test(hashes_are_those_of_sha256sum),
        cmocka_unit_test(results_are_handed_on_in_order),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
