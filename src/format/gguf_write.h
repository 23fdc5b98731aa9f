/* Writes a GGUF file, version 3 (layout in gguf.h): first all keys, then all tensor descriptions, then the data in the
 * order of the descriptions, piece by piece. The file takes its name when it is whole. Calls that only add to memory
 * fail late: dt_gguf_begin says so. */
#ifndef DT_GGUF_WRITE_H
#define DT_GGUF_WRITE_H

#include "format/gguf.h"

typedef struct dt_gguf_writer dt_gguf_writer;

duet_status dt_gguf_create(const char *path, dt_gguf_writer **out, duet_err *err);
void dt_gguf_abandon(dt_gguf_writer *w); /* also after an error; NULL is fine */

/* Keys, each once. Borrowed for the call. */
void dt_gguf_put_u32(dt_gguf_writer *w, const char *key, uint32_t x);
void dt_gguf_put_i32(dt_gguf_writer *w, const char *key, int32_t x);
void dt_gguf_put_f32(dt_gguf_writer *w, const char *key, float x);
void dt_gguf_put_bool(dt_gguf_writer *w, const char *key, bool x);
void dt_gguf_put_text(dt_gguf_writer *w, const char *key, const char *s);
void dt_gguf_put_string(dt_gguf_writer *w, const char *key, const char *s, size_t n);
void dt_gguf_put_strings(dt_gguf_writer *w, const char *key, const dt_gguf_str *s, size_t n);
void dt_gguf_put_i32s(dt_gguf_writer *w, const char *key, const int32_t *x, size_t n);
void dt_gguf_put_f32s(dt_gguf_writer *w, const char *key, const float *x, size_t n);
void dt_gguf_put_kv(dt_gguf_writer *w, const dt_gguf_kv *kv); /* as another file has it */
bool dt_gguf_has_put(const dt_gguf_writer *w, const char *key);

/* A tensor to come: name (copied), type and shape of v; v->data is not looked at. */
void dt_gguf_declare(dt_gguf_writer *w, const char *name, const dt_view *v);
size_t dt_gguf_declared_bytes(const dt_gguf_writer *w); /* of data, without padding */

duet_status dt_gguf_begin(dt_gguf_writer *w, duet_err *err);                        /* writes all of the above */
duet_status dt_gguf_add(dt_gguf_writer *w, const void *p, size_t n, duet_err *err); /* never across two tensors */
duet_status dt_gguf_end(dt_gguf_writer *w, duet_err *err); /* the file is there; w is gone, whatever is returned */

#endif
