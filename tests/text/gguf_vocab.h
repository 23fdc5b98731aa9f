/* GGUF files for tests: a vocabulary written from parts, or another file's with one key changed. */
#ifndef DT_GGUF_VOCAB_H
#define DT_GGUF_VOCAB_H

#include "format/folder.h"
#include "format/gguf_write.h"
#include "text/text_test.h"

#define GGML(name) "tokenizer.ggml." name

static inline dt_gguf_writer *vocab_begin(const folder *f, const char *name) {
    dt_gguf_writer *w = NULL;
    duet_err err = {{0}};
    char path[512];
    must(dt_gguf_create(folder_at(f, name, path, sizeof path), &w, &err), &err);
    return w;
}

static inline void vocab_end(dt_gguf_writer *w) {
    duet_err err = {{0}};
    must(dt_gguf_begin(w, &err), &err);
    must(dt_gguf_end(w, &err), &err);
}

/* An open tokenizer.json as a GGUF file: the spelling of its tokens, types, merges. */
static inline void vocab_from(const folder *f, const char *name, const duet_tokenizer *t, const char *pre) {
    const dt_vocab *v = &t->vocab;
    dt_gguf_writer *w = vocab_begin(f, name);
    dt_gguf_str *s = dt_calloc((size_t)v->size + v->n_merges, sizeof *s);
    size_t *at = dt_calloc((size_t)v->size + v->n_merges + 1, sizeof *at);
    int32_t *types = dt_calloc((size_t)v->size, sizeof *types);
    dt_buf b = {0};
    assert_true(s && at && types);
    for (int32_t i = 0; i < v->size; i++) {
        const dt_token *k = &v->tokens[i];
        at[i] = b.len;
        types[i] = k->flags & DT_TOK_SPECIAL ? 3 : k->flags & DT_TOK_ADDED ? 4 : k->flags ? 1 : 5;
        if (!k->flags)
            dt_buf_addf(&b, "[PAD%d]", i);
        else if (k->flags & (DT_TOK_ADDED | DT_TOK_ODD))
            dt_buf_add(&b, v->pool.data + k->off, k->n);
        else
            dt_bytes_spell(v->pool.data + k->off, k->n, &b);
    }
    for (size_t i = 0; i < v->n_merges; i++) {
        const dt_token *l = &v->tokens[v->merges[i].left], *r = &v->tokens[v->merges[i].right];
        at[(size_t)v->size + i] = b.len;
        dt_bytes_spell(v->pool.data + l->off, l->n, &b);
        dt_buf_adds(&b, " ");
        dt_bytes_spell(v->pool.data + r->off, r->n, &b);
    }
    at[(size_t)v->size + v->n_merges] = b.len;
    for (size_t i = 0; i < (size_t)v->size + v->n_merges; i++)
        s[i] = (dt_gguf_str){b.data + at[i], at[i + 1] - at[i]};
    dt_gguf_put_text(w, GGML("model"), "gpt2");
    dt_gguf_put_text(w, GGML("pre"), pre);
    dt_gguf_put_strings(w, GGML("tokens"), s, (size_t)v->size);
    dt_gguf_put_i32s(w, GGML("token_type"), types, (size_t)v->size);
    dt_gguf_put_strings(w, GGML("merges"), s + v->size, v->n_merges);
    dt_gguf_put_bool(w, GGML("add_bos_token"), t->prefix.n > 0);
    if (t->prefix.n)
        dt_gguf_put_u32(w, GGML("bos_token_id"), (uint32_t)t->prefix.v[0]);
    vocab_end(w);
    free(s);
    free(at);
    free(types);
    dt_buf_clear(&b);
}

#endif
