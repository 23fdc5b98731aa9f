/* Attention over paged keys and values, and its backward pass over one contiguous causal sequence. */
#include "kernel/scalar/scalar.h"

static void attend_row(const dt_attn *a, int i, float *p) {
    int first = a->first_key ? a->first_key[i] : 0, n = a->n_keys[i], E = a->d_head;
    const float *q = a->q + i * a->ldq;
    float *o = a->o + i * a->ldo, top[DT_LANES], sum[DT_LANES] = {0};

    for (int l = 0; l < DT_LANES; l++)
        top[l] = -INFINITY;
    for (int j = first; j < n; j++) {
        const float *k = a->k[j / DT_KV_PAGE] + j % DT_KV_PAGE;
        float s = 0.0f;
        for (int e = 0; e < E; e++)
            s = fmaf(q[e], k[(size_t)e * DT_KV_PAGE], s);
        p[j] = s * a->scale;
        top[j % DT_LANES] = p[j] > top[j % DT_LANES] ? p[j] : top[j % DT_LANES];
    }
    float mx = dt_fold_max(top);
    for (int j = first; j < n; j++) {
        p[j] = dt_expf_inline(p[j] - mx);
        sum[j % DT_LANES] = sum[j % DT_LANES] + p[j];
    }
    float z = dt_fold_sum(sum);
    for (int e = 0; e < E; e++) {
        float s = 0.0f;
        for (int j = first; j < n; j++)
            s = fmaf(p[j], a->v[j / DT_KV_PAGE][(size_t)(j % DT_KV_PAGE) * E + e], s);
        o[e] = first < n ? s / z : 0.0f; /* a row that sees nothing gives zeros */
    }
    if (a->max_out)
        a->max_out[i] = mx;
    if (a->sum_out)
        a->sum_out[i] = z;
}

void dt_scalar_attn(const dt_attn *a) {
    for (int i = 0; i < a->nq; i++)
        attend_row(a, i, a->scratch);
}

/* With p = exp(s - mx) / z, g_ij = d_o_i . v_j and c_i = d_o_i . o_i:
 *   ds_ij = p_ij (g_ij - c_i) scale;  dq_i = sum_j ds_ij k_j;  dk_j += sum_i ds_ij q_i;  dv_j += sum_i p_ij d_o_i.
 * Rows i go in ascending order, so every dk and dv element is one chain of fused multiply-adds. */
void dt_scalar_attn_bwd(const dt_attn_bwd *a) {
    int E = a->d_head;
    for (int i = 0; i < a->T; i++) {
        const float *q = a->q + i * a->ldq, *o = a->o + i * a->ldo, *d_o = a->d_o + i * a->ldo;
        float *dq = a->dq + i * a->lddq, inv_z = 1.0f / a->z[i], c[DT_LANES] = {0};
        for (int e = 0; e < E; e++)
            c[e % DT_LANES] = fmaf(d_o[e], o[e], c[e % DT_LANES]);
        float ci = dt_fold_sum(c);
        for (int e = 0; e < E; e++)
            dq[e] = 0.0f;
        for (int j = a->first_key ? a->first_key[i] : 0; j <= i; j++) {
            const float *k = a->k + j * a->ldkv, *v = a->v + j * a->ldkv;
            float *dk = a->dk + j * a->lddkv, *dv = a->dv + j * a->lddkv, s = 0.0f, g = 0.0f;
            for (int e = 0; e < E; e++)
                s = fmaf(q[e], k[e], s);
            for (int e = 0; e < E; e++)
                g = fmaf(d_o[e], v[e], g);
            float p = dt_expf_inline(s * a->scale - a->mx[i]) * inv_z;
            float ds = (p * (g - ci)) * a->scale;
            for (int e = 0; e < E; e++) {
                dq[e] = fmaf(ds, k[e], dq[e]);
                dk[e] = fmaf(ds, q[e], dk[e]);
                dv[e] = fmaf(p, d_o[e], dv[e]);
            }
        }
    }
}
