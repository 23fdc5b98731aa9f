/* The DUET call: M writes the signal, m reads it and answers, a ledger counts every token.
 * [duet-algorithm sections 1 and 2; DUET, arXiv 2605.01111] */
#ifndef DUET_PAIR_H
#define DUET_PAIR_H

#include "duet/backend.h"
#include "duet/grammar.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_pair duet_pair;

typedef enum duet_mode { DUET_MODE_DUET, DUET_MODE_M, DUET_MODE_m } duet_mode; /* both stages; M end to end; m alone */
const char *duet_mode_name(duet_mode m); /* "duet" "M" "m" */
bool duet_mode_parse(const char *name, duet_mode *out);

typedef enum duet_keep { DUET_KEEP_TAIL, DUET_KEEP_HEAD, DUET_KEEP_MIDDLE } duet_keep;

typedef struct duet_pair_options {
    double price_M, price_m; /* money per million output tokens; < 0 = unknown: a side that was used has no cost then */
    double price_M_in, price_m_in; /* per million prompt tokens; < 0 = unknown (not counted in cost) */
    const char *instruction; /* appended as it stands to each question of both models; copied; NULL = none */
    duet_keep keep;          /* which part of a signal too long for m's context is kept */
    bool handoff_raw;        /* compat: signal extracted from text, raw framing without turn tokens, cut on the left */
} duet_pair_options;
duet_pair_options duet_pair_defaults(void);

/* M and m are borrowed; either may be NULL where the modes used do not need it. M's ids go to m as they are if
 * the tokenizers are the same, through text otherwise. A remote model is asked in words (duet_backend_ask): a signal from it
 * or for it is text, answer_ids of it are none, and a context that is not known here cuts no signal. */
duet_status duet_pair_create(duet_backend *M, duet_backend *m, const duet_pair_options *opt, duet_pair **out, duet_err *err);
void duet_pair_destroy(duet_pair *p);
bool duet_pair_shares_tokens(const duet_pair *p);
/* What M and m have in common, found when the pair was made. */
typedef struct duet_pair_terms {
    const char *M_template, *m_template; /* families of their chat templates; "remote" = not known here; NULL = that model is not
                                            there */
    bool same_tokens;                    /* one tokenizer: the signal goes over as ids */
    bool same_ends;                      /* and the same ids end what they say */
    bool M_thinks;                       /* M's signal stands between think tags; false: it is all that M says */
    const char *layout;                  /* how m reads it: "thought", "instruct", "raw"; "none" without m */
} duet_pair_terms;
duet_pair_terms duet_pair_describe(const duet_pair *p);
/* The same as one line for people. Owned (free); NULL = no memory. */
char *duet_pair_terms_line(const duet_pair *p);
/* The tokenizer of signal_ids: m's, or M's where there is no m or m is remote; NULL: neither has one here, and
 * signal_ids is empty. Borrowed. */
const duet_tokenizer *duet_pair_signal_tokenizer(const duet_pair *p);

/* A grammar for the answers of `mode`, i.e. in the tokens of the model that writes them: JSON that fits a schema (grammar.h says
 * which schemas), or any JSON object where schema is NULL. Serves any number of requests at a time. *out is owned by the caller
 * (duet_grammar_destroy) and must end before the pair does. Errors: those of duet_grammar_json_schema, DUET_E_USAGE. */
duet_status duet_pair_grammar(duet_pair *p, duet_mode mode, const char *schema, size_t n, duet_grammar **out, duet_err *err);

/* What one side spent. A value that cannot be known is NaN (or SIZE_MAX for counts). */
typedef struct duet_ledger_side {
    size_t prompt_tokens, cached_tokens, output_tokens;
    double prefill_s, decode_s, cost;
    bool estimated; /* tokens were counted here, not by the server that wrote them (a stream that was cut has no usage) */
} duet_ledger_side;
typedef struct duet_ledger {
    duet_ledger_side M, m;
    double total_s, cost;
    size_t M_alone_tokens;   /* output tokens of M answering alone, measured or estimated */
    double M_alone_cost;
    bool M_alone_estimated;  /* true: not from a run of this question */
} duet_ledger;

typedef enum duet_handoff { DUET_HANDOFF_END, DUET_HANDOFF_BUDGET, DUET_HANDOFF_EOS, DUET_HANDOFF_EMPTY, DUET_HANDOFF_GATE, DUET_HANDOFF_NONE,
               DUET_HANDOFF_REQUEST } duet_handoff;
const char *duet_handoff_name(duet_handoff h); /* end budget eos empty gate none request */
typedef enum duet_signal_status { DUET_SIGNAL_CLOSED, DUET_SIGNAL_TRUNCATED, DUET_SIGNAL_UNTAGGED, DUET_SIGNAL_EMPTY } duet_signal_status;
const char *duet_signal_status_name(duet_signal_status s);

typedef struct duet_pair_request {
    const char *question; /* UTF-8, borrowed */
    size_t n_question;
    const duet_message *history; /* turns before the question, oldest first; borrowed; NULL = none */
    size_t n_history;
    duet_mode mode;
    int signal_budget;    /* most tokens sampled from M; 0 is valid; -1 = up to the context */
    int answer_budget;    /* most tokens sampled for the answer (mode M: together with signal_budget); -1 as above */
    int total_budget;     /* most tokens sampled in both stages together; 0 = no bound beside those two */
    duet_sampling M, m;
    uint64_t key;         /* names the question for the random numbers */
    const int32_t *signal; /* given signal ids (m's tokenizer) instead of asking M; NULL = ask */
    size_t n_signal;
    bool M_to_eos;        /* compat: M goes on after its end marker until EOS */
    /* Streaming: text that became certain; stage 0 = M's signal, 1 = answer. Non-zero return cancels. May be NULL.
     * Called from the engines' threads, never twice at a time; not after the call that answers has returned. */
    int (*on_text)(void *user, int stage, const char *text, size_t n);
    void *user;
    /* Each sampled token, before the text that it makes certain; top[n_top]: what else could have come, in the answer. A stop
     * string is held back as text, not as tokens. Not called for a remote model. May be NULL; threads as of on_text. */
    void (*on_token)(void *user, int stage, int32_t id, float logprob, const duet_likely *top, int n_top);
    /* Mode duet: non-zero while M writes (or waits) ends its signal at the next token, and m answers from what there is. Polled;
     * NULL = none. */
    const volatile int *hand_over;
    /* The answer stage, i.e. what m samples; in mode M all that M samples, its thought too, but for `stop`. Borrowed. */
    const duet_logit_bias *logit_bias;
    size_t n_logit_bias;
    double presence_penalty, frequency_penalty; /* -2..2 */
    int top_logprobs;        /* 0..20; of a remote model 0 */
    duet_grammar *answer_grammar; /* of duet_pair_grammar for this mode; the answer is a text of it, or the beginning of one where
                                its budget ends it. A thought of M's is free. NULL = anything */
    bool no_thought;         /* mode M: answers without a thought, and all budget is the answer's (no remote M); mode duet: M is not
                                asked, as with a signal_budget of 0 */
    const char *const *stop; /* strings that end the answer where its text comes to hold one, wherever tokens begin and end */
    size_t n_stop;
    /* outputs, owned: duet_pair_request_clear */
    char *signal_text, *answer_text;
    size_t n_signal_text, n_answer_text;
    int32_t *signal_ids, *answer_ids; /* signal: what was handed over; answer: sampled, end token included */
    size_t n_signal_ids, n_answer_ids;
    duet_signal_status signal_status;
    duet_handoff handoff;
    bool answer_cut;      /* answer ended by its budget */
    duet_stop answer_stop;/* why it ended: TOKEN = a stop string */
    int stop_matched;     /* which one (the text ends before it, its tokens are counted); -1 = none */
    float *answer_logprobs; /* [n_answer_ids], temperature 1, the model's own: before bias, penalties and cuts */
    duet_likely *answer_top; /* [n_answer_ids][n_answer_top], best first */
    int n_answer_top;
    bool signal_cut;      /* signal shortened to fit m's context */
    duet_ledger ledger;
} duet_pair_request;

/* A request to start from: both stages, budgets of 8192 and 1024 tokens, sampling as each model of the pair advises.
 * The question is still to be set. (A zeroed request is valid too: it gives M and m no tokens at all.) */
duet_pair_request duet_pair_request_defaults(const duet_pair *p);
void duet_pair_request_clear(duet_pair_request *r); /* outputs only */

/* Turns of a conversation share prefixes, so the pages of earlier prompts serve later ones (the ledger's cached_tokens).
 * Earlier signals are no part of a conversation, only answers are.
 *
 * Answers all requests (stage 1 of all together, then stage 2 of all together). Random numbers: M draws from stream
 * (M.seed, key), m from a stream derived from (m.seed, key), in every mode. Answers are trimmed of white space.
 *
 * What M sampled (duet) | signal_status     | handoff
 *   up to </think>      | closed or empty   | end, or empty where nothing stands between the tags
 *   cut by its budget   | truncated, ...    | budget: handed over closed; budget 0 does not call M, status empty
 *   EOS before </think> | truncated or untagged | eos (the usual end of a model without think tags: untagged)
 *   until *hand_over    | truncated, ...    | request: handed over closed
 * A given signal and modes M and m have handoff none.
 *
 * Mode M: one generation until EOS, split at the end marker; without any tag (untagged) all of it is the answer, and
 * a thought that was cut has no answer.
 * m's context: of a signal that does not fit, the part `keep` says is handed over, so that the answer has its budget
 * or a quarter of what the question leaves, whichever is less.
 * Stop strings are looked for in the answer's text as it is told: without leading white space, tags and end tokens. Of those
 * that the text comes to hold the first to be whole counts, of several that end together the longest.
 * Errors: DUET_E_USAGE (a model that the mode needs is missing), DUET_E_RANGE (question too long: both numbers; bad
 * budget; empty stop string; bad setting), DUET_E_FORMAT (question is not UTF-8), DUET_E_CANCELLED (outputs hold what there was), the backends'. */
duet_status duet_pair_answer(duet_pair *p, duet_pair_request *reqs, size_t n, const volatile int *cancel, duet_err *err);

/* One ledger as a JSON object (cli.md, "The ledger"); owned by the caller (free). NULL = no memory. */
char *duet_ledger_json(const duet_ledger *l);
/* One line for people: tokens of each model, seconds, cost, what M alone would have cost. Owned (free). */
char *duet_ledger_line(const duet_ledger *l);

#ifdef __cplusplus
}
#endif
#endif
