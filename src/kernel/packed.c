/* Packed weight matrices: their sizes and their memory. */
#include "kernel/layout.h"

bool dt_packed_supports(dt_dtype t) {
    return t == DT_F32 || t == DT_F16 || t == DT_BF16 || dt_dtype_is_quantised(t);
}

size_t dt_packed_bytes(dt_dtype type, int N, int K) {
    const dt_layout l = dt_layout_of(type);
    const size_t panels = ((size_t)N + DT_NR - 1) / DT_NR, blocks = ((size_t)K + (size_t)l.elems - 1) / (size_t)l.elems;
    return panels * blocks * l.size;
}

dt_act_form dt_packed_form(const dt_packed *w) {
    if (w->type == DT_F32) return DT_ACT_ROWS;
    if (w->type == DT_F16) return DT_ACT_F32;
    if (w->type == DT_BF16) return w->exact ? DT_ACT_F32 : DT_ACT_BF16;
    return dt_layout_of(w->type).elems == DT_QK ? DT_ACT_Q32 : DT_ACT_Q256;
}

static duet_status check(dt_dtype type, int N, int K, duet_err *err) {
    if (!dt_packed_supports(type)) return dt_fail(err, DUET_E_UNSUPPORTED, "no product with %s weights", dt_dtype_name(type));
    if (N < 0 || K < 0 || (size_t)K % dt_dtype_block(type))
        return dt_fail(err, DUET_E_RANGE, "a matrix of %d x %d: rows of %s have a multiple of %zu elements", N, K,
                       dt_dtype_name(type), dt_dtype_block(type));
    return DUET_OK;
}

duet_status dt_packed_place(dt_packed *w, dt_dtype type, int N, int K, void *memory, duet_err *err) {
    *w = (dt_packed){.type = type, .N = N, .K = K};
    duet_status st = check(type, N, K, err);
    if (st) return st;
    w->bytes = dt_packed_bytes(type, N, K);
    w->data = memory;
    return DUET_OK;
}

duet_status dt_packed_init(dt_packed *w, dt_dtype type, int N, int K, duet_err *err) {
    duet_status st = dt_packed_place(w, type, N, K, NULL, err);
    if (st) return st;
    w->data = dt_pages_alloc(w->bytes);
    w->owned = true;
    return w->data ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a matrix of %d x %d (%zu MiB)", N, K, w->bytes >> 20);
}

void dt_packed_clear(dt_packed *w) {
    if (w->owned) dt_pages_free(w->data, w->bytes);
    *w = (dt_packed){0};
}
