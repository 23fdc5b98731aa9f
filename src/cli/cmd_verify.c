/* duet verify and duet extract: the graders of evaluation and training alone, as filters of JSON lines. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* ---- extract ---- */

typedef struct extract_job {
    duet_style style;
    bool lenient;
} extract_job;

static json_t *extract_one(void *user, const json_t *in, duet_err *err) {
    const extract_job *j = user;
    const json_t *text = json_object_get(in, "response");
    char *answer = NULL;
    if (!json_is_string(text)) {
        dt_fail(err, DUET_E_FORMAT, "response is missing or not a string");
        return NULL;
    }
    duet_status st = duet_extract(j->style, j->lenient, json_string_value(text), json_string_length(text), &answer, err);
    json_t *out = st ? NULL : json_pack("{s:o}", "answer", answer ? json_string(answer) : json_null());
    free(answer);
    return out;
}

static int run_extract(const cli_command *self, cli_args *a) {
    extract_job j = {.lenient = a->lenient};
    (void)self;
    if (!a->style || !duet_style_parse(a->style, &j.style))
        return cli_fail(EXIT_USAGE, "extract: --style is missing: boxed, answer_letter, gsm8k, free, letter_any or gpqa-first");
    return cli_each_line_alone(64, extract_one, &j);
}

static const cli_opt extract_opts[] = {
    {'s', "style",   CLI_TEXT, CLI_AT(style),   "STYLE", "how the answer is written in the response",              NULL, 0, 0, "boxed|answer_letter|gsm8k|free|letter_any|gpqa-first"},
    {0,   "lenient", CLI_FLAG, CLI_AT(lenient), NULL,    "where that form is missing, look for an answer in others", NULL, 0, 0, NULL                                                   },
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_extract = {
    .name = "extract",
    .operands = "",
    .title = "take the answer out of responses",
    .text = "Reads lines {\"response\"} and writes lines {\"answer\"}; null where there is none. The last answer wins.\n\n"
            "boxed: the last \\boxed{...}, braces balanced. answer_letter: the last `Answer: X` with X from A to D in "
            "either case and light markup, else `answer is X`, else a boxed letter. gsm8k: the number after the last "
            "####. free: the last box, else `final answer is`, else `answer is`, else the last number. letter_any: as "
            "answer_letter, else an option letter anywhere. gpqa-first: the first `Answer: X` as the reference finds it, "
            "right or wrong.\n\n"
            "With --lenient, boxed and gsm8k fall back on free, and answer_letter on letter_any. A line that fails "
            "gives {\"error\"} and exit code 1 at the end; the rest is done.",
    .examples = "duet extract --style boxed < responses.jsonl  # one answer a line\n"
                "echo '{\"response\":\"So \\\\boxed{7}.\"}' | duet extract -s boxed  # {\"answer\":\"7\"}",
    .opts = extract_opts,
    .n_opts = DT_COUNT(extract_opts),
    .run = run_extract,
};

/* ---- verify ---- */

typedef struct verify_job {
    duet_verify_options base;
    dt_pool *pool;
    json_t *const *in;
    json_t **out;
} verify_job;

static bool want_bool(const json_t *opts, const char *name, bool *v, duet_err *err) {
    const json_t *j = json_object_get(opts, name);
    if (j && !json_is_boolean(j))
        return dt_fail(err, DUET_E_FORMAT, "opts.%s is not true or false", name), false;
    if (j)
        *v = json_is_true(j);
    return true;
}

/* opts of a line: digits, extract (what may be taken from: "latex", "expr"), set_rel. */
static bool read_opts(const json_t *opts, duet_verify_options *o, duet_err *err) {
    if (!opts)
        return true;
    if (!json_is_object(opts))
        return dt_fail(err, DUET_E_FORMAT, "opts is not an object"), false;
    const json_t *digits = json_object_get(opts, "digits"), *kinds = json_object_get(opts, "extract"), *k = NULL;
    bool set_rel = !o->one_way, by_name = true;
    size_t i = 0;
    if (digits) {
        if (!json_is_integer(digits) || json_integer_value(digits) < 1 || json_integer_value(digits) > 50)
            return dt_fail(err, DUET_E_FORMAT, "opts.digits is not a whole number from 1 to 50"), false;
        o->digits = (int)json_integer_value(digits);
    }
    if (!want_bool(opts, "set_rel", &set_rel, err) || !want_bool(opts, "strict", &by_name, err))
        return false;
    o->one_way = !set_rel;
    if (!kinds)
        return true;
    if (!json_is_array(kinds))
        return dt_fail(err, DUET_E_FORMAT, "opts.extract is not a list of \"latex\" and \"expr\""), false;
    o->no_latex = o->no_expr = true;
    json_array_foreach(kinds, i, k) {
        const char *name = json_is_string(k) ? json_string_value(k) : "";
        if (!strcmp(name, "latex"))
            o->no_latex = false;
        else if (!strcmp(name, "expr"))
            o->no_expr = false;
        else
            return dt_fail(err, DUET_E_FORMAT, "opts.extract has something other than \"latex\" and \"expr\""), false;
    }
    return true;
}

static json_t *verdict_json(const duet_verdict *v) {
    json_t *j = json_pack("{s:b,s:s,s:s?,s:s?}", "equal", v->equal, "method", v->method, "gold_value", v->gold, "pred_value", v->pred);
    if (j && v->reason && json_object_set_new(j, "reason", json_string(v->reason))) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

static void verify_one(void *arg, size_t i, int thread) {
    verify_job *j = arg;
    duet_err err = {{0}};
    duet_verdict v = {0};
    duet_verify_options o = j->base;
    const json_t *gold = json_object_get(j->in[i], "gold"), *pred = json_object_get(j->in[i], "pred");
    (void)thread;
    if (!json_is_string(gold))
        dt_fail(&err, DUET_E_FORMAT, "gold is missing or not a string");
    else if (!json_is_string(pred))
        dt_fail(&err, DUET_E_FORMAT, "pred is missing or not a string");
    else if (read_opts(json_object_get(j->in[i], "opts"), &o, &err) &&
             !duet_verify(json_string_value(gold), json_string_length(gold), json_string_value(pred),
                          json_string_length(pred), &o, &v, &err)) {
        j->out[i] = verdict_json(&v);
        duet_verdict_clear(&v);
    }
    j->out[i] = cli_or_error(j->out[i], &err);
}

static duet_status verify_each(void *user, json_t *const *in, json_t **out, size_t n, duet_err *unused) {
    verify_job *j = user;
    (void)unused;
    j->in = in;
    j->out = out;
    dt_pool_run(n < 8 ? NULL : j->pool, n, verify_one, j);
    return DUET_OK;
}

static int run_verify(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    verify_job j = {.base = {.strict = a->strict, .digits = a->digits}};
    (void)self;
    if (a->threads != 1) {
        duet_status st = dt_pool_create(a->threads, &j.pool, &err);
        if (st)
            return cli_fail_status(st, &err);
    }
    int code = cli_each_line(a->threads == 1 ? 64 : 256, verify_each, &j);
    dt_pool_destroy(j.pool);
    return code;
}

static const cli_opt verify_opts[] = {
    {0,   "strict",  CLI_FLAG, CLI_AT(strict),  NULL,  "compare strings after the MATH benchmark's normalisation, nothing else",  NULL, 0, 0,    NULL},
    {0,   "digits",  CLI_INT,  CLI_AT(digits),  "N",   "decimals a number must have to stand for the value it rounds",             "6",  1, 50,   NULL},
    {'t', "threads", CLI_INT,  CLI_AT(threads), "N",   "threads; 0 = all CPUs",                                                    "1",  0, 4096, NULL},
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_verify = {
    .name = "verify",
    .operands = "",
    .title = "say whether two answers are the same",
    .text = "Reads lines {\"gold\",\"pred\"} and writes lines {\"equal\",\"method\",\"gold_value\",\"pred_value\"}. Both may "
            "be bare answers in LaTeX or plain text, or whole responses; the values are the answers that were found and "
            "compared. method is text, exact, ball or rounding where they are equal, different, undecided (equal is "
            "false then, and reason says why), or none where a text has no answer. A line may have \"opts\" with "
            "\"digits\", \"extract\" (a list of \"latex\" and \"expr\": what an answer may be taken from) and \"set_rel\" "
            "(false: a set in gold does not match an inequality in pred).\n\n"
            "With --strict the verdict is that of the classic string comparison, right or wrong, and the values are the "
            "normalised strings.\n\n"
            "Work and memory for a line are bounded whatever it holds. A line that fails gives {\"error\"} and exit code 1 at "
            "the end; the rest is done.",
    .examples = "duet verify < pairs.jsonl  # one verdict a line\n"
                "echo '{\"gold\":\"1/2\",\"pred\":\"So \\\\boxed{0.5}\"}' | duet verify  # equal",
    .opts = verify_opts,
    .n_opts = DT_COUNT(verify_opts),
    .run = run_verify,
};
