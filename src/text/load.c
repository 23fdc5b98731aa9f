/* tokenizer.json -> duet_tokenizer. Everything that is not understood is named and refused, since a component that
 * is skipped silently gives wrong ids. Nothing in the file is trusted: ids, merges and names are checked here once,
 * so that encoding and decoding need no checks. */
#include "text/load.h"
#include "format/gguf.h"
#include "format/jsonl.h"
#include "format/peft.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)256 << 20)

/* ---- typed access ---- */

const char *dt_json_type_name(const json_t *v) {
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        return "null";
    }
    return "nothing";
}

bool dt_json_is_set(const json_t *v) {
    return v && !json_is_null(v);
}

duet_status dt_json_get_bool(const json_t *o, const char *where, const char *key, bool standard, bool *out,
                             duet_err *err) {
    const json_t *v = json_object_get(o, key);
    *out = standard;
    if (!dt_json_is_set(v))
        return DUET_OK;
    if (!json_is_boolean(v))
        return dt_fail(err, DUET_E_FORMAT, "%s.%s is %s, not true or false", where, key, dt_json_type_name(v));
    *out = json_is_true(v);
    return DUET_OK;
}

/* The "type" of a component that may be null (*type NULL then). */
duet_status dt_json_get_type(const json_t *o, const char *where, const char **type, duet_err *err) {
    *type = NULL;
    if (!dt_json_is_set(o))
        return DUET_OK;
    if (!json_is_object(o))
        return dt_fail(err, DUET_E_FORMAT, "%s is %s, not an object", where, dt_json_type_name(o));
    *type = json_string_value(json_object_get(o, "type"));
    if (!*type)
        return dt_fail(err, DUET_E_FORMAT, "%s has no \"type\"", where);
    return DUET_OK;
}

duet_status dt_tok_unsupported(duet_err *err, const char *where, const char *type, const char *known) {
    char q[DT_TOK_QUOTE];
    return dt_fail(err, DUET_E_UNSUPPORTED, "%s %s is not supported (known: %s)", where,
                   dt_tok_quote(q, type, strlen(type)), known);
}

/* ---- vocabulary and merges ---- */

static duet_status read_id(const json_t *v, const char *s, size_t n, int64_t *id, duet_err *err) {
    char q[DT_TOK_QUOTE];
    if (!json_is_integer(v))
        return dt_fail(err, DUET_E_FORMAT, "the id of token %s is %s, not a whole number", dt_tok_quote(q, s, n),
                       dt_json_type_name(v));
    *id = json_integer_value(v);
    return DUET_OK;
}

/* The room that added tokens take. */
static duet_status measure_added(const json_t *added, dt_tok_room *room, duet_err *err) {
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i), *content = json_object_get(a, "content");
        const char *s = json_string_value(content);
        int64_t id = 0;
        if (!s)
            return dt_fail(err, DUET_E_FORMAT, "added_tokens[%zu] has no \"content\" string", i);
        const size_t n = json_string_length(content);
        duet_status st = read_id(json_object_get(a, "id"), s, n, &id, err);
        if (!st)
            st = dt_tok_measure(room, s, n, id, err);
        if (st)
            return st;
    }
    return DUET_OK;
}

static duet_status list_vocab(json_t *vocab, dt_tok_lists *l, duet_err *err) {
    const char *key = NULL;
    json_t *v = NULL;
    duet_status st = DUET_OK;
    l->vocab = dt_calloc(json_object_size(vocab) + 1, sizeof *l->vocab);
    if (!l->vocab)
        return dt_fail(err, DUET_E_NOMEM, "no memory for the vocabulary");
    json_object_foreach(vocab, key, v) {
        dt_tok_entry *e = &l->vocab[l->n_vocab++];
        e->s = key;
        e->n = strlen(key);
        st = read_id(v, key, e->n, &e->id, err);
        if (st)
            break;
    }
    return st;
}

static duet_status list_merges(const json_t *merges, dt_tok_lists *l, duet_err *err) {
    const size_t n = json_array_size(merges);
    l->merges = dt_calloc(n + 1, sizeof *l->merges);
    if (!l->merges)
        return dt_fail(err, DUET_E_NOMEM, "no memory for merges");
    for (; l->n_merges < n; l->n_merges++) {
        const json_t *m = json_array_get(merges, l->n_merges);
        dt_tok_pair *p = &l->merges[l->n_merges];
        bool ok = json_is_string(m) && dt_tok_cut_pair(p, json_string_value(m), json_string_length(m));
        if (json_is_array(m) && json_array_size(m) == 2) {
            for (size_t k = 0; k < 2; k++) {
                p->s[k] = json_string_value(json_array_get(m, k));
                p->n[k] = json_string_length(json_array_get(m, k));
            }
            ok = p->s[0] && p->s[1];
        }
        if (!ok)
            return dt_fail(err, DUET_E_FORMAT, "merge %zu is not a pair of tokens", l->n_merges);
    }
    return DUET_OK;
}

static duet_status check_model(const json_t *m, duet_err *err) {
    const char *type = NULL;
    if (!json_is_object(m))
        return dt_fail(err, DUET_E_FORMAT, "model is %s, not an object", dt_json_type_name(m));
    if (dt_json_is_set(json_object_get(m, "type"))) { /* the oldest files leave it out */
        duet_status st = dt_json_get_type(m, "model", &type, err);
        if (st)
            return st;
        if (strcmp(type, "BPE"))
            return dt_tok_unsupported(err, "model type", type, "BPE");
    }
    const json_t *drop = json_object_get(m, "dropout");
    if (dt_json_is_set(drop) && !(json_is_number(drop) && !(json_number_value(drop) > 0)))
        return dt_fail(err, DUET_E_UNSUPPORTED, "model.dropout is not supported: it makes ids random");
    static const char *const affix[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < DT_COUNT(affix); i++) {
        const json_t *v = json_object_get(m, affix[i]);
        if (dt_json_is_set(v) && !json_is_string(v))
            return dt_fail(err, DUET_E_FORMAT, "model.%s is %s, not a string", affix[i], dt_json_type_name(v));
        if (dt_json_is_set(v) && json_string_length(v))
            return dt_fail(err, DUET_E_UNSUPPORTED, "model.%s is not supported", affix[i]);
    }
    return DUET_OK;
}

/* The token that stands for what has none. In a byte-level vocabulary nothing lacks one but in a reduced alphabet,
 * where a silent substitute would be wrong. */
static duet_status read_unknown(duet_tokenizer *t, const json_t *m, duet_err *err) {
    const json_t *v = json_object_get(m, "unk_token");
    char q[DT_TOK_QUOTE];
    if (!dt_json_is_set(v) || !t->vocab.chars)
        return DUET_OK;
    if (!json_is_string(v))
        return dt_fail(err, DUET_E_FORMAT, "model.unk_token is %s, not a string", dt_json_type_name(v));
    const size_t n = json_string_length(v);
    t->vocab.unknown = n > DT_TOK_MAX_BYTES ? -1 : dt_vocab_find_spelled(&t->vocab, json_string_value(v), n);
    if (t->vocab.unknown < 0)
        return dt_fail(err, DUET_E_FORMAT, "model.unk_token %s is not in the vocabulary",
                       dt_tok_quote(q, json_string_value(v), n));
    t->vocab.has_unknown = true;
    return dt_json_get_bool(m, "model", "fuse_unk", false, &t->vocab.fuse_unknown, err);
}

/* `scanned`: vocabulary and merges, if they were cut out of m already. */
static duet_status read_model(duet_tokenizer *t, const json_t *m, const json_t *added, const dt_tok_lists *scanned,
                              duet_err *err) {
    dt_tok_lists listed = {0};
    dt_tok_room room = {0};
    duet_status st = DUET_OK;
    json_t *vocab = json_object_get(m, "vocab");
    const json_t *merges = json_object_get(m, "merges");
    if (!json_is_object(vocab))
        return dt_fail(err, DUET_E_FORMAT, "model.vocab is %s, not an object", dt_json_type_name(vocab));
    if (!json_is_array(merges))
        return dt_fail(err, DUET_E_FORMAT, "model.merges is %s, not an array", dt_json_type_name(merges));
    if (!scanned) {
        st = list_vocab(vocab, &listed, err);
        if (!st)
            st = list_merges(merges, &listed, err);
        scanned = &listed;
    }
    if (!st)
        st = dt_json_get_bool(m, "model", "ignore_merges", false, &t->vocab.ignore_merges, err);
    if (!st)
        st = measure_added(added, &room, err);
    if (!st)
        st = dt_tok_fill(&t->vocab, scanned, &room, err);
    if (!st)
        st = dt_tok_fill_merges(&t->vocab, scanned, err);
    if (!st)
        st = read_unknown(t, m, err);
    dt_tok_lists_clear(&listed);
    return st;
}

/* ---- added tokens ---- */

static duet_status read_one_added(duet_tokenizer *t, const json_t *o, size_t i, duet_err *err) {
    const json_t *content = json_object_get(o, "content");
    dt_added a = {.id = (int32_t)json_integer_value(json_object_get(o, "id")),
                  .content = json_string_value(content),
                  .n = json_string_length(content)};
    char where[40];
    duet_status st = DUET_OK;

    snprintf(where, sizeof where, "added_tokens[%zu]", i);
    const struct {
        const char *key;
        bool *to, standard;
    } flags[] = {
        {"single_word", &a.single_word, false},
        {"lstrip",      &a.lstrip,      false},
        {"rstrip",      &a.rstrip,      false},
        {"special",     &a.special,     false},
        {"normalized",  &a.normalized,  true }
    };
    for (size_t k = 0; !st && k < DT_COUNT(flags); k++) {
        bool standard = flags[k].standard;
        if (flags[k].to == &a.normalized)
            standard = !a.special;
        st = dt_json_get_bool(o, where, flags[k].key, standard, flags[k].to, err);
    }
    return st ? st : dt_tok_put_added(t, &a, err);
}

static duet_status read_added(duet_tokenizer *t, const json_t *list, duet_err *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        bytes += json_string_length(json_object_get(json_array_get(list, i), "content"));
    duet_status st = dt_tok_reserve_added(t, json_array_size(list), bytes, err);
    for (size_t i = 0; !st && i < json_array_size(list); i++)
        st = read_one_added(t, json_array_get(list, i), i, err);
    return st ? st : dt_tok_index_added(t, err);
}

/* ---- the whole ---- */

static duet_status read_root(duet_tokenizer *t, const json_t *root, const dt_tok_lists *scanned, duet_err *err) {
    const json_t *added = json_object_get(root, "added_tokens"), *model = json_object_get(root, "model");
    if (!json_is_object(root))
        return dt_fail(err, DUET_E_FORMAT, "is %s, not an object", dt_json_type_name(root));
    if (dt_json_is_set(added) && !json_is_array(added))
        return dt_fail(err, DUET_E_FORMAT, "added_tokens is %s, not an array", dt_json_type_name(added));
    duet_status st = check_model(model, err);
    if (!st)
        st = dt_json_get_bool(model, "model", "byte_fallback", false, &t->vocab.chars, err);
    if (!st)
        st = dt_tok_read_steps(t, root, err);
    if (!st)
        st = read_model(t, model, added, scanned, err);
    if (!st)
        st = read_added(t, added, err);
    return st ? st : dt_tok_read_post(t, root, err);
}

/* Of tokenizer_config.json only the chat template matters; where there are several it is the one named "default". */
static duet_status read_config(duet_tokenizer *t, const char *s, size_t n, duet_err *err) {
    duet_status st = DUET_OK;
    json_error_t je;
    /* Numbers as reals: "no limit" is written as a whole number far beyond 64 bits in model_max_length. */
    json_t *root = json_loadb(s, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &je);
    if (!root)
        return dt_fail(err, DUET_E_FORMAT, "tokenizer_config.json: not valid JSON at line %d, column %d: %s", je.line,
                       je.column, je.text);
    const json_t *v = json_object_get(root, "chat_template");
    for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(v, i), "name"));
        if (name && !strcmp(name, "default")) {
            v = json_object_get(json_array_get(v, i), "template");
            break;
        }
    }
    if (!json_is_object(root)) {
        st = dt_fail(err, DUET_E_FORMAT, "tokenizer_config.json is %s, not an object", dt_json_type_name(root));
    } else if (json_is_string(v)) {
        t->chat_template = dt_strdup(json_string_value(v));
        if (!t->chat_template)
            st = dt_fail(err, DUET_E_NOMEM, "no memory for the chat template");
    }
    json_decref(root);
    return st;
}

duet_status dt_tokenizer_parse(const char *name, const char *json, size_t n, const char *config, size_t n_config,
                               duet_tokenizer **out, duet_err *err) {
    duet_status st = DUET_OK;
    json_t *root = NULL;
    dt_tok_lists lists = {0};
    dt_buf rest = {0};

    *out = NULL;
    duet_tokenizer *t = dt_calloc(1, sizeof *t);
    if (!t)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name);
    const bool scanned = dt_tok_scan(json, n, &lists, &rest) && !dt_json_parse(name, rest.data, rest.len, &root, NULL);
    if (!scanned) /* the whole file, so that a sentence has the right line and column */
        st = dt_json_parse(name, json, n, &root, err);
    if (st)
        goto done;
    st = read_root(t, root, scanned ? &lists : NULL, err);
    if (!st && config)
        st = read_config(t, config, n_config, err);
    if (!st && (!dt_buf_add(&t->json, json, n) || (config && !dt_buf_add(&t->config, config, n_config))))
        st = dt_fail(err, DUET_E_NOMEM, "no memory to keep the file");
    if (st) {
        st = dt_fail_in(err, st, "%s", name);
        goto done;
    }
    *out = t;
    t = NULL; /* the caller's from here */
done:
    json_decref(root);
    dt_tok_lists_clear(&lists);
    dt_buf_clear(&rest);
    duet_tokenizer_close(t);
    return st;
}

/* A folder may hold its chat template in a file of its own, which then counts. */
static duet_status read_jinja(duet_tokenizer *t, const char *dir, duet_err *err) {
    char *path = dt_path_join(dir, "chat_template.jinja");
    if (!path)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", dir);
    duet_status st = dt_path_exists(path) ? dt_file_read(path, MAX_FILE, &t->jinja, err) : DUET_OK;
    if (!st && t->jinja.data) {
        free(t->chat_template);
        t->chat_template = dt_strdup(t->jinja.data);
        if (!t->chat_template)
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to read it", path);
    }
    free(path);
    return st;
}

/* An adapter's folder without words of its own: those of its base model, which must not be an adapter again. */
static duet_status open_base(const char *path, duet_tokenizer **out, duet_err *err) {
    dt_peft p = {.rank = 0};
    char *base = NULL;
    duet_status st = dt_peft_read(path, &p, err);
    if (!st)
        st = dt_peft_base(path, &p, &base, err);
    if (!st && dt_peft_is(base))
        st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: its base model %s is an adapter itself; merge that first", path, base);
    if (!st)
        st = duet_tokenizer_open(base, out, err);
    dt_peft_clear(&p);
    free(base);
    return st;
}

duet_status duet_tokenizer_open(const char *path, duet_tokenizer **out, duet_err *err) {
    duet_status st = DUET_OK;
    char *file = NULL, *config_file = NULL;
    dt_buf json = {0}, config = {0};
    dt_gguf *g = NULL;

    *out = NULL;
    if (dt_gguf_is(path)) {
        st = dt_gguf_open(path, &g, err);
        if (!st)
            st = dt_tokenizer_from_gguf(g, out, err);
        if (!st && !(*out)->json.data)
            (*out)->gguf = realpath(path, NULL);
        dt_gguf_close(g);
        return st;
    }
    if (dt_path_is_dir(path)) {
        file = dt_path_join(path, "tokenizer.json");
        config_file = dt_path_join(path, "tokenizer_config.json");
        if (file && !dt_path_exists(file) && dt_peft_is(path)) {
            st = open_base(path, out, err);
            goto done;
        }
    } else {
        file = dt_strdup(path);
    }
    if (!file || (dt_path_is_dir(path) && !config_file)) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
        goto done;
    }
    st = dt_file_read(file, MAX_FILE, &json, err);
    if (!st && config_file && dt_path_exists(config_file))
        st = dt_file_read(config_file, MAX_FILE, &config, err);
    if (st)
        goto done;
    st = dt_tokenizer_parse(file, json.data ? json.data : "", json.len, config.data, config.len, out, err);
    if (!st && config_file)
        st = read_jinja(*out, path, err);
    if (st) {
        duet_tokenizer_close(*out);
        *out = NULL;
    }
done:
    free(file);
    free(config_file);
    dt_buf_clear(&json);
    dt_buf_clear(&config);
    return st;
}

void duet_tokenizer_close(duet_tokenizer *t) {
    if (!t)
        return;
    free(t->gguf);
    dt_vocab_clear(&t->vocab);
    for (int i = 0; i < t->n_splits; i++) {
        dt_regex_close(t->splits[i].re);
        free(t->splits[i].pattern);
    }
    free(t->added);
    free(t->added_text);
    dt_trie_clear(&t->raw);
    dt_trie_clear(&t->normal);
    duet_ids_free(&t->prefix);
    duet_ids_free(&t->suffix);
    free(t->chat_template);
    dt_buf_clear(&t->json);
    dt_buf_clear(&t->config);
    dt_buf_clear(&t->jinja);
    free(t);
}
