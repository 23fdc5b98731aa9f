/* duet tasks: the task families and their knobs; duet task: questions of one of them. */
#include "cli/cli.h"

#include <string.h>

/* ---- tasks ---- */

static json_t *family_json(const duet_family *f) {
    json_t *knobs = json_array();
    for (size_t i = 0; knobs && i < f->n_knobs; i++) {
        const duet_knob *k = &f->knobs[i];
        json_array_append_new(knobs, json_pack("{s:s,s:s,s:f,s:f,s:f}", "name", k->name, "help", k->help, "default",
                                               k->def, "min", k->min, "max", k->max));
    }
    return json_pack("{s:s,s:s,s:o}", "name", f->name, "title", f->title, "knobs", knobs);
}

static int run_tasks(const cli_command *self, cli_args *a) {
    size_t n = 0;
    const duet_family *f = duet_families(&n);
    (void)self;
    for (size_t i = 0; i < n; i++) {
        if (a->json) {
            if (!cli_put_json(family_json(&f[i])))
                return cli_finish(EXIT_DONE);
            continue;
        }
        printf("%s%s: %s\n", i ? "\n" : "", f[i].name, f[i].title);
        for (size_t k = 0; k < f[i].n_knobs; k++) {
            const duet_knob *knob = &f[i].knobs[k];
            printf("  %-14s %s (%g..%g, default %g)\n", knob->name, knob->help, knob->min, knob->max, knob->def);
        }
    }
    return EXIT_DONE;
}

static const cli_opt tasks_opts[] = {CLI_ROW_JSON("one JSON object a family"), CLI_ROW_HELP};

const cli_command cli_tasks = {
    .name = "tasks",
    .operands = "",
    .title = "list the task families and their knobs",
    .text = "Lists the families of generated questions and the knobs that set their difficulty.",
    .opts = tasks_opts,
    .n_opts = DT_COUNT(tasks_opts),
    .run = run_tasks,
};

/* ---- task ---- */

static void set_text(json_t *j, const char *key, const char *text) {
    json_object_set_new(j, key, text ? json_string(text) : json_null());
}

static json_t *example_json(const duet_example *e, bool chain) {
    json_t *j = json_object();
    if (!j)
        return NULL;
    set_text(j, "id", e->id);
    set_text(j, "question", e->question);
    set_text(j, "answer", e->answer);
    set_text(j, "verbose", e->verbose);
    set_text(j, "compact", e->compact);
    if (chain) {
        set_text(j, "chain", e->chain);
        json_object_set_new(j, "early", json_boolean(e->early));
    }
    return j;
}

static int run_task(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    duet_task *t = NULL;
    int code = EXIT_DONE;
    (void)self;
    duet_status st = cli_task_open(a->rest[0], a->rest + 1, a->n_rest - 1, &t, &err);
    if (st)
        return cli_fail_option(st, &err);
    duet_split split = !strcmp(a->split, "train") ? DUET_SPLIT_TRAIN : DUET_SPLIT_TEST;
    for (int i = 0; i < a->n && !code; i++) {
        duet_example e = {0};
        if (dt_interrupted()) {
            code = cli_fail(EXIT_INTERRUPTED, "interrupted");
            break;
        }
        st = duet_task_example(t, split, a->seed, (uint64_t)a->first + (uint64_t)i, &e, &err);
        if (st)
            code = cli_fail_status(st, &err);
        else if (!cli_put_json(example_json(&e, a->chain)))
            code = cli_finish(EXIT_DONE);
        duet_example_clear(&e);
    }
    duet_task_close(t);
    return code;
}

static const cli_opt task_opts[] = {
    {'n', "n",     CLI_INT,  CLI_AT(n),     "N",    "questions",                                     "10",   0, 1 << 30, NULL},
    {0,   "split", CLI_TEXT, CLI_AT(split), "NAME", "test or train: a hash of the question decides", "test", 0, 0,
     "train|test"                                                                                                            },
    {0,   "seed",  CLI_SEED, CLI_AT(seed),  "N",    "seed of the questions",                         "0",    0, 0,       NULL},
    {0,   "first", CLI_INT,  CLI_AT(first), "N",    "index of the first question",                   "0",    0, 1 << 30, NULL},
    {0,   "chain", CLI_FLAG, CLI_AT(chain), NULL,   "add a chain drawn from the training mixture",   NULL,   0, 0,       NULL},
    CLI_ROW_JSON("JSON lines (they are the default)"),
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_task = {
    .name = "task",
    .operands = "NAME [KNOB=VALUE...]",
    .min_rest = 1,
    .max_rest = -1,
    .title = "print questions of a task family",
    .text = "Writes lines {\"id\",\"question\",\"answer\",\"verbose\",\"compact\"}. The same family, knobs, split and "
            "seed give the same questions.",
    .examples = "duet task register -n 3 --seed 7  # three held-out questions",
    .opts = task_opts,
    .n_opts = DT_COUNT(task_opts),
    .run = run_task,
};
