/* duet tokenize: text <-> token ids, with the tokenizer of a model folder or GGUF file alone. */
#include "cli/cli.h"

#include <string.h>

typedef struct job {
    duet_tokenizer *tok;
    const cli_args *a;
} job;

static json_t *encode(const job *j, const char *text, size_t n, duet_err *err) {
    duet_ids ids = {0};
    int flags = (j->a->plain ? DUET_ENC_PLAIN : 0) | (j->a->add_special ? DUET_ENC_ADD_SPECIAL : 0);
    duet_status st = duet_tokenizer_encode(j->tok, text, n, flags, &ids, err);
    json_t *out = st ? NULL : json_pack("{s:o}", "ids", cli_ids_json(ids.v, ids.n));
    duet_ids_free(&ids);
    return out;
}

static json_t *decode(const job *j, const json_t *in, duet_err *err) {
    duet_ids ids = {0};
    duet_text text = {0};
    json_t *out = NULL;
    if (cli_ids_from(in, &ids, err) && !duet_tokenizer_decode(j->tok, ids.v, ids.n, j->a->skip_special, &text, err))
        out = json_pack("{s:o}", "text", json_stringn(text.data ? text.data : "", text.n));
    duet_ids_free(&ids);
    duet_text_free(&text);
    return out;
}

static json_t *one(void *user, const json_t *in, duet_err *err) {
    const job *j = user;
    const json_t *text = json_object_get(in, "text");
    if (j->a->decode)
        return decode(j, json_object_get(in, "ids"), err);
    if (json_is_string(text))
        return encode(j, json_string_value(text), json_string_length(text), err);
    dt_fail(err, DUET_E_FORMAT, "text is missing or not a string");
    return NULL;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    job j = {.a = a};
    if (!a->m)
        return cli_fail(EXIT_USAGE, "%s: -m is missing: a model folder, a tokenizer.json or a GGUF file", self->name);
    if (a->decode && (a->plain || a->add_special))
        return cli_fail(EXIT_USAGE, "tokenize: --plain and --add-special do not go with --decode");
    if (a->decode && a->n_rest)
        return cli_fail(EXIT_USAGE, "tokenize: --decode reads {\"ids\"} lines from standard input, not operands");
    duet_status st = duet_tokenizer_open(a->m, &j.tok, &err);
    if (st)
        return cli_fail_input(st, &err);
    int code = EXIT_DONE;
    for (int i = 0; i < a->n_rest; i++) {
        json_t *out = encode(&j, a->rest[i], strlen(a->rest[i]), &err);
        if (!out)
            code = cli_fail(EXIT_FAILED, "%s", err.text);
        if (out && !cli_put_json(out))
            break;
    }
    if (!a->n_rest)
        code = cli_each_line_alone(1, one, &j);
    duet_tokenizer_close(j.tok);
    return code;
}

static const cli_opt opts[] = {
    {'m', "model",        CLI_TEXT, CLI_AT(m),            "PATH", "a folder with tokenizer.json, that file, or a GGUF file",           NULL, 0, 0,
     NULL                                                                                                                                              },
    {0,   "plain",        CLI_FLAG, CLI_AT(plain),        NULL,   "recognise no added token in the text, so that it cannot forge one",
     NULL,                                                                                                                                   0, 0, NULL},
    {0,   "add-special",  CLI_FLAG, CLI_AT(add_special),  NULL,   "add what the model's post-processor adds (such as BOS)",
     NULL,                                                                                                                                   0, 0, NULL},
    {0,   "decode",       CLI_FLAG, CLI_AT(decode),       NULL,   "ids to text",                                                       NULL, 0, 0, NULL},
    {0,   "skip-special", CLI_FLAG, CLI_AT(skip_special), NULL,   "leave special tokens out of the text",                              NULL, 0, 0, NULL},
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_tokenize = {
    .name = "tokenize",
    .operands = "[TEXT...]",
    .max_rest = -1,
    .title = "turn text into token ids and back",
    .text = "Reads lines {\"text\"} and writes lines {\"ids\"}; with --decode the other way round. Texts given as "
            "operands are encoded instead of "
            "standard input. A line that fails gives {\"error\"} and exit code 1 at the end; the rest is done.",
    .examples = "duet tokenize -m models/register-M 'b? a=3 b=a+2'  # the ids of one text\n"
                "echo '{\"ids\":[5,9,2]}' | duet tokenize -m models/register-M --decode  # ids back to text",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
