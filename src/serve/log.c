/* Two files of JSON lines: what was asked for and how it went, without a word of it; and, where it is wanted, all of it. */
#include "serve/chat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

duet_status dt_log_open(const char *path, FILE **out, duet_err *err) {
    *out = NULL;
    if (!path)
        return DUET_OK;
    *out = strcmp(path, "-") ? fopen(path, "ae") : stderr;
    return *out ? DUET_OK : dt_fail(err, DUET_E_IO, "%s: cannot be written: %s", path, strerror(errno));
}

void dt_log_close(FILE *f) {
    if (f && f != stderr)
        fclose(f);
}

static void when(char out[40]) {
    const double t = dt_serve_wall();
    const time_t s = (time_t)t;
    struct tm tm;
    gmtime_r(&s, &tm);
    const size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03dZ", (int)((t - (double)s) * 1000));
}

/* A full disk must not stop answers; it is said once. */
static void put(dt_server *s, FILE *f, json_t *line) {
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    if (text && (fprintf(f, "%s\n", text) < 0 || fflush(f)) && !s->log_failed) {
        s->log_failed = true;
        dt_log(DT_LOG_WARN, "server: the log cannot be written: %s", strerror(errno));
    }
    free(text);
    json_decref(line);
}

static json_t *text(const char *s) {
    json_t *j = json_string(s); /* NULL where it is not UTF-8 */
    return j ? j : json_string("?");
}

void dt_log_request(dt_conn *c) {
    dt_server *s = c->s;
    const double now = dt_now();
    char time[40];
    dt_metrics_request(s, dt_route_name(c->http.path), c->status);
    if (!s->log)
        return;
    when(time);
    json_t *j = json_pack("{s:s,s:s,s:o,s:o,s:i,s:I,s:f}", "time", time, "peer", c->peer, "method", text(c->http.method), "path",
                          text(c->http.path), "status", c->status, "bytes", (json_int_t)c->sent, "seconds",
                          c->t_request > 0 ? now - c->t_request : 0.0);
    if (c->job && j) {
        json_object_set_new(j, "id", json_string(c->job->id));
        if (c->job->kind->log)
            c->job->kind->log(c->job, j);
    }
    put(s, s->log, j);
}

/* All that is needed to ask again: the request as it came, what it was read as, and what came of it. */
void dt_log_trace(const dt_chat *a) {
    dt_server *s = a->job.s;
    char time[40];
    if (!s->trace)
        return;
    when(time);
    json_t *whole = dt_reply_whole(a), *list = json_array();
    for (int i = 0; i < a->ask.n; i++) {
        const duet_pair_request *r = &a->reqs[i];
        json_t *signal = json_array(), *answer = json_array();
        for (size_t k = 0; k < r->n_signal_ids; k++)
            json_array_append_new(signal, json_integer(r->signal_ids[k]));
        for (size_t k = 0; k < r->n_answer_ids; k++)
            json_array_append_new(answer, json_integer(r->answer_ids[k]));
        char key[24];
        snprintf(key, sizeof key, "%llu", (unsigned long long)r->key);
        json_array_append_new(list, json_pack("{s:s,s:o,s:o}", "key", key, "signal_ids", signal, "answer_ids", answer));
    }
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)a->ask.M.seed);
    put(s, s->trace,
        json_pack("{s:s,s:s,s:O,s:s,s:i,s:i,s:s,s:s,s:o,s:o?}", "time", time, "id", a->job.id, "request", a->ask.body, "mode",
                  duet_mode_name(a->ask.mode), "signal_budget", a->reqs[0].signal_budget, "answer_budget", a->reqs[0].answer_budget, "seed", seed,
                  "status", a->st ? duet_status_name(a->st) : "ok", "ids", list, "response", whole));
}
