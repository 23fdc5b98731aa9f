/* Plots: what gnuplot draws, and what becomes of odd names, missing numbers and a gnuplot that is not there or dies. */
#include "support.h"

#include "format/plot.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/duet-plot-XXXXXX";

static int set_up(void **state) {
    (void)state;
    return !mkdtemp(dir);
}

static int tear_down(void **state) {
    (void)state;
    return rmdir(dir);
}

/* Path in the test's folder; one at a time. */
static const char *in_dir(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void need_gnuplot(void) {
    if (system("command -v gnuplot >/dev/null 2>&1") == 0) return;
    printf("skipped: gnuplot is not installed\n");
    skip();
}

/* The file's text (owned), which is then removed. */
static char *take_file(const char *path) {
    dt_buf b = {0};
    assert_int_equal(dt_file_read(path, 1 << 24, &b, NULL), DUET_OK);
    remove(path);
    return dt_buf_take(&b);
}

static void points_are_labelled(void **state) {
    (void)state;
    need_gnuplot();
    static const dt_plot_point p[] = {{140, 99, 97, 100, "M end to end"}, {0, 19, 15, 23, "m alone"}, {14, 97, 95, 99, "pair \"after\""}};
    duet_err err = {{0}};
    char path[256];
    snprintf(path, sizeof path, "%s", in_dir("it's a plot.svg"));
    if (dt_plot_points(p, DT_COUNT(p), "title", "M tokens", "accuracy", path, &err)) fail_msg("%s", err.text);
    char *svg = take_file(path);
    static const char *const want[] = {"M end to end", "m alone", "pair \"after\"", "title", "M tokens", "accuracy", "</svg>"};
    for (size_t i = 0; i < DT_COUNT(want); i++)
        if (!strstr(svg, want[i]) && !(i == 2 && strstr(svg, "pair &quot;after&quot;"))) fail_msg("the plot lacks: %s", want[i]);
    free(svg);
}

/* gnuplot runs what stands between backquotes in a double-quoted string. */
static void names_are_not_commands(void **state) {
    (void)state;
    need_gnuplot();
    char name[1024], path[256], made[256];
    snprintf(path, sizeof path, "%s", in_dir("plot.svg"));
    snprintf(made, sizeof made, "%s", in_dir("made"));
    snprintf(name, sizeof name, "`touch %s` '.system('touch %s').' \"", made, made);
    const dt_plot_point p = {1, 50, 40, 60, name};
    const double x[] = {1, 2};
    const dt_plot_curve c = {name, x, x, 2};
    const dt_plot_panel panel = {name, &c, 1};
    duet_err err = {{0}};
    if (dt_plot_points(&p, 1, name, name, name, path, &err)) fail_msg("%s", err.text);
    if (dt_plot_panels(&panel, 1, name, name, path, &err)) fail_msg("%s", err.text);
    remove(path);
    assert_int_not_equal(access(made, F_OK), 0);
}

static void missing_numbers_leave_gaps(void **state) {
    (void)state;
    need_gnuplot();
    const double nan = (double)NAN, x[] = {1, 2, 3, 4}, gap[] = {1, nan, 3, 4}, none[] = {nan, nan, nan, nan};
    const dt_plot_curve curves[] = {{"with a gap", x, gap, 4}, {"without any", x, none, 4}, {"empty", x, x, 0}};
    static const struct {
        const char *name;
        size_t first, n;
    } cases[] = {{"a gap", 0, 1}, {"one curve of two has no points", 0, 2}, {"no points at all", 1, 1}, {"a curve of length 0", 2, 1}, {"no curve", 0, 0}};
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        const dt_plot_panel panels[] = {{"y", curves + cases[i].first, cases[i].n}, {"other", curves, 1}};
        duet_err err = {{0}};
        char path[256];
        snprintf(path, sizeof path, "%s", in_dir("panels.svg"));
        if (dt_plot_panels(panels, 2, "title", "step", path, &err)) fail_msg("%s: %s", cases[i].name, err.text);
        char *svg = take_file(path);
        if (!strstr(svg, "</svg>")) fail_msg("%s: the plot is cut", cases[i].name);
        free(svg);
    }
}

static void failures_are_named(void **state) {
    (void)state;
    need_gnuplot();
    const dt_plot_point p = {1, 50, 40, 60, "p"};
    duet_err err = {{0}};
    assert_int_equal(dt_plot_points(&p, 1, "t", "x", "y", "/no/such/folder/plot.svg", &err), DUET_E_IO);
    assert_non_null(strstr(err.text, "/no/such/folder/plot.svg"));
}

/* With another gnuplot first in the PATH, or none: more is written than a pipe holds, which must not end the process. */
static void gnuplot_may_be_missing_or_die(void **state) {
    (void)state;
    enum { N = 50000 };
    char *old = strdup(getenv("PATH")), fake[256], path[512];
    double *x = malloc(N * sizeof *x);
    for (int i = 0; i < N; i++)
        x[i] = i;
    const dt_plot_curve c = {"long", x, x, N};
    const dt_plot_panel panel = {"y", &c, 1};
    duet_err err = {{0}};

    setenv("PATH", dir, 1);
    duet_status missing = dt_plot_panels(&panel, 1, "t", "x", "plot.svg", &err);
    bool named = strstr(err.text, "gnuplot-nox");

    snprintf(fake, sizeof fake, "%s", in_dir("gnuplot"));
    dt_file_write_atomic(fake, "#!/bin/sh\nexit 1\n", 17, NULL);
    chmod(fake, 0755);
    snprintf(path, sizeof path, "%s:%s", dir, old);
    setenv("PATH", path, 1);
    duet_status dead = dt_plot_panels(&panel, 1, "t", "x", "plot.svg", &err);
    setenv("PATH", old, 1);
    remove(fake);
    free(old);
    free(x);
    assert_int_equal(missing, DUET_E_UNSUPPORTED);
    assert_true(named);
    assert_int_equal(dead, DUET_E_IO);
}

/* A gnuplot outlives whoever is killed: what it writes then must be no file that anybody finds. */
static void nothing_is_left_beside(void **state) {
    (void)state;
    char *old = strdup(getenv("PATH")), fake[256], path[512], seen[300], script[400], svg[256];
    const dt_plot_point p = {1, 50, 40, 60, "p"};
    duet_err err = {{0}};
    snprintf(svg, sizeof svg, "%s", in_dir("plot.svg"));
    snprintf(seen, sizeof seen, "%s", in_dir("seen"));
    snprintf(fake, sizeof fake, "%s", in_dir("gnuplot"));
    const int n = snprintf(script, sizeof script, "#!/bin/sh\ncat > /dev/null\necho '<svg></svg>'\nls '%s' | grep plot > '%s'\nexit 0\n", dir, seen);
    dt_file_write_atomic(fake, script, (size_t)n, NULL);
    chmod(fake, 0755);
    snprintf(path, sizeof path, "%s:%s", dir, old);
    setenv("PATH", path, 1);
    duet_status st = dt_plot_points(&p, 1, "t", "x", "y", svg, &err);
    setenv("PATH", old, 1);
    remove(fake);
    free(old);
    if (st) fail_msg("%s", err.text);
    char *names = take_file(seen), *drawn = take_file(svg);
    assert_string_equal(names, "gnuplot\n");
    assert_string_equal(drawn, "<svg></svg>\n");
    free(names);
    free(drawn);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(points_are_labelled), cmocka_unit_test(names_are_not_commands),
                                       cmocka_unit_test(missing_numbers_leave_gaps), cmocka_unit_test(failures_are_named),
                                       cmocka_unit_test(gnuplot_may_be_missing_or_die), cmocka_unit_test(nothing_is_left_beside)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
