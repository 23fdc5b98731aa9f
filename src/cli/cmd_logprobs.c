/* duet logprobs: log-probabilities of given tokens, the same bits as at rollout and in training. */
#include "cli/cli.h"

#include <stdlib.h>

typedef struct job {
    duet_model *model;
    int n_threads;
} job;

static json_t *one(void *user, const json_t *line, duet_err *err) {
    const job *j = user;
    duet_ids ids = {0};
    json_t *list = NULL;
    float *lp = NULL;
    if (!cli_ids_from(json_object_get(line, "ids"), &ids, err))
        return NULL;
    if (!ids.n) {
        dt_fail(err, DUET_E_FORMAT, "ids is empty");
        goto done;
    }
    lp = dt_calloc(ids.n, sizeof *lp);
    if (!lp) {
        dt_fail(err, DUET_E_NOMEM, "no memory for %zu log-probs", ids.n);
        goto done;
    }
    if (ids.n > 1 && duet_model_logprobs(j->model, ids.v, ids.n, j->n_threads, lp, err))
        goto done;
    list = json_array();
    for (size_t i = 0; list && i + 1 < ids.n; i++)
        json_array_append_new(list, cli_real((double)lp[i]));
done:
    free(lp);
    duet_ids_free(&ids);
    return list ? json_pack("{s:o}", "logprobs", list) : NULL;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    job j = {.n_threads = a->threads};
    if (!a->m)
        return cli_fail(EXIT_USAGE, "%s: -m is missing: a model folder", self->name);
    duet_model_options how = cli_model_options(a, 0);
    duet_status st = duet_model_open(a->m, &how, &j.model, &err);
    if (st)
        return cli_fail_input(st, &err);
    int code = cli_each_line_alone(1, one, &j);
    duet_model_close(j.model);
    return code;
}

static const cli_opt opts[] = {CLI_ROW_MODEL, CLI_ROW_ROPE, CLI_ROW_WEIGHTS, CLI_ROW_THREADS, CLI_ROW_CONFIG, CLI_ROW_HELP};

const cli_command cli_logprobs = {
    .name = "logprobs",
    .operands = "",
    .title = "score given tokens: log p(next | so far)",
    .text = "Reads lines {\"ids\"} and writes lines {\"logprobs\"}: the natural logarithm of p(ids[t+1] | ids[0..t]) "
            "at temperature 1, one number "
            "less than ids. These are the bits that generation and training see.",
    .examples = "echo '{\"ids\":[5,9,2]}' | duet logprobs -m models/register-M  # two numbers",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
