/* How fast a model could run here at best: what a step must compute and read, against what the machine was measured to
 * do. An upper bound for `duet bench` to show beside what it measures; nothing else depends on it. */
#include "model/internal.h"

#include <stdlib.h>

/* Multiply-adds a token passes in the matrices of the layers. */
static double layer_macs(const dt_hf_config *c) {
    double D = c->d_model, F = c->d_ffn, HE = (double)c->n_heads * c->d_head, W = HE + 2.0 * c->n_kv * c->d_head;
    return c->n_layers * (W * D + HE * D + 3 * F * D);
}

static double head_macs(const dt_hf_config *c) {
    return (double)c->n_vocab * c->d_model;
}

double dt_attn_pairs(double before, double n, int window) {
    double all = n * before + n * (n + 1) / 2, w = window;
    if (window <= 0 || before + n <= w) return all;
    double short_of = before < w ? w - before : 0; /* positions that see fewer than w keys, or just w */
    return short_of * before + short_of * (short_of + 1) / 2 + (n - short_of) * w;
}

duet_status duet_model_measure_peak(const duet_model *m, int n_threads, duet_peak *out, duet_err *err) {
    dt_pool *pool = NULL;
    double bytes = (layer_macs(&m->cfg) + head_macs(&m->cfg)) * sizeof(float);
    *out = (duet_peak){0};
    duet_status st = dt_pool_create(n_threads, &pool, err);
    if (st) return st;
    out->flops_per_s = dt_peak_flops(pool, 0.3);
    out->bytes_per_s = dt_peak_bandwidth(pool, bytes < 1e15 ? (size_t)bytes : 0, 0.3);
    dt_pool_destroy(pool);
    if (!(out->bytes_per_s > 0)) return dt_fail(err, DUET_E_NOMEM, "no memory to measure how fast memory is read");
    return DUET_OK;
}

double duet_model_least_seconds(const duet_model *m, const duet_peak *peak, size_t batch, size_t n_new, size_t pos0,
                                bool *memory_bound) {
    const dt_hf_config *c = &m->cfg;
    double B = (double)batch, n = (double)n_new, before = (double)pos0;
    double pairs = 0, seen = 0; /* over layers: of query and key, causal; positions whose keys and values are read */
    for (int l = 0; l < c->n_layers; l++) {
        int window = dt_hf_config_window(c, l);
        pairs += dt_attn_pairs(before, n, window);
        seen += window > 0 && window < before ? window : before;
    }
    double macs = n * layer_macs(c) + head_macs(c) + 2 * pairs * (double)c->n_heads * c->d_head;
    double floats = layer_macs(c) + head_macs(c) + B * 2.0 * c->n_kv * c->d_head * seen;
    double compute = 2 * B * macs / peak->flops_per_s, read = floats * sizeof(float) / peak->bytes_per_s;
    *memory_bound = read > compute;
    return read > compute ? read : compute;
}
