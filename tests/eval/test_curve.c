/* The budget curve: where signals are cut, one pass of M, what m is given and what is counted. */
#include "support.h"

#include "duet/duet.h"
#include "eval/curve.h"

#include <math.h>

/* ---- where ---- */

static void sentences_end(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        const char *marked; /* '|' at each place that ends a sentence, end of text not counted */
    } cases[] = {
        {"plain", "One. Two! Three?", "One.| |Two!| |Three?"},
        {"number", "pi is 3.14 and e 2.7. So", "pi is 3.14 and e 2.7.| |So"},
        {"quotes", "He said \"no.\" Then **x.** y", "He said \"no.\"| |Then **x.**| |y"},
        {"math", "so $x=1.$ Then", "so $x=1.$| |Then"},
        {"lines", "x = 1\ny = 2\n\nz", "x = 1|\n|y = 2|\n|\n|z"},
        {"wide", "\xe7\xad\x94\xe6\xa1\x88\xe3\x80\x82\xe5\xa5\xbd", "\xe7\xad\x94\xe6\xa1\x88\xe3\x80\x82|\xe5\xa5\xbd"},
        {"no end", "g+4c+3", "g+4c+3"},
        {"dots", "wait... no", "wait...| |no"},
        {"blank first", "  a. b", "  a.| |b"},
        {"empty", "", ""},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_buf got = {0};
        size_t n = strlen(cases[i].text);
        dt_buf_adds(&got, "");
        for (size_t at = 0; at <= n; at++) {
            if (at && at < n && dt_curve_sentence_ends(cases[i].text, n, at)) dt_buf_adds(&got, "|");
            if (at < n) dt_buf_add(&got, cases[i].text + at, 1);
        }
        if (strcmp(got.data, cases[i].marked)) fail_msg("%s: %s, wanted %s", cases[i].name, got.data, cases[i].marked);
        dt_buf_clear(&got);
        assert_int_equal(dt_curve_sentence_ends(cases[i].text, n, n), n > 0);
    }
}

/* Tokens of one byte each. */
static size_t cut(const char *text, double share, bool *inside) {
    size_t n = strlen(text), ends[128];
    for (size_t i = 0; i < n; i++)
        ends[i] = i + 1;
    return dt_curve_cut(text, ends, n, share, inside);
}

static void cuts_keep_sentences(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double share;
        size_t want;
        bool inside;
    } cases[] = {
        {"0123. 567. x", 0, 0, false},      {"0123. 567. x", 0.3, 0, false}, /* the first sentence does not fit */
        {"0123. 567. x", 0.42, 5, false},   {"0123. 567. x", 0.5, 6, false}, /* with the blank behind it */
        {"0123. 567. x", 0.8, 6, false},    {"0123. 567. x", 0.99, 11, false},
        {"0123. 567. x", 1, 12, false},     {"0123456789", 0.35, 3, true},
        {"0123456789", 1, 10, false},       {"0123456789", 0, 0, false},
        {"a\xc3\xa9\xc3\xa9z", 0.4, 3, true}, /* 2 of 6 bytes would end within a character */
        {"", 0.5, 0, false},                {"", 1, 0, false},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        bool inside = false;
        size_t n = cut(cases[i].text, cases[i].share, &inside);
        if (n != cases[i].want || inside != cases[i].inside) fail_msg("case %zu: %zu tokens, inside %d", i, n, inside);
    }
}

/* ---- a run ---- */

enum { N = 5, SAMPLES = 2 };
static duet_tokenizer *tok;
static duet_example set[N];
static char texts[N][2][8];

typedef struct actors {
    int M_calls, m_calls;
    char M_reply[128], m_reply[8]; /* each backend has its own lock */
} actors;

static int question_of(const char *prompt) {
    const char *q = strstr(prompt, "user\n");
    assert_non_null(q);
    return q[5] - 'a';
}

static const char *M_says(void *user, const char *prompt, int sample) {
    actors *a = user;
    (void)sample;
    a->M_calls++;
    snprintf(a->M_reply, sizeof a->M_reply, "<think>\nOne step. Now %s it is. Then done.\n</think>\n\n%s", set[question_of(prompt)].answer, set[question_of(prompt)].answer);
    return a->M_reply;
}

/* Reads the digit behind "Now"; without it, 9. */
static const char *m_says(void *user, const char *prompt, int sample) {
    actors *a = user;
    const char *now = strstr(prompt, "Now ");
    (void)sample;
    a->m_calls++;
    snprintf(a->m_reply, sizeof a->m_reply, "%c", now ? now[4] : '9');
    return a->m_reply;
}

typedef struct seen {
    const duet_eval_job *of;
    size_t sample, n;
    size_t of_share[4];
    char last[4][64]; /* signals */
} seen;

static void on_share(void *user, const duet_eval_job *of, size_t sample) {
    seen *s = user;
    s->of = of;
    s->sample = sample;
}

static void on_sample(void *user, const duet_example *e, const duet_pair_request *r, int score) {
    seen *s = user;
    double share = 0;
    assert_ptr_equal(e, &set[s->sample / SAMPLES]);
    assert_true(dt_curve_share(s->of->variant, &share));
    size_t k = share == 0 ? 0 : share == 0.5 ? 1 : share == 0.8 ? 2 : 3;
    snprintf(s->last[k], sizeof s->last[k], "%.*s", (int)r->n_signal_text, r->signal_text);
    assert_int_equal(s->sample, s->of_share[k]); /* in order */
    s->of_share[k]++;
    assert_int_equal(score, k >= 2);
    char *line = duet_eval_sample_line(s->of, NULL, e, r, s->sample, score);
    json_t *j = json_loads(line, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "variant")), s->of->variant);
    assert_int_equal(json_integer_value(json_object_get(j, "repeat")), s->sample % SAMPLES);
    json_decref(j);
    free(line);
    s->n++;
}

static void shares_from_one_pass(void **state) {
    (void)state;
    actors a = {0};
    duet_backend *M = NULL, *m = NULL;
    duet_pair *pair = NULL;
    duet_err err = {{0}};
    seen log = {0};
    const double share[] = {0, 0.5, 0.8, 1};
    duet_eval_row rows[4];
    duet_eval_curve c = {.share = share, .n = 4, .on_share = on_share};
    assert_int_equal(duet_backend_scripted(tok, M_says, &a, &M, &err), DUET_OK);
    assert_int_equal(duet_backend_scripted(tok, m_says, &a, &m, &err), DUET_OK);
    if (duet_pair_create(M, m, NULL, &pair, &err)) fail_msg("%s", err.text);
    const duet_eval_job j = {.pair = pair, .data = "set", .variant = "not looked at", .examples = set, .n = N, .k = SAMPLES, .signal_budget = -1, .answer_budget = -1,
                             .grader = DUET_GRADE_PLAIN, .batch = 3, .on_sample = on_sample, .user = &log};
    if (duet_eval_curve_run(&j, &c, rows, &err)) fail_msg("%s", err.text);
    assert_int_equal(a.M_calls, N * SAMPLES);
    assert_int_equal(a.m_calls, 4 * N * SAMPLES);
    assert_int_equal(log.n, 4 * N * SAMPLES);
    assert_string_equal(log.last[0], "");
    assert_string_equal(log.last[1], "One step. "); /* the blank is in reach */
    assert_string_equal(log.last[2], "One step. Now 4 it is. ");
    assert_string_equal(log.last[3], "One step. Now 4 it is. Then done.");
    static const char *const name[] = {"signal 0 %", "signal 50 %", "signal 80 %", "signal 100 %"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(rows[i].variant, name[i]);
        assert_string_equal(rows[i].mode, "duet");
        assert_true(rows[i].questions == N && rows[i].samples == N * SAMPLES && isnan(rows[i].saved));
        assert_true(fabs(rows[i].accuracy - (i >= 2)) < 1e-9 && rows[i].ci95[0] <= rows[i].accuracy && rows[i].ci95[1] >= rows[i].accuracy);
        assert_true(!i || rows[i].M_tokens > rows[i - 1].M_tokens);
    }
    assert_true(rows[0].M_tokens == 0);
    assert_true(c.cuts == 2 * N * SAMPLES && !c.cuts_inside);
    char *table = duet_eval_table(rows, 4);
    assert_non_null(strstr(table, "pair, signal 50 %"));
    assert_non_null(strstr(table, dt_curve_caveat));
    free(table);

    const double bad[][2] = {{0.5, 0.5}, {0.5, 0.4}, {-0.1, 0.5}, {0.5, 1.1}, {(double)NAN, 1}};
    for (size_t i = 0; i < DT_COUNT(bad); i++) {
        c = (duet_eval_curve){.share = bad[i], .n = 2};
        assert_int_equal(duet_eval_curve_run(&j, &c, rows, &err), DUET_E_USAGE);
    }
    int stop = 1; /* cancelled: nothing leaks, nothing is counted */
    duet_eval_job cancelled = j;
    cancelled.cancel = &stop;
    c = (duet_eval_curve){.share = share, .n = 4};
    log.n = 0;
    assert_int_equal(duet_eval_curve_run(&cancelled, &c, rows, &err), DUET_E_CANCELLED);
    assert_int_equal(log.n, 0);
    duet_pair_destroy(pair);
    duet_backend_close(M);
    duet_backend_close(m);
}

/* A shipped pair: m reads the beginnings of a signal out of its cache, for the whole of it was asked first. */
static size_t cached[2], prompts[2]; /* of shares below 1, of 1 */

static void count_cached(void *user, const duet_example *e, const duet_pair_request *r, int score) {
    const seen *s = user;
    bool whole = !strcmp(s->of->variant, "signal 100 %");
    (void)e, (void)score;
    cached[whole] += r->ledger.m.cached_tokens;
    prompts[whole] += r->ledger.m.prompt_tokens;
}

static void shares_share_prefixes(void **state) {
    (void)state;
    duet_backend *M = NULL, *m = NULL;
    duet_pair *pair = NULL;
    duet_task *task = NULL;
    duet_example q[6];
    duet_err err = {{0}};
    seen log = {0};
    const duet_backend_options o = {.engine = {.n_threads = 1}};
    const double share[] = {0.5, 0.75, 1};
    duet_eval_row row[3];
    duet_eval_curve c = {.share = share, .n = 3, .on_share = on_share};
    if (duet_backend_open(DUET_MODELS "/swap-M-before", &o, &M, &err) || duet_backend_open(DUET_MODELS "/swap-m", &o, &m, &err) || duet_pair_create(M, m, NULL, &pair, &err) ||
        duet_task_open("swap", NULL, 0, &task, &err))
        fail_msg("%s", err.text);
    for (uint64_t i = 0; i < DT_COUNT(q); i++)
        if (duet_task_example(task, DUET_SPLIT_TEST, 0, i, &q[i], &err)) fail_msg("%s", err.text);
    const duet_eval_job j = {.pair = pair, .data = "swap", .variant = "", .examples = q, .n = DT_COUNT(q), .signal_budget = -1, .answer_budget = 4, .grader = DUET_GRADE_PLAIN,
                             .on_sample = count_cached, .user = &log};
    if (duet_eval_curve_run(&j, &c, row, &err)) fail_msg("%s", err.text);
    assert_true(row[2].accuracy == 1 && row[0].accuracy < 1);
    printf("m's prompts: %zu of %zu tokens cached below 100 %%, %zu of %zu at 100 %%\n", cached[0], prompts[0], cached[1], prompts[1]);
    assert_true(cached[0] * 10 > prompts[0] * 5 && cached[0] > cached[1]);
    for (size_t i = 0; i < DT_COUNT(q); i++)
        duet_example_clear(&q[i]);
    duet_task_close(task);
    duet_pair_destroy(pair);
    duet_backend_close(M);
    duet_backend_close(m);
}

static void rows_become_points(void **state) {
    (void)state;
    json_t *rows = json_loads("[{\"data\":\"d\",\"mode\":\"M\",\"variant\":\"\",\"avg@k\":{\"value\":1}},"
                              "{\"data\":\"d\",\"mode\":\"duet\",\"variant\":\"signal 12.5 %\",\"avg@k\":{\"value\":0.5},\"M_tokens\":{\"value\":3},\"no_answer\":{\"value\":0}}]", 0, NULL);
    json_t *j = dt_curve_json(rows), *point = json_array_get(json_object_get(j, "rows"), 0);
    assert_int_equal(json_array_size(json_object_get(j, "rows")), 1);
    assert_true(json_number_value(json_object_get(point, "share")) == 0.125);
    assert_true(json_number_value(json_object_get(json_object_get(point, "accuracy"), "value")) == 0.5);
    json_decref(j);
    json_array_remove(rows, 1);
    assert_null(dt_curve_json(rows));
    json_decref(rows);
    double share = 0;
    static const char *const no[] = {"", "signal", "signal 101 %", "signal -1 %", "signal 5", "signal 5 % x", "shuffled"};
    for (size_t i = 0; i < DT_COUNT(no); i++)
        assert_false(dt_curve_share(no[i], &share));
}

static int set_up(void **state) {
    (void)state;
    static const char *const text[] = {"ab"};
    static const size_t len[] = {2};
    const duet_bpe_train o = {.n_vocab = 261};
    for (int i = 0; i < N; i++) {
        snprintf(texts[i][0], sizeof texts[i][0], "%c?", 'a' + i);
        snprintf(texts[i][1], sizeof texts[i][1], "%d", i);
        set[i] = (duet_example){.id = texts[i][0], .question = texts[i][0], .answer = texts[i][1]};
    }
    return duet_tokenizer_train(&o, text, len, 1, &tok, NULL);
}

static int tear_down(void **state) {
    (void)state;
    duet_tokenizer_close(tok);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_end),
        cmocka_unit_test(cuts_keep_sentences),
        cmocka_unit_test(shares_from_one_pass),
        cmocka_unit_test(shares_share_prefixes),
        cmocka_unit_test(rows_become_points),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
