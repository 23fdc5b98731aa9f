/* Equality of answers: tables of pairs (own ones next to this file, the shared ones), properties, hostile inputs. */
#include "support.h"

#include "duet/grade.h"

#include <pthread.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 20
#else
#define SLOWER 1
#endif

static bool equal(const char *gold, const char *pred) {
    duet_verdict v;
    duet_err err = {{0}};
    if (duet_verify(gold, strlen(gold), pred, strlen(pred), NULL, &v, &err)) fail_msg("%s", err.text);
    bool yes = v.equal;
    duet_verdict_clear(&v);
    return yes;
}

static const char *text_of(const json_t *row, const char *name) { return json_string_value(json_object_get(row, name)); }

typedef struct score {
    int n, false_yes, false_no;
} score;

static void opts_of(const json_t *row, duet_verify_options *o) {
    const json_t *opts = json_object_get(row, "opts"), *kinds = json_object_get(opts, "extract"), *k = NULL;
    size_t i = 0;
    *o = (duet_verify_options){0};
    if (!opts) return;
    o->digits = (int)json_integer_value(json_object_get(opts, "digits"));
    o->one_way = !json_is_true(json_object_get(opts, "set_rel"));
    o->no_latex = o->no_expr = true;
    json_array_foreach(kinds, i, k) {
        if (!strcmp(json_string_value(k), "latex")) o->no_latex = false;
        if (!strcmp(json_string_value(k), "expr")) o->no_expr = false;
    }
}

static bool odd(const json_t *row) {
    static const char *const tags[] = {"doubled_backslash", "control_char", "unbalanced", "questionable"};
    const json_t *list = json_object_get(row, "tags"), *t = NULL;
    size_t i = 0;
    json_array_foreach(list, i, t) for (size_t k = 0; k < DT_COUNT(tags); k++) if (!strcmp(json_string_value(t), tags[k])) return true;
    return false;
}

static score run_file(const char *path) {
    score s = {0};
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    assert_int_equal(dt_jsonl_open(path, &r, &err), DUET_OK);
    for (; !dt_jsonl_next(r, &row, &err); json_decref(row)) {
        duet_verify_options o;
        duet_verdict v;
        const char *gold = text_of(row, "gold"), *pred = text_of(row, "pred");
        bool want = json_is_true(json_object_get(row, "expected"));
        if (odd(row)) continue;
        opts_of(row, &o);
        assert_int_equal(duet_verify(gold, strlen(gold), pred, strlen(pred), &o, &v, &err), DUET_OK);
        if (v.equal != want) printf("%s: %s | %.80s: %s, %s\n", want ? "missed" : "FALSE YES", gold, pred, v.method, v.reason ? v.reason : "");
        if (!strcmp(v.method, "undecided") || !strcmp(v.method, "none")) assert_non_null(v.reason);
        s.n++;
        s.false_yes += v.equal && !want;
        s.false_no += !v.equal && want;
        duet_verdict_clear(&v);
    }
    dt_jsonl_close(r);
    printf("%s: %d of %d, %d false yes\n", strrchr(path, '/') + 1, s.n - s.false_yes - s.false_no, s.n, s.false_yes);
    return s;
}

static void own_cases(void **state) {
    (void)state;
    score s = run_file(DUET_TEST_DATA "/task/answer_cases.jsonl");
    assert_true(s.n > 400);
    assert_int_equal(s.false_yes + s.false_no, 0);
    s = run_file(DUET_TEST_DATA "/task/answer_more.jsonl");
    assert_true(s.n > 500);
    assert_int_equal(s.false_yes + s.false_no, 0);
}

static void shared_semantic(void **state) {
    char path[512];
    (void)state;
    score s = run_file(shared_path(path, sizeof path, "data/semantic_cases.jsonl"));
    assert_true(s.n > 100);
    assert_int_equal(s.false_yes, 0);
    assert_true(s.false_no * 100 <= s.n);
}

static void shared_verify(void **state) {
    char path[512];
    (void)state;
    score s = run_file(shared_path(path, sizeof path, "data/verify_cases.jsonl"));
    assert_true(s.n > 100);
    assert_true(s.false_yes <= 1);
    assert_true((s.false_no + s.false_yes) * 100 <= 8 * s.n);
}

/* The classic normalisation: its verdict and both its normal forms. */
static void shared_strict(void **state) {
    char path[512];
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    int n = 0;
    (void)state;
    assert_int_equal(dt_jsonl_open(shared_path(path, sizeof path, "data/hendrycks_cases.jsonl"), &r, &err), DUET_OK);
    for (; !dt_jsonl_next(r, &row, &err); json_decref(row), n++) {
        const duet_verify_options o = {.strict = true};
        const char *gold = text_of(row, "gold"), *pred = text_of(row, "pred"), *gn = text_of(row, "gold_norm"), *pn = text_of(row, "pred_norm");
        duet_verdict v;
        assert_int_equal(duet_verify(gold, strlen(gold), pred, strlen(pred), &o, &v, &err), DUET_OK);
        if (v.equal != json_is_true(json_object_get(row, "expected"))) fail_msg("%s: got %d", text_of(row, "id"), v.equal);
        if (gn && pn && (strcmp(v.gold, gn) != 0 || strcmp(v.pred, pn) != 0)) fail_msg("%s: %s, %s", text_of(row, "id"), v.gold, v.pred);
        duet_verdict_clear(&v);
    }
    dt_jsonl_close(r);
    assert_true(n > 50);
}

/* What the verdict says besides yes or no. */
static void verdicts(void **state) {
    static const struct {
        const char *gold, *pred, *method, *gold_value, *pred_value;
    } rows[] = {
        {"7", "\\boxed{7}", "text", "7", "7"},
        {"7", "\\boxed{07}", "exact", "7", "07"},
        {"\\sin 2x", "$2\\sin x\\cos x$", "ball", "\\sin 2x", "2\\sin x\\cos x"},
        {"\\frac13", "0.333333", "rounding", "\\frac13", "0.333333"},
        {"7", "8", "different", "7", "8"},
        {"\\frac{1}{0}", "5", "undecided", "\\frac{1}{0}", "5"},
        {"7", "", "none", "7", NULL},
        {"10^{10^{10}}", "10^{10^{10}}\\,", "exact", NULL, NULL},
        {"1+e^{-10000}", "1", "undecided", NULL, NULL}, /* no precision we allow tells them apart, and we say so */
        {"10^{10000}+1", "10^{10000}", "undecided", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < DT_COUNT(rows); i++) {
        duet_verdict v;
        assert_int_equal(duet_verify(rows[i].gold, strlen(rows[i].gold), rows[i].pred, strlen(rows[i].pred), NULL, &v, NULL), DUET_OK);
        if (strcmp(v.method, rows[i].method) != 0) fail_msg("%s | %s: %s, %s", rows[i].gold, rows[i].pred, v.method, v.reason ? v.reason : "");
        if (rows[i].gold_value) {
            assert_string_equal(v.gold, rows[i].gold_value);
            assert_true(!v.pred == !rows[i].pred_value);
            if (v.pred) assert_string_equal(v.pred, rows[i].pred_value);
        }
        duet_verdict_clear(&v);
    }
}

typedef struct pairs {
    char *gold[1000], *pred[1000];
    bool want[1000];
    size_t n;
} pairs;

static void load(pairs *p, const char *path) {
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    memset(p, 0, sizeof *p);
    assert_int_equal(dt_jsonl_open(path, &r, &err), DUET_OK);
    for (; !dt_jsonl_next(r, &row, &err) && p->n < DT_COUNT(p->gold); json_decref(row)) {
        if (!strncmp(text_of(row, "group"), "response", 8) || !strcmp(text_of(row, "group"), "letters")) continue; /* pred is a response there */
        p->gold[p->n] = dt_strdup(text_of(row, "gold"));
        p->pred[p->n] = dt_strdup(text_of(row, "pred"));
        p->want[p->n++] = json_is_true(json_object_get(row, "expected"));
    }
    dt_jsonl_close(r);
    assert_true(p->n > 300);
}

static void unload(pairs *p) {
    for (size_t i = 0; i < p->n; i++) {
        free(p->gold[i]);
        free(p->pred[i]);
    }
}

/* An answer with spacing put where LaTeX ignores it: around operators and brackets, not inside of names and numbers. */
static void spaced(const char *s, uint64_t seed, dt_buf *b) {
    static const char *const blanks[] = {"\\,", "\\;", "\\!", " ", "\\quad ", "\\ ", "{}"};
    dt_rng r = dt_rng_make(seed, 1);
    if (strstr(s, "\\text") || strstr(s, "\\begin") || strstr(s, "\\boxed") || strstr(s, "\\m")) {
        dt_buf_addf(b, "\\,%s\\;", s);
        return;
    }
    for (const char *c = s; *c; c++) {
        bool here = strchr("+=<>", *c) && dt_rng_below(&r, 2) && !(c > s && strchr("<>=!+^", c[-1])) && !strchr("=<>+", c[1]);
        if (here) dt_buf_adds(b, blanks[dt_rng_below(&r, 6)]);
        dt_buf_add(b, c, 1);
        if (here) dt_buf_adds(b, blanks[dt_rng_below(&r, 6)]);
    }
}

static void hold_properties(const char *path) {
    static pairs p;
    load(&p, path);
    for (size_t i = 0; i < p.n; i++) {
        dt_buf g = {0}, q = {0};
        if (!equal(p.gold[i], p.gold[i])) fail_msg("not reflexive: %s", p.gold[i]);
        if (equal(p.gold[i], p.pred[i]) != equal(p.pred[i], p.gold[i])) fail_msg("not symmetric: %s | %s", p.gold[i], p.pred[i]);
        spaced(p.gold[i], i, &g);
        spaced(p.pred[i], 7 * i + 1, &q);
        if (equal(g.data, p.gold[i]) != true) fail_msg("spacing: %s | %s", g.data, p.gold[i]);
        if (equal(g.data, q.data) != p.want[i]) fail_msg("spacing (seed %zu): %s | %s", i, g.data, q.data);
        dt_buf_clear(&g);
        dt_buf_clear(&q);
    }
    unload(&p);
}

static void properties(void **state) {
    (void)state;
    hold_properties(DUET_TEST_DATA "/task/answer_cases.jsonl");
    hold_properties(DUET_TEST_DATA "/task/answer_more.jsonl");
}

/* Ways to write the same; what may be left out (units, "x =", percent, degrees) is no equivalence and is not here. */
static void transitive(void **state) {
    static const char *const same[][6] = {
        {"\\frac12", "0.5", "1/2", "\\frac{2}{4}", "2^{-1}", "\\sin 30^\\circ"},
        {"\\sqrt8", "2\\sqrt2", "\\frac{4}{\\sqrt2}", "2^{3/2}", "\\sqrt{2}+\\sqrt{2}", "\\sqrt[4]{64}"},
        {"(x+1)^2", "x^2+2x+1", "x(x+2)+1", "(1+x)(x+1)", "\\frac{(x+1)^3}{x+1}", "1+2x+x^2"},
        {"\\{1,2\\}", "\\{2,1\\}", "1,2", "2,1", "1\\text{ and }2", "\\frac{3\\pm1}{2}"},
        {"[1,2)", "1\\le x<2", "x\\in[1,2)", "2>x\\ge1", "\\left[1,2\\right)", "[1,1.5]\\cup(1.5,2)"},
        {"y=2x+1", "y-2x=1", "2x-y+1=0", "2y=4x+2", "0=y-2x-1", "y-1=2x"},
        {"3+4i", "4i+3", "(2+i)^2", "\\frac{7+i}{1-i}", "5e^{i\\arctan(4/3)}", "3 + 4 \\sqrt{-1}"},
    };
    (void)state;
    for (size_t g = 0; g < DT_COUNT(same); g++)
        for (size_t i = 0; i < 6; i++)
            for (size_t j = 0; j < 6; j++)
                for (size_t h = 0; h < DT_COUNT(same); h++)
                    if (equal(same[g][i], same[h][j]) != (g == h)) fail_msg("%s | %s: want %d", same[g][i], same[h][j], g == h);
}

/* The same verdicts from several threads at once. */
static void *worker(void *arg) {
    const pairs *p = arg;
    size_t wrong = 0;
    for (size_t i = 0; i < p->n; i++) {
        duet_verdict v;
        if (duet_verify(p->gold[i], strlen(p->gold[i]), p->pred[i], strlen(p->pred[i]), NULL, &v, NULL)) return (void *)1;
        wrong += v.equal != p->want[i];
        duet_verdict_clear(&v);
    }
    return wrong ? (void *)1 : NULL;
}

static void threads(void **state) {
    static pairs p;
    pthread_t t[4];
    (void)state;
    load(&p, DUET_TEST_DATA "/task/answer_cases.jsonl");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, worker, &p), 0);
    for (int i = 0; i < 4; i++) {
        void *bad = NULL;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    unload(&p);
}

/* Inputs made to hang, crash or eat memory: `n` times the middle between head and tail. */
static const struct {
    const char *head, *middle, *tail;
    int n;
} hostile[] = {
    {"", "{", "", 15000},          {"", "(", "", 15000},           {"", "\\frac{", "", 3000},        {"", "\\sqrt{", "2", 3000},     {"", "\\{", "", 9000},           {"", "|", "", 3001},
    {"", "-", "1", 15000},         {"5", "!", "", 15000},          {"((100!)!)!", "", "", 0},        {"1000000!", "", "", 0},        {"(10^{9})!", "", "", 0},        {"10^{10^{10}}", "", "", 0},
    {"9^{9^{9^{9^{9}}}}", "", "", 0}, {"10^{10^{10^{10}}}", "", "", 0}, {"1e999999999", "", "", 0},  {"1e-999999999", "", "", 0},    {"1e99999999999999999999", "", "", 0}, {"\\binom{10^6}{5\\cdot10^5}", "", "", 0},
    {"\\binom{10^{12}}{10^{11}}", "", "", 0}, {"", "9", "", 15000}, {"", "9", "", 3999},             {"0.", "3", "", 3999},          {"1", " 000", "", 3000},         {"x", "^x", "", 4000},
    {"(x+y+z+w)^{200}", "", "", 0}, {"((x+1)^{40}+1)^{40}", "", "", 0}, {"(a+b+c+d+e+f+g)^{12}", "", "", 0}, {"(a+b+c+d+e+f+g)^{24}", "", "", 0}, {"(\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11}+\\sqrt{13})^{12}", "", "", 0},
    {"", "\\pm 1", "", 300},       {"1", ",1", "", 5000},          {"\\{1", ",7", "\\}", 190},       {"\\sin(10^{10^{10}})", "", "", 0}, {"e^{e^{e^{e^{e}}}}", "", "", 0}, {"\\exp(10^9)", "", "", 0},
    {"\\sum_{k=1}^{10^9} k", "", "", 0}, {"\\sum_{k=1}^{200} \\sum_{j=1}^{200} kj", "", "", 0}, {"\\sum_{k=1}^{200} (k!)!", "", "", 0}, {"", "\\begin{pmatrix}", "", 900}, {"\\begin{pmatrix}1", "&1", "\\end{pmatrix}", 3000}, {"1", "+x", "", 3000},
    {"1", "<2", "", 3000},         {"(1,2)", "\\cup(1,2)", "", 500}, {"1", ":2", "", 3000},          {"a", "/b", "", 3000},          {"", "\\text{", "", 2000},       {"", "\\sin", "x", 3000},
    {"", "\\( ", "", 5000},        {"", "answer is ", "", 1500},   {"", "\\boxed", "", 2500},        {"", "\\boxed{", "", 2500},     {"", "$", "", 15001},            {"", "#### ", "", 3000},
    {"\\log_{2}{", "9", "}", 3000}, {"\\sqrt{", "9", "}", 3000},   {"(1.000001)^{10^9}", "", "", 0}, {"7^{7000}-7^{6999}", "", "", 0}, {"\\sqrt[1000000]{2}", "", "", 0}, {"2^{1/1000000007}", "", "", 0},
    {"\\gcd(10^{300},6^{200})", "", "", 0}, {"\\xFF\\xFE", "", "", 0}, {"\xFF\xFE\xC0", "\x80", "", 500}, {"\xE2\x88", "", "", 0}, {"\\", "", "", 0},                {"x_", "{x_", "", 1000},
    /* quantities, ranges, tables and spellings in number */
    {"1 h 2 min", ", 2 h 3 min", "", 190}, {"2 \\text{ hours } 3 \\text{ minutes}", ", 1 \\text{ hour } 5 \\text{ minutes}", "", 199}, {"1 hour ", "2 min ", "", 900},
    {"\\{1,2,", "3,4,", "\\ldots,99999\\}", 15}, {"[[1,2]", ",[3,4]", "]", 900}, {"", "1A_{16}+", "1", 900}, {"0.", "3", "...", 3990}, {"", "0.(3)+", "1", 900}, {"", "x\xc2\xb2+", "1", 900},
    {"", "1'000", "", 3000}, {"", "{}_5C_2+", "1", 700}, {"\\begin{align*}x", "&=1\\\\", "\\end{align*}", 900}, {"", "\\begin{align}", "", 400}, {"37^\\circ ", "30^\\prime ", "", 900}, {"A(1,2)", ",B(3,4)", "", 199},
};

static void bounded(void **state) {
    double worst = 0;
    (void)state;
    equal("\\sin x", "\\cos x"); /* constants are made once */
    for (size_t i = 0; i < DT_COUNT(hostile); i++) {
        dt_buf a = {0}, b = {0};
        dt_buf_adds(&a, hostile[i].head);
        for (int k = 0; k < hostile[i].n; k++)
            dt_buf_adds(&a, hostile[i].middle);
        dt_buf_adds(&a, hostile[i].tail);
        dt_buf_add(&b, a.data, a.len);
        dt_buf_adds(&b, "+x-x");
        const struct {
            const char *gold, *pred;
        } tries[] = {{a.data, "7"}, {"7", a.data}, {a.data, b.data}, {a.data, a.data}};
        for (size_t k = 0; k < DT_COUNT(tries); k++) {
            clock_t from = clock(); /* of the processor: other work must not count */
            bool yes = equal(tries[k].gold, tries[k].pred);
            double s = (double)(clock() - from) / CLOCKS_PER_SEC;
            worst = s > worst ? s : worst;
            if (s > 0.05 * SLOWER) fail_msg("%.30s... (try %zu): %.3f s", a.data, k, s);
            if (yes && k < 2 && strcmp(hostile[i].head, "\\{1") != 0) fail_msg("%.30s... is not 7", a.data);
        }
        dt_buf_clear(&a);
        dt_buf_clear(&b);
    }
    printf("worst: %.1f ms\n", 1e3 * worst);
}

/* NUL bytes and lengths, not terminators, say where a text ends. */
static void bytes(void **state) {
    duet_verdict v;
    (void)state;
    assert_int_equal(duet_verify("1\0001", 3, "1", 1, NULL, &v, NULL), DUET_OK);
    assert_false(v.equal);
    duet_verdict_clear(&v);
    assert_int_equal(duet_verify("12345", 2, "12999", 2, NULL, &v, NULL), DUET_OK);
    assert_true(v.equal);
    duet_verdict_clear(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(own_cases),  cmocka_unit_test(shared_semantic), cmocka_unit_test(shared_verify), cmocka_unit_test(shared_strict),
                                       cmocka_unit_test(verdicts),   cmocka_unit_test(properties),      cmocka_unit_test(transitive),    cmocka_unit_test(threads),
                                       cmocka_unit_test(bounded),    cmocka_unit_test(bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
