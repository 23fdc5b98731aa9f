/* A weight matrix as the forward pass reads it: repacked once from the layout of its file, in its own element type.
 *
 * THE RESULT OF A ROW IS SPECIFIED for every type, as for the table in kernel.h: y[n] depends on row x and on the n-th row
 * of W only, never on the other rows of the batch, the thread count or the instruction set. acc starts from 0 (or from C
 * when accumulating); k and blocks ascend; every fma and every product below rounds once.
 *
 *   F32, F16, exact BF16   acc = fma(x[k], w[k], acc), w widened.
 *   BF16    x is rounded to bfloat16 (nearest even). For each pair of k (the last one filled up with 0):
 *             acc = fma(x[k+1], w[k+1], acc); acc = fma(x[k], w[k], acc)
 *           where an operand below 2^-126 counts as 0 and a result below it becomes 0, as the bfloat16 instructions do.
 *   Q4_0 Q4_1 Q5_0 Q5_1 Q8_0   x is rounded to int8 a[k] with a scale s for each 32 (below). For each block of 32, with
 *           dot = sum q[k] * a[k] in integers, q as in quant.h with its 8 or 16 taken off:
 *             acc = fma((float)dot, d * s, acc)
 *             acc = fma(m, s * (float)(sum a[k]), acc)               where the type has m
 *   Q2_K .. Q6_K   the same with a scale s for each 256. For each block of 256, with dot[r] of run r as above:
 *             acc = fma((float)(sum over r of sc[r] * dot[r]), d * s, acc)
 *             acc = fma(-(float)(sum over r of mn[r] * (sum of a over run r)), dmin * s, acc)   where the type has dmin
 *
 *   Rounding to int8: amax = largest |x|, s = amax / 127, a = (nearest even integer of x * (127 / amax)). Where amax is below
 *   2^-100: s = 0, a = 0. Where a value is infinite or NaN: s = NaN, a = 0, so y is NaN.
 *
 * Which NaN comes out is not specified.
 *
 * Threads: filling and multiplying use the pool they are given; one matrix may be read by many. */
#ifndef DT_PACKED_H
#define DT_PACKED_H

#include "kernel/kernel.h"

typedef struct dt_packed {
    dt_dtype type;
    bool exact;   /* BF16: multiply with float activations, as if the weights were F32. The caller's choice, at any time */
    int N, K;     /* outputs (rows in the file), inputs */
    void *data;   /* owned where `owned`; dt_packed_clear */
    size_t bytes; /* of data */
    bool owned;
} dt_packed;

bool dt_packed_supports(dt_dtype type); /* whether a product with this type exists; K must be whole blocks of it */
size_t dt_packed_bytes(dt_dtype type, int N, int K); /* a multiple of 64; at most 3.6 % above the file's (N of whole panels) */
/* Memory for W[N,K], contents undefined. DUET_E_NOMEM, DUET_E_UNSUPPORTED, DUET_E_RANGE (K not in whole blocks). */
duet_status dt_packed_init(dt_packed *w, dt_dtype type, int N, int K, duet_err *err);
/* The same in memory of the caller: dt_packed_bytes, 64-byte aligned, from dt_pages_alloc where it is to be fast. */
duet_status dt_packed_place(dt_packed *w, dt_dtype type, int N, int K, void *memory, duet_err *err);
void dt_packed_clear(dt_packed *w); /* w becomes empty; an empty one is fine */
/* Packs rows [n0, n1), given one after the other in the file layout of the type, from any byte. Parallel over panels of
 * DT_NR rows; not at the same time as another filling of the same panel. */
void dt_packed_fill_rows(dt_pool *pool, dt_packed *w, int n0, int n1, const void *rows);
void dt_packed_fill(dt_pool *pool, dt_packed *w, const void *rows); /* all N rows */

/* ---- the left side: rows of activations, made once for all matrices that read the same input ---- */

typedef struct dt_acts {
    dt_act_form form;
    int M, K;
    int tile_rows;     /* rows that lie interleaved, of the table that made them */
    const float *rows; /* borrowed, stride ld: only DT_ACT_ROWS reads them later */
    size_t ld;
    uint32_t *data; /* borrowed */
} dt_acts;

dt_act_form dt_packed_form(const dt_packed *w);
size_t dt_acts_bytes(dt_act_form form, int M, int K); /* grows with M and K; 0 for DT_ACT_ROWS */
/* Converts M rows of K into memory (dt_acts_bytes, aligned for float), which must last as long as *out is used. */
void dt_acts_make(dt_pool *pool, dt_acts *out, dt_act_form form, const float *a, size_t lda, int M, int K, void *memory);
/* C[M,N] = or += A[M,K] W^T, where a has the form of w; rows of C are ldc floats apart. */
void dt_product_acts(dt_pool *pool, float *c, size_t ldc, const dt_acts *a, const dt_packed *w, bool accumulate);

/* Both in one. Scratch: dt_product_scratch bytes. */
size_t dt_product_scratch(dt_dtype type, int M, int K);
/* C[M,N] = or += A[M,K] W^T; rows of A and C are lda and ldc floats apart. */
void dt_product(dt_pool *pool, float *c, size_t ldc, const float *a, size_t lda, const dt_packed *w, int M, bool accumulate,
                void *scratch);

#endif
