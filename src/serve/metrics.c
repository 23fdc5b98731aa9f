/* GET /metrics: what was counted, as Prometheus reads it. */
#include "serve/chat.h"

#include <math.h>
#include <string.h>

static const double bounds[DT_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};

void dt_histogram_add(dt_histogram *h, double x) {
    size_t i = 0;
    while (i < DT_BUCKETS && x > bounds[i])
        i++;
    h->n[i]++;
    h->count++;
    h->sum += x;
}

static void add(uint64_t *to, size_t n) {
    *to += n == SIZE_MAX ? 0 : n; /* not known */
}

static void add_side(dt_metrics *m, int stage, const duet_ledger_side *l) {
    add(&m->prompt[stage], l->prompt_tokens);
    add(&m->cached[stage], l->cached_tokens);
    add(&m->output[stage], l->output_tokens);
    m->busy_s[stage] += l->prefill_s + l->decode_s;
    if (isfinite(l->cost))
        m->cost[stage == 2] += l->cost;
}

void dt_metrics_answer(dt_metrics *m, duet_mode mode, const duet_ledger *l, dt_outcome outcome) {
    m->answers[mode][outcome]++;
    add_side(m, mode == DUET_MODE_M, &l->M);
    add_side(m, 2, &l->m);
}

void dt_metrics_request(dt_server *s, const char *path, int status) {
    dt_metrics *m = &s->metrics;
    size_t i = 0;
    while (i < m->n_requests && (m->requests[i].status != status || strcmp(m->requests[i].path, path) != 0))
        i++;
    if (i == m->n_requests && i < DT_COUNT(m->requests)) {
        m->n_requests++;
        snprintf(m->requests[i].path, sizeof m->requests[i].path, "%s", path);
        m->requests[i].status = status;
    }
    m->requests[i < DT_COUNT(m->requests) ? i : DT_COUNT(m->requests) - 1].n++;
}

/* ---- as text ---- */

static void head(dt_buf *b, const char *name, const char *type, const char *help) {
    dt_buf_addf(b, "# HELP duet_%s %s\n# TYPE duet_%s %s\n", name, help, name, type);
}

static void one(dt_buf *b, const char *name, const char *type, const char *help, double x) {
    head(b, name, type, help);
    dt_buf_addf(b, "duet_%s %.17g\n", name, x);
}

static void histogram(dt_buf *b, const char *name, const char *help, const dt_histogram *h) {
    uint64_t below = 0;
    head(b, name, "histogram", help);
    for (size_t i = 0; i < DT_BUCKETS; i++) {
        below += h->n[i];
        dt_buf_addf(b, "duet_%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], (unsigned long long)below);
    }
    dt_buf_addf(b, "duet_%s_bucket{le=\"+Inf\"} %llu\nduet_%s_sum %.17g\nduet_%s_count %llu\n", name, (unsigned long long)h->count, name,
                h->sum, name, (unsigned long long)h->count);
}

static void requests(const dt_metrics *m, dt_buf *b) {
    head(b, "requests_total", "counter", "Requests answered, by path and status (499: the client left).");
    for (size_t i = 0; i < m->n_requests; i++)
        dt_buf_addf(b, "duet_requests_total{path=\"%s\",status=\"%d\"} %llu\n", m->requests[i].path, m->requests[i].status,
                    (unsigned long long)m->requests[i].n);
}

static void answers(const dt_metrics *m, dt_buf *b) {
    static const char *const outcomes[DT_OUTCOMES] = {"answered", "failed", "client_left", "stopped"};
    head(b, "answers_total", "counter", "Answers that ended, by mode and how.");
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < DT_OUTCOMES; k++)
            dt_buf_addf(b, "duet_answers_total{mode=\"%s\",outcome=\"%s\"} %llu\n", duet_mode_name((duet_mode)i), outcomes[k],
                        (unsigned long long)m->answers[i][k]);
    head(b, "handoffs_total", "counter", "Why signals ended.");
    for (size_t i = 0; i < DT_COUNT(m->handoffs); i++)
        if (m->handoffs[i])
            dt_buf_addf(b, "duet_handoffs_total{reason=\"%s\"} %llu\n", duet_handoff_name((duet_handoff)i), (unsigned long long)m->handoffs[i]);
}

static void tokens(const dt_metrics *m, dt_buf *b) {
    static const char *const stages[3] = {"model=\"M\",stage=\"signal\"", "model=\"M\",stage=\"answer\"", "model=\"m\",stage=\"answer\""};
    head(b, "tokens_total", "counter", "Tokens by the ledgers; cached: of the prompts, already computed.");
    for (int i = 0; i < 3; i++)
        dt_buf_addf(b,
                    "duet_tokens_total{%s,kind=\"prompt\"} %llu\nduet_tokens_total{%s,kind=\"cached\"} %llu\n"
                    "duet_tokens_total{%s,kind=\"output\"} %llu\n",
                    stages[i], (unsigned long long)m->prompt[i], stages[i], (unsigned long long)m->cached[i], stages[i],
                    (unsigned long long)m->output[i]);
    head(b, "model_seconds_total", "counter", "Seconds that answers spent in a model.");
    for (int i = 0; i < 3; i++)
        dt_buf_addf(b, "duet_model_seconds_total{%s} %.17g\n", stages[i], m->busy_s[i]);
    head(b, "cost_total", "counter", "Money, where prices are known.");
    dt_buf_addf(b, "duet_cost_total{model=\"M\"} %.17g\nduet_cost_total{model=\"m\"} %.17g\n", m->cost[0], m->cost[1]);
}

/* What the engines themselves count: the ledgers must agree with it. */
static void engine(const duet_backend *backend, const char *name, dt_buf *b) {
    duet_engine_stats e;
    duet_engine *of = backend ? duet_backend_engine(backend) : NULL;
    if (!of)
        return;
    duet_engine_get_stats(of, &e);
    dt_buf_addf(b,
                "duet_engine_tokens_total{model=\"%s\",kind=\"prompt\"} %zu\nduet_engine_tokens_total{model=\"%s\",kind=\"cached\"} %zu\n"
                "duet_engine_tokens_total{model=\"%s\",kind=\"output\"} %zu\nduet_engine_requests_total{model=\"%s\"} %zu\n"
                "duet_engine_busy_seconds_total{model=\"%s\"} %.17g\nduet_engine_pages{model=\"%s\",state=\"all\"} %zu\n"
                "duet_engine_pages{model=\"%s\",state=\"free\"} %zu\n",
                name, e.prompt_tokens, name, e.cached_tokens, name, e.output_tokens, name, e.requests, name, e.busy_s, name, e.kv_pages, name,
                e.kv_pages_free);
}

void dt_metrics_get(dt_conn *c) {
    const dt_server *s = c->s;
    const dt_metrics *m = &s->metrics;
    size_t waiting = 0, running = 0;
    dt_buf b = {0};
    dt_jobs_counts(c->s, &waiting, &running);
    one(&b, "uptime_seconds", "gauge", "Seconds since the start.", dt_now() - s->started);
    one(&b, "connections", "gauge", "Open connections.", (double)s->n_conns);
    one(&b, "connections_total", "counter", "Connections taken.", (double)m->connections);
    one(&b, "queue_waiting", "gauge", "Questions that wait.", (double)waiting);
    one(&b, "queue_running", "gauge", "Questions that are being answered.", (double)running);
    one(&b, "queue_limit", "gauge", "Questions that may wait.", (double)s->opt.queue);
    requests(m, &b);
    answers(m, &b);
    tokens(m, &b);
    histogram(&b, "first_token_seconds", "From the request to the first text.", &m->first);
    histogram(&b, "handoff_seconds", "m's prompt: from the end of the signal to m's first token.", &m->handoff);
    histogram(&b, "answer_seconds", "From the request to the end of the answer.", &m->whole);
    engine(s->M, "M", &b);
    engine(s->m, "m", &b);
    if (b.failed)
        dt_conn_json(c, 500, NULL, NULL);
    else
        dt_conn_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, b.data, b.len);
    dt_buf_clear(&b);
}
