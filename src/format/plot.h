/* Plots as SVG, drawn by gnuplot: labelled points with intervals, and curves over steps.
 * DUET_E_UNSUPPORTED, naming the package, where gnuplot is not installed. */
#ifndef DT_PLOT_H
#define DT_PLOT_H

#include "base/base.h"

typedef struct dt_plot_point {
    double x, y, lo, hi; /* lo..hi: interval of y */
    const char *label;
} dt_plot_point;

duet_status dt_plot_points(const dt_plot_point *p, size_t n, const char *title, const char *x_title, const char *y_title, const char *svg, duet_err *err);

/* One curve: n points; NaN leaves a gap. */
typedef struct dt_plot_curve {
    const char *name;
    const double *x, *y;
    size_t n;
} dt_plot_curve;

/* One panel above the other, each with its own curves and y axis, a common x axis. */
typedef struct dt_plot_panel {
    const char *y_title;
    const dt_plot_curve *curve;
    size_t n_curves;
} dt_plot_panel;

duet_status dt_plot_panels(const dt_plot_panel *panel, size_t n, const char *title, const char *x_title, const char *svg, duet_err *err);

#endif
