/* Objects, arrays, strings and numbers of a schema. Each is built from its end backwards: the node for "the i-th comes next"
 * needs the node for "the i+1st comes next". */
#include "grammar/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 512     /* bytes of a property's name */
#define MAX_LENGTH 4096  /* characters of a string that are counted */

static bool contains(json_t *list, const char *name) {
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v) {
        if (!strcmp(json_string_value(v), name)) {
            return true;
        }
    }
    return false;
}

/* ---- objects ---- */

typedef struct property {
    const char *name; /* borrowed */
    int32_t rule;
    bool required;
} property;

typedef struct object {
    property *v;
    size_t n;
    bool more;    /* other properties may follow */
    int32_t rule; /* of their values */
} object;

/* Names that begin with the same `at` bytes: v[0, n). Bytes that go on to one of them, any other character, or the end. */
static int32_t other_name(dt_schema *c, const char *const *v, size_t n, size_t at, int32_t free_rest, int32_t quote) {
    dt_program *p = c->p;
    bool is_name = false, above = false, used[256] = {false};
    int32_t x = -1;
    for (size_t i = 0; i < n && !p->full && !p->no_memory; i++) {
        unsigned char b = (unsigned char)v[i][at];
        if (b == 0) {
            is_name = true;
            continue;
        }
        above = above || b > 0x7F;
        if (used[b]) {
            continue; /* sorted: it was with the first */
        }
        size_t same = i + 1;
        while (same < n && (unsigned char)v[same][at] == b) {
            same++;
        }
        used[b] = true;
        if (b >= ' ' && b != '"' && b != '\\') { /* others are spelled with a backslash, which no other name has */
            int32_t y = dt_gr_byte(p, b, b, other_name(c, v + i, same - i, at + 1, free_rest, quote));
            x = x < 0 ? y : dt_gr_alt(p, x, y);
        }
    }
    used['"'] = used['\\'] = true;
    for (int b = ' '; b < 0x80; b++) {
        int from = b;
        while (b < 0x80 && !used[b]) {
            b++;
        }
        if (b > from) {
            int32_t y = dt_gr_byte(p, from, b - 1, free_rest);
            x = x < 0 ? y : dt_gr_alt(p, x, y);
        }
    }
    if (!above && at == 0) { /* within a character the rest of another cannot come */
        x = dt_gr_alt(p, x, dt_gr_bytes_above(p, free_rest));
    }
    return is_name ? x : dt_gr_alt(p, x, quote);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "name": value of a property that is not listed. */
static duet_status other_property(dt_schema *c, const object *o, int32_t next, int32_t *out) {
    dt_program *p = c->p;
    const char **names = dt_calloc(o->n ? o->n : 1, sizeof *names);
    if (!names) {
        return dt_schema_fail(c, DUET_E_NOMEM, "no memory");
    }
    for (size_t i = 0; i < o->n; i++) {
        names[i] = o->v[i].name;
    }
    qsort(names, o->n, sizeof *names, by_name);
    int32_t value = dt_gr_text(p, "\":", 2, dt_gr_ws(p, dt_gr_call(p, o->rule, next)));
    int32_t rest = dt_gr_open(p);
    int32_t plain = dt_gr_alt(p, dt_gr_byte(p, ' ', '!', rest), dt_gr_byte(p, '#', '[', rest));
    plain = dt_gr_alt(p, plain, dt_gr_alt(p, dt_gr_byte(p, ']', 0x7F, rest), dt_gr_bytes_above(p, rest)));
    dt_gr_close(p, rest, plain, value);
    *out = dt_gr_byte(p, '"', '"', other_name(c, names, o->n, 0, rest, value));
    free(names);
    return DUET_OK;
}

static int32_t listed_property(dt_schema *c, const property *v, int32_t next) {
    dt_program *p = c->p;
    json_t *name = json_string(v->name);
    int32_t x = dt_gr_text(p, ":", 1, dt_gr_ws(p, dt_gr_call(p, v->rule, next)));
    if (!name) {
        p->no_memory = true;
        return x;
    }
    x = dt_schema_spell(c, name, x);
    json_decref(name);
    return x;
}

static int32_t comma(dt_program *p, int32_t next) {
    return dt_gr_text(p, ",", 1, dt_gr_ws(p, next));
}

static duet_status read_object(dt_schema *c, json_t *schema, object *o) {
    json_t *listed = json_object_get(schema, "properties"), *required = json_object_get(schema, "required");
    json_t *other = json_object_get(schema, "additionalProperties"), *v;
    const char *name;
    size_t i;
    duet_status st = DUET_OK;
    if ((listed && !json_is_object(listed)) || (required && !json_is_array(required))) {
        return dt_schema_fail(c, DUET_E_FORMAT, "\"properties\" must be an object, \"required\" a list");
    }
    json_array_foreach(required, i, v) {
        if (!json_is_string(v)) {
            return dt_schema_fail(c, DUET_E_FORMAT, "\"required\" must be a list of names");
        }
    }
    o->more = other ? !json_is_false(other) : !listed;
    if (o->more) {
        st = dt_schema_part(c, "additionalProperties", NULL, other, &o->rule);
    }
    o->v = dt_calloc(json_object_size(listed) + json_array_size(required) + 1, sizeof *o->v);
    if (!o->v) {
        return dt_schema_fail(c, DUET_E_NOMEM, "no memory");
    }
    json_object_foreach(listed, name, v) {
        property *x = &o->v[o->n];
        if (st) {
            return st;
        }
        x->name = name;
        x->required = contains(required, name);
        if (json_is_false(v) && !x->required) {
            continue; /* may not be there */
        }
        st = dt_schema_part(c, "properties", name, v, &x->rule);
        o->n++;
    }
    json_array_foreach(required, i, v) {
        name = json_string_value(v);
        bool known = json_object_get(listed, name) != NULL;
        for (size_t j = 0; j < o->n && !known; j++) {
            known = !strcmp(o->v[j].name, name);
        }
        if (!st && !known && !o->more && other) {
            return dt_schema_fail(c, DUET_E_FORMAT, "\"%.60s\" is required and no property", name);
        }
        if (!st && !known) {
            st = o->more ? DUET_OK : dt_schema_part(c, "additionalProperties", NULL, NULL, &o->rule);
            o->v[o->n++] = (property){.name = name, .rule = o->rule, .required = true};
        }
    }
    for (i = 0; i < o->n && !st; i++) {
        if (strlen(o->v[i].name) > MAX_NAME) {
            st = dt_schema_fail(c, DUET_E_RANGE, "a property's name of more than %d bytes", MAX_NAME);
        }
    }
    return st;
}

duet_status dt_schema_object(dt_schema *c, json_t *schema, int32_t *out) {
    dt_program *p = c->p;
    object o = {0};
    duet_status st = read_object(c, schema, &o);
    if (st) {
        free(o.v);
        return st;
    }
    /* What follows where nothing is written yet, and where something is. */
    int32_t first = dt_gr_text(p, "}", 1, p->ret), then = dt_gr_ws(p, first);
    if (o.more) {
        int32_t loop = dt_gr_open(p), other = 0;
        st = other_property(c, &o, loop, &other);
        dt_gr_close(p, loop, comma(p, other), then);
        then = loop;
        first = dt_gr_alt(p, other, first);
    }
    for (size_t i = o.n; i > 0 && !st; i--) {
        int32_t x = listed_property(c, &o.v[i - 1], then), y = comma(p, x);
        first = o.v[i - 1].required ? x : dt_gr_alt(p, x, first);
        then = o.v[i - 1].required ? y : dt_gr_alt(p, y, then);
    }
    free(o.v);
    *out = dt_gr_text(p, "{", 1, dt_gr_ws(p, first));
    return st;
}

/* ---- counts ---- */

/* A whole number >= 0 of the schema; fallback where it is not there. */
static duet_status count(dt_schema *c, json_t *schema, const char *name, int64_t fallback, int64_t *out) {
    json_t *v = json_object_get(schema, name);
    double x = json_number_value(v);
    *out = fallback;
    if (!v) {
        return DUET_OK;
    }
    if (!json_is_number(v) || !(x >= 0) || x > 1e9 || floor(x) < x) {
        return dt_schema_fail(c, DUET_E_FORMAT, "\"%s\" must be a whole number between 0 and 1000000000", name);
    }
    *out = (int64_t)x;
    return DUET_OK;
}

/* ---- arrays ---- */

typedef struct array {
    json_t *prefix;
    int64_t min, max; /* max -1 = none */
    bool more;        /* items behind the prefix */
    int32_t item;     /* rule of those */
} array;

static duet_status read_array(dt_schema *c, json_t *schema, array *a) {
    json_t *items = json_object_get(schema, "items");
    a->prefix = json_object_get(schema, "prefixItems");
    if (a->prefix && !json_is_array(a->prefix)) {
        return dt_schema_fail(c, DUET_E_FORMAT, "\"prefixItems\" must be a list of schemas");
    }
    if (json_is_array(items)) {
        return dt_schema_fail(c, DUET_E_UNSUPPORTED, "\"items\" as a list is not supported: \"prefixItems\" is");
    }
    duet_status st = count(c, schema, "minItems", 0, &a->min);
    if (!st) {
        st = count(c, schema, "maxItems", -1, &a->max);
    }
    if (st) {
        return st;
    }
    int64_t k = (int64_t)json_array_size(a->prefix);
    a->more = !json_is_false(items);
    if (!a->more && (a->max < 0 || a->max > k)) {
        a->max = k;
    }
    if (a->max >= 0 && a->max < a->min) {
        return dt_schema_fail(c, DUET_E_FORMAT, "at least %lld items and at most %lld", (long long)a->min, (long long)a->max);
    }
    if (a->min > DT_GR_MAX_NODES || a->max > DT_GR_MAX_NODES) {
        return dt_schema_fail(c, DUET_E_RANGE, "more than %d items cannot be counted", DT_GR_MAX_NODES);
    }
    return a->more ? dt_schema_part(c, "items", NULL, items, &a->item) : DUET_OK;
}

/* Item i and what follows. */
static duet_status item(dt_schema *c, const array *a, int64_t i, int32_t next, int32_t *out) {
    int32_t rule = a->item;
    duet_status st = DUET_OK;
    if (i < (int64_t)json_array_size(a->prefix)) {
        char name[32];
        snprintf(name, sizeof name, "%lld", (long long)i);
        st = dt_schema_part(c, "prefixItems", name, json_array_get(a->prefix, (size_t)i), &rule);
    }
    *out = dt_gr_call(c->p, rule, next);
    return st;
}

duet_status dt_schema_array(dt_schema *c, json_t *schema, int32_t *out) {
    dt_program *p = c->p;
    array a = {0};
    int32_t x = 0;
    duet_status st = read_array(c, schema, &a);
    if (st) {
        return st;
    }
    const int32_t empty = dt_gr_text(p, "]", 1, p->ret), close = dt_gr_ws(p, empty);
    int64_t k = (int64_t)json_array_size(a.prefix), n = a.max;
    int32_t then = close; /* after n items */
    if (a.max < 0) {
        n = a.min > k ? a.min : k;
        n = n > 1 ? n : 1;
        then = dt_gr_open(p);
        dt_gr_close(p, then, comma(p, dt_gr_call(p, a.item, then)), close);
    }
    for (int64_t i = n - 1; i > 0 && !st && !p->full && !p->no_memory; i--) {
        st = item(c, &a, i, then, &x);
        x = comma(p, x);
        then = i >= a.min ? dt_gr_alt(p, x, close) : x;
    }
    if (!st && n > 0) {
        st = item(c, &a, 0, then, &x);
        x = a.min == 0 ? dt_gr_alt(p, x, empty) : x;
    } else {
        x = empty;
    }
    *out = dt_gr_text(p, "[", 1, dt_gr_ws(p, x));
    return st;
}

/* ---- strings ---- */

static const struct {
    const char *name, *pattern;
} formats[] = {
#define DATE "\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define BYTE "(\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])"
    {"date",      "^" DATE "$"                                                       },
    {"time",      "^" TIME "$"                                                       },
    {"date-time", "^" DATE "T" TIME "$"                                              },
    {"uuid",      "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"   },
    {"ipv4",      "^" BYTE "\\." BYTE "\\." BYTE "\\." BYTE "$"                      },
};

static duet_status pattern(dt_schema *c, const char *text, size_t n, int32_t next, int32_t *out) {
    duet_err why = {{0}};
    duet_status st = dt_pattern_compile(c->p, text, n, next, out, &why);
    return st ? dt_schema_fail(c, st, "%s", why.text) : st;
}

static int32_t length(dt_program *p, int64_t min, int64_t max, int32_t next) {
    int32_t at = max < 0 ? dt_gr_chars(p, next) : next;
    for (int64_t i = max < 0 ? min : max; i > 0; i--) {
        at = dt_gr_char(p, at);
        at = i > min ? dt_gr_maybe(p, at, next) : at;
    }
    return at;
}

duet_status dt_schema_string(dt_schema *c, json_t *schema, int32_t *out) {
    dt_program *p = c->p;
    json_t *text = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    int64_t min = 0, max = -1;
    int32_t quote = dt_gr_text(p, "\"", 1, p->ret), x = quote;
    duet_status st = count(c, schema, "minLength", 0, &min);
    if (!st) {
        st = count(c, schema, "maxLength", -1, &max);
    }
    bool counted = json_object_get(schema, "minLength") || max >= 0;
    if (!st && (text != NULL) + (format != NULL) + counted > 1) {
        st = dt_schema_fail(c, DUET_E_UNSUPPORTED, "only one of \"pattern\", \"format\" and lengths can be kept");
    }
    if (!st && (min > MAX_LENGTH || (max >= 0 && max < min))) {
        st = dt_schema_fail(c, min > MAX_LENGTH ? DUET_E_RANGE : DUET_E_FORMAT, "\"minLength\" %lld: must be at most %d and \"maxLength\"",
                            (long long)min, MAX_LENGTH);
    }
    if (st) {
        return st;
    }
    if (text) {
        if (!json_is_string(text)) {
            return dt_schema_fail(c, DUET_E_FORMAT, "\"pattern\" must be a string");
        }
        st = pattern(c, json_string_value(text), json_string_length(text), quote, &x);
    } else if (format) {
        size_t i = 0;
        const char *name = json_is_string(format) ? json_string_value(format) : "";
        while (i < DT_COUNT(formats) && strcmp(name, formats[i].name) != 0) {
            i++;
        }
        if (i == DT_COUNT(formats)) {
            return dt_schema_fail(c, DUET_E_UNSUPPORTED, "format \"%.60s\" is not supported (date, time, date-time, uuid, ipv4 are)", name);
        }
        st = pattern(c, formats[i].pattern, strlen(formats[i].pattern), quote, &x);
    } else {
        x = length(p, min, max > MAX_LENGTH ? MAX_LENGTH : max, quote);
    }
    *out = dt_gr_byte(p, '"', '"', x);
    return st;
}

/* ---- numbers ---- */

#define MOST 999999999999999999 /* 18 digits */

/* The bound `name` as the outermost integer it lets in; sign 1: lower, -1: upper. */
static duet_status bound(dt_schema *c, json_t *schema, const char *name, bool exclusive, int sign, int64_t *out, bool *there) {
    json_t *v = json_object_get(schema, name);
    double x = json_number_value(v);
    if (!v) {
        return DUET_OK;
    }
    if (!json_is_number(v)) {
        return dt_schema_fail(c, DUET_E_FORMAT, "\"%s\" must be a number", name);
    }
    if (!(fabs(x) < 9e17)) {
        return dt_schema_fail(c, DUET_E_RANGE, "\"%s\" has more than 17 digits", name);
    }
    bool whole = json_is_integer(v) || !(floor(x) < x);
    int64_t b = json_is_integer(v) ? json_integer_value(v) : (int64_t)(sign > 0 ? ceil(x) : floor(x));
    b += exclusive && whole ? sign : 0;
    *out = *there ? (sign > 0 ? (b > *out ? b : *out) : (b < *out ? b : *out)) : b;
    *there = true;
    return DUET_OK;
}

duet_status dt_schema_number(dt_schema *c, json_t *schema, bool integer, int32_t *out) {
    dt_program *p = c->p;
    int64_t lo = -MOST, hi = MOST;
    bool has_lo = false, has_hi = false;
    duet_status st = bound(c, schema, "minimum", false, 1, &lo, &has_lo);
    st = st ? st : bound(c, schema, "exclusiveMinimum", true, 1, &lo, &has_lo);
    st = st ? st : bound(c, schema, "maximum", false, -1, &hi, &has_hi);
    st = st ? st : bound(c, schema, "exclusiveMaximum", true, -1, &hi, &has_hi);
    if (!st && (has_lo || has_hi) && !integer) {
        st = dt_schema_fail(c, DUET_E_UNSUPPORTED, "bounds of a number are supported where its type is integer only");
    }
    if (!st && lo > hi) {
        st = dt_schema_fail(c, DUET_E_FORMAT, "no integer is at least %lld and at most %lld", (long long)lo, (long long)hi);
    }
    if (st) {
        return st;
    }
    *out = !integer             ? dt_gr_number(p, p->ret)
           : has_lo || has_hi ? dt_gr_integer_between(p, lo, hi, p->ret)
                                : dt_gr_integer(p, p->ret);
    return DUET_OK;
}
