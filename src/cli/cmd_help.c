/* duet help: the overview, a command's help; duet version; duet completion. */
#include "cli/cli.h"

#include <string.h>

static int print(dt_buf *b) {
    int code = b->failed ? cli_fail(EXIT_FAILED, "no memory for the text") : EXIT_DONE;
    if (!code)
        fputs(b->data, stdout);
    dt_buf_clear(b);
    return code;
}

/* ---- help ---- */

static int run_help(const cli_command *self, cli_args *a) {
    dt_buf b = {0};
    (void)self;
    if (!a->n_rest) {
        if (a->man)
            cli_man_overview(&b);
        else
            cli_overview_text(&b);
        return print(&b);
    }
    const cli_command *c = cli_find(a->rest[0]);
    if (!c)
        return cli_fail(EXIT_USAGE, "help: unknown command %s ('duet help' lists all)", a->rest[0]);
    if (a->man)
        cli_man_text(c, &b);
    else
        cli_help_text(c, &b);
    return print(&b);
}

static const cli_opt help_opts[] = {
    {0, "man", CLI_FLAG, CLI_AT(man), NULL, "print the man page (troff)", NULL, 0, 0, NULL},
    CLI_ROW_HELP,
};

const cli_command cli_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .max_rest = 1,
    .title = "show the commands, or one command's options",
    .text = "Shows what duet can do, or what one command can do.",
    .opts = help_opts,
    .n_opts = DT_COUNT(help_opts),
    .run = run_help,
};

/* ---- version ---- */

static int run_version(const cli_command *self, cli_args *a) {
    (void)self;
    if (a->json)
        return cli_print_json(json_pack("{s:s}", "version", duet_version()));
    printf("duet %s\n", duet_version());
    return EXIT_DONE;
}

static const cli_opt version_opts[] = {CLI_ROW_JSON("print {\"version\"}"), CLI_ROW_HELP};

const cli_command cli_version = {
    .name = "version",
    .operands = "",
    .title = "print the version",
    .text = "Prints the version of the program and its library.",
    .opts = version_opts,
    .n_opts = DT_COUNT(version_opts),
    .run = run_version,
};

/* ---- completion ---- */

static int run_completion(const cli_command *self, cli_args *a) {
    dt_buf b = {0};
    (void)self;
    if (strcmp(a->rest[0], "bash") != 0)
        return cli_fail(EXIT_USAGE, "completion: %s is not a known shell; bash is", a->rest[0]);
    cli_completion_text(&b);
    return print(&b);
}

static const cli_opt completion_opts[] = {CLI_ROW_HELP};

const cli_command cli_completion = {
    .name = "completion",
    .operands = "bash",
    .min_rest = 1,
    .max_rest = 1,
    .title = "print a completion script for the shell",
    .text = "Prints a script that completes commands, options and their values in bash.",
    .examples = "source <(duet completion bash)  # complete in this shell",
    .opts = completion_opts,
    .n_opts = DT_COUNT(completion_opts),
    .run = run_completion,
};
