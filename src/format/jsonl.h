/* JSON lines: one object a line, split at '\n' only, UTF-8 checked, line length capped. */
#ifndef DT_JSONL_H
#define DT_JSONL_H

#include "base/base.h"

#include <jansson.h>

typedef struct dt_jsonl dt_jsonl;

#define DT_JSONL_MAX_LINE ((size_t)64 << 20)

duet_status dt_jsonl_open(const char *path, dt_jsonl **out, duet_err *err); /* "-" = stdin */
duet_status dt_jsonl_open_mem(const char *name, const void *p, size_t n, dt_jsonl **out, duet_err *err);
void dt_jsonl_close(dt_jsonl *r);
/* Next object, owned by the caller (json_decref). Blank lines are skipped. DUET_END at the end.
 * A broken line gives DUET_E_FORMAT with file and line number; the next call goes on after it. */
duet_status dt_jsonl_next(dt_jsonl *r, json_t **obj, duet_err *err);
size_t dt_jsonl_line(const dt_jsonl *r); /* number of the line last returned, from 1 */

/* Parses one JSON text (an object or array) with position in the message. NUL in strings allowed. */
duet_status dt_json_parse(const char *name, const char *text, size_t n, json_t **out, duet_err *err);
duet_status dt_json_read(const char *path, size_t max_bytes, json_t **out, duet_err *err);
/* n bytes as a JSON string; each byte that is no part of valid UTF-8 becomes U+FFFD. NULL = no memory. */
json_t *dt_json_text(const char *s, size_t n);
/* Compact, sorted nowhere (insertion order), doubles with 17 digits; owned by the caller (free). */
char *dt_json_line(const json_t *obj);

#endif
