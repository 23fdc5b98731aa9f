/* CSV records as JSON objects. */
#include "format/csv.h"

#include <stdlib.h>
#include <string.h>

struct dt_csv {
    dt_map map; /* empty when reading memory */
    char *name;
    const char *p;
    size_t n, at, line, began; /* next byte, its line, the first line of the record last read */
    char **column;
    size_t n_columns;
    dt_buf field;
};

static void pass_line(dt_csv *r) {
    while (r->at < r->n && r->p[r->at] != '\n')
        r->at++;
    if (r->at < r->n) {
        r->at++;
        r->line++;
    }
}

/* Says why the record is broken and moves on to the line after `from`. */
static duet_status broken(dt_csv *r, size_t from, size_t line, duet_err *err, const char *why) {
    r->at = from;
    r->line = line;
    pass_line(r);
    return dt_fail(err, DUET_E_FORMAT, "%s: line %zu: %s", r->name, r->began, why);
}

/* One field into r->field; *last: it ended its record. */
static duet_status read_field(dt_csv *r, bool *last, duet_err *err) {
    dt_buf *b = &r->field;
    size_t start = r->at, line = r->line;
    bool quoted = r->at < r->n && r->p[r->at] == '"', open = quoted;
    b->len = 0;
    dt_buf_add(b, "", 0);
    for (r->at += quoted; open && r->at < r->n; r->at++) {
        char c = r->p[r->at];
        if (c == '"' && r->at + 1 < r->n && r->p[r->at + 1] == '"') {
            r->at++;
        } else if (c == '"') {
            open = false;
            continue;
        }
        r->line += c == '\n';
        dt_buf_add(b, &c, 1);
    }
    if (open) return broken(r, start, line, err, "a quoted field is not closed");
    while (!quoted && r->at < r->n && r->p[r->at] != ',' && r->p[r->at] != '\n')
        dt_buf_add(b, &r->p[r->at++], 1);
    if (!quoted && (r->at == r->n || r->p[r->at] == '\n') && b->len && b->data[b->len - 1] == '\r') b->data[--b->len] = 0;
    if (b->failed) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", r->name, r->began);
    if (quoted && r->at + 1 < r->n && r->p[r->at] == '\r' && r->p[r->at + 1] == '\n') r->at++;
    *last = r->at == r->n || r->p[r->at] == '\n';
    if (!*last && r->p[r->at] != ',') return broken(r, r->at, r->line, err, "something follows a closing quote");
    r->line += r->at < r->n && r->p[r->at] == '\n';
    r->at += r->at < r->n;
    return DUET_OK;
}

static void pass_empty_lines(dt_csv *r) {
    while (r->at < r->n && (r->p[r->at] == '\n' || (r->p[r->at] == '\r' && r->at + 1 < r->n && r->p[r->at + 1] == '\n')))
        pass_line(r);
}

static duet_status read_header(dt_csv *r, duet_err *err) {
    if (r->n >= 3 && !memcmp(r->p, "\xEF\xBB\xBF", 3)) r->at = 3;
    pass_empty_lines(r);
    r->began = r->line;
    if (r->at == r->n) return dt_fail(err, DUET_E_FORMAT, "%s: there is no header line in it", r->name);
    for (bool last = false; !last;) {
        duet_status st = read_field(r, &last, err);
        if (st) return st;
        if (r->n_columns == DT_CSV_MAX_COLUMNS) return dt_fail(err, DUET_E_FORMAT, "%s: the header has more than %zu columns", r->name, DT_CSV_MAX_COLUMNS);
        char **grown = dt_realloc(r->column, r->n_columns + 1, sizeof *grown);
        if (!grown) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for the header", r->name);
        r->column = grown;
        if (!(r->column[r->n_columns] = dt_strdup(r->field.data))) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for the header", r->name);
        r->n_columns++;
    }
    return DUET_OK;
}

static duet_status open_on(dt_csv *r, const char *name, dt_csv **out, duet_err *err) {
    r->line = 1;
    r->name = dt_strdup(name);
    duet_status st = r->name ? read_header(r, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name);
    if (st)
        dt_csv_close(r);
    else
        *out = r;
    return st;
}

duet_status dt_csv_open(const char *path, dt_csv **out, duet_err *err) {
    *out = NULL;
    dt_csv *r = dt_calloc(1, sizeof *r);
    if (!r) return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    duet_status st = dt_map_open(&r->map, path, err);
    if (st) {
        free(r);
        return st;
    }
    r->p = (const char *)r->map.data;
    r->n = r->map.size;
    return open_on(r, path, out, err);
}

duet_status dt_csv_open_mem(const char *name, const void *p, size_t n, dt_csv **out, duet_err *err) {
    *out = NULL;
    dt_csv *r = dt_calloc(1, sizeof *r);
    if (!r) return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name);
    r->p = p;
    r->n = n;
    return open_on(r, name, out, err);
}

void dt_csv_close(dt_csv *r) {
    if (!r) return;
    for (size_t i = 0; i < r->n_columns; i++)
        free(r->column[i]);
    free(r->column);
    free(r->name);
    dt_buf_clear(&r->field);
    dt_map_close(&r->map);
    free(r);
}

size_t dt_csv_line(const dt_csv *r) {
    return r->began;
}

duet_status dt_csv_next(dt_csv *r, json_t **obj, duet_err *err) {
    duet_status st = DUET_OK;
    size_t k = 0;
    bool last = false, utf8 = true;
    *obj = NULL;
    pass_empty_lines(r);
    r->began = r->line;
    if (r->at >= r->n) return DUET_END;
    json_t *o = json_object();
    if (!o) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", r->name, r->began);
    for (; !last && !st; k++) {
        st = read_field(r, &last, err);
        if (st || k >= r->n_columns) continue;
        json_t *text = json_stringn(r->field.data, r->field.len);
        if (!text || json_object_set_new(o, r->column[k], text)) utf8 = false; /* the name or the field */
    }
    if (!st && k != r->n_columns)
        st = dt_fail(err, DUET_E_FORMAT, "%s: line %zu has %zu fields, the header %zu", r->name, r->began, k, r->n_columns);
    if (!st && !utf8) st = dt_fail(err, DUET_E_FORMAT, "%s: line %zu is not UTF-8", r->name, r->began);
    if (st)
        json_decref(o);
    else
        *obj = o;
    return st;
}
