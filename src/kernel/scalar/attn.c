/* Attention over paged keys and values, and its backward pass over one contiguous causal sequence. */
#include "kernel/scalar/scalar.h"

#include <string.h>

/* ---- pages ---- */

static float largest(const float *x, int n) {
    float top = 0.0f;
    for (int i = 0; i < n; i++)
        top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    return top;
}

static int8_t to_int8(float x) {
    float r = rintf(x);
    return (int8_t)(r > -127.0f ? r < 127.0f ? (int)r : 127 : -127);
}

static uint16_t to_half(float x) {
    return dt_f32_to_f16(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

/* 32 floats as bytes; the scale as a half. */
static uint16_t to_block(const float *x, int8_t out[32]) {
    uint16_t d = to_half(largest(x, 32) / 127.0f);
    float f = dt_f16_to_f32(d), r = f > 0.0f ? 1.0f / f : 0.0f;
    for (int i = 0; i < 32; i++)
        out[i] = to_int8(x[i] * r);
    return d;
}

void dt_scalar_kv_store(dt_dtype type, void *k_page, void *v_page, int slot, const float *k, const float *v, int E) {
    if (type == DT_F32) {
        for (int e = 0; e < E; e++)
            ((float *)k_page)[e * DT_KV_PAGE + slot] = k[e];
        memcpy((float *)v_page + slot * E, v, (size_t)E * sizeof *v);
    } else if (type == DT_F16) {
        for (int e = 0; e < E; e++) {
            ((uint16_t *)k_page)[e * DT_KV_PAGE + slot] = to_half(k[e]);
            ((uint16_t *)v_page)[slot * E + e] = to_half(v[e]);
        }
    } else {
        int blocks = E / 32;
        uint16_t *kd = k_page, *vd = v_page;
        int8_t *kq = (int8_t *)(kd + blocks * DT_KV_PAGE), *vq = (int8_t *)(vd + blocks * DT_KV_PAGE), q[32];
        for (int b = 0; b < blocks; b++) {
            kd[b * DT_KV_PAGE + slot] = to_block(k + 32 * b, q);
            for (int i = 0; i < 32; i++)
                kq[(8 * b + i / 4) * 4 * DT_KV_PAGE + 4 * slot + i % 4] = q[i];
            vd[slot * blocks + b] = to_block(v + 32 * b, vq + slot * E + 32 * b);
        }
    }
}

static float key_at(dt_dtype type, const void *page, int slot, int e) {
    size_t i = (size_t)e * DT_KV_PAGE + (size_t)slot;
    return type == DT_F32 ? ((const float *)page)[i] : dt_f16_to_f32(((const uint16_t *)page)[i]);
}

static float value_at(dt_dtype type, const void *page, int slot, int e, int E) {
    size_t i = (size_t)slot * (size_t)E + (size_t)e;
    const uint16_t *h = page;
    if (type == DT_F32)
        return ((const float *)page)[i];
    if (type == DT_F16)
        return dt_f16_to_f32(h[i]);
    const int block = slot * (E / 32) + e / 32;
    const int8_t *numbers = (const int8_t *)(h + E / 32 * DT_KV_PAGE);
    return dt_f16_to_f32(h[block]) * (float)numbers[i];
}

/* ---- forward ---- */

static float dot_q8(const float *q, const void *page, int slot, int E) {
    const uint16_t *d = page;
    const int8_t *k = (const int8_t *)(d + E / 32 * DT_KV_PAGE);
    float s = 0.0f;
    for (int b = 0; b < E / 32; b++) {
        float dq = largest(q + 32 * b, 32) / 127.0f, r = 0.0f;
        if (dq < 1e-30f)
            dq = 0.0f;
        else
            r = 1.0f / dq;
        int sum = 0;
        for (int i = 0; i < 32; i++)
            sum += to_int8(q[32 * b + i] * r) * k[(8 * b + i / 4) * 4 * DT_KV_PAGE + 4 * slot + i % 4];
        s = fmaf(dq, (float)sum * dt_f16_to_f32(d[b * DT_KV_PAGE + slot]), s);
    }
    return s;
}

static float score(const dt_attn *a, const float *q, int j) {
    const void *page = a->k[j / DT_KV_PAGE];
    float s = 0.0f;
    if (a->type == DT_Q8_0)
        return dot_q8(q, page, j % DT_KV_PAGE, a->d_head) * a->scale;
    for (int e = 0; e < a->d_head; e++)
        s = fmaf(q[e], key_at(a->type, page, j % DT_KV_PAGE, e), s);
    return s * a->scale;
}

/* Keys [j0, j1) of one span. o[E] is written; p has room for a span. */
static void attend_span(const dt_attn *a, const float *q, int j0, int j1, float *p, float *o, float *m, float *z) {
    int E = a->d_head;
    float top[DT_LANES], sum[DT_LANES] = {0};
    *m = -INFINITY;
    *z = DT_NO_KEYS;
    if (j0 >= j1)
        return;
    for (int l = 0; l < DT_LANES; l++)
        top[l] = -INFINITY;
    for (int j = j0; j < j1; j++) {
        p[j - j0] = score(a, q, j);
        top[j % DT_LANES] = p[j - j0] > top[j % DT_LANES] ? p[j - j0] : top[j % DT_LANES];
    }
    *m = dt_fold_max(top);
    for (int j = j0; j < j1; j++) {
        p[j - j0] = dt_expf_inline(p[j - j0] - *m);
        sum[j % DT_LANES] = sum[j % DT_LANES] + p[j - j0];
    }
    *z = dt_fold_sum(sum);
    for (int e = 0; e < E; e++) {
        float s = 0.0f;
        for (int j = j0; j < j1; j++)
            s = fmaf(p[j - j0], value_at(a->type, a->v[j / DT_KV_PAGE], j % DT_KV_PAGE, e, E), s);
        o[e] = s;
    }
}

static void join(float *O, float *M, float *Z, const float *o, float m, float z, int E) {
    if (z == DT_NO_KEYS)
        return;
    if (*Z == DT_NO_KEYS) {
        memcpy(O, o, (size_t)E * sizeof *O);
        *M = m;
        *Z = z;
        return;
    }
    float top = m > *M ? m : *M, b = dt_expf_inline(m - top), a = dt_expf_inline(*M - top);
    *M = top;
    *Z = fmaf(b, z, a * *Z);
    for (int e = 0; e < E; e++)
        O[e] = fmaf(b, o[e], a * O[e]);
}

static void finish(const dt_attn *a, int row, float *o, float M, float Z) {
    for (int e = 0; e < a->d_head; e++)
        o[e] = Z == DT_NO_KEYS ? 0.0f : o[e] / Z;
    if (a->max_out)
        a->max_out[row] = M;
    if (a->sum_out)
        a->sum_out[row] = Z == DT_NO_KEYS ? 0.0f : Z;
}

/* The keys of token i in a span: *j0 .. *j1 - 1. */
static void span_of(const dt_attn *a, int i, int span, int *j0, int *j1) {
    int first = a->first_key ? a->first_key[i] : 0, from = span * DT_ATTN_SPAN;
    *j0 = first > from ? first : from;
    *j1 = a->n_keys[i] < from + DT_ATTN_SPAN ? a->n_keys[i] : from + DT_ATTN_SPAN;
}

void dt_scalar_attn(const dt_attn *a) {
    int E = a->d_head;
    for (int row = 0; row < a->nq * a->n_heads; row++) {
        int i = row / a->n_heads, h = row % a->n_heads, j0, j1;
        float *o = a->o + i * a->ldo + h * E, *part = a->scratch + DT_ATTN_SPAN, M = -INFINITY, Z = DT_NO_KEYS, m, z;
        for (int span = 0; span * DT_ATTN_SPAN < a->n_keys[i]; span++) {
            span_of(a, i, span, &j0, &j1);
            attend_span(a, a->q + i * a->ldq + h * E, j0, j1, a->scratch, part, &m, &z);
            join(o, &M, &Z, part, m, z, E);
        }
        finish(a, row, o, M, Z);
    }
}

void dt_scalar_attn_spans(const dt_attn *a, int span0, int span1, float *part) {
    int E = a->d_head, j0, j1;
    size_t P = dt_attn_part(E);
    for (int span = span0; span < span1; span++)
        for (int row = 0; row < a->nq * a->n_heads; row++, part += P) {
            int i = row / a->n_heads, h = row % a->n_heads;
            span_of(a, i, span, &j0, &j1);
            attend_span(a, a->q + i * a->ldq + h * E, j0, j1, a->scratch, part, &part[P - 2], &part[P - 1]);
        }
}

void dt_scalar_attn_join(const dt_attn *a, int n, const float *part) {
    int E = a->d_head, rows = a->nq * a->n_heads;
    size_t P = dt_attn_part(E);
    for (int row = 0; row < rows; row++) {
        float *o = a->o + row / a->n_heads * a->ldo + row % a->n_heads * E, M = -INFINITY, Z = DT_NO_KEYS;
        for (int span = 0; span < n; span++) {
            const float *p = part + ((size_t)span * rows + row) * P;
            join(o, &M, &Z, p, p[P - 2], p[P - 1], E);
        }
        finish(a, row, o, M, Z);
    }
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
