/* Chat template families. For this project's pair only what both stages need:
 * prompts as token ids, question text always encoded plain (no added token recognised in it).
 *
 * DT_TMPL_QWEN3 layout (duet-algorithm section 2):
 *   M (stage 1):   <|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n
 *   m (stage 2):   the same + <think>\n{signal}\n</think>\n\n
 * "\n</think>\n\n" after a signal: the newline is added only where the decoded signal does not end with one;
 * an empty signal is <think>\n\n</think>\n\n with the single id of "\n\n" where the tokenizer has one. */
#ifndef DT_TEMPLATE_H
#define DT_TEMPLATE_H

#include "base/base.h"
#include "duet/text.h"

typedef enum dt_tmpl_family { DT_TMPL_QWEN3 } dt_tmpl_family;

typedef struct dt_tmpl {
    dt_tmpl_family family;
    int32_t im_start, im_end, think_open, think_close; /* ids */
    int32_t endoftext;                                 /* -1 = none */
} dt_tmpl;

/* Finds the family from the tokenizer's added tokens (and its chat_template where present).
 * DUET_E_UNSUPPORTED names what is missing and the known families. */
duet_status dt_tmpl_detect(const duet_tokenizer *t, dt_tmpl *out, duet_err *err);

/* Appends one user turn with the generation prompt. */
duet_status dt_tmpl_user(const dt_tmpl *m, const duet_tokenizer *t, const char *q, size_t n, duet_ids *out, duet_err *err);
/* Appends "<think>\n" + signal ids + "\n</think>\n\n" (rules above) to a prompt made by dt_tmpl_user. */
duet_status dt_tmpl_think(const dt_tmpl *m, const duet_tokenizer *t, const int32_t *signal, size_t n, duet_ids *out, duet_err *err);
/* What an assistant ends a turn with: <|im_end|>. */
int32_t dt_tmpl_end(const dt_tmpl *m);

/* Splits what M sampled (ids from its first sampled token, with or without the opening tag) into the signal.
 * [begin, end) into `ids`, white space tokens not removed except the newline right after the opening tag
 * and before the closing one where they are tokens of their own. */
typedef enum dt_signal_status { DT_SIGNAL_CLOSED, DT_SIGNAL_TRUNCATED, DT_SIGNAL_UNTAGGED, DT_SIGNAL_EMPTY } dt_signal_status;
typedef struct dt_signal_span {
    dt_signal_status status;
    size_t begin, end;
} dt_signal_span;
dt_signal_span dt_tmpl_signal(const dt_tmpl *m, const duet_tokenizer *t, const int32_t *ids, size_t n);
const char *dt_signal_status_name(dt_signal_status s); /* closed truncated untagged empty */

/* Reference extraction on text (duet-algorithm section 1, cases A B C); *out borrowed from text. */
void dt_signal_extract_text(const char *text, size_t n, const char **out, size_t *n_out);

#endif
