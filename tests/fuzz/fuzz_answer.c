/* Any bytes as two answers, parted at the first newline: a verdict comes, in bounded work; equal is never undecided; a
 * string equals itself. */
#include "base/base.h"
#include "duet/grade.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool verdict(const char *a, size_t n, const char *b, size_t m, const duet_verify_options *o) {
    duet_verdict v;
    if (duet_verify(a, n, b, m, o, &v, NULL) || !v.method) abort();
    bool open = !strcmp(v.method, "undecided") || !strcmp(v.method, "none");
    if (open && (v.equal || !v.reason)) abort();
    bool yes = v.equal;
    duet_verdict_clear(&v);
    return yes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *s = (const char *)data;
    const char *cut = size ? memchr(s, '\n', size) : NULL;
    size_t n = cut ? (size_t)(cut - s) : size, m = cut ? size - n - 1 : size;
    const char *t = cut ? cut + 1 : s;
    const duet_verify_options strict = {.strict = true};
    bool yes = verdict(s, n, t, m, NULL);
    verdict(t, m, s, n, NULL);
    verdict(s, n, t, m, &strict);
    if (!cut && !yes) { /* the same bytes: equal, unless there is no answer in them */
        duet_verdict v;
        if (duet_verify(s, n, s, n, NULL, &v, NULL) || strcmp(v.method, "none") != 0) abort();
        duet_verdict_clear(&v);
    }
    return 0;
}
