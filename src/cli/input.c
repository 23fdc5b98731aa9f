/* Lines from a person: edited with libedit on a terminal, with a history that is kept; read plainly otherwise. */
#include "cli/cli.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000

struct cli_input {
    EditLine *el; /* NULL: no terminal */
    History *history;
    char *file; /* of the history; NULL = none */
    const char *prompt;
    bool had_text; /* the line that Ctrl-C ended held something */
    char *line;    /* of getline */
    size_t cap;
};

static char *prompt_of(EditLine *el) {
    cli_input *in = NULL;
    el_get(el, EL_CLIENTDATA, &in);
    return (char *)(uintptr_t)in->prompt; /* libedit reads it only */
}

/* One byte; 0 at the end, -1 on Ctrl-C or an error. */
static int read_byte(unsigned char *c) {
    ssize_t n = 0;
    do {
        n = read(STDIN_FILENO, c, 1);
    } while (n < 0 && errno == EINTR && !dt_interrupted());
    return (int)n;
}

/* libedit's own reader goes on after a signal; this one gives up on Ctrl-C. UTF-8, whatever the locale. */
static int read_char(EditLine *el, wchar_t *out) {
    unsigned char c = 0;
    cli_input *in = NULL;
    int n = read_byte(&c);
    el_get(el, EL_CLIENTDATA, &in);
    if (n <= 0 || dt_interrupted()) {
        const LineInfo *line = el_line(el);
        in->had_text = line && line->lastchar > line->buffer;
        return n < 0 || dt_interrupted() ? -1 : 0;
    }
    int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    uint32_t cp = more == 3 ? c & 7U : more == 2 ? c & 15U : more == 1 ? c & 31U : c;
    for (; more > 0 && (n = read_byte(&c)) == 1; more--)
        cp = cp << 6 | (c & 63U);
    *out = (wchar_t)cp;
    return n == 1 ? 1 : n;
}

/* The folder of `file` is made; a history that cannot be kept is no reason not to talk. */
static void load_history(cli_input *in) {
    HistEvent ev;
    char *dir = dt_strdup(in->file), *slash = dir ? strrchr(dir, '/') : NULL;
    if (slash && slash != dir) {
        *slash = 0;
        dt_mkdirs(dir, NULL);
    }
    free(dir);
    history(in->history, &ev, H_LOAD, in->file);
}

duet_status cli_input_open(const char *history_file, cli_input **out, duet_err *err) {
    cli_input *in = calloc(1, sizeof *in);
    *out = NULL;
    if (!in)
        return dt_fail(err, DUET_E_NOMEM, "no memory to read lines");
    *out = in;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return DUET_OK;
    HistEvent ev;
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        setlocale(LC_CTYPE, "");
    in->el = el_init("duet", stdin, stdout, stderr);
    in->history = history_init();
    in->file = dt_strdup(history_file);
    if (!in->el || !in->history) {
        cli_input_close(in);
        *out = NULL;
        return dt_fail(err, DUET_E_NOMEM, "no memory for line editing");
    }
    history(in->history, &ev, H_SETSIZE, HISTORY_LINES);
    history(in->history, &ev, H_SETUNIQUE, 1);
    if (in->file)
        load_history(in);
    el_set(in->el, EL_CLIENTDATA, in);
    el_set(in->el, EL_PROMPT, prompt_of);
    el_set(in->el, EL_EDITOR, "emacs");
    el_set(in->el, EL_SIGNAL, 0);
    el_set(in->el, EL_HIST, history, in->history);
    el_set(in->el, EL_GETCFN, read_char);
    el_source(in->el, NULL);
    return DUET_OK;
}

void cli_input_close(cli_input *in) {
    HistEvent ev;
    if (!in)
        return;
    if (in->history && in->file)
        history(in->history, &ev, H_SAVE, in->file);
    if (in->history)
        history_end(in->history);
    if (in->el)
        el_end(in->el);
    free(in->file);
    free(in->line);
    free(in);
}

bool cli_input_edits(const cli_input *in) {
    return in->el != NULL;
}

static cli_input_got edited(cli_input *in, const char **line, size_t *n) {
    HistEvent ev;
    int count = 0;
    in->had_text = false;
    *line = el_gets(in->el, &count);
    if (dt_interrupted()) {
        el_reset(in->el);
        fputs("^C\n", stdout);
        dt_interrupt_reset();
        return in->had_text ? CLI_INPUT_DROPPED : CLI_INPUT_INTERRUPT;
    }
    if (!*line || count <= 0)
        return CLI_INPUT_END;
    *n = (size_t)count;
    if (*n > 1)
        history(in->history, &ev, H_ENTER, *line);
    return CLI_INPUT_LINE;
}

cli_input_got cli_input_line(cli_input *in, const char *prompt, const char **line, size_t *n) {
    in->prompt = prompt;
    cli_input_got got = CLI_INPUT_LINE;
    if (in->el) {
        got = edited(in, line, n);
    } else {
        const ssize_t k = getline(&in->line, &in->cap, stdin);
        if (k < 0)
            return dt_interrupted() ? CLI_INPUT_INTERRUPT : CLI_INPUT_END;
        *line = in->line;
        *n = (size_t)k;
    }
    while (got == CLI_INPUT_LINE && *n && ((*line)[*n - 1] == '\n' || (*line)[*n - 1] == '\r'))
        (*n)--;
    return got;
}
