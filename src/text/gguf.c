/* The tokenizer inside a GGUF file (keys tokenizer.*, specification of the ggml project) -> duet_tokenizer.
 *
 * - tokenizer.ggml.model: gpt2 is byte-level BPE; llama is SentencePiece's BPE, a vocabulary of characters with scores
 * - tokenizer.ggml.pre (gpt2): the pre-tokenizer by name (pre.c)
 * - tokenizer.ggml.tokens: as tokenizer.json spells them; user-defined ones as they stand in texts
 * - tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
 * - tokenizer.ggml.merges (gpt2): "left right"; tokenizer.ggml.scores (llama): the highest merges first
 * - tokenizer.ggml.{bos,eos,unknown}_token_id, add_bos_token, add_eos_token, add_space_prefix; tokenizer.chat_template
 *
 * Nothing in the file is trusted, and none of it is kept: its strings are read in place and copied into the pool. */
#include "format/gguf_model.h"
#include "text/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

typedef struct source {
    const dt_gguf *g;
    const dt_gguf_kv *tokens, *types, *merges, *scores;
    bool add_bos;
} source;

#define KEY(name) "tokenizer.ggml." name

/* An array that must be there, with one element a token. */
static duet_status need_array(const source *f, const char *key, dt_gguf_type elem, const dt_gguf_kv **out,
                              duet_err *err) {
    duet_status st = dt_gguf_need(dt_gguf_array(f->g, key, elem, out, err), f->g, key, err);
    if (!st && f->tokens && (*out)->n != f->tokens->n)
        st = dt_fail(err, DUET_E_FORMAT, "%s: %s has %zu elements for %zu tokens", dt_gguf_name(f->g), key, (*out)->n,
                     f->tokens->n);
    return st;
}

/* Filling up to the size of a matrix, with names of no meaning: no token at all. */
static bool is_padding(dt_gguf_str s, int64_t type) {
    return type == UNUSED && s.n > 4 && !memcmp(s.s, "[PAD", 4);
}

static bool is_added(int64_t type) {
    return type == UNKNOWN || type == CONTROL || type == USER_DEFINED;
}

/* Sorts the tokens: what text can become through merges into the lists, what stands apart into *room and the counts
 * of added ones. A user-defined token is both: where no added token is recognised it can still be merged. */
static duet_status sort_tokens(const source *f, bool chars, dt_tok_lists *l, dt_tok_room *room, size_t *n_added,
                               size_t *added_bytes, duet_err *err) {
    duet_status st = DUET_OK;
    dt_gguf_str s;
    size_t at = 0;
    l->vocab = dt_calloc(f->tokens->n + 1, sizeof *l->vocab);
    if (!l->vocab)
        return dt_fail(err, DUET_E_NOMEM, "no memory for %zu tokens", f->tokens->n);
    for (size_t i = 0; !st && dt_gguf_next_str(f->tokens, &at, &s); i++) {
        const int64_t type = dt_gguf_int_at(f->types, i);
        char q[DT_TOK_QUOTE];
        if (type < NORMAL || type > BYTE)
            return dt_fail(err, DUET_E_FORMAT, "token %s has the type %lld, which is none of 1..6",
                           dt_tok_quote(q, s.s, s.n), (long long)type);
        if (dt_utf8_bad(s.s, s.n) < s.n)
            return dt_fail(err, DUET_E_FORMAT, "token %zu, %s, is not UTF-8", i, dt_tok_quote(q, s.s, s.n));
        if (is_padding(s, type) || !s.n)
            continue;
        const bool user = type == USER_DEFINED;
        if (is_added(type)) {
            ++*n_added;
            *added_bytes += s.n;
        }
        if (!is_added(type) || (user && chars))
            l->vocab[l->n_vocab++] = (dt_tok_entry){s.s, s.n, (int64_t)i, user};
        else
            st = dt_tok_measure(room, s.s, s.n, (int64_t)i, err);
    }
    return st;
}

static duet_status put_added(duet_tokenizer *t, const source *f, size_t n, size_t n_bytes, duet_err *err) {
    dt_gguf_str s;
    size_t at = 0;
    duet_status st = dt_tok_reserve_added(t, n, n_bytes, err);
    for (size_t i = 0; !st && dt_gguf_next_str(f->tokens, &at, &s); i++) {
        const int64_t type = dt_gguf_int_at(f->types, i);
        if (!is_added(type) || !s.n)
            continue;
        const dt_added a = {.id = (int32_t)i, .content = s.s, .n = s.n, .special = type != USER_DEFINED};
        st = dt_tok_put_added(t, &a, err);
    }
    return st ? st : dt_tok_index_added(t, err);
}

static duet_status read_merges(duet_tokenizer *t, const source *f, dt_tok_lists *l, duet_err *err) {
    dt_gguf_str s;
    size_t at = 0;
    l->merges = dt_calloc(f->merges->n + 1, sizeof *l->merges);
    if (!l->merges)
        return dt_fail(err, DUET_E_NOMEM, "no memory for %zu merges", f->merges->n);
    for (; dt_gguf_next_str(f->merges, &at, &s); l->n_merges++)
        if (!dt_tok_cut_pair(&l->merges[l->n_merges], s.s, s.n))
            return dt_fail(err, DUET_E_FORMAT, "merge %zu is not a pair of tokens", l->n_merges);
    return dt_tok_fill_merges(&t->vocab, l, err);
}

/* Ranks that order as the scores do, highest first, equal for equal ones. */
static duet_status read_scores(duet_tokenizer *t, const source *f, duet_err *err) {
    t->vocab.ranks = dt_calloc((size_t)t->vocab.size + 1, sizeof *t->vocab.ranks);
    if (!t->vocab.ranks)
        return dt_fail(err, DUET_E_NOMEM, "no memory for %d scores", t->vocab.size);
    for (int32_t i = 0; i < t->vocab.size; i++) {
        const float score = (float)dt_gguf_real_at(f->scores, (size_t)i) + 0.0f; /* no negative zero */
        int32_t bits = 0;
        if (!isfinite(score))
            return dt_fail(err, DUET_E_FORMAT, "the score of token %d is not a finite number", i);
        memcpy(&bits, &score, sizeof bits);
        t->vocab.ranks[i] = ~(bits < 0 ? bits ^ INT32_MAX : bits);
    }
    return DUET_OK;
}

/* ---- what goes around a text ---- */

static duet_status read_id(const source *f, const char *key, int64_t *id, duet_err *err) {
    duet_status st = dt_gguf_int(f->g, key, 0, INT32_MAX, id, err);
    if (!st && (size_t)*id >= f->tokens->n)
        st = dt_fail(err, DUET_E_FORMAT, "%s: %s is %lld, but there are %zu tokens", dt_gguf_name(f->g), key,
                     (long long)*id, f->tokens->n);
    return st == DUET_END ? DUET_OK : st;
}

static bool is_token(const duet_tokenizer *t, int64_t id) {
    return id >= 0 && id < t->vocab.size && t->vocab.tokens[id].flags;
}

/* The token that `add_key` asks for, at one end of a text. */
static duet_status read_around(const duet_tokenizer *t, const source *f, const char *add_key, const char *id_key,
                               bool add, duet_ids *to, duet_err *err) {
    int64_t id = -1;
    duet_status st = dt_gguf_bool(f->g, add_key, &add, err);
    if (st == DUET_OK || st == DUET_END)
        st = read_id(f, id_key, &id, err);
    if (st || !add)
        return st;
    if (!is_token(t, id))
        return dt_fail(err, DUET_E_FORMAT, "%s: %s says to add a token, but %s names none", dt_gguf_name(f->g), add_key,
                       id_key);
    return dt_tok_push(to, (int32_t)id) ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a token");
}

static duet_status read_unknown(duet_tokenizer *t, const source *f, duet_err *err) {
    int64_t id = -1;
    duet_status st = read_id(f, KEY("unknown_token_id"), &id, err);
    if (st || !t->vocab.chars || !is_token(t, id))
        return st;
    t->vocab.has_unknown = true;
    t->vocab.unknown = (int32_t)id;
    return DUET_OK;
}

static duet_status read_template(duet_tokenizer *t, const source *f, duet_err *err) {
    dt_gguf_str s = {0};
    duet_status st = dt_gguf_chat_template(f->g, &s, err);
    if (st)
        return st == DUET_END ? DUET_OK : st;
    t->chat_template = dt_calloc(s.n + 1, 1);
    if (!t->chat_template)
        return dt_fail(err, DUET_E_NOMEM, "no memory for the chat template");
    memcpy(t->chat_template, s.s, s.n);
    return DUET_OK;
}

/* ---- the whole ---- */

static duet_status read_kind(duet_tokenizer *t, source *f, duet_err *err) {
    dt_gguf_str model = {0}, pre = {"default", 7};
    char q[DT_TOK_QUOTE];
    duet_status st = dt_gguf_need(dt_gguf_string(f->g, KEY("model"), &model, err), f->g, KEY("model"), err);
    if (st)
        return st;
    t->vocab.chars = dt_gguf_str_is(model, "llama");
    f->add_bos = t->vocab.chars;
    if (!t->vocab.chars && !dt_gguf_str_is(model, "gpt2"))
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: tokenizer model %s is not supported (known: gpt2, llama)",
                       dt_gguf_name(f->g), dt_tok_quote(q, model.s, model.n));
    st = need_array(f, KEY("tokens"), DT_GGUF_STRING, &f->tokens, err);
    if (!st)
        st = need_array(f, KEY("token_type"), DT_GGUF_I64, &f->types, err);
    if (!st && t->vocab.chars)
        return need_array(f, KEY("scores"), DT_GGUF_F64, &f->scores, err);
    if (!st)
        st =
            dt_gguf_need(dt_gguf_array(f->g, KEY("merges"), DT_GGUF_STRING, &f->merges, err), f->g, KEY("merges"), err);
    if (!st)
        st = dt_gguf_string(f->g, KEY("pre"), &pre, err);
    if (st == DUET_END)
        dt_log(DT_LOG_WARN, "%s: no %s: texts are split as for \"default\", which may not be the model's way",
               dt_gguf_name(f->g), KEY("pre"));
    if (st == DUET_OK || st == DUET_END)
        st = dt_tok_use_pre(t, pre.s, pre.n, &f->add_bos, err);
    return st == DUET_E_UNSUPPORTED ? dt_fail_in(err, st, "%s", dt_gguf_name(f->g)) : st;
}

static duet_status read_vocab(duet_tokenizer *t, const source *f, duet_err *err) {
    dt_tok_lists l = {0};
    dt_tok_room room = {0};
    size_t n_added = 0, added_bytes = 0;
    duet_status st = sort_tokens(f, t->vocab.chars, &l, &room, &n_added, &added_bytes, err);
    if (!st)
        st = dt_tok_fill(&t->vocab, &l, &room, err);
    if (!st)
        st = t->vocab.chars ? read_scores(t, f, err) : read_merges(t, f, &l, err);
    if (!st)
        st = put_added(t, f, n_added, added_bytes, err);
    dt_tok_lists_clear(&l);
    return st ? dt_fail_in(err, st, "%s", dt_gguf_name(f->g)) : DUET_OK;
}

/* A file may carry its tokenizer.json whole: then the other keys, of which some programs can say less, are not looked
 * at. */
static duet_status from_whole_file(const source *f, dt_gguf_str json, duet_tokenizer **out, duet_err *err) {
    duet_status st = dt_tokenizer_parse(dt_gguf_name(f->g), json.s, json.n, NULL, 0, out, err);
    if (!st)
        st = read_template(*out, f, err);
    if (st) {
        duet_tokenizer_close(*out);
        *out = NULL;
    }
    return st;
}

duet_status dt_tokenizer_from_gguf(const dt_gguf *g, duet_tokenizer **out, duet_err *err) {
    source f = {.g = g};
    dt_gguf_str whole = {0};

    *out = NULL;
    duet_status st = dt_gguf_string(g, "tokenizer.huggingface.json", &whole, err);
    if (st != DUET_END)
        return st ? st : from_whole_file(&f, whole, out, err);
    duet_tokenizer *t = dt_calloc(1, sizeof *t);
    if (!t)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", dt_gguf_name(g));
    st = read_kind(t, &f, err);
    if (st)
        goto done;
    if (t->vocab.chars) {
        t->prepend = true;
        st = dt_gguf_bool(g, KEY("add_space_prefix"), &t->prepend, err);
        if (st && st != DUET_END)
            goto done;
        t->strip_space = t->prepend;
    }
    st = read_vocab(t, &f, err);
    if (!st)
        st = read_around(t, &f, KEY("add_bos_token"), KEY("bos_token_id"), f.add_bos, &t->prefix, err);
    if (!st)
        st = read_around(t, &f, KEY("add_eos_token"), KEY("eos_token_id"), false, &t->suffix, err);
    if (!st)
        st = read_unknown(t, &f, err);
    if (!st)
        st = read_template(t, &f, err);
    if (st)
        goto done;
    *out = t;
    t = NULL; /* the caller's from here */
done:
    duet_tokenizer_close(t);
    return st;
}
