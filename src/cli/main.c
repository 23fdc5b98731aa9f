/* duet: finds the command, reads its options, runs it. */
#include "cli/cli.h"

#include <signal.h>
#include <string.h>

const cli_command *const cli_commands[] = {
    &cli_run,
    &cli_chat,
    &cli_serve,
    &cli_eval,
    &cli_verify,
    &cli_extract,
    &cli_tasks,
    &cli_task,
    &cli_sft,
    &cli_train,
    &cli_generate,
    &cli_tokenize,
    &cli_template,
    &cli_logprobs,
    &cli_perplexity,
    &cli_inspect,
    &cli_convert,
    &cli_merge,
    &cli_bench,
    &cli_init,
    &cli_version,
    &cli_help,
    &cli_completion,
    NULL,
};

const cli_command *cli_find(const char *name) {
    for (const cli_command *const *c = cli_commands; *c; c++)
        if (!strcmp((*c)->name, name))
            return *c;
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[DT_COUNT(cli_commands)];
    size_t n = 0;
    for (const cli_command *const *c = cli_commands; *c; c++)
        names[n++] = (*c)->name;
    names[n] = NULL;
    return cli_fail(EXIT_USAGE, "unknown %s %s; did you mean %s? ('duet help' lists all)",
                    name[0] == '-' ? "option" : "command", name, cli_nearest(name, names));
}

static void warn(void *user, int level, const char *line) {
    (void)user;
    if (level == DT_LOG_WARN)
        cli_fail(0, "warning: %s", line);
}

int main(int argc, char **argv) {
    cli_args a;
    duet_err err = {{0}};
    signal(SIGPIPE, SIG_IGN); /* a reader that left shows as a failed write, */
    signal(SIGXFSZ, SIG_IGN); /* a file at its size limit too */
    dt_interrupt_install();
    dt_log_set(warn, NULL);
    if (argc < 2) {
        dt_buf b = {0};
        cli_overview_text(&b);
        fputs(b.data ? b.data : "", stderr);
        dt_buf_clear(&b);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        name = "help";
    if (!strcmp(name, "--version"))
        name = "version";
    const cli_command *c = cli_find(name);
    if (!c)
        return unknown_command(argv[1]);
    int code = cli_parse(c, argc - 2, argv + 2, &a, &err);
    if (code)
        return cli_fail(code, "%s", err.text);
    if (a.help) {
        dt_buf b = {0};
        cli_help_text(c, &b);
        fputs(b.data ? b.data : "", stdout);
        dt_buf_clear(&b);
        return cli_finish(EXIT_DONE);
    }
    return cli_finish(c->run(c, &a));
}
