/* Is a response right? The graders that evaluation and training choose from. */
#include "base/base.h"
#include "duet/grade.h"
#include "duet/task.h"
#include "task/hendrycks.h"
#include "task/span.h"

#include <stdlib.h>

bool duet_grader_parse(const char *name, duet_grader *out) {
    static const char *const names[] = {"exact", "hendrycks", "gpqa-first", "plain"};
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (!strcmp(names[i], name)) {
            *out = (duet_grader)i;
            return true;
        }
    return false;
}

duet_grader duet_grader_for_family(duet_grader g) { return g == DUET_GRADE_EXACT ? DUET_GRADE_PLAIN : g; }

/* The trimmed response, or what its last box holds; an unclosed last box is no answer. */
static bool plain_answer(dt_span response, dt_span *in) {
    size_t at = 0, end = 0;
    *in = dt_span_trim(response);
    if (dt_span_find(*in, 0, "\\boxed{") == SIZE_MAX) return true;
    if (!dt_last_box(*in, in, &at, &end)) return false;
    *in = dt_span_trim(*in);
    return true;
}

static int grade_exact(dt_span response, dt_span truth) {
    dt_span in;
    duet_verdict v = {0};
    if (!plain_answer(response, &in)) return 0;
    if (dt_span_is(in, dt_span_trim(truth))) return 1; /* most right answers end here */
    if (duet_verify(truth.p, truth.n, response.p, response.n, NULL, &v, NULL)) return 0;
    int equal = v.equal;
    duet_verdict_clear(&v);
    return equal;
}

static int grade_gpqa_first(dt_span response, dt_span truth) {
    char *letter = NULL;
    int same = 0;
    if (duet_extract(DUET_STYLE_GPQA_FIRST, false, response.p, response.n, &letter, NULL) || !letter) return 0;
    same = dt_span_is(dt_span_of(letter), truth);
    free(letter);
    return same;
}

int duet_grade(duet_grader g, const char *response, size_t n, const char *truth) {
    dt_span s = {response, n}, t = dt_span_of(truth), in;
    switch (g) {
    case DUET_GRADE_EXACT: return grade_exact(s, t);
    case DUET_GRADE_PLAIN: return plain_answer(s, &in) && dt_span_is(in, dt_span_trim(t));
    case DUET_GRADE_HENDRYCKS: return dt_hendrycks_box(s, &in) && dt_hendrycks_equal(in, t);
    case DUET_GRADE_GPQA_FIRST: return grade_gpqa_first(s, t);
    }
    return 0;
}
