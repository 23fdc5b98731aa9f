/* Samples of an evaluation on disk: their lines, and the few numbers of each that statistics need. */
#ifndef DT_EVAL_SAMPLES_H
#define DT_EVAL_SAMPLES_H

#include "duet/eval.h"

#include <jansson.h>

typedef struct dt_eval_sample {
    bool strict, lenient, score, no_answer, truncated;
    double M_tokens, m_tokens;
    double cost, alone_tokens, alone_cost; /* NaN = not known; alone: what M alone spent on the same sample */
    size_t repeat;
    char *said; /* lenient extraction, for votes; NULL = none */
} dt_eval_sample;

typedef struct dt_eval_question {
    char *id, *truth;
    dt_eval_sample *v;
    size_t n, cap;
} dt_eval_question;

typedef struct dt_eval_mode { /* a row: data, mode, variant */
    char *data, *mode, *variant;
    dt_eval_question *q;
    size_t n, cap;
    size_t *slot, n_slots; /* of ids: index + 1, 0 = free */
    size_t least; /* samples of the question with the fewest */
    size_t most;
} dt_eval_mode;

typedef struct dt_eval_samples {
    dt_eval_mode *v;
    size_t n;
} dt_eval_samples;

/* Reads dir/samples.jsonl. *out is ended with dt_eval_samples_clear() in any case. */
duet_status dt_eval_samples_read(const char *dir, dt_eval_samples *out, duet_err *err);
void dt_eval_samples_clear(dt_eval_samples *s);
/* The question of this id, or NULL. */
const dt_eval_question *dt_eval_find(const dt_eval_mode *m, const char *id);

/* Sets extraction, verdict and, with `regrade`, score of a sample's line anew from its answer, truth and style. */
duet_status dt_eval_judge(json_t *line, const duet_grader *regrade, duet_err *err);

#endif
