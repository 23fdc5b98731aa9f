/* Attention of the inference walk: new keys and values go to their pages, then the batch is cut in tasks that threads can
 * share out evenly. How it is cut changes no bits: the kernel's result for a row depends on that row alone, and keys that
 * several threads share are cut at spans, whose results join in one order. */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

#define TASKS_A_THREAD 4 /* a sequence that decodes is cut where its part of the work is more than one of so many */
#define STORE_TOKENS 64  /* tokens of one storing task: whole pages */

/* Query rows of one kv head: tokens row0 .. row0+n-1 of a run. */
typedef struct attend_task {
    int seq, head, row0, n;
    int span0, span1; /* span1 0: all keys at once; else these spans, to parts */
    size_t part;      /* of span0, floats */
    double cost;
} attend_task;

typedef struct join_task {
    int seq, head, span0, n_spans;
    size_t part;
} join_task;

typedef struct store_task {
    int seq, row0, n;
} store_task;

struct dt_attend {
    const duet_model *m;
    dt_pool *pool;
    attend_task *task;
    join_task *join;
    store_task *store;
    size_t n_task, n_join, n_store, cap_task, cap_join, cap_store;
    float *part;
    size_t n_part, cap_part;
    const void **pages; /* per thread: k pointers, then v pointers */
    size_t cap_pages;
    float *scratch; /* per thread */
    size_t scratch_stride;
    /* of the batch in progress */
    dt_kv *kv;
    const dt_infer_seq *seqs;
    const int *row0; /* first row of each sequence */
    const float *rot;
    float *out;
    int layer;
    bool wanted_only; /* of rows, those whose logits are wanted */
};

duet_status dt_attend_create(const duet_model *m, dt_pool *pool, dt_attend **out, duet_err *err) {
    *out = dt_calloc(1, sizeof **out);
    if (!*out) return dt_fail(err, DUET_E_NOMEM, "inference: no memory");
    **out = (dt_attend){.m = m, .pool = pool};
    return DUET_OK;
}

void dt_attend_destroy(dt_attend *x) {
    if (!x) return;
    free(x->task);
    free(x->join);
    free(x->store);
    free(x->part);
    free(x->pages);
    free(x->scratch);
    free(x);
}

int dt_attn_tokens(int heads) {
    int n = DT_ATTN_ROWS / heads;
    return n < 1 ? 1 : n > DT_ATTN_TOKENS ? DT_ATTN_TOKENS : n;
}

/* ---- the cut ---- */

/* Room for n items in the array whose pointer is at `array`. */
static bool grow(void *array, size_t *cap, size_t n, size_t size) {
    void *p;
    if (n <= *cap) return true;
    memcpy(&p, array, sizeof p);
    p = dt_realloc(p, n + n / 2, size);
    if (!p) return false;
    memcpy(array, &p, sizeof p);
    *cap = n + n / 2;
    return true;
}

static int blocks_of(const dt_infer_seq *s, int block) {
    return (s->n + block - 1) / block;
}

static int by_cost(const void *a, const void *b) {
    const attend_task *x = a, *y = b;
    if (x->cost > y->cost) return -1;
    if (x->cost < y->cost) return 1;
    return x->seq != y->seq ? (x->seq < y->seq ? -1 : 1) : x->head != y->head ? (x->head < y->head ? -1 : 1) : x->row0 - y->row0;
}

/* A decoding row's keys, all spans in n parts or whole. */
static bool cut_keys(dt_attend *x, const attend_task *whole, int keys, double most) {
    const dt_hf_config *c = &x->m->cfg;
    int spans = (keys + DT_ATTN_SPAN - 1) / DT_ATTN_SPAN, want = whole->cost > most ? (int)(whole->cost / most) + 1 : 1;
    int each = (spans + want - 1) / want;
    size_t size = dt_attn_part(c->d_head) * (size_t)(c->n_heads / c->n_kv);
    if (each >= spans) {
        if (!grow(&x->task, &x->cap_task, x->n_task + 1, sizeof *x->task)) return false;
        x->task[x->n_task++] = *whole;
        return true;
    }
    if (!grow(&x->join, &x->cap_join, x->n_join + 1, sizeof *x->join)) return false;
    x->join[x->n_join++] = (join_task){.seq = whole->seq, .head = whole->head, .n_spans = spans, .part = x->n_part};
    for (int s = 0; s < spans; s += each) {
        if (!grow(&x->task, &x->cap_task, x->n_task + 1, sizeof *x->task)) return false;
        attend_task *t = &x->task[x->n_task++];
        *t = *whole;
        t->span0 = s;
        t->span1 = s + each < spans ? s + each : spans;
        t->part = x->n_part + (size_t)s * size;
        t->cost = whole->cost * (t->span1 - s) / spans;
    }
    x->n_part += (size_t)spans * size;
    return grow(&x->part, &x->cap_part, x->n_part, sizeof *x->part);
}

duet_status dt_attend_plan(dt_attend *x, dt_kv *kv, const dt_infer_seq *seqs, const int *row0, int n_seqs, duet_err *err) {
    const dt_hf_config *c = &x->m->cfg;
    int G = c->n_heads / c->n_kv, block = dt_attn_tokens(G), max_keys = 0;
    size_t threads = (size_t)dt_pool_threads(x->pool), n = 0;
    double total = 0;

    *x = (dt_attend){.m = x->m, .pool = x->pool, .task = x->task, .join = x->join, .store = x->store, .cap_task = x->cap_task,
                     .cap_join = x->cap_join, .cap_store = x->cap_store, .part = x->part, .cap_part = x->cap_part, .pages = x->pages,
                     .cap_pages = x->cap_pages, .scratch = x->scratch, .scratch_stride = x->scratch_stride, .kv = kv, .seqs = seqs,
                     .row0 = row0};
    for (;; block /= 2) { /* smaller blocks where there would be too few */
        n = 0;
        for (int i = 0; i < n_seqs; i++)
            n += (size_t)blocks_of(&seqs[i], block) * (size_t)c->n_kv;
        if (block <= 8 || n >= threads * TASKS_A_THREAD) break;
    }
    for (int i = 0; i < n_seqs; i++) {
        double keys = seqs[i].pos0 + (seqs[i].n + 1) / 2.0;
        total += keys * seqs[i].n * c->n_heads;
        max_keys = seqs[i].pos0 + seqs[i].n > max_keys ? seqs[i].pos0 + seqs[i].n : max_keys;
    }
    double most = threads > 1 ? total / (double)(threads * TASKS_A_THREAD) : total;
    bool ok = grow(&x->task, &x->cap_task, n, sizeof *x->task);
    for (int i = 0; i < n_seqs && ok; i++) {
        const dt_infer_seq *s = &seqs[i];
        for (int r = 0, k; r < s->n && ok; r += k) {
            k = STORE_TOKENS - (s->pos0 + r) % STORE_TOKENS;
            k = k < s->n - r ? k : s->n - r;
            ok = grow(&x->store, &x->cap_store, x->n_store + 1, sizeof *x->store);
            if (ok) x->store[x->n_store++] = (store_task){.seq = i, .row0 = r, .n = k};
        }
        for (int h = 0; h < c->n_kv && ok; h++)
            for (int r = 0; r < s->n && ok; r += block) {
                attend_task t = {.seq = i, .head = h, .row0 = r, .n = s->n - r < block ? s->n - r : block};
                t.cost = (double)(s->pos0 + r + t.n) * t.n * G;
                if (s->n == 1) {
                    ok = cut_keys(x, &t, s->pos0 + 1, most);
                } else {
                    ok = grow(&x->task, &x->cap_task, x->n_task + 1, sizeof *x->task);
                    if (ok) x->task[x->n_task++] = t;
                }
            }
    }
    size_t stride = (dt_attn_scratch(dt_kv_type(kv), block * G, c->d_head) + 15) / 16 * 16;
    if (ok && stride > x->scratch_stride) {
        free(x->scratch);
        x->scratch = dt_alloc_aligned(threads * stride, sizeof(float));
        x->scratch_stride = x->scratch ? stride : 0;
        ok = x->scratch != NULL;
    }
    size_t need = ((size_t)max_keys + DT_KV_PAGE - 1) / DT_KV_PAGE;
    if (ok && need > x->cap_pages) {
        need += need / 2 + 16;
        free(x->pages);
        x->pages = dt_calloc(threads * 2 * need, sizeof *x->pages);
        x->cap_pages = x->pages ? need : 0;
        ok = x->pages != NULL;
    }
    if (!ok) return dt_fail(err, DUET_E_NOMEM, "inference: no memory for attention of %d sequences over %d keys", n_seqs, max_keys);
    qsort(x->task, x->n_task, sizeof *x->task, by_cost); /* the longest first: the end is shared out evenly */
    return DUET_OK;
}

/* ---- one layer ---- */

static void run_store(void *arg, size_t task, int thread) {
    const dt_attend *x = arg;
    const dt_hf_config *c = &x->m->cfg;
    const store_task *t = &x->store[task];
    const dt_infer_seq *s = &x->seqs[t->seq];
    int H = c->n_heads, K = c->n_kv, E = c->d_head;
    size_t W = (size_t)((H + 2 * K) * E);
    (void)thread;
    for (int i = t->row0; i < t->row0 + t->n; i++) {
        const float *row = x->rot + (size_t)(x->row0[t->seq] + i) * W;
        int at = s->pos0 + i, page = s->pages[at / DT_KV_PAGE];
        for (int h = 0; h < K; h++)
            dt_kernels_get()->kv_store(dt_kv_type(x->kv), dt_kv_k(x->kv, page, x->layer, h), dt_kv_v(x->kv, page, x->layer, h),
                                       at % DT_KV_PAGE, row + (H + h) * E, row + (H + K + h) * E, E);
    }
}

static dt_attn call_of(const dt_attend *x, int seq, int head, int row0, int n, int *first_key, int *n_keys) {
    const dt_hf_config *c = &x->m->cfg;
    int H = c->n_heads, K = c->n_kv, E = c->d_head, G = H / K;
    size_t row = (size_t)(x->row0[seq] + row0), W = (size_t)((H + 2 * K) * E), HE = (size_t)(H * E), at = (size_t)(head * G * E);
    for (int i = 0; i < n; i++)
        dt_attn_range(x->seqs[seq].pos0 + row0 + i, x->m->layer[x->layer].window, &first_key[i], &n_keys[i]);
    return (dt_attn){.q = x->rot + row * W + at, .o = x->out + row * HE + at, .ldq = W, .ldo = HE, .nq = n, .n_heads = G, .d_head = E,
                     .first_key = first_key, .n_keys = n_keys, .type = dt_kv_type(x->kv), .scale = dt_attn_scale(c)};
}

static void run_attend(void *arg, size_t task, int thread) {
    const dt_attend *x = arg;
    const attend_task *t = &x->task[task];
    const dt_infer_seq *s = &x->seqs[t->seq];
    int n_keys[DT_ATTN_TOKENS] = {0}, first_key[DT_ATTN_TOKENS] = {0};
    if (x->wanted_only && t->row0 + t->n <= s->n - s->n_logits) return;
    dt_attn a = call_of(x, t->seq, t->head, t->row0, t->n, first_key, n_keys);
    const void **k = x->pages + (size_t)thread * 2 * x->cap_pages, **v = k + x->cap_pages;
    int p0 = first_key[0] / DT_KV_PAGE, p1 = (n_keys[t->n - 1] + DT_KV_PAGE - 1) / DT_KV_PAGE;

    if (t->span1 > 0) {
        const int span = DT_ATTN_SPAN / DT_KV_PAGE;
        p0 = p0 > t->span0 * span ? p0 : t->span0 * span;
        p1 = p1 < t->span1 * span ? p1 : t->span1 * span;
    }
    for (int i = p0; i < p1; i++) {
        k[i] = dt_kv_k(x->kv, s->pages[i], x->layer, t->head);
        v[i] = dt_kv_v(x->kv, s->pages[i], x->layer, t->head);
    }
    a.k = k;
    a.v = v;
    a.scratch = x->scratch + (size_t)thread * x->scratch_stride;
    if (t->span1 > 0)
        dt_kernels_get()->attn_spans(&a, t->span0, t->span1, x->part + t->part);
    else
        dt_kernels_get()->attn(&a);
}

static void run_join(void *arg, size_t task, int thread) {
    const dt_attend *x = arg;
    const join_task *t = &x->join[task];
    int n_keys[1], first_key[1];
    dt_attn a = call_of(x, t->seq, t->head, 0, 1, first_key, n_keys);
    (void)thread;
    dt_kernels_get()->attn_join(&a, t->n_spans, x->part + t->part);
}

void dt_attend_run(dt_attend *x, int layer, bool wanted_only, const float *rot, float *out) {
    x->layer = layer;
    x->wanted_only = wanted_only;
    x->rot = rot;
    x->out = out;
    dt_pool_run(x->pool, x->n_store, run_store, x);
    dt_pool_run(x->pool, x->n_task, run_attend, x);
    dt_pool_run(x->n_join > 16 ? x->pool : NULL, x->n_join, run_join, x);
}
