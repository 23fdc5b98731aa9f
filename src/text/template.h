/* Chat templates as token ids: what stands before a model speaks, and what of its words is which.
 *
 * Marks of a prompt become ids where the template wrote them; the text of messages is encoded plain, so a question that
 * spells a mark stays text. How each family's text looks: render.h.
 *
 * A thought is what stands between <think> and </think>. m reads a signal as its own finished thought (duet-algorithm
 * section 2):
 *   prompt of the conversation + <think>\n{signal}\n</think>\n\n
 * where the newline before the closing tag is added only if the decoded signal does not end with one, and an empty signal
 * is <think>\n\n</think>\n\n with the single id of "\n\n" where the tokenizer has one. A family without think tags reads
 * it inside the last question, as an instruction; without a signal that question stands alone. */
#ifndef DT_TEMPLATE_H
#define DT_TEMPLATE_H

#include "base/base.h"
#include "duet/text.h"

#define DT_TMPL_ENDS 5

struct dt_family; /* render.h */

typedef struct dt_tmpl {
    const struct dt_family *family;
    int32_t ends[DT_TMPL_ENDS]; /* what ends a turn or a text; the first is what an assistant ends its turn with */
    size_t n_ends;
    int32_t think_open, think_close; /* -1: the family has no think tags */
    bool opened;                     /* its prompts open the thought: <think> is not sampled */
} dt_tmpl;

/* The family of the tokenizer's own chat template, or the one of that name (--chat-template; NULL = the tokenizer's own).
 * DUET_E_UNSUPPORTED says what is missing and which families are known; DUET_E_USAGE: no family has this name. */
duet_status dt_tmpl_detect(const duet_tokenizer *t, const char *name, dt_tmpl *out, duet_err *err);
const char *dt_tmpl_name(const dt_tmpl *m);
bool dt_tmpl_thinks(const dt_tmpl *m);
/* What the family's makers advise for sampling; false where they advise nothing. */
bool dt_tmpl_advice(const dt_tmpl *m, double *temperature, double *top_p, int *top_k);

/* Appends a conversation and the generation prompt, thinking on. bare: without the opening tag of a thought, for
 * dt_tmpl_think. Errors: DUET_E_FORMAT (text that is not UTF-8, roles the template refuses), DUET_E_NOMEM. */
duet_status dt_tmpl_prompt(const dt_tmpl *m, const duet_tokenizer *t, const duet_message *turns, size_t n, bool bare,
                           duet_ids *out, duet_err *err);
/* The same for one question. */
duet_status dt_tmpl_user(const dt_tmpl *m, const duet_tokenizer *t, const char *q, size_t n, duet_ids *out, duet_err *err);
/* Appends "<think>\n" + signal ids + "\n</think>\n\n" (rules above) to a bare prompt. */
duet_status dt_tmpl_think(const dt_tmpl *m, const duet_tokenizer *t, const int32_t *signal, size_t n, duet_ids *out, duet_err *err);
/* A family without think tags: appends the prompt before the place of the signal to *before, what follows to *after. */
duet_status dt_tmpl_instruct(const dt_tmpl *m, const duet_tokenizer *t, const duet_message *turns, size_t n,
                             duet_ids *before, duet_ids *after, duet_err *err);
/* What an assistant ends a turn with. */
int32_t dt_tmpl_end(const dt_tmpl *m);

/* Splits what M sampled (ids from its first sampled token, with or without the opening tag) into the signal.
 * [begin, end) into `ids`, white space tokens not removed except the newline right after the opening tag
 * and before the closing one where they are tokens of their own. (signal.c) */
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
