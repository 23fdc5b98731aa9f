/* The inside of the engine, shared by engine.c (handles, options, statistics), request.c (jobs from callers) and
 * the worker: sched.c (its steps), admit.c (who comes in), slots.c (places, waiting, ends), draw.c (what is sampled).
 *
 * A job is one duet_engine_generate call: some requests, each with n samples. Samples wait in their request until
 * the worker gives them a slot. The first sample of a request prefills the prompt (the lead); its siblings follow
 * it, take their first token from the same logits and borrow its pages.
 *
 * Owners: `lock` guards incoming, stop, stats and a job's `done`; all else is the worker's while it is awake. */
#ifndef DT_ENGINE_SCHED_H
#define DT_ENGINE_SCHED_H

#include "duet/engine.h"
#include "kv/kv.h"
#include "model/model.h"
#include "sample/sample.h"

#include <pthread.h>

typedef struct dt_request dt_request;

typedef struct dt_job {
    dt_request *reqs;
    size_t n_reqs, n_left; /* requests not finished */
    const volatile int *cancel;
    bool has_ends; /* a request can be ended alone */
    bool taken;    /* the worker has it */
    duet_status st;
    duet_err err;
    double t_submit;
    bool done;
    struct dt_job *next; /* in incoming, then jobs, then ended */
} dt_job;

#define DT_BIT_WORDS(n) (((size_t)(n) + 31) / 32)

enum { DT_TODO, DT_RUNNING, DT_DONE }; /* of a sample */

struct dt_request {
    duet_gen_request *r;
    dt_job *job;
    const int32_t *eos;
    size_t n_eos;
    int n, limit;       /* samples; most tokens of each */
    uint64_t cache_key; /* names remembered pages: the weights' version, or a private key without the cache */
    uint8_t *state;     /* [n] */
    int n_todo, n_left, first_todo;
    int lead;                /* slot that prefills for its siblings, -1 = none */
    bool named, waiting;     /* cache_key is set; in the wait list */
    uint64_t serial;         /* order of submission */
    double t_start, t_first; /* of the first sample: admission, first token; 0 = not yet */
    dt_request *prev, *next; /* in the wait list */
};

typedef enum dt_slot_state { DT_SLOT_FREE, DT_SLOT_FOLLOW, DT_SLOT_PREFILL, DT_SLOT_DECODE } dt_slot_state;

/* One sample being generated. */
typedef struct dt_slot {
    dt_slot_state state;
    dt_request *req;
    int sample;
    duet_generation *gen;
    dt_kv_seq kv;
    int target; /* PREFILL: tokens that must be in kv before the next one is sampled */
    int n_run;  /* tokens in this step */
} dt_slot;

typedef struct dt_draw {
    int slot;
    const float *logits;
    int32_t id; /* -1: none may come */
    float logprob;
} dt_draw;

struct duet_engine {
    duet_model *model;
    const dt_kernels *kernels;
    dt_pool *pool;
    dt_infer *infer;
    dt_kv *kv;
    int V, ctx, max_seqs, chunk, max_rows;
    size_t promised; /* bytes of the context that was asked for: of free memory, until the pages are touched */
    dt_dtype kv_type;
    bool prefix_cache;

    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t wake, finished;
    bool worker_up, stop;
    int n_callers;
    dt_job *incoming, *incoming_last;
    duet_engine_stats stats;

    /* the worker's */
    dt_job *jobs, *ended;
    dt_request *wait_first, *wait_last; /* requests with samples to do, by serial */
    uint64_t n_serials, version;
    dt_slot *slots; /* [max_seqs] */
    int *order;     /* slots in use, oldest first */
    int n_order;
    int *free_slots, n_free_slots;
    dt_infer_seq *runs; /* [max_seqs] */
    int *run_slot;      /* [max_seqs] */
    int n_runs;
    int32_t *row_ids; /* [max_rows] */
    int32_t *seq_ids; /* [ctx]: a sequence's tokens, prompt and output together */
    float *logits;    /* [max_seqs][V]; its memory comes when rows are used */
    size_t logits_bytes;
    float *scratch;   /* [threads][3 V]: two of the sampler, the row with a request's changes */
    uint32_t *seen;   /* [threads][V bits], zero */
    double row_s;     /* seconds a row of a prompt takes, of late; 0 = not known */
    dt_draw *draws;   /* [max_seqs] */
    int n_draws;
    size_t n_waiting; /* in the wait list */
    duet_engine_stats since; /* counts that are not in stats yet */
    double t_step;
};

/* sched.c */
void *dt_engine_worker(void *engine);
bool dt_engine_step_is_vain(void *engine);

/* slots.c */
/* Tokens [from, from + n) of a sample, prompt and output; all of its first n (borrowed until the next call). */
void dt_slot_ids(const dt_request *q, const duet_generation *g, int from, int n, int32_t *out);
const int32_t *dt_slot_whole(duet_engine *e, const dt_request *q, const duet_generation *g, int n);
void dt_slot_remember(duet_engine *e, const dt_slot *s); /* its pages may serve others */
void dt_wait_insert(duet_engine *e, dt_request *q);
dt_slot *dt_slot_take(duet_engine *e, dt_request *q, int sample);
void dt_slot_give(duet_engine *e, dt_slot *s);
/* The sequence in order[at] gives its pages back. What is remembered of it may survive until it returns. */
void dt_slot_preempt(duet_engine *e, int at);
void dt_end_sample(duet_engine *e, dt_request *q, int sample, duet_stop stop);
/* If all of it is done. Its caller is woken at the end of the step, when the statistics include it. */
void dt_end_job(duet_engine *e, dt_job *job);
/* Ends all that is left of a request or job, keeping what was sampled. */
void dt_break_request(duet_engine *e, dt_request *q, duet_stop stop);
void dt_break_job(duet_engine *e, dt_job *job, duet_status st, const duet_err *why);

/* admit.c */
void dt_engine_admit(duet_engine *e);

/* draw.c */
void dt_engine_draw(void *engine, size_t draw, int thread); /* a task of the pool: draws[draw] */
void dt_engine_apply(duet_engine *e, const dt_draw *d);

#endif
