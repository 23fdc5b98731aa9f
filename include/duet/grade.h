/* Answers out of responses, and whether two answers are the same: for evaluation, for rewards, and alone.
 *
 * All calls are pure functions and may come from any thread. Work and memory of every call are bounded whatever the
 * input; docs/answers.md says how much, and what counts as the same. */
#ifndef DUET_GRADE_H
#define DUET_GRADE_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- extraction ---- */

typedef enum duet_style {
    DUET_STYLE_BOXED,         /* the last \boxed{...} */
    DUET_STYLE_ANSWER_LETTER, /* the last "Answer: X", X in A..D; else "answer is X"; else a boxed letter */
    DUET_STYLE_GSM8K,         /* the number after the last "####" */
    DUET_STYLE_FREE,          /* box, "final answer is", "answer is", the last number: the first of these that is there */
    DUET_STYLE_LETTER_ANY,    /* as ANSWER_LETTER, else an option letter anywhere */
    DUET_STYLE_GPQA_FIRST     /* the first "Answer: X" of the reference, right or wrong */
} duet_style;
bool duet_style_parse(const char *name, duet_style *out); /* "boxed" "answer_letter" "gsm8k" "free" "letter_any" "gpqa-first" */

/* *answer: the answer in `response` (n bytes), owned by the caller (free), NUL-terminated; NULL if there is none. Letters
 * are upper case. `lenient`: where the form asked for is missing, boxed and gsm8k fall back on free, answer_letter on
 * letter_any. Errors: DUET_E_NOMEM. */
duet_status duet_extract(duet_style style, bool lenient, const char *response, size_t n, char **answer, duet_err *err);

/* ---- equality ---- */

typedef struct duet_verify_options {
    bool strict;   /* compare strings after the normalisation of the MATH benchmark (Hendrycks et al. 2021), nothing else */
    int digits;    /* decimals a number must have to stand for the value it rounds; 0 = 6 */
    bool no_latex; /* take no answer from math or boxes */
    bool no_expr;  /* take no answer from plain text */
    bool one_way;  /* a set in gold does not match an inequality in pred (the other way round it may) */
} duet_verify_options;

typedef struct duet_verdict {
    bool equal;
    const char *method; /* static: "text" "exact" "ball" "rounding" "different" "undecided" "none"; strict: "normalised" "raw" */
    const char *reason; /* static: why it is undecided, or that no answer was found; else NULL */
    char *gold, *pred;  /* the answers that were compared (strict: normalised), to their first NUL; NULL = none; owned, see below */
} duet_verdict;

/* Does `pred` give the answer `gold`? Both may be bare answers or whole responses. `opt` may be NULL. On success the
 * caller ends *out with duet_verdict_clear(). Errors: DUET_E_NOMEM. */
duet_status duet_verify(const char *gold, size_t n_gold, const char *pred, size_t n_pred, const duet_verify_options *opt,
                        duet_verdict *out, duet_err *err);
void duet_verdict_clear(duet_verdict *v);

#ifdef __cplusplus
}
#endif
#endif
