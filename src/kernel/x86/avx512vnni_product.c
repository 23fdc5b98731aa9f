/* Products with quantised weights on AVX-512 with VNNI. */
#include "kernel/x86/i16_avx512.h"

#include <string.h>

#include "kernel/x86/body_product.h"

#include "kernel/x86/body_dot.h"
#include "kernel/x86/body_product_int.h"

void dt_product_fill_avx512vnni(dt_kernels *t) {
    t->product_int = product_int;
    t->int8_burst = int8_burst;
}
