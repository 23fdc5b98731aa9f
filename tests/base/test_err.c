/* Error sentences, durations for people, the log's one sink, Ctrl-C, the version. */
#include "base/base.h"
#include "duet/duet.h"
#include "support.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void test_sentences(void **state) {
    (void)state;
    duet_err err;
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(dt_fail(&err, DUET_E_RANGE, "%s: %d is too many", "seats", 7), DUET_E_RANGE);
    assert_string_equal(err.text, "seats: 7 is too many");
    assert_int_equal(dt_fail_in(&err, DUET_E_RANGE, "room %d", 3), DUET_E_RANGE);
    assert_string_equal(err.text, "room 3: seats: 7 is too many");
    dt_fail(&err, DUET_E_IO, "a\nb\r\nc"); /* one line, whatever a file name held */
    assert_string_equal(err.text, "a b  c");
    assert_int_equal(dt_fail(NULL, DUET_E_IO, "nobody reads this"), DUET_E_IO);
    assert_int_equal(dt_fail_in(NULL, DUET_E_IO, "nor this"), DUET_E_IO);
    dt_fail(&err, DUET_E_IO, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    dt_fail(&err, DUET_E_IO, "the cause");
    dt_fail_in(&err, DUET_E_IO, "%s", longer); /* a long prefix leaves room for the cause */
    assert_true(strlen(err.text) < sizeof err.text);
    assert_non_null(strstr(err.text, "x: the cause"));
}

static void test_every_status_has_its_own_name(void **state) {
    (void)state;
    for (int a = DUET_E_INTERNAL; a <= DUET_END; a++) {
        assert_string_not_equal(duet_status_name((duet_status)a), "unknown");
        for (int b = DUET_E_INTERNAL; b < a; b++)
            assert_string_not_equal(duet_status_name((duet_status)a), duet_status_name((duet_status)b));
    }
    volatile int none = 12345;
    assert_string_equal(duet_status_name((duet_status)none), "unknown");
}

static void test_version(void **state) {
    (void)state;
    assert_string_equal(duet_version(), DUET_VERSION);
}

static void test_time_left(void **state) {
    (void)state;
    static const struct {
        double s;
        const char *want;
    } cases[] = {
        {0, "0s"}, {0.4, "0s"}, {0.6, "1s"}, {12, "12s"}, {59.4, "59s"}, {59.6, "1m00s"}, {200, "3m20s"}, {3599.4, "59m59s"}, {3599.6, "1h00m"},
        {3720, "1h02m"}, {36000, "10h00m"}, {1e9, "99h59m"}, {1e300, "99h59m"}, {-5, "0s"},
    };
    char out[16];
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_time_left(cases[i].s, out);
        if (strcmp(out, cases[i].want)) fail_msg("%g s: %s, not %s", cases[i].s, out, cases[i].want);
    }
    volatile double zero = 0;
    dt_time_left(zero / zero, out);
    assert_string_equal(out, "0s");
}

static void test_the_clock_goes_forward(void **state) {
    (void)state;
    double before = dt_now();
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    double spent = dt_now() - before;
    assert_true(spent >= 0.005 && spent < 60);
}

static char heard[64];

static void hear(void *user, int level, const char *line) {
    *(int *)user = level;
    snprintf(heard, sizeof heard, "%.63s", line);
}

static void test_log_has_one_sink(void **state) {
    (void)state;
    int level = -1;
    dt_log(DT_LOG_WARN, "to nobody");
    dt_log_set(hear, &level);
    dt_log(DT_LOG_INFO, "step %d", 3);
    assert_string_equal(heard, "step 3");
    assert_int_equal(level, DT_LOG_INFO);
    dt_log_set(NULL, NULL);
    dt_log(DT_LOG_WARN, "to nobody");
    assert_string_equal(heard, "step 3");
}

static void test_first_interrupt_asks_second_ends(void **state) {
    (void)state;
    const volatile int *flag = dt_interrupt_flag();
    assert_false(dt_interrupted());
    dt_interrupt_request();
    assert_true(dt_interrupted());
    assert_int_not_equal(*flag, 0);
    dt_interrupt_reset();
    assert_int_equal(*flag, 0);
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < DT_COUNT(signals); i++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) {
            dt_interrupt_install();
            raise(signals[i]);
            if (!dt_interrupted()) _exit(1);
            raise(signals[i]);
            _exit(2); /* not reached */
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 130);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentences),      cmocka_unit_test(test_every_status_has_its_own_name),
        cmocka_unit_test(test_version),        cmocka_unit_test(test_time_left),
        cmocka_unit_test(test_the_clock_goes_forward), cmocka_unit_test(test_log_has_one_sink),
        cmocka_unit_test(test_first_interrupt_asks_second_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
