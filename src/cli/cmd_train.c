/* duet sft and duet train: runs from recipes, with a live line on a terminal. */
#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

/* Live lines replace one another on a terminal; in a log one of them is kept every half minute. */
static void on_line(void *user, const char *line, bool live) {
    static double last;
    const cli_args *a = user;
    if (a->quiet && live)
        return;
    if (live && cli_colour(STDERR_FILENO)) {
        cli_live(line);
        return;
    }
    if (live && dt_now() - last < 30)
        return;
    if (live)
        last = dt_now();
    cli_live(NULL);
    fprintf(stderr, "%s\n", line);
}

static int train(const cli_command *self, cli_args *a, duet_status (*call)(const duet_train_options *, duet_err *)) {
    duet_err err = {{0}};
    const char *recipe = a->config;
    char *const *overrides = a->rest;
    int n = a->n_rest;
    if (n && !strchr(a->rest[0], '=')) {
        if (recipe)
            return cli_fail(EXIT_USAGE, "%s: two recipes, --config %s and %s", self->name, recipe, a->rest[0]);
        recipe = a->rest[0];
        overrides++;
        n--;
    }
    if (!recipe)
        return cli_fail(EXIT_USAGE, "%s: no recipe; usage: duet %s [options] %s", self->name, self->name,
                        self->operands);
    for (int i = 0; i < n; i++)
        if (!strchr(overrides[i], '='))
            return cli_fail(EXIT_USAGE, "%s: unexpected %s; overrides have the form a.b=c", self->name, overrides[i]);
    if (access(recipe, R_OK) || dt_path_is_dir(recipe))
        return cli_fail(EXIT_INPUT, "%s: not a recipe that can be read", recipe);
    duet_train_options o = {.recipe = recipe,
                            .overrides = (const char *const *)overrides,
                            .n_overrides = (size_t)n,
                            .out = a->out,
                            .resume = a->resume,
                            .dry_run = a->dry_run,
                            .n_threads = a->threads,
                            .cancel = cli_cancel(),
                            .on_line = on_line,
                            .user = a};
    duet_status st = call(&o, &err);
    cli_live(NULL);
    if (st == DUET_E_CANCELLED)
        return cli_fail(EXIT_INTERRUPTED, "interrupted; what was done is saved, --resume goes on from there");
    return st == DUET_E_UNSUPPORTED ? cli_fail_input(st, &err) : st ? cli_fail_option(st, &err) : EXIT_DONE;
}

static int run_sft(const cli_command *self, cli_args *a) {
    return train(self, a, duet_train_sft);
}

static int run_rl(const cli_command *self, cli_args *a) {
    return train(self, a, duet_train_rl);
}

static const cli_opt opts[] = {
    {0, "out",     CLI_TEXT, CLI_AT(out),     "DIR",  "run folder (default: the recipe's `out`)",                 NULL, 0, 0, NULL},
    {0, "resume",  CLI_FLAG, CLI_AT(resume),  NULL,   "go on from the newest checkpoint of the run folder",       NULL, 0, 0,
     NULL                                                                                                                         },
    {0, "dry-run", CLI_FLAG, CLI_AT(dry_run), NULL,   "say how much memory and time a step takes; train nothing", NULL, 0,
     0,                                                                                                                       NULL},
    {0, "config",  CLI_TEXT, CLI_AT(config),  "FILE", "the recipe, in place of the operand",                      NULL, 0, 0, NULL},
    CLI_ROW_THREADS,
    CLI_ROW_QUIET,
    CLI_ROW_HELP,
};

#define COMMON_TEXT                                                                                                    \
    "\n\nDotted operands override keys of the recipe (`train.lr=1e-4`). The run folder receives the resolved recipe, " \
    "metrics.jsonl, "                                                                                                  \
    "TensorBoard events, samples, curves and checkpoints. The first Ctrl-C saves a checkpoint and stops; --resume "    \
    "goes on from it to the "                                                                                          \
    "same bits."

const cli_command cli_sft = {
    .name = "sft",
    .operands = "RECIPE [a.b=c...]",
    .min_rest = 0,
    .max_rest = -1,
    .title = "train one model on examples (supervised)",
    .text = "Trains one model on the chains or answers a recipe names, and writes it as a Hugging Face folder "
            "`model/`." COMMON_TEXT,
    .examples = "duet sft recipes/remainder-sft-M.yaml --out runs/remainder-sft-M  # a first model, in a minute\n"
                "duet sft recipes/register-sft-M.yaml --dry-run  # what a step costs",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .config_is_recipe = true,
    .run = run_sft,
};

const cli_command cli_train = {
    .name = "train",
    .operands = "RECIPE [a.b=c...]",
    .min_rest = 0,
    .max_rest = -1,
    .title = "train a pair together (joint reinforcement learning)",
    .text = "Trains M to say less and m to use it: m is rewarded for right answers, M for what its signal adds to m, "
            "less the price of its "
            "length. Writes the models as Hugging Face folders `M/` and `m/`." COMMON_TEXT,
    .examples = "duet train recipes/remainder-rl.yaml  # the whole effect on a small task\n"
                "duet train recipes/register-rl.yaml --resume  # go on after an interruption",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .config_is_recipe = true,
    .run = run_rl,
};
