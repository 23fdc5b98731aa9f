/* A model that can be asked for tokens: weights, tokenizer, chat template and engine together.
 * Everything above this line works the same with a local engine or a script. */
#ifndef DUET_BACKEND_H
#define DUET_BACKEND_H

#include "duet/engine.h"
#include "duet/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_backend duet_backend;

typedef struct duet_backend_options {
    duet_engine_options engine;
    duet_model_options model; /* n_threads, ctx and kv_type 0 = those of the engine */
    const char *chat_template; /* a family by name (duet_template_known) instead of the one its files say; copied; NULL =
                                  what they say */
} duet_backend_options;

/* Opens a Hugging Face folder or a GGUF file with an engine of its own. *out owned by the caller: duet_backend_close.
 * A chat template that is not known is no error here: who needs one says so. A name that is not known is DUET_E_USAGE. */
duet_status duet_backend_open(const char *path, const duet_backend_options *opt, duet_backend **out, duet_err *err);
/* A backend that answers from a script, for tests of everything above. Model and tokenizer of `tok` (borrowed);
 * reply(user, prompt text, sample) returns the text to "generate" (borrowed until the next call) or NULL = fail.
 * Added tokens in the text are recognised; a text that ends without one of the EOS ids gets the end mark of the
 * tokenizer's chat template (or <|im_end|> or <|endoftext|>, where the tokenizer has one of them) appended. Budgets, stop ids and callbacks work as with a model. */
duet_status duet_backend_scripted(const duet_tokenizer *tok, const char *(*reply)(void *user, const char *prompt, int sample),
                                  void *user, duet_backend **out, duet_err *err);
void duet_backend_close(duet_backend *b); /* NULL is fine */

const char *duet_backend_name(const duet_backend *b);           /* path or "scripted"; borrowed */
const duet_tokenizer *duet_backend_tokenizer(const duet_backend *b); /* borrowed */
duet_model *duet_backend_model(const duet_backend *b);          /* borrowed; NULL if not local */
duet_engine *duet_backend_engine(const duet_backend *b);        /* borrowed; NULL if not local */
int duet_backend_ctx(const duet_backend *b);                    /* longest sequence, tokens; a script: INT32_MAX */
/* Of its generation_config.json; without one, what the makers of its template's family advise; else greedy. */
duet_sampling duet_backend_sampling(const duet_backend *b);
/* The name its chat template was given by duet_backend_options; NULL = none: its files say. Borrowed. */
const char *duet_backend_template(const duet_backend *b);

/* As duet_engine_generate. */
duet_status duet_backend_generate(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
