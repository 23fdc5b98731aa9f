/* tokenizer.json as tokenizer.ggml.* keys: tokens and their kinds, special tokens, template; of byte-level BPE merges and the name
 * of the split, of SentencePiece's BPE scores. */
#include "format/gguf_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)256 << 20)

/* Kinds of tokens, as the format numbers them. */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

/* The splits that have names, by the regular expression of tokenizer.json. */
static const struct {
    const char *pre, *regex;
} splits[] = {
    {"qwen2",     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
              "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"                      },
};

const char *dt_gguf_pre_of(const char *regex, bool digits, bool byte_level_regex) {
    if (!regex)
        return !byte_level_regex ? NULL : digits ? "smollm" : "gpt-2";
    for (size_t i = 0; i < DT_COUNT(splits) && !digits && !byte_level_regex; i++)
        if (!strcmp(regex, splits[i].regex))
            return splits[i].pre;
    return NULL;
}

const char *dt_gguf_regex_of(const char *pre) {
    for (size_t i = 0; i < DT_COUNT(splits); i++)
        if (!strcmp(pre, splits[i].pre))
            return splits[i].regex;
    return NULL;
}

typedef dt_gguf_source source;

static void drop(source *s) {
    json_decref(s->json);
    json_decref(s->config);
    json_decref(s->jinja);
    dt_arena_clear(&s->strings);
    free(s->file);
}

/* An object, or NULL where the file is not there. Whole numbers of tokenizer_config.json may be of any size. */
static duet_status read_json(const char *dir, const char *name, size_t flags, json_t **out, duet_err *err) {
    json_error_t je;
    dt_buf b = {0};
    char *path = dt_path_join(dir, name);
    duet_status st = path ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory to read %s", dir, name);
    *out = NULL;
    if (!st && dt_path_exists(path)) {
        st = dt_file_read(path, MAX_FILE, &b, err);
        *out = st ? NULL : json_loadb(b.data, b.len, flags, &je);
        if (!st && !*out)
            st = dt_fail(err, DUET_E_FORMAT, "%s: not valid JSON at line %d, column %d: %s", path, je.line, je.column,
                         je.text);
        else if (!st && !json_is_object(*out))
            st = dt_fail(err, DUET_E_FORMAT, "%s: not a JSON object", path);
    }
    dt_buf_clear(&b);
    free(path);
    return st;
}

static duet_status read_source(const char *dir, source *s, duet_err *err) {
    dt_buf b = {0};
    char *jinja = dt_path_join(dir, "chat_template.jinja");
    s->file = dt_path_join(dir, "tokenizer.json");
    duet_status st = s->file && jinja ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory to read it", dir);
    if (!st)
        st = read_json(dir, "tokenizer.json", JSON_ALLOW_NUL, &s->json, err);
    if (!st)
        st = read_json(dir, "tokenizer_config.json", JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &s->config, err);
    if (!st && dt_path_exists(jinja))
        st = dt_file_read(jinja, MAX_FILE, &b, err);
    if (!st && b.len && !(s->jinja = json_stringn(b.data, b.len)))
        st = dt_fail(err, DUET_E_FORMAT, "%s: not UTF-8", jinja);
    dt_buf_clear(&b);
    free(jinja);
    return st;
}

/* ---- the split ---- */

typedef struct split {
    const char *regex;
    bool digits, byte_level, byte_level_regex, other;
} split;

static void look_at_split(const json_t *j, split *out) {
    const char *type = json_string_value(json_object_get(j, "type"));
    if (!type)
        return;
    if (!strcmp(type, "Sequence")) {
        const json_t *list = json_object_get(j, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const char *inner = json_string_value(json_object_get(json_array_get(list, i), "type"));
            if (inner && strcmp(inner, "Sequence"))
                look_at_split(json_array_get(list, i), out);
            else
                out->other = true;
        }
    } else if (!strcmp(type, "Split") && !out->regex) {
        out->regex = json_string_value(json_object_get(json_object_get(j, "pattern"), "Regex"));
        out->other = out->other || !out->regex;
    } else if (!strcmp(type, "Digits")) {
        out->digits = true;
        out->other = out->other || !json_is_true(json_object_get(j, "individual_digits"));
    } else if (!strcmp(type, "ByteLevel")) {
        out->byte_level = true;
        out->byte_level_regex = !json_is_false(json_object_get(j, "use_regex"));
        out->other = out->other || json_is_true(json_object_get(j, "add_prefix_space"));
    } else {
        out->other = true;
    }
}

/* ---- tokens and merges ---- */

static duet_status put_one(const source *s, dt_gguf_str *tokens, int32_t *types, int n, const json_t *id,
                           const char *text, size_t len, int type, duet_err *err) {
    const json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
    if (i < 0 || i >= n)
        return dt_fail(err, DUET_E_FORMAT, "%s: token %.60s has no id in 0..%d, as the %d rows of the embeddings ask",
                       s->file, text, n - 1, n);
    tokens[i] = (dt_gguf_str){text, len};
    types[i] = type;
    return DUET_OK;
}

static duet_status put_tokens(dt_gguf_writer *w, source *s, bool chars, int n, duet_err *err) {
    json_t *model = json_object_get(s->json, "model"), *vocab = json_object_get(model, "vocab"), *id = NULL;
    const char *unknown = chars ? json_string_value(json_object_get(model, "unk_token")) : NULL;
    const json_t *added = json_object_get(s->json, "added_tokens");
    const char *text = NULL;
    dt_gguf_str *tokens = dt_calloc((size_t)n, sizeof *tokens);
    int32_t *types = dt_calloc((size_t)n, sizeof *types);
    duet_status st = DUET_OK;
    if (!tokens || !types)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for %d tokens", s->file, n);
    else if (!json_is_object(vocab))
        st = dt_fail(err, DUET_E_FORMAT, "%s: model.vocab is not an object", s->file);
    if (!st) {
        json_object_foreach(vocab, text, id) {
            st = put_one(s, tokens, types, n, id, text, strlen(text), chars && dt_gguf_is_byte(text) ? BYTE : NORMAL, err);
            if (st)
                break;
        }
    }
    for (size_t i = 0; !st && i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i), *content = json_object_get(a, "content");
        const bool user = !json_is_true(json_object_get(a, "special"));
        const char *of = json_string_value(content);
        size_t len = json_string_length(content);
        if (!of)
            st = dt_fail(err, DUET_E_FORMAT, "%s: added_tokens[%zu] has no content", s->file, i);
        else if (chars && user)
            st = dt_gguf_plain_spaces(s, &of, &len, err);
        if (!st)
            st = put_one(s, tokens, types, n, json_object_get(a, "id"), of, len,
                         user                             ? USER_DEFINED
                         : unknown && !strcmp(of, unknown) ? UNKNOWN
                                                           : CONTROL,
                         err);
    }
    for (int i = 0; !st && i < n; i++) { /* rows of the embeddings that no token has */
        if (types[i])
            continue;
        char *name = dt_arena_alloc(&s->strings, 16, 1);
        if (!name) {
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for %d tokens", s->file, n);
            break;
        }
        snprintf(name, 16, "[PAD%d]", i);
        tokens[i] = (dt_gguf_str){name, strlen(name)};
        types[i] = UNUSED;
    }
    if (!st) {
        dt_gguf_put_strings(w, "tokenizer.ggml.tokens", tokens, (size_t)n);
        dt_gguf_put_i32s(w, "tokenizer.ggml.token_type", types, (size_t)n);
    }
    free(tokens);
    free(types);
    return st;
}

duet_status dt_gguf_merge_at(source *s, const json_t *merges, size_t i, dt_gguf_str *out, size_t *cut, duet_err *err) {
    const json_t *m = json_array_get(merges, i), *l = json_array_get(m, 0), *r = json_array_get(m, 1);
    const char *text = json_string_value(m), *space = text ? strchr(text, ' ') : NULL;
    if (space) {
        *out = (dt_gguf_str){text, json_string_length(m)};
        *cut = (size_t)(space - text);
        return DUET_OK;
    }
    if (json_array_size(m) != 2 || !json_is_string(l) || !json_is_string(r))
        return dt_fail(err, DUET_E_FORMAT, "%s: model.merges[%zu] is neither \"left right\" nor a pair", s->file, i);
    const size_t a = json_string_length(l), b = json_string_length(r);
    char *both = dt_arena_alloc(&s->strings, a + b + 2, 1);
    if (!both)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu merges", s->file, json_array_size(merges));
    snprintf(both, a + b + 2, "%s %s", json_string_value(l), json_string_value(r));
    *out = (dt_gguf_str){both, a + b + 1};
    *cut = a;
    return DUET_OK;
}

static duet_status put_merges(dt_gguf_writer *w, source *s, duet_err *err) {
    const json_t *merges = json_object_get(json_object_get(s->json, "model"), "merges");
    const size_t n = json_array_size(merges);
    size_t cut = 0;
    dt_gguf_str *list = dt_calloc(n ? n : 1, sizeof *list);
    duet_status st = list ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu merges", s->file, n);
    for (size_t i = 0; !st && i < n; i++)
        st = dt_gguf_merge_at(s, merges, i, &list[i], &cut, err);
    if (!st)
        dt_gguf_put_strings(w, "tokenizer.ggml.merges", list, n);
    free(list);
    return st;
}

/* ---- special tokens and the template ---- */

static int32_t id_of(const source *s, const char *text) {
    const json_t *added = json_object_get(s->json, "added_tokens");
    for (size_t i = 0; text && i < json_array_size(added); i++) {
        const char *content = json_string_value(json_object_get(json_array_get(added, i), "content"));
        if (content && !strcmp(content, text))
            return (int32_t)json_integer_value(json_object_get(json_array_get(added, i), "id"));
    }
    const json_t *id = text ? json_object_get(json_object_get(json_object_get(s->json, "model"), "vocab"), text) : NULL;
    return json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
}

/* "bos_token" and its kin: a string, or an object with a "content". */
static int32_t named_token(const source *s, const char *key) {
    const json_t *j = json_object_get(s->config, key);
    return id_of(s, json_string_value(json_is_object(j) ? json_object_get(j, "content") : j));
}

static void put_id(dt_gguf_writer *w, const char *key, int32_t id) {
    if (id >= 0)
        dt_gguf_put_u32(w, key, (uint32_t)id);
}

/* One end token has the key eos; of the others those of a turn and of a message have keys of their own. */
static void put_ends(dt_gguf_writer *w, const source *s, const dt_hf_config *c, const dt_hf_generation *gen) {
    static const char *const turn[] = {"<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|endoftext|>"};
    const int n = gen->n_eos ? gen->n_eos : c->n_eos;
    const int32_t *ids = gen->n_eos ? gen->eos_ids : c->eos_ids;
    int32_t eos = named_token(s, "eos_token"), eot = -1, eom = id_of(s, "<|eom_id|>");
    bool ends = false;
    for (int i = 0; i < n; i++)
        ends = ends || ids[i] == eos;
    if (!ends && n > 0) /* what the model's own settings stop at comes first */
        eos = ids[0];
    put_id(w, "tokenizer.ggml.eos_token_id", eos);
    for (size_t k = 0; k < DT_COUNT(turn) && eot < 0; k++)
        for (int i = 0; i < n; i++)
            if (ids[i] != eos && ids[i] == id_of(s, turn[k]))
                eot = ids[i];
    for (int i = 0; i < n && eot < 0; i++)
        if (ids[i] != eos && ids[i] != eom)
            eot = ids[i];
    put_id(w, "tokenizer.ggml.eot_token_id", eot);
    for (int i = 0; i < n && eom < 0; i++)
        if (ids[i] != eos && ids[i] != eot)
            eom = ids[i];
    put_id(w, "tokenizer.ggml.eom_token_id", eom);
}

/* The token that the post-processor puts before (after) the text; -1 = none. */
static int32_t token_around(const source *s, const json_t *j, bool before) {
    const char *type = json_string_value(json_object_get(j, "type"));
    const json_t *list = json_object_get(j, "processors"), *single = json_object_get(j, "single");
    for (size_t i = 0; type && !strcmp(type, "Sequence") && i < json_array_size(list); i++) {
        const int32_t id = token_around(s, json_array_get(list, i), before);
        if (id >= 0)
            return id;
    }
    const size_t n = type && !strcmp(type, "TemplateProcessing") ? json_array_size(single) : 0;
    const json_t *special = n ? json_object_get(json_array_get(single, before ? 0 : n - 1), "SpecialToken") : NULL;
    return id_of(s, json_string_value(json_object_get(special, "id")));
}

static bool setting(const source *s, const char *key, bool otherwise) {
    const json_t *j = json_object_get(s->config, key);
    return json_is_boolean(j) ? json_is_true(j) : otherwise;
}

static const json_t *chat_template(const source *s) {
    const json_t *j = json_object_get(s->config, "chat_template");
    if (s->jinja)
        return s->jinja;
    if (!json_is_array(j))
        return json_is_string(j) ? j : NULL;
    for (size_t i = 0; i < json_array_size(j); i++) { /* several with names: the one called default */
        const json_t *item = json_array_get(j, i), *text = json_object_get(item, "template");
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && !strcmp(name, "default") && json_is_string(text))
            return text;
    }
    return NULL;
}

static void put_special(dt_gguf_writer *w, const source *s, const dt_hf_config *c, const dt_hf_generation *gen) {
    const json_t *post = json_object_get(s->json, "post_processor"), *chat = chat_template(s);
    const int32_t first = token_around(s, post, true), bos = first >= 0 ? first : named_token(s, "bos_token");
    put_id(w, "tokenizer.ggml.bos_token_id", bos >= 0 ? bos : c->bos_id);
    put_ends(w, s, c, gen);
    put_id(w, "tokenizer.ggml.padding_token_id", named_token(s, "pad_token"));
    const int32_t unknown = named_token(s, "unk_token");
    put_id(w, "tokenizer.ggml.unknown_token_id",
           unknown >= 0 ? unknown : id_of(s, json_string_value(json_object_get(json_object_get(s->json, "model"), "unk_token"))));
    dt_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", setting(s, "add_bos_token", first >= 0));
    dt_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", setting(s, "add_eos_token", token_around(s, post, false) >= 0));
    if (chat)
        dt_gguf_put_string(w, "tokenizer.chat_template", json_string_value(chat), json_string_length(chat));
}

/* ---- the whole ---- */

static duet_status look_at_kind(const source *s, split *sp, dt_gguf_spaces *sc, duet_err *err) {
    const json_t *model = json_object_get(s->json, "model"), *pre = json_object_get(s->json, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(model, "type"));
    sc->chars = json_is_true(json_object_get(model, "byte_fallback"));
    if (sc->chars) {
        dt_gguf_look_at_spaces(json_object_get(s->json, "normalizer"), sc);
        dt_gguf_look_at_spaces(pre, sc);
    } else {
        look_at_split(pre, sp);
    }
    if (!type || strcmp(type, "BPE") || !(sc->chars ? sc->replaced : sp->byte_level))
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: %s cannot be written into a GGUF file here; byte-level BPE and SentencePiece's can",
                       s->file, type && strcmp(type, "BPE") ? type : "this kind of BPE");
    return DUET_OK;
}

static duet_status put_chars(dt_gguf_writer *w, source *s, const dt_gguf_spaces *sc, int n, duet_err *err) {
    dt_gguf_put_text(w, "tokenizer.ggml.model", "llama");
    dt_gguf_put_text(w, "tokenizer.ggml.pre", "default");
    dt_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", sc->prefix);
    duet_status st = put_tokens(w, s, true, n, err);
    return st ? st : dt_gguf_put_scores(w, s, n, err);
}

static duet_status put_bytes(dt_gguf_writer *w, source *s, const char *pre, int n, duet_err *err) {
    dt_gguf_put_text(w, "tokenizer.ggml.model", "gpt2");
    dt_gguf_put_text(w, "tokenizer.ggml.pre", pre ? pre : "default");
    duet_status st = put_tokens(w, s, false, n, err);
    return st ? st : put_merges(w, s, err);
}

static duet_status put_whole_file(dt_gguf_writer *w, const char *path, duet_err *err) {
    dt_buf b = {0};
    duet_status st = dt_file_read(path, MAX_FILE, &b, err);
    if (!st)
        dt_gguf_put_string(w, "tokenizer.huggingface.json", b.data, b.len);
    dt_buf_clear(&b);
    return st;
}

duet_status dt_gguf_put_tokenizer(dt_gguf_writer *w, const char *dir, const dt_hf_config *c,
                                  const dt_hf_generation *gen, bool *named, duet_err *err) {
    source s = {.strings = {.block_bytes = 1 << 20}};
    split sp = {0};
    dt_gguf_spaces sc = {0};
    *named = true;
    duet_status st = read_source(dir, &s, err);
    if (!st && !s.json) {
        dt_gguf_put_text(w, "tokenizer.ggml.model", "none");
        put_id(w, "tokenizer.ggml.bos_token_id", c->bos_id);
        put_ends(w, &s, c, gen);
        drop(&s);
        return DUET_OK;
    }
    if (!st)
        st = look_at_kind(&s, &sp, &sc, err);
    if (!st) {
        const char *pre = sp.other ? NULL : dt_gguf_pre_of(sp.regex, sp.digits, sp.byte_level_regex);
        *named = sc.chars ? !sc.other : pre != NULL;
        st = sc.chars ? put_chars(w, &s, &sc, c->n_vocab, err) : put_bytes(w, &s, pre, c->n_vocab, err);
    }
    if (!st)
        put_special(w, &s, c, gen);
    if (!st && !*named)
        st = put_whole_file(w, s.file, err);
    drop(&s);
    return st;
}
