/* Help, man pages and shell completion, all made from the commands' tables. */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

#define WIDTH 79
#define COLUMN 28

static const char *const exit_codes[][2] = {
    {"0",   "done"                                                               },
    {"1",   "the work failed, or some input lines did"                           },
    {"2",   "a wrong option, operand or configuration"                           },
    {"3",   "an input file is missing, unreadable or broken"                     },
    {"4",   "a model backend could not be reached"                               },
    {"5",   "a required score was not met"                                       },
    {"130", "interrupted: the first Ctrl-C saves and stops, the second stops now"},
};

/* Words of s, wrapped; the text begins in column `at` and goes on in column `indent`. */
static void wrap(dt_buf *b, const char *s, int at, int indent) {
    bool first = true;
    while (*s) {
        size_t n = strcspn(s, " ");
        if (!first && at + 1 + (int)n > WIDTH) {
            dt_buf_addf(b, "\n%*s", indent, "");
            at = indent;
        } else if (!first) {
            dt_buf_adds(b, " ");
            at++;
        }
        dt_buf_add(b, s, n);
        at += (int)n;
        first = false;
        s += n + (s[n] == ' ');
    }
    dt_buf_adds(b, "\n");
}

/* Paragraphs, separated by blank lines. */
static void paragraphs(dt_buf *b, const char *text) {
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t n = end ? (size_t)(end - text) : strlen(text);
        dt_buf one = {0};
        dt_buf_add(&one, text, n);
        if (one.data)
            wrap(b, one.data, 0, 0);
        dt_buf_clear(&one);
        text += n + (end ? 2 : 0);
        if (end)
            dt_buf_adds(b, "\n");
    }
}

/* Lines "command  # remark": the remark goes in brackets or on a line of its own, by `each`. */
static void examples(dt_buf *b, const char *text, void (*each)(dt_buf *, const char *, size_t, const char *, size_t)) {
    while (*text) {
        size_t n = strcspn(text, "\n");
        const char *mark = strstr(text, "  # ");
        size_t n_cmd = mark && mark < text + n ? (size_t)(mark - text) : n;
        const char *remark = n_cmd < n ? text + n_cmd + 4 : "";
        each(b, text, n_cmd, remark, n_cmd < n ? n - n_cmd - 4 : 0);
        text += n + (text[n] == '\n');
    }
}

static void help_example(dt_buf *b, const char *cmd, size_t n, const char *remark, size_t m) {
    if (m)
        dt_buf_addf(b, "  # %.*s\n", (int)m, remark);
    dt_buf_addf(b, "  %.*s\n", (int)n, cmd);
}

void cli_help_text(const cli_command *c, dt_buf *b) {
    dt_buf_addf(b, "usage: duet %s [options]%s%s\n\n", c->name, *c->operands ? " " : "", c->operands);
    paragraphs(b, c->text);
    if (c->examples) {
        dt_buf_adds(b, "\n");
        examples(b, c->examples, help_example);
    }
    dt_buf_adds(b, "\noptions:\n");
    for (size_t i = 0; i < c->n_opts; i++) {
        const cli_opt *o = &c->opts[i];
        dt_buf head = {0}, text = {0};
        if (o->letter)
            dt_buf_addf(&head, "  -%c, --%s%s%s", o->letter, o->name, o->meta ? " " : "", o->meta ? o->meta : "");
        else
            dt_buf_addf(&head, "      --%s%s%s", o->name, o->meta ? " " : "", o->meta ? o->meta : "");
        dt_buf_adds(&text, o->help);
        if (o->def && o->kind != CLI_FLAG)
            dt_buf_addf(&text, " (default %s)", o->def);
        if (head.len + 2 > COLUMN)
            dt_buf_addf(b, "%s\n%*s", head.data, COLUMN, "");
        else
            dt_buf_addf(b, "%-*s", COLUMN, head.data);
        if (text.data)
            wrap(b, text.data, COLUMN, COLUMN);
        dt_buf_clear(&head);
        dt_buf_clear(&text);
    }
}

void cli_overview_text(dt_buf *b) {
    dt_buf_adds(b, "usage: duet <command> [options] [files]\n\n"
                   "A capable model M thinks about a question in few tokens, a light model m reads\n"
                   "what M wrote and answers.\n\ncommands:\n");
    for (const cli_command *const *c = cli_commands; *c; c++)
        dt_buf_addf(b, "  %-12s%s\n", (*c)->name, (*c)->title);
    dt_buf_adds(b, "\n'duet help COMMAND' or 'duet COMMAND --help' shows a command's options.\n");
}

/* ---- man pages ---- */

/* Text for troff: hyphens that must stay hyphens, backslashes, and dots that would begin a request. */
static void roff(dt_buf *b, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((i == 0 || s[i - 1] == '\n') && (s[i] == '.' || s[i] == '\''))
            dt_buf_adds(b, "\\&");
        if (s[i] == '-')
            dt_buf_adds(b, "\\-");
        else if (s[i] == '\\')
            dt_buf_adds(b, "\\e");
        else
            dt_buf_add(b, s + i, 1);
    }
}

static void roffs(dt_buf *b, const char *s) {
    roff(b, s, strlen(s));
}

static void man_head(dt_buf *b, const char *name, const char *title) {
    dt_buf_adds(b, ".TH DUET");
    for (const char *p = name; p && *p; p++) {
        if (p == name)
            dt_buf_adds(b, "\\-");
        dt_buf_addf(b, "%c", toupper((unsigned char)*p));
    }
    dt_buf_addf(b, " 1 \"\" \"duet %s\" \"duet manual\"\n.SH NAME\nduet", DUET_VERSION);
    if (name)
        dt_buf_addf(b, "\\-%s", name);
    dt_buf_adds(b, " \\- ");
    roffs(b, title);
    dt_buf_adds(b, "\n");
}

static void man_exit_status(dt_buf *b) {
    dt_buf_adds(b, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < DT_COUNT(exit_codes); i++)
        dt_buf_addf(b, ".TP\n.B %s\n%s\n", exit_codes[i][0], exit_codes[i][1]);
}

static void man_example(dt_buf *b, const char *cmd, size_t n, const char *remark, size_t m) {
    dt_buf_adds(b, ".PP\n");
    if (m) {
        roff(b, remark, m);
        dt_buf_adds(b, ":\n.PP\n");
    }
    dt_buf_adds(b, ".RS\n.nf\n");
    roff(b, cmd, n);
    dt_buf_adds(b, "\n.fi\n.RE\n");
}

void cli_man_text(const cli_command *c, dt_buf *b) {
    char env[64];
    man_head(b, c->name, c->title);
    dt_buf_addf(b, ".SH SYNOPSIS\n.B duet %s\n[options] ", c->name);
    roffs(b, c->operands);
    dt_buf_adds(b, "\n.SH DESCRIPTION\n");
    for (const char *p = c->text; *p;) {
        const char *end = strstr(p, "\n\n");
        size_t n = end ? (size_t)(end - p) : strlen(p);
        roff(b, p, n);
        dt_buf_adds(b, end ? "\n.PP\n" : "\n");
        p += n + (end ? 2 : 0);
    }
    dt_buf_adds(b, ".SH OPTIONS\nAn option may also be set by the environment variable named with it.\n");
    for (size_t i = 0; i < c->n_opts; i++) {
        const cli_opt *o = &c->opts[i];
        dt_buf_adds(b, ".TP\n");
        if (o->letter)
            dt_buf_addf(b, "\\fB\\-%c\\fR, ", o->letter);
        dt_buf_adds(b, "\\fB\\-\\-");
        roffs(b, o->name);
        dt_buf_adds(b, "\\fR");
        if (o->meta)
            dt_buf_addf(b, " \\fI%s\\fR", o->meta);
        dt_buf_adds(b, "\n");
        roffs(b, o->help);
        if (o->def && o->kind != CLI_FLAG) {
            dt_buf_adds(b, " (default ");
            roffs(b, o->def);
            dt_buf_adds(b, ")");
        }
        cli_env_name(o->name, env);
        dt_buf_addf(b, strcmp(o->name, "help") ? ".\n.br\nEnvironment: %s\n" : ".\n", env);
    }
    if (c->examples) {
        dt_buf_adds(b, ".SH EXAMPLES\n");
        examples(b, c->examples, man_example);
    }
    man_exit_status(b);
    dt_buf_adds(b, ".SH SEE ALSO\n.BR duet (1)\n");
}

void cli_man_overview(dt_buf *b) {
    man_head(b, NULL, "two language models solve a task together");
    dt_buf_adds(
        b, ".SH SYNOPSIS\n.B duet\n.I command\n[options] [files]\n.SH DESCRIPTION\n"
           "A capable model M thinks about a question in few tokens; a light model m reads what M wrote and answers.\n"
           "The commands run such a pair, measure it, and train it so that M writes less.\n.SH COMMANDS\n");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        dt_buf_addf(b, ".TP\n.BR duet\\-%s (1)\n", (*c)->name);
        roffs(b, (*c)->title);
        dt_buf_adds(b, "\n");
    }
    dt_buf_adds(
        b, ".SH OPTIONS\nDefaults come first, then the file of \\-\\-config, then DUET_* variables, then the command "
           "line: the last one wins.\n"
           "Results go to standard output, progress and messages to standard error. A \\- stands for standard input.\n"
           ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nno colour and no redrawing, if set and not empty\n"
           ".TP\n.B DUET_KERNEL\nscalar, avx2 or avx512: the kernels to use instead of the best this CPU has\n"
           ".TP\n.B DUET_THREADS\nthreads to use where no option says it\n");
    man_exit_status(b);
}

/* ---- completion ---- */

static bool takes_path(const cli_opt *o) {
    return o->meta && (strstr(o->meta, "PATH") || strstr(o->meta, "FILE") || strstr(o->meta, "DIR"));
}

void cli_completion_text(dt_buf *b) {
    dt_buf_adds(b, "# bash completion for duet: source it, or put it where bash-completion looks.\n"
                   "_duet() {\n"
                   "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words='' paths=''\n"
                   "    COMPREPLY=()\n"
                   "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                   "        COMPREPLY=($(compgen -W \"");
    for (const cli_command *const *c = cli_commands; *c; c++)
        dt_buf_addf(b, "%s%s", c == cli_commands ? "" : " ", (*c)->name);
    dt_buf_adds(b, "\" -- \"$cur\"))\n"
                   "        return\n"
                   "    fi\n"
                   "    case ${COMP_WORDS[1]}:$prev in\n");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        for (size_t i = 0; i < (*c)->n_opts; i++) {
            const cli_opt *o = &(*c)->opts[i];
            if (!o->choices)
                continue;
            dt_buf_addf(b, "    %s:--%s) COMPREPLY=($(compgen -W \"", (*c)->name, o->name);
            for (const char *p = o->choices; *p; p++)
                dt_buf_addf(b, "%c", *p == '|' ? ' ' : *p);
            dt_buf_adds(b, "\" -- \"$cur\")); return ;;\n");
        }
    }
    dt_buf_adds(b, "    esac\n    case ${COMP_WORDS[1]} in\n");
    for (const cli_command *const *c = cli_commands; *c; c++) {
        dt_buf_addf(b, "    %s)\n        words='", (*c)->name);
        for (size_t i = 0; i < (*c)->n_opts; i++)
            dt_buf_addf(b, "%s--%s", i ? " " : "", (*c)->opts[i].name);
        if (!strcmp((*c)->name, "help"))
            for (const cli_command *const *d = cli_commands; *d; d++)
                dt_buf_addf(b, " %s", (*d)->name);
        dt_buf_adds(b, "'\n        paths='");
        bool any = false;
        for (size_t i = 0; i < (*c)->n_opts; i++) {
            const cli_opt *o = &(*c)->opts[i];
            if (!takes_path(o))
                continue;
            dt_buf_addf(b, "%s--%s", any ? " " : "", o->name);
            if (o->letter)
                dt_buf_addf(b, " -%c", o->letter);
            any = true;
        }
        dt_buf_adds(b, "' ;;\n");
    }
    dt_buf_adds(b, "    esac\n"
                   "    case \" $paths \" in\n"
                   "    *\" $prev \"*) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
                   "    esac\n"
                   "    case $cur in\n"
                   "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
                   "    *) COMPREPLY=($(compgen -f -- \"$cur\") $(compgen -W \"$words\" -- \"$cur\")) ;;\n"
                   "    esac\n"
                   "}\n"
                   "complete -o filenames -F _duet duet\n");
}
