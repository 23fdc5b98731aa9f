/* Products with packed weights on AVX2. */
#include "kernel/x86/i16_avx2.h"

#include <string.h>

#include "kernel/x86/body_product_table.h"

void dt_product_fill_avx2(dt_kernels *t) {
    fill_products(t);
}
