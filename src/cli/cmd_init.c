/* duet init: a new model folder: random weights for a config, and a tokenizer that is given, built or trained. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TEXT = 512 << 20 };

/* ---- tokenizer ---- */

static duet_status from_family(const char *family, duet_tokenizer **out, duet_err *err) {
    duet_task_vocab v;
    duet_status st = duet_task_vocab_get(family, &v, err);
    return st ? st : duet_tokenizer_build(v.pattern, v.merged, v.cut, v.n, v.alphabet, out, err);
}

/* Every line of the file is one text. */
static duet_status from_text(const cli_args *a, duet_tokenizer **out, duet_err *err) {
    dt_buf b = {0};
    const char **texts = NULL;
    size_t *lens = NULL, n = 0, at = 0;
    duet_bpe_train o = {.n_vocab = a->vocab};
    duet_status st = dt_file_read(a->train_text, MAX_TEXT, &b, err);
    if (st)
        goto done;
    for (size_t i = 0; i < b.len; i++)
        n += b.data[i] == '\n';
    texts = dt_calloc(n + 1, sizeof *texts);
    lens = dt_calloc(n + 1, sizeof *lens);
    if (!texts || !lens) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for its %zu lines", a->train_text, n);
        goto done;
    }
    n = 0;
    while (at < b.len) {
        const char *end = memchr(b.data + at, '\n', b.len - at);
        texts[n] = b.data + at;
        lens[n] = end ? (size_t)(end - texts[n]) : b.len - at;
        at += lens[n++] + 1;
    }
    st = duet_tokenizer_train(&o, texts, lens, n, out, err);
done:
    free(texts);
    free(lens);
    dt_buf_clear(&b);
    return st;
}

static duet_status make_tokenizer(const cli_args *a, duet_tokenizer **out, duet_err *err) {
    if (a->tokenizer)
        return duet_tokenizer_open(a->tokenizer, out, err);
    return a->family ? from_family(a->family, out, err) : from_text(a, out, err);
}

/* ---- config ---- */

static void set_missing(json_t *config, const char *key, json_t *value) {
    if (json_object_get(config, key))
        json_decref(value);
    else
        json_object_set_new(config, key, value);
}

static json_t *config_of_sizes(const cli_args *a) {
    int head_dim = a->head_dim ? a->head_dim : a->width / a->heads;
    return json_pack("{s:[s],s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:f,s:f,s:b,s:s,s:s}", "architectures",
                     "Qwen3ForCausalLM", "model_type", "qwen3", "num_hidden_layers", a->layers, "hidden_size", a->width,
                     "num_attention_heads", a->heads, "num_key_value_heads", a->kv_heads ? a->kv_heads : a->heads,
                     "head_dim", head_dim, "intermediate_size", a->ffn ? a->ffn : 3 * a->width,
                     "max_position_embeddings", a->max_pos, "rms_norm_eps", 1e-6, "rope_theta", a->theta,
                     "initializer_range", a->init_range, "tie_word_embeddings", (int)!a->untied, "hidden_act", "silu",
                     "torch_dtype", a->dtype);
}

static duet_status read_config(const char *path, json_t **out, duet_err *err) {
    dt_buf b = {0};
    json_error_t je;
    duet_status st = dt_file_read(path, (size_t)4 << 20, &b, err);
    *out = st ? NULL : json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, &je);
    if (!st && !json_is_object(*out)) {
        st = dt_fail(err, DUET_E_FORMAT, "%s: not a JSON object%s%s", path, *out ? "" : ": ", *out ? "" : je.text);
        json_decref(*out);
        *out = NULL;
    }
    dt_buf_clear(&b);
    return st;
}

/* Vocabulary and end tokens follow the tokenizer, where the config does not name them itself. */
static char *config_text(json_t *config, const duet_tokenizer *t) {
    int32_t end = duet_tokenizer_id(t, "<|im_end|>"), text_end = duet_tokenizer_id(t, "<|endoftext|>");
    set_missing(config, "vocab_size", json_integer(duet_tokenizer_size(t)));
    if (end >= 0 && text_end >= 0)
        set_missing(config, "eos_token_id", json_pack("[i,i]", (int)end, (int)text_end));
    else if (end >= 0 || text_end >= 0)
        set_missing(config, "eos_token_id", json_integer(end >= 0 ? end : text_end));
    return json_dumps(config, JSON_COMPACT | JSON_REAL_PRECISION(17));
}

static double number_in(const json_t *config, const char *key) {
    return json_number_value(json_object_get(config, key));
}

/* Weights, in bytes, before any memory is asked for: four bytes a parameter, twice (weights and packed copies). */
static double bytes_needed(const json_t *c) {
    double D = number_in(c, "hidden_size"), H = number_in(c, "num_attention_heads"), E = number_in(c, "head_dim");
    double K = json_object_get(c, "num_key_value_heads") ? number_in(c, "num_key_value_heads") : H;
    if (!(E > 0) && H > 0)
        E = D / H;
    double layer = 2 * D * H * E + 2 * D * K * E + 3 * D * number_in(c, "intermediate_size");
    double embed = number_in(c, "vocab_size") * D * (json_is_true(json_object_get(c, "tie_word_embeddings")) ? 1 : 2);
    return 8 * (number_in(c, "num_hidden_layers") * layer + embed);
}

static int write_folder(const cli_args *a, const char *dir, const json_t *config, const char *text,
                        const duet_tokenizer *t) {
    duet_err err = {{0}};
    duet_model *m = NULL;
    duet_model_info info;
    char sha256[65];
    double ram = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE), needed = bytes_needed(config);
    if (needed > ram)
        return cli_fail(EXIT_USAGE, "init: a model of this size needs %.1f GB, this machine has %.1f GB", needed / 1e9,
                        ram / 1e9);
    if (number_in(config, "vocab_size") < duet_tokenizer_size(t))
        return cli_fail(EXIT_USAGE, "init: vocab_size %.0f of the config is below the tokenizer's %d ids",
                        number_in(config, "vocab_size"), (int)duet_tokenizer_size(t));
    duet_status st = duet_model_new(text, strlen(text), a->seed, &m, &err);
    if (st) {
        dt_fail_in(&err, st, "%s", a->config ? a->config : "init");
        return a->config ? cli_fail_input(st, &err)
                         : cli_fail(st == DUET_E_NOMEM ? EXIT_FAILED : EXIT_USAGE, "%s", err.text);
    }
    st = duet_model_save(m, dir, &err);
    if (!st)
        st = duet_tokenizer_save(t, dir, &err);
    if (!st)
        st = duet_model_describe(m, &info, &err);
    if (!st)
        st = duet_model_fingerprint(m, sha256, &err);
    duet_model_close(m);
    if (st)
        return cli_fail(EXIT_FAILED, "%s", err.text);
    if (a->json)
        return cli_print_json(json_pack("{s:s,s:I,s:i,s:s}", "path", dir, "parameters", (json_int_t)info.n_params,
                                        "vocab", info.n_vocab, "sha256", sha256));
    printf("%s: %s, %zu parameters, %d tokens\n", dir, info.arch, info.n_params, info.n_vocab);
    return EXIT_DONE;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    duet_tokenizer *t = NULL;
    json_t *config = NULL;
    char *text = NULL;
    const char *dir = a->rest[0];
    (void)self;
    if (!!a->tokenizer + !!a->family + !!a->train_text != 1)
        return cli_fail(EXIT_USAGE, "init: give one tokenizer: --tokenizer PATH, --family NAME or --train-text FILE");
    char *there = dt_path_join(dir, "config.json");
    bool taken = there && dt_path_exists(there);
    free(there);
    if (taken && !a->force)
        return cli_fail(EXIT_USAGE, "init: %s holds a model already; --force overwrites it", dir);
    duet_status st = a->config ? read_config(a->config, &config, &err) : DUET_OK;
    int code = st ? cli_fail_input(st, &err) : EXIT_DONE;
    if (code)
        goto done;
    st = make_tokenizer(a, &t, &err);
    if (st) {
        code = a->family ? cli_fail_option(st, &err) : cli_fail_input(st, &err);
        goto done;
    }
    if (!config)
        config = config_of_sizes(a);
    text = config ? config_text(config, t) : NULL;
    code = text ? write_folder(a, dir, config, text, t) : cli_fail(EXIT_FAILED, "no memory for the config");
done:
    free(text);
    json_decref(config);
    duet_tokenizer_close(t);
    return code;
}

static const cli_opt opts[] = {
    {0, "config",     CLI_TEXT, CLI_AT(config),     "FILE",
     "a config.json; what it leaves out about the vocabulary comes from the tokenizer",                                NULL,      0,   0,       NULL},
    {0, "layers",     CLI_INT,  CLI_AT(layers),     "N",      "layers",                                                "4",       1,   1024,    NULL},
    {0, "width",      CLI_INT,  CLI_AT(width),      "N",      "model width",                                           "128",     2,   1 << 17, NULL},
    {0, "heads",      CLI_INT,  CLI_AT(heads),      "N",      "query heads",                                           "4",       1,   4096,    NULL},
    {0, "kv-heads",   CLI_INT,  CLI_AT(kv_heads),   "N",      "key/value heads; 0 = as many as query heads",           "0",       0,   4096,    NULL},
    {0, "head-dim",   CLI_INT,  CLI_AT(head_dim),   "N",      "width of a head; 0 = width / heads",                    "0",       0,   1024,    NULL},
    {0, "ffn",        CLI_INT,  CLI_AT(ffn),        "N",      "width of the feed-forward part; 0 = 3 times the width", "0",       0,   1 << 20,
     NULL                                                                                                                                           },
    {0, "ctx",        CLI_INT,  CLI_AT(max_pos),    "TOKENS", "longest sequence",                                      "1024",    1,   1 << 28, NULL},
    {0, "theta",      CLI_REAL, CLI_AT(theta),      "X",      "base of the rotary position encoding",                  "10000",   1,   1e12,    NULL},
    {0, "init-range", CLI_REAL, CLI_AT(init_range), "X",      "standard deviation of the embeddings",                  "0.02",    0,   10,      NULL},
    {0, "dtype",      CLI_TEXT, CLI_AT(dtype),      "TYPE",   "of the files: float32 or bfloat16",                     "float32", 0,   0,
     "float32|bfloat16"                                                                                                                             },
    {0, "untied",     CLI_FLAG, CLI_AT(untied),     NULL,     "an output matrix of its own",                           NULL,      0,   0,       NULL},
    {0, "tokenizer",  CLI_TEXT, CLI_AT(tokenizer),  "PATH",   "a folder with tokenizer.json, or that file",            NULL,      0,   0,
     NULL                                                                                                                                           },
    {0, "family",     CLI_TEXT, CLI_AT(family),     "NAME",   "the small vocabulary of a task family",                 NULL,      0,   0,       NULL},
    {0, "train-text", CLI_TEXT, CLI_AT(train_text), "FILE",   "train a byte-level BPE on the lines of FILE",           NULL,      0,   0,
     NULL                                                                                                                                           },
    {0, "vocab",      CLI_INT,  CLI_AT(vocab),      "N",      "size of the trained vocabulary",                        "512",     261, 1 << 20, NULL},
    {0, "seed",       CLI_SEED, CLI_AT(seed),       "N",      "seed of the weights",                                   "0",       0,   0,       NULL},
    {0, "force",      CLI_FLAG, CLI_AT(force),      NULL,     "overwrite a model that is there",                       NULL,      0,   0,       NULL},
    CLI_ROW_JSON("one JSON object about the new model"),
    CLI_ROW_HELP,
};

const cli_command cli_init = {
    .name = "init",
    .operands = "DIR",
    .min_rest = 1,
    .max_rest = 1,
    .title = "make a new model folder with random weights",
    .text = "Writes DIR as a Hugging Face folder: config.json, generation_config.json, model.safetensors, "
            "tokenizer.json and tokenizer_config.json. "
            "Sizes come from options (a qwen3 model) or from --config.",
    .examples = "duet init runs/new-M --family register --layers 4 --width 128  # a model for a small task\n"
                "duet init runs/new --train-text corpus.txt --vocab 2048 --width 256  # with a tokenizer of its own",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .config_is_recipe = true,
    .run = run,
};
