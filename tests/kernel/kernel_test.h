/* What the kernel tests share: seeded numbers, the tables under test, comparisons that say where they failed. */
#ifndef DT_KERNEL_TEST_H
#define DT_KERNEL_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/kernel.h"

#define ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))

static uint32_t test_seed = 12345;

static inline float uniform(float lo, float hi) {
    test_seed = test_seed * 1664525u + 1013904223u;
    return lo + (hi - lo) * ((float)(test_seed >> 8) * 0x1p-24f);
}

/* n random floats in [-1,1), followed by 16 more that a careful kernel never touches. Owned by the caller. */
static inline float *floats(size_t n) {
    float *p = dt_alloc_aligned(n + 16, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n + 16; i++)
        p[i] = uniform(-1.0f, 1.0f);
    return p;
}

static inline float *copy_floats(const float *x, size_t n) {
    float *p = dt_alloc_aligned(n + 16, sizeof *p);
    assert_non_null(p);
    memcpy(p, x, (n + 16) * sizeof *p);
    return p;
}

static inline const dt_kernels *scalar(void) {
    return dt_kernels_isa(DT_ISA_SCALAR);
}

/* The tables of this CPU after number *i, one after the other: from i = 0 the faster ones, from -1 all. */
static inline const dt_kernels *next_isa(int *i) {
    static bool told[DT_ISA_AVX512 + 1];
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    while (++*i <= (int)DT_ISA_AVX512) {
        const dt_kernels *k = dt_kernels_isa((dt_isa)*i);
        if (k)
            return k;
        if (!told[*i])
            printf("skipped: %s: this CPU or build lacks it\n", names[*i]);
        told[*i] = true;
    }
    return NULL;
}

/* The same bits, the 16 guard elements included. */
static inline void check_bits(const char *what, const dt_kernels *k, const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n + 16; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s %s: element %zu of %zu is %.9g, scalar has %.9g", k->name, what, i, n, (double)got[i],
                     (double)want[i]);
}

/* |got - want| <= tol * (1 + |want|) for every element. */
static inline void check_near(const char *what, const float *got, const double *want, size_t n, double tol) {
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tol * (1.0 + fabs(want[i]))))
            fail_msg("%s: element %zu of %zu is %.9g, wanted %.9g", what, i, n, (double)got[i], want[i]);
}

/* Compares a gradient with central differences of f, a function of x[n] in double. */
static inline void check_gradient(const char *what, const float *grad, double *x, size_t n,
                                  double (*f)(const double *x, void *arg), void *arg, double tol) {
    const double h = 1e-5;
    for (size_t i = 0; i < n; i++) {
        double keep = x[i];
        x[i] = keep + h;
        double up = f(x, arg);
        x[i] = keep - h;
        double down = f(x, arg);
        x[i] = keep;
        double want = (up - down) / (2 * h);
        if (!(fabs((double)grad[i] - want) <= tol * (1.0 + fabs(want))))
            fail_msg("%s: gradient %zu of %zu is %.9g, differences give %.9g", what, i, n, (double)grad[i], want);
    }
}

static inline double *doubles_of(const float *x, size_t n) {
    double *p = dt_calloc(n ? n : 1, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (double)x[i];
    return p;
}

#endif
