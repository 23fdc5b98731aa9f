/* Values of a request, each with the fault that says what it should have been. */
#include "serve/ask.h"
#include "text/load.h"

#include <string.h>

/* As clients call it. */
static const char *kind(const json_t *v) {
    return json_is_boolean(v) ? "a boolean" : dt_json_type_name(v);
}

bool dt_field_bool(const json_t *v, const char *name, bool *out, dt_fault *f) {
    if (!json_is_boolean(v))
        return dt_fault_set(f, 400, name, NULL, "%s: %s, not true or false", name, kind(v));
    *out = json_is_true(v);
    return true;
}

bool dt_field_int(const json_t *v, const char *name, json_int_t lo, json_int_t hi, int *out, dt_fault *f) {
    if (!json_is_integer(v))
        return dt_fault_set(f, 400, name, NULL, "%s: %s, not a whole number", name,
                            json_is_real(v) ? "a number with a fraction" : kind(v));
    const json_int_t n = json_integer_value(v);
    if (n < lo || n > hi)
        return dt_fault_set(f, 400, name, NULL, "%s: %" JSON_INTEGER_FORMAT " is not in %" JSON_INTEGER_FORMAT "..%" JSON_INTEGER_FORMAT,
                            name, n, lo, hi);
    *out = (int)n;
    return true;
}

bool dt_field_real(const json_t *v, const char *name, double lo, double hi, double *out, dt_fault *f) {
    if (!json_is_number(v))
        return dt_fault_set(f, 400, name, NULL, "%s: %s, not a number", name, kind(v));
    const double x = json_number_value(v);
    if (!(x >= lo && x <= hi))
        return dt_fault_set(f, 400, name, NULL, "%s: %g is not in %g..%g", name, x, lo, hi);
    *out = x;
    return true;
}

bool dt_field_string(const json_t *v, const char *name, const char **out, dt_fault *f) {
    if (!json_is_string(v))
        return dt_fault_set(f, 400, name, NULL, "%s: %s, not a string", name, kind(v));
    if (strlen(json_string_value(v)) != json_string_length(v))
        return dt_fault_set(f, 400, name, NULL, "%s: a string with a zero character", name);
    *out = json_string_value(v);
    return true;
}

bool dt_fields_read(dt_ask *a, const json_t *object, const char *prefix, const dt_field *fields, size_t n, dt_fault *f) {
    const char *key = NULL;
    json_t *v = NULL;
    if (!json_is_object(object)) {
        const int k = (int)strlen(prefix) - 1;
        return dt_fault_set(f, 400, NULL, NULL, "%.*s: %s, not an object", k > 0 ? k : 0, prefix, kind(object));
    }
    json_object_foreach((json_t *)(uintptr_t)object, key, v) {
        char name[96];
        size_t i = 0;
        snprintf(name, sizeof name, "%s%s", prefix, key);
        while (i < n && strcmp(fields[i].name, key) != 0)
            i++;
        if (json_is_null(v) && i < n)
            continue;
        if (i == n)
            return dt_fault_set(f, 400, name, "unknown_parameter", "%s: there is no such field", name);
        if (!fields[i].read(a, name, v, f))
            return false;
    }
    return true;
}
