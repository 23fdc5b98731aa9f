/* Named tensors of a model, whatever its files. */
#include "model/files.h"

#include <stdlib.h>
#include <string.h>

static duet_status open_file(dt_model_files *s, duet_err *err) {
    duet_status st = dt_gguf_open(s->path, &s->file, err);
    if (!st) st = dt_gguf_config(s->file, &s->cfg, err);
    return st ? st : dt_gguf_generation(s->file, &s->gen, err);
}

static duet_status open_folder(dt_model_files *s, duet_err *err) {
    duet_status st = dt_hf_config_read(s->path, &s->cfg, err);
    if (!st) st = dt_hf_weights_open(s->path, &s->folder, err);
    return st ? st : dt_hf_generation_read(s->path, &s->gen, err);
}

duet_status dt_model_files_open(const char *path, dt_model_files **out, duet_err *err) {
    *out = NULL;
    dt_model_files *s = dt_calloc(1, sizeof *s);
    if (s) s->path = dt_strdup(path);
    if (!s || !s->path) {
        dt_model_files_close(s);
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    }
    duet_status st = dt_gguf_is(path) ? open_file(s, err) : open_folder(s, err);
    if (st)
        dt_model_files_close(s);
    else
        *out = s;
    return st;
}

void dt_model_files_close(dt_model_files *s) {
    if (!s) return;
    dt_hf_weights_close(s->folder);
    dt_gguf_close(s->file);
    free(s->path);
    free(s->rope_scaling);
    free(s);
}

/* By its name, or by the one it has in a file with an image part beside the text model (gemma3; two spellings). */
static const dt_view *find_in_folder(const dt_hf_weights *w, const char *name) {
    static const char *const prefixes[] = {"language_model.model.", "model.language_model."};
    const dt_view *v = dt_hf_weights_find(w, name);
    char other[128];
    for (size_t i = 0; !v && i < DT_COUNT(prefixes) && !strncmp(name, "model.", 6); i++) {
        snprintf(other, sizeof other, "%s%s", prefixes[i], name + 6);
        v = dt_hf_weights_find(w, other);
    }
    return v;
}

dt_tensor dt_model_files_find(const dt_model_files *s, const char *name) {
    dt_tensor t = {.change = DT_GGUF_SAME};
    char own[DT_GGUF_NAME];
    const dt_view *v = NULL;
    if (s->folder)
        v = find_in_folder(s->folder, name);
    else if (dt_gguf_name_from_hf(&s->cfg, name, own, &t.change))
        v = dt_gguf_find(s->file, own);
    if (v) t.view = *v;
    return t;
}

size_t dt_tensor_row_bytes(const dt_tensor *t, size_t cols) {
    return cols / dt_dtype_block(t->view.dtype) * dt_dtype_size(t->view.dtype);
}

void dt_tensor_floats(const dt_tensor *t, size_t r, size_t cols, int d_head, size_t c, size_t n, float *out) {
    const uint8_t *row = dt_tensor_row(t, r, dt_tensor_row_bytes(t, cols), d_head);
    dt_view v = {.dtype = t->view.dtype, .n_dims = 1, .dims = {n}, .data = row + dt_tensor_row_bytes(t, c)};
    dt_view_to_f32(&v, out);
    if (t->change == DT_GGUF_NORM_PLUS_1)
        for (size_t i = 0; i < n; i++)
            out[i] -= 1.0f;
}

const uint8_t *dt_tensor_row(const dt_tensor *t, size_t r, size_t row_bytes, int d_head) {
    if (t->change == DT_GGUF_ROPE_ROWS) r = dt_gguf_rope_row_from_hf(r, (size_t)d_head);
    return (const uint8_t *)t->view.data + r * row_bytes;
}
