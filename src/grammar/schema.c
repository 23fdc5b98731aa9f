/* A JSON schema as a program. Each subschema becomes a rule, so that it may be referred to, also from within itself.
 *
 * What is not understood is refused by name: a keyword that was passed over would let a text through that does not fit. */
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SCHEMAS 4096

/* ---- where we are, for sentences ---- */

static size_t enter(dt_schema *c, const char *name) {
    size_t at = c->path.len;
    dt_buf_addf(&c->path, "/%.60s", name);
    return at;
}

static void leave(dt_schema *c, size_t at) {
    c->path.len = at;
    if (c->path.data) {
        c->path.data[at] = 0;
    }
}

duet_status dt_schema_fail(dt_schema *c, duet_status st, const char *fmt, ...) {
    char why[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    const char *path = c->path.len > 0 ? c->path.data : "its root";
    size_t n = strlen(path);
    return dt_fail(c->err, st, "schema: at %s%s: %s", n > 120 ? "..." : "", n > 120 ? path + n - 120 : path, why);
}

/* ---- keywords ---- */

enum { NOTE = 1, GENERAL = 2, TYPE = 4, OBJECT = 8, ARRAY = 16, STRING = 32, NUMBER = 64 };

static const struct {
    const char *name;
    int group;
} keywords[] = {
    {"title", NOTE},         {"description", NOTE},        {"default", NOTE},           {"examples", NOTE},
    {"example", NOTE},       {"$schema", NOTE},            {"$id", NOTE},               {"$comment", NOTE},
    {"$defs", NOTE},         {"definitions", NOTE},        {"deprecated", NOTE},        {"readOnly", NOTE},
    {"writeOnly", NOTE},     {"enum", GENERAL},            {"const", GENERAL},          {"anyOf", GENERAL},
    {"oneOf", GENERAL},      {"allOf", GENERAL},           {"$ref", GENERAL},           {"type", TYPE},
    {"properties", OBJECT},  {"required", OBJECT},         {"additionalProperties", OBJECT},
    {"items", ARRAY},        {"prefixItems", ARRAY},       {"minItems", ARRAY},         {"maxItems", ARRAY},
    {"minLength", STRING},   {"maxLength", STRING},        {"pattern", STRING},         {"format", STRING},
    {"minimum", NUMBER},     {"maximum", NUMBER},          {"exclusiveMinimum", NUMBER},{"exclusiveMaximum", NUMBER},
};

static duet_status read_keywords(dt_schema *c, json_t *schema, int *groups, const char **general) {
    const char *key;
    json_t *v;
    *groups = 0;
    *general = NULL;
    json_object_foreach(schema, key, v) {
        size_t i = 0;
        while (i < DT_COUNT(keywords) && strcmp(key, keywords[i].name) != 0) {
            i++;
        }
        if (i == DT_COUNT(keywords)) {
            return dt_schema_fail(c, DUET_E_UNSUPPORTED, "keyword \"%.60s\" is not supported", key);
        }
        *groups |= keywords[i].group;
        if (keywords[i].group == GENERAL) {
            if (*general) {
                return dt_schema_fail(c, DUET_E_UNSUPPORTED, "\"%s\" beside \"%s\" is not supported", key, *general);
            }
            *general = key;
        }
    }
    return DUET_OK;
}

/* ---- types ---- */

static const char *const type_names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
enum { T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64, T_ANY = 127 };

static int type_bit(const char *name) {
    for (size_t i = 0; name && i < DT_COUNT(type_names); i++) {
        if (!strcmp(name, type_names[i])) {
            return 1 << i;
        }
    }
    return 0;
}

/* The types of "type"; without it those that the other keywords are about. */
static duet_status read_types(dt_schema *c, json_t *schema, int groups, int *types) {
    json_t *type = json_object_get(schema, "type");
    *types = 0;
    if (!type) {
        int about = groups & (OBJECT | ARRAY | STRING | NUMBER);
        *types = about == 0        ? T_ANY
                 : about == OBJECT ? T_OBJECT
                 : about == ARRAY  ? T_ARRAY
                 : about == STRING ? T_STRING
                 : about == NUMBER ? T_NUMBER
                                   : 0;
        return *types ? DUET_OK : dt_schema_fail(c, DUET_E_UNSUPPORTED, "keywords of several types need a \"type\"");
    }
    size_t n = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_is_array(type) ? json_array_get(type, i) : type;
        int bit = type_bit(json_string_value(one));
        if (!bit) {
            return dt_schema_fail(c, DUET_E_FORMAT, "\"type\" must be one or several of null, boolean, integer, number, string, array, object");
        }
        *types |= bit;
    }
    return *types ? DUET_OK : dt_schema_fail(c, DUET_E_FORMAT, "\"type\" is an empty list");
}

static int type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_NULL:
        return T_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return T_BOOLEAN;
    case JSON_INTEGER:
        return T_INTEGER | T_NUMBER;
    case JSON_REAL:
        return T_NUMBER;
    case JSON_STRING:
        return T_STRING;
    case JSON_ARRAY:
        return T_ARRAY;
    case JSON_OBJECT:
        return T_OBJECT;
    }
    return 0;
}

/* ---- values that are spelled out ---- */

int32_t dt_schema_spell(dt_schema *c, const json_t *v, int32_t next) {
    const size_t how = JSON_ENCODE_ANY | JSON_COMPACT;
    char *text = json_dumps(v, how | JSON_REAL_PRECISION(15)); /* 0.1 as people write it, if that is the same number */
    json_t *again = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (text && !json_equal(again, v)) {
        free(text);
        text = json_dumps(v, how);
    }
    json_decref(again);
    if (!text) {
        c->p->no_memory = true;
        return next;
    }
    next = dt_gr_text(c->p, text, strlen(text), next);
    free(text);
    return next;
}

static duet_status spell_values(dt_schema *c, json_t *values, int types, int32_t *out) {
    int32_t x = -1;
    for (size_t i = 0; i < json_array_size(values); i++) {
        json_t *v = json_array_get(values, i);
        if (type_of(v) & types) {
            int32_t y = dt_schema_spell(c, v, c->p->ret);
            x = x < 0 ? y : dt_gr_alt(c->p, x, y);
        }
    }
    if (x < 0) {
        return dt_schema_fail(c, DUET_E_FORMAT, "no value of the list is of the type");
    }
    *out = x;
    return DUET_OK;
}

/* ---- references ---- */

static json_t *follow_pointer(json_t *root, const char *pointer) {
    json_t *at = root;
    while (at && *pointer == '/') {
        char name[512];
        size_t n = 0;
        for (pointer++; *pointer && *pointer != '/'; pointer++) {
            char ch = *pointer;
            if (ch == '~' && (pointer[1] == '0' || pointer[1] == '1')) {
                ch = *++pointer == '0' ? '~' : '/';
            }
            if (n + 1 == sizeof name) {
                return NULL;
            }
            name[n++] = ch;
        }
        name[n] = 0;
        if (json_is_array(at)) {
            char *end = NULL;
            unsigned long i = strtoul(name, &end, 10);
            at = n > 0 && name[0] >= '0' && name[0] <= '9' && !*end ? json_array_get(at, i) : NULL;
        } else {
            at = json_object_get(at, name);
        }
    }
    return *pointer ? NULL : at;
}

static duet_status referred(dt_schema *c, json_t *ref, json_t **out) {
    const char *name = json_string_value(ref);
    if (!name || name[0] != '#') {
        return dt_schema_fail(c, DUET_E_UNSUPPORTED, "\"$ref\" must begin with #: only parts of the schema itself can be referred to");
    }
    *out = follow_pointer(c->root, name + 1);
    return *out ? DUET_OK : dt_schema_fail(c, DUET_E_FORMAT, "\"$ref\" %.100s leads nowhere", name);
}

/* ---- branches ---- */

typedef struct outline {
    int types;
    json_t *values; /* borrowed: the list of an enum, NULL = no list */
    json_t *value;  /* of a const */
    json_t *schema; /* where references lead */
} outline;

/* What is known of a branch without looking into it. */
static outline outline_of(dt_schema *c, json_t *schema) {
    json_t *ref;
    for (int i = 0; i < 16 && (ref = json_object_get(schema, "$ref")); i++) {
        const char *name = json_string_value(ref);
        schema = name && name[0] == '#' ? follow_pointer(c->root, name + 1) : NULL;
    }
    outline o = {.types = T_ANY, .schema = schema};
    json_t *type = json_object_get(schema, "type");
    if (json_is_string(type)) {
        o.types = type_bit(json_string_value(type));
    } else if (json_is_array(type)) {
        o.types = 0;
        for (size_t i = 0; i < json_array_size(type); i++) {
            o.types |= type_bit(json_string_value(json_array_get(type, i)));
        }
    }
    o.types |= o.types & T_NUMBER ? T_INTEGER : 0;
    o.value = json_object_get(schema, "const");
    json_t *list = json_object_get(schema, "enum");
    o.values = json_is_array(list) ? list : NULL;
    return o;
}

static bool fixed(const outline *o) {
    return o->value || o->values;
}

static bool shares_value(const outline *a, const outline *b) {
    size_t na = a->value ? 1 : json_array_size(a->values), nb = b->value ? 1 : json_array_size(b->values);
    for (size_t i = 0; i < na; i++) {
        for (size_t j = 0; j < nb; j++) {
            if (json_equal(a->value ? a->value : json_array_get(a->values, i), b->value ? b->value : json_array_get(b->values, j))) {
                return true;
            }
        }
    }
    return false;
}

static bool requires(json_t *schema, const char *name) {
    json_t *list = json_object_get(schema, "required"), *v;
    size_t i;
    json_array_foreach(list, i, v) {
        if (json_is_string(v) && !strcmp(json_string_value(v), name)) {
            return true;
        }
    }
    return false;
}

/* True where no value can fit both: other types, other listed values, or a property that both need and that tells them apart. */
static bool exclude_each_other(dt_schema *c, json_t *x, json_t *y) {
    outline a = outline_of(c, x), b = outline_of(c, y);
    if (!(a.types & b.types) || (fixed(&a) && fixed(&b) && !shares_value(&a, &b))) {
        return true;
    }
    const char *key;
    json_t *v;
    if ((a.types & b.types) != T_OBJECT) {
        return false;
    }
    json_object_foreach(json_object_get(a.schema, "properties"), key, v) {
        json_t *w = json_object_get(json_object_get(b.schema, "properties"), key);
        if (w && requires(a.schema, key) && requires(b.schema, key)) {
            outline pa = outline_of(c, v), pb = outline_of(c, w);
            if (fixed(&pa) && fixed(&pb) && !shares_value(&pa, &pb)) {
                return true;
            }
        }
    }
    return false;
}

static duet_status branches(dt_schema *c, const char *name, json_t *list, bool one, int32_t *out) {
    size_t n = json_array_size(list);
    int32_t x = -1;
    if (n == 0) {
        return dt_schema_fail(c, DUET_E_FORMAT, "\"%s\" must be a list of schemas that is not empty", name);
    }
    for (size_t i = 0; one && n <= MAX_SCHEMAS && i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            if (!exclude_each_other(c, json_array_get(list, i), json_array_get(list, j))) {
                return dt_schema_fail(c, DUET_E_UNSUPPORTED,
                                      "branches %zu and %zu of \"oneOf\" may fit the same value; \"anyOf\" allows that", i + 1, j + 1);
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        char place[32];
        int32_t rule = 0;
        snprintf(place, sizeof place, "%zu", i);
        size_t at = enter(c, name), inner = enter(c, place);
        duet_status st = dt_schema_rule(c, json_array_get(list, i), &rule);
        if (st) {
            return st;
        }
        leave(c, inner);
        leave(c, at);
        int32_t y = dt_gr_call(c->p, rule, c->p->ret);
        x = x < 0 ? y : dt_gr_alt(c->p, x, y);
    }
    *out = x;
    return DUET_OK;
}

static duet_status general(dt_schema *c, json_t *schema, const char *name, int groups, int32_t *out) {
    json_t *v = json_object_get(schema, name), *to = NULL;
    int types = T_ANY;
    int32_t rule = 0;
    bool values = !strcmp(name, "enum") || !strcmp(name, "const");
    if (groups & ~(NOTE | GENERAL | (values ? TYPE : 0))) {
        return dt_schema_fail(c, DUET_E_UNSUPPORTED, "other keywords beside \"%s\" are not supported", name);
    }
    duet_status st = read_types(c, schema, groups & TYPE, &types);
    if (st) {
        return st;
    }
    if (!strcmp(name, "const")) {
        if (!(type_of(v) & types)) {
            return dt_schema_fail(c, DUET_E_FORMAT, "\"const\" is not of the type");
        }
        *out = dt_schema_spell(c, v, c->p->ret);
        return DUET_OK;
    }
    if (!strcmp(name, "enum")) {
        return spell_values(c, v, types, out);
    }
    if (!strcmp(name, "$ref")) {
        st = referred(c, v, &to);
        if (!st) {
            st = dt_schema_rule(c, to, &rule);
        }
        *out = dt_gr_call(c->p, rule, c->p->ret);
        return st;
    }
    if (!strcmp(name, "allOf") && json_array_size(v) != 1) {
        return dt_schema_fail(c, DUET_E_UNSUPPORTED, "\"allOf\" of %zu schemas is not supported, only of one", json_array_size(v));
    }
    return branches(c, name, v, !strcmp(name, "oneOf"), out);
}

/* ---- a schema ---- */

static duet_status one_type(dt_schema *c, json_t *schema, int type, int32_t *out) {
    dt_program *p = c->p;
    switch (type) {
    case T_NULL:
        *out = dt_gr_text(p, "null", 4, p->ret);
        return DUET_OK;
    case T_BOOLEAN:
        *out = dt_gr_alt(p, dt_gr_text(p, "true", 4, p->ret), dt_gr_text(p, "false", 5, p->ret));
        return DUET_OK;
    case T_STRING:
        return dt_schema_string(c, schema, out);
    case T_ARRAY:
        return dt_schema_array(c, schema, out);
    case T_OBJECT:
        return dt_schema_object(c, schema, out);
    default:
        return dt_schema_number(c, schema, type == T_INTEGER, out);
    }
}

static duet_status build(dt_schema *c, json_t *schema, int32_t *out) {
    int groups = 0, types = 0;
    const char *name = NULL;
    int32_t x = -1;
    if (json_is_true(schema)) {
        schema = c->nothing;
    }
    if (json_is_false(schema)) {
        return dt_schema_fail(c, DUET_E_FORMAT, "nothing fits the schema false");
    }
    if (!json_is_object(schema)) {
        return dt_schema_fail(c, DUET_E_FORMAT, "a schema must be an object, true or false");
    }
    duet_status st = read_keywords(c, schema, &groups, &name);
    if (!st && name) {
        return general(c, schema, name, groups, out);
    }
    if (!st) {
        st = read_types(c, schema, groups, &types);
    }
    types &= types & T_NUMBER ? ~T_INTEGER : ~0;
    for (int bit = 1; bit < T_ANY && !st; bit *= 2) {
        int32_t y = 0;
        if (!(types & bit)) {
            continue;
        }
        st = one_type(c, schema, bit, &y);
        x = x < 0 ? y : dt_gr_alt(c->p, x, y);
    }
    *out = x;
    return st;
}

duet_status dt_schema_rule(dt_schema *c, json_t *schema, int32_t *rule) {
    for (int i = 0; i < c->n_done; i++) {
        if (c->done[i].schema == schema) {
            *rule = c->done[i].rule;
            return DUET_OK;
        }
    }
    if (c->n_done == MAX_SCHEMAS) {
        return dt_schema_fail(c, DUET_E_RANGE, "more than %d schemas in one", MAX_SCHEMAS);
    }
    if (c->n_done % 64 == 0) {
        void *v = dt_realloc(c->done, (size_t)c->n_done + 64, sizeof *c->done);
        if (!v) {
            return dt_schema_fail(c, DUET_E_NOMEM, "no memory");
        }
        c->done = v;
    }
    *rule = dt_program_rule(c->p);
    c->done[c->n_done].schema = schema;
    c->done[c->n_done++].rule = *rule;
    int32_t entry = c->p->ret;
    duet_status st = build(c, schema, &entry);
    c->p->entry[*rule] = entry;
    return st;
}

duet_status dt_schema_part(dt_schema *c, const char *a, const char *b, json_t *schema, int32_t *rule) {
    size_t at = c->path.len;
    enter(c, a);
    if (b) {
        enter(c, b);
    }
    duet_status st = dt_schema_rule(c, schema ? schema : c->nothing, rule);
    if (!st) {
        leave(c, at);
    }
    return st;
}

/* An answer may begin with a space or up to two newlines: some models say them after their thought. */
static int32_t lead(dt_program *p, int32_t next) {
    int32_t x = dt_gr_byte(p, '\n', '\n', dt_gr_maybe(p, dt_gr_byte(p, '\n', '\n', next), next));
    return dt_gr_maybe(p, dt_gr_alt(p, x, dt_gr_byte(p, ' ', ' ', next)), next);
}

duet_status dt_schema_compile(const char *schema, size_t n, dt_program *p, duet_err *err) {
    json_error_t why;
    int32_t rule = 0;
    dt_schema c = {.p = p, .err = err, .root = json_loadb(schema, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why)};
    if (!c.root) {
        return dt_fail(err, DUET_E_FORMAT, "schema: line %d: %s", why.line, why.text);
    }
    c.nothing = json_object();
    duet_status st = c.nothing ? dt_schema_rule(&c, c.root, &rule) : dt_fail(err, DUET_E_NOMEM, "schema: no memory");
    if (!st) {
        p->root = lead(p, dt_gr_call(p, rule, p->ret));
        st = dt_program_finish(p, err);
    }
    json_decref(c.nothing);
    json_decref(c.root);
    dt_buf_clear(&c.path);
    free(c.done);
    return st;
}
