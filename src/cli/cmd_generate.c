/* duet generate: one model goes on from a prompt. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    duet_backend *b;
    const cli_args *a;
} job;

/* One input line as a request; ids and stop_ids are owned by it. */
typedef struct line {
    duet_ids ids, stop_ids;
    duet_gen_request r;
    duet_generation gen;
} line;

static void line_clear(line *l) {
    duet_ids_free(&l->ids);
    duet_ids_free(&l->stop_ids);
    duet_generation_clear(&l->gen);
}

static const int32_t no_ids[1] = {0}; /* "end at nothing": a list that is there and empty */

static bool number_field(const json_t *in, const char *key, double lo, double hi, double *out, duet_err *err) {
    const json_t *j = json_object_get(in, key);
    if (!j || json_is_null(j))
        return true;
    if (!json_is_number(j) || !(json_number_value(j) >= lo && json_number_value(j) <= hi)) {
        dt_fail(err, DUET_E_RANGE, "%s is not a number in %g..%g", key, lo, hi);
        return false;
    }
    *out = json_number_value(j);
    return true;
}

static bool whole_field(const json_t *in, const char *key, json_int_t lo, json_int_t hi, json_int_t *out,
                        duet_err *err) {
    const json_t *j = json_object_get(in, key);
    if (!j || json_is_null(j))
        return true;
    if (!json_is_integer(j) || json_integer_value(j) < lo || json_integer_value(j) > hi) {
        dt_fail(err, DUET_E_RANGE, "%s is not a whole number in %lld..%lld", key, (long long)lo, (long long)hi);
        return false;
    }
    *out = json_integer_value(j);
    return true;
}

/* A conversation, with the generation prompt unless the line says otherwise. */
static bool read_messages(const job *j, const json_t *in, line *l, duet_err *err) {
    json_t *request = json_copy((json_t *)(uintptr_t)in);
    if (request && !json_object_get(in, "add_generation_prompt"))
        json_object_set_new(request, "add_generation_prompt", json_true());
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    duet_status st = text ? duet_template_encode(duet_backend_tokenizer(j->b), duet_backend_template(j->b), text,
                                                 strlen(text), &l->ids, err)
                          : dt_fail(err, DUET_E_NOMEM, "no memory for a conversation");
    free(text);
    json_decref(request);
    return !st;
}

static bool read_prompt(const job *j, const json_t *in, line *l, duet_err *err) {
    const json_t *ids = json_object_get(in, "ids"), *prompt = json_object_get(in, "prompt");
    if (ids)
        return cli_ids_from(ids, &l->ids, err);
    if (json_is_string(prompt))
        return !duet_tokenizer_encode(duet_backend_tokenizer(j->b), json_string_value(prompt),
                                      json_string_length(prompt), j->a->add_special ? DUET_ENC_ADD_SPECIAL : 0, &l->ids,
                                      err);
    if (json_object_get(in, "messages"))
        return read_messages(j, in, l, err);
    dt_fail(err, DUET_E_FORMAT, "none of ids, prompt and messages is there");
    return false;
}

static bool read_line(const job *j, const json_t *in, line *l, duet_err *err) {
    duet_sampling s = cli_sampling_for(j->a, j->b, NULL);
    json_int_t max_tokens = j->a->predict, top_k = s.top_k, seed = -1;
    const json_t *stop = json_object_get(in, "stop_ids"), *ignore = json_object_get(in, "ignore_eos");
    if (!read_prompt(j, in, l, err) || !whole_field(in, "max_tokens", -1, INT32_MAX, &max_tokens, err) ||
        !number_field(in, "temp", 0, 100, &s.temperature, err) ||
        !number_field(in, "temperature", 0, 100, &s.temperature, err) ||
        !whole_field(in, "top_k", 0, INT32_MAX, &top_k, err) || !number_field(in, "top_p", 0, 1, &s.top_p, err) ||
        !number_field(in, "min_p", 0, 1, &s.min_p, err) || !whole_field(in, "seed", 0, INT64_MAX, &seed, err))
        return false;
    if (stop && !cli_ids_from(stop, &l->stop_ids, err)) {
        dt_fail_in(err, DUET_E_FORMAT, "stop_ids");
        return false;
    }
    s.top_k = (int)top_k;
    if (seed >= 0)
        s.seed = (uint64_t)seed;
    l->r = (duet_gen_request){.prompt = l->ids.v,
                              .n_prompt = l->ids.n,
                              .n = 1,
                              .max_tokens = (int)max_tokens,
                              .sampling = s,
                              .stop_ids = l->stop_ids.v,
                              .n_stop = l->stop_ids.n};
    if (ignore ? json_is_true(ignore) : j->a->ignore_eos)
        l->r.eos_ids = no_ids;
    return true;
}

/* The text without the token that ended it; other special tokens as their text. */
static json_t *result(const job *j, const duet_generation *g, duet_err *err) {
    duet_text text = {0};
    bool ended = g->n && (g->stop == DUET_STOP_EOS || g->stop == DUET_STOP_TOKEN);
    json_t *lp = json_array();
    for (size_t i = 0; lp && i < g->n; i++)
        json_array_append_new(lp, cli_real((double)g->logprobs[i]));
    duet_status st =
        duet_tokenizer_decode(duet_backend_tokenizer(j->b), g->ids, g->n - ended, j->a->skip_special, &text, err);
    json_t *out = st ? NULL
                     : json_pack("{s:o,s:o,s:O,s:s}", "ids", cli_ids_json(g->ids, g->n), "text",
                                 json_stringn(text.data ? text.data : "", text.n), "logprobs", lp, "stop",
                                 duet_stop_name(g->stop));
    json_decref(lp);
    duet_text_free(&text);
    return out;
}

/* All good lines run together. If the engine refuses one, each runs alone, so that only the bad one fails. */
static duet_status each(void *user, json_t *const *in, json_t **out, size_t n, duet_err *err) {
    job *j = user;
    duet_status st = DUET_OK;
    line *l = dt_calloc(n, sizeof *l);
    duet_gen_request *r = dt_calloc(n, sizeof *r);
    size_t *at = dt_calloc(n, sizeof *at), k = 0;
    if (!l || !r || !at) {
        st = dt_fail(err, DUET_E_NOMEM, "no memory for %zu lines", n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        duet_err why = {{0}};
        if (!read_line(j, in[i], &l[i], &why)) {
            out[i] = cli_or_error(NULL, &why);
            continue;
        }
        r[k] = l[i].r;
        r[k].out = &l[i].gen;
        at[k++] = i;
    }
    if (k)
        st = duet_backend_generate(j->b, r, k, cli_cancel(), err);
    bool alone = st && st != DUET_E_CANCELLED && k > 1;
    for (size_t i = 0; i < k; i++) {
        duet_err why = *err;
        duet_status one = st;
        if (alone) {
            duet_generation_clear(&l[at[i]].gen);
            one = duet_backend_generate(j->b, &r[i], 1, cli_cancel(), &why);
        }
        if (one == DUET_E_CANCELLED || one == DUET_E_BACKEND) {
            st = one;
            *err = why;
            goto done;
        }
        if (!one)
            out[at[i]] = result(j, &l[at[i]].gen, &why);
        out[at[i]] = cli_or_error(out[at[i]], &why);
    }
    st = DUET_OK;
done:
    for (size_t i = 0; l && i < n; i++)
        line_clear(&l[i]);
    free(l);
    free(r);
    free(at);
    return st;
}

/* ---- for people: the text as it comes ---- */

typedef struct stream {
    duet_decoder *decoder;
    bool broken; /* stdout cannot be written any more */
} stream;

static int on_token(void *user, int sample, int32_t id, float logprob) {
    stream *s = user;
    const char *text = NULL;
    size_t n = 0;
    (void)sample;
    (void)logprob;
    if (duet_decoder_push(s->decoder, id, &text, &n, NULL))
        return 1;
    cli_put_text(stdout, text, n);
    s->broken = !cli_flush();
    return s->broken;
}

static int generate_plain(job *j, const char *prompt, size_t n_prompt) {
    duet_err err = {{0}};
    stream s = {0};
    line l = {0};
    int code = EXIT_DONE;
    json_t *in = json_pack("{s:o}", "prompt", json_stringn(prompt, n_prompt));
    if (!in)
        return cli_fail(EXIT_INPUT, "the prompt is not valid UTF-8");
    if (!read_line(j, in, &l, &err)) {
        code = cli_fail(EXIT_FAILED, "%s", err.text);
        goto done;
    }
    duet_status st = duet_decoder_create(duet_backend_tokenizer(j->b), true, &s.decoder, &err);
    if (!st) {
        l.r.on_token = on_token;
        l.r.user = &s;
        l.r.out = &l.gen;
        st = duet_backend_generate(j->b, &l.r, 1, cli_cancel(), &err);
        on_token(&s, 0, -1, 0); /* what is still held */
    }
    putchar('\n');
    if (st)
        code = cli_fail_status(st, &err);
done:
    duet_decoder_destroy(s.decoder);
    line_clear(&l);
    json_decref(in);
    return code;
}

static int generate_operands(job *j) {
    int code = EXIT_DONE;
    for (int i = 0; i < j->a->n_rest && code != EXIT_INTERRUPTED; i++) {
        int one = generate_plain(j, j->a->rest[i], strlen(j->a->rest[i]));
        if (one)
            code = one;
    }
    return code;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    job j = {.a = a};
    if (!a->m)
        return cli_fail(EXIT_USAGE, "%s: -m is missing: a model folder", self->name);
    if (a->json && a->n_rest)
        return cli_fail(EXIT_USAGE, "generate: --json reads lines from standard input, not operands");
    duet_status st = cli_backend_open(a, a->m, 0, &j.b, &err);
    if (st)
        return cli_fail_input(st, &err);
    int code = EXIT_DONE;
    if (a->json) {
        code = cli_each_line((size_t)a->batch, each, &j);
    } else if (a->n_rest) {
        code = generate_operands(&j);
    } else {
        dt_buf b = {0};
        st = cli_read_stdin(&b, &err);
        code = st ? cli_fail_input(st, &err) : generate_plain(&j, b.data, b.len);
        dt_buf_clear(&b);
    }
    duet_backend_close(j.b);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_MODEL,
    {'n', "max-tokens",   CLI_INT,  CLI_AT(predict),      "TOKENS", "tokens at most; -1 = up to the context",                 "256", -1,
      1 << 28,                                                                                                                               NULL},
    CLI_ROWS_SAMPLING,
    {0,   "ignore-eos",   CLI_FLAG, CLI_AT(ignore_eos),   NULL,     "go on after an end token",                               NULL,  0,  0, NULL},
    {0,   "add-special",  CLI_FLAG, CLI_AT(add_special),  NULL,     "add what the model's post-processor adds (such as BOS)",
      NULL,                                                                                                                           0,  0, NULL},
    {0,   "skip-special", CLI_FLAG, CLI_AT(skip_special), NULL,     "leave special tokens out of \"text\"",                   NULL,  0,  0, NULL},
    CLI_ROW_TEMPLATE("chat template for \"messages\", whatever the files say; `duet template --list` names them"),
    CLI_ROW_JSON("JSON lines in and out"),
    CLI_ROWS_ENGINE,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_generate = {
    .name = "generate",
    .operands = "[PROMPT...]",
    .max_rest = -1,
    .title = "let one model go on from a prompt",
    .text = "Writes what the model says after each PROMPT, or after standard input.\n\n"
            "With --json it reads lines {\"ids\"}, {\"prompt\"} or {\"messages\"} (a conversation, as `duet template` takes it, "
            "with the generation prompt), each with max_tokens, temp, top_k, top_p, min_p, "
            "seed, stop_ids and ignore_eos "
            "if wanted, and writes lines {\"ids\",\"text\",\"logprobs\",\"stop\"}, where stop is eos, length or stop. "
            "A line's result depends on that "
            "line alone, not on its neighbours.",
    .examples = "duet generate -m models/register-M --temp 0 'a=3'  # the likeliest continuation\n"
                "duet generate -m models/register-M --json < prompts.jsonl  # many prompts together",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
