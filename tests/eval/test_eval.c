/* Evaluation on scripted models whose right answers are known: modes, both controls, statistics, table and JSON. */
#include "support.h"

#include "duet/duet.h"
#include "eval/internal.h"

#include <math.h>
#include <unistd.h>

/* ---- intervals ---- */

/* Wilson intervals as published (Newcombe, Statistics in Medicine 17, 1998, table I, method 3). */
static void wilson_as_published(void **state) {
    (void)state;
    static const struct {
        double right, n, lo, hi;
    } cases[] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
    double ci[2];
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_wilson(cases[i].right, cases[i].n, ci);
        if (fabs(ci[0] - cases[i].lo) > 5e-5 || fabs(ci[1] - cases[i].hi) > 5e-5)
            fail_msg("%g of %g: %.4f .. %.4f", cases[i].right, cases[i].n, ci[0], ci[1]);
    }
    dt_wilson(0, 0, ci);
    assert_true(ci[0] == 0 && ci[1] == 1);
    dt_wilson(20, 20, ci);
    assert_true(fabs(ci[0] - (1 - 0.1611)) < 5e-5 && ci[1] == 1);
}

static void clusters_count_once(void **state) {
    (void)state;
    double ci[2];
    dt_clustered((const double[]){0, 1, 0, 1}, 4, ci); /* 0.5 +- 1.96 * sqrt(1/3 / 4) */
    assert_true(ci[0] == 0 && ci[1] == 1);
    dt_clustered((const double[]){0.4, 0.6, 0.4, 0.6}, 4, ci);
    assert_true(fabs(ci[0] - (0.5 - 1.959964 * sqrt(0.04 / 3 / 4))) < 1e-6);
    dt_clustered((const double[]){0.5}, 1, ci); /* one question tells nothing about others */
    assert_true(ci[0] == 0 && ci[1] == 1);
}

/* ---- the stage: ten questions, M that thinks "b+2 answer", m that reads the last character ---- */

enum { N = 10 };
static duet_tokenizer *tok;
static duet_example set[N];
static char texts[N][2][8];

typedef struct actors {
    bool hide[N];    /* M's signal for this question lacks the answer; m then says "0" */
    bool mute;       /* m says nothing */
    bool alternate;  /* m is right every second time */
    int M_calls, m_calls;
    char M_reply[64], m_reply[8]; /* each backend has its own lock */
} actors;

static int question_of(const char *prompt) {
    const char *q = strstr(prompt, "user\n");
    assert_non_null(q);
    return q[5] - 'a';
}

static const char *M_says(void *user, const char *prompt, int sample) {
    actors *a = user;
    int q = question_of(prompt);
    (void)sample;
    a->M_calls++;
    snprintf(a->M_reply, sizeof a->M_reply, "<think>\nb+2%s\n</think>\n\n%s", a->hide[q] ? "" : set[q].answer, set[q].answer);
    return a->M_reply;
}

static const char *m_says(void *user, const char *prompt, int sample) {
    actors *a = user;
    const char *from = strstr(prompt, "<think>\n"), *to = strstr(prompt, "\n</think>");
    (void)sample;
    a->m_calls++;
    assert_true(from && to);
    char last = to > from + 8 ? to[-1] : '0', before = to > from + 9 ? to[-2] : ' ';
    if (last < '0' || last > '6' || before == '+') last = '0';
    if (a->alternate && a->m_calls % 2 == 0) last = '?';
    snprintf(a->m_reply, sizeof a->m_reply, "%c", last);
    return a->mute ? "" : a->m_reply;
}

typedef struct stage {
    actors a;
    duet_backend *M, *m;
    duet_pair *pair;
} stage;

static void open_stage(stage *s) {
    duet_err err = {{0}};
    *s = (stage){0};
    assert_int_equal(duet_backend_scripted(tok, M_says, &s->a, &s->M, &err), DUET_OK);
    assert_int_equal(duet_backend_scripted(tok, m_says, &s->a, &s->m, &err), DUET_OK);
    if (duet_pair_create(s->M, s->m, NULL, &s->pair, &err)) fail_msg("%s", err.text);
}

static void close_stage(stage *s) {
    duet_pair_destroy(s->pair);
    duet_backend_close(s->M);
    duet_backend_close(s->m);
}

static duet_eval_job job_of(stage *s, duet_mode mode, const char *variant) {
    return (duet_eval_job){.pair = s->pair, .mode = mode, .data = "set", .variant = variant, .examples = set, .n = N, .signal_budget = -1,
                           .answer_budget = -1, .grader = DUET_GRADE_EXACT, .batch = 3};
}

static duet_eval_row run(const duet_eval_job *j) {
    duet_eval_row row;
    duet_err err = {{0}};
    if (duet_eval_run(j, &row, &err)) fail_msg("%s %s: %s", duet_mode_name(j->mode), j->variant, err.text);
    return row;
}

static bool near(double a, double b) {
    return fabs(a - b) < 1e-9;
}

/* Seven answers, "0" to "6": questions a, h and b, i and c, j share theirs. */
static int set_up(void **state) {
    (void)state;
    duet_task_vocab v;
    duet_err err = {{0}};
    for (int i = 0; i < N; i++) {
        snprintf(texts[i][0], sizeof texts[i][0], "%c?", 'a' + i);
        snprintf(texts[i][1], sizeof texts[i][1], "%d", i % 7);
        set[i] = (duet_example){.id = texts[i][0], .question = texts[i][0], .answer = texts[i][1]};
    }
    return duet_task_vocab_get("register", &v, &err) || duet_tokenizer_build(v.pattern, v.merged, v.cut, v.n, v.alphabet, &tok, &err);
}

static int tear_down(void **state) {
    (void)state;
    duet_tokenizer_close(tok);
    return 0;
}

/* ---- modes and controls ---- */

typedef struct seen {
    int samples, order_ok;
    char signal[N][16];
    size_t done, total;
    int progress, in_order;
} seen;

static void on_sample(void *user, const duet_example *e, const duet_pair_request *r, int score) {
    seen *s = user;
    (void)score;
    s->order_ok += e == &set[s->samples % N];
    snprintf(s->signal[s->samples % N], sizeof s->signal[0], "%s", r->signal_text ? r->signal_text : "");
    s->samples++;
}

static void on_progress(void *user, const duet_eval_progress *p) {
    seen *s = user;
    s->in_order += p->accuracy >= 0 && p->accuracy <= 1 && p->done == s->done + 1 && !p->found;
    s->done = p->done;
    s->total = p->total;
    s->progress++;
}

static void modes_are_counted(void **state) {
    (void)state;
    stage s;
    seen log = {0};
    open_stage(&s);
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "");
    j.on_sample = on_sample;
    j.on_progress = on_progress;
    j.user = &log;
    duet_eval_row pair = run(&j);
    assert_true(near(pair.accuracy, 1) && near(pair.ci95[1], 1) && fabs(pair.ci95[0] - 0.7225) < 5e-5);
    assert_true(near(pair.M_tokens, 7)); /* <think> \n b +2 answer \n </think> */
    assert_true(near(pair.m_tokens, 2)); /* answer and end */
    assert_true(near(pair.leak, 1) && isnan(pair.accuracy_no_leak) && isnan(pair.saved));
    assert_true(near(pair.no_answer, 0) && near(pair.truncated, 0) && pair.m_prompt_tokens > 10);
    assert_true(pair.questions == N && pair.samples == N);
    assert_string_equal(pair.mode, "duet");
    assert_true(log.samples == N && log.order_ok == N && log.progress == N && log.in_order == N && log.done == N && log.total == N);
    assert_int_equal(s.a.M_calls, N);

    j = job_of(&s, DUET_MODE_M, "");
    duet_eval_row M = run(&j);
    assert_true(near(M.accuracy, 1) && near(M.M_tokens, 10) && near(M.m_tokens, 0) && isnan(M.leak)); /* + \n\n answer end */

    j = job_of(&s, DUET_MODE_m, "");
    s.a.M_calls = 0;
    duet_eval_row m = run(&j);
    assert_true(near(m.accuracy, 0.2) && near(m.M_tokens, 0) && isnan(m.leak)); /* a and h */
    assert_int_equal(s.a.M_calls, 0);

    duet_eval_row rows[] = {pair, m, M};
    duet_eval_finish(rows, 3);
    assert_true(near(rows[0].saved, 0.3) && near(rows[1].saved, 1) && near(rows[2].saved, 0));
    close_stage(&s);
}

static void shuffled_signals_come_from_other_answers(void **state) {
    (void)state;
    stage s;
    seen log = {0};
    open_stage(&s);
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "shuffled");
    j.shuffle_signals = true;
    j.on_sample = on_sample;
    j.user = &log;
    duet_eval_row row = run(&j);
    assert_true(near(row.accuracy, 0) && near(row.M_tokens, 7) && near(row.leak, 0) && near(row.accuracy_no_leak, 0));
    for (int i = 0; i < N; i++) { /* the next question has another answer but for j, whose next is a: 2 and 0 */
        char want[16];
        snprintf(want, sizeof want, "b+2%s", set[(i + 1) % N].answer);
        assert_string_equal(log.signal[i], want);
    }
    assert_int_equal(s.a.M_calls, N);

    duet_example same[3] = {set[0], set[7], set[0]}; /* no other answer: still another question's */
    j.examples = same;
    j.n = 3;
    j.on_sample = NULL;
    row = run(&j);
    assert_true(near(row.accuracy, 1));
    j.n = 1;
    run(&j);

    duet_example pairs[4] = {set[0], set[7], set[1], set[8]}; /* 0 0 1 1: the first 0 skips the second */
    j.examples = pairs;
    j.n = 4;
    row = run(&j);
    assert_true(near(row.accuracy, 0));
    close_stage(&s);
}

static void masked_signals_lack_the_answer(void **state) {
    (void)state;
    stage s;
    seen log = {0};
    open_stage(&s);
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "masked");
    j.mask_answer = true;
    j.on_sample = on_sample;
    j.user = &log;
    duet_eval_row row = run(&j);
    assert_true(near(row.accuracy, 0.2) && near(row.leak, 0) && near(row.accuracy_no_leak, 0.2) && near(row.M_tokens, 7));
    for (int i = 0; i < N; i++)
        assert_string_equal(log.signal[i], "b+2?"); /* "+2" is another token than the answer "2" */
    close_stage(&s);
}

static void leaks_are_told_apart(void **state) {
    (void)state;
    stage s;
    open_stage(&s);
    for (int i = 0; i < 5; i++)
        s.a.hide[i] = true; /* a .. e: m says 0, right for a alone */
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "");
    duet_eval_row row = run(&j);
    assert_true(near(row.leak, 0.5) && near(row.accuracy_no_leak, 0.2) && near(row.accuracy, 0.6));
    close_stage(&s);
}

static void samples_of_one_question_are_one_cluster(void **state) {
    (void)state;
    stage s;
    open_stage(&s);
    s.a.alternate = true;
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "");
    j.k = 2;
    j.batch = 1; /* the script counts its calls */
    duet_eval_row row = run(&j); /* each question is right once of twice */
    assert_true(row.samples == 2 * N && row.questions == N);
    assert_true(near(row.accuracy, 0.5) && near(row.ci95[0], 0.5) && near(row.ci95[1], 0.5));
    j.k = 0;
    row = run(&j); /* the same share of right answers from questions of their own */
    assert_true(near(row.accuracy, 0.5) && row.ci95[0] < 0.24 && row.ci95[1] > 0.76);
    close_stage(&s);
}

static void cut_and_missing_answers_are_counted(void **state) {
    (void)state;
    stage s;
    open_stage(&s);
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "");
    j.signal_budget = 4;
    duet_eval_row row = run(&j);
    assert_true(near(row.truncated, 1) && near(row.M_tokens, 4) && near(row.leak, 0));
    j.shuffle_signals = true;
    row = run(&j);
    assert_true(near(row.truncated, 1) && near(row.M_tokens, 4));
    j = job_of(&s, DUET_MODE_DUET, "");
    s.a.mute = true;
    row = run(&j);
    assert_true(near(row.no_answer, 1) && near(row.accuracy, 0) && near(row.truncated, 0));
    close_stage(&s);
}

static void bad_jobs_are_refused(void **state) {
    (void)state;
    stage s;
    duet_eval_row row;
    duet_err err = {{0}};
    const volatile int stop = 1;
    open_stage(&s);
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "");
    j.n = 0;
    assert_int_equal(duet_eval_run(&j, &row, &err), DUET_E_USAGE);
    j.n = N;
    j.k = -1;
    assert_int_equal(duet_eval_run(&j, &row, &err), DUET_E_USAGE);
    for (int control = 0; control < 2; control++) {
        j = job_of(&s, DUET_MODE_DUET, "");
        j.cancel = &stop;
        j.shuffle_signals = control;
        assert_int_equal(duet_eval_run(&j, &row, &err), DUET_E_CANCELLED);
    }
    close_stage(&s);
}

/* ---- what is shown ---- */

static duet_eval_row a_row(const char *data, const char *mode, const char *variant, double accuracy, double M_tokens) {
    duet_eval_row r = {.questions = 200, .samples = 200, .accuracy = accuracy, .ci95 = {accuracy - 0.02, accuracy + 0.01}, .M_tokens = M_tokens,
                       .m_tokens = 2, .m_prompt_tokens = 60, .saved = (double)NAN, .leak = (double)NAN, .accuracy_no_leak = (double)NAN};
    snprintf(r.data, sizeof r.data, "%s", data);
    snprintf(r.mode, sizeof r.mode, "%s", mode);
    snprintf(r.variant, sizeof r.variant, "%s", variant);
    return r;
}

static void savings_have_one_base(void **state) {
    (void)state;
    duet_eval_row r[] = {a_row("a", "M", "after", 0.9, 50), a_row("a", "M", "", 0.9, 100), a_row("a", "duet", "", 0.9, 20), a_row("b", "M", "before", 0.9, 40),
                         a_row("b", "M", "after", 0.9, 10), a_row("b", "duet", "", 0.9, 20), a_row("c", "duet", "", 0.9, 20)};
    duet_eval_finish(r, DT_COUNT(r));
    assert_true(near(r[2].saved, 0.8)); /* the row without a variant, not the first */
    assert_true(near(r[5].saved, 0.5)); /* the first, where each has one */
    assert_true(isnan(r[6].saved));     /* M was not run */
}

static void tables_line_up(void **state) {
    (void)state;
    duet_eval_row r[] = {a_row("set", "M", "before", 0.985, 140.25), a_row("set", "m", "", 0.19, 0), a_row("set", "duet", "shuffled", 0.142, 14)};
    duet_eval_finish(r, 3);
    char *table = duet_eval_table(r, 3);
    assert_string_equal(table, "                        accuracy   95 % interval  M tokens  m tokens   M saved\n"
                               "M end to end, before      98.5 %    96.5 .. 99.5     140.2       2.0     0.0 %\n"
                               "m alone                   19.0 %    17.0 .. 20.0       0.0       2.0   100.0 %\n"
                               "pair, shuffled            14.2 %    12.2 .. 15.2      14.0       2.0    90.0 %\n");
    free(table);
    duet_eval_row two[] = {a_row("h\xC3\xA9", "M", "", 0.985, 140), a_row("second", "M", "", 0.19, 10)}; /* columns, not bytes */
    table = duet_eval_table(two, 2);
    assert_string_equal(table, "                        accuracy   95 % interval  M tokens  m tokens   M saved\n"
                               "h\xC3\xA9      M end to end      98.5 %    96.5 .. 99.5     140.0       2.0         -\n"
                               "second  M end to end      19.0 %    17.0 .. 20.0      10.0       2.0         -\n");
    free(table);
}

static void json_has_every_row(void **state) {
    (void)state;
    stage s;
    open_stage(&s);
    duet_eval_job j = job_of(&s, DUET_MODE_DUET, "");
    char cut[80];
    memset(cut, 'x', 62);
    strcpy(cut + 62, "\xC3\xA9t\xC3\xA9"); /* the 64 bytes of a name end within a character */
    const char *const names[] = {"set", "latin \xE9.jsonl", cut};
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        j.data = names[i];
        duet_eval_row row = run(&j);
        char *text = duet_eval_json(&row, 1, "{\"seed\":1}");
        assert_non_null(text);
        json_t *o = json_loads(text, 0, NULL);
        assert_non_null(o);
        const json_t *rows = json_object_get(o, "rows"), *first = json_array_get(rows, 0);
        if (json_array_size(rows) != 1) fail_msg("name %zu: %zu rows", i, json_array_size(rows));
        static const char *const numbers[] = {"questions", "samples", "accuracy", "M_tokens", "m_tokens", "m_prompt_tokens", "no_answer", "truncated", "leak"};
        for (size_t k = 0; k < DT_COUNT(numbers); k++)
            if (!json_is_number(json_object_get(first, numbers[k]))) fail_msg("%s is not a number", numbers[k]);
        assert_true(json_is_null(json_object_get(first, "saved")) && json_is_null(json_object_get(first, "accuracy_no_leak")));
        assert_int_equal(json_array_size(json_object_get(first, "ci95")), 2);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "settings"), "seed")), 1);
        assert_true(json_is_object(json_object_get(o, "fingerprint")));
        json_decref(o);
        free(text);
    }
    close_stage(&s);
}

static void plots_name_every_row(void **state) {
    (void)state;
    if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
        printf("skipped: gnuplot is not installed\n");
        skip();
    }
    char path[] = "/tmp/duet-eval-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    duet_eval_row r[] = {a_row("set", "M", "before", 0.985, 140), a_row("set", "duet", "shuffled", 0.142, 14)};
    duet_err err = {{0}};
    duet_status st = duet_eval_plot(r, 2, "set", path, &err);
    dt_buf b = {0};
    dt_file_read(path, 1 << 20, &b, NULL);
    remove(path);
    if (st) fail_msg("%s", err.text);
    assert_true(b.data && strstr(b.data, "M end to end, before") && strstr(b.data, "pair, shuffled") && strstr(b.data, "</svg>"));
    dt_buf_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson_as_published),
        cmocka_unit_test(clusters_count_once),
        cmocka_unit_test(modes_are_counted),
        cmocka_unit_test(shuffled_signals_come_from_other_answers),
        cmocka_unit_test(masked_signals_lack_the_answer),
        cmocka_unit_test(leaks_are_told_apart),
        cmocka_unit_test(samples_of_one_question_are_one_cluster),
        cmocka_unit_test(cut_and_missing_answers_are_counted),
        cmocka_unit_test(bad_jobs_are_refused),
        cmocka_unit_test(savings_have_one_base),
        cmocka_unit_test(tables_line_up),
        cmocka_unit_test(json_has_every_row),
        cmocka_unit_test(plots_name_every_row),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
