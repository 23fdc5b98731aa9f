/* Chat templates against the originals: what Jinja renders, conversation by conversation. */
#include "text/render.h"
#include "text/text_test.h"

#include <dirent.h>

typedef struct tally {
    size_t rows, wrong;
} tally;

/* The family of a golden template file; the file is what a model would carry. */
static const dt_family *family_of(const char *dir, const char *file) {
    char path[1024], print[DT_FINGERPRINT];
    dt_buf text = {0};
    duet_err err = {{0}};
    snprintf(path, sizeof path, "%s/templates/%s", dir, file);
    must(dt_file_read(path, 1 << 20, &text, &err), &err);
    must(dt_template_fingerprint(text.data, text.len, print, &err), &err);
    const dt_family *f = dt_family_of(print);
    if (!f)
        fail_msg("%s: its form %s is not known", file, print);
    dt_buf_clear(&text);
    return f;
}

/* A row as a request: its keyword arguments stand beside the messages. */
static json_t *request_of(const json_t *row) {
    json_t *in = json_object();
    json_object_update(in, json_object_get(row, "kwargs"));
    json_object_set(in, "messages", json_object_get(row, "messages"));
    json_object_set(in, "tools", json_object_get(row, "tools"));
    return in;
}

/* Is this what a template itself says when it refuses, and no trouble of Jinja's? */
static bool own_words(const char *error) {
    const size_t n = strlen(error);
    return n && (error[n - 1] == '!' || error[n - 1] == '.');
}

static void check_row(const dt_family *f, const json_t *row, tally *t) {
    const json_t *expected = json_object_get(row, "expected"), *error = json_object_get(row, "error");
    const char *id = json_string_value(json_object_get(row, "id"));
    json_t *in = request_of(row);
    dt_page page = {0};
    dt_chat c;
    duet_err err = {{0}};
    duet_status st = dt_chat_read(f, in, &c, &err);
    if (!st)
        st = dt_chat_render(&c, &page, &err);
    t->rows++;
    if (expected && st) {
        print_message("case: %s %s: %s\n", f->name, id, err.text);
        t->wrong++;
    } else if (expected) {
        t->wrong += !check_text(id, page.text.data, page.text.len, json_string_value(expected),
                                json_string_length(expected));
    } else if (!st || (own_words(json_string_value(error)) && strcmp(err.text, json_string_value(error)) != 0)) {
        print_message("case: %s %s: wanted the error %s, got %s\n", f->name, id, json_string_value(error), err.text);
        t->wrong++;
    }
    dt_page_clear(&page);
    json_decref(in);
}

static tally check_file(const char *dir, const char *file) {
    char path[1024];
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    duet_err err = {{0}};
    tally t = {0};
    snprintf(path, sizeof path, "%s/%s", dir, file);
    must(dt_jsonl_open(path, &r, &err), &err);
    for (; dt_jsonl_next(r, &row, &err) == DUET_OK; json_decref(row))
        check_row(family_of(dir, json_string_value(json_object_get(row, "template"))), row, &t);
    dt_jsonl_close(r);
    print_message("%s: %zu conversations, %zu wrong\n", file, t.rows, t.wrong);
    return t;
}

static tally check_folder(const char *dir) {
    tally all = {0};
    DIR *d = opendir(dir);
    if (!d) {
        printf("skipped: %s is not there\n", dir);
        return all;
    }
    for (const struct dirent *e; (e = readdir(d));) {
        const size_t n = strlen(e->d_name);
        if (n < 6 || strcmp(e->d_name + n - 6, ".jsonl") != 0)
            continue;
        const tally t = check_file(dir, e->d_name);
        all.rows += t.rows;
        all.wrong += t.wrong;
    }
    closedir(d);
    return all;
}

static void test_shared_vectors(void **state) {
    (void)state;
    if (!dt_path_exists(DUET_SHARED "/golden/chat")) {
        printf("skipped: golden/chat is not there\n");
        skip();
    }
    const tally t = check_folder(DUET_SHARED "/golden/chat");
    assert_int_equal(t.wrong, 0);
    assert_true(t.rows >= 600);
}

static void test_own_vectors(void **state) {
    (void)state;
    const tally t = check_folder(DUET_ROOT "/tests/golden/chat");
    assert_int_equal(t.wrong, 0);
    assert_true(t.rows >= 100);
}

/* ---- the form of a template ---- */

static const struct {
    const char *name, *a, *b;
    bool same;
} forms[] = {
    {"blanks in a tag",             "{{ a+b }}",                         "{{a + b}}",                        true },
    {"words stay apart",            "{% if not a %}x{% endif %}",        "{% if nota %}x{% endif %}",        false},
    {"quotes",                      "{{ 'a' }}",                         "{{ \"a\" }}",                      true },
    {"escape or character",         "{{ 'a\\n' }}",                      "{{ 'a\n' }}",                      true },
    {"blanks in a literal",         "{{ 'a b' }}",                       "{{ 'ab' }}",                       false},
    {"a literal is no code",        "{{ 'a' + 'b' }}",                   "{{ 'a\\' + \\'b' }}",              false},
    {"comments",                    "{# x #}{{ a }}",                    "{{ a }}",                          true },
    {"minus takes white space",     "{%- if a -%}\n  x{% endif %}",      "{% if a %}x{% endif %}",           true },
    {"a block's newline goes",      "{% if a %}\nx{% endif %}",          "{% if a %}x{% endif %}",           true },
    {"a print's newline stays",     "{{ a }}\nx",                        "{{ a }}x",                         false},
    {"blanks before a block go",    "x\n  {% if a %}y{% endif %}",       "x\n{% if a %}y{% endif %}",        true },
    {"unless it has company",       "x {% if a %}y{% endif %}",          "x{% if a %}y{% endif %}",          false},
    {"blanks before a print stay",  "x\n  {{ a }}",                      "x\n{{ a }}",                       false},
    {"the last newline goes",       "{{ a }}\n",                         "{{ a }}",                          true },
    {"raw text counts",             "{{ a }}x",                          "{{ a }}y",                         false},
    {"raw text is no tag",          "{{ a }}b",                          "{{ a }}{{ b }}",                   false},
    {"print is not do",             "{{ a }}",                           "{% a %}",                          false},
    {"braces in a literal",         "{{ '}}' }}x",                       "{{ '' }}' }}x",                    false},
};

static void test_form(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < DT_COUNT(forms); i++) {
        dt_buf a = {0}, b = {0};
        duet_err err = {{0}};
        must(dt_template_form(forms[i].a, strlen(forms[i].a), &a, &err), &err);
        must(dt_template_form(forms[i].b, strlen(forms[i].b), &b, &err), &err);
        const bool same = a.len == b.len && !memcmp(a.data, b.data, a.len);
        if (same != forms[i].same) {
            print_message("case: %s\n  %s\n  %s\n", forms[i].name, a.data, b.data);
            wrong++;
        }
        dt_buf_clear(&a);
        dt_buf_clear(&b);
    }
    assert_int_equal(wrong, 0);
}

/* ---- JSON as Python writes it ---- */

static const struct {
    const char *in, *want, *indented;
} jsons[] = {
    {"{}",                                 "{}",                                    "{}"                                           },
    {"[]",                                 "[]",                                    "[]"                                           },
    {"{\"b\":1,\"a\":[1,2]}",              "{\"b\": 1, \"a\": [1, 2]}",             "{\n  \"b\": 1,\n  \"a\": [\n    1,\n    2\n  ]\n}"},
    {"[true,false,null]",                  "[true, false, null]",                   "[\n  true,\n  false,\n  null\n]"              },
    {"[1.0,0.1,1e16,1e-5,123456.75]",      "[1.0, 0.1, 1e+16, 1e-05, 123456.75]",   NULL                                           },
    {"[1e22,-2.5,0.0001,1e15,3e-7,1.5e300]", "[1e+22, -2.5, 0.0001, 1000000000000000.0, 3e-07, 1.5e+300]", NULL                   },
    {"[0.30000000000000004,5e-324,-0.0]",  "[0.30000000000000004, 5e-324, -0.0]",   NULL                                           },
    {"[\"a\\\"\\\\\\n\\t\\u0001\\u007f/\"]", "[\"a\\\"\\\\\\n\\t\\u0001\x7f/\"]",   NULL                                           },
    {"[\"\xc3\xa9\xe2\x80\x94\"]",         "[\"\xc3\xa9\xe2\x80\x94\"]",            NULL                                           },
};

static void test_json(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(jsons); i++) {
        json_t *j = json_loads(jsons[i].in, 0, NULL);
        dt_buf b = {0};
        assert_non_null(j);
        assert_true(dt_json_py(j, 0, &b));
        assert_string_equal(b.data, jsons[i].want);
        if (jsons[i].indented) {
            b.len = 0;
            assert_true(dt_json_py(j, 2, &b));
            assert_string_equal(b.data, jsons[i].indented);
        }
        dt_buf_clear(&b);
        json_decref(j);
    }
}

/* ---- requests ---- */

static const struct {
    const char *name, *family, *in, *want, *says;
} requests[] = {
    {"no messages",         "chatml",   "{}",                                                                 NULL, "messages is missing" },
    {"messages no array",   "chatml",   "{\"messages\":{}}",                                                  NULL, "messages is an object"},
    {"message no object",   "chatml",   "{\"messages\":[1]}",                                                 NULL, "messages[0] is a number"},
    {"no role",             "chatml",   "{\"messages\":[{\"content\":\"a\"}]}",                               NULL, "messages[0].role is missing"},
    {"no content",          "chatml",   "{\"messages\":[{\"role\":\"user\"}]}",                               NULL, "messages[0].content is missing"},
    {"content null",        "llama3.1", "{\"messages\":[{\"role\":\"user\",\"content\":null}]}",              NULL, "content is null"     },
    {"flag no flag",        "chatml",   "{\"messages\":[],\"add_generation_prompt\":1}",                      NULL, "add_generation_prompt is a number"},
    {"tools no array",      "qwen3",    "{\"messages\":[],\"tools\":\"x\"}",                                  NULL, "tools is a string"   },
    {"built-in tools",      "llama3.1", "{\"messages\":[],\"builtin_tools\":[]}",                             NULL, "builtin_tools"       },
    {"nothing said",        "qwen3",    "{\"messages\":[]}",                                                  NULL, "empty"               },
    {"nothing at all",      "chatml",   "{\"messages\":[],\"add_generation_prompt\":true}",                   "<|im_start|>assistant\n", NULL},
    {"other keys",          "chatml",   "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"id\":[7],\"enable_thinking\":null}",
     "<|im_start|>user\na<|im_end|>\n",                                                                                             NULL},
    {"two users, gemma",    "gemma3",   "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}", NULL,
     "must alternate"                                                                                                                   },
    {"an image",            "gemma3",   "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", NULL, "only text"     },
    {"tools, no user",      "llama3.2", "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}],\"tools\":[]}", NULL, "no first user message"},
    {"a call without name", "qwen3",
     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"arguments\":{}}]}]}",        NULL, "name of a tool call" },
    {"arguments as object", "deepseek-r1",
     "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
     "\"arguments\":{}}}]}]}",                                                                                NULL, "as a string"         },
};

static void test_requests(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(requests); i++) {
        duet_text out = {0};
        duet_err err = {{0}};
        const char *in = requests[i].in;
        print_message("case: %s\n", requests[i].name);
        duet_status st = duet_template_render(NULL, requests[i].family, in, strlen(in), &out, &err);
        if (requests[i].want) {
            must(st, &err);
            assert_string_equal(out.data, requests[i].want);
        } else {
            assert_int_equal(st, DUET_E_FORMAT);
            assert_non_null(strstr(err.text, requests[i].says));
            assert_null(out.data);
        }
        duet_text_free(&out);
    }
}

/* Today's date, where the template asks for it. */
static void test_today(void **state) {
    (void)state;
    static const char in[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    duet_text out = {0};
    duet_err err = {{0}};
    must(duet_template_render(NULL, "llama3.2", in, strlen(in), &out, &err), &err);
    int day = 0, year = 0;
    char month[4];
    const char *at = strstr(out.data, "Today Date: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "Today Date: %2d %3s %4d\n\n<|eot_id|>", &day, month, &year), 3);
    assert_true(day >= 1 && day <= 31 && year >= 2025);
    duet_text_free(&out);
}

static void test_names(void **state) {
    (void)state;
    size_t n = 0;
    const char *title = NULL;
    for (const char *name; (name = duet_template_known(n, &title)); n++) {
        assert_true(*title);
        for (size_t i = 0; i < n; i++)
            assert_string_not_equal(duet_template_known(i, NULL), name);
        assert_string_equal(dt_family_find(name)->name, name);
    }
    assert_true(n >= 15);
    assert_null(dt_family_find("no such"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_vectors), cmocka_unit_test(test_own_vectors), cmocka_unit_test(test_form),
        cmocka_unit_test(test_json),           cmocka_unit_test(test_requests),    cmocka_unit_test(test_today),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
