/* Prompts id by id, the signal found again, and the reference's extraction on text. */
#include "text/template.h"
#include "text/text_test.h"

/* A small tokenizer with the merges that matter here: newline pairs and a full stop with its newline. */
static duet_tokenizer *small(bool pair) {
    static const char *const merged[] = {"us", "er", "user", ".\n", "\n\n"};
    static const size_t cut[] = {1, 1, 2, 1, 1};
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    must(duet_tokenizer_build(NULL, merged, cut, pair ? 5 : 4, NULL, &t, &err), &err);
    return t;
}

static dt_tmpl detect(const duet_tokenizer *t) {
    dt_tmpl m;
    duet_err err = {{0}};
    must(dt_tmpl_detect(t, NULL, &m, &err), &err);
    return m;
}

static duet_ids encode(const duet_tokenizer *t, const char *s, int flags) {
    duet_ids ids = {0};
    duet_err err = {{0}};
    must(duet_tokenizer_encode(t, s, strlen(s), flags, &ids, &err), &err);
    return ids;
}

static void test_detect(void **state) {
    (void)state;
    static const char three[] =
        "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":"
        "false},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":[{\"id\":1,\"content\":\"<|im_start|>\"},"
        "{\"id\":2,\"content\":\"<|im_end|>\"},{\"id\":3,\"content\":\"<think>\"}%s]}";
#define CLOSE ",{\"id\":4,\"content\":\"</think>\"}"
#define CHATML                                                                                                         \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "    \
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    static const struct {
        const char *name, *more, *config, *family, *says; /* says NULL: found */
        duet_status st;
    } cases[] = {
        {"no template",        CLOSE, NULL,                                                     NULL,           "chatml-think, ",  DUET_E_UNSUPPORTED},
        {"one that is known",  CLOSE, "{\"chat_template\":\"" CHATML "\"}",                     NULL,           NULL,              DUET_OK           },
        {"another",            CLOSE, "{\"chat_template\":\"{{ bos_token }}[INST]\"}",          NULL,           "none that is known", DUET_E_UNSUPPORTED},
        {"nearly that",        CLOSE, "{\"chat_template\":\"" CHATML " \"}",                    NULL,           "none that is known", DUET_E_UNSUPPORTED},
        {"a broken one",       CLOSE, "{\"chat_template\":\"{{ bos_token\"}",                   NULL,           "not closed",      DUET_E_FORMAT     },
        {"another, named",     CLOSE, "{\"chat_template\":\"{{ bos_token }}[INST]\"}",          "chatml-think", NULL,              DUET_OK           },
        {"several",            CLOSE,
         "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"" CHATML
         "\"}]}",                                                                               NULL,           NULL,              DUET_OK           },
        {"a tag is missing",   "",    NULL,                                                     "chatml-think", "</think>",        DUET_E_UNSUPPORTED},
        {"a mark is missing",  "",    NULL,                                                     "llama3.1",     "start_header_id", DUET_E_UNSUPPORTED},
        {"no such name",       "",    NULL,                                                     "chatlm",       "chatml, ",        DUET_E_USAGE      },
        {"huge number beside", CLOSE, "{\"model_max_length\":1000000000000000019884624838656}", "chatml-think", NULL,              DUET_OK           },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char json[1024];
        duet_tokenizer *t = NULL;
        duet_err err = {{0}};
        dt_tmpl m = {0};
        print_message("case: %s\n", cases[i].name);
        snprintf(json, sizeof json, three, cases[i].more);
        must(dt_tokenizer_parse("file", json, strlen(json), cases[i].config,
                                cases[i].config ? strlen(cases[i].config) : 0, &t, &err),
             &err);
        duet_status st = dt_tmpl_detect(t, cases[i].family, &m, &err);
        assert_int_equal(st, cases[i].st);
        if (st) {
            print_message("  %s\n", err.text);
            assert_non_null(strstr(err.text, cases[i].says));
        } else {
            assert_int_equal(m.n_ends, 1); /* there is no <|endoftext|> */
            assert_int_equal(dt_tmpl_end(&m), 2);
        }
        duet_tokenizer_close(t);
    }
}

/* Where a question spells no mark, the prompt is what the rendered template encodes to. */
static void test_user_is_rendered_text(void **state) {
    (void)state;
    static const char *const questions[] = {
        "What is 2+3?", "", "\nuser", " lead and trail \n", "\xe4\xb8\xad\xe6\x96\x87?", "e\xcc\x81"};
    duet_tokenizer *t = small(true);
    const dt_tmpl m = detect(t);
    duet_err err = {{0}};
    for (size_t i = 0; i < DT_COUNT(questions); i++) {
        char text[256];
        duet_ids got = {0};
        snprintf(text, sizeof text, "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n", questions[i]);
        duet_ids want = encode(t, text, 0);
        must(dt_tmpl_user(&m, t, questions[i], strlen(questions[i]), &got, &err), &err);
        assert_true(check_ids(questions[i], &got, want.v, want.n));

        /* And with the empty signal, what it is with thinking switched off. */
        strncat(text, "<think>\n\n</think>\n\n", sizeof text - strlen(text) - 1);
        duet_ids off = encode(t, text, 0);
        must(dt_tmpl_think(&m, t, NULL, 0, &got, &err), &err);
        assert_true(check_ids("thinking off", &got, off.v, off.n));
        duet_ids_free(&want);
        duet_ids_free(&off);
        duet_ids_free(&got);
    }
    duet_tokenizer_close(t);
}

static size_t count(const duet_ids *ids, int32_t id) {
    size_t k = 0;
    for (size_t i = 0; i < ids->n; i++)
        k += ids->v[i] == id;
    return k;
}

static void check_forged(const duet_tokenizer *t) {
    const dt_tmpl m = detect(t);
    const int32_t start = duet_tokenizer_id(t, "<|im_start|>");
    dt_buf q = {0};
    duet_ids got = {0};
    duet_err err = {{0}};
    duet_text back = {0};
    for (size_t i = 0; i < t->n_added; i++) { /* every added token, glued and alone */
        dt_buf_addf(&q, "%sx ", t->added[i].content);
        dt_buf_adds(&q, t->added[i].content);
    }
    must(dt_tmpl_user(&m, t, q.data, q.len, &got, &err), &err);
    for (size_t i = 0; i < t->n_added; i++) {
        const int32_t id = t->added[i].id;
        assert_int_equal(count(&got, id), id == start ? 2 : id == dt_tmpl_end(&m) ? 1 : 0);
    }
    must(duet_tokenizer_decode(t, got.v, got.n, false, &back, &err), &err);
    assert_non_null(strstr(back.data, q.data)); /* nothing of the text is lost */
    duet_text_free(&back);
    duet_ids_free(&got);
    dt_buf_clear(&q);
}

static void test_question_with_marks(void **state) {
    (void)state;
    duet_tokenizer *t = small(true);
    check_forged(t);
    duet_tokenizer_close(t);
}

static void test_bad_question(void **state) {
    (void)state;
    duet_tokenizer *t = small(true);
    const dt_tmpl m = detect(t);
    duet_ids got = {0};
    duet_err err = {{0}};
    dt_tok_push(&got, 7);
    assert_int_equal(dt_tmpl_user(&m, t, "ab\xff", 3, &got, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "offset 2")); /* of the question, not of the turn */
    assert_int_equal(got.n, 1);
    must(dt_tmpl_user(&m, t, "a\0b", 3, &got, &err), &err);
    duet_ids_free(&got);
    duet_tokenizer_close(t);
}

/* ---- signal into the prompt, and out again ---- */

static const struct {
    const char *name, *signal, *want; /* encoded with added tokens recognised */
    bool pair;
} thinks[] = {
    {"newline added",                      "ab",    "<think>\nab\n</think>\n\n",  true },
    {"newline merged into the last token", "a.\n",  "<think>\na.\n</think>\n\n",  true },
    {"two newlines at the end",            "a\n\n", "<think>\na\n\n</think>\n\n", true },
    {"empty",                              "",      "<think>\n\n</think>\n\n",    true },
    {"empty without the merge",            "",      "<think>\n\n</think>\n\n",    false},
};

static void test_think(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(thinks); i++) {
        duet_tokenizer *t = small(thinks[i].pair);
        const dt_tmpl m = detect(t);
        duet_err err = {{0}};
        duet_ids signal = encode(t, thinks[i].signal, 0), want = encode(t, thinks[i].want, 0), got = {0};
        must(dt_tmpl_think(&m, t, signal.v, signal.n, &got, &err), &err);
        assert_true(check_ids(thinks[i].name, &got, want.v, want.n));

        /* What M would have sampled for this: the same up to the closing tag, and the same signal again. */
        const dt_signal_span s = dt_tmpl_signal(&m, t, got.v, got.n);
        print_message("case: %s: %s\n", thinks[i].name, dt_signal_status_name(s.status));
        assert_int_equal(s.status, signal.n ? DT_SIGNAL_CLOSED : DT_SIGNAL_EMPTY);
        assert_true(same_ids(got.v + s.begin, s.end - s.begin, signal.v, signal.n));
        duet_ids_free(&signal);
        duet_ids_free(&want);
        duet_ids_free(&got);
        duet_tokenizer_close(t);
    }
}

/* Samples are written as text whose tags are ids; "|" cuts, so that newlines can be tokens of their own. */
static const struct {
    const char *name, *sampled, *signal;
    dt_signal_status status;
} spans[] = {
    {"closed",                     "<think>\n|ab|\n</think>",                  "ab",        DT_SIGNAL_CLOSED   },
    {"goes on after the close",    "<think>\n|ab|\n</think>\n\n|42<|im_end|>", "ab",        DT_SIGNAL_CLOSED   },
    {"newline in the last token",  "<think>\n|a.\n</think>",                   "a.\n",      DT_SIGNAL_CLOSED   },
    {"one newline of several",     "<think>\n|\n|a|\n|\n</think>",             "\na\n",     DT_SIGNAL_CLOSED   },
    {"no newlines",                "<think>ab</think>",                        "ab",        DT_SIGNAL_CLOSED   },
    {"blanks stay",                "<think>\n| ab |\n</think>",                " ab ",      DT_SIGNAL_CLOSED   },
    {"prompt had opened",          "ab|\n</think>",                            "ab",        DT_SIGNAL_CLOSED   },
    {"text before the open",       "x<think>ab</think>",                       "ab",        DT_SIGNAL_CLOSED   },
    {"second open",                "<think>a<think>b</think>",                 "a<think>b", DT_SIGNAL_CLOSED   },
    {"a pair after a stray close", "a</think>b<think>c</think>",               "c",         DT_SIGNAL_CLOSED   },
    {"a stray close, then cut",    "a</think>b<think>c",                       "a",         DT_SIGNAL_CLOSED   },
    {"cut",                        "<think>\n|ab",                             "ab",        DT_SIGNAL_TRUNCATED},
    {"cut after a newline",        "<think>\n|ab|\n",                          "ab\n",      DT_SIGNAL_TRUNCATED},
    {"cut at once",                "<think>",                                  "",          DT_SIGNAL_TRUNCATED},
    {"ended its turn inside",      "<think>\n|ab<|im_end|>",                   "ab",        DT_SIGNAL_TRUNCATED},
    {"ended the text inside",      "<think>\n|ab<|endoftext|></think>",        "ab",        DT_SIGNAL_TRUNCATED},
    {"no tags",                    "plain",                                    "plain",     DT_SIGNAL_UNTAGGED },
    {"no tags, untrimmed",         "\n|plain|\n<|im_end|>",                    "\nplain\n", DT_SIGNAL_UNTAGGED },
    {"nothing",                    "",                                         "",          DT_SIGNAL_EMPTY    },
    {"the turn's end alone",       "<|im_end|>",                               "",          DT_SIGNAL_EMPTY    },
    {"empty",                      "<think></think>",                          "",          DT_SIGNAL_EMPTY    },
    {"one newline",                "<think>\n</think>",                        "",          DT_SIGNAL_EMPTY    },
    {"the pair of newlines",       "<think>\n\n</think>",                      "",          DT_SIGNAL_EMPTY    },
    {"newlines",                   "<think>\n|\n\n|\n</think>",                "",          DT_SIGNAL_EMPTY    },
    {"close alone",                "</think>",                                 "",          DT_SIGNAL_EMPTY    },
};

static void test_signal(void **state) {
    (void)state;
    duet_tokenizer *t = small(true);
    const dt_tmpl m = detect(t);
    size_t wrong = 0;
    for (size_t i = 0; i < DT_COUNT(spans); i++) {
        duet_ids ids = {0};
        duet_text got = {0};
        duet_err err = {{0}};
        for (const char *p = spans[i].sampled; *p;) {
            /* A bar that cuts is not the one of <|...|>. */
            size_t n = 0;
            while (p[n] && !(p[n] == '|' && (!n || p[n - 1] != '<') && p[n + 1] != '>'))
                n++;
            must(duet_tokenizer_encode(t, p, n, 0, &ids, &err), &err);
            p += n + (p[n] == '|');
        }
        const dt_signal_span s = dt_tmpl_signal(&m, t, ids.v, ids.n);
        must(duet_tokenizer_decode(t, ids.v + s.begin, s.end - s.begin, false, &got, &err), &err);
        if (s.status != spans[i].status ||
            !check_text(spans[i].name, got.data, got.n, spans[i].signal, strlen(spans[i].signal))) {
            print_message("case: %s: %s\n", spans[i].name, dt_signal_status_name(s.status));
            wrong++;
        }
        duet_text_free(&got);
        duet_ids_free(&ids);
    }
    duet_tokenizer_close(t);
    assert_int_equal(wrong, 0);
}

/* A tag that is spelled by ordinary tokens is data. */
static void test_spelled_tag(void **state) {
    (void)state;
    duet_tokenizer *t = small(true);
    const dt_tmpl m = detect(t);
    duet_ids ids = encode(t, "<think>", 0), rest = encode(t, "a</think>b", DUET_ENC_PLAIN);
    dt_tok_append(&ids, rest.v, rest.n);
    const dt_signal_span s = dt_tmpl_signal(&m, t, ids.v, ids.n);
    assert_int_equal(s.status, DT_SIGNAL_TRUNCATED);
    assert_int_equal(s.end, ids.n);
    duet_ids_free(&ids);
    duet_ids_free(&rest);
    duet_tokenizer_close(t);
}

static void test_status_names(void **state) {
    (void)state;
    assert_string_equal(dt_signal_status_name(DT_SIGNAL_CLOSED), "closed");
    assert_string_equal(dt_signal_status_name(DT_SIGNAL_TRUNCATED), "truncated");
    assert_string_equal(dt_signal_status_name(DT_SIGNAL_UNTAGGED), "untagged");
    assert_string_equal(dt_signal_status_name(DT_SIGNAL_EMPTY), "empty");
}

/* ---- the reference on text: the nine rows of the algorithm's table, and the edges of its trimming ---- */

static const struct {
    const char *name, *text, *want;
} extracts[] = {
    {"closed",             "<think>\na b\n</think>\n\n42", "a b"         },
    {"only a close",       "a b\n</think>\n42",            "a b"         },
    {"empty",              "<think>\n\n</think>\n\nx",     ""            },
    {"only an open",       "<think>\na b",                 "<think>\na b"},
    {"text before",        "x <think>a</think> y",         "a"           },
    {"open inside",        "<think>a<think>b</think>c",    "a<think>b"   },
    {"pair after a close", "a</think>b<think>c</think>",   "c"           },
    {"close, then open",   "a</think>b<think>c",           "a"           },
    {"plain",              "plain",                        "plain"       },
    {"plain, untrimmed",   " plain\n",                     " plain\n"    },
    {"nothing",            "",                             ""            },
    {"wide blanks",
     "<think>\xe3\x80\x80\xc2\xa0"
     "a\xe2\x80\xa8\x1c\xc2\x85</think>",                  "a"           },
    {"zero width stays",
     "<think>\xe2\x80\x8b"
     "a</think>",                                          "\xe2\x80\x8b"
     "a"                                                },
    {"only blanks",        " \n\t</think>",                ""            },
};

static void test_extract_text(void **state) {
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < DT_COUNT(extracts); i++) {
        const char *got = NULL;
        size_t n = 0;
        dt_signal_extract_text(extracts[i].text, strlen(extracts[i].text), &got, &n);
        wrong += !check_text(extracts[i].name, got, n, extracts[i].want, strlen(extracts[i].want));
    }
    assert_int_equal(wrong, 0);
}

/* ---- Qwen3 itself ---- */

static void test_qwen3(void **state) {
    (void)state;
    duet_tokenizer *t = golden_tokenizer("qwen3");
    if (!t)
        skip();
    const dt_tmpl m = detect(t);
    duet_ids got = {0}, signal = encode(t, "2+3 is 5.\n", 0);
    duet_err err = {{0}};
    static const int32_t empty[] = {151667, 271, 151668, 271},
                         full[] = {151667, 198, 17, 10, 18, 374, 220, 20, 624, 151668, 271};
    assert_int_equal(dt_tmpl_end(&m), 151645);
    must(dt_tmpl_think(&m, t, NULL, 0, &got, &err), &err);
    assert_true(check_ids("empty signal", &got, empty, DT_COUNT(empty)));
    got.n = 0;
    must(dt_tmpl_think(&m, t, signal.v, signal.n, &got, &err), &err);
    assert_true(check_ids("signal that ends with .\\n", &got, full, DT_COUNT(full)));
    check_forged(t);
    duet_ids_free(&got);
    duet_ids_free(&signal);
    duet_tokenizer_close(t);
}

/* Every golden conversation of one user turn with a generation prompt, against what its rendering encodes to. */
static void test_golden_chat(void **state) {
    (void)state;
    duet_tokenizer *t = golden_tokenizer("qwen3");
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    duet_err err = {{0}};
    char path[1024];
    size_t n = 0;
    if (!t)
        skip();
    const dt_tmpl m = detect(t);
    snprintf(path, sizeof path, "%s/golden/chat/Qwen3.jsonl", DUET_SHARED);
    must(dt_jsonl_open(path, &r, &err), &err);
    for (; dt_jsonl_next(r, &row, &err) == DUET_OK; json_decref(row)) {
        const json_t *messages = json_object_get(row, "messages"), *first = json_array_get(messages, 0);
        const json_t *kwargs = json_object_get(row, "kwargs"), *q = json_object_get(first, "content");
        const char *expected = json_string_value(json_object_get(row, "expected"));
        duet_ids got = {0};
        if (json_array_size(messages) != 1 || strcmp(json_string_value(json_object_get(first, "role")), "user") ||
            !json_is_string(q) || !json_is_null(json_object_get(row, "tools")) ||
            !json_is_true(json_object_get(kwargs, "add_generation_prompt")) || strstr(json_string_value(q), "<|") ||
            strstr(json_string_value(q), "think>"))
            continue;
        duet_ids want = encode(t, expected, 0);
        must(dt_tmpl_user(&m, t, json_string_value(q), json_string_length(q), &got, &err), &err);
        if (json_is_false(json_object_get(kwargs, "enable_thinking")))
            must(dt_tmpl_think(&m, t, NULL, 0, &got, &err), &err);
        assert_true(check_ids(expected, &got, want.v, want.n));
        n++;
        duet_ids_free(&got);
        duet_ids_free(&want);
    }
    dt_jsonl_close(r);
    duet_tokenizer_close(t);
    assert_true(n >= 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_user_is_rendered_text),
        cmocka_unit_test(test_question_with_marks),
        cmocka_unit_test(test_bad_question),
        cmocka_unit_test(test_think),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_spelled_tag),
        cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_extract_text),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_golden_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
