/* tokenizer.json and tokenizer_config.json from tokenizer.ggml.* keys: the other way of gguf_tokenizer.c, for the
 * splits whose file is known in all its parts. */
#include "format/gguf_export.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

enum { CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

/* What a name of a split stands for, besides its regular expression. */
static const struct kind {
    const char *pre;
    bool nfc;           /* normalizer */
    bool ignore_merges; /* a whole word that is a token is one */
    bool digits;        /* each stands alone, and GPT-2's expression splits the rest */
} kinds[] = {
    {"qwen2",     true,  false, false},
    {"llama-bpe", false, true,  false},
    {"smollm",    false, false, true },
};

typedef struct source {
    const dt_gguf *g;
    const struct kind *kind;
    dt_gguf_str *tokens;
    const dt_gguf_kv *types;
    size_t n;
} source;

static json_t *byte_level(bool splits) {
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex",
                     (int)splits);
}

static json_t *pre_tokenizer(const struct kind *kind) {
    json_t *first = kind->digits ? json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", 1)
                                 : json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex",
                                             dt_gguf_regex_of(kind->pre), "behavior", "Isolated", "invert", 0);
    return json_pack("{s:s,s:[o,o]}", "type", "Sequence", "pretokenizers", first, byte_level(kind->digits));
}

static json_t *token_json(dt_gguf_str s) {
    return json_stringn(s.s, s.n); /* NULL where it is not UTF-8 */
}

static int kind_of(const source *s, size_t i) {
    return (int)dt_gguf_int_at(s->types, i);
}

static json_t *added_tokens(const source *s) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < s->n; i++) {
        const int kind = kind_of(s, i);
        if (kind != CONTROL && kind != USER_DEFINED)
            continue;
        json_t *one =
            json_pack("{s:i,s:o?,s:b,s:b,s:b,s:b,s:b}", "id", (int)i, "content", token_json(s->tokens[i]),
                      "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", kind == CONTROL);
        ok = json_is_string(json_object_get(one, "content")) && !json_array_append(list, one);
        json_decref(one);
    }
    if (!ok)
        json_decref(list);
    return ok ? list : NULL;
}

static json_t *vocab(const source *s) {
    json_t *o = json_object();
    bool ok = o != NULL;
    for (size_t i = 0; ok && i < s->n; i++) {
        const int kind = kind_of(s, i);
        if (kind != CONTROL && kind != USER_DEFINED && kind != UNUSED)
            ok = !json_object_setn_new(o, s->tokens[i].s, s->tokens[i].n, json_integer((json_int_t)i));
    }
    if (!ok)
        json_decref(o);
    return ok ? o : NULL;
}

static json_t *merges(const dt_gguf_kv *kv) {
    json_t *list = json_array();
    dt_gguf_str s;
    size_t at = 0;
    bool ok = list != NULL;
    while (ok && dt_gguf_next_str(kv, &at, &s))
        ok = !json_array_append_new(list, token_json(s));
    if (!ok)
        json_decref(list);
    return ok ? list : NULL;
}

static int64_t id(const dt_gguf *g, const char *key, size_t n) {
    int64_t x = -1;
    dt_gguf_int(g, key, 0, (int64_t)n - 1, &x, NULL);
    return x;
}

static bool flag(const dt_gguf *g, const char *key) {
    bool b = false;
    dt_gguf_bool(g, key, &b, NULL);
    return b;
}

/* With the token that stands before every text, where there is one. */
static json_t *post_processor(const source *s) {
    const int64_t bos = flag(s->g, "tokenizer.ggml.add_bos_token") ? id(s->g, "tokenizer.ggml.bos_token_id", s->n) : -1;
    if (bos < 0)
        return byte_level(false);
    json_t *name = token_json(s->tokens[bos]);
    const char *text = json_string_value(name);
    json_t *both =
        text ? json_pack(
                   "{s:s,s:[{s:{s:s,s:i}},{s:{s:s,s:i}}],s:[{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}},{s:{s:s,s:i}}],"
                   "s:{s:{s:s,s:[i],s:[s]}}}",
                   "type", "TemplateProcessing", "single", "SpecialToken", "id", text, "type_id", 0, "Sequence", "id",
                   "A", "type_id", 0, "pair", "SpecialToken", "id", text, "type_id", 0, "Sequence", "id", "A",
                   "type_id", 0, "SpecialToken", "id", text, "type_id", 1, "Sequence", "id", "B", "type_id", 1,
                   "special_tokens", text, "id", text, "ids", (int)bos, "tokens", text)
             : NULL;
    json_decref(name);
    return json_pack("{s:s,s:[o?,o?]}", "type", "Sequence", "processors", byte_level(false), both);
}

static json_t *tokenizer_json(const source *s, const dt_gguf_kv *merge_list) {
    json_t *model =
        json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout", "unk_token",
                  "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges",
                  (int)s->kind->ignore_merges, "vocab", vocab(s), "merges", merges(merge_list));
    return json_pack("{s:s,s:n,s:n,s:o,s:o?,s:o,s:o,s:o,s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added_tokens(s), "normalizer",
                     s->kind->nfc ? json_pack("{s:s}", "type", "NFC") : NULL, "pre_tokenizer", pre_tokenizer(s->kind),
                     "post_processor", post_processor(s), "decoder", byte_level(false), "model", model);
}

static json_t *config_json(const source *s) {
    static const struct {
        const char *key, *name;
    } tokens[] = {
        {"tokenizer.ggml.bos_token_id",     "bos_token"},
        {"tokenizer.ggml.eos_token_id",     "eos_token"},
        {"tokenizer.ggml.padding_token_id", "pad_token"},
        {"tokenizer.ggml.unknown_token_id", "unk_token"},
    };
    dt_gguf_str chat = {0};
    json_t *j = json_pack("{s:b,s:b,s:s}", "add_bos_token", (int)flag(s->g, "tokenizer.ggml.add_bos_token"),
                          "clean_up_tokenization_spaces", 0, "tokenizer_class", "PreTrainedTokenizerFast");
    for (size_t i = 0; i < DT_COUNT(tokens); i++) {
        const int64_t at = id(s->g, tokens[i].key, s->n);
        if (at >= 0)
            json_object_set_new(j, tokens[i].name, token_json(s->tokens[at]));
    }
    if (dt_gguf_chat_template(s->g, &chat, NULL) == DUET_OK)
        json_object_set_new(j, "chat_template", token_json(chat));
    return j;
}

static duet_status write_json(const char *dir, const char *name, json_t *j, duet_err *err) {
    char *path = dt_path_join(dir, name), *text = j ? json_dumps(j, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL;
    duet_status st = path && text ? dt_file_write_atomic(path, text, strlen(text), err)
                                  : dt_fail(err, DUET_E_FORMAT,
                                            "%s: %s cannot be made: a token is not UTF-8, or no memory", dir, name);
    free(text);
    free(path);
    json_decref(j);
    return st;
}

static duet_status find_kind(const dt_gguf *g, const struct kind **out, duet_err *err) {
    dt_gguf_str model = {0}, pre = {0};
    duet_status st = dt_gguf_string(g, "tokenizer.ggml.model", &model, err);
    *out = NULL;
    if (st == DUET_END || (!st && dt_gguf_str_is(model, "none")))
        return DUET_END;
    if (!st)
        st = dt_gguf_string(g, "tokenizer.ggml.pre", &pre, err);
    for (size_t i = 0; st >= 0 && i < DT_COUNT(kinds); i++)
        if (dt_gguf_str_is(model, "gpt2") && dt_gguf_str_is(pre, kinds[i].pre))
            *out = &kinds[i];
    if (st >= 0 && !*out)
        st = dt_fail(
            err, DUET_E_UNSUPPORTED,
            "%s: from a tokenizer of kind %.*s, %.*s no exact tokenizer.json can be made: take it from the model's own "
            "folder (convert and merge leave it out with --no-tokenizer)",
            dt_gguf_name(g), (int)(model.n < 20 ? model.n : 20), model.s ? model.s : "", (int)(pre.n < 30 ? pre.n : 30),
            pre.s ? pre.s : "");
    return st < 0 ? st : DUET_OK;
}

/* Where tokenizer.json comes from: *whole as it is in the file, or *kind says how it is made. DUET_END: no tokenizer. */
static duet_status find_origin(const dt_gguf *g, dt_gguf_str *whole, const struct kind **kind, duet_err *err) {
    *kind = NULL;
    duet_status st = dt_gguf_string(g, "tokenizer.huggingface.json", whole, err);
    return st == DUET_END ? find_kind(g, kind, err) : st;
}

duet_status dt_gguf_can_write_tokenizer(const dt_gguf *g, duet_err *err) {
    const struct kind *kind;
    dt_gguf_str whole;
    return find_origin(g, &whole, &kind, err);
}

duet_status dt_gguf_write_tokenizer(const dt_gguf *g, const char *dir, duet_err *err) {
    source s = {.g = g};
    const dt_gguf_kv *tokens = NULL, *merge_list = NULL;
    dt_gguf_str whole = {0};
    duet_status st = find_origin(g, &whole, &s.kind, err);
    const bool given = !s.kind;
    if (st == DUET_END)
        return DUET_OK; /* no tokenizer in it */
    if (!st)
        st = dt_gguf_need(dt_gguf_array(g, "tokenizer.ggml.tokens", DT_GGUF_STRING, &tokens, err), g,
                          "tokenizer.ggml.tokens", err);
    if (!st)
        st = dt_gguf_need(dt_gguf_array(g, "tokenizer.ggml.token_type", DT_GGUF_I64, &s.types, err), g,
                          "tokenizer.ggml.token_type", err);
    if (!st && !given)
        st = dt_gguf_need(dt_gguf_array(g, "tokenizer.ggml.merges", DT_GGUF_STRING, &merge_list, err), g,
                          "tokenizer.ggml.merges", err);
    if (!st && s.types->n != tokens->n)
        st = dt_fail(err, DUET_E_FORMAT, "%s: %zu tokens, but %zu kinds of tokens", dt_gguf_name(g), tokens->n,
                     s.types->n);
    if (!st) {
        s.n = tokens->n;
        s.tokens = dt_gguf_strings(tokens);
        if (!s.tokens)
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu tokens", dt_gguf_name(g), s.n);
    }
    if (!st && given) {
        char *path = dt_path_join(dir, "tokenizer.json");
        st =
            path ? dt_file_write_atomic(path, whole.s, whole.n, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
        free(path);
    } else if (!st) {
        st = write_json(dir, "tokenizer.json", tokenizer_json(&s, merge_list), err);
    }
    if (!st)
        st = write_json(dir, "tokenizer_config.json", config_json(&s), err);
    free(s.tokens);
    return st;
}
