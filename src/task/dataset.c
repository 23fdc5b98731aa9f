/* Sets of questions: JSON lines and CSV, in our fields or in those of public sets. What is no question is named by its
 * line and left out. */
#include "base/base.h"
#include "duet/grade.h"
#include "duet/task.h"
#include "format/csv.h"
#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_FAULTS = 1000, MAX_CHOICES = 26 };

/* What stands at the end of a question, for both models alike. [duet-algorithm section 1] */
static const char boxed_instruction[] = " Let's think step by step and output the final answer within \\boxed{}.";
static const char letter_instruction[] = "\n\nThink step by step. The last line of your answer must read `Answer: X`, where X is the letter of the right option.";

typedef struct slot { /* of the table of questions: index + 1 in d->e; 0 = free */
    uint64_t hash;
    size_t at;
} slot;

struct duet_dataset {
    duet_example *e;
    size_t *line; /* of each question */
    size_t n, cap;
    slot *by_question, *by_id; /* open addressing, n_slots a power of two */
    size_t n_slots;
    duet_dataset_fault *fault;
    size_t n_fault, n_all_faults;
};

/* The fields that --map names; NULL = found by their usual names. Borrowed from `text`. */
typedef struct mapping {
    char *text;
    const char *question, *answer, *id, *choices;
} mapping;

typedef struct reader { /* one of both */
    dt_jsonl *lines;
    dt_csv *csv;
} reader;

/* A row on its way to become an example. */
typedef struct draft {
    duet_example e;
    dt_buf options;  /* the options as they are shown */
    const char *why; /* it is no question; static */
} draft;

/* ---- fields ---- */

static duet_status parse_map(const char *map, mapping *m, duet_err *err) {
    *m = (mapping){0};
    if (!map) return DUET_OK;
    m->text = dt_strdup(map);
    if (!m->text) return dt_fail(err, DUET_E_NOMEM, "no memory for the field mapping");
    for (char *p = m->text, *next; p; p = next) {
        next = strchr(p, ',');
        if (next) *next++ = 0;
        char *value = strchr(p, '=');
        if (value) *value++ = 0;
        const char **to = !strcmp(p, "question") ? &m->question : !strcmp(p, "answer") ? &m->answer : !strcmp(p, "id") ? &m->id : !strcmp(p, "choices") ? &m->choices : NULL;
        if (!to || !value || !*value || *to)
            return dt_fail(err, DUET_E_USAGE, "field mapping: %s is not one of question=FIELD, answer=FIELD, id=FIELD, choices=FIELD, each at most once", p);
        *to = value;
    }
    return DUET_OK;
}

/* A field by its name, or by a path of names with dots. */
static const json_t *field(const json_t *row, const char *path) {
    const json_t *whole = json_object_get(row, path);
    const char *dot = strchr(path, '.');
    char name[128];
    if (whole || !dot || (size_t)(dot - path) >= sizeof name) return whole;
    snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
    const json_t *in = json_object_get(row, name);
    return json_is_object(in) ? field(in, dot + 1) : NULL;
}

static const json_t *first_of(const json_t *row, const char *mapped, const char *const *names, size_t n) {
    if (mapped) return field(row, mapped);
    for (size_t i = 0; i < n; i++) {
        const json_t *j = field(row, names[i]);
        if (j && !json_is_null(j)) return j;
    }
    return NULL;
}

/* A string without NUL, or a number as it is written; NULL = neither, or no memory. */
static char *text_of(const json_t *j) {
    if (json_is_string(j)) return strlen(json_string_value(j)) == json_string_length(j) ? dt_strdup(json_string_value(j)) : NULL;
    return json_is_number(j) ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
}

static char *trimmed(char *s) {
    size_t from = 0, n = s ? strlen(s) : 0;
    while (n && strchr(" \t\r\n", s[n - 1]))
        n--;
    while (from < n && strchr(" \t\r\n", s[from]))
        from++;
    if (s) {
        memmove(s, s + from, n - from);
        s[n - from] = 0;
    }
    return s;
}

/* ---- questions ---- */

/* verl: the prompt is a list of messages; what is asked is one user turn, instruction included. */
static char *question_of_messages(const json_t *list, const char **why) {
    const json_t *turn = json_array_get(list, 0);
    const char *role = json_string_value(json_object_get(turn, "role"));
    if (json_array_size(list) == 1 && role && !strcmp(role, "user")) return text_of(json_object_get(turn, "content"));
    *why = "its prompt is not a single user turn";
    return NULL;
}

static void read_question(const json_t *row, const mapping *m, draft *d) {
    static const char *const names[] = {"question", "problem", "Question", "Problem", "prompt"};
    const json_t *j = first_of(row, m->question, names, DT_COUNT(names));
    d->e.question = json_is_array(j) ? question_of_messages(j, &d->why) : text_of(j);
    if (d->e.question && !d->e.question[strspn(d->e.question, " \t\r\n")]) d->why = "its question is empty";
}

/* ---- answers ---- */

static char *extracted(duet_style style, const char *text) {
    char *answer = NULL;
    return duet_extract(style, false, text, strlen(text), &answer, NULL) ? NULL : answer;
}

static void read_answer(const json_t *row, const mapping *m, draft *d) {
    static const char *const names[] = {"answer", "final_answer", "Answer", "reward_model.ground_truth", "ground_truth"};
    const json_t *j = first_of(row, m->answer, names, DT_COUNT(names));
    bool solution = !m->answer && !j;
    if (solution) j = json_object_get(row, "solution");
    char *whole = trimmed(text_of(j));
    d->e.answer = whole;
    if (whole && strstr(whole, "####")) {
        d->e.answer = extracted(DUET_STYLE_GSM8K, whole);
        if (!d->e.answer) d->why = "there is no number after the #### of its answer";
    } else if (whole && solution) {
        d->e.answer = trimmed(extracted(DUET_STYLE_BOXED, whole));
        if (!d->e.answer) d->why = "it has no answer, and there is no closed box in its solution";
    }
    if (whole != d->e.answer) free(whole);
    if (d->e.answer && !*d->e.answer) d->why = "its answer is empty";
}

/* ---- options ---- */

static void add_option(draft *d, size_t i, const char *text) {
    dt_buf_addf(&d->options, "\n%s%c) %s", i ? "" : "\n", (int)('A' + i), text);
}

static bool letter_answer(draft *d, size_t right) {
    char *letter = dt_calloc(2, 1);
    free(d->e.answer);
    d->e.answer = letter;
    if (letter) letter[0] = (char)('A' + right);
    return letter;
}

/* choices: texts in order A, B, C, ...; the answer is a letter, or the text of one of them. */
static void read_choices(const json_t *row, const mapping *m, draft *d) {
    static const char *const names[] = {"choices", "options"};
    const json_t *list = first_of(row, m->choices, names, DT_COUNT(names)), *j = NULL;
    size_t i = 0, n = json_array_size(list), right = SIZE_MAX;
    if (!list || d->why || !d->e.answer) return;
    if (n < 2 || n > MAX_CHOICES) {
        d->why = "its choices are not a list of 2 to 26 texts";
        return;
    }
    json_array_foreach(list, i, j) {
        char *text = trimmed(text_of(j));
        if (!text) d->why = "its choices are not a list of 2 to 26 texts";
        if (text && right == SIZE_MAX && !strcmp(text, d->e.answer)) right = i;
        if (text) add_option(d, i, text);
        free(text);
    }
    if (strlen(d->e.answer) == 1 && d->e.answer[0] >= 'A' && (size_t)(d->e.answer[0] - 'A') < n) right = (size_t)(d->e.answer[0] - 'A');
    if (!d->why && right == SIZE_MAX) d->why = "its answer is neither the letter of a choice nor its text";
    if (!d->why) letter_answer(d, right);
}

/* GPQA: four columns of options, put into an order that (seed, row) alone decides. */
static bool read_gpqa(const json_t *row, uint64_t seed, size_t number, draft *d) {
    static const char *const names[] = {"Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"};
    size_t order[] = {0, 1, 2, 3};
    if (!json_object_get(row, names[0]) || !json_object_get(row, names[1])) return false;
    dt_rng r = dt_rng_make(seed, (uint64_t)number);
    for (uint32_t i = 3; i > 0; i--) {
        uint32_t k = dt_rng_below(&r, i + 1);
        size_t swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
    d->e.question = trimmed(text_of(json_object_get(row, "Question")));
    if (d->e.question && !*d->e.question) d->why = "its question is empty";
    for (size_t i = 0; i < 4; i++) {
        char *text = trimmed(text_of(json_object_get(row, names[order[i]])));
        if (!text || !*text) d->why = "one of its four options is missing or empty";
        else add_option(d, i, text);
        if (!order[i]) letter_answer(d, i);
        free(text);
    }
    d->e.hidden = true;
    return true;
}

/* ---- rows ---- */

/* What the set asks for beside the question: nothing where its fields are our plain ones, or say it themselves. */
static const char *instruction_of(const json_t *row, const mapping *m, const draft *d) {
    const char *kind = json_string_value(json_object_get(row, "kind")), *gsm8k = json_string_value(json_object_get(row, "answer"));
    bool messages = json_is_array(json_object_get(row, "prompt")) && !m->question;
    if (d->options.len) return letter_instruction;
    if (messages) return NULL;
    if (kind && !strcmp(kind, "math")) return boxed_instruction;
    if (m->question || m->answer) return NULL;
    if (json_object_get(row, "problem") || json_object_get(row, "Problem") || json_object_get(row, "final_answer") || json_object_get(row, "solution")) return boxed_instruction;
    return gsm8k && strstr(gsm8k, "####") ? boxed_instruction : NULL;
}

static char *joined(const char *a, const char *b) {
    dt_buf t = {0};
    dt_buf_adds(&t, a);
    dt_buf_adds(&t, b);
    if (t.failed) dt_buf_clear(&t);
    return dt_buf_take(&t);
}

static void read_row(const json_t *row, const mapping *m, uint64_t seed, size_t number, draft *d) {
    static const char *const ids[] = {"id", "unique_id", "ID", "Record ID", "extra_info.index"};
    d->e.id = text_of(first_of(row, m->id, ids, DT_COUNT(ids)));
    d->e.chain = text_of(json_object_get(row, "signal"));
    if (!read_gpqa(row, seed, number, d)) {
        read_question(row, m, d);
        read_answer(row, m, d);
        read_choices(row, m, d);
    }
    if (!d->why && (!d->e.question || !d->e.answer)) d->why = "lacks question or answer (strings without NUL; the answer may be a number)";
    if (d->why) return;
    if (d->options.len) {
        char *with = joined(d->e.question, d->options.data);
        free(d->e.question);
        d->e.question = with;
    }
    d->e.instruction = instruction_of(row, m, d);
    if (d->e.instruction && d->e.question) d->e.prompt = joined(d->e.question, d->e.instruction);
}

/* ---- the set ---- */

static duet_status add_fault(duet_dataset *d, size_t line, const char *text, duet_err *err) {
    d->n_all_faults++;
    if (d->n_fault == MAX_FAULTS) return DUET_OK;
    if (!d->fault) d->fault = dt_calloc(MAX_FAULTS, sizeof *d->fault);
    char *copy = d->fault ? dt_strdup(text) : NULL;
    if (!copy) return dt_fail(err, DUET_E_NOMEM, "no memory for what is wrong in line %zu", line);
    d->fault[d->n_fault++] = (duet_dataset_fault){line, copy};
    return DUET_OK;
}

static slot *find(const duet_dataset *d, slot *table, const char *text, bool id) {
    uint64_t h = dt_hash64(text, strlen(text), 0);
    for (size_t i = (size_t)h & (d->n_slots - 1);; i = (i + 1) & (d->n_slots - 1)) {
        slot *s = &table[i];
        const duet_example *e = s->at ? &d->e[s->at - 1] : NULL;
        if (!e || (s->hash == h && !strcmp(id ? e->id : e->question, text))) {
            s->hash = h;
            return s;
        }
    }
}

static bool grow(duet_dataset *d) {
    size_t cap = d->cap ? 2 * d->cap : 256;
    duet_example *e = dt_realloc(d->e, cap, sizeof *e);
    if (e) d->e = e;
    size_t *line = dt_realloc(d->line, cap, sizeof *line);
    if (line) d->line = line;
    slot *q = dt_calloc(4 * cap, sizeof *q), *i = dt_calloc(4 * cap, sizeof *i);
    if (!e || !line || !q || !i) {
        free(q);
        free(i);
        return false;
    }
    free(d->by_question);
    free(d->by_id);
    d->by_question = q;
    d->by_id = i;
    d->n_slots = 4 * cap;
    d->cap = cap;
    for (size_t k = 0; k < d->n; k++) {
        find(d, q, d->e[k].question, false)->at = k + 1;
        find(d, i, d->e[k].id, true)->at = k + 1;
    }
    return true;
}

/* Takes the draft's example into the set, unless its question is there already. */
static duet_status keep(duet_dataset *d, const char *path, size_t line, draft *w, duet_err *err) {
    char text[256];
    if (d->n == d->cap && !grow(d)) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", path, line);
    slot *q = find(d, d->by_question, w->e.question, false);
    if (q->at) {
        bool same = !strcmp(d->e[q->at - 1].answer, w->e.answer);
        snprintf(text, sizeof text, "%s: line %zu asks what line %zu asks%s; left out", path, line, d->line[q->at - 1], same ? "" : ", with another answer");
        return add_fault(d, line, text, err);
    }
    bool taken = w->e.id && *w->e.id && find(d, d->by_id, w->e.id, true)->at;
    if (taken) {
        snprintf(text, sizeof text, "%s: line %zu: its id is taken; line-%zu is used", path, line, line);
        duet_status st = add_fault(d, line, text, err);
        if (st) return st;
    }
    if (taken || !w->e.id || !*w->e.id) {
        free(w->e.id);
        snprintf(text, sizeof text, "line-%zu", line);
        w->e.id = dt_strdup(text);
        for (int i = 2; w->e.id && find(d, d->by_id, w->e.id, true)->at; i++) { /* somebody calls a row "line-7" */
            free(w->e.id);
            snprintf(text, sizeof text, "line-%zu-%d", line, i);
            w->e.id = dt_strdup(text);
        }
        if (!w->e.id) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", path, line);
    }
    q->at = d->n + 1;
    find(d, d->by_id, w->e.id, true)->at = d->n + 1;
    d->line[d->n] = line;
    d->e[d->n++] = w->e;
    w->e = (duet_example){0};
    return DUET_OK;
}

static duet_status add_row(duet_dataset *d, const char *path, size_t line, const json_t *row, const mapping *m, uint64_t seed, size_t number, duet_err *err) {
    draft w = {0};
    char text[256];
    duet_status st = DUET_OK;
    read_row(row, m, seed, number, &w);
    if (w.why) {
        snprintf(text, sizeof text, "%s: line %zu%s %s", path, line, strncmp(w.why, "lacks", 5) ? ":" : "", w.why);
        st = add_fault(d, line, text, err);
    } else if (w.options.failed || !w.e.question || !w.e.answer || (w.e.instruction && !w.e.prompt)) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", path, line);
    } else {
        st = keep(d, path, line, &w, err);
    }
    duet_example_clear(&w.e);
    dt_buf_clear(&w.options);
    return st;
}

static duet_status next_row(const reader *r, json_t **row, size_t *line, duet_err *err) {
    duet_status st = r->csv ? dt_csv_next(r->csv, row, err) : dt_jsonl_next(r->lines, row, err);
    *line = r->csv ? dt_csv_line(r->csv) : dt_jsonl_line(r->lines);
    return st;
}

static duet_status read_all(duet_dataset *d, const char *path, const reader *r, const mapping *m, uint64_t seed, duet_err *err) {
    json_t *row = NULL;
    size_t line = 0;
    for (size_t number = 0;; number++) {
        duet_err local = {{0}};
        duet_status st = next_row(r, &row, &line, &local);
        if (st == DUET_END) break;
        if (st == DUET_E_FORMAT)
            st = add_fault(d, line, local.text, err);
        else if (st)
            return dt_fail(err, st, "%s", local.text);
        else
            st = add_row(d, path, line, row, m, seed, number, err);
        json_decref(row);
        row = NULL;
        if (st) return st;
    }
    if (d->n) return DUET_OK;
    return d->n_fault ? dt_fail(err, DUET_E_FORMAT, "%s", d->fault[0].text) : dt_fail(err, DUET_E_FORMAT, "%s: there is no question in it", path);
}

duet_status duet_dataset_open(const char *path, const duet_dataset_options *opt, duet_dataset **out, duet_err *err) {
    static const duet_dataset_options none = {0};
    mapping m = {0};
    reader r = {0};
    const char *dot = strrchr(path, '.');
    *out = NULL;
    if (!opt) opt = &none;
    duet_dataset *d = dt_calloc(1, sizeof *d);
    if (!d) return dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
    duet_status st = parse_map(opt->map, &m, err);
    if (!st) st = dot && !strcasecmp(dot, ".csv") ? dt_csv_open(path, &r.csv, err) : dt_jsonl_open(path, &r.lines, err);
    if (!st) st = read_all(d, path, &r, &m, opt->choice_seed, err);
    dt_csv_close(r.csv);
    dt_jsonl_close(r.lines);
    free(m.text);
    if (st)
        duet_dataset_close(d);
    else
        *out = d;
    return st;
}

void duet_dataset_close(duet_dataset *d) {
    if (!d) return;
    for (size_t i = 0; i < d->n; i++)
        duet_example_clear(&d->e[i]);
    for (size_t i = 0; i < d->n_fault; i++)
        free(d->fault[i].text);
    free(d->fault);
    free(d->by_question);
    free(d->by_id);
    free(d->line);
    free(d->e);
    free(d);
}

size_t duet_dataset_size(const duet_dataset *d) {
    return d->n;
}

const duet_example *duet_dataset_get(const duet_dataset *d, size_t i) {
    return i < d->n ? &d->e[i] : NULL;
}

const duet_dataset_fault *duet_dataset_faults(const duet_dataset *d, size_t *n, size_t *all) {
    *n = d->n_fault;
    if (all) *all = d->n_all_faults;
    return d->fault;
}
