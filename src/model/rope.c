/* Rotary position tables, computed in double and rounded once. [Su et al., RoFormer, arXiv 2104.09864;
 * llama3 scaling as in the golden README's formulas] */
#include "model/internal.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

static double frequency(const dt_hf_config *c, int j) {
    double f = pow(c->rope_theta, -2.0 * j / c->d_head);
    if (c->rope_kind != DT_ROPE_LLAMA3) return f;
    double wave = 2 * PI / f;
    if (wave < c->rope_original / c->rope_high) return f;
    if (wave > c->rope_original / c->rope_low) return f / c->rope_factor;
    double s = (c->rope_original / wave - c->rope_low) / (c->rope_high - c->rope_low);
    return (1 - s) * f / c->rope_factor + s * f;
}

duet_status dt_model_rope_reserve(duet_model *m, int n_pos, duet_err *err) {
    int half = m->cfg.d_head / 2;
    if (n_pos <= m->rope_len) return DUET_OK;
    if (n_pos > m->cfg.max_pos)
        return dt_fail(err, DUET_E_RANGE, "%d positions asked for, the model has %d (max_position_embeddings)", n_pos, m->cfg.max_pos);
    float *c = dt_realloc(m->cos_t, (size_t)n_pos * (size_t)half, sizeof *c);
    if (c) m->cos_t = c;
    float *s = dt_realloc(m->sin_t, (size_t)n_pos * (size_t)half, sizeof *s);
    if (s) m->sin_t = s;
    if (!c || !s) return dt_fail(err, DUET_E_NOMEM, "rope: no memory for %d positions", n_pos);
    for (int j = 0; j < half; j++) {
        double f = frequency(&m->cfg, j);
        for (int p = m->rope_len; p < n_pos; p++) {
            c[(size_t)p * (size_t)half + (size_t)j] = (float)cos(p * f);
            s[(size_t)p * (size_t)half + (size_t)j] = (float)sin(p * f);
        }
    }
    m->rope_len = n_pos;
    return DUET_OK;
}
