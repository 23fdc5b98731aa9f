/* The AVX2 table: the kernel bodies, compiled for this instruction set. */
#include "kernel/x86/v16_avx2.h"

#include <string.h>

#include "kernel/x86/body_fma.h"
#include "kernel/x86/body_gemm.h"

void dt_kernels_fill_avx2(dt_kernels *t) {
    dt_kernels_fill_scalar(t);
    t->isa = DT_ISA_AVX2;
    t->name = "avx2";
    t->gemm_tile = gemm_tile;
}

double dt_fma_burst_avx2(size_t n, float *sink) {
    return fma_burst(n, sink);
}
