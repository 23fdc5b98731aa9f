/* Keys and values of a token into a page, rounded to its type as scalar/attn.c spells out. */
#ifndef DT_KERNEL_BODY_KV_H
#define DT_KERNEL_BODY_KV_H

#include "kernel/x86/body_blocks.h"

static uint16_t bytes_of_block(int8_t out[32], const float *x) {
    v16 a = v_load(x), b = v_load(x + 16), top = v_max(v_abs(b), v_max(v_abs(a), v_zero()));
    float d = v_fold_max(top) / 127.0f;
    uint16_t half = float_to_half(d > 65504.0f ? 65504.0f : d);
    d = half_to_float(half);
    v16 inv = v_set(d > 0.0f ? 1.0f / d : 0.0f);
    v_store_bytes(out, v_within_127(v_mul(a, inv)));
    v_store_bytes(out + 16, v_within_127(v_mul(b, inv)));
    return half;
}

static void halves_of(uint16_t *out, const float *x, size_t n) {
    v16 hi = v_set(65504.0f), lo = v_set(-65504.0f);
    FOR_BLOCKS(n, {
        uint16_t h[16];
        v_store_half(h, v_min(hi, v_max(lo, get(x + i, b))));
        memcpy(out + i, h, b * sizeof *h);
    });
}

static void kv_store(dt_dtype type, void *k_page, void *v_page, int slot, const float *k, const float *v, int d_head) {
    size_t E = (size_t)d_head, s = (size_t)slot;
    if (type == DT_F32) {
        float *kp = k_page, *vp = v_page;
        for (size_t e = 0; e < E; e++)
            kp[e * DT_KV_PAGE + s] = k[e];
        memcpy(vp + s * E, v, E * sizeof *v);
    } else if (type == DT_F16) {
        uint16_t *kp = k_page, *vp = v_page, h[64];
        halves_of(vp + s * E, v, E);
        for (size_t e0 = 0; e0 < E; e0 += 64) {
            size_t n = E - e0 < 64 ? E - e0 : 64;
            halves_of(h, k + e0, n);
            for (size_t e = 0; e < n; e++)
                kp[(e0 + e) * DT_KV_PAGE + s] = h[e];
        }
    } else {
        size_t blocks = E / 32;
        uint16_t *kd = k_page, *vd = v_page;
        int8_t *kq = (int8_t *)(kd + blocks * DT_KV_PAGE), *vq = (int8_t *)(vd + blocks * DT_KV_PAGE), q[32];
        for (size_t b = 0; b < blocks; b++) {
            kd[b * DT_KV_PAGE + s] = bytes_of_block(q, k + 32 * b);
            for (size_t i = 0; i < 8; i++)
                memcpy(kq + (8 * b + i) * 4 * DT_KV_PAGE + 4 * s, q + 4 * i, 4);
            vd[s * blocks + b] = bytes_of_block(vq + s * E + 32 * b, v + 32 * b);
        }
    }
}

#endif
