/* Views: checked sizes, shape tests, conversion to float. */
#include "tensor/quant.h"

#include <string.h>

bool dt_view_count(const dt_view *v, size_t *n_elems, size_t *n_bytes) {
    size_t n = 1, bytes = 0;
    for (int i = 0; i < v->n_dims; i++)
        if (!dt_mul_size(n, v->dims[i], &n)) return false;
    const size_t block = dt_dtype_block(v->dtype);
    if (block > 1 && (v->n_dims == 0 || v->dims[v->n_dims - 1] % block != 0)) return false;
    if (!dt_mul_size(n / block, dt_dtype_size(v->dtype), &bytes)) return false;
    if (n_elems) *n_elems = n;
    if (n_bytes) *n_bytes = bytes;
    return true;
}

bool dt_view_is(const dt_view *v, int n_dims, size_t d0, size_t d1) {
    return v->n_dims == n_dims && v->dims[0] == d0 && (n_dims < 2 || v->dims[1] == d1);
}

void dt_view_shape_str(const dt_view *v, char out[96]) {
    int at = snprintf(out, 96, "[");
    for (int i = 0; i < v->n_dims && at < 90; i++)
        at += snprintf(out + at, (size_t)(96 - at), "%s%zu", i ? ", " : "", v->dims[i]);
    if (at < 95) snprintf(out + at, (size_t)(96 - at), "]");
}

static float element(dt_dtype t, const uint8_t *p) {
    union {
        float f32;
        double f64;
        uint16_t u16;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint32_t u32;
        uint64_t u64;
    } x = {0};
    memcpy(&x, p, dt_dtype_size(t));
    switch (t) {
    case DT_F32: return x.f32;
    case DT_F64: return (float)x.f64;
    case DT_I8: return (float)x.i8;
    case DT_I16: return (float)x.i16;
    case DT_I32: return (float)x.i32;
    case DT_I64: return (float)x.i64;
    case DT_U8:
    case DT_BOOL: return (float)x.u8;
    case DT_U16: return (float)x.u16;
    case DT_U32: return (float)x.u32;
    case DT_U64: return (float)x.u64;
    default: return 0; /* halves and quantised: not by element */
    }
}

/* The types of real models, without a choice for each element. */
static void halves(dt_dtype t, const uint8_t *p, float *dst, size_t n) {
    for (size_t i = 0; t == DT_BF16 && i < n; i++) {
        uint16_t x;
        memcpy(&x, p + 2 * i, 2);
        uint32_t u = (uint32_t)x << 16;
        memcpy(dst + i, &u, 4);
    }
    for (size_t i = 0; t == DT_F16 && i < n; i++) {
        uint16_t x;
        memcpy(&x, p + 2 * i, 2);
        dst[i] = dt_f16_to_f32(x);
    }
}

void dt_view_to_f32(const dt_view *v, float *dst) {
    size_t n = 0, size = dt_dtype_size(v->dtype);
    const uint8_t *p = v->data;
    if (!dt_view_count(v, &n, NULL)) return;
    if (v->dtype == DT_F32) {
        if (n) memcpy(dst, p, n * 4);
        return;
    }
    if (dt_dtype_is_quantised(v->dtype)) {
        dt_quant_to_f32(v->dtype, p, dst, n);
        return;
    }
    if (v->dtype == DT_BF16 || v->dtype == DT_F16) {
        halves(v->dtype, p, dst, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        dst[i] = element(v->dtype, p + i * size);
}
