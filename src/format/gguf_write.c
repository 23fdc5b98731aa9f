/* GGUF writer: keys and descriptions gathered in memory, data streamed behind them. */
#include "format/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 32 /* what is meant where general.alignment is absent */
#define MAX_NAME 63  /* bytes of a tensor's name that ggml reads */

typedef struct pending {
    char name[MAX_NAME + 1];
    size_t n_bytes;
} pending;

struct dt_gguf_writer {
    dt_atomic file;
    char *path;
    dt_buf keys, tensors;
    dt_buf names; /* of the keys, each with a NUL behind it */
    uint64_t n_keys;
    pending *t;
    size_t n, cap;
    size_t at, done; /* tensor being written, bytes of it so far */
    size_t data_bytes, offset;
    duet_status st; /* of a call that could not say it */
    duet_err why;
};

static void put(dt_buf *b, uint64_t x, size_t n_bytes) {
    uint8_t le[8];
    for (size_t i = 0; i < n_bytes; i++)
        le[i] = (uint8_t)(x >> (8 * i));
    dt_buf_add(b, le, n_bytes);
}

static void put_text(dt_buf *b, const char *s, size_t n) {
    put(b, n, 8);
    dt_buf_add(b, s, n);
}

duet_status dt_gguf_create(const char *path, dt_gguf_writer **out, duet_err *err) {
    *out = NULL;
    dt_gguf_writer *w = dt_calloc(1, sizeof *w);
    if (!w)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write it", path);
    w->file.fd = -1;
    w->path = dt_strdup(path);
    duet_status st =
        w->path ? dt_atomic_open(&w->file, path, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory to write it", path);
    if (st) {
        dt_gguf_abandon(w);
        return st;
    }
    *out = w;
    return DUET_OK;
}

void dt_gguf_abandon(dt_gguf_writer *w) {
    if (!w)
        return;
    dt_atomic_abandon(&w->file);
    dt_buf_clear(&w->keys);
    dt_buf_clear(&w->tensors);
    dt_buf_clear(&w->names);
    free(w->path);
    free(w->t);
    free(w);
}

/* ---- keys ---- */

bool dt_gguf_has_put(const dt_gguf_writer *w, const char *key) {
    for (const char *p = w->names.data; p && p < w->names.data + w->names.len; p += strlen(p) + 1)
        if (!strcmp(p, key))
            return true;
    return false;
}

static void begin_key(dt_gguf_writer *w, const char *key, dt_gguf_type type) {
    if (!w->st && dt_gguf_has_put(w, key))
        w->st = dt_fail(&w->why, DUET_E_INTERNAL, "%s: the key %.80s was to be written twice", w->path, key);
    dt_buf_add(&w->names, key, strlen(key) + 1);
    put_text(&w->keys, key, strlen(key));
    put(&w->keys, type, 4);
    w->n_keys++;
}

static void begin_array(dt_gguf_writer *w, const char *key, dt_gguf_type elem, size_t n) {
    begin_key(w, key, DT_GGUF_ARRAY);
    put(&w->keys, elem, 4);
    put(&w->keys, n, 8);
}

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

void dt_gguf_put_u32(dt_gguf_writer *w, const char *key, uint32_t x) {
    begin_key(w, key, DT_GGUF_U32);
    put(&w->keys, x, 4);
}

void dt_gguf_put_i32(dt_gguf_writer *w, const char *key, int32_t x) {
    begin_key(w, key, DT_GGUF_I32);
    put(&w->keys, (uint32_t)x, 4);
}

void dt_gguf_put_f32(dt_gguf_writer *w, const char *key, float x) {
    begin_key(w, key, DT_GGUF_F32);
    put(&w->keys, bits_of(x), 4);
}

void dt_gguf_put_bool(dt_gguf_writer *w, const char *key, bool x) {
    begin_key(w, key, DT_GGUF_BOOL);
    put(&w->keys, x, 1);
}

void dt_gguf_put_string(dt_gguf_writer *w, const char *key, const char *s, size_t n) {
    begin_key(w, key, DT_GGUF_STRING);
    put_text(&w->keys, s, n);
}

void dt_gguf_put_text(dt_gguf_writer *w, const char *key, const char *s) {
    dt_gguf_put_string(w, key, s, strlen(s));
}

void dt_gguf_put_strings(dt_gguf_writer *w, const char *key, const dt_gguf_str *s, size_t n) {
    begin_array(w, key, DT_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_text(&w->keys, s[i].s, s[i].n);
}

void dt_gguf_put_i32s(dt_gguf_writer *w, const char *key, const int32_t *x, size_t n) {
    begin_array(w, key, DT_GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        put(&w->keys, (uint32_t)x[i], 4);
}

void dt_gguf_put_f32s(dt_gguf_writer *w, const char *key, const float *x, size_t n) {
    begin_array(w, key, DT_GGUF_F32, n);
    for (size_t i = 0; i < n; i++)
        put(&w->keys, bits_of(x[i]), 4);
}

void dt_gguf_put_kv(dt_gguf_writer *w, const dt_gguf_kv *kv) {
    if (kv->type == DT_GGUF_ARRAY)
        begin_array(w, kv->key, kv->elem, kv->n);
    else
        begin_key(w, kv->key, kv->type);
    dt_buf_add(&w->keys, kv->data, kv->n_bytes);
}

/* ---- tensors ---- */

static size_t padding(size_t n) {
    return (ALIGNMENT - n % ALIGNMENT) % ALIGNMENT;
}

void dt_gguf_declare(dt_gguf_writer *w, const char *name, const dt_view *v) {
    size_t bytes = 0;
    const int code = dt_gguf_dtype_code(v->dtype);
    if (w->n == w->cap) {
        const size_t cap = w->cap ? w->cap * 2 : 256;
        pending *grown = dt_realloc(w->t, cap, sizeof *grown);
        if (!grown) {
            w->keys.failed = true;
            return;
        }
        w->t = grown;
        w->cap = cap;
    }
    if (!w->st &&
        (code < 0 || strlen(name) > MAX_NAME || v->n_dims < 1 || v->n_dims > 4 || !dt_view_count(v, NULL, &bytes)))
        w->st = dt_fail(&w->why, DUET_E_UNSUPPORTED,
                        "%s: tensor %.80s: its name (over %d bytes), type %s or shape has no place in "
                        "a GGUF file",
                        w->path, name, MAX_NAME, dt_dtype_name(v->dtype));
    if (w->st)
        return;
    pending *t = &w->t[w->n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_bytes = bytes;
    put_text(&w->tensors, name, strlen(name));
    put(&w->tensors, (uint64_t)v->n_dims, 4);
    for (int i = v->n_dims; i-- > 0;)
        put(&w->tensors, v->dims[i], 8);
    put(&w->tensors, (uint64_t)code, 4);
    put(&w->tensors, w->offset, 8);
    w->data_bytes += bytes;
    w->offset += bytes + padding(bytes);
}

size_t dt_gguf_declared_bytes(const dt_gguf_writer *w) {
    return w->data_bytes;
}

static duet_status pad(dt_gguf_writer *w, duet_err *err) {
    static const uint8_t zeros[ALIGNMENT] = {0};
    return dt_atomic_add(&w->file, zeros, padding(w->file.n), err);
}

duet_status dt_gguf_begin(dt_gguf_writer *w, duet_err *err) {
    dt_buf head = {0};
    if (w->st)
        return dt_fail(err, w->st, "%s", w->why.text);
    dt_buf_adds(&head, "GGUF");
    put(&head, 3, 4);
    put(&head, w->n, 8);
    put(&head, w->n_keys, 8);
    duet_status st = DUET_OK;
    if (head.failed || w->keys.failed || w->tensors.failed || w->names.failed)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to write it", w->path);
    if (!st)
        st = dt_atomic_add(&w->file, head.data, head.len, err);
    if (!st && w->keys.len)
        st = dt_atomic_add(&w->file, w->keys.data, w->keys.len, err);
    if (!st && w->tensors.len)
        st = dt_atomic_add(&w->file, w->tensors.data, w->tensors.len, err);
    if (!st)
        st = pad(w, err);
    dt_buf_clear(&head);
    dt_buf_clear(&w->keys);
    dt_buf_clear(&w->tensors);
    return st;
}

duet_status dt_gguf_add(dt_gguf_writer *w, const void *p, size_t n, duet_err *err) {
    if (w->at >= w->n || n > w->t[w->at].n_bytes - w->done)
        return dt_fail(err, DUET_E_INTERNAL, "%s: tensor %zu of %zu gets more bytes than it has", w->path, w->at + 1,
                       w->n);
    duet_status st = dt_atomic_add(&w->file, p, n, err);
    w->done += n;
    if (st || w->done < w->t[w->at].n_bytes)
        return st;
    w->at++;
    w->done = 0;
    return pad(w, err);
}

duet_status dt_gguf_end(dt_gguf_writer *w, duet_err *err) {
    duet_status st = w->at == w->n
                         ? DUET_OK
                         : dt_fail(err, DUET_E_INTERNAL, "%s: tensor %s was not written", w->path, w->t[w->at].name);
    if (!st)
        st = dt_atomic_commit(&w->file, err);
    dt_gguf_abandon(w);
    return st;
}
