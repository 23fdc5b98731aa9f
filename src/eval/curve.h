/* The budget curve inside the eval room: rows of mode duet with the variant "signal N %". */
#ifndef DT_EVAL_CURVE_H
#define DT_EVAL_CURVE_H

#include "eval/internal.h"

#include <jansson.h>

extern const char dt_curve_caveat[]; /* for people, wherever the curve is shown */

/* True if text[0..at) of text[0..n) ends a sentence: at its end, at the end of a line, or behind . ! ? (quotes and brackets
 * may stand between) with a blank before or behind the place. Place 0 ends none. */
bool dt_curve_sentence_ends(const char *text, size_t n, size_t at);
/* How many of n tokens make the beginning of a signal that has at most `share` (0 to 1) of them: as many sentences as fit. A
 * signal without a sentence end inside is cut between tokens (*inside = true), behind whole characters. ends[i]: bytes of text
 * up to and with token i. */
size_t dt_curve_cut(const char *text, const size_t *ends, size_t n, double share, bool *inside);

void dt_curve_variant(double share, char out[64]);       /* "signal 30 %" */
bool dt_curve_share(const char *variant, double *share); /* the way back; false: not a row of a curve */

/* {"caveat", "rows": [{"data", "share", "signal_tokens", "accuracy", "no_answer"}]} from results.json's rows; NULL: none of them
 * belongs to a curve. Owned. */
json_t *dt_curve_json(const json_t *rows);

#endif
