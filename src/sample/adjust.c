/* Logits as a request wants them: biases, penalties for what was said, tokens that may not come. The model's own logits
 * stay as they are, for the log-probs. */
#include "sample/sample.h"

#include <math.h>
#include <string.h>

static bool has_bit(const uint32_t *bits, int32_t id) {
    return bits[id / 32] >> (id % 32) & 1;
}

/* In the order of the output, one subtraction a token: the same bits wherever they are computed. */
static void penalise(const dt_adjust *a, float *x, uint32_t *seen) {
    const float presence = (float)a->presence, frequency = (float)a->frequency;
    for (size_t i = 0; i < a->n; i++) {
        int32_t id = a->ids[i];
        x[id] -= has_bit(seen, id) ? frequency : presence + frequency;
        seen[id / 32] |= (uint32_t)1 << (id % 32);
    }
    for (size_t i = 0; i < a->n; i++) {
        seen[a->ids[i] / 32] = 0;
    }
}

static void forbid(const dt_adjust *a, float *x, int V) {
    int32_t n = a->n_allowed < V ? a->n_allowed : V;
    for (int32_t i = 0; i < n; i++) {
        x[i] = has_bit(a->allowed, i) ? x[i] : -INFINITY;
    }
    for (int32_t i = n; i < V; i++) {
        x[i] = -INFINITY;
    }
}

int32_t dt_adjust_logits(const dt_kernels *kr, const dt_adjust *a, const float *logits, int V, float *out, uint32_t *seen) {
    memcpy(out, logits, (size_t)V * sizeof *out);
    for (size_t i = 0; i < a->n_bias; i++) {
        out[a->bias[i].id] += a->bias[i].bias;
    }
    if (a->presence < 0 || a->presence > 0 || a->frequency < 0 || a->frequency > 0) {
        penalise(a, out, seen);
    }
    if (a->allowed) {
        forbid(a, out, V);
    }
    if (kr->max(out, (size_t)V) > -INFINITY) {
        return -1;
    }
    int32_t id = 0; /* only impossible tokens are left: one of those that may come */
    while (a->allowed && id < V && !(id < a->n_allowed && has_bit(a->allowed, id))) {
        id++;
    }
    return id;
}

duet_status dt_gen_check(const duet_gen_request *r, int n_vocab, duet_err *err) { /* written so that a NaN fails */
    if (r->top_logprobs < 0 || r->top_logprobs > DUET_TOP_LOGPROBS_MAX) {
        return dt_fail(err, DUET_E_RANGE, "top_logprobs %d: must be between 0 and %d", r->top_logprobs,
                       DUET_TOP_LOGPROBS_MAX);
    }
    if (!(fabs(r->presence_penalty) <= 2 && fabs(r->frequency_penalty) <= 2)) {
        return dt_fail(err, DUET_E_RANGE, "presence_penalty %g and frequency_penalty %g: must be between -2 and 2",
                       r->presence_penalty, r->frequency_penalty);
    }
    for (size_t i = 0; i < r->n_logit_bias; i++) {
        const duet_logit_bias *b = &r->logit_bias[i];
        if (b->id < 0 || b->id >= n_vocab) {
            return dt_fail(err, DUET_E_RANGE, "logit_bias for token %d: the vocabulary is 0..%d", (int)b->id, n_vocab - 1);
        }
        if (!(b->bias < HUGE_VALF)) {
            return dt_fail(err, DUET_E_RANGE, "logit_bias of token %d is %g: must be a finite number or -inf", (int)b->id,
                           (double)b->bias);
        }
    }
    return DUET_OK;
}
