/* duet eval: the pair, M alone, m alone and controls on the same questions; its options, and the order of its work. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

static bool has_mode(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p && *p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, word, n) && (p[n] == ',' || !p[n]))
            return true;
    }
    return false;
}

static const char *unknown_mode(const char *list) {
    static char word[32];
    static const char *const known[] = {"M", "m", "duet", "shuffled", "masked"};
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        bool ok = false;
        for (size_t i = 0; i < DT_COUNT(known); i++)
            ok = ok || (strlen(known[i]) == n && !strncmp(p, known[i], n));
        if (!ok) {
            snprintf(word, sizeof word, "%.*s", (int)n, p);
            return word;
        }
        p += n + (p[n] == ',');
    }
    return NULL;
}

/* Rows in the order of the table. M end to end is the model before joint training, where there is one: what the
 * pair's saving is measured against. */
static void make_plan(cli_evaluation *e) {
    const char *modes = e->a->modes;
    bool both = e->a->before_M || e->a->before_m;
    if (has_mode(modes, "M"))
        e->plan[e->n_plan++] = (cli_eval_plan){.mode = DUET_MODE_M, .variant = both ? "before" : "", .before = both};
    if (has_mode(modes, "m"))
        e->plan[e->n_plan++] = (cli_eval_plan){.mode = DUET_MODE_m, .variant = both ? "after" : ""};
    if (has_mode(modes, "duet") && both)
        e->plan[e->n_plan++] = (cli_eval_plan){.mode = DUET_MODE_DUET, .variant = "before", .before = true};
    if (has_mode(modes, "duet"))
        e->plan[e->n_plan++] = (cli_eval_plan){.mode = DUET_MODE_DUET, .variant = both ? "after" : ""};
    if (has_mode(modes, "shuffled"))
        e->plan[e->n_plan++] = (cli_eval_plan){.mode = DUET_MODE_DUET, .variant = "shuffled", .shuffled = true};
    if (has_mode(modes, "masked"))
        e->plan[e->n_plan++] = (cli_eval_plan){.mode = DUET_MODE_DUET, .variant = "masked", .masked = true};
}

static bool needs(const cli_evaluation *e, bool want_M) {
    for (size_t i = 0; i < e->n_plan; i++)
        if (e->plan[i].mode == DUET_MODE_DUET || (e->plan[i].mode == DUET_MODE_M) == want_M)
            return true;
    return false;
}

static int check_usage(cli_evaluation *e) {
    const cli_args *a = e->a;
    const char *bad = unknown_mode(a->modes);
    if (bad)
        return cli_fail(EXIT_USAGE, "eval: --modes: %s is not one of M, m, duet, shuffled, masked", bad);
    if (a->budget_curve && !cli_eval_plan_curve(e))
        return cli_fail(EXIT_USAGE, "eval: --shares: %s: give up to %d percentages from 0 to 100, each above the one before", a->shares, CLI_EVAL_PLANS);
    if (!a->budget_curve)
        make_plan(e);
    if (!e->n_plan)
        return cli_fail(EXIT_USAGE, "eval: --modes names nothing to do");
    if (!a->task == !a->data.n)
        return cli_fail(EXIT_USAGE, "eval: give either --task FAMILY or --data FILE");
    if (needs(e, true) && !a->M)
        return cli_fail(EXIT_USAGE, "eval: -M is missing: the folder of the capable model");
    if (needs(e, false) && !a->m)
        return cli_fail(EXIT_USAGE, "eval: -m is missing: the folder of the light model");
    if (!duet_grader_parse(a->grader, &e->grader))
        return cli_fail(EXIT_USAGE, "eval: --grader: %s is not known: exact, hendrycks, gpqa-first or plain", a->grader);
    if (a->task)
        e->grader = duet_grader_for_family(e->grader);
    return 0;
}

/* From here on the folder is ours, rows run, reports are written. */
static int measure(const cli_command *self, cli_evaluation *e) {
    duet_err err = {{0}};
    int code = cli_eval_begin(self, e);
    if (!code && e->a->replay)
        return cli_eval_replay(e);
    if (code)
        return code;
    duet_status st = cli_eval_run_rows(e, &err);
    if (st == DUET_E_CANCELLED)
        return cli_eval_give_up(e);
    return st ? cli_fail_status(st, &err) : cli_eval_finish(e);
}

static void clear(cli_evaluation *e) {
    cli_eval_print *print[] = {&e->print_M, &e->print_m, &e->print_before_M, &e->print_before_m};
    duet_pair_destroy(e->after);
    duet_pair_destroy(e->before);
    for (size_t i = 0; i < e->models.n; i++)
        duet_backend_close(e->models.b[i]);
    for (size_t i = 0; i < e->n_sets; i++)
        cli_eval_close_set(&e->set[i]);
    for (size_t i = 0; i < DT_COUNT(print); i++)
        free(print[i]->text);
    duet_store_close(e->store);
    json_decref(e->recalled);
    json_decref(e->head);
    free(e->print_pair);
    free(e->alone);
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    cli_evaluation e = {.a = a, .samples = {.fd = -1}};
    if (a->compare_to)
        return cli_eval_compare(a);
    if (a->n_rest)
        return cli_fail(EXIT_USAGE, "eval: %s: a folder stands only after --compare X", a->rest[0]);
    if (a->rescore)
        return cli_eval_rescore(a);
    if (a->report)
        return cli_eval_report(a);
    int code = a->resume || a->replay ? cli_eval_recall(self, &e) : 0;
    if (!code)
        code = check_usage(&e);
    if (code)
        goto done;
    duet_status st = cli_eval_open_sets(&e, &err);
    if (st) {
        code = a->task || st == DUET_E_USAGE ? cli_fail_option(st, &err) : cli_fail_input(st, &err);
        goto done;
    }
    e.n_rows = e.n_sets * e.n_plan;
    st = cli_eval_open_pairs(&e, &err);
    code = st ? cli_fail_input(st, &err) : measure(self, &e);
done:
    clear(&e);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_M,
    CLI_ROW_m,
    {0,   "before-M",     CLI_TEXT, CLI_AT(before_M),     "PATH",
      "M before joint training: a row more, and what savings are measured against",                                                                  NULL,                0, 0,       NULL                        },
    {0,   "before-m",     CLI_TEXT, CLI_AT(before_m),     "PATH",                   "m before joint training (default: the same m)",                NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "task",         CLI_TEXT, CLI_AT(task),         "FAMILY[,KNOB=VALUE...]",
      "generated questions; `duet tasks` lists families and knobs",                                                                                  NULL,                0, 0,       NULL                        },
    {0,   "data",         CLI_LIST, CLI_AT(data),         "FILE",
      "questions from JSON lines {\"question\",\"answer\"}, or a public set as it is (GSM8K, MATH, verl rows, GPQA's CSV); may be repeated",       NULL,                0, 0,       NULL                        },
    {0,   "map",          CLI_TEXT, CLI_AT(map),          "question=F,answer=G",
      "fields of --data that have other names; also id and choices; a name may be a path with dots",                                                 NULL,                0, 0,       NULL                        },
    {0,   "choice-seed",  CLI_SEED, CLI_AT(choice_seed),  "N",                      "order of GPQA's options: a function of this and the row",      "0",                 0, 0,
      NULL                                                                                                                                                                                                        },
    {'n', "n",            CLI_INT,  CLI_AT(n),            "N",                      "questions; of a FILE all, unless given",                       "200",               1, 1 << 24, NULL                        },
    {'k', "samples",      CLI_INT,  CLI_AT(k),            "N",                      "samples a question",                                           "1",                 1, 4096,    NULL                        },
    {0,   "split",        CLI_TEXT, CLI_AT(split),        "NAME",                   "generated questions: test (held out) or train",                "test",              0, 0,
      "train|test"                                                                                                                                                                                                },
    {0,   "modes",        CLI_TEXT, CLI_AT(modes),        "LIST",
      "rows: M, m, duet, shuffled (controls: signals of other questions), masked (the truth hidden in the signal)",                                  "M,m,duet,shuffled", 0, 0,       NULL                        },
    {0,   "grader",       CLI_TEXT, CLI_AT(grader),       "NAME",                   "how answers are compared: exact (as verify does; for --task character by character), hendrycks, gpqa-first or plain",     "exact",
      0,                                                                                                                                                                     0,       "exact|hendrycks|gpqa-first|plain"},
    {0,   "min-accuracy", CLI_REAL, CLI_AT(min_accuracy), "X",
      "exit with 5 if the pair's accuracy is below X, from 0 to 1",                                                                                  NULL,                0, 1,       NULL                        },
    {0,   "plot",         CLI_TEXT, CLI_AT(plot),         "FILE",                   "draw accuracy against M tokens as SVG (needs gnuplot)",        NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "out",          CLI_TEXT, CLI_AT(out),          "DIR",                    "the evaluation's folder: samples as they come, then report.html, results.json, samples.jsonl, eval.json, table.txt, plot.svg, times.json; run again, it goes on", NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "resume",       CLI_FLAG, CLI_AT(resume),       NULL,                     "go on with the evaluation of --out, with its options", NULL,       0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "replay",       CLI_TEXT, CLI_AT(replay),       "SAMPLE",                 "make this sample of --out again, from the models, and say whether it is the same to the byte (`sample` in samples.jsonl names it)", NULL,       0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "store",        CLI_TEXT, CLI_AT(store),        "FILE",                   "keep samples in this file, which evaluations may share (default: DIR/store.db)", NULL,       0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "budget-curve", CLI_FLAG, CLI_AT(budget_curve), NULL,
      "instead of --modes: m's accuracy after shares of M's signal, cut at sentence ends, from one pass of M",                                       NULL,                0, 0,       NULL                        },
    {0,   "shares",       CLI_TEXT, CLI_AT(shares),       "LIST",                   "percentages of the signal for --budget-curve",
      "0,10,20,30,40,50,60,70,80,90,100",                                                                                                                                  0, 0,       NULL                        },
    {0,   "rescore",      CLI_TEXT, CLI_AT(rescore),      "DIR",
      "grade the samples of an earlier --out again (--grader: with another one); nothing is generated",                                                            NULL,                0, 0,       NULL                        },
    {0,   "report",       CLI_TEXT, CLI_AT(report),       "DIR",                    "make DIR/report.html of an earlier --out again",               NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "compare",      CLI_TEXT, CLI_AT(compare_to),   "DIR",                    "differences to a second DIR: second minus first, question by question", NULL,       0, 0,
      NULL                                                                                                                                                                                                        },
    CLI_ROWS_TEMPLATES,
    CLI_ROWS_REMOTE,
    CLI_ROWS_BUDGETS,
    CLI_ROWS_SAMPLING,
    CLI_ROWS_STAGE_SAMPLING,
    CLI_ROWS_PAIR_TEXT,
    CLI_ROWS_PRICES,
    CLI_ROW_JSON("one JSON object with all rows, settings and fingerprints"),
    CLI_ROW_QUIET,
    CLI_ROWS_ENGINE,
    CLI_ROWS_STAGE_ROPE,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_eval = {
    .name = "eval",
    .operands = "[DIR]",
    .max_rest = 1,
    .title = "measure the pair, M alone and m alone on the same questions",
    .text = "Answers the same questions with M end to end, m alone and the pair, and prints accuracy with a 95 % "
            "interval, tokens of each model and "
            "the share of M's tokens saved. In the control `shuffled` m reads the signal of another question: what it "
            "still answers right, it did not "
            "learn from M.\n\n"
            "Rows of a file that are no questions (broken, a field missing or empty, asked before) are left out and named, in --json "
            "under `sets`. Mathematics is asked for a box and options for `Answer: X`, as `sets` shows; --instruction replaces "
            "that (\"\" for nothing). Plain rows without `kind`, and mapped ones, are asked as they stand. GPQA's "
            "questions are written nowhere.\n\n"
            "DIR/results.json has avg@k, pass@k, maj@k, strict and lenient accuracy, rates, tokens and the saved share with "
            "95 % intervals over questions, and paired differences between the rows; DIR/samples.jsonl has every sample; "
            "DIR/report.html shows all of it in a browser, from disk.\n\n"
            "--budget-curve shows where in M's signal the answer becomes readable: m answers after its first N % (sentences that end "
            "by then; a signal without sentences is cut between tokens). A cut signal is not what M would write under that budget. "
            "M's tokens are those that m was given.\n\n"
            "Every sample is kept in DIR/store.db (SQLite) as soon as it is there. Ctrl-C, or a kill, loses only what was being "
            "written: the same command goes on, and its results are those of a run that nobody stopped, byte for byte; "
            "DIR/times.json alone has seconds, which differ. A folder belongs to one evaluation, described in DIR/run.json: "
            "other settings, models or questions are refused by name.",
    .examples = "duet eval --compare runs/x runs/y  # paired over the questions of both\n"
                "duet eval -M models/register-M -m models/register-m --task register --n 300  # a generated set\n"
                "duet eval -M models/swap-M -m models/swap-m --before-M models/swap-M-before --before-m models/swap-m-before "
                "--task swap --plot swap.svg  # before and after joint training\n"
                "duet eval -M models/swap-M-before -m models/swap-m --task swap --budget-curve --out runs/curve  # how much of the signal is needed\n"
                "duet eval --resume --out runs/x  # go on after Ctrl-C\n"
                "duet eval --replay 09d10fc316f77bb0 --out runs/x  # the same sample again?\n"
                "duet eval -M M -m m --data questions.jsonl --json --min-accuracy 0.9  # in a script",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
