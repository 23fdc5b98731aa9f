/* What went wrong in the samples of a folder. */
#ifndef DT_EVAL_PROBLEMS_H
#define DT_EVAL_PROBLEMS_H

#include "base/base.h"

#include <jansson.h>

/* [{"kind", "data", "mode", "variant", "reason", "n", "samples": [{"id", "repeat"}, ...] (five at most), "text"}, ...] from
 * dir/samples.jsonl. Kinds: no_answer, no_signal, long_answer, not_utf8, undecided (with the reason of the comparison),
 * grader_apart (a score that neither verdict shares), more. Owned. Errors: those of reading the file. */
duet_status dt_problems_json(const char *dir, json_t **out, duet_err *err);

#endif
