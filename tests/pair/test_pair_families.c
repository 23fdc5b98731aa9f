/* Pairs of models with other chat templates: where the signal is in what M says, how m reads it, what they share; with one
 * tokenizer and with two; and conversations. */
#include "backend/fixture.h"
#include "backend/interface.h"
#include "duet/pair.h"
#include "text/tokenizer.h"

#include <jansson.h>

#define INTRO "\n\nA high-level strategy:\n"
#define OUTRO "\n\nWrite the solution."
#define R1(x) "<\xef\xbd\x9c" x "\xef\xbd\x9c>"
#define R1_BOS R1("begin\xe2\x96\x81of\xe2\x96\x81sentence")
#define R1_END R1("end\xe2\x96\x81of\xe2\x96\x81sentence")
#define R1_USER R1("User")
#define R1_BOT "<\xef\xbd\x9c" "Assistant\xef\xbd\x9c>"
#define LLAMA(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

static const struct {
    const char *name;
    const char *marks[6];
} kinds[] = {
    {"qwen3",              {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"}      },
    {"qwen3-thinking-2507", {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"}     },
    {"smollm2",            {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}                             },
    {"llama3",             {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
    {"deepseek-r1",        {R1_BOS, R1_END, R1_USER, R1_BOT, "<think>", "</think>"}                    },
    {"gemma3",             {"<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"}                      },
};

/* A byte tokenizer with a family's marks and its template. */
static duet_tokenizer *tokenizer_of(const char *family) {
    duet_tokenizer *bytes = NULL, *t = NULL;
    duet_err err = {{0}};
    char path[1024];
    dt_buf jinja = {0};
    size_t k = 0;
    while (strcmp(kinds[k].name, family) != 0)
        assert_true(++k < DT_COUNT(kinds));
    assert_int_equal(duet_tokenizer_build(NULL, NULL, NULL, 0, NULL, &bytes, &err), DUET_OK);
    json_t *root = json_loadb(bytes->json.data, bytes->json.len, JSON_ALLOW_NUL, NULL);
    const json_int_t first = json_integer_value(json_object_get(json_array_get(json_object_get(root, "added_tokens"), 0), "id"));
    json_t *added = json_array();
    for (size_t i = 0; i < 6 && kinds[k].marks[i]; i++)
        json_array_append_new(added, json_pack("{s:I,s:s,s:b,s:b,s:b,s:b,s:b}", "id", first + (json_int_t)i, "content",
                                               kinds[k].marks[i], "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                                               0, "special", !strchr(kinds[k].marks[i], '/')));
    json_object_set_new(root, "added_tokens", added);
    snprintf(path, sizeof path, "%s/tests/golden/chat/templates/%s.jinja", DUET_ROOT, family);
    assert_int_equal(dt_file_read(path, 1 << 20, &jinja, &err), DUET_OK);
    char *json = json_dumps(root, 0);
    json_t *c = json_pack("{s:s}", "chat_template", jinja.data);
    char *config = json_dumps(c, 0);
    if (dt_tokenizer_parse(family, json, strlen(json), config, strlen(config), &t, &err))
        fail_msg("%s", err.text);
    free(json);
    free(config);
    json_decref(c);
    json_decref(root);
    dt_buf_clear(&jinja);
    duet_tokenizer_close(bytes);
    return t;
}

typedef struct part {
    const char *reply;
    char prompt[4096];
} part;

static const char *play(void *user, const char *prompt, int sample) {
    part *p = user;
    (void)sample;
    snprintf(p->prompt, sizeof p->prompt, "%s", prompt);
    return p->reply;
}

typedef struct duo {
    duet_tokenizer *tM, *tm;
    part M, m;
    duet_backend *bM, *bm;
    duet_pair *pair;
} duo;

static void open_duo(duo *d, const char *M, const char *m) {
    duet_err err = {{0}};
    *d = (duo){.tM = tokenizer_of(M), .tm = tokenizer_of(m)};
    assert_int_equal(duet_backend_scripted(d->tM, play, &d->M, &d->bM, &err), DUET_OK);
    assert_int_equal(duet_backend_scripted(d->tm, play, &d->m, &d->bm, &err), DUET_OK);
    if (duet_pair_create(d->bM, d->bm, NULL, &d->pair, &err))
        fail_msg("%s", err.text);
}

static void close_duo(duo *d) {
    duet_pair_destroy(d->pair);
    duet_backend_close(d->bM);
    duet_backend_close(d->bm);
    duet_tokenizer_close(d->tM);
    duet_tokenizer_close(d->tm);
}

static duet_pair_request ask(const char *question, int signal_budget) {
    return (duet_pair_request){.question = question,
                               .n_question = strlen(question),
                               .signal_budget = signal_budget,
                               .answer_budget = -1};
}

static void answer(duo *d, duet_pair_request *r) {
    duet_err err = {{0}};
    if (duet_pair_answer(d->pair, r, 1, NULL, &err))
        fail_msg("%s", err.text);
}

static const struct {
    const char *M, *m, *reply;
    int budget;
    const char *asked, *signal; /* M's prompt, what goes over */
    duet_signal_status status;
    duet_handoff handoff;
    const char *read; /* m's prompt */
} cases[] = {
    /* The prompt opened the thought: no opening tag is sampled. */
    {"deepseek-r1", "deepseek-r1", "add 7\n</think>\n\n4", -1, R1_BOS R1_USER "q" R1_BOT "<think>\n", "add 7", DUET_SIGNAL_CLOSED,
     DUET_HANDOFF_END, R1_BOS R1_USER "q" R1_BOT "<think>\nadd 7\n</think>\n\n"},
    {"deepseek-r1", "deepseek-r1", "add 7\n</think>\n\n4", 4, R1_BOS R1_USER "q" R1_BOT "<think>\n", "add ", DUET_SIGNAL_TRUNCATED,
     DUET_HANDOFF_BUDGET, R1_BOS R1_USER "q" R1_BOT "<think>\nadd \n</think>\n\n"},
    {"deepseek-r1", "deepseek-r1", "add 7", -1, R1_BOS R1_USER "q" R1_BOT "<think>\n", "add 7", DUET_SIGNAL_TRUNCATED,
     DUET_HANDOFF_EOS, R1_BOS R1_USER "q" R1_BOT "<think>\nadd 7\n</think>\n\n"},
    {"deepseek-r1", "deepseek-r1", "\n</think>", -1, R1_BOS R1_USER "q" R1_BOT "<think>\n", "", DUET_SIGNAL_EMPTY,
     DUET_HANDOFF_EMPTY, R1_BOS R1_USER "q" R1_BOT "<think>\n\n</think>\n\n"},
    {"qwen3-thinking-2507", "qwen3-thinking-2507", "add 7\n</think>", -1,
     "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n", "add 7", DUET_SIGNAL_CLOSED, DUET_HANDOFF_END,
     "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\nadd 7\n</think>\n\n"},
    /* M opens it. */
    {"qwen3", "qwen3", "<think>\nadd 7\n</think>", -1, "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "add 7",
     DUET_SIGNAL_CLOSED, DUET_HANDOFF_END,
     "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\nadd 7\n</think>\n\n"},
    /* No tags: all that is said, and an instruction. What looks like a tag is text. */
    {"llama3", "llama3", "add </think> 7", -1, "<|begin_of_text|>" LLAMA("user") "q<|eot_id|>" LLAMA("assistant"),
     "add </think> 7", DUET_SIGNAL_UNTAGGED, DUET_HANDOFF_EOS,
     "<|begin_of_text|>" LLAMA("user") "q" INTRO "add </think> 7" OUTRO "<|eot_id|>" LLAMA("assistant")},
    {"llama3", "llama3", "add 7", 3, "<|begin_of_text|>" LLAMA("user") "q<|eot_id|>" LLAMA("assistant"), "add",
     DUET_SIGNAL_UNTAGGED, DUET_HANDOFF_BUDGET,
     "<|begin_of_text|>" LLAMA("user") "q" INTRO "add" OUTRO "<|eot_id|>" LLAMA("assistant")},
    {"llama3", "llama3", "", -1, "<|begin_of_text|>" LLAMA("user") "q<|eot_id|>" LLAMA("assistant"), "", DUET_SIGNAL_EMPTY,
     DUET_HANDOFF_EOS, "<|begin_of_text|>" LLAMA("user") "q<|eot_id|>" LLAMA("assistant")},
    {"gemma3", "gemma3", "add 7", -1, "<bos><start_of_turn>user\nq<end_of_turn>\n<start_of_turn>model\n", "add 7",
     DUET_SIGNAL_UNTAGGED, DUET_HANDOFF_EOS,
     "<bos><start_of_turn>user\nq" INTRO "add 7" OUTRO "<end_of_turn>\n<start_of_turn>model\n"},
    /* Two tokenizers: through text, marks of the other as text. */
    {"deepseek-r1", "llama3", "add<|eot_id|>7\n</think>", -1, R1_BOS R1_USER "q" R1_BOT "<think>\n", "add<|eot_id|>7",
     DUET_SIGNAL_CLOSED, DUET_HANDOFF_END,
     "<|begin_of_text|>" LLAMA("user") "q" INTRO "add<|eot_id|>7" OUTRO "<|eot_id|>" LLAMA("assistant")},
    {"smollm2", "qwen3", "add </think> 7", -1,
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n"
     "q<|im_end|>\n<|im_start|>assistant\n", "add </think> 7", DUET_SIGNAL_UNTAGGED, DUET_HANDOFF_EOS,
     "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\nadd </think> 7\n</think>\n\n"},
    {"qwen3", "gemma3", "<think>\nadd <end_of_turn>\n</think>", -1,
     "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", "add <end_of_turn>", DUET_SIGNAL_CLOSED, DUET_HANDOFF_END,
     "<bos><start_of_turn>user\nq" INTRO "add <end_of_turn>" OUTRO "<end_of_turn>\n<start_of_turn>model\n"},
};

static void test_families(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duo d;
        print_message("case: %s -> %s: %s\n", cases[i].M, cases[i].m, cases[i].reply);
        open_duo(&d, cases[i].M, cases[i].m);
        const bool same = !strcmp(cases[i].M, cases[i].m);
        assert_int_equal(duet_pair_shares_tokens(d.pair), same);
        d.M.reply = cases[i].reply;
        d.m.reply = " four ";
        duet_pair_request r = ask("q", cases[i].budget);
        answer(&d, &r);
        assert_string_equal(d.M.prompt, cases[i].asked);
        assert_string_equal(r.signal_text, cases[i].signal);
        assert_string_equal(duet_signal_status_name(r.signal_status), duet_signal_status_name(cases[i].status));
        assert_string_equal(duet_handoff_name(r.handoff), duet_handoff_name(cases[i].handoff));
        assert_string_equal(d.m.prompt, cases[i].read);
        assert_string_equal(r.answer_text, "four");
        for (size_t k = 0; k < r.n_signal_ids; k++) /* in two tokenizers a mark is text, not an id */
            assert_true(same || !duet_tokenizer_is_added(d.tm, r.signal_ids[k]));
        duet_pair_request_clear(&r);
        close_duo(&d);
    }
}

/* The guided prompt with an empty signal is the baseline's, id by id, whatever the family. */
static void test_baseline_is_the_empty_signal(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(kinds); i++) {
        duo d;
        static const int32_t none[1] = {0};
        char guided[4096];
        open_duo(&d, kinds[i].name, kinds[i].name);
        d.m.reply = "four";
        duet_pair_request r = ask("q", -1);
        r.signal = none;
        answer(&d, &r);
        snprintf(guided, sizeof guided, "%s", d.m.prompt);
        const size_t n = r.ledger.m.prompt_tokens;
        r.signal = NULL;
        r.mode = DUET_MODE_m;
        answer(&d, &r);
        assert_string_equal(d.m.prompt, guided);
        assert_int_equal(r.ledger.m.prompt_tokens, n);
        duet_pair_request_clear(&r);
        close_duo(&d);
    }
}

/* M end to end: with tags the answer stands behind them, without all of it is the answer and streams as such. */
static int note_stage(void *user, int stage, const char *text, size_t n) {
    int *stages = user;
    (void)text;
    stages[stage] += (int)n;
    return 0;
}

static void test_M_alone(void **state) {
    (void)state;
    static const struct {
        const char *M, *reply, *signal, *answer;
    } alone[] = {
        {"deepseek-r1", "add 7\n</think>\n\n4",         "add 7", "4"    },
        {"qwen3",       "<think>\nadd 7\n</think>\n\n4", "add 7", "4"   },
        {"llama3",      "add 7",                         "",      "add 7"},
        {"gemma3",      "add </think> 7",                "",      "add </think> 7"},
        {"deepseek-r1", "add 7",                         "add 7", ""    },
    };
    for (size_t i = 0; i < DT_COUNT(alone); i++) {
        duo d;
        int stages[2] = {0};
        open_duo(&d, alone[i].M, alone[i].M);
        d.M.reply = alone[i].reply;
        duet_pair_request r = ask("q", -1);
        r.mode = DUET_MODE_M;
        r.on_text = note_stage;
        r.user = stages;
        answer(&d, &r);
        assert_string_equal(r.signal_text, alone[i].signal);
        assert_string_equal(r.answer_text, alone[i].answer);
        assert_int_equal(stages[0], strlen(alone[i].signal));
        assert_int_equal(stages[1], strlen(alone[i].answer));
        duet_pair_request_clear(&r);
        close_duo(&d);
    }
}

/* Answers are history, thoughts are not; the instruction stands behind every question. */
static void test_history(void **state) {
    (void)state;
    static const duet_message turns[] = {
        {"system", "S", 1}, {"user", "a", 1}, {"assistant", "<think>\nold\n</think>\n\nb", 23}};
    static const struct {
        const char *kind, *M, *m;
    } want[] = {
        {"qwen3",
         "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\n"
         "q<|im_end|>\n<|im_start|>assistant\n",
         "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\n"
         "q<|im_end|>\n<|im_start|>assistant\n<think>\nx\n</think>\n\n"},
        {"deepseek-r1",
         R1_BOS "S" R1_USER "a" R1_BOT "\n\nb" R1_END R1_USER "q" R1_BOT "<think>\n",
         R1_BOS "S" R1_USER "a" R1_BOT "\n\nb" R1_END R1_USER "q" R1_BOT "<think>\nx\n</think>\n\n"},
    };
    for (size_t i = 0; i < DT_COUNT(want); i++) {
        duo d;
        open_duo(&d, want[i].kind, want[i].kind);
        d.M.reply = i ? "x\n</think>" : "<think>\nx\n</think>";
        d.m.reply = "four";
        duet_pair_request r = ask("q", -1);
        r.history = turns;
        r.n_history = DT_COUNT(turns);
        answer(&d, &r);
        assert_string_equal(d.M.prompt, want[i].M);
        assert_string_equal(d.m.prompt, want[i].m);
        duet_pair_request_clear(&r);
        close_duo(&d);
    }
    /* Roles that a template refuses, and bytes that are no text, are refused with its sentence. */
    duo d;
    duet_err err = {{0}};
    static const duet_message twice[] = {{"user", "a", 1}}, bad[] = {{"user", "\xff", 1}, {"assistant", "b", 1}};
    open_duo(&d, "gemma3", "gemma3");
    d.M.reply = d.m.reply = "x";
    duet_pair_request r = ask("q", -1);
    r.history = twice;
    r.n_history = 1;
    assert_int_equal(duet_pair_answer(d.pair, &r, 1, NULL, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "must alternate"));
    r.history = bad;
    r.n_history = 2;
    assert_int_equal(duet_pair_answer(d.pair, &r, 1, NULL, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "message 1 is not UTF-8"));
    duet_pair_request_clear(&r);
    close_duo(&d);
}

static void test_terms(void **state) {
    (void)state;
    static const struct {
        const char *M, *m, *line;
    } want[] = {
        {"qwen3",       "qwen3",  "M: qwen3, m: qwen3 | one tokenizer: token ids | signal: M's thought, read as its own thought"},
        {"llama3",      "qwen3",  "M: llama3, m: qwen3 | two tokenizers: text | signal: all M says, read as its own thought"    },
        {"deepseek-r1", "gemma3", "M: deepseek-r1, m: gemma3 | two tokenizers: text | signal: M's thought, read as an instruction"},
    };
    for (size_t i = 0; i < DT_COUNT(want); i++) {
        duo d;
        open_duo(&d, want[i].M, want[i].m);
        char *line = duet_pair_terms_line(d.pair);
        assert_string_equal(line, want[i].line);
        free(line);
        const duet_pair_terms t = duet_pair_describe(d.pair);
        assert_string_equal(t.M_template, want[i].M);
        assert_string_equal(t.m_template, want[i].m);
        assert_int_equal(t.same_ends, i == 0);
        close_duo(&d);
    }
}

/* A signal too long for m's context: the part that is kept stands in the instruction, or there is none. */
static void test_instruction_overflow(void **state) {
    (void)state;
    duo d;
    open_duo(&d, "llama3", "llama3");
    d.M.reply = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz";
    d.m.reply = "four";
    static const struct {
        int ctx;
        size_t least, most;
    } want[] = {{130, 1, 60}, {70, 0, 0}};
    for (size_t i = 0; i < DT_COUNT(want); i++) {
        dt_backend_limit(d.bm, want[i].ctx);
        duet_pair_request r = ask("q", -1);
        answer(&d, &r);
        assert_true(r.signal_cut);
        assert_in_range(r.n_signal_ids, want[i].least, want[i].most);
        assert_true(r.ledger.m.prompt_tokens < (size_t)want[i].ctx);
        assert_int_equal(strstr(d.m.prompt, "strategy") != NULL, want[i].most > 0);
        assert_non_null(strstr(d.m.prompt, LLAMA("user") "q"));
        duet_pair_request_clear(&r);
    }
    close_duo(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families), cmocka_unit_test(test_baseline_is_the_empty_signal),
        cmocka_unit_test(test_M_alone),  cmocka_unit_test(test_history),
        cmocka_unit_test(test_terms),    cmocka_unit_test(test_instruction_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
