/* A model that says what nobody expects: nothing, a megabyte, braces without end, towers of powers, division by zero, bytes that are
 * no UTF-8. The run goes on, and results.json and report.html name each. */
#include "support.h"

#include "duet/duet.h"
#include "eval/internal.h"
#include "../format/folder.h"
#include "format/jsonl.h"

#include <time.h>

enum { MEGABYTE = 1 << 20 };

static char *megabyte, *braces;

static const struct {
    const char *id, *truth, *reply; /* NULL: made below */
    const char *kind, *reason;      /* of the problem; NULL = none */
} rows[] = {
    {"fine", "7", "\\boxed{7}", NULL, NULL},
    {"nothing", "7", "", "no_answer", NULL},
    {"megabyte", "7", NULL, "long_answer", NULL},
    {"braces", "7", NULL, "undecided", "nested too deeply"},
    {"tower", "5", "\\boxed{10^{10^{10}}}", NULL, NULL},
    {"huge", "10^{10^{10}}", "\\boxed{10^{10^{10}}+1}", "undecided", NULL},
    {"zero", "5", "\\boxed{\\frac{1}{0}}", "undecided", NULL},
    {"truth", "\\frac{1}{0}", "\\boxed{5}", "undecided", NULL},
    {"bytes", "7", "\xc3\xa9 is \xff \\boxed{7}\xe2\x82", "not_utf8", NULL},
};
enum { N = DT_COUNT(rows) };

/* What the pair would have handed over: samples are made from answers, no model is needed for that. */
static void write_samples(const folder *f) {
    char path[512];
    FILE *file = fopen(folder_at(f, "samples.jsonl", path, sizeof path), "wb");
    assert_non_null(file);
    for (size_t i = 0; i < N; i++) {
        const char *text = rows[i].reply ? rows[i].reply : !strcmp(rows[i].id, "megabyte") ? megabyte : braces;
        duet_example e = {.id = (char *)(uintptr_t)rows[i].id, .question = (char *)(uintptr_t)"?", .answer = (char *)(uintptr_t)rows[i].truth};
        duet_pair_request r = {.signal_text = (char *)(uintptr_t)"so", .n_signal_text = 2, .answer_text = (char *)(uintptr_t)text, .n_answer_text = strlen(text)};
        duet_eval_job j = {.data = "set", .variant = "", .mode = DUET_MODE_DUET, .grader = DUET_GRADE_EXACT};
        clock_t began = clock();
        char *line = duet_eval_sample_line(&j, "\\boxed", &e, &r, 0, duet_grade(j.grader, text, strlen(text), rows[i].truth));
        assert_non_null(line);
        if ((double)(clock() - began) / CLOCKS_PER_SEC > 10) fail_msg("%s took too long", rows[i].id);
        fprintf(file, "%s\n", line);
        free(line);
    }
    assert_int_equal(fclose(file), 0);
}

static const json_t *problem_of(const json_t *results, const char *id, const char *kind) {
    const json_t *p = NULL, *s = NULL;
    size_t i = 0, k = 0;
    json_array_foreach(json_object_get(results, "problems"), i, p) json_array_foreach(json_object_get(p, "samples"), k, s) if (!strcmp(json_string_value(json_object_get(s, "id")), id) &&
                                                                                                                         (!kind || !strcmp(json_string_value(json_object_get(p, "kind")), kind))) return p;
    return NULL;
}

static void each_is_named(void **state) {
    (void)state;
    folder f = folder_make();
    char path[512];
    duet_err err = {{0}};
    json_t *results = NULL;
    dt_buf page = {0};
    write_samples(&f);
    if (duet_eval_results(f.path, "{\"settings\":{\"grader\":\"exact\"}}", &err)) fail_msg("%s", err.text);
    assert_int_equal(dt_json_read(folder_at(&f, "results.json", path, sizeof path), 1 << 20, &results, &err), DUET_OK);
    for (size_t i = 0; i < N; i++) {
        const json_t *p = problem_of(results, rows[i].id, rows[i].kind);
        if (!p != !rows[i].kind) fail_msg("%s: %s", rows[i].id, p ? json_string_value(json_object_get(p, "text")) : "is not named");
        if (!p) continue;
        const char *text = json_string_value(json_object_get(p, "text"));
        if (!strstr(text, rows[i].id)) fail_msg("%s does not say %s", text, rows[i].id);
        if (rows[i].reason && !strstr(text, rows[i].reason)) fail_msg("%s lacks %s", text, rows[i].reason);
        assert_string_equal(json_string_value(json_object_get(p, "data")), "set");
    }
    assert_non_null(strstr(json_string_value(json_object_get(problem_of(results, "megabyte", "long_answer"), "text")), "at most 1048576 bytes"));
    const json_t *row = json_array_get(json_object_get(results, "rows"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "samples")), N); /* none was lost */
    assert_true(json_number_value(json_object_get(json_object_get(row, "avg@k"), "value")) * N > 1.99); /* fine, bytes */

    assert_int_equal(dt_file_read(folder_at(&f, "report.html", path, sizeof path), 1 << 26, &page, &err), DUET_OK);
    assert_non_null(strstr(page.data, "could not be compared with the truth"));
    dt_buf_clear(&page);
    json_decref(results);

    size_t changed = 0; /* and again, from the file */
    if (duet_eval_rescore(f.path, NULL, &changed, &err)) fail_msg("%s", err.text);
    assert_int_equal(changed, 0);
    folder_remove(&f);
}

static void bytes_are_replaced(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa9\xff", "\xc3\xa9\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},             /* too long a form */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* half of a pair */
        {"\xf0\x9f\xa6\x86\x80", "\xf0\x9f\xa6\x86\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        json_t *j = dt_json_text(cases[i].bytes, strlen(cases[i].bytes));
        if (!j || strcmp(json_string_value(j), cases[i].want)) fail_msg("case %zu: %s", i, j ? json_string_value(j) : "NULL");
        json_decref(j);
    }
    json_t *j = dt_json_text("a\0\xff", 3);
    assert_int_equal(json_string_length(j), 5);
    json_decref(j);
}

static int set_up(void **state) {
    (void)state;
    megabyte = malloc(MEGABYTE + 1);
    braces = malloc(4096);
    if (!megabyte || !braces) return 1;
    for (size_t i = 0; i < MEGABYTE; i++)
        megabyte[i] = "so 12 + \\frac{3}{4} (x "[i % 23];
    megabyte[MEGABYTE] = 0;
    strcpy(braces, "\\boxed{");
    memset(braces + 7, '{', 1500);
    braces[1507] = '1';
    memset(braces + 1508, '}', 1501);
    braces[1508 + 1501] = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    free(megabyte);
    free(braces);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_named),
        cmocka_unit_test(bytes_are_replaced),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
