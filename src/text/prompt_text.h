/* A prompt as text, for a model whose tokenizer is elsewhere: the same layouts as template.h gives as ids. */
#ifndef DT_PROMPT_TEXT_H
#define DT_PROMPT_TEXT_H

#include "base/base.h"
#include "duet/text.h"

/* How a signal is put to a model that reads it inside the last question. */
#define DT_INSTRUCT_INTRO "\n\nA high-level strategy:\n"
#define DT_INSTRUCT_OUTRO "\n\nWrite the solution."

struct dt_family;

/* The conversation and the generation prompt. signal NULL: the model thinks for itself; else it follows as a finished thought
 * (empty: an empty one), or stands in the last question where the family has no think tags.
 * Whoever reads the text takes marks in it for marks, so DUET_E_UNSUPPORTED names the mark where a message or the signal
 * spells one of the family's; DUET_E_FORMAT: not UTF-8, or the template refuses the conversation. *out is owned. */
duet_status dt_tmpl_text(const struct dt_family *f, const duet_message *turns, size_t n, const char *signal,
                         size_t n_signal, duet_text *out, duet_err *err);

#endif
