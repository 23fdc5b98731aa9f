/* One row of logits -> one token. The weights are dt_expf of the scaled logits, summed in double in a fixed order,
 * and the token is where the running sum passes u * total: the same bits on every machine and at any load.
 * Cuts come in the order top-k, top-p (of what top-k left), min-p, all after the temperature. */
#include "sample/sample.h"

#include <math.h>

#define MIN_TEMPERATURE 1e-3
#define MAX_TEMPERATURE 1e3
#define MAX_BEST 1024   /* top-k up to here is found in one pass; beyond, by a heap of all */
#define LIKELY 11.5     /* top-p looks first at tokens at least exp(-11.5) = 1e-5 as likely as the first */

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
static int32_t argmax(const dt_kernels *kr, const float *logits, int V) {
    const float top = kr->max(logits, (size_t)V);
    int32_t i = 0;
    while (i < V && !(logits[i] == top)) {
        i++;
    }
    return i < V ? i : 0; /* all are NaN */
}

/* ---- candidates by logit, largest first, ties by lower id: a heap of ids, popped as far as needed ---- */

static bool comes_first(const float *logits, int32_t a, int32_t b) {
    float x = logits[a], y = logits[b];
    if (isnan(x) || isnan(y)) {
        return isnan(x) && isnan(y) ? a < b : isnan(y);
    }
    return x > y || (!(x < y) && a < b);
}

/* On top of a heap stands the candidate that comes first or, turned round, the one that comes last. */
static void sift_down(const float *logits, int32_t *heap, int n, int i, bool turned) {
    int32_t id = heap[i];
    for (int child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && comes_first(logits, heap[child + 1], heap[child]) != turned) {
            child++;
        }
        if (comes_first(logits, heap[child], id) == turned) { /* never equal: ids differ */
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = id;
}

static void make_heap(const float *logits, int32_t *heap, int n, bool turned) {
    for (int i = n / 2 - 1; i >= 0; i--) {
        sift_down(logits, heap, n, i, turned);
    }
}

/* Takes the first of n candidates and puts it where the heap ended: popped ids stand from the end backwards. */
static int32_t pop(const float *logits, int32_t *heap, int n) {
    int32_t first = heap[0];
    heap[0] = heap[n - 1];
    sift_down(logits, heap, n - 1, 0, false);
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

static int every_id(int32_t *ids, int V) {
    for (int i = 0; i < V; i++) {
        ids[i] = i;
    }
    return V;
}

/* The k that come first, in any order: a heap of the best so far with the worst of them on top. */
static int best_ids(const float *logits, int V, int k, int32_t *ids) {
    every_id(ids, k);
    make_heap(logits, ids, k, true);
    for (int32_t i = k; i < V; i++) {
        if (logits[i] > logits[ids[0]] || (isnan(logits[ids[0]]) && !isnan(logits[i]))) { /* of equals the lower id stays */
            ids[0] = i;
            sift_down(logits, ids, k, 0, true);
        }
    }
    return k;
}

/* Ids whose logit is at least `least`: whatever comes before one of them is among them. */
static int ids_from(const float *logits, int V, float least, int32_t *ids) {
    int n = 0;
    for (int32_t i = 0; i < V; i++) {
        ids[n] = i;
        n += logits[i] >= least;
    }
    return n;
}

/* What the cuts leave of V tokens, looking only at the N in heap, which come before all others: how many are kept (popped
 * to the end of the heap, backwards) and their weight together. False if more than N would be kept. */
static bool cut(const float *logits, const float *w, int32_t *heap, int N, int V, const duet_sampling *s, int *n_kept,
                double *mass) {
    int n = N; /* candidates still in the heap */
    int k = s->top_k > 0 && s->top_k < V ? s->top_k : V;
    int32_t *last = heap + N - 1; /* the first popped id ends up here */
    double total = 0;             /* what top-p is a share of */

    make_heap(logits, heap, N, false);
    if (k < V) {
        while (n > N - k) {
            total += (double)w[pop(logits, heap, n--)];
        }
    } else {
        for (int i = 0; i < V; i++) {
            total += (double)w[i];
        }
    }
    double goal = s->top_p > 0 && s->top_p < 1 ? s->top_p * total : HUGE_VAL;
    *mass = 0;
    *n_kept = 0;
    while (*n_kept < k && *mass < goal) {
        if (*n_kept == N) {
            return false;
        }
        if (*n_kept == N - n) {
            pop(logits, heap, n--);
        }
        double wi = (double)w[last[-*n_kept]];
        if (*n_kept > 0 && wi < s->min_p) {
            break;
        }
        *mass += wi;
        ++*n_kept;
    }
    return true;
}

/* heap: V ids. The weights are relative to the largest, which is 1. */
static int32_t pick_cut(const float *logits, float top, const float *w, int32_t *heap, int V, const duet_sampling *s, double u) {
    int n_kept = 0, N = V;
    double mass = 0;

    if (s->top_k > 0 && s->top_k < V && s->top_k <= MAX_BEST) {
        N = best_ids(logits, V, s->top_k, heap);
    } else if (s->top_k > 0 && s->top_k < V) {
        every_id(heap, V);
    } else { /* the nucleus is nearly always among the tokens that are not very unlikely */
        N = ids_from(logits, V, (float)((double)top - LIKELY * s->temperature), heap);
    }
    if (!cut(logits, w, heap, N, V, s, &n_kept, &mass)) {
        N = every_id(heap, V);
        cut(logits, w, heap, N, V, s, &n_kept, &mass);
    }
    return pick_sorted(w, heap + N - 1, n_kept, u * mass);
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

int32_t dt_sample_pick(const dt_kernels *kr, const float *logits, int V, const duet_sampling *s, uint64_t stream,
                       uint64_t position, float *scratch) {
    int32_t top = argmax(kr, logits, V);
    if (s->temperature <= 0) {
        return top;
    }
    float *w = scratch;
    kr->exp_weights(w, logits, (size_t)V, logits[top], (float)(1.0 / s->temperature)); /* 0 also for -inf and NaN */
    double u = dt_rng_at(s->seed, stream, position);
    bool cut = (s->top_k > 0 && s->top_k < V) || (s->top_p > 0 && s->top_p < 1);
    return cut ? pick_cut(logits, logits[top], w, (int32_t *)(void *)(scratch + V), V, s, u) : pick_plain(w, V, s->min_p, u, top);
}

float dt_sample_logprob(const dt_kernels *kr, const float *logits, int V, int32_t id, float inv_temp) {
    float logprob = 0;
    kr->xent(logits, (size_t)V, &id, 1, V, inv_temp, &logprob, NULL, NULL);
    return logprob;
}

void dt_sample_likely(const dt_kernels *kr, const float *logits, int V, int k, float inv_temp, int32_t *ids,
                      duet_likely *out) {
    best_ids(logits, V, k, ids);
    for (int n = k; n > 0; n--) { /* the worst of those left is on top */
        out[n - 1].id = ids[0];
        ids[0] = ids[n - 1];
        sift_down(logits, ids, n - 1, 0, true);
    }
    /* log p(i) = (z(i) - max) - log(sum), and of the first z(i) is the maximum. */
    const float top = logits[out[0].id] * inv_temp, first = dt_sample_logprob(kr, logits, V, out[0].id, inv_temp);
    for (int i = 0; i < k; i++) {
        out[i].logprob = (logits[out[i].id] * inv_temp - top) + first;
    }
}

int32_t dt_sample(const dt_kernels *kr, const float *logits, int V, const duet_sampling *s, uint64_t stream,
                  uint64_t position, float *scratch, float *logprob) {
    int32_t id = dt_sample_pick(kr, logits, V, s, stream, position, scratch);
    if (logprob) {
        *logprob = dt_sample_logprob(kr, logits, V, id, s->temperature > 0 ? (float)(1.0 / s->temperature) : 1.0F);
    }
    return id;
}
