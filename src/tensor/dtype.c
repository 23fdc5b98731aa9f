/* Element types: sizes, names, conversions. */
#include "tensor/quant.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size, block;
} types[DT_N_DTYPES] = {
    [DT_F32] = {"F32", 4, 1}, [DT_BF16] = {"BF16", 2, 1}, [DT_F16] = {"F16", 2, 1}, [DT_F64] = {"F64", 8, 1}, [DT_I8] = {"I8", 1, 1},
    [DT_I16] = {"I16", 2, 1}, [DT_I32] = {"I32", 4, 1}, [DT_I64] = {"I64", 8, 1}, [DT_U8] = {"U8", 1, 1}, [DT_U16] = {"U16", 2, 1},
    [DT_U32] = {"U32", 4, 1}, [DT_U64] = {"U64", 8, 1}, [DT_BOOL] = {"BOOL", 1, 1},
    [DT_Q4_0] = {"Q4_0", sizeof(dt_q4_0), DT_QK}, [DT_Q4_1] = {"Q4_1", sizeof(dt_q4_1), DT_QK},
    [DT_Q5_0] = {"Q5_0", sizeof(dt_q5_0), DT_QK}, [DT_Q5_1] = {"Q5_1", sizeof(dt_q5_1), DT_QK},
    [DT_Q8_0] = {"Q8_0", sizeof(dt_q8_0), DT_QK}, [DT_Q2_K] = {"Q2_K", sizeof(dt_q2_k), DT_QK_K},
    [DT_Q3_K] = {"Q3_K", sizeof(dt_q3_k), DT_QK_K}, [DT_Q4_K] = {"Q4_K", sizeof(dt_q4_k), DT_QK_K},
    [DT_Q5_K] = {"Q5_K", sizeof(dt_q5_k), DT_QK_K}, [DT_Q6_K] = {"Q6_K", sizeof(dt_q6_k), DT_QK_K},
};

size_t dt_dtype_size(dt_dtype t) {
    return types[t].size;
}

size_t dt_dtype_block(dt_dtype t) {
    return types[t].block;
}

bool dt_dtype_is_quantised(dt_dtype t) {
    return types[t].block > 1;
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

uint16_t dt_f32_to_f16(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    const uint32_t sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    if (mag >= 0x7f800000u) return (uint16_t)(sign | 0x7c00u | (mag > 0x7f800000u ? 0x200u | (mag >> 13 & 0x3ffu) : 0));
    if (mag >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and more */
    if (mag < 0x38800000u) {                                  /* below 2^-14: a subnormal of steps of 2^-24 */
        const uint32_t e = mag >> 23;
        if (e < 102) return (uint16_t)sign; /* below 2^-25: half a step and less becomes 0 */
        const uint32_t m = (mag & 0x7fffffu) | 0x800000u, shift = 126 - e, half = 1u << (shift - 1);
        return (uint16_t)(sign | ((m + half - 1 + (m >> shift & 1)) >> shift));
    }
    return (uint16_t)(sign | ((mag - 0x38000000u + 0xfffu + (mag >> 13 & 1)) >> 13)); /* a carry may reach infinity */
}
