/* SentencePiece's BPE of a tokenizer.json as the keys of a GGUF file: where spaces go, bytes, and scores for merges. */
#include "format/gguf_tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define SPACE "\xe2\x96\x81" /* what SentencePiece writes for a space */

static bool is_text(const json_t *j, const char *text) {
    return json_is_string(j) && !strcmp(json_string_value(j), text);
}

static const json_t *pattern_of(const json_t *j) {
    return json_object_get(json_object_get(j, "pattern"), "String");
}

void dt_gguf_look_at_spaces(const json_t *j, dt_gguf_spaces *out) {
    const json_t *type = json_object_get(j, "type"), *scheme = json_object_get(j, "prepend_scheme");
    if (is_text(type, "Sequence")) {
        const json_t *list = json_object_get(j, json_object_get(j, "normalizers") ? "normalizers" : "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (is_text(json_object_get(json_array_get(list, i), "type"), "Sequence"))
                out->other = true;
            else
                dt_gguf_look_at_spaces(json_array_get(list, i), out);
        }
    } else if (is_text(type, "Prepend") && is_text(json_object_get(j, "prepend"), SPACE)) {
        out->prefix = true;
    } else if (is_text(type, "Replace") && is_text(pattern_of(j), " ") && is_text(json_object_get(j, "content"), SPACE)) {
        out->replaced = true;
    } else if (is_text(type, "Metaspace")) { /* nearly the same: it may put a space before each part of a text */
        out->replaced = out->other = true;
        out->prefix = json_is_string(scheme) ? !is_text(scheme, "never") : !json_is_false(json_object_get(j, "add_prefix_space"));
    } else if (type && !(is_text(type, "Split") && is_text(pattern_of(j), " "))) { /* no space is left to split at */
        out->other = true;
    }
}

bool dt_gguf_is_byte(const char *text) {
    return strlen(text) == 6 && !memcmp(text, "<0x", 3) && strspn(text + 3, "0123456789ABCDEF") == 2 && text[5] == '>';
}

duet_status dt_gguf_plain_spaces(dt_gguf_source *s, const char **text, size_t *n, duet_err *err) {
    char *out = dt_arena_alloc(&s->strings, *n + 1, 1);
    size_t k = 0;
    if (!out)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory for its tokens", s->file);
    for (size_t i = 0; i < *n; k++) {
        const bool space = *n - i >= 3 && !memcmp(*text + i, SPACE, 3);
        out[k] = space ? ' ' : (*text)[i];
        i += space ? 3 : 1;
    }
    out[k] = 0;
    *text = out;
    *n = k;
    return DUET_OK;
}

/* SentencePiece merges what makes the token with the highest score: the rank of the first merge that makes it, downwards. Tokens
 * that no merge makes are below all of them. */
duet_status dt_gguf_put_scores(dt_gguf_writer *w, dt_gguf_source *s, int n, duet_err *err) {
    const json_t *model = json_object_get(s->json, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    const size_t n_merges = json_array_size(merges);
    float *scores = dt_calloc((size_t)n, sizeof *scores);
    duet_status st = scores ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory for %d scores", s->file, n);
    for (int i = 0; !st && i < n; i++)
        scores[i] = -(float)n_merges;
    for (size_t i = n_merges; !st && i-- > 0;) {
        dt_gguf_str m = {0};
        dt_buf whole = {0};
        size_t cut = 0;
        st = dt_gguf_merge_at(s, merges, i, &m, &cut, err);
        if (st)
            break;
        dt_buf_add(&whole, m.s, cut);
        dt_buf_add(&whole, m.s + cut + 1, m.n - cut - 1);
        const json_t *id = whole.failed ? NULL : json_object_getn(vocab, whole.data, whole.len);
        if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < n)
            scores[json_integer_value(id)] = -(float)i;
        else
            st = dt_fail(err, DUET_E_FORMAT, "%s: model.merges[%zu] makes no token of the vocabulary", s->file, i);
        dt_buf_clear(&whole);
    }
    if (!st)
        dt_gguf_put_f32s(w, "tokenizer.ggml.scores", scores, (size_t)n);
    free(scores);
    return st;
}
