/* Evaluation: pair, M alone, m alone and controls on the same questions; table and plot. */
#ifndef DUET_EVAL_H
#define DUET_EVAL_H

#include "duet/pair.h"
#include "duet/store.h"
#include "duet/task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One row of the table: a mode (and a variant of it) on one set of questions. */
typedef struct duet_eval_row {
    char data[64], mode[16], variant[64]; /* variant: "", "before", "after", "shuffled", "masked", ... */
    size_t questions, samples;
    double accuracy, ci95[2];
    double M_tokens, m_tokens; /* mean sampled tokens a question-sample */
    double m_prompt_tokens;    /* mean prompt tokens of m */
    double saved;              /* 1 - M_tokens / M_tokens of mode M in this table; NaN if there is none */
    double no_answer, truncated; /* shares: empty answers; signals or answers ended by their budget */
    double leak;                 /* share of signals that contain the truth as a token of its own; NaN without signals */
    double accuracy_no_leak;     /* among the others; NaN if there are none */
    double cost;                 /* mean money a question-sample; NaN without prices */
    double M_alone_cost;         /* the same for M alone on the same question-samples, measured; NaN = not measured */
    double M_s, m_s;             /* mean seconds of each model a question-sample, of the runs that made the samples: not the
                                    same in two runs, so in no report but duet_eval_times_json */
    double M_alone_s;            /* the same for M alone, measured; NaN = not measured */
} duet_eval_row;

typedef struct duet_eval_progress {
    size_t done, total; /* samples; a control has M's signals to make first, so they count twice */
    size_t found;       /* of these, found in the store */
    double accuracy;    /* of the answers so far; NaN = none yet */
} duet_eval_progress;

typedef struct duet_eval_job {
    duet_pair *pair;
    duet_mode mode;
    const char *data, *variant;
    const duet_example *examples; /* borrowed */
    size_t n;
    int k;                        /* samples a question; 0 = 1 */
    bool bare;                    /* ask questions without the instruction of their set */
    duet_sampling M, m;
    int signal_budget, answer_budget;
    duet_grader grader;
    bool shuffle_signals;         /* control (mode duet): each question gets the signal M wrote for another one, the next
                                     whose answer differs */
    bool mask_answer;             /* control (mode duet): tokens of the signal that spell the truth become "?" (where the
                                     tokenizer lacks it: are left out) */
    int batch;                    /* samples in flight, each asked by a thread of its own; 0 = 64 */
    duet_store *store;            /* what was sampled before is taken from here, and what is sampled is put here; NULL = none */
    const char *M_print, *m_print, *pair_print; /* texts that differ where these two models, or the way they are put together,
                                     would say something else (hashes, templates, options): a part of each sample's key in the
                                     store. Those of the models that a mode does not use are no part of its keys */
    duet_ledger *M_alone;         /* [n * k], NULL = none: what M alone spent on each sample; filled in mode M, read in others */
    size_t only;                  /* this sample alone (question * k + repeat) + 1; 0 = all */
    const volatile int *cancel;
    void (*on_progress)(void *user, const duet_eval_progress *p);
    /* called once a sample, in order; may be NULL. Calls of both never overlap, but come from different threads. */
    void (*on_sample)(void *user, const duet_example *e, const duet_pair_request *r, int score);
    void *user;
} duet_eval_job;

/* The random numbers of a sample: repeat r of question q has the key q + r * 2^32, whatever n and k are.
 *
 * Runs one job; fills *row (saved = NaN). 95 % interval: Wilson score interval (Wilson, JASA 1927) for k = 1,
 * clustered by question (normal approximation over question means) for k > 1. */
duet_status duet_eval_run(const duet_eval_job *job, duet_eval_row *row, duet_err *err);
/* The budget curve: how right m is after a share of M's signal, from one pass of M. For each share m answers after the
 * signal's sentences that end within this share of its tokens (a signal without a sentence end inside is cut between tokens). A
 * cut signal is not what M would write under that budget. */
typedef struct duet_eval_curve {
    const double *share; /* borrowed: 0 to 1, ascending */
    size_t n;
    /* Called before each job's on_sample (not without that) with the job of its share, whose variant is "signal N %", and the
     * number of the sample within it. May be NULL. */
    void (*on_share)(void *user, const duet_eval_job *of, size_t sample);
    size_t cuts, cuts_inside; /* out: signals that m saw a part of; those cut between tokens */
} duet_eval_curve;
/* Runs the job (mode, variant and controls are not looked at) for all shares; fills rows[c->n], saved = NaN; M_tokens are those
 * that m was given. Errors: DUET_E_USAGE (shares), and those of duet_eval_run. */
duet_status duet_eval_curve_run(const duet_eval_job *job, duet_eval_curve *c, duet_eval_row *rows, duet_err *err);
/* Fills `saved` of all rows from the row of mode "M" with the same data (variant "" or the first). */
void duet_eval_finish(duet_eval_row *rows, size_t n);
/* {"rows": [...]}: the seconds of each row. Owned (free). */
char *duet_eval_times_json(const duet_eval_row *rows, size_t n);
/* The table for a terminal; owned by the caller (free). */
char *duet_eval_table(const duet_eval_row *rows, size_t n);
/* {"rows": [...], "settings": ..., "fingerprint": ...}; settings_json may be NULL; owned (free). */
char *duet_eval_json(const duet_eval_row *rows, size_t n, const char *settings_json);
/* Accuracy against M tokens with intervals, SVG, through gnuplot. DUET_E_UNSUPPORTED if gnuplot is not installed. */
duet_status duet_eval_plot(const duet_eval_row *rows, size_t n, const char *title, const char *svg_path, duet_err *err);


/* ---- a folder with every sample, and what they say ----
 *
 * samples.jsonl  one line a sample: sample (names it), data, mode, variant, id, repeat, key (of its random numbers), seed, question (null where
 *                its owner wants it published nowhere), truth, style, signal, answer, extraction and verdict (strict and
 *                lenient each), score (of the grader), handoff, truncated, tokens of both models
 * results.json   what its maker puts at its head, and per row avg@k, pass@k, maj@k, strict and lenient accuracy, rates, tokens,
 *                saved share, each with a 95 % interval over questions; paired differences between modes; problems: empty
 *                answers, comparisons that were undecided and why, answers over 100,000 bytes, bytes that were no UTF-8
 *
 * Strict: the answer in the form that was asked for (style boxed or answer_letter), compared with duet_verify(). Lenient: the
 * same, looked for anywhere. Style plain (no form was asked for): strict is the grader `plain`, lenient `exact`. */

/* The line of a sample, without its newline; owned (free). NULL = no memory. */
char *duet_eval_sample_line(const duet_eval_job *j, const char *instruction, const duet_example *e, const duet_pair_request *r, size_t sample, int score);
/* The name of a sample: the first 16 digits of its key in a store. Of a control, of what m was asked. */
void duet_eval_sample_name(const duet_eval_job *j, const duet_pair_request *r, char out[17]);
/* Writes dir/results.json from dir/samples.jsonl, and dir/report.html from both. head_json: an object whose members come first; NULL = those of the
 * results.json that is there. Errors: DUET_E_FORMAT (line and reason), DUET_E_IO, DUET_E_NOMEM. */
duet_status duet_eval_results(const char *dir, const char *head_json, duet_err *err);
/* Writes dir/report.html, a page that needs nothing else, from dir/results.json and dir/samples.jsonl. One sample is in memory
 * at a time. Of texts over 1 MiB, or less where all samples would take more than 192 MiB, the page has beginning and end.
 * Errors: DUET_E_FORMAT, DUET_E_IO, DUET_E_NOMEM. */
duet_status duet_eval_html(const char *dir, duet_err *err);
/* Grades dir/samples.jsonl again, nothing is generated; both files are replaced. grader: for the score; NULL = the one in
 * results.json's settings.grader, where it is written to. *n_changed (may be NULL): samples whose strict, lenient or score
 * changed. Errors: DUET_E_USAGE (grader) and those of duet_eval_results. */
duet_status duet_eval_rescore(const char *dir, const char *grader, size_t *n_changed, duet_err *err);
/* b - a for the rows (data, mode, variant) of both folders, over the questions (id and truth) that both asked: JSON
 * {"method", "rows": [...]}, owned (free). DUET_E_FORMAT if they have no question in common. */
duet_status duet_eval_compare(const char *dir_a, const char *dir_b, char **json, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
