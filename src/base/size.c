/* Checked sizes and allocations: no product of outside numbers may wrap around. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

bool dt_mul_size(size_t a, size_t b, size_t *out) {
    if (a && b > SIZE_MAX / a) return false;
    *out = a * b;
    return true;
}

bool dt_add_size(size_t a, size_t b, size_t *out) {
    if (b > SIZE_MAX - a) return false;
    *out = a + b;
    return true;
}

void *dt_calloc(size_t n, size_t size) {
    size_t bytes = 0; /* calloc checks the product too, but sanitizers end the process there */
    return dt_mul_size(n, size, &bytes) ? calloc(n ? n : 1, size ? size : 1) : NULL;
}

void *dt_realloc(void *p, size_t n, size_t size) {
    size_t bytes = 0;
    if (!dt_mul_size(n, size, &bytes)) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *dt_alloc_aligned(size_t n, size_t size) {
    size_t bytes = 0, padded = 0;
    void *p = NULL;
    if (!dt_mul_size(n, size, &bytes) || !dt_add_size(bytes, 64, &padded)) return NULL;
    padded &= ~(size_t)63;
    if (posix_memalign(&p, 64, padded)) return NULL;
    memset(p, 0, padded);
    return p;
}

char *dt_strdup(const char *s) {
    return s ? strdup(s) : NULL;
}
