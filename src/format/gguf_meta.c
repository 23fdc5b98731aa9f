/* Typed access to the metadata of a GGUF file. The bytes were checked against the file when it was opened. */
#include "format/gguf.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const struct {
    const char *name;
    size_t size;
} types[DT_GGUF_N_TYPES] = {
    [DT_GGUF_U8] = {"u8", 1},       [DT_GGUF_I8] = {"i8", 1},     [DT_GGUF_U16] = {"u16", 2},
    [DT_GGUF_I16] = {"i16", 2},     [DT_GGUF_U32] = {"u32", 4},   [DT_GGUF_I32] = {"i32", 4},
    [DT_GGUF_F32] = {"f32", 4},     [DT_GGUF_BOOL] = {"bool", 1}, [DT_GGUF_STRING] = {"string", 0},
    [DT_GGUF_ARRAY] = {"array", 0}, [DT_GGUF_U64] = {"u64", 8},   [DT_GGUF_I64] = {"i64", 8},
    [DT_GGUF_F64] = {"f64", 8},
};
/* clang-format on */

const char *dt_gguf_type_name(dt_gguf_type t) {
    return types[t].name;
}

size_t dt_gguf_type_size(dt_gguf_type t) {
    return types[t].size;
}

static bool is_int(dt_gguf_type t) {
    return t == DT_GGUF_U8 || t == DT_GGUF_I8 || t == DT_GGUF_U16 || t == DT_GGUF_I16 || t == DT_GGUF_U32 ||
           t == DT_GGUF_I32 || t == DT_GGUF_U64 || t == DT_GGUF_I64;
}

static bool is_real(dt_gguf_type t) {
    return t == DT_GGUF_F32 || t == DT_GGUF_F64;
}

static uint64_t load(const uint8_t *p, size_t n) {
    uint64_t x = 0;
    for (size_t i = n; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

int64_t dt_gguf_int_at(const dt_gguf_kv *kv, size_t i) {
    const size_t size = types[kv->elem].size;
    const uint64_t x = load(kv->data + i * size, size);
    switch (kv->elem) {
    case DT_GGUF_I8:
        return (int8_t)x;
    case DT_GGUF_I16:
        return (int16_t)x;
    case DT_GGUF_I32:
        return (int32_t)x;
    case DT_GGUF_I64:
        return (int64_t)x;
    case DT_GGUF_F32:
    case DT_GGUF_F64: {
        const double d = dt_gguf_real_at(kv, i);
        return d >= 0x1p63 ? INT64_MAX : d >= -0x1p63 ? (int64_t)d : INT64_MIN; /* NaN: INT64_MIN */
    }
    default:
        return x > INT64_MAX ? INT64_MAX : (int64_t)x;
    }
}

double dt_gguf_real_at(const dt_gguf_kv *kv, size_t i) {
    const uint8_t *p = kv->data + i * types[kv->elem].size;
    if (kv->elem == DT_GGUF_F32) {
        const uint32_t u = (uint32_t)load(p, 4);
        float f;
        memcpy(&f, &u, 4);
        return (double)f;
    }
    if (kv->elem == DT_GGUF_F64) {
        const uint64_t u = load(p, 8);
        double d;
        memcpy(&d, &u, 8);
        return d;
    }
    return (double)dt_gguf_int_at(kv, i);
}

/* "u32 array of 3", "string" */
static const char *what_it_is(const dt_gguf_kv *kv, char out[64]) {
    if (kv->type == DT_GGUF_ARRAY)
        snprintf(out, 64, "an array of %zu values of type %s", kv->n, types[kv->elem].name);
    else
        snprintf(out, 64, "of type %s", types[kv->type].name);
    return out;
}

static duet_status wrong_type(const dt_gguf *g, const dt_gguf_kv *kv, const char *wanted, duet_err *err) {
    char is[64];
    return dt_fail(err, DUET_E_FORMAT, "%s: %.80s is %s, not %s", dt_gguf_name(g), kv->key, what_it_is(kv, is), wanted);
}

duet_status dt_gguf_int(const dt_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *out, duet_err *err) {
    const dt_gguf_kv *kv = dt_gguf_find_key(g, key);
    if (!kv)
        return DUET_END;
    if (!is_int(kv->type))
        return wrong_type(g, kv, "a whole number", err);
    const int64_t x = dt_gguf_int_at(kv, 0);
    if (x < lo || x > hi)
        return dt_fail(err, DUET_E_FORMAT, "%s: %.80s is %lld, outside %lld..%lld", dt_gguf_name(g), key, (long long)x,
                       (long long)lo, (long long)hi);
    *out = x;
    return DUET_OK;
}

duet_status dt_gguf_real(const dt_gguf *g, const char *key, double lo, double hi, double *out, duet_err *err) {
    const dt_gguf_kv *kv = dt_gguf_find_key(g, key);
    if (!kv)
        return DUET_END;
    if (!is_int(kv->type) && !is_real(kv->type))
        return wrong_type(g, kv, "a number", err);
    const double x = dt_gguf_real_at(kv, 0);
    if (!(x >= lo && x <= hi))
        return dt_fail(err, DUET_E_FORMAT, "%s: %.80s is %g, outside %g..%g", dt_gguf_name(g), key, x, lo, hi);
    *out = x;
    return DUET_OK;
}

duet_status dt_gguf_bool(const dt_gguf *g, const char *key, bool *out, duet_err *err) {
    const dt_gguf_kv *kv = dt_gguf_find_key(g, key);
    if (!kv)
        return DUET_END;
    if (kv->type != DT_GGUF_BOOL)
        return wrong_type(g, kv, "true or false", err);
    *out = kv->data[0] != 0;
    return DUET_OK;
}

duet_status dt_gguf_string(const dt_gguf *g, const char *key, dt_gguf_str *out, duet_err *err) {
    const dt_gguf_kv *kv = dt_gguf_find_key(g, key);
    size_t at = 0;
    if (!kv)
        return DUET_END;
    if (kv->type != DT_GGUF_STRING)
        return wrong_type(g, kv, "a string", err);
    dt_gguf_next_str(kv, &at, out);
    return DUET_OK;
}

duet_status dt_gguf_array(const dt_gguf *g, const char *key, dt_gguf_type elem, const dt_gguf_kv **out, duet_err *err) {
    const dt_gguf_kv *kv = dt_gguf_find_key(g, key);
    if (!kv)
        return DUET_END;
    const bool strings = elem == DT_GGUF_STRING, ints = elem == DT_GGUF_I64;
    const bool fits = strings ? kv->elem == DT_GGUF_STRING : is_int(kv->elem) || (!ints && is_real(kv->elem));
    if (kv->type != DT_GGUF_ARRAY || !fits)
        return wrong_type(g, kv,
                          strings ? "an array of strings"
                          : ints  ? "an array of whole numbers"
                                  : "an array of numbers",
                          err);
    *out = kv;
    return DUET_OK;
}

duet_status dt_gguf_need(duet_status st, const dt_gguf *g, const char *key, duet_err *err) {
    return st == DUET_END ? dt_fail(err, DUET_E_FORMAT, "%s: the key %.80s is missing", dt_gguf_name(g), key) : st;
}

bool dt_gguf_str_is(dt_gguf_str s, const char *text) {
    return s.n == strlen(text) && !memcmp(s.s, text, s.n);
}

bool dt_gguf_next_str(const dt_gguf_kv *kv, size_t *at, dt_gguf_str *out) {
    if (kv->elem != DT_GGUF_STRING || *at >= kv->n_bytes)
        return false;
    out->n = (size_t)load(kv->data + *at, 8);
    out->s = (const char *)kv->data + *at + 8;
    *at += 8 + out->n;
    return true;
}

dt_gguf_str *dt_gguf_strings(const dt_gguf_kv *kv) {
    dt_gguf_str *list = kv->elem == DT_GGUF_STRING ? dt_calloc(kv->n ? kv->n : 1, sizeof *list) : NULL;
    size_t at = 0;
    for (size_t i = 0; list && i < kv->n; i++)
        dt_gguf_next_str(kv, &at, &list[i]);
    return list;
}
