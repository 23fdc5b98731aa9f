/* adapter_config.json read with every key checked that changes what an adapter means, and written. */
#include "format/peft.h"

#include "format/jsonl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JSON ((size_t)1 << 20)

bool dt_peft_is(const char *path) {
    char *file = dt_path_is_dir(path) ? dt_path_join(path, DT_PEFT_CONFIG) : NULL;
    bool is = file && dt_path_exists(file);
    free(file);
    return is;
}

void dt_peft_clear(dt_peft *p) {
    free(p->base);
    *p = (dt_peft){0};
}

static bool is_nothing(const json_t *j) {
    return !j || json_is_null(j) || json_is_false(j) || (json_is_array(j) && !json_array_size(j)) || (json_is_object(j) && !json_object_size(j));
}

static duet_status refuse(const char *name, const char *key, const json_t *value, duet_err *err) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    duet_status st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: %s is %.60s: only plain LoRA adapters are supported", name, key, text ? text : "?");
    free(text);
    return st;
}

/* Keys that must be absent, null, false or empty: each makes something else of A and B, or adds to them. */
static duet_status check_plain(const char *name, const json_t *root, duet_err *err) {
    static const char *const keys[] = {"fan_in_fan_out",   "use_rslora",        "use_dora",         "use_qalora",      "lora_bias",
                                       "rank_pattern",     "alpha_pattern",     "modules_to_save",  "layer_replication", "trainable_token_indices",
                                       "megatron_config",  "target_parameters", "alora_invocation_tokens", "use_bdlora", "arrow_config"};
    static const char *const inits[] = {"gaussian", "eva", "orthogonal"}; /* others change the base model */
    const json_t *type = json_object_get(root, "peft_type"), *bias = json_object_get(root, "bias"), *init = json_object_get(root, "init_lora_weights");
    if (type && !json_is_null(type) && (!json_is_string(type) || strcmp(json_string_value(type), "LORA"))) return refuse(name, "peft_type", type, err);
    if (!is_nothing(bias) && (!json_is_string(bias) || strcmp(json_string_value(bias), "none"))) return refuse(name, "bias", bias, err);
    for (size_t i = 0; i < DT_COUNT(keys); i++)
        if (!is_nothing(json_object_get(root, keys[i]))) return refuse(name, keys[i], json_object_get(root, keys[i]), err);
    for (size_t i = 0; json_is_string(init) && i < DT_COUNT(inits); i++)
        if (!strcmp(json_string_value(init), inits[i])) return DUET_OK;
    return json_is_string(init) ? refuse(name, "init_lora_weights", init, err) : DUET_OK;
}

duet_status dt_peft_parse(const char *name, const char *json, size_t n, dt_peft *out, duet_err *err) {
    json_error_t je;
    *out = (dt_peft){0};
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &je);
    if (!root) return dt_fail(err, DUET_E_FORMAT, "%s: not valid JSON at line %d, column %d: %s", name, je.line, je.column, je.text);
    const json_t *r = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha"), *base = json_object_get(root, "base_model_name_or_path");
    duet_status st = DUET_OK;
    if (!json_is_object(root))
        st = dt_fail(err, DUET_E_FORMAT, "%s: not an object", name);
    else
        st = check_plain(name, root, err);
    if (!st && (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > DT_PEFT_MAX_RANK))
        st = dt_fail(err, DUET_E_FORMAT, "%s: r is not a whole number in 1..%d", name, DT_PEFT_MAX_RANK);
    if (!st && (!json_is_number(alpha) || !isfinite(json_number_value(alpha)) || fabs(json_number_value(alpha)) > 1e6))
        st = dt_fail(err, DUET_E_FORMAT, "%s: lora_alpha is not a number within 1e6", name);
    if (!st) {
        out->rank = (int)json_integer_value(r);
        out->alpha = json_number_value(alpha);
        if (json_is_string(base) && !(out->base = dt_strdup(json_string_value(base)))) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", name);
    }
    json_decref(root);
    return st;
}

duet_status dt_peft_read(const char *dir, dt_peft *out, duet_err *err) {
    dt_buf b = {0};
    *out = (dt_peft){0};
    char *path = dt_path_join(dir, DT_PEFT_CONFIG);
    duet_status st = path ? dt_file_read(path, MAX_JSON, &b, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) st = dt_peft_parse(path, b.data ? b.data : "", b.len, out, err);
    dt_buf_clear(&b);
    free(path);
    return st;
}

duet_status dt_peft_base(const char *dir, const dt_peft *p, char **out, duet_err *err) {
    *out = NULL;
    if (!p->base || !*p->base) return dt_fail(err, DUET_E_FORMAT, "%s: %s names no base model (base_model_name_or_path)", dir, DT_PEFT_CONFIG);
    char *near = p->base[0] == '/' ? NULL : dt_path_join(dir, p->base);
    *out = near && dt_path_exists(near) ? dt_strdup(near) : dt_path_exists(p->base) ? dt_strdup(p->base) : NULL;
    free(near);
    if (*out) return DUET_OK;
    return dt_fail(err, DUET_E_IO, "%s: its base model %.200s is not there; write its path as base_model_name_or_path into %s", dir, p->base, DT_PEFT_CONFIG);
}

duet_status dt_peft_write(const char *dir, const dt_peft *p, const char *const *targets, size_t n_targets, duet_err *err) {
    char *path = dt_path_join(dir, DT_PEFT_CONFIG), *text = NULL;
    json_t *names = json_array();
    for (size_t i = 0; i < n_targets; i++)
        json_array_append_new(names, json_string(targets[i]));
    json_t *root = json_pack("{s:s, s:s, s:s*, s:i, s:f, s:f, s:o, s:s, s:b, s:b, s:b, s:b, s:b}", "peft_type", "LORA", "task_type", "CAUSAL_LM",
                             "base_model_name_or_path", p->base, "r", p->rank, "lora_alpha", p->alpha, "lora_dropout", 0.0, "target_modules", names,
                             "bias", "none", "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "use_rslora", 0, "use_dora", 0);
    if (root) text = json_dumps(root, JSON_INDENT(2));
    duet_status st = path && text ? dt_file_write_atomic(path, text, strlen(text), err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    json_decref(root);
    free(text);
    free(path);
    return st;
}
