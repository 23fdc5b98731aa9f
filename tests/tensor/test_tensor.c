/* Element types, 16-bit floats over all their values, shapes that overflow, conversion to float. */
#include "support.h"
#include "tensor/tensor.h"

#include <math.h>

static void test_names_and_sizes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t size;
    } want[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"F64", 8}, {"I8", 1}, {"I16", 2}, {"I32", 4},
                {"I64", 8}, {"U8", 1},   {"U16", 2}, {"U32", 4}, {"U64", 8}, {"BOOL", 1},
                {"Q4_0", 18}, {"Q4_1", 20}, {"Q5_0", 22}, {"Q5_1", 24}, {"Q8_0", 34}, {"Q2_K", 84}, {"Q3_K", 110},
                {"Q4_K", 144}, {"Q5_K", 176}, {"Q6_K", 210}};
    assert_int_equal(DT_COUNT(want), DT_N_DTYPES);
    for (size_t i = 0; i < DT_COUNT(want); i++) {
        dt_dtype t = DT_N_DTYPES;
        if (!dt_dtype_parse(want[i].name, &t)) fail_msg("%s is not known", want[i].name);
        assert_string_equal(dt_dtype_name(t), want[i].name);
        assert_int_equal(dt_dtype_size(t), want[i].size);
    }
    static const char *const unknown[] = {"", "f32", "F3", "F320", "F8_E4M3"};
    for (size_t i = 0; i < DT_COUNT(unknown); i++) {
        dt_dtype t = DT_I8;
        if (dt_dtype_parse(unknown[i], &t) || t != DT_I8) fail_msg("'%s' was taken for a type", unknown[i]);
    }
}

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static float of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* A number from its sign, exponent and fraction fields, by the definition. */
static double by_definition(unsigned bits, int n_exp, int n_frac) {
    unsigned frac = bits & ((1u << n_frac) - 1), e = bits >> n_frac & ((1u << n_exp) - 1), top = (1u << n_exp) - 1;
    int bias = (int)(top / 2);
    double x = e == top ? (frac ? (double)NAN : (double)INFINITY)
                        : e ? ldexp(1 + ldexp(frac, -n_frac), (int)e - bias) : ldexp(frac, 1 - bias - n_frac);
    return bits >> (n_exp + n_frac) & 1 ? -x : x;
}

static void same_number(const char *type, unsigned bits, float got, double want) {
    if (isnan(want) ? !isnan(got) : ((double)got != want || !signbit(got) != !signbit(want)))
        fail_msg("%s %04x: %g, not %g", type, bits, (double)got, want);
}

static void test_every_16_bit_float(void **state) {
    (void)state;
    for (unsigned b = 0; b < 65536; b++) {
        float f = dt_bf16_to_f32((uint16_t)b);
        same_number("bf16", b, f, by_definition(b, 8, 7));
        same_number("f16", b, dt_f16_to_f32((uint16_t)b), by_definition(b, 5, 10));
        uint16_t back = dt_f32_to_bf16(f);
        if (isnan(f) ? !isnan(dt_bf16_to_f32(back)) : back != b) fail_msg("bf16 %04x comes back as %04x", b, back);
    }
}

/* Between each two neighbours: below, at and above the middle. */
static void test_rounding_to_bf16(void **state) {
    (void)state;
    for (uint32_t sign = 0; sign < 2; sign++) {
        for (uint32_t b = 0; b < 0x7f80; b++) { /* the neighbour above the largest is infinity */
            uint32_t lo = sign << 15 | b, even = b & 1 ? lo + 1 : lo;
            static const uint32_t low[] = {1, 0x7fff, 0x8000, 0x8001, 0xffff};
            for (size_t i = 0; i < DT_COUNT(low); i++) {
                uint32_t want = low[i] < 0x8000 ? lo : low[i] > 0x8000 ? lo + 1 : even;
                uint16_t got = dt_f32_to_bf16(of_bits(lo << 16 | low[i]));
                if (got != want) fail_msg("%08x becomes %04x, not %04x", lo << 16 | low[i], got, want);
            }
        }
    }
    static const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff};
    for (size_t i = 0; i < DT_COUNT(nans); i++) {
        float back = dt_bf16_to_f32(dt_f32_to_bf16(of_bits(nans[i])));
        if (!isnan(back) || bits_of(back) >> 31 != nans[i] >> 31) fail_msg("NaN %08x becomes %08x", nans[i], bits_of(back));
    }
}

static void test_counts(void **state) {
    (void)state;
    static const struct {
        const char *name;
        dt_view v;
        bool ok;
        size_t n, bytes;
    } cases[] = {
        {"scalar", {.dtype = DT_F64}, true, 1, 8},
        {"vector", {.dtype = DT_BF16, .n_dims = 1, .dims = {7}}, true, 7, 14},
        {"matrix", {.dtype = DT_F32, .n_dims = 2, .dims = {3, 5}}, true, 15, 60},
        {"empty", {.dtype = DT_F32, .n_dims = 3, .dims = {3, 0, 5}}, true, 0, 0},
        {"empty, other sides overflow not", {.dtype = DT_F32, .n_dims = 3, .dims = {0, SIZE_MAX, SIZE_MAX}}, true, 0, 0},
        {"product overflows", {.dtype = DT_I8, .n_dims = 2, .dims = {(size_t)1 << 32, (size_t)1 << 32}}, false, 0, 0},
        {"bytes overflow", {.dtype = DT_F64, .n_dims = 1, .dims = {SIZE_MAX / 4}}, false, 0, 0},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        size_t n = 99, bytes = 99;
        if (dt_view_count(&cases[i].v, &n, &bytes) != cases[i].ok) fail_msg("%s", cases[i].name);
        if (cases[i].ok && (n != cases[i].n || bytes != cases[i].bytes)) fail_msg("%s: %zu elements, %zu bytes", cases[i].name, n, bytes);
    }
}

static void test_shapes(void **state) {
    (void)state;
    dt_view m = {.n_dims = 2, .dims = {512, 64}}, v = {.n_dims = 1, .dims = {512}}, s = {0}, wide = {.n_dims = DT_MAX_DIMS};
    char out[96];
    assert_true(dt_view_is(&m, 2, 512, 64));
    assert_false(dt_view_is(&m, 2, 64, 512));
    assert_false(dt_view_is(&m, 2, 512, 65));
    assert_false(dt_view_is(&m, 1, 512, 0));
    assert_true(dt_view_is(&v, 1, 512, 0));
    assert_false(dt_view_is(&v, 2, 512, 0));
    dt_view_shape_str(&m, out);
    assert_string_equal(out, "[512, 64]");
    dt_view_shape_str(&s, out);
    assert_string_equal(out, "[]");
    for (int i = 0; i < DT_MAX_DIMS; i++)
        wide.dims[i] = SIZE_MAX;
    dt_view_shape_str(&wide, out); /* cut, never past the end */
    assert_true(strlen(out) < sizeof out);
}

static void test_conversion(void **state) {
    (void)state;
    static const struct {
        dt_dtype t;
        uint8_t bytes[16]; /* little-endian */
        float want[2];
    } cases[] = {
        {DT_F32, {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0}, {1, -2.5f}},
        {DT_F64, {0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 4, 0xc0}, {1, -2.5f}},
        {DT_BF16, {0x80, 0x3f, 0x20, 0xc0}, {1, -2.5f}},
        {DT_F16, {0, 0x3c, 0, 0xc1}, {1, -2.5f}},
        {DT_I8, {0x80, 0x7f}, {-128, 127}},
        {DT_U8, {0x80, 0xff}, {128, 255}},
        {DT_BOOL, {0, 1}, {0, 1}},
        {DT_I16, {0, 0x80, 0xff, 0x7f}, {-32768, 32767}},
        {DT_U16, {0, 0x80, 0xff, 0xff}, {32768, 65535}},
        {DT_I32, {0, 0, 0, 0x80, 1, 0, 0, 0}, {-2147483648.0f, 1}},
        {DT_U32, {0, 0, 0, 0x80, 1, 0, 0, 0}, {2147483648.0f, 1}},
        {DT_I64, {0, 0, 0, 0, 0, 0, 0, 0x80, 2, 0, 0, 0, 0, 0, 0, 0}, {-0x1p63f, 2}},
        {DT_U64, {0, 0, 0, 0, 0, 0, 0, 0x80, 2, 0, 0, 0, 0, 0, 0, 0}, {0x1p63f, 2}},
    };
    assert_int_equal(DT_COUNT(cases), DT_Q4_0); /* the quantised ones: test_quant.c */
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        uint8_t odd[32];
        for (size_t shift = 0; shift < 2; shift++) { /* data may start at any byte */
            float got[3] = {0, 0, 77};
            memcpy(odd + shift, cases[i].bytes, 16);
            dt_view v = {.dtype = cases[i].t, .n_dims = 1, .dims = {2}, .data = odd + shift};
            dt_view_to_f32(&v, got);
            if (memcmp(got, cases[i].want, sizeof cases[i].want) || got[2] != 77)
                fail_msg("%s at byte %zu: %g %g %g", dt_dtype_name(cases[i].t), shift, (double)got[0], (double)got[1], (double)got[2]);
        }
    }
}

static void test_f16_round_trip(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = dt_f16_to_f32((uint16_t)h);
        const uint16_t back = dt_f32_to_f16(f);
        if (f != f ? (back & 0x7c00) != 0x7c00 || !(back & 0x3ff) : back != h) fail_msg("%04x -> %g -> %04x", h, (double)f, back);
        if ((h & 0x7fff) >= 0x7bff) continue;
        const float up = dt_f16_to_f32((uint16_t)(h + 1)), mid = f + (up - f) / 2; /* exact in float */
        const uint32_t even = h & 1 ? h + 1 : h;
        if (dt_f32_to_f16(mid) != even) fail_msg("%a between %04x and the next -> %04x", (double)mid, h, dt_f32_to_f16(mid));
        if (dt_f32_to_f16(nextafterf(mid, f)) != h) fail_msg("%a -> %04x, not %04x", (double)nextafterf(mid, f), dt_f32_to_f16(nextafterf(mid, f)), h);
        if (dt_f32_to_f16(nextafterf(mid, up)) != h + 1) fail_msg("just above %a", (double)mid);
    }
    assert_int_equal(dt_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(dt_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(dt_f32_to_f16(-1e30f), 0xfc00);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16_round_trip),
        cmocka_unit_test(test_names_and_sizes),  cmocka_unit_test(test_every_16_bit_float), cmocka_unit_test(test_rounding_to_bf16),
        cmocka_unit_test(test_counts),           cmocka_unit_test(test_shapes),             cmocka_unit_test(test_conversion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
