/* What lies between the stages, the same for a pair that answers and for the rollouts of training: where M's answer
 * begins, ids as text, and m's prompt around a signal. */
#ifndef DT_PAIR_FRAME_H
#define DT_PAIR_FRAME_H

#include "base/base.h"
#include "duet/pair.h"
#include "text/template.h"

/* Where M's own answer begins in what it sampled: behind the closing tag of its thought `s`, at 0 where it answered
 * without any tag, at n where the thought was cut. */
size_t dt_frame_answer(const dt_tmpl *t, const int32_t *ids, size_t n, dt_signal_span s);

/* Text of ids, whole characters only: an incomplete last one is dropped. *out is owned. */
duet_status dt_pair_text(const duet_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **out,
                         size_t *n_out, duet_err *err);
void dt_pair_trim(const char **text, size_t *n); /* white space at both ends */

/* How long a prompt may be. */
typedef struct dt_frame_limit {
    int ctx;           /* of m */
    int answer;        /* tokens kept free for it, or a quarter of what the question leaves if that is less; 0: that */
    size_t prompt_max; /* tokens of a prompt; 0 = no other limit */
} dt_frame_limit;

/* Appends m's prompt: the turns (the last one is the question) with the signal as a finished thought, or as an
 * instruction where the family has no think tags. The turns stay whole; of the signal as much as fits is kept, the part
 * `keep` says: signal[*from .. *from + *kept). DUET_E_RANGE: the turns alone are too long for the context. */
duet_status dt_frame_prompt(const dt_tmpl *t, const duet_tokenizer *tok, const duet_message *turns, size_t n_turns,
                            const int32_t *signal, size_t n, duet_keep keep, const dt_frame_limit *limit,
                            duet_ids *prompt, size_t *from, size_t *kept, duet_err *err);

/* Compat: the reference's framing without turn tokens, cut on the left. [duet-algorithm section 2, "Ref"] */
duet_status dt_frame_raw(const duet_tokenizer *tok, const char *question, size_t n_question, const char *instruction,
                         const char *signal, size_t n_signal, const dt_frame_limit *limit, duet_ids *prompt, bool *cut,
                         duet_err *err);

#endif
