/* What duet eval leaves: the table, one JSON object with settings and fingerprints, the files of --out. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

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

static size_t count_questions(const cli_evaluation *e) {
    size_t n = 0;
    for (size_t i = 0; i < e->n_sets; i++)
        n += e->set[i].n;
    return n;
}

static char *settings_text(const cli_evaluation *e) {
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

static void add_data_print(json_t *to, const cli_evaluation *e) {
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
static json_t *instructions_json(const cli_evaluation *e, const cli_eval_set *q) {
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
static json_t *sets_json(const cli_evaluation *e) {
    json_t *all = json_array();
    for (size_t i = 0; i < e->n_sets; i++) {
        const cli_eval_set *q = &e->set[i];
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
static json_t *report(const cli_evaluation *e) {
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

static duet_status write_reports(const cli_evaluation *e, const json_t *j, const char *table, duet_err *err) {
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

static duet_status draw(const cli_evaluation *e, duet_err *err) {
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
static const duet_eval_row *judged(const cli_evaluation *e) {
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

int cli_eval_give_up(cli_evaluation *e) {
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

int cli_eval_finish(cli_evaluation *e) {
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
