/* What an evaluation is: its settings, and fingerprints of everything it stands on. A folder belongs to one evaluation, so
 * the first run writes this to DIR/run.json and later ones must agree with it. */
#include "cli/eval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const not_recalled[] = {"out", "config", "help", "json", "quiet", "resume", "replay", "rescore", "report", "compare", "min-accuracy", "plot", NULL};

/* ---- settings ---- */

static json_t *text_or_null(const char *s) {
    return s ? json_string(s) : json_null();
}

static json_t *sampling_json(duet_sampling s) {
    return json_pack("{s:f,s:i,s:f,s:f}", "temp", s.temperature, "top_k", s.top_k, "top_p", s.top_p, "min_p", s.min_p);
}

/* The one file, or a list of all. */
static json_t *data_json(const cli_list *l) {
    if (l->n < 2)
        return text_or_null(l->n ? l->v[0] : NULL);
    json_t *list = json_array();
    for (int i = 0; i < l->n; i++)
        json_array_append_new(list, json_string(l->v[i]));
    return list;
}

static size_t count_questions(const cli_evaluation *e) {
    size_t n = 0;
    for (size_t i = 0; i < e->n_sets; i++)
        n += e->set[i].n;
    return n;
}

static json_t *price(const cli_args *a, const double *field) {
    return cli_given(a, field) ? json_real(*field) : json_null();
}

static json_t *settings_json(const cli_evaluation *e) {
    const cli_args *a = e->a;
    json_t *o = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:I,s:i,s:I,s:i,s:i,s:s,s:o,s:o}", "M", text_or_null(a->M), "m",
                          text_or_null(a->m), "before_M", text_or_null(a->before_M), "before_m",
                          text_or_null(a->before_m), "task", text_or_null(a->task), "data", data_json(&a->data),
                          "split", a->split, "questions", (json_int_t)count_questions(e), "samples_per_question", a->k, "seed",
                          (json_int_t)a->seed, "signal_budget", a->signal_budget, "answer_budget", a->answer_budget,
                          "grader", a->grader, "sampling_M", sampling_json(cli_sampling_for(a, e->M, &a->on_M)),
                          "sampling_m", sampling_json(cli_sampling_for(a, e->m, &a->on_m)));
    json_t *more = json_pack("{s:s,s:s?,s:s?,s:I,s:s?,s:s,s:s?,s:o,s:o,s:o,s:o}", "modes", a->budget_curve ? "budget-curve" : a->modes, "shares", a->budget_curve ? a->shares : NULL, "map", a->map, "choice_seed",
                             (json_int_t)a->choice_seed, "instruction", a->instruction, "keep", a->keep, "chat_template", a->chat_template,
                             "price_M", price(a, &a->price_M), "price_m", price(a, &a->price_m), "price_M_in",
                             price(a, &a->price_M_in), "price_m_in", price(a, &a->price_m_in));
    if (o && more)
        json_object_update(o, more);
    json_decref(more);
    return o;
}

/* ---- fingerprints ---- */

/* What a model says depends on its files and on these options. An address has no files: it stands for itself. */
static duet_status print_model(cli_evaluation *e, const char *path, char side, const duet_backend *b, cli_eval_print *out, duet_err *err) {
    const duet_backend_options o = cli_backend_options(e->a, side);
    if (!path || !b)
        return DUET_OK;
    bool local = !strstr(path, "://");
    duet_status st = local ? duet_store_hash_file(e->store, path, out->sha256, &out->bytes, err) : DUET_OK;
    if (st)
        return st;
    json_t *j = json_pack("{s:s,s:s?,s:s,s:s,s:s?,s:i,s:s*}", local ? "sha256" : "address", local ? out->sha256 : path, "chat_template",
                          o.chat_template, "weights", duet_weights_name(o.model.weights), "kv_type", duet_kv_type_name(o.engine.kv_type),
                          "rope_scaling", o.model.rope_scaling, "ctx", duet_backend_ctx(b), "fields", local ? NULL : side == 'M' ? e->a->M_fields : e->a->m_fields);
    out->text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(j);
    return out->text ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory for its fingerprint", path);
}

static duet_status print_models(cli_evaluation *e, duet_err *err) {
    const cli_args *a = e->a;
    duet_status st = print_model(e, a->M, 'M', e->M, &e->print_M, err);
    if (!st)
        st = print_model(e, a->m, 'm', e->m, &e->print_m, err);
    if (!st)
        st = print_model(e, a->before_M ? a->before_M : a->M, 'M', e->before_M, &e->print_before_M, err);
    if (!st)
        st = print_model(e, a->before_m ? a->before_m : a->m, 'm', e->before_m, &e->print_before_m, err);
    json_t *j = json_pack("{s:s?,s:s}", "instruction", a->instruction, "keep", a->keep);
    e->print_pair = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    return st || e->print_pair ? st : dt_fail(err, DUET_E_NOMEM, "no memory for the fingerprint");
}

static void add_print(json_t *to, const char *name, const cli_eval_print *p) {
    json_t *models = json_object_get(to, "models");
    if (!p->text)
        return;
    if (*p->sha256)
        json_object_set_new(to, name, json_string(p->sha256));
    json_object_set_new(models, name, json_loads(p->text, 0, NULL));
}

static json_t *questions_print(const cli_evaluation *e) {
    char hex[65];
    dt_sha256 s;
    dt_sha256_init(&s);
    for (size_t k = 0; k < e->n_sets; k++)
        for (size_t i = 0; i < e->set[k].n; i++) {
            const duet_example *x = &e->set[k].v[i];
            dt_sha256_add(&s, x->question, strlen(x->question) + 1);
            dt_sha256_add(&s, x->answer, strlen(x->answer) + 1);
        }
    dt_sha256_hex(&s, hex);
    return json_string(hex);
}

static duet_status data_print(cli_evaluation *e, json_t *to, duet_err *err) {
    json_t *files = json_array();
    duet_status st = DUET_OK;
    for (int i = 0; !st && i < e->a->data.n; i++) {
        char hex[65];
        const char *path = e->a->data.v[i];
        st = duet_store_hash_file(e->store, path, hex, NULL, err);
        if (!st)
            json_array_append_new(files, json_pack("{s:s,s:s}", "path", path, "sha256", hex));
    }
    json_object_set_new(to, "data", files);
    return st;
}

static duet_status fingerprint_json(cli_evaluation *e, json_t **out, duet_err *err) {
    duet_status st = print_models(e, err);
    *out = st ? NULL : json_pack("{s:s,s:{}}", "duet", duet_version(), "models");
    if (!*out)
        return st ? st : dt_fail(err, DUET_E_NOMEM, "no memory for the fingerprint");
    add_print(*out, "M", &e->print_M);
    add_print(*out, "m", &e->print_m);
    if (e->before) {
        add_print(*out, "before_M", &e->print_before_M);
        add_print(*out, "before_m", &e->print_before_m);
    }
    json_object_set_new(*out, "questions", questions_print(e));
    json_object_set_new(*out, "machine", cli_machine_json(e->a));
    return data_print(e, *out, err);
}

/* ---- one folder, one evaluation ---- */

typedef struct found_differences {
    dt_buf text;
    size_t n;
} found_differences;

static void add_value(dt_buf *b, const json_t *v) {
    enum { SHOWN = 16 };
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    dt_buf_addf(b, "%.*s%s", SHOWN, text ? text : "nothing", text && strlen(text) > SHOWN ? "..." : "");
    free(text);
}

/* Where a model or a file lies is not what it is, and no more is the machine. */
static bool is_place(const char *path) {
    static const char *const places[] = {"settings.M", "settings.m", "settings.before_M", "settings.before_m", "fingerprint.machine",
                                         "fingerprint.M", "fingerprint.m", "fingerprint.before_M", "fingerprint.before_m"}; /* the last: once more under models */
    for (size_t i = 0; i < DT_COUNT(places); i++)
        if (!strcmp(path, places[i]))
            return true;
    return false;
}

/* Adds "settings.seed (1 there, 2 now)" for what differs. */
static void differences(const char *path, const json_t *was, const json_t *now, found_differences *d) {
    enum { SHOWN = 4 };
    char inner[160];
    const char *key = NULL;
    json_t *v = NULL;
    if ((was && now && json_equal(was, now)) || is_place(path))
        return;
    if (json_is_object(was) && json_is_object(now)) {
        json_t *both = json_copy((json_t *)(uintptr_t)was);
        json_object_update_missing(both, (json_t *)(uintptr_t)now);
        json_object_foreach(both, key, v) {
            snprintf(inner, sizeof inner, "%s.%s", path, key);
            differences(inner, json_object_get(was, key), json_object_get(now, key), d);
        }
        json_decref(both);
        return;
    }
    if (d->n++ >= SHOWN)
        return;
    dt_buf_addf(&d->text, "%s%s (", d->n > 1 ? ", " : "", path);
    add_value(&d->text, was);
    dt_buf_adds(&d->text, " there, ");
    add_value(&d->text, now);
    dt_buf_adds(&d->text, d->n == SHOWN ? " now), ..." : " now)");
}

static int refuse(const char *dir, const json_t *was, const json_t *now) {
    static const char *const section[] = {"settings", "fingerprint"};
    found_differences d = {{0}, 0};
    for (size_t i = 0; i < DT_COUNT(section); i++)
        differences(section[i], json_object_get(was, section[i]), json_object_get(now, section[i]), &d);
    int code = d.n ? cli_fail(EXIT_USAGE, "%s: holds another evaluation: %s; give another --out (with --store, samples are shared)", dir, d.text.data ? d.text.data : "") : 0;
    dt_buf_clear(&d.text);
    return code;
}

static int read_run(const char *path, json_t **out) {
    json_error_t why;
    *out = json_load_file(path, 0, &why);
    if (!json_is_object(json_object_get(*out, "settings")) || !json_is_object(json_object_get(*out, "fingerprint")) ||
        !json_is_object(json_object_get(*out, "options"))) {
        int code = cli_fail(EXIT_INPUT, "%s: not the start of an evaluation: %s", path, *out ? "settings, fingerprint or options are missing" : why.text);
        json_decref(*out);
        *out = NULL;
        return code;
    }
    return 0;
}

/* Of two who begin at once one makes the file, and both read it. */
static int claim(const cli_evaluation *e, const char *path) {
    dt_buf tmp = {0};
    duet_err err = {{0}};
    char *text = json_dumps(e->head, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    dt_buf_addf(&tmp, "%s.%ld.tmp", path, (long)getpid());
    duet_status st = text && !tmp.failed ? dt_file_write_atomic(tmp.data, text, strlen(text), &err) : dt_fail(&err, DUET_E_NOMEM, "%s: no memory", path);
    if (!st && link(tmp.data, path) && errno != EEXIST)
        st = dt_fail(&err, DUET_E_IO, "%s: cannot create: %s", path, strerror(errno));
    if (tmp.data)
        unlink(tmp.data);
    dt_buf_clear(&tmp);
    free(text);
    return st ? cli_fail(EXIT_FAILED, "%s", err.text) : 0;
}

static int own_folder(const cli_evaluation *e) {
    const char *dir = e->a->out;
    json_t *was = NULL;
    char *path = dt_path_join(dir, "run.json"), *older = dt_path_join(dir, "samples.jsonl");
    int code = path && older ? 0 : cli_fail(EXIT_FAILED, "%s: no memory", dir);
    if (!code && !dt_path_exists(path) && dt_path_exists(older))
        code = cli_fail(EXIT_USAGE, "%s: holds samples of an evaluation without %s; give another --out", dir, "run.json");
    if (!code && !dt_path_exists(path))
        code = claim(e, path);
    if (!code)
        code = read_run(path, &was);
    if (!code)
        code = refuse(dir, was, e->head);
    json_decref(was);
    free(path);
    free(older);
    return code;
}

static int open_store(cli_evaluation *e) {
    const cli_args *a = e->a;
    duet_err err = {{0}};
    if (a->out && dt_mkdirs(a->out, &err))
        return cli_fail(EXIT_FAILED, "%s", err.text);
    char *own = !a->store && a->out ? dt_path_join(a->out, "store.db") : NULL;
    const char *path = a->store ? a->store : own;
    duet_status st = path ? duet_store_open(path, 0, &e->store, &err) : DUET_OK;
    free(own);
    if (!st && e->store)
        st = duet_store_count(e->store, &e->had, &err);
    return st == DUET_E_FORMAT ? cli_fail_input(st, &err) : st ? cli_fail_status(st, &err) : 0;
}

int cli_eval_begin(const cli_command *self, cli_evaluation *e) {
    duet_err err = {{0}};
    json_t *print = NULL;
    int code = open_store(e);
    if (code || (!e->a->out && !e->store && !e->a->json)) /* nobody would see it */
        return code;
    duet_status st = fingerprint_json(e, &print, &err);
    e->head = st ? NULL : json_pack("{s:o,s:o,s:O}", "options", cli_given_json(self, e->a, not_recalled), "settings", settings_json(e), "fingerprint", print);
    json_decref(print);
    if (!e->head)
        return st ? cli_fail_input(st, &err) : cli_fail(EXIT_FAILED, "no memory for the settings");
    return e->a->out ? own_folder(e) : 0;
}

int cli_eval_recall(const cli_command *self, cli_evaluation *e) {
    duet_err err = {{0}};
    char *path = e->a->out ? dt_path_join(e->a->out, "run.json") : NULL;
    if (!path)
        return cli_fail(EXIT_USAGE, "eval: --%s needs --out DIR", e->a->replay ? "replay" : "resume");
    int code = !dt_path_exists(path) ? cli_fail(EXIT_INPUT, "%s: there is no evaluation here: run.json is missing", e->a->out) : read_run(path, &e->recalled);
    if (!code) {
        code = cli_recall(self, e->a, path, json_object_get(e->recalled, "options"), &err);
        if (code)
            cli_fail(code, "%s", err.text);
    }
    free(path);
    return code;
}
