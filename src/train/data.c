/* Examples of a run, by number; prompts and texts by a model's words. */
#include "train/data.h"

#include "format/jsonl.h"
#include "pair/frame.h"

#include <stdlib.h>
#include <string.h>

/* ---- sources ---- */

#define MAX_SETTINGS 64

static duet_status open_task(dt_source *s, const char *family, const char *knobs, duet_err *err) {
    const char *setting[MAX_SETTINGS];
    size_t n = 0;
    char *copy = dt_strdup(knobs), *save = NULL;
    if (!copy) return dt_fail(err, DUET_E_NOMEM, "%s: no memory", family);
    for (char *p = strtok_r(copy, " \t\n,", &save); p && n < MAX_SETTINGS; p = strtok_r(NULL, " \t\n,", &save))
        setting[n++] = p;
    duet_status st = duet_task_open(family, setting, n, &s->task, err);
    dt_sha256 h;
    dt_sha256_init(&h);
    dt_sha256_add(&h, family, strlen(family) + 1);
    dt_sha256_add(&h, knobs, strlen(knobs));
    dt_sha256_hex(&h, s->sha256);
    free(copy);
    return st;
}

static char *text_of(const json_t *o, const char *a, const char *b) { /* string or number; NULL = not there */
    const json_t *v = json_object_get(o, a);
    char num[32];
    if (!v && b) v = json_object_get(o, b);
    if (json_is_string(v)) return dt_strdup(json_string_value(v));
    if (!json_is_integer(v)) return NULL;
    snprintf(num, sizeof num, "%lld", (long long)json_integer_value(v));
    return dt_strdup(num);
}

static duet_status take_row(dt_source *s, const char *path, size_t line, const json_t *o, size_t *cap, duet_err *err) {
    if (s->n_rows == *cap) {
        *cap = *cap ? 2 * *cap : 1024;
        duet_example *grown = dt_realloc(s->row, *cap, sizeof *grown);
        if (!grown) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for its rows", path);
        s->row = grown;
    }
    duet_example *e = &s->row[s->n_rows++];
    *e = (duet_example){.id = text_of(o, "id", NULL), .question = text_of(o, "question", NULL), .answer = text_of(o, "answer", NULL),
                        .chain = text_of(o, "signal", "chain")};
    if (!e->question || !e->answer) return dt_fail(err, DUET_E_FORMAT, "%s:%zu: a row needs \"question\" and \"answer\"", path, line);
    return DUET_OK;
}

static duet_status open_file(dt_source *s, const char *path, duet_err *err) {
    dt_jsonl *in = NULL;
    json_t *o = NULL;
    dt_sha256 h;
    size_t cap = 0;

    dt_sha256_init(&h);
    duet_status st = dt_jsonl_open(path, &in, err);
    while (!st && (st = dt_jsonl_next(in, &o, err)) == DUET_OK) {
        st = take_row(s, path, dt_jsonl_line(in), o, &cap, err);
        json_decref(o);
    }
    dt_jsonl_close(in);
    if (st != DUET_END) return st;
    if (!s->n_rows) return dt_fail(err, DUET_E_FORMAT, "%s: no rows", path);
    for (size_t i = 0; i < s->n_rows; i++) { /* contents, not bytes: what decides the run */
        const duet_example *e = &s->row[i];
        dt_sha256_add(&h, e->question, strlen(e->question) + 1);
        dt_sha256_add(&h, e->answer, strlen(e->answer) + 1);
        if (e->chain) dt_sha256_add(&h, e->chain, strlen(e->chain) + 1);
    }
    dt_sha256_hex(&h, s->sha256);
    s->order = dt_calloc(s->n_rows, sizeof *s->order);
    s->epoch = UINT64_MAX;
    return s->order ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
}

duet_status dt_source_open(dt_source *s, const char *family, const char *knobs, const char *file, duet_split split, uint64_t seed, duet_err *err) {
    *s = (dt_source){.split = split, .seed = seed};
    if (!file || !*file) return open_task(s, family, knobs, err);
    duet_status st = open_file(s, file, err);
    return st == DUET_E_IO ? DUET_E_USAGE : st; /* the recipe names what is not there */
}

void dt_source_close(dt_source *s) {
    duet_task_close(s->task);
    for (size_t i = 0; i < s->n_rows; i++)
        duet_example_clear(&s->row[i]);
    free(s->row);
    free(s->order);
    *s = (dt_source){0};
}

size_t dt_source_size(const dt_source *s) {
    return s->n_rows;
}

const duet_example *dt_source_row(const dt_source *s, size_t i) {
    return &s->row[i];
}

void dt_source_drop_row(dt_source *s, size_t i) {
    duet_example_clear(&s->row[i]);
    memmove(s->row + i, s->row + i + 1, (s->n_rows - i - 1) * sizeof *s->row);
    s->n_rows--;
}

static void shuffle(dt_source *s, uint64_t epoch) { /* Fisher and Yates */
    dt_rng r = dt_rng_make(s->seed, epoch);
    for (uint32_t i = 0; i < s->n_rows; i++)
        s->order[i] = i;
    for (uint32_t i = (uint32_t)s->n_rows; s->split == DUET_SPLIT_TRAIN && i > 1; i--) {
        uint32_t j = dt_rng_below(&r, i), t = s->order[i - 1];
        s->order[i - 1] = s->order[j];
        s->order[j] = t;
    }
    s->epoch = epoch;
}

duet_status dt_source_example(dt_source *s, uint64_t index, duet_example *out, duet_err *err) {
    if (s->task) return duet_task_example(s->task, s->split, s->seed, index, out, err);
    if (s->epoch != index / s->n_rows) shuffle(s, index / s->n_rows);
    const duet_example *e = &s->row[s->order[index % s->n_rows]];
    *out = (duet_example){.id = dt_strdup(e->id), .question = dt_strdup(e->question), .answer = dt_strdup(e->answer), .chain = dt_strdup(e->chain)};
    if (out->question && out->answer && !out->chain == !e->chain) return DUET_OK;
    duet_example_clear(out);
    return dt_fail(err, DUET_E_NOMEM, "no memory for an example");
}

/* ---- words ---- */

duet_status dt_words_open(dt_words *w, const char *path, const char *chat_template, duet_err *err) {
    *w = (dt_words){0};
    duet_status st = duet_tokenizer_open(path, &w->tok, err);
    return st ? st : dt_tmpl_detect(w->tok, chat_template && *chat_template ? chat_template : NULL, &w->tmpl, err);
}

duet_status dt_words_new(dt_words *w, const char *name, duet_err *err) {
    duet_task_vocab v;
    if (dt_path_exists(name)) return dt_words_open(w, name, NULL, err);
    *w = (dt_words){0};
    duet_status st = duet_task_vocab_get(name, &v, err);
    if (!st) st = duet_tokenizer_build(v.pattern, v.merged, v.cut, v.n, v.alphabet, &w->tok, err);
    return st ? st : dt_tmpl_detect(w->tok, NULL, &w->tmpl, err);
}

duet_status dt_words_save(const dt_words *w, const char *dir, bool of_adapter, duet_err *err) {
    duet_status st = duet_tokenizer_save(w->tok, dir, err);
    return of_adapter && st == DUET_E_UNSUPPORTED ? DUET_OK : st;
}

void dt_words_close(dt_words *w) {
    duet_tokenizer_close(w->tok);
    *w = (dt_words){0};
}

bool dt_ids_append(duet_ids *a, const int32_t *v, size_t n) {
    if (a->cap - a->n < n) {
        size_t cap = a->cap ? a->cap : 64;
        while (cap - a->n < n)
            cap *= 2;
        int32_t *grown = dt_realloc(a->v, cap, sizeof *grown);
        if (!grown) return false;
        a->v = grown;
        a->cap = cap;
    }
    if (n) memcpy(a->v + a->n, v, n * sizeof *v);
    a->n += n;
    return true;
}

duet_status dt_words_question(const char *question, const char *instruction, dt_buf *out, duet_err *err) {
    dt_buf_adds(out, question);
    dt_buf_adds(out, instruction ? instruction : "");
    return out->failed ? dt_fail(err, DUET_E_NOMEM, "no memory for a prompt") : DUET_OK;
}

duet_status dt_words_prompt(const dt_words *w, const char *question, const char *instruction, duet_ids *out, duet_err *err) {
    dt_buf b = {0};
    duet_status st = dt_words_question(question, instruction, &b, err);
    if (!st) st = dt_tmpl_user(&w->tmpl, w->tok, b.data ? b.data : "", b.len, out, err);
    dt_buf_clear(&b);
    return st;
}

duet_status dt_words_add(const dt_words *w, const char *text, duet_ids *out, duet_err *err) {
    return duet_tokenizer_encode(w->tok, text, strlen(text), DUET_ENC_PLAIN, out, err);
}

duet_status dt_words_text(const dt_words *w, const int32_t *ids, size_t n, char **out, duet_err *err) {
    size_t len = 0;
    *out = NULL;
    duet_status st = dt_pair_text(w->tok, ids, n, true, out, &len, err);
    if (st) return st;
    const char *text = *out;
    dt_pair_trim(&text, &len);
    memmove(*out, text, len);
    (*out)[len] = 0;
    return DUET_OK;
}
