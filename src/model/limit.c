/* How fast a model could run here at best: what a step must compute and read, against what the machine was measured to
 * do. An upper bound for `duet bench` to show beside what it measures; nothing else depends on it. */
#include "model/internal.h"

#include <stdlib.h>

/* What the parts of a matrix cost: operations by the form in which they are multiplied, and bytes. */
typedef struct cost {
    double ops[DT_N_ACT_FORMS], bytes;
} cost;

static void add_matrix(cost *c, const dt_matrix *x, double rows) {
    for (int p = 0; p < x->n_parts; p++) {
        c->ops[dt_packed_form(&x->part[p])] += rows * 2.0 * x->part[p].N * x->part[p].K;
        c->bytes += (double)x->part[p].bytes;
    }
}

/* Every row passes the layers, the last of a sequence the head and what follows the last layer's attention; each matrix is read
 * once. */
static cost cost_of_step(const duet_model *m, double rows, double last_rows) {
    const dt_matrix *x;
    const dt_layer *last = &m->layer[m->cfg.n_layers - 1];
    cost c = {0};
    for (size_t i = 0; (x = dt_model_matrix_at(m, i)); i++)
        add_matrix(&c, x, x == &m->head || x == &last->o || x == &last->gate_up || x == &last->down ? last_rows : rows);
    return c;
}

static double rate_of(const duet_peak *p, dt_act_form f) {
    return f == DT_ACT_BF16 ? p->bf16_per_s : f == DT_ACT_Q32 || f == DT_ACT_Q256 ? p->int8_per_s : p->flops_per_s;
}

double dt_attn_pairs(double before, double n, int window) {
    double all = n * before + n * (n + 1) / 2, w = window;
    if (window <= 0 || before + n <= w) return all;
    double short_of = before < w ? w - before : 0; /* positions that see fewer than w keys, or just w */
    return short_of * before + short_of * (short_of + 1) / 2 + (n - short_of) * w;
}

duet_status duet_model_measure_peak(const duet_model *m, int n_threads, duet_peak *out, duet_err *err) {
    dt_pool *pool = NULL;
    cost c = cost_of_step(m, 1, 1);
    *out = (duet_peak){0};
    duet_status st = dt_pool_create(n_threads, &pool, err);
    if (st) return st;
    out->flops_per_s = dt_peak_flops(pool, 0.3);
    if (c.ops[DT_ACT_BF16] > 0) out->bf16_per_s = dt_peak_bf16(pool, 0.3);
    if (c.ops[DT_ACT_Q32] + c.ops[DT_ACT_Q256] > 0) out->int8_per_s = dt_peak_int8(pool, 0.3);
    dt_pool_destroy(pool);
    return duet_model_measure_reading(m, n_threads, &out->bytes_per_s, err);
}

duet_status duet_model_measure_reading(const duet_model *m, int n_threads, double *bytes_per_s, duet_err *err) {
    dt_pool *pool = NULL;
    duet_status st = dt_pool_create(n_threads, &pool, err);
    if (st) return st;
    *bytes_per_s = dt_peak_reading(pool, m->packed, m->packed_bytes, 0.2);
    dt_pool_destroy(pool);
    return *bytes_per_s > 0 ? DUET_OK : dt_fail(err, DUET_E_RANGE, "a model of %zu bytes of matrices is too small to measure how fast they are read", m->packed_bytes);
}

double duet_model_least_seconds(const duet_model *m, const duet_peak *peak, const duet_step *s, bool *memory_bound) {
    const dt_hf_config *c = &m->cfg;
    double B = (double)s->batch, n = (double)s->n_new, before = (double)s->pos0, shared = (double)s->shared;
    double pairs = 0, seen = 0; /* over layers: of query and key, causal; positions whose keys and values are read */
    for (int l = 0; l < c->n_layers; l++) {
        int window = dt_hf_config_window(c, l);
        double own = before - shared;
        pairs += l < c->n_layers - 1 ? dt_attn_pairs(before, n, window) : dt_attn_pairs(before + n - 1, 1, window);
        if (window > 0 && window < before)
            seen += B * (window < own ? window : own) + (window > own ? window - own : 0);
        else
            seen += B * own + shared;
    }
    cost w = cost_of_step(m, B * n, B);
    double compute = 4 * B * pairs * (double)c->n_heads * c->d_head / peak->flops_per_s; /* scores and mix */
    for (int f = 0; f < DT_N_ACT_FORMS; f++)
        if (w.ops[f] > 0) compute += w.ops[f] / rate_of(peak, (dt_act_form)f);
    double kv = (double)duet_model_kv_bytes(m, s->kv_type) / c->n_layers; /* of one position in one layer */
    double read = (w.bytes + kv * seen) / peak->bytes_per_s;
    *memory_bound = read > compute;
    return read > compute ? read : compute;
}
