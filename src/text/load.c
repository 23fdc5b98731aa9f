/* tokenizer.json -> duet_tokenizer. Everything that is not understood is named and refused, since a component that
 * is skipped silently gives wrong ids. Nothing in the file is trusted: ids, merges and names are checked here once,
 * so that encoding and decoding need no checks. */
#include "format/jsonl.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE ((size_t)256 << 20)

/* ---- typed access ---- */

static const char *type_name(const json_t *v) {
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

static bool is_set(const json_t *v) {
    return v && !json_is_null(v);
}

static duet_status get_bool(const json_t *o, const char *where, const char *key, bool standard, bool *out,
                            duet_err *err) {
    const json_t *v = json_object_get(o, key);
    *out = standard;
    if (!is_set(v))
        return DUET_OK;
    if (!json_is_boolean(v))
        return dt_fail(err, DUET_E_FORMAT, "%s.%s is %s, not true or false", where, key, type_name(v));
    *out = json_is_true(v);
    return DUET_OK;
}

/* The "type" of a component that may be null (*type NULL then). */
static duet_status get_type(const json_t *o, const char *where, const char **type, duet_err *err) {
    *type = NULL;
    if (!is_set(o))
        return DUET_OK;
    if (!json_is_object(o))
        return dt_fail(err, DUET_E_FORMAT, "%s is %s, not an object", where, type_name(o));
    *type = json_string_value(json_object_get(o, "type"));
    if (!*type)
        return dt_fail(err, DUET_E_FORMAT, "%s has no \"type\"", where);
    return DUET_OK;
}

static duet_status unsupported(duet_err *err, const char *where, const char *type, const char *known) {
    char q[DT_TOK_QUOTE];
    return dt_fail(err, DUET_E_UNSUPPORTED, "%s %s is not supported (known: %s)", where,
                   dt_tok_quote(q, type, strlen(type)), known);
}

/* A component, or the list inside a Sequence; calls `one` for each. */
typedef duet_status (*component_fn)(duet_tokenizer *t, const json_t *o, const char *type, duet_err *err);
static duet_status each_component(duet_tokenizer *t, const json_t *o, const char *where, const char *list_key,
                                  component_fn one, duet_err *err) {
    const char *type = NULL;
    duet_status st = get_type(o, where, &type, err);
    if (st || !type)
        return st;
    if (strcmp(type, "Sequence"))
        return one(t, o, type, err);
    const json_t *list = json_object_get(o, list_key);
    if (!json_is_array(list))
        return dt_fail(err, DUET_E_FORMAT, "%s.%s is %s, not an array", where, list_key, type_name(list));
    for (size_t i = 0; !st && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        st = get_type(item, where, &type, err);
        if (!st && !type)
            st = dt_fail(err, DUET_E_FORMAT, "%s.%s[%zu] is null", where, list_key, i);
        if (!st)
            st = one(t, item, type, err);
    }
    return st;
}

/* ---- vocabulary and merges ---- */

static duet_status read_id(const json_t *v, const char *s, size_t n, int64_t *id, duet_err *err) {
    char q[DT_TOK_QUOTE];
    if (!json_is_integer(v))
        return dt_fail(err, DUET_E_FORMAT, "the id of token %s is %s, not a whole number", dt_tok_quote(q, s, n),
                       type_name(v));
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
    bool on = false;
    if (!json_is_object(m))
        return dt_fail(err, DUET_E_FORMAT, "model is %s, not an object", type_name(m));
    if (is_set(json_object_get(m, "type"))) { /* the oldest files leave it out */
        duet_status st = get_type(m, "model", &type, err);
        if (st)
            return st;
        if (strcmp(type, "BPE"))
            return unsupported(err, "model type", type, "BPE");
    }
    const json_t *drop = json_object_get(m, "dropout");
    if (is_set(drop) && !(json_is_number(drop) && !(json_number_value(drop) > 0)))
        return dt_fail(err, DUET_E_UNSUPPORTED, "model.dropout is not supported: it makes ids random");
    static const char *const affix[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < DT_COUNT(affix); i++) {
        const json_t *v = json_object_get(m, affix[i]);
        if (is_set(v) && !json_is_string(v))
            return dt_fail(err, DUET_E_FORMAT, "model.%s is %s, not a string", affix[i], type_name(v));
        if (is_set(v) && json_string_length(v))
            return dt_fail(err, DUET_E_UNSUPPORTED, "model.%s is not supported", affix[i]);
    }
    duet_status st = get_bool(m, "model", "byte_fallback", false, &on, err);
    if (!st && on)
        st = dt_fail(err, DUET_E_UNSUPPORTED, "model.byte_fallback is not supported (only byte-level BPE)");
    return st;
}

/* `scanned`: vocabulary and merges, if they were cut out of m already. */
static duet_status read_model(duet_tokenizer *t, const json_t *m, const json_t *added, const dt_tok_lists *scanned,
                              duet_err *err) {
    dt_tok_lists listed = {0};
    dt_tok_room room = {0};
    duet_status st = check_model(m, err);
    if (st)
        return st;
    json_t *vocab = json_object_get(m, "vocab");
    const json_t *merges = json_object_get(m, "merges");
    if (!json_is_object(vocab))
        return dt_fail(err, DUET_E_FORMAT, "model.vocab is %s, not an object", type_name(vocab));
    if (!json_is_array(merges))
        return dt_fail(err, DUET_E_FORMAT, "model.merges is %s, not an array", type_name(merges));
    if (!scanned) {
        st = list_vocab(vocab, &listed, err);
        if (!st)
            st = list_merges(merges, &listed, err);
        scanned = &listed;
    }
    if (!st)
        st = get_bool(m, "model", "ignore_merges", false, &t->vocab.ignore_merges, err);
    if (!st)
        st = measure_added(added, &room, err);
    if (!st)
        st = dt_tok_fill(&t->vocab, scanned, &room, err);
    if (!st)
        st = dt_tok_fill_merges(&t->vocab, scanned, err);
    dt_tok_lists_clear(&listed);
    return st;
}

/* ---- added tokens ---- */

static int by_id(const void *a, const void *b) {
    const int32_t x = ((const dt_added *)a)->id, y = ((const dt_added *)b)->id;
    return (x > y) - (x < y);
}

static duet_status read_one_added(duet_tokenizer *t, const json_t *o, size_t i, duet_err *err) {
    dt_added *a = &t->added[t->n_added];
    const json_t *content = json_object_get(o, "content");
    const char *s = json_string_value(content);
    char where[40], q[DT_TOK_QUOTE];
    duet_status st = DUET_OK;

    snprintf(where, sizeof where, "added_tokens[%zu]", i);
    a->id = (int32_t)json_integer_value(json_object_get(o, "id"));
    a->n = json_string_length(content);
    const struct {
        const char *key;
        bool *to, standard;
    } flags[] = {
        {"single_word", &a->single_word, false},
        {"lstrip",      &a->lstrip,      false},
        {"rstrip",      &a->rstrip,      false},
        {"special",     &a->special,     false},
        {"normalized",  &a->normalized,  true }
    };
    for (size_t k = 0; !st && k < DT_COUNT(flags); k++) {
        bool standard = flags[k].standard;
        if (flags[k].to == &a->normalized)
            standard = !a->special;
        st = get_bool(o, where, flags[k].key, standard, flags[k].to, err);
    }
    if (st)
        return st;

    dt_token *tok = &t->vocab.tokens[a->id];
    const uint32_t flag = DT_TOK_ADDED | (a->special ? DT_TOK_SPECIAL : 0u);
    const int32_t in_vocab = dt_vocab_find_spelled(&t->vocab, s, a->n);
    if (in_vocab >= 0 && in_vocab != a->id)
        return dt_fail(err, DUET_E_FORMAT, "added token %s has the id %d, but the vocabulary gives it %d",
                       dt_tok_quote(q, s, a->n), a->id, in_vocab);
    if (tok->flags && in_vocab != a->id)
        return dt_fail(err, DUET_E_FORMAT, "added token %s has the id %d, which another token has",
                       dt_tok_quote(q, s, a->n), a->id);
    if (tok->flags & DT_TOK_ADDED)
        return dt_fail(err, DUET_E_FORMAT, "added token %s is listed twice", dt_tok_quote(q, s, a->n));
    a->content = dt_calloc(a->n + 1, 1);
    if (!a->content)
        return dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
    t->n_added++;
    memcpy(a->content, s, a->n);
    if (tok->flags)
        tok->flags |= flag;
    else if (!dt_vocab_put(&t->vocab, a->id, s, a->n, flag))
        return dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
    return DUET_OK;
}

/* The tries: contents that are to be found in normalized text are normalized themselves. */
static duet_status index_added(duet_tokenizer *t, duet_err *err) {
    for (size_t i = 0; i < t->n_added; i++) {
        const dt_added *a = &t->added[i];
        const char *s = a->content;
        size_t n = a->n;
        char *mem = NULL;
        duet_status st = DUET_OK;
        if (a->normalized)
            st = dt_normal_run(t->forms, t->n_forms, a->content, a->n, &mem, &s, &n, err);
        if (!st && n && !dt_trie_add(a->normalized ? &t->normal : &t->raw, s, n, (int32_t)i))
            st = dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
        free(mem);
        if (st)
            return st;
    }
    return DUET_OK;
}

static duet_status read_added(duet_tokenizer *t, const json_t *list, duet_err *err) {
    const size_t n = json_array_size(list);
    t->added = dt_calloc(n, sizeof *t->added);
    if (n && !t->added)
        return dt_fail(err, DUET_E_NOMEM, "no memory for added tokens");
    for (size_t i = 0; i < n; i++) {
        duet_status st = read_one_added(t, json_array_get(list, i), i, err);
        if (st)
            return st;
    }
    if (n)
        qsort(t->added, t->n_added, sizeof *t->added, by_id);
    for (size_t i = 0; i < t->n_added; i++)
        for (size_t k = 0; k < i && t->n_added <= 4096; k++)
            if (t->added[i].n == t->added[k].n && !memcmp(t->added[i].content, t->added[k].content, t->added[i].n))
                return dt_fail(err, DUET_E_FORMAT, "ids %d and %d are the same added token", t->added[k].id,
                               t->added[i].id);
    return index_added(t, err);
}

/* ---- normalizer, pre-tokenizer, post-processor, decoder ---- */

static duet_status one_normalizer(duet_tokenizer *t, const json_t *o, const char *type, duet_err *err) {
    static const char *const names[] = {[DT_NFC] = "NFC", [DT_NFD] = "NFD", [DT_NFKC] = "NFKC", [DT_NFKD] = "NFKD"};
    (void)o;
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (!strcmp(type, names[i])) {
            if (t->n_forms == DT_MAX_STEPS)
                return dt_fail(err, DUET_E_UNSUPPORTED, "more than %d normalizers", DT_MAX_STEPS);
            t->forms[t->n_forms++] = (dt_form)i;
            return DUET_OK;
        }
    return unsupported(err, "normalizer", type, "NFC, NFD, NFKC, NFKD, Sequence");
}

static duet_status add_split(duet_tokenizer *t, const char *pattern, size_t n, bool literal, dt_split_behavior behavior,
                             bool invert, duet_err *err) {
    if (t->n_splits == DT_MAX_STEPS)
        return dt_fail(err, DUET_E_UNSUPPORTED, "more than %d split steps", DT_MAX_STEPS);
    dt_split *s = &t->splits[t->n_splits];
    duet_status st = dt_regex_open(pattern, n, literal, &s->re, err);
    if (st)
        return st;
    t->n_splits++;
    s->pattern = dt_calloc(n + 1, 1);
    if (!s->pattern)
        return dt_fail(err, DUET_E_NOMEM, "no memory for a split pattern");
    memcpy(s->pattern, pattern, n);
    s->n_pattern = n;
    s->literal = literal;
    s->behavior = behavior;
    s->invert = invert;
    return DUET_OK;
}

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
    duet_status st = get_bool(o, "pre_tokenizer Split", "invert", false, &invert, err);
    if (st)
        return st;
    const json_t *v = json_is_string(regex) ? regex : text;
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (!strcmp(behavior, names[i]))
            return add_split(t, json_string_value(v), json_string_length(v), v == text, (dt_split_behavior)i, invert,
                             err);
    return unsupported(err, "Split behavior", behavior,
                       "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* Marks that the byte level was seen: nothing may cut after it, since the text is spelled bytes from there on. */
static duet_status one_pre_tokenizer(duet_tokenizer *t, const json_t *o, const char *type, duet_err *err) {
    static const char known[] = "Split, Digits, ByteLevel, Sequence";
    bool prefix = false, use_regex = true, each = false;
    duet_status st = DUET_OK;
    if (!strcmp(type, "Split"))
        return add_split_step(t, o, err);
    if (!strcmp(type, "Digits")) {
        st = get_bool(o, "pre_tokenizer Digits", "individual_digits", false, &each, err);
        if (!st)
            st = add_split(t, "\\p{N}", 5, false, each ? DT_SPLIT_ISOLATED : DT_SPLIT_CONTIGUOUS, false, err);
        return st;
    }
    if (strcmp(type, "ByteLevel"))
        return unsupported(err, "pre_tokenizer", type, known);
    st = get_bool(o, "pre_tokenizer ByteLevel", "add_prefix_space", true, &prefix, err);
    if (!st)
        st = get_bool(o, "pre_tokenizer ByteLevel", "use_regex", true, &use_regex, err);
    if (st)
        return st;
    if (prefix && t->n_splits)
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "ByteLevel with add_prefix_space after another pre_tokenizer is not supported");
    t->prefix_space = prefix;
    return use_regex ? add_split(t, gpt2_pattern, sizeof gpt2_pattern - 1, false, DT_SPLIT_ISOLATED, false, err)
                     : DUET_OK;
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
    return dt_fail(err, DUET_E_UNSUPPORTED, "pre_tokenizer has no ByteLevel: only byte-level BPE is supported");
}

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
        return dt_fail(err, DUET_E_FORMAT, "post_processor.single is %s, not an array", type_name(single));
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

static duet_status one_post_processor(duet_tokenizer *t, const json_t *o, const char *type, duet_err *err) {
    if (!strcmp(type, "ByteLevel"))
        return DUET_OK; /* moves offsets only */
    if (!strcmp(type, "TemplateProcessing"))
        return template_processor(t, o, err);
    return unsupported(err, "post_processor", type, "ByteLevel, TemplateProcessing, Sequence");
}

static duet_status one_decoder(duet_tokenizer *t, const json_t *o, const char *type, duet_err *err) {
    (void)t;
    (void)o;
    return strcmp(type, "ByteLevel") ? unsupported(err, "decoder", type, "ByteLevel, Sequence") : DUET_OK;
}

/* ---- the whole ---- */

static duet_status read_root(duet_tokenizer *t, const json_t *root, const dt_tok_lists *scanned, duet_err *err) {
    const json_t *added = json_object_get(root, "added_tokens"), *pre = json_object_get(root, "pre_tokenizer");
    if (!json_is_object(root))
        return dt_fail(err, DUET_E_FORMAT, "is %s, not an object", type_name(root));
    if (is_set(added) && !json_is_array(added))
        return dt_fail(err, DUET_E_FORMAT, "added_tokens is %s, not an array", type_name(added));
    duet_status st =
        each_component(t, json_object_get(root, "normalizer"), "normalizer", "normalizers", one_normalizer, err);
    if (!st)
        st = each_component(t, pre, "pre_tokenizer", "pretokenizers", one_pre_tokenizer, err);
    if (!st)
        st = read_model(t, json_object_get(root, "model"), added, scanned, err);
    if (!st)
        st = check_byte_level(pre, err);
    if (!st)
        st = each_component(t, json_object_get(root, "decoder"), "decoder", "decoders", one_decoder, err);
    if (!st && !is_set(json_object_get(root, "decoder")))
        st = dt_fail(err, DUET_E_UNSUPPORTED, "has no decoder (known: ByteLevel)");
    if (!st)
        st = read_added(t, added, err);
    if (!st)
        st = each_component(t, json_object_get(root, "post_processor"), "post_processor", "processors",
                            one_post_processor, err);
    return st;
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
        st = dt_fail(err, DUET_E_FORMAT, "tokenizer_config.json is %s, not an object", type_name(root));
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

duet_status duet_tokenizer_open(const char *path, duet_tokenizer **out, duet_err *err) {
    duet_status st = DUET_OK;
    char *file = NULL, *config_file = NULL;
    dt_buf json = {0}, config = {0};

    *out = NULL;
    if (dt_path_is_dir(path)) {
        file = dt_path_join(path, "tokenizer.json");
        config_file = dt_path_join(path, "tokenizer_config.json");
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
    dt_vocab_clear(&t->vocab);
    for (int i = 0; i < t->n_splits; i++) {
        dt_regex_close(t->splits[i].re);
        free(t->splits[i].pattern);
    }
    for (size_t i = 0; i < t->n_added; i++)
        free(t->added[i].content);
    free(t->added);
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
