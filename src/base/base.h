/* base: what every room stands on. Status and errors, checked sizes, growing buffers, arenas,
 * counter-based random numbers, a thread pool, clocks, file maps, whole-file reads and atomic
 * writes, interruption. Depends on libc and pthreads only. */
#ifndef DT_BASE_H
#define DT_BASE_H

#include "duet/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__GNUC__)
#define DT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define DT_PRINTF(f, a)
#endif
#define DT_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- errors (err.c) ---- */

/* Writes the sentence into err (may be NULL) and returns st: `return dt_fail(err, ...)`. */
duet_status dt_fail(duet_err *err, duet_status st, const char *fmt, ...) DT_PRINTF(3, 4);
/* Puts "prefix: " before what err already says; keeps st. */
duet_status dt_fail_in(duet_err *err, duet_status st, const char *fmt, ...) DT_PRINTF(3, 4);

#ifdef __clang_analyzer__ /* it sees one file at a time: tell it that the status given is the status returned */
#define dt_fail(err, st, ...) (dt_fail(err, st, __VA_ARGS__), (st))
#define dt_fail_in(err, st, ...) (dt_fail_in(err, st, __VA_ARGS__), (st))
#endif

/* ---- checked sizes (size.c) ---- */

bool dt_mul_size(size_t a, size_t b, size_t *out); /* false on overflow; *out untouched then */
bool dt_add_size(size_t a, size_t b, size_t *out);
/* calloc/realloc of n items of `size` bytes, NULL on overflow or no memory. */
void *dt_calloc(size_t n, size_t size);
void *dt_realloc(void *p, size_t n, size_t size);
/* 64-byte aligned, zeroed; free with free(). NULL on overflow or no memory; n == 0 gives a block. */
void *dt_alloc_aligned(size_t n, size_t size);
char *dt_strdup(const char *s); /* NULL in, NULL out */

/* ---- memory by the page (pages.c) ---- */

/* A large block that lives long, zero, aligned to 64 at least, in huge pages where the system has them; memory is taken when
 * it is first touched. NULL = no memory. Free with the same size. */
void *dt_pages_alloc(size_t bytes);
void dt_pages_free(void *p, size_t bytes); /* NULL is fine */
/* These bytes of a mapped file are not needed for now: their memory is given back, and read again if touched. */
void dt_map_drop(const void *data, size_t bytes);
/* Bytes this process can still have without swapping, less what is promised; SIZE_MAX = unknown. DUET_MEMORY (MiB) says it
 * instead. */
size_t dt_memory_free(void);
/* Memory that is to be had but is taken only as it is touched, such as the keys and values of a context that was asked for: it
 * counts as not free until it is given back (negative: less is promised). Any thread. */
void dt_memory_promise(ptrdiff_t bytes);
size_t dt_memory_promised(void);

/* ---- growing byte buffer (buf.c) ---- */

/* data is always NUL-terminated one past len (once anything was appended). max 0 = no cap.
 * After the first failure `failed` stays set and appends do nothing, so a sequence of appends
 * needs one check at its end. */
typedef struct dt_buf {
    char *data;
    size_t len, cap, max;
    bool failed;
} dt_buf;

void dt_buf_clear(dt_buf *b);                   /* frees; ready for reuse */
bool dt_buf_reserve(dt_buf *b, size_t more);    /* room for `more` bytes past len */
bool dt_buf_add(dt_buf *b, const void *p, size_t n);
bool dt_buf_adds(dt_buf *b, const char *s);
bool dt_buf_addf(dt_buf *b, const char *fmt, ...) DT_PRINTF(2, 3);
char *dt_buf_take(dt_buf *b);                   /* owned by the caller (free); b is empty after */

/* Growing array of token ids, same rules. */
typedef struct dt_ids {
    int32_t *v;
    size_t n, cap;
} dt_ids;

void dt_ids_clear(dt_ids *a);
bool dt_ids_push(dt_ids *a, int32_t id);
bool dt_ids_add(dt_ids *a, const int32_t *v, size_t n);

/* ---- arena (arena.c): per-step scratch, reset at the end of the step ---- */

typedef struct dt_arena {
    struct dt_arena_block *head;
    size_t block_bytes; /* 0 = 1 MiB */
    size_t peak;        /* largest number of bytes in use between two resets */
    size_t used;
} dt_arena;

void *dt_arena_alloc(dt_arena *a, size_t n, size_t size); /* 64-byte aligned, not zeroed; NULL = no memory */
void dt_arena_reset(dt_arena *a);                         /* keeps the memory */
void dt_arena_clear(dt_arena *a);                         /* gives it back */

/* ---- random numbers (rng.c): addressed, not drawn ----
 * Philox4x32-10 (Salmon et al., SC 2011): a pure function of (seed, stream, counter), so any
 * number can be had at any time, in any order, on any thread. */

typedef struct dt_rng {
    uint64_t seed, stream, ctr; /* ctr: next block of four words */
    uint32_t out[4];
    int left;
} dt_rng;

void dt_philox(uint64_t seed, uint64_t stream, uint64_t ctr, uint32_t out[4]);
double dt_rng_at(uint64_t seed, uint64_t stream, uint64_t ctr); /* uniform in [0, 1), 53 bits */
dt_rng dt_rng_make(uint64_t seed, uint64_t stream);
uint32_t dt_rng_u32(dt_rng *r);
uint32_t dt_rng_below(dt_rng *r, uint32_t n); /* unbiased in 0..n-1; n >= 1 */
double dt_rng_uniform(dt_rng *r);             /* [0, 1) */
double dt_rng_normal(dt_rng *r);
uint64_t dt_hash64(const void *p, size_t n, uint64_t seed); /* stable across machines */

/* SHA-256 (FIPS 180-4), for fingerprints of weights and data. */
typedef struct dt_sha256 {
    uint32_t h[8];
    uint64_t n;
    uint8_t block[64];
} dt_sha256;
void dt_sha256_init(dt_sha256 *s);
void dt_sha256_add(dt_sha256 *s, const void *p, size_t n);
void dt_sha256_hex(dt_sha256 *s, char out[65]); /* ends the hash */

/* ---- threads (pool.c) ---- */

/* A fixed set of workers that run numbered tasks of one job at a time. Which thread runs which
 * task is not determined; tasks must write disjoint outputs, so results never depend on it. */
typedef struct dt_pool dt_pool;
typedef void (*dt_task_fn)(void *arg, size_t task, int thread); /* thread: 0..n_threads-1 */

duet_status dt_pool_create(int n_threads, dt_pool **out, duet_err *err); /* 0 = online CPUs */
void dt_pool_destroy(dt_pool *p);
int dt_pool_threads(const dt_pool *p); /* NULL pool: 1 */
/* Runs fn for tasks 0..n-1 and returns when all are done; the caller works too. NULL pool: inline.
 * One job at a time: concurrent callers wait for one another. Not reentrant from a task. */
void dt_pool_run(dt_pool *p, size_t n_tasks, dt_task_fn fn, void *arg);
int dt_cpu_count(void); /* CPUs this process may use; DUET_THREADS overrides */

/* ---- clock (clock.c) ---- */

double dt_now(void);                         /* monotonic seconds */
void dt_time_left(double s, char out[16]);   /* "1h02m", "3m20s", "12s" */

/* ---- files (map.c, file.c) ---- */

typedef struct dt_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    char *path;
} dt_map;

duet_status dt_map_open(dt_map *m, const char *path, duet_err *err); /* read-only */
void dt_map_close(dt_map *m);

/* Reads a whole file (at most max_bytes) into b, NUL-terminated. */
duet_status dt_file_read(const char *path, size_t max_bytes, dt_buf *b, duet_err *err);
/* Writes path so that it is either the old content or the whole new one: temporary file in the
 * same folder, fsync, rename, fsync of the folder. */
duet_status dt_file_write_atomic(const char *path, const void *p, size_t n, duet_err *err);
/* The same for what does not fit in memory: open, add as often as needed, then commit or abandon (also after a failed add);
 * both end it, and abandoning what has ended does nothing. */
typedef struct dt_atomic {
    int fd; /* -1 = ended */
    char *path, *tmp;
    size_t n; /* bytes added */
} dt_atomic;
duet_status dt_atomic_open(dt_atomic *a, const char *path, duet_err *err); /* on failure it has ended */
duet_status dt_atomic_add(dt_atomic *a, const void *p, size_t n, duet_err *err);
duet_status dt_atomic_commit(dt_atomic *a, duet_err *err);
void dt_atomic_abandon(dt_atomic *a);
bool dt_path_exists(const char *path);
bool dt_path_is_dir(const char *path);
duet_status dt_mkdirs(const char *path, duet_err *err);      /* like mkdir -p */
duet_status dt_remove_tree(const char *path, duet_err *err); /* like rm -r; a missing path is fine */
char *dt_path_join(const char *dir, const char *name);       /* owned by the caller; NULL = no memory */

/* ---- interruption (signal.c) ---- */

/* A flag that Ctrl-C sets: the first SIGINT or SIGTERM sets it, the second ends the process at
 * once with exit code 130. Long calls poll dt_interrupted() between steps. */
void dt_interrupt_install(void);
bool dt_interrupted(void);
const volatile int *dt_interrupt_flag(void); /* the same as a flag to hand to a call that takes `cancel` */
void dt_interrupt_request(void); /* as if Ctrl-C had been pressed; for tests and embedders */
void dt_interrupt_reset(void);

/* ---- log (log.c): one sink, set by the application; default none ---- */
typedef enum dt_log_level { DT_LOG_WARN = 0, DT_LOG_INFO = 1, DT_LOG_DEBUG = 2 } dt_log_level;
typedef void (*dt_log_fn)(void *user, int level, const char *line);
void dt_log_set(dt_log_fn fn, void *user);
void dt_log(int level, const char *fmt, ...) DT_PRINTF(2, 3);

#endif
