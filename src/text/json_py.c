/* JSON as Python's json.dumps(ensure_ascii=False) writes it: the filter tojson of chat templates. */
#include "text/render.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_string(const char *s, size_t n, dt_buf *b) {
    dt_buf_add(b, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];
        static const char plain[] = "\"\\\n\r\t\f\b", letter[] = "\"\\nrtfb";
        const char *at = c ? strchr(plain, c) : NULL;
        if (at)
            dt_buf_addf(b, "\\%c", letter[at - plain]);
        else if (c < 0x20)
            dt_buf_addf(b, "\\u%04x", c);
        else
            dt_buf_add(b, s + i, 1);
    }
    dt_buf_add(b, "\"", 1);
}

/* repr(float): the shortest digits that read back as the same number, an exponent outside 1e-4 .. 1e16. */
static void add_real(double x, dt_buf *b) {
    char t[40];
    int p = 0;
    do {
        snprintf(t, sizeof t, "%.*e", p, x);
    } while (++p <= 16 && strtod(t, NULL) != x);
    char *e = strchr(t, 'e');
    const int ex = (int)strtol(e + 1, NULL, 10);
    *e = 0;
    const char *sign = t[0] == '-' ? "-" : "";
    char digits[24];
    size_t n = 0;
    for (const char *c = t; *c; c++)
        if (*c >= '0' && *c <= '9' && n + 1 < sizeof digits)
            digits[n++] = *c;
    digits[n] = 0;
    if (ex < -4 || ex >= 16) {
        dt_buf_addf(b, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "", digits + 1, ex < 0 ? '-' : '+', abs(ex));
    } else if (ex < 0) {
        dt_buf_addf(b, "%s0.%.*s%s", sign, -ex - 1, "0000", digits);
    } else if ((size_t)ex + 1 >= n) {
        dt_buf_addf(b, "%s%s%.*s.0", sign, digits, (int)((size_t)ex + 1 - n), "0000000000000000");
    } else {
        dt_buf_addf(b, "%s%.*s.%s", sign, ex + 1, digits, digits + ex + 1);
    }
}

static void new_line(int indent, int level, dt_buf *b) {
    dt_buf_add(b, "\n", 1);
    for (int i = 0; i < indent * level; i++)
        dt_buf_add(b, " ", 1);
}

/* The depth is the parser's: jansson reads no more than 2048 levels. */
static void add(const json_t *v, int indent, int level, dt_buf *b) { // NOLINT(misc-no-recursion)
    const char *key = NULL;
    size_t i = 0;
    json_t *x = NULL;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        dt_buf_add(b, "{", 1);
        json_object_foreach((json_t *)(uintptr_t)v, key, x) {
            if (i++)
                dt_buf_adds(b, indent ? "," : ", ");
            if (indent)
                new_line(indent, level + 1, b);
            add_string(key, strlen(key), b);
            dt_buf_adds(b, ": ");
            add(x, indent, level + 1, b);
        }
        if (i && indent)
            new_line(indent, level, b);
        dt_buf_add(b, "}", 1);
        break;
    case JSON_ARRAY:
        dt_buf_add(b, "[", 1);
        json_array_foreach(v, i, x) {
            if (i)
                dt_buf_adds(b, indent ? "," : ", ");
            if (indent)
                new_line(indent, level + 1, b);
            add(x, indent, level + 1, b);
        }
        if (i && indent)
            new_line(indent, level, b);
        dt_buf_add(b, "]", 1);
        break;
    case JSON_STRING:
        add_string(json_string_value(v), json_string_length(v), b);
        break;
    case JSON_INTEGER:
        dt_buf_addf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        add_real(json_real_value(v), b);
        break;
    case JSON_TRUE:
        dt_buf_adds(b, "true");
        break;
    case JSON_FALSE:
        dt_buf_adds(b, "false");
        break;
    case JSON_NULL:
        dt_buf_adds(b, "null");
        break;
    }
}

bool dt_json_py(const json_t *v, int indent, dt_buf *out) {
    add(v, indent, 0, out);
    return !out->failed;
}
