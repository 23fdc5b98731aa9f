/* exp and log with a fixed sequence of operations, so that every machine gives the same bits.
 *
 * exp(x): x = n*ln2 + r with |r| <= ln2/2; exp(r) by a polynomial of degree 6 (error 0.2 ulp before
 * rounding), times 2^(n/2) twice so that results near both ends of the range round once.
 * The vector versions (x86/v16_*.h) do these very steps; test_expf compares their bits. */
#ifndef DT_KERNEL_EXPF_H
#define DT_KERNEL_EXPF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define DT_EXP_HI 89.0f     /* exp overflows to infinity from here on */
#define DT_EXP_LO (-104.0f) /* and rounds to 0 from here down */
#define DT_EXP_LOG2E 0x1.715476p+0f
#define DT_EXP_MAGIC 0x1.8p+23f /* adding it rounds to an integer, held in the low bits */
#define DT_EXP_MAGIC_BITS 0x4b400000u
#define DT_EXP_LN2_HI 0x1.63p-1f /* few bits: n times this is exact */
#define DT_EXP_LN2_LO (-0x1.bd0106p-13f)
#define DT_EXP_C2 0x1p-1f
#define DT_EXP_C3 0x1.5554dcp-3f
#define DT_EXP_C4 0x1.555518p-5f
#define DT_EXP_C5 0x1.120c62p-7f
#define DT_EXP_C6 0x1.6d11fep-10f

static inline float dt_expf_inline(float x) {
    if (x != x)
        return x;
    if (x > DT_EXP_HI)
        x = DT_EXP_HI;
    if (x < DT_EXP_LO)
        x = DT_EXP_LO;

    float t = fmaf(x, DT_EXP_LOG2E, DT_EXP_MAGIC);
    float n = t - DT_EXP_MAGIC;
    float r = fmaf(n, -DT_EXP_LN2_HI, x);
    r = fmaf(n, -DT_EXP_LN2_LO, r);
    float p = fmaf(DT_EXP_C6, r, DT_EXP_C5);
    p = fmaf(p, r, DT_EXP_C4);
    p = fmaf(p, r, DT_EXP_C3);
    p = fmaf(p, r, DT_EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);

    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    int i = (int)bits - (int)DT_EXP_MAGIC_BITS; /* -150..128 */
    int half = i >= 0 ? i / 2 : -((1 - i) / 2); /* floor(i/2), as an arithmetic shift gives */
    uint32_t b1 = (uint32_t)(half + 127) << 23, b2 = (uint32_t)(i - half + 127) << 23;
    float s1, s2;
    memcpy(&s1, &b1, sizeof s1);
    memcpy(&s2, &b2, sizeof s2);
    return p * s1 * s2;
}

/* Natural logarithm, within 1 ulp, for one number a row. log(0) = -inf, log(negative) = NaN. */
float dt_logf(float x);

#endif
