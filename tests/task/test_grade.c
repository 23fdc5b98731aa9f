/* Graders: exact, and the reference's two, right or wrong as they are. */
#include "support.h"

#include "duet/task.h"

static const struct {
    const char *name;
    duet_grader g;
    const char *response, *truth;
    int want;
} cases[] = {
    {"plain",             DUET_GRADE_EXACT,      " 7\n",                         "7",               1},
    {"other",             DUET_GRADE_EXACT,      "71",                           "7",               0},
    {"empty",             DUET_GRADE_EXACT,      "",                             "7",               0},
    {"box",               DUET_GRADE_EXACT,      "so \\boxed{ 7 }.",             "7",               1},
    {"last box",          DUET_GRADE_EXACT,      "\\boxed{1} no, \\boxed{7}",    "7",               1},
    {"nested box",        DUET_GRADE_EXACT,      "\\boxed{\\frac{1}{2}}",        "\\frac{1}{2}",    1},
    {"open box",          DUET_GRADE_EXACT,      "\\boxed{7",                    "7",               0},
    {"thousands",         DUET_GRADE_HENDRYCKS,  "\\boxed{1,000}",               "1000",            0},
    {"spaced thousands",  DUET_GRADE_HENDRYCKS,  "\\boxed{900000000}",           "900,\\!000,\\!000", 0},
    {"leading zero",      DUET_GRADE_HENDRYCKS,  "\\boxed{070}",                 "70",              0},
    {"decimal",           DUET_GRADE_HENDRYCKS,  "\\boxed{2.0}",                 "2",               0},
    {"full stop",         DUET_GRADE_HENDRYCKS,  "\\boxed{5.}",                  "5",               0},
    {"order",             DUET_GRADE_HENDRYCKS,  "\\boxed{4, 0}",                "0,4",             0},
    {"percent word",      DUET_GRADE_HENDRYCKS,  "\\boxed{50%}",                 "50",              0},
    {"unit",              DUET_GRADE_HENDRYCKS,  "\\boxed{5\\text{ cm}}",        "5",               1},
    {"unit, no space",    DUET_GRADE_HENDRYCKS,  "\\boxed{5 \\text{cm}}",        "5",               0},
    {"variable",          DUET_GRADE_HENDRYCKS,  "\\boxed{x=5}",                 "5",               1},
    {"leading point",     DUET_GRADE_HENDRYCKS,  "\\boxed{.5}",                  "0.5",             1},
    {"dfrac",             DUET_GRADE_HENDRYCKS,  "\\boxed{\\dfrac{1}{2}}",       "1/2",             1},
    {"unclosed hides",    DUET_GRADE_HENDRYCKS,  "\\boxed{5} \\boxed{5",         "5",               0},
    {"fbox",              DUET_GRADE_HENDRYCKS,  "\\fbox{5}",                    "5",               0},
    {"box without brace", DUET_GRADE_HENDRYCKS,  "\\boxed\\frac12",              "\\frac{1}{2}",    0},
    {"box and space",     DUET_GRADE_HENDRYCKS,  "$\\boxed 5$ x",                "5",               1},
    {"no box",            DUET_GRADE_HENDRYCKS,  "5",                            "5",               0},
    {"letter",            DUET_GRADE_GPQA_FIRST, "Answer: C",                    "C",               1},
    {"lower letter",      DUET_GRADE_GPQA_FIRST, "answer: c",                    "C",               0},
    {"a word",            DUET_GRADE_GPQA_FIRST, "Answer: Cannot tell",          "C",               1},
    {"the first counts",  DUET_GRADE_GPQA_FIRST, "Answer: B, no: Answer: C",     "C",               0},
    {"bold",              DUET_GRADE_GPQA_FIRST, "**Answer:** C",                "C",               0},
    {"brackets",          DUET_GRADE_GPQA_FIRST, "Answer: (C)",                  "C",               0},
    {"dollar",            DUET_GRADE_GPQA_FIRST, "Answer: $C",                   "C",               1},
};

static void table(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++)
        if (duet_grade(cases[i].g, cases[i].response, strlen(cases[i].response), cases[i].truth) != cases[i].want)
            fail_msg("%s: want %d", cases[i].name, cases[i].want);
}

/* The public algorithm's own verdicts: a bare prediction is put in a box first. */
static void hendrycks_cases(void **state) {
    (void)state;
    char path[512];
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    int n = 0, wrong = 0;
    assert_int_equal(dt_jsonl_open(shared_path(path, sizeof path, "data/hendrycks_cases.jsonl"), &r, &err), DUET_OK);
    while (!dt_jsonl_next(r, &row, &err)) {
        const char *pred = json_string_value(json_object_get(row, "pred"));
        char text[2048];
        int got = 0;
        /* a piece with unbalanced braces cannot travel in a box */
        int depth = 0, low = 0;
        for (const char *c = pred; *c; c++) {
            depth += *c == '{' ? 1 : *c == '}' ? -1 : 0;
            low = depth < low ? depth : low;
        }
        if (depth || low) {
            json_decref(row);
            continue;
        }
        snprintf(text, sizeof text, "\\boxed{%s}", pred);
        if (strstr(text, "\\boxed ")) {
            json_decref(row);
            continue;
        }
        got = duet_grade(DUET_GRADE_HENDRYCKS, text, strlen(text), json_string_value(json_object_get(row, "gold")));
        if (got != json_is_true(json_object_get(row, "expected"))) {
            printf("%s: got %d\n", json_string_value(json_object_get(row, "id")), got);
            wrong++;
        }
        n++;
        json_decref(row);
    }
    dt_jsonl_close(r);
    assert_true(n > 50);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(hendrycks_cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
