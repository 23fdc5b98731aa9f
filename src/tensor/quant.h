/* Quantised element types of GGUF: the bytes of a block, and their value.
 *
 * A block holds DT_QK or DT_QK_K neighbouring elements of a row; d, m, dmin are half floats, little endian. With q[i] the
 * stored number of element i, from 0:
 *
 *   Q4_0  x = d * (q - 8)       q: 4 bits     low nibbles of qs are elements 0..15, high nibbles 16..31
 *   Q4_1  x = d * q + m         q: 4 bits     as Q4_0
 *   Q5_0  x = d * (q - 16)      q: 5 bits     as Q4_0; bit i of qh is the fifth bit of element i
 *   Q5_1  x = d * q + m         q: 5 bits     as Q5_0
 *   Q8_0  x = d * q             q: int8
 *   Q2_K  x = d * sc * q - dmin * mn     16 runs of 16; low nibble of scales[run] is sc, high nibble mn
 *   Q3_K  x = d * (sc - 32) * q          16 runs of 16, q in -4..3, sc of 6 bits
 *   Q4_K  x = d * sc * q - dmin * mn     8 runs of 32, sc and mn of 6 bits
 *   Q5_K  x = d * sc * q - dmin * mn     8 runs of 32, q of 5 bits
 *   Q6_K  x = d * sc * (q - 32)          16 runs of 16, sc int8
 *
 * How the bits of the K types are laid out stands beside their readers in quant.c. Source: the block structs of the GGUF
 * ecosystem (ggml), format version 2. Blocks may start at any byte. */
#ifndef DT_QUANT_H
#define DT_QUANT_H

#include "tensor/tensor.h"

#include <assert.h>

#define DT_QK 32    /* elements of a block of Q4_0 .. Q8_0 */
#define DT_QK_K 256 /* elements of a block of the K types */

typedef struct dt_q4_0 {
    uint8_t d[2], qs[16];
} dt_q4_0;
typedef struct dt_q4_1 {
    uint8_t d[2], m[2], qs[16];
} dt_q4_1;
typedef struct dt_q5_0 {
    uint8_t d[2], qh[4], qs[16];
} dt_q5_0;
typedef struct dt_q5_1 {
    uint8_t d[2], m[2], qh[4], qs[16];
} dt_q5_1;
typedef struct dt_q8_0 {
    uint8_t d[2];
    int8_t qs[32];
} dt_q8_0;
typedef struct dt_q2_k {
    uint8_t scales[16], qs[64], d[2], dmin[2];
} dt_q2_k;
typedef struct dt_q3_k {
    uint8_t hmask[32], qs[64], scales[12], d[2];
} dt_q3_k;
typedef struct dt_q4_k {
    uint8_t d[2], dmin[2], scales[12], qs[128];
} dt_q4_k;
typedef struct dt_q5_k {
    uint8_t d[2], dmin[2], scales[12], qh[32], qs[128];
} dt_q5_k;
typedef struct dt_q6_k {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint8_t d[2];
} dt_q6_k;

static_assert(sizeof(dt_q4_0) == 18 && sizeof(dt_q4_1) == 20 && sizeof(dt_q5_0) == 22 && sizeof(dt_q5_1) == 24, "32 elements");
static_assert(sizeof(dt_q8_0) == 34 && sizeof(dt_q2_k) == 84 && sizeof(dt_q3_k) == 110, "as in the file");
static_assert(sizeof(dt_q4_k) == 144 && sizeof(dt_q5_k) == 176 && sizeof(dt_q6_k) == 210, "as in the file");

/* n elements (whole blocks) of a quantised type to floats, as the formulas above say, each product and sum rounded once in
 * the order written: x = d * (q - 8); x = d * q + m; x = (d * sc) * q - dmin * mn. */
void dt_quant_to_f32(dt_dtype t, const void *blocks, float *dst, size_t n);

/* The other way (quantise.c), by search: of the steps tried, the one with the least squared error, large elements counting
 * more in the K types. n finite floats, whole blocks; also to F32, F16 and BF16. Only types that dt_quant_can_write. A pure
 * function of a block: threads may share a tensor's rows. */
bool dt_quant_can_write(dt_dtype t);
void dt_quant_from_f32(dt_dtype t, const float *src, void *dst, size_t n);

int dt_q3_k_scale(const uint8_t scales[12], int run);                          /* run 0..15 -> -32..31 */
void dt_q4_k_scale(const uint8_t scales[12], int run, int *scale, int *min); /* run 0..7; Q4_K and Q5_K */

#endif
