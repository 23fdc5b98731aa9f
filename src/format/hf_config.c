/* config.json and generation_config.json of a Hugging Face folder, read with every number checked, and written. */
#include "format/hf_config.h"

#include "format/jsonl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JSON ((size_t)4 << 20)

/* What is being read, for messages. */
typedef struct reader {
    const char *name;
    const json_t *root;
    const json_t *outer; /* where root lacks a key: the file around a text_config. May be NULL */
    duet_err *err;
    duet_status st;
} reader;

/* As in the file: NULL = not there, which differs from null. */
static const json_t *raw_field(const reader *r, const char *key) {
    const json_t *j = json_object_get(r->root, key);
    return j ? j : json_object_get(r->outer, key);
}

static const json_t *field(const reader *r, const char *key) {
    const json_t *j = raw_field(r, key);
    return json_is_null(j) ? NULL : j;
}

static void refuse(reader *r, const char *key, const json_t *value) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
    if (!r->st)
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: %s (%.40s) is not supported", r->name, key, text ? text : "?");
    free(text);
}

/* A whole number in lo..hi; missing: `def` if that is >= 0, else an error. */
static int number(reader *r, const char *key, int def, int lo, int hi) {
    const json_t *j = field(r, key);
    if (r->st)
        return 0;
    if (!j && def >= 0)
        return def;
    if (!j) {
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: %s is missing", r->name, key);
        return 0;
    }
    if (!json_is_integer(j) || json_integer_value(j) < lo || json_integer_value(j) > hi) {
        char *text = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: %s is %.40s, which is not a whole number in %d..%d", r->name, key,
                        text ? text : "?", lo, hi);
        free(text);
        return 0;
    }
    return (int)json_integer_value(j);
}

static double real_of(reader *r, const json_t *j, const char *key, double def, double lo, double hi) {
    if (r->st || !j)
        return def;
    double x = json_number_value(j);
    if (!json_is_number(j) || !(x >= lo && x <= hi)) {
        char *text = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: %s is %.40s, which is not a number in %g..%g", r->name, key,
                        text ? text : "?", lo, hi);
        free(text);
        return def;
    }
    return x;
}

static double real(reader *r, const char *key, double def, double lo, double hi) {
    return real_of(r, field(r, key), key, def, lo, hi);
}

static bool flag(reader *r, const char *key, bool def) {
    const json_t *j = field(r, key);
    if (r->st || !j)
        return def;
    if (!json_is_boolean(j))
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: %s is neither true nor false", r->name, key);
    return json_is_true(j);
}

static void token_ids(reader *r, const char *key, int32_t *ids, int *n) {
    const json_t *j = field(r, key);
    size_t count = json_is_array(j) ? json_array_size(j) : j ? 1 : 0;
    *n = 0;
    if (r->st)
        return;
    for (size_t i = 0; i < count; i++) {
        const json_t *x = json_is_array(j) ? json_array_get(j, i) : j;
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > INT32_MAX || i >= DT_MAX_EOS) {
            r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: %s is not a token id or a list of at most %d of them", r->name,
                            key, DT_MAX_EOS);
            return;
        }
        ids[(*n)++] = (int32_t)json_integer_value(x);
    }
}

/* ---- rotary positions ---- */

static const char *rope_type(const json_t *rope) {
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    return type ? type : json_string_value(json_object_get(rope, "type"));
}

static void refuse_unknown_rope_keys(reader *r, const json_t *rope) {
    static const char *const known[] = {"type",
                                        "rope_type",
                                        "rope_theta",
                                        "factor",
                                        "original_max_position_embeddings",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "beta_fast",
                                        "beta_slow",
                                        "attention_factor",
                                        "mscale",
                                        "mscale_all_dim",
                                        "truncate",
                                        "partial_rotary_factor"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)rope, key, value) {
        bool found = json_is_null(value);
        for (size_t i = 0; i < DT_COUNT(known) && !found; i++)
            found = !strcmp(key, known[i]);
        if (!found || (!strcmp(key, "partial_rotary_factor") && json_number_value(value) < 1)) {
            char name[96];
            snprintf(name, sizeof name, "rope_scaling.%.60s", key);
            refuse(r, name, value);
        }
    }
}

static double rope_real(reader *r, const json_t *rope, const char *key, double def, double lo, double hi) {
    char name[64];
    const json_t *j = json_object_get(rope, key);
    snprintf(name, sizeof name, "rope_scaling.%s", key);
    return real_of(r, json_is_null(j) ? NULL : j, name, def, lo, hi);
}

/* [Peng et al., YaRN, arXiv 2309.00071]; the keys as transformers reads them. The context becomes factor times the
 * original one where the file does not say so itself. */
static void read_yarn(reader *r, const json_t *rope, dt_hf_config *c) {
    const json_t *truncate = json_object_get(rope, "truncate");
    double outer = real(r, "original_max_position_embeddings", c->max_pos, 1, 1e9);
    c->rope_original = rope_real(r, rope, "original_max_position_embeddings", outer, 1, 1e9);
    c->rope_factor = rope_real(r, rope, "factor", c->max_pos / c->rope_original, 1, 1e6);
    c->rope_fast = rope_real(r, rope, "beta_fast", 32, 1e-6, 1e6);
    c->rope_slow = rope_real(r, rope, "beta_slow", 1, 1e-6, 1e6);
    double m = rope_real(r, rope, "mscale", 0, 0, 1e6), all = rope_real(r, rope, "mscale_all_dim", 0, 0, 1e6);
    double ln = dt_hf_yarn_attn(c->rope_factor) - 1;
    double attn = m > 0 && all > 0 ? (1 + m * ln) / (1 + all * ln) : 1 + ln;
    c->rope_attn = rope_real(r, rope, "attention_factor", attn, 1e-6, 1e6);
    c->rope_untruncated = json_is_false(truncate);
    double reach = c->rope_original * c->rope_factor;
    if (reach > c->max_pos)
        c->max_pos = reach < DT_MAX_POS ? (int)reach : DT_MAX_POS;
}

/* The scaling of the layers that rope_theta is for. */
static void read_scaling(reader *r, const json_t *rope, dt_hf_config *c) {
    const char *type = rope_type(rope);
    refuse_unknown_rope_keys(r, rope);
    if (r->st || !type || !strcmp(type, "default"))
        return;
    if (!strcmp(type, "llama3")) {
        c->rope_kind = DT_ROPE_LLAMA3;
        c->rope_factor = rope_real(r, rope, "factor", 8, 1e-3, 1e6);
        c->rope_low = rope_real(r, rope, "low_freq_factor", 1, 1e-6, 1e6);
        c->rope_high = rope_real(r, rope, "high_freq_factor", 4, 1e-6, 1e6);
        c->rope_original = rope_real(r, rope, "original_max_position_embeddings", 8192, 1, 1e9);
    } else if (!strcmp(type, "linear")) {
        c->rope_kind = DT_ROPE_LINEAR;
        c->rope_factor = rope_real(r, rope, "factor", 1, 1, 1e6);
    } else if (!strcmp(type, "yarn")) {
        c->rope_kind = DT_ROPE_YARN;
        read_yarn(r, rope, c);
    } else {
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                        "%s: rope scaling of type %.30s is not supported; llama3, linear and yarn are", r->name, type);
    }
}

/* Older files: rope_theta, rope_local_base_freq and rope_scaling. Newer ones: rope_parameters, which may hold one set
 * for each type of layer. */
static void read_rope(reader *r, dt_hf_config *c) {
    const json_t *scaling = field(r, "rope_scaling"), *params = field(r, "rope_parameters");
    const json_t *local = json_object_get(params, "sliding_attention");
    c->rope_theta = real(r, "rope_theta", c->rope_theta, 1, 1e12);
    if (c->arch == DT_ARCH_GEMMA3)
        c->rope_local_theta = real(r, "rope_local_base_freq", c->rope_local_theta, 1, 1e12);
    if (json_object_get(params, "full_attention") || local) {
        const char *type = rope_type(local);
        if (!r->st && (c->arch != DT_ARCH_GEMMA3 || (type && strcmp(type, "default"))))
            refuse(r, "rope_parameters.sliding_attention", local);
        c->rope_local_theta =
            real_of(r, json_object_get(local, "rope_theta"), "rope_theta", c->rope_local_theta, 1, 1e12);
        params = json_object_get(params, "full_attention");
    }
    c->rope_theta = real_of(r, json_object_get(params, "rope_theta"), "rope_theta", c->rope_theta, 1, 1e12);
    if (!scaling)
        scaling = params;
    if (scaling && !json_is_object(scaling) && !r->st)
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: rope_scaling is not an object", r->name);
    read_scaling(r, scaling, c);
}

/* ---- which layers see a window only ---- */

static void read_layer_types(reader *r, dt_hf_config *c) {
    const json_t *types = field(r, "layer_types");
    if (json_array_size(types) != (size_t)c->n_layers) {
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: layer_types is not a list of %d", r->name, c->n_layers);
        return;
    }
    for (int l = 0; l < c->n_layers; l++) {
        const char *type = json_string_value(json_array_get(types, (size_t)l));
        if (type && !strcmp(type, "sliding_attention")) {
            dt_hf_config_window_layer(c, l);
        } else if (!type || strcmp(type, "full_attention")) {
            r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                            "%s: layer_types: %.30s is not supported; full_attention and sliding_attention are",
                            r->name, type ? type : "a non-string");
            return;
        }
    }
}

/* sliding_window where it counts. transformers gives a missing one 4096 tokens, and null means none. */
static int read_window(reader *r) {
    return json_is_null(raw_field(r, "sliding_window")) ? 0 : number(r, "sliding_window", 4096, 1, INT32_MAX);
}

static void read_windows(reader *r, dt_hf_config *c) {
    int period, first;
    if (r->st)
        return;
    switch (c->arch) {
    case DT_ARCH_LLAMA:
        if (field(r, "sliding_window"))
            refuse(r, "sliding_window", field(r, "sliding_window"));
        break;
    case DT_ARCH_MISTRAL:
        c->window = read_window(r);
        if (c->window > 0)
            dt_hf_config_window_layers(c, 0);
        break;
    case DT_ARCH_QWEN2:
    case DT_ARCH_QWEN3:
        c->window = flag(r, "use_sliding_window", false) ? read_window(r) : 0;
        first = number(r, "max_window_layers", 28, 0, INT32_MAX);
        if (!field(r, "layer_types"))
            for (int l = first; c->window > 0 && l < c->n_layers; l++)
                dt_hf_config_window_layer(c, l);
        break;
    case DT_ARCH_GEMMA3:
        c->window = read_window(r);
        period =
            number(r, raw_field(r, "sliding_window_pattern") ? "sliding_window_pattern" : "_sliding_window_pattern", 6,
                   1, INT32_MAX);
        if (!field(r, "layer_types"))
            dt_hf_config_window_layers(c, period);
        break;
    }
    if (r->st || !field(r, "layer_types"))
        goto done;
    if (c->arch == DT_ARCH_MISTRAL && c->window > 0)
        refuse(r, "layer_types", field(r, "layer_types"));
    else
        read_layer_types(r, c);
done:
    for (int l = 0; l < c->n_layers; l++)
        if (dt_hf_config_window(c, l))
            return;
    c->window = 0; /* all layers are full */
}

/* ---- the whole file ---- */

static void read_arch(reader *r, dt_hf_config *c) {
    const char *type = json_string_value(field(r, "model_type"));
    dt_arch arch;
    if (!type) {
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: model_type is missing", r->name);
        return;
    }
    if (!strcmp(type, "gemma3")) { /* text and images: the text model is in text_config */
        r->outer = r->root;
        r->root = json_object_get(r->outer, "text_config");
        type = "gemma3_text";
        if (!json_is_object(r->root))
            r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: text_config is missing", r->name);
    }
    if (!dt_hf_arch_find(type, &arch))
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                        "%s: model_type %.40s is not supported; known are qwen3, qwen2, llama, mistral, gemma3",
                        r->name, type);
    if (!r->st)
        dt_hf_config_start(c, arch);
}

/* What would change the arithmetic and is not done here; each harmless as null, false, 0 or the number beside it. */
static void refuse_unknown_parts(reader *r, const dt_hf_config *c) {
    static const struct {
        const char *key;
        double harmless;
    } parts[] = {
        {"attn_logit_softcapping",      0},
        {"final_logit_softcapping",     0},
        {"partial_rotary_factor",       1},
        {"rotary_pct",                  1},
        {"mlp_bias",                    0},
        {"attention_out_bias",          0},
        {"use_bidirectional_attention", 0},
        {"logit_scale",                 1},
        {"logits_scaling",              1},
        {"residual_multiplier",         1},
        {"embedding_multiplier",        1},
        {"attention_multiplier",        0},
        {"clip_qkv",                    0},
        {"use_qk_norm",                 0},
        {"no_rope_layers",              0},
        {"attention_chunk_size",        0},
        {"num_experts",                 0},
        {"num_local_experts",           0},
        {"quantization_config",         0},
    };
    for (size_t i = 0; i < DT_COUNT(parts); i++) {
        const json_t *j = field(r, parts[i].key);
        double x = json_number_value(j);
        bool harmless = json_is_number(j) ? x == 0 || x == parts[i].harmless
                                          : json_is_false(j) || (json_is_array(j) && !json_array_size(j));
        if (j && !harmless)
            refuse(r, parts[i].key, j);
    }
    if (!r->st && flag(r, "attention_bias", false) && c->arch != DT_ARCH_QWEN2)
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: attention_bias is supported for qwen2 only", r->name);
}

static void read_act(reader *r, dt_hf_config *c) {
    const char *act = json_string_value(field(r, c->arch == DT_ARCH_GEMMA3 ? "hidden_activation" : "hidden_act"));
    if (!act)
        return;
    c->act = strcmp(act, "silu") ? DT_ACT_GELU_TANH : DT_ACT_SILU;
    if (!r->st && c->act == DT_ACT_GELU_TANH && strcmp(act, "gelu_pytorch_tanh"))
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                        "%s: hidden_act %.30s is not supported; silu and gelu_pytorch_tanh are", r->name, act);
}

/* Sizes. A gemma3 text_config may leave out what is the same in all of its family. */
static void read_sizes(reader *r, dt_hf_config *c) {
    bool gemma = c->arch == DT_ARCH_GEMMA3;
    c->n_layers = number(r, "num_hidden_layers", -1, 1, DT_MAX_LAYERS);
    c->d_model = number(r, "hidden_size", -1, 1, 1 << 17);
    c->n_heads = number(r, "num_attention_heads", gemma ? 8 : -1, 1, 4096);
    c->n_kv = number(r, "num_key_value_heads", r->st ? 1 : gemma ? 4 : c->n_heads, 1, 4096);
    const bool from_width = !r->st && !gemma && c->n_heads > 0;
    if (from_width && !field(r, "head_dim") && c->d_model % c->n_heads)
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: head_dim is missing and hidden_size %d is no multiple of %d heads",
                        r->name, c->d_model, c->n_heads);
    c->d_head = number(r, "head_dim", from_width ? c->d_model / c->n_heads : 256, 2, 1024);
    c->d_ffn = number(r, "intermediate_size", -1, 1, 1 << 20);
    c->n_vocab = number(r, "vocab_size", gemma ? 262208 : -1, 1, 1 << 24);
    c->max_pos = number(r, "max_position_embeddings", gemma ? 131072 : -1, 1, DT_MAX_POS);
    if (gemma)
        c->attn_scalar = real(r, "query_pre_attn_scalar", 256, 1e-6, 1e9);
}

duet_status dt_hf_config_parse(const char *name, const char *json, size_t n, dt_hf_config *out, duet_err *err) {
    json_t *root = NULL;
    dt_hf_config c = {0};
    *out = c;
    duet_status st = dt_json_parse(name, json, n, &root, err);
    if (st)
        return st;
    reader r = {.name = name, .root = root, .err = err};
    if (!json_is_object(root)) {
        r.st = dt_fail(err, DUET_E_FORMAT, "%s: not a JSON object", name);
        goto done;
    }
    read_arch(&r, &c);
    read_sizes(&r, &c);
    c.rms_eps = real(&r, "rms_norm_eps", 1e-6, 0, 1);
    c.init_range = real(&r, "initializer_range", 0.02, 0, 10);
    c.tied = flag(&r, "tie_word_embeddings", c.tied);
    if (!r.st) {
        refuse_unknown_parts(&r, &c);
        read_act(&r, &c);
        read_windows(&r, &c);
        read_rope(&r, &c);
    }
    if (!r.st)
        r.st = dt_hf_config_check(&c, name, err);
    const char *dtype = json_string_value(field(&r, "torch_dtype"));
    if (!dtype)
        dtype = json_string_value(field(&r, "dtype"));
    c.dtype = dtype && !strcmp(dtype, "bfloat16") ? DT_BF16 : DT_F32;
    c.bos_id = number(&r, "bos_token_id", INT32_MAX, 0, INT32_MAX);
    if (!field(&r, "bos_token_id"))
        c.bos_id = c.arch == DT_ARCH_GEMMA3 && !raw_field(&r, "bos_token_id") ? 2 : -1;
    token_ids(&r, "eos_token_id", c.eos_ids, &c.n_eos);
    if (!r.st && c.arch == DT_ARCH_GEMMA3 && !raw_field(&r, "eos_token_id"))
        c.eos_ids[c.n_eos++] = 1;
done:
    json_decref(root);
    if (!r.st)
        *out = c;
    return r.st;
}

duet_status dt_hf_config_read(const char *dir, dt_hf_config *out, duet_err *err) {
    dt_buf b = {0};
    char *path = dt_path_join(dir, "config.json");
    if (!path)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", dir);
    duet_status st =
        dt_path_is_dir(dir)
            ? dt_file_read(path, MAX_JSON, &b, err)
            : dt_fail(err, DUET_E_IO, "%s: not a model folder (one with config.json and *.safetensors)", dir);
    if (!st)
        st = dt_hf_config_parse(path, b.data, b.len, out, err);
    dt_buf_clear(&b);
    free(path);
    return st;
}

static json_t *id_list(const int32_t *ids, int n) {
    if (n == 0)
        return json_null();
    if (n == 1)
        return json_integer(ids[0]);
    json_t *a = json_array();
    for (int i = 0; a && i < n; i++)
        json_array_append_new(a, json_integer(ids[i]));
    return a;
}

/* With the fewest digits that read back as the same numbers: 1e-6 rather than 9.9999999999999995e-7. */
static char *dump_config(const json_t *j) {
    char *text = NULL;
    for (size_t digits = 6; j && digits <= 17; digits++) {
        free(text);
        text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *again = text ? json_loads(text, 0, NULL) : NULL;
        bool same = again && json_equal(again, j);
        json_decref(again);
        if (same)
            break;
    }
    return text;
}

static duet_status write_json(const char *dir, const char *file, json_t *j, duet_err *err) {
    duet_status st = DUET_OK;
    char *path = dt_path_join(dir, file), *text = dump_config(j);
    dt_buf b = {0};
    if (path && text && dt_buf_adds(&b, text) && dt_buf_adds(&b, "\n"))
        st = dt_file_write_atomic(path, b.data, b.len, err);
    else
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to write %s", dir, file);
    dt_buf_clear(&b);
    free(text);
    free(path);
    json_decref(j);
    return st;
}

static void set(json_t **j, const char *key, json_t *value) {
    if (!json_object_set_new(*j, key, value))
        return;
    json_decref(*j); /* no memory: a file without this key would be another model */
    *j = NULL;
}

static json_t *rope_scaling(const dt_hf_config *c) {
    switch (c->rope_kind) {
    case DT_ROPE_NONE:
        break;
    case DT_ROPE_LLAMA3:
        return json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", c->rope_factor,
                         "low_freq_factor", c->rope_low, "high_freq_factor", c->rope_high,
                         "original_max_position_embeddings", (int)c->rope_original);
    case DT_ROPE_LINEAR:
        return json_pack("{s:s, s:f}", "rope_type", "linear", "factor", c->rope_factor);
    case DT_ROPE_YARN:
        return json_pack("{s:s, s:f, s:i, s:f, s:f, s:f, s:b}", "rope_type", "yarn", "factor", c->rope_factor,
                         "original_max_position_embeddings", (int)c->rope_original, "beta_fast", c->rope_fast,
                         "beta_slow", c->rope_slow, "attention_factor", c->rope_attn, "truncate",
                         (int)!c->rope_untruncated);
    }
    return NULL;
}

/* transformers insists on an integer. */
static json_t *whole_if_possible(double x) {
    return x == floor(x) ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *layer_types(const dt_hf_config *c) {
    json_t *a = json_array();
    for (int l = 0; l < c->n_layers; l++)
        json_array_append_new(a, json_string(dt_hf_config_window(c, l) ? "sliding_attention" : "full_attention"));
    return a;
}

duet_status dt_hf_config_write(const char *dir, const dt_hf_config *c, duet_err *err) {
    bool gemma = c->arch == DT_ARCH_GEMMA3, qwen = c->arch == DT_ARCH_QWEN2 || c->arch == DT_ARCH_QWEN3;
    json_t *j = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:b, s:b, s:s, s:s, s:b}", "architectures",
        dt_hf_arch_class(c->arch), "model_type", dt_hf_arch_type(c->arch), "num_hidden_layers", c->n_layers,
        "hidden_size", c->d_model, "num_attention_heads", c->n_heads, "num_key_value_heads", c->n_kv, "head_dim",
        c->d_head, "intermediate_size", c->d_ffn, "vocab_size", c->n_vocab, "max_position_embeddings", c->max_pos,
        "rms_norm_eps", c->rms_eps, "rope_theta", c->rope_theta, "initializer_range", c->init_range,
        "tie_word_embeddings", (int)c->tied, "attention_bias", (int)(c->qkv_bias && c->arch != DT_ARCH_QWEN2),
        gemma ? "hidden_activation" : "hidden_act", c->act == DT_ACT_SILU ? "silu" : "gelu_pytorch_tanh", "torch_dtype",
        c->dtype == DT_BF16 ? "bfloat16" : "float32", "use_cache", 1);
    if (qwen)
        set(&j, "use_sliding_window", json_boolean(c->window > 0));
    if (qwen || gemma || c->arch == DT_ARCH_MISTRAL)
        set(&j, "sliding_window", c->window > 0 ? json_integer(c->window) : json_null());
    if (gemma || (qwen && c->window > 0))
        set(&j, "layer_types", layer_types(c));
    if (gemma)
        set(&j, "query_pre_attn_scalar", whole_if_possible(c->attn_scalar > 0 ? c->attn_scalar : c->d_head));
    if (gemma)
        set(&j, "rope_local_base_freq", json_real(c->rope_local_theta));
    set(&j, "bos_token_id", c->bos_id < 0 ? json_null() : json_integer(c->bos_id));
    set(&j, "eos_token_id", id_list(c->eos_ids, c->n_eos));
    if (c->rope_kind)
        set(&j, "rope_scaling", rope_scaling(c));
    return write_json(dir, "config.json", j, err);
}

duet_status dt_hf_generation_read(const char *dir, dt_hf_generation *out, duet_err *err) {
    json_t *root = NULL;
    char *path = dt_path_join(dir, "generation_config.json");
    *out = (dt_hf_generation){.do_sample = -1, .temperature = -1, .top_p = -1, .min_p = -1, .top_k = -1};
    if (!path)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", dir);
    if (!dt_path_exists(path)) {
        free(path);
        return DUET_OK;
    }
    duet_status st = dt_json_read(path, MAX_JSON, &root, err);
    if (!st && !json_is_object(root))
        st = dt_fail(err, DUET_E_FORMAT, "%s: not a JSON object", path);
    if (!st) {
        reader r = {.name = path, .root = root, .err = err};
        out->found = true;
        if (field(&r, "do_sample"))
            out->do_sample = flag(&r, "do_sample", false);
        out->temperature = real(&r, "temperature", -1, 0, 100);
        out->top_p = real(&r, "top_p", -1, 0, 1);
        out->min_p = real(&r, "min_p", -1, 0, 1);
        out->top_k = field(&r, "top_k") ? number(&r, "top_k", 0, 0, INT32_MAX) : -1;
        token_ids(&r, "eos_token_id", out->eos_ids, &out->n_eos);
        st = r.st;
    }
    json_decref(root);
    free(path);
    return st;
}

duet_status dt_hf_generation_write(const char *dir, const dt_hf_generation *g, duet_err *err) {
    json_t *j = json_object();
    if (j && g->do_sample >= 0)
        json_object_set_new(j, "do_sample", json_boolean(g->do_sample));
    if (j && g->temperature >= 0)
        json_object_set_new(j, "temperature", json_real(g->temperature));
    if (j && g->top_p >= 0)
        json_object_set_new(j, "top_p", json_real(g->top_p));
    if (j && g->min_p >= 0)
        json_object_set_new(j, "min_p", json_real(g->min_p));
    if (j && g->top_k >= 0)
        json_object_set_new(j, "top_k", json_integer(g->top_k));
    if (j && g->n_eos)
        json_object_set_new(j, "eos_token_id", id_list(g->eos_ids, g->n_eos));
    return write_json(dir, "generation_config.json", j, err);
}
