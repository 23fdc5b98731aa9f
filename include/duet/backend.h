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

/* How a model behind a server is asked. Zero is the default everywhere. */
typedef struct duet_remote_options {
    const char *key;    /* sent as a bearer token; copied; NULL = none */
    const char *fields; /* a JSON object: fields added to every request, over ours; copied; NULL = none */
    double connect_s;   /* seconds: until there is a connection; 0 = 10, < 0 = no limit (this and the next three) */
    double first_s;     /* ... until the first byte of an answer; 0 = 300 */
    double idle_s;      /* ... between two bytes; 0 = 120 */
    double total_s;     /* ... for a whole answer, tries and waits included; 0 = 3600 */
    int tries;          /* of a request whose answer has not begun; 0 = 5 */
    int parallel;       /* requests under way at a time, of all calls together; 0 = 16 */
    const volatile int *cancel; /* polled while the address is opened: non-zero gives DUET_E_CANCELLED; NULL = none */
} duet_remote_options;

typedef struct duet_backend_options {
    duet_engine_options engine;
    duet_model_options model; /* n_threads, ctx and kv_type 0 = those of the engine */
    const char *chat_template; /* a family by name (duet_template_known) instead of the one its files say; copied; NULL =
                                  what they say */
    duet_remote_options remote; /* where the path is an address */
} duet_backend_options;

/* Opens a Hugging Face folder or a GGUF file with an engine of its own. Or the address of an OpenAI-compatible
 * server, http(s)://host/v1#model (without #model: the only one it has), which is asked in words (duet_backend_ask): by
 * chat completions, or with chat_template by exact prompts of that family through completions; the server is asked for its models
 * at once. *out owned by the caller: duet_backend_close.
 * A chat template that is not known is no error here: who needs one says so. A name that is not known is DUET_E_USAGE. */
duet_status duet_backend_open(const char *path, const duet_backend_options *opt, duet_backend **out, duet_err *err);
/* A backend that answers from a script, for tests of everything above. Model and tokenizer of `tok` (borrowed);
 * reply(user, prompt text, sample) returns the text to "generate" (borrowed until the next call) or NULL = fail.
 * Added tokens in the text are recognised; a text that ends without one of the EOS ids gets the end mark of the
 * tokenizer's chat template (or <|im_end|> or <|endoftext|>, where the tokenizer has one of them) appended. Budgets, stop ids and callbacks work as with a model; a token that `allow` forbids ends the text as if none were left. */
duet_status duet_backend_scripted(const duet_tokenizer *tok, const char *(*reply)(void *user, const char *prompt, int sample),
                                  void *user, duet_backend **out, duet_err *err);
void duet_backend_close(duet_backend *b); /* NULL is fine */

const char *duet_backend_name(const duet_backend *b);           /* path, address or "scripted"; borrowed */
const duet_tokenizer *duet_backend_tokenizer(const duet_backend *b); /* borrowed; NULL if remote */
duet_model *duet_backend_model(const duet_backend *b);          /* borrowed; NULL if not local */
duet_engine *duet_backend_engine(const duet_backend *b);        /* borrowed; NULL if not local */
int duet_backend_ctx(const duet_backend *b);                    /* longest sequence, tokens; a script, a remote model: INT32_MAX */
/* Of its generation_config.json; without one, what the makers of its template's family advise; else greedy. A remote model:
 * temperature -1, the server's own. */
duet_sampling duet_backend_sampling(const duet_backend *b);
/* The name its chat template was given by duet_backend_options; NULL = none: its files say. Borrowed. */
const char *duet_backend_template(const duet_backend *b);

/* As duet_engine_generate. DUET_E_UNSUPPORTED: a remote model, which has no tokenizer here. */
duet_status duet_backend_generate(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel, duet_err *err);

bool duet_backend_is_address(const char *path); /* does duet_backend_open take it for an address? */

/* ---- asking in words ----
 * The other way to ask, of models whose tokenizer is elsewhere. */

typedef struct duet_ask {
    const duet_message *turns; /* the conversation; the last one is the question; borrowed until the call returns */
    size_t n_turns;
    const char *signal; /* what the model reads before it answers, without a thought of its own: as its own finished thought where
                           prompts are exact, else as an instruction in the question ("" = none); NULL = it thinks for itself */
    size_t n_signal;
    bool thought_only; /* it is over when the thought is: the connection is cut, so that nothing more is written or billed */
    int max_tokens;    /* 0 = nothing is asked; -1 = what the server allows */
    duet_sampling sampling; /* temperature < 0, top_p 0 or 1, top_k 0, min_p 0 = not sent: the server's own */
    uint64_t key;      /* with sampling.seed: the seed the server is given */
    const char *const *stops; /* strings the server is told to end the answer at (of more than 4, none are told); borrowed */
    size_t n_stops;
    const duet_logit_bias *logit_bias; /* in ids of the server's own tokenizer; borrowed */
    size_t n_logit_bias;
    double presence_penalty, frequency_penalty;
    const volatile int *end; /* polled: non-zero ends this ask alone, stop = CALLBACK; that is no error. NULL = none */
    /* Text as it comes; part 0 = thought, 1 = answer (what is said without a thought is answer). Non-zero ends this ask. Called
     * from the thread that asks. May be NULL. */
    int (*on_text)(void *user, int part, const char *text, size_t n);
    void *user;
    /* outputs; texts owned: duet_ask_clear. NULL = the model was not asked. */
    char *thought, *answer;
    size_t n_thought, n_answer;
    bool thought_closed; /* the thought came to its end */
    duet_stop stop;      /* TOKEN = cut where the thought ended */
    duet_usage usage;    /* cached_tokens SIZE_MAX = not known; prefill_s: until the first text; queue_s: earlier tries */
    bool estimated;      /* tokens were counted here, from pieces and bytes, not by the server */
} duet_ask;
void duet_ask_clear(duet_ask *a); /* outputs only */

/* Asks all, remote.parallel at a time, and returns when all are done; outputs hold what there was in any case. *cancel as above.
 * A request that failed before its answer began (connection, 408, 429, 5xx) is tried again after a while, as the server asks.
 * Threads: any. Errors: DUET_E_BACKEND (no server, key, model; broke off; out of time), DUET_E_RANGE (too long for the model),
 * DUET_E_UNSUPPORTED (the server refuses the request, or a local model), DUET_E_FORMAT (garbage came), DUET_E_CANCELLED. */
duet_status duet_backend_ask(duet_backend *b, duet_ask *asks, size_t n, const volatile int *cancel, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
