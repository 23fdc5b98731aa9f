/* Products with packed weights on AVX-512 alone. */
#include "kernel/x86/i16_avx512.h"

#include <string.h>

#include "kernel/x86/body_product_table.h"

void dt_product_fill_avx512(dt_kernels *t) {
    fill_products(t);
}
