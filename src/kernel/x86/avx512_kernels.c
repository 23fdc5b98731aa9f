/* The AVX512 table: the kernel bodies, compiled for this instruction set. */
#include "kernel/x86/v16_avx512.h"

#include <string.h>
#include "kernel/x86/body_attn.h"
#include "kernel/x86/body_attn_bwd.h"
#include "kernel/x86/body_elem.h"
#include "kernel/x86/body_exp.h"
#include "kernel/x86/body_fma.h"
#include "kernel/x86/body_gemm.h"
#include "kernel/x86/body_kv.h"
#include "kernel/x86/body_rows.h"
#include "kernel/x86/body_xent.h"

void dt_kernels_fill_avx512(dt_kernels *t) {
    *t = (dt_kernels){
        .isa = DT_ISA_AVX512,
        .name = "avx512",
        .gemm_tile = gemm_tile,
        .rmsnorm = rmsnorm,
        .rmsnorm_bwd = rmsnorm_bwd,
        .rope = rope,
        .attn = attn,
        .attn_spans = attn_spans,
        .attn_join = attn_join,
        .kv_store = kv_store,
        .attn_bwd = attn_bwd,
        .swiglu = swiglu,
        .swiglu_bwd = swiglu_bwd,
        .geglu = geglu,
        .geglu_bwd = geglu_bwd,
        .add = add,
        .xent = xent,
        .xent_bwd = xent_bwd,
        .max = max_of,
        .exp_weights = exp_weights,
        .adamw = adamw,
        .sumsq = sumsq,
    };
    dt_product_fill_avx512(t);
}

double dt_fma_burst_avx512(size_t n, float *sink) {
    return fma_burst(n, sink);
}
