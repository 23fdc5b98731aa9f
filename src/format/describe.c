/* What is in a model file or folder: everything but the numbers. */
#include "duet/inspect.h"

#include "format/parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* One of the two. */
typedef struct files {
    const char *path;
    dt_gguf *g;
    dt_hf_weights *hf;
} files;

static duet_status open_files(const char *path, files *f, duet_err *err) {
    *f = (files){.path = path};
    return dt_path_is_dir(path) ? dt_hf_weights_open(path, &f->hf, err) : dt_gguf_open(path, &f->g, err);
}

static void close_files(files *f) {
    dt_gguf_close(f->g);
    dt_hf_weights_close(f->hf);
}

static size_t n_tensors(const files *f) {
    return f->g ? dt_gguf_count(f->g) : dt_hf_weights_count(f->hf);
}

static const dt_view *tensor(const files *f, size_t i, const char **name) {
    *name = f->g ? dt_gguf_tensor_name(f->g, i) : dt_hf_weights_name(f->hf, i);
    return f->g ? dt_gguf_view(f->g, i) : dt_hf_weights_view(f->hf, i);
}

static int most_bytes_first(const void *a, const void *b) {
    const duet_type_count *x = a, *y = b;
    if (x->n_bytes != y->n_bytes)
        return x->n_bytes < y->n_bytes ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void count_types(const files *f, duet_file_info *out) {
    static_assert(DT_N_DTYPES <= DUET_MAX_TYPES, "room for every type");
    int at[DT_N_DTYPES] = {0}; /* 1 + its place */
    for (size_t i = 0; i < n_tensors(f); i++) {
        const char *name = NULL;
        size_t n = 0, bytes = 0;
        const dt_view *v = tensor(f, i, &name);
        dt_view_count(v, &n, &bytes);
        if (!at[v->dtype]) {
            at[v->dtype] = ++out->n_types;
            snprintf(out->types[out->n_types - 1].name, sizeof out->types[0].name, "%s", dt_dtype_name(v->dtype));
        }
        duet_type_count *t = &out->types[at[v->dtype] - 1];
        t->n_tensors++;
        t->n_elems += n;
        t->n_bytes += bytes;
        out->tensor_bytes += bytes;
    }
    out->n_tensors = n_tensors(f);
    qsort(out->types, (size_t)out->n_types, sizeof out->types[0], most_bytes_first);
}

static duet_status check_parts(const files *f, const dt_hf_config *c, duet_file_info *out, duet_err *err) {
    const dt_part_files p = {.path = f->path, .gguf = f->g, .hf = f->hf};
    return dt_part_check(&p, c, &out->n_params, err);
}

static void put_config(const dt_hf_config *c, duet_file_info *out) {
    static const char *const kinds[] = {
        [DT_ROPE_LLAMA3] = "llama3", [DT_ROPE_LINEAR] = "linear", [DT_ROPE_YARN] = "yarn"};
    out->has_model = true;
    snprintf(out->arch, sizeof out->arch, "%s", c->model_type);
    out->n_layers = c->n_layers;
    out->d_model = c->d_model;
    out->n_heads = c->n_heads;
    out->n_kv = c->n_kv;
    out->d_head = c->d_head;
    out->d_ffn = c->d_ffn;
    out->n_vocab = c->n_vocab;
    out->max_pos = c->max_pos;
    out->window = c->window;
    out->tied = c->tied;
    if (c->rope_kind == DT_ROPE_NONE)
        snprintf(out->rope, sizeof out->rope, "theta %.10g", c->rope_theta);
    else
        snprintf(out->rope, sizeof out->rope, "theta %.10g, %s scaling by %g", c->rope_theta, kinds[c->rope_kind],
                 c->rope_factor);
}

static void put_text(char *out, size_t size, dt_gguf_str s) {
    snprintf(out, size, "%.*s", (int)(s.n < size ? s.n : size), s.s);
}

static duet_status look_at_tokenizer(const dt_gguf *g, duet_file_info *out, duet_err *err) {
    dt_gguf_str model = {0}, pre = {0}, chat = {0};
    const dt_gguf_kv *tokens = NULL, *types = NULL;
    duet_status st = dt_gguf_string(g, "tokenizer.ggml.model", &model, err);
    if (st == DUET_END || (!st && dt_gguf_str_is(model, "none")))
        return DUET_OK;
    if (st >= 0)
        st = dt_gguf_string(g, "tokenizer.ggml.pre", &pre, err);
    if (st >= 0)
        st = dt_gguf_array(g, "tokenizer.ggml.tokens", DT_GGUF_STRING, &tokens, err);
    if (st >= 0)
        st = dt_gguf_array(g, "tokenizer.ggml.token_type", DT_GGUF_I64, &types, err);
    if (st >= 0)
        st = dt_gguf_chat_template(g, &chat, err);
    if (st < 0)
        return st;
    out->has_tokenizer = true;
    put_text(out->tokenizer, sizeof out->tokenizer, model);
    const size_t at = strlen(out->tokenizer);
    if (pre.n && at + 3 < sizeof out->tokenizer) {
        memcpy(out->tokenizer + at, ", ", 3);
        put_text(out->tokenizer + at + 2, sizeof out->tokenizer - at - 2, pre);
    }
    out->n_tokens = tokens && tokens->n <= INT32_MAX ? (int)tokens->n : 0;
    for (size_t i = 0; types && i < types->n; i++)
        out->n_added += dt_gguf_int_at(types, i) == 3 || dt_gguf_int_at(types, i) == 4;
    out->template_bytes = chat.n;
    return DUET_OK;
}

static duet_status describe_gguf(files *f, duet_file_info *out, duet_err *err) {
    dt_hf_config c;
    dt_gguf_str name = {0};
    duet_status st = open_files(f->path, f, err);
    if (!st)
        st = dt_gguf_config(f->g, &c, err);
    if (!st)
        put_config(&c, out);
    if (!st)
        st = check_parts(f, &c, out, err);
    if (!st)
        st = look_at_tokenizer(f->g, out, err);
    if (!st && dt_gguf_string(f->g, "general.name", &name, err) == DUET_OK)
        put_text(out->name, sizeof out->name, name);
    if (!st)
        out->n_files = dt_gguf_n_files(f->g);
    return st;
}

static duet_status describe_folder(files *f, duet_file_info *out, duet_err *err) {
    dt_hf_config c;
    char *config = dt_path_join(f->path, "config.json");
    const bool there = config && dt_path_exists(config);
    free(config);
    if (!there)
        return DUET_OK;
    duet_status st = dt_hf_config_read(f->path, &c, err);
    if (!st)
        put_config(&c, out);
    if (!st)
        st = open_files(f->path, f, err);
    if (!st)
        st = check_parts(f, &c, out, err);
    if (!st)
        out->n_files = dt_hf_weights_files(f->hf);
    return st;
}

duet_status duet_file_describe(const char *path, duet_file_info *out, duet_err *err) {
    files f = {.path = path};
    const bool folder = dt_path_is_dir(path);
    *out = (duet_file_info){0};
    snprintf(out->format, sizeof out->format, "%s", folder ? "huggingface" : "gguf");
    duet_status st = folder ? describe_folder(&f, out, err) : describe_gguf(&f, out, err);
    if (!st && (f.g || f.hf))
        count_types(&f, out);
    close_files(&f);
    return st;
}

duet_status duet_file_tensors(const char *path, bool (*each)(void *user, const duet_tensor_info *t), void *user,
                              duet_err *err) {
    files f = {0};
    duet_status st = open_files(path, &f, err);
    for (size_t i = 0; !st && i < n_tensors(&f); i++) {
        duet_tensor_info t = {0};
        const dt_view *v = tensor(&f, i, &t.name);
        t.type = dt_dtype_name(v->dtype);
        t.dims = v->dims;
        t.n_dims = v->n_dims;
        dt_view_count(v, NULL, &t.n_bytes);
        if (!each(user, &t))
            break;
    }
    close_files(&f);
    return st;
}
