/* config.json and generation_config.json of a Hugging Face folder, read with every number checked, and written. */
#include "format/hf_config.h"

#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_JSON ((size_t)4 << 20)

static const struct {
    dt_arch arch;
    const char *model_type, *class_name;
} archs[] = {
    {DT_ARCH_QWEN3, "qwen3", "Qwen3ForCausalLM"},
    {DT_ARCH_QWEN2, "qwen2", "Qwen2ForCausalLM"},
    {DT_ARCH_LLAMA, "llama", "LlamaForCausalLM"},
};

/* What is being read, for messages. */
typedef struct reader {
    const char *name;
    const json_t *root;
    duet_err *err;
    duet_status st;
} reader;

static const json_t *field(const reader *r, const char *key) {
    const json_t *j = json_object_get(r->root, key);
    return json_is_null(j) ? NULL : j;
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

static void read_rope(reader *r, dt_hf_config *c) {
    const json_t *scaling = field(r, "rope_scaling"), *params = field(r, "rope_parameters");
    if (r->st)
        return;
    if (!scaling)
        scaling = params;
    c->rope_theta = real(r, "rope_theta", 10000, 1, 1e12);
    if (params && json_object_get(params, "rope_theta"))
        c->rope_theta = real_of(r, json_object_get(params, "rope_theta"), "rope_theta", 10000, 1, 1e12);
    if (!scaling)
        return;
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    if (!type)
        type = json_string_value(json_object_get(scaling, "type"));
    if (!type || !strcmp(type, "default"))
        return;
    if (strcmp(type, "llama3")) {
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: rope scaling of type %.30s is not supported; llama3 is",
                        r->name, type);
        return;
    }
    c->rope_kind = DT_ROPE_LLAMA3;
    c->rope_factor = real_of(r, json_object_get(scaling, "factor"), "rope_scaling.factor", 8, 1e-3, 1e6);
    c->rope_low = real_of(r, json_object_get(scaling, "low_freq_factor"), "rope_scaling.low_freq_factor", 1, 1e-6, 1e6);
    c->rope_high =
        real_of(r, json_object_get(scaling, "high_freq_factor"), "rope_scaling.high_freq_factor", 4, 1e-6, 1e6);
    c->rope_original = real_of(r, json_object_get(scaling, "original_max_position_embeddings"),
                               "rope_scaling.original_max_position_embeddings", 8192, 1, 1e9);
    if (!r->st && c->rope_high <= c->rope_low)
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: rope_scaling.high_freq_factor %g is not above low_freq_factor %g",
                        r->name, c->rope_high, c->rope_low);
}

static void read_arch(reader *r, dt_hf_config *c) {
    const char *type = json_string_value(field(r, "model_type"));
    if (!type) {
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: model_type is missing", r->name);
        return;
    }
    for (size_t i = 0; i < DT_COUNT(archs); i++) {
        if (strcmp(type, archs[i].model_type))
            continue;
        c->arch = archs[i].arch;
        snprintf(c->model_type, sizeof c->model_type, "%s", type);
        return;
    }
    r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: model_type %.40s is not supported; known are qwen3, qwen2, llama",
                    r->name, type);
}

/* What would change the arithmetic and is not done here. */
static void refuse_unknown_parts(reader *r, const dt_hf_config *c) {
    const json_t *types = field(r, "layer_types"), *rotary = field(r, "partial_rotary_factor");
    for (size_t i = 0; !r->st && i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, "full_attention"))
            r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: layer_types: %.30s is not supported; full_attention is",
                            r->name, type ? type : "a non-string");
    }
    if (!r->st && flag(r, "mlp_bias", false))
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: mlp_bias is not supported", r->name);
    if (!r->st && field(r, "quantization_config"))
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: quantised weights (quantization_config) are not supported",
                        r->name);
    if (!r->st && rotary && json_number_value(rotary) < 1)
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: partial_rotary_factor is not supported", r->name);
    bool sliding = c->arch == DT_ARCH_LLAMA ? field(r, "sliding_window") != NULL : flag(r, "use_sliding_window", false);
    if (!r->st && sliding)
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: sliding-window attention is not supported", r->name);
    const char *act = json_string_value(field(r, "hidden_act"));
    if (!r->st && act && strcmp(act, "silu"))
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: hidden_act %.30s is not supported; silu is", r->name, act);
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
    c.n_layers = number(&r, "num_hidden_layers", -1, 1, 1024);
    c.d_model = number(&r, "hidden_size", -1, 1, 1 << 17);
    c.n_heads = number(&r, "num_attention_heads", -1, 1, 4096);
    c.n_kv = number(&r, "num_key_value_heads", r.st ? 1 : c.n_heads, 1, 4096);
    if (!r.st && !field(&r, "head_dim") && c.d_model % c.n_heads)
        r.st = dt_fail(err, DUET_E_FORMAT, "%s: head_dim is missing and hidden_size %d is no multiple of %d heads",
                       name, c.d_model, c.n_heads);
    c.d_head = number(&r, "head_dim", r.st ? 1 : c.d_model / c.n_heads, 2, 1024);
    c.d_ffn = number(&r, "intermediate_size", -1, 1, 1 << 20);
    c.n_vocab = number(&r, "vocab_size", -1, 1, 1 << 24);
    c.max_pos = number(&r, "max_position_embeddings", -1, 1, 1 << 28);
    c.rms_eps = real(&r, "rms_norm_eps", 1e-6, 0, 1);
    c.init_range = real(&r, "initializer_range", 0.02, 0, 10);
    c.tied = flag(&r, "tie_word_embeddings", false);
    if (!r.st && c.n_heads % c.n_kv) /* at least 1 without an error. NOLINT(clang-analyzer-core.DivideZero) */
        r.st = dt_fail(err, DUET_E_FORMAT, "%s: %d attention heads are no multiple of %d key/value heads", name,
                       c.n_heads, c.n_kv);
    if (!r.st && c.d_head % 2)
        r.st = dt_fail(err, DUET_E_FORMAT, "%s: head_dim %d is odd", name, c.d_head);
    if (!r.st) {
        c.qk_norm = c.arch == DT_ARCH_QWEN3;
        c.qkv_bias = c.arch == DT_ARCH_QWEN2 || flag(&r, "attention_bias", false);
        if (!r.st && c.qkv_bias && c.arch != DT_ARCH_QWEN2)
            r.st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: attention_bias is supported for qwen2 only", name);
        refuse_unknown_parts(&r, &c);
        read_rope(&r, &c);
    }
    const char *dtype = json_string_value(field(&r, "torch_dtype"));
    if (!dtype)
        dtype = json_string_value(field(&r, "dtype"));
    c.dtype = dtype && !strcmp(dtype, "bfloat16") ? DT_BF16 : DT_F32;
    c.bos_id = number(&r, "bos_token_id", INT32_MAX, 0, INT32_MAX);
    if (!field(&r, "bos_token_id"))
        c.bos_id = -1;
    token_ids(&r, "eos_token_id", c.eos_ids, &c.n_eos);
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

duet_status dt_hf_config_write(const char *dir, const dt_hf_config *c, duet_err *err) {
    json_t *j = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:b, s:b, s:s, s:s, s:b}", "architectures",
        archs[c->arch].class_name, "model_type", archs[c->arch].model_type, "num_hidden_layers", c->n_layers,
        "hidden_size", c->d_model, "num_attention_heads", c->n_heads, "num_key_value_heads", c->n_kv, "head_dim",
        c->d_head, "intermediate_size", c->d_ffn, "vocab_size", c->n_vocab, "max_position_embeddings", c->max_pos,
        "rms_norm_eps", c->rms_eps, "rope_theta", c->rope_theta, "initializer_range", c->init_range,
        "tie_word_embeddings", (int)c->tied, "attention_bias", (int)(c->qkv_bias && c->arch != DT_ARCH_QWEN2),
        "hidden_act", "silu", "torch_dtype", c->dtype == DT_BF16 ? "bfloat16" : "float32", "use_cache", 1);
    if (j && c->arch != DT_ARCH_LLAMA) {
        json_object_set_new(j, "use_sliding_window", json_false());
        json_object_set_new(j, "sliding_window", json_null());
    }
    if (j)
        json_object_set_new(j, "bos_token_id", c->bos_id < 0 ? json_null() : json_integer(c->bos_id));
    if (j)
        json_object_set_new(j, "eos_token_id", id_list(c->eos_ids, c->n_eos));
    if (j && c->rope_kind == DT_ROPE_LLAMA3)
        json_object_set_new(j, "rope_scaling",
                            json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", c->rope_factor,
                                      "low_freq_factor", c->rope_low, "high_freq_factor", c->rope_high,
                                      "original_max_position_embeddings", (int)c->rope_original));
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
