/* duet_tokenizer -> files. A tokenizer that was opened is written as it was; a new one in the layout of Qwen3's, so
 * that every Hugging Face tool opens it and gets the same ids. */
#include "format/gguf_export.h"
#include "text/tokenizer.h"

#include <jansson.h>

#include <stdlib.h>
#include <string.h>

const char dt_tok_qwen_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";

static const struct {
    const char *content;
    bool special;
} added_tokens[DT_TOK_N_ADDED] = {
    {"<|endoftext|>", true },
    {"<|im_start|>",  true },
    {"<|im_end|>",    true },
    {"<think>",       false},
    {"</think>",      false},
};

static const char chat_template[] =
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endif %}";

static json_t *byte_level(void) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 0, "use_regex",
                     0);
}

/* One token as the file spells it; NULL = no memory. `b` is scratch. */
static const char *spelled(const dt_vocab *v, uint32_t id, dt_buf *b) {
    const dt_token *t = &v->tokens[id];
    b->len = 0;
    return dt_bytes_spell(v->pool.data + t->off, t->n, b) ? b->data : NULL;
}

static json_t *model_json(const dt_vocab *v) {
    json_t *vocab = json_object(), *merges = json_array();
    dt_buf a = {0}, b = {0};
    bool ok = vocab && merges;
    for (int32_t i = 0; ok && i < v->size; i++) {
        const char *s = spelled(v, (uint32_t)i, &a);
        ok = s && !json_object_set_new(vocab, s, json_integer(i));
    }
    for (size_t i = 0; ok && i < v->n_merges; i++) {
        const char *l = spelled(v, v->merges[i].left, &a), *r = spelled(v, v->merges[i].right, &b);
        ok = l && r && !json_array_append_new(merges, json_pack("[s, s]", l, r));
    }
    dt_buf_clear(&a);
    dt_buf_clear(&b);
    if (!ok) {
        json_decref(vocab);
        json_decref(merges);
        return NULL;
    }
    return json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     "continuing_subword_prefix", "", "end_of_word_suffix", "", "fuse_unk", 0, "byte_fallback", 0,
                     "ignore_merges", 0, "vocab", vocab, "merges", merges);
}

static json_t *added_json(int32_t first_id, bool as_map) {
    json_t *list = as_map ? json_object() : json_array();
    for (int i = 0; list && i < DT_TOK_N_ADDED; i++) {
        json_t *o = json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (int)first_id + i, "content",
                              added_tokens[i].content, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                              "special", (int)added_tokens[i].special);
        char key[16];
        snprintf(key, sizeof key, "%d", (int)first_id + i);
        if (as_map && o)
            json_object_del(o, "id");
        if (as_map ? json_object_set_new(list, key, o) : json_array_append_new(list, o)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static bool dump(json_t *root, dt_buf *out) {
    char *s = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    const bool ok = s && dt_buf_adds(out, s) && dt_buf_adds(out, "\n");
    free(s);
    json_decref(root);
    return ok;
}

duet_status dt_tok_write(const dt_vocab *v, const char *pattern, dt_buf *json, dt_buf *config, duet_err *err) {
    const char *p = pattern ? pattern : dt_tok_qwen_pattern;
    if (dt_utf8_bad(p, strlen(p)) < strlen(p))
        return dt_fail(err, DUET_E_FORMAT, "the split pattern is not UTF-8");
    json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}, s:o, s:o, s:o}",
                             "version", "1.0", "truncation", "padding", "added_tokens", added_json(v->size, false),
                             "normalizer", "type", "NFC", "pre_tokenizer", "type", "Sequence", "pretokenizers", "type",
                             "Split", "pattern", "Regex", p, "behavior", "Isolated", "invert", 0, byte_level(),
                             "post_processor", byte_level(), "decoder", byte_level(), "model", model_json(v));
    /* Qwen's class may bring its own split pattern along, so another pattern needs the class that reads the file. */
    json_t *conf =
        json_pack("{s:b, s:b, s:o, s:[s, s], s:n, s:s, s:b, s:s, s:s, s:i, s:s, s:b, s:s, s:n}", "add_bos_token", 0,
                  "add_prefix_space", 0, "added_tokens_decoder", added_json(v->size, true), "additional_special_tokens",
                  "<|im_start|>", "<|im_end|>", "bos_token", "chat_template", chat_template,
                  "clean_up_tokenization_spaces", 0, "eos_token", "<|im_end|>", "errors", "replace", "model_max_length",
                  131072, "pad_token", "<|endoftext|>", "split_special_tokens", 0, "tokenizer_class",
                  strcmp(p, dt_tok_qwen_pattern) ? "PreTrainedTokenizerFast" : "Qwen2Tokenizer", "unk_token");
    const bool ok = dump(root, json);
    if (dump(conf, config) && ok)
        return DUET_OK;
    return dt_fail(err, DUET_E_NOMEM, "no memory to write a tokenizer of %d tokens", v->size);
}

/* Into dir, or, where that is NULL, whether it could be. */
static duet_status from_gguf(const duet_tokenizer *t, const char *dir, duet_err *err) {
    dt_gguf *g = NULL;
    if (!t->gguf)
        return dt_fail(err, DUET_E_UNSUPPORTED, "a tokenizer that was read from part of a file cannot be written");
    duet_status st = dt_gguf_open(t->gguf, &g, err);
    if (!st)
        st = dt_gguf_can_write_tokenizer(g, err);
    if (!st && dir)
        st = dt_mkdirs(dir, err);
    if (!st && dir)
        st = dt_gguf_write_tokenizer(g, dir, err);
    dt_gguf_close(g);
    return st;
}

duet_status duet_tokenizer_can_save(const duet_tokenizer *t, duet_err *err) {
    return t->json.data ? DUET_OK : from_gguf(t, NULL, err);
}

duet_status duet_tokenizer_save(const duet_tokenizer *t, const char *dir, duet_err *err) {
    const struct {
        const char *name;
        const dt_buf *b;
    } files[] = {
        {"tokenizer.json",        &t->json  },
        {"tokenizer_config.json", &t->config},
        {"chat_template.jinja",   &t->jinja },
    };
    if (!t->json.data)
        return from_gguf(t, dir, err);
    duet_status st = dt_mkdirs(dir, err);
    for (size_t i = 0; !st && i < DT_COUNT(files); i++) {
        if (!files[i].b->data)
            continue;
        char *path = dt_path_join(dir, files[i].name);
        st = path ? dt_file_write_atomic(path, files[i].b->data, files[i].b->len, err)
                  : dt_fail(err, DUET_E_NOMEM, "%s: no memory to write the tokenizer", dir);
        free(path);
    }
    return st;
}
