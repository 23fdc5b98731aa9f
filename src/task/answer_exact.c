/* Numbers, exactly (FLINT): rationals; then polynomials over the rationals in free variables, square roots of primes,
 * i, pi, e, and whatever else as names, with the relations of those roots. Fractions are compared crosswise.
 *
 * A difference that reduces to zero proves equality. One that does not proves a difference where the names are
 * independent: variables, square roots of primes, i, and one of pi and e. */
#include "task/answer.h"

#include <flint/flint.h>
#include <flint/fmpq.h>
#include <flint/fmpq_mpoly.h>
#include <flint/fmpz.h>
#include <math.h>
#include <string.h>

#define MAX_TERMS 2000
#define MAX_POWER 200
#define MAX_NAMES 24

/* ---- rationals ---- */

static bool small(const fmpq_t x) { return fmpz_bits(fmpq_numref(x)) <= DT_ANS_MAX_BITS && fmpz_bits(fmpq_denref(x)) <= DT_ANS_MAX_BITS; }

static bool literal(dt_ans *c, const dt_node *n, fmpq_t out) {
    long shift = n->exp10 - n->scale; /* both bounded by the lexer */
    if (shift > 5000 || shift < -5000) return false;
    if (!dt_ans_spend(c, 1 + (long)n->sn / 100)) return false;
    fmpz_t ten;
    fmpz_init(ten);
    fmpz_set_str(fmpq_numref(out), n->sn ? n->s : "0", 10); /* NUL-terminated, or a tail of such */
    if (n->sn && n->s[n->sn]) {                             /* the first digit of a split number */
        char *d = dt_ans_alloc(c, n->sn + 1, 1);
        if (d) memcpy(d, n->s, n->sn);
        fmpz_set_str(fmpq_numref(out), d ? d : "0", 10);
    }
    fmpz_one(fmpq_denref(out));
    if (n->repeat) { /* x = (all - head) / (10^repeat - 1) 10^-(scale - repeat) */
        fmpz_t head;
        fmpz_init(head);
        fmpz_set_ui(ten, 10), fmpz_pow_ui(ten, ten, (ulong)n->repeat);
        fmpz_fdiv_q(head, fmpq_numref(out), ten);
        fmpz_sub(fmpq_numref(out), fmpq_numref(out), head);
        fmpz_sub_ui(ten, ten, 1);
        fmpz_set(fmpq_denref(out), ten);
        fmpz_clear(head);
        shift += n->repeat;
    }
    fmpz_set_ui(ten, 10), fmpz_pow_ui(ten, ten, (ulong)(shift < 0 ? -shift : shift));
    if (shift < 0)
        fmpz_mul(fmpq_denref(out), fmpq_denref(out), ten);
    else
        fmpz_mul(fmpq_numref(out), fmpq_numref(out), ten);
    fmpz_clear(ten);
    fmpq_canonicalise(out);
    return small(out);
}

static bool to_long(const fmpq_t x, long bound, long *v) {
    if (!fmpz_is_one(fmpq_denref(x)) || fmpz_cmp_si(fmpq_numref(x), bound) > 0 || fmpz_cmp_si(fmpq_numref(x), -bound) < 0) return false;
    *v = fmpz_get_si(fmpq_numref(x));
    return true;
}

/* out = a^(p/q) if that is rational and small. */
static bool rational_power(dt_ans *c, fmpq_t out, const fmpq_t a, const fmpq_t e) {
    long p = 0;
    fmpq_t r;
    if (fmpz_cmp_ui(fmpq_denref(e), 64) > 0 || fmpz_cmp_si(fmpq_numref(e), 100000) > 0 || fmpz_cmp_si(fmpq_numref(e), -100000) < 0) return false;
    p = fmpz_get_si(fmpq_numref(e));
    ulong q = fmpz_get_ui(fmpq_denref(e));
    if (fmpq_is_zero(a) && p < 0) return dt_ans_stop(c, "division by zero");
    if (fmpq_is_zero(a) && p == 0) return dt_ans_stop(c, "zero to the power zero");
    fmpq_init(r);
    bool ok = true;
    if (q > 1) {
        bool neg = fmpq_sgn(a) < 0;
        ok = !neg || q % 2;
        fmpz_t x;
        fmpz_init(x);
        fmpz_abs(x, fmpq_numref(a));
        ok = ok && fmpz_root(fmpq_numref(r), x, (slong)q) && fmpz_root(fmpq_denref(r), fmpq_denref(a), (slong)q);
        fmpz_clear(x);
        if (ok && neg) fmpq_neg(r, r);
    } else {
        fmpq_set(r, a);
    }
    size_t bits = fmpz_bits(fmpq_numref(r)) + fmpz_bits(fmpq_denref(r));
    size_t times = (size_t)(p < 0 ? -p : p);
    ok = ok && (bits <= 2 || bits * times <= DT_ANS_MAX_BITS) && dt_ans_spend(c, 1 + (long)(bits * times / 500));
    if (ok) fmpq_pow_si(out, r, p);
    fmpq_clear(r);
    return ok && small(out);
}

static bool rational(dt_ans *c, const dt_node *n, fmpq_t out);

static bool rational_function(dt_ans *c, const dt_node *n, fmpq_t out) {
    fmpq_t a, b;
    bool ok = false;
    fmpq_init(a);
    fmpq_init(b);
    long x = 0, y = 0;
    if (!rational(c, n->kid[0], a)) goto done;
    switch (n->fn) {
    case F_ABS:
        fmpq_abs(out, a);
        ok = true;
        break;
    case F_FLOOR: case F_CEIL:
        if (n->fn == F_FLOOR) fmpz_fdiv_q(fmpq_numref(out), fmpq_numref(a), fmpq_denref(a));
        if (n->fn == F_CEIL) fmpz_cdiv_q(fmpq_numref(out), fmpq_numref(a), fmpq_denref(a));
        fmpz_one(fmpq_denref(out));
        ok = true;
        break;
    case F_MAX: case F_MIN: case F_GCD: case F_LCM:
        fmpq_set(out, a);
        ok = true;
        for (int i = 1; ok && i < n->n; i++) {
            ok = rational(c, n->kid[i], b);
            if (n->fn == F_MAX || n->fn == F_MIN) {
                if (ok && (n->fn == F_MAX) == (fmpq_cmp(b, out) > 0)) fmpq_set(out, b);
                continue;
            }
            ok = ok && fmpz_is_one(fmpq_denref(out)) && fmpz_is_one(fmpq_denref(b));
            if (!ok) break;
            if (n->fn == F_GCD) fmpz_gcd(fmpq_numref(out), fmpq_numref(out), fmpq_numref(b));
            if (n->fn == F_LCM) fmpz_lcm(fmpq_numref(out), fmpq_numref(out), fmpq_numref(b));
            ok = small(out);
        }
        break;
    case F_BINOM:
        ok = n->n == 2 && rational(c, n->kid[1], b) && to_long(a, 5000, &x) && to_long(b, 5000, &y) && x >= 0 && y >= 0 && dt_ans_spend(c, 1 + x / 20);
        if (ok) {
            fmpz_bin_uiui(fmpq_numref(out), (ulong)x, (ulong)y);
            fmpz_one(fmpq_denref(out));
        }
        break;
    case F_LOG: case F_LN: case F_LG: { /* log_b a = p/q where b^p = a^q: by small q */
        if (n->n == 1 && n->fn == F_LG) fmpq_set_si(b, 10, 1);
        if (n->n == 1 && n->fn != F_LG) {
            ok = fmpq_is_one(a);
            if (ok) fmpq_zero(out);
            break;
        }
        if (n->n == 2 && !rational(c, n->kid[1], b)) break;
        if (fmpq_sgn(a) <= 0 || fmpq_sgn(b) <= 0 || fmpq_is_one(b)) break;
        fmpq_t u, v, e;
        fmpq_init(u);
        fmpq_init(v);
        fmpq_init(e);
        double ratio = (fmpz_dlog(fmpq_numref(a)) - fmpz_dlog(fmpq_denref(a))) / (fmpz_dlog(fmpq_numref(b)) - fmpz_dlog(fmpq_denref(b)));
        for (long q = 1; q <= 6 && !ok && dt_ans_spend(c, 1); q++) {
            double p = round((double)q * ratio); /* a guess, checked exactly */
            if (!(fabs(p) <= 2000) || fabs(p - (double)q * ratio) > 1e-6) continue;
            fmpq_set_si(e, q, 1);
            if (!rational_power(c, u, a, e)) break;
            fmpq_set_si(e, (slong)p, 1);
            if (!rational_power(c, v, b, e) || !fmpq_equal(u, v)) continue;
            fmpq_set_si(out, (slong)p, (ulong)q);
            fmpq_canonicalise(out);
            ok = true;
        }
        fmpq_clear(u);
        fmpq_clear(v);
        fmpq_clear(e);
        break;
    }
    default: break;
    }
done:
    fmpq_clear(a);
    fmpq_clear(b);
    return ok && small(out);
}

/* The value of n if it is a rational number and no larger than allowed. */
static bool rational(dt_ans *c, const dt_node *n, fmpq_t out) {
    if (!dt_ans_spend(c, 1)) return false;
    fmpq_t b;
    bool ok = true;
    long v = 0;
    switch (n->kind) {
    case N_NUM: return literal(c, n, out);
    case N_ADD: case N_MUL: case N_DIV: case N_POW: case N_ROOT: break;
    case N_NEG:
        ok = rational(c, n->kid[0], out);
        if (ok) fmpq_neg(out, out);
        return ok;
    case N_PERCENT:
        ok = rational(c, n->kid[0], out);
        if (ok) fmpq_div_fmpz(out, out, (fmpz[]){100});
        return ok;
    case N_UNIT: return rational(c, n->kid[0], out);
    case N_FACT:
        ok = rational(c, n->kid[0], out) && to_long(out, 1500, &v) && v >= 0 && dt_ans_spend(c, 1 + v / 20);
        if (ok) fmpz_fac_ui(fmpq_numref(out), (ulong)v);
        return ok;
    case N_BASE: {
        if (!rational(c, n->kid[0], out) || !to_long(out, 36, &v) || v < 2 || n->sn > 500) return false;
        fmpq_zero(out);
        for (size_t i = 0; i < n->sn; i++) {
            if (n->s[i] - '0' >= v) return false;
            fmpz_mul_si(fmpq_numref(out), fmpq_numref(out), v);
            fmpz_add_si(fmpq_numref(out), fmpq_numref(out), n->s[i] - '0');
        }
        return true;
    }
    case N_FUNC: return rational_function(c, n, out);
    default: return false;
    }
    fmpq_init(b);
    ok = rational(c, n->kid[0], out);
    for (int i = 1; ok && i < n->n; i++) {
        ok = rational(c, n->kid[i], b);
        if (!ok) break;
        if (n->kind == N_ADD) fmpq_add(out, out, b);
        if (n->kind == N_MUL) fmpq_mul(out, out, b);
        if (n->kind == N_DIV && fmpq_is_zero(b)) ok = dt_ans_stop(c, "division by zero");
        if (n->kind == N_DIV && ok) fmpq_div(out, out, b);
        if (n->kind == N_ROOT && fmpq_is_zero(b)) ok = false;
        if (n->kind == N_ROOT && ok) fmpq_inv(b, b);
        if (n->kind == N_POW || n->kind == N_ROOT) ok = ok && rational_power(c, out, out, b);
        ok = ok && small(out);
    }
    fmpq_clear(b);
    return ok;
}

bool dt_ans_small_int(dt_ans *c, const dt_node *n, long *v) {
    fmpq_t x;
    fmpq_init(x);
    bool ok = rational(c, n, x) && to_long(x, 1 << 30, v);
    fmpq_clear(x);
    return ok;
}

dt_tri dt_ans_rational_equal(dt_ans *c, const dt_node *a, const dt_node *b) {
    fmpq_t x, y;
    fmpq_init(x);
    fmpq_init(y);
    dt_tri r = rational(c, a, x) && rational(c, b, y) ? (fmpq_equal(x, y) ? DT_YES : DT_NO) : DT_UNKNOWN;
    fmpq_clear(x);
    fmpq_clear(y);
    return r;
}

/* ---- polynomials ---- */

typedef struct name {
    const char *key;
    size_t n;
    ulong square; /* its square, where it is the square root of a prime; 1: its square is -1 */
    bool free;    /* independent of all others */
} name;

typedef struct ring {
    dt_ans *c;
    name names[MAX_NAMES];
    int n;
    bool made; /* the names are known, ctx stands */
    fmpq_mpoly_ctx_t ctx;
} ring;

typedef struct frac {
    fmpq_mpoly_t num, den;
} frac;

static int name_of(ring *r, const char *key, size_t n, ulong square, bool free_) {
    for (int i = 0; i < r->n; i++)
        if (r->names[i].n == n && !memcmp(r->names[i].key, key, n)) return i;
    if (r->made || r->n == MAX_NAMES) return -1;
    r->names[r->n] = (name){key, n, square, free_};
    return r->n++;
}

static bool is_sym(const dt_node *n, const char *s) { return n->kind == N_SYM && n->sn == strlen(s) && !memcmp(n->s, s, n->sn); }

static int opaque_name(ring *r, const dt_node *n) {
    size_t len = 0;
    const char *key = dt_ans_key(r->c, n, &len);
    return key ? name_of(r, key, len, 0, false) : -1;
}

static int symbol_name(ring *r, const dt_node *n) {
    if (is_sym(n, "i")) return name_of(r, "i", 1, 1, true);
    bool constant = is_sym(n, "e") || is_sym(n, "\\pi");
    return name_of(r, n->s, n->sn, 0, !constant);
}

static bool fits(ring *r, const frac *f) { return fmpq_mpoly_length(f->num, r->ctx) <= MAX_TERMS && fmpq_mpoly_length(f->den, r->ctx) <= MAX_TERMS; }

/* Work of a product of polynomials, counted before it is done. */
static bool pay(ring *r, const fmpq_mpoly_t a, const fmpq_mpoly_t b) {
    long la = fmpq_mpoly_length(a, r->ctx), lb = fmpq_mpoly_length(b, r->ctx);
    return dt_ans_spend(r->c, 1 + la * lb / 10);
}

static void frac_init(ring *r, frac *f) {
    fmpq_mpoly_init(f->num, r->ctx);
    fmpq_mpoly_init(f->den, r->ctx);
    fmpq_mpoly_one(f->den, r->ctx);
}

static void frac_clear(ring *r, frac *f) {
    fmpq_mpoly_clear(f->num, r->ctx);
    fmpq_mpoly_clear(f->den, r->ctx);
}

static void swap(ring *r, frac *f) { fmpq_mpoly_swap(f->num, f->den, r->ctx); }

static bool modest(ring *r, const fmpq_mpoly_t p) { /* coefficients must not grow without end */
    fmpq_t k;
    fmpq_init(k);
    bool ok = fmpq_mpoly_total_degree_fits_si(p, r->ctx) && fmpq_mpoly_total_degree_si(p, r->ctx) <= 1000;
    if (ok && fmpq_mpoly_length(p, r->ctx)) {
        fmpq_mpoly_get_term_coeff_fmpq(k, p, 0, r->ctx);
        ok = small(k);
    }
    fmpq_clear(k);
    return ok;
}

static bool frac_mul(ring *r, frac *f, frac *g) {
    if (!pay(r, f->num, g->num) || !pay(r, f->den, g->den)) return false;
    fmpq_mpoly_mul(f->num, f->num, g->num, r->ctx);
    fmpq_mpoly_mul(f->den, f->den, g->den, r->ctx);
    return fits(r, f) && modest(r, f->num) && modest(r, f->den);
}

static bool frac_add(ring *r, frac *f, frac *g) {
    if (fmpq_mpoly_equal(f->den, g->den, r->ctx)) {
        fmpq_mpoly_add(f->num, f->num, g->num, r->ctx);
        return fits(r, f);
    }
    if (!pay(r, f->num, g->den) || !pay(r, g->num, f->den) || !pay(r, f->den, g->den)) return false;
    fmpq_mpoly_mul(f->num, f->num, g->den, r->ctx);
    fmpq_mpoly_mul(g->num, g->num, f->den, r->ctx);
    fmpq_mpoly_add(f->num, f->num, g->num, r->ctx);
    fmpq_mpoly_mul(f->den, f->den, g->den, r->ctx);
    return fits(r, f) && modest(r, f->num) && modest(r, f->den);
}

/* How many terms p^times can have at most, C(times + n - 1, n - 1): few, and paid for. */
static bool expands(ring *r, const fmpq_mpoly_t p, long times) {
    long n = fmpq_mpoly_length(p, r->ctx);
    double terms = 1;
    for (long i = 1; i < n && terms <= MAX_TERMS; i++)
        terms *= (double)(times + i) / (double)i;
    return terms <= MAX_TERMS && dt_ans_spend(r->c, 1 + (long)terms * n / 4);
}

/* f = x^(1/2) for a rational x: a square times a product of named roots. Without a ctx only names are made. */
static bool surd(ring *r, const fmpq_t x, frac *f) {
    fmpz_t m, out, rest, q;
    bool ok = !fmpq_is_zero(x);
    fmpz_init(m);
    fmpz_init(out);
    fmpz_init(rest);
    fmpz_init(q);
    fmpz_mul(m, fmpq_numref(x), fmpq_denref(x)); /* sqrt(a/b) = sqrt(ab) / b */
    int at[24], n = 0;
    if (fmpz_sgn(m) < 0) {
        fmpz_neg(m, m);
        at[n++] = name_of(r, "i", 1, 1, true);
    }
    ok = ok && fmpz_bits(m) <= 256 && dt_ans_spend(r->c, 20);
    fmpz_one(out);
    fmpz_set(rest, m);
    for (ulong p = 2; ok && p < 1000 && !fmpz_is_one(rest); p += 1 + (p > 2)) {
        int k = 0;
        while (fmpz_divisible_si(rest, (slong)p)) {
            fmpz_divexact_ui(rest, rest, p);
            if (++k % 2 == 0) fmpz_mul_ui(out, out, p);
        }
        if (k % 2 == 0) continue;
        char *key = dt_ans_alloc(r->c, 24, 1);
        ok = key && n < 23;
        if (!ok) break;
        snprintf(key, 24, "sqrt %lu", (unsigned long)p);
        at[n++] = name_of(r, key, strlen(key), p, true);
    }
    if (ok && !fmpz_is_one(rest)) {
        fmpz_sqrtrem(q, m, rest); /* m is scratch from here */
        if (fmpz_is_zero(m)) {
            fmpz_mul(out, out, q);
        } else {
            ok = fmpz_bits(rest) < 62 && fmpz_is_probabprime(rest); /* a proof below 2^64 */
            char *key = dt_ans_alloc(r->c, 40, 1);
            ok = ok && key;
            if (ok) {
                snprintf(key, 40, "sqrt %lu", (unsigned long)fmpz_get_ui(rest));
                at[n++] = name_of(r, key, strlen(key), fmpz_get_ui(rest), true);
            }
        }
    }
    for (int i = 0; ok && i < n; i++)
        ok = at[i] >= 0;
    if (ok && r->made) {
        fmpq_t k;
        fmpq_init(k);
        fmpz_set(fmpq_numref(k), out);
        fmpz_set(fmpq_denref(k), fmpq_denref(x));
        fmpq_canonicalise(k);
        fmpq_mpoly_set_fmpq(f->num, k, r->ctx);
        fmpq_mpoly_one(f->den, r->ctx);
        fmpq_mpoly_t g;
        fmpq_mpoly_init(g, r->ctx);
        for (int i = 0; i < n; i++) {
            fmpq_mpoly_gen(g, at[i], r->ctx);
            fmpq_mpoly_mul(f->num, f->num, g, r->ctx);
        }
        fmpq_mpoly_clear(g, r->ctx);
        fmpq_clear(k);
    }
    fmpz_clear(m);
    fmpz_clear(out);
    fmpz_clear(rest);
    fmpz_clear(q);
    return ok;
}

static bool generator(ring *r, int id, frac *f) {
    if (id < 0) return false;
    if (r->made) {
        fmpq_mpoly_gen(f->num, id, r->ctx);
        fmpq_mpoly_one(f->den, r->ctx);
    }
    return true;
}

static bool convert(ring *r, const dt_node *n, frac *f);

static bool convert_power(ring *r, const dt_node *n, frac *f) {
    fmpq_t e, x;
    fmpq_init(e);
    fmpq_init(x);
    bool ok = rational(r->c, n->kid[1], e), done = false;
    if (ok && n->kind == N_ROOT) {
        ok = !fmpq_is_zero(e);
        if (ok) fmpq_inv(e, e);
    }
    if (ok && fmpz_is_one(fmpq_denref(e))) {
        long k = 0;
        if (to_long(e, MAX_POWER, &k) && convert(r, n->kid[0], f)) {
            done = true;
            if (r->made && k < 0) {
                swap(r, f);
                ok = !fmpq_mpoly_is_zero(f->den, r->ctx) || dt_ans_stop(r->c, "division by zero");
            }
            if (r->made && ok) {
                long times = k < 0 ? -k : k;
                ok = modest(r, f->num) && modest(r, f->den) && expands(r, f->num, times) && expands(r, f->den, times) &&
                     fmpq_mpoly_total_degree_si(f->num, r->ctx) * times <= 2000 && fmpq_mpoly_total_degree_si(f->den, r->ctx) * times <= 2000;
                ok = ok && !(k == 0 && fmpq_mpoly_is_zero(f->num, r->ctx));
                if (ok) {
                    fmpq_mpoly_pow_ui(f->num, f->num, (ulong)times, r->ctx);
                    fmpq_mpoly_pow_ui(f->den, f->den, (ulong)times, r->ctx);
                    ok = fits(r, f) && modest(r, f->num) && modest(r, f->den);
                }
            }
        }
    } else if (ok && fmpz_equal_ui(fmpq_denref(e), 2) && rational(r->c, n->kid[0], x) && fmpq_sgn(x)) {
        long k = 0; /* x^(k/2) = x^((k-1)/2) sqrt(x) */
        fmpq_set_fmpz(e, fmpq_numref(e));
        if (to_long(e, MAX_POWER, &k)) {
            fmpq_t p;
            fmpq_init(p);
            fmpq_set_si(e, (k - 1) / 2, 1);
            done = rational_power(r->c, p, x, e) && surd(r, x, f);
            if (done && r->made) fmpq_mpoly_scalar_mul_fmpq(f->num, f->num, p, r->ctx);
            fmpq_clear(p);
        }
    }
    fmpq_clear(e);
    fmpq_clear(x);
    return done ? ok : !r->c->why && generator(r, opaque_name(r, n), f);
}

static bool convert(ring *r, const dt_node *n, frac *f) {
    if (!dt_ans_spend(r->c, 2)) return false;
    frac g;
    bool ok = true;
    switch (n->kind) {
    case N_SYM: return generator(r, symbol_name(r, n), f);
    case N_ADD: case N_MUL: case N_DIV: break;
    case N_NEG:
        ok = convert(r, n->kid[0], f);
        if (ok && r->made) fmpq_mpoly_neg(f->num, f->num, r->ctx);
        return ok;
    case N_POW: case N_ROOT: return convert_power(r, n, f);
    case N_PERCENT: case N_UNIT:
        ok = convert(r, n->kid[0], f);
        if (ok && r->made && n->kind == N_PERCENT) fmpq_mpoly_scalar_div_si(f->num, f->num, 100, r->ctx);
        return ok;
    case N_NUM: case N_FACT: case N_BASE: case N_FUNC: {
        fmpq_t x;
        fmpq_init(x);
        ok = rational(r->c, n, x);
        if (ok && r->made) {
            fmpq_mpoly_set_fmpq(f->num, x, r->ctx);
            fmpq_mpoly_one(f->den, r->ctx);
        }
        fmpq_clear(x);
        return ok || (n->kind != N_NUM && !r->c->why && generator(r, opaque_name(r, n), f));
    }
    case N_OPAQUE: case N_BIG: return generator(r, opaque_name(r, n), f);
    case N_DEG: { /* x pi / 180 */
        if (!convert(r, n->kid[0], f)) return false;
        int id = name_of(r, "\\pi", 3, 0, false);
        if (id < 0) return false;
        if (r->made) {
            fmpq_mpoly_t pi;
            fmpq_mpoly_init(pi, r->ctx);
            fmpq_mpoly_gen(pi, id, r->ctx);
            fmpq_mpoly_mul(f->num, f->num, pi, r->ctx);
            fmpq_mpoly_scalar_div_si(f->num, f->num, 180, r->ctx);
            fmpq_mpoly_clear(pi, r->ctx);
        }
        return true;
    }
    default: return false;
    }
    if (!convert(r, n->kid[0], f)) return false;
    if (r->made) frac_init(r, &g);
    for (int i = 1; ok && i < n->n; i++) {
        if (r->made) fmpq_mpoly_one(g.den, r->ctx);
        ok = convert(r, n->kid[i], &g);
        if (!ok || !r->made) continue;
        if (n->kind == N_DIV) {
            swap(r, &g);
            ok = !fmpq_mpoly_is_zero(g.den, r->ctx) || dt_ans_stop(r->c, "division by zero");
        }
        ok = ok && (n->kind == N_ADD ? frac_add(r, f, &g) : frac_mul(r, f, &g));
    }
    if (r->made) frac_clear(r, &g);
    return ok;
}

/* The squares of named roots out of p: s^2 -> its value. */
static bool reduce(ring *r, fmpq_mpoly_struct *p) {
    fmpq_mpoly_struct *div[MAX_NAMES], *quot[MAX_NAMES], space[2 * MAX_NAMES];
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        if (!r->names[i].square) continue;
        fmpq_mpoly_init(&space[n], r->ctx);
        fmpq_mpoly_init(&space[MAX_NAMES + n], r->ctx);
        div[n] = &space[n];
        quot[n] = &space[MAX_NAMES + n];
        fmpq_mpoly_gen(div[n], i, r->ctx);
        fmpq_mpoly_pow_ui(div[n], div[n], 2, r->ctx);
        if (r->names[i].square == 1)
            fmpq_mpoly_add_si(div[n], div[n], 1, r->ctx);
        else
            fmpq_mpoly_sub_ui(div[n], div[n], r->names[i].square, r->ctx);
        n++;
    }
    bool ok = dt_ans_spend(r->c, 1 + fmpq_mpoly_length(p, r->ctx) * n);
    if (n && ok) fmpq_mpoly_divrem_ideal(quot, p, p, div, n, r->ctx);
    for (int i = 0; i < n; i++) {
        fmpq_mpoly_clear(div[i], r->ctx);
        fmpq_mpoly_clear(quot[i], r->ctx);
    }
    return ok;
}

static bool independent(const ring *r) {
    int constants = 0;
    for (int i = 0; i < r->n; i++) {
        bool constant = (r->names[i].n == 1 && r->names[i].key[0] == 'e') || (r->names[i].n == 3 && !memcmp(r->names[i].key, "\\pi", 3));
        constants += constant;
        if (!constant && !r->names[i].free) return false;
    }
    return constants <= 1;
}

/* Both sides as fractions, denominators not zero. */
static bool both(ring *r, const dt_node *a, const dt_node *b, frac *x, frac *y, bool *init) {
    *init = false;
    if (!convert(r, a, NULL) || !convert(r, b, NULL)) return false;
    if (!r->n) name_of(r, "x", 1, 0, true);
    fmpq_mpoly_ctx_init(r->ctx, r->n, ORD_LEX);
    r->made = true;
    frac_init(r, x);
    frac_init(r, y);
    *init = true;
    if (!convert(r, a, x) || !convert(r, b, y) || !reduce(r, x->den) || !reduce(r, y->den)) return false;
    if (fmpq_mpoly_is_zero(x->den, r->ctx) || fmpq_mpoly_is_zero(y->den, r->ctx)) return dt_ans_stop(r->c, "division by zero");
    return true;
}

static void leave(ring *r, frac *x, frac *y, bool init) {
    if (!init) return;
    frac_clear(r, x);
    frac_clear(r, y);
    fmpq_mpoly_ctx_clear(r->ctx);
}

dt_tri dt_ans_exact_equal(dt_ans *c, const dt_node *a, const dt_node *b) {
    ring r = {.c = c};
    frac x, y;
    bool init = false;
    dt_tri res = DT_UNKNOWN;
    if (both(&r, a, b, &x, &y, &init) && pay(&r, x.num, y.den) && pay(&r, y.num, x.den)) {
        fmpq_mpoly_mul(x.num, x.num, y.den, r.ctx);
        fmpq_mpoly_mul(y.num, y.num, x.den, r.ctx);
        fmpq_mpoly_sub(x.num, x.num, y.num, r.ctx);
        if (reduce(&r, x.num)) res = fmpq_mpoly_is_zero(x.num, r.ctx) ? DT_YES : independent(&r) ? DT_NO : DT_UNKNOWN;
    }
    leave(&r, &x, &y, init);
    return res;
}

dt_tri dt_ans_exact_proportional(dt_ans *c, const dt_node *a, const dt_node *b, bool positive) {
    ring r = {.c = c};
    frac x, y;
    bool init = false;
    dt_tri res = DT_UNKNOWN;
    if (both(&r, a, b, &x, &y, &init) && pay(&r, x.num, y.den) && pay(&r, y.num, x.den)) {
        fmpq_mpoly_mul(x.num, x.num, y.den, r.ctx);
        fmpq_mpoly_mul(y.num, y.num, x.den, r.ctx);
        if (reduce(&r, x.num) && reduce(&r, y.num) && !fmpq_mpoly_is_zero(x.num, r.ctx) && !fmpq_mpoly_is_zero(y.num, r.ctx)) {
            fmpq_t p, q;
            fmpq_init(p);
            fmpq_init(q);
            fmpq_mpoly_get_term_coeff_fmpq(p, x.num, 0, r.ctx);
            fmpq_mpoly_get_term_coeff_fmpq(q, y.num, 0, r.ctx);
            bool same = fmpq_sgn(p) == fmpq_sgn(q);
            fmpq_mpoly_scalar_mul_fmpq(x.num, x.num, q, r.ctx);
            fmpq_mpoly_scalar_mul_fmpq(y.num, y.num, p, r.ctx);
            if (fmpq_mpoly_equal(x.num, y.num, r.ctx)) {
                res = !positive || same ? DT_YES : DT_NO;
            } else { /* another factor may be a root: only plain variables are decided */
                bool plain = true;
                for (int i = 0; i < r.n; i++)
                    plain = plain && r.names[i].free && !r.names[i].square;
                if (plain) res = DT_NO;
            }
            fmpq_clear(p);
            fmpq_clear(q);
        } else if (!c->why && fmpq_mpoly_is_zero(x.num, r.ctx) != fmpq_mpoly_is_zero(y.num, r.ctx) && independent(&r)) {
            res = DT_NO;
        }
    }
    leave(&r, &x, &y, init);
    return res;
}
