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
/* Validates settings: DUET_E_RANGE names the field and its range. */
duet_status dt_sampling_check(const duet_sampling *s, duet_err *err);

#endif
