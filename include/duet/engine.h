/* Runs many generations on one model at once (token ids in, token ids out).
 *
 * An engine owns the KV pages and one worker thread; callers queue work and wait.
 * A request's result depends only on its prompt, sampling settings, seed and key: never on what else runs,
 * on how the prompt was cut in chunks, on what was cached, or on the number of threads.
 * Threads: any call may come from any thread. */
#ifndef DUET_ENGINE_H
#define DUET_ENGINE_H

#include "duet/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_engine duet_engine;

typedef struct duet_engine_options {
    int n_threads;       /* 0 = all CPUs */
    int max_seqs;        /* sequences decoded together; 0 = 64 */
    size_t kv_bytes;     /* most bytes of the page pool, taken as tokens come; 0 = for max_seqs sequences of 1024 tokens and one
                            of `ctx`, at most 1/4 of RAM (a ctx asked for: what it needs, if that is free) */
    int prefill_chunk;   /* prompt tokens a step; 0 = 512 */
    int ctx;             /* longest sequence; 0 = the model's max_position_embeddings */
    duet_kv_type kv_type;/* how keys and values are held; training needs DUET_KV_F32 */
    bool no_prefix_cache;/* do not reuse prefixes of earlier requests (siblings of one request still share) */
} duet_engine_options;

duet_status duet_engine_create(duet_model *model /* borrowed */, const duet_engine_options *opt, duet_engine **out, duet_err *err);
void duet_engine_destroy(duet_engine *e); /* cancels what runs, waits for the worker; NULL is fine */

int duet_engine_ctx(const duet_engine *e); /* longest sequence, prompt and output together */

typedef struct duet_sampling {
    double temperature; /* 0 = greedy (ties: lowest id) */
    int top_k;          /* 0 = off */
    double top_p;       /* 0 or 1 = off */
    double min_p;       /* 0 = off */
    uint64_t seed;
} duet_sampling;
duet_sampling duet_sampling_defaults(void); /* greedy */

typedef enum duet_stop { DUET_STOP_EOS, DUET_STOP_LENGTH, DUET_STOP_TOKEN, DUET_STOP_CALLBACK, DUET_STOP_CANCELLED } duet_stop;
const char *duet_stop_name(duet_stop s); /* eos length stop callback cancelled */

/* A token that could have come, with its log-prob. */
typedef struct duet_likely {
    int32_t id;
    float logprob;
} duet_likely;

typedef struct duet_generation {
    int32_t *ids;    /* sampled tokens; the one that ended it (EOS, stop token) is the last and counted */
    float *logprobs; /* of each, natural log under softmax(logits / temperature), the model's own logits: before bias, penalties,
                        `allow` and top-k/p cuts; greedy, or plain_logprobs: temperature 1 */
    size_t n;
    duet_stop stop;
    duet_likely *top; /* [n][n_top]: the most likely tokens in each place, best first (ties: lowest id), same softmax */
    int n_top;
} duet_generation;

typedef struct duet_usage {
    size_t prompt_tokens; /* of the prompt, once per request */
    size_t cached_tokens; /* of these, found in the prefix cache */
    size_t output_tokens; /* sampled, all samples together */
    double queue_s, prefill_s, decode_s;
} duet_usage;

/* Added to a logit before sampling; an id may come more than once. */
typedef struct duet_logit_bias {
    int32_t id;
    float bias; /* -inf: never */
} duet_logit_bias;

#define DUET_TOP_LOGPROBS_MAX 20

typedef struct duet_gen_request {
    const int32_t *prompt; /* borrowed until the call returns */
    size_t n_prompt;
    int n;             /* samples; 0 = 1. Sample i of key k draws from stream (seed, k + i) */
    int max_tokens;    /* 0 = sample nothing; -1 = up to the context */
    duet_sampling sampling;
    uint64_t key;      /* names the request for the random numbers */
    const int32_t *stop_ids; /* end with stop = TOKEN */
    size_t n_stop;
    const int32_t *eos_ids;  /* end with stop = EOS; NULL = the model's own */
    size_t n_eos;
    /* Called on the engine thread for each sampled token; non-zero ends that sample. May be NULL. */
    int (*on_token)(void *user, int sample, int32_t id, float logprob);
    void *user;
    const duet_logit_bias *logit_bias; /* borrowed; NULL = none */
    size_t n_logit_bias;
    /* Taken off the logits of tokens that the sample has so far (its prompt does not count): once, and for each time. -2..2 */
    double presence_penalty, frequency_penalty;
    int top_logprobs;    /* most likely tokens to report in each place, 0..20 */
    bool plain_logprobs; /* log-probs at temperature 1 whatever the sampling */
    /* Says which tokens may come next, after the n that the sample has: bit id % 32 of word id / 32; ids from *n_bits on may
     * not. Borrowed until the next call for this sample; NULL = any. Called once before each token on an engine thread, for
     * several samples at a time. Where it leaves none the sample ends, stop = CALLBACK. NULL = no such rule. */
    const uint32_t *(*allow)(void *user, int sample, const int32_t *ids, size_t n, int32_t *n_bits);
    /* Polled like cancel: non-zero ends this request alone, whatever it is waiting for, stop = CALLBACK; that is no error. */
    const volatile int *end;
    /* outputs */
    duet_generation *out; /* [n], filled by the call; end with duet_generation_clear */
    duet_usage usage;
} duet_gen_request;

void duet_generation_clear(duet_generation *g);

/* Runs all requests to their ends; returns when all are done. *cancel (may be NULL) is polled, in the queue, between the
 * layers of a prompt and between tokens: non-zero stops this call's requests (no other caller's) with stop = CANCELLED and
 * DUET_E_CANCELLED, what was sampled is kept.
 * Errors: DUET_E_RANGE (prompt longer than the context: says both numbers; an id outside the vocabulary; a setting). */
duet_status duet_engine_generate(duet_engine *e, duet_gen_request *reqs, size_t n_reqs, const volatile int *cancel, duet_err *err);

/* Counts since the engine began, but for what says "now". As of the last step; cheap. */
typedef struct duet_engine_stats {
    size_t requests, prompt_tokens, cached_tokens, output_tokens, steps;
    double busy_s;
    size_t kv_pages, kv_pages_free; /* of 16 tokens; free now, those counted that only the prefix cache keeps */
    size_t kv_pages_cached;         /* now kept by the prefix cache alone: the least recently used leave first when pages run out */
    size_t kv_pages_evicted;        /* left that way */
    size_t kv_page_bytes;
    size_t hits;                    /* requests that found the beginning of their prompt */
    size_t running, waiting;        /* now: samples in the batch; requests that wait for a place, wholly or in part */
    size_t cancelled;               /* requests that their callers gave up or ended before their time */
    size_t preempted;               /* samples that gave their pages back for a while */
    size_t steps_given_up;          /* because most of their rows had become nobody's */
} duet_engine_stats;
void duet_engine_get_stats(duet_engine *e, duet_engine_stats *out);

#ifdef __cplusplus
}
#endif
#endif
