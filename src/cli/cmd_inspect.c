/* duet inspect: what is in a model file or folder, and what it needs to run. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define SMALL ((size_t)64 << 20) /* bytes of weights that are read without being asked for */

typedef struct found {
    bool has_tokenizer, loaded;
    duet_file_info file;
    duet_model_info model; /* where it was loaded */
    char sha256[65];       /* empty = not computed */
    int32_t n_tokens;
    int n_added;
    const char *template; /* NULL = none that is known */
    duet_err refused;     /* why a GGUF file's tokenizer is not supported; empty = it is */
} found;

static duet_status look_at_tokenizer(const char *path, found *f, duet_err *err) {
    duet_tokenizer *t = NULL;
    char *file = dt_path_join(path, "tokenizer.json");
    bool there = dt_path_is_dir(path) ? file && dt_path_exists(file) : !f->file.has_model || f->file.has_tokenizer;
    free(file);
    if (!there)
        return DUET_OK;
    duet_status st = duet_tokenizer_open(path, &t, err);
    if (st == DUET_E_UNSUPPORTED && f->file.has_tokenizer) { /* the rest of the file can be described all the same */
        f->refused = *err;
        return DUET_OK;
    }
    if (st)
        return st;
    f->has_tokenizer = true;
    f->n_tokens = duet_tokenizer_size(t);
    for (int32_t i = 0; i < f->n_tokens; i++)
        f->n_added += duet_tokenizer_is_added(t, i);
    f->template = duet_template_name(t, NULL);
    duet_tokenizer_close(t);
    return DUET_OK;
}

/* The weights themselves: where they are small, or their fingerprint is asked for. */
static duet_status look_at_weights(const char *path, bool hash, found *f, duet_err *err) {
    duet_model *m = NULL;
    if (!f->file.has_model || (!hash && f->file.tensor_bytes > SMALL))
        return DUET_OK;
    duet_status st = duet_model_open(path, NULL, &m, err);
    if (!st)
        st = duet_model_describe(m, &f->model, err);
    if (!st)
        st = duet_model_fingerprint(m, f->sha256, err);
    f->loaded = !st;
    duet_model_close(m);
    return st;
}

static size_t weight_bytes(const found *f) {
    return f->loaded ? f->model.weight_bytes : f->file.tensor_bytes;
}

/* Keys and values of n tokens, `width` bytes for `of` numbers. */
static double kv_bytes(const found *f, double n, double width) {
    const duet_file_info *m = &f->file;
    return n * 2 * m->n_layers * m->n_kv * m->d_head * width;
}

static const struct {
    const char *name;
    double width; /* bytes of a number */
} kv_types[] = {
    {"f32",  4        },
    {"f16",  2        },
    {"q8_0", 34.0 / 32},
};

static int context_of(const cli_args *a, const found *f) {
    const int most = f->file.max_pos;
    return a->ctx > 0 && a->ctx < most ? a->ctx : a->ctx > 0 ? most : most < 4096 ? most : 4096;
}

/* ---- as JSON ---- */

static json_t *text_or_null(const char *s) {
    return s && *s ? json_string(s) : json_null();
}

static json_t *types_json(const found *f) {
    json_t *list = json_array();
    for (int i = 0; i < f->file.n_types; i++) {
        const duet_type_count *t = &f->file.types[i];
        json_array_append_new(list, json_pack("{s:s,s:i,s:I,s:I}", "type", t->name, "tensors", t->n_tensors, "elements",
                                              (json_int_t)t->n_elems, "bytes", (json_int_t)t->n_bytes));
    }
    return list;
}

static json_t *model_json(const cli_args *a, const found *f) {
    const duet_file_info *m = &f->file;
    json_t *kv = json_object();
    for (size_t i = 0; i < DT_COUNT(kv_types); i++)
        json_object_set_new(kv, kv_types[i].name,
                            json_integer((json_int_t)kv_bytes(f, context_of(a, f), kv_types[i].width)));
    return json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:b,s:s,s:I,s:I,s:I,s:o,s:s,s:i,s:i,s:I,s:I,s:o,s:i,s:o}",
                     "arch", m->arch, "layers", m->n_layers, "width", m->d_model, "heads", m->n_heads, "kv_heads",
                     m->n_kv, "head_dim", m->d_head, "ffn", m->d_ffn, "vocab", m->n_vocab, "context", m->max_pos,
                     "tied", (int)m->tied, "dtype", f->loaded ? f->model.dtype : m->types[0].name, "parameters",
                     (json_int_t)m->n_params, "weight_bytes", (json_int_t)weight_bytes(f), "kv_bytes_per_token",
                     (json_int_t)kv_bytes(f, 1, 4), "sha256", text_or_null(f->sha256), "rope", m->rope, "window",
                     m->window, "files", m->n_files, "tensors", (json_int_t)m->n_tensors, "tensor_bytes",
                     (json_int_t)m->tensor_bytes, "types", types_json(f), "kv_tokens", context_of(a, f), "kv_bytes",
                     kv);
}

static bool add_tensor(void *user, const duet_tensor_info *t) {
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)t->dims[i]));
    json_t *one = json_pack("{s:s,s:s,s:o,s:I}", "name", t->name, "type", t->type, "shape", shape, "bytes",
                            (json_int_t)t->n_bytes);
    return !json_array_append_new(user, one);
}

static json_t *json_of(const cli_args *a, const char *path, const found *f, json_t *tensors) {
    const duet_file_info *m = &f->file;
    json_t *tok = json_null();
    if (f->has_tokenizer || m->has_tokenizer)
        tok = json_pack("{s:i,s:i,s:o}", "tokens", f->has_tokenizer ? (int)f->n_tokens : m->n_tokens, "added",
                        f->has_tokenizer ? f->n_added : m->n_added, "template", text_or_null(f->template));
    if (m->has_tokenizer) {
        json_object_set_new(tok, "kind", text_or_null(m->tokenizer));
        json_object_set_new(tok, "template_bytes", json_integer((json_int_t)m->template_bytes));
        json_object_set_new(tok, "error", text_or_null(f->refused.text));
    }
    json_t *out = json_pack("{s:s,s:s,s:o,s:o,s:o}", "path", path, "format", m->format, "name", text_or_null(m->name),
                            "model", m->has_model ? model_json(a, f) : json_null(), "tokenizer", tok);
    if (tensors)
        json_object_set(out, "tensor_list", tensors);
    return out;
}

/* ---- for people ---- */

static void print_memory(const cli_args *a, const found *f) {
    char text[32];
    printf("%-14s%s for weights%s\n", "memory", cli_bytes_text((double)weight_bytes(f), text),
           f->loaded ? "" : ", as in the file");
    printf("%-14s", "");
    for (size_t i = 0; i < DT_COUNT(kv_types); i++)
        printf("%s%s (%s)", i ? ", " : "", cli_bytes_text(kv_bytes(f, context_of(a, f), kv_types[i].width), text),
               kv_types[i].name);
    printf(" for %d tokens of context\n", context_of(a, f));
}

static void print_model(const cli_args *a, const found *f) {
    const duet_file_info *m = &f->file;
    char text[32];
    if (m->name[0])
        printf("%-14s%s\n", "name", m->name);
    printf("%-14s%s, %d layers, width %d, ffn %d\n", "architecture", m->arch, m->n_layers, m->d_model, m->d_ffn);
    printf("%-14s%d heads of %d, %d key/value heads", "attention", m->n_heads, m->d_head, m->n_kv);
    if (m->window)
        printf(", window of %d tokens in some layers", m->window);
    printf("\n%-14s%s\n", "rope", m->rope);
    printf("%-14s%d ids, embeddings %s\n", "vocabulary", m->n_vocab, m->tied ? "tied" : "untied");
    printf("%-14s%zu in %zu tensors, %s%s", "parameters", m->n_params, m->n_tensors,
           cli_bytes_text((double)m->tensor_bytes, text), m->n_files > 1 ? "" : "\n");
    if (m->n_files > 1)
        printf(" in %d files\n", m->n_files);
    for (int i = 0; i < m->n_types; i++)
        printf("%-14s%-6s %4d tensors, %s\n", i ? "" : "types", m->types[i].name, m->types[i].n_tensors,
               cli_bytes_text((double)m->types[i].n_bytes, text));
    print_memory(a, f);
    printf("%-14s%d tokens at most\n", "context", m->max_pos);
    if (f->sha256[0])
        printf("%-14s%s\n", "fingerprint", f->sha256);
}

static bool print_tensor(void *user, const duet_tensor_info *t) {
    (void)user;
    printf("%-48s %-5s [", t->name, t->type);
    for (int i = 0; i < t->n_dims; i++)
        printf("%s%zu", i ? ", " : "", t->dims[i]);
    printf("]\n");
    return true;
}

static void print(const cli_args *a, const found *f) {
    const duet_file_info *m = &f->file;
    if (m->has_model)
        print_model(a, f);
    if (f->refused.text[0])
        printf("%-14s%s\n", "tokenizer", f->refused.text);
    if (!f->has_tokenizer)
        return;
    printf("%-14s%s%s%d tokens, %d of them added\n", "tokenizer", m->tokenizer, m->has_tokenizer ? ": " : "",
           (int)f->n_tokens, f->n_added);
    printf("%-14s%s\n", "template", f->template ? f->template : "none that is known");
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    found f = {0};
    const char *path = a->rest[0];
    const size_t len = strlen(path);
    (void)self;
    if (!dt_path_exists(path))
        return cli_fail(EXIT_INPUT, "%s: no such file or folder", path);
    const bool json_file = len > 5 && !strcmp(path + len - 5, ".json"); /* a tokenizer alone */
    duet_status st = json_file ? DUET_OK : duet_file_describe(path, &f.file, &err);
    if (!st)
        st = look_at_tokenizer(path, &f, &err);
    if (!st)
        st = look_at_weights(path, a->hash, &f, &err);
    if (st)
        return cli_fail_input(st, &err);
    if (!f.file.has_model && !f.has_tokenizer)
        return cli_fail(EXIT_INPUT, "%s: neither config.json nor tokenizer.json is there", path);
    json_t *tensors = a->tensors && a->json ? json_array() : NULL;
    if (a->tensors && f.file.has_model)
        st = duet_file_tensors(path, a->json ? add_tensor : print_tensor, tensors, &err);
    if (st) {
        json_decref(tensors);
        return cli_fail_input(st, &err);
    }
    json_t *j = a->json ? json_of(a, path, &f, tensors) : NULL;
    json_decref(tensors);
    if (a->json)
        return cli_print_json(j);
    print(a, &f);
    return EXIT_DONE;
}

static const cli_opt opts[] = {
    {0,   "tensors",  CLI_FLAG, CLI_AT(tensors), NULL,     "each tensor with its type and shape",                          NULL, 0, 0,       NULL},
    {0,   "hash",     CLI_FLAG, CLI_AT(hash),    NULL,     "read the weights, whatever their size, for their fingerprint", NULL, 0,
     0,                                                                                                                                      NULL},
    {'c', "ctx-size", CLI_INT,  CLI_AT(ctx),     "TOKENS",
     "context whose memory is shown; 0 = 4096, or what the model allows",                                                  "0",  0, 1 << 28, NULL},
    CLI_ROW_JSON("one JSON object"),
    CLI_ROW_HELP,
};

const cli_command cli_inspect = {
    .name = "inspect",
    .operands = "PATH",
    .min_rest = 1,
    .max_rest = 1,
    .title = "describe a model file or folder",
    .text =
        "PATH is a Hugging Face folder, a GGUF file (a split one by any of its parts) or a tokenizer.json. Shows "
        "architecture, "
        "sizes, parameters, what the tensors are stored as, memory, tokenizer and chat template. Names, shapes, types "
        "and "
        "sizes are all checked; the numbers are read only where they are at most 64 MB, or with --hash, and then their "
        "fingerprint is shown too.",
    .examples = "duet inspect Qwen3-4B-Q4_K_M.gguf -c 32768  # and the memory of a long context\n"
                "duet inspect models/register-M --tensors  # each tensor",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
