/* Memory by the page: large blocks straight from the system, mapped pages that are no longer needed, and how much of
 * the machine's memory is free. */
#include "base/base.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE ((size_t)1 << 20) /* from here on pages of the block's own; below, the heap */

static size_t whole_pages(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

/* Begins where a huge page may begin, and is not rounded up to whole ones: the rest is of small pages. */
void *dt_pages_alloc(size_t bytes) {
    if (bytes < LARGE) return dt_alloc_aligned(bytes, 1);
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t kept = whole_pages(bytes), all = kept + HUGE_PAGE;
    char *p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (before) munmap(p, before);
    if (all > before + kept) munmap(p + before + kept, all - before - kept);
#ifdef MADV_HUGEPAGE
    madvise(p + before, kept, MADV_HUGEPAGE); /* a wish: without it the memory is the same, only slower */
#endif
    return p + before;
}

void dt_pages_free(void *p, size_t bytes) {
    if (bytes < LARGE)
        free(p);
    else if (p)
        munmap(p, whole_pages(bytes));
}

void dt_map_drop(const void *data, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)data + page - 1) / page * page, to = ((uintptr_t)data + bytes) / page * page;
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ---- how much is free ---- */

/* The number after `key` in a small file of the system ("" = at its start); SIZE_MAX where there is none. */
static size_t number_in(const char *path, const char *key) {
    char text[4096];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    const char *at = strstr(text, key);
    if (!n || !at) return SIZE_MAX;
    char *end = NULL;
    errno = 0;
    unsigned long long x = strtoull(at + strlen(key), &end, 10);
    return end == at + strlen(key) || errno ? SIZE_MAX : (size_t)x;
}

static atomic_size_t promised;

void dt_memory_promise(ptrdiff_t bytes) {
    atomic_fetch_add(&promised, (size_t)bytes);
}

size_t dt_memory_promised(void) {
    return atomic_load(&promised);
}

static size_t system_free(void) {
    const char *env = getenv("DUET_MEMORY");
    if (env && *env) {
        char *end = NULL;
        unsigned long long mib = strtoull(env, &end, 10);
        if (!*end && mib < SIZE_MAX >> 20) return (size_t)mib << 20;
    }
    size_t kib = number_in("/proc/meminfo", "MemAvailable:"), free_bytes = kib < SIZE_MAX >> 10 ? kib << 10 : SIZE_MAX;
    /* a container's bound (cgroup v2), where it is lower */
    size_t max = number_in("/sys/fs/cgroup/memory.max", ""), used = number_in("/sys/fs/cgroup/memory.current", "");
    size_t cache = number_in("/sys/fs/cgroup/memory.stat", "inactive_file "); /* given back when needed */
    if (max != SIZE_MAX && used != SIZE_MAX) {
        if (cache != SIZE_MAX) used -= cache < used ? cache : used;
        size_t left = max > used ? max - used : 0;
        if (left < free_bytes) free_bytes = left;
    }
    return free_bytes;
}

size_t dt_memory_free(void) {
    size_t have = system_free(), kept = dt_memory_promised();
    return have == SIZE_MAX ? have : have > kept ? have - kept : 0;
}
