/* Task families: the answer is what an independent solver finds in the question text, chains end in it, answers are near
 * uniform, the splits are disjoint, and an example is a pure function of its number. */
#include "support.h"

#include "duet/task.h"
#include "duet/text.h"

#include <inttypes.h>

/* ---- solvers that read nothing but the question ---- */

/* The value of a name modulo `mod`, over definitions x=3, x=a+2, x=a-2 and x=a+b. */
static int value_of(const char *q, char name, int mod, int guard) {
    char key[4] = {' ', name, '=', 0};
    const char *d = strstr(q, key);
    if (!d || !guard) fail_msg("%s: %c is not defined, or by itself", q, name);
    d += 3;
    if (*d >= '0' && *d <= '9') return atoi(d) % mod;
    int v = value_of(q, d[0], mod, guard - 1);
    if (d[2] >= 'a' && d[2] <= 'p') return (v + value_of(q, d[2], mod, guard - 1)) % mod;
    return ((v + atoi(d + 1)) % mod + mod) % mod;
}

static void solve_register_modulo(const char *q, int mod, char *answer) {
    for (; *q != '?'; q++)
        *answer++ = (char)('0' + value_of(q, *q, mod, 16));
    *answer = 0;
}

static void solve_register(const char *q, char *answer) {
    solve_register_modulo(q, 7, answer);
}

static void solve_register_10(const char *q, char *answer) {
    solve_register_modulo(q, 10, answer);
}

static void solve_register_2(const char *q, char *answer) {
    solve_register_modulo(q, 2, answer);
}

static void solve_swap(const char *q, char *answer) {
    char at[10] = {0};
    const char *p = q, *ask = strstr(q, "; ") + 2;
    for (; p[0] >= '1' && p[0] <= '9' && p[1] >= 'A'; p += 2)
        at[p[0] - '0'] = p[1];
    for (int rounds = strstr(q, " twice?") ? 2 : 1; rounds > 0; rounds--)
        for (const char *s = p; *s != ';'; s += 3) {
            char t = at[s[1] - '0'];
            at[s[1] - '0'] = at[s[2] - '0'];
            at[s[2] - '0'] = t;
        }
    answer[1] = 0;
    if (*ask <= '9') {
        answer[0] = at[*ask - '0'];
        return;
    }
    for (int i = 1; i < 10; i++)
        if (at[i] == *ask) answer[0] = (char)('0' + i);
}

static void solve_remainder(const char *q, char *answer) {
    int r = 0;
    for (; *q != ' '; q += 2)
        r = (10 * r + q[1] - '0') % 7;
    answer[0] = (char)('0' + r);
    answer[1] = 0;
}

enum { MAX_SETTINGS = 6 };

/* Every family as it is, and with each of its later knobs. */
static const struct {
    const char *family, *settings[MAX_SETTINGS];
    void (*solve)(const char *question, char *answer);
    const char *answers; /* what an answer is made of */
    int digits;          /* of an answer */
} lines[] = {
    {"register", {NULL}, solve_register, "0123456", 1},
    {"register", {"modulus=10", "distract=3"}, solve_register_10, "0123456789", 1},
    {"register", {"modulus=2", "asked=1..1"}, solve_register_2, "01", 1},
    {"register", {"shuffle=0.3", "depth=1..8", "distract=6"}, solve_register, "0123456", 1},
    {"register", {"two_parents=0.5", "depth=1..5", "distract=0..4"}, solve_register, "0123456", 1},
    {"register", {"asked=2", "depth=1..5", "distract=4"}, solve_register, "0123456", 2},
    {"register", {"asked=2", "depth=1..4", "distract=0..4", "two_parents=0.7", "shuffle=0.5", "modulus=10"}, solve_register_10, "0123456789", 2},
    {"register", {"depth=8", "distract=6", "two_parents=1", "shuffle=0", "modulus=10"}, solve_register_10, "0123456789", 1},
    {"swap", {NULL}, solve_swap, "12345", 1},
    {"swap", {"query_at=1", "places=5"}, solve_swap, "ABCDE", 1},
    {"swap", {"query_twice=1", "places=5"}, solve_swap, "12345", 1},
    {"swap", {"query_at=0.5", "query_twice=0.2", "places=5", "swaps=1..16"}, solve_swap, "12345ABCDE", 1},
    {"remainder", {NULL}, solve_remainder, "0123456", 1},
};

static duet_task *open_with(const char *name, const char *const *settings) {
    duet_err err = {{0}};
    duet_task *t = NULL;
    size_t n = 0;
    while (n < MAX_SETTINGS && settings[n])
        n++;
    if (duet_task_open(name, settings, n, &t, &err)) fail_msg("%s", err.text);
    return t;
}

static duet_task *open_task(const char *name, const char *setting) {
    const char *const settings[MAX_SETTINGS] = {setting};
    return open_with(name, settings);
}

static void answers_hold(void **state) {
    (void)state;
    duet_err err = {{0}};
    for (size_t l = 0; l < DT_COUNT(lines); l++) {
        duet_task *t = open_with(lines[l].family, lines[l].settings);
        int count[128] = {0}, early = 0, verbose = 0, compact = 0, n = 4000, n_answers = (int)strlen(lines[l].answers);
        for (int i = 0; i < n; i++) {
            duet_example e;
            char want[8] = {0};
            assert_int_equal(duet_task_example(t, i % 4 ? DUET_SPLIT_TRAIN : DUET_SPLIT_TEST, 7, (uint64_t)i, &e, &err), DUET_OK);
            lines[l].solve(e.question, want);
            if (strcmp(want, e.answer)) fail_msg("%s: %s: answer %s, the question says %s", lines[l].family, e.question, e.answer, want);
            size_t digits = strlen(e.answer);
            assert_int_equal(digits, lines[l].digits);
            assert_true(e.compact[strlen(e.compact) - 1] == e.answer[digits - 1]);
            assert_true(strlen(e.compact) < strlen(e.verbose));
            for (size_t d = 0; d < digits; d++)
                count[(int)e.answer[d]]++;
            early += e.early;
            verbose += !strcmp(e.chain, e.verbose);
            compact += !strcmp(e.chain, e.compact);
            duet_example_clear(&e);
        }
        for (const char *a = lines[l].answers; *a; a++)
            if (count[(int)*a] < n * lines[l].digits / n_answers / 3) fail_msg("%s, line %zu: answer %c came %d times of %d", lines[l].family, l, *a, count[(int)*a], n);
        /* the mixture: 0.30 early; 0.6 * 0.7 verbose and to the end; 0.15 * 0.7 compact and to the end */
        assert_in_range(early, n * 27 / 100, n * 33 / 100);
        assert_in_range(verbose, n * 38 / 100, n * 47 / 100);
        assert_in_range(compact, n * 8 / 100, n * 14 / 100);
        duet_task_close(t);
    }
}

/* Each state of a compact register chain is a sum of names and an offset that equals the answer; its first name is
 * replaced by what the question says of it; each asked name ends in its digit. Returns the number of states. */
static int follow_register(const char *q, const char *answer, const char *chain, int mod) {
    int states = 0;
    for (const char *ask = q; *ask != '?'; ask++, answer++) {
        char todo[40] = {*ask, 0}; /* names of the state before, the one in hand first */
        for (;;) {
            char next[40] = {0}, key[4] = {' ', todo[0], '=', 0};
            const char *d = strstr(q, key) + 3;
            int n = 0, sum = 0;
            if (*d >= 'a') next[n++] = *d;
            if (*d >= 'a' && d[2] >= 'a') next[n++] = d[2];
            strcpy(next + n, todo + 1);
            for (const char *c = next; *c; c++, chain++) {
                if (*chain != *c) fail_msg("%s: at %s: %c should come", q, chain, *c);
                sum += value_of(q, *c, mod, 16);
                if (*++chain != '+') fail_msg("%s: at %s: + should come", q, chain);
            }
            sum += *chain++ - '0';
            if (sum % mod != *answer - '0') fail_msg("%s: before %s: a state is worth %d, the answer %s", q, chain, sum % mod, answer);
            states++;
            if (!*next) break;
            strcpy(todo, next);
        }
    }
    if (*chain) fail_msg("%s: %s follows the last step", q, chain);
    return states;
}

static void register_chains_follow_the_definitions(void **state) {
    (void)state;
    duet_err err = {{0}};
    int pending = 0;
    for (size_t l = 0; l < DT_COUNT(lines); l++) {
        if (strcmp(lines[l].family, "register")) continue;
        duet_task *t = open_with(lines[l].family, lines[l].settings);
        for (uint64_t i = 0; i < 1000; i++) {
            duet_example e;
            assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 9, i, &e, &err), DUET_OK);
            int states = follow_register(e.question, e.answer, e.compact, (int)strlen(lines[l].answers)), needs = 0;
            for (const char *p = e.verbose; (p = strstr(p, " so ")); p++)
                needs++;
            assert_int_equal(needs, states); /* the longest chain takes the same steps */
            for (const char *p = e.compact; *p; p++)
                pending += p[0] == '+' && p[1] >= 'a';
            duet_example_clear(&e);
        }
        duet_task_close(t);
    }
    assert_true(pending > 1000); /* names had to wait: the walk above saw trees */
}

/* The place in a compact swap chain after each step, by the swaps of the question; back from the end for `; 3?`. */
static void swap_chains_follow_the_swaps(void **state) {
    (void)state;
    const char *const settings[MAX_SETTINGS] = {"query_at=0.4", "query_twice=0.4", "places=3..5", "swaps=1..16"};
    duet_err err = {{0}};
    int kinds[3] = {0};
    duet_task *t = open_with("swap", settings);
    for (uint64_t i = 0; i < 3000; i++) {
        duet_example e;
        char want[256] = {0}, *w = want;
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 9, i, &e, &err), DUET_OK);
        const char *ask = strstr(e.question, "; ") + 2, *first = strpbrk(e.question, "abcdefghijklmnop");
        bool back = *ask <= '9', twice = strstr(e.question, " twice?");
        int n = (int)(ask - 2 - first) / 3;
        char place = *ask;
        if (!back) place = strchr(e.question, *ask)[-1];
        kinds[back ? 1 : twice ? 2 : 0]++;
        *w++ = place;
        for (int s = 0; s < (twice ? 2 * n : n); s++) {
            const char *swap = first + 3 * (back ? n - 1 - s : s % n);
            place = place == swap[1] ? swap[2] : place == swap[2] ? swap[1] : place;
            w += sprintf(w, "%s%.3s%c", s == n ? ";" : "", swap, place);
        }
        if (back) sprintf(w, ":%c", strchr(e.question, place)[1]);
        assert_string_equal(e.compact, want);
        duet_example_clear(&e);
    }
    duet_task_close(t);
    for (int k = 0; k < 3; k++)
        assert_in_range(kinds[k], k ? 1100 : 500, k ? 1300 : 700);
}

/* A compact chain that stops early lacks its last step and nothing else; a verbose one stops at the same place. */
static void early_chains_lack_one_step(void **state) {
    (void)state;
    duet_err err = {{0}};
    for (size_t l = 0; l < DT_COUNT(lines); l++)
        for (int compact = 0; compact < 2; compact++) {
            const char *settings[MAX_SETTINGS + 3] = {"early=1", compact ? "p_compact=1" : "p_verbose=1", compact ? "p_verbose=0" : "p_compact=0"};
            size_t n = 0;
            duet_task *t = NULL;
            for (; n < MAX_SETTINGS && lines[l].settings[n]; n++)
                settings[3 + n] = lines[l].settings[n];
            if (duet_task_open(lines[l].family, settings, 3 + n, &t, &err)) fail_msg("%s", err.text);
            for (uint64_t i = 0; i < 500; i++) {
                duet_example e;
                assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 4, i, &e, &err), DUET_OK);
                bool reg = !strcmp(lines[l].family, "register"), swap = !strcmp(lines[l].family, "swap");
                const char *full = compact ? e.compact : e.verbose, *also = compact || !reg ? NULL : strstr(e.chain, " also");
                size_t len = also ? (size_t)(also - e.chain) : strlen(e.chain);
                assert_true(e.early);
                if (strncmp(e.chain, full, len)) fail_msg("%s does not begin %s", e.chain, full);
                const char *rest = full + len; /* the missing step, then what is not early */
                bool one = reg ? rest[compact ? 0 : 1] && !strchr(rest, '+') : strchr(rest, swap && strchr(e.question, ';')[2] <= '9' ? ':' : 'a') == rest;
                if (compact && reg) one = rest[0] == e.answer[strlen(e.answer) - 1] && !rest[1];
                if (!compact && reg) one = !strncmp(rest, " need ", 6) && !strstr(rest + 1, " need ");
                if (!one || strstr(e.chain, "check")) fail_msg("%s: %s of %s: not one step short", e.question, e.chain, full);
                duet_example_clear(&e);
            }
            duet_task_close(t);
        }
}

/* Shares of what a knob decides. */
static void knobs_have_their_share(void **state) {
    (void)state;
    duet_err err = {{0}};
    const char *const settings[MAX_SETTINGS] = {"shuffle=0.25", "two_parents=0.3", "depth=2", "distract=2"};
    duet_task *t = open_with("register", settings);
    int ordered = 0, two = 0, defined = 0, n = 3000;
    for (int i = 0; i < n; i++) {
        duet_example e;
        bool seen[128] = {false}, in_order = true;
        assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 2, (uint64_t)i, &e, &err), DUET_OK);
        for (const char *p = strchr(e.question, '='); p; p = strchr(p + 1, '=')) {
            bool first = p[1] >= 'a', second = first && p[3] >= 'a';
            in_order = in_order && (!first || seen[(int)p[1]]) && (!second || seen[(int)p[3]]);
            seen[(int)p[-1]] = true;
            defined += first && e.question[0] == p[-1];
            two += second && e.question[0] == p[-1];
        }
        ordered += in_order;
        duet_example_clear(&e);
    }
    duet_task_close(t);
    assert_int_equal(defined, n); /* the asked name is never a digit */
    assert_in_range(two, n * 27 / 100, n * 33 / 100);
    assert_in_range(ordered, n * 73 / 100, n * 81 / 100); /* a few of the shuffled ones are in order by chance */
}

/* A name that stands on two right-hand sides makes the look-ups of a chain ambiguous by one token. */
static void registers_are_used_once(void **state) {
    (void)state;
    duet_err err = {{0}};
    static const char *const settings[][MAX_SETTINGS] = {{"distract=4..6"}, {"asked=2", "two_parents=0.5", "distract=4..6"}};
    for (size_t s = 0; s < DT_COUNT(settings); s++) {
        duet_task *t = open_with("register", settings[s]);
        for (uint64_t i = 0; i < 1000; i++) {
            duet_example e;
            bool used[128] = {false};
            assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 5, i, &e, &err), DUET_OK);
            for (const char *p = strchr(e.question, '='); p; p = strchr(p + 1, '='))
                for (int k = 1; k <= 3 && p[k] && p[k] != ' '; k++) {
                    if (p[k] < 'a') continue;
                    if (used[(int)p[k]]) fail_msg("%s: %c is used twice", e.question, p[k]);
                    used[(int)p[k]] = true;
                }
            duet_example_clear(&e);
        }
        duet_task_close(t);
    }
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

/* Models are trained on these examples: 500 of each line, all texts of them, as they were before the later knobs came.
 * A knob that is left at its default must not move a single byte. */
static void defaults_stay_as_they_were(void **state) {
    (void)state;
    static const struct {
        const char *family, *settings[MAX_SETTINGS];
        uint64_t hash;
    } want[] = {
        {"register", {NULL}, 0x3dff38f8c507e684},
        {"register", {"depth=1..8", "distract=0..6"}, 0x0b8f970a6f0bb222},
        {"register", {"depth=8", "distract=6", "early=0.5"}, 0x1dda76b18a66c305},
        {"register", {"depth=1", "distract=0", "p_verbose=0", "p_compact=0"}, 0x379ea86a82f33414},
        {"register", {"distract=6", "p_verbose=0.2", "p_compact=0.3", "early=1"}, 0x0c4ccda05dbc2ea8},
        {"swap", {NULL}, 0xdc0a081f9b9c4cac},
        {"swap", {"places=3..5", "swaps=1..16"}, 0x0f8f3ab7bab6b6a1},
        {"swap", {"places=5", "swaps=16", "early=0.5"}, 0xb40d32c36f735d0e},
        {"swap", {"places=3", "swaps=3..4", "p_verbose=0", "p_compact=0"}, 0x9bddf146f94316ab},
        {"swap", {"swaps=10", "p_verbose=0.2", "p_compact=0.3", "early=1"}, 0x5b83f32da88810c2},
        {"remainder", {NULL}, 0xd48cece60ba0d13a},
        {"remainder", {"digits=2..12", "p_verbose=0.2", "p_compact=0.3", "early=0.5"}, 0x6f62695b81144024},
    };
    duet_err err = {{0}};
    for (size_t w = 0; w < DT_COUNT(want); w++) {
        duet_task *t = open_with(want[w].family, want[w].settings);
        uint64_t hash = 0;
        for (uint64_t i = 0; i < 500; i++) {
            duet_example e;
            assert_int_equal(duet_task_example(t, i % 4 ? DUET_SPLIT_TRAIN : DUET_SPLIT_TEST, 11, i, &e, &err), DUET_OK);
            const char *texts[] = {e.id, e.question, e.answer, e.verbose, e.compact, e.chain, e.early ? "early" : ""};
            for (size_t k = 0; k < DT_COUNT(texts); k++)
                hash = dt_hash64(texts[k], strlen(texts[k]) + 1, hash);
            duet_example_clear(&e);
        }
        if (hash != want[w].hash) fail_msg("%s, line %zu: the examples hash to 0x%016" PRIx64 ", not 0x%016" PRIx64, want[w].family, w, hash, want[w].hash);
        duet_task_close(t);
    }
}

static void bad_settings_are_named(void **state) {
    (void)state;
    static const struct {
        const char *family, *setting, *says;
    } cases[] = {{"registr", NULL, "registr"},           {"register", "deep=2", "deep"},       {"register", "depth=9", "depth_min"},
                 {"register", "depth=4..2", "above"},    {"register", "depth=2.5", "2.5"},     {"swap", "early=2", "early"},
                 {"swap", "places", "knob=value"},       {"remainder", "digits=x", "digits"},
                 {"register", "modulus=1", "modulus"},   {"register", "modulus=11", "modulus"}, {"register", "modulus=2..7", "modulus"},
                 {"register", "shuffle=1.5", "shuffle"}, {"register", "shuffle=-1", "shuffle"}, {"register", "two_parents=2", "two_parents"},
                 {"register", "asked=0", "asked_min"},   {"register", "asked=3", "asked_min"},  {"register", "asked=2..1", "above"},
                 {"swap", "query_at=2", "query_at"},     {"swap", "query_twice=x", "query_twice"}, {"swap", "query=1", "query_at"}};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        duet_task *t = NULL;
        assert_int_equal(duet_task_open(cases[i].family, &cases[i].setting, cases[i].setting ? 1 : 0, &t, &err), DUET_E_USAGE);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s: does not name %s", err.text, cases[i].says);
    }
    static const struct {
        const char *family, *settings[3], *says;
        size_t n;
    } together[] = {{"register", {"asked=2", "depth=8"}, "20 names", 2},
                    {"register", {"asked=1..2", "depth=5", "distract=5"}, "17 names", 3},
                    {"swap", {"query_at=0.6", "query_twice=0.5"}, "at most 1", 2}};
    for (size_t i = 0; i < DT_COUNT(together); i++) {
        duet_err err = {{0}};
        duet_task *t = NULL;
        assert_int_equal(duet_task_open(together[i].family, together[i].settings, together[i].n, &t, &err), DUET_E_USAGE);
        if (!strstr(err.text, together[i].says)) fail_msg("%s: does not say %s", err.text, together[i].says);
        assert_null(t);
        assert_int_equal(duet_task_open(together[i].family, together[i].settings, together[i].n - 1, &t, &err), DUET_OK); /* alone it is fine */
        duet_task_close(t);
    }
}

/* Tokens that a question or a compact chain should take: one for each of its pieces. */
static size_t pieces_of(const char *family, const char *text, bool compact) {
    size_t n = strlen(text);
    bool reg = !strcmp(family, "register"), swap = !strcmp(family, "swap");
    for (const char *p = text; *p; p++) {
        if (reg) n -= *p == '+' || *p == '-' || *p == '='; /* " a=" counts twice: once here, once for its space */
        if (reg) n -= *p == ' ';
        if (swap && compact) n -= *p >= 'a' ? 2 : 0;  /* a45 */
        if (swap && !compact) n -= *p >= 'a' && *p <= 'p' && p[1] <= '5' && p[1] >= '1' ? 2 : 0;
        if (swap && !compact) n -= *p >= '1' && *p <= '5' && p[1] >= 'A' && p[1] <= 'E';
        if (swap && !compact) n -= *p == ';';         /* "; " */
        if (swap && !strncmp(p, " twice", 6)) n -= 5;
        if (!reg && !swap) n -= *p >= 'a' && *p <= 'l' && p[1] >= '0' && p[1] <= '9';
        if (!reg && !swap && !strncmp(p, " mod 7?", 7)) n -= 6;
    }
    return n;
}

/* Every text of a family is spelled by its tokenizer, and back; the pieces are one token each. */
static void texts_fit_their_tokenizer(void **state) {
    (void)state;
    duet_err err = {{0}};
    for (size_t l = 0; l < DT_COUNT(lines); l++) {
        duet_task_vocab v;
        duet_tokenizer *tok = NULL;
        assert_int_equal(duet_task_vocab_get(lines[l].family, &v, &err), DUET_OK);
        if (duet_tokenizer_build(v.pattern, v.merged, v.cut, v.n, v.alphabet, &tok, &err)) fail_msg("%s: %s", lines[l].family, err.text);
        duet_task *t = open_with(lines[l].family, lines[l].settings);
        for (uint64_t i = 0; i < 300; i++) {
            duet_example e;
            duet_ids ids = {0};
            duet_text back = {0};
            assert_int_equal(duet_task_example(t, DUET_SPLIT_TRAIN, 3, i, &e, &err), DUET_OK);
            const char *texts[] = {e.question, e.compact, e.verbose, e.chain};
            for (size_t k = 0; k < DT_COUNT(texts); k++) {
                ids.n = 0;
                if (duet_tokenizer_encode(tok, texts[k], strlen(texts[k]), DUET_ENC_PLAIN, &ids, &err)) fail_msg("%s: %s", texts[k], err.text);
                assert_int_equal(duet_tokenizer_decode(tok, ids.v, ids.n, false, &back, &err), DUET_OK);
                assert_string_equal(back.data, texts[k]);
                duet_text_free(&back);
                size_t want = pieces_of(lines[l].family, texts[k], k == 1);
                if (k < 2 && ids.n != want) fail_msg("%s: %s takes %zu tokens, %zu pieces: one is not one token", lines[l].family, texts[k], ids.n, want);
            }
            duet_ids_free(&ids);
            duet_example_clear(&e);
        }
        duet_task_close(t);
        duet_tokenizer_close(tok);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_hold),
                                       cmocka_unit_test(register_chains_follow_the_definitions),
                                       cmocka_unit_test(swap_chains_follow_the_swaps),
                                       cmocka_unit_test(early_chains_lack_one_step),
                                       cmocka_unit_test(knobs_have_their_share),
                                       cmocka_unit_test(registers_are_used_once),
                                       cmocka_unit_test(splits_are_disjoint),
                                       cmocka_unit_test(golden_lines),
                                       cmocka_unit_test(defaults_stay_as_they_were),
                                       cmocka_unit_test(bad_settings_are_named),
                                       cmocka_unit_test(texts_fit_their_tokenizer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
