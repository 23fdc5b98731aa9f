/* Arrays of any length in blocks of up to 16 elements. */
#ifndef DT_KERNEL_BODY_BLOCKS_H
#define DT_KERNEL_BODY_BLOCKS_H

V16_INLINE v16 get(const float *p, size_t n) {
    return n == 16 ? v_load(p) : v_load_n(p, n);
}
V16_INLINE void put(float *p, v16 a, size_t n) {
    if (n == 16)
        v_store(p, a);
    else
        v_store_n(p, a, n);
}

/* Runs STEP (which uses i and the block length b) over n elements. */
#define FOR_BLOCKS(n, STEP)                                                                                            \
    do {                                                                                                               \
        size_t i = 0;                                                                                                  \
        for (; i + 16 <= (n); i += 16) {                                                                               \
            enum { b = 16 };                                                                                           \
            STEP                                                                                                       \
        }                                                                                                              \
        if (i < (n)) {                                                                                                 \
            size_t b = (n)-i;                                                                                          \
            STEP                                                                                                       \
        }                                                                                                              \
    } while (0)

#endif
