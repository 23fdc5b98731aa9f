/* Many inputs in little time, without a fuzzer: mutations of seeds by a counter, each one made again from its number; the processor
 * time of the slowest is measured.
 *
 *   fuzz_X_flood DIR N [--from NUMBER] [--words FILE] [--ms LIMIT] [--show NUMBER]
 *
 * DIR: seeds. FILE: words of the format, one a line, put in whole. --show writes an input to stdout. Exit code 1 if an input took more
 * than LIMIT milliseconds; a crash names the input's number. */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SEEDS = 20000, MAX_WORDS = 1000, LONGEST = 600 };

typedef struct text {
    char *p;
    size_t n;
} text;

static text seed[MAX_SEEDS], word[MAX_WORDS];
static size_t n_seeds, n_words;

static unsigned long long number;

static void on_crash(int sig) {
    char line[64];
    int n = snprintf(line, sizeof line, "input %llu: signal %d\n", number, sig);

    if (n > 0 && write(2, line, (size_t)n) < 0) _exit(3);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int by_text(const void *a, const void *b) {
    const text *x = a, *y = b;
    int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

static void read_seeds(const char *dir) {
    DIR *d = opendir(dir);
    if (!d) {
        fprintf(stderr, "%s: %s\n", dir, strerror(errno));
        exit(2);
    }
    for (struct dirent *e; (e = readdir(d)) && n_seeds < MAX_SEEDS;) {
        char *path = dt_path_join(dir, e->d_name);
        dt_buf b = {0};
        if (e->d_name[0] != '.' && path && !dt_file_read(path, 1 << 20, &b, NULL) && b.len && b.len <= LONGEST) {
            seed[n_seeds].n = b.len;
            seed[n_seeds++].p = dt_buf_take(&b);
        }
        dt_buf_clear(&b);
        free(path);
    }
    closedir(d);
    qsort(seed, n_seeds, sizeof *seed, by_text); /* the order of a folder is not the same everywhere */
}

static void read_words(const char *path) {
    dt_buf b = {0};
    duet_err err;
    if (dt_file_read(path, 1 << 20, &b, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    for (char *p = strtok(b.data, "\n"); p && n_words < MAX_WORDS; p = strtok(NULL, "\n"))
        word[n_words++] = (text){p, strlen(p)};
}

static void splice(dt_buf *b, size_t at, size_t gone, const char *p, size_t n) {
    dt_buf out = {0};
    dt_buf_add(&out, b->data, at);
    dt_buf_add(&out, p, n);
    dt_buf_add(&out, b->data + at + gone, b->len - at - gone);
    dt_buf_clear(b);
    *b = out;
}

/* Input `index`: a seed, changed in one to eight places. */
static void make(uint64_t index, dt_buf *b) {
    dt_rng r = dt_rng_make(20240, index);
    const text *from = &seed[dt_rng_below(&r, (uint32_t)n_seeds)];
    dt_buf_add(b, from->p, from->n);
    for (uint32_t k = 1 + dt_rng_below(&r, 8); k > 0 && b->len < LONGEST; k--) {
        size_t at = dt_rng_below(&r, (uint32_t)b->len + 1), left = b->len - at, some = left ? dt_rng_below(&r, (uint32_t)(left < 12 ? left : 12) + 1) : 0;
        const text *other = &seed[dt_rng_below(&r, (uint32_t)n_seeds)];
        size_t start = dt_rng_below(&r, (uint32_t)other->n), part = 1 + dt_rng_below(&r, (uint32_t)(other->n - start));
        char byte = (char)dt_rng_below(&r, 256), digit = "0123456789.,-+*/^_{}()[]\\$% \nx"[dt_rng_below(&r, 31)];
        switch (dt_rng_below(&r, 8)) {
        case 0: splice(b, at, 0, other->p + start, part); break;
        case 1: splice(b, at, some, other->p + start, part); break;
        case 2: splice(b, at, some, "", 0); break;
        case 3: splice(b, at, 0, &digit, 1); break;
        case 4: splice(b, at, left > 0, dt_rng_below(&r, 4) ? &digit : &byte, 1); break;
        case 5: { /* a piece again and again */
            char *copy = malloc(some + 1);
            if (copy) memcpy(copy, b->data + at, some);
            for (uint32_t q = 1 + dt_rng_below(&r, 6); copy && q > 0 && b->len < LONGEST; q--)
                splice(b, at, 0, copy, some);
            free(copy);
            break;
        }
        default:
            if (n_words) {
                const text *w = &word[dt_rng_below(&r, (uint32_t)n_words)];
                splice(b, at, dt_rng_below(&r, 2) ? some : 0, w->p, w->n);
            }
        }
    }
}

static double cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 0, from = 0, worst_at = 0, bytes = 0;
    double limit = 0, worst = 0, began = cpu_ms();
    for (int i = 3; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--from")) from = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--words")) read_words(argv[i + 1]);
        if (!strcmp(argv[i], "--ms")) limit = strtod(argv[i + 1], NULL);
    }
    if (argc < 3) {
        fprintf(stderr, "usage: %s DIR N [--from NUMBER] [--words FILE] [--ms LIMIT] [--show NUMBER]\n", argv[0]);
        return 2;
    }
    read_seeds(argv[1]);
    if (!n_seeds) {
        fprintf(stderr, "%s: no seed of at most %d bytes\n", argv[1], LONGEST);
        return 2;
    }
    for (int i = 3; i + 1 < argc; i++)
        if (!strcmp(argv[i], "--show")) {
            dt_buf b = {0};
            make(strtoull(argv[i + 1], NULL, 10), &b);
            fwrite(b.data, 1, b.len, stdout);
            dt_buf_clear(&b);
            return 0;
        }
    signal(SIGABRT, on_crash);
    signal(SIGSEGV, on_crash);
    signal(SIGFPE, on_crash);
    for (uint64_t i = from; i < from + n; i++) {
        dt_buf b = {0};
        make(i, &b);
        number = i;
        uint8_t *exact = malloc(b.len ? b.len : 1); /* its end is the end of a block: a read beyond it is seen */
        if (!exact || b.failed) return 2;
        memcpy(exact, b.data ? b.data : "", b.len);
        double start = cpu_ms();
        LLVMFuzzerTestOneInput(exact, b.len);
        double took = cpu_ms() - start;
        bytes += b.len;
        if (took > worst) {
            worst = took;
            worst_at = i;
        }
        if (limit > 0 && took > limit) printf("input %llu: %.1f ms, %zu bytes\n", (unsigned long long)i, took, b.len);
        free(exact);
        dt_buf_clear(&b);
        if ((i + 1 - from) % 1000000 == 0) {
            printf("%llu inputs, worst %.2f ms (input %llu)\n", (unsigned long long)(i + 1 - from), worst, (unsigned long long)worst_at);
            fflush(stdout);
        }
    }
    printf("%llu inputs of %zu seeds, %.0f bytes on average, %.0f s of processor time, worst %.2f ms (input %llu)\n", (unsigned long long)n, n_seeds, (double)bytes / (double)(n ? n : 1),
           (cpu_ms() - began) / 1e3, worst, (unsigned long long)worst_at);
    for (size_t i = 0; i < n_seeds; i++)
        free(seed[i].p);
    return limit > 0 && worst > limit;
}
