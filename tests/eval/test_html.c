/* report.html: what stands in its JSON blocks is results.json and samples.jsonl again, whatever texts models wrote; a page that
 * would be too large keeps its bound and says so. */
#include "support.h"

#include "duet/duet.h"
#include "eval/internal.h"
#include "../format/folder.h"
#include "format/jsonl.h"

#include <unistd.h>

/* ---- samples with texts that pages break on ---- */

static const char *const nasty[] = {
    "</script><script>alert(1)</script>",
    "<!-- <script> --> ]]> &lt; &amp; <",
    "line\xe2\x80\xa8one\xe2\x80\xa9two",
    "\\boxed{\\frac{1}{2}} \\u003c/script> \\\\\"'`${x}",
    "\xf0\x9f\xa6\x86 \xe4\xbd\xa0\xe5\xa5\xbd \xef\xbf\xbd",
    "tab\there, bell\x07, \r\n\r\nend",
    "",
    "\xe2\x80",  /* not UTF-8: ends within U+2028 */
    "<!-- duet: data --></SCRIPT >",
};
enum { N_NASTY = DT_COUNT(nasty) };

typedef struct lines {
    json_t *v[512];
    size_t n;
} lines;

static void put_text(FILE *f, lines *l, json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    assert_non_null(text);
    fprintf(f, "%s\n", text);
    free(text);
    assert_true(l->n < DT_COUNT(l->v));
    l->v[l->n++] = j;
}

/* A sample as duet_eval_sample_line() makes it. */
static json_t *sample(const char *mode, int id, const char *text, size_t n_text, bool hidden) {
    char name[32], truth[32];
    snprintf(name, sizeof name, "q%d", id);
    snprintf(truth, sizeof truth, "%d", id);
    duet_example e = {.id = name, .question = (char *)(uintptr_t)"What?", .answer = truth, .hidden = hidden};
    duet_pair_request r = {.signal_text = (char *)(uintptr_t)text, .n_signal_text = n_text, .answer_text = (char *)(uintptr_t)text, .n_answer_text = n_text};
    r.ledger.M.output_tokens = 10 + (size_t)id;
    duet_eval_job job = {.data = "set<b>&.jsonl", .variant = "", .mode = !strcmp(mode, "duet") ? DUET_MODE_DUET : DUET_MODE_M};
    char *line = duet_eval_sample_line(&job, "\\boxed", &e, &r, 0, 0);
    assert_non_null(line);
    json_t *j = json_loads(line, JSON_ALLOW_NUL, NULL);
    assert_non_null(j);
    free(line);
    return j;
}

static void free_lines(lines *l) {
    for (size_t i = 0; i < l->n; i++)
        json_decref(l->v[i]);
    l->n = 0;
}

/* ---- looking into the page ---- */

static char *page_of(const folder *f, size_t *n) {
    char path[512];
    dt_buf b = {0};
    duet_err err = {{0}};
    if (dt_file_read(folder_at(f, "report.html", path, sizeof path), 0x10000000, &b, &err)) fail_msg("%s", err.text);
    *n = b.len;
    return dt_buf_take(&b);
}

/* The JSON of the next block that opens with `open` behind *at; NULL = there is none. */
static json_t *next_block(const char **at, const char *open) {
    json_error_t why;
    const char *from = strstr(*at, open);
    if (!from) return NULL;
    from += strlen(open);
    const char *to = strstr(from, "</script>");
    assert_non_null(to);
    for (const char *p = from; p < to; p++)
        if (*p == '<' || *p == '>' || *p == '&' || !memcmp(p, "\xe2\x80\xa8", 3) || !memcmp(p, "\xe2\x80\xa9", 3)) fail_msg("a block has a bare %.8s", p);
    json_t *j = json_loadb(from, (size_t)(to - from), JSON_ALLOW_NUL, &why);
    if (!j) fail_msg("%s: %s", open, why.text);
    *at = to;
    return j;
}

#define BLOCK(what) "<script type=\"application/json\" " what ">"

static json_t *only_block(const char *page, const char *open) {
    json_t *j = next_block(&page, open);
    assert_non_null(j);
    assert_null(strstr(page, open));
    return j;
}

/* All chunks after one another. */
static json_t *all_of(const char *page, const char *open) {
    json_t *all = json_array(), *j = NULL;
    while ((j = next_block(&page, open))) {
        json_array_extend(all, j);
        json_decref(j);
    }
    return all;
}

static size_t count_of(const char *text, const char *what) {
    size_t n = 0;
    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void write_folder(const folder *f, lines *l) {
    char path[512];
    duet_err err = {{0}};
    FILE *file = fopen(folder_at(f, "samples.jsonl", path, sizeof path), "wb");
    assert_non_null(file);
    for (size_t i = 0; i < N_NASTY; i++)
        put_text(file, l, sample("duet", (int)i, nasty[i], strlen(nasty[i]), i % 2));
    put_text(file, l, sample("M", 0, "a\0b</script>", 12, false));
    for (int i = 100; i < 400; i++) /* more than one chunk */
        put_text(file, l, sample("M", i, "\\boxed{101}", 11, false));
    assert_int_equal(fclose(file), 0);
    if (duet_eval_results(f->path, "{\"settings\":{\"note\":\"</script>&\"},\"fingerprint\":{\"x\":\"\\u2028\"}}", &err)) fail_msg("%s", err.text);
}

/* ---- tests ---- */

static void blocks_are_the_files(void **state) {
    (void)state;
    folder f = folder_make();
    lines l = {.n = 0};
    char path[512];
    size_t n = 0;
    write_folder(&f, &l);
    char *page = page_of(&f, &n);
    assert_int_equal(strlen(page), n);
    json_t *chunks = all_of(page, BLOCK("class=\"chunk\"")), *index = all_of(page, BLOCK("class=\"index\"")), *results = only_block(page, BLOCK("id=\"results\"")), *notes = only_block(page, BLOCK("id=\"notes\"")), *file = NULL;
    assert_int_equal(json_array_size(chunks), l.n);
    assert_int_equal(json_array_size(index), l.n);
    for (size_t i = 0; i < l.n; i++) {
        const json_t *x = json_array_get(index, i), *line = l.v[i];
        if (!json_equal(json_array_get(chunks, i), l.v[i])) fail_msg("sample %zu is another one in the page", i);
        const json_t *row = json_array_get(json_object_get(results, "rows"), (size_t)json_integer_value(json_array_get(x, 0)));
        int flags = (int)json_integer_value(json_array_get(x, 1));
        assert_string_equal(json_string_value(json_object_get(row, "mode")), json_string_value(json_object_get(line, "mode")));
        assert_int_equal(flags & 2, json_is_true(json_object_get(json_object_get(line, "strict"), "right")) ? 2 : 0);
        assert_int_equal(flags & 8, json_string_length(json_object_get(line, "answer")) ? 0 : 8);
        assert_int_equal(json_integer_value(json_array_get(x, 2)), json_integer_value(json_object_get(line, "M_tokens")));
        assert_string_equal(json_string_value(json_array_get(x, 5)), json_string_value(json_object_get(line, "id")));
    }
    assert_true(json_is_null(json_object_get(json_array_get(chunks, 1), "question"))); /* hidden */
    assert_int_equal(json_integer_value(json_object_get(notes, "samples")), l.n);
    assert_int_equal(json_integer_value(json_object_get(notes, "shortened")) + json_integer_value(json_object_get(notes, "left_out")), 0);

    json_t *row = NULL; /* results.json, less what the index has */
    size_t i = 0;
    assert_int_equal(dt_json_read(folder_at(&f, "results.json", path, sizeof path), 1 << 20, &file, NULL), DUET_OK);
    json_array_foreach(json_object_get(file, "rows"), i, row) json_object_del(row, "disputed");
    assert_true(json_equal(file, results));
    json_decref(file);
    json_decref(chunks);
    json_decref(index);
    json_decref(results);
    json_decref(notes);
    free(page);
    free_lines(&l);
    folder_remove(&f);
}

/* One page, nothing from elsewhere, and no tag of a text. */
static void page_stands_alone(void **state) {
    (void)state;
    folder f = folder_make();
    lines l = {.n = 0};
    size_t n = 0;
    write_folder(&f, &l);
    char *page = page_of(&f, &n);
    assert_true(!strncmp(page, "<!DOCTYPE html>", 15));
    assert_true(!strcmp(page + n - 8, "</html>\n"));
    assert_int_equal(count_of(page, "<script"), count_of(page, "</script>"));
    assert_int_equal(count_of(page, "<style>"), 1);
    assert_int_equal(count_of(page, "<!-- duet"), 0);
    assert_int_equal(count_of(page, "alert(1)"), count_of(page, "\\u003ealert(1)\\u003c"));
    static const char *const outside[] = {" src=", "@import", "url(", "fetch(", "XMLHttpRequest", "href=\"http", "innerHTML", "eval("};
    for (size_t i = 0; i < DT_COUNT(outside); i++)
        if (strstr(page, outside[i])) fail_msg("the page has %s", outside[i]);
    assert_int_equal(count_of(page, "http://"), count_of(page, "http://www.w3.org/2000/svg"));
    assert_int_equal(count_of(page, "https://"), 0);
    free(page);
    free_lines(&l);
    folder_remove(&f);
}

static void long_texts_lose_their_middle(void **state) {
    (void)state;
    enum { LONG = 3 << 20 };
    folder f = folder_make();
    lines l = {.n = 0};
    char path[512], *text = malloc(LONG);
    size_t n = 0;
    assert_non_null(text);
    for (size_t i = 0; i < LONG; i++) /* two-byte characters, so that most cuts would fall within one */
        text[i] = (char)(i % 2 ? 0xa9 : 0xc3);
    text[0] = 'a';
    text[LONG - 1] = 'z';
    text[1] = text[LONG - 2] = '-';
    FILE *file = fopen(folder_at(&f, "samples.jsonl", path, sizeof path), "wb");
    assert_non_null(file);
    put_text(file, &l, sample("duet", 1, text, LONG, false));
    put_text(file, &l, sample("duet", 2, "short", 5, false));
    fclose(file);
    assert_int_equal(duet_eval_results(f.path, "{}", NULL), DUET_OK);
    char *page = page_of(&f, &n);
    json_t *chunks = all_of(page, BLOCK("class=\"chunk\"")), *notes = only_block(page, BLOCK("id=\"notes\""));
    const char *shown = json_string_value(json_object_get(json_array_get(chunks, 0), "signal"));
    assert_true(strlen(shown) < ((size_t)1 << 20) + 200 && strlen(shown) > ((size_t)1 << 20) - 10);
    assert_true(shown[0] == 'a' && shown[strlen(shown) - 1] == 'z' && strstr(shown, "bytes: samples.jsonl, line 1 ...]"));
    assert_true(json_equal(json_array_get(chunks, 1), l.v[1]));
    assert_true(json_integer_value(json_object_get(notes, "shortened")) >= 2 && !json_integer_value(json_object_get(notes, "left_out")));
    json_decref(chunks);
    json_decref(notes);
    free(page);
    free(text);
    free_lines(&l);
    folder_remove(&f);
}

/* With little room texts are cut shorter; with less, later samples have none; the index has all of them. */
static void page_keeps_its_bound(void **state) {
    (void)state;
    folder f = folder_make();
    lines l = {.n = 0};
    char text[5000], path[512];
    size_t n = 0, room[] = {400000, 100000};
    memset(text, 'x', sizeof text);
    FILE *file = fopen(folder_at(&f, "samples.jsonl", path, sizeof path), "wb");
    assert_non_null(file);
    for (int i = 0; i < 200; i++)
        put_text(file, &l, sample("duet", i, text, sizeof text, false));
    fclose(file);
    assert_int_equal(duet_eval_results(f.path, "{}", NULL), DUET_OK);
    for (size_t k = 0; k < DT_COUNT(room); k++) {
        assert_int_equal(dt_eval_html(f.path, room[k], NULL), DUET_OK);
        char *page = page_of(&f, &n);
        json_t *chunks = all_of(page, BLOCK("class=\"chunk\"")), *index = all_of(page, BLOCK("class=\"index\"")), *notes = only_block(page, BLOCK("id=\"notes\""));
        json_int_t left_out = json_integer_value(json_object_get(notes, "left_out"));
        assert_int_equal(json_array_size(index), 200);
        assert_int_equal(json_array_size(chunks), 200);
        assert_true(n < room[k] + 100000);
        assert_true(json_integer_value(json_object_get(notes, "shortened")) >= 400);
        assert_true(k ? left_out > 0 && left_out < 200 : !left_out);
        assert_int_equal(json_is_null(json_array_get(chunks, 199)), k);
        json_decref(chunks);
        json_decref(index);
        json_decref(notes);
        free(page);
    }
    free_lines(&l);
    folder_remove(&f);
}

static void what_is_missing_is_said(void **state) {
    (void)state;
    folder f = folder_make();
    duet_err err = {{0}};
    char line[] = "{\"data\":\"d\",\"mode\":\"M\",\"variant\":\"\"}\n";
    assert_int_equal(duet_eval_html(f.path, &err), DUET_E_IO);
    folder_put(&f, "results.json", "{\"rows\":1}", 10);
    assert_int_equal(duet_eval_html(f.path, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "results.json: it has no rows"));
    folder_put(&f, "results.json", "{\"rows\":[]}", 11);
    assert_int_equal(duet_eval_html(f.path, &err), DUET_E_IO); /* no samples.jsonl */
    folder_put(&f, "samples.jsonl", line, strlen(line));
    assert_int_equal(duet_eval_html(f.path, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "samples.jsonl: line 1: results.json has no row for this sample"));
    folder_put(&f, "samples.jsonl", "{broken\n", 8);
    assert_int_equal(duet_eval_html(f.path, &err), DUET_E_FORMAT);
    char path[512];
    assert_false(dt_path_exists(folder_at(&f, "report.html", path, sizeof path)));
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_the_files),
        cmocka_unit_test(page_stands_alone),
        cmocka_unit_test(long_texts_lose_their_middle),
        cmocka_unit_test(page_keeps_its_bound),
        cmocka_unit_test(what_is_missing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
