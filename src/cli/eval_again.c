/* Folders of earlier evaluations: graded again, compared. Nothing is generated. */
#include "cli/eval.h"

#include <math.h>
#include <stdlib.h>

int cli_eval_rescore(const cli_args *a) {
    duet_err err = {{0}};
    size_t changed = 0;
    duet_status st = duet_eval_rescore(a->rescore, cli_given(a, &a->grader) ? a->grader : NULL, &changed, &err);
    if (st)
        return st == DUET_E_USAGE ? cli_fail_option(st, &err) : cli_fail_input(st, &err);
    printf("%zu verdicts changed\n", changed);
    return EXIT_DONE;
}

int cli_eval_report(const cli_args *a) {
    duet_err err = {{0}};
    duet_status st = duet_eval_html(a->report, &err);
    return st ? cli_fail_input(st, &err) : EXIT_DONE;
}

static double real_of(const json_t *o, const char *key) {
    const json_t *j = json_object_get(o, key);
    return json_is_number(j) ? json_number_value(j) : (double)NAN;
}

/* "-4.0  -9.1 .. 1.1  p 0.12", with `unit` times the values. */
static void put_difference(const char *what, const json_t *d, double unit) {
    const json_t *ci = json_object_get(d, "ci95");
    double lo = json_number_value(json_array_get(ci, 0)), hi = json_number_value(json_array_get(ci, 1)), p = real_of(d, "p");
    printf("  %-9s %+9.2f", what, unit * real_of(d, "difference"));
    if (json_is_number(json_array_get(ci, 0)))
        printf("  %+.2f .. %+.2f  p %.3g", unit * lo, unit * hi, p);
    printf("  (%lld up, %lld down)\n", json_integer_value(json_object_get(d, "up")), json_integer_value(json_object_get(d, "down")));
}

int cli_eval_compare(const cli_args *a) {
    duet_err err = {{0}};
    char *text = NULL;
    size_t i = 0;
    json_t *row = NULL;
    if (a->n_rest != 1)
        return cli_fail(EXIT_USAGE, "eval: --compare takes two folders: --compare X Y");
    duet_status st = duet_eval_compare(a->compare_to, a->rest[0], &text, &err);
    if (st)
        return cli_fail_input(st, &err);
    json_t *j = json_loads(text, 0, NULL);
    free(text);
    if (a->json)
        return cli_print_json(j);
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        const char *variant = json_string_value(json_object_get(row, "variant"));
        printf("%s, %s%s%s: %lld questions\n", json_string_value(json_object_get(row, "data")),
               json_string_value(json_object_get(row, "mode")), *variant ? " " : "", variant,
               json_integer_value(json_object_get(row, "questions")));
        put_difference("accuracy", json_object_get(row, "accuracy"), 100);
        put_difference("M tokens", json_object_get(row, "M_tokens"), 1);
        put_difference("m tokens", json_object_get(row, "m_tokens"), 1);
    }
    json_decref(j);
    return EXIT_DONE;
}
