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
    int n = (int)(s + 0.5);
    if (n < 0 || n > 359999) n = 0; /* tells the compiler the range */
    if (n >= 3600)
        snprintf(out, 16, "%dh%02dm", n / 3600, n / 60 % 60);
    else if (n >= 60)
        snprintf(out, 16, "%dm%02ds", n / 60, n % 60);
    else
        snprintf(out, 16, "%ds", n);
}
