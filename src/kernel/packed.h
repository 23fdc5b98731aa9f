/* A weight matrix as the forward pass reads it: repacked once from the layout of its file, in its own element type.
 *
 * THE RESULT OF A ROW IS SPECIFIED for every type, as for the table in kernel.h: y[n] depends on row x and on the n-th row
 * of W only, never on the other rows of the batch, the thread count or the instruction set.
 *   F32   one chain of fused multiply-adds, k ascending, from 0 (or from C when accumulating).
 *
 * Threads: filling and multiplying use the pool they are given; one matrix may be read by many. */
#ifndef DT_PACKED_H
#define DT_PACKED_H

#include "kernel/kernel.h"

typedef struct dt_packed {
    dt_dtype type;
    int N, K;     /* outputs (rows in the file), inputs */
    void *data;   /* owned, aligned; dt_packed_clear */
    size_t bytes; /* of data */
} dt_packed;

bool dt_packed_supports(dt_dtype type); /* whether a product with this type exists; K must be whole blocks of it */
size_t dt_packed_bytes(dt_dtype type, int N, int K);
/* Memory for W[N,K], contents undefined. DUET_E_NOMEM, DUET_E_UNSUPPORTED. */
duet_status dt_packed_init(dt_packed *w, dt_dtype type, int N, int K, duet_err *err);
void dt_packed_clear(dt_packed *w); /* w becomes empty; an empty one is fine */
/* Rows row0 .. row0 + n - 1 as a matrix that shares the memory of w (never cleared), so that w can be filled in pieces. row0
 * is a multiple of DT_NR, and so is n unless they are the last. */
dt_packed dt_packed_rows(const dt_packed *w, int row0, int n);
/* Packs all N rows, given one after the other in the file layout of the type. Parallel over the pool. */
void dt_packed_fill(dt_pool *pool, dt_packed *w, const void *rows);
/* Bytes of scratch that dt_product needs for M rows of A (activations in the form the type is multiplied with). */
size_t dt_product_scratch(dt_dtype type, int M, int K);
/* C[M,N] = or += A[M,K] W^T; rows of A and C are lda and ldc floats apart. */
void dt_product(dt_pool *pool, float *c, size_t ldc, const float *a, size_t lda, const dt_packed *w, int M, bool accumulate,
                void *scratch);

#endif
