/* duet chat: a conversation with the pair, or with one model. Earlier answers are history, earlier signals are not. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat {
    const cli_args *a;
    duet_backend *M, *m;
    duet_pair *pair;
    duet_mode mode;
    cli_input *in;
    cli_screen screen;
    cli_talk talk;
    int signal_budget;
    duet_ledger sum; /* of all turns */
    size_t n_turns;
    int code; /* what the program will end with */
    bool over;
} chat;

/* ---- one turn ---- */

static void add_side(duet_ledger_side *to, const duet_ledger_side *s) {
    to->prompt_tokens += s->prompt_tokens;
    to->cached_tokens = to->cached_tokens == SIZE_MAX || s->cached_tokens == SIZE_MAX ? SIZE_MAX
                                                                                     : to->cached_tokens + s->cached_tokens;
    to->estimated = to->estimated || s->estimated;
    to->output_tokens += s->output_tokens;
    to->prefill_s += s->prefill_s;
    to->decode_s += s->decode_s;
    to->cost += s->cost;
}

static void count(chat *c, const duet_ledger *l) {
    add_side(&c->sum.M, &l->M);
    add_side(&c->sum.m, &l->m);
    c->sum.total_s += l->total_s;
    c->sum.cost += l->cost;
    c->n_turns++;
}

static bool context_full(const chat *c, const char *why) {
    if (!cli_talk_exchanges(&c->talk))
        return false;
    cli_fail(0, "the conversation no longer fits: %s. /drop N forgets the N oldest of its %zu exchanges, /reset all of them",
             why, cli_talk_exchanges(&c->talk));
    return true;
}

/* Both turns are kept, or none. */
static void keep(chat *c, const char *text, size_t n, const duet_pair_request *r, bool stopped) {
    const size_t before = c->talk.n;
    if (!cli_talk_add(&c->talk, "user", text, n, false) ||
        !cli_talk_add(&c->talk, "assistant", r->answer_text ? r->answer_text : "", r->n_answer_text, stopped)) {
        cli_talk_cut(&c->talk, before);
        c->code = cli_fail(EXIT_FAILED, "no memory to remember this turn");
    }
}

static void say(chat *c, const char *text, size_t n) {
    duet_err err = {{0}};
    const uint64_t names[2] = {dt_hash64(text, n, 0), c->talk.n};
    duet_pair_request r = {.question = text,
                           .n_question = n,
                           .history = c->talk.v,
                           .n_history = c->talk.n,
                           .mode = c->mode,
                           .key = c->talk.n ? dt_hash64(names, sizeof names, 0) : names[0],
                           .signal_budget = c->signal_budget,
                           .answer_budget = c->a->answer_budget,
                           .M = cli_sampling_for(c->a, c->M, &c->a->on_M),
                           .m = cli_sampling_for(c->a, c->m, &c->a->on_m)};
    if (c->screen.live) {
        r.on_text = cli_screen_text;
        r.user = &c->screen;
    }
    duet_status st = duet_pair_answer(c->pair, &r, 1, cli_cancel(), &err);
    const bool stopped = st == DUET_E_CANCELLED && dt_interrupted();
    if (c->screen.live)
        cli_screen_end(&c->screen);
    else if (!st || (stopped && r.n_answer_text))
        cli_screen_whole(&c->screen, &r);
    if (stopped)
        dt_interrupt_reset();
    if (stopped && r.n_answer_text) {
        keep(c, text, n, &r, true);
        cli_screen_dim(&c->screen, "[stopped; what was said is kept]");
    } else if (stopped) {
        cli_screen_dim(&c->screen, "[stopped before an answer; the question is forgotten]");
    } else if (st) {
        if (st != DUET_E_RANGE || !context_full(c, err.text))
            cli_fail_status(st, &err);
        c->code = EXIT_FAILED;
    } else {
        keep(c, text, n, &r, false);
    }
    if (!st || stopped) {
        char *ledger = duet_ledger_line(&r.ledger);
        cli_screen_dim(&c->screen, ledger ? ledger : "");
        free(ledger);
        count(c, &r.ledger);
    }
    duet_pair_request_clear(&r);
    c->over = !cli_flush();
}

/* ---- commands ---- */

typedef struct command {
    const char *name, *operand, *what;
    void (*run)(chat *c, const char *operand);
} command;

static void do_help(chat *c, const char *operand);

static void do_reset(chat *c, const char *operand) {
    (void)operand;
    cli_talk_clear(&c->talk);
    if (c->a->system && !cli_talk_add(&c->talk, "system", c->a->system, strlen(c->a->system), false))
        c->code = cli_fail(EXIT_FAILED, "no memory for the system message");
}

static void do_save(chat *c, const char *operand) {
    duet_err err = {{0}};
    if (cli_talk_save(&c->talk, operand, &err))
        c->code = cli_fail(EXIT_FAILED, "%s", err.text);
    else
        printf("saved %zu exchanges\n", cli_talk_exchanges(&c->talk));
}

static void do_load(chat *c, const char *operand) {
    duet_err err = {{0}};
    if (cli_talk_load(&c->talk, operand, &err))
        c->code = cli_fail(EXIT_FAILED, "%s", err.text);
    else
        printf("loaded %zu exchanges\n", cli_talk_exchanges(&c->talk));
}

static void do_signal(chat *c, const char *operand) {
    if (strcmp(operand, "on") != 0 && strcmp(operand, "off") != 0)
        c->code = cli_fail(EXIT_FAILED, "/signal takes on or off");
    else
        c->screen.no_signal = !strcmp(operand, "off");
}

static void do_budget(chat *c, const char *operand) {
    long long n = 0;
    if (!cli_read_int(operand, -1, 1 << 28, &n))
        c->code = cli_fail(EXIT_FAILED, "/budget takes a number of tokens, 0 or more, or -1 for no bound");
    else
        c->signal_budget = (int)n;
}

static void do_drop(chat *c, const char *operand) {
    long long n = 0;
    const long long all = (long long)cli_talk_exchanges(&c->talk);
    if (!cli_read_int(operand, 1, all > 0 ? all : 1, &n) || n > all)
        c->code = cli_fail(EXIT_FAILED, "/drop takes a number of exchanges from 1 to the %lld there are", all);
    else
        cli_talk_drop(&c->talk, (size_t)n);
}

static void do_stats(chat *c, const char *operand) {
    (void)operand;
    char *line = duet_ledger_line(&c->sum);
    printf("%zu turns, %zu exchanges in the conversation | %s\n", c->n_turns, cli_talk_exchanges(&c->talk),
           line ? line : "");
    free(line);
}

static void do_quit(chat *c, const char *operand) {
    (void)operand;
    c->over = true;
}

static const command commands[] = {
    {"help",   NULL,     "this list",                                                do_help  },
    {"reset",  NULL,     "begin anew",                                               do_reset },
    {"save",   "FILE",   "write the conversation to FILE",                           do_save  },
    {"load",   "FILE",   "go on with the conversation in FILE",                      do_load  },
    {"signal", "on|off", "show M's signal, or only the answer",                      do_signal},
    {"budget", "N",      "most tokens of the signal from now on",                    do_budget},
    {"drop",   "N",      "forget the N oldest exchanges",                            do_drop  },
    {"stats",  NULL,     "tokens, seconds and money so far",                         do_stats },
    {"quit",   NULL,     "leave (Ctrl-D and two Ctrl-C on an empty line do as well)", do_quit  },
};

static void do_help(chat *c, const char *operand) {
    (void)c;
    (void)operand;
    for (size_t i = 0; i < DT_COUNT(commands); i++) {
        char name[32];
        snprintf(name, sizeof name, "/%s %s", commands[i].name, commands[i].operand ? commands[i].operand : "");
        printf("  %-16s%s\n", name, commands[i].what);
    }
    puts("  A line that ends in \\ goes on in the next; \"\"\" begins a text of several lines and ends it.");
}

static void obey(chat *c, const char *line) {
    const size_t n = strcspn(line, " \t");
    const char *operand = line + n + strspn(line + n, " \t");
    for (size_t i = 0; i < DT_COUNT(commands); i++) {
        if (strlen(commands[i].name) != n || strncmp(commands[i].name, line, n) != 0)
            continue;
        if (!*operand == !commands[i].operand)
            commands[i].run(c, operand);
        else if (commands[i].operand)
            c->code = cli_fail(EXIT_FAILED, "/%s takes %s", commands[i].name, commands[i].operand);
        else
            c->code = cli_fail(EXIT_FAILED, "/%s takes nothing", commands[i].name);
        c->over = c->over || !cli_flush();
        return;
    }
    c->code = cli_fail(EXIT_FAILED, "there is no command /%.*s; /help lists them", (int)n, line);
}

/* ---- lines ---- */

static const char quotes[] = "\"\"\"";

/* Reads on until the text is whole: after a line that ends in a backslash, or within three quotes. */
static cli_input_got read_text(chat *c, dt_buf *text) {
    const char *line = NULL;
    size_t n = 0;
    bool first = true, quoted = false, more = false;
    text->len = 0;
    do {
        const cli_input_got got = cli_input_line(c->in, first ? "> " : ". ", &line, &n);
        if (got == CLI_INPUT_INTERRUPT && !first)
            return CLI_INPUT_DROPPED;
        if (got != CLI_INPUT_LINE) /* the end of a text that was still open counts as its end */
            return got == CLI_INPUT_END && !first ? CLI_INPUT_LINE : got;
        if (!first)
            dt_buf_add(text, "\n", 1);
        if (first && n >= 3 && !memcmp(line, quotes, 3)) {
            quoted = true;
            line += 3;
            n -= 3;
        }
        const bool closes = quoted && n >= 3 && !memcmp(line + n - 3, quotes, 3);
        more = !quoted && n && line[n - 1] == '\\';
        dt_buf_add(text, line, closes ? n - 3 : more ? n - 1 : n);
        quoted = quoted && !closes;
        first = false;
    } while (more || quoted);
    return CLI_INPUT_LINE;
}

/* Blank lines around a text of several lines are its writer's layout. */
static const char *trimmed(dt_buf *text, size_t *n) {
    const char *s = text->data ? text->data : "";
    *n = text->len;
    while (*n && strchr(" \t\r\n", *s) && *s) {
        s++;
        (*n)--;
    }
    while (*n && strchr(" \t\r\n", s[*n - 1]) && s[*n - 1])
        (*n)--;
    return s;
}

static void converse(chat *c) {
    dt_buf text = {0};
    bool asked_to_leave = false;
    while (!c->over) {
        const cli_input_got got = read_text(c, &text);
        if (got == CLI_INPUT_END)
            break;
        if (got == CLI_INPUT_INTERRUPT) {
            if (asked_to_leave || !cli_input_edits(c->in)) {
                c->code = cli_input_edits(c->in) ? c->code : EXIT_INTERRUPTED;
                break;
            }
            puts("Ctrl-C once more, or /quit, leaves");
            asked_to_leave = true;
            continue;
        }
        asked_to_leave = false;
        size_t n = 0;
        const char *s = trimmed(&text, &n);
        if (got != CLI_INPUT_LINE || !n)
            continue;
        if (*s == '/' && !memchr(s, '\n', n)) {
            text.data[(size_t)(s - text.data) + n] = 0;
            obey(c, s + 1);
        } else {
            say(c, s, n);
        }
    }
    dt_buf_clear(&text);
}

/* ---- the command ---- */

static duet_status open_models(chat *c, duet_err *err) {
    const cli_args *a = c->a;
    duet_pair_options p = cli_pair_options(a);
    duet_status st = c->mode == DUET_MODE_m ? DUET_OK : cli_backend_open(a, a->M, 'M', &c->M, err);
    if (!st && c->mode != DUET_MODE_M)
        st = cli_backend_open(a, a->m, 'm', &c->m, err);
    return st ? st : duet_pair_create(c->M, c->m, &p, &c->pair, err);
}

/* Owned; NULL = none. */
static char *history_file(const cli_args *a) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    dt_buf b = {0};
    if (a->history)
        return *a->history ? dt_strdup(a->history) : NULL;
    if (state && *state)
        dt_buf_addf(&b, "%s/duet/chat_history", state);
    else if (home && *home)
        dt_buf_addf(&b, "%s/.local/state/duet/chat_history", home);
    return b.data ? dt_buf_take(&b) : NULL;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    chat c = {.a = a, .screen = cli_screen_open(), .signal_budget = a->signal_budget};
    c.screen.no_signal = a->no_signal;
    c.sum.M_alone_tokens = SIZE_MAX;
    if (!cli_given(a, &a->mode))
        c.mode = a->M && a->m ? DUET_MODE_DUET : a->M ? DUET_MODE_M : DUET_MODE_m;
    else
        duet_mode_parse(a->mode, &c.mode);
    if (!a->M && c.mode != DUET_MODE_m)
        return cli_fail(EXIT_USAGE, "%s: -M is missing: the folder of the capable model", self->name);
    if (!a->m && c.mode != DUET_MODE_M)
        return cli_fail(EXIT_USAGE, "%s: no model; give -M PATH and -m PATH, or one of them", self->name);
    duet_status st = open_models(&c, &err);
    char *history = history_file(a);
    if (!st)
        st = cli_input_open(history, &c.in, &err);
    free(history);
    if (st) {
        c.code = cli_fail_input(st, &err);
    } else {
        cli_say_terms(a, c.pair);
        if (cli_input_edits(c.in) && !a->quiet)
            fputs("/help lists commands\n", stderr);
        do_reset(&c, "");
        converse(&c);
    }
    cli_input_close(c.in);
    cli_talk_clear(&c.talk);
    duet_pair_destroy(c.pair);
    duet_backend_close(c.M);
    duet_backend_close(c.m);
    return c.code;
}

static const cli_opt opts[] = {
    CLI_ROW_M,
    CLI_ROW_m,
    {0, "mode",      CLI_TEXT, CLI_AT(mode),      "MODE", "duet: both stages; M or m: that model alone (default: what -M and -m allow)", "duet", 0, 0,
     "duet|M|m"},
    {0, "system",    CLI_TEXT, CLI_AT(system),    "TEXT", "a system message before the conversation",                    NULL,   0, 0, NULL},
    {0, "no-signal", CLI_FLAG, CLI_AT(no_signal), NULL,   "show only answers; /signal on shows M's signal again",        NULL,   0, 0, NULL},
    {0, "history",   CLI_TEXT, CLI_AT(history),   "FILE",
     "where typed lines are kept (default: duet/chat_history in $XDG_STATE_HOME or ~/.local/state); '' = nowhere",       NULL,   0, 0, NULL},
    CLI_ROWS_BUDGETS,
    CLI_ROWS_SAMPLING,
    CLI_ROWS_STAGE_SAMPLING,
    CLI_ROWS_PAIR_TEXT,
    CLI_ROWS_TEMPLATES,
    CLI_ROWS_REMOTE,
    CLI_ROWS_STAGE_ROPE,
    CLI_ROW_QUIET,
    CLI_ROWS_ENGINE,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_chat = {
    .name = "chat",
    .operands = "",
    .title = "talk with the pair, or with one model",
    .text = "Each turn runs both stages on the whole conversation: M reads the earlier answers (not its earlier signals) and "
            "writes a signal, m answers. Only what is new in a prompt is computed; the line of costs says how many tokens "
            "were cached.\n\n"
            "On a terminal lines are edited (arrow keys, history). A line that ends in a backslash goes on in the next one, "
            "\"\"\" begins and ends a text of several lines. Ctrl-C stops the answer and keeps what was said; twice on an "
            "empty line it leaves. Commands begin with a slash: /help lists them.\n\n"
            "Without a terminal every line of standard input is a turn or a command.",
    .examples = "duet chat -M models/register-M -m models/register-m  # both models\n"
                "duet chat -m models/register-m --system 'Be brief.'  # one model",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
