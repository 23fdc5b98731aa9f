/* Log-probabilities of chosen tokens, entropy, and their gradient, over rows of logits. */
#include "kernel/scalar/scalar.h"

void dt_scalar_xent(const float *logits, size_t ld, const int32_t *target, int T, int V, float inv_temp, float *logp,
                    float *entropy, float *lse) {
    for (int t = 0; t < T; t++) {
        const float *x = logits + t * ld;
        float top[DT_LANES], sum[DT_LANES] = {0}, dot[DT_LANES] = {0};
        for (int l = 0; l < DT_LANES; l++)
            top[l] = -INFINITY;
        for (int j = 0; j < V; j++) {
            float z = x[j] * inv_temp;
            top[j % DT_LANES] = z > top[j % DT_LANES] ? z : top[j % DT_LANES];
        }
        float mx = dt_fold_max(top);
        for (int j = 0; j < V; j++) {
            float d = x[j] * inv_temp - mx, p = dt_expf_inline(d);
            if (p == 0.0f)
                d = 0.0f; /* 0 * -inf must count as 0 */
            sum[j % DT_LANES] = sum[j % DT_LANES] + p;
            dot[j % DT_LANES] = fmaf(p, d, dot[j % DT_LANES]);
        }
        float z = dt_fold_sum(sum), log_z = dt_logf(z);
        if (lse)
            lse[t] = mx + log_z;
        if (entropy)
            entropy[t] = log_z - dt_fold_sum(dot) / z;
        if (logp && target[t] >= 0)
            logp[t] = (x[target[t]] * inv_temp - mx) - log_z;
    }
}

void dt_scalar_xent_bwd(float *logits, size_t ld, const int32_t *target, const float *lse, const float *coef, int T,
                        int V, float inv_temp) {
    for (int t = 0; t < T; t++) {
        float *x = logits + t * ld;
        float c = target[t] < 0 ? 0.0f : coef[t] * inv_temp;
        if (c == 0.0f) {
            for (int j = 0; j < V; j++)
                x[j] = 0.0f;
            continue;
        }
        for (int j = 0; j < V; j++)
            x[j] = -c * dt_expf_inline(x[j] * inv_temp - lse[t]);
        x[target[t]] = c + x[target[t]];
    }
}

float dt_scalar_max(const float *x, size_t n) {
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

void dt_scalar_exp_weights(float *w, const float *x, size_t n, float shift, float scale) {
    for (size_t i = 0; i < n; i++) {
        float d = (x[i] - shift) * scale;
        w[i] = d > DT_WEIGHT_LO ? dt_expf_inline(d) : 0.0f;
    }
}
