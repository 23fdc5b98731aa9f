/* Rotary position tables, computed in double and rounded once. [Su et al., RoFormer, arXiv 2104.09864; yarn: Peng et al.,
 * arXiv 2309.00071; llama3 scaling as in the golden README's formulas] */
#include "model/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846

/* The pair of a head that turns `turns` times over the original context: a real number. */
static double pair_of(const dt_hf_config *c, double turns) {
    return c->d_head * log(c->rope_original / (turns * 2 * PI)) / (2 * log(c->rope_theta));
}

/* Pairs below the ramp turn as they did, those above it `factor` times slower. */
static double yarn_ramp(const dt_hf_config *c, int j) {
    double low = pair_of(c, c->rope_fast), high = pair_of(c, c->rope_slow);
    if (!c->rope_untruncated) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, c->d_head - 1);
    if (low == high) high += 0.001;
    return fmin(fmax((j - low) / (high - low), 0), 1);
}

static double frequency(const dt_hf_config *c, int j) {
    double f = pow(c->rope_theta, -2.0 * j / c->d_head), ramp, wave, s;
    switch (c->rope_kind) {
    case DT_ROPE_NONE:
        break;
    case DT_ROPE_LINEAR:
        return f / c->rope_factor;
    case DT_ROPE_YARN:
        ramp = yarn_ramp(c, j);
        return (1 - ramp) * f + ramp * f / c->rope_factor;
    case DT_ROPE_LLAMA3:
        wave = 2 * PI / f;
        if (wave < c->rope_original / c->rope_high) return f;
        if (wave > c->rope_original / c->rope_low) return f / c->rope_factor;
        s = (c->rope_original / wave - c->rope_low) / (c->rope_high - c->rope_low);
        return (1 - s) * f / c->rope_factor + s * f;
    }
    return f;
}

static bool grow(dt_rope_table *t, size_t n) {
    float *c = dt_realloc(t->cos_t, n, sizeof *c);
    if (c) t->cos_t = c;
    float *s = dt_realloc(t->sin_t, n, sizeof *s);
    if (s) t->sin_t = s;
    return c && s;
}

/* Column j of positions p0 .. p1-1. */
static void fill(dt_rope_table *t, int half, int j, double f, double size, int p0, int p1) {
    for (int p = p0; p < p1; p++) {
        t->cos_t[(size_t)p * (size_t)half + (size_t)j] = (float)(size * cos(p * f));
        t->sin_t[(size_t)p * (size_t)half + (size_t)j] = (float)(size * sin(p * f));
    }
}

duet_status dt_model_rope_reserve(duet_model *m, int n_pos, duet_err *err) {
    const dt_hf_config *c = &m->cfg;
    int half = c->d_head / 2;
    bool local = c->window > 0 && c->rope_local_theta > 0;
    if (n_pos <= m->rope_len) return DUET_OK;
    if (n_pos > c->max_pos)
        return dt_fail(err, DUET_E_RANGE, "%d positions asked for, the model has %d (max_position_embeddings); " DT_LONGER, n_pos, c->max_pos);
    size_t n = (size_t)n_pos * (size_t)half;
    if (!grow(&m->rope, n) || (local && !grow(&m->rope_local, n)))
        return dt_fail(err, DUET_E_NOMEM, "rope: no memory for %d positions", n_pos);
    for (int j = 0; j < half; j++) {
        fill(&m->rope, half, j, frequency(c, j), c->rope_kind == DT_ROPE_YARN ? c->rope_attn : 1, m->rope_len, n_pos);
        if (local) fill(&m->rope_local, half, j, pow(c->rope_local_theta, -2.0 * j / c->d_head), 1, m->rope_len, n_pos);
    }
    m->rope_len = n_pos;
    return DUET_OK;
}
