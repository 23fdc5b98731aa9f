/* GGUF files, version 2 and 3, little endian: read through a memory map.
 *
 * Layout (GGUF specification of the ggml project), all numbers little endian:
 *
 *   "GGUF" | u32 version | u64 n_tensors | u64 n_keys
 *   n_keys    times: string key | u32 type | value
 *   n_tensors times: string name | u32 n_dims | u64 dims[n_dims] | u32 ggml type | u64 offset
 *   zeros up to a multiple of the alignment (key general.alignment, else 32): here the data begins
 *   tensor data: a tensor begins `offset` bytes after the start of the data, a multiple of the alignment
 *
 *   string    u64 n | n bytes, no NUL behind them
 *   array     u32 type of the elements | u64 n | the elements one after the other
 *   dims      the shortest stride first: a matrix of R rows of C elements has dims C, R. A dt_view has them turned
 * round.
 *
 * A model in several files, name-00001-of-00003.gguf and so on: each says split.no and split.count, and the first has
 * the metadata of the model. Opening any of them opens all.
 *
 * Checked on open: every length and count against the file, types, duplicate keys and tensor names, shapes without
 * overflow and in whole blocks, data inside the file, aligned and without overlap. What is said names the file and the
 * place. */
#ifndef DT_GGUF_H
#define DT_GGUF_H

#include "tensor/tensor.h"

typedef enum dt_gguf_type {
    DT_GGUF_U8,
    DT_GGUF_I8,
    DT_GGUF_U16,
    DT_GGUF_I16,
    DT_GGUF_U32,
    DT_GGUF_I32,
    DT_GGUF_F32,
    DT_GGUF_BOOL,
    DT_GGUF_STRING,
    DT_GGUF_ARRAY,
    DT_GGUF_U64,
    DT_GGUF_I64,
    DT_GGUF_F64,
    DT_GGUF_N_TYPES
} dt_gguf_type;

/* Bytes of the map: no NUL behind them, and there may be some inside. */
typedef struct dt_gguf_str {
    const char *s;
    size_t n;
} dt_gguf_str;

/* A key and its value as the file has it. All borrowed from the open file. */
typedef struct dt_gguf_kv {
    const char *key;     /* NUL-terminated */
    dt_gguf_type type;   /* of the value; of an array: DT_GGUF_ARRAY */
    dt_gguf_type elem;   /* of an array's elements; else the same as type */
    size_t n;            /* elements of an array; else 1 */
    const uint8_t *data; /* of the elements, any alignment; a string begins with its length */
    size_t n_bytes;
} dt_gguf_kv;

typedef struct dt_gguf dt_gguf;

duet_status dt_gguf_open(const char *path, dt_gguf **out, duet_err *err);
/* The same over bytes in memory (borrowed until close), one part only; name is for messages. */
duet_status dt_gguf_open_mem(const char *name, const void *data, size_t n, dt_gguf **out, duet_err *err);
void dt_gguf_close(dt_gguf *g);    /* NULL is fine; everything borrowed dies with it */
bool dt_gguf_is(const char *path); /* a regular file that begins with "GGUF": worth opening as one */

const char *dt_gguf_name(const dt_gguf *g); /* the path it was opened by, for messages */
size_t dt_gguf_bytes(const dt_gguf *g);     /* of all files together */
int dt_gguf_n_files(const dt_gguf *g);
uint32_t dt_gguf_alignment(const dt_gguf *g);

/* ---- tensors, of all files, in their order ---- */
size_t dt_gguf_count(const dt_gguf *g);
const char *dt_gguf_tensor_name(const dt_gguf *g, size_t i);
const dt_view *dt_gguf_view(const dt_gguf *g, size_t i);
const dt_view *dt_gguf_find(const dt_gguf *g, const char *name); /* NULL = not there */

/* ---- metadata, of the first file, in its order ---- */
size_t dt_gguf_n_keys(const dt_gguf *g);
const dt_gguf_kv *dt_gguf_key(const dt_gguf *g, size_t i);
const dt_gguf_kv *dt_gguf_find_key(const dt_gguf *g, const char *key); /* NULL = not there */

/* Typed access (gguf_meta.c). DUET_OK: *out is set. DUET_END: the key is not there, *out keeps what it had (a default).
 * DUET_E_FORMAT: another type, or outside lo..hi; the sentence names file, key, and what was found. A whole number of
 * any width is an int; a float or double is a real, and so is a whole number. */
duet_status dt_gguf_int(const dt_gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *out, duet_err *err);
duet_status dt_gguf_real(const dt_gguf *g, const char *key, double lo, double hi, double *out, duet_err *err);
duet_status dt_gguf_bool(const dt_gguf *g, const char *key, bool *out, duet_err *err);
duet_status dt_gguf_string(const dt_gguf *g, const char *key, dt_gguf_str *out, duet_err *err);
/* An array whose elements are strings (elem DT_GGUF_STRING), whole numbers (DT_GGUF_I64) or reals (DT_GGUF_F64). */
duet_status dt_gguf_array(const dt_gguf *g, const char *key, dt_gguf_type elem, const dt_gguf_kv **out, duet_err *err);
/* "missing" as an error: turns DUET_END into DUET_E_FORMAT with a sentence, keeps every other status. */
duet_status dt_gguf_need(duet_status st, const dt_gguf *g, const char *key, duet_err *err);
bool dt_gguf_str_is(dt_gguf_str s, const char *text);

/* Elements of a value that is no string array. i below kv->n. An unsigned number above INT64_MAX gives INT64_MAX. */
int64_t dt_gguf_int_at(const dt_gguf_kv *kv, size_t i);
double dt_gguf_real_at(const dt_gguf_kv *kv, size_t i);

/* Strings of an array one after the other, nothing copied: `size_t at = 0; while (dt_gguf_next_str(kv, &at, &s)) ...`
 */
bool dt_gguf_next_str(const dt_gguf_kv *kv, size_t *at, dt_gguf_str *out);
/* All of them at once: kv->n of them in one block that the caller frees. NULL = no memory (or no strings). */
dt_gguf_str *dt_gguf_strings(const dt_gguf_kv *kv);

/* ---- names and codes of types ---- */
const char *dt_gguf_type_name(dt_gguf_type t);    /* "u32", "string", ... */
size_t dt_gguf_type_size(dt_gguf_type t);         /* 0 for strings and arrays */
bool dt_gguf_dtype(uint32_t code, dt_dtype *out); /* of a ggml type code; false = not read here */
int dt_gguf_dtype_code(dt_dtype t);               /* the other way; -1 = GGUF has none */

#endif
