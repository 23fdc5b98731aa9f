/* JSON texts and lines: what is a line, what is refused, and that reading goes on after a bad one. */
#include "format/folder.h"
#include "format/jsonl.h"

/* Reads all lines; writes one letter each: o object, e error. */
static void letters(dt_jsonl *r, char *out, size_t n, char *last_error) {
    json_t *j = NULL;
    duet_err err = {{0}};
    size_t at = 0;
    for (duet_status st; (st = dt_jsonl_next(r, &j, &err)) != DUET_END && at + 1 < n;) {
        out[at++] = st == DUET_OK ? 'o' : st == DUET_E_FORMAT ? 'e' : '?';
        if (st)
            snprintf(last_error, sizeof err.text, "%s", err.text);
        if (st && j)
            fail_msg("an object came with an error");
        json_decref(j);
    }
    out[at] = 0;
}

static const struct {
    const char *name, *text, *want, *says;
} cases[] = {
    {"empty",               "",                                        "",    NULL         },
    {"one",                 "{\"a\":1}\n",                             "o",   NULL         },
    {"no newline at end",   "{}\n{\"a\":1}",                           "oo",  NULL         },
    {"blank lines",         "\n  \n{}\n\t\r\n{}\n\n",                  "oo",  NULL         },
    {"CRLF",                "{}\r\n{}\r\n",                            "oo",  NULL         },
    {"raw line separators", "{\"a\":\"x\xe2\x80\xa8y\xc2\x85z\"}\n{}", "oo",  NULL         },
    {"goes on",             "{}\n{\"a\":\n{}\n",                       "oeo", "line 2"     },
    {"a list",              "[1]\n{}\n",                               "eo",  "object"     },
    {"a number",            "3\n",                                     "e",   "line 1"     },
    {"two on a line",       "{} {}\n",                                 "e",   "line 1"     },
    {"invalid UTF-8",       "{\"a\":\"\xff\"}\n{}\n",                  "eo",  "0xff"       },
    {"surrogate as UTF-8",  "{\"a\":\"\xed\xa0\x80\"}\n",              "e",   "decode byte"},
    {"repeated key",        "{\"a\":1,\"a\":2}\n",                     "e",   "duplicate"  },
    {"escaped NUL",         "{\"a\":\"x\\u0000y\"}\n",                 "o",   NULL         },
    {"lone surrogate",      "{\"a\":\"\\ud800\"}\n",                   "e",   "line 1"     },
    {"number too large",    "{\"a\":1e999}\n{}\n",                     "eo",  "line 1"     },
};

static void test_lines(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512], got[32], why[512];
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        folder_put(&dir, "x.jsonl", cases[i].text, strlen(cases[i].text));
        for (int mem = 0; mem < 2; mem++) {
            duet_err err = {{0}};
            dt_jsonl *r = NULL;
            why[0] = 0;
            duet_status st = mem ? dt_jsonl_open_mem("memory", cases[i].text, strlen(cases[i].text), &r, &err)
                                 : dt_jsonl_open(folder_at(&dir, "x.jsonl", path, sizeof path), &r, &err);
            if (st)
                fail_msg("%s", err.text);
            letters(r, got, sizeof got, why);
            if (strcmp(got, cases[i].want))
                fail_msg("%s (%s): \"%s\" (%s), wanted \"%s\"", cases[i].name, mem ? "memory" : "file", got, why,
                         cases[i].want);
            if (cases[i].says && !strstr(why, cases[i].says))
                fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].name, why, cases[i].says);
            dt_jsonl_close(r);
        }
    }
    folder_remove(&dir);
}

/* A NUL byte in the file ends nothing silently; texts with \u0000 keep their length. */
static void test_nul(void **state) {
    (void)state;
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *j = NULL;
    static const char bytes[] = "{\"a\":1}\0\n{\"a\":\"x\\u0000y\"}\n";
    assert_int_equal(dt_jsonl_open_mem("m", bytes, sizeof bytes - 1, &r, &err), DUET_OK);
    assert_int_equal(dt_jsonl_next(r, &j, &err), DUET_E_FORMAT);
    assert_int_equal(dt_jsonl_next(r, &j, &err), DUET_OK);
    assert_int_equal(dt_jsonl_line(r), 2);
    assert_int_equal(json_string_length(json_object_get(j, "a")), 3);
    json_decref(j);
    dt_jsonl_close(r);
}

/* A line over the cap is refused without being kept, and the next one is read. */
static void test_line_cap(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512];
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *j = NULL;
    FILE *f = fopen(folder_at(&dir, "long.jsonl", path, sizeof path), "wb");
    assert_non_null(f);
    static char chunk[1 << 20];
    memset(chunk, ' ', sizeof chunk);
    for (size_t i = 0; i <= DT_JSONL_MAX_LINE / sizeof chunk; i++)
        assert_int_equal(fwrite(chunk, 1, sizeof chunk, f), sizeof chunk);
    fputs("{}\n{\"next\":1}\n", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(dt_jsonl_open(path, &r, &err), DUET_OK);
    assert_int_equal(dt_jsonl_next(r, &j, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "at most"));
    assert_int_equal(dt_jsonl_next(r, &j, &err), DUET_OK);
    assert_non_null(json_object_get(j, "next"));
    json_decref(j);
    dt_jsonl_close(r);
    folder_remove(&dir);
}

static void test_refused_files(void **state) {
    (void)state;
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *j = NULL;
    folder dir = folder_make();
    assert_int_equal(dt_jsonl_open("/nowhere.jsonl", &r, &err), DUET_E_IO);
    assert_null(r);
    assert_int_equal(dt_jsonl_open(dir.path, &r, &err), DUET_OK); /* a folder opens, and then cannot be read */
    assert_int_equal(dt_jsonl_next(r, &j, &err), DUET_E_IO);
    assert_non_null(strstr(err.text, "directory"));
    dt_jsonl_close(r);
    char path[512];
    folder_put(&dir, "big.json", "[1,2,3]", 7);
    assert_int_equal(dt_json_read(folder_at(&dir, "big.json", path, sizeof path), 6, &j, &err), DUET_E_RANGE);
    assert_int_equal(dt_json_read(path, 7, &j, &err), DUET_OK);
    json_decref(j);
    folder_remove(&dir);
}

static void test_deep(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    duet_err err = {{0}};
    json_t *j = NULL;
    char *text = malloc(DEEP);
    assert_non_null(text);
    memset(text, '[', DEEP);
    assert_int_equal(dt_json_parse("deep", text, DEEP, &j, &err), DUET_E_FORMAT);
    assert_null(j);
    free(text);
}

/* What dt_json_line writes reads back as the same numbers, on one line. */
static void test_line_round_trip(void **state) {
    (void)state;
    duet_err err = {{0}};
    json_t *again = NULL;
    json_t *j = json_pack("{s:f, s:f, s:I, s:s}", "third", 1.0 / 3, "tiny", 5e-324, "big", (json_int_t)INT64_MAX,
                          "text", "a\nb\xe2\x80\xa8");
    char *line = dt_json_line(j);
    assert_non_null(line);
    assert_null(strchr(line, '\n'));
    if (dt_json_parse("line", line, strlen(line), &again, &err))
        fail_msg("%s", err.text);
    assert_true(json_equal(j, again));
    free(line);
    json_decref(again);
    json_decref(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),         cmocka_unit_test(test_nul),  cmocka_unit_test(test_line_cap),
        cmocka_unit_test(test_refused_files), cmocka_unit_test(test_deep), cmocka_unit_test(test_line_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
