/* JSONL sets: id, question, answer; a row that lacks one is named by its line. */
#include "format/jsonl.h"
#include "task/family.h"

#include <stdlib.h>
#include <string.h>

struct duet_dataset {
    duet_example *e;
    size_t n, cap;
};

static char *text_of(const json_t *j) {
    if (json_is_string(j)) return strlen(json_string_value(j)) == json_string_length(j) ? dt_strdup(json_string_value(j)) : NULL;
    return json_is_number(j) ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
}

static duet_status read_row(duet_dataset *d, const char *path, size_t line, const json_t *row, duet_err *err) {
    duet_example e = {0};
    char id[32];
    e.question = text_of(json_object_get(row, "question"));
    e.answer = text_of(json_object_get(row, "answer"));
    e.id = text_of(json_object_get(row, "id"));
    e.chain = text_of(json_object_get(row, "signal"));
    snprintf(id, sizeof id, "line-%zu", line);
    if (!e.id) e.id = dt_strdup(id);
    if (!e.question || !e.answer || !e.id) {
        duet_example_clear(&e);
        return dt_fail(err, DUET_E_FORMAT, "%s: line %zu lacks question or answer (strings without NUL; the answer may be a number)", path, line);
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 256;
        duet_example *grown = dt_realloc(d->e, cap, sizeof *grown);
        if (!grown) {
            duet_example_clear(&e);
            return dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", path, line);
        }
        d->e = grown;
        d->cap = cap;
    }
    d->e[d->n++] = e;
    return DUET_OK;
}

duet_status duet_dataset_open(const char *path, duet_dataset **out, duet_err *err) {
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    *out = NULL;
    duet_dataset *d = dt_calloc(1, sizeof *d);
    if (!d) return dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
    duet_status st = dt_jsonl_open(path, &r, err);
    while (!st) {
        st = dt_jsonl_next(r, &row, err);
        if (st) break;
        st = read_row(d, path, dt_jsonl_line(r), row, err);
        json_decref(row);
    }
    dt_jsonl_close(r);
    if (st == DUET_END) st = d->n ? DUET_OK : dt_fail(err, DUET_E_FORMAT, "%s: there is no question in it", path);
    if (st)
        duet_dataset_close(d);
    else
        *out = d;
    return st;
}

void duet_dataset_close(duet_dataset *d) {
    if (!d) return;
    for (size_t i = 0; i < d->n; i++)
        duet_example_clear(&d->e[i]);
    free(d->e);
    free(d);
}

size_t duet_dataset_size(const duet_dataset *d) {
    return d->n;
}

const duet_example *duet_dataset_get(const duet_dataset *d, size_t i) {
    return i < d->n ? &d->e[i] : NULL;
}
