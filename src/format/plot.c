/* gnuplot, run as a program that reads commands and data from a pipe and writes one SVG. It says nothing when a disk is
 * full, and goes on when we are killed, so it writes to a file without a name; the wanted one is replaced only by a plot that is
 * whole. */
#include "format/plot.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A string of a gnuplot command. In single quotes nothing is special but the quote; in double ones `...` would be run as
 * a shell command, and titles come from names of files and runs. */
static void quoted(dt_buf *b, const char *s) {
    dt_buf_adds(b, "'");
    for (; *s; s++) {
        if (*s == '\'') dt_buf_adds(b, "'");
        if ((unsigned char)*s >= ' ') dt_buf_add(b, s, 1);
    }
    dt_buf_adds(b, "'");
}

/* Writes to a pipe whose reader may be gone: an error and not the signal that ends the process. */
static bool feed(FILE *p, const dt_buf *script) {
    sigset_t pipe_only, old, waiting;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&waiting);
    bool was_waiting = sigismember(&waiting, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    bool ok = fwrite(script->data, 1, script->len, p) == script->len && !fflush(p);
    sigpending(&waiting);
    if (!was_waiting && sigismember(&waiting, SIGPIPE) == 1) {
        int taken = 0;
        sigwait(&pipe_only, &taken);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ok;
}

/* What gnuplot wrote; false where it is not a whole plot. */
static bool read_draft(FILE *draft, dt_buf *svg) {
    static const char end[] = "</svg>";
    char part[65536];
    rewind(draft);
    for (size_t n; (n = fread(part, 1, sizeof part, draft)) > 0;)
        dt_buf_add(svg, part, n);
    return !svg->failed && svg->len > sizeof end && strstr(svg->data + svg->len - sizeof end - 2, end);
}

/* A device or pipe is written itself: it must not be replaced. */
static duet_status put(const char *path, const dt_buf *svg, duet_err *err) {
    struct stat sb;
    if (stat(path, &sb) || S_ISREG(sb.st_mode)) return dt_file_write_atomic(path, svg->data, svg->len, err);
    FILE *f = fopen(path, "w");
    bool ok = f && fwrite(svg->data, 1, svg->len, f) == svg->len;
    if (f) ok = !fclose(f) && ok;
    return ok ? DUET_OK : dt_fail(err, DUET_E_IO, "%s: cannot write: %s", path, strerror(errno));
}

static duet_status run(const dt_buf *script, const char *svg, duet_err *err) {
    char command[64];
    dt_buf drawn = {0};
    duet_status st = DUET_OK;
    if (script->failed) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for the plot", svg);
    if (system("command -v gnuplot >/dev/null 2>&1") != 0)
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: gnuplot is not installed (package gnuplot-nox); the numbers are written without the plot", svg);
    FILE *draft = tmpfile();
    if (!draft) return dt_fail(err, DUET_E_IO, "%s: no temporary file for the plot: %s", svg, strerror(errno));
    snprintf(command, sizeof command, "exec gnuplot >/dev/fd/%d 2>/dev/null", fileno(draft));
    FILE *p = popen(command, "w");
    if (!p) {
        fclose(draft);
        return dt_fail(err, DUET_E_IO, "%s: cannot start gnuplot: %s", svg, strerror(errno));
    }
    bool fed = feed(p, script);
    int rc = pclose(p);
    if (!fed || rc)
        st = dt_fail(err, DUET_E_IO, "%s: gnuplot failed", svg);
    else if (!read_draft(draft, &drawn))
        st = dt_fail(err, DUET_E_IO, "%s: gnuplot could not write all of it (is the disk full?)", svg);
    else
        st = put(svg, &drawn, err);
    dt_buf_clear(&drawn);
    fclose(draft);
    return st;
}

static void head(dt_buf *b, const char *title, int height) {
    dt_buf_addf(b, "set terminal svg size 800,%d noenhanced background '#ffffff' font 'sans-serif,13'\n", height);
    dt_buf_adds(b, "set grid lc rgb '#dddddd'\nset border 3\nset tics nomirror out\nset title ");
    quoted(b, title);
    dt_buf_adds(b, "\n");
}

duet_status dt_plot_points(const dt_plot_point *p, size_t n, const char *title, const char *x_title, const char *y_title, const char *svg, duet_err *err) {
    dt_buf b = {0};
    double top = 1;
    for (size_t i = 0; i < n; i++)
        if (p[i].x > top) top = p[i].x;
    head(&b, title, 520);
    dt_buf_adds(&b, "set key outside right center Left reverse spacing 1.3\nset xlabel ");
    quoted(&b, x_title);
    dt_buf_adds(&b, "\nset ylabel ");
    quoted(&b, y_title);
    dt_buf_addf(&b, "\nset xrange [%g:%g]\nset yrange [0:105]\nplot ", -0.04 * top, 1.06 * top);
    for (size_t i = 0; i < n; i++) { /* each with a shape of its own: points may lie on each other */
        dt_buf_addf(&b, "%s'-' using 1:2:3:4 with yerrorbars pt %zu ps 1.1 lw 1.5 title ", i ? ", " : "", 4 + i % 10);
        quoted(&b, p[i].label);
    }
    dt_buf_adds(&b, "\n");
    for (size_t i = 0; i < n; i++)
        dt_buf_addf(&b, "%g %g %g %g\ne\n", p[i].x, p[i].y, p[i].lo, p[i].hi);
    duet_status st = run(&b, svg, err);
    dt_buf_clear(&b);
    return st;
}

static bool has_points(const dt_plot_curve *k) {
    for (size_t t = 0; t < k->n; t++)
        if (isfinite(k->x[t]) && isfinite(k->y[t])) return true;
    return false;
}

static void put_curve(dt_buf *b, const dt_plot_curve *k) {
    for (size_t t = 0; t < k->n; t++) {
        if (isfinite(k->x[t]) && isfinite(k->y[t]))
            dt_buf_addf(b, "%g %g\n", k->x[t], k->y[t]);
        else
            dt_buf_adds(b, "\n"); /* a gap */
    }
    dt_buf_adds(b, "e\n");
}

static void put_panel(dt_buf *b, const dt_plot_panel *p) {
    size_t drawn = 0;
    for (size_t c = 0; c < p->n_curves; c++) {
        if (!has_points(&p->curve[c])) continue; /* gnuplot ends with an error where it finds none */
        dt_buf_addf(b, "%s'-' using 1:2 with lines lw 1.6 title ", drawn++ ? ", " : "plot ");
        quoted(b, p->curve[c].name);
    }
    dt_buf_adds(b, drawn ? "\n" : "plot [0:1] [0:1] -1 notitle\n"); /* an empty frame keeps the place */
    for (size_t c = 0; c < p->n_curves; c++)
        if (has_points(&p->curve[c])) put_curve(b, &p->curve[c]);
}

duet_status dt_plot_panels(const dt_plot_panel *panel, size_t n, const char *title, const char *x_title, const char *svg, duet_err *err) {
    dt_buf b = {0};
    head(&b, title, 120 + 200 * (int)n);
    dt_buf_addf(&b, "set multiplot layout %zu,1\nset key outside right top\nset lmargin 10\nset rmargin 24\n", n);
    for (size_t i = 0; i < n; i++) {
        if (i) dt_buf_adds(&b, "unset title\n");
        dt_buf_adds(&b, "set xlabel ");
        quoted(&b, i + 1 == n ? x_title : "");
        dt_buf_adds(&b, "\nset ylabel ");
        quoted(&b, panel[i].y_title);
        dt_buf_adds(&b, "\n");
        put_panel(&b, &panel[i]);
    }
    dt_buf_adds(&b, "unset multiplot\n");
    duet_status st = run(&b, svg, err);
    dt_buf_clear(&b);
    return st;
}
