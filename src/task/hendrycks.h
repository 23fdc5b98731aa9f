/* The string normalisation of the MATH benchmark, for the grader `hendrycks` and for strict comparison. */
#ifndef DT_TASK_HENDRYCKS_H
#define DT_TASK_HENDRYCKS_H

#include "base/base.h"
#include "task/span.h"

/* Appends the normal form to b; false: the algorithm fails on this input (or no memory: b->failed). */
bool dt_hendrycks_normalise(dt_span in, dt_buf *b);
/* Normal forms compared; where the algorithm fails on either, the strings themselves. */
bool dt_hendrycks_equal(dt_span a, dt_span b);
/* The boxed candidate of a whole response as the reference finds it; false = none. */
bool dt_hendrycks_box(dt_span response, dt_span *in);

#endif
