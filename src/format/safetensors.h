/* safetensors files, read (memory mapped) and written.
 *
 * Layout:  u64 little-endian n | n bytes of JSON header | tensor data
 * Header:  {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ...,
 *           "__metadata__": {"k": "v"}}, offsets relative to the end of the header.
 * Checked on open: header length against the file (and a 100 MiB cap), dtype known, shape product
 * without overflow and equal to the byte range, ranges inside the file, no overlap, no duplicate
 * names, no holes at the end. Tensor data may start at any byte offset. */
#ifndef DT_SAFETENSORS_H
#define DT_SAFETENSORS_H

#include "tensor/tensor.h"

typedef struct dt_st dt_st;

duet_status dt_st_open(const char *path, dt_st **out, duet_err *err);
/* The same over bytes in memory (borrowed until close); name is for messages. Used by the fuzzer. */
duet_status dt_st_open_mem(const char *name, const void *data, size_t n, dt_st **out, duet_err *err);
void dt_st_close(dt_st *f); /* NULL is fine; views die with it */

size_t dt_st_count(const dt_st *f);
const char *dt_st_name(const dt_st *f, size_t i);          /* borrowed */
const dt_view *dt_st_view(const dt_st *f, size_t i);       /* borrowed; order of the data offsets */
const dt_view *dt_st_find(const dt_st *f, const char *name); /* NULL = not there */
const char *dt_st_meta(const dt_st *f, const char *key);   /* from __metadata__, NULL = not there */

/* One tensor to write: name and view borrowed for the call. */
typedef struct dt_st_item {
    const char *name;
    dt_view view;
} dt_st_item;

/* Writes a whole file atomically (temporary name, fsync, rename); data 64-byte aligned.
 * meta: n_meta pairs key, value; may be NULL. {"format": "pt"} is always added. */
duet_status dt_st_write(const char *path, const dt_st_item *items, size_t n_items,
                        const char *const *meta, size_t n_meta, duet_err *err);

/* The same with tensors that are not in memory: where an item's view.data is NULL, `fill` is called in its turn and adds
 * the bytes of that tensor to out, in pieces as it likes. */
typedef duet_status (*dt_st_fill)(void *user, size_t item, dt_atomic *out, duet_err *err);
duet_status dt_st_stream(const char *path, const dt_st_item *items, size_t n_items, const char *const *meta,
                         size_t n_meta, dt_st_fill fill, void *user, duet_err *err);

#endif
