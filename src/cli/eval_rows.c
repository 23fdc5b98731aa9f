/* Rows of duet eval: models opened once, each row run in order, with a live line. */
#include "cli/eval.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- models ---- */

static bool same_name(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

static duet_status open_model(cli_evaluation *e, const char *path, char side, duet_backend **out, duet_err *err) {
    cli_eval_models *s = &e->models;
    const duet_backend_options o = cli_backend_options(e->a, side);
    if (!path)
        return DUET_OK;
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->path[i], path) != 0 || !same_name(s->rope[i], o.model.rope_scaling) ||
            !same_name(duet_backend_template(s->b[i]), o.chat_template) ||
            (duet_backend_is_address(path) && s->side[i] != side)) /* keys and fields are each side's own */
            continue;
        *out = s->b[i];
        return DUET_OK;
    }
    duet_status st = cli_backend_open(e->a, path, side, out, err);
    if (st)
        return st;
    s->path[s->n] = path;
    s->rope[s->n] = o.model.rope_scaling;
    s->side[s->n] = side;
    s->b[s->n++] = *out;
    return DUET_OK;
}

duet_status cli_eval_open_pairs(cli_evaluation *e, duet_err *err) {
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

/* Live lines replace one another on a terminal; in a log one of them is kept every half minute. */
static void on_progress(void *user, const duet_eval_progress *p) {
    cli_evaluation *e = user;
    char left[16], accuracy[48] = "", line[192];
    double now = dt_now();
    const cli_eval_plan *plan = &e->plan[e->at % e->n_plan];
    bool live = cli_colour(STDERR_FILENO);
    size_t made = p->done - p->found;
    e->row_found = p->found;
    e->row_done = p->done;
    if (e->a->quiet || (live && p->done < p->total && now - e->last < 0.2) || (!live && now - e->last < 30))
        return;
    e->last = now;
    dt_time_left(made ? (now - e->began) / (double)made * (double)(p->total - p->done) : 0, left);
    if (p->accuracy >= 0)
        snprintf(accuracy, sizeof accuracy, ", accuracy %.1f %%", 100 * p->accuracy);
    snprintf(line, sizeof line, "row %zu of %zu, %s%s%s: %zu of %zu%s, %s left", e->at + 1, e->n_rows, duet_mode_name(plan->mode),
             *plan->variant ? " " : "", plan->variant, p->done, p->total, accuracy, left);
    if (live)
        cli_live(line);
    else
        fprintf(stderr, "%s\n", line);
}

static void on_sample(void *user, const duet_example *x, const duet_pair_request *r, int score) {
    cli_evaluation *e = user;
    const char *told = e->a->instruction ? e->a->instruction : x->instruction;
    if (e->samples_st)
        return;
    char *text = duet_eval_sample_line(&e->job, told, x, r, e->sample++, score);
    e->samples_st = text ? dt_atomic_add(&e->samples, text, strlen(text), &e->samples_err) : dt_fail(&e->samples_err, DUET_E_NOMEM, "no memory for a sample");
    if (!e->samples_st)
        e->samples_st = dt_atomic_add(&e->samples, "\n", 1, &e->samples_err);
    free(text);
}

void cli_eval_set_job(cli_evaluation *e) {
    const cli_args *a = e->a;
    const cli_eval_plan *p = &e->plan[e->at % e->n_plan];
    const cli_eval_set *q = &e->set[e->at / e->n_plan];
    bool before = p->before && e->before;
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
                             .store = e->store,
                             .M_print = before ? e->print_before_M.text : e->print_M.text,
                             .m_print = before ? e->print_before_m.text : e->print_m.text,
                             .pair_print = e->print_pair,
                             .M_alone = e->plan[0].mode == DUET_MODE_M ? e->alone : NULL,
                             .cancel = cli_cancel(),
                             .on_progress = on_progress,
                             .on_sample = e->samples.fd >= 0 ? on_sample : NULL,
                             .user = e};
}

static duet_status run_rows(cli_evaluation *e, duet_err *err) {
    for (e->at = 0; e->at < e->n_rows; e->at++) {
        const cli_eval_set *q = &e->set[e->at / e->n_plan];
        if (e->at % e->n_plan == 0) {
            free(e->alone);
            e->alone = dt_calloc(q->n, (size_t)e->a->k * sizeof *e->alone);
            if (!e->alone)
                return dt_fail(err, DUET_E_NOMEM, "no memory for %zu questions", q->n);
        }
        cli_eval_set_job(e);
        e->sample = 0;
        e->began = e->last = dt_now();
        duet_status st = e->a->budget_curve ? cli_eval_run_curve(e, err) : duet_eval_run(&e->job, &e->row[e->at], err);
        e->found += e->row_found;
        e->done += e->row_done;
        e->row_found = e->row_done = 0;
        if (st)
            return st;
        if (e->samples_st) {
            *err = e->samples_err;
            return e->samples_st;
        }
    }
    return DUET_OK;
}

/* The process of a file NAME.PID.tmp; 0 = not such a name. */
static pid_t maker_of(const char *name) {
    size_t n = strlen(name), at = n > 4 && !strcmp(name + n - 4, ".tmp") ? n - 4 : 0;
    long long pid = 0;
    char digits[16];
    while (at && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--;
    if (at < 2 || name[at - 1] != '.' || n - 4 - at >= sizeof digits)
        return 0;
    snprintf(digits, sizeof digits, "%.*s", (int)(n - 4 - at), name + at);
    return cli_read_int(digits, 1, 1 << 30, &pid) ? (pid_t)pid : 0;
}

/* Files that killed runs were writing: the store has it all. */
static void remove_leftovers(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        pid_t pid = maker_of(f->d_name);
        char *path = pid && kill(pid, 0) && errno == ESRCH ? dt_path_join(dir, f->d_name) : NULL;
        if (path)
            unlink(path);
        free(path);
    }
    if (d)
        closedir(d);
}

duet_status cli_eval_run_rows(cli_evaluation *e, duet_err *err) {
    char *path = e->a->out ? dt_path_join(e->a->out, "samples.jsonl") : NULL;
    if (path)
        remove_leftovers(e->a->out);
    duet_status st = path ? dt_atomic_open(&e->samples, path, err) : DUET_OK;
    if (!st)
        st = run_rows(e, err);
    cli_live(NULL);
    if (!st && e->had && e->found && !e->a->quiet)
        fprintf(stderr, "duet: %zu of %zu samples were in %s\n", e->found, e->done, duet_store_path(e->store));
    if (!st)
        duet_eval_finish(e->row, e->n_rows);
    if (!st && path)
        st = dt_atomic_commit(&e->samples, err);
    if (path)
        dt_atomic_abandon(&e->samples);
    free(path);
    return st;
}
