/* Reads a command's options from its table: defaults < --config file < DUET_* environment < command line. Every value
 * goes through one function, whatever its source, so a mistake reads the same wherever it was made. */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Which rows of the last parsed table were set by file, environment or flag. */
static const cli_command *parsed;
static bool given[CLI_MAX_OPTS], worded[CLI_MAX_OPTS]; /* worded: by a flag */

bool cli_read_int(const char *s, long long lo, long long hi, long long *out) {
    char *end = NULL;
    if (!isdigit((unsigned char)s[0]) && !(s[0] == '-' && isdigit((unsigned char)s[1])))
        return false;
    errno = 0;
    *out = strtoll(s, &end, 10);
    return !errno && !*end && *out >= lo && *out <= hi;
}

static bool read_real(const char *s, double lo, double hi, double *out) {
    char *end = NULL;
    if (!isdigit((unsigned char)s[0]) && !strchr("-.", s[0]))
        return false; /* no "nan", "inf", blanks */
    errno = 0;
    *out = strtod(s, &end);
    return end != s && !*end && isfinite(*out) && *out >= lo && *out <= hi;
}

static bool read_seed(const char *s, uint64_t *out) {
    char *end = NULL;
    if (!isdigit((unsigned char)s[0]))
        return false;
    errno = 0;
    *out = strtoull(s, &end, 10);
    return !errno && !*end;
}

static bool is_choice(const char *choices, const char *s) {
    size_t n = strlen(s);
    for (const char *p = choices; n && p; p = strchr(p, '|')) {
        p += *p == '|';
        if (!strncmp(p, s, n) && (p[n] == '|' || !p[n]))
            return true;
    }
    return false;
}

/* `from` names the source for messages: "--temp", "DUET_TEMP", "file.yaml:3: temp". */
static int set_value(const cli_opt *o, const char *from, const char *s, cli_args *a, duet_err *err) {
    char *field = (char *)a + o->at;
    long long i = 0;
    switch (o->kind) {
    case CLI_FLAG:
        if (strcmp(s, "true") && strcmp(s, "false") && strcmp(s, "1") && strcmp(s, "0")) {
            dt_fail(err, DUET_E_USAGE, "%s: %s is neither true nor false", from, s);
            return EXIT_USAGE;
        }
        *(bool *)field = !strcmp(s, "true") || !strcmp(s, "1");
        return 0;
    case CLI_TEXT:
        if (o->choices && !is_choice(o->choices, s)) {
            dt_fail(err, DUET_E_USAGE, "%s: %s is not one of %s", from, *s ? s : "(empty)", o->choices);
            return EXIT_USAGE;
        }
        *(const char **)field = s;
        return 0;
    case CLI_LIST: {
        cli_list *list = (cli_list *)field;
        if (list->n == CLI_MAX_LIST) {
            dt_fail(err, DUET_E_USAGE, "%s: given more than %d times", from, CLI_MAX_LIST);
            return EXIT_USAGE;
        }
        list->v[list->n++] = s;
        return 0;
    }
    case CLI_INT:
        if (!cli_read_int(s, (long long)o->lo, (long long)o->hi, &i)) {
            dt_fail(err, DUET_E_USAGE, "%s: %s is not a whole number in %.0f..%.0f", from, *s ? s : "(empty)", o->lo,
                    o->hi);
            return EXIT_USAGE;
        }
        *(int *)field = (int)i;
        return 0;
    case CLI_REAL:
        if (!read_real(s, o->lo, o->hi, (double *)field)) {
            dt_fail(err, DUET_E_USAGE, "%s: %s is not a number in %g..%g", from, *s ? s : "(empty)", o->lo, o->hi);
            return EXIT_USAGE;
        }
        return 0;
    case CLI_SEED:
        if (!read_seed(s, (uint64_t *)field)) {
            dt_fail(err, DUET_E_USAGE, "%s: %s is not a whole number from 0", from, *s ? s : "(empty)");
            return EXIT_USAGE;
        }
        return 0;
    }
    return EXIT_USAGE;
}

/* ---- names ---- */

static size_t distance(const char *a, const char *b) {
    size_t row[64], n = strlen(b);
    if (n > 62)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t keep = diagonal + (a[i - 1] != b[j - 1]), drop = row[j] + 1, add = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = keep < drop ? keep : drop;
            if (add < row[j])
                row[j] = add;
        }
    }
    return row[n];
}

const char *cli_nearest(const char *word, const char *const *names) {
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (; *names; names++) {
        size_t d = distance(word, *names);
        if (d < least) {
            least = d;
            best = *names;
        }
    }
    return best;
}

static const cli_opt *by_name(const cli_command *c, const char *name, size_t n) {
    for (size_t i = 0; i < c->n_opts; i++)
        if (strlen(c->opts[i].name) == n && !strncmp(c->opts[i].name, name, n))
            return &c->opts[i];
    return NULL;
}

static const cli_opt *by_letter(const cli_command *c, char letter) {
    for (size_t i = 0; i < c->n_opts; i++)
        if (c->opts[i].letter && c->opts[i].letter == letter)
            return &c->opts[i];
    return NULL;
}

static const char *nearest_option(const cli_command *c, const char *name) {
    const char *names[CLI_MAX_OPTS + 1];
    for (size_t i = 0; i < c->n_opts; i++)
        names[i] = c->opts[i].name;
    names[c->n_opts] = NULL;
    return cli_nearest(name, names);
}

void cli_env_name(const char *option, char out[64]) {
    size_t n = (size_t)snprintf(out, 64, "DUET_");
    for (const char *p = option; *p && n < 63; p++) {
        /* M and m are two models: as a word of their own they keep their case. */
        bool alone = (*p == 'M' || *p == 'm') && (p == option || p[-1] == '-') && (p[1] == '-' || !p[1]);
        out[n++] = *p == '-' ? '_' : alone ? *p : (char)toupper((unsigned char)*p);
    }
    out[n] = 0;
}

/* ---- the three sources ---- */

static int from_defaults(const cli_command *c, cli_args *a, duet_err *err) {
    for (size_t i = 0; i < c->n_opts; i++)
        if (c->opts[i].def && set_value(&c->opts[i], c->opts[i].name, c->opts[i].def, a, err))
            return EXIT_USAGE;
    return 0;
}

/* The value of a line `name: value`: blanks and a comment at its end removed, one pair of quotes too. */
static char *trim_value(char *s) {
    while (*s == ' ' || *s == '\t')
        s++;
    if (*s == '"' || *s == '\'') {
        char *end = strchr(s + 1, *s);
        if (end && (!end[1] || strspn(end + 1, " \t\r") == strlen(end + 1) || end[1 + strspn(end + 1, " \t")] == '#')) {
            *end = 0;
            return s + 1;
        }
        return s;
    }
    char *comment = strstr(s, " #");
    if (*s == '#')
        *s = 0;
    else if (comment)
        *comment = 0;
    size_t n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1]))
        s[--n] = 0;
    return s;
}

static int from_line(const cli_command *c, const char *path, int number, char *line, bool *seen, cli_args *a,
                     duet_err *err) {
    char from[256];
    line += strspn(line, " \t");
    if (!*line || *line == '#' || *line == '\r')
        return 0;
    char *colon = strchr(line, ':');
    if (!colon) {
        dt_fail(err, DUET_E_USAGE, "%s:%d: not of the form `name: value`", path, number);
        return EXIT_USAGE;
    }
    size_t n = (size_t)(colon - line);
    while (n && strchr(" \t", line[n - 1]))
        n--;
    line[n] = 0;
    const cli_opt *o = by_name(c, line, n);
    if (o && (!strcmp(o->name, "config") || !strcmp(o->name, "help"))) {
        dt_fail(err, DUET_E_USAGE, "%s:%d: %s can only be given on the command line", path, number, o->name);
        return EXIT_USAGE;
    }
    if (!o) {
        const char *near = nearest_option(c, line);
        dt_fail(err, DUET_E_USAGE, "%s:%d: unknown key %s; did you mean %s?", path, number, line, near ? near : "none");
        return EXIT_USAGE;
    }
    if (seen[o - c->opts]) {
        dt_fail(err, DUET_E_USAGE, "%s:%d: %s is repeated", path, number, line);
        return EXIT_USAGE;
    }
    seen[o - c->opts] = given[o - c->opts] = true;
    snprintf(from, sizeof from, "%s:%d: %s", path, number, o->name);
    return set_value(o, from, trim_value(colon + 1), a, err);
}

static int from_file(const cli_command *c, const char *path, cli_args *a, duet_err *err) {
    static dt_buf text; /* values point into it for the rest of the process */
    bool seen[CLI_MAX_OPTS] = {false};
    dt_buf_clear(&text);
    if (dt_file_read(path, (size_t)1 << 20, &text, err))
        return EXIT_INPUT;
    if (text.len != strlen(text.data)) {
        dt_fail(err, DUET_E_FORMAT, "%s: holds a NUL byte; it is not a text file", path);
        return EXIT_INPUT;
    }
    int number = 0;
    for (char *line = text.data, *next; line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end)
            *end = 0;
        int code = from_line(c, path, ++number, line, seen, a, err);
        if (code)
            return code;
    }
    return 0;
}

static int from_environment(const cli_command *c, cli_args *a, duet_err *err) {
    char name[64];
    for (size_t i = 0; i < c->n_opts; i++) {
        const cli_opt *o = &c->opts[i];
        if (!strcmp(o->name, "help"))
            continue;
        cli_env_name(o->name, name);
        const char *value = getenv(name);
        if (!value || !*value)
            continue;
        given[i] = true;
        if (o->kind == CLI_LIST)
            ((cli_list *)(void *)((char *)a + o->at))->n = 0;
        int code = set_value(o, name, value, a, err);
        if (code)
            return code;
    }
    return 0;
}

/* One option from the command line; *used counts the words it took. */
static int one_option(const cli_command *c, char **argv, int left, int *used, cli_args *a, duet_err *err) {
    const char *word = argv[0], *value = NULL;
    const cli_opt *o = NULL;
    char from[80];
    *used = 1;
    if (word[1] == '-') {
        size_t n = strcspn(word + 2, "=");
        o = by_name(c, word + 2, n);
        if (word[2 + n] == '=')
            value = word + 2 + n + 1;
        if (!o) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)(n < 60 ? n : 60), word + 2);
            const char *near = nearest_option(c, name);
            dt_fail(err, DUET_E_USAGE, "%s: unknown option --%s; did you mean --%s? ('duet %s --help' lists all)",
                    c->name, name, near ? near : "help", c->name);
            return EXIT_USAGE;
        }
        snprintf(from, sizeof from, "--%s", o->name);
    } else {
        o = by_letter(c, word[1]);
        if (word[2])
            value = word + 2;
        if (!o) {
            dt_fail(err, DUET_E_USAGE, "%s: unknown option %.20s ('duet %s --help' lists all)", c->name, word, c->name);
            return EXIT_USAGE;
        }
        snprintf(from, sizeof from, "-%c", o->letter);
    }
    if (o->kind == CLI_FLAG && value && word[1] != '-') {
        dt_fail(err, DUET_E_USAGE, "%s: %s takes no value", c->name, from);
        return EXIT_USAGE;
    }
    if (o->kind == CLI_FLAG && !value)
        value = "true";
    if (!value) {
        if (left < 2) {
            dt_fail(err, DUET_E_USAGE, "%s: %s needs a value, %s", c->name, from, o->meta);
            return EXIT_USAGE;
        }
        value = argv[1];
        *used = 2;
    }
    if (o->kind == CLI_LIST && !worded[o - c->opts]) /* flags win over file and environment, whole list over whole list */
        ((cli_list *)(void *)((char *)a + o->at))->n = 0;
    given[o - c->opts] = worded[o - c->opts] = true;
    int code = set_value(o, from, value, a, err);
    if (code)
        dt_fail_in(err, DUET_E_USAGE, "%s", c->name);
    return code;
}

static int from_words(const cli_command *c, int argc, char **argv, cli_args *a, duet_err *err) {
    int n = 0;
    bool only_operands = false;
    for (int i = 0, used = 1; i < argc; i += used) {
        used = 1;
        if (!only_operands && !strcmp(argv[i], "--")) {
            only_operands = true;
        } else if (!only_operands && argv[i][0] == '-' && argv[i][1]) {
            int code = one_option(c, argv + i, argc - i, &used, a, err);
            if (code)
                return code;
        } else {
            a->rest[n++] = argv[i];
        }
    }
    a->n_rest = n;
    return 0;
}

bool cli_given(const cli_args *a, const void *field) {
    size_t at = (size_t)((const char *)field - (const char *)a);
    for (size_t i = 0; parsed && i < parsed->n_opts; i++)
        if (parsed->opts[i].at == at)
            return given[i];
    return false;
}

json_t *cli_given_json(const cli_command *c, const cli_args *a, const char *const *without) {
    json_t *o = json_object();
    for (size_t i = 0; i < c->n_opts; i++) {
        const cli_opt *opt = &c->opts[i];
        const void *field = (const char *)a + opt->at;
        const cli_list *list = field;
        json_t *v = NULL;
        bool left_out = !given[i];
        for (size_t k = 0; !left_out && without[k]; k++)
            left_out = !strcmp(opt->name, without[k]);
        if (left_out)
            continue;
        switch (opt->kind) {
        case CLI_FLAG: v = json_string(*(const bool *)field ? "true" : "false"); break;
        case CLI_TEXT: v = json_string(*(const char *const *)field); break;
        case CLI_INT: v = json_sprintf("%d", *(const int *)field); break;
        case CLI_REAL: v = json_sprintf("%.17g", *(const double *)field); break;
        case CLI_SEED: v = json_sprintf("%llu", (unsigned long long)*(const uint64_t *)field); break;
        case CLI_LIST:
            v = json_array();
            for (int k = 0; k < list->n; k++)
                json_array_append_new(v, json_string(list->v[k]));
        }
        json_object_set_new(o, opt->name, v);
    }
    return o;
}

int cli_recall(const cli_command *c, cli_args *a, const char *from, const json_t *options, duet_err *err) {
    const char *name = NULL;
    json_t *v = NULL;
    json_object_foreach((json_t *)(uintptr_t)options, name, v) {
        const cli_opt *o = by_name(c, name, strlen(name));
        size_t n = json_is_array(v) ? json_array_size(v) : 1;
        if (!o || (n > 1 && o->kind != CLI_LIST)) {
            dt_fail(err, DUET_E_FORMAT, "%s: %s is no option of %s", from, name, c->name);
            return EXIT_INPUT;
        }
        if (given[o - c->opts])
            continue;
        if (o->kind == CLI_LIST)
            ((cli_list *)(void *)((char *)a + o->at))->n = 0;
        for (size_t i = 0; i < n; i++) {
            const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
            if (!text) {
                dt_fail(err, DUET_E_FORMAT, "%s: %s is not a text", from, name);
                return EXIT_INPUT;
            }
            if (set_value(o, from, text, a, err))
                return EXIT_INPUT;
        }
        given[o - c->opts] = true;
    }
    return 0;
}

int cli_parse(const cli_command *c, int argc, char **argv, cli_args *a, duet_err *err) {
    static char **rest; /* freed at the next call: the operands point to argv */
    cli_args first = {0};
    free(rest);
    rest = dt_calloc((size_t)argc + 1, sizeof *rest);
    if (!rest) {
        dt_fail(err, DUET_E_NOMEM, "no memory for the command line");
        return EXIT_FAILED;
    }
    parsed = c;
    memset(given, 0, sizeof given);
    memset(worded, 0, sizeof worded);
    *a = (cli_args){.rest = rest};
    first.rest = rest;
    /* A first reading finds --config and --help; its values are thrown away. */
    int code = from_words(c, argc, argv, &first, err);
    if (code)
        return code;
    if (first.help) {
        a->help = true;
        return 0;
    }
    const char *path = first.config ? first.config : by_name(c, "config", 6) ? getenv("DUET_CONFIG") : NULL;
    if (c->config_is_recipe)
        path = NULL;
    memset(given, 0, sizeof given);
    memset(worded, 0, sizeof worded);
    code = from_defaults(c, a, err);
    if (!code && path && *path)
        code = from_file(c, path, a, err);
    if (!code)
        code = from_environment(c, a, err);
    if (!code)
        code = from_words(c, argc, argv, a, err);
    if (code)
        return code;
    if (a->n_rest < c->min_rest || (c->max_rest >= 0 && a->n_rest > c->max_rest)) {
        bool few = a->n_rest < c->min_rest;
        dt_fail(err, DUET_E_USAGE, "%s: %s%s; usage: duet %s [options] %s", c->name, few ? "missing " : "unexpected ",
                few ? c->operands : a->rest[c->max_rest], c->name, c->operands);
        return EXIT_USAGE;
    }
    return 0;
}
