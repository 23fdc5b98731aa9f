/* Sizes around attention: pages of keys and values by type, scratch, parts. */
#include "kernel/isa.h"

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

bool dt_kv_type_fits(dt_dtype type, int E) {
    return type == DT_F32 || type == DT_F16 || (type == DT_Q8_0 && E % 32 == 0 && E <= DT_KV_MAX_Q8);
}

size_t dt_kv_half_bytes(dt_dtype type, int E) {
    size_t n = (size_t)E * DT_KV_PAGE;
    switch (type) {
    case DT_Q8_0:
        return n + n / 32 * sizeof(uint16_t);
    case DT_F16:
        return n * sizeof(uint16_t);
    default:
        return n * sizeof(float);
    }
}

size_t dt_attn_part(int E) {
    return round_up((size_t)E + 2, 16);
}

size_t dt_attn_bwd_scratch(int T, int E) {
    size_t keys = round_up((size_t)T, DT_KV_PAGE);
    return 2 * keys * (size_t)E + 2 * DT_BWD_ROWS * keys + 2 * DT_LANES;
}

size_t dt_attn_scratch(dt_dtype type, int rows, int E) {
    size_t R = (size_t)rows, W = (size_t)E, tile = DT_ATTN_TILE * (DT_ATTN_SPAN + round_up(W, 16) + W);
    size_t n = round_up(2 * R, 16) + round_up(tile, 16);
    if (type == DT_Q8_0)
        n += round_up(R * (W / 4 + 2 * (W / 32)), 16); /* rows of q as bytes, their scales and sums */
    if (type != DT_F32 && rows > DT_ATTN_DIRECT)
        n += 2 * (size_t)DT_ATTN_SPAN * W; /* a span of keys and values as floats */
    return n + 32;
}
