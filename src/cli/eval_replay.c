/* duet eval --replay: one sample of a finished evaluation is made once more, from the models, and compared byte by byte. */
#include "cli/eval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The line of samples.jsonl that begins with this sample's name; owned. */
static duet_status find_line(const char *dir, const char *name, char **out, duet_err *err) {
    char *path = dt_path_join(dir, "samples.jsonl"), *line = NULL;
    size_t cap = 0;
    dt_buf head = {0};
    dt_buf_addf(&head, "{\"sample\":\"%s\",", name);
    FILE *f = path && !head.failed ? fopen(path, "rb") : NULL;
    duet_status st = DUET_END;
    *out = NULL;
    if (!path || head.failed)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    else if (!f)
        st = dt_fail(err, DUET_E_IO, "%s: cannot open: %s; an evaluation is replayed when it is done", path, strerror(errno));
    for (ssize_t n; st == DUET_END && (n = getline(&line, &cap, f)) > 0;) {
        if ((size_t)n <= head.len || memcmp(line, head.data, head.len) != 0)
            continue;
        line[strcspn(line, "\n")] = 0;
        *out = line;
        line = NULL;
        st = DUET_OK;
    }
    if (st == DUET_END)
        st = dt_fail(err, DUET_E_FORMAT, "%s: there is no sample %s", path, name);
    if (f)
        fclose(f);
    free(line);
    free(path);
    dt_buf_clear(&head);
    return st;
}

/* Which row and which sample of it a line is. */
static duet_status place_of(cli_evaluation *e, const json_t *line, size_t *sample, duet_err *err) {
    const char *data = NULL, *mode = NULL, *variant = NULL;
    json_int_t repeat = 0, key = 0;
    if (json_unpack((json_t *)(uintptr_t)line, "{s:s,s:s,s:s,s:I,s:I}", "data", &data, "mode", &mode, "variant", &variant, "repeat", &repeat, "key", &key))
        return dt_fail(err, DUET_E_FORMAT, "not a sample: data, mode, variant, repeat or key is missing");
    for (e->at = 0; e->at < e->n_rows; e->at++) {
        const cli_eval_plan *p = &e->plan[e->at % e->n_plan];
        const cli_eval_set *q = &e->set[e->at / e->n_plan];
        if (strcmp(q->name, data) != 0 || strcmp(duet_mode_name(p->mode), mode) != 0 || strcmp(p->variant, variant) != 0)
            continue;
        size_t question = (size_t)(key & 0xFFFFFFFF), k = (size_t)e->a->k;
        if (question >= q->n || repeat < 0 || (size_t)repeat >= k)
            break;
        *sample = question * k + (size_t)repeat;
        return DUET_OK;
    }
    return dt_fail(err, DUET_E_FORMAT, "this evaluation asks no such sample: %s, %s %s, key %lld", data, mode, variant, (long long)key);
}

typedef struct replay {
    cli_evaluation *e;
    char *line; /* made anew; owned */
} replay;

static void on_sample(void *user, const duet_example *x, const duet_pair_request *r, int score) {
    replay *p = user;
    const char *told = p->e->a->instruction ? p->e->a->instruction : x->instruction;
    p->line = duet_eval_sample_line(&p->e->job, told, x, r, p->e->job.only - 1, score);
}

/* M alone is a part of the line where its mode was run; that is taken from the store. The sample itself is not. */
static duet_status make_again(cli_evaluation *e, size_t sample, replay *p, duet_err *err) {
    duet_eval_row row;
    size_t at = e->at, set = at / e->n_plan;
    duet_status st = DUET_OK;
    e->alone = dt_calloc(e->set[set].n, (size_t)e->a->k * sizeof *e->alone);
    if (!e->alone)
        return dt_fail(err, DUET_E_NOMEM, "no memory for %zu questions", e->set[set].n);
    if (e->plan[0].mode == DUET_MODE_M && at % e->n_plan) {
        e->at = set * e->n_plan;
        cli_eval_set_job(e);
        e->job.only = sample + 1;
        e->job.on_progress = NULL;
        st = duet_eval_run(&e->job, &row, err);
    }
    e->at = at;
    cli_eval_set_job(e);
    e->job.only = sample + 1;
    e->job.store = NULL;
    e->job.on_progress = NULL;
    e->job.on_sample = on_sample;
    e->job.user = p;
    if (!st)
        st = duet_eval_run(&e->job, &row, err);
    return st || p->line ? st : dt_fail(err, DUET_E_NOMEM, "no memory for the sample");
}

/* "answer, m_tokens": the fields that differ. Owned. */
static char *differing(const json_t *was, const json_t *now) {
    dt_buf b = {0};
    const char *key = NULL;
    json_t *v = NULL;
    json_object_foreach((json_t *)(uintptr_t)was, key, v) {
        if (!json_equal(v, json_object_get(now, key)))
            dt_buf_addf(&b, "%s%s", b.len ? ", " : "", key);
    }
    return b.len ? dt_buf_take(&b) : dt_strdup("spelling");
}

static int compare(const cli_evaluation *e, const char *was, const char *now, json_t *line) {
    bool same = !strcmp(was, now);
    json_t *j = json_loads(now, 0, NULL);
    char *fields = same ? NULL : differing(line, j);
    if (e->a->json)
        cli_put_json(json_pack("{s:s,s:b,s:o}", "sample", e->a->replay, "equal", (int)same, "made", j ? j : json_null()));
    else
        json_decref(j);
    if (same && !e->a->json)
        printf("%s: the same, %zu bytes\n", e->a->replay, strlen(now));
    int code = same ? EXIT_DONE : cli_fail(EXIT_FAILED, "%s: made again it differs: %s", e->a->replay, fields ? fields : "");
    free(fields);
    return code;
}

int cli_eval_replay(cli_evaluation *e) {
    duet_err err = {{0}};
    char *was = NULL;
    size_t sample = 0;
    json_t *line = NULL;
    replay p = {.e = e};
    if (e->a->budget_curve)
        return cli_fail(EXIT_USAGE, "eval: --replay: samples of --budget-curve are not replayed one by one; run it again with another --out and compare");
    duet_status st = find_line(e->a->out, e->a->replay, &was, &err);
    if (!st && !(line = json_loads(was, 0, NULL)))
        st = dt_fail(&err, DUET_E_FORMAT, "sample %s: not JSON", e->a->replay);
    if (!st)
        st = place_of(e, line, &sample, &err);
    int code = st ? cli_fail_input(st, &err) : 0;
    if (!code && (st = make_again(e, sample, &p, &err)))
        code = cli_fail_status(st, &err);
    if (!code && was && p.line)
        code = compare(e, was, p.line, line);
    json_decref(line);
    free(was);
    free(p.line);
    return code;
}
