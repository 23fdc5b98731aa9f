/* What comes out: saved shares, the table for a terminal, JSON, the plot. */
#include "eval/curve.h"
#include "eval/internal.h"

#include "duet/duet.h"
#include "format/plot.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* M's row that the savings of `data` are measured against: the one without a variant, else the first. */
static const duet_eval_row *base_of(const duet_eval_row *rows, size_t n, const char *data) {
    const duet_eval_row *first = NULL;
    for (size_t i = 0; i < n; i++) {
        const duet_eval_row *r = &rows[i];
        if (strcmp(r->mode, "M") || strcmp(r->data, data) || !(r->M_tokens > 0)) continue;
        if (!*r->variant) return r;
        if (!first) first = r;
    }
    return first;
}

void duet_eval_finish(duet_eval_row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const duet_eval_row *base = base_of(rows, n, rows[i].data);
        rows[i].saved = base ? 1 - rows[i].M_tokens / base->M_tokens : (double)NAN;
    }
}

static void cell(dt_buf *b, int width, const char *text) {
    dt_buf_addf(b, "  %*s", width, text);
}

static void number_cell(dt_buf *b, int width, const char *format, double x) {
    char text[32] = "-";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* formats are literals of this file */
    if (!isnan(x)) snprintf(text, sizeof text, format, x);
#pragma GCC diagnostic pop
    cell(b, width, text);
}

static const char *title_of(const duet_eval_row *r) {
    return !strcmp(r->mode, "M") ? "M end to end" : !strcmp(r->mode, "m") ? "m alone" : "pair";
}

static int columns(const char *utf8) {
    int n = 0;
    for (; *utf8; utf8++)
        n += ((unsigned char)*utf8 & 0xC0) != 0x80;
    return n;
}

static void padded(dt_buf *b, const char *text, int width) {
    dt_buf_addf(b, "%s%*s", text, width - columns(text), "");
}

static void name_of(const duet_eval_row *r, char out[96]) {
    snprintf(out, 96, "%s%s%s", title_of(r), *r->variant ? ", " : "", r->variant);
}

static bool has_curve(const duet_eval_row *rows, size_t n) {
    double share = 0;
    for (size_t i = 0; i < n; i++)
        if (dt_curve_share(rows[i].variant, &share)) return true;
    return false;
}

char *duet_eval_table(const duet_eval_row *rows, size_t n) {
    dt_buf b = {0};
    char name[96], ci[32];
    int data_width = 0, name_width = 0;
    bool several = false, priced = false; /* sets: then each row names its own; money: then there is a column for it */
    for (size_t i = 0; i < n; i++) {
        name_of(&rows[i], name);
        if (columns(name) > name_width) name_width = columns(name);
        if (columns(rows[i].data) > data_width) data_width = columns(rows[i].data);
        several = several || strcmp(rows[i].data, rows[0].data);
        priced = priced || rows[i].cost > 0;
    }
    data_width = several ? data_width + 2 : 0;
    dt_buf_addf(&b, "%*s", data_width + name_width, "");
    cell(&b, 10, "accuracy");
    cell(&b, 14, "95 % interval");
    cell(&b, 8, "M tokens");
    cell(&b, 8, "m tokens");
    cell(&b, 8, "M saved");
    if (priced) cell(&b, 10, "cost");
    dt_buf_adds(&b, "\n");
    for (size_t i = 0; i < n; i++) {
        const duet_eval_row *r = &rows[i];
        name_of(r, name);
        snprintf(ci, sizeof ci, "%.1f .. %.1f", 100 * r->ci95[0], 100 * r->ci95[1]);
        if (several) padded(&b, r->data, data_width);
        padded(&b, name, name_width);
        number_cell(&b, 10, "%.1f %%", 100 * r->accuracy);
        cell(&b, 14, ci);
        number_cell(&b, 8, "%.1f", r->M_tokens);
        number_cell(&b, 8, "%.1f", r->m_tokens);
        number_cell(&b, 8, "%.1f %%", 100 * r->saved);
        if (priced) number_cell(&b, 10, "%.3g", r->cost);
        dt_buf_adds(&b, "\n");
    }
    if (has_curve(rows, n)) dt_buf_addf(&b, "%s\n", dt_curve_caveat);
    return dt_buf_take(&b);
}

/* A name as JSON; bytes that are no UTF-8 (a file's name, or one cut within a character) cost it all but its ASCII. */
static json_t *name_json(const char *name) {
    char ascii[64];
    json_t *s = json_string(name);
    if (s) return s;
    snprintf(ascii, sizeof ascii, "%s", name);
    for (char *p = ascii; *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    return json_string(ascii);
}

static void put(json_t *o, const char *key, double x) {
    json_object_set_new(o, key, isnan(x) ? json_null() : json_real(x));
}

char *duet_eval_json(const duet_eval_row *rows, size_t n, const char *settings_json) {
    json_t *root = json_object(), *list = json_array(), *settings = settings_json ? json_loads(settings_json, 0, NULL) : NULL;
    for (size_t i = 0; i < n; i++) {
        const duet_eval_row *r = &rows[i];
        json_t *o = json_pack("{s:o, s:s, s:o, s:I, s:I, s:f, s:[f, f]}", "data", name_json(r->data), "mode", r->mode, "variant", name_json(r->variant), "questions",
                              (json_int_t)r->questions, "samples", (json_int_t)r->samples, "accuracy", r->accuracy, "ci95", r->ci95[0], r->ci95[1]);
        put(o, "M_tokens", r->M_tokens);
        put(o, "m_tokens", r->m_tokens);
        put(o, "m_prompt_tokens", r->m_prompt_tokens);
        put(o, "saved", r->saved);
        put(o, "no_answer", r->no_answer);
        put(o, "truncated", r->truncated);
        put(o, "leak", r->leak);
        put(o, "accuracy_no_leak", r->accuracy_no_leak);
        put(o, "cost", r->cost);
        put(o, "M_alone_cost", r->M_alone_cost);
        json_array_append_new(list, o);
    }
    json_object_set_new(root, "rows", list);
    if (has_curve(rows, n)) json_object_set_new(root, "caveat", json_string(dt_curve_caveat));
    json_object_set_new(root, "settings", settings ? settings : json_object());
    json_object_set_new(root, "fingerprint", json_pack("{s:s}", "duet", duet_version()));
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(root);
    return text;
}

char *duet_eval_times_json(const duet_eval_row *rows, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const duet_eval_row *r = &rows[i];
        json_t *o = json_pack("{s:o, s:s, s:o, s:I}", "data", name_json(r->data), "mode", r->mode, "variant", name_json(r->variant), "samples", (json_int_t)r->samples);
        put(o, "M_s", r->M_s);
        put(o, "m_s", r->m_s);
        put(o, "M_alone_s", r->M_alone_s);
        json_array_append_new(list, o);
    }
    json_t *root = json_pack("{s:o}", "rows", list);
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    return text;
}

duet_status duet_eval_plot(const duet_eval_row *rows, size_t n, const char *title, const char *svg_path, duet_err *err) {
    dt_plot_point *p = dt_calloc(n, sizeof *p);
    char(*label)[96] = dt_calloc(n, sizeof *label);
    duet_status st = DUET_OK;
    if (!p || !label) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for the plot", svg_path);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        name_of(&rows[i], label[i]);
        p[i] = (dt_plot_point){.x = rows[i].M_tokens, .y = 100 * rows[i].accuracy, .lo = 100 * rows[i].ci95[0], .hi = 100 * rows[i].ci95[1], .label = label[i]};
    }
    st = dt_plot_points(p, n, title, "M tokens a question", "accuracy, %", svg_path, err);
done:
    free(label);
    free(p);
    return st;
}
