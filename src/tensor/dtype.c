/* Element types: sizes, names, conversions. */
#include "tensor/tensor.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[DT_N_DTYPES] = {
    [DT_F32] = {"F32", 4}, [DT_BF16] = {"BF16", 2}, [DT_F16] = {"F16", 2}, [DT_F64] = {"F64", 8}, [DT_I8] = {"I8", 1},
    [DT_I16] = {"I16", 2}, [DT_I32] = {"I32", 4}, [DT_I64] = {"I64", 8}, [DT_U8] = {"U8", 1}, [DT_U16] = {"U16", 2},
    [DT_U32] = {"U32", 4}, [DT_U64] = {"U64", 8}, [DT_BOOL] = {"BOOL", 1},
};

size_t dt_dtype_size(dt_dtype t) {
    return types[t].size;
}

const char *dt_dtype_name(dt_dtype t) {
    return types[t].name;
}

bool dt_dtype_parse(const char *name, dt_dtype *out) {
    for (int i = 0; i < DT_N_DTYPES; i++) {
        if (!strcmp(types[i].name, name)) {
            *out = (dt_dtype)i;
            return true;
        }
    }
    return false;
}

float dt_bf16_to_f32(uint16_t b) {
    uint32_t u = (uint32_t)b << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t dt_f32_to_bf16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

float dt_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 31, m = h & 0x3ffu, u;
    if (e == 31) {
        u = sign | 0x7f800000u | m << 13;
    } else if (e) {
        u = sign | (e + 112) << 23 | m << 13;
    } else {
        float f = (float)m * 0x1p-24f; /* subnormal: exact */
        return sign ? -f : f;
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
}
