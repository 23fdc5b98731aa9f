/* Thread pool: numbered tasks of one job at a time, taken from a shared counter. Workers spin shortly for the
 * next job before they sleep, since a training step is thousands of short jobs. */
#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct dt_pool {
    int n_threads; /* the caller included */
    pthread_t *threads;
    pthread_mutex_t job_lock; /* one job at a time */
    pthread_mutex_t lock;     /* guards sleeping */
    pthread_cond_t wake;
    atomic_ullong todo;     /* generation of the job in the upper half, tasks not yet taken in the lower */
    atomic_size_t n_done;   /* tasks of this job that have returned */
    atomic_uint generation; /* number of jobs posted */
    atomic_int sleepers;
    atomic_bool stop;
    size_t n_tasks;
    dt_task_fn fn;
    void *arg;
    int n_started;
};

typedef struct worker_arg {
    dt_pool *pool;
    int index;
} worker_arg;

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Takes tasks until none is left. A task is taken by lowering the count under the job's own generation, so a worker
 * that comes late finds either a live job or nothing: nobody waits for a thread that the system has not run yet. */
static void drain(dt_pool *p, int thread) {
    unsigned long long t = atomic_load_explicit(&p->todo, memory_order_acquire);
    while ((uint32_t)t) {
        if (!atomic_compare_exchange_weak_explicit(&p->todo, &t, t - 1, memory_order_acq_rel, memory_order_acquire)) continue;
        p->fn(p->arg, p->n_tasks - (uint32_t)t, thread); /* stable: the job lasts until this task is done */
        atomic_fetch_add_explicit(&p->n_done, 1, memory_order_release);
        t = atomic_load_explicit(&p->todo, memory_order_acquire);
    }
}

static void *worker(void *varg) {
    worker_arg a = *(worker_arg *)varg;
    dt_pool *p = a.pool;
    unsigned seen = 0;
    free(varg);
    for (;;) {
        for (int spin = 0; spin < 4000 && atomic_load_explicit(&p->generation, memory_order_acquire) == seen; spin++)
            relax();
        if (atomic_load_explicit(&p->generation, memory_order_acquire) == seen) {
            pthread_mutex_lock(&p->lock);
            atomic_fetch_add(&p->sleepers, 1);
            while (atomic_load(&p->generation) == seen)
                pthread_cond_wait(&p->wake, &p->lock);
            atomic_fetch_sub(&p->sleepers, 1);
            pthread_mutex_unlock(&p->lock);
        }
        seen = atomic_load_explicit(&p->generation, memory_order_acquire);
        if (atomic_load(&p->stop)) return NULL;
        drain(p, a.index);
    }
}

/* Posts the next generation; only the owner of job_lock (or destroy) calls it. */
static void post(dt_pool *p) {
    atomic_fetch_add(&p->generation, 1);
    if (atomic_load(&p->sleepers)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

int dt_cpu_count(void) {
    const char *env = getenv("DUET_THREADS");
    if (env && *env) {
        char *end = NULL;
        long n = strtol(env, &end, 10);
        if (!*end && n >= 1 && n <= 1024) return (int)n;
    }
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

duet_status dt_pool_create(int n_threads, dt_pool **out, duet_err *err) {
    *out = NULL;
    if (n_threads < 0 || n_threads > 1024)
        return dt_fail(err, DUET_E_RANGE, "threads: %d is outside 0..1024", n_threads);
    if (!n_threads) n_threads = dt_cpu_count();
    dt_pool *p = calloc(1, sizeof *p);
    if (!p) return dt_fail(err, DUET_E_NOMEM, "thread pool: no memory");
    p->n_threads = n_threads;
    pthread_mutex_init(&p->job_lock, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->threads = calloc((size_t)n_threads, sizeof *p->threads);
    for (int i = 1; p->threads && i < n_threads; i++) {
        worker_arg *a = malloc(sizeof *a);
        if (!a) break;
        *a = (worker_arg){.pool = p, .index = i};
        if (pthread_create(&p->threads[i], NULL, worker, a)) {
            free(a);
            break;
        }
        p->n_started++;
    }
    if (!p->threads || p->n_started != n_threads - 1) {
        dt_pool_destroy(p);
        return dt_fail(err, DUET_E_NOMEM, "thread pool: cannot start %d threads", n_threads);
    }
    *out = p;
    return DUET_OK;
}

void dt_pool_destroy(dt_pool *p) {
    if (!p) return;
    atomic_store(&p->stop, true);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->generation, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->job_lock);
    free(p->threads);
    free(p);
}

int dt_pool_threads(const dt_pool *p) {
    return p ? p->n_threads : 1;
}

void dt_pool_run(dt_pool *p, size_t n_tasks, dt_task_fn fn, void *arg) {
    if (!n_tasks) return;
    if (!p || p->n_threads == 1 || n_tasks == 1) {
        for (size_t i = 0; i < n_tasks; i++)
            fn(arg, i, 0);
        return;
    }
    pthread_mutex_lock(&p->job_lock);
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    unsigned long long gen = (unsigned long long)(atomic_load(&p->generation) + 1) << 32;
    atomic_store_explicit(&p->todo, gen | (uint32_t)n_tasks, memory_order_release);
    post(p);
    drain(p, 0);
    for (int spin = 0; atomic_load_explicit(&p->n_done, memory_order_acquire) < n_tasks; spin++) {
        if (spin < 20000)
            relax();
        else
            sched_yield();
    }
    pthread_mutex_unlock(&p->job_lock);
}
