/* Numbers as JSON writes them, with as many digits as an int64 or a double keeps. */
#include "grammar/grammar.h"

#include <stdio.h>

#define INTEGER_DIGITS 18
#define NUMBER_DIGITS 15
#define FRACTION_DIGITS 17

static int32_t whole(dt_program *p, int digits, int32_t next) {
    int32_t x = dt_gr_byte(p, '1', '9', dt_gr_digits(p, 0, digits - 1, next));
    x = dt_gr_alt(p, x, dt_gr_byte(p, '0', '0', next));
    return dt_gr_maybe(p, dt_gr_byte(p, '-', '-', x), x);
}

int32_t dt_gr_integer(dt_program *p, int32_t next) {
    return whole(p, INTEGER_DIGITS, next);
}

int32_t dt_gr_number(dt_program *p, int32_t next) {
    int32_t power = dt_gr_digits(p, 1, 2, next), sign = dt_gr_alt(p, dt_gr_byte(p, '+', '+', power), dt_gr_byte(p, '-', '-', power));
    sign = dt_gr_maybe(p, sign, power);
    int32_t e = dt_gr_alt(p, dt_gr_byte(p, 'e', 'e', sign), dt_gr_byte(p, 'E', 'E', sign));
    e = dt_gr_maybe(p, e, next);
    int32_t point = dt_gr_byte(p, '.', '.', dt_gr_digits(p, 1, FRACTION_DIGITS, e));
    return whole(p, NUMBER_DIGITS, dt_gr_maybe(p, point, e));
}

/* Numbers of n digits from lo or up to hi, from digit `at` on; a bound that is NULL holds no more. */
static int32_t between(dt_program *p, const char *lo, const char *hi, int at, int n, int32_t next) {
    if (at == n || (!lo && !hi)) {
        return dt_gr_digits(p, n - at, n - at, next);
    }
    int a = lo ? lo[at] : '0', b = hi ? hi[at] : '9';
    if (a == b) {
        return dt_gr_byte(p, a, a, between(p, lo, hi, at + 1, n, next));
    }
    int free_from = lo ? a + 1 : a, free_to = hi ? b - 1 : b;
    int32_t x = -1;
    if (lo) {
        x = dt_gr_byte(p, a, a, between(p, lo, NULL, at + 1, n, next));
    }
    if (hi) {
        int32_t y = dt_gr_byte(p, b, b, between(p, NULL, hi, at + 1, n, next));
        x = x < 0 ? y : dt_gr_alt(p, x, y);
    }
    if (free_from <= free_to) {
        int32_t y = dt_gr_byte(p, free_from, free_to, dt_gr_digits(p, n - at - 1, n - at - 1, next));
        x = x < 0 ? y : dt_gr_alt(p, x, y);
    }
    return x;
}

static int32_t natural_between(dt_program *p, int64_t lo, int64_t hi, int32_t next) {
    int32_t x = -1;
    int64_t from = 0, to = 9; /* of this many digits */
    for (int n = 1; n <= INTEGER_DIGITS; n++) {
        int64_t a = lo > from ? lo : from, b = hi < to ? hi : to;
        if (a <= b) {
            char la[24], lb[24];
            snprintf(la, sizeof la, "%0*lld", n, (long long)a);
            snprintf(lb, sizeof lb, "%0*lld", n, (long long)b);
            int32_t y = between(p, la, lb, 0, n, next);
            x = x < 0 ? y : dt_gr_alt(p, x, y);
        }
        from = to + 1;
        to = n < INTEGER_DIGITS ? to * 10 + 9 : to;
    }
    return x;
}

int32_t dt_gr_integer_between(dt_program *p, int64_t lo, int64_t hi, int32_t next) {
    int32_t x = -1;
    if (hi >= 0) {
        x = natural_between(p, lo > 0 ? lo : 0, hi, next);
    }
    if (lo < 0) {
        int32_t y = dt_gr_byte(p, '-', '-', natural_between(p, hi < 0 ? -hi : 1, -lo, next));
        x = x < 0 ? y : dt_gr_alt(p, x, y);
    }
    return x;
}
