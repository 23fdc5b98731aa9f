/* Which tensors a model of a configuration has, with their shapes: for those who look at files without running them. */
#ifndef DT_PARTS_H
#define DT_PARTS_H

#include "format/gguf_model.h"

/* Tensor i by its GGUF name, with its shape (no data, no type); false: there are no more. */
bool dt_gguf_part(const dt_hf_config *c, size_t i, char name[DT_GGUF_NAME], dt_view *shape);
/* Where tensors are looked for: one of the two. */
typedef struct dt_part_files {
    const char *path; /* for messages */
    const dt_gguf *gguf;
    const dt_hf_weights *hf;
} dt_part_files;

/* The tensor that has this GGUF name; `own` is its name in these files, change what is different there. NULL = not
 * there. */
const dt_view *dt_part_find(const dt_part_files *f, const dt_hf_config *c, const char *gguf, char own[DT_GGUF_NAME],
                            dt_gguf_change *change);
/* All parts are there with their shapes: those that are not are named in one sentence. *n_params: elements of all. */
duet_status dt_part_check(const dt_part_files *f, const dt_hf_config *c, size_t *n_params, duet_err *err);

#endif
