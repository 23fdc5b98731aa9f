/* Tensors from one file into another, row by row: types changed, rows of q and k put into the other order, 1 added to
 * norms. What the tensors and keys of the output are is decided in convert_gguf.c and convert_hf.c; here they are
 * carried. */
#include "format/convert.h"

#include "tensor/quant.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)16 << 20) /* of output, in memory at a time */

typedef struct slab {
    const dt_carry *c;
    uint8_t *out;
    size_t first, n_rows, cols; /* of the chunk */
    size_t rows_per_task, row_bytes;
    _Atomic size_t bad; /* 1 + the first row that cannot be written */
} slab;

/* Row r of the output as floats. */
static void read_row(const dt_carry *c, size_t r, size_t cols, float *x) {
    const size_t from = c->rows == DT_ROWS_FROM_HF ? dt_gguf_rope_row_to_hf(r, c->E)
                        : c->rows == DT_ROWS_TO_HF ? dt_gguf_rope_row_from_hf(r, c->E)
                                                   : r;
    const size_t bytes = cols / dt_dtype_block(c->src->dtype) * dt_dtype_size(c->src->dtype);
    const dt_view row = {
        .dtype = c->src->dtype, .n_dims = 1, .dims = {cols}, .data = (const uint8_t *)c->src->data + from * bytes};
    dt_view_to_f32(&row, x);
    for (size_t i = 0; c->add != 0.0f && i < cols; i++)
        x[i] += c->add;
}

static bool all_fit(const float *x, size_t n, dt_dtype t) {
    const float most = t == DT_F16 ? 65504.0f : 3.4e38f;
    bool fit = true;
    for (size_t i = 0; i < n; i++)
        fit = fit && fabsf(x[i]) <= most; /* false for NaN */
    return fit;
}

static void convert_rows(void *arg, size_t task, int thread) {
    slab *s = arg;
    const size_t end = (task + 1) * s->rows_per_task < s->n_rows ? (task + 1) * s->rows_per_task : s->n_rows;
    float *x = malloc(s->cols * sizeof *x);
    (void)thread;
    for (size_t r = task * s->rows_per_task; r < end; r++) {
        if (x)
            read_row(s->c, s->first + r, s->cols, x);
        if (!x || !all_fit(x, s->cols, s->c->dtype)) {
            s->bad = s->first + r + 1;
            break;
        }
        dt_quant_from_f32(s->c->dtype, x, s->out + r * s->row_bytes, s->cols);
    }
    free(x);
}

static bool as_it_is(const dt_carry *c) {
    return c->src->dtype == c->dtype && c->add == 0.0f && c->rows == DT_ROWS_SAME;
}

duet_status dt_carry_tensor(const dt_carry *c, const char *name, dt_pool *pool, uint8_t *room, dt_carry_put put,
                            void *user, duet_err *err) {
    size_t n = 0, n_bytes = 0;
    dt_view out = *c->src;
    out.dtype = c->dtype;
    if (!dt_view_count(&out, &n, &n_bytes))
        return dt_fail(err, DUET_E_INTERNAL, "tensor %.80s does not go into %s", name, dt_dtype_name(c->dtype));
    if (as_it_is(c)) { /* in pieces, so that progress shows */
        duet_status st = DUET_OK;
        for (size_t at = 0; !st && at < n_bytes; at += CHUNK_BYTES)
            st = put(user, (const uint8_t *)c->src->data + at, n_bytes - at < CHUNK_BYTES ? n_bytes - at : CHUNK_BYTES,
                     err);
        dt_map_drop(c->src->data, n_bytes);
        return st;
    }
    const size_t cols = c->src->n_dims == 1 && c->rows != DT_ROWS_SAME ? 1 : c->src->dims[c->src->n_dims - 1];
    const size_t n_rows = n / cols, row_bytes = cols / dt_dtype_block(c->dtype) * dt_dtype_size(c->dtype);
    const size_t from_bytes = cols / dt_dtype_block(c->src->dtype) * dt_dtype_size(c->src->dtype);
    const size_t at_once = row_bytes < CHUNK_BYTES ? CHUNK_BYTES / row_bytes : 1;
    if (row_bytes > CHUNK_BYTES)
        return dt_fail(err, DUET_E_UNSUPPORTED, "tensor %.80s has rows of more than %zu bytes", name, CHUNK_BYTES);
    for (size_t first = 0; first < n_rows; first += at_once) {
        slab s = {.c = c, .out = room, .first = first, .cols = cols, .row_bytes = row_bytes};
        s.n_rows = n_rows - first < at_once ? n_rows - first : at_once;
        s.rows_per_task = s.n_rows / ((size_t)dt_pool_threads(pool) * 8) + 1;
        dt_pool_run(pool, (s.n_rows + s.rows_per_task - 1) / s.rows_per_task, convert_rows, &s);
        if (s.bad)
            return dt_fail(err, DUET_E_FORMAT,
                           "tensor %.80s: row %zu has a number that is not finite or too large for %s", name,
                           (size_t)s.bad - 1, dt_dtype_name(c->dtype));
        duet_status st = put(user, room, s.n_rows * row_bytes, err);
        if (st)
            return st;
        if (c->rows == DT_ROWS_SAME) /* otherwise rows of one head are read in another order: after the last */
            dt_map_drop((const uint8_t *)c->src->data + first * from_bytes, s.n_rows * from_bytes);
    }
    dt_map_drop(c->src->data, n_rows * from_bytes);
    return DUET_OK;
}

uint8_t *dt_carry_room(void) {
    return malloc(CHUNK_BYTES);
}

bool dt_tell_progress(const duet_convert_options *opt, size_t done, size_t total) {
    return !opt || !opt->progress || opt->progress(opt->user, done, total);
}

duet_status duet_convert(const char *in, const char *out, const duet_convert_options *opt, duet_err *err) {
    const size_t n = strlen(out);
    dt_pool *pool = NULL;
    const bool to_gguf = n > 5 && !strcmp(out + n - 5, ".gguf"), from_folder = dt_path_is_dir(in);
    if (!dt_path_exists(in))
        return dt_fail(err, DUET_E_IO, "%s: no such file or folder", in);
    if (!to_gguf && from_folder)
        return dt_fail(err, DUET_E_USAGE,
                       "%s: from a Hugging Face folder a GGUF file can be made: its name must end in .gguf", out);
    duet_status st = dt_pool_create(opt ? opt->n_threads : 0, &pool, err);
    if (!st)
        st = !to_gguf ? dt_convert_to_hf(in, out, opt, pool, err)
                      : dt_convert_to_gguf(in, from_folder, out, opt, pool, err);
    dt_pool_destroy(pool);
    return st;
}
