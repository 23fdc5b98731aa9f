/* duet eval: the pair, M alone, m alone and controls on the same questions; table, JSON, plot, score to meet. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLANS = 8, MAX_MODELS = 4 };

/* A model is opened once, however many roles name its folder. */
typedef struct models {
    const char *path[MAX_MODELS], *rope[MAX_MODELS];
    duet_backend *b[MAX_MODELS];
    size_t n;
} models;

/* A row to be: which pair, in which mode, under which name. */
typedef struct plan {
    duet_mode mode;
    const char *variant;
    bool before, shuffled, masked;
} plan;

/* One set of questions: a file, or what a family makes. */
typedef struct questions {
    duet_dataset *file;
    duet_example *made; /* owned */
    const duet_example *v;
    size_t n;
    const char *name; /* for the table */
} questions;

typedef struct eval {
    cli_args *a;
    models models;
    duet_backend *M, *m, *before_M, *before_m;
    duet_pair *after, *before; /* before: NULL without --before-M and --before-m */
    questions set[CLI_MAX_LIST];
    size_t n_sets;
    duet_grader grader;
    plan plan[MAX_PLANS];
    size_t n_plan;
    duet_eval_row row[CLI_MAX_LIST * MAX_PLANS]; /* all plans of the first set, then of the next */
    size_t n_rows, at;
    duet_eval_job job; /* being run */
    size_t sample;     /* its next one */
    FILE *samples;
    int samples_errno; /* of its first failed write */
    char *samples_path; /* of the file being written; it takes its name when all rows are done */
    double began, last;
} eval;

/* ---- what to do ---- */

static bool has_mode(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p && *p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, word, n) && (p[n] == ',' || !p[n]))
            return true;
    }
    return false;
}

static const char *unknown_mode(const char *list) {
    static char word[32];
    static const char *const known[] = {"M", "m", "duet", "shuffled", "masked"};
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        bool ok = false;
        for (size_t i = 0; i < DT_COUNT(known); i++)
            ok = ok || (strlen(known[i]) == n && !strncmp(p, known[i], n));
        if (!ok) {
            snprintf(word, sizeof word, "%.*s", (int)n, p);
            return word;
        }
        p += n + (p[n] == ',');
    }
    return NULL;
}

/* Rows in the order of the table. M end to end is the model before joint training, where there is one: what the
 * pair's saving is measured against. */
static void make_plan(eval *e) {
    const char *modes = e->a->modes;
    bool both = e->a->before_M || e->a->before_m;
    if (has_mode(modes, "M"))
        e->plan[e->n_plan++] = (plan){.mode = DUET_MODE_M, .variant = both ? "before" : "", .before = both};
    if (has_mode(modes, "m"))
        e->plan[e->n_plan++] = (plan){.mode = DUET_MODE_m, .variant = both ? "after" : ""};
    if (has_mode(modes, "duet") && both)
        e->plan[e->n_plan++] = (plan){.mode = DUET_MODE_DUET, .variant = "before", .before = true};
    if (has_mode(modes, "duet"))
        e->plan[e->n_plan++] = (plan){.mode = DUET_MODE_DUET, .variant = both ? "after" : ""};
    if (has_mode(modes, "shuffled"))
        e->plan[e->n_plan++] = (plan){.mode = DUET_MODE_DUET, .variant = "shuffled", .shuffled = true};
    if (has_mode(modes, "masked"))
        e->plan[e->n_plan++] = (plan){.mode = DUET_MODE_DUET, .variant = "masked", .masked = true};
}

static bool needs(const eval *e, bool want_M) {
    for (size_t i = 0; i < e->n_plan; i++)
        if (e->plan[i].mode == DUET_MODE_DUET || (e->plan[i].mode == DUET_MODE_M) == want_M)
            return true;
    return false;
}

static int check_usage(eval *e) {
    const cli_args *a = e->a;
    const char *bad = unknown_mode(a->modes);
    if (bad)
        return cli_fail(EXIT_USAGE, "eval: --modes: %s is not one of M, m, duet, shuffled, masked", bad);
    make_plan(e);
    if (!e->n_plan)
        return cli_fail(EXIT_USAGE, "eval: --modes names nothing to do");
    if (!a->task == !a->data.n)
        return cli_fail(EXIT_USAGE, "eval: give either --task FAMILY or --data FILE");
    if (needs(e, true) && !a->M)
        return cli_fail(EXIT_USAGE, "eval: -M is missing: the folder of the capable model");
    if (needs(e, false) && !a->m)
        return cli_fail(EXIT_USAGE, "eval: -m is missing: the folder of the light model");
    if (!duet_grader_parse(a->grader, &e->grader))
        return cli_fail(EXIT_USAGE, "eval: --grader: %s is not known: exact, hendrycks, gpqa-first or plain", a->grader);
    if (a->task)
        e->grader = duet_grader_for_family(e->grader);
    return 0;
}

/* ---- questions ---- */

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What was left out, for a person; the report has it all. */
static void say_faults(const eval *e, const questions *q) {
    enum { SHOWN = 3 };
    size_t n = 0, all = 0;
    const duet_dataset_fault *f = duet_dataset_faults(q->file, &n, &all);
    if (e->a->quiet)
        return;
    for (size_t i = 0; i < n && i < SHOWN; i++)
        cli_fail(0, "warning: %s", f[i].text);
    if (all > SHOWN)
        cli_fail(0, "warning: %s: %zu more lines like these", q->name, all - SHOWN);
}

static duet_status open_file(eval *e, const char *path, questions *q, duet_err *err) {
    const cli_args *a = e->a;
    const duet_dataset_options o = {.map = a->map, .choice_seed = a->choice_seed};
    duet_status st = duet_dataset_open(path, &o, &q->file, err);
    if (st)
        return st;
    size_t all = duet_dataset_size(q->file);
    q->n = cli_given(a, &a->n) && (size_t)a->n < all ? (size_t)a->n : all;
    q->v = duet_dataset_get(q->file, 0);
    q->name = base_name(path);
    for (int i = 0; i < a->data.n; i++) /* two files of one name: their paths tell them apart */
        if (a->data.v[i] != path && !strcmp(base_name(a->data.v[i]), q->name))
            q->name = path;
    say_faults(e, q);
    return DUET_OK;
}

static duet_status make_questions(const eval *e, questions *q, duet_err *err) {
    const cli_args *a = e->a;
    duet_task *t = NULL;
    q->name = a->task;
    duet_status st = cli_task_open(a->task, NULL, 0, &t, err);
    if (st)
        return st;
    q->v = q->made = dt_calloc((size_t)a->n, sizeof *q->made);
    if (!q->made)
        st = dt_fail(err, DUET_E_NOMEM, "no memory for %d questions", a->n);
    duet_split split = !strcmp(a->split, "train") ? DUET_SPLIT_TRAIN : DUET_SPLIT_TEST;
    for (int i = 0; !st && i < a->n; i++) {
        if (dt_interrupted()) {
            st = dt_fail(err, DUET_E_CANCELLED, "interrupted");
            break;
        }
        st = duet_task_example(t, split, a->seed, (uint64_t)i, &q->made[i], err);
        if (!st)
            q->n++;
    }
    duet_task_close(t);
    return st;
}

static duet_status open_questions(eval *e, duet_err *err) {
    const cli_args *a = e->a;
    if (a->task)
        return make_questions(e, &e->set[e->n_sets++], err);
    for (int i = 0; i < a->data.n; i++) {
        for (int k = 0; k < i; k++)
            if (!strcmp(a->data.v[i], a->data.v[k]))
                return dt_fail(err, DUET_E_USAGE, "eval: --data %s is given twice", a->data.v[i]);
        duet_status st = open_file(e, a->data.v[i], &e->set[e->n_sets++], err);
        if (st)
            return st;
    }
    return DUET_OK;
}

static void close_questions(questions *q) {
    for (size_t i = 0; q->made && i < q->n; i++)
        duet_example_clear(&q->made[i]);
    free(q->made);
    duet_dataset_close(q->file);
}

/* ---- models ---- */

static bool same_name(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

static duet_status open_model(eval *e, const char *path, char side, duet_backend **out, duet_err *err) {
    models *s = &e->models;
    const duet_backend_options o = cli_backend_options(e->a, side);
    if (!path)
        return DUET_OK;
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->path[i], path) != 0 || !same_name(s->rope[i], o.model.rope_scaling) ||
            !same_name(duet_backend_template(s->b[i]), o.chat_template))
            continue;
        *out = s->b[i];
        return DUET_OK;
    }
    duet_status st = cli_backend_open(e->a, path, side, out, err);
    if (st)
        return st;
    s->path[s->n] = path;
    s->rope[s->n] = o.model.rope_scaling;
    s->b[s->n++] = *out;
    return DUET_OK;
}

static duet_status open_pairs(eval *e, duet_err *err) {
    const cli_args *a = e->a;
    duet_pair_options o = cli_pair_options(a);
    duet_status st = open_model(e, a->M, 'M', &e->M, err);
    if (!st)
        st = open_model(e, a->m, 'm', &e->m, err);
    if (!st)
        st = open_model(e, a->before_M ? a->before_M : a->M, 'M', &e->before_M, err);
    if (!st)
        st = open_model(e, a->before_m ? a->before_m : a->m, 'm', &e->before_m, err);
    if (!st)
        st = duet_pair_create(e->M, e->m, &o, &e->after, err);
    if (!st && (a->before_M || a->before_m))
        st = duet_pair_create(e->before_M, e->before_m, &o, &e->before, err);
    return st;
}

/* ---- running ---- */

static void on_progress(void *user, size_t done, size_t total, double accuracy) {
    eval *e = user;
    char left[16], line[160];
    double now = dt_now();
    const plan *p = &e->plan[e->at % e->n_plan];
    if (e->a->quiet || (done < total && now - e->last < 0.2))
        return;
    e->last = now;
    dt_time_left(done ? (now - e->began) / (double)done * (double)(total - done) : 0, left);
    snprintf(line, sizeof line, "row %zu of %zu, %s%s%s: %zu of %zu, accuracy %.1f %%, %s left", e->at + 1, e->n_rows,
             duet_mode_name(p->mode), *p->variant ? " " : "", p->variant, done, total, 100 * accuracy, left);
    cli_live(line);
}

static void on_sample(void *user, const duet_example *x, const duet_pair_request *r, int score) {
    eval *e = user;
    const char *told = e->a->instruction ? e->a->instruction : x->instruction;
    char *text = duet_eval_sample_line(&e->job, told, x, r, e->sample++, score);
    errno = ENOMEM;
    if ((!text || fprintf(e->samples, "%s\n", text) < 0) && !e->samples_errno)
        e->samples_errno = errno;
    free(text);
}

static duet_status run_rows(eval *e, duet_err *err) {
    const cli_args *a = e->a;
    for (e->at = 0; e->at < e->n_rows; e->at++) {
        const plan *p = &e->plan[e->at % e->n_plan];
        const questions *q = &e->set[e->at / e->n_plan];
        bool before = p->before && e->before;
        e->sample = 0;
        e->job = (duet_eval_job){.pair = before ? e->before : e->after,
                             .mode = p->mode,
                             .data = q->name,
                             .variant = p->variant,
                             .examples = q->v,
                             .n = q->n,
                             .k = a->k,
                             .bare = a->instruction != NULL,
                             .M = cli_sampling_for(a, before ? e->before_M : e->M, &a->on_M),
                             .m = cli_sampling_for(a, before ? e->before_m : e->m, &a->on_m),
                             .signal_budget = a->signal_budget,
                             .answer_budget = a->answer_budget,
                             .grader = e->grader,
                             .shuffle_signals = p->shuffled,
                             .mask_answer = p->masked,
                             .batch = a->batch,
                             .cancel = cli_cancel(),
                             .on_progress = on_progress,
                             .on_sample = e->samples ? on_sample : NULL,
                             .user = e};
        e->began = dt_now();
        duet_status st = duet_eval_run(&e->job, &e->row[e->at], err);
        if (st)
            return st;
    }
    cli_live(NULL);
    duet_eval_finish(e->row, e->n_rows);
    return DUET_OK;
}

/* ---- reports ---- */

static json_t *text_or_null(const char *s) {
    return s ? json_string(s) : json_null();
}

static json_t *sampling_json(duet_sampling s) {
    return json_pack("{s:f,s:i,s:f,s:f}", "temp", s.temperature, "top_k", s.top_k, "top_p", s.top_p, "min_p", s.min_p);
}

/* The one file, or a list of all. */
static json_t *data_json(const cli_list *l) {
    if (l->n < 2)
        return text_or_null(l->n ? l->v[0] : NULL);
    json_t *list = json_array();
    for (int i = 0; i < l->n; i++)
        json_array_append_new(list, json_string(l->v[i]));
    return list;
}

static size_t count_questions(const eval *e) {
    size_t n = 0;
    for (size_t i = 0; i < e->n_sets; i++)
        n += e->set[i].n;
    return n;
}

static char *settings_text(const eval *e) {
    const cli_args *a = e->a;
    json_t *j = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:I,s:i,s:I,s:i,s:i,s:s,s:o,s:o}", "M", text_or_null(a->M), "m",
                          text_or_null(a->m), "before_M", text_or_null(a->before_M), "before_m",
                          text_or_null(a->before_m), "task", text_or_null(a->task), "data", data_json(&a->data),
                          "split", a->split, "questions", (json_int_t)count_questions(e), "samples_per_question", a->k, "seed",
                          (json_int_t)a->seed, "signal_budget", a->signal_budget, "answer_budget", a->answer_budget,
                          "grader", a->grader, "sampling_M", sampling_json(cli_sampling_for(a, e->M, &a->on_M)),
                          "sampling_m", sampling_json(cli_sampling_for(a, e->m, &a->on_m)));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return text;
}

static void add_model_print(json_t *to, const char *name, const duet_backend *b) {
    char sha256[65];
    duet_model *m = b ? duet_backend_model(b) : NULL;
    if (m && !duet_model_fingerprint(m, sha256, NULL))
        json_object_set_new(to, name, json_string(sha256));
}

static void add_data_print(json_t *to, const eval *e) {
    char hex[65];
    dt_sha256 s;
    dt_sha256_init(&s);
    for (size_t k = 0; k < e->n_sets; k++)
        for (size_t i = 0; i < e->set[k].n; i++) {
            const duet_example *x = &e->set[k].v[i];
            dt_sha256_add(&s, x->question, strlen(x->question) + 1);
            dt_sha256_add(&s, x->answer, strlen(x->answer) + 1);
        }
    dt_sha256_hex(&s, hex);
    json_object_set_new(to, "questions", json_string(hex));
}

/* The instructions that were added to a set's questions, each once. */
static json_t *instructions_json(const eval *e, const questions *q) {
    json_t *list = json_array();
    for (size_t i = 0; i < q->n; i++) {
        const char *text = e->a->instruction ? e->a->instruction : q->v[i].instruction;
        bool have = !text;
        for (size_t k = 0; !have && k < json_array_size(list); k++)
            have = !strcmp(json_string_value(json_array_get(list, k)), text);
        if (!have)
            json_array_append_new(list, json_string(text));
    }
    return list;
}

/* Per set: questions, what they were told, what was wrong with the file. */
static json_t *sets_json(const eval *e) {
    json_t *all = json_array();
    for (size_t i = 0; i < e->n_sets; i++) {
        const questions *q = &e->set[i];
        size_t n = 0, n_all = 0;
        const duet_dataset_fault *f = q->file ? duet_dataset_faults(q->file, &n, &n_all) : NULL;
        json_t *faults = json_array();
        for (size_t k = 0; k < n; k++) {
            json_t *text = json_string(f[k].text);
            json_array_append_new(faults, text ? text : json_sprintf("line %zu", f[k].line)); /* a path that is not UTF-8 */
        }
        json_array_append_new(all, json_pack("{s:s,s:I,s:o,s:I,s:o}", "data", q->name, "questions", (json_int_t)q->n,
                                             "instructions", instructions_json(e, q), "n_faults", (json_int_t)n_all,
                                             "faults", faults));
    }
    return all;
}

/* The library's report, with fingerprints of the models and of the questions added. */
static json_t *report(const eval *e) {
    char *settings = settings_text(e), *text = duet_eval_json(e->row, e->n_rows, settings);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *print = json_object_get(j, "fingerprint");
    if (print) {
        add_model_print(print, "M", e->M);
        add_model_print(print, "m", e->m);
        if (e->before)
            add_model_print(print, "before_M", e->before_M);
        if (e->before)
            add_model_print(print, "before_m", e->before_m);
        add_data_print(print, e);
        if (e->a->data.n)
            json_object_set_new(j, "sets", sets_json(e));
    }
    free(settings);
    free(text);
    return j;
}

static duet_status write_in(const char *dir, const char *name, const char *text, duet_err *err) {
    char *path = dt_path_join(dir, name);
    duet_status st = path && text ? dt_file_write_atomic(path, text, strlen(text), err)
                                  : dt_fail(err, DUET_E_NOMEM, "%s: no memory", name);
    free(path);
    return st;
}

static duet_status write_reports(const eval *e, const json_t *j, const char *table, duet_err *err) {
    duet_status st = DUET_OK;
    char *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    if (e->a->out) {
        st = write_in(e->a->out, "eval.json", text, err);
        if (!st)
            st = write_in(e->a->out, "table.txt", table, err);
        json_t *head = json_copy((json_t *)(uintptr_t)j); /* rows with all their intervals take the place of the table's */
        json_object_del(head, "rows");
        char *head_text = json_dumps(head, JSON_COMPACT);
        if (!st)
            st = head_text ? duet_eval_results(e->a->out, head_text, err) : dt_fail(err, DUET_E_NOMEM, "no memory");
        free(head_text);
        json_decref(head);
    }
    free(text);
    return st;
}

static duet_status draw(const eval *e, duet_err *err) {
    const char *path = e->a->plot;
    char *own = NULL;
    if (!path && e->a->out)
        path = own = dt_path_join(e->a->out, "plot.svg");
    duet_status st = path ? duet_eval_plot(e->row, e->n_rows, e->set[0].name, path, err) : DUET_OK;
    if (st == DUET_E_UNSUPPORTED && !e->a->plot) { /* nobody asked for it by name */
        cli_fail(0, "warning: no plot: %s", err->text);
        st = DUET_OK;
    }
    free(own);
    return st;
}

/* The pair's row: the last one in mode duet that is no control; else the last row. Of several sets, the lowest. */
static const duet_eval_row *judged(const eval *e) {
    const duet_eval_row *r = &e->row[e->n_plan - 1];
    for (size_t i = 0; i < e->n_plan; i++)
        if (e->plan[i].mode == DUET_MODE_DUET && !e->plan[i].shuffled && !e->plan[i].masked)
            r = &e->row[i];
    const duet_eval_row *worst = r; /* of the same row of all sets */
    for (; r < e->row + e->n_rows; r += e->n_plan)
        if (r->accuracy < worst->accuracy)
            worst = r;
    return worst;
}

/* Ctrl-C: the rows that are done are results, so they are printed; files of an earlier evaluation stay as they are. */
static int give_up(eval *e) {
    e->n_rows = e->at;
    duet_eval_finish(e->row, e->n_rows);
    char *table = e->at && !e->a->json ? duet_eval_table(e->row, e->at) : NULL;
    json_t *j = e->at && e->a->json ? report(e) : NULL;
    if (table)
        fputs(table, stdout);
    if (j && !json_object_set_new(j, "interrupted", json_true()))
        cli_put_json(json_incref(j));
    json_decref(j);
    free(table);
    cli_flush();
    return cli_fail(EXIT_INTERRUPTED, "interrupted: %zu rows are done%s%s", e->at,
                    e->samples_path ? "; the samples so far are in " : "", e->samples_path ? e->samples_path : "");
}

static int finish(eval *e) {
    duet_err err = {{0}};
    int code = EXIT_DONE;
    char *table = duet_eval_table(e->row, e->n_rows);
    json_t *j = report(e);
    if (!table || !j) {
        code = cli_fail(EXIT_FAILED, "no memory for the report");
        goto done;
    }
    if (e->a->json)
        cli_put_json(json_incref(j));
    else
        fputs(table, stdout);
    cli_flush();
    duet_status st = write_reports(e, j, table, &err);
    if (!st)
        st = draw(e, &err);
    if (st)
        code = cli_fail(EXIT_FAILED, "%s", err.text);
    const duet_eval_row *r = judged(e);
    if (!code && cli_given(e->a, &e->a->min_accuracy) && !(r->accuracy >= e->a->min_accuracy))
        code = cli_fail(EXIT_SCORE, "accuracy %.4g (%s%s%s) is below the required %.4g", r->accuracy, r->mode,
                        *r->variant ? " " : "", r->variant, e->a->min_accuracy);
done:
    json_decref(j);
    free(table);
    return code;
}

static int open_out(eval *e) {
    duet_err err = {{0}};
    if (!e->a->out)
        return 0;
    if (dt_mkdirs(e->a->out, &err))
        return cli_fail(EXIT_FAILED, "%s", err.text);
    e->samples_path = dt_path_join(e->a->out, "samples.jsonl.part");
    if (e->samples_path)
        e->samples = fopen(e->samples_path, "wb");
    return e->samples ? 0
                      : cli_fail(EXIT_FAILED, "%s: cannot create: %s", e->samples_path ? e->samples_path : e->a->out,
                                 strerror(errno));
}

static int close_samples(eval *e, bool whole) {
    if (!e->samples)
        return 0;
    int why = e->samples_errno;
    errno = 0;
    bool bad = why || ferror(e->samples);
    bad = fclose(e->samples) || bad;
    if (!why)
        why = errno;
    e->samples = NULL;
    if (bad)
        return cli_fail(EXIT_FAILED, "%s: cannot write: %s", e->samples_path, strerror(why ? why : EIO));
    char *path = whole ? dt_path_join(e->a->out, "samples.jsonl") : NULL;
    if (whole && (!path || rename(e->samples_path, path)))
        bad = true;
    free(path);
    return bad ? cli_fail(EXIT_FAILED, "%s: cannot rename it to samples.jsonl: %s", e->samples_path, strerror(errno))
               : 0;
}

/* ---- what is there already ---- */

static int rescore(const cli_args *a) {
    duet_err err = {{0}};
    size_t changed = 0;
    duet_status st = duet_eval_rescore(a->rescore, cli_given(a, &a->grader) ? a->grader : NULL, &changed, &err);
    if (st)
        return st == DUET_E_USAGE ? cli_fail_option(st, &err) : cli_fail_input(st, &err);
    printf("%zu verdicts changed\n", changed);
    return EXIT_DONE;
}

static double real_of(const json_t *o, const char *key) {
    const json_t *j = json_object_get(o, key);
    return json_is_number(j) ? json_number_value(j) : (double)NAN;
}

/* "-4.0  -9.1 .. 1.1  p 0.12", with `unit` times the values. */
static void put_difference(const char *what, const json_t *d, double unit) {
    const json_t *ci = json_object_get(d, "ci95");
    double lo = json_number_value(json_array_get(ci, 0)), hi = json_number_value(json_array_get(ci, 1)), p = real_of(d, "p");
    printf("  %-9s %+9.2f", what, unit * real_of(d, "difference"));
    if (json_is_number(json_array_get(ci, 0)))
        printf("  %+.2f .. %+.2f  p %.3g", unit * lo, unit * hi, p);
    printf("  (%lld up, %lld down)\n", json_integer_value(json_object_get(d, "up")), json_integer_value(json_object_get(d, "down")));
}

static int compare(const cli_args *a) {
    duet_err err = {{0}};
    char *text = NULL;
    size_t i = 0;
    json_t *row = NULL;
    if (a->n_rest != 1)
        return cli_fail(EXIT_USAGE, "eval: --compare takes two folders: --compare X Y");
    duet_status st = duet_eval_compare(a->compare_to, a->rest[0], &text, &err);
    if (st)
        return cli_fail_input(st, &err);
    json_t *j = json_loads(text, 0, NULL);
    free(text);
    if (a->json)
        return cli_print_json(j);
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        const char *variant = json_string_value(json_object_get(row, "variant"));
        printf("%s, %s%s%s: %lld questions\n", json_string_value(json_object_get(row, "data")),
               json_string_value(json_object_get(row, "mode")), *variant ? " " : "", variant,
               json_integer_value(json_object_get(row, "questions")));
        put_difference("accuracy", json_object_get(row, "accuracy"), 100);
        put_difference("M tokens", json_object_get(row, "M_tokens"), 1);
        put_difference("m tokens", json_object_get(row, "m_tokens"), 1);
    }
    json_decref(j);
    return EXIT_DONE;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    eval e = {.a = a};
    (void)self;
    if (a->compare_to)
        return compare(a);
    if (a->n_rest)
        return cli_fail(EXIT_USAGE, "eval: %s: a folder stands only after --compare X", a->rest[0]);
    if (a->rescore)
        return rescore(a);
    int code = check_usage(&e);
    if (code)
        return code;
    duet_status st = open_questions(&e, &err);
    if (st) {
        code = a->task || st == DUET_E_USAGE ? cli_fail_option(st, &err) : cli_fail_input(st, &err);
        goto done;
    }
    e.n_rows = e.n_sets * e.n_plan;
    st = open_pairs(&e, &err);
    if (st) {
        code = cli_fail_input(st, &err);
        goto done;
    }
    code = open_out(&e);
    if (code)
        goto done;
    st = run_rows(&e, &err);
    int wrote = close_samples(&e, !st);
    if (st == DUET_E_CANCELLED)
        code = give_up(&e);
    else if (st)
        code = cli_fail_status(st, &err);
    if (!code)
        code = wrote;
    if (!code)
        code = finish(&e);
done:
    free(e.samples_path);
    duet_pair_destroy(e.after);
    duet_pair_destroy(e.before);
    for (size_t i = 0; i < e.models.n; i++)
        duet_backend_close(e.models.b[i]);
    for (size_t i = 0; i < e.n_sets; i++)
        close_questions(&e.set[i]);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_M,
    CLI_ROW_m,
    {0,   "before-M",     CLI_TEXT, CLI_AT(before_M),     "PATH",
      "M before joint training: a row more, and what savings are measured against",                                                                  NULL,                0, 0,       NULL                        },
    {0,   "before-m",     CLI_TEXT, CLI_AT(before_m),     "PATH",                   "m before joint training (default: the same m)",                NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "task",         CLI_TEXT, CLI_AT(task),         "FAMILY[,KNOB=VALUE...]",
      "generated questions; `duet tasks` lists families and knobs",                                                                                  NULL,                0, 0,       NULL                        },
    {0,   "data",         CLI_LIST, CLI_AT(data),         "FILE",
      "questions from JSON lines {\"question\",\"answer\"}, or a public set as it is (GSM8K, MATH, verl rows, GPQA's CSV); may be repeated",       NULL,                0, 0,       NULL                        },
    {0,   "map",          CLI_TEXT, CLI_AT(map),          "question=F,answer=G",
      "fields of --data that have other names; also id and choices; a name may be a path with dots",                                                 NULL,                0, 0,       NULL                        },
    {0,   "choice-seed",  CLI_SEED, CLI_AT(choice_seed),  "N",                      "order of GPQA's options: a function of this and the row",      "0",                 0, 0,
      NULL                                                                                                                                                                                                        },
    {'n', "n",            CLI_INT,  CLI_AT(n),            "N",                      "questions; of a FILE all, unless given",                       "200",               1, 1 << 24, NULL                        },
    {'k', "samples",      CLI_INT,  CLI_AT(k),            "N",                      "samples a question",                                           "1",                 1, 4096,    NULL                        },
    {0,   "split",        CLI_TEXT, CLI_AT(split),        "NAME",                   "generated questions: test (held out) or train",                "test",              0, 0,
      "train|test"                                                                                                                                                                                                },
    {0,   "modes",        CLI_TEXT, CLI_AT(modes),        "LIST",
      "rows: M, m, duet, shuffled (controls: signals of other questions), masked (the truth hidden in the signal)",                                  "M,m,duet,shuffled", 0, 0,       NULL                        },
    {0,   "grader",       CLI_TEXT, CLI_AT(grader),       "NAME",                   "how answers are compared: exact (as verify does; for --task character by character), hendrycks, gpqa-first or plain",     "exact",
      0,                                                                                                                                                                     0,       "exact|hendrycks|gpqa-first|plain"},
    {0,   "min-accuracy", CLI_REAL, CLI_AT(min_accuracy), "X",
      "exit with 5 if the pair's accuracy is below X, from 0 to 1",                                                                                  NULL,                0, 1,       NULL                        },
    {0,   "plot",         CLI_TEXT, CLI_AT(plot),         "FILE",                   "draw accuracy against M tokens as SVG (needs gnuplot)",        NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "out",          CLI_TEXT, CLI_AT(out),          "DIR",                    "write eval.json, table.txt, samples.jsonl, results.json and plot.svg there", NULL,                0, 0,
      NULL                                                                                                                                                                                                        },
    {0,   "rescore",      CLI_TEXT, CLI_AT(rescore),      "DIR",
      "grade the samples of an earlier --out again (--grader: with another one); nothing is generated",                                                            NULL,                0, 0,       NULL                        },
    {0,   "compare",      CLI_TEXT, CLI_AT(compare_to),   "DIR",                    "differences to a second DIR: second minus first, question by question", NULL,       0, 0,
      NULL                                                                                                                                                                                                        },
    CLI_ROWS_TEMPLATES,
    CLI_ROWS_BUDGETS,
    CLI_ROWS_SAMPLING,
    CLI_ROWS_STAGE_SAMPLING,
    CLI_ROWS_PAIR_TEXT,
    CLI_ROW_JSON("one JSON object with all rows, settings and fingerprints"),
    CLI_ROW_QUIET,
    CLI_ROWS_ENGINE,
    CLI_ROWS_STAGE_ROPE,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_eval = {
    .name = "eval",
    .operands = "[DIR]",
    .max_rest = 1,
    .title = "measure the pair, M alone and m alone on the same questions",
    .text = "Answers the same questions with M end to end, m alone and the pair, and prints accuracy with a 95 % "
            "interval, tokens of each model and "
            "the share of M's tokens saved. In the control `shuffled` m reads the signal of another question: what it "
            "still answers right, it did not "
            "learn from M.\n\n"
            "Rows of a file that are no questions (broken, a field missing or empty, asked before) are left out and named, in --json "
            "under `sets`. Mathematics is asked for a box and options for `Answer: X`, as `sets` shows; --instruction replaces "
            "that (\"\" for nothing). Plain rows without `kind`, and mapped ones, are asked as they stand. GPQA's "
            "questions are written nowhere.\n\n"
            "DIR/results.json has avg@k, pass@k, maj@k, strict and lenient accuracy, rates, tokens and the saved share with "
            "95 % intervals over questions, and paired differences between the rows; DIR/samples.jsonl has every sample.\n\n"
            "Ctrl-C prints the rows that are done and leaves the samples so far in DIR/samples.jsonl.part.",
    .examples = "duet eval --compare runs/x runs/y  # paired over the questions of both\n"
                "duet eval -M models/register-M -m models/register-m --task register --n 300  # a generated set\n"
                "duet eval -M models/swap-M -m models/swap-m --before-M models/swap-M-before --before-m models/swap-m-before "
                "--task swap --plot swap.svg  # before and after joint training\n"
                "duet eval -M M -m m --data questions.jsonl --json --min-accuracy 0.9  # in a script",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
