/* Schemas on their way to a program, shared by schema.c (keywords, types, branches, references) and parts.c (objects, arrays,
 * strings, numbers). A part returns the node its rule begins with; its end is p->ret. */
#ifndef DT_GRAMMAR_SCHEMA_H
#define DT_GRAMMAR_SCHEMA_H

#include "grammar/grammar.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct dt_schema {
    dt_program *p;
    json_t *root, *nothing; /* owned: the whole; {}, which anything fits */
    dt_buf path;            /* of the schema that is being built */
    struct {
        json_t *schema;
        int32_t rule;
    } *done;
    int n_done;
    duet_err *err;
} dt_schema;

/* "schema: at PATH: ..." */
duet_status dt_schema_fail(dt_schema *c, duet_status st, const char *fmt, ...) DT_PRINTF(3, 4);
duet_status dt_schema_rule(dt_schema *c, json_t *schema, int32_t *rule);
/* The rule of a subschema at a[/b]; NULL = anything. */
duet_status dt_schema_part(dt_schema *c, const char *a, const char *b, json_t *schema, int32_t *rule);
int32_t dt_schema_spell(dt_schema *c, const json_t *v, int32_t next); /* a value as JSON */

duet_status dt_schema_object(dt_schema *c, json_t *schema, int32_t *out);
duet_status dt_schema_array(dt_schema *c, json_t *schema, int32_t *out);
duet_status dt_schema_string(dt_schema *c, json_t *schema, int32_t *out);
duet_status dt_schema_number(dt_schema *c, json_t *schema, bool integer, int32_t *out);

#endif
