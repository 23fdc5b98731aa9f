/* Questions with known answers: JSONL sets, and seeded generators (task families) with exact scoring. */
#ifndef DUET_TASK_H
#define DUET_TASK_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One question; strings are owned by the example (duet_example_clear) and NUL-terminated UTF-8. */
typedef struct duet_example {
    char *id, *question, *answer;
    char *verbose, *compact; /* chains, longest and shortest form; NULL for sets without */
    char *chain;             /* one draw from the training mixture; NULL for sets without */
    bool early;              /* chain stops one step before the answer (hand-over h = 1) */
} duet_example;
void duet_example_clear(duet_example *e);

typedef struct duet_knob {
    const char *name, *help;
    double def, min, max; /* whole numbers, or probabilities where max is 1 and def is a fraction */
} duet_knob;

typedef struct duet_family {
    const char *name, *title;
    const duet_knob *knobs;
    size_t n_knobs;
} duet_family;
/* The families, in a static table. */
const duet_family *duet_families(size_t *n);

typedef enum duet_split { DUET_SPLIT_TRAIN, DUET_SPLIT_TEST } duet_split; /* by a hash of the question: 10 % test */

typedef struct duet_task duet_task;
/* A family with "knob=value" settings (a range "2..6" draws uniformly where the knob has _min/_max).
 * DUET_E_USAGE names an unknown family or knob with those that exist. */
duet_status duet_task_open(const char *family, const char *const *settings, size_t n, duet_task **out, duet_err *err);
void duet_task_close(duet_task *t);
/* Example number `index` of (split, seed): a pure function of its arguments. */
duet_status duet_task_example(const duet_task *t, duet_split split, uint64_t seed, uint64_t index, duet_example *out, duet_err *err);
/* The tokenizer a family's models use, as merges to build (see duet_tokenizer_build). Borrowed, static. */
typedef struct duet_task_vocab {
    const char *pattern, *alphabet;
    const char *const *merged;
    const size_t *cut;
    size_t n;
} duet_task_vocab;
duet_status duet_task_vocab_get(const char *family, duet_task_vocab *out, duet_err *err);

/* JSONL sets: fields id, question, answer (others ignored). */
typedef struct duet_dataset duet_dataset;
duet_status duet_dataset_open(const char *path, duet_dataset **out, duet_err *err);
void duet_dataset_close(duet_dataset *d);
size_t duet_dataset_size(const duet_dataset *d);
const duet_example *duet_dataset_get(const duet_dataset *d, size_t i); /* borrowed */

typedef enum duet_grader { DUET_GRADE_EXACT, DUET_GRADE_HENDRYCKS, DUET_GRADE_GPQA_FIRST, DUET_GRADE_PLAIN } duet_grader;
bool duet_grader_parse(const char *name, duet_grader *out); /* "exact" "hendrycks" "gpqa-first" "plain" */
/* The grader for questions of a family: their answers are single tokens, so EXACT becomes PLAIN. */
duet_grader duet_grader_for_family(duet_grader g);
/* 1 = right, 0 = wrong. `response` is a whole answer text (n bytes). EXACT: duet_verify() of <duet/grade.h>. PLAIN: the
 * trimmed response, or its last \boxed{}, is the truth, character by character: what generated families use in place of
 * EXACT. HENDRYCKS, GPQA_FIRST: duet-algorithm section 6. From any thread. */
int duet_grade(duet_grader g, const char *response, size_t n, const char *truth);

#ifdef __cplusplus
}
#endif
#endif
