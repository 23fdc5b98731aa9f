/* All products of one instruction set, and their place in its table; included after its i16 header. */
#ifndef DT_KERNEL_BODY_PRODUCT_TABLE_H
#define DT_KERNEL_BODY_PRODUCT_TABLE_H

#include "kernel/x86/body_product.h"

#include "kernel/x86/body_acts.h"
#include "kernel/x86/body_dot.h"
#include "kernel/x86/body_product_float.h"
#include "kernel/x86/body_product_int.h"

static inline void fill_products(dt_kernels *t) {
    for (int f = 0; f < DT_N_ACT_FORMS; f++)
        t->act_rows[f] = f == DT_ACT_F32 || f == DT_ACT_BF16 ? FLOAT_ROWS : INT_ROWS;
    t->act_tile = act_tile;
    t->product_int = product_int;
    t->product_bf16 = product_bf16;
    t->product_float = product_float;
    t->int8_burst = int8_burst;
    t->bf16_burst = bf16_burst;
}

#endif
