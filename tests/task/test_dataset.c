/* Sets of questions: our fields, the layouts of public sets, mapped fields; rows that are no questions are named. */
#include "support.h"

#include "duet/task.h"

#include <string.h>
#include <unistd.h>

static char path[64];

static void write_set(const char *suffix, const char *text, size_t n) {
    snprintf(path, sizeof path, "/tmp/duet-set-XXXXXX%s", suffix);
    int fd = mkstemps(path, (int)strlen(suffix));
    assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
}

static duet_dataset *open_set(const char *suffix, const char *text, const duet_dataset_options *o) {
    duet_dataset *d = NULL;
    duet_err err = {{0}};
    write_set(suffix, text, strlen(text));
    if (duet_dataset_open(path, o, &d, &err)) fail_msg("%s", err.text);
    remove(path);
    return d;
}

#define BOX " Let's think step by step and output the final answer within \\boxed{}."

static void layouts(void **state) {
    (void)state;
    static const struct {
        const char *name, *map, *row, *id, *question, *answer, *told; /* told: the instruction added; NULL = none */
    } cases[] = {
        {"plain", NULL, "{\"question\":\"q\",\"answer\":\" 7 \"}", "line-1", "q", "7", NULL},
        {"number", NULL, "{\"id\":3,\"question\":\"q\",\"answer\":7}", "3", "q", "7", NULL},
        {"kind", NULL, "{\"id\":\"a\",\"question\":\"q\",\"answer\":\"7\",\"kind\":\"math\"}", "a", "q", "7", BOX},
        {"gsm8k", NULL, "{\"question\":\"q\",\"answer\":\"so <<1*2=2>>2\\n#### 1,002\"}", "line-1", "q", "1002", BOX},
        {"math", NULL, "{\"problem\":\"p\",\"level\":\"Level 5\",\"solution\":\"\\\\boxed{1} no: $\\\\boxed{\\\\frac{1}{2}}$\"}", "line-1", "p", "\\frac{1}{2}", BOX},
        {"math500", NULL, "{\"problem\":\"p\",\"solution\":\"\\\\boxed{1}\",\"answer\":\"2\",\"unique_id\":\"u\"}", "u", "p", "2", BOX},
        {"deepmath", NULL, "{\"question\":\"q\",\"final_answer\":\"4\"}", "line-1", "q", "4", BOX},
        {"aime", NULL, "{\"ID\":\"2024-I-1\",\"Problem\":\"p\",\"Answer\":204}", "2024-I-1", "p", "204", BOX},
        {"verl", NULL, "{\"data_source\":\"x\",\"prompt\":[{\"role\":\"user\",\"content\":\"p, boxed.\"}],\"reward_model\":{\"ground_truth\":\"9\"},\"extra_info\":{\"index\":12}}",
         "12", "p, boxed.", "9", NULL},
        {"mapped", "question=a.b,answer=c,id=d", "{\"a\":{\"b\":\"q\"},\"c\":\"8\",\"d\":\"i\",\"question\":\"no\",\"answer\":\"no\"}", "i", "q", "8", NULL},
        {"mapped gsm8k", "answer=sol", "{\"question\":\"q\",\"sol\":\"x\\n#### 5\"}", "line-1", "q", "5", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        duet_dataset *d = open_set(".jsonl", cases[i].row, &(duet_dataset_options){.map = cases[i].map});
        const duet_example *e = duet_dataset_get(d, 0);
        char prompt[256];
        snprintf(prompt, sizeof prompt, "%s%s", cases[i].question, cases[i].told ? cases[i].told : "");
        bool told = cases[i].told ? e->prompt && !strcmp(e->prompt, prompt) && !strcmp(e->instruction, cases[i].told) : !e->prompt && !e->instruction;
        if (strcmp(e->id, cases[i].id) || strcmp(e->question, cases[i].question) || strcmp(e->answer, cases[i].answer) || !told || e->hidden)
            fail_msg("%s: %s | %s | %s | %s", cases[i].name, e->id, e->question, e->answer, e->prompt ? e->prompt : "-");
        duet_dataset_close(d);
    }
}

static void options(void **state) {
    (void)state;
    duet_dataset *d = open_set(".jsonl", "{\"question\":\"q\",\"choices\":[\"one\",\"two\",\"three\"],\"answer\":\"B\",\"kind\":\"mcq\"}\n"
                                         "{\"question\":\"r\",\"choices\":[\"one\",\" two\"],\"answer\":\"two\"}\n"
                                         "{\"question\":\"s\",\"choices\":[\"one\",\"two\"],\"answer\":\"C\"}\n"
                                         "{\"question\":\"t\",\"choices\":[\"one\"],\"answer\":\"A\"}\n", NULL);
    size_t n = 0;
    const duet_dataset_fault *f = duet_dataset_faults(d, &n, NULL);
    assert_int_equal(duet_dataset_size(d), 2);
    assert_string_equal(duet_dataset_get(d, 0)->question, "q\n\nA) one\nB) two\nC) three");
    assert_string_equal(duet_dataset_get(d, 0)->answer, "B");
    assert_non_null(strstr(duet_dataset_get(d, 0)->prompt, "`Answer: X`"));
    assert_string_equal(duet_dataset_get(d, 1)->answer, "B");
    assert_int_equal(n, 2);
    assert_true(f[0].line == 3 && strstr(f[0].text, "neither the letter") && f[1].line == 4 && strstr(f[1].text, "2 to 26"));
    duet_dataset_close(d);
}

/* An invented CSV of GPQA's shape: commas, doubled quotes and newlines in quoted fields, columns in any order. */
static const char csv[] = "\xEF\xBB\xBFRecord ID,Incorrect Answer 2,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 3\r\n"
                          "r1,w2,\"Which, of \"\"these\"\",\nis right?\", yes ,w1,w3\r\n"
                          "r2,w2,Second?,\"yes, \"\"it\"\" is\",w1,w3\r\n"
                          "r3,w2,Third?,,w1,w3\r\n"
                          "r4,w2,Fourth?,yes,w1\r\n"
                          "r5,w2,Fifth?,yes,w1,w3\r\n";

static void gpqa(void **state) {
    (void)state;
    bool seen[4] = {false}, moved = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        duet_dataset *d = open_set(".csv", csv, &(duet_dataset_options){.choice_seed = seed}), *again = open_set(".CSV", csv, &(duet_dataset_options){.choice_seed = seed});
        size_t n = 0;
        const duet_dataset_fault *f = duet_dataset_faults(d, &n, NULL);
        assert_int_equal(duet_dataset_size(d), 3);
        assert_true(n == 2 && f[0].line == 5 && f[1].line == 6); /* the first record takes two lines */
        assert_null(strstr(f[0].text, "Third"));
        const char *right[] = {"yes", "yes, \"it\" is", "yes"}, *id[] = {"r1", "r2", "r5"};
        for (size_t i = 0; i < 3; i++) {
            const duet_example *e = duet_dataset_get(d, i);
            char line[64];
            assert_true(e->hidden && !strcmp(e->id, id[i]) && strlen(e->answer) == 1 && e->answer[0] >= 'A' && e->answer[0] <= 'D');
            snprintf(line, sizeof line, "\n%s) %s", e->answer, right[i]);
            if (!strstr(e->question, line)) fail_msg("seed %d: %s is not in %s", (int)seed, line, e->question);
            assert_string_equal(e->question, duet_dataset_get(again, i)->question);
            seen[e->answer[0] - 'A'] = true;
            moved = moved || e->answer[0] != duet_dataset_get(d, 0)->answer[0];
        }
        assert_true(!strncmp(duet_dataset_get(d, 0)->question, "Which, of \"these\",\nis right?\n\nA) ", 33));
        duet_dataset_close(d);
        duet_dataset_close(again);
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3] && moved);
}

/* Every kind of bad row, each named by its line; the good ones stay. */
static void bad_rows(void **state) {
    (void)state;
    static const struct {
        const char *row, *why; /* NULL = a good row */
    } rows[] = {
        {"{\"id\":\"a\",\"question\":\"q1\",\"answer\":\"1\"}", NULL},
        {"{\"question\":\"q2\"}", "lacks question or answer"},
        {"{\"question\":\"q3\",\"answer\":\"  \"}", "answer is empty"},
        {"{\"question\":\" \",\"answer\":\"1\"}", "question is empty"},
        {"{\"question\":\"q5\xff\",\"answer\":\"1\"}", "not valid JSON"},
        {"{\"question\":\"q6\",", "not valid JSON"},
        {"[1]", "not a JSON object"},
        {"{\"question\":\"q1\",\"answer\":\"1\"}", "asks what line 1 asks; left out"},
        {"{\"question\":\"q1\",\"answer\":\"2\"}", "asks what line 1 asks, with another answer"},
        {"{\"id\":\"a\",\"question\":\"q10\",\"answer\":\"1\"}", "its id is taken"},
        {"{\"question\":\"q11\",\"answer\":\"a\\u0000b\"}", "lacks question or answer"},
        {"{\"problem\":\"q12\",\"solution\":\"\\\\boxed{1\"}", "no closed box"},
        {"{\"question\":\"q13\",\"answer\":\"#### none\"}", "no number after"},
        {"{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}],\"answer\":\"1\"}", "not a single user turn"},
        {"{\"id\":\"line-16\",\"question\":\"q15\",\"answer\":[1]}", "lacks question or answer"},
        {"{\"id\":\"line-17\",\"question\":\"q16\",\"answer\":\"1\"}", NULL},
        {"{\"question\":\"q17\",\"answer\":\"1\"}", NULL},
    };
    char text[4096] = "";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n", rows[i].row);
    duet_dataset *d = open_set("", text, NULL);
    size_t n = 0, all = 0, k = 0;
    const duet_dataset_fault *f = duet_dataset_faults(d, &n, &all);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].why) continue;
        if (k == n || f[k].line != i + 1 || !strstr(f[k].text, rows[i].why)) fail_msg("line %zu: %s", i + 1, k < n ? f[k].text : "no fault");
        k++;
    }
    assert_true(k == n && all == n);
    assert_int_equal(duet_dataset_size(d), 4);
    assert_string_equal(duet_dataset_get(d, 1)->id, "line-10");
    assert_string_equal(duet_dataset_get(d, 3)->id, "line-17-2");
    duet_dataset_close(d);
}

static void bad_maps(void **state) {
    (void)state;
    static const char *const maps[] = {"", "question", "question=", "question=a,question=b", "frob=a", "question=a,"};
    duet_dataset *d = NULL;
    duet_err err = {{0}};
    write_set("", "{\"question\":\"q\",\"answer\":\"1\"}", 29);
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (duet_dataset_open(path, &(duet_dataset_options){.map = maps[i]}, &d, &err) != DUET_E_USAGE) fail_msg("%s is taken", maps[i]);
    assert_int_equal(duet_dataset_open(path, &(duet_dataset_options){.map = "answer=frob"}, &d, &err), DUET_E_FORMAT);
    remove(path);
    write_set(".csv", "", 0);
    assert_int_equal(duet_dataset_open(path, NULL, &d, &err), DUET_E_FORMAT);
    remove(path);
}

/* Many faults: all counted, some kept; many questions: duplicates are still found. */
static void many_rows(void **state) {
    (void)state;
    dt_buf b = {0};
    for (int i = 0; i < 20000; i++)
        dt_buf_addf(&b, "{\"question\":\"q%d\",\"answer\":1}\n", i % 15000);
    duet_dataset *d = open_set("", b.data, NULL);
    size_t n = 0, all = 0;
    duet_dataset_faults(d, &n, &all);
    assert_true(duet_dataset_size(d) == 15000 && all == 5000 && n == 1000);
    duet_dataset_close(d);
    dt_buf_clear(&b);
}

/* The public sets in our fields: all rows are questions. */
static void shared_sets(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t rows;
    } sets[] = {{"aime24", 30}, {"amc23", 40}, {"math500", 500}, {"minerva_half", 136}, {"sat_math", 32}, {"gsm8k_test", 1319}};
    char file[256];
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        duet_dataset *d = NULL;
        duet_err err = {{0}};
        char rel[64];
        snprintf(rel, sizeof rel, "data/sets/%s.jsonl", sets[i].name);
        if (duet_dataset_open(shared_path(file, sizeof file, rel), NULL, &d, &err)) fail_msg("%s", err.text);
        size_t n = 0;
        const duet_dataset_fault *f = duet_dataset_faults(d, &n, NULL);
        if (duet_dataset_size(d) != sets[i].rows) fail_msg("%s: %zu rows; %s", sets[i].name, duet_dataset_size(d), n ? f[0].text : "");
        assert_non_null(duet_dataset_get(d, 0)->instruction);
        duet_dataset_close(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(layouts),  cmocka_unit_test(options),   cmocka_unit_test(gpqa),       cmocka_unit_test(bad_rows),
                                       cmocka_unit_test(bad_maps), cmocka_unit_test(many_rows), cmocka_unit_test(shared_sets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
