/* The rollouts of training on a small taught pair: they read signals, statuses and answers as the pair does, no signal
 * goes on behind its closing tag, every prompt is computed once, new weights find no old pages; then rewards and
 * advantages of rollouts made by hand, and gradients that do not see how a mini-batch is split. */
#include "support.h"

#include "duet/pair.h"
#include "duet/train.h"
#include "model/model.h"
#include "train/policy.h"
#include "train/setup.h"

#include <math.h>
#include <unistd.h>

static char on_disk[] = "/tmp/duet-rollout-XXXXXX", in_memory[] = "/dev/shm/duet-rollout-XXXXXX";
static const char *root = NULL;

static const char teach[] =
    "data: {task: remainder, knobs: \"digits_min=2 digits_max=2 p_verbose=0.5 p_compact=0.5\", empty: 0.2}\n"
    "model: {init: {layers: 1, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, ctx: 256}}\n"
    "train: {steps: 120, batch: 32, micro_tokens: 2048, lr: 1e-2, save_every: 0}\n"
    "eval: {n: 0}\n"
    "log: {every: 1000}\n";

static void path_in(char out[512], const char *name) {
    snprintf(out, 512, "%s/%s", root, name);
}

static void teach_one(const char *name, const char *role, const char *seed) {
    char recipe[512], out[512], from[600], to[512];
    const char *over[] = {role, seed};
    duet_err err = {{0}};
    path_in(recipe, "teach.yaml");
    path_in(out, "teach");
    path_in(to, name);
    snprintf(from, sizeof from, "%s/model", out);
    const duet_train_options opt = {.recipe = recipe, .overrides = over, .n_overrides = 2, .out = out, .n_threads = 2};
    if (duet_train_sft(&opt, &err))
        fail_msg("%s", err.text);
    assert_int_equal(rename(from, to), 0);
    dt_remove_tree(out, NULL);
}

/* A copy of model folder `from` whose files name no end of a turn but `eos`. */
static void copy_with_eos(const char *from, const char *to, int eos) {
    static const char *const files[] = {"config.json", "generation_config.json"};
    char command[1200], path[700];
    duet_err err = {{0}};
    snprintf(command, sizeof command, "cp -r '%s/%s' '%s/%s'", root, from, root, to);
    assert_int_equal(system(command), 0);
    for (size_t i = 0; i < DT_COUNT(files); i++) {
        json_t *j = NULL;
        snprintf(path, sizeof path, "%s/%s/%s", root, to, files[i]);
        if (!dt_path_exists(path))
            continue;
        if (dt_json_read(path, 1 << 20, &j, &err))
            fail_msg("%s", err.text);
        json_object_set_new(j, "eos_token_id", json_integer(eos));
        assert_int_equal(json_dump_file(j, path, 0), 0);
        json_decref(j);
    }
}

/* A folder with a random model and a tokenizer of all bytes, whose words come from `text`. */
static void random_model(const char *name, const char *text, uint64_t seed) {
    const duet_bpe_train opt = {.n_vocab = 320, .min_count = 1};
    const size_t len = strlen(text);
    char path[512], sized[512];
    duet_tokenizer *t = NULL;
    duet_model *m = NULL;
    duet_err err = {{0}};
    path_in(path, name);
    if (duet_tokenizer_train(&opt, &text, &len, 1, &t, &err))
        fail_msg("%s", err.text);
    snprintf(sized, sizeof sized,
             "{\"model_type\":\"qwen3\",\"num_hidden_layers\":1,\"hidden_size\":16,\"num_attention_heads\":2,"
             "\"num_key_value_heads\":1,\"head_dim\":8,\"intermediate_size\":24,\"vocab_size\":%d,"
             "\"max_position_embeddings\":256,\"rms_norm_eps\":1e-6,\"rope_theta\":10000,"
             "\"tie_word_embeddings\":true,\"initializer_range\":0.2,\"eos_token_id\":0}",
             (int)duet_tokenizer_size(t));
    if (duet_model_new(sized, strlen(sized), seed, &m, &err) || duet_model_save(m, path, &err) || duet_tokenizer_save(t, path, &err))
        fail_msg("%s", err.text);
    duet_model_close(m);
    duet_tokenizer_close(t);
}

static int setup(void **state) {
    char path[512];
    (void)state;
    root = mkdtemp(in_memory);
    if (!root)
        root = mkdtemp(on_disk);
    assert_non_null(root);
    setenv("PATH", "/usr/bin:/bin", 1);
    path_in(path, "teach.yaml");
    assert_int_equal(dt_file_write_atomic(path, teach, strlen(teach), NULL), DUET_OK);
    teach_one("M", "data.role=M", "seed=1");
    teach_one("m", "data.role=m", "seed=2");
    copy_with_eos("M", "base-M", 0);
    copy_with_eos("m", "base-m", 0);
    random_model("bytes-M", "first add seven then take three the answer is four so the answer is 4 and what is left", 3);
    random_model("bytes-m", "swap cup one and cup two, now ball under cup two; cup three stays where the ball was", 4);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return dt_remove_tree(root, NULL) ? 1 : 0;
}

/* ---- a pair as training holds it ---- */

typedef struct duo {
    dt_recipe *r;
    dt_side M, m;
    dt_rollout_spec spec;
} duo;

static void open_one(dt_side *s, const char *name, duet_engine_options opt) {
    char path[512];
    duet_err err = {{0}};
    path_in(path, name);
    if (dt_side_open(s, NULL, path, NULL, &err) || duet_engine_create(s->model, &opt, &s->engine, &err))
        fail_msg("%s", err.text);
}

static duo open_duo(const char *M, const char *m, duet_engine_options of_M, duet_engine_options of_m, const char *over) {
    duo d = {.r = NULL};
    duet_err err = {{0}};
    char copy[512], *save = NULL;
    const char *all[24] = {"data.task=remainder", "train.steps=1", "M.path=M", "m.path=m"};
    size_t n = 4;
    snprintf(copy, sizeof copy, "%s", over);
    for (char *p = strtok_r(copy, " ", &save); p && n < DT_COUNT(all); p = strtok_r(NULL, " ", &save))
        all[n++] = p;
    if (dt_recipe_parse("r", "", 0, DT_RUN_RL, false, all, n, &d.r, &err))
        fail_msg("%s", err.text);
    open_one(&d.M, M, of_M);
    open_one(&d.m, m, of_m);
    return d;
}

/* Its spec lives as long as *d stays where it is. */
static void set_spec(duo *d, double temperature_M, double temperature_m) {
    const dt_recipe *r = d->r;
    d->spec = (dt_rollout_spec){.r = r, .use_m = r->m.enable, .to_eos = r->signal.stop == DT_STOP_AT_EOS, .seed = 11};
    d->spec.M = dt_side_player(&d->M, (int)r->M.samples, (int)r->M.response_max, temperature_M);
    d->spec.m = dt_side_player(&d->m, (int)r->m.samples, (int)r->m.response_max, temperature_m);
    d->spec.m.prompt_max = (int)r->m.prompt_max;
    d->spec.same_tokens = duet_tokenizer_same(d->M.words.tok, d->m.words.tok);
}

static void close_duo(duo *d) {
    dt_side_close(&d->M);
    dt_side_close(&d->m);
    dt_recipe_free(d->r);
}

enum { MAX_QUESTIONS = 64 };

static void questions(duet_example *e, size_t n) {
    const char *setting[] = {"digits_min=2", "digits_max=2"};
    duet_task *t = NULL;
    duet_err err = {{0}};
    if (duet_task_open("remainder", setting, 2, &t, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++)
        if (duet_task_example(t, DUET_SPLIT_TEST, 3, i, &e[i], &err))
            fail_msg("%s", err.text);
    duet_task_close(t);
}

static dt_rollout roll(const duo *d, size_t n) {
    duet_example e[MAX_QUESTIONS];
    dt_rollout o = {0};
    duet_err err = {{0}};
    questions(e, n);
    if (dt_rollout_run(&d->spec, e, n, &o, &err))
        fail_msg("%s", err.text);
    return o;
}

static int32_t close_of(const duo *d) {
    return d->M.words.tmpl.think_close;
}

/* ---- as the pair does it ---- */

static duet_pair *open_pair(const duo *d, const char *M, const char *m, duet_engine_options of_m, duet_backend *b[2]) {
    char path[512];
    duet_pair *p = NULL;
    duet_err err = {{0}};
    duet_backend_options opt[2] = {{.engine = {.n_threads = 1}}, {.engine = of_m}};
    for (int i = 0; i < 2; i++) {
        path_in(path, i ? m : M);
        if (duet_backend_open(path, &opt[i], &b[i], &err))
            fail_msg("%s", err.text);
    }
    const duet_pair_options options = {.keep = (duet_keep)d->r->signal.keep, .handoff_raw = d->r->handoff == DT_LAYOUT_RAW, .instruction = d->r->data.instruction};
    if (duet_pair_create(b[0], b[1], &options, &p, &err))
        fail_msg("%s", err.text);
    return p;
}

static void same_ids(const char *what, size_t at, const int32_t *a, size_t na, const int32_t *b, size_t nb) {
    if (na != nb || (na && memcmp(a, b, na * sizeof *a)))
        fail_msg("%s %zu: other ids (%zu and %zu)", what, at, na, nb);
}

/* M samples and m is greedy, in the rollout and in the pair: the same tokens, and the same reading of them. */
static void rollouts_read_as_the_pair(void **state) {
    static const struct {
        const char *name, *M, *m, *over;
        int ctx; /* of m; 0 = its own */
        unsigned wants; /* statuses that must come up, as bits */
    } cases[] = {
        {"plain",               "M",      "m",      "M.response_max=40",                                          0,  1                    },
        {"cut by the limit",    "M",      "m",      "M.response_max=12",                                          0,  1 << DT_SIGNAL_TRUNCATED},
        {"an instruction",      "M",      "m",      "M.response_max=40 data.instruction=7",                       0,  1                    },
        {"other ends of turns", "base-M", "base-m", "M.response_max=40",                                          0,  1                    },
        {"to the end token",    "M",      "m",      "M.response_max=60 signal.stop=eos",                          0,  1                    },
        {"raw",                 "M",      "m",      "M.response_max=60 signal.stop=eos signal.extract=text handoff=raw", 0, 1             },
        {"raw, cut",            "M",      "m",      "M.response_max=60 signal.stop=eos signal.extract=text handoff=raw m.response_max=30", 48, 1},
        {"no room: tail",       "M",      "m",      "M.response_max=40 m.response_max=30",                        48, 1                    },
        {"no room: head",       "M",      "m",      "M.response_max=40 m.response_max=30 signal.keep=head",       48, 1                    },
        {"through text",        "bytes-M", "bytes-m", "M.response_max=9",                                          0,  1 << DT_SIGNAL_UNTAGGED},
        {"no room: middle",     "M",      "m",      "M.response_max=40 m.response_max=30 signal.keep=middle",     48, 1                    },
    };
    enum { N = 40 };
    (void)state;
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        char over[512];
        const duet_engine_options of_m = {.n_threads = 1, .ctx = cases[c].ctx};
        unsigned seen = 0;
        size_t n_cut = 0;
        snprintf(over, sizeof over, "M.samples=1 m.samples=1 m.response_max=6 %s", cases[c].over);
        duo d = open_duo(cases[c].M, cases[c].m, (duet_engine_options){.n_threads = 1}, of_m, over);
        set_spec(&d, 1.2, 0);
        assert_true(d.spec.same_tokens == (cases[c].M[0] == 'M' || cases[c].M[1] == 'a'));

        dt_rollout o = roll(&d, N);
        duet_backend *b[2];
        duet_pair *p = open_pair(&d, cases[c].M, cases[c].m, of_m, b);
        for (size_t i = 0; i < N; i++) {
            const dt_sample *M = &o.M[i], *m = &o.m[i];
            duet_pair_request r = {.question = o.example[i].question, .n_question = strlen(o.example[i].question), .mode = DUET_MODE_DUET,
                                   .signal_budget = (int)d.r->M.response_max, .answer_budget = (int)d.r->m.response_max, .M = d.spec.M.sampling,
                                   .key = i, .M_to_eos = d.spec.to_eos};
            const uint64_t seed[2] = {d.spec.seed, 1}; /* M's stream in a rollout */
            duet_err err = {{0}};
            r.M.seed = dt_hash64(seed, sizeof seed, 0);
            if (duet_pair_answer(p, &r, 1, NULL, &err))
                fail_msg("%s: %s", cases[c].name, err.text);
            if (r.ledger.M.output_tokens != (size_t)dt_sample_len(M) || r.ledger.M.prompt_tokens != (size_t)M->first)
                fail_msg("%s %zu: M sampled %zu tokens in the pair, %d in the rollout", cases[c].name, i, r.ledger.M.output_tokens, dt_sample_len(M));
            if (strcmp(duet_signal_status_name(r.signal_status), dt_signal_status_name(M->status)))
                fail_msg("%s %zu: %s in the pair, %s in the rollout", cases[c].name, i, duet_signal_status_name(r.signal_status),
                         dt_signal_status_name(M->status));
            same_ids(cases[c].name, i, r.signal_ids, r.n_signal_ids, M->signal, M->n_signal);
            if (r.ledger.m.prompt_tokens != (size_t)m->first)
                fail_msg("%s %zu: m read %zu tokens in the pair, %d in the rollout", cases[c].name, i, r.ledger.m.prompt_tokens, m->first);
            same_ids(cases[c].name, i, r.answer_ids, r.n_answer_ids, m->ids + m->first, (size_t)dt_sample_len(m));
            assert_string_equal(r.answer_text, m->text);
            assert_int_equal(r.answer_cut, m->stop == DUET_STOP_LENGTH);
            seen |= 1U << M->status;
            n_cut += r.signal_cut;
            duet_pair_request_clear(&r);
        }
        if ((seen & cases[c].wants) != cases[c].wants)
            fail_msg("%s: statuses %x", cases[c].name, seen);
        assert_int_equal(n_cut, o.n_signal_cut);
        assert_true((n_cut > 0) == (cases[c].ctx > 0));
        duet_pair_destroy(p);
        duet_backend_close(b[0]);
        duet_backend_close(b[1]);
        dt_rollout_clear(&o);
        close_duo(&d);
    }
}

/* The same for M end to end. */
static void M_alone_reads_as_the_pair(void **state) {
    static const char *const names[] = {"M", "base-M"};
    enum { N = 40 };
    (void)state;
    for (size_t c = 0; c < DT_COUNT(names); c++) {
        size_t n_right = 0;
        duo d = open_duo(names[c], "m", (duet_engine_options){.n_threads = 1}, (duet_engine_options){.n_threads = 1},
                         "m.enable=false M.samples=1 M.response_max=60");
        set_spec(&d, 1, 0);
        dt_rollout o = roll(&d, N);
        duet_backend *b[2];
        duet_pair *p = open_pair(&d, names[c], "m", (duet_engine_options){.n_threads = 1}, b);
        assert_null(o.m);
        for (size_t i = 0; i < N; i++) {
            const dt_sample *M = &o.M[i];
            const uint64_t seed[2] = {d.spec.seed, 1};
            duet_pair_request r = {.question = o.example[i].question, .n_question = strlen(o.example[i].question), .mode = DUET_MODE_M,
                                   .signal_budget = 60, .M = d.spec.M.sampling, .key = i};
            duet_err err = {{0}};
            r.M.seed = dt_hash64(seed, sizeof seed, 0);
            if (duet_pair_answer(p, &r, 1, NULL, &err))
                fail_msg("%s", err.text);
            assert_int_equal(r.ledger.M.output_tokens, dt_sample_len(M));
            assert_string_equal(duet_signal_status_name(r.signal_status), dt_signal_status_name(M->status));
            assert_string_equal(r.answer_text, M->text);
            assert_int_equal(M->grade, duet_grade(DUET_GRADE_EXACT, r.answer_text, r.n_answer_text, o.example[i].answer));
            n_right += (size_t)M->grade;
            duet_pair_request_clear(&r);
        }
        assert_true(n_right > 0);
        duet_pair_destroy(p);
        duet_backend_close(b[0]);
        duet_backend_close(b[1]);
        dt_rollout_clear(&o);
        close_duo(&d);
    }
}

/* Compat: the reference grades all that M said, the thought too. */
static void M_alone_is_graded_on_its_whole_text(void **state) {
    duo d = open_duo("M", "m", (duet_engine_options){.n_threads = 1}, (duet_engine_options){.n_threads = 1},
                     "m.enable=false M.samples=1 M.response_max=60 signal.extract=text");
    size_t n_tags = 0;
    (void)state;
    set_spec(&d, 1, 0);
    dt_rollout o = roll(&d, 20);
    for (size_t i = 0; i < 20; i++) {
        const dt_sample *M = &o.M[i];
        duet_text whole = {0};
        assert_int_equal(duet_tokenizer_decode(d.M.words.tok, M->ids + M->first, (size_t)dt_sample_len(M), true, &whole, NULL), DUET_OK);
        while (whole.n && strchr(" \n", whole.data[whole.n - 1]))
            whole.data[--whole.n] = 0;
        assert_string_equal(M->text, whole.data + strspn(whole.data, " \n"));
        n_tags += strstr(M->text, "</think>") != NULL;
        duet_text_free(&whole);
    }
    assert_true(n_tags > 0);
    dt_rollout_clear(&o);
    close_duo(&d);
}

/* ---- stage 1 and what m gets of it ---- */

static size_t find(const int32_t *ids, size_t n, int32_t id) {
    size_t i = 0;
    while (i < n && ids[i] != id)
        i++;
    return i;
}

/* True if encoding their text gives the same ids (a tag inside cannot even be spelled in these tokens). */
static bool survives_text(const duet_tokenizer *t, const int32_t *ids, size_t n) {
    duet_text text = {0};
    duet_ids again = {0};
    assert_int_equal(duet_tokenizer_decode(t, ids, n, false, &text, NULL), DUET_OK);
    duet_status st = duet_tokenizer_encode(t, text.data, text.n, DUET_ENC_PLAIN, &again, NULL);
    bool same = !st && again.n == n && (!n || !memcmp(again.v, ids, n * sizeof *ids));
    duet_text_free(&text);
    duet_ids_free(&again);
    return same;
}

/* No token behind the closing tag; the ids between the tags reach m as they were sampled, though a way through text
 * would change some of them. */
static void signals_end_at_the_tag_and_travel_as_ids(void **state) {
    duo d = open_duo("M", "m", (duet_engine_options){.n_threads = 1}, (duet_engine_options){.n_threads = 1},
                     "M.samples=4 m.samples=1 M.response_max=40 m.response_max=6");
    size_t n_closed = 0, n_other = 0;
    (void)state;
    set_spec(&d, 1.6, 1);
    dt_rollout o = roll(&d, 24);
    for (size_t i = 0; i < dt_rollout_n_signals(&o); i++) {
        const dt_sample *M = &o.M[i], *m = &o.m[i];
        const int32_t *said = M->ids + M->first;
        size_t n = (size_t)dt_sample_len(M), at = find(said, n, close_of(&d));
        if (at < n) {
            assert_int_equal(at, n - 1);
            assert_int_equal(M->stop, DUET_STOP_TOKEN);
            n_closed++;
        }
        size_t where = 0; /* a run of what was sampled */
        while (where + M->n_signal <= n && M->n_signal && memcmp(said + where, M->signal, M->n_signal * sizeof *said))
            where++;
        assert_true(where + M->n_signal <= n);
        size_t open = find(m->ids, (size_t)m->first, d.m.words.tmpl.think_open);
        assert_true(open + 2 + M->n_signal <= (size_t)m->first);
        assert_memory_equal(m->ids + open + 2, M->signal, M->n_signal * sizeof *M->signal);
        n_other += !survives_text(d.m.words.tok, M->signal, M->n_signal);
        assert_int_equal(find(m->ids + open + 1, (size_t)m->first - open - 1, d.m.words.tmpl.think_open), (size_t)m->first - open - 1);
    }
    assert_true(n_closed > 0 && n_other > 0);
    dt_rollout_clear(&o);

    d.spec.to_eos = true; /* compat: it goes on */
    o = roll(&d, 24);
    n_other = 0;
    for (size_t i = 0; i < dt_rollout_n_signals(&o); i++) {
        const dt_sample *M = &o.M[i];
        size_t n = (size_t)dt_sample_len(M);
        n_other += find(M->ids + M->first, n, close_of(&d)) + 1 < n;
    }
    assert_true(n_other > 0);
    dt_rollout_clear(&o);
    close_duo(&d);
}

/* m alone reads the guided prompt with the empty signal, id by id. */
static void no_signal_is_the_empty_signal(void **state) {
    duo d = open_duo("M", "m", (duet_engine_options){.n_threads = 1}, (duet_engine_options){.n_threads = 1}, "m.samples=2 m.response_max=6");
    duet_example e[5];
    dt_rollout o = {0};
    duet_err err = {{0}};
    (void)state;
    set_spec(&d, 1, 1);
    d.spec.base = d.spec.m;
    d.spec.given_signals = true;
    questions(e, 5);
    for (size_t i = 0; i < 5; i++)
        e[i].chain[0] = 0;
    if (dt_rollout_run(&d.spec, e, 5, &o, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(o.M[i].status, DT_SIGNAL_EMPTY);
        same_ids("prompt", i, o.m[2 * i].ids, (size_t)o.m[2 * i].first, o.base[2 * i].ids, (size_t)o.base[2 * i].first);
    }
    dt_rollout_clear(&o);
    close_duo(&d);
}

/* ---- the engine underneath ---- */

static size_t prompts_of(const dt_sample *s, size_t n, size_t each) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i += each)
        sum += (size_t)s[i].first;
    return sum;
}

/* A question's samples prefill it once, so do the answers to one signal: with a chunk of 8 tokens, prefilling takes as
 * many steps as there are chunks of prompt, whatever the number of samples. Without the prefix cache, which would hide
 * it. */
static void prompts_are_computed_once(void **state) {
    enum { Q = 4, CHUNK = 8, L = 5 };
    const duet_engine_options opt = {.n_threads = 1, .max_seqs = 256, .prefill_chunk = CHUNK, .no_prefix_cache = true};
    duo d = open_duo("M", "m", opt, opt, "M.samples=6 m.samples=5 M.response_max=5 m.response_max=5 baseline.samples=5");
    duet_engine_stats of_M, of_m;
    (void)state;
    set_spec(&d, 1, 1);
    d.spec.base = d.spec.m;
    dt_rollout o = roll(&d, Q);
    size_t prompt_M = prompts_of(o.M, Q * 6, 6), guided = prompts_of(o.m, Q * 6 * 5, 5), alone = prompts_of(o.base, Q * 5, 5);
    duet_engine_get_stats(d.M.engine, &of_M);
    duet_engine_get_stats(d.m.engine, &of_m);
    assert_int_equal(of_M.requests, Q);
    assert_int_equal(of_M.prompt_tokens, prompt_M);
    assert_int_equal(of_M.output_tokens, o.M_tokens);
    assert_int_equal(of_m.requests, Q * 6 + Q);
    assert_int_equal(of_m.prompt_tokens, guided + alone);
    assert_int_equal(of_m.output_tokens, o.m_tokens);
    assert_int_equal(o.prompt_tokens, prompt_M + guided + alone);
    assert_true(of_M.steps <= prompt_M / CHUNK + 1 + L);
    assert_true(of_m.steps <= (guided + alone) / CHUNK + 2 + 2 * L); /* two calls */
    dt_rollout_clear(&o);
    close_duo(&d);
}

/* After an update the same questions find no page of before: as with an engine that never saw the old weights. */
static void new_weights_find_no_old_pages(void **state) {
    const duet_engine_options opt = {.n_threads = 1};
    duo d = open_duo("M", "m", opt, opt, "M.samples=3 m.samples=2 M.response_max=30 m.response_max=6");
    duet_engine_stats before, after, fresh;
    (void)state;
    set_spec(&d, 1, 1);
    dt_rollout first = roll(&d, 8);
    dt_rollout_clear(&first);
    first = roll(&d, 8); /* once more: now the pages are there */
    duet_engine_get_stats(d.m.engine, &before);
    assert_true(before.cached_tokens > 0);
    for (int k = 0; k < 2; k++) {
        duet_model *w = k ? d.m.model : d.M.model;
        for (size_t i = 0; i < w->n_params; i++)
            w->params[i] *= 1 + 0.05F * (float)(i % 3);
        assert_int_equal(dt_model_publish(w, NULL, NULL), DUET_OK);
    }
    dt_rollout second = roll(&d, 8);
    duet_engine_get_stats(d.m.engine, &after);
    duet_engine_destroy(d.M.engine);
    duet_engine_destroy(d.m.engine);
    d.M.engine = d.m.engine = NULL;
    assert_int_equal(duet_engine_create(d.M.model, &opt, &d.M.engine, NULL), DUET_OK);
    assert_int_equal(duet_engine_create(d.m.model, &opt, &d.m.engine, NULL), DUET_OK);
    set_spec(&d, 1, 1);
    dt_rollout want = roll(&d, 8);
    duet_engine_get_stats(d.m.engine, &fresh);
    assert_int_equal(after.cached_tokens - before.cached_tokens, fresh.cached_tokens);
    bool moved = false;
    for (size_t i = 0; i < 8 * 3; i++) {
        const dt_sample *a = &second.M[i], *b = &want.M[i], *old = &first.M[i];
        same_ids("M", i, a->ids, (size_t)a->n, b->ids, (size_t)b->n);
        assert_memory_equal(a->logp, b->logp, (size_t)dt_sample_len(a) * sizeof *a->logp);
        moved = moved || a->n != old->n || memcmp(a->logp, old->logp, (size_t)dt_sample_len(a) * sizeof *a->logp) != 0;
        for (size_t j = 2 * i; j < 2 * i + 2; j++) {
            same_ids("m", j, second.m[j].ids, (size_t)second.m[j].n, want.m[j].ids, (size_t)want.m[j].n);
            assert_memory_equal(second.m[j].logp, want.m[j].logp, (size_t)dt_sample_len(&want.m[j]) * sizeof(float));
        }
    }
    assert_true(moved);
    dt_rollout_clear(&first);
    dt_rollout_clear(&second);
    dt_rollout_clear(&want);
    close_duo(&d);
}

/* ---- rewards and advantages of rollouts made by hand ---- */

enum { NQ = 2, N_M = 3, K = 2 }; /* questions, samples of M, answers to a signal */

typedef struct made {
    dt_rollout o;
    duet_example e[NQ];
    dt_sample M[NQ * N_M], m[NQ * N_M * K], base[NQ * N_M * K];
} made;

/* Grades of m by signal; M's lengths 10, 20, 30 and 40, 50, 60, the last one cut by the limit. */
static void make(made *w, bool shared, const int *grades, const int *alone) {
    *w = (made){.o = {.n_questions = NQ, .n = N_M, .k = K, .k0 = K, .base_shared = shared}};
    w->o.example = w->e, w->o.M = w->M, w->o.m = w->m, w->o.base = w->base;
    for (int i = 0; i < NQ * N_M; i++) {
        w->M[i] = (dt_sample){.n = 7 + 10 * (i + 1), .first = 7, .n_signal = 3, .stop = i == 5 ? DUET_STOP_LENGTH : DUET_STOP_TOKEN};
        for (int j = 0; j < K; j++)
            w->m[i * K + j] = (dt_sample){.n = 9, .first = 7, .grade = j < grades[i]};
    }
    for (int i = 0; i < (shared ? NQ : NQ * N_M) * K; i++)
        w->base[i] = (dt_sample){.n = 9, .first = 7, .grade = i % K < alone[i / K]};
}

static dt_recipe *recipe(const char *over) {
    dt_recipe *r = NULL;
    duet_err err = {{0}};
    char copy[256], *save = NULL;
    const char *all[12] = {"data.task=remainder", "train.steps=1", "M.path=M", "m.path=m"};
    size_t n = 4;
    snprintf(copy, sizeof copy, "%s", over);
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
        all[n++] = p;
    if (dt_recipe_parse("r", "", 0, DT_RUN_RL, false, all, n, &r, &err))
        fail_msg("%s", err.text);
    return r;
}

static dt_verdict judge(const char *over, const made *w, double lambda) {
    dt_recipe *r = recipe(over);
    dt_penalty p = {.lambda = lambda, .bound = 100};
    dt_verdict v;
    assert_int_equal(dt_verdict_of(r, &w->o, &p, NULL, &v, NULL), DUET_OK);
    dt_recipe_free(r);
    return v;
}

static void near(const char *what, double got, double want) {
    if (!(fabs(got - want) <= 1e-12))
        fail_msg("%s: got %.17g, want %.17g", what, got, want);
}

/* Section 4 by hand, and L: every token sampled, the cut sample's too. */
static void rewards_are_the_formula(void **state) {
    static const int grades[] = {2, 1, 0, 2, 2, 1}, shared[] = {1, 0}, each[] = {0, 1, 2, 2, 1, 0};
    (void)state;
    for (int s = 0; s < 2; s++) {
        made w;
        make(&w, s, grades, s ? shared : each);
        dt_verdict v = judge(s ? "" : "baseline.shared=false", &w, 0.3), u = judge(s ? "reward.marginal=false" : "baseline.shared=false reward.marginal=false", &w, 0.3);
        double sum = 0;
        for (int i = 0; i < NQ * N_M; i++) {
            double r_Mm = grades[i] / 2.0, r_m = (s ? shared[i / N_M] : each[i]) / 2.0, L = 10 * (i + 1);
            near("r_Mm", v.r_Mm[i], r_Mm);
            near("r_m", v.r_m[i], r_m);
            near("L", v.len[i], L);
            near("reward", v.reward[i], r_Mm - r_m - 0.3 * L / 100);
            near("r_m of the other", u.r_m[i], r_m); /* still known */
            near("not subtracted", u.reward[i], r_Mm - 0.3 * L / 100);
            sum += L / (NQ * N_M);
        }
        near("mean L", v.mean_len, sum);
        near("accuracy", v.accuracy, 8.0 / 12);
        dt_verdict_clear(&v);
        dt_verdict_clear(&u);
    }
}

/* Section 10, point 1: what a whole group shares changes nothing; exactly, with separate terms. */
static void a_shared_baseline_is_no_noise(void **state) {
    static const int grades[] = {2, 1, 0, 2, 2, 1}, none[] = {0, 0}, some[] = {2, 1}, each[] = {2, 1, 2, 2, 1, 0};
    made a, b, c;
    (void)state;
    make(&a, true, grades, none);
    make(&b, true, grades, some);
    make(&c, false, grades, each);
    dt_verdict x = judge("", &a, 0.3), y = judge("", &b, 0.3);
    assert_memory_equal(x.adv_M, y.adv_M, sizeof(double) * NQ * N_M);
    dt_verdict_clear(&x), dt_verdict_clear(&y);
    x = judge("adv.combine=sum", &a, 0.3), y = judge("adv.combine=sum", &b, 0.3);
    for (int i = 0; i < NQ * N_M; i++)
        near("summed", x.adv_M[i], y.adv_M[i]);
    dt_verdict_clear(&x);
    x = judge("adv.combine=sum", &c, 0.3); /* one for each sample is noise */
    assert_true(fabs(x.adv_M[0] - y.adv_M[0]) > 0.1);
    dt_verdict_clear(&x), dt_verdict_clear(&y);
}

/* Section 10, points 2 and 12. */
static void groups_that_are_equal(void **state) {
    static const int right[] = {2, 2, 2, 0, 0, 0}, none[] = {0, 0};
    made w;
    (void)state;
    make(&w, true, right, none);
    for (double lambda = 1; lambda > 1e-6; lambda /= 10) {
        dt_verdict v = judge("", &w, lambda);
        for (int i = 0; i < N_M; i++) {
            near("all right: the price, at its size", v.adv_M[i], -lambda * (10 * (i + 1) - 20) / 100);
            assert_true(v.adv_M[N_M + i] == 0); /* all wrong: nothing */
        }
        assert_int_equal(v.zero_M, 1);
        dt_verdict_clear(&v);
    }
    dt_verdict v = judge("", &w, 0);
    for (int i = 0; i < NQ * N_M; i++)
        assert_true(v.adv_M[i] == 0);
    assert_int_equal(v.zero_M, 2);
    assert_int_equal(v.zero_m, 2);
    dt_verdict_clear(&v);
    v = judge("penalty.gate=-1", &w, 1);
    near("no gate", v.adv_M[N_M], 0.1);
    dt_verdict_clear(&v);
    v = judge("adv.combine=sum adv.std_floor=0 penalty.gate=-1", &w, 1e-6); /* the reference: full strength at any price */
    assert_true(fabs(v.adv_M[0] - 1e-7 / (1e-7 + 1e-6)) < 1e-9);
    dt_verdict_clear(&v);
}

/* Whose mean m's answers are compared with. */
static void groups_of_m(void **state) {
    static const int grades[] = {2, 1, 0, 2, 2, 1}, none[] = {0, 0};
    made w;
    (void)state;
    make(&w, true, grades, none);
    dt_verdict v = judge("", &w, 0.3);
    double std = sqrt(6 * 0.25 / 5); /* three of six right */
    near("group of a question", v.adv_m[0], 0.5 / (std + 1e-6));
    near("a wrong one", v.adv_m[4], -0.5 / (std + 1e-6));
    assert_int_equal(v.zero_m, 0);
    dt_verdict_clear(&v);
    v = judge("m.group=signal", &w, 0.3);
    assert_true(v.adv_m[0] == 0 && v.adv_m[4] == 0);
    near("group of a signal", v.adv_m[2], 0.5 / (sqrt(0.5) + 1e-6));
    assert_int_equal(v.zero_m, 4); /* all but the second and the last */
    dt_verdict_clear(&v);
}

/* M without m: its own grade, the same price. */
static void M_alone_has_the_same_price(void **state) {
    static const int grades[] = {2, 1, 0, 2, 2, 1}, none[] = {0, 0};
    made w;
    (void)state;
    make(&w, true, grades, none);
    w.o.m = w.o.base = NULL;
    for (int i = 0; i < NQ * N_M; i++)
        w.M[i].grade = i % 2;
    dt_verdict v = judge("m.enable=false", &w, 0.3);
    for (int i = 0; i < NQ * N_M; i++)
        near("reward", v.reward[i], i % 2 - 0.3 * (i + 1) / 10);
    assert_int_equal(v.n_m, 0);
    dt_verdict_clear(&v);
}

/* ---- the update ---- */

enum { N_SEQS = 12 };

/* The gradient of one update over the first N_SEQS samples of o: with lr 0 and beta1 0 it is the first moment. */
static float *gradient(const duo *d, const dt_rollout *o, const double *adv, int micro_tokens, int agg, size_t micro_seqs, dt_policy_stats *out) {
    dt_trainee t;
    duet_err err = {{0}};
    const dt_policy_options opt = {.ppo = {0.2, 0.2, 3, 0}, .agg = agg, .micro_seqs = micro_seqs, .epochs = 1, .adamw = {.beta2 = 0.999, .eps = 1e-8}};
    dt_pool *pool = NULL;
    if (dt_pool_create(1, &pool, &err) || dt_trainee_init(&t, d->M.model, pool, micro_tokens, false, 1, &err) ||
        dt_policy_update(&t, &opt, o->M, N_SEQS, adv, out, &err))
        fail_msg("%s", err.text);
    float *g = malloc(t.optim.n * sizeof *g);
    memcpy(g, t.optim.m, t.optim.n * sizeof *g);
    dt_trainee_clear(&t);
    dt_pool_destroy(pool);
    return g;
}

static double distance(const float *a, const float *b, size_t n) { /* relative */
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)a[i] * (double)a[i];
    }
    return sqrt(d / s);
}

/* Section 10, point 10: one sequence at a time, two, or all at once. Sequences without advantage keep their place in the
 * mean and get no pass. */
static void gradients_do_not_see_the_split(void **state) {
    duo d = open_duo("M", "m", (duet_engine_options){.n_threads = 1}, (duet_engine_options){.n_threads = 1},
                     "M.samples=4 m.samples=1 M.response_max=40 m.response_max=6");
    double adv[N_SEQS];
    int longest = 0, tokens = 0;
    (void)state;
    set_spec(&d, 1, 1);
    dt_rollout o = roll(&d, 3);
    for (int i = 0; i < N_SEQS; i++) {
        adv[i] = i % 4 == 3 ? 0 : i % 3 - 0.7;
        longest = o.M[i].n > longest ? o.M[i].n : longest;
        tokens += o.M[i].n;
    }
    const int micro[] = {tokens, longest, 2 * longest};
    float *g[3];
    dt_policy_stats out;
    size_t n = d.M.model->n_params;
    for (int k = 0; k < 3; k++) {
        g[k] = gradient(&d, &o, adv, micro[k], DT_AGG_TOKEN_MEAN, 2, &out);
        assert_int_equal(out.skipped, 3);
        assert_int_equal(out.updates, 1);
        assert_true(out.mismatch == 0);
        if (distance(g[0], g[k], n) > 1e-5)
            fail_msg("micro-batches of %d tokens: off by %g", micro[k], distance(g[0], g[k], n));
    }
    /* compat does see it: the mean of the micro-batches' means */
    float *one = gradient(&d, &o, adv, tokens, DT_AGG_MICRO_TOKEN_MEAN, 1, &out), *two = gradient(&d, &o, adv, tokens, DT_AGG_MICRO_TOKEN_MEAN, 2, &out),
          *all = gradient(&d, &o, adv, tokens, DT_AGG_MICRO_TOKEN_MEAN, N_SEQS, &out);
    assert_true(distance(g[0], one, n) > 1e-3 && distance(one, two, n) > 1e-3);
    assert_true(distance(g[0], all, n) < 1e-6);
    /* the mean counts the skipped: without them the same tokens weigh more */
    dt_sample kept[N_SEQS], *whole = o.M;
    double adv_kept[N_SEQS], part = 0, sum = 0;
    size_t k = 0;
    for (int i = 0; i < N_SEQS; i++) {
        sum += dt_sample_len(&o.M[i]);
        if (adv[i] == 0)
            continue;
        part += dt_sample_len(&o.M[i]);
        adv_kept[k] = adv[i], kept[k++] = o.M[i];
    }
    for (size_t i = k; i < N_SEQS; i++) /* masked by having nothing to say */
        kept[i] = (dt_sample){.ids = o.M[0].ids, .n = o.M[0].first, .first = o.M[0].first}, adv_kept[i] = 0;
    o.M = kept;
    float *few = gradient(&d, &o, adv_kept, tokens, DT_AGG_TOKEN_MEAN, 2, &out);
    o.M = whole;
    for (size_t i = 0; i < n; i++)
        few[i] *= (float)(part / sum);
    assert_true(distance(g[0], few, n) < 1e-5);
    for (int j = 0; j < 3; j++)
        free(g[j]);
    free(one), free(two), free(all), free(few);
    dt_rollout_clear(&o);
    close_duo(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollouts_read_as_the_pair),
        cmocka_unit_test(M_alone_reads_as_the_pair),
        cmocka_unit_test(M_alone_is_graded_on_its_whole_text),
        cmocka_unit_test(signals_end_at_the_tag_and_travel_as_ids),
        cmocka_unit_test(no_signal_is_the_empty_signal),
        cmocka_unit_test(prompts_are_computed_once),
        cmocka_unit_test(new_weights_find_no_old_pages),
        cmocka_unit_test(rewards_are_the_formula),
        cmocka_unit_test(a_shared_baseline_is_no_noise),
        cmocka_unit_test(groups_that_are_equal),
        cmocka_unit_test(groups_of_m),
        cmocka_unit_test(M_alone_has_the_same_price),
        cmocka_unit_test(gradients_do_not_see_the_split),
    };
    return cmocka_run_group_tests_name("train/rollout", tests, setup, teardown);
}
