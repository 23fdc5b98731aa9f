/* Training curves: metrics.jsonl -> curves.svg. */
#include "format/plot.h"
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CURVES 32

typedef struct curve_data {
    double *x, *y;
    size_t n, cap;
} curve_data;

static bool push(curve_data *c, double x, double y) {
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 256;
        double *nx = dt_realloc(c->x, cap, sizeof *nx);
        if (nx) c->x = nx;
        double *ny = dt_realloc(c->y, cap, sizeof *ny);
        if (ny) c->y = ny;
        if (!nx || !ny) return false;
        c->cap = cap;
    }
    c->x[c->n] = x;
    c->y[c->n++] = y;
    return true;
}

static duet_status collect(const char *path, const char *const *names, size_t n, curve_data *data, duet_err *err) {
    dt_jsonl *in = NULL;
    json_t *o = NULL;
    duet_status st = dt_jsonl_open(path, &in, err);
    while (!st && (st = dt_jsonl_next(in, &o, err)) == DUET_OK) {
        double step = (double)json_integer_value(json_object_get(o, "step"));
        for (size_t i = 0; i < n && !st; i++) {
            const json_t *v = json_object_get(o, names[i]);
            if (json_is_number(v) && !push(&data[i], step, json_number_value(v))) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
        }
        json_decref(o);
    }
    dt_jsonl_close(in);
    return st == DUET_END ? DUET_OK : st;
}

static duet_status draw(const dt_run *run, const dt_run_panel *panels, size_t n, duet_err *err) {
    const char *names[MAX_CURVES];
    curve_data data[MAX_CURVES] = {{0}};
    dt_plot_curve curve[MAX_CURVES];
    dt_plot_panel panel[MAX_CURVES];
    size_t n_names = 0, n_curves = 0, n_panels = 0, at = 0;
    char *in = dt_path_join(run->dir, "metrics.jsonl"), *svg = dt_path_join(run->dir, "curves.svg");
    duet_status st = in && svg ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory");

    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < DT_COUNT(panels[p].names) && panels[p].names[i]; i++)
            names[n_names++] = panels[p].names[i];
    if (!st) st = collect(in, names, n_names, data, err);
    for (size_t p = 0; p < n; p++) {
        size_t first = n_curves;
        for (size_t i = 0; i < DT_COUNT(panels[p].names) && panels[p].names[i]; i++, at++)
            if (data[at].n > 1) curve[n_curves++] = (dt_plot_curve){.name = names[at], .x = data[at].x, .y = data[at].y, .n = data[at].n};
        if (n_curves > first)
            panel[n_panels++] = (dt_plot_panel){.y_title = panels[p].y_title, .curve = curve + first, .n_curves = n_curves - first};
    }
    if (!st && n_panels) st = dt_plot_panels(panel, n_panels, run->dir, "step", svg, err);
    for (size_t i = 0; i < MAX_CURVES; i++) {
        free(data[i].x);
        free(data[i].y);
    }
    free(in);
    free(svg);
    return st;
}

void dt_run_curves(dt_run *run, const dt_run_panel *panels, size_t n) {
    duet_err err = {{0}};
    if (draw(run, panels, n, &err)) dt_run_line(run, "no curves.svg: %s", err.text);
}
