/* Monotonic time and durations for people. */
#include "base/base.h"

#include <time.h>

double dt_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void dt_time_left(double s, char out[16]) {
    if (!(s >= 0)) s = 0;
    if (s >= 359999) s = 359999;
    long n = (long)(s + 0.5);
    if (n >= 3600)
        snprintf(out, 16, "%ldh%02ldm", n / 3600, n / 60 % 60);
    else if (n >= 60)
        snprintf(out, 16, "%ldm%02lds", n / 60, n % 60);
    else
        snprintf(out, 16, "%lds", n);
}
