/* Whole runs of joint training on a tiny pair, through the public calls: every key of a recipe that changes what is
 * learned does so (or, where it must not, leaves every bit), M only, m only and in turns, lambda and the guards as
 * their formulas say, the same bits on any number of threads, and Ctrl-C in the middle of an evaluation. In every line
 * of every run the log-probs of the rollout are those of training, exactly. */
#include "support.h"

#include "duet/train.h"

#include <math.h>
#include <unistd.h>

enum { MAX_LINES = 32, MAX_OVER = 14 };

static char on_disk[] = "/tmp/duet-joint-XXXXXX", in_memory[] = "/dev/shm/duet-joint-XXXXXX";
static const char *root = NULL; /* in memory where possible: a run flushes every file it writes */

/* ---- runs ---- */

static const char teach[] =
    "data: {task: remainder, knobs: \"digits_min=2 digits_max=2 p_verbose=0.5 p_compact=0.5\", empty: 0.2}\n"
    "model: {init: {layers: 1, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, ctx: 256}}\n"
    "train: {steps: 120, batch: 32, micro_tokens: 2048, lr: 1e-2, save_every: 0}\n"
    "eval: {n: 0}\n"
    "log: {every: 1000}\n";

static const char joint[] = "seed: 5\n"
                            "data: {task: remainder, knobs: \"digits_min=2 digits_max=2\"}\n"
                            "M: {samples: 4, response_max: 40, prompt_max: 0, minibatch: 12}\n"
                            "m: {samples: 2, response_max: 6, prompt_max: 0, minibatch: 0}\n"
                            "penalty: {lambda0: 0.1, eta: 0.05, bound: 10}\n"
                            "train: {steps: 3, questions: 6, micro_tokens: 512, lr: 3e-3, save_every: 0}\n"
                            "eval: {n: 0, every: 0}\n"
                            "log: {every: 1}\n";

/* What a run leaves behind. */
typedef struct outcome {
    char M[65], m[65]; /* hashes of the final weights; "" = there is no such model */
    json_t *line[MAX_LINES], *sample[MAX_LINES];
    size_t n, n_samples, n_alarms, n_long;
    duet_status st;
} outcome;

typedef struct listener {
    outcome *o;
    volatile int *cancel; /* set by the first live line; NULL = never */
} listener;

static void on_line(void *user, const char *line, bool live) {
    listener *l = user;
    l->o->n_alarms += !strncmp(line, "alarm:", 6);
    l->o->n_long += !strncmp(line, "question long (number 3) ", 25);
    if (live && l->cancel)
        *l->cancel = 1;
}

static void path_in(char *buf, size_t n, const char *run, const char *file) {
    snprintf(buf, n, "%s/%s%s%s", root, run, *file ? "/" : "", file);
}

static void write_text(const char *name, const char *text) {
    char path[512];
    duet_err err = {{0}};
    path_in(path, sizeof path, name, "");
    if (dt_file_write_atomic(path, text, strlen(text), &err))
        fail_msg("%s", err.text);
}

static void weights_of(const char *run, const char *side, char out[65]) {
    char path[512];
    duet_model *m = NULL;
    duet_err err = {{0}};
    out[0] = 0;
    path_in(path, sizeof path, run, side);
    if (!dt_path_exists(path))
        return;
    if (duet_model_open(path, NULL, &m, &err) || duet_model_fingerprint(m, out, &err))
        fail_msg("%s", err.text);
    duet_model_close(m);
}

static size_t read_lines(const char *run, const char *file, json_t *to[MAX_LINES]) {
    char path[512];
    dt_jsonl *in = NULL;
    json_t *line = NULL;
    duet_err err = {{0}};
    size_t n = 0;
    path_in(path, sizeof path, run, file);
    if (dt_jsonl_open(path, &in, &err))
        fail_msg("%s", err.text);
    while (dt_jsonl_next(in, &line, &err) == DUET_OK) {
        assert_true(n < MAX_LINES);
        to[n++] = line;
    }
    dt_jsonl_close(in);
    return n;
}

static void clear(outcome *o) {
    for (size_t i = 0; i < o->n; i++)
        json_decref(o->line[i]);
    for (size_t i = 0; i < o->n_samples; i++)
        json_decref(o->sample[i]);
    *o = (outcome){.n = 0};
}

static double value(const outcome *o, size_t i, const char *key) {
    const json_t *v = json_object_get(o->line[i], key);
    if (!json_is_number(v))
        fail_msg("line %zu has no number %s", i, key);
    return json_number_value(v);
}

static bool has(const outcome *o, size_t i, const char *key) {
    return json_object_get(o->line[i], key) != NULL;
}

typedef struct how {
    int threads;
    bool sft, resume, cancel; /* cancel: at the first live line */
    const char *recipe;       /* NULL = joint */
} how;

/* Runs recipe with overrides ("a.b=c", NULL ends) in the folder `name`. */
static outcome run(const char *name, how h, const char *const *over) {
    char recipe[512], out[512], M[600], m[600];
    const char *all[MAX_OVER + 2];
    volatile int cancel = 0;
    outcome o = {.n = 0};
    listener l = {&o, h.cancel ? &cancel : NULL};
    duet_err err = {{0}};
    size_t n = 0;

    path_in(recipe, sizeof recipe, h.recipe ? h.recipe : "joint.yaml", "");
    path_in(out, sizeof out, name, "");
    snprintf(M, sizeof M, "M.path=%s/M", root);
    snprintf(m, sizeof m, "m.path=%s/m", root);
    if (!h.sft)
        all[n++] = M, all[n++] = m;
    for (size_t i = 0; over && i < MAX_OVER && over[i]; i++)
        all[n++] = over[i];
    const duet_train_options opt = {.recipe = recipe,
                                    .overrides = all,
                                    .n_overrides = n,
                                    .out = out,
                                    .resume = h.resume,
                                    .n_threads = h.threads,
                                    .cancel = &cancel,
                                    .on_line = on_line,
                                    .user = &l};
    o.st = h.sft ? duet_train_sft(&opt, &err) : duet_train_rl(&opt, &err);
    if (o.st && !(h.cancel && o.st == DUET_E_CANCELLED))
        fail_msg("%s: %s", name, err.text);
    if (o.st)
        return o;
    weights_of(name, h.sft ? "model" : "M", o.M);
    weights_of(name, "m", o.m);
    o.n = read_lines(name, "metrics.jsonl", o.line);
    o.n_samples = h.sft ? 0 : read_lines(name, "samples.jsonl", o.sample);
    for (size_t i = 0; i < o.n && !h.sft; i++)
        if (json_integer_value(json_object_get(o.line[i], "step")) > 0)
            assert_true(value(&o, i, "mismatch/max_abs_logprob_diff") == 0.0);
    dt_remove_tree(out, NULL);
    return o;
}

/* One override or several, parted by blanks. */
static outcome run_with(const char *name, int threads, const char *overrides) {
    char copy[1024], *save = NULL;
    const char *over[MAX_OVER + 1] = {NULL};
    size_t n = 0;
    snprintf(copy, sizeof copy, "%s", overrides);
    for (char *p = strtok_r(copy, " ", &save); p && n < MAX_OVER; p = strtok_r(NULL, " ", &save))
        over[n++] = p;
    return run(name, (how){.threads = threads}, over);
}

/* Supervised training whose run folder "teach" stays. */
static void teach_keep(const char *const *over, size_t n) {
    duet_err err = {{0}};
    char out[512], recipe[512];
    path_in(out, sizeof out, "teach", "");
    path_in(recipe, sizeof recipe, "teach.yaml", "");
    const duet_train_options opt = {.recipe = recipe, .overrides = over, .n_overrides = n, .out = out, .n_threads = 2};
    if (duet_train_sft(&opt, &err))
        fail_msg("%s", err.text);
}

/* ---- the pair all runs begin with ---- */

static char first_M[65], first_m[65];
static outcome plain; /* the recipe as it stands */

static void teach_one(const char *name, const char *const *over) {
    char from[512], to[512];
    char out[512];
    teach_keep(over, 2);
    path_in(out, sizeof out, "teach", "");
    path_in(from, sizeof from, "teach", "model");
    path_in(to, sizeof to, name, "");
    assert_int_equal(rename(from, to), 0);
    dt_remove_tree(out, NULL);
}

static int setup(void **state) {
    (void)state;
    root = mkdtemp(in_memory);
    if (!root)
        root = mkdtemp(on_disk);
    assert_non_null(root);
    setenv("PATH", "/nonexistent", 1); /* no gnuplot: a plot takes longer than the run it shows */
    write_text("teach.yaml", teach);
    write_text("joint.yaml", joint);
    teach_one("M", (const char *[]){"data.role=M", "seed=1"});
    teach_one("m", (const char *[]){"data.role=m", "seed=2"});
    weights_of("M", "", first_M);
    weights_of("m", "", first_m);
    plain = run_with("plain", 1, "");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    clear(&plain);
    return dt_remove_tree(root, NULL) ? 1 : 0;
}

/* ---- tests ---- */

/* The plain run has something to learn in each step, so that equal bits elsewhere mean something. */
static void plain_run_learns(void **state) {
    (void)state;
    assert_int_equal(plain.n, 3);
    assert_string_not_equal(plain.M, first_M);
    assert_string_not_equal(plain.m, first_m);
    for (size_t i = 0; i < plain.n; i++) {
        assert_int_equal(value(&plain, i, "step"), i + 1);
        assert_true(value(&plain, i, "actor/updates") == 2); /* 24 samples, mini-batches of 12 */
        assert_true(value(&plain, i, "translator/updates") == 1);
        assert_true(value(&plain, i, "actor/grad_norm") > 0);
        assert_true(value(&plain, i, "signal/closed") > 0.5);
    }
}

static void same_bits(void **state) {
    static const struct {
        const char *name, *over;
        int threads;
    } cases[] = {
        {"two threads",                                  "",                                         2},
        {"three threads, recomputation",                 "train.recompute=true",                     3},
        {"saved at every step",                          "train.save_every=1 train.keep=1",          1},
        {"evaluated at every step",                      "eval.every=1 eval.n=5 eval.max_tokens=20", 1},
        {"r_m, which a group shares, is not subtracted", "reward.marginal=false",                    1},
        {"more samples of m alone",                      "baseline.samples=5",                       1},
        {"no guard looks",                               "guard.accuracy_drop=0 guard.length_min=0", 1},
        {"KL measured, not charged",                     "kl.in_reward=true kl.coef=0",              1},
    };
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        outcome o = run_with("same", cases[i].threads, cases[i].over);
        if (strcmp(o.M, plain.M) || strcmp(o.m, plain.m))
            fail_msg("%s: other weights", cases[i].name);
        clear(&o);
    }
}

/* --resume where a run was killed before its first checkpoint: it begins at the beginning. */
static void resume_before_the_first_checkpoint(void **state) {
    (void)state;
    outcome o = run("none", (how){.threads = 1, .resume = true}, NULL);
    assert_string_equal(o.M, plain.M);
    assert_string_equal(o.m, plain.m);
    assert_int_equal(o.n, plain.n);
    clear(&o);

    const char *over[] = {"train.steps=3", "log.every=1", NULL};
    how h = {.threads = 1, .sft = true, .recipe = "teach.yaml"};
    outcome fresh = run("none", h, over);
    h.resume = true;
    o = run("none", h, over);
    assert_string_equal(o.M, fresh.M);
    assert_int_equal(o.n, 3);
    clear(&o);
    clear(&fresh);
}

/* A pair that learns through adapters, with KL to M without its own: rollout and training agree (run() looks), the same bits
 * whatever the threads, activations and form of the weights, and after Ctrl-C and --resume. */
static void adapters(void **state) {
    static const char *const over[] = {"M.lora.rank=4", "m.lora.rank=2", "m.lora.targets=q_proj,down_proj", "kl.in_reward=true", "kl.coef=0.5",
                                       "train.save_every=1", NULL};
    static const char all[] = "M.lora.rank=4 m.lora.rank=2 m.lora.targets=q_proj,down_proj kl.in_reward=true kl.coef=0.5";
    char others[512];
    duet_model *m = NULL;
    duet_model_info info;
    (void)state;
    outcome want = run("lora", (how){.threads = 1}, over);
    assert_int_equal(want.n, 3);
    assert_true(value(&want, 0, "actor/reward_kl_penalty") == 0); /* B is 0 */
    assert_true(value(&want, 2, "actor/reward_kl_penalty") != 0);
    snprintf(others, sizeof others, "%s train.recompute=true M.weights=f32", all);
    outcome o = run_with("lora", 3, others);
    assert_string_equal(o.M, want.M);
    assert_string_equal(o.m, want.m);
    clear(&o);
    o = run("cut", (how){.threads = 2, .cancel = true}, over);
    assert_int_equal(o.st, DUET_E_CANCELLED);
    clear(&o);
    o = run("cut", (how){.threads = 1, .resume = true}, over);
    assert_string_equal(o.M, want.M);
    assert_string_equal(o.m, want.m);
    clear(&o);
    clear(&want);

    const char *sft[] = {"train.steps=2", "log.every=1", "model.lora.rank=3", NULL, NULL};
    char path[600], teach_out[512];
    duet_err err = {{0}};
    snprintf(path, sizeof path, "model.path=%s/M", root);
    sft[3] = path;
    path_in(teach_out, sizeof teach_out, "teach", "model");
    teach_keep(sft, 4);
    if (duet_model_open(teach_out, NULL, &m, &err) || duet_model_describe(m, &info, &err)) fail_msg("%s", err.text);
    assert_int_equal(info.lora_rank, 3);
    duet_model_close(m);
    path_in(teach_out, sizeof teach_out, "teach", "");
    dt_remove_tree(teach_out, NULL);
}

/* Whether M and m end with other weights than in the plain run of as many steps: a key does what it says, and to whom.
 * In one step the samples are the same unless a key changes how they come about, so M and m part clearly. */
static void every_key_counts(void **state) {
    static const struct {
        const char *name, *over;
        int steps;
        const char *want; /* of M and of m: d = differs, s = the same, ? = may or may not */
    } cases[] = {
        {"reference",                     "compat=reference train.lr=3e-3",              1, "dd"},
        {"stop at the end token",         "signal.stop=eos",                             1, "ds"},
        {"signal read from text",         "signal.extract=text",                         1, "?d"},
        {"raw hand-off",                  "handoff=raw",                                 1, "dd"},
        {"signals cut: the tail is kept", "m.prompt_max=20",                             1, "?d"},
        {"baseline a sample",             "baseline.shared=false",                       1, "ds"},
        {"... not subtracted",            "baseline.shared=false reward.marginal=false", 1, "ss"},
        {"terms summed",                  "adv.combine=sum",                             1, "ds"},
        {"no std",                        "adv.norm_std=false",                          1, "dd"},
        {"std floor",                     "adv.std_floor=2",                             1, "ds"},
        {"eps",                           "adv.eps=0.5",                                 1, "dd"},
        {"gate",                          "penalty.gate=1",                              1, "ds"},
        {"bound",                         "penalty.bound=2",                             1, "ds"},
        {"lambda0",                       "penalty.lambda0=0.9",                         1, "ds"},
        {"KL in the reward",              "kl.in_reward=true kl.coef=1",                 1, "ss"},
        {"KL in the reward, second step", "kl.in_reward=true kl.coef=1",                 2, "ds"},
        {"KL loss, second mini-batch",    "kl.loss_coef=1",                              1, "ds"},
        {"group of m",                    "m.group=signal",                              1, "sd"},
        {"aggregation",                   "loss.agg=micro-token-mean",                   1, "d?"},
        {"clip, second mini-batch",       "loss.clip_low=0 loss.clip_high=0",            1, "ds"},
        {"overlong left out",             "overlong=mask M.response_max=5",              1, "dd"},
        {"epochs",                        "train.epochs=2",                              1, "dd"},
        {"mini-batch of M",               "M.minibatch=24",                              1, "ds"},
        {"mini-batch of m",               "m.minibatch=24",                              1, "sd"},
        {"temperature of M",              "M.temperature=0.8",                           1, "dd"},
        {"top-k of m",                    "m.top_k=3",                                   1, "dd"},
        {"top-p of M",                    "M.top_p=0.6",                                 1, "dd"},
        {"rate of M",                     "M.lr=1e-3",                                   1, "ds"},
        {"rate of m",                     "m.lr=1e-3",                                   1, "sd"},
        {"weight decay",                  "train.weight_decay=1",                        1, "dd"},
        {"gradient clip",                 "train.clip=0.01",                             1, "dd"},
        {"seed",                          "seed=6",                                      1, "dd"},
        {"questions",                     "data.seed=6",                                 1, "dd"},
        {"instruction",                   "data.instruction=7",                          1, "dd"},
    };
    (void)state;
    outcome start[2];
    start[0] = run_with("start-1", 1, "train.steps=1");
    start[1] = run_with("start-2", 1, "train.steps=2");
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        char over[256];
        snprintf(over, sizeof over, "train.steps=%d %s", cases[i].steps, cases[i].over);
        outcome o = run_with("key", 1, over);
        const outcome *p = &start[cases[i].steps - 1];
        const char got[] = {strcmp(o.M, p->M) ? 'd' : 's', strcmp(o.m, p->m) ? 'd' : 's'};
        for (int k = 0; k < 2; k++)
            if (cases[i].want[k] != '?' && cases[i].want[k] != got[k])
                fail_msg("%s: %s %s", cases[i].name, k ? "m" : "M", got[k] == 'd' ? "differs" : "is the same");
        clear(&o);
    }
    clear(&start[0]);
    clear(&start[1]);
}

/* compat: reference as a whole, and part by part by its own keys, give the same run. */
static void reference_by_its_parts(void **state) {
    const char *parts =
        "signal.stop=eos signal.extract=text handoff=raw baseline.shared=false adv.combine=sum adv.std_floor=0 "
        "loss.agg=micro-token-mean penalty.gate=-1 kl.in_reward=true m.micro_seqs=4 train.beta2=0.999 grader=exact";
    (void)state;
    outcome whole = run_with("whole", 1, "compat=reference grader=exact"), part = run_with("parts", 2, parts);
    assert_string_equal(whole.M, part.M);
    assert_string_equal(whole.m, part.m);
    assert_true(value(&whole, 0, "key_metrics/response_length") > value(&plain, 0, "key_metrics/response_length"));
    assert_true(value(&whole, 0, "actor/reward_kl_penalty") == 0.0); /* nothing has moved yet */
    assert_true(value(&whole, 1, "actor/reward_kl_penalty") != 0.0);
    clear(&whole);
    clear(&part);
}

static void who_is_trained(void **state) {
    (void)state;
    outcome o = run_with("only-M", 1, "m.train=false");
    assert_string_not_equal(o.M, first_M);
    assert_string_equal(o.m, first_m);
    assert_true(has(&o, 0, "actor/updates") && !has(&o, 0, "translator/updates"));
    clear(&o);

    o = run_with("only-m", 1, "M.train=false");
    assert_string_equal(o.M, first_M);
    assert_string_not_equal(o.m, first_m);
    assert_true(!has(&o, 0, "actor/updates") && has(&o, 0, "translator/updates"));
    clear(&o);

    o = run_with("turns", 1, "train.alternate=1"); /* M, m, M */
    for (size_t i = 0; i < o.n; i++)
        assert_true(has(&o, i, "actor/updates") == (i != 1) && has(&o, i, "translator/updates") == (i == 1));
    clear(&o);
}

/* Without m, M answers itself under the same price. */
static void M_alone(void **state) {
    (void)state;
    outcome o = run_with("alone", 1, "m.enable=false"),
            two = run_with("alone", 2, "m.enable=false train.recompute=true");
    assert_string_not_equal(o.M, first_M);
    assert_string_equal(o.M, two.M);
    assert_string_equal(o.m, "");
    for (size_t i = 0; i < o.n; i++) {
        assert_true(!has(&o, i, "translator/score/mean"));
        assert_true(value(&o, i, "key_metrics/r_m") == 0);
        assert_true(value(&o, i, "actor/updates") > 0);
    }
    clear(&o);
    clear(&two);
}

static double clip(double x) {
    return fmin(1, fmax(0, x));
}

static void price_of_length(void **state) {
    (void)state;
    for (size_t i = 0; i + 1 < plain.n; i++) { /* lambda <- clip(lambda + eta (mean L / B - 1)) */
        double want = clip(value(&plain, i, "key_metrics/lambda") +
                           0.05 * (value(&plain, i, "key_metrics/response_length") / 10 - 1));
        assert_true(fabs(value(&plain, i + 1, "key_metrics/lambda") - want) < 1e-12);
    }
    assert_true(value(&plain, 0, "key_metrics/lambda") == 0.1);

    outcome o = run_with("constant", 1, "penalty.schedule=constant");
    for (size_t i = 0; i < o.n; i++)
        assert_true(value(&o, i, "key_metrics/lambda") == 0.1);
    clear(&o);

    o = run_with("top", 1, "penalty.eta=100 penalty.bound=1");
    assert_true(value(&o, 1, "key_metrics/lambda") == 1);
    clear(&o);

    o = run_with("free", 1, "penalty.eta=100 penalty.bound=1000 penalty.clip=false");
    assert_true(value(&o, 1, "key_metrics/lambda") < 0);
    clear(&o);
}

/* What a sample's line says adds up to its reward, with the lambda that its step names. */
static void rewards_add_up(void **state) {
    (void)state;
    assert_int_equal(plain.n_samples, 2 * plain.n);
    for (size_t i = 0; i < plain.n_samples; i++) {
        const json_t *s = plain.sample[i], *grades = json_object_get(s, "grades");
        size_t step = (size_t)json_integer_value(json_object_get(s, "step"));
        double L = json_number_value(json_object_get(s, "L")), r_Mm = json_number_value(json_object_get(s, "r_Mm")),
               r_m = json_number_value(json_object_get(s, "r_m")), lambda = value(&plain, step - 1, "key_metrics/lambda");
        assert_int_equal(json_array_size(grades), 2);
        assert_true(r_Mm == (double)(json_integer_value(json_array_get(grades, 0)) + json_integer_value(json_array_get(grades, 1))) / 2);
        assert_true(L >= 1 && L <= 40);
        assert_true(fabs(json_number_value(json_object_get(s, "reward")) - (r_Mm - r_m - lambda * L / 10)) < 1e-12);
    }
}

/* The names of duet-algorithm, section 7. */
static void names_of_the_metrics(void **state) {
    static const char *const ranges[] = {"critic/score",     "critic/rewards",     "critic/advantages",     "critic/returns", "translator/score",
                                         "translator/rewards", "translator/advantages", "translator/returns", "response_length", "prompt_length"};
    static const char *const singles[] = {
        "key_metrics/r_Mm", "key_metrics/r_m", "key_metrics/response_length", "key_metrics/lambda", "actor/pg_loss", "actor/pg_clipfrac",
        "actor/pg_clipfrac_lower", "actor/ppo_kl", "actor/grad_norm", "actor/entropy", "actor/lr", "translator/pg_loss",
        "translator/pg_clipfrac", "translator/pg_clipfrac_lower", "translator/ppo_kl", "translator/grad_norm", "translator/entropy",
        "translator/lr", "actor/reward_kl_penalty", "actor/reward_kl_penalty_coeff", "response_length/clip_ratio", "translator/clip_ratio",
        "train/zero_spread_M", "train/zero_spread_m", "signal/closed", "signal/truncated", "signal/untagged", "signal/empty",
        "mismatch/max_abs_logprob_diff", "timing/step_s"};
    static const char *const ends[] = {"mean", "max", "min"};
    (void)state;
    outcome o = run_with("names", 1, "kl.in_reward=true train.steps=1");
    for (size_t i = 0; i < DT_COUNT(singles); i++)
        value(&o, 0, singles[i]);
    for (size_t i = 0; i < DT_COUNT(ranges); i++) {
        double x[3];
        for (int k = 0; k < 3; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s/%s", ranges[i], ends[k]);
            x[k] = value(&o, 0, name);
        }
        assert_true(x[2] <= x[0] + 1e-12 && x[0] <= x[1] + 1e-12);
    }
    assert_true(fabs(value(&o, 0, "signal/closed") + value(&o, 0, "signal/truncated") + value(&o, 0, "signal/untagged") +
                     value(&o, 0, "signal/empty") - 1) < 1e-12);
    clear(&o);
}

/* A resumed run goes on with its lambda, or (compat) starts over. */
static void lambda_of_a_resumed_run(void **state) {
    static const char *const keys[] = {"resume.lambda=keep", "resume.lambda=drop"};
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        const char *over[] = {keys[drop], NULL};
        outcome o = run("again", (how){.threads = 1, .cancel = true}, over);
        assert_int_equal(o.st, DUET_E_CANCELLED); /* after the first step */
        o = run("again", (how){.threads = 1, .resume = true}, over);
        assert_int_equal(o.n, plain.n);
        assert_true(value(&plain, 1, "key_metrics/lambda") != 0.1);
        assert_true(value(&o, 1, "key_metrics/lambda") == (drop ? 0.1 : value(&plain, 1, "key_metrics/lambda")));
        assert_true(!strcmp(o.M, plain.M) == !drop);
        clear(&o);
    }
}

/* Held-out questions have a limit of their own, or M's. */
static void held_out_limit(void **state) {
    (void)state;
    outcome o = run_with("limit", 1, "eval.every=1 eval.n=6 eval.max_tokens=3 train.steps=1");
    for (size_t i = 0; i < o.n; i++)
        assert_true(value(&o, i, "eval/M_tokens") <= 3);
    assert_true(value(&o, o.n - 1, "response_length/max") > 3);
    clear(&o);
    o = run_with("limit", 1, "eval.every=1 eval.n=6 M.response_max=4 train.steps=1");
    for (size_t i = 0; i < o.n; i++)
        assert_true(value(&o, i, "eval/M_tokens") <= 4);
    clear(&o);
}

/* Rows of a file too long for M: never asked in training, wrong when held out, named by their ids in both. */
static void questions_too_long(void **state) {
    static const char *const ids[] = {"a", "b", "long", "c"}, *const questions[] = {"23", "45", NULL, "67"};
    char file[600], held[600], digits[400];
    (void)state;
    memset(digits, '7', sizeof digits);
    digits[sizeof digits - 1] = 0;
    for (int with_long = 0; with_long < 2; with_long++) {
        dt_buf rows = {0};
        for (int i = 0; i < 4; i++)
            if (with_long || questions[i])
                dt_buf_addf(&rows, "{\"id\": \"%s\", \"question\": \"%s\", \"answer\": \"%d\"}\n", ids[i], questions[i] ? questions[i] : digits, i);
        write_text(with_long ? "rows.jsonl" : "short.jsonl", rows.data);
        dt_buf_clear(&rows);
    }
    snprintf(file, sizeof file, "data.task= data.knobs= data.file=%s/short.jsonl train.steps=2", root);
    outcome want = run_with("short", 1, file);
    assert_int_equal(want.n_long, 0);
    for (int k = 0; k < 2; k++) { /* by the context, and by a limit of its own */
        snprintf(file, sizeof file, "data.task= data.knobs= data.file=%s/rows.jsonl train.steps=2 M.prompt_max=%d", root, k ? 20 : 0);
        outcome o = run_with("long", 1, file);
        assert_int_equal(o.n_long, 1);
        assert_string_equal(o.M, want.M);
        assert_string_equal(o.m, want.m);
        clear(&o);
    }
    clear(&want);
    double accuracy[2];
    for (int k = 0; k < 2; k++) {
        snprintf(held, sizeof held, "eval.every=0 eval.n=4 train.steps=1 eval.file=%s/%s.jsonl", root, k ? "rows" : "short");
        outcome o = run_with("held", 1, held);
        accuracy[k] = value(&o, o.n - 1, "eval/accuracy");
        assert_int_equal(o.n_long, k);
        clear(&o);
    }
    assert_true(fabs(accuracy[1] - accuracy[0] * 3 / 4) < 1e-12);
}

static void guards(void **state) {
    (void)state;
    outcome o = run_with("floor", 1, "guard.accuracy_floor=1 penalty.bound=1"); /* wants to rise, may not */
    for (size_t i = 0; i < o.n; i++) {
        assert_true(value(&o, i, "guard/frozen") == 1);
        assert_true(value(&o, i, "key_metrics/lambda") == 0.1);
    }
    clear(&o);
    o = run_with("falls", 1, "guard.accuracy_floor=1 penalty.bound=1000"); /* falling is allowed */
    assert_true(value(&o, 2, "key_metrics/lambda") < 0.1);
    clear(&o);

    o = run_with("short", 1, "guard.length_min=1000"); /* said once, not at every step */
    for (size_t i = 0; i < o.n; i++)
        assert_true(value(&o, i, "guard/alarm") == 1);
    assert_int_equal(o.n_alarms, 1);
    clear(&o);

    double best = 0, mean = 0;
    size_t n_true = 0;
    o = run_with("drop", 1,
                 "guard.accuracy_drop=0.001 guard.length_min=0 train.steps=12 train.lr=3e-2"); /* spoils the pair */
    for (size_t i = 0; i < o.n; i++) {
        double a = value(&o, i, "key_metrics/r_Mm");
        mean = i ? 0.9 * mean + 0.1 * a : a;
        best = fmax(best, mean);
        assert_true(fabs(value(&o, i, "guard/accuracy") - mean) < 1e-12);
        assert_true((value(&o, i, "guard/alarm") == 1) == (mean < best - 0.001));
        n_true += mean < best - 0.001;
    }
    assert_true(n_true > 0 && o.n_alarms > 0);
    clear(&o);
}

/* Where nothing differs within a group nothing is learned, and it is counted. */
static void groups_without_spread(void **state) {
    (void)state;
    outcome o = run_with("frozen", 1, "M.temperature=0.001 m.temperature=0.001");
    for (size_t i = 0; i < o.n; i++) {
        assert_true(value(&o, i, "train/zero_spread_M") == 6);
        assert_true(value(&o, i, "train/zero_spread_m") == 6);
        assert_true(value(&o, i, "actor/updates") == 0 && value(&o, i, "actor/skipped") == 24);
        assert_true(value(&o, i, "translator/updates") == 0 && value(&o, i, "translator/skipped") == 48);
    }
    assert_string_equal(o.M, first_M);
    assert_string_equal(o.m, first_m);
    clear(&o);

    o = run_with("wrong", 1, "grader=hendrycks"); /* none is boxed: all wrong, so no price of length either */
    for (size_t i = 0; i < o.n; i++)
        assert_true(value(&o, i, "train/zero_spread_M") == 6 && value(&o, i, "key_metrics/r_Mm") == 0);
    assert_string_equal(o.M, first_M);
    clear(&o);
    o = run_with("priced", 1, "grader=hendrycks penalty.gate=-1");
    assert_string_not_equal(o.M, first_M);
    clear(&o);
}

static bool by_the_clock(const char *key) {
    return !strcmp(key, "time") || !strcmp(key, "eval/seconds") || !strncmp(key, "perf/", 5) ||
           !strncmp(key, "timing/", 7);
}

static void same_lines(const outcome *a, const outcome *b) {
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const char *key;
        json_t *v;
        assert_int_equal(json_object_size(a->line[i]), json_object_size(b->line[i]));
        json_object_foreach(a->line[i], key,
                            v) if (!by_the_clock(key) && !json_equal(v, json_object_get(b->line[i], key)))
            fail_msg("line %zu: %s differs", i, key);
    }
}

/* Ctrl-C in the middle of an evaluation: the step is saved with what it still owes, and resuming makes up for it. Here
 * the evaluation of the first step and that of the last one. */
static void interrupted_evaluation(void **state) {
    static const struct {
        const char *name, *recipe, *steps;
        bool sft;
    } cases[] = {
        {"joint, first",      "joint.yaml", "train.steps=2", false},
        {"joint, last",       "joint.yaml", "train.steps=1", false},
        {"supervised, first", "teach.yaml", "train.steps=2", true },
        {"supervised, last",  "teach.yaml", "train.steps=1", true },
    };
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        const char *over[] = {cases[i].steps, "eval.every=1", "eval.n=5", "eval.max_tokens=30", "log.every=1", NULL};
        how h = {.threads = 1, .sft = cases[i].sft, .recipe = cases[i].recipe};
        outcome want = run("undisturbed", h, over);
        h.cancel = true;
        outcome o = run("cut", h, over);
        assert_int_equal(o.st, DUET_E_CANCELLED);
        h = (how){.threads = 1, .sft = cases[i].sft, .recipe = cases[i].recipe, .resume = true};
        o = run("cut", h, over);
        if (strcmp(o.M, want.M) || strcmp(o.m, want.m))
            fail_msg("%s: other weights", cases[i].name);
        same_lines(&o, &want);
        clear(&o);
        clear(&want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_run_learns),
        cmocka_unit_test(same_bits),
        cmocka_unit_test(adapters),
        cmocka_unit_test(every_key_counts),
        cmocka_unit_test(reference_by_its_parts),
        cmocka_unit_test(who_is_trained),
        cmocka_unit_test(M_alone),
        cmocka_unit_test(price_of_length),
        cmocka_unit_test(rewards_add_up),
        cmocka_unit_test(names_of_the_metrics),
        cmocka_unit_test(lambda_of_a_resumed_run),
        cmocka_unit_test(held_out_limit),
        cmocka_unit_test(questions_too_long),
        cmocka_unit_test(guards),
        cmocka_unit_test(groups_without_spread),
        cmocka_unit_test(interrupted_evaluation),
        cmocka_unit_test(resume_before_the_first_checkpoint),
    };
    return cmocka_run_group_tests_name("train/joint", tests, setup, teardown);
}
