/* The steps around the vocabulary in a tokenizer.json: normalizer, pre_tokenizer, decoder, post_processor.
 *
 * A byte-level file splits text by patterns and ends its pre_tokenizer with ByteLevel. A file of characters writes
 * spaces as U+2581, in the normalizer or with Metaspace, splits little or not at all, and its decoder takes that back.
 * Since raw tokens hold spaces here, writing and taking back are nothing to do; they are only checked. */
#include "text/load.h"

#include <string.h>

/* A component, or the list inside a Sequence; calls `one` for each. */
typedef struct marks { /* what a file of characters must have */
    bool spaces, spaces_back, bytes_back;
} marks;
typedef duet_status (*component_fn)(duet_tokenizer *t, marks *f, const json_t *o, const char *type, duet_err *err);
static duet_status each_component(duet_tokenizer *t, marks *f, const json_t *o, const char *where, const char *list_key,
                                  component_fn one, duet_err *err) {
    const char *type = NULL;
    duet_status st = dt_json_get_type(o, where, &type, err);
    if (st || !type)
        return st;
    if (strcmp(type, "Sequence"))
        return one(t, f, o, type, err);
    const json_t *list = json_object_get(o, list_key);
    if (!json_is_array(list))
        return dt_fail(err, DUET_E_FORMAT, "%s.%s is %s, not an array", where, list_key, dt_json_type_name(list));
    for (size_t i = 0; !st && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        st = dt_json_get_type(item, where, &type, err);
        if (!st && !type)
            st = dt_fail(err, DUET_E_FORMAT, "%s.%s[%zu] is null", where, list_key, i);
        if (!st)
            st = one(t, f, item, type, err);
    }
    return st;
}

/* ---- normalizer ---- */

static bool is_text(const json_t *v, const char *text) {
    return json_is_string(v) && json_string_length(v) == strlen(text) && !strcmp(json_string_value(v), text);
}

/* {"pattern": {"String": from}, "content": to} */
static bool replaces(const json_t *o, const char *from, const char *to) {
    return is_text(json_object_get(json_object_get(o, "pattern"), "String"), from) &&
           is_text(json_object_get(o, "content"), to);
}

static duet_status one_normalizer(duet_tokenizer *t, marks *f, const json_t *o, const char *type, duet_err *err) {
    static const char *const names[] = {[DT_NFC] = "NFC", [DT_NFD] = "NFD", [DT_NFKC] = "NFKC", [DT_NFKD] = "NFKD"};
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (!strcmp(type, names[i])) {
            if (t->prepend || f->spaces)
                return dt_fail(err, DUET_E_UNSUPPORTED, "normalizer %s after Prepend or Replace is not supported",
                               type);
            if (t->n_forms == DT_MAX_STEPS)
                return dt_fail(err, DUET_E_UNSUPPORTED, "more than %d normalizers", DT_MAX_STEPS);
            t->forms[t->n_forms++] = (dt_form)i;
            return DUET_OK;
        }
    if (!t->vocab.chars)
        return dt_tok_unsupported(err, "normalizer", type, "NFC, NFD, NFKC, NFKD, Sequence");
    if (!strcmp(type, "Prepend") && is_text(json_object_get(o, "prepend"), DT_SPACE_CHAR) && !t->prepend) {
        t->prepend = true;
        return DUET_OK;
    }
    if (!strcmp(type, "Replace") && replaces(o, " ", DT_SPACE_CHAR)) {
        f->spaces = true;
        return DUET_OK;
    }
    return dt_tok_unsupported(err, "normalizer", type,
                              "NFC, NFD, NFKC, NFKD, Sequence, Prepend of U+2581, Replace of a space by U+2581");
}

/* ---- pre_tokenizer ---- */

static duet_status add_split_step(duet_tokenizer *t, const json_t *o, duet_err *err) {
    static const char *const names[] = {[DT_SPLIT_ISOLATED] = "Isolated",
                                        [DT_SPLIT_REMOVED] = "Removed",
                                        [DT_SPLIT_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [DT_SPLIT_WITH_NEXT] = "MergedWithNext",
                                        [DT_SPLIT_CONTIGUOUS] = "Contiguous"};
    const char *behavior = json_string_value(json_object_get(o, "behavior"));
    const json_t *p = json_object_get(o, "pattern"), *regex = json_object_get(p, "Regex"),
                 *text = json_object_get(p, "String");
    bool invert = false;
    if (!behavior)
        return dt_fail(err, DUET_E_FORMAT, "pre_tokenizer Split has no \"behavior\"");
    if (!json_is_string(regex) && !json_is_string(text))
        return dt_fail(err, DUET_E_FORMAT, "pre_tokenizer Split has no pattern (a \"Regex\" or \"String\")");
    duet_status st = dt_json_get_bool(o, "pre_tokenizer Split", "invert", false, &invert, err);
    if (st)
        return st;
    const json_t *v = json_is_string(regex) ? regex : text;
    if (t->vocab.chars) {
        if (is_text(text, " "))
            return DUET_OK; /* there is none left */
        if (!is_text(text, DT_SPACE_CHAR))
            return dt_fail(err, DUET_E_UNSUPPORTED,
                           "pre_tokenizer Split by anything but spaces is not supported with model.byte_fallback");
    }
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (!strcmp(behavior, names[i]))
            return dt_tok_add_split(t, t->vocab.chars ? " " : json_string_value(v),
                                    t->vocab.chars ? 1 : json_string_length(v), v == text, (dt_split_behavior)i, invert,
                                    err);
    return dt_tok_unsupported(err, "Split behavior", behavior,
                              "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

static duet_status byte_level(duet_tokenizer *t, const json_t *o, duet_err *err) {
    bool prefix = false, use_regex = true;
    duet_status st = dt_json_get_bool(o, "pre_tokenizer ByteLevel", "add_prefix_space", true, &prefix, err);
    if (!st)
        st = dt_json_get_bool(o, "pre_tokenizer ByteLevel", "use_regex", true, &use_regex, err);
    if (st)
        return st;
    if (prefix && t->n_splits)
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "ByteLevel with add_prefix_space after another pre_tokenizer is not supported");
    t->prefix_space = prefix;
    return use_regex ? dt_tok_add_split(t, dt_tok_gpt2_pattern, strlen(dt_tok_gpt2_pattern), false, DT_SPLIT_ISOLATED,
                                        false, err)
                     : DUET_OK;
}

static duet_status metaspace(duet_tokenizer *t, marks *f, const json_t *o, duet_err *err) {
    const json_t *replacement = json_object_get(o, "replacement"), *scheme = json_object_get(o, "prepend_scheme");
    bool split = true, prefix = true;
    duet_status st = dt_json_get_bool(o, "pre_tokenizer Metaspace", "split", true, &split, err);
    if (!st)
        st = dt_json_get_bool(o, "pre_tokenizer Metaspace", "add_prefix_space", true, &prefix, err);
    if (st)
        return st;
    if (dt_json_is_set(replacement) && !is_text(replacement, DT_SPACE_CHAR))
        return dt_fail(err, DUET_E_UNSUPPORTED, "pre_tokenizer Metaspace with another character than U+2581");
    if (dt_json_is_set(scheme) && !is_text(scheme, "always") && !is_text(scheme, "first") && !is_text(scheme, "never"))
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "pre_tokenizer Metaspace: prepend_scheme is none of always, first, never");
    t->prefix_space = dt_json_is_set(scheme) ? !is_text(scheme, "never") : prefix;
    t->prefix_first = t->prefix_space && is_text(scheme, "first");
    f->spaces = true;
    return split ? dt_tok_add_split(t, " ", 1, true, DT_SPLIT_WITH_NEXT, false, err) : DUET_OK;
}

static duet_status one_pre_tokenizer(duet_tokenizer *t, marks *f, const json_t *o, const char *type, duet_err *err) {
    bool each = false;
    if (!strcmp(type, "Split"))
        return add_split_step(t, o, err);
    if (t->vocab.chars) {
        if (!strcmp(type, "Metaspace"))
            return metaspace(t, f, o, err);
        return dt_tok_unsupported(err, "pre_tokenizer", type,
                                  "with model.byte_fallback: Split by spaces, Metaspace, Sequence");
    }
    if (!strcmp(type, "Digits")) {
        duet_status st = dt_json_get_bool(o, "pre_tokenizer Digits", "individual_digits", false, &each, err);
        return st ? st
                  : dt_tok_add_split(t, "\\p{N}", 5, false, each ? DT_SPLIT_ISOLATED : DT_SPLIT_CONTIGUOUS, false, err);
    }
    if (!strcmp(type, "ByteLevel"))
        return byte_level(t, o, err);
    return dt_tok_unsupported(err, "pre_tokenizer", type, "Split, Digits, ByteLevel, Sequence");
}

/* Byte level comes last and once; without it the vocabulary is not one of bytes. */
static duet_status check_byte_level(const json_t *pre, duet_err *err) {
    const char *type = json_string_value(json_object_get(pre, "type"));
    if (type && !strcmp(type, "ByteLevel"))
        return DUET_OK;
    const json_t *list = json_object_get(pre, "pretokenizers");
    const size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        type = json_string_value(json_object_get(json_array_get(list, i), "type"));
        if (type && !strcmp(type, "ByteLevel")) {
            if (i + 1 == n)
                return DUET_OK;
            return dt_fail(err, DUET_E_UNSUPPORTED, "pre_tokenizer: a step after ByteLevel is not supported");
        }
    }
    return dt_fail(err, DUET_E_UNSUPPORTED,
                   "pre_tokenizer has no ByteLevel and model.byte_fallback is off: only byte-level BPE and that of "
                   "SentencePiece are "
                   "supported");
}

/* ---- post_processor ---- */

/* The ids of a template's special token. */
static duet_status template_ids(const duet_tokenizer *t, const json_t *o, const char *name, duet_ids *to,
                                duet_err *err) {
    const json_t *ids = json_object_get(json_object_get(json_object_get(o, "special_tokens"), name), "ids");
    char q[DT_TOK_QUOTE];
    if (!json_is_array(ids))
        return dt_fail(err, DUET_E_FORMAT, "post_processor: special token %s has no ids",
                       dt_tok_quote(q, name, strlen(name)));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *v = json_array_get(ids, i);
        const json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= t->vocab.size || !t->vocab.tokens[id].flags)
            return dt_fail(err, DUET_E_FORMAT, "post_processor: special token %s has an id that no token has",
                           dt_tok_quote(q, name, strlen(name)));
        if (!dt_tok_push(to, (int32_t)id))
            return dt_fail(err, DUET_E_NOMEM, "no memory for the post_processor");
    }
    return DUET_OK;
}

/* A later processor wraps what an earlier one made. */
static duet_status wrap(duet_tokenizer *t, duet_ids *before, const duet_ids *after, duet_err *err) {
    bool ok = dt_tok_append(before, t->prefix.v, t->prefix.n) && dt_tok_append(&t->suffix, after->v, after->n);
    duet_ids old = t->prefix;
    t->prefix = *before;
    *before = old;
    return ok ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for the post_processor");
}

static duet_status template_processor(duet_tokenizer *t, const json_t *o, duet_err *err) {
    duet_status st = DUET_OK;
    duet_ids before = {0}, after = {0};
    bool seen = false;
    const json_t *single = json_object_get(o, "single");
    if (!json_is_array(single))
        return dt_fail(err, DUET_E_FORMAT, "post_processor.single is %s, not an array", dt_json_type_name(single));
    for (size_t i = 0; !st && i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        const char *special = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        const char *sequence = json_string_value(json_object_get(json_object_get(item, "Sequence"), "id"));
        if (special) {
            st = template_ids(t, o, special, seen ? &after : &before, err);
        } else if (sequence && !strcmp(sequence, "A") && !seen) {
            seen = true;
        } else {
            st = dt_fail(err, DUET_E_FORMAT,
                         "post_processor.single[%zu] is neither a special token nor the one sequence A", i);
        }
    }
    if (!st && !seen)
        st = dt_fail(err, DUET_E_FORMAT, "post_processor.single has no sequence A");
    if (!st)
        st = wrap(t, &before, &after, err);
    duet_ids_free(&before);
    duet_ids_free(&after);
    return st;
}

static duet_status one_post_processor(duet_tokenizer *t, marks *f, const json_t *o, const char *type, duet_err *err) {
    (void)f;
    if (!strcmp(type, "ByteLevel"))
        return DUET_OK; /* moves offsets only */
    if (!strcmp(type, "TemplateProcessing"))
        return template_processor(t, o, err);
    return dt_tok_unsupported(err, "post_processor", type, "ByteLevel, TemplateProcessing, Sequence");
}

/* ---- decoder ---- */

static duet_status one_decoder(duet_tokenizer *t, marks *f, const json_t *o, const char *type, duet_err *err) {
    if (!t->vocab.chars)
        return strcmp(type, "ByteLevel") ? dt_tok_unsupported(err, "decoder", type, "ByteLevel, Sequence") : DUET_OK;
    if (!strcmp(type, "Replace") && replaces(o, DT_SPACE_CHAR, " ")) {
        f->spaces_back = true;
        return DUET_OK;
    }
    if (!strcmp(type, "ByteFallback")) {
        f->bytes_back = true;
        return DUET_OK;
    }
    if (!strcmp(type, "Fuse"))
        return DUET_OK; /* tokens are one text here from the start */
    if (!strcmp(type, "Strip") && is_text(json_object_get(o, "content"), " ") &&
        json_integer_value(json_object_get(o, "start")) == 1 && !json_integer_value(json_object_get(o, "stop"))) {
        t->strip_space = true;
        return DUET_OK;
    }
    return dt_tok_unsupported(
        err, "decoder", type,
        "with model.byte_fallback: Replace of U+2581 by a space, ByteFallback, Fuse, Strip of one "
        "space at the start, Sequence");
}

/* ---- the whole ---- */

duet_status dt_tok_read_steps(duet_tokenizer *t, const json_t *root, duet_err *err) {
    const json_t *pre = json_object_get(root, "pre_tokenizer"), *decoder = json_object_get(root, "decoder");
    const bool chars = t->vocab.chars;
    marks f = {0};
    duet_status st =
        each_component(t, &f, json_object_get(root, "normalizer"), "normalizer", "normalizers", one_normalizer, err);
    if (!st)
        st = each_component(t, &f, pre, "pre_tokenizer", "pretokenizers", one_pre_tokenizer, err);
    if (!st && !chars)
        st = check_byte_level(pre, err);
    if (!st && chars && !f.spaces)
        st = dt_fail(err, DUET_E_UNSUPPORTED,
                     "model.byte_fallback without a step that writes spaces as U+2581 (a normalizer Replace, or "
                     "Metaspace) is not supported");
    if (!st && !dt_json_is_set(decoder))
        st = dt_fail(err, DUET_E_UNSUPPORTED, "has no decoder (known: %s)",
                     chars ? "Replace, ByteFallback, Fuse, Strip" : "ByteLevel");
    if (!st)
        st = each_component(t, &f, decoder, "decoder", "decoders", one_decoder, err);
    if (!st && chars && !(f.spaces_back && f.bytes_back))
        st = dt_fail(err, DUET_E_UNSUPPORTED,
                     "decoder without both Replace and ByteFallback is not supported with model.byte_fallback");
    return st;
}

duet_status dt_tok_read_post(duet_tokenizer *t, const json_t *root, duet_err *err) {
    return each_component(t, NULL, json_object_get(root, "post_processor"), "post_processor", "processors",
                          one_post_processor, err);
}
