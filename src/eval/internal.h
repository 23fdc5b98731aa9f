/* Inside the eval room. */
#ifndef DT_EVAL_INTERNAL_H
#define DT_EVAL_INTERNAL_H

#include "base/base.h"
#include "duet/eval.h"

void dt_wilson(double right, double n, double ci[2]);
void dt_clustered(const double *mean, size_t n, double ci[2]);

#endif
