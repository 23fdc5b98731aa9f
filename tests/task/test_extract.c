/* Extraction: each style by a table, then the shared cases. */
#include "support.h"

#include "duet/grade.h"

#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 20
#else
#define SLOWER 1
#endif

static const struct {
    const char *name;
    duet_style style;
    bool lenient;
    const char *text, *want;
} cases[] = {
    {"plain",                DUET_STYLE_BOXED,         false, "so \\boxed{42}.",                                  "42"          },
    {"nested braces",        DUET_STYLE_BOXED,         false, "\\boxed{\\frac{1}{2}}",                            "\\frac{1}{2}"},
    {"last wins",            DUET_STYLE_BOXED,         false, "\\boxed{1}, no: \\boxed{2}",                       "2"           },
    {"box in a box",         DUET_STYLE_BOXED,         false, "\\boxed{\\boxed{3}}",                              "3"           },
    {"unclosed",             DUET_STYLE_BOXED,         false, "\\boxed{3",                                        NULL          },
    {"unclosed hides",       DUET_STYLE_BOXED,         false, "\\boxed{1} and \\boxed{2",                         NULL          },
    {"escaped brace",        DUET_STYLE_BOXED,         false, "\\boxed{\\{1\\}}",                                 "\\{1\\}"     },
    {"blank form",           DUET_STYLE_BOXED,         false, "\\boxed 7$",                                       "7"           },
    {"blank and brace",      DUET_STYLE_BOXED,         false, "\\boxed {7}",                                      "7"           },
    {"bare word",            DUET_STYLE_BOXED,         false, "put it in \\boxed form",                           NULL          },
    {"word after a box",     DUET_STYLE_BOXED,         false, "\\boxed{5} is in \\boxed form",                    "5"           },
    {"strict: no box",       DUET_STYLE_BOXED,         false, "The answer is 5.",                                 NULL          },
    {"lenient: no box",      DUET_STYLE_BOXED,         true,  "The answer is 5.",                                 "5"           },
    {"letter",               DUET_STYLE_ANSWER_LETTER, false, "Answer: C",                                        "C"           },
    {"small letter",         DUET_STYLE_ANSWER_LETTER, false, "answer: c",                                        "C"           },
    {"an article",           DUET_STYLE_ANSWER_LETTER, false, "Answer: a long story",                             NULL          },
    {"a word",               DUET_STYLE_ANSWER_LETTER, false, "Answer: Carbon",                                   NULL          },
    {"letter, last wins",    DUET_STYLE_ANSWER_LETTER, false, "Answer: A. No.\nAnswer: B",                        "B"           },
    {"bold",                 DUET_STYLE_ANSWER_LETTER, false, "**Answer:** **(D)**",                              "D"           },
    {"full-width colon",     DUET_STYLE_ANSWER_LETTER, false, "Answer\xEF\xBC\x9A" "B",                           "B"           },
    {"answer is",            DUET_STYLE_ANSWER_LETTER, false, "So the answer is (B).",                            "B"           },
    {"answer is, small",     DUET_STYLE_ANSWER_LETTER, false, "the answer is b",                                  NULL          },
    {"boxed letter",         DUET_STYLE_ANSWER_LETTER, false, "\\boxed{\\text{A}}",                               "A"           },
    {"strict: any letter",   DUET_STYLE_ANSWER_LETTER, false, "B. Since it is so",                                NULL          },
    {"lenient: any letter",  DUET_STYLE_ANSWER_LETTER, true,  "B. Since it is so",                                "B"           },
    {"no letter",            DUET_STYLE_LETTER_ANY,    false, "No valid answer here",                             NULL          },
    {"hashes",               DUET_STYLE_GSM8K,         false, "x\n#### 1,234.50 dollars",                         "1234.50"     },
    {"hashes, currency",     DUET_STYLE_GSM8K,         false, "#### -$5",                                         "-5"          },
    {"hashes, last",         DUET_STYLE_GSM8K,         false, "#### 1\n####2",                                    "2"           },
    {"hashes, nothing",      DUET_STYLE_GSM8K,         false, "#### none",                                        NULL          },
    {"three hashes",         DUET_STYLE_GSM8K,         false, "### 5",                                            NULL          },
    {"lenient: no hashes",   DUET_STYLE_GSM8K,         true,  "that makes 1,005 in all",                          "1005"        },
    {"free: box first",      DUET_STYLE_FREE,          false, "The answer is 4. \\boxed{5} 6",                    "5"           },
    {"free: hope",           DUET_STYLE_FREE,          false, "the final answer is $(1,2)$. I hope it is 3",      "(1,2)"       },
    {"free: answer is",      DUET_STYLE_FREE,          false, "The answer is: **17**. Not 18",                    "17"          },
    {"free: number",         DUET_STYLE_FREE,          false, "7 + 5 = 1,012",                                    "1012"        },
    {"free: minus",          DUET_STYLE_FREE,          false, "down to -12 degrees",                              "-12"         },
    {"free: no minus",       DUET_STYLE_FREE,          false, "from 3-12",                                        "12"          },
    {"free: nothing",        DUET_STYLE_FREE,          false, "I do not know",                                    NULL          },
    {"empty",                DUET_STYLE_FREE,          true,  "",                                                 NULL          },
    {"reference: first",     DUET_STYLE_GPQA_FIRST,    false, "Answer: B, no: Answer: C",                         "B"           },
    {"reference: a word",    DUET_STYLE_GPQA_FIRST,    false, "Answer: cannot tell",                              "c"           },
    {"reference: bold",      DUET_STYLE_GPQA_FIRST,    false, "**Answer:** C",                                    NULL          },
};

static bool same(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static void table(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char *got = NULL;
        duet_err err = {{0}};
        assert_int_equal(duet_extract(cases[i].style, cases[i].lenient, cases[i].text, strlen(cases[i].text), &got, &err), DUET_OK);
        if (!same(got, cases[i].want)) {
            printf("%s: got %s, want %s\n", cases[i].name, got ? got : "none", cases[i].want ? cases[i].want : "none");
            wrong++;
        }
        free(got);
    }
    assert_int_equal(wrong, 0);
}

static const char *trimmed(char *s) {
    if (!s) return NULL;
    while (*s == ' ' || *s == '\n')
        s++;
    for (size_t n = strlen(s); n && (s[n - 1] == ' ' || s[n - 1] == '\n');)
        s[--n] = 0;
    return s;
}

static void shared_cases(void **state) {
    (void)state;
    char path[512];
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    int n = 0, wrong = 0;
    assert_int_equal(dt_jsonl_open(shared_path(path, sizeof path, "data/extract_cases.jsonl"), &r, &err), DUET_OK);
    for (; !dt_jsonl_next(r, &row, &err); json_decref(row), n++) {
        const json_t *text = json_object_get(row, "response");
        const char *want = json_string_value(json_object_get(row, "expected"));
        duet_style style = DUET_STYLE_FREE;
        char *got = NULL;
        assert_true(duet_style_parse(json_string_value(json_object_get(row, "style")), &style));
        assert_int_equal(duet_extract(style, false, json_string_value(text), json_string_length(text), &got, &err), DUET_OK);
        if (!same(trimmed(got), want)) {
            printf("%s: got %s, want %s\n", json_string_value(json_object_get(row, "id")), got ? got : "none", want ? want : "none");
            wrong++;
        }
        free(got);
    }
    dt_jsonl_close(r);
    assert_true(n > 50);
    assert_true(wrong * 100 <= 3 * n); /* at least 97 % */
}

/* The answers of worked solutions, where the public sets say where they stand. */
static void whole_sets(void **state) {
    static const struct {
        const char *file;
        duet_style style;
    } sets[] = {{"data/sets/math500.jsonl", DUET_STYLE_BOXED}, {"data/sets/minerva_half.jsonl", DUET_STYLE_BOXED}, {"data/sets/gsm8k_test.jsonl", DUET_STYLE_GSM8K}};
    (void)state;
    for (size_t i = 0; i < DT_COUNT(sets); i++) {
        char path[512];
        duet_err err = {{0}};
        dt_jsonl *r = NULL;
        json_t *row = NULL;
        int n = 0, wrong = 0;
        assert_int_equal(dt_jsonl_open(shared_path(path, sizeof path, sets[i].file), &r, &err), DUET_OK);
        for (; !dt_jsonl_next(r, &row, &err); json_decref(row), n++) {
            const json_t *text = json_object_get(row, "solution");
            char *got = NULL;
            assert_int_equal(duet_extract(sets[i].style, false, json_string_value(text), json_string_length(text), &got, &err), DUET_OK);
            wrong += !same(trimmed(got), json_string_value(json_object_get(row, "answer")));
            free(got);
        }
        dt_jsonl_close(r);
        printf("%s: %d of %d\n", sets[i].file, n - wrong, n);
        assert_true(n > 100);
        assert_int_equal(wrong, 0);
    }
}

/* A megabyte of what makes a careless search go over the text again and again. */
static void long_texts(void **state) {
    static const char *const pieces[] = {"answer is ", "Answer: ", "\n", "\\boxed", "\\boxed{", "\\boxed ", "#### ", "$", "(", "**", "1,", "9", "\\", " "};
    (void)state;
    for (size_t i = 0; i < DT_COUNT(pieces); i++) {
        dt_buf b = {0};
        while (b.len < 1000000)
            dt_buf_adds(&b, pieces[i]);
        for (int style = DUET_STYLE_BOXED; style <= DUET_STYLE_GPQA_FIRST; style++) {
            char *got = NULL;
            clock_t from = clock(); /* of the processor: other work must not count */
            assert_int_equal(duet_extract((duet_style)style, true, b.data, b.len, &got, NULL), DUET_OK);
            double s = (double)(clock() - from) / CLOCKS_PER_SEC;
            if (s > 0.5 * SLOWER) fail_msg("style %d on '%s' over and over: %.2f s for a megabyte", style, pieces[i], s);
            free(got);
        }
        dt_buf_clear(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(shared_cases), cmocka_unit_test(whole_sets), cmocka_unit_test(long_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
