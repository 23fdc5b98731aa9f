/* Arena: per-step scratch in a few large blocks, all given back at once. */
#include "base/base.h"

#include <stdlib.h>

struct dt_arena_block {
    struct dt_arena_block *next;
    size_t size, used;
    char *mem; /* 64-byte aligned */
};

static struct dt_arena_block *block_new(size_t size) {
    struct dt_arena_block *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    if (posix_memalign((void **)&b->mem, 64, size)) {
        free(b);
        return NULL;
    }
    b->size = size;
    return b;
}

void *dt_arena_alloc(dt_arena *a, size_t n, size_t size) {
    size_t bytes = 0;
    if (!dt_mul_size(n, size, &bytes) || !dt_add_size(bytes, 63, &bytes)) return NULL;
    bytes &= ~(size_t)63;
    struct dt_arena_block *b = a->head;
    while (b && b->size - b->used < bytes)
        b = b->next;
    if (!b) {
        size_t want = a->block_bytes ? a->block_bytes : (size_t)1 << 20;
        b = block_new(bytes > want ? bytes : want);
        if (!b) return NULL;
        b->next = a->head;
        a->head = b;
    }
    void *p = b->mem + b->used;
    b->used += bytes;
    a->used += bytes;
    if (a->used > a->peak) a->peak = a->used;
    return p;
}

void dt_arena_reset(dt_arena *a) {
    for (struct dt_arena_block *b = a->head; b; b = b->next)
        b->used = 0;
    a->used = 0;
}

void dt_arena_clear(dt_arena *a) {
    while (a->head) {
        struct dt_arena_block *b = a->head;
        a->head = b->next;
        free(b->mem);
        free(b);
    }
    a->used = a->peak = 0;
}
