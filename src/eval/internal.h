/* Inside the eval room. */
#ifndef DT_EVAL_INTERNAL_H
#define DT_EVAL_INTERNAL_H

#include "base/base.h"
#include "duet/eval.h"

void dt_wilson(double right, double n, double ci[2]);
/* duet_eval_html() for a page whose samples take at most page_bytes; 0 = 192 MiB. */
duet_status dt_eval_html(const char *dir, size_t page_bytes, duet_err *err);
void dt_clustered(const double *mean, size_t n, double ci[2]);

#endif
