/* Proportions with 95 % intervals. */
#include "eval/internal.h"

#include <math.h>

#define Z95 1.959963984540054

/* Wilson score interval (E. B. Wilson, JASA 1927). */
void dt_wilson(double right, double n, double ci[2]) {
    if (!(n > 0)) {
        ci[0] = 0;
        ci[1] = 1;
        return;
    }
    double p = right / n, z2 = Z95 * Z95, d = 1 + z2 / n;
    double mid = (p + z2 / (2 * n)) / d, half = Z95 * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / d;
    ci[0] = fmax(0, mid - half);
    ci[1] = fmin(1, mid + half);
}

/* Mean of question means with the normal approximation over questions: samples of one question are not independent. */
void dt_clustered(const double *mean, size_t n, double ci[2]) {
    double s = 0, v = 0;
    for (size_t i = 0; i < n; i++)
        s += mean[i];
    s /= n ? (double)n : 1;
    for (size_t i = 0; i < n; i++)
        v += (mean[i] - s) * (mean[i] - s);
    double half = n > 1 ? Z95 * sqrt(v / (double)(n - 1) / (double)n) : 1;
    ci[0] = fmax(0, s - half);
    ci[1] = fmin(1, s + half);
}
