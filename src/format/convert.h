/* Inside of conversion: one tensor carried from a view to a sink, and the two kinds of output. */
#ifndef DT_CONVERT_H
#define DT_CONVERT_H

#include "duet/convert.h"
#include "format/gguf_model.h"

typedef enum dt_carry_rows { DT_ROWS_SAME, DT_ROWS_FROM_HF, DT_ROWS_TO_HF } dt_carry_rows;

/* A tensor of the output: src's numbers, plus `add`, as `dtype`, rows of heads of width E in the other order. The
 * output has the shape of src. */
typedef struct dt_carry {
    const dt_view *src; /* borrowed */
    dt_dtype dtype;
    float add;
    dt_carry_rows rows;
    size_t E;
} dt_carry;

typedef duet_status (*dt_carry_put)(void *user, const void *p, size_t n, duet_err *err);
uint8_t *dt_carry_room(void); /* scratch for the next call; free(). NULL = no memory */
/* Bytes go to `put` in order. name: for messages. Numbers that are not finite, or do not fit F16, are refused. */
duet_status dt_carry_tensor(const dt_carry *c, const char *name, dt_pool *pool, uint8_t *room, dt_carry_put put,
                            void *user, duet_err *err);
bool dt_tell_progress(const duet_convert_options *opt, size_t done, size_t total); /* false = stop */

duet_status dt_convert_to_gguf(const char *in, bool from_folder, const char *out, const duet_convert_options *opt,
                               dt_pool *pool, duet_err *err);
duet_status dt_convert_to_hf(const char *in, const char *out, const duet_convert_options *opt, dt_pool *pool,
                             duet_err *err);

#endif
