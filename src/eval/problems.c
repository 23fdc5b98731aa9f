/* What went wrong in samples, for the report: counted over samples.jsonl, a line in memory at a time. Nothing here stops a run. */
#include "eval/problems.h"

#include "duet/grade.h"
#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_KINDS = 200, SHOWN = 5, LONG_ANSWER = 100000 };

/* One problem of one row of the table. */
typedef struct problem {
    const char *kind, *why; /* static; why: of a comparison */
    char *data, *mode, *variant;
    size_t n, largest;
    json_t *samples; /* the first few */
} problem;

typedef struct problems {
    problem v[MAX_KINDS];
    size_t n, unlisted;
} problems;

static const char *text_in(const json_t *line, const char *key) {
    const char *s = json_string_value(json_object_get(line, key));
    return s ? s : "";
}

static bool same_row(const problem *p, const json_t *line) {
    return !strcmp(p->data, text_in(line, "data")) && !strcmp(p->mode, text_in(line, "mode")) && !strcmp(p->variant, text_in(line, "variant"));
}

static problem *of_kind(problems *all, const char *kind, const char *why, const json_t *line) {
    for (size_t i = 0; i < all->n; i++) {
        problem *p = &all->v[i];
        if (!strcmp(p->kind, kind) && !strcmp(p->why, why) && same_row(p, line)) return p;
    }
    if (all->n == MAX_KINDS) return NULL;
    problem *p = &all->v[all->n];
    *p = (problem){.kind = kind, .why = why, .data = dt_strdup(text_in(line, "data")), .mode = dt_strdup(text_in(line, "mode")), .variant = dt_strdup(text_in(line, "variant")), .samples = json_array()};
    all->n++; /* from here on clear frees it */
    return p->data && p->mode && p->variant && p->samples ? p : NULL;
}

static void note(problems *all, const char *kind, const char *why, const json_t *line, size_t size) {
    problem *p = of_kind(all, kind, why, line);
    if (!p) {
        all->unlisted++;
        return;
    }
    if (p->n++ < SHOWN) json_array_append_new(p->samples, json_pack("{s:O?, s:O?}", "id", json_object_get(line, "id"), "repeat", json_object_get(line, "repeat")));
    if (size > p->largest) p->largest = size;
}

static void clear(problems *all) {
    for (size_t i = 0; i < all->n; i++) {
        free(all->v[i].data);
        free(all->v[i].mode);
        free(all->v[i].variant);
        json_decref(all->v[i].samples);
    }
}

/* Why the answer could not be compared with the truth; NULL: it was compared. */
static const char *undecided(const json_t *line) {
    const json_t *answer = json_object_get(line, "answer");
    const char *truth = text_in(line, "truth");
    duet_verdict v = {0};
    if (json_is_true(json_object_get(json_object_get(line, "lenient"), "right")) || !json_string_length(answer)) return NULL;
    if (!strcmp(text_in(line, "style"), "answer_letter")) return NULL;
    if (duet_verify(truth, strlen(truth), json_string_value(answer), json_string_length(answer), NULL, &v, NULL)) return NULL;
    const char *why = !strcmp(v.method, "undecided") ? v.reason : NULL; /* static */
    duet_verdict_clear(&v);
    return why;
}

static void look_at(problems *all, const json_t *line) {
    const json_t *answer = json_object_get(line, "answer"), *signal = json_object_get(line, "signal");
    size_t n = json_string_length(answer);
    const char *why = undecided(line);
    bool scored = json_integer_value(json_object_get(line, "score")) > 0;
    if (json_is_string(answer) && !n) note(all, "no_answer", "", line, 0);
    if (n > LONG_ANSWER) note(all, "long_answer", "", line, n);
    if (strstr(text_in(line, "answer"), "\xef\xbf\xbd")) note(all, "not_utf8", "", line, n);
    if (!strcmp(text_in(line, "mode"), "duet") && json_is_string(signal) && !json_string_length(signal) && strncmp(text_in(line, "variant"), "signal ", 7) != 0)
        note(all, "no_signal", "", line, 0);
    if (why) note(all, "undecided", why, line, n);
    if (json_object_get(line, "score") && scored != json_is_true(json_object_get(json_object_get(line, "lenient"), "right")) && scored != json_is_true(json_object_get(json_object_get(line, "strict"), "right")))
        note(all, "grader_apart", "", line, 0);
}

/* A sentence for people. */
static json_t *sentence(const problem *p) {
    static const struct {
        const char *kind, *one, *many;
    } says[] = {
        {"no_answer", "answer is empty", "answers are empty"},
        {"no_signal", "signal is empty", "signals are empty"},
        {"long_answer", "answer is longer than 100,000 bytes", "answers are longer than 100,000 bytes"},
        {"not_utf8", "answer holds U+FFFD: bytes that were not UTF-8, or the character itself", "answers hold U+FFFD: bytes that were not UTF-8, or the character itself"},
        {"undecided", "answer could not be compared with the truth and counts as wrong", "answers could not be compared with the truth and count as wrong"},
        {"grader_apart", "sample has a score that neither the strict nor the lenient verdict shares", "samples have scores that neither the strict nor the lenient verdict shares"},
    };
    dt_buf b = {0};
    json_t *s = NULL, *j = NULL;
    size_t i = 0;
    for (size_t k = 0; k < DT_COUNT(says); k++)
        if (!strcmp(says[k].kind, p->kind)) dt_buf_addf(&b, "%s, %s%s%s: %zu %s", p->data, p->mode, *p->variant ? " " : "", p->variant, p->n, p->n == 1 ? says[k].one : says[k].many);
    if (*p->why) dt_buf_addf(&b, ": %s", p->why);
    if (p->largest > LONG_ANSWER) dt_buf_addf(&b, ", at most %zu bytes", p->largest);
    json_array_foreach(p->samples, i, s) {
        dt_buf_addf(&b, "%s%s #%lld", i ? ", " : " (", text_in(s, "id"), (long long)json_integer_value(json_object_get(s, "repeat")));
    }
    dt_buf_adds(&b, p->n > SHOWN ? ", ...)" : ")");
    j = b.failed ? NULL : json_stringn(b.data, b.len);
    dt_buf_clear(&b);
    return j;
}

static json_t *as_json(const problems *all) {
    json_t *list = json_array();
    for (size_t i = 0; i < all->n; i++) {
        const problem *p = &all->v[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s?, s:I, s:O, s:o}", "kind", p->kind, "data", p->data, "mode", p->mode, "variant", p->variant, "reason", *p->why ? p->why : NULL,
                                              "n", (json_int_t)p->n, "samples", p->samples, "text", sentence(p)));
    }
    if (all->unlisted)
        json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "kind", "more", "n", (json_int_t)all->unlisted, "text", json_sprintf("%zu more problems of kinds not listed", all->unlisted)));
    return list;
}

duet_status dt_problems_json(const char *dir, json_t **out, duet_err *err) {
    problems *all = dt_calloc(1, sizeof *all);
    dt_jsonl *r = NULL;
    json_t *line = NULL;
    char *path = dt_path_join(dir, "samples.jsonl");
    *out = NULL;
    duet_status st = path && all ? dt_jsonl_open(path, &r, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    for (; !st && !(st = dt_jsonl_next(r, &line, err)); json_decref(line))
        look_at(all, line);
    dt_jsonl_close(r);
    if (st == DUET_END) st = (*out = as_json(all)) ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
    if (all) clear(all);
    free(all);
    free(path);
    return st;
}
