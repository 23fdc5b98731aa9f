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
    char *prompt;            /* the question with the instruction of its set; NULL = there is none */
    const char *instruction; /* that instruction, static; NULL = none */
    bool hidden;             /* its owner asks that the question is published nowhere */
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

/* Sets: JSON lines, or CSV with a header where the name ends in ".csv". Fields are found by their usual names:
 *
 *   ours        question, answer (a string or a number), id; kind "math" or "mcq", choices (options A, B, ...)
 *   GSM8K       answer: a text whose last "####" has the number behind it
 *   MATH        problem, and answer or else the last box of solution
 *   DeepMath    question, final_answer
 *   verl        prompt: one user turn, with whatever instruction it holds; reward_model.ground_truth
 *   GPQA        Question, Correct Answer, Incorrect Answer 1 to 3; options in an order that (choice_seed, row) decides
 *
 * Maths gets the instruction to end in a box, questions with options that to end in "Answer: X"; rows of plain question and
 * answer get none, nor do mapped ones without a kind, nor verl's. A question is the text with its options, if it has any. */
typedef struct duet_dataset duet_dataset;
typedef struct duet_dataset_options {
    const char *map;      /* "question=FIELD,answer=FIELD,id=FIELD,choices=FIELD", any of them; a FIELD may be a path with dots */
    uint64_t choice_seed; /* orders options that have none of their own */
} duet_dataset_options;
/* A row that is no question (not JSON, not UTF-8, a field is missing or empty, asked before) is left out and named; of rows
 * with one id the later ones get the id "line-N". Errors: DUET_E_FORMAT (no row is a question: what is wrong with the first),
 * DUET_E_USAGE (map), DUET_E_IO, DUET_E_NOMEM. `opt` may be NULL. */
duet_status duet_dataset_open(const char *path, const duet_dataset_options *opt, duet_dataset **out, duet_err *err);
typedef struct duet_dataset_fault {
    size_t line;
    char *text; /* file, line and reason; nothing of the question */
} duet_dataset_fault;
/* What was wrong, the first *n of *all (may be NULL) faults; borrowed. */
const duet_dataset_fault *duet_dataset_faults(const duet_dataset *d, size_t *n, size_t *all);
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
