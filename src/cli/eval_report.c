/* What duet eval leaves: the table, one JSON object with settings and fingerprints, the files of --out. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

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

/* The library's report, with settings and fingerprints. */
static json_t *report(const cli_evaluation *e) {
    char *text = duet_eval_json(e->row, e->n_rows, NULL);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    if (j && e->head) {
        json_object_set(j, "settings", json_object_get(e->head, "settings"));
        json_object_set(j, "fingerprint", json_object_get(e->head, "fingerprint"));
    }
    if (j && e->a->data.n)
        json_object_set_new(j, "sets", sets_json(e));
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
        char *times = duet_eval_times_json(e->row, e->n_rows);
        if (!st)
            st = write_in(e->a->out, "times.json", times, err);
        free(times);
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
    size_t n_wanted = e->n_rows;
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
    size_t kept = 0;
    if (e->store)
        duet_store_count(e->store, &kept, NULL);
    if (e->a->out)
        return cli_fail(EXIT_INTERRUPTED, "interrupted: %zu of %zu rows are done; %s keeps %zu samples: the same command, or `duet eval --resume --out %s`, goes on from there",
                        e->at, n_wanted, duet_store_path(e->store), kept, e->a->out);
    return e->store ? cli_fail(EXIT_INTERRUPTED, "interrupted: %zu of %zu rows are done; %s keeps %zu samples: the same command goes on from there", e->at, n_wanted,
                               duet_store_path(e->store), kept)
                    : cli_fail(EXIT_INTERRUPTED, "interrupted: %zu of %zu rows are done", e->at, n_wanted);
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
