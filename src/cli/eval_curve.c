/* duet eval --budget-curve: a row a share of M's signal. */
#include "cli/eval.h"

#include <stdlib.h>
#include <string.h>

bool cli_eval_plan_curve(cli_evaluation *e) {
    const char *at = e->a->shares;
    for (e->n_plan = 0; e->n_plan < CLI_EVAL_PLANS; e->n_plan++) {
        char *end = NULL;
        double percent = strtod(at, &end);
        if (end == at || !(percent >= 0 && percent <= 100) || (e->n_plan && percent / 100 <= e->share[e->n_plan - 1]))
            return false;
        e->share[e->n_plan] = percent / 100;
        snprintf(e->share_name[e->n_plan], sizeof e->share_name[0], "signal %.6g %%", percent);
        e->plan[e->n_plan] = (cli_eval_plan){.mode = DUET_MODE_DUET, .variant = e->share_name[e->n_plan]};
        if (!*end)
            return e->n_plan++, true;
        if (*end != ',')
            return false;
        at = end + 1;
    }
    return false;
}

/* The sample that comes next belongs to this share. */
static void on_share(void *user, const duet_eval_job *of, size_t sample) {
    cli_evaluation *e = user;
    e->job = *of;
    e->sample = sample;
}

duet_status cli_eval_run_curve(cli_evaluation *e, duet_err *err) {
    duet_eval_curve c = {.share = e->share, .n = e->n_plan, .on_share = on_share};
    const duet_eval_job job = e->job;
    duet_status st = duet_eval_curve_run(&job, &c, &e->row[e->at], err);
    if (!st && c.cuts_inside && !e->a->quiet) {
        cli_live(NULL);
        cli_fail(0, "note: %s: %zu of %zu cuts are between tokens: these signals have no sentence end inside", job.data, c.cuts_inside, c.cuts);
    }
    if (!st)
        e->at += e->n_plan - 1;
    return st;
}
