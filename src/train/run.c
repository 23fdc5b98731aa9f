/* The run folder: what a training run writes for people, for plots, and for its own continuation. */
#include "train/run.h"

#include "duet/duet.h"
#include "format/ckpt.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LIVE_EVERY_S 0.2

void dt_metric(dt_metrics *m, const char *name, double value) {
    if (m->n == DT_MAX_METRICS) return;
    m->name[m->n] = name;
    m->value[m->n++] = value;
}

/* ---- the folder ---- */

static duet_status in_dir(const dt_run *run, const char *name, char **path, duet_err *err) {
    *path = dt_path_join(run->dir, name);
    return *path ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory", run->dir);
}

/* Two processes in one folder would mix their lines and checkpoints. The lock goes with the process, however it ends. */
static duet_status take_lock(dt_run *run, duet_err *err) {
    char *path = NULL;
    duet_status st = run->lock ? DUET_OK : in_dir(run, "lock", &path, err);
    if (st || run->lock) return st;
    run->lock = fopen(path, "ae");
    if (!run->lock)
        st = dt_fail(err, DUET_E_IO, "%s: cannot create: %s", path, strerror(errno));
    else if (flock(fileno(run->lock), LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) /* a file system without locks has none */
        st = dt_fail(err, DUET_E_USAGE, "%s: another process trains in this folder; wait for it, or give another folder", run->dir);
    free(path);
    return st;
}

duet_status dt_run_open(const duet_train_options *opt, const dt_recipe *r, dt_run *run, duet_err *err) {
    const char *dir = opt->out && *opt->out ? opt->out : r->out;
    char *metrics = NULL;
    duet_status st = DUET_OK;

    *run = (dt_run){.opt = opt};
    if (!*dir) return dt_fail(err, DUET_E_USAGE, "no run folder: give `out` in the recipe or on the command line");
    run->dir = dt_strdup(dir);
    run->checkpoints = run->dir ? dt_path_join(run->dir, "checkpoints") : NULL;
    if (!run->checkpoints) return dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    st = in_dir(run, "metrics.jsonl", &metrics, err);
    if (st) return st;
    if (!opt->resume && (dt_path_exists(metrics) || dt_path_exists(run->checkpoints)))
        st = dt_fail(err, DUET_E_USAGE, "%s already holds a run: resume it, or give another folder", dir);
    if (!st && dt_path_exists(run->dir)) st = take_lock(run, err);
    free(metrics);
    return st;
}

void dt_run_close(dt_run *run) {
    if (run->metrics) fclose(run->metrics);
    if (run->samples) fclose(run->samples);
    if (run->lock) fclose(run->lock);
    dt_tfevents_close(run->events);
    json_decref(run->owed);
    free(run->dir);
    free(run->checkpoints);
    *run = (dt_run){0};
}

duet_status dt_run_write_recipe(dt_run *run, const dt_recipe *r, const char *head, duet_err *err) {
    char *text = dt_recipe_text(r), *path = NULL;
    dt_buf b = {0};
    duet_status st = in_dir(run, "recipe.yaml", &path, err);

    if (!st) st = dt_mkdirs(run->dir, err);
    if (!st) st = take_lock(run, err);
    if (st) goto done;
    dt_buf_addf(&b, "# Resolved recipe of this run; duet %s\n", duet_version());
    for (const char *p = head; *p;) {
        size_t n = strcspn(p, "\n");
        dt_buf_addf(&b, "# %.*s\n", (int)n, p);
        p += n + (p[n] != 0);
    }
    dt_buf_adds(&b, text ? text : "");
    if (!text || b.failed)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
    else
        st = dt_file_write_atomic(path, b.data, b.len, err);
done:
    dt_buf_clear(&b);
    free(text);
    free(path);
    return st;
}

/* ---- going back to a step ---- */

static int64_t step_of_line(const char *line, size_t n) { /* -1: not a whole line of ours */
    json_t *o = NULL;
    int64_t step = -1;
    if (dt_json_parse("", line, n, &o, NULL)) return -1;
    const json_t *s = json_object_get(o, "step");
    if (json_is_integer(s)) step = json_integer_value(s);
    json_decref(o);
    return step;
}

/* Cuts a JSON lines file behind its last line of a step <= `step`; *last: the step of that line, -1 = none is left. */
static duet_status cut_file(const char *path, int64_t step, int64_t *last, duet_err *err) {
    dt_buf b = {0};
    size_t keep = 0;
    *last = -1;
    if (!dt_path_exists(path)) return DUET_OK;
    duet_status st = dt_file_read(path, (size_t)4 << 30, &b, err);
    while (!st && keep < b.len) {
        const char *end = memchr(b.data + keep, '\n', b.len - keep);
        if (!end) break; /* a line that was being written */
        int64_t s = step_of_line(b.data + keep, (size_t)(end - b.data) - keep);
        if (s < 0 || s > step || step == 0) break;
        keep = (size_t)(end - b.data) + 1;
        *last = s;
    }
    if (!st && keep < b.len && truncate(path, (off_t)keep)) st = dt_fail(err, DUET_E_IO, "%s: cannot shorten: %s", path, strerror(errno));
    dt_buf_clear(&b);
    return st;
}

static duet_status append_to(const dt_run *run, const char *name, int64_t step, FILE **f, int64_t *last, duet_err *err) {
    char *path = NULL;
    duet_status st = in_dir(run, name, &path, err);
    if (!st) st = cut_file(path, step, last, err);
    if (!st) *f = fopen(path, "ae");
    if (!st && !*f) st = dt_fail(err, DUET_E_IO, "%s: cannot write: %s", path, strerror(errno));
    free(path);
    return st;
}

static duet_status send_events(dt_run *run, const json_t *line, duet_err *err) {
    const char *tags[DT_MAX_METRICS];
    double values[DT_MAX_METRICS];
    size_t n = 0;
    void *at = json_object_iter((json_t *)(uintptr_t)(const void *)line);
    for (; at; at = json_object_iter_next((json_t *)(uintptr_t)(const void *)line, at)) {
        const char *key = json_object_iter_key(at);
        const json_t *v = json_object_iter_value(at);
        if (!json_is_number(v) || !strcmp(key, "step") || !strcmp(key, "time") || n == DT_MAX_METRICS) continue;
        tags[n] = key;
        values[n++] = json_number_value(v);
    }
    return dt_tfevents_scalars(run->events, json_integer_value(json_object_get(line, "step")),
                               json_number_value(json_object_get(line, "time")), tags, values, n, err);
}

/* Events are written anew from the metrics that were kept, so no step appears twice there either. */
static duet_status open_events(dt_run *run, duet_err *err) {
    char *dir = NULL, *path = NULL;
    dt_jsonl *in = NULL;
    json_t *line = NULL;

    duet_status st = in_dir(run, "events", &dir, err);
    if (!st) st = in_dir(run, "metrics.jsonl", &path, err);
    if (!st) st = dt_remove_tree(dir, err);
    if (!st) st = dt_mkdirs(dir, err);
    if (!st) st = dt_tfevents_open(dir, &run->events, err);
    if (!st) st = dt_jsonl_open(path, &in, err);
    while (!st && (st = dt_jsonl_next(in, &line, err)) == DUET_OK) {
        st = send_events(run, line, err);
        json_decref(line);
    }
    dt_jsonl_close(in);
    free(dir);
    free(path);
    return st == DUET_END ? DUET_OK : st;
}

duet_status dt_run_begin(dt_run *run, int64_t step, duet_err *err) {
    int64_t last_sample;
    duet_status st = dt_mkdirs(run->checkpoints, err);
    if (!st) st = append_to(run, "metrics.jsonl", step, &run->metrics, &run->last_line, err);
    if (!st) st = append_to(run, "samples.jsonl", step, &run->samples, &last_sample, err);
    if (run->last_line == step) { /* killed between paying and the next checkpoint */
        json_decref(run->owed);
        run->owed = NULL;
    }
    if (!st) st = open_events(run, err);
    run->began = dt_now();
    run->first_step = step;
    return st;
}

/* ---- telling ---- */

static duet_status write_line(const dt_run *run, FILE *f, json_t *o, const char *name, duet_err *err) {
    char *text = dt_json_line(o);
    duet_status st = DUET_OK;
    if (!text)
        st = dt_fail(err, DUET_E_NOMEM, "%s/%s: no memory for a line", run->dir, name);
    else if (fprintf(f, "%s\n", text) < 0 || fflush(f))
        st = dt_fail(err, DUET_E_IO, "%s/%s: cannot write: %s", run->dir, name, strerror(errno));
    free(text);
    return st;
}

/* A line of metrics.jsonl, behind what the step still owed. NULL = no memory. */
static json_t *metrics_line(const dt_run *run, int64_t step, const dt_metrics *m) {
    json_t *o = json_object();
    if (!o) return NULL;
    json_object_set_new(o, "step", json_integer(step));
    json_object_set_new(o, "time", json_real(run->before_s + dt_now() - run->began));
    if (run->owed) json_object_update(o, run->owed);
    for (size_t i = 0; i < m->n; i++)
        json_object_set_new(o, m->name[i], isfinite(m->value[i]) ? json_real(m->value[i]) : json_null());
    return o;
}

duet_status dt_run_metrics(dt_run *run, int64_t step, const dt_metrics *m, duet_err *err) {
    json_t *o = metrics_line(run, step, m);
    if (!o) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for metrics", run->dir);
    duet_status st = write_line(run, run->metrics, o, "metrics.jsonl", err);
    if (!st) st = send_events(run, o, err);
    json_decref(o);
    json_decref(run->owed);
    run->owed = NULL;
    return st;
}

void dt_run_owe(dt_run *run, int64_t step, const dt_metrics *m) {
    json_t *o = metrics_line(run, step, m);
    json_decref(run->owed);
    run->owed = o;
}

bool dt_run_owes(const dt_run *run) {
    return run->owed != NULL;
}

duet_status dt_run_sample(dt_run *run, json_t *sample, duet_err *err) {
    if (!sample) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for a sample", run->dir);
    duet_status st = write_line(run, run->samples, sample, "samples.jsonl", err);
    json_decref(sample);
    return st;
}

void dt_run_line(dt_run *run, const char *fmt, ...) {
    char line[1024];
    va_list args;
    if (!run->opt->on_line) return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    run->opt->on_line(run->opt->user, line, false);
}

void dt_run_live(dt_run *run, int64_t step, int64_t n_steps, const char *fmt, ...) {
    char line[1024], left[16];
    va_list args;
    double now = dt_now();
    if (!run->opt->on_line || !run->metrics || (now - run->last_live < LIVE_EVERY_S && step < n_steps)) return;
    run->last_live = now;
    va_start(args, fmt);
    vsnprintf(line, sizeof line - 64, fmt, args);
    va_end(args);
    double done = (double)(step - run->first_step), spent = now - run->began;
    dt_time_left(done > 0 ? spent / done * (double)(n_steps - step) : 0, left);
    snprintf(line + strlen(line), 64, "  %s left", left);
    run->opt->on_line(run->opt->user, line, true);
}

bool dt_run_cancelled(const dt_run *run) {
    return run->opt->cancel && *run->opt->cancel;
}

/* ---- checkpoints ---- */

duet_status dt_run_ckpt_begin(dt_run *run, int64_t step, char **tmp, duet_err *err) {
    return dt_ckpt_begin(run->checkpoints, step, tmp, err);
}

duet_status dt_run_ckpt_commit(dt_run *run, int64_t step, const char *tmp, json_t *state, int keep, duet_err *err) {
    char *path = dt_path_join(tmp, "state.json"), *text = NULL;
    duet_status st = DUET_OK;

    if (state) {
        json_object_set_new(state, "step", json_integer(step));
        json_object_set_new(state, "seconds", json_real(run->before_s + dt_now() - run->began));
        if (run->owed) json_object_set(state, "owed", run->owed);
        text = dt_json_line(state);
    }
    if (!path || !text)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for the state", tmp);
    else
        st = dt_file_write_atomic(path, text, strlen(text), err);
    if (!st) st = dt_ckpt_commit(run->checkpoints, step, tmp, keep, err);
    free(path);
    free(text);
    json_decref(state);
    return st;
}

duet_status dt_run_ckpt_latest(dt_run *run, char **path, json_t **state, int64_t *step, duet_err *err) {
    char *file = NULL;
    *path = NULL;
    *state = NULL;
    *step = 0;
    if (!run->opt->resume) return DUET_OK;
    duet_status st = dt_ckpt_latest(run->checkpoints, path, step, err);
    if (st == DUET_END) *step = 0; /* killed before the first one: from the beginning */
    if (st) return st == DUET_END ? DUET_OK : st;
    file = dt_path_join(*path, "state.json");
    st = file ? dt_json_read(file, (size_t)1 << 20, state, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", *path);
    if (!st) run->before_s = json_number_value(json_object_get(*state, "seconds"));
    if (!st) run->owed = json_incref(json_object_get(*state, "owed"));
    free(file);
    return st;
}

void dt_run_check_recipe(dt_run *run, const dt_recipe *r, const json_t *state) {
    char hash[65];
    const char *was = json_string_value(json_object_get(state, "recipe"));
    dt_recipe_hash(r, hash);
    if (!was || strcmp(was, hash)) dt_run_line(run, "note: the recipe is not the one this run began with");
}
