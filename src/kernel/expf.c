/* The scalar exponential and logarithm behind the kernels; see expf.h for how and why. */
#include "kernel/expf.h"
#include "kernel/kernel.h"

float dt_expf(float x) {
    return dt_expf_inline(x);
}

/* x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m-1)/(m+1), as an odd series
 * in double, whose truncation (s^21/21 with |s| < 0.172) is far below one float ulp. */
float dt_logf(float x) {
    if (!(x >= 0.0f))
        return x != x ? x : (float)NAN;
    if (x == 0.0f)
        return -INFINITY;
    if (x == INFINITY)
        return x;

    int e;
    double m = frexp((double)x, &e);
    if (m < 0.70710678118654752) {
        m *= 2.0;
        e--;
    }
    double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0.0;
    for (int k = 19; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return (float)(2.0 * s * sum + e * 0.69314718055994531);
}
