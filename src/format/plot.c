/* gnuplot, run as a program that reads commands and data from a pipe and writes one SVG. It says nothing when a disk is
 * full, so it writes beside the wanted file, which is replaced only by a plot that is whole. */
#include "format/plot.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static bool is_whole(const char *path) {
    static const char end[] = "</svg>";
    dt_buf b = {0};
    bool ok = !dt_file_read(path, (size_t)64 << 20, &b, NULL) && b.len > sizeof end && strstr(b.data + b.len - sizeof end - 2, end);
    dt_buf_clear(&b);
    return ok;
}

/* `output` is the file the script names. */
static duet_status run(const dt_buf *script, const char *output, const char *svg, duet_err *err) {
    if (script->failed) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for the plot", svg);
    if (system("command -v gnuplot >/dev/null 2>&1") != 0)
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: gnuplot is not installed (package gnuplot-nox); the numbers are written without the plot", svg);
    FILE *p = popen("exec gnuplot >/dev/null 2>&1", "w");
    if (!p) return dt_fail(err, DUET_E_IO, "%s: cannot start gnuplot: %s", svg, strerror(errno));
    bool fed = feed(p, script);
    int rc = pclose(p);
    duet_status st = DUET_OK;
    if (!fed || rc)
        st = dt_fail(err, DUET_E_IO, "%s: gnuplot failed (is the folder writable?)", svg);
    else if (!strcmp(output, svg)) /* a device */
        return DUET_OK;
    else if (!is_whole(output))
        st = dt_fail(err, DUET_E_IO, "%s: gnuplot could not write all of it (is the disk full?)", svg);
    else if (rename(output, svg))
        st = dt_fail(err, DUET_E_IO, "%s: cannot replace: %s", svg, strerror(errno));
    if (st && strcmp(output, svg) != 0) unlink(output);
    return st;
}

/* Where gnuplot writes; owned, NULL = no memory. A device or pipe is written itself: it must not be replaced. */
static char *beside(const char *svg) {
    dt_buf b = {0};
    struct stat sb;
    if (!stat(svg, &sb) && !S_ISREG(sb.st_mode)) return dt_strdup(svg);
    dt_buf_addf(&b, "%s.%ld.tmp", svg, (long)getpid());
    return dt_buf_take(&b);
}

static void head(dt_buf *b, const char *title, const char *output, int height) {
    dt_buf_addf(b, "set terminal svg size 800,%d noenhanced background '#ffffff' font 'sans-serif,13'\nset output ", height);
    quoted(b, output);
    dt_buf_adds(b, "\nset grid lc rgb '#dddddd'\nset border 3\nset tics nomirror out\nset title ");
    quoted(b, title);
    dt_buf_adds(b, "\n");
}

duet_status dt_plot_points(const dt_plot_point *p, size_t n, const char *title, const char *x_title, const char *y_title, const char *svg, duet_err *err) {
    dt_buf b = {0};
    double top = 1;
    char *output = beside(svg);
    if (!output) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for the plot", svg);
    for (size_t i = 0; i < n; i++)
        if (p[i].x > top) top = p[i].x;
    head(&b, title, output, 520);
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
    duet_status st = run(&b, output, svg, err);
    dt_buf_clear(&b);
    free(output);
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
    char *output = beside(svg);
    if (!output) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for the plot", svg);
    head(&b, title, output, 120 + 200 * (int)n);
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
    duet_status st = run(&b, output, svg, err);
    dt_buf_clear(&b);
    free(output);
    return st;
}
