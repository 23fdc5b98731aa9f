/* Floats to blocks of quantised elements.
 *
 * Every type is a grid x ~ d q (symmetric) or x ~ d q - m, and a block is found in the same way: for a row of candidate
 * steps, round x to the grid, fit d (and m) to the rounded numbers by weighted least squares, keep the candidate with
 * the least weighted error. The K types then round the d and m of their runs to a few bits, look whether a neighbouring
 * number is better, fit the block's own d and dmin once more, and round x for the last time with what the file will
 * hold. */
#include "tensor/quant.h"

#include <math.h>
#include <string.h>

/* Four floats side by side: GCC and Clang make the instructions of any processor from it, where loops over sums would
 * be left to run one by one. */
typedef float v4 __attribute__((vector_size(16)));
typedef int32_t v4i __attribute__((vector_size(16)));

static inline v4 load(const float *p) {
    v4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline v4 all(float x) {
    return (v4){x, x, x, x};
}

static inline float sum(v4 v) {
    return (v[0] + v[2]) + (v[1] + v[3]);
}

/* To the nearest whole number, ties to even; for |x| < 2^22. */
static inline v4 near4(v4 x) {
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline v4 clamp4(v4 x, v4 lo, v4 hi) {
    const v4i below = x<lo, above = x> hi;
    x = (v4)(((v4i)x & ~below) | ((v4i)lo & below));
    return (v4)(((v4i)x & ~above) | ((v4i)hi & above));
}

static inline float near(float x) {
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline float clamp(float x, float lo, float hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

static float put_half(uint8_t b[2], float x) {
    const uint16_t h = dt_f32_to_f16(clamp(x, -65504, 65504)); /* never infinite */
    b[0] = (uint8_t)h;
    b[1] = (uint8_t)(h >> 8);
    return dt_f16_to_f32(h);
}

/* 1/d for rounding; 0 where d is 0 or so small that its inverse is infinite: all q become 0. */
static float inverse(float d) {
    const float inv = 1.0f / d;
    return d != 0.0f && fabsf(inv) < 0x1p126f ? inv : 0.0f;
}

/* ---- fits of one run of n <= 32 numbers ---- */

/* Large numbers matter more: w = root mean square + |x|. */
static void weigh(const float *x, int n, float *w) {
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    const float rms = sqrtf(sum / (float)n);
    for (int i = 0; i < n; i++)
        w[i] = rms + fabsf(x[i]);
}

static float extreme(const float *x, int n) {
    float e = 0;
    for (int i = 0; i < n; i++)
        e = fabsf(x[i]) > fabsf(e) ? x[i] : e;
    return e;
}

/* x ~ d q with q in lo..hi: the d with which the extreme lies at one of the candidate places on the grid. */
static float fit_scale(const float *x, const float *w, int n, float lo, float hi, const float *place, int n_place) {
    const float e = extreme(x, n);
    float best = 0, d = 0;
    if (e == 0.0f || inverse(e) == 0.0f)
        return 0;
    for (int k = 0; k < n_place; k++) {
        const float inv = place[k] / e;
        v4 sxq = all(0), sqq = all(0);
        for (int i = 0; i < n; i += 4) {
            const v4 v = load(x + i), q = clamp4(near4(v * inv), all(lo), all(hi)), wq = load(w + i) * q;
            sxq += wq * v;
            sqq += wq * q;
        }
        const float xq = sum(sxq), qq = sum(sqq);
        if (qq > 0 && xq * xq > best * qq) { /* the error is sum w x^2 - xq^2 / qq */
            best = xq * xq / qq;
            d = xq / qq;
        }
    }
    return d;
}

typedef struct fit {
    float d, m, err;
} fit;

/* Weighted error of x ~ d q - m with q in 0..top rounded for this d and m. */
static inline float error_of(const float *x, const float *w, int n, float top, float d, float m) {
    const v4 inv = all(inverse(d)), zero = all(0), most = all(top);
    v4 err = zero;
    for (int i = 0; i < n; i += 4) {
        const v4 v = load(x + i), q = clamp4(near4((v + m) * inv), zero, most), e = q * d - m - v;
        err += load(w + i) * e * e;
    }
    return sum(err);
}

/* The best d and m for the q that f->d and f->m give; m stays from 0 where `positive`. s, sx: the sums of w and w x. */
static inline fit improve(const float *x, const float *w, int n, float top, const fit *f, float s, float sx,
                          bool positive) {
    const v4 inv = all(inverse(f->d)), zero = all(0), most = all(top);
    v4 q1 = zero, q2 = zero, qx = zero;
    for (int i = 0; i < n; i += 4) {
        const v4 v = load(x + i), q = clamp4(near4((v + f->m) * inv), zero, most), wq = load(w + i) * q;
        q1 += wq;
        q2 += wq * q;
        qx += wq * v;
    }
    const float sq = sum(q1), sqq = sum(q2), sxq = sum(qx), det = s * sqq - sq * sq;
    fit next = *f;
    if (det > 0) {
        next.d = (s * sxq - sx * sq) / det;
        next.m = (sq * sxq - sqq * sx) / det;
    }
    if (positive && next.m < 0) {
        next.m = 0;
        next.d = sqq > 0 ? sxq / sqq : 0;
    }
    if (next.d < 0)
        next = *f;
    next.err = error_of(x, w, n, top, next.d, next.m);
    return next;
}

/* x ~ d q - m with q in 0..top. */
static fit fit_range(const float *x, const float *w, int n, int top, bool positive) {
    enum { STEPS = 10 };
    float lo = x[0], hi = x[0];
    for (int i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (positive && lo > 0)
        lo = 0;
    if (hi <= lo) /* all equal: q is 0 */
        return (fit){.m = -lo};
    float s = 0, sx = 0;
    for (int i = 0; i < n; i++) {
        s += w[i];
        sx += w[i] * x[i];
    }
    fit best = {.d = (hi - lo) / (float)top, .m = -lo};
    best.err = error_of(x, w, n, (float)top, best.d, best.m);
    for (int k = -STEPS; k <= STEPS; k++) {
        const fit from = {.d = (hi - lo) / ((float)top + (float)k * (1.0f / STEPS)), .m = -lo};
        const fit f = improve(x, w, n, (float)top, &from, s, sx, positive);
        if (f.err < best.err)
            best = f;
    }
    for (int again = 0; again < 3; again++) {
        const fit f = improve(x, w, n, (float)top, &best, s, sx, positive);
        if (!(f.err < best.err))
            break;
        best = f;
    }
    return best;
}

/* ---- 32 elements ---- */

static void put_nibbles(uint8_t qs[16], const uint8_t q[32]) {
    for (int i = 0; i < 16; i++)
        qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
}

static void put_fifths(uint8_t qh[4], const uint8_t q[32]) {
    memset(qh, 0, 4);
    for (int i = 0; i < 32; i++)
        qh[i / 8] = (uint8_t)(qh[i / 8] | (q[i] >> 4 & 1) << (i % 8));
}

static void place_all(uint8_t *q, const float *x, int n, float d, float m, float add, float top) {
    const float inv = inverse(d);
    for (int i = 0; i < n; i++)
        q[i] = (uint8_t)clamp(near((x[i] + m) * inv) + add, 0, top);
}

/* Symmetric types of 4 and 5 bits, zero at `zero`. The extreme is tried at every place from half of the range on (so
 * that numbers that lie on a grid already are found again) and at some between and beyond. */
static float symmetric(const float *x, float zero, uint8_t d[2], uint8_t q[32]) {
    float w[32], place[96];
    int n = 0;
    for (int i = 0; (float)i <= zero / 2; i++) {
        const float p = zero / 2 + (float)i;
        place[n++] = -p;
        if (p < zero)
            place[n++] = p;
    }
    for (int k = -8; k <= 8; k++) {
        place[n++] = -(zero + (float)k * 0.1f);
        place[n++] = zero - 1 + (float)k * 0.1f;
    }
    for (int i = 0; i < 32; i++)
        w[i] = 1;
    const float scale = put_half(d, fit_scale(x, w, 32, -zero, zero - 1, place, n));
    place_all(q, x, 32, scale, 0, zero, 2 * zero - 1);
    return scale;
}

static void to_q4_0(const float *x, void *block) {
    dt_q4_0 *b = block;
    uint8_t q[32];
    symmetric(x, 8, b->d, q);
    put_nibbles(b->qs, q);
}

static void to_q5_0(const float *x, void *block) {
    dt_q5_0 *b = block;
    uint8_t q[32];
    symmetric(x, 16, b->d, q);
    put_nibbles(b->qs, q);
    put_fifths(b->qh, q);
}

static void ranged(const float *x, int top, uint8_t d[2], uint8_t m[2], uint8_t q[32]) {
    float w[32];
    for (int i = 0; i < 32; i++)
        w[i] = 1;
    const fit f = fit_range(x, w, 32, top, false);
    const float scale = put_half(d, f.d), least = put_half(m, -f.m);
    place_all(q, x, 32, scale, -least, 0, (float)top);
}

static void to_q4_1(const float *x, void *block) {
    dt_q4_1 *b = block;
    uint8_t q[32];
    ranged(x, 15, b->d, b->m, q);
    put_nibbles(b->qs, q);
}

static void to_q5_1(const float *x, void *block) {
    dt_q5_1 *b = block;
    uint8_t q[32];
    ranged(x, 31, b->d, b->m, q);
    put_nibbles(b->qs, q);
    put_fifths(b->qh, q);
}

static void to_q8_0(const float *x, void *block) {
    dt_q8_0 *b = block;
    const float d = put_half(b->d, fabsf(extreme(x, 32)) / 127), inv = inverse(d);
    for (int i = 0; i < 32; i++)
        b->qs[i] = (int8_t)clamp(near(x[i] * inv), -127, 127);
}

/* ---- K types with a minimum: 8 runs of 32, scale and minimum of 6 bits ---- */

typedef struct k_runs {
    float d, dmin; /* as the file has them */
    int sc[8], mn[8];
    float err;
} k_runs;

static float run_error(const float *x, const float *w, float top, const k_runs *k, int r, int sc, int mn) {
    return error_of(x + 32 * r, w + 32 * r, 32, top, k->d * (float)sc, k->dmin * (float)mn);
}

/* For d and dmin as they are: rounds each run's fit, then moves to a neighbouring pair while that is better. */
static void choose_runs(const float *x, const float *w, float top, const fit *f, k_runs *k) {
    const float inv_d = inverse(k->d), inv_m = inverse(k->dmin);
    k->err = 0;
    for (int r = 0; r < 8; r++) {
        int sc = (int)clamp(near(f[r].d * inv_d), 0, 63), mn = (int)clamp(near(f[r].m * inv_m), 0, 63);
        float best = run_error(x, w, top, k, r, sc, mn);
        const int at_sc = sc, at_mn = mn;
        for (int i = -1; i <= 1; i++) {
            for (int j = -1; j <= 1; j++) {
                const int a = at_sc + i, b = at_mn + j;
                if ((!i && !j) || a < 0 || a > 63 || b < 0 || b > 63)
                    continue;
                const float err = run_error(x, w, top, k, r, a, b);
                if (err < best) {
                    best = err;
                    sc = a;
                    mn = b;
                }
            }
        }
        k->sc[r] = sc;
        k->mn[r] = mn;
        k->err += best;
    }
}

/* d and dmin that fit the chosen numbers best: least squares of x ~ d (sc q) - dmin mn over the whole block. */
static void refit(const float *x, const float *w, float top, k_runs *k) {
    double aa = 0, bb = 0, ab = 0, ax = 0, bx = 0;
    for (int r = 0; r < 8; r++) {
        const float inv = inverse(k->d * (float)k->sc[r]), m = k->dmin * (float)k->mn[r];
        v4 q1 = all(0), q2 = all(0), qx = all(0), s1 = all(0), s2 = all(0);
        for (int i = 32 * r; i < 32 * r + 32; i += 4) {
            const v4 v = load(x + i), u = load(w + i), q = clamp4(near4((v + m) * inv), all(0), all(top));
            q1 += u * q;
            q2 += u * q * q;
            qx += u * v * q;
            s1 += u;
            s2 += u * v;
        }
        const float qq = sum(q2), sq = sum(q1), sw = sum(s1), xq = sum(qx), sx = sum(s2);
        const double sc = k->sc[r], mn = k->mn[r];
        aa += sc * sc * (double)qq;
        ab += sc * mn * (double)sq;
        bb += mn * mn * (double)sw;
        ax += sc * (double)xq;
        bx += mn * (double)sx;
    }
    const double det = aa * bb - ab * ab;
    if (det > 1e-9 * aa * bb) { /* aa d - ab dmin = ax, ab d - bb dmin = bx */
        k->d = (float)((bb * ax - ab * bx) / det);
        k->dmin = (float)((ab * ax - aa * bx) / det);
    } else if (aa > 0) {
        k->d = (float)(ax / aa);
    }
}

static void fit_k(const float *x, int top, k_runs *k, uint8_t d[2], uint8_t dmin[2], uint8_t q[256]) {
    float w[256], max_d = 0, max_m = 0;
    fit f[8];
    for (int r = 0; r < 8; r++) {
        weigh(x + 32 * r, 32, w + 32 * r);
        f[r] = fit_range(x + 32 * r, w + 32 * r, 32, top, true);
        max_d = fmaxf(max_d, f[r].d);
        max_m = fmaxf(max_m, f[r].m);
    }
    k->d = put_half(d, max_d / 63);
    k->dmin = put_half(dmin, max_m / 63);
    choose_runs(x, w, (float)top, f, k);
    for (int again = 0; again < 2; again++) {
        k_runs other = *k;
        uint8_t its_d[2], its_dmin[2];
        refit(x, w, (float)top, &other);
        other.d = put_half(its_d, other.d);
        other.dmin = put_half(its_dmin, other.dmin);
        if (!(other.d >= 0) || !(other.dmin >= 0))
            break;
        choose_runs(x, w, (float)top, f, &other);
        if (other.err >= k->err)
            break;
        *k = other;
        memcpy(d, its_d, 2);
        memcpy(dmin, its_dmin, 2);
    }
    for (int r = 0; r < 8; r++)
        place_all(q + 32 * r, x + 32 * r, 32, k->d * (float)k->sc[r], k->dmin * (float)k->mn[r], 0, (float)top);
}

/* The other way of dt_q4_k_scale. */
static void put_k_scales(uint8_t s[12], const k_runs *k) {
    for (int r = 0; r < 4; r++) {
        s[r] = (uint8_t)(k->sc[r] | k->sc[r + 4] >> 4 << 6);
        s[r + 4] = (uint8_t)(k->mn[r] | k->mn[r + 4] >> 4 << 6);
        s[r + 8] = (uint8_t)((k->sc[r + 4] & 15) | (k->mn[r + 4] & 15) << 4);
    }
}

static void put_k_nibbles(uint8_t qs[128], const uint8_t q[256]) {
    for (int h = 0; h < 4; h++)
        for (int l = 0; l < 32; l++)
            qs[32 * h + l] = (uint8_t)((q[64 * h + l] & 15) | (q[64 * h + 32 + l] & 15) << 4);
}

static void to_q4_k(const float *x, void *block) {
    dt_q4_k *b = block;
    uint8_t q[256];
    k_runs k;
    fit_k(x, 15, &k, b->d, b->dmin, q);
    put_k_scales(b->scales, &k);
    put_k_nibbles(b->qs, q);
}

static void to_q5_k(const float *x, void *block) {
    dt_q5_k *b = block;
    uint8_t q[256];
    k_runs k;
    fit_k(x, 31, &k, b->d, b->dmin, q);
    put_k_scales(b->scales, &k);
    put_k_nibbles(b->qs, q);
    memset(b->qh, 0, sizeof b->qh);
    for (int i = 0; i < 256; i++)
        b->qh[i % 32] = (uint8_t)(b->qh[i % 32] | (q[i] >> 4) << (i / 32));
}

/* ---- Q6_K: 16 runs of 16, scales of 8 bits ---- */

static float run6_error(const float *x, const float *w, float d) {
    const v4 inv = all(inverse(d));
    v4 err = all(0);
    for (int i = 0; i < 16; i += 4) {
        const v4 v = load(x + i), e = clamp4(near4(v * inv), all(-32), all(31)) * d - v;
        err += load(w + i) * e * e;
    }
    return sum(err);
}

static float choose_scales(const float *x, const float *w, const float *run, float d, int8_t sc[16]) {
    const float inv = inverse(d);
    float total = 0;
    for (int r = 0; r < 16; r++) {
        const int at = (int)clamp(near(run[r] * inv), -128, 127);
        float best = INFINITY;
        for (int s = at - 1; s <= at + 1; s++) {
            const float err = s < -128 || s > 127 ? INFINITY : run6_error(x + 16 * r, w + 16 * r, d * (float)s);
            if (err < best) {
                best = err;
                sc[r] = (int8_t)s;
            }
        }
        total += best;
    }
    return total;
}

static void to_q6_k(const float *x, void *block) {
    static const float place[] = {-32,     -31,     31,     -30,     30,     -32.75f, -32.5f,
                                  -32.25f, -31.75f, -31.5f, -31.25f, 31.25f, 31.5f,   30.5f};
    dt_q6_k *b = block;
    float w[256], run[16];
    for (int r = 0; r < 16; r++) {
        weigh(x + 16 * r, 16, w + 16 * r);
        run[r] = fit_scale(x + 16 * r, w + 16 * r, 16, -32, 31, place, DT_COUNT(place));
    }
    float d = put_half(b->d, extreme(run, 16) / -128);
    float err = choose_scales(x, w, run, d, b->scales);
    for (int again = 0; again < 2; again++) { /* the d that fits the chosen numbers best, if that is better */
        double xq = 0, qq = 0;
        int8_t sc[16];
        uint8_t half[2];
        for (int i = 0; i < 256; i++) {
            const int r = i / 16;
            const float s = (float)b->scales[r], q = s * clamp(near(x[i] * inverse(d * s)), -32, 31);
            xq += (double)(w[i] * x[i] * q);
            qq += (double)(w[i] * q * q);
        }
        const float other = put_half(half, qq > 0 ? (float)(xq / qq) : 0);
        const float its_err = choose_scales(x, w, run, other, sc);
        if (!(its_err < err))
            break;
        d = other;
        err = its_err;
        memcpy(b->d, half, 2);
        memcpy(b->scales, sc, sizeof sc);
    }
    memset(b->ql, 0, sizeof b->ql);
    memset(b->qh, 0, sizeof b->qh);
    for (int i = 0; i < 256; i++) {
        const int h = i / 128, j = i % 128 / 32, l = i % 32, r = i / 16;
        const int q = (int)clamp(near(x[i] * inverse(d * (float)b->scales[r])), -32, 31) + 32;
        uint8_t *low = &b->ql[64 * h + 32 * (j % 2) + l], *high = &b->qh[32 * h + l];
        *low = (uint8_t)(*low | (q & 15) << (j < 2 ? 0 : 4));
        *high = (uint8_t)(*high | (q >> 4) << (2 * j));
    }
}

/* ---- all types ---- */

static void (*const writers[DT_N_DTYPES])(const float *, void *) = {
    [DT_Q4_0] = to_q4_0, [DT_Q4_1] = to_q4_1, [DT_Q5_0] = to_q5_0, [DT_Q5_1] = to_q5_1,
    [DT_Q8_0] = to_q8_0, [DT_Q4_K] = to_q4_k, [DT_Q5_K] = to_q5_k, [DT_Q6_K] = to_q6_k,
};

bool dt_quant_can_write(dt_dtype t) {
    return t == DT_F32 || t == DT_F16 || t == DT_BF16 || writers[t];
}

void dt_quant_from_f32(dt_dtype t, const float *src, void *dst, size_t n) {
    const size_t block = dt_dtype_block(t), size = dt_dtype_size(t);
    uint8_t *p = dst;
    if (t == DT_F32) {
        memcpy(dst, src, n * sizeof *src);
        return;
    }
    if (t == DT_F16 || t == DT_BF16) {
        for (size_t i = 0; i < n; i++) {
            const uint16_t h = t == DT_F16 ? dt_f32_to_f16(src[i]) : dt_f32_to_bf16(src[i]);
            memcpy(p + 2 * i, &h, 2);
        }
        return;
    }
    for (size_t i = 0; i < n; i += block, p += size)
        writers[t](src + i, p);
}
