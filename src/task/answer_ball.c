/* Numbers, by enclosure (Arb): every value is a ball that certainly holds it. Two balls apart prove a difference. Balls
 * that share a point at 1000 bits, at several points for expressions in variables, count as equal: agreement to about 150
 * digits, and nothing on the way was so small or so large that the precision did not see it.
 *
 * Variables get fixed values made from a hash of their name, so both sides see the same. Points with negative values count
 * only where both sides are real: (x^2)^(1/2) is not x, ln(x^2) is 2 ln x where both are defined. Odd roots of negative
 * numbers are the real ones, as taught at school. */
#include "task/answer.h"

#if DUET_FLINT3
#include <flint/acb.h>
#include <flint/arb.h>
#include <flint/fmpq.h>
#else
#include <acb.h>
#include <arb.h>
#include <flint/fmpq.h>
#endif
#include <math.h>
#include <string.h>

typedef struct env {
    dt_ans *c;
    slong prec;
    int point;         /* which values variables get */
    bool rounded;      /* numbers written with decimals are balls of half a unit in the last place */
    bool has_vars;
    bool complex;      /* real numbers gave one that is not: an even root, a logarithm */
    bool wide;         /* something was out of sight of every precision */
    double least;      /* log2 of the least term of a sum against its greatest, over all sums */
    int n_rounded;     /* how many such numbers had enough decimals */
    bool coarse;       /* one had too few */
    const char *bound; /* name of a bound variable and its value */
    size_t bound_n;
    long bound_v;
} env;

enum { N_POINTS = 5, FIRST_SIGNED = 2 };

static bool eval(env *e, const dt_node *n, acb_t out);

static bool pay(env *e, long k) { return dt_ans_spend(e->c, k * (1 + (e->prec > 200 ? 2 : 0) + (e->prec > 700 ? 4 : 0))); }

static bool bounded(const acb_t x, slong bits) {
    return acb_is_finite(x) && arf_cmpabs_2exp_si(arb_midref(acb_realref(x)), bits) < 0 && arf_cmpabs_2exp_si(arb_midref(acb_imagref(x)), bits) < 0 && mag_cmp_2exp_si(arb_radref(acb_realref(x)), bits) < 0 &&
           mag_cmp_2exp_si(arb_radref(acb_imagref(x)), bits) < 0;
}

static double log2_of(const acb_t x) {
    mag_t m;
    mag_init(m);
    acb_get_mag(m, x);
    double d = mag_get_d_log2_approx(m);
    mag_clear(m);
    return d;
}

/* An argument so small or so large that a function hides it: 1 against cos(10^-500). Agreement then means nothing. */
static void watch(env *e, const acb_t x) {
    if (acb_is_zero(x) || acb_contains_zero(x)) return;
    double d = log2_of(x);
    e->wide = e->wide || d < -100 || d > 100;
}

static void variable(env *e, const void *key, size_t n, acb_t out) {
    uint64_t h = dt_hash64(key, n, 77 + (uint64_t)e->point);
    long num = 300 + (long)(h % 1400), den = 1009; /* 0.3 to 1.7, never a small fraction */
    if (e->point == 1) num += 2 * den + (long)((h >> 20) % 3000);
    if (e->point >= FIRST_SIGNED && (h >> 40) % (e->point == FIRST_SIGNED ? 1 : 2) == 0) num = -num - (e->point == 4 ? 2 * den : 0);
    e->has_vars = true;
    acb_set_si(out, num);
    acb_div_si(out, out, den, e->prec);
}

static bool number(env *e, const dt_node *n, acb_t out) {
    fmpz_t z, ten;
    fmpz_init(z);
    fmpz_init(ten);
    char *d = dt_ans_alloc(e->c, n->sn + 2, 1);
    bool ok = d && pay(e, 1 + (long)n->sn / 50);
    if (ok) {
        memcpy(d, n->sn ? n->s : "0", n->sn ? n->sn : 1);
        fmpz_set_str(z, d, 10);
        arb_t x, p;
        arb_init(x);
        arb_init(p);
        arb_set_round_fmpz(x, z, e->prec);
        if (n->repeat) { /* as in answer_exact.c */
            fmpz_t head;
            fmpz_init(head);
            fmpz_set_ui(ten, 10), fmpz_pow_ui(ten, ten, (ulong)n->repeat);
            fmpz_fdiv_q(head, z, ten);
            fmpz_sub(z, z, head);
            fmpz_sub_ui(ten, ten, 1);
            arb_set_round_fmpz(x, z, e->prec);
            arb_div_fmpz(x, x, ten, e->prec);
            fmpz_clear(head);
        } else if (e->rounded && n->scale > 0) {
            int digits = (int)n->sn;
            for (size_t i = 0; i < n->sn && n->s[i] == '0'; i++)
                digits--;
            if (n->scale >= e->c->digits && digits >= e->c->digits - 1) {
                mag_t half;
                mag_init(half);
                mag_set_d(half, 0.5000001);
                arb_add_error_mag(x, half);
                mag_clear(half);
                e->n_rounded++;
            }
        }
        fmpz_set_si(ten, n->exp10 - n->scale + n->repeat);
        arb_set_ui(p, 10);
        arb_pow_fmpz(p, p, ten, e->prec);
        arb_mul(x, x, p, e->prec);
        acb_set_arb(out, x);
        arb_clear(x);
        arb_clear(p);
    }
    fmpz_clear(z);
    fmpz_clear(ten);
    return ok;
}

/* The exponent as a fraction p/q in lowest terms with small q odd, if it is written so. */
static bool odd_root(env *e, const dt_node *n, long *p, long *q) {
    if (n->kind == N_DIV) return dt_ans_small_int(e->c, n->kid[0], p) && dt_ans_small_int(e->c, n->kid[1], q) && *q % 2 && *q > 1 && *q < 1000 && *p < 1000 && *p > -1000;
    if (n->kind == N_NEG && odd_root(e, n->kid[0], p, q)) {
        *p = -*p;
        return true;
    }
    return false;
}

static bool power(env *e, const dt_node *base, const dt_node *exp, bool root, acb_t out) {
    acb_t a, b;
    bool ok = false;
    long p = 1, q = 1;
    acb_init(a);
    acb_init(b);
    if (!pay(e, 6) || !eval(e, base, a) || !eval(e, exp, b)) goto done;
    bool negative = acb_is_real(a) && arb_is_negative(acb_realref(a));
    if (root && !dt_ans_small_int(e->c, exp, &q)) q = 0;
    if (negative && ((root && q % 2 && q > 1) || (!root && odd_root(e, exp, &p, &q)))) {
        acb_neg(a, a);
        acb_root_ui(a, a, (ulong)q, e->prec);
        acb_neg(a, a);
        acb_pow_si(out, a, p, e->prec);
        ok = acb_is_finite(out);
        goto done;
    }
    if (root) {
        if (acb_contains_zero(b)) goto done;
        acb_inv(b, b, e->prec);
    }
    if (acb_contains_zero(a) && !(acb_is_real(b) && arb_is_positive(acb_realref(b)))) {
        if (acb_is_zero(a)) dt_ans_stop(e->c, "zero to a power that is not positive");
        goto done;
    }
    if (root && q == 2) {
        acb_sqrt(out, a, e->prec);
    } else if (acb_is_int(b) && bounded(b, 62)) {
        fmpz_t k;
        fmpz_init(k);
        arf_get_fmpz(k, arb_midref(acb_realref(b)), ARF_RND_DOWN);
        acb_pow_fmpz(out, a, k, e->prec);
        fmpz_clear(k);
    } else if (bounded(b, 60)) {
        acb_pow(out, a, b, e->prec);
    } else {
        goto done;
    }
    ok = acb_is_finite(out);
    if (ok && acb_is_real(a) && acb_is_real(b) && !acb_is_real(out)) e->complex = true;
done:
    if (ok && !acb_is_int(b)) watch(e, b);
    acb_clear(a);
    acb_clear(b);
    return ok;
}

/* out = f(x) through the functions that Arb has; false: not defined or not allowed here. */
static bool trig(env *e, dt_fn fn, const acb_t x, acb_t out) {
    slong p = e->prec;
    watch(e, x);
    if (!bounded(x, fn <= F_CSC ? 200 : 20) && fn != F_ASIN && fn != F_ACOS && fn != F_ATAN) return false;
    switch (fn) {
    case F_SIN: acb_sin(out, x, p); break;
    case F_COS: acb_cos(out, x, p); break;
    case F_TAN: acb_tan(out, x, p); break;
    case F_COT: acb_cot(out, x, p); break;
    case F_SEC: acb_cos(out, x, p); acb_inv(out, out, p); break;
    case F_CSC: acb_sin(out, x, p); acb_inv(out, out, p); break;
    case F_ASIN: acb_asin(out, x, p); break;
    case F_ACOS: acb_acos(out, x, p); break;
    case F_ATAN: acb_atan(out, x, p); break;
    case F_ACOT: acb_inv(out, x, p); acb_atan(out, out, p); break;
    case F_ASEC: acb_inv(out, x, p); acb_acos(out, out, p); break;
    case F_ACSC: acb_inv(out, x, p); acb_asin(out, out, p); break;
    case F_SINH: acb_sinh(out, x, p); break;
    case F_COSH: acb_cosh(out, x, p); break;
    case F_TANH: acb_tanh(out, x, p); break;
    case F_ASINH: acb_asinh(out, x, p); break;
    case F_ACOSH: acb_acosh(out, x, p); break;
    case F_ATANH: acb_atanh(out, x, p); break;
    default: return false;
    }
    return acb_is_finite(out);
}

static bool determinant(env *e, const dt_node *m, acb_t out) {
    int n = m->rows;
    if (m->kind != N_MATRIX || n < 1 || n > 5 || m->n != n * n) return false;
    acb_t v[25], t;
    bool ok = true;
    for (int i = 0; i < n * n; i++)
        acb_init(v[i]);
    acb_init(t);
    for (int i = 0; ok && i < n * n; i++)
        ok = eval(e, m->kid[i], v[i]);
    acb_zero(out);
    int at[5] = {0, 1, 2, 3, 4}; /* the sum over permutations: no division */
    long total = 1;
    for (int i = 2; i <= n; i++)
        total *= i;
    for (long k = 0; ok && k < total; k++) {
        long r = k;
        bool odd = false;
        for (int i = 0; i < n; i++)
            at[i] = i;
        for (int i = n - 1; i > 0; i--) {
            int j = (int)(r % (i + 1)), s = at[i];
            r /= i + 1;
            odd = odd != (j != i);
            at[i] = at[j];
            at[j] = s;
        }
        acb_one(t);
        for (int i = 0; i < n; i++)
            acb_mul(t, t, v[i * n + at[i]], e->prec);
        if (odd) acb_sub(out, out, t, e->prec);
        else acb_add(out, out, t, e->prec);
        ok = pay(e, 2);
    }
    for (int i = 0; i < n * n; i++)
        acb_clear(v[i]);
    acb_clear(t);
    return ok;
}

static bool function(env *e, const dt_node *n, acb_t out) {
    acb_t x, y;
    bool ok = false;
    if (!pay(e, 8)) return false;
    if (n->fn == F_DET && n->kid[0]->kind == N_MATRIX) return determinant(e, n->kid[0], out);
    acb_init(x);
    acb_init(y);
    if (!eval(e, n->kid[0], x)) goto done;
    bool real = acb_is_real(x);
    switch (n->fn) {
    case F_EXP:
        ok = bounded(x, 30);
        watch(e, x);
        if (ok) acb_exp(out, x, e->prec);
        break;
    case F_LN: case F_LOG: case F_LG:
        if (acb_contains_zero(x)) break;
        ok = true;
        acb_log(out, x, e->prec);
        if (real && !acb_is_real(out)) e->complex = true;
        if (n->n == 2) {
            ok = eval(e, n->kid[1], y) && !acb_contains_zero(y);
            if (ok) acb_log(y, y, e->prec);
        } else if (n->fn == F_LG) {
            acb_set_ui(y, 10);
            acb_log(y, y, e->prec);
        } else {
            break; /* log without a base: natural, and see number_equal */
        }
        ok = ok && !acb_contains_zero(y);
        if (ok) acb_div(out, out, y, e->prec);
        break;
    case F_CBRT:
        if (real && arb_is_negative(acb_realref(x))) {
            acb_neg(x, x);
            acb_root_ui(out, x, 3, e->prec);
            acb_neg(out, out);
        } else {
            acb_root_ui(out, x, 3, e->prec);
        }
        ok = true;
        break;
    case F_ABS: {
        arb_t a;
        arb_init(a);
        acb_abs(a, x, e->prec);
        acb_set_arb(out, a);
        arb_clear(a);
        ok = true;
        break;
    }
    case F_FLOOR: case F_CEIL:
        if (!real) break;
        if (n->fn == F_FLOOR) arb_floor(acb_realref(out), acb_realref(x), e->prec);
        if (n->fn == F_CEIL) arb_ceil(acb_realref(out), acb_realref(x), e->prec);
        arb_zero(acb_imagref(out));
        ok = true;
        break;
    case F_MAX: case F_MIN:
        acb_set(out, x);
        ok = real;
        for (int i = 1; ok && i < n->n; i++) {
            ok = eval(e, n->kid[i], y) && acb_is_real(y);
            if (ok && n->fn == F_MAX) arb_max(acb_realref(out), acb_realref(out), acb_realref(y), e->prec);
            if (ok && n->fn == F_MIN) arb_min(acb_realref(out), acb_realref(out), acb_realref(y), e->prec);
        }
        break;
    case F_RE: case F_IM:
        acb_set_arb(out, n->fn == F_RE ? acb_realref(x) : acb_imagref(x));
        ok = true;
        break;
    case F_CONJ:
        acb_conj(out, x);
        ok = true;
        break;
    case F_ARG: {
        arb_t a;
        arb_init(a);
        acb_arg(a, x, e->prec);
        acb_set_arb(out, a);
        arb_clear(a);
        ok = true;
        break;
    }
    case F_BINOM: /* gamma(x+1) / gamma(y+1) / gamma(x-y+1) */
        if (n->n != 2 || !eval(e, n->kid[1], y) || !bounded(x, 24) || !bounded(y, 24) || !pay(e, 150)) break;
        acb_add_ui(out, x, 1, e->prec);
        acb_gamma(out, out, e->prec);
        acb_sub(x, x, y, e->prec);
        acb_add_ui(x, x, 1, e->prec);
        acb_rgamma(x, x, e->prec);
        acb_mul(out, out, x, e->prec);
        acb_add_ui(y, y, 1, e->prec);
        acb_rgamma(y, y, e->prec);
        acb_mul(out, out, y, e->prec);
        ok = true;
        break;
    case F_GCD: case F_LCM: case F_DET: break;
    default: ok = trig(e, n->fn, x, out); break;
    }
done:
    acb_clear(x);
    acb_clear(y);
    return ok && acb_is_finite(out);
}

static bool by_name(env *e, const dt_node *n, acb_t out) {
    size_t len = 0;
    const char *key = dt_ans_key(e->c, n, &len);
    if (!key) return false;
    variable(e, key, len, out);
    return true;
}

static bool is(const dt_node *n, const char *s) { return n->sn == strlen(s) && !memcmp(n->s, s, n->sn); }

/* A sum or product over whole numbers that are few and known; else a name. */
static bool big(env *e, const dt_node *n, acb_t out) {
    const dt_node *lo = n->kid[0], *hi = n->kid[1];
    long a = 0, b = 0;
    bool sum = is(n, "sum");
    if ((!sum && !is(n, "prod")) || e->bound || lo->kind != N_REL || lo->n != 2 || lo->s[0] != '=' || lo->kid[0]->kind != N_SYM || !dt_ans_small_int(e->c, lo->kid[1], &a) || !dt_ans_small_int(e->c, hi, &b) ||
        b - a > 200)
        return by_name(e, n, out);
    acb_t x;
    acb_init(x);
    bool ok = true;
    acb_set_ui(out, !sum);
    e->bound = lo->kid[0]->s;
    e->bound_n = lo->kid[0]->sn;
    for (long k = a; ok && k <= b; k++) {
        e->bound_v = k;
        ok = eval(e, n->kid[2], x);
        if (ok && sum) acb_add(out, out, x, e->prec);
        if (ok && !sum) acb_mul(out, out, x, e->prec);
    }
    e->bound = NULL;
    acb_clear(x);
    return ok;
}

static bool eval(env *e, const dt_node *n, acb_t out) {
    if (!pay(e, 1)) return false;
    acb_t x;
    bool ok = true;
    switch (n->kind) {
    case N_NUM: return number(e, n, out);
    case N_SYM:
        if (e->bound && n->sn == e->bound_n && !memcmp(n->s, e->bound, n->sn)) {
            acb_set_si(out, e->bound_v);
        } else if (is(n, "\\pi")) {
            acb_const_pi(out, e->prec);
        } else if (is(n, "e")) {
            arb_const_e(acb_realref(out), e->prec);
            arb_zero(acb_imagref(out));
        } else if (is(n, "i")) {
            acb_onei(out);
        } else {
            variable(e, n->s, n->sn, out);
        }
        return true;
    case N_ADD: case N_MUL: case N_DIV: {
        if (!eval(e, n->kid[0], out)) return false;
        double lo = (double)INFINITY, hi = -(double)INFINITY;
        acb_init(x);
        for (int i = 0; ok && i < n->n; i++) {
            ok = !i || eval(e, n->kid[i], x);
            if (!ok) break;
            const acb_struct *term = i ? x : out;
            if (n->kind == N_ADD && !acb_contains_zero(term)) {
                double d = log2_of(term);
                lo = d < lo ? d : lo;
                hi = d > hi ? d : hi;
            }
            if (!i) continue;
            if (n->kind == N_ADD) acb_add(out, out, x, e->prec);
            if (n->kind == N_MUL) acb_mul(out, out, x, e->prec);
            if (n->kind == N_DIV) {
                if (acb_is_zero(x)) ok = dt_ans_stop(e->c, "division by zero");
                else if (acb_contains_zero(x)) ok = false;
                else acb_div(out, out, x, e->prec);
            }
        }
        if (lo - hi < e->least) e->least = lo - hi;
        acb_clear(x);
        return ok && acb_is_finite(out);
    }
    case N_NEG:
        ok = eval(e, n->kid[0], out);
        acb_neg(out, out);
        return ok;
    case N_POW:
        if (n->kid[0]->kind == N_SYM && is(n->kid[0], "e") && !(e->bound && e->bound_n == 1 && e->bound[0] == 'e')) {
            ok = pay(e, 6) && eval(e, n->kid[1], out) && bounded(out, 30);
            if (ok) watch(e, out);
            if (ok) acb_exp(out, out, e->prec);
            return ok && acb_is_finite(out);
        }
        return power(e, n->kid[0], n->kid[1], false, out);
    case N_ROOT: return power(e, n->kid[0], n->kid[1], true, out);
    case N_FUNC: return function(e, n, out);
    case N_FACT:
        if (!pay(e, 60) || !eval(e, n->kid[0], out) || !bounded(out, 24)) return false;
        acb_add_ui(out, out, 1, e->prec);
        acb_gamma(out, out, e->prec);
        return acb_is_finite(out);
    case N_PERCENT:
        ok = eval(e, n->kid[0], out);
        acb_div_si(out, out, 100, e->prec);
        return ok;
    case N_DEG:
        ok = eval(e, n->kid[0], out);
        acb_init(x);
        acb_const_pi(x, e->prec);
        acb_mul(out, out, x, e->prec);
        acb_div_si(out, out, 180, e->prec);
        acb_clear(x);
        return ok;
    case N_UNIT: return eval(e, n->kid[0], out);
    case N_BIG: return big(e, n, out);
    case N_BASE: case N_OPAQUE: return by_name(e, n, out);
    default: return false;
    }
}

typedef enum meet { M_APART, M_MEET, M_FINE, M_NOT } meet; /* FINE: they meet, in far less than any term */

/* Both sides at one point. */
static meet compare(env *e, const dt_node *a, const dt_node *b, bool *both_real) {
    acb_t x, y, d;
    meet m = M_NOT;
    acb_init(x);
    acb_init(y);
    acb_init(d);
    if (eval(e, a, x) && eval(e, b, y)) {
        *both_real = acb_is_real(x) && acb_is_real(y) && !e->complex;
        acb_sub(d, x, y, e->prec);
        if (!acb_is_finite(d)) {
            m = M_NOT;
        } else if (!acb_contains_zero(d)) {
            m = M_APART;
        } else {
            double r = log2_of(d), size = log2_of(x), seen = -(double)e->prec / 2 + e->least;
            m = acb_is_zero(d) || r < size + seen || r < seen ? M_FINE : M_MEET;
        }
    }
    acb_clear(x);
    acb_clear(y);
    acb_clear(d);
    return m;
}

/* The same, with more and more digits until it is plain. */
static meet settle(env *e, const dt_node *a, const dt_node *b, bool *both_real) {
    static const slong precs[] = {128, 1024};
    meet m = M_NOT;
    for (size_t i = 0; i < DT_COUNT(precs); i++) {
        e->prec = precs[i];
        e->wide = false;
        e->least = 0;
        m = compare(e, a, b, both_real);
        if (m == M_APART) return m;
    }
    return m == M_FINE && e->wide ? M_MEET : m;
}

dt_tri dt_ans_ball_equal(dt_ans *c, const dt_node *a, const dt_node *b) {
    int agreed = 0;
    bool signed_only = true;
    for (int k = 0; k < N_POINTS; k++) {
        env e = {.c = c, .point = k};
        bool real = false;
        meet m = settle(&e, a, b, &real);
        if (c->why && c->steps < 0) return DT_UNKNOWN;
        if (m == M_APART && (k < FIRST_SIGNED || real)) return DT_NO;
        if (m == M_FINE) agreed++, signed_only = signed_only && k >= FIRST_SIGNED;
        if (!e.has_vars) return m == M_FINE ? DT_YES : DT_UNKNOWN;
        if (m == M_MEET) return DT_UNKNOWN;
    }
    return agreed >= 2 || (agreed && !signed_only) ? DT_YES : DT_UNKNOWN;
}

/* a / b at every point the same number. */
dt_tri dt_ans_ball_proportional(dt_ans *c, const dt_node *a, const dt_node *b, bool positive) {
    acb_t x, y, ratio;
    int seen = 0;
    dt_tri res = DT_YES;
    acb_init(x);
    acb_init(y);
    acb_init(ratio);
    for (int k = 0; k < N_POINTS && res == DT_YES; k++) {
        env e = {.c = c, .point = k, .prec = 512};
        if (!eval(&e, a, x) || !eval(&e, b, y) || acb_contains_zero(y)) continue;
        if (k >= FIRST_SIGNED && !(acb_is_real(x) && acb_is_real(y))) continue;
        acb_div(x, x, y, e.prec);
        if (!acb_is_finite(x) || acb_rel_accuracy_bits(x) < 100) continue;
        if (positive && !(acb_is_real(x) && arb_is_positive(acb_realref(x)))) res = DT_NO;
        if (seen++ == 0) acb_set(ratio, x);
        else if (!acb_overlaps(ratio, x)) res = DT_NO;
    }
    acb_clear(x);
    acb_clear(y);
    acb_clear(ratio);
    return res == DT_YES && seen < 3 ? DT_UNKNOWN : res;
}

dt_tri dt_ans_rounded_equal(dt_ans *c, const dt_node *a, const dt_node *b) {
    acb_t x, y, d;
    dt_tri res = DT_NO;
    acb_init(x);
    acb_init(y);
    acb_init(d);
    env e = {.c = c, .prec = 256}, f = e, g = e, h = e;
    e.rounded = g.rounded = true;
    for (int side = 0; side < 2 && res == DT_NO; side++) { /* a rounded to meet b as it stands, then the other way */
        env *r = side ? &g : &e, *s = side ? &h : &f;
        if (!eval(r, side ? b : a, x) || !r->n_rounded || r->has_vars || !eval(s, side ? a : b, y) || s->has_vars) continue;
        if ((double)arb_rel_accuracy_bits(acb_realref(x)) < 3.3 * c->digits - 6 && c->digits > 2) continue;
        acb_sub(d, x, y, r->prec);
        if (acb_is_finite(d) && acb_contains_zero(d)) res = DT_YES;
    }
    acb_clear(x);
    acb_clear(y);
    acb_clear(d);
    return res;
}

bool dt_ans_ball_order(dt_ans *c, const dt_node *a, const dt_node *b, int *sign) {
    acb_t x, y;
    env e = {.c = c, .prec = 128};
    acb_init(x);
    acb_init(y);
    bool ok = eval(&e, a, x) && eval(&e, b, y) && !e.has_vars && acb_is_real(x) && acb_is_real(y);
    if (ok) *sign = arb_lt(acb_realref(x), acb_realref(y)) ? -1 : arb_gt(acb_realref(x), acb_realref(y)) ? 1 : 0;
    acb_clear(x);
    acb_clear(y);
    return ok;
}
