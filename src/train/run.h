/* The run folder and everything a run tells: metrics.jsonl, TensorBoard events, samples.jsonl, lines for people,
 * curves.svg, and checkpoints/.
 *
 *   RUN/recipe.yaml    resolved, with version, seed, hashes of data and weights in its head
 *       metrics.jsonl  one object a line: {"step": n, "time": s, NAME: value, ...}; steps ascend, none twice
 *       samples.jsonl  {"step": n, "question", "signal", "answers", "rewards", ...}
 *       events/        TensorBoard
 *       checkpoints/step-NNNNNN/
 *       lock           locked (flock) by the process at work */
#ifndef DT_RUN_H
#define DT_RUN_H

#include "duet/train.h"
#include "format/jsonl.h"
#include "format/tfevents.h"
#include "train/recipe.h"

#define DT_MAX_METRICS 128

/* Values of one step, in the order they were added. Names are borrowed and must be constants. */
typedef struct dt_metrics {
    const char *name[DT_MAX_METRICS];
    double value[DT_MAX_METRICS];
    size_t n;
} dt_metrics;
void dt_metric(dt_metrics *m, const char *name, double value);

typedef struct dt_run {
    char *dir, *checkpoints; /* owned */
    FILE *metrics, *samples;
    FILE *lock;              /* RUN/lock, held while this process works in the folder */
    dt_tfevents *events;
    const duet_train_options *opt; /* borrowed */
    double began;        /* clock when this process began to train */
    double before_s;     /* seconds trained by earlier processes */
    int64_t first_step;  /* step this process began with */
    double last_live;
    int64_t last_line;   /* step of the last line of metrics.jsonl that was kept */
    json_t *owed;        /* line of a step whose evaluation was cut short: written once it is made up for; or NULL */
} dt_run;

/* Names the folder; nothing is made before the recipe's inputs are open, so that a run which could not begin is no run.
 * A folder that already holds one is refused unless opt->resume, and always while another process works in it. */
duet_status dt_run_open(const duet_train_options *opt, const dt_recipe *r, dt_run *run, duet_err *err);
void dt_run_close(dt_run *run);
/* Writes recipe.yaml; `head`: lines that become comments. */
duet_status dt_run_write_recipe(dt_run *run, const dt_recipe *r, const char *head, duet_err *err);
/* Drops everything after `step` (0: everything) and begins to write. */
duet_status dt_run_begin(dt_run *run, int64_t step, duet_err *err);
duet_status dt_run_metrics(dt_run *run, int64_t step, const dt_metrics *m, duet_err *err);
/* Keeps a step's values for the next checkpoint instead: its evaluation was cut short. A run that is resumed from there
 * evaluates first (dt_run_owes), and dt_run_metrics then writes both together. */
void dt_run_owe(dt_run *run, int64_t step, const dt_metrics *m);
bool dt_run_owes(const dt_run *run);
duet_status dt_run_sample(dt_run *run, json_t *sample /* taken */, duet_err *err);
/* Lines for people. dt_run_live also appends time left and shows a line at most five times a second; before
 * dt_run_begin (a rehearsal) it shows none. */
void dt_run_line(dt_run *run, const char *fmt, ...) DT_PRINTF(2, 3);
void dt_run_live(dt_run *run, int64_t step, int64_t n_steps, const char *fmt, ...) DT_PRINTF(4, 5);
bool dt_run_cancelled(const dt_run *run);

/* Checkpoints: state.json holds what is not a weight. begin gives a folder to write into, commit makes it count. */
duet_status dt_run_ckpt_begin(dt_run *run, int64_t step, char **tmp, duet_err *err);
duet_status dt_run_ckpt_commit(dt_run *run, int64_t step, const char *tmp, json_t *state /* taken */, int keep, duet_err *err);
/* The newest one if opt->resume and there is one; *state NULL otherwise. path and state are owned by the caller. */
duet_status dt_run_ckpt_latest(dt_run *run, char **path, json_t **state, int64_t *step, duet_err *err);

/* Says so where the recipe is not the one the checkpoint was made with. */
void dt_run_check_recipe(dt_run *run, const dt_recipe *r, const json_t *state);

/* ---- curves.c ---- */
typedef struct dt_run_panel {
    const char *y_title;
    const char *names[4]; /* of metrics; NULL ends */
} dt_run_panel;
/* curves.svg from metrics.jsonl; what was never logged is left out. A run does not fail for a plot: a line says why. */
void dt_run_curves(dt_run *run, const dt_run_panel *panels, size_t n);

#endif
