/* CSV with a header line (RFC 4180): each record becomes an object of strings, named by the header's columns.
 *
 *   field   = plain text up to ',' or the end of the line, or "text" with '"' written twice; quoted text may hold both
 *   record  = fields separated by ',', ended by LF, CRLF or the end of the file
 * A byte order mark before the header is passed over, and so are empty lines. */
#ifndef DT_CSV_H
#define DT_CSV_H

#include "base/base.h"

#include <jansson.h>

typedef struct dt_csv dt_csv;

#define DT_CSV_MAX_COLUMNS ((size_t)4096)

duet_status dt_csv_open(const char *path, dt_csv **out, duet_err *err);
/* The same over memory, borrowed until dt_csv_close. Both read the header: DUET_E_FORMAT where it is missing or broken. */
duet_status dt_csv_open_mem(const char *name, const void *p, size_t n, dt_csv **out, duet_err *err);
void dt_csv_close(dt_csv *r);
/* Next record, owned by the caller (json_decref). DUET_END at the end. A broken record gives DUET_E_FORMAT with file and
 * line; the next call goes on at the next line. Messages never quote what is in a record. */
duet_status dt_csv_next(dt_csv *r, json_t **obj, duet_err *err);
size_t dt_csv_line(const dt_csv *r); /* line on which the record last returned began, from 1 */

#endif
