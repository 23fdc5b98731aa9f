/* The answers of MATH-500, where the set is at hand (it may not be handed on): each equals itself, bare and in a box, and no other
 * but those that are the same number, set or point written in another way. */
#include "support.h"

#include "duet/grade.h"
#include "format/jsonl.h"

enum { MAX = 500 };
static char *answer[MAX];
static size_t n_answers;

static bool equal(const char *gold, const char *pred) {
    duet_verdict v;
    assert_int_equal(duet_verify(gold, strlen(gold), pred, strlen(pred), NULL, &v, NULL), DUET_OK);
    bool yes = v.equal;
    duet_verdict_clear(&v);
    return yes;
}

static int set_up(void **state) {
    char path[512];
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    (void)state;
    snprintf(path, sizeof path, "%s/data/sets/math500.jsonl", DUET_SHARED);
    if (!dt_path_exists(path)) return 0;
    if (dt_jsonl_open(path, &r, &err)) return 1;
    for (; !dt_jsonl_next(r, &row, &err) && n_answers < MAX; json_decref(row))
        answer[n_answers++] = dt_strdup(json_string_value(json_object_get(row, "answer")));
    dt_jsonl_close(r);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < n_answers; i++)
        free(answer[i]);
    return 0;
}

static void skip_without_set(void) {
    if (n_answers) return;
    printf("skipped: no MATH-500 at %s/data/sets\n", DUET_SHARED);
    skip();
}

static void each_equals_itself(void **state) {
    (void)state;
    skip_without_set();
    size_t same = 0, boxed = 0;
    for (size_t i = 0; i < n_answers; i++) {
        char *text = malloc(strlen(answer[i]) + 64);
        sprintf(text, "Adding up, the answer is $\\boxed{%s}$.", answer[i]);
        same += equal(answer[i], answer[i]);
        boxed += equal(answer[i], text);
        free(text);
    }
    printf("%zu of %zu equal themselves, %zu in a box\n", same, n_answers, boxed);
    assert_int_equal(same, n_answers);
    assert_int_equal(boxed, n_answers);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Which different strings are equal was read and found right by hand; the sum of them stands here, not the answers. */
static void few_equal_another(void **state) {
    (void)state;
    skip_without_set();
    char *v[MAX];
    size_t n = 0, equals = 0, pairs = 0;
    uint64_t sum = 0;
    memcpy(v, answer, n_answers * sizeof *v);
    qsort(v, n_answers, sizeof *v, by_text);
    for (size_t i = 0; i < n_answers; i++)
        if (!i || strcmp(v[i], v[i - 1])) v[n++] = v[i];
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const size_t reach = 12; /* neighbours in the order of the alphabet: there most of them are near */
#else
    const size_t reach = MAX;
#endif
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n && k <= i + reach; k++, pairs++) {
            bool yes = equal(v[i], v[k]);
            if (!yes) continue;
            equals++;
            sum ^= dt_hash64(v[i], strlen(v[i]), dt_hash64(v[k], strlen(v[k]), 0));
            if (getenv("DUET_SHOW")) printf("%s | %s\n", v[i], v[k]);
        }
    printf("%zu pairs of %zu different answers, %zu equal, sum %016llx (DUET_SHOW=1 prints them)\n", pairs, n, equals, (unsigned long long)sum);
    assert_true(equals <= 18);
    if (reach == MAX) assert_true(equals == 18 && sum == 0x9f3bbea4f867784d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_equals_itself),
        cmocka_unit_test(few_equal_another),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
