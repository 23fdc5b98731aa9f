/* Packed weight matrices: memory, and the choice of a product by element type. */
#include "kernel/packed.h"

#include <assert.h>

bool dt_packed_supports(dt_dtype type) {
    return type == DT_F32;
}

size_t dt_packed_bytes(dt_dtype type, int N, int K) {
    (void)type;
    return dt_packed_floats(K, N) * sizeof(float);
}

duet_status dt_packed_init(dt_packed *w, dt_dtype type, int N, int K, duet_err *err) {
    *w = (dt_packed){.type = type, .N = N, .K = K};
    if (!dt_packed_supports(type)) return dt_fail(err, DUET_E_UNSUPPORTED, "no product with %s weights", dt_dtype_name(type));
    w->bytes = dt_packed_bytes(type, N, K);
    w->data = dt_pages_alloc(w->bytes);
    return w->data ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a matrix of %d x %d (%zu MiB)", N, K, w->bytes >> 20);
}

void dt_packed_clear(dt_packed *w) {
    dt_pages_free(w->data, w->bytes);
    *w = (dt_packed){0};
}

dt_packed dt_packed_rows(const dt_packed *w, int row0, int n) {
    assert(row0 % DT_NR == 0 && (n % DT_NR == 0 || row0 + n == w->N));
    return (dt_packed){.type = w->type, .N = n, .K = w->K, .data = (char *)w->data + dt_packed_bytes(w->type, row0, w->K),
                       .bytes = dt_packed_bytes(w->type, n, w->K)};
}

void dt_packed_fill(dt_pool *pool, dt_packed *w, const void *rows) {
    dt_pack(pool, w->data, rows, 1, (size_t)w->K, w->K, w->N);
}

size_t dt_product_scratch(dt_dtype type, int M, int K) {
    (void)type;
    (void)M;
    (void)K;
    return 0;
}

void dt_product(dt_pool *pool, float *c, size_t ldc, const float *a, size_t lda, const dt_packed *w, int M, bool accumulate,
                void *scratch) {
    (void)scratch;
    dt_gemm(pool, c, ldc, a, lda, 1, w->data, M, w->N, w->K, accumulate);
}
