/* duet eval: what its parts share. A row of the table is a plan (who answers, what is done to the signal) on a set of
 * questions; models are opened once, rows run in order, reports come at the end. */
#ifndef DUET_CLI_EVAL_H
#define DUET_CLI_EVAL_H

#include "cli/cli.h"

enum { CLI_EVAL_PLANS = 24, CLI_EVAL_MODELS = 4 };

/* A model is opened once, however many roles name its folder. */
typedef struct cli_eval_models {
    const char *path[CLI_EVAL_MODELS], *rope[CLI_EVAL_MODELS];
    char side[CLI_EVAL_MODELS]; /* whose options it was opened with */
    duet_backend *b[CLI_EVAL_MODELS];
    size_t n;
} cli_eval_models;

/* A row to be: which pair, in which mode, under which name. */
typedef struct cli_eval_plan {
    duet_mode mode;
    const char *variant;
    bool before, shuffled, masked;
} cli_eval_plan;

/* One set of questions: a file, or what a family makes. */
typedef struct cli_eval_set {
    duet_dataset *file;
    duet_example *made; /* owned */
    const duet_example *v;
    size_t n;
    const char *name; /* for the table */
} cli_eval_set;

/* What a model's answers depend on, besides what it is asked. */
typedef struct cli_eval_print {
    char sha256[65], *text; /* of its files; with its options, as JSON (owned) */
    size_t bytes;
} cli_eval_print;

typedef struct cli_evaluation {
    cli_args *a;
    cli_eval_models models;
    duet_backend *M, *m, *before_M, *before_m;
    duet_pair *after, *before; /* before: NULL without --before-M and --before-m */
    cli_eval_set set[CLI_MAX_LIST];
    size_t n_sets;
    duet_grader grader;
    cli_eval_plan plan[CLI_EVAL_PLANS];
    size_t n_plan;
    duet_eval_row row[CLI_MAX_LIST * CLI_EVAL_PLANS]; /* all plans of the first set, then of the next */
    size_t n_rows, at;
    duet_eval_job job; /* being run */
    size_t sample;     /* its next one */
    duet_store *store; /* NULL without --out and --store */
    cli_eval_print print_M, print_m, print_before_M, print_before_m;
    char *print_pair;
    json_t *recalled, *head; /* options of an earlier run; options, settings and fingerprint of this one */
    duet_ledger *alone;      /* what M alone spent on the set being asked */
    dt_atomic samples;       /* samples.jsonl being written */
    duet_status samples_st;  /* of its first failed write, and why */
    duet_err samples_err;
    size_t had;              /* samples in the store at the start */
    size_t found, done, row_found, row_done; /* samples that were in the store, and all; of the rows that ended, and of this row */
    double began, last;
    double share[CLI_EVAL_PLANS]; /* of --budget-curve, with their names */
    char share_name[CLI_EVAL_PLANS][64];
} cli_evaluation;

/* ---- eval_sets.c: questions ---- */
duet_status cli_eval_open_sets(cli_evaluation *e, duet_err *err);
void cli_eval_close_set(cli_eval_set *q);

/* ---- eval_print.c: settings and fingerprints; the folder and the store ---- */
/* --resume and --replay: options that were not given are those of DIR/run.json. */
int cli_eval_recall(const cli_command *self, cli_evaluation *e);
/* Opens the store and e->head; refuses a folder that holds another evaluation. */
int cli_eval_begin(const cli_command *self, cli_evaluation *e);

/* ---- eval_rows.c: models, and the rows of the table run in order ---- */
duet_status cli_eval_open_pairs(cli_evaluation *e, duet_err *err);
/* On failure e->at is the row that was being run: those before it are done. */
duet_status cli_eval_run_rows(cli_evaluation *e, duet_err *err);

void cli_eval_set_job(cli_evaluation *e); /* e->job for row e->at */

/* ---- eval_replay.c: one sample once more; after cli_eval_begin ---- */
int cli_eval_replay(cli_evaluation *e);

/* ---- eval_curve.c: --budget-curve, whose rows are shares of M's signal ---- */
/* Fills e->plan with a row a share. False: --shares is no ascending list of numbers from 0 to 100, or too long. */
bool cli_eval_plan_curve(cli_evaluation *e);
/* Runs e->job for all shares of a set: e->row from e->at on, which is the last of them then. */
duet_status cli_eval_run_curve(cli_evaluation *e, duet_err *err);

/* ---- eval_report.c: table, JSON, plot ---- */
int cli_eval_finish(cli_evaluation *e);
/* Ctrl-C: the rows that are done are results, so they are printed; files of an earlier evaluation stay as they are. */
int cli_eval_give_up(cli_evaluation *e);

/* ---- eval_again.c: folders of earlier evaluations ---- */
int cli_eval_rescore(const cli_args *a);
int cli_eval_report(const cli_args *a);
int cli_eval_compare(const cli_args *a);

#endif
