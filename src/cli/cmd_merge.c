/* duet merge: an adapter and its base model as one plain model. */
#include "cli/cli.h"

#include <string.h>

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    const char *in = a->rest[0], *out = a->rest[1];
    duet_tokenizer *tok = NULL;
    double start = dt_now();
    (void)self;
    if (dt_path_exists(out) && !a->force)
        return cli_fail(EXIT_USAGE, "merge: %s is there already; --force overwrites it", out);
    duet_status st = a->no_tokenizer ? DUET_OK : duet_tokenizer_open(in, &tok, &err);
    if (tok)
        st = duet_tokenizer_can_save(tok, &err); /* before the work is done */
    if (!st)
        st = duet_model_merge(in, out, !strcmp(a->type, "bf16"), a->threads, &err);
    if (!st && tok)
        st = duet_tokenizer_save(tok, out, &err);
    duet_tokenizer_close(tok);
    if (st == DUET_E_USAGE)
        return cli_fail(EXIT_USAGE, "merge: %s", err.text);
    if (st == DUET_E_NOMEM)
        return cli_fail_status(st, &err);
    if (st)
        return cli_fail_input(st, &err);
    if (a->json)
        return cli_print_json(json_pack("{s:s,s:o}", "path", out, "seconds", cli_real(dt_now() - start)));
    printf("%s\n", out);
    return EXIT_DONE;
}

static const cli_opt opts[] = {
    {0, "type",  CLI_TEXT, CLI_AT(type),  "TYPE", "of the numbers: f32 or bf16", "f32", 0, 0, "f32|bf16"},
    {0, "no-tokenizer", CLI_FLAG, CLI_AT(no_tokenizer), NULL,
     "no tokenizer.json, where the base's file cannot give it back exactly",                  NULL, 0, 0, NULL},
    {0, "force", CLI_FLAG, CLI_AT(force), NULL,   "overwrite OUT",               NULL,  0, 0, NULL      },
    CLI_ROW_THREADS,
    CLI_ROW_JSON("one JSON object"),
    CLI_ROW_HELP,
};

const cli_command cli_merge = {
    .name = "merge",
    .operands = "ADAPTER OUT",
    .min_rest = 2,
    .max_rest = 2,
    .title = "an adapter and its base model as one plain model",
    .text = "ADAPTER is a folder with adapter_config.json and adapter_model.safetensors, as `duet train` and PEFT write "
            "them; its base model is where base_model_name_or_path says, as it is or relative to ADAPTER. OUT becomes a "
            "Hugging Face folder with W + (alpha/r) B A in place of every adapted matrix W, the tokenizer included; "
            "`duet convert` makes a GGUF file of it.\n\n"
            "Every command that takes a model opens ADAPTER itself too. One matrix is in memory at a time.",
    .examples = "duet merge runs/mine/M M-merged --type bf16  # one plain folder\n"
                "duet convert M-merged M.gguf --type q4_k_m  # and a GGUF file of it",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
