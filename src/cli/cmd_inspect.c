/* duet inspect: what is in a model folder, and what it needs to run. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct found {
    bool has_model, has_tokenizer;
    duet_model_info model;
    char sha256[65];
    int32_t n_tokens;
    int n_added;
    const char *template; /* NULL = none that is known */
} found;

/* The chat layout that the tokenizer's own tokens allow. */
static const char *template_of(const duet_tokenizer *t) {
    static const char *const needed[] = {"<|im_start|>", "<|im_end|>", "<think>", "</think>"};
    for (size_t i = 0; i < DT_COUNT(needed); i++)
        if (duet_tokenizer_id(t, needed[i]) < 0)
            return NULL;
    return "qwen3";
}

static duet_status look_at_tokenizer(const char *path, found *f, duet_err *err) {
    duet_tokenizer *t = NULL;
    char *file = dt_path_join(path, "tokenizer.json");
    bool there = !dt_path_is_dir(path) || (file && dt_path_exists(file));
    free(file);
    if (!there)
        return DUET_OK;
    duet_status st = duet_tokenizer_open(path, &t, err);
    if (st)
        return st;
    f->has_tokenizer = true;
    f->n_tokens = duet_tokenizer_size(t);
    for (int32_t i = 0; i < f->n_tokens; i++)
        f->n_added += duet_tokenizer_is_added(t, i);
    f->template = template_of(t);
    duet_tokenizer_close(t);
    return DUET_OK;
}

static duet_status look_at_model(const char *path, found *f, duet_err *err) {
    duet_model *m = NULL;
    char *file = dt_path_join(path, "config.json");
    bool there = file && dt_path_exists(file);
    free(file);
    if (!there)
        return DUET_OK;
    duet_status st = duet_model_open(path, NULL, &m, err);
    if (!st)
        st = duet_model_describe(m, &f->model, err);
    if (!st)
        st = duet_model_fingerprint(m, f->sha256, err);
    f->has_model = !st;
    duet_model_close(m);
    return st;
}

static json_t *json_of(const char *path, const found *f) {
    const duet_model_info *m = &f->model;
    json_t *model = json_null(), *tok = json_null();
    if (f->has_model)
        model =
            json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:b,s:s,s:I,s:I,s:I,s:s}", "arch", m->arch, "layers",
                      m->n_layers, "width", m->d_model, "heads", m->n_heads, "kv_heads", m->n_kv, "head_dim", m->d_head,
                      "ffn", m->d_ffn, "vocab", m->n_vocab, "context", m->max_pos, "tied", (int)m->tied, "dtype",
                      m->dtype, "parameters", (json_int_t)m->n_params, "weight_bytes", (json_int_t)m->weight_bytes,
                      "kv_bytes_per_token", (json_int_t)m->kv_bytes_per_token, "sha256", f->sha256);
    if (f->has_tokenizer)
        tok = json_pack("{s:i,s:i,s:o}", "tokens", (int)f->n_tokens, "added", f->n_added, "template",
                        f->template ? json_string(f->template) : json_null());
    return json_pack("{s:s,s:o,s:o}", "path", path, "model", model, "tokenizer", tok);
}

static void print_bytes(double n, const char *what) {
    const char *unit = n < 1e6 ? "kB" : n < 1e9 ? "MB" : "GB";
    printf("%.1f %s %s", n < 1e6 ? n / 1e3 : n < 1e9 ? n / 1e6 : n / 1e9, unit, what);
}

static void print(const found *f) {
    const duet_model_info *m = &f->model;
    if (f->has_model) {
        printf("%-14s%s, %d layers, width %d, ffn %d\n", "architecture", m->arch, m->n_layers, m->d_model, m->d_ffn);
        printf("%-14s%d heads of %d, %d key/value heads\n", "attention", m->n_heads, m->d_head, m->n_kv);
        printf("%-14s%d ids, embeddings %s\n", "vocabulary", m->n_vocab, m->tied ? "tied" : "untied");
        printf("%-14s%zu (%s)\n", "parameters", m->n_params, m->dtype);
        printf("%-14s", "memory");
        print_bytes((double)m->weight_bytes, "for weights, ");
        print_bytes((double)m->kv_bytes_per_token * 1000, "for 1000 tokens of context\n");
        printf("%-14s%d tokens at most\n", "context", m->max_pos);
        printf("%-14s%s\n", "fingerprint", f->sha256);
    }
    if (f->has_tokenizer) {
        printf("%-14s%d tokens, %d of them added\n", "tokenizer", (int)f->n_tokens, f->n_added);
        printf("%-14s%s\n", "template", f->template ? f->template : "none that is known");
    }
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    found f = {0};
    const char *path = a->rest[0];
    (void)self;
    if (!dt_path_exists(path))
        return cli_fail(EXIT_INPUT, "%s: no such file or folder", path);
    duet_status st = look_at_tokenizer(path, &f, &err);
    if (!st)
        st = look_at_model(path, &f, &err);
    if (st)
        return cli_fail_input(st, &err);
    if (!f.has_model && !f.has_tokenizer)
        return cli_fail(EXIT_INPUT, "%s: neither config.json nor tokenizer.json is there", path);
    if (a->json)
        return cli_print_json(json_of(path, &f));
    print(&f);
    return EXIT_DONE;
}

static const cli_opt opts[] = {CLI_ROW_JSON("one JSON object"), CLI_ROW_HELP};

const cli_command cli_inspect = {
    .name = "inspect",
    .operands = "PATH",
    .min_rest = 1,
    .max_rest = 1,
    .title = "describe a model folder",
    .text = "Shows architecture, sizes, parameters, memory, tokenizer, chat template and the fingerprint of the "
            "weights. Opening checks everything: "
            "a folder that inspects without an error can be run.",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
