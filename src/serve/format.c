/* response_format: an answer that is JSON, any object or one that fits a schema. */
#include "serve/chat.h"

#include <stdlib.h>
#include <string.h>

static bool read_schema(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    a->schema = v;
    return json_is_object(v) || dt_fault_set(f, 400, name, NULL, "%s: not an object", name);
}

static bool read_name(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *s = NULL;
    (void)a;
    return dt_field_string(v, name, &s, f);
}

/* Whether it is strict or not, the answer fits. */
static bool read_strict(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    bool on = false;
    (void)a;
    return dt_field_bool(v, name, &on, f);
}

static bool read_type(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *type = NULL;
    if (!dt_field_string(v, name, &type, f))
        return false;
    a->format = !strcmp(type, "text") ? DT_FORMAT_TEXT : !strcmp(type, "json_object") ? DT_FORMAT_OBJECT : DT_FORMAT_SCHEMA;
    return a->format != DT_FORMAT_SCHEMA || !strcmp(type, "json_schema") ||
           dt_fault_set(f, 400, name, NULL, "%s: %.40s is not text, json_object or json_schema", name, type);
}

static bool read_json_schema(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const dt_field fields[] = {{"name", read_name}, {"description", read_name}, {"strict", read_strict}, {"schema", read_schema}};
    (void)name;
    return dt_fields_read(a, v, "response_format.json_schema.", fields, DT_COUNT(fields), f);
}

bool dt_shape_format(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const dt_field fields[] = {{"type", read_type}, {"json_schema", read_json_schema}};
    if (!json_is_object(v) || !json_object_get(v, "type"))
        return dt_fault_set(f, 400, name, NULL, "%s: not an object with a type", name);
    if (!dt_fields_read(a, v, "response_format.", fields, DT_COUNT(fields), f))
        return false;
    if ((a->format == DT_FORMAT_SCHEMA) != (a->schema != NULL))
        return dt_fault_set(f, 400, "response_format.json_schema", NULL, "response_format.json_schema: %s",
                            a->schema ? "only with type json_schema" : "its schema is missing");
    return true;
}

/* On an answering thread: a large schema takes its time. */
duet_status dt_format_prepare(dt_chat *a) {
    char *text = NULL;
    if (a->ask.format == DT_FORMAT_TEXT)
        return DUET_OK;
    if (a->ask.format == DT_FORMAT_SCHEMA && !(text = json_dumps(a->ask.schema, JSON_COMPACT)))
        return dt_fail(&a->err, DUET_E_NOMEM, "no memory for the schema");
    a->st = duet_pair_grammar(a->job.s->pair, a->ask.mode, text, text ? strlen(text) : 0, &a->grammar, &a->err);
    free(text);
    a->format_failed = a->st != DUET_OK;
    for (int i = 0; i < a->ask.n; i++)
        a->reqs[i].answer_grammar = a->grammar;
    return a->st;
}
