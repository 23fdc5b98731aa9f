/* Where a model's configuration and tensors come from: a Hugging Face folder or a GGUF file, under the names of the
 * former. Nothing is read but headers; views point into mapped files and live until dt_model_files_close. */
#ifndef DT_MODEL_FILES_H
#define DT_MODEL_FILES_H

#include "format/gguf_model.h"

typedef struct dt_model_files {
    char *path;
    char *rope_scaling; /* asked for at opening, NULL = none: cfg has it */
    dt_hf_config cfg;
    dt_hf_generation gen;
    dt_hf_weights *folder; /* one of the two */
    dt_gguf *file;
} dt_model_files;

/* A tensor as its file has it. */
typedef struct dt_tensor {
    dt_view view;          /* data NULL = none */
    dt_gguf_change change; /* what differs from the Hugging Face tensor of this name */
} dt_tensor;

duet_status dt_model_files_open(const char *path, dt_model_files **out, duet_err *err);
void dt_model_files_close(dt_model_files *s); /* NULL is fine */
dt_tensor dt_model_files_find(const dt_model_files *s, const char *name);

size_t dt_tensor_row_bytes(const dt_tensor *t, size_t cols); /* cols: whole blocks */
/* Where the bytes of row r are (rows of a vector: its elements), in the order of Hugging Face's rows. d_head: E. */
const uint8_t *dt_tensor_row(const dt_tensor *t, size_t r, size_t row_bytes, int d_head);
/* Elements c .. c + n - 1 of row r, of `cols`, as floats: whole blocks, or n == 1 of a vector's elements. */
void dt_tensor_floats(const dt_tensor *t, size_t r, size_t cols, int d_head, size_t c, size_t n, float *out);

#endif
