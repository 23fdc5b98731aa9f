/* Inside the eval room. */
#ifndef DT_EVAL_INTERNAL_H
#define DT_EVAL_INTERNAL_H

#include "base/base.h"
#include "duet/eval.h"

void dt_wilson(double right, double n, double ci[2]);
/* duet_eval_html() for a page whose samples take at most page_bytes; 0 = 192 MiB. */
duet_status dt_eval_html(const char *dir, size_t page_bytes, duet_err *err);
void dt_clustered(const double *mean, size_t n, double ci[2]);

/* run.c: data, mode, variant and interval of a row of row->samples samples, `right` of them right; mean[n]: share right of each
 * question. */
void dt_eval_name_row(const duet_eval_job *j, double right, const double *mean, duet_eval_row *row);

/* ---- asked.c: one sample as a request ---- */

/* Question and settings of a sample; a control's signal is the caller's to add. */
void dt_eval_ask(const duet_eval_job *j, size_t sample, duet_pair_request *r);
/* Its key in a store: SHA-256 of all that decides what is said. */
void dt_eval_key(const duet_eval_job *j, const duet_pair_request *r, char out[65]);
/* Outputs of r from the store, else from the models, and then into the store. *found: no model was asked. */
duet_status dt_eval_answer(const duet_eval_job *j, duet_pair_request *r, bool *found, duet_err *err);
/* The same for n requests, several at a time; adds those that were found to *n_found. */
duet_status dt_eval_answer_all(const duet_eval_job *j, duet_pair_request *r, size_t n, size_t *n_found, duet_err *err);

#endif
