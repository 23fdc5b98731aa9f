/* Inside the reading of tokenizer.json: load.c reads the file and its vocabulary, parts.c the steps around it. */
#ifndef DT_LOAD_H
#define DT_LOAD_H

#include "text/tokenizer.h"

#include <jansson.h>

/* ---- typed access: `where` names the object in error sentences ---- */
const char *dt_json_type_name(const json_t *v); /* "an object", "a number", ... */
bool dt_json_is_set(const json_t *v);           /* there and not null */
duet_status dt_json_get_bool(const json_t *o, const char *where, const char *key, bool standard, bool *out,
                             duet_err *err);
/* The "type" of a component that may be null (*type NULL then). */
duet_status dt_json_get_type(const json_t *o, const char *where, const char **type, duet_err *err);
duet_status dt_tok_unsupported(duet_err *err, const char *where, const char *type, const char *known);

/* ---- the steps (parts.c); t->vocab.chars is known before ---- */
duet_status dt_tok_read_steps(duet_tokenizer *t, const json_t *root, duet_err *err); /* all but the post_processor */
duet_status dt_tok_read_post(duet_tokenizer *t, const json_t *root, duet_err *err);  /* needs the vocabulary */

#endif
