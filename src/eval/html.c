/* report.html: one file that shows results.json and every sample, readable from disk without a network.
 *
 * The page itself is src/eval/web/, embedded in the program. Data goes in as JSON in <script type="application/json"> blocks, in
 * which '<', '>', '&' and the two line ends that JavaScript knows and JSON does not are spelled \uXXXX: no text of a model ends a
 * block. Samples come in chunks of two blocks, in the order of samples.jsonl:
 *
 *   class="index"   [[row, flags, M tokens, m tokens, repeat, id], ...]: all that filters and histograms need; row: of results.rows;
 *                   flags: 1 score, 2 strict right, 4 lenient right, 8 no answer, 16 truncated
 *   class="chunk"   the lines as they are, or null where the page is full
 *
 * so a browser parses a chunk when one of its samples is looked at. One line is in memory at a time. Long texts lose their middle:
 * how long they may be is found in a first pass, so that the page stays within PAGE_BYTES. */
#include "duet/duet.h"
#include "base/embed.h"
#include "eval/internal.h"
#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>

extern const dt_embedded dt_eval_web[]; /* src/eval/web; made by CMakeLists.txt */

enum { CHUNK_SAMPLES = 256, SHORTEST = 400, N_LENGTHS = 40 };
static const size_t CHUNK_BYTES = (size_t)1 << 20, TEXT_BYTES = (size_t)1 << 20;
static const size_t DEFAULT_PAGE_BYTES = (size_t)192 << 20;

enum { SCORE = 1, STRICT = 2, LENIENT = 4, NO_ANSWER = 8, TRUNCATED = 16 };

typedef struct writer {
    dt_atomic to;
    const char *path;
    json_t *rows; /* of results.json; borrowed */
    size_t room;  /* bytes of samples that the page still takes */
    size_t longest; /* text kept whole */
    size_t shortened, left_out, n;
    dt_buf index, chunk, json;
    size_t in_chunk;
} writer;

/* ---- bytes ---- */

/* JSON text as it may stand in a script block: '<', '>' and '&' stand only inside its strings, where they can be spelled. */
static void add_escaped(dt_buf *b, const char *s, size_t n) {
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const char *as = s[i] == '<' ? "\\u003c" : s[i] == '>' ? "\\u003e" : s[i] == '&' ? "\\u0026" : NULL;
        size_t wide = 1;
        if (!as && i + 2 < n && !memcmp(s + i, "\xe2\x80", 2) && ((unsigned char)s[i + 2] | 1) == 0xa9) {
            as = (unsigned char)s[i + 2] == 0xa8 ? "\\u2028" : "\\u2029";
            wide = 3;
        }
        if (!as) continue;
        dt_buf_add(b, s + from, i - from);
        dt_buf_adds(b, as);
        from = i + wide;
        i += wide - 1;
    }
    dt_buf_add(b, s + from, n - from);
}

static int add_to_buf(const char *s, size_t n, void *b) {
    return dt_buf_add(b, s, n) ? 0 : -1;
}

static duet_status add_json(writer *w, dt_buf *to, const json_t *j, duet_err *err) {
    w->json.len = 0;
    if (json_dump_callback(j, add_to_buf, &w->json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) || w->json.failed)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory", w->path);
    add_escaped(to, w->json.data, w->json.len);
    return to->failed ? dt_fail(err, DUET_E_NOMEM, "%s: no memory", w->path) : DUET_OK;
}

static duet_status put(writer *w, const char *s, duet_err *err) {
    return dt_atomic_add(&w->to, s, strlen(s), err);
}

/* ---- long texts ---- */

typedef void (*text_fn)(void *user, json_t *holder, const char *key, size_t at, const char *s, size_t n);

/* Every string of a line, also those inside its objects and arrays. */
static void each_text(json_t *j, text_fn f, void *user) {
    const char *key = NULL;
    json_t *v = NULL;
    void *next = NULL;
    size_t i = 0;
    json_object_foreach_safe(j, next, key, v) {
        if (json_is_string(v))
            f(user, j, key, 0, json_string_value(v), json_string_length(v));
        else
            each_text(v, f, user);
    }
    json_array_foreach(j, i, v) {
        if (json_is_string(v))
            f(user, j, NULL, i, json_string_value(v), json_string_length(v));
        else
            each_text(v, f, user);
    }
}

typedef struct lengths {
    size_t n[N_LENGTHS], bytes[N_LENGTHS]; /* of texts of 2^i to 2^(i+1) - 1 bytes */
} lengths;

static void measure_text(void *user, json_t *holder, const char *key, size_t at, const char *s, size_t n) {
    lengths *l = user;
    size_t i = 0;
    (void)holder, (void)key, (void)at, (void)s;
    while (i + 1 < N_LENGTHS && n >> (i + 1))
        i++;
    l->n[i]++;
    l->bytes[i] += n;
}

/* The largest power of two to which texts may be cut such that all of them take at most `room` bytes. */
static size_t longest_text(const lengths *l, size_t room) {
    for (size_t top = TEXT_BYTES; top > SHORTEST; top /= 2) {
        size_t all = 0;
        for (size_t i = 0; i < N_LENGTHS; i++)
            all += (size_t)1 << i >= top ? l->n[i] * top : l->bytes[i];
        if (all <= room) return top;
    }
    return SHORTEST;
}

static bool continues(char c) {
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Keeps the beginning and the end, whole characters of them. */
static void shorten_text(void *user, json_t *holder, const char *key, size_t at, const char *s, size_t n) {
    writer *w = user;
    if (n <= w->longest) return;
    size_t head = w->longest / 2, tail = n - w->longest / 2;
    while (head && continues(s[head]))
        head--;
    while (tail < n && continues(s[tail]))
        tail++;
    dt_buf b = {0};
    dt_buf_add(&b, s, head);
    dt_buf_addf(&b, "\n[... %zu bytes: samples.jsonl, line %zu ...]\n", tail - head, w->n + 1);
    dt_buf_add(&b, s + tail, n - tail);
    json_t *j = b.failed ? json_null() : json_stringn(b.data, b.len);
    dt_buf_clear(&b);
    w->shortened++;
    if (key)
        json_object_set_new_nocheck(holder, key, j);
    else
        json_array_set_new(holder, at, j);
}

/* ---- samples ---- */

static bool same_text(const json_t *a, const json_t *b, const char *key) {
    const char *x = json_string_value(json_object_get(a, key)), *y = json_string_value(json_object_get(b, key));
    return x && y && !strcmp(x, y);
}

static bool row_of(const json_t *rows, const json_t *line, size_t *at) {
    for (*at = 0; *at < json_array_size(rows); ++*at) {
        const json_t *row = json_array_get(rows, *at);
        if (same_text(row, line, "data") && same_text(row, line, "mode") && same_text(row, line, "variant")) return true;
    }
    return false;
}

static bool right_in(const json_t *line, const char *who) {
    return json_is_true(json_object_get(json_object_get(line, who), "right"));
}

static json_t *index_of(const json_t *line, size_t row) {
    int flags = json_integer_value(json_object_get(line, "score")) > 0 ? SCORE : 0;
    flags |= right_in(line, "strict") ? STRICT : 0;
    flags |= right_in(line, "lenient") ? LENIENT : 0;
    flags |= json_string_length(json_object_get(line, "answer")) ? 0 : NO_ANSWER;
    flags |= json_is_true(json_object_get(line, "truncated")) ? TRUNCATED : 0;
    return json_pack("[I, i, I, I, I, O?]", (json_int_t)row, flags, json_integer_value(json_object_get(line, "M_tokens")), json_integer_value(json_object_get(line, "m_tokens")),
                     json_integer_value(json_object_get(line, "repeat")), json_object_get(line, "id"));
}

static duet_status end_chunk(writer *w, duet_err *err) {
    duet_status st = DUET_OK;
    if (!w->in_chunk) return DUET_OK;
    st = put(w, "<script type=\"application/json\" class=\"index\">[", err);
    if (!st) st = dt_atomic_add(&w->to, w->index.data, w->index.len, err);
    if (!st) st = put(w, "]</script>\n<script type=\"application/json\" class=\"chunk\">[", err);
    if (!st) st = dt_atomic_add(&w->to, w->chunk.data, w->chunk.len, err);
    if (!st) st = put(w, "]</script>\n", err);
    w->index.len = w->chunk.len = w->in_chunk = 0;
    return st;
}

static duet_status add_sample(writer *w, json_t *line, duet_err *err) {
    size_t row = 0;
    if (!row_of(w->rows, line, &row)) return dt_fail(err, DUET_E_FORMAT, "results.json has no row for this sample; `duet eval --rescore` makes it anew");
    json_t *index = index_of(line, row);
    each_text(line, shorten_text, w);
    w->json.len = 0;
    dt_buf_adds(&w->index, w->in_chunk ? ",\n" : "\n");
    dt_buf_adds(&w->chunk, w->in_chunk ? ",\n" : "\n");
    size_t before = w->chunk.len;
    duet_status st = index ? add_json(w, &w->index, index, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", w->path);
    if (!st) st = add_json(w, &w->chunk, line, err);
    json_decref(index);
    if (st) return st;
    size_t took = w->chunk.len - before;
    if (took > w->room) { /* the page is full */
        w->chunk.len = before;
        dt_buf_adds(&w->chunk, "null");
        w->left_out++;
    } else {
        w->room -= took;
    }
    w->n++;
    w->in_chunk++;
    return w->in_chunk == CHUNK_SAMPLES || w->chunk.len >= CHUNK_BYTES ? end_chunk(w, err) : DUET_OK;
}

/* Calls f for each line of samples.jsonl. */
static duet_status each_sample(const char *dir, duet_status (*f)(void *user, json_t *line, duet_err *err), void *user, duet_err *err) {
    dt_jsonl *r = NULL;
    json_t *line = NULL;
    char *path = dt_path_join(dir, "samples.jsonl");
    duet_status st = path ? dt_jsonl_open(path, &r, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    while (!st && !(st = dt_jsonl_next(r, &line, err))) {
        st = f(user, line, err);
        if (st) dt_fail_in(err, st, "%s: line %zu", path, dt_jsonl_line(r));
        json_decref(line);
    }
    dt_jsonl_close(r);
    free(path);
    return st == DUET_END ? DUET_OK : st;
}

static duet_status measure_sample(void *user, json_t *line, duet_err *err) {
    (void)err;
    each_text(line, measure_text, user);
    return DUET_OK;
}

static duet_status write_sample(void *user, json_t *line, duet_err *err) {
    return add_sample(user, line, err);
}

static duet_status write_samples(writer *w, const char *dir, duet_err *err) {
    lengths l = {{0}, {0}};
    duet_status st = each_sample(dir, measure_sample, &l, err);
    w->longest = longest_text(&l, w->room - w->room / 4); /* a quarter for what is no text */
    if (!st) st = each_sample(dir, write_sample, w, err);
    return st ? st : end_chunk(w, err);
}

/* ---- the page ---- */

static duet_status put_json(writer *w, const char *id, const json_t *j, duet_err *err) {
    dt_buf b = {0};
    dt_buf_addf(&b, "<script type=\"application/json\" id=\"%s\">", id);
    duet_status st = add_json(w, &b, j, err);
    dt_buf_adds(&b, "</script>\n");
    if (!st && b.failed) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", w->path);
    if (!st) st = dt_atomic_add(&w->to, b.data, b.len, err);
    dt_buf_clear(&b);
    return st;
}

static duet_status put_file(writer *w, const char *name, const char *tag, duet_err *err) {
    const dt_embedded *f = dt_embed_find(dt_eval_web, name);
    char open[16], close[16];
    snprintf(open, sizeof open, "<%s>\n", tag);
    snprintf(close, sizeof close, "</%s>\n", tag);
    duet_status st = put(w, open, err);
    if (!st) st = dt_atomic_add(&w->to, f->data, f->n, err);
    return st ? st : put(w, close, err);
}

/* results.json without what the page finds in the samples. */
static json_t *results_for_page(json_t *results) {
    json_t *page = json_copy(results), *rows = json_array(), *row = NULL;
    size_t i = 0;
    json_array_foreach(json_object_get(results, "rows"), i, row) {
        json_t *some = json_copy(row);
        json_object_del(some, "disputed");
        json_array_append_new(rows, some);
    }
    if (json_object_set_new(page, "rows", rows)) {
        json_decref(page);
        return NULL;
    }
    return page;
}

/* What the writer itself has to say. Last in the page, when it is known. */
static json_t *notes_json(const writer *w) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I}", "duet", duet_version(), "samples", (json_int_t)w->n, "shortened", (json_int_t)w->shortened, "longest", (json_int_t)w->longest,
                     "left_out", (json_int_t)w->left_out);
}

/* The page with its three places filled. */
static duet_status write_page(writer *w, const char *dir, json_t *results, duet_err *err) {
    static const char mark[] = "<!-- duet: data -->", style[] = "<!-- duet: style -->";
    const char *page = (const char *)dt_embed_find(dt_eval_web, "report.html")->data, *head = strstr(page, style), *data = strstr(page, mark);
    json_t *shown = results_for_page(results), *notes = NULL;
    duet_status st = shown ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory", w->path);
    if (!st) st = dt_atomic_add(&w->to, page, (size_t)(head - page), err);
    if (!st) st = put_file(w, "report.css", "style", err);
    head += sizeof style;
    if (!st) st = dt_atomic_add(&w->to, head, (size_t)(data - head), err);
    if (!st) st = put_json(w, "results", shown, err);
    if (!st) st = write_samples(w, dir, err);
    notes = notes_json(w);
    if (!st) st = notes ? put_json(w, "notes", notes, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", w->path);
    if (!st) st = put_file(w, "report.js", "script", err);
    if (!st) st = put(w, data + sizeof mark, err);
    json_decref(shown);
    json_decref(notes);
    return st;
}

duet_status dt_eval_html(const char *dir, size_t page_bytes, duet_err *err) {
    char *from = dt_path_join(dir, "results.json"), *path = dt_path_join(dir, "report.html");
    writer w = {.to = {.fd = -1}, .path = path, .room = page_bytes ? page_bytes : DEFAULT_PAGE_BYTES};
    json_t *results = NULL;
    duet_status st = from && path ? dt_json_read(from, (size_t)1 << 30, &results, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    w.rows = json_object_get(results, "rows");
    if (!st && !json_is_array(w.rows)) st = dt_fail(err, DUET_E_FORMAT, "%s: it has no rows; `duet eval --rescore %s` makes it anew", from, dir);
    if (!st) st = dt_atomic_open(&w.to, path, err);
    if (!st) st = write_page(&w, dir, results, err);
    if (!st) st = dt_atomic_commit(&w.to, err);
    dt_atomic_abandon(&w.to);
    dt_buf_clear(&w.index);
    dt_buf_clear(&w.chunk);
    dt_buf_clear(&w.json);
    json_decref(results);
    free(from);
    free(path);
    return st;
}

duet_status duet_eval_html(const char *dir, duet_err *err) {
    return dt_eval_html(dir, 0, err);
}
