/* Reading recipes. libcyaml checks the structure (unknown and repeated keys, lists, sections) against a schema made from
 * the table of keys; every scalar arrives as text, and one function turns text into values for all layers alike. */
#include "model/model.h"
#include "train/recipe.h"

#include <cyaml/cyaml.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RECIPE_BYTES ((size_t)1 << 20)
#define MAX_STAGES 1000
#define MAX_SECTION 64 /* keys of one section, sections included */
#define MAX_SECTIONS 32

/* ---- one value ---- */

static void *field(const dt_recipe *r, const dt_recipe_key *k) {
    return (char *)(uintptr_t)(const void *)r + k->offset;
}

/* Index of `text` in "a|b|c", -1 if it is none of them. */
static int choice_index(const char *choices, const char *text) {
    size_t n = strlen(text);
    for (int i = 0;; i++) {
        size_t len = strcspn(choices, "|");
        if (len == n && !strncmp(choices, text, n)) return i;
        if (!choices[len]) return -1;
        choices += len + 1;
    }
}

static bool parse_bool(const char *s, bool *out) {
    *out = !strcmp(s, "true") || !strcmp(s, "yes") || !strcmp(s, "on");
    return *out || !strcmp(s, "false") || !strcmp(s, "no") || !strcmp(s, "off");
}

static bool parse_real(const char *s, double *out) {
    char *end = NULL;
    if (!*s || isspace((unsigned char)*s)) return false;
    *out = strtod(s, &end);
    return !*end && isfinite(*out);
}

static bool parse_int(const char *s, int64_t *out) {
    char *end = NULL;
    if (!*s || isspace((unsigned char)*s)) return false;
    errno = 0;
    *out = strtoll(s, &end, 10);
    return !*end && !errno;
}

static bool names_bool(const dt_recipe_key *k) { /* a bool spelled "drop|keep" */
    return k->type == DT_KEY_CHOICE && k->offset == offsetof(dt_recipe, resume.keep_lambda);
}

static duet_status set_value(dt_recipe *r, const dt_recipe_key *k, const char *text, duet_err *err) {
    void *at = field(r, k);
    double x = 0;
    int64_t i = 0;
    bool b = false;
    int c = 0;

    switch (k->type) {
    case DT_KEY_TEXT: {
        char *copy = dt_strdup(text);
        if (!copy) return dt_fail(err, DUET_E_NOMEM, "%s: no memory", k->name);
        free(*(char **)at);
        *(char **)at = copy;
        return DUET_OK;
    }
    case DT_KEY_BOOL:
        if (!parse_bool(text, &b)) return dt_fail(err, DUET_E_USAGE, "%s: \"%.60s\" is not true or false", k->name, text);
        *(bool *)at = b;
        return DUET_OK;
    case DT_KEY_CHOICE:
        c = choice_index(k->choices, text);
        if (c < 0) return dt_fail(err, DUET_E_USAGE, "%s: \"%.60s\" is not one of %s", k->name, text, k->choices);
        if (names_bool(k))
            *(bool *)at = c != 0;
        else
            *(int *)at = c;
        return DUET_OK;
    case DT_KEY_INT:
        if (!parse_int(text, &i)) return dt_fail(err, DUET_E_USAGE, "%s: \"%.60s\" is not a whole number", k->name, text);
        x = (double)i;
        break;
    case DT_KEY_REAL:
        if (!parse_real(text, &x)) return dt_fail(err, DUET_E_USAGE, "%s: \"%.60s\" is not a number", k->name, text);
        break;
    }
    if (x < k->min || x > k->max) return dt_fail(err, DUET_E_USAGE, "%s: %s is outside %g..%g", k->name, text, k->min, k->max);
    if (k->type == DT_KEY_INT)
        *(int64_t *)at = i;
    else
        *(double *)at = x;
    return DUET_OK;
}

static void shortest(double x, char out[40]) { /* fewest digits that read back as x */
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 40, "%.*g", digits, x);
        if (strtod(out, NULL) == x) return;
    }
}

/* Characters that YAML folds or refuses even between quotes: its breaks beyond ASCII, C1 controls, marks of byte order. */
static const char *yaml_escape(const char *s, size_t *n, char out[8]) {
    static const struct {
        const char *utf8, *escape;
    } marks[] = {{"\xe2\x80\xa8", "\\L"}, {"\xe2\x80\xa9", "\\P"}, {"\xef\xbb\xbf", "\\uFEFF"}, {"\xef\xbf\xbe", "\\uFFFE"}, {"\xef\xbf\xbf", "\\uFFFF"}};
    if ((unsigned char)s[0] == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0) {
        *n = 2;
        snprintf(out, 8, "\\x%02x", (unsigned)(unsigned char)s[1]);
        return out;
    }
    *n = 3;
    for (size_t i = 0; i < DT_COUNT(marks); i++)
        if (!strncmp(s, marks[i].utf8, 3)) return marks[i].escape;
    return NULL;
}

static void add_quoted(dt_buf *b, const char *s) {
    char hex[8];
    dt_buf_adds(b, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        size_t n = 0;
        const char *escape = c >= 0x80 ? yaml_escape(s, &n, hex) : NULL;
        if (escape) {
            dt_buf_adds(b, escape);
            s += n - 1;
        } else if (c == '"' || c == '\\')
            dt_buf_addf(b, "\\%c", c);
        else if (c == '\n')
            dt_buf_adds(b, "\\n");
        else if (c < 0x20 || c == 0x7f)
            dt_buf_addf(b, "\\x%02x", c);
        else
            dt_buf_add(b, s, 1);
    }
    dt_buf_adds(b, "\"");
}

static void add_value(dt_buf *b, const dt_recipe *r, const dt_recipe_key *k) {
    const void *at = field(r, k);
    char num[40];
    if (k->type == DT_KEY_TEXT) {
        add_quoted(b, *(char *const *)at ? *(char *const *)at : "");
    } else if (k->type == DT_KEY_BOOL) {
        dt_buf_adds(b, *(const bool *)at ? "true" : "false");
    } else if (k->type == DT_KEY_INT) {
        dt_buf_addf(b, "%lld", (long long)*(const int64_t *)at);
    } else if (k->type == DT_KEY_REAL) {
        shortest(*(const double *)at, num);
        dt_buf_adds(b, num);
    } else {
        int c = names_bool(k) ? *(const bool *)at : *(const int *)at;
        const char *s = k->choices;
        for (; c > 0; c--)
            s += strcspn(s, "|") + 1;
        dt_buf_add(b, s, strcspn(s, "|"));
    }
}

static const dt_recipe_key *find_key(const char *name, size_t n, size_t *index) {
    for (size_t i = 0; i < dt_recipe_n_keys; i++)
        if (strlen(dt_recipe_keys[i].name) == n && !strncmp(dt_recipe_keys[i].name, name, n)) {
            *index = i;
            return &dt_recipe_keys[i];
        }
    return NULL;
}

static duet_status set_key(dt_recipe *r, const char *name, size_t n, const char *text, duet_err *err) {
    size_t i = 0;
    const dt_recipe_key *k = find_key(name, n, &i);
    if (!k) return dt_fail(err, DUET_E_USAGE, "unknown key \"%.*s\"", (int)n, name);
    if (!(k->kinds & r->kind))
        return dt_fail(err, DUET_E_USAGE, "\"%s\" belongs to %s recipes, this is one for %s", k->name, r->kind == DT_RUN_SFT ? "joint" : "supervised",
                       r->kind == DT_RUN_SFT ? "supervised training" : "joint training");
    duet_status st = set_value(r, k, text, err);
    if (!st) r->is_set[i] = true;
    return st;
}

/* ---- the file ---- */

typedef struct stage_text {
    char *steps, *lr, *batch_tokens, *knobs;
} stage_text;

/* What libcyaml fills: the texts of all keys, in the order of the table. */
typedef struct file_text {
    char *value[256];
    stage_text *stages;
    uint32_t stages_count;
} file_text;

/* The schema, built from the table: one array of fields for each section. */
typedef struct schema {
    cyaml_schema_field_t fields[MAX_SECTIONS][MAX_SECTION];
    char names[MAX_SECTIONS][32]; /* full names, "model.init" */
    char keys[MAX_SECTIONS][32];  /* the last parts */
    int n_fields[MAX_SECTIONS], n_sections;
} schema;

#define STAGE_TEXT(name) CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, stage_text, name, 0, CYAML_UNLIMITED)
static const cyaml_schema_field_t stage_fields[] = {STAGE_TEXT(steps), STAGE_TEXT(lr), STAGE_TEXT(batch_tokens), STAGE_TEXT(knobs), CYAML_FIELD_END};
static const cyaml_schema_value_t stage_entry = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, stage_text, stage_fields)};

static cyaml_schema_field_t *new_field(schema *s, int section, const char *key) {
    cyaml_schema_field_t *f = &s->fields[section][s->n_fields[section]++];
    f->key = key;
    return f;
}

/* Section of the first n characters of a key's name ("" = the top); made with its parents where it is new. */
static int section_of(schema *s, const char *name, size_t n) {
    for (int i = 0; i < s->n_sections; i++)
        if (strlen(s->names[i]) == n && !strncmp(s->names[i], name, n)) return i;
    int parent = 0, id;
    size_t dot = n;
    while (dot > 0 && name[dot - 1] != '.')
        dot--;
    if (n) parent = section_of(s, name, dot ? dot - 1 : 0);
    id = s->n_sections++;
    memcpy(s->names[id], name, n);
    memcpy(s->keys[id], name + dot, n - dot);
    if (n) {
        cyaml_schema_field_t *f = new_field(s, parent, s->keys[id]);
        f->value = (cyaml_schema_value_t){.type = CYAML_MAPPING, .flags = CYAML_FLAG_OPTIONAL, .data_size = sizeof(file_text),
                                          .mapping = {.fields = s->fields[id]}};
    }
    return id;
}

static void build_schema(schema *s, dt_run_kind kind) {
    section_of(s, "", 0);
    for (size_t i = 0; i < dt_recipe_n_keys; i++) {
        const dt_recipe_key *k = &dt_recipe_keys[i];
        const char *dot = strrchr(k->name, '.');
        int section = section_of(s, k->name, dot ? (size_t)(dot - k->name) : 0);
        cyaml_schema_field_t *f = new_field(s, section, dot ? dot + 1 : k->name);
        f->data_offset = (uint32_t)(offsetof(file_text, value) + i * sizeof(char *));
        f->value = (cyaml_schema_value_t){CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, 0, CYAML_UNLIMITED)};
    }
    if (kind == DT_RUN_SFT) {
        cyaml_schema_field_t stages =
            CYAML_FIELD_SEQUENCE("stages", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, file_text, stages, &stage_entry, 0, MAX_STAGES);
        *new_field(s, 0, "stages") = stages;
    }
}

/* libcyaml tells its story in several lines; the first names the trouble, the second the place it had reached. */
typedef struct complaint {
    char what[256];
    unsigned line; /* of the last thing before the trouble; 0 = unknown */
} complaint;

static void DT_PRINTF(3, 0) take_complaint(cyaml_log_t level, void *ctx, const char *fmt, va_list args) {
    complaint *c = ctx;
    char text[256];
    (void)level;
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\r\n")] = 0;
    const char *body = !strncmp(text, "Load: ", 6) ? text + 6 : text;
    const char *at = strstr(text, "(line: ");
    if (!c->what[0] && strcmp(body, "Backtrace:") && strncmp(body, "  in ", 5))
        snprintf(c->what, sizeof c->what, "%s", body);
    if (at && !c->line) c->line = (unsigned)strtoul(at + 7, NULL, 10);
}

/* Line, from `from` on, that begins with "key:" (perhaps after "- "); 0 = none. */
static unsigned line_of_key(const char *text, const char *key, unsigned from) {
    unsigned line = 1;
    size_t n = strlen(key);
    for (const char *p = text; *p; line++) {
        const char *q = p + strspn(p, " \t-\"'");
        if (line >= from && !strncmp(q, key, n) && (q[n] == ':' || ((q[n] == '"' || q[n] == '\'') && q[n + 1] == ':'))) return line;
        p += strcspn(p, "\n");
        if (*p) p++;
    }
    return 0;
}

/* Line of "a.b.c", found by its parts one below the other; 0 = not found (flow style). */
static unsigned line_of_path(const char *text, const char *path) {
    unsigned line = 0;
    char part[64];
    while (*path) {
        size_t n = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, path);
        unsigned next = line_of_key(text, part, line + 1);
        if (!next) return line;
        line = next;
        path += n + (path[n] != 0);
    }
    return line;
}

/* "Expecting MAPPING, got event: SCALAR" in words; false = it is another complaint. */
static bool explain_shape(const char *what, char out[128]) {
    static const struct {
        const char *name, *words;
    } shapes[] = {{"MAPPING", "a section of keys"}, {"SEQUENCE", "a list"}, {"SCALAR", "a value"}, {"STRING", "a value"}, {"ALIAS", "an alias"}};
    const char *expecting = "Expecting ", *got = strstr(what, ", got event: "), *want = NULL, *found = NULL;
    if (strncmp(what, expecting, strlen(expecting)) || !got) return false;
    for (size_t i = 0; i < DT_COUNT(shapes); i++) {
        size_t n = strlen(shapes[i].name);
        if (!strncmp(what + strlen(expecting), shapes[i].name, n)) want = shapes[i].words;
        if (!strncmp(got + strlen(", got event: "), shapes[i].name, n)) found = shapes[i].words;
    }
    if (want && found) snprintf(out, 128, "expected %s, found %s", want, found);
    return want && found;
}

static duet_status explain(const char *name, const char *text, const complaint *c, cyaml_err_t e, duet_err *err) {
    const char *unknown = "Unexpected key: ", *twice = "Mapping field already seen: ";
    bool is_twice = !strncmp(c->what, twice, strlen(twice));
    if (is_twice || !strncmp(c->what, unknown, strlen(unknown))) {
        const char *key = c->what + strlen(is_twice ? twice : unknown);
        unsigned line = line_of_key(text, key, c->line + 1);
        if (!line) line = line_of_key(text, key, c->line);
        if (!line) line = c->line;
        return dt_fail(err, DUET_E_USAGE, "%s:%u: %s \"%s\"", name, line, is_twice ? "repeated key" : "unknown key", key);
    }
    char words[128];
    const char *what = explain_shape(c->what, words) ? words : c->what[0] ? c->what : cyaml_strerror(e);
    if (e == CYAML_ERR_OOM) return dt_fail(err, DUET_E_NOMEM, "%s: no memory", name);
    if (c->line) return dt_fail(err, DUET_E_FORMAT, "%s:%u: %s", name, c->line, what);
    return dt_fail(err, DUET_E_FORMAT, "%s: not a recipe: %s", name, what);
}

static duet_status stage_of(const stage_text *t, dt_stage *s, duet_err *err) {
    if (!t->steps || !parse_int(t->steps, &s->steps) || s->steps < 1)
        return dt_fail(err, DUET_E_USAGE, "steps is missing or not a whole number above 0");
    if (t->lr && (!parse_real(t->lr, &s->lr) || s->lr < 0 || s->lr > 10)) return dt_fail(err, DUET_E_USAGE, "lr: \"%.60s\" is not a rate", t->lr);
    if (t->batch_tokens && (!parse_int(t->batch_tokens, &s->batch_tokens) || s->batch_tokens < 0))
        return dt_fail(err, DUET_E_USAGE, "batch_tokens: \"%.60s\" is not a whole number", t->batch_tokens);
    s->knobs = dt_strdup(t->knobs);
    if (t->knobs && !s->knobs) return dt_fail(err, DUET_E_NOMEM, "no memory");
    return DUET_OK;
}

static duet_status take_stages(dt_recipe *r, const char *name, const file_text *f, duet_err *err) {
    if (!f->stages_count) return DUET_OK;
    r->stages = dt_calloc(f->stages_count, sizeof *r->stages);
    if (!r->stages) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for stages", name);
    r->n_stages = f->stages_count;
    for (size_t i = 0; i < r->n_stages; i++) {
        duet_status st = stage_of(&f->stages[i], &r->stages[i], err);
        if (st) return dt_fail_in(err, st, "%s: stages: number %zu", name, i + 1);
    }
    return DUET_OK;
}

static bool only_space(const char *text) { /* or comments: no document for libcyaml */
    while (*text) {
        text += strspn(text, " \t\r\n");
        if (*text == '#')
            text += strcspn(text, "\n");
        else if (*text)
            return false;
    }
    return true;
}

static duet_status read_file(dt_recipe *r, const char *name, const char *text, size_t len, file_text **out, duet_err *err) {
    complaint c = {{0}, 0};
    cyaml_config_t config = {.log_fn = take_complaint, .log_ctx = &c, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR,
                             .flags = CYAML_CFG_NO_ALIAS};
    duet_status st = DUET_OK;
    void *data = NULL;
    file_text *f = dt_calloc(1, sizeof *f);
    schema *s = dt_calloc(1, sizeof *s);

    *out = f;
    if (!f || !s) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", name);
        goto done;
    }
    if (memchr(text, 0, len)) {
        st = dt_fail(err, DUET_E_FORMAT, "%s: a NUL byte is no part of a recipe", name);
        goto done;
    }
    if (only_space(text)) goto done;
    build_schema(s, r->kind);
    cyaml_schema_value_t top = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, file_text, s->fields[0])};
    cyaml_err_t e = cyaml_load_data((const uint8_t *)text, len, &config, &top, &data, NULL);
    if (e != CYAML_OK) {
        st = explain(name, text, &c, e, err);
        goto done;
    }
    if (!data) goto done;
    memcpy(f, data, sizeof *f);
    memset(data, 0, sizeof *f); /* the texts are ours now */
    cyaml_free(&config, &top, data, 0);
done:
    free(s);
    return st;
}

static void free_file(file_text *f) {
    if (!f) return;
    for (size_t i = 0; i < DT_COUNT(f->value); i++)
        free(f->value[i]);
    for (uint32_t i = 0; i < f->stages_count; i++) {
        free(f->stages[i].steps);
        free(f->stages[i].lr);
        free(f->stages[i].batch_tokens);
        free(f->stages[i].knobs);
    }
    free(f->stages);
    free(f);
}

/* ---- layers ---- */

static void variable_name(const char *key, char out[64]) { /* "train.lr" -> DUET_TRAIN_LR, "m.lr" -> DUET_m_LR */
    bool single = key[1] == '.';
    size_t n = (size_t)snprintf(out, 64, "DUET_");
    for (size_t i = 0; key[i] && n < 63; i++)
        out[n++] = key[i] == '.' ? '_' : single && i == 0 ? key[i] : (char)toupper((unsigned char)key[i]);
    out[n] = 0;
}

static const char *variable_of(const char *key, bool environment) {
    char var[64];
    variable_name(key, var);
    return environment ? getenv(var) : NULL;
}

/* The value of `compat` in the highest layer that has one. */
static const char *compat_of(const file_text *f, bool environment, const char *const *overrides, size_t n) {
    size_t i = 0;
    const char *value = NULL, *key = "compat";
    if (find_key(key, 6, &i)) value = f->value[i];
    if (variable_of(key, environment)) value = variable_of(key, environment);
    for (size_t j = 0; j < n; j++)
        if (!strncmp(overrides[j], "compat=", 7)) value = overrides[j] + 7;
    return value;
}

static duet_status apply_layers(dt_recipe *r, const char *name, const char *text, const file_text *f, bool environment,
                                const char *const *overrides, size_t n, duet_err *err) {
    duet_status st = DUET_OK;
    for (size_t i = 0; i < dt_recipe_n_keys && !st; i++)
        st = set_value(r, &dt_recipe_keys[i], dt_recipe_keys[i].def, err);
    const char *compat = compat_of(f, environment, overrides, n);
    if (!st && r->kind == DT_RUN_RL && compat && !strcmp(compat, "reference"))
        for (size_t i = 0; i < dt_recipe_n_reference && !st; i++)
            st = set_key(r, dt_recipe_reference[i][0], strlen(dt_recipe_reference[i][0]), dt_recipe_reference[i][1], err);
    for (size_t i = 0; i < dt_recipe_n_keys && !st; i++) {
        const char *key = dt_recipe_keys[i].name;
        if (!f->value[i]) continue;
        st = set_key(r, key, strlen(key), f->value[i], err);
        if (st) st = dt_fail_in(err, st, "%s:%u", name, line_of_path(text, key));
    }
    if (!st) st = take_stages(r, name, f, err);
    for (size_t i = 0; i < dt_recipe_n_keys && !st; i++) {
        const char *key = dt_recipe_keys[i].name, *value = variable_of(key, environment);
        char var[64];
        if (!value || !(dt_recipe_keys[i].kinds & r->kind)) continue;
        variable_name(key, var);
        st = set_key(r, key, strlen(key), value, err);
        if (st) st = dt_fail_in(err, st, "%s", var);
    }
    for (size_t j = 0; j < n && !st; j++) {
        size_t len = strcspn(overrides[j], "=");
        if (!overrides[j][len]) return dt_fail(err, DUET_E_USAGE, "\"%.80s\" is not key=value", overrides[j]);
        st = set_key(r, overrides[j], len, overrides[j] + len + 1, err);
    }
    return st;
}

/* Adapters and how weights are held, of one model. */
static duet_status check_lora(const char *side, const dt_recipe_lora *l, int weights, const char *path, duet_err *err) {
    if (!l->rank && weights > 1)
        return dt_fail(err, DUET_E_USAGE, "%s.weights=%s needs %s.lora.rank: only weights held as f32 can be trained", side, weights == 2 ? "file" : "exact", side);
    if (!l->rank) return DUET_OK;
    if (!*path) return dt_fail(err, DUET_E_USAGE, "%s.lora.rank needs %s.path: adapters stand beside the weights of a model that is there", side, side);
    duet_status st = dt_lora_targets_check(l->targets, err);
    return st ? dt_fail_in(err, st, "%s.lora.targets", side) : DUET_OK;
}

/* What no single key can say. */
static duet_status check_whole(dt_recipe *r, duet_err *err) {
    int64_t total = 0;
    for (size_t i = 0; i < r->n_stages; i++)
        total += r->stages[i].steps;
    if (r->train.steps == 0) r->train.steps = total;
    if (total && r->train.steps > total)
        return dt_fail(err, DUET_E_USAGE, "train.steps is %lld, the stages have %lld", (long long)r->train.steps, (long long)total);
    if (r->train.steps == 0) return dt_fail(err, DUET_E_USAGE, "train.steps is missing");
    if (!*r->data.task == !*r->data.file) return dt_fail(err, DUET_E_USAGE, "give data.task or data.file, and not both");
    if (r->kind == DT_RUN_RL && !*r->M.path) return dt_fail(err, DUET_E_USAGE, "M.path is missing");
    if (r->kind == DT_RUN_RL && r->m.enable && !*r->m.path) return dt_fail(err, DUET_E_USAGE, "m.path is missing (or m.enable=false)");
    if (r->kind == DT_RUN_RL && !r->M.train && !(r->m.enable && r->m.train)) return dt_fail(err, DUET_E_USAGE, "neither M nor m is trained");
    duet_status st = r->kind == DT_RUN_SFT ? check_lora("model", &r->model.lora, r->model.weights, r->model.path, err)
                                           : check_lora("M", &r->M.lora, r->M.train ? r->M.weights : 0, r->M.path, err);
    if (!st && r->kind == DT_RUN_RL && r->m.enable) st = check_lora("m", &r->m.lora, r->m.train ? r->m.weights : 0, r->m.path, err);
    if (st) return st;
    if (*r->data.signals_from && r->data.role != DT_ROLE_m) return dt_fail(err, DUET_E_USAGE, "data.signals_from is for data.role m");
    return DUET_OK;
}

duet_status dt_recipe_parse(const char *name, const char *text, size_t len, dt_run_kind kind, bool environment,
                            const char *const *overrides, size_t n, dt_recipe **out, duet_err *err) {
    file_text *f = NULL;
    char *whole = NULL; /* with a NUL behind it, which `text` need not have */
    duet_status st = DUET_OK;

    *out = NULL;
    dt_recipe *r = dt_calloc(1, sizeof *r);
    if (r) r->is_set = dt_calloc(dt_recipe_n_keys, sizeof *r->is_set);
    if (len < SIZE_MAX) whole = dt_calloc(len + 1, 1);
    if (!r || !r->is_set || !whole) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", name);
        goto done;
    }
    if (len) memcpy(whole, text, len);
    r->kind = kind;
    st = read_file(r, name, whole, len, &f, err);
    if (st) goto done;
    st = apply_layers(r, name, whole, f, environment, overrides, n, err);
    if (st) goto done;
    st = check_whole(r, err);
    if (st) {
        st = dt_fail_in(err, st, "%s", name);
        goto done;
    }
    *out = r;
    r = NULL;
done:
    free_file(f);
    free(whole);
    dt_recipe_free(r);
    return st;
}

duet_status dt_recipe_load(const char *path, dt_run_kind kind, const char *const *overrides, size_t n, dt_recipe **out, duet_err *err) {
    dt_buf b = {0};
    *out = NULL;
    duet_status st = dt_file_read(path, MAX_RECIPE_BYTES, &b, err);
    if (!st) st = dt_recipe_parse(path, b.data ? b.data : "", b.len, kind, true, overrides, n, out, err);
    dt_buf_clear(&b);
    return st;
}

void dt_recipe_free(dt_recipe *r) {
    if (!r) return;
    for (size_t i = 0; i < dt_recipe_n_keys; i++)
        if (dt_recipe_keys[i].type == DT_KEY_TEXT) free(*(char **)field(r, &dt_recipe_keys[i]));
    for (size_t i = 0; i < r->n_stages; i++)
        free(r->stages[i].knobs);
    free(r->stages);
    free(r->is_set);
    free(r);
}

/* ---- out again ---- */

/* Opens the sections that `name` needs and `last` had not. */
static int open_sections(dt_buf *b, const char *last, const char *name) {
    size_t same = 0, depth = 0;
    for (size_t i = 0; name[i]; i++) { /* whole parts that both share */
        if (name[i] != last[i]) break;
        if (name[i] == '.') same = i + 1;
    }
    for (size_t i = 0; name[i]; i++) {
        if (name[i] != '.') continue;
        size_t begin = i;
        while (begin > 0 && name[begin - 1] != '.')
            begin--;
        if (i >= same) dt_buf_addf(b, "%*s%.*s:\n", (int)(2 * depth), "", (int)(i - begin), name + begin);
        depth++;
    }
    return (int)depth;
}

static void add_stages(dt_buf *b, const dt_recipe *r) {
    char lr[40];
    if (!r->n_stages) return;
    dt_buf_adds(b, "stages:\n");
    for (size_t i = 0; i < r->n_stages; i++) {
        const dt_stage *s = &r->stages[i];
        shortest(s->lr, lr);
        dt_buf_addf(b, "  - steps: %lld\n    lr: %s\n    batch_tokens: %lld\n", (long long)s->steps, lr, (long long)s->batch_tokens);
        if (s->knobs) {
            dt_buf_adds(b, "    knobs: ");
            add_quoted(b, s->knobs);
            dt_buf_adds(b, "\n");
        }
    }
}

char *dt_recipe_text(const dt_recipe *r) {
    dt_buf b = {0};
    const char *last = "";
    for (size_t i = 0; i < dt_recipe_n_keys; i++) {
        const dt_recipe_key *k = &dt_recipe_keys[i];
        if (!(k->kinds & r->kind)) continue;
        int depth = open_sections(&b, last, k->name);
        const char *dot = strrchr(k->name, '.');
        dt_buf_addf(&b, "%*s%s: ", 2 * depth, "", dot ? dot + 1 : k->name);
        add_value(&b, r, k);
        dt_buf_addf(&b, " # %s%s%s%s\n", k->help, k->choices ? " (" : "", k->choices ? k->choices : "", k->choices ? ")" : "");
        last = k->name;
    }
    add_stages(&b, r);
    if (b.failed) {
        dt_buf_clear(&b);
        return NULL;
    }
    return dt_buf_take(&b);
}

static bool decides_weights(const char *name) {
    static const char *const no[] = {"out",          "train.save_every", "train.keep", "train.kv_mib", "eval.every", "eval.n",       "eval.knobs", "eval.file",
                                     "eval.seed",    "eval.max_tokens",  "log.every",  "log.samples", "resume.lambda"};
    for (size_t i = 0; i < DT_COUNT(no); i++)
        if (!strcmp(no[i], name)) return false;
    return true;
}

void dt_recipe_hash(const dt_recipe *r, char hex[65]) {
    dt_sha256 s;
    dt_buf b = {0};
    dt_sha256_init(&s);
    for (size_t i = 0; i < dt_recipe_n_keys; i++) {
        const dt_recipe_key *k = &dt_recipe_keys[i];
        if (!(k->kinds & r->kind) || !decides_weights(k->name)) continue;
        dt_buf_addf(&b, "%s=", k->name);
        add_value(&b, r, k);
        dt_buf_adds(&b, "\n");
    }
    add_stages(&b, r);
    dt_sha256_add(&s, b.data, b.len);
    dt_sha256_hex(&s, hex);
    dt_buf_clear(&b);
}

char *dt_recipe_differences(const dt_recipe *r) {
    dt_buf b = {0}, def = {0}, now = {0};
    dt_recipe *d = dt_calloc(1, sizeof *d);
    if (!d) return NULL;
    dt_buf_adds(&b, "");
    for (size_t i = 0; i < dt_recipe_n_keys; i++) {
        const dt_recipe_key *k = &dt_recipe_keys[i];
        if (!(k->kinds & r->kind) || set_value(d, k, k->def, NULL)) continue;
        def.len = now.len = 0;
        add_value(&def, d, k);
        add_value(&now, r, k);
        if (now.len != def.len || memcmp(now.data, def.data, now.len)) dt_buf_addf(&b, "%s%s=%s", b.len ? " " : "", k->name, now.data);
    }
    dt_buf_clear(&def);
    dt_buf_clear(&now);
    dt_recipe_free(d);
    return dt_buf_take(&b);
}
