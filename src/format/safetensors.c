/* safetensors reader and writer; the layout is in the header. Nothing the file says is believed before it is checked
 * against the file's size. */
#include "format/safetensors.h"

#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_HEADER ((uint64_t)100 << 20)

typedef struct entry {
    const char *name; /* borrowed from the JSON header */
    dt_view view;
    size_t begin, end;
} entry;

struct dt_st {
    dt_map map;
    json_t *header;
    entry *e; /* by data offset */
    entry **by_name;
    size_t n;
};

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(entry *const *)a)->name, (*(entry *const *)b)->name);
}

static bool read_size(const json_t *j, size_t *out) {
    if (!json_is_integer(j) || json_integer_value(j) < 0)
        return false;
    *out = (size_t)json_integer_value(j);
    return true;
}

static duet_status read_entry(const char *file, const char *name, const json_t *j, size_t n_data, const uint8_t *data,
                              entry *e, duet_err *err) {
    const json_t *shape = json_object_get(j, "shape"), *off = json_object_get(j, "data_offsets");
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    size_t bytes = 0;
    e->name = name;
    if (!dtype || !json_is_array(shape) || !json_is_array(off) || json_array_size(off) != 2)
        return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s lacks dtype, shape or data_offsets", file, name);
    if (!dt_dtype_parse(dtype, &e->view.dtype) || dt_dtype_is_quantised(e->view.dtype))
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: tensor %.80s has the unknown dtype %.20s", file, name, dtype);
    if (json_array_size(shape) > DT_MAX_DIMS)
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: tensor %.80s has %zu dimensions, at most %d are read", file, name,
                       json_array_size(shape), DT_MAX_DIMS);
    e->view.n_dims = (int)json_array_size(shape);
    for (int i = 0; i < e->view.n_dims; i++)
        if (!read_size(json_array_get(shape, (size_t)i), &e->view.dims[i]))
            return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s: dimension %d is not a whole number from 0", file,
                           name, i);
    if (!read_size(json_array_get(off, 0), &e->begin) || !read_size(json_array_get(off, 1), &e->end) ||
        e->begin > e->end || e->end > n_data)
        return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s: its data_offsets do not lie within the %zu bytes of data",
                       file, name, n_data);
    if (!dt_view_count(&e->view, NULL, &bytes) || bytes != e->end - e->begin)
        return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s: shape and dtype do not fit its %zu bytes", file, name,
                       e->end - e->begin);
    e->view.data = data + e->begin;
    return DUET_OK;
}

/* Absent, or an object of strings. */
static duet_status check_meta(const char *file, json_t *meta, duet_err *err) {
    const char *key;
    json_t *value;
    if (!meta)
        return DUET_OK;
    if (!json_is_object(meta))
        return dt_fail(err, DUET_E_FORMAT, "%s: __metadata__ is not an object", file);
    json_object_foreach(meta, key, value) {
        if (!json_is_string(value))
            return dt_fail(err, DUET_E_FORMAT, "%s: __metadata__: %.80s is not a string", file, key);
    }
    return DUET_OK;
}

static duet_status parse(dt_st *f, const char *name, const uint8_t *p, size_t size, duet_err *err) {
    uint64_t n = 0;
    json_error_t je;
    const char *key;
    json_t *value;
    duet_status st;

    if (size < 8)
        return dt_fail(err, DUET_E_FORMAT, "%s: %zu bytes are too few for a safetensors file; was it cut?", name, size);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    if (n > size - 8)
        return dt_fail(err, DUET_E_FORMAT, "%s: header says %llu bytes, file has %zu; was it cut?", name,
                       (unsigned long long)n, size);
    if (n > MAX_HEADER)
        return dt_fail(err, DUET_E_FORMAT, "%s: header says %llu bytes, at most %llu are read", name,
                       (unsigned long long)n, (unsigned long long)MAX_HEADER);
    f->header = json_loadb((const char *)p + 8, (size_t)n, JSON_REJECT_DUPLICATES, &je);
    if (!f->header || !json_is_object(f->header))
        return dt_fail(err, DUET_E_FORMAT, "%s: the header is not a JSON object: %s", name,
                       f->header ? "another type" : je.text);
    st = check_meta(name, json_object_get(f->header, "__metadata__"), err);
    if (st)
        return st;
    size_t n_keys = json_object_size(f->header), n_data = size - 8 - (size_t)n;
    f->e = dt_calloc(n_keys, sizeof *f->e);
    f->by_name = dt_calloc(n_keys, sizeof *f->by_name);
    if (!f->e || !f->by_name)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu tensors", name, n_keys);
    json_object_foreach(f->header, key, value) {
        if (!strcmp(key, "__metadata__"))
            continue;
        st = read_entry(name, key, value, n_data, p + 8 + n, &f->e[f->n], err);
        if (st)
            return st;
        f->n++;
    }
    qsort(f->e, f->n, sizeof *f->e, by_offset);
    size_t at = 0;
    for (size_t i = 0; i < f->n; i++) {
        const entry *e = &f->e[i];
        if (e->begin < at) /* at is 0 for the first, so there is one before */
            return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s overlaps %.80s", name, e->name, f->e[i - 1].name);
        if (e->begin > at)
            return dt_fail(err, DUET_E_FORMAT, "%s: %zu bytes before tensor %.80s belong to none", name, e->begin - at,
                           e->name);
        at = e->end;
        f->by_name[i] = &f->e[i];
    }
    if (at != n_data)
        return dt_fail(err, DUET_E_FORMAT, "%s: %zu bytes after the last tensor belong to none", name, n_data - at);
    qsort(f->by_name, f->n, sizeof *f->by_name, by_name);
    return DUET_OK;
}

static duet_status open_bytes(dt_st *f, const char *name, const uint8_t *p, size_t n, dt_st **out, duet_err *err) {
    duet_status st = parse(f, name, p, n, err);
    if (st)
        dt_st_close(f);
    else
        *out = f;
    return st;
}

duet_status dt_st_open(const char *path, dt_st **out, duet_err *err) {
    *out = NULL;
    dt_st *f = dt_calloc(1, sizeof *f);
    if (!f)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    duet_status st = dt_map_open(&f->map, path, err);
    if (st) {
        dt_st_close(f);
        return st;
    }
    return open_bytes(f, path, f->map.data, f->map.size, out, err);
}

duet_status dt_st_open_mem(const char *name, const void *data, size_t n, dt_st **out, duet_err *err) {
    *out = NULL;
    dt_st *f = dt_calloc(1, sizeof *f);
    if (!f)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name);
    return open_bytes(f, name, data, n, out, err);
}

void dt_st_close(dt_st *f) {
    if (!f)
        return;
    json_decref(f->header);
    free(f->e);
    free(f->by_name);
    dt_map_close(&f->map);
    free(f);
}

size_t dt_st_count(const dt_st *f) {
    return f->n;
}

const char *dt_st_name(const dt_st *f, size_t i) {
    return f->e[i].name;
}

const dt_view *dt_st_view(const dt_st *f, size_t i) {
    return &f->e[i].view;
}

const dt_view *dt_st_find(const dt_st *f, const char *name) {
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(name, f->by_name[mid]->name);
        if (!c)
            return &f->by_name[mid]->view;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const char *dt_st_meta(const dt_st *f, const char *key) {
    return json_string_value(json_object_get(json_object_get(f->header, "__metadata__"), key));
}

/* ---- writing ---- */

static char *make_header(const dt_st_item *items, size_t n, const char *const *meta, size_t n_meta, size_t *len) {
    json_t *root = json_object(), *m = json_object();
    size_t at = 0;
    bool ok = root && m && !json_object_set_new(m, "format", json_string("pt"));
    for (size_t i = 0; ok && i < n_meta; i++)
        ok = !json_object_set_new(m, meta[2 * i], json_string(meta[2 * i + 1]));
    ok = ok && !json_object_set(root, "__metadata__", m);
    for (size_t i = 0; ok && i < n; i++) {
        const dt_view *v = &items[i].view;
        size_t bytes = 0;
        json_t *shape = json_array();
        ok = shape && dt_view_count(v, NULL, &bytes);
        for (int d = 0; ok && d < v->n_dims; d++)
            ok = !json_array_append_new(shape, json_integer((json_int_t)v->dims[d]));
        json_t *e = ok ? json_pack("{s:s, s:o, s:[I, I]}", "dtype", dt_dtype_name(v->dtype), "shape", shape,
                                   "data_offsets", (json_int_t)at, (json_int_t)(at + bytes))
                       : NULL;
        if (!ok)
            json_decref(shape);
        ok = e && !json_object_set_new(root, items[i].name, e);
        at += bytes;
    }
    char *text = ok ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    json_decref(m);
    if (!text)
        return NULL;
    size_t used = strlen(text), padded = (used + 8 + 63) / 64 * 64 - 8; /* data begins 64-byte aligned */
    char *out = dt_realloc(text, padded, 1);
    if (!out) {
        free(text);
        return NULL;
    }
    memset(out + used, ' ', padded - used);
    *len = padded;
    return out;
}

duet_status dt_st_stream(const char *path, const dt_st_item *items, size_t n_items, const char *const *meta,
                         size_t n_meta, dt_st_fill fill, void *user, duet_err *err) {
    size_t n_header = 0;
    uint8_t len[8];
    dt_atomic out;
    char *header = make_header(items, n_items, meta, n_meta, &n_header);
    if (!header)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write it", path);
    for (int i = 0; i < 8; i++)
        len[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    duet_status st = dt_atomic_open(&out, path, err);
    if (!st)
        st = dt_atomic_add(&out, len, 8, err);
    if (!st)
        st = dt_atomic_add(&out, header, n_header, err);
    for (size_t i = 0; !st && i < n_items; i++) {
        size_t bytes = 0;
        const size_t before = out.n;
        dt_view_count(&items[i].view, NULL, &bytes);
        st = items[i].view.data || !bytes ? dt_atomic_add(&out, items[i].view.data, bytes, err)
                                          : fill(user, i, &out, err);
        if (!st && out.n - before != bytes)
            st = dt_fail(err, DUET_E_INTERNAL, "%s: tensor %.80s got %zu bytes of %zu", path, items[i].name,
                         out.n - before, bytes);
    }
    free(header);
    if (!st)
        return dt_atomic_commit(&out, err);
    dt_atomic_abandon(&out);
    return st;
}

duet_status dt_st_write(const char *path, const dt_st_item *items, size_t n_items, const char *const *meta,
                        size_t n_meta, duet_err *err) {
    return dt_st_stream(path, items, n_items, meta, n_meta, NULL, NULL, err);
}
