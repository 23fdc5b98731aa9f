/* The thread pool: each task once, results that do not depend on the threads, sleeping workers, several callers. */
#include "base/base.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static dt_pool *pool_of(int n) {
    dt_pool *p = NULL;
    duet_err err = {{0}};
    if (dt_pool_create(n, &p, &err)) fail_msg("%s", err.text);
    return p;
}

typedef struct tally {
    atomic_int runs[500];
    atomic_int bad_thread;
    int n_threads;
} tally;

static void count_run(void *arg, size_t task, int thread) {
    tally *t = arg;
    atomic_fetch_add(&t->runs[task], 1);
    if (thread < 0 || thread >= t->n_threads) atomic_store(&t->bad_thread, 1);
}

static void test_each_task_runs_once(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 3, 7, 500};
    for (int threads = 0; threads <= 5; threads++) { /* 0: no pool at all */
        dt_pool *p = threads ? pool_of(threads) : NULL;
        assert_int_equal(dt_pool_threads(p), threads ? threads : 1);
        for (int again = 0; again < 20; again++) {
            for (size_t i = 0; i < DT_COUNT(sizes); i++) {
                static tally t;
                memset(&t, 0, sizeof t);
                t.n_threads = dt_pool_threads(p);
                dt_pool_run(p, sizes[i], count_run, &t);
                for (size_t k = 0; k < DT_COUNT(t.runs); k++)
                    if (t.runs[k] != (k < sizes[i])) fail_msg("%d threads, %zu tasks: task %zu ran %d times", threads, sizes[i], k, t.runs[k]);
                assert_int_equal(t.bad_thread, 0);
            }
        }
        dt_pool_destroy(p);
    }
}

/* A task sums 1/1 + 1/2 + ... in float, where the order of terms shows in the bits. */
static void harmonic(void *arg, size_t task, int thread) {
    float *out = arg, x = 0;
    (void)thread;
    for (size_t i = 1; i <= 100 + 37 * task; i++)
        x += 1.0f / (float)i;
    out[task] = x;
}

static void test_results_do_not_depend_on_threads(void **state) {
    (void)state;
    enum { N = 64 };
    float want[N], got[N];
    dt_pool_run(NULL, N, harmonic, want);
    for (int threads = 1; threads <= 4; threads++) {
        dt_pool *p = pool_of(threads);
        for (int again = 0; again < 10; again++) {
            memset(got, 0xff, sizeof got);
            dt_pool_run(p, N, harmonic, got);
            assert_memory_equal(got, want, sizeof want);
        }
        dt_pool_destroy(p);
    }
}

static void test_sleepers_wake(void **state) {
    (void)state;
    enum { N = 8 };
    float want[N], got[N];
    dt_pool *p = pool_of(3);
    dt_pool_run(NULL, N, harmonic, want);
    for (int again = 0; again < 20; again++) {
        usleep(3000); /* far longer than a worker spins */
        memset(got, 0, sizeof got);
        dt_pool_run(p, N, harmonic, got);
        assert_memory_equal(got, want, sizeof want);
    }
    usleep(3000);
    dt_pool_destroy(p); /* of sleeping workers */
}

typedef struct caller {
    dt_pool *pool;
    float got[64];
} caller;

static void *call_often(void *arg) {
    caller *c = arg;
    for (int again = 0; again < 100; again++)
        dt_pool_run(c->pool, 64, harmonic, c->got);
    return NULL;
}

static void test_callers_wait_for_one_another(void **state) {
    (void)state;
    float want[64];
    caller c[3];
    pthread_t th[3];
    dt_pool_run(NULL, 64, harmonic, want);
    dt_pool *p = pool_of(3);
    for (int i = 0; i < 3; i++) {
        c[i] = (caller){.pool = p};
        assert_int_equal(pthread_create(&th[i], NULL, call_often, &c[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(th[i], NULL);
        assert_memory_equal(c[i].got, want, sizeof want);
    }
    dt_pool_destroy(p);
    dt_pool_destroy(NULL);
}

static void test_how_many_threads(void **state) {
    (void)state;
    static const struct {
        const char *env;
        int want; /* 0 = what the machine says */
    } cases[] = {{"3", 3}, {"1", 1}, {"0", 0}, {"-2", 0}, {"4x", 0}, {"", 0}, {"99999", 0}};
    dt_pool *p = NULL;
    duet_err err = {{0}};
    unsetenv("DUET_THREADS");
    int machine = dt_cpu_count();
    assert_true(machine >= 1);
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        setenv("DUET_THREADS", cases[i].env, 1);
        int want = cases[i].want ? cases[i].want : machine;
        if (dt_cpu_count() != want) fail_msg("DUET_THREADS=%s: %d threads", cases[i].env, dt_cpu_count());
    }
    setenv("DUET_THREADS", "2", 1);
    p = pool_of(0);
    assert_int_equal(dt_pool_threads(p), 2);
    dt_pool_destroy(p);
    unsetenv("DUET_THREADS");
    assert_int_equal(dt_pool_create(-1, &p, &err), DUET_E_RANGE);
    assert_null(p);
    assert_string_equal(err.text, "threads: -1 is outside 0..1024");
    assert_int_equal(dt_pool_create(1025, &p, NULL), DUET_E_RANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_task_runs_once), cmocka_unit_test(test_results_do_not_depend_on_threads),
        cmocka_unit_test(test_sleepers_wake),       cmocka_unit_test(test_callers_wait_for_one_another),
        cmocka_unit_test(test_how_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
