/* One model that is being trained: weights, gradient, optimizer, the learning walk and its buffers. Both loops (sft.c,
 * grpo.c) use it the same way: accumulate() over the sequences of a mini-batch, then update(). */
#ifndef DT_TRAINEE_H
#define DT_TRAINEE_H

#include "train/data.h"
#include "train/train.h"

/* A sequence whose tokens ids[first .. n-1] are learned; first >= 1. Borrowed. */
typedef struct dt_seq {
    const int32_t *ids;
    int n, first;
} dt_seq;

typedef struct dt_trainee {
    duet_model *model;   /* borrowed */
    dt_pool *pool;       /* borrowed */
    dt_learn *learn;
    dt_optim optim;
    float *params;       /* what learns, borrowed: the adapters of the model where it has any, else its weights */
    float *grad;         /* [optim.n], 0 between updates */
    int micro_tokens;
    float inv_temp;      /* 1 / temperature the log-probs are taken at */
    int32_t *ids;        /* [micro_tokens] */
    float *logp, *entropy, *coef;
    int *start;          /* [micro_tokens + 1] */
} dt_trainee;

duet_status dt_trainee_init(dt_trainee *t, duet_model *model, dt_pool *pool, int micro_tokens, bool recompute, double temperature, duet_err *err);
void dt_trainee_clear(dt_trainee *t); /* not the model */

/* Called for each sequence after its forward pass: logp[j] belongs to token j + 1; for j = first-1 .. n-2 it sets
 * coef[j] = d loss / d logp[j] (0 when called). */
typedef void (*dt_coef_fn)(void *user, size_t seq, const dt_seq *s, const float *logp, const float *entropy, float *coef);
/* grad += d loss / d weights, sequences laid end to end in micro-batches of at most micro_tokens tokens, in order. */
duet_status dt_trainee_accumulate(dt_trainee *t, const dt_seq *seqs, size_t n, dt_coef_fn fn, void *user, duet_err *err);
/* Log-probs only: fn is called the same way, what it writes to coef is ignored. */
duet_status dt_trainee_score(dt_trainee *t, const dt_seq *seqs, size_t n, dt_coef_fn fn, void *user, duet_err *err);
/* The same with the model as it was before it had adapters. */
duet_status dt_trainee_score_base(dt_trainee *t, const dt_seq *seqs, size_t n, dt_coef_fn fn, void *user, duet_err *err);
/* One optimizer step with what was accumulated; publishes the weights and clears the gradient. */
duet_status dt_trainee_update(dt_trainee *t, const dt_adamw *h, double *norm, duet_err *err);

/* False: held as its file says and without adapters, so it learns nothing, and is saved by nobody: it stays where it is. */
bool dt_trainee_can_learn(const duet_model *m);
/* Into a checkpoint folder: `name`/ as a Hugging Face folder (an adapter: as PEFT's) with the tokenizer, `name`.safetensors with all that an
 * exact continuation needs (f32 weights and moments, updates done). */
duet_status dt_trainee_save(const dt_trainee *t, const char *dir, const char *name, const dt_words *words, duet_err *err);
duet_status dt_trainee_load(dt_trainee *t, const char *dir, const char *name, duet_err *err);

/* Learning rate of a step (from 0) of n: linear warm-up, then constant, cosine or linear down to lr * end. */
double dt_lr_at(double lr, int schedule, double warmup, double end, int64_t step, int64_t n);
dt_adamw dt_adamw_of(const dt_recipe *r, double lr);

#endif
