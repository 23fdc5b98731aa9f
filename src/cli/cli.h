/* cli: argv -> one public call -> stdout and an exit code. What all commands share.
 *
 * A command is one table: its options with their help and defaults. Parsing, --help, the man page and the shell
 * completion all read that table and nothing else. */
#ifndef DUET_CLI_H
#define DUET_CLI_H

#include "base/base.h"
#include "duet/duet.h"

#include <jansson.h>

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,
    EXIT_BACKEND = 4,
    EXIT_SCORE = 5,
    EXIT_INTERRUPTED = 130
};

/* ---- values of all options of all commands; a command's table names those it has ---- */

typedef struct cli_sampling {
    double temp, top_p, min_p;
    int top_k;
} cli_sampling;

enum { CLI_MAX_LIST = 32 };
typedef struct cli_list { /* an option that may be repeated */
    const char *v[CLI_MAX_LIST];
    int n;
} cli_list;

typedef struct cli_args {
    const char *config, *out;
    bool help, json, quiet;
    /* models and engines */
    const char *M, *m, *before_M, *before_m;
    const char *json_schema; /* file */
    int ctx, threads, batch;
    const char *weights, *rope, *rope_M, *rope_m;
    const char *chat_template, *M_template, *m_template;
    /* remote models */
    const char *key_env, *M_key_env, *m_key_env, *M_fields, *m_fields;
    double connect_timeout, first_timeout, idle_timeout, answer_timeout;
    int tries, parallel;
    const char *kv_type;
    /* stages */
    const char *mode, *keep, *instruction;
    int signal_budget, answer_budget, predict;
    cli_sampling both, on_M, on_m;
    uint64_t seed;
    double price_M, price_m, price_M_in, price_m_in;
    bool compare;
    /* chat */
    const char *system, *history;
    bool no_signal;
    /* serve */
    const char *host, *unix_socket, *api_key_file, *api_key_env, *cors, *log, *trace;
    int port, queue, max_body;
    /* tasks and evaluation */
    cli_list data;
    const char *rescore, *compare_to, *report, *store, *replay;
    const char *task, *map, *modes, *plot, *grader, *split;
    uint64_t choice_seed;
    int n, k, first;
    double min_accuracy;
    bool chain, budget_curve;
    const char *shares;
    /* text */
    bool strict, lenient;
    const char *style;
    int digits;
    bool plain, add_special, decode, skip_special, ignore_eos, all_tokens, with_ids, list;
    /* training */
    bool resume, dry_run;
    /* bench */
    int bench_p, bench_n, shared, repeats;
    const char *batches, *depths;
    bool train;
    int seqs, seq_len;
    /* init */
    int layers, width, heads, kv_heads, head_dim, ffn, max_pos, vocab;
    double theta, init_range;
    const char *dtype, *tokenizer, *family, *train_text;
    bool untied, force;
    /* convert */
    const char *type;
    bool no_tokenizer;
    /* inspect */
    bool tensors, hash;
    /* help */
    bool man;

    char **rest; /* operands; borrowed from argv */
    int n_rest;
} cli_args;

typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_LIST, CLI_INT, CLI_REAL, CLI_SEED } cli_kind;

typedef struct cli_opt {
    char letter;      /* 0 = none */
    const char *name; /* long, without dashes */
    cli_kind kind;
    size_t at;        /* offset in cli_args */
    const char *meta; /* what the value is; NULL for a flag */
    const char *help;
    const char *def;     /* default as text; NULL = not given */
    double lo, hi;       /* of numbers, both allowed */
    const char *choices; /* "a|b|c": nothing else is allowed; NULL = any */
} cli_opt;

#define CLI_MAX_OPTS 96

typedef struct cli_command {
    const char *name;
    const char *operands;   /* "QUESTION..." as help shows it; "" = none */
    int min_rest, max_rest; /* max -1 = any number */
    const char *title;      /* one line, no full stop */
    const char *text;       /* paragraphs, one blank line between them */
    const char *examples;   /* lines "command  # what it does"; may be NULL */
    const cli_opt *opts;
    size_t n_opts;
    int (*run)(const struct cli_command *c, cli_args *a);
    bool config_is_recipe; /* --config names a recipe for the library, not a file of options */
} cli_command;

extern const cli_command cli_run, cli_serve, cli_eval, cli_tasks, cli_task, cli_sft, cli_train, cli_generate, cli_tokenize,
    cli_template, cli_chat, cli_logprobs, cli_perplexity, cli_inspect, cli_convert, cli_bench, cli_init, cli_version,
    cli_help, cli_completion, cli_verify, cli_extract, cli_merge;

/* main.c: all commands in the order of the overview; NULL-terminated. */
extern const cli_command *const cli_commands[];
const cli_command *cli_find(const char *name); /* NULL = none */

/* ---- option rows that several commands have ---- */

#define CLI_AT(f) offsetof(cli_args, f)
#define CLI_ROW_HELP                                                                                                   \
    { 'h', "help", CLI_FLAG, CLI_AT(help), NULL, "show this help", NULL, 0, 0, NULL }
#define CLI_ROW_JSON(what)                                                                                             \
    { 0, "json", CLI_FLAG, CLI_AT(json), NULL, what, NULL, 0, 0, NULL }
#define CLI_ROW_QUIET                                                                                                  \
    { 'q', "quiet", CLI_FLAG, CLI_AT(quiet), NULL, "no progress on stderr", NULL, 0, 0, NULL }
#define CLI_ROW_CONFIG                                                                                                 \
    {                                                                                                                  \
        0, "config", CLI_TEXT, CLI_AT(config), "FILE",                                                                 \
            "read options from FILE, lines of `name: value`; flags win over it", NULL, 0, 0, NULL                      \
    }
#define CLI_ROW_M                                                                                                      \
    { 'M', "reasoner", CLI_TEXT, CLI_AT(M), "PATH", "the capable model: a Hugging Face folder, a GGUF file, or an address (https://host/v1#model)", NULL, 0, 0, NULL }
#define CLI_ROW_m                                                                                                      \
    { 'm', "answerer", CLI_TEXT, CLI_AT(m), "PATH", "the light model: a Hugging Face folder, a GGUF file, or an address", NULL, 0, 0, NULL }
#define CLI_ROW_MODEL                                                                                                  \
    { 'm', "model", CLI_TEXT, CLI_AT(m), "PATH", "the model: a Hugging Face folder or a GGUF file", NULL, 0, 0, NULL }
#define CLI_ROW_TEMPLATE(what)                                                                                         \
    { 0, "chat-template", CLI_TEXT, CLI_AT(chat_template), "NAME", what, NULL, 0, 0, NULL }
/* For commands with both models. */
#define CLI_ROWS_TEMPLATES                                                                                             \
    CLI_ROW_TEMPLATE("chat template of both models, whatever their files say; `duet template --list` names them"),     \
        {0, "M-chat-template", CLI_TEXT, CLI_AT(M_template), "NAME", "--chat-template for M only", NULL, 0, 0, NULL}, { \
        0, "m-chat-template", CLI_TEXT, CLI_AT(m_template), "NAME", "--chat-template for m only", NULL, 0, 0, NULL     \
    }
/* For commands that take addresses. */
#define CLI_ROWS_REMOTE                                                                                                \
    {0, "key-env", CLI_TEXT, CLI_AT(key_env), "NAME", "the environment variable that holds the key of remote models",  \
     NULL, 0, 0, NULL},                                                                                                \
        {0, "M-key-env", CLI_TEXT, CLI_AT(M_key_env), "NAME", "--key-env for M only", NULL, 0, 0, NULL},               \
        {0, "m-key-env", CLI_TEXT, CLI_AT(m_key_env), "NAME", "--key-env for m only", NULL, 0, 0, NULL},               \
        {0, "M-fields", CLI_TEXT, CLI_AT(M_fields), "JSON", "fields added to every request to a remote M", NULL, 0, 0, \
         NULL},                                                                                                        \
        {0, "m-fields", CLI_TEXT, CLI_AT(m_fields), "JSON", "fields added to every request to a remote m", NULL, 0, 0, \
         NULL},                                                                                                        \
        {0, "connect-timeout", CLI_REAL, CLI_AT(connect_timeout), "SECONDS", "remote: until there is a connection; -1 = no limit", \
         "10", -1, 1e6, NULL},                                                                                         \
        {0, "first-timeout", CLI_REAL, CLI_AT(first_timeout), "SECONDS", "remote: until an answer begins; -1 = no limit", \
         "300", -1, 1e6, NULL},                                                                                        \
        {0, "idle-timeout", CLI_REAL, CLI_AT(idle_timeout), "SECONDS", "remote: silence within an answer; -1 = no limit", \
         "120", -1, 1e6, NULL},                                                                                        \
        {0, "answer-timeout", CLI_REAL, CLI_AT(answer_timeout), "SECONDS", "remote: for a whole answer with all tries; -1 = no limit", \
         "3600", -1, 1e6, NULL},                                                                                       \
        {0, "tries", CLI_INT, CLI_AT(tries), "N", "remote: tries of a request whose answer has not begun", "5", 1, 100, NULL}, { \
        0, "parallel", CLI_INT, CLI_AT(parallel), "N", "remote: requests under way at a time", "16", 1, 1024, NULL     \
    }
#define CLI_ROW_THREADS                                                                                                \
    { 't', "threads", CLI_INT, CLI_AT(threads), "N", "threads; 0 = all CPUs", "0", 0, 4096, NULL }
#define CLI_ROW_WEIGHTS                                                                                                \
    {                                                                                                                  \
        0, "weights", CLI_TEXT, CLI_AT(weights), "FORM",                                                               \
            "how weights are held: f32; file (as in the file, BF16 times BF16); exact (as in the file, BF16 times f32); " \
            "auto: f32 up to 64 MiB, else file",                                                                       \
            "auto", 0, 0, "auto|f32|file|exact"                                                                        \
    }
#define CLI_ROW_ROPE                                                                                                   \
    {                                                                                                                  \
        0, "rope-scaling", CLI_TEXT, CLI_AT(rope), "KIND:FACTOR",                                                      \
            "reach FACTOR times the model's context by slowing its rotary positions: KIND is yarn or linear; "         \
            "KIND:FACTOR:TOKENS also says for which context it was trained",                                           \
            NULL, 0, 0, NULL                                                                                           \
    }
#define CLI_ROWS_STAGE_ROPE                                                                                            \
    {0, "M-rope-scaling", CLI_TEXT, CLI_AT(rope_M), "KIND:FACTOR", "--rope-scaling for M only", NULL, 0, 0, NULL}, {   \
        0, "m-rope-scaling", CLI_TEXT, CLI_AT(rope_m), "KIND:FACTOR", "--rope-scaling for m only", NULL, 0, 0, NULL    \
    }
#define CLI_ROW_KV_TYPE                                                                                                \
    {                                                                                                                  \
        0, "kv-type", CLI_TEXT, CLI_AT(kv_type), "TYPE",                                                               \
            "how keys and values are held: f32, f16 or q8_0 (default: f32 where the weights are floats, else f16)",    \
            NULL, 0, 0, "f32|f16|q8_0"                                                                                 \
    }
#define CLI_ROWS_ENGINE                                                                                                \
    {'c', "ctx-size", CLI_INT, CLI_AT(ctx), "TOKENS", "longest sequence; 0 = what the model allows",                   \
     "0", 0,          1 << 28, NULL},                                                                                  \
        CLI_ROW_ROPE, CLI_ROW_WEIGHTS, CLI_ROW_KV_TYPE, CLI_ROW_THREADS, {                                                 \
        'b', "batch-size", CLI_INT, CLI_AT(batch), "N", "sequences decoded together", "64", 1, 4096, NULL              \
    }
#define CLI_ROWS_BUDGETS                                                                                               \
    {0,        "signal-budget",                                                                                        \
     CLI_INT,  CLI_AT(signal_budget),                                                                                  \
     "TOKENS", "most tokens of the signal; 0 = none, -1 = up to the context",                                          \
     "8192",   -1,                                                                                                     \
     1 << 28,  NULL},                                                                                                  \
    {                                                                                                                  \
        0, "answer-budget", CLI_INT, CLI_AT(answer_budget), "TOKENS",                                                  \
            "most tokens of the answer; -1 = up to the context", "1024", -1, 1 << 28, NULL                             \
    }
#define CLI_ROWS_SAMPLING                                                                                              \
    {0,        "temp",                                                                                                 \
     CLI_REAL, CLI_AT(both.temp),                                                                                      \
     "T",      "temperature; 0 = greedy (default: generation_config.json, else what the model's makers advise)",                      \
     NULL,     0,                                                                                                      \
     100,      NULL},                                                                                                  \
        {0, "top-k", CLI_INT, CLI_AT(both.top_k), "K", "sample among the K likeliest tokens; 0 = off", NULL,           \
         0, 1 << 28, NULL},                                                                                            \
        {0, "top-p", CLI_REAL, CLI_AT(both.top_p), "P", "sample within this share of the probability; 1 = off", NULL,  \
         0, 1,       NULL},                                                                                            \
        {0, "min-p", CLI_REAL, CLI_AT(both.min_p), "P", "drop tokens below P times the likeliest; 0 = off", NULL,      \
         0, 1,       NULL},                                                                                            \
    {                                                                                                                  \
        0, "seed", CLI_SEED, CLI_AT(seed), "N", "seed of all random numbers", "0", 0, 0, NULL                          \
    }
#define CLI_ROWS_STAGE_SAMPLING                                                                                        \
    {0, "M-temp", CLI_REAL, CLI_AT(on_M.temp), "T", "--temp for M only", NULL, 0, 100, NULL},                          \
        {0, "M-top-k", CLI_INT, CLI_AT(on_M.top_k), "K", "--top-k for M only", NULL, 0, 1 << 28, NULL},                \
        {0, "M-top-p", CLI_REAL, CLI_AT(on_M.top_p), "P", "--top-p for M only", NULL, 0, 1, NULL},                     \
        {0, "M-min-p", CLI_REAL, CLI_AT(on_M.min_p), "P", "--min-p for M only", NULL, 0, 1, NULL},                     \
        {0, "m-temp", CLI_REAL, CLI_AT(on_m.temp), "T", "--temp for m only", NULL, 0, 100, NULL},                      \
        {0, "m-top-k", CLI_INT, CLI_AT(on_m.top_k), "K", "--top-k for m only", NULL, 0, 1 << 28, NULL},                \
        {0, "m-top-p", CLI_REAL, CLI_AT(on_m.top_p), "P", "--top-p for m only", NULL, 0, 1, NULL}, {                   \
        0, "m-min-p", CLI_REAL, CLI_AT(on_m.min_p), "P", "--min-p for m only", NULL, 0, 1, NULL                        \
    }
#define CLI_ROWS_PRICES                                                                                                \
    {0, "price-M", CLI_REAL, CLI_AT(price_M), "MONEY", "price of a million output tokens of M", NULL, 0, 1e9, NULL},   \
        {0, "price-m", CLI_REAL, CLI_AT(price_m), "MONEY", "price of a million output tokens of m", NULL, 0, 1e9,      \
         NULL},                                                                                                        \
        {0, "price-M-in", CLI_REAL, CLI_AT(price_M_in), "MONEY", "price of a million prompt tokens of M", NULL, 0,     \
         1e9, NULL}, {                                                                                                 \
        0, "price-m-in", CLI_REAL, CLI_AT(price_m_in), "MONEY", "price of a million prompt tokens of m", NULL, 0, 1e9, \
            NULL                                                                                                       \
    }
#define CLI_ROWS_PAIR_TEXT                                                                                             \
    {0, "instruction", CLI_TEXT, CLI_AT(instruction), "TEXT", "add TEXT to the question of both models", NULL, 0,      \
     0, NULL},                                                                                                         \
    {                                                                                                                  \
        0, "keep", CLI_TEXT, CLI_AT(keep), "PART",                                                                     \
            "which part of a signal too long for m is kept: tail, head or middle", "tail", 0, 0, "tail|head|middle"    \
    }

/* ---- opts.c ---- */

/* Fills *a: defaults < --config file < DUET_* environment < command line. 0, or EXIT_USAGE/EXIT_INPUT with the sentence
 * in err. argv[0] is the first word after the command's name. What *a points at lives as long as argv and the process.
 */
int cli_parse(const cli_command *c, int argc, char **argv, cli_args *a, duet_err *err);
/* Was this field of `a` set by file, environment or flag? `a` must be one cli_parse filled last. */
bool cli_given(const cli_args *a, const void *field);
/* What was set, as {"name": "value" or ["value", ...]}, without the names in `without` (NULL-terminated). Owned. */
json_t *cli_given_json(const cli_command *c, const cli_args *a, const char *const *without);
/* Sets from such an object what was not set. `options` must outlive *a. 0, or EXIT_INPUT with the sentence in err. */
int cli_recall(const cli_command *c, cli_args *a, const char *from, const json_t *options, duet_err *err);
/* A whole number in lo..hi, nothing before or after it. */
bool cli_read_int(const char *s, long long lo, long long hi, long long *out);
/* "DUET_M_TEMP" for "M-temp", "DUET_m_TEMP" for "m-temp": the environment's name of an option. */
void cli_env_name(const char *option, char out[64]);
/* The name in `names` (NULL-terminated) nearest to `word`; NULL if there is none. */
const char *cli_nearest(const char *word, const char *const *names);

/* ---- help.c: texts made from a command's table, appended to b ---- */
void cli_help_text(const cli_command *c, dt_buf *b);
void cli_overview_text(dt_buf *b);
void cli_man_text(const cli_command *c, dt_buf *b);
void cli_man_overview(dt_buf *b);
void cli_completion_text(dt_buf *b);

/* ---- out.c: streams, errors, JSON ---- */
int cli_fail(int code, const char *fmt, ...) DT_PRINTF(2, 3); /* prints "duet: ..." and returns code */
int cli_fail_status(duet_status st, const duet_err *err);     /* the work failed: the code that goes with st */
int cli_fail_input(duet_status st, const duet_err *err);      /* opening or reading what the user named failed */
int cli_fail_option(duet_status st, const duet_err *err);     /* what an option or a recipe says is not possible */
bool cli_colour(int fd);                                      /* may this stream be coloured and redrawn? */
/* Text for a person: on a terminal, control characters other than newline and tab become '?'. */
void cli_put_text(FILE *f, const char *s, size_t n);
bool cli_flush(void); /* of stdout; false: could not be written, and cli_finish will say why */
bool cli_put_json(
    json_t *j /* taken; NULL = no memory */); /* one line on stdout, flushed; false: could not be written */
int cli_print_json(json_t *j);                /* the same as the end of a command: its exit code */
json_t *cli_error_json(const char *text);
json_t *cli_or_error(json_t *answer, const duet_err *err); /* the answer, or where it is NULL {"error"} with what err says */
json_t *cli_real(double x); /* null where it is not finite */
json_t *cli_ids_json(const int32_t *ids, size_t n);
bool cli_ids_from(const json_t *j, duet_ids *out, duet_err *err); /* an array of ids */
/* Flushes stdout; the exit code, or EXIT_FAILED if what was printed could not be written (a full disk). */
int cli_finish(int code);
/* One line on stderr that the next one replaces; on a terminal only. NULL clears it. */
void cli_live(const char *line);
json_t *cli_machine_json(const cli_args *a);  /* {"cpu", "cpus", "threads", "kernel"}: where this runs */
const char *cli_bytes_text(double n, char out[32]); /* "1.2 MB" */

/* ---- screen.c: the stages for a person ---- */
typedef struct cli_screen {
    bool live, colour; /* a terminal: text as it comes; with colours: dim signal, bright answer */
    bool no_signal;    /* only the answer is shown */
    int stage;         /* being printed; -1 = none yet */
} cli_screen;
cli_screen cli_screen_open(void);
int cli_screen_text(void *user, int stage, const char *text, size_t n); /* on_text of a request; user: a cli_screen */
void cli_screen_end(cli_screen *s);
void cli_screen_whole(const cli_screen *s, const duet_pair_request *r); /* what was not streamed, as labelled lines */
void cli_screen_dim(const cli_screen *s, const char *line);

/* ---- input.c: lines from a person ---- */
typedef struct cli_input cli_input;
typedef enum cli_input_got {
    CLI_INPUT_LINE,
    CLI_INPUT_END,
    CLI_INPUT_DROPPED,  /* Ctrl-C on a line with text: the line is gone */
    CLI_INPUT_INTERRUPT /* Ctrl-C on an empty line */
} cli_input_got;
/* history: file that keeps the lines of a terminal; NULL = none. */
duet_status cli_input_open(const char *history, cli_input **out, duet_err *err);
void cli_input_close(cli_input *in); /* NULL is fine */
bool cli_input_edits(const cli_input *in); /* is a person typing? */
/* The next line without its end, borrowed until the next call. The prompt is shown only where a person types. */
cli_input_got cli_input_line(cli_input *in, const char *prompt, const char **line, size_t *n);

/* ---- talk.c: a conversation ---- */
typedef struct cli_talk {
    duet_message *v; /* texts owned */
    bool *stopped;   /* an answer that Ctrl-C ended */
    size_t n, cap;
} cli_talk;
void cli_talk_clear(cli_talk *t);
bool cli_talk_add(cli_talk *t, const char *role, const char *text, size_t n, bool stopped); /* false: no memory */
void cli_talk_cut(cli_talk *t, size_t n);      /* only the first n turns stay */
size_t cli_talk_exchanges(const cli_talk *t);  /* questions with their answers */
void cli_talk_drop(cli_talk *t, size_t k);     /* the k oldest exchanges, k <= cli_talk_exchanges */
duet_status cli_talk_save(const cli_talk *t, const char *path, duet_err *err);
duet_status cli_talk_load(cli_talk *t, const char *path, duet_err *err); /* replaces *t; on failure *t stays */

/* ---- lines.c: JSON lines in, JSON lines out ---- */

/* Handles n inputs at once: out[i] is the answer to in[i] (owned by the caller), {"error": ...} if it failed; err
 * and a status only for what ends all work (Ctrl-C, the backend lost). */
typedef duet_status (*cli_lines_fn)(void *user, json_t *const *in, json_t **out, size_t n, duet_err *err);
/* Reads objects from stdin, answers each with a line on stdout in the same order. Takes up to `batch` lines together
 * when they are there already, and never waits for more than one. The exit code: EXIT_FAILED if any line failed. */
int cli_each_line(size_t batch, cli_lines_fn fn, void *user);
/* The same where each line is answered by itself: NULL = failed, err says why. */
typedef json_t *(*cli_line_fn)(void *user, const json_t *in, duet_err *err);
int cli_each_line_alone(size_t batch, cli_line_fn fn, void *user);
/* All of stdin, at most 64 MiB, trailing newlines removed. */
duet_status cli_read_stdin(dt_buf *b, duet_err *err);

/* ---- models.c: options -> engines and sampling ---- */
duet_weights cli_weights(const cli_args *a);
/* How a command with one model opens it; ctx: longest context it will have, tokens, 0 = not known. */
duet_model_options cli_model_options(const cli_args *a, int ctx);
/* side: 'M' or 'm' where the options of that stage alone (--M-rope-scaling, ...) come before the common ones; 0 = neither. */
duet_backend_options cli_backend_options(const cli_args *a, char side);
/* duet_backend_open with these options; says on stderr how a large model is held. */
duet_status cli_backend_open(const cli_args *a, const char *path, char side, duet_backend **out, duet_err *err);
/* How a remote M or m is asked (remote.c). DUET_E_USAGE: the variable of a key is not there. */
duet_status cli_remote_options(const cli_args *a, char side, duet_remote_options *out, duet_err *err);
duet_kv_type cli_kv_type(const cli_args *a);
/* The model's own advice, then --temp and its kin, then the stage's. stage may be NULL. */
duet_sampling cli_sampling_for(const cli_args *a, const duet_backend *b, const cli_sampling *stage);
duet_pair_options cli_pair_options(const cli_args *a);
void cli_say_terms(const cli_args *a, const duet_pair *p); /* what M and m share, one line on stderr; not if quiet */
json_t *cli_terms_json(const duet_pair *p);
const volatile int *cli_cancel(void);
/* "FAMILY,knob=value,..." as a task. `text` is borrowed; settings of the form a=b may follow in more[n]. */
duet_status cli_task_open(const char *text, char *const *more, int n, duet_task **out, duet_err *err);

#endif
