/* Sets of questions for duet eval: files, or what a family makes. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What was left out, for a person; the report has it all. */
static void say_faults(const cli_evaluation *e, const cli_eval_set *q) {
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

static duet_status open_file(cli_evaluation *e, const char *path, cli_eval_set *q, duet_err *err) {
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

static duet_status make_questions(const cli_evaluation *e, cli_eval_set *q, duet_err *err) {
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

duet_status cli_eval_open_sets(cli_evaluation *e, duet_err *err) {
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

void cli_eval_close_set(cli_eval_set *q) {
    for (size_t i = 0; q->made && i < q->n; i++)
        duet_example_clear(&q->made[i]);
    free(q->made);
    duet_dataset_close(q->file);
}
