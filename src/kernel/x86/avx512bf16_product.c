/* Products with BF16 weights on AVX-512 with the bfloat16 instructions. */
#include "kernel/x86/i16_avx512.h"

#include <string.h>

#include "kernel/x86/body_product.h"

#include "kernel/scalar/scalar.h"
#include "kernel/x86/body_dot.h"
#include "kernel/x86/body_product_float.h"

/* Whether the instruction rounds and flushes as packed.h says. Its definition leaves no doubt; a machine that read it in
 * another way would give other texts, so it is asked. */
static bool is_as_specified(void) {
    uint32_t state = 1;
    for (int i = 0; i < 4096; i++) {
        uint32_t x[3];
        float acc, w[2], a[2];
        for (int j = 0; j < 3; j++) { /* near 1, or where products and sums fall below 2^-126 */
            state = state * 1664525u + 1013904223u;
            const uint32_t e = i % 2 ? 124 + (state >> 8) % 6 : (j == 2 ? 1 : 60) + (state >> 8) % (j == 2 ? 5 : 8);
            state = state * 1664525u + 1013904223u;
            x[j] = (state >> 1 & 0x807f807fu) | e << 7 | e << 23;
        }
        memcpy(&acc, &x[2], sizeof acc);
        for (int j = 0; j < 2; j++) {
            const uint32_t wj = j ? x[0] & 0xffff0000u : x[0] << 16, aj = j ? x[1] & 0xffff0000u : x[1] << 16;
            memcpy(&w[j], &wj, sizeof wj);
            memcpy(&a[j], &aj, sizeof aj);
        }
        const float want = dt_fma_flushed(a[0], w[0], dt_fma_flushed(a[1], w[1], acc));
        const float got = _mm512_cvtss_f32(v_dot_bf16(v_set(acc), i_set(x[1]), i_set(x[0])));
        memcpy(&x[0], &want, sizeof want);
        memcpy(&x[1], &got, sizeof got);
        if (x[0] != x[1]) return false;
    }
    return true;
}

void dt_product_fill_avx512bf16(dt_kernels *t) {
    if (!is_as_specified()) return;
    t->product_bf16 = product_bf16;
    t->bf16_burst = bf16_burst;
}
