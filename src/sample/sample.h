/* sample: logits + settings + RNG stream -> token and log-prob. Pure functions of their arguments. */
#ifndef DT_SAMPLE_H
#define DT_SAMPLE_H

#include "duet/engine.h"
#include "kernel/kernel.h"

/* u = dt_rng_at(seed, stream, position), position = index of the token in its output. scratch: 2 * V floats, unused
 * when greedy. logprob (may be NULL) comes from the kernel's xent at inv_temp = 1/temperature (1 when greedy): the
 * same bits as dt_learn_forward gives. */
int32_t dt_sample(const dt_kernels *kr, const float *logits, int V, const duet_sampling *s, uint64_t stream,
                  uint64_t position, float *scratch, float *logprob);
/* dt_sample's two halves: the token, and a token's log-prob at inv_temp. */
int32_t dt_sample_pick(const dt_kernels *kr, const float *logits, int V, const duet_sampling *s, uint64_t stream,
                       uint64_t position, float *scratch);
float dt_sample_logprob(const dt_kernels *kr, const float *logits, int V, int32_t id, float inv_temp);
/* The k most likely tokens, best first, ties by lower id; each log-prob has the bits dt_sample_logprob gives.
 * ids: k of scratch; 1 <= k <= V. */
void dt_sample_likely(const dt_kernels *kr, const float *logits, int V, int k, float inv_temp, int32_t *ids,
                      duet_likely *out);

/* ---- what a request wants changed before its tokens are sampled (adjust.c) ---- */

typedef struct dt_adjust {
    const duet_logit_bias *bias;
    size_t n_bias;
    double presence, frequency;
    const int32_t *ids; /* the output so far */
    size_t n;
    const uint32_t *allowed; /* a bit an id, NULL = all; ids from n_allowed on may not come */
    int32_t n_allowed;
} dt_adjust;
/* out[V] = logits with all that. seen: V bits, zero before and after. Returns -1, or where no logit is above -inf the lowest
 * id that may come, V if there is none: nothing is left to sample then. */
int32_t dt_adjust_logits(const dt_kernels *kr, const dt_adjust *a, const float *logits, int V, float *out, uint32_t *seen);

/* A request's biases, penalties and top_logprobs for a vocabulary of n_vocab ids. */
duet_status dt_gen_check(const duet_gen_request *r, int n_vocab, duet_err *err);
/* Validates settings: DUET_E_RANGE names the field and its range. */
duet_status dt_sampling_check(const duet_sampling *s, duet_err *err);

#endif
