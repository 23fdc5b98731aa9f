/* Evaluation: pair, M alone, m alone and controls on the same questions; table and plot. */
#ifndef DUET_EVAL_H
#define DUET_EVAL_H

#include "duet/pair.h"
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
} duet_eval_row;

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
    int batch;                    /* questions in flight; 0 = 64 */
    const volatile int *cancel;
    void (*on_progress)(void *user, size_t done, size_t total, double accuracy);
    /* called once a sample, in order; may be NULL */
    void (*on_sample)(void *user, const duet_example *e, const duet_pair_request *r, int score);
    void *user;
} duet_eval_job;

/* Runs one job; fills *row (saved = NaN). 95 % interval: Wilson score interval (Wilson, JASA 1927) for k = 1,
 * clustered by question (normal approximation over question means) for k > 1. */
duet_status duet_eval_run(const duet_eval_job *job, duet_eval_row *row, duet_err *err);
/* Fills `saved` of all rows from the row of mode "M" with the same data (variant "" or the first). */
void duet_eval_finish(duet_eval_row *rows, size_t n);
/* The table for a terminal; owned by the caller (free). */
char *duet_eval_table(const duet_eval_row *rows, size_t n);
/* {"rows": [...], "settings": ..., "fingerprint": ...}; settings_json may be NULL; owned (free). */
char *duet_eval_json(const duet_eval_row *rows, size_t n, const char *settings_json);
/* Accuracy against M tokens with intervals, SVG, through gnuplot. DUET_E_UNSUPPORTED if gnuplot is not installed. */
duet_status duet_eval_plot(const duet_eval_row *rows, size_t n, const char *title, const char *svg_path, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
