/* Recipes: layers, ranges, errors that name key and line, and a resolved copy that reads back as itself. */
#include "support.h"

#include "train/recipe.h"

static const char small[] = "# a run\n"
                            "out: runs/x\n"
                            "data:\n"
                            "  task: remainder\n"
                            "  knobs: \"digits=3..6\"\n"
                            "model:\n"
                            "  init:\n"
                            "    layers: 2\n"
                            "train:\n"
                            "  lr: 2e-3\n"
                            "  schedule: cosine\n"
                            "stages:\n"
                            "  - steps: 10\n"
                            "    knobs: \"digits=1\"\n"
                            "  - {steps: 20, lr: 1e-4}\n";

static dt_recipe *parse(const char *text, dt_run_kind kind, const char *const *over, size_t n) {
    dt_recipe *r = NULL;
    duet_err err = {{0}};
    if (dt_recipe_parse("r.yaml", text, strlen(text), kind, true, over, n, &r, &err)) fail_msg("%s", err.text);
    return r;
}

static void layers(void **state) {
    const char *over[] = {"train.weight_decay=0.5", "train.batch=7"};
    (void)state;
    setenv("DUET_TRAIN_BATCH", "9", 1);
    setenv("DUET_SEED", "77", 1);
    dt_recipe *r = parse(small, DT_RUN_SFT, over, 2);
    unsetenv("DUET_TRAIN_BATCH");
    unsetenv("DUET_SEED");
    assert_string_equal(r->out, "runs/x");
    assert_string_equal(r->data.knobs, "digits=3..6");
    assert_int_equal(r->model.init.layers, 2);
    assert_int_equal(r->model.init.width, 128);
    assert_true(r->train.lr == 2e-3 && r->train.weight_decay == 0.5);
    assert_int_equal(r->train.schedule, DT_LR_COSINE);
    assert_int_equal(r->train.batch, 7);
    assert_int_equal(r->seed, 77);
    assert_int_equal(r->n_stages, 2);
    assert_int_equal(r->train.steps, 30);
    assert_string_equal(r->stages[0].knobs, "digits=1");
    assert_null(r->stages[1].knobs);
    assert_true(r->stages[1].lr == 1e-4);
    dt_recipe_free(r);
}

static void resolved_reads_back(void **state) {
    (void)state;
    for (int kind = DT_RUN_SFT; kind <= DT_RUN_RL; kind++) {
        const char *over[] = {"M.path=a \"b\"\\c", "m.path=x: #y", "M.lr=0.1234567890123", "train.steps=3", "data.task=t"};
        dt_recipe *r = kind == DT_RUN_SFT ? parse(small, kind, NULL, 0) : parse("", kind, over, 5);
        char *text = dt_recipe_text(r), *again, h[65], h2[65];
        dt_recipe_hash(r, h);
        dt_recipe *back = parse(text, kind, NULL, 0);
        again = dt_recipe_text(back);
        dt_recipe_hash(back, h2);
        assert_string_equal(text, again);
        assert_string_equal(h, h2);
        if (kind == DT_RUN_RL) {
            assert_string_equal(back->M.path, "a \"b\"\\c");
            assert_string_equal(back->m.path, "x: #y");
            assert_true(back->M.lr == 0.1234567890123);
        }
        dt_recipe_free(r), dt_recipe_free(back), free(text), free(again);
    }
}

static void reference_preset(void **state) {
    const char *file = "M: {path: a}\nm: {path: b, response_max: 99}\ndata: {task: t}\ntrain: {steps: 1}\ncompat: reference\n";
    const char *over[] = {"baseline.shared=true"};
    (void)state;
    dt_recipe *r = parse(file, DT_RUN_RL, over, 1);
    assert_int_equal(r->adv.combine, DT_COMBINE_SUM);
    assert_int_equal(r->handoff, DT_LAYOUT_RAW);
    assert_int_equal(r->signal.stop, DT_STOP_AT_EOS);
    assert_true(r->baseline.shared); /* each part by its own key, too */
    assert_int_equal(r->m.response_max, 99);
    assert_int_equal(r->M.response_max, 8192);
    assert_true(r->train.lr == 1e-6 && r->penalty.gate == -1 && !r->resume.keep_lambda);
    char *d = dt_recipe_differences(r);
    assert_non_null(strstr(d, "adv.combine=sum"));
    assert_null(strstr(d, "baseline.shared"));
    free(d);
    dt_recipe_free(r);
}

/* duet-algorithm, section 11 and the column `train.sh` of section 9, key by key, also where our default is the same. What
 * has no key is always so: the baseline's prompt is the template without a thought, every sampled token counts, KL is
 * k1, held-out questions are answered greedily, a raw prompt is cut on the left. */
static void reference_is_all_of_it(void **state) {
    const char *given[] = {"M.path=a", "m.path=b", "data.task=t", "train.steps=1", "compat=reference"};
    const char *spelled[] = {
        "M.path=a", "m.path=b", "data.task=t", "train.steps=1", "signal.stop=eos", "signal.extract=text", "handoff=raw",
        "baseline.shared=false", "baseline.samples=0", "adv.combine=sum", "adv.std_floor=0", "adv.norm_std=true", "adv.eps=1e-6",
        "m.group=question", "loss.agg=micro-token-mean", "M.minibatch=128", "m.minibatch=128", "penalty.gate=-1", "kl.in_reward=true",
        "kl.coef=0.001", "kl.loss_coef=0", "grader=hendrycks", "resume.lambda=drop", "M.prompt_max=512", "M.response_max=8192",
        "m.prompt_max=8704", "m.response_max=1024", "m.enable=true", "m.train=true", "M.train=true", "M.samples=4", "m.samples=4",
        "M.temperature=1", "M.top_p=1", "M.top_k=0", "M.min_p=0", "m.temperature=1", "m.top_p=1", "m.top_k=0", "m.min_p=0",
        "train.questions=64", "M.micro_seqs=2", "m.micro_seqs=4", "train.epochs=1", "train.alternate=0", "train.lr=1e-6", "M.lr=0",
        "m.lr=0", "train.weight_decay=0.01", "train.beta1=0.9", "train.beta2=0.999", "train.eps=1e-8", "train.warmup=0",
        "train.schedule=constant", "train.clip=1", "loss.clip_low=0.2", "loss.clip_high=0.2", "loss.dual_clip=3", "overlong=keep",
        "penalty.bound=1000", "penalty.schedule=adaptive", "penalty.lambda0=0", "penalty.eta=0.01", "penalty.clip=true",
        "reward.marginal=true", "guard.accuracy_floor=0", "guard.accuracy_drop=0", "guard.length_min=0", "seed=1", "data.seed=-1",
        "train.save_every=50", "eval.every=10", "eval.max_tokens=0"};
    (void)state;
    dt_recipe *a = parse("", DT_RUN_RL, given, DT_COUNT(given)), *b = parse("", DT_RUN_RL, spelled, DT_COUNT(spelled));
    a->compat = DT_COMPAT_NONE;
    char *x = dt_recipe_text(a), *y = dt_recipe_text(b);
    assert_string_equal(x, y);
    free(x), free(y);
    dt_recipe_free(a), dt_recipe_free(b);
}

static void errors(void **state) {
    static const struct {
        const char *name, *text, *says;
        duet_status st;
    } cases[] = {
        {"unknown key",       "data:\n  task: t\ntrain:\n  lr: 1\n  lrr: 2\n",  "r.yaml:5: unknown key \"lrr\"",              DUET_E_USAGE },
        {"unknown first key", "lrr: 2\n",                                       "r.yaml:1: unknown key \"lrr\"",              DUET_E_USAGE },
        {"repeated key",      "train:\n  lr: 1\n  batch: 2\n  lr: 3\n",         "r.yaml:4: repeated key \"lr\"",              DUET_E_USAGE },
        {"repeated section",  "train:\n  lr: 1\ndata:\n  task: t\ntrain:\n  batch: 2\n", "r.yaml:5: repeated key \"train\"",  DUET_E_USAGE },
        {"no number",         "train:\n  steps: 5\n  lr: 1e-3x\n",              "r.yaml:3: train.lr: \"1e-3x\" is not a number", DUET_E_USAGE},
        {"empty number",      "train:\n  lr: \"\"\n",                           "train.lr: \"\" is not a number",             DUET_E_USAGE },
        {"not whole",         "train:\n  batch: 2.5\n",                         "train.batch: \"2.5\" is not a whole number", DUET_E_USAGE },
        {"out of range",      "train:\n  beta1: 1.5\n",                         "r.yaml:2: train.beta1: 1.5 is outside",      DUET_E_USAGE },
        {"no choice",         "train:\n  schedule: sinus\n",                    "not one of constant|cosine|linear",          DUET_E_USAGE },
        {"no bool",           "model:\n  init:\n    tied: maybe\n",             "r.yaml:3: model.init.tied: \"maybe\"",       DUET_E_USAGE },
        {"a list",            "train:\n  lr: [1]\n",                            "expected a value, found a list",                                   DUET_E_FORMAT},
        {"a text",            "train: 5\n",                                     "r.yaml:1: expected a section of keys, found a value",                                   DUET_E_FORMAT},
        {"broken",            "train: {lr: 1\n",                                "r.yaml",                                     DUET_E_FORMAT},
        {"no steps",          "data: {task: t}\n",                              "train.steps is missing",                     DUET_E_USAGE },
        {"no data",           "train: {steps: 3}\n",                            "data.task or data.file",                     DUET_E_USAGE },
        {"other kind",        "M:\n  path: x\n",                                "\"M.path\" belongs to joint recipes",        DUET_E_USAGE },
        {"bad stage",         "stages:\n - steps: 0\n",                         "stages: number 1: steps",                    DUET_E_USAGE },
        {"stage key",         "stages:\n - steps: 1\n   size: 3\n",             "r.yaml:3: unknown key \"size\"",             DUET_E_USAGE },
        {"alias",             "data: &x {task: t}\ntrain: *x\n",                "r.yaml",                                     DUET_E_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_recipe *r = NULL;
        duet_err err = {{0}};
        duet_status st = dt_recipe_parse("r.yaml", cases[i].text, strlen(cases[i].text), DT_RUN_SFT, false, NULL, 0, &r, &err);
        if (st != cases[i].st || !strstr(err.text, cases[i].says)) fail_msg("%s: %d %s", cases[i].name, (int)st, err.text);
        assert_null(r);
    }
}

static void bad_overrides(void **state) {
    static const struct {
        const char *over, *says;
    } cases[] = {
        {"train.lr",      "is not key=value"             },
        {"train.lrr=1",   "unknown key \"train.lrr\""    },
        {"train.lr=",     "train.lr: \"\" is not a number"},
        {"adv.combine=sum", "belongs to joint recipes"   },
    };
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_recipe *r = NULL;
        duet_err err = {{0}};
        assert_int_equal(dt_recipe_parse("r.yaml", small, strlen(small), DT_RUN_SFT, false, &cases[i].over, 1, &r, &err), DUET_E_USAGE);
        if (!strstr(err.text, cases[i].says)) fail_msg("%s: %s", cases[i].over, err.text);
    }
}

/* Every recipe of the repository is read as one of the two kinds. */
static void shipped_recipes(void **state) {
    static const char *const names[] = {"remainder-sft-M", "remainder-sft-m", "remainder-rl"};
    (void)state;
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        char path[512];
        dt_recipe *r = NULL;
        duet_err err = {{0}};
        snprintf(path, sizeof path, "%s/recipes/%s.yaml", DUET_ROOT, names[i]);
        if (dt_recipe_load(path, strstr(names[i], "rl") ? DT_RUN_RL : DT_RUN_SFT, NULL, 0, &r, &err)) fail_msg("%s", err.text);
        dt_recipe_free(r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers), cmocka_unit_test(resolved_reads_back), cmocka_unit_test(reference_preset), cmocka_unit_test(reference_is_all_of_it),
        cmocka_unit_test(errors), cmocka_unit_test(bad_overrides),       cmocka_unit_test(shipped_recipes),
    };
    return cmocka_run_group_tests_name("train/recipe", tests, NULL, NULL);
}
