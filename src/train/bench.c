/* How fast a training step is, against what this machine can do: forward, backward, AdamW and repacking on random tokens. */
#include "train/train.h"

#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A qwen3 of the given size: heads of 32, feed-forward three times the width, tied. */
static int config_of(char *out, size_t n, int layers, int width, int vocab) {
    int heads = width / 32 > 0 ? width / 32 : 1;
    return snprintf(out, n,
                    "{\"model_type\":\"qwen3\",\"num_hidden_layers\":%d,\"hidden_size\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
                    "\"head_dim\":32,\"intermediate_size\":%d,\"vocab_size\":%d,\"tie_word_embeddings\":true,\"max_position_embeddings\":32768}",
                    layers, width, heads, heads, 3 * width, vocab);
}

typedef struct bench {
    duet_model *m;
    dt_pool *pool;
    dt_learn *l;
    dt_optim optim;
    float *grad, *logp, *coef;
    int32_t *ids;
    int *start;
    dt_batch batch;
} bench;

static duet_status setup(bench *b, const char *config, size_t n, int n_seqs, int seq_len, int n_threads, duet_err *err) {
    size_t T = (size_t)n_seqs * (size_t)seq_len;
    dt_learn_options opt = {.max_tokens = (int)T};
    duet_status st = duet_model_new(config, n, 1, &b->m, err);
    if (!st) st = dt_pool_create(n_threads, &b->pool, err);
    if (!st) st = dt_learn_create(b->m, b->pool, &opt, &b->l, err);
    if (st) return st;
    b->optim = (dt_optim){.m = dt_alloc_aligned(b->m->n_params, sizeof(float)), .v = dt_alloc_aligned(b->m->n_params, sizeof(float)), .n = b->m->n_params};
    b->grad = dt_alloc_aligned(b->m->n_params, sizeof(float));
    b->logp = dt_calloc(T, sizeof *b->logp);
    b->coef = dt_calloc(T, sizeof *b->coef);
    b->ids = dt_calloc(T, sizeof *b->ids);
    b->start = dt_calloc((size_t)n_seqs + 1, sizeof *b->start);
    if (!b->optim.m || !b->optim.v || !b->grad || !b->logp || !b->coef || !b->ids || !b->start) return dt_fail(err, DUET_E_NOMEM, "training benchmark: no memory");
    dt_rng r = dt_rng_make(1, 0);
    for (size_t t = 0; t < T; t++) {
        b->ids[t] = (int32_t)dt_rng_below(&r, (uint32_t)b->m->cfg.n_vocab);
        b->coef[t] = -1.0f / (float)T;
    }
    for (int s = 0; s <= n_seqs; s++)
        b->start[s] = s * seq_len;
    b->batch = (dt_batch){.ids = b->ids, .start = b->start, .n_seqs = n_seqs};
    return DUET_OK;
}

static void teardown(bench *b) {
    dt_learn_destroy(b->l);
    dt_pool_destroy(b->pool);
    duet_model_close(b->m);
    free(b->optim.m);
    free(b->optim.v);
    free(b->grad);
    free(b->logp);
    free(b->coef);
    free(b->ids);
    free(b->start);
}

static duet_status step(bench *b, duet_err *err) {
    const dt_adamw h = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.01, .max_norm = 1};
    duet_status st = dt_learn_forward(b->l, &b->batch, 1.0f, b->logp, NULL, err);
    if (st) return st;
    memset(b->grad, 0, b->m->n_params * sizeof *b->grad);
    st = dt_learn_backward(b->l, b->coef, b->grad, err);
    if (st) return st;
    dt_adamw_step(b->pool, &h, &b->optim, b->m->params, b->grad, NULL, NULL);
    return dt_model_publish(b->m, b->pool, err);
}

duet_status duet_train_bench(const char *config_json, int n_layers, int d_model, int n_vocab, int n_seqs, int seq_len, int n_threads,
                             int repeats, const volatile int *cancel, double *tokens_per_s, double *flops_per_s, double *peak_flops, duet_err *err) {
    char own[512];
    bench b = {0};
    double *seconds = NULL;
    if (n_seqs < 1 || seq_len < 2 || repeats < 1 || (double)n_seqs * seq_len > 1 << 24)
        return dt_fail(err, DUET_E_RANGE, "training benchmark: %d sequences of %d tokens, %d times: out of range", n_seqs, seq_len, repeats);
    size_t n = config_json ? strlen(config_json) : (size_t)config_of(own, sizeof own, n_layers, d_model, n_vocab);
    duet_status st = setup(&b, config_json ? config_json : own, n, n_seqs, seq_len, n_threads, err);
    if (st) goto done;
    seconds = dt_calloc((size_t)repeats, sizeof *seconds);
    if (!seconds) {
        st = dt_fail(err, DUET_E_NOMEM, "training benchmark: no memory");
        goto done;
    }
    st = step(&b, err); /* the first touches the memory */
    *peak_flops = dt_peak_flops(b.pool, 0.3);
    for (int i = 0; !st && i < repeats; i++) {
        if (cancel && *cancel) {
            st = dt_fail(err, DUET_E_CANCELLED, "training benchmark: stopped before step %d", i + 1);
            break;
        }
        double t = dt_now(), p;
        st = step(&b, err);
        seconds[i] = dt_now() - t;
        p = dt_peak_flops(b.pool, 0.1); /* beside every step: the machine's speed drifts */
        if (p > *peak_flops) *peak_flops = p;
    }
    if (st) goto done;
    for (int i = 0; i < repeats; i++)
        tokens_per_s[i] = (double)n_seqs * seq_len / seconds[i];
    qsort(seconds, (size_t)repeats, sizeof *seconds, by_value);
    double median = seconds[repeats / 2];
    *flops_per_s = dt_model_train_flops(&b.m->cfg, &b.batch) / median;
done:
    free(seconds);
    teardown(&b);
    return st;
}
