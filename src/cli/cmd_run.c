/* duet run: the two-stage answer, streamed for people, JSON for programs, with the ledger at the end. */
#include "cli/cli.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_SCHEMA ((size_t)1 << 20) /* bytes of a schema's file */

enum { MAX_CROWD = 256 };

typedef struct job {
    const cli_args *a;
    duet_backend *M, *m, *before; /* before: M before joint training, for --compare */
    duet_pair *pair, *alone;      /* alone: what --compare asks; NULL = the pair itself */
    duet_mode mode;
    duet_grammar *grammar; /* of --json-schema */
} job;

static void job_close(job *j) {
    duet_grammar_destroy(j->grammar);
    duet_pair_destroy(j->alone);
    duet_pair_destroy(j->pair);
    duet_backend_close(j->M);
    duet_backend_close(j->m);
    duet_backend_close(j->before);
}

static duet_status open_grammar(job *j, const char *path, duet_err *err) {
    dt_buf schema = {0};
    duet_status st = dt_file_read(path, MAX_SCHEMA, &schema, err);
    if (!st) {
        st = duet_pair_grammar(j->pair, j->mode, schema.data ? schema.data : "", schema.len, &j->grammar, err);
        st = st ? dt_fail_in(err, st, "%s", path) : st;
    }
    dt_buf_clear(&schema);
    return st;
}

static duet_status job_open(job *j, duet_err *err) {
    duet_pair_options p = cli_pair_options(j->a);
    duet_status st = DUET_OK;
    if (j->mode != DUET_MODE_m || (j->a->compare && !j->a->before_M))
        st = cli_backend_open(j->a, j->a->M, 'M', &j->M, err);
    if (!st && j->mode != DUET_MODE_M)
        st = cli_backend_open(j->a, j->a->m, 'm', &j->m, err);
    if (!st && j->a->before_M)
        st = cli_backend_open(j->a, j->a->before_M, 'M', &j->before, err);
    if (!st)
        st = duet_pair_create(j->M, j->m, &p, &j->pair, err);
    if (!st && j->a->json_schema)
        st = open_grammar(j, j->a->json_schema, err);
    return st || !j->before ? st : duet_pair_create(j->before, NULL, &p, &j->alone, err);
}

/* The random numbers of a question hang on its text, so it is answered alike alone and among others. */
static duet_pair_request request(const job *j, const char *question, size_t n) {
    const cli_args *a = j->a;
    duet_pair_request r = {.question = question, .n_question = n, .mode = j->mode, .key = dt_hash64(question, n, 0)};
    r.signal_budget = cli_given(a, &a->predict) && !cli_given(a, &a->signal_budget) ? a->predict : a->signal_budget;
    r.answer_budget = cli_given(a, &a->predict) && !cli_given(a, &a->answer_budget) ? a->predict : a->answer_budget;
    r.M = cli_sampling_for(a, j->M, &a->on_M);
    r.m = cli_sampling_for(a, j->m, &a->on_m);
    r.answer_grammar = j->grammar;
    return r;
}

/* With --compare M answers the question alone too, and the ledger says what that cost. */
static duet_status compare(const job *j, duet_pair_request *r, duet_err *err) {
    if (!j->a->compare || j->mode == DUET_MODE_M)
        return DUET_OK;
    duet_pair_request alone = request(j, r->question, r->n_question);
    alone.mode = DUET_MODE_M;
    alone.answer_grammar = NULL; /* it is of m's tokens */
    if (j->before)
        alone.M = cli_sampling_for(j->a, j->before, &j->a->on_M);
    duet_status st = duet_pair_answer(j->alone ? j->alone : j->pair, &alone, 1, cli_cancel(), err);
    r->ledger.M_alone_tokens = alone.ledger.M_alone_tokens;
    r->ledger.M_alone_cost = alone.ledger.M_alone_cost;
    r->ledger.M_alone_estimated = false;
    duet_pair_request_clear(&alone);
    return st;
}

/* ---- JSON ---- */

static json_t *result(const job *j, const duet_pair_request *r) {
    char *text = duet_ledger_json(&r->ledger);
    json_t *ledger = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (!ledger)
        return NULL;
    return json_pack("{s:o,s:o,s:o,s:o,s:s,s:s,s:b,s:b,s:o,s:o}", "signal",
                     json_stringn(r->signal_text ? r->signal_text : "", r->n_signal_text), "answer",
                     json_stringn(r->answer_text ? r->answer_text : "", r->n_answer_text), "signal_ids",
                     cli_ids_json(r->signal_ids, r->n_signal_ids), "answer_ids",
                     cli_ids_json(r->answer_ids, r->n_answer_ids), "handoff", duet_handoff_name(r->handoff),
                     "signal_status", duet_signal_status_name(r->signal_status), "answer_cut", (int)r->answer_cut,
                     "signal_cut", (int)r->signal_cut, "ledger", ledger, "terms", cli_terms_json(j->pair));
}

static duet_status answer_one(const job *j, duet_pair_request *r, bool answered, json_t **out, duet_err *err) {
    duet_status st = answered ? DUET_OK : duet_pair_answer(j->pair, r, 1, cli_cancel(), err);
    if (!st)
        st = compare(j, r, err);
    *out = st ? NULL : result(j, r);
    return st;
}

/* ---- remote: each question by itself, several at a time, so that one that fails costs nothing but itself ---- */

typedef struct crowd {
    const job *j;
    duet_pair_request *r;
    json_t **out; /* [n], with `why` and `st` of each */
    duet_err *why;
    duet_status *st;
    size_t n, next;
} crowd;

static void *ask_on(void *arg) {
    crowd *c = arg;
    for (size_t i; (i = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED)) < c->n;)
        c->st[i] = dt_interrupted() ? DUET_E_CANCELLED : answer_one(c->j, &c->r[i], false, &c->out[i], &c->why[i]);
    return NULL;
}

/* A server that answers none of them is lost: that ends all work. */
static duet_status verdict(const crowd *c, duet_err *err) {
    size_t lost = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->st[i] == DUET_E_CANCELLED)
            return DUET_E_CANCELLED;
        lost += c->st[i] == DUET_E_BACKEND;
    }
    if (c->n == 0 || lost < c->n)
        return DUET_OK;
    *err = c->why[0];
    return DUET_E_BACKEND;
}

static duet_status each_by_itself(const job *j, duet_pair_request *r, const size_t *at, json_t **out, size_t n, duet_err *err) {
    pthread_t thread[MAX_CROWD];
    size_t n_threads = 0;
    crowd c = {.j = j, .r = r, .out = dt_calloc(n + 1, sizeof *c.out), .why = dt_calloc(n + 1, sizeof *c.why), .st = dt_calloc(n + 1, sizeof *c.st), .n = n};
    duet_status st = c.out && c.why && c.st ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for %zu questions", n);
    while (!st && n_threads + 1 < n && n_threads < MAX_CROWD && n_threads + 1 < (size_t)j->a->parallel &&
           !pthread_create(&thread[n_threads], NULL, ask_on, &c))
        n_threads++;
    if (!st)
        ask_on(&c);
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(thread[i], NULL);
    if (!st)
        st = verdict(&c, err);
    for (size_t i = 0; c.out && c.why && i < n; i++) {
        if (!st)
            out[at[i]] = cli_or_error(c.out[i], &c.why[i]);
        else
            json_decref(c.out[i]);
    }
    free(c.out);
    free(c.why);
    free(c.st);
    return st;
}

static bool is_remote(const job *j) {
    return (j->M && duet_backend_is_address(j->a->M)) || (j->m && duet_backend_is_address(j->a->m));
}

/* ---- local ---- */

/* All questions go through the stages together; if one is refused, each goes alone, so that only that one fails. */
static duet_status each(void *user, json_t *const *in, json_t **out, size_t n, duet_err *err) {
    const job *j = user;
    duet_status st = DUET_OK;
    duet_pair_request *r = dt_calloc(n, sizeof *r);
    size_t *at = dt_calloc(n, sizeof *at), k = 0;
    if (!r || !at) {
        st = dt_fail(err, DUET_E_NOMEM, "no memory for %zu questions", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *q = json_object_get(in[i], "question");
        if (!json_is_string(q) || !json_string_length(q)) {
            out[i] = cli_error_json("question is missing, empty or not a string");
            continue;
        }
        r[k] = request(j, json_string_value(q), json_string_length(q));
        at[k++] = i;
    }
    if (is_remote(j)) {
        st = each_by_itself(j, r, at, out, k, err);
        goto done;
    }
    const bool together = k && !duet_pair_answer(j->pair, r, k, cli_cancel(), err);
    for (size_t i = 0; i < k; i++) {
        duet_err why = {{0}};
        if (!together) {
            if (dt_interrupted()) {
                st = DUET_E_CANCELLED;
                break;
            }
            duet_pair_request_clear(&r[i]);
        }
        duet_status one = answer_one(j, &r[i], together, &out[at[i]], &why);
        if (one == DUET_E_CANCELLED || one == DUET_E_BACKEND) {
            st = one;
            *err = why;
            break;
        }
        out[at[i]] = cli_or_error(out[at[i]], &why);
    }
done:
    for (size_t i = 0; r && i < n; i++)
        duet_pair_request_clear(&r[i]);
    free(r);
    free(at);
    return st;
}

/* ---- for people ---- */

static int run_plain(const job *j, const char *question, size_t n, bool name_it) {
    duet_err err = {{0}};
    cli_screen s = cli_screen_open();
    duet_pair_request r = request(j, question, n);
    if (!n)
        return cli_fail(EXIT_USAGE, "run: the question is empty");
    if (name_it) {
        fputs("question: ", stdout);
        cli_put_text(stdout, question, n);
        putchar('\n');
    }
    if (s.live) {
        r.on_text = cli_screen_text;
        r.user = &s;
    }
    duet_status st = duet_pair_answer(j->pair, &r, 1, cli_cancel(), &err);
    if (s.live)
        cli_screen_end(&s);
    if (!st && !s.live)
        cli_screen_whole(&s, &r);
    if (!st)
        st = compare(j, &r, &err);
    char *ledger = st ? NULL : duet_ledger_line(&r.ledger);
    if (ledger)
        cli_screen_dim(&s, ledger);
    free(ledger);
    duet_pair_request_clear(&r);
    cli_flush();
    return st ? cli_fail_status(st, &err) : EXIT_DONE;
}

static int run_stdin(const job *j) {
    duet_err err = {{0}};
    dt_buf b = {0};
    duet_status st = cli_read_stdin(&b, &err);
    int code = st ? cli_fail_input(st, &err) : run_plain(j, b.data, b.len, false);
    dt_buf_clear(&b);
    return code;
}

static int run_operands(job *j) {
    int code = EXIT_DONE;
    for (int i = 0; i < j->a->n_rest && code != EXIT_INTERRUPTED; i++) {
        const char *q = j->a->rest[i];
        json_t *out = NULL, *in = NULL;
        int one = EXIT_DONE;
        if (!j->a->json) {
            one = run_plain(j, q, strlen(q), j->a->n_rest > 1);
        } else {
            duet_err err = {{0}};
            in = json_pack("{s:s}", "question", q);
            duet_status st =
                in ? each(j, &in, &out, 1, &err) : dt_fail(&err, DUET_E_FORMAT, "the question is not valid UTF-8");
            if (st)
                one = cli_fail_status(st, &err);
            if (out && json_object_get(out, "error"))
                one = EXIT_FAILED;
            if (out && !cli_put_json(out))
                return cli_finish(EXIT_DONE);
            json_decref(in);
        }
        if (one)
            code = one;
    }
    return code;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    job j = {.a = a};
    duet_mode_parse(a->mode, &j.mode);
    if (a->before_M && !a->compare)
        return cli_fail(EXIT_USAGE, "%s: --before-M says which M --compare asks; give --compare too", self->name);
    if (!a->M && (j.mode != DUET_MODE_m || (a->compare && !a->before_M)))
        return cli_fail(EXIT_USAGE, "%s: -M is missing: the folder of the capable model", self->name);
    if (!a->m && j.mode != DUET_MODE_M)
        return cli_fail(EXIT_USAGE, "%s: -m is missing: the folder of the light model", self->name);
    if (!a->n_rest && !a->json && isatty(STDIN_FILENO))
        return cli_fail(EXIT_USAGE, "run: no question; give one as an operand or on standard input");
    duet_status st = job_open(&j, &err);
    if (st) {
        job_close(&j);
        return cli_fail_input(st, &err);
    }
    if (!a->json)
        cli_say_terms(a, j.pair);
    int code = a->n_rest ? run_operands(&j) : a->json ? cli_each_line((size_t)a->batch, each, &j) : run_stdin(&j);
    job_close(&j);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_M,
    CLI_ROW_m,
    {0,   "mode",       CLI_TEXT, CLI_AT(mode),       "MODE",   "duet: both stages; M: M end to end; m: m alone",    "duet", 0,  0,
      "duet|M|m"                                                                                                                           },
    CLI_ROWS_BUDGETS,
    {'n', "predict",    CLI_INT,  CLI_AT(predict),    "TOKENS", "both budgets, where they are not given themselves", NULL,   -1,
      1 << 28,                                                                                                                         NULL},
    CLI_ROWS_SAMPLING,
    CLI_ROWS_STAGE_SAMPLING,
    CLI_ROWS_PAIR_TEXT,
    CLI_ROWS_TEMPLATES,
    CLI_ROWS_PRICES,
    CLI_ROWS_REMOTE,
    {0,   "json-schema", CLI_TEXT, CLI_AT(json_schema), "FILE", "the answer is JSON that fits this schema",         NULL,   0,  0,   NULL},
    {0,   "compare",    CLI_FLAG, CLI_AT(compare),    NULL,     "let M answer alone too, and say what that cost",    NULL,   0,  0,   NULL},
    {0,   "before-M",   CLI_TEXT, CLI_AT(before_M),   "PATH",   "the M that --compare asks: M before joint training", NULL,  0,  0,
      NULL                                                                                                                                 },
    CLI_ROW_QUIET,
    CLI_ROW_JSON("JSON lines out, and in from standard input"),
    CLI_ROWS_ENGINE,
    CLI_ROWS_STAGE_ROPE,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_run = {
    .name = "run",
    .operands = "[QUESTION...]",
    .max_rest = -1,
    .title = "answer a question in two stages: M thinks, m answers",
    .text = "M writes a signal, m reads the question with the signal and answers; one line of costs follows. On a "
            "terminal the signal streams dim "
            "and the answer bright. Without a QUESTION all of standard input is one question.\n\n"
            "With --json standard input holds lines {\"question\"}, and each gives a line "
            "{\"signal\",\"answer\",\"signal_ids\",\"answer_ids\","
            "\"handoff\",\"ledger\",\"terms\"}; terms say what M and m share (otherwise a line on standard error does).\n\n"
            "With --json-schema the model that answers writes nothing but JSON that fits; a keyword of the schema that duet does not "
            "keep is an error that names it (include/duet/grammar.h lists them). An answer may still end at its budget before it is whole.",
    .examples =
        "duet run -M models/register-M -m models/register-m 'b? a=3 b=a+2'  # one answer\n"
        "duet run -M M -m m --price-M 10 --price-m 0.4 --compare 'b? a=3 b=a+2'  # with money, and what M alone costs\n"
        "duet run -M M -m m --json < questions.jsonl  # many questions together",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
