/* What the instruction-set files of this room offer to the table. Internal to the room. */
#ifndef DT_KERNEL_ISA_H
#define DT_KERNEL_ISA_H

#include "kernel/kernel.h"

#define DT_WEIGHT_LO (-87.0f) /* what exp_weights takes for 0 */
#define DT_LANES 16     /* lanes of a row reduction, on every instruction set */
#define DT_TILE_ROWS 12 /* rows of C that vector kernels hold in registers: row cuts fall on its multiples */
#define DT_ATTN_TILE 6     /* query rows that vector kernels of attention take together */
#define DT_ATTN_DIRECT 12  /* rows up to which they convert pages while reading; more share one conversion of a span */
#define DT_BWD_ROWS 32  /* query rows that vector kernels take together in the backward pass of attention */

/* The tanh form of gelu through a logistic function (kernel.h): 2 sqrt(2/pi), and 0.044715 times that. */
#define DT_GELU_1 0x1.988454p+0f
#define DT_GELU_3 0x1.2444f2p-4f

/* Each fills the whole table. The scalar one is the specification the others are tested against. */
void dt_kernels_fill_scalar(dt_kernels *t);

/* Runs n steps of independent fused multiply-adds in registers and gives the FLOPs done; *sink keeps
 * the compiler from removing them. */
typedef double (*dt_fma_burst_fn)(size_t n, float *sink);
double dt_fma_burst_scalar(size_t n, float *sink);

/* The result of a row over one span: o[E], then at the end m and z; z is -1 where the span has no key of the row. */
#define DT_NO_KEYS (-1.0f)

#if defined(__x86_64__)
void dt_kernels_fill_vnni_attn(dt_kernels *t); /* on top of avx512: attention with integer dot products */
void dt_kernels_fill_avx2(dt_kernels *t);
void dt_kernels_fill_avx512(dt_kernels *t);
/* The products with packed weights of those tables; then what a CPU may have beside AVX-512, with the same bits. */
void dt_product_fill_avx2(dt_kernels *t);
void dt_product_fill_avx512(dt_kernels *t);
void dt_product_fill_avx512vnni(dt_kernels *t);
void dt_product_fill_avx512bf16(dt_kernels *t);
double dt_fma_burst_avx2(size_t n, float *sink);
double dt_fma_burst_avx512(size_t n, float *sink);
#endif

#endif
