/* Task families: the answer is what an independent solver finds in the question text, chains end in it, answers are near
 * uniform, the splits are disjoint, and an example is a pure function of its number. */
#include "support.h"

#include "duet/task.h"
#include "duet/text.h"

/* ---- solvers that read nothing but the question ---- */

static int solve_register(const char *q) {
    char want = q[0];
    int offset = 0;
    for (int guard = 0; guard < 32; guard++) {
        char key[4] = {' ', want, '=', 0};
        const char *d = strstr(q, key);
        assert_non_null(d);
        d += 3;
        if (*d >= '0' && *d <= '9') return ((atoi(d) + offset) % 7 + 7) % 7;
        offset += atoi(d + 1);
        want = *d;
    }
    fail_msg("%s: the definitions run in a circle", q);
    return -1;
}

static int solve_swap(const char *q) {
    char at[10] = {0};
    const char *p = q;
    for (; p[0] >= '1' && p[0] <= '9' && p[1] >= 'A'; p += 2)
        at[p[0] - '0'] = p[1];
    for (; *p != ';'; p += 3) {
        char t = at[p[1] - '0'];
        at[p[1] - '0'] = at[p[2] - '0'];
        at[p[2] - '0'] = t;
    }
    for (int i = 1; i < 10; i++)
        if (at[i] == p[2]) return i;
    return -1;
}

static int solve_remainder(const char *q) {
    int r = 0;
    for (; *q != ' '; q += 2)
        r = (10 * r + q[1] - '0') % 7;
    return r;
}

static const struct {
    const char *name;
    int (*solve)(const char *);
    int n_answers, first;
    const char *narrow; /* a setting that is refused when doubled */
} families[] = {{"register", solve_register, 7, 0, "depth=2..3"}, {"swap", solve_swap, 5, 1, "swaps=3..4"}, {"remainder", solve_remainder, 7, 0, "digits=4..5"}};

static duet_task *open_task(const char *name, const char *setting) {
    duet_err err = {{0}};
    duet_task *t = NULL;
    if (duet_task_open(name, &setting, setting ? 1 : 0, &t, &err)) fail_msg("%s", err.text);
    return t;
}

static void answers_hold(void **state) {
    (void)state;
    duet_err err = {{0}};
    for (size_t f = 0; f < DT_COUNT(families); f++) {
        duet_task *t = open_task(families[f].name, NULL);
        int count[16] = {0}, early = 0, verbose = 0, compact = 0, n = 4000;
        for (int i = 0; i < n; i++) {
            duet_example e;
            assert_int_equal(duet_task_example(t, i % 4 ? DUET_SPLIT_TRAIN : DUET_SPLIT_TEST, 7, (uint64_t)i, &e, &err), DUET_OK);
            int want = families[f].solve(e.question), got = atoi(e.answer);
            if (want != got) fail_msg("%s: %s: answer %d, the question says %d", families[f].name, e.question, got, want);
            assert_true(strlen(e.answer) == 1 && e.compact[strlen(e.compact) - 1] == e.answer[0]);
            assert_true(strlen(e.compact) < strlen(e.verbose));
            count[got]++;
            early += e.early;
            verbose += !strcmp(e.chain, e.verbose);
            compact += !strcmp(e.chain, e.compact);
            duet_example_clear(&e);
        }
        for (int a = families[f].first; a < families[f].first + families[f].n_answers; a++)
            if (count[a] < n / families[f].n_answers / 3) fail_msg("%s: answer %d came %d times of %d", families[f].name, a, count[a], n);
        /* the mixture: 0.30 early; 0.6 * 0.7 verbose and to the end; 0.15 * 0.7 compact and to the end */
        assert_in_range(early, n * 27 / 100, n * 33 / 100);
        assert_in_range(verbose, n * 38 / 100, n * 47 / 100);
        assert_in_range(compact, n * 8 / 100, n * 14 / 100);
        duet_task_close(t);
    }
}

/* A name that stands on two right-hand sides makes the look-ups of a chain ambiguous by one token. */
static void registers_are_used_once(void **state) {
    (void)state;
    duet_err err = {{0}};
    duet_task *t = open_task("register", "distract=4..6");
    for (uint64_t i = 0; i < 1000; i++) {
        duet_example e;
        bool used[128] = {false};
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 5, i, &e, &err), DUET_OK);
        for (const char *p = strchr(e.question, '='); p; p = strchr(p + 1, '=')) {
            if (p[1] < 'a') continue;
            if (used[(int)p[1]]) fail_msg("%s: %c is used twice", e.question, p[1]);
            used[(int)p[1]] = true;
        }
        duet_example_clear(&e);
    }
    duet_task_close(t);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void splits_are_disjoint(void **state) {
    (void)state;
    enum { N = 3000 };
    duet_err err = {{0}};
    duet_task *t = open_task("register", "depth=1");
    char **train = calloc(N, sizeof *train);
    int again = 0;
    for (int i = 0; i < N; i++) {
        duet_example e;
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 1, (uint64_t)i, &e, &err), DUET_OK);
        train[i] = strdup(e.question);
        duet_example_clear(&e);
    }
    qsort(train, N, sizeof *train, by_text);
    for (int i = 0; i < N; i++) {
        duet_example e;
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TEST, 1, (uint64_t)i, &e, &err), DUET_OK);
        const char *key = e.question;
        assert_null(bsearch(&key, train, N, sizeof *train, by_text));
        duet_example_clear(&e);
    }
    for (int i = 1; i < N; i++)
        again += !strcmp(train[i], train[i - 1]);
    assert_true(again > 0); /* the space is small enough for repeats: the test above can fail */
    for (int i = 0; i < N; i++)
        free(train[i]);
    free(train);
    duet_task_close(t);
}

/* These lines are part of what trained models know: a change here means training them again. */
static void golden_lines(void **state) {
    (void)state;
    static const struct {
        const char *family, *question, *verbose, *compact;
    } want[] = {
#include "task/golden_lines.h"
    };
    duet_err err = {{0}};
    for (size_t i = 0; i < DT_COUNT(want); i++) {
        duet_task *t = open_task(want[i].family, NULL);
        duet_example e, again;
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TEST, 1, 0, &e, &err), DUET_OK);
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TEST, 1, 0, &again, &err), DUET_OK);
        assert_string_equal(e.question, want[i].question);
        assert_string_equal(e.verbose, want[i].verbose);
        assert_string_equal(e.compact, want[i].compact);
        assert_string_equal(e.chain, again.chain);
        duet_example_clear(&e);
        duet_example_clear(&again);
        duet_task_close(t);
    }
}

static void bad_settings_are_named(void **state) {
    (void)state;
    static const struct {
        const char *family, *setting, *says;
    } cases[] = {{"registr", NULL, "registr"},           {"register", "deep=2", "deep"},       {"register", "depth=9", "depth_min"},
                 {"register", "depth=4..2", "above"},    {"register", "depth=2.5", "2.5"},     {"swap", "early=2", "early"},
                 {"swap", "places", "knob=value"},       {"remainder", "digits=x", "digits"}};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        duet_task *t = NULL;
        assert_int_equal(duet_task_open(cases[i].family, &cases[i].setting, cases[i].setting ? 1 : 0, &t, &err), DUET_E_USAGE);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s: does not name %s", err.text, cases[i].says);
    }
}

/* Every text of a family is spelled by its tokenizer, and back; the pieces are one token each. */
static void texts_fit_their_tokenizer(void **state) {
    (void)state;
    duet_err err = {{0}};
    for (size_t f = 0; f < DT_COUNT(families); f++) {
        duet_task_vocab v;
        duet_tokenizer *tok = NULL;
        size_t most = 0;
        assert_int_equal(duet_task_vocab_get(families[f].name, &v, &err), DUET_OK);
        if (duet_tokenizer_build(v.pattern, v.merged, v.cut, v.n, v.alphabet, &tok, &err)) fail_msg("%s: %s", families[f].name, err.text);
        duet_task *t = open_task(families[f].name, NULL);
        for (uint64_t i = 0; i < 300; i++) {
            duet_example e;
            duet_ids ids = {0};
            duet_text back = {0};
            assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 3, i, &e, &err), DUET_OK);
            const char *texts[] = {e.question, e.verbose, e.compact, e.chain};
            for (size_t k = 0; k < DT_COUNT(texts); k++) {
                ids.n = 0;
                if (duet_tokenizer_encode(tok, texts[k], strlen(texts[k]), DUET_ENC_PLAIN, &ids, &err)) fail_msg("%s: %s", texts[k], err.text);
                assert_int_equal(duet_tokenizer_decode(tok, ids.v, ids.n, false, &back, &err), DUET_OK);
                assert_string_equal(back.data, texts[k]);
                duet_text_free(&back);
                if (k == 2 && ids.n > most) most = ids.n;
            }
            duet_ids_free(&ids);
            duet_example_clear(&e);
        }
        if (most > 24) fail_msg("%s: a compact chain takes %zu tokens: a piece is not one token", families[f].name, most);
        duet_task_close(t);
        duet_tokenizer_close(tok);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_hold), cmocka_unit_test(registers_are_used_once), cmocka_unit_test(splits_are_disjoint), cmocka_unit_test(golden_lines),
                                       cmocka_unit_test(bad_settings_are_named), cmocka_unit_test(texts_fit_their_tokenizer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
