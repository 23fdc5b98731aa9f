/* The scalar table. */
#include "kernel/scalar/scalar.h"

void dt_kernels_fill_scalar(dt_kernels *t) {
    *t = (dt_kernels){
        .isa = DT_ISA_SCALAR,
        .name = "scalar",
        .gemm_tile = dt_scalar_gemm_tile,
        .act_rows = {1, 1, 1, 1, 1},
        .act_tile = dt_scalar_act_tile,
        .product_int = dt_scalar_product,
        .product_bf16 = dt_scalar_product,
        .product_float = dt_scalar_product,
        .int8_burst = dt_scalar_int8_burst,
        .bf16_burst = dt_scalar_bf16_burst,
        .rmsnorm = dt_scalar_rmsnorm,
        .rmsnorm_bwd = dt_scalar_rmsnorm_bwd,
        .rope = dt_scalar_rope,
        .attn = dt_scalar_attn,
        .attn_spans = dt_scalar_attn_spans,
        .attn_join = dt_scalar_attn_join,
        .kv_store = dt_scalar_kv_store,
        .attn_bwd = dt_scalar_attn_bwd,
        .swiglu = dt_scalar_swiglu,
        .swiglu_bwd = dt_scalar_swiglu_bwd,
        .geglu = dt_scalar_geglu,
        .geglu_bwd = dt_scalar_geglu_bwd,
        .add = dt_scalar_add,
        .xent = dt_scalar_xent,
        .xent_bwd = dt_scalar_xent_bwd,
        .max = dt_scalar_max,
        .exp_weights = dt_scalar_exp_weights,
        .adamw = dt_scalar_adamw,
        .sumsq = dt_scalar_sumsq,
    };
}
