/* duet serve: the pair behind an OpenAI-compatible server. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 1024

typedef struct service {
    duet_backend *M, *m;
    duet_pair *pair;
    duet_server *server;
    dt_buf keys; /* text of the key file, cut at line ends */
    const char *list[MAX_KEYS];
    size_t n_keys;
} service;

static void service_close(service *v) {
    duet_server_destroy(v->server);
    duet_pair_destroy(v->pair);
    duet_backend_close(v->M);
    duet_backend_close(v->m);
    dt_buf_clear(&v->keys);
}

/* A key a line; blank lines and those that begin with # are none. */
static duet_status read_keys(const cli_args *a, service *v, duet_err *err) {
    if (a->api_key_env) {
        const char *key = getenv(a->api_key_env);
        if (!key || !*key)
            return dt_fail(err, DUET_E_USAGE, "serve: --api-key-env: %s is not set", a->api_key_env);
        v->list[v->n_keys++] = key;
    }
    if (!a->api_key_file)
        return DUET_OK;
    duet_status st = dt_file_read(a->api_key_file, (size_t)1 << 20, &v->keys, err);
    for (char *rest = v->keys.data, *line; !st && rest && (line = strsep(&rest, "\n"));) {
        line[strcspn(line, " \t\r")] = 0;
        if (!*line || *line == '#')
            continue;
        if (v->n_keys == MAX_KEYS)
            return dt_fail(err, DUET_E_USAGE, "%s: more than %d keys", a->api_key_file, MAX_KEYS);
        v->list[v->n_keys++] = line;
    }
    return st || v->n_keys ? st : dt_fail(err, DUET_E_USAGE, "%s: holds no key", a->api_key_file);
}

static duet_status open_models(const cli_args *a, service *v, duet_err *err) {
    duet_pair_options p = cli_pair_options(a);
    duet_status st = a->M ? cli_backend_open(a, a->M, 'M', &v->M, err) : DUET_OK;
    if (!st && a->m)
        st = cli_backend_open(a, a->m, 'm', &v->m, err);
    return st ? st : duet_pair_create(v->M, v->m, &p, &v->pair, err);
}

static duet_serve_options options(const cli_args *a, const service *v) {
    duet_serve_options o = duet_serve_defaults(v->pair);
    o.host = a->host;
    o.port = a->port;
    o.unix_socket = a->unix_socket;
    o.api_keys = v->list;
    o.n_api_keys = v->n_keys;
    o.cors_origin = a->cors;
    o.parallel = a->batch;
    o.queue = a->queue;
    o.signal_budget = a->signal_budget;
    o.answer_budget = a->answer_budget;
    o.M = cli_sampling_for(a, v->M, &a->on_M);
    o.m = cli_sampling_for(a, v->m, &a->on_m);
    o.fixed_seed = cli_given(a, &a->seed);
    o.max_body = (size_t)a->max_body << 10;
    o.log = a->log;
    o.trace = a->trace;
    return o;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    service v = {0};
    if (!a->M && !a->m)
        return cli_fail(EXIT_USAGE, "%s: no model; give -M PATH and -m PATH, or one of them", self->name);
    duet_status st = read_keys(a, &v, &err);
    if (!st)
        st = open_models(a, &v, &err);
    if (st) {
        service_close(&v);
        return cli_fail_input(st, &err);
    }
    cli_say_terms(a, v.pair);
    const duet_serve_options o = options(a, &v);
    st = duet_server_create(v.pair, v.M, v.m, &o, &v.server, &err);
    if (!st && !a->quiet)
        fprintf(stderr, "duet: listening on %s%s\n", duet_server_address(v.server), a->unix_socket ? "" : "/ (a page to ask from)");
    if (!st)
        st = duet_server_run(v.server, cli_cancel(), &err);
    service_close(&v);
    return st ? cli_fail_status(st, &err) : EXIT_DONE;
}

static const cli_opt opts[] = {
    CLI_ROW_M,
    CLI_ROW_m,
    {0, "host", CLI_TEXT, CLI_AT(host), "ADDRESS", "where to listen; 0.0.0.0 = everywhere", "127.0.0.1", 0, 0, NULL},
    {0, "port", CLI_INT, CLI_AT(port), "N", "port to listen on; 0 = one that is free", "8080", 0, 65535, NULL},
    {0, "unix-socket", CLI_TEXT, CLI_AT(unix_socket), "PATH", "listen on this socket instead", NULL, 0, 0, NULL},
    {0, "api-key-file", CLI_TEXT, CLI_AT(api_key_file), "FILE", "requests must carry one of the keys in FILE, one a line", NULL, 0, 0, NULL},
    {0, "api-key-env", CLI_TEXT, CLI_AT(api_key_env), "NAME", "requests must carry the key in this environment variable", NULL, 0, 0, NULL},
    {0, "cors", CLI_TEXT, CLI_AT(cors), "ORIGIN", "pages of ORIGIN (https://host, or *) may ask too", NULL, 0, 0, NULL},
    {0, "queue", CLI_INT, CLI_AT(queue), "N", "questions that may wait when --batch-size are being answered; one more gets 429", "512", 0, 1 << 20, NULL},
    {0, "max-body", CLI_INT, CLI_AT(max_body), "KIB", "longest body of a request", "8192", 1, 1 << 20, NULL},
    {0, "log", CLI_TEXT, CLI_AT(log), "FILE", "append a JSON line for each request, without its content; - = standard error", NULL, 0, 0, NULL},
    {0, "trace", CLI_TEXT, CLI_AT(trace), "FILE", "append each question with its answer, tokens and seeds, as a JSON line", NULL, 0, 0, NULL},
    CLI_ROWS_BUDGETS,
    CLI_ROWS_SAMPLING,
    CLI_ROWS_STAGE_SAMPLING,
    CLI_ROWS_PAIR_TEXT,
    CLI_ROWS_TEMPLATES,
    CLI_ROWS_PRICES,
    CLI_ROWS_REMOTE,
    CLI_ROW_QUIET,
    CLI_ROWS_ENGINE,
    CLI_ROWS_STAGE_ROPE,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_serve = {
    .name = "serve",
    .operands = "",
    .title = "answer over HTTP, as OpenAI's API does",
    .text = "Clients of the OpenAI API get the pair's answers by changing one address. The model's name is the strategy: duet "
            "(M thinks, m answers), duet-M, duet-m, and duet@800 for a signal of at most 800 tokens. The signal comes as "
            "reasoning_content, the answer as content, costs as usage and duet; docs/serving.md has the fields.\n\n"
            "Budgets and sampling are those of requests that name none. Without --seed each such request has a seed of its own, "
            "told in its answer.\n\n"
            "A browser that opens the printed address gets a page to ask from.\n\n"
            "Ctrl-C or SIGTERM takes no more connections and lets all answers finish; a second one ends at once.",
    .examples = "duet serve -M models/register-M -m models/register-m --port 8080  # then ask http://127.0.0.1:8080/v1\n"
                "duet serve -M M.gguf -m m.gguf --host 0.0.0.0 --api-key-env KEY  # for others, with a key",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
