/* duet template: conversations -> the prompts that a model's chat template makes of them. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

typedef struct job {
    duet_tokenizer *tok; /* NULL = a template by name alone */
    const cli_args *a;
} job;

static json_t *answer(void *user, const json_t *in, duet_err *err) {
    const job *j = user;
    duet_text text = {0};
    duet_ids ids = {0};
    json_t *out = NULL;
    char *line = json_dumps(in, JSON_COMPACT);
    duet_status st = line ? duet_template_render(j->tok, j->a->chat_template, line, strlen(line), &text, err)
                          : dt_fail(err, DUET_E_NOMEM, "no memory for a conversation");
    if (!st && j->a->with_ids)
        st = duet_template_encode(j->tok, j->a->chat_template, line, strlen(line), &ids, err);
    if (!st)
        out = json_pack("{s:o}", "prompt", json_stringn(text.data, text.n));
    if (out && j->a->with_ids)
        json_object_set_new(out, "ids", cli_ids_json(ids.v, ids.n));
    free(line);
    duet_ids_free(&ids);
    duet_text_free(&text);
    return out;
}

static int list_names(void) {
    const char *name = NULL, *title = NULL;
    for (size_t i = 0; (name = duet_template_known(i, &title)); i++)
        printf("%-20s%s\n", name, title);
    return EXIT_DONE;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    job j = {.a = a};
    if (a->list)
        return list_names();
    if (!a->m && !a->chat_template)
        return cli_fail(EXIT_USAGE, "%s: which template? Give -m PATH, or --chat-template NAME", self->name);
    if (!a->m && a->with_ids)
        return cli_fail(EXIT_USAGE, "%s: --ids needs -m PATH, whose tokenizer makes them", self->name);
    duet_status st = a->m ? duet_tokenizer_open(a->m, &j.tok, &err) : DUET_OK;
    if (st)
        return cli_fail_input(st, &err);
    int code = EXIT_DONE;
    if (!a->chat_template && !duet_template_name(j.tok, &err))
        code = cli_fail(EXIT_INPUT, "%s: %s", a->m, err.text);
    else if (a->chat_template && duet_template_check(a->chat_template, &err))
        code = cli_fail(EXIT_USAGE, "%s", err.text);
    else
        code = cli_each_line_alone(64, answer, &j);
    duet_tokenizer_close(j.tok);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_MODEL,
    CLI_ROW_TEMPLATE("the template of this family, whatever the files say; --list names them"),
    {0, "ids",  CLI_FLAG, CLI_AT(with_ids), NULL, "give the prompt's token ids too",        NULL, 0, 0, NULL},
    {0, "list", CLI_FLAG, CLI_AT(list),     NULL, "list the families that are known, and stop", NULL, 0, 0, NULL},
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_template = {
    .name = "template",
    .operands = "",
    .title = "render conversations as a model's chat template does",
    .text = "Reads lines {\"messages\":[{\"role\",\"content\"},...]}, each with tools, add_generation_prompt, "
            "enable_thinking and date_string if wanted, and writes lines {\"prompt\"}, or {\"error\"} where the template "
            "refuses a conversation. Messages may have reasoning_content and tool_calls.\n\n"
            "PATH needs only its tokenizer files. Its template is recognised by what it does, however it is written; one "
            "that is not known is refused. With --ids a mark that a message spells is text, not a mark.",
    .examples = "duet template -m models/register-M --ids < conversations.jsonl  # prompts and their ids\n"
                "duet template --chat-template llama3.1 < conversations.jsonl  # no files at all",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
