/* One row of logits -> one token. The weights are dt_expf of the scaled logits, summed in double in a fixed order,
 * and the token is where the running sum passes u * total: the same bits on every machine and at any load.
 * Cuts come in the order top-k, top-p (of what top-k left), min-p, all after the temperature. */
#include "sample/sample.h"

#include <math.h>

#define MIN_TEMPERATURE 1e-3
#define MAX_TEMPERATURE 1e3

duet_sampling duet_sampling_defaults(void) {
    return (duet_sampling){.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 0};
}

duet_status dt_sampling_check(const duet_sampling *s, duet_err *err) {
    /* Written so that a NaN fails. */
    if (!(s->temperature == 0 || (s->temperature >= MIN_TEMPERATURE && s->temperature <= MAX_TEMPERATURE))) {
        return dt_fail(err, DUET_E_RANGE, "temperature %g: must be 0 (greedy) or between %g and %g", s->temperature,
                       MIN_TEMPERATURE, MAX_TEMPERATURE);
    }
    if (s->top_k < 0) {
        return dt_fail(err, DUET_E_RANGE, "top_k %d: must be 0 (off) or more", s->top_k);
    }
    if (!(s->top_p >= 0 && s->top_p <= 1)) {
        return dt_fail(err, DUET_E_RANGE, "top_p %g: must be between 0 and 1 (0 and 1 are off)", s->top_p);
    }
    if (!(s->min_p >= 0 && s->min_p <= 1)) {
        return dt_fail(err, DUET_E_RANGE, "min_p %g: must be between 0 (off) and 1", s->min_p);
    }
    return DUET_OK;
}

/* Lowest id of the largest logit; NaNs never win. */
static int32_t argmax(const float *logits, int V) {
    int32_t best = 0;
    for (int i = 1; i < V; i++) {
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i]))) {
            best = i;
        }
    }
    return best;
}

/* ---- candidates by logit, largest first, ties by lower id: a heap of ids, popped as far as needed ---- */

static bool comes_first(const float *logits, int32_t a, int32_t b) {
    float x = logits[a], y = logits[b];
    if (isnan(x) || isnan(y)) {
        return isnan(x) && isnan(y) ? a < b : isnan(y);
    }
    return x > y || (!(x < y) && a < b);
}

static void sift_down(const float *logits, int32_t *heap, int n, int i) {
    int32_t id = heap[i];
    for (int child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && comes_first(logits, heap[child + 1], heap[child])) {
            child++;
        }
        if (!comes_first(logits, heap[child], id)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = id;
}

/* Takes the first of n candidates and puts it where the heap ended: popped ids stand from the end backwards. */
static int32_t pop(const float *logits, int32_t *heap, int n) {
    int32_t first = heap[0];
    heap[0] = heap[n - 1];
    sift_down(logits, heap, n - 1, 0);
    heap[n - 1] = first;
    return first;
}

/* Walks the kept candidates in order; rounding may leave the target just past the end. */
static int32_t pick_sorted(const float *w, const int32_t *sorted_back, int n_kept, double target) {
    double sum = 0;
    for (int i = 0; i < n_kept; i++) {
        int32_t id = sorted_back[-i];
        sum += (double)w[id];
        if (sum > target) {
            return id;
        }
    }
    return sorted_back[0];
}

/* heap: V ids. The weights are relative to the largest, which is 1. */
static int32_t pick_cut(const float *logits, const float *w, int32_t *heap, int V, const duet_sampling *s, double u) {
    int n = V; /* candidates still in the heap */
    int k = s->top_k > 0 && s->top_k < V ? s->top_k : V;
    int32_t *last = heap + V - 1; /* the first popped id ends up here */
    double total = 0;             /* what top-p is a share of */

    for (int i = 0; i < V; i++) {
        heap[i] = i;
        total += (double)w[i];
    }
    for (int i = V / 2 - 1; i >= 0; i--) {
        sift_down(logits, heap, V, i);
    }
    if (k < V) {
        total = 0;
        while (n > V - k) {
            total += (double)w[pop(logits, heap, n--)];
        }
    }
    double goal = s->top_p > 0 && s->top_p < 1 ? s->top_p * total : HUGE_VAL;
    double mass = 0;
    int kept = 0;
    while (kept < k && mass < goal) {
        if (kept == V - n) {
            pop(logits, heap, n--);
        }
        double wi = (double)w[last[-kept]];
        if (kept > 0 && wi < s->min_p) {
            break;
        }
        mass += wi;
        kept++;
    }
    return pick_sorted(w, last, kept, u * mass);
}

/* Every token, or those that min-p leaves, in the order of ids. */
static int32_t pick_plain(const float *w, int V, double min_p, double u, int32_t fallback) {
    double total = 0, sum = 0;
    for (int i = 0; i < V; i++) {
        total += (double)w[i] >= min_p ? (double)w[i] : 0.0;
    }
    for (int i = 0; i < V; i++) {
        sum += (double)w[i] >= min_p ? (double)w[i] : 0.0;
        if (sum > u * total) {
            return i;
        }
    }
    return fallback;
}

int32_t dt_sample(const dt_kernels *kr, const float *logits, int V, const duet_sampling *s, uint64_t stream,
                  uint64_t position, float *scratch, float *logprob) {
    int32_t top = argmax(logits, V), id = top;
    float inv_temp = s->temperature > 0 ? (float)(1.0 / s->temperature) : 1.0F;

    if (s->temperature > 0) {
        float *w = scratch;
        for (int i = 0; i < V; i++) {
            float x = (logits[i] - logits[top]) * inv_temp;
            w[i] = x > -87.0F ? dt_expf(x) : 0.0F; /* also for -inf and NaN */
        }
        double u = dt_rng_at(s->seed, stream, position);
        bool cut = (s->top_k > 0 && s->top_k < V) || (s->top_p > 0 && s->top_p < 1);
        id = cut ? pick_cut(logits, w, (int32_t *)(void *)(scratch + V), V, s, u) : pick_plain(w, V, s->min_p, u, top);
    }
    if (logprob) {
        kr->xent(logits, (size_t)V, &id, 1, V, inv_temp, logprob, NULL, NULL);
    }
    return id;
}
