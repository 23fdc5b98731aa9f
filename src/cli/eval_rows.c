/* Rows of duet eval: models opened once, each row run in order, with a live line. */
#include "cli/eval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static void on_progress(void *user, size_t done, size_t total, double accuracy) {
    cli_evaluation *e = user;
    char left[16], line[160];
    double now = dt_now();
    const cli_eval_plan *p = &e->plan[e->at % e->n_plan];
    if (e->a->quiet || (done < total && now - e->last < 0.2))
        return;
    e->last = now;
    dt_time_left(done ? (now - e->began) / (double)done * (double)(total - done) : 0, left);
    snprintf(line, sizeof line, "row %zu of %zu, %s%s%s: %zu of %zu, accuracy %.1f %%, %s left", e->at + 1, e->n_rows,
             duet_mode_name(p->mode), *p->variant ? " " : "", p->variant, done, total, 100 * accuracy, left);
    cli_live(line);
}

static void on_sample(void *user, const duet_example *x, const duet_pair_request *r, int score) {
    cli_evaluation *e = user;
    const char *told = e->a->instruction ? e->a->instruction : x->instruction;
    char *text = duet_eval_sample_line(&e->job, told, x, r, e->sample++, score);
    errno = ENOMEM;
    if ((!text || fprintf(e->samples, "%s\n", text) < 0) && !e->samples_errno)
        e->samples_errno = errno;
    free(text);
}

duet_status cli_eval_run_rows(cli_evaluation *e, duet_err *err) {
    const cli_args *a = e->a;
    for (e->at = 0; e->at < e->n_rows; e->at++) {
        const cli_eval_plan *p = &e->plan[e->at % e->n_plan];
        const cli_eval_set *q = &e->set[e->at / e->n_plan];
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
        duet_status st = a->budget_curve ? cli_eval_run_curve(e, err) : duet_eval_run(&e->job, &e->row[e->at], err);
        if (st)
            return st;
    }
    cli_live(NULL);
    duet_eval_finish(e->row, e->n_rows);
    return DUET_OK;
}
