/* POST /tokenize, /detokenize and /apply-template: what a model's text looks like to it. */
#include "serve/chat.h"

#include <stdlib.h>
#include <string.h>

/* The side that `model` names (duet-M, duet-m); without it m, or M where there is no m. */
static duet_backend *side(const dt_server *s, const json_t *body, dt_fault *f) {
    const json_t *v = json_object_get(body, "model");
    duet_backend *b = s->m ? s->m : s->M;
    if (v && !json_is_null(v)) {
        const char *name = json_string_value(v);
        b = name && !strcmp(name, "duet-M") ? s->M : name && !strcmp(name, "duet-m") ? s->m : NULL;
        if (!b) {
            dt_fault_set(f, 404, "model", "model_not_found", "model: %.80s: must be duet-M or duet-m, one that is there", name ? name : "not a string");
            return NULL;
        }
    }
    if (!duet_backend_tokenizer(b)) {
        dt_fault_set(f, 400, "model", NULL, "model: the tokenizer of %s is not here", duet_backend_name(b));
        return NULL;
    }
    return b;
}

static bool only(const json_t *body, const char *const *names, dt_fault *f) {
    const char *key = NULL;
    json_t *v = NULL;
    json_object_foreach((json_t *)(uintptr_t)body, key, v) {
        size_t i = 0;
        while (names[i] && strcmp(names[i], key) != 0)
            i++;
        if (!names[i])
            return dt_fault_set(f, 400, key, "unknown_parameter", "%s: there is no such field", key);
    }
    return true;
}

static bool flag(const json_t *body, const char *name, bool *out, dt_fault *f) {
    const json_t *v = json_object_get(body, name);
    return !v || json_is_null(v) || dt_field_bool(v, name, out, f);
}

static json_t *with_pieces(const duet_tokenizer *tok, const duet_ids *ids) {
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++) {
        duet_text t = {0};
        duet_tokenizer_decode(tok, &ids->v[i], 1, false, &t, NULL);
        json_array_append_new(list, json_pack("{s:i,s:o}", "id", (int)ids->v[i], "piece", json_stringn(t.data ? t.data : "", t.n)));
        duet_text_free(&t);
    }
    return list;
}

static bool tokenize(const dt_server *s, const json_t *body, json_t **out, dt_fault *f) {
    static const char *const names[] = {"model", "content", "prompt", "add_special", "add_special_tokens", "with_pieces", "parse_special", NULL};
    const duet_backend *b = only(body, names, f) ? side(s, body, f) : NULL;
    const json_t *text = json_object_get(body, "content") ? json_object_get(body, "content") : json_object_get(body, "prompt");
    bool add = false, pieces = false, marks = true;
    duet_ids ids = {0};
    duet_err err = {{0}};
    if (!b || !flag(body, "add_special", &add, f) || !flag(body, "add_special_tokens", &add, f) || !flag(body, "with_pieces", &pieces, f) ||
        !flag(body, "parse_special", &marks, f))
        return false;
    if (!json_is_string(text))
        return dt_fault_set(f, 400, "content", NULL, "content: is missing or not a string");
    const duet_tokenizer *tok = duet_backend_tokenizer(b);
    if (duet_tokenizer_encode(tok, json_string_value(text), json_string_length(text),
                              (add ? DUET_ENC_ADD_SPECIAL : 0) | (marks ? 0 : DUET_ENC_PLAIN), &ids, &err)) {
        duet_ids_free(&ids);
        return dt_fault_set(f, 400, "content", NULL, "%s", err.text);
    }
    json_t *list = pieces ? with_pieces(tok, &ids) : json_array();
    for (size_t i = 0; !pieces && i < ids.n; i++)
        json_array_append_new(list, json_integer(ids.v[i]));
    *out = json_pack("{s:o,s:I}", "tokens", list, "count", (json_int_t)ids.n);
    duet_ids_free(&ids);
    return true;
}

static bool detokenize(const dt_server *s, const json_t *body, json_t **out, dt_fault *f) {
    static const char *const names[] = {"model", "tokens", NULL};
    const duet_backend *b = only(body, names, f) ? side(s, body, f) : NULL;
    const json_t *list = json_object_get(body, "tokens");
    const size_t n = json_array_size(list);
    duet_text text = {0};
    if (!b)
        return false;
    if (!json_is_array(list))
        return dt_fault_set(f, 400, "tokens", NULL, "tokens: is missing or not an array");
    const duet_tokenizer *tok = duet_backend_tokenizer(b);
    int32_t *ids = dt_calloc(n + 1, sizeof *ids);
    bool ok = ids != NULL;
    if (!ok)
        dt_fault_set(f, 500, NULL, NULL, "no memory");
    for (size_t i = 0; i < n && ok; i++) {
        int id = 0;
        char name[48];
        snprintf(name, sizeof name, "tokens[%zu]", i);
        ok = dt_field_int(json_array_get(list, i), name, 0, duet_tokenizer_size(tok) - 1, &id, f);
        ids[i] = id;
    }
    if (ok && duet_tokenizer_decode(tok, ids, n, false, &text, NULL))
        ok = dt_fault_set(f, 400, "tokens", NULL, "tokens: one of them stands for nothing");
    if (ok)
        *out = json_pack("{s:o}", "content", json_stringn(text.data ? text.data : "", text.n));
    duet_text_free(&text);
    free(ids);
    return ok;
}

static bool apply_template(const dt_server *s, const json_t *body, json_t **out, dt_fault *f) {
    static const char *const names[] = {"model", "messages", "tools", "add_generation_prompt", "enable_thinking", "date_string", NULL};
    const duet_backend *b = only(body, names, f) ? side(s, body, f) : NULL;
    duet_text text = {0};
    duet_err err = {{0}};
    if (!b)
        return false;
    json_t *asked = json_copy((json_t *)(uintptr_t)body);
    json_object_del(asked, "model");
    if (!json_object_get(asked, "add_generation_prompt"))
        json_object_set_new(asked, "add_generation_prompt", json_true());
    char *line = json_dumps(asked, JSON_COMPACT);
    json_decref(asked);
    duet_status st = line ? duet_template_render(duet_backend_tokenizer(b), duet_backend_template(b), line, strlen(line), &text, &err)
                          : dt_fail(&err, DUET_E_NOMEM, "no memory");
    free(line);
    if (st)
        return dt_fault_set(f, 400, "messages", NULL, "%s", err.text);
    *out = json_pack("{s:o}", "prompt", json_stringn(text.data ? text.data : "", text.n));
    duet_text_free(&text);
    return true;
}

static void answer(dt_conn *c, json_t *body, bool (*work)(const dt_server *, const json_t *, json_t **, dt_fault *)) {
    json_t *out = NULL;
    dt_fault f;
    const bool ok = work(c->s, body, &out, &f);
    json_decref(body);
    if (ok)
        dt_conn_json(c, 200, NULL, out);
    else
        dt_conn_fault(c, &f);
}

void dt_tokens_encode(dt_conn *c, json_t *body) {
    answer(c, body, tokenize);
}

void dt_tokens_decode(dt_conn *c, json_t *body) {
    answer(c, body, detokenize);
}

void dt_tokens_template(dt_conn *c, json_t *body) {
    answer(c, body, apply_template);
}
