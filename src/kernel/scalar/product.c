/* Products with packed weights, one output of one row after the other: the specification of packed.h. */
#include "kernel/layout.h"
#include "kernel/scalar/scalar.h"

#include <math.h>

/* One output's view of a block, and one row's view of the activations: `at` is its number among the R of the tile. */
typedef struct weight {
    dt_dtype type;
    const uint8_t *block;
    size_t words; /* where they begin in a block */
    int n;        /* 0..31 */
} weight;
typedef struct row {
    const uint32_t *at;
    int R;
} row;

static unsigned word_byte(const weight *w, int word, int b) {
    return w->block[w->words + (size_t)(word * DT_WORD_BYTES + w->n * 4 + b)];
}

static float half_at(const weight *w, size_t field) {
    uint16_t h;
    memcpy(&h, w->block + field + 2 * w->n, sizeof h);
    return dt_f16_to_f32(h);
}

/* The stored number of element k of the block, nothing taken off. */
static int stored(const weight *w, int k) {
    const int runs = w->type == DT_Q4_K || w->type == DT_Q5_K ? 2 : 4; /* of a part */
    const int r = k / 32, h = r / runs, j = r % runs, g = k % 32 / 4, b = k % 4;
    const unsigned low = word_byte(w, dt_word_low(w->type, h, j, g), b), high = word_byte(w, dt_word_high(w->type, h, g), b);
    switch (w->type) {
    case DT_Q8_0: return (int)low;
    case DT_Q4_K: return (int)(low >> (4 * j) & 15);
    case DT_Q5_K: return (int)((low >> (4 * j) & 15) | (high >> (2 * (g % 4) + j) & 1) << 4);
    case DT_Q2_K: return (int)(low >> (2 * j) & 3);
    case DT_Q3_K: return (int)((low >> (2 * j) & 3) | (high >> (4 * (g % 2) + j) & 1) << 2);
    case DT_Q6_K: return (int)((low >> (4 * (j / 2)) & 15) | (high >> (2 * j) & 3) << 4);
    case DT_Q5_0:
    case DT_Q5_1: return (int)((low >> (g < 4 ? 0 : 4) & 15) | (high >> g & 1) << 4);
    default: return (int)(low >> (g < 4 ? 0 : 4) & 15); /* Q4_0, Q4_1 */
    }
}

static float as_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static int activation(const row *x, int k) {
    return (int8_t)(x->at[k / 4 * x->R] >> (8 * (k % 4)));
}

static int run_dot(const weight *w, const row *x, int k0, int n, int offset) {
    int dot = 0;
    for (int k = k0; k < k0 + n; k++)
        dot += (stored(w, k) - offset) * activation(x, k);
    return dot;
}

static float block_32(const weight *w, const row *x, const dt_layout *l, float acc) {
    const size_t d = dt_layout_d(l);
    const int dot = run_dot(w, x, 0, DT_QK, l->offset);
    acc = fmaf((float)dot, half_at(w, d) * as_float(x->at[8 * x->R]), acc);
    return l->has_m ? fmaf(half_at(w, d + DT_HALF_BYTES), as_float(x->at[10 * x->R]), acc) : acc;
}

static float block_256(const weight *w, const row *x, const dt_layout *l, float acc) {
    const size_t d = dt_layout_d(l), sc = d + (size_t)(1 + l->has_m) * DT_HALF_BYTES, mn = sc + (size_t)l->sc * DT_HALF_BYTES;
    const float s = as_float(x->at[64 * x->R]);
    int dots = 0, mins = 0;
    for (int r = 0; r < DT_QK_K / l->run; r++) {
        const size_t at = (size_t)(r / 2) * DT_HALF_BYTES + (size_t)(2 * w->n + r % 2);
        int scale = w->block[sc + at], min = l->mn ? w->block[mn + at] : 0, sum = 0;
        if (w->type == DT_Q2_K) {
            min = scale >> 4;
            scale &= 15;
        } else if (!l->has_m && scale > 127) {
            scale -= 256;
        }
        for (int k = r * l->run; k < (r + 1) * l->run; k++)
            sum += activation(x, k);
        dots += scale * run_dot(w, x, r * l->run, l->run, l->offset);
        mins += min * sum;
    }
    acc = fmaf((float)dots, half_at(w, d) * s, acc);
    return l->has_m ? fmaf(-(float)mins, half_at(w, d + DT_HALF_BYTES) * s, acc) : acc;
}

/* fma as the bfloat16 instructions do it: below 2^-126 is 0, before and (judged after rounding to 24 bits) after. */
static float flush(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}
float dt_fma_flushed(float x, float y, float z) {
    x = flush(x), y = flush(y), z = flush(z);
    const double wide = (double)x * (double)y + (double)z; /* the product of two bfloat16 is exact */
    if (wide != 0 && fabs(wide) < 0x1p-126 * (1 - 0x1p-25)) return copysignf(0.0f, wide < 0 ? -1.0f : 1.0f);
    return fmaf(x, y, z);
}

static float pair_bf16(const weight *w, const row *x, float acc) {
    uint32_t v, a = x->at[0];
    memcpy(&v, w->block + w->n * 4, sizeof v);
    acc = dt_fma_flushed(as_float(a & 0xffff0000u), as_float(v & 0xffff0000u), acc);
    return dt_fma_flushed(as_float(a << 16), as_float(v << 16), acc);
}

static float pair_exact(const weight *w, const row *x, bool both, float acc) {
    uint32_t v;
    memcpy(&v, w->block + w->n * 4, sizeof v);
    acc = fmaf(as_float(x->at[0]), as_float(v << 16), acc);
    return both ? fmaf(as_float(x->at[x->R]), as_float(v & 0xffff0000u), acc) : acc;
}

static float output(const dt_packed *w, int n, row x, dt_act_form form, float acc) {
    const dt_layout l = dt_layout_of(w->type);
    const size_t blocks = ((size_t)w->K + (size_t)l.elems - 1) / (size_t)l.elems;
    weight v = {w->type, (const uint8_t *)w->data + (size_t)(n / DT_NR) * blocks * l.size, dt_layout_words(&l), n % DT_NR};
    const size_t step = dt_act_words(form, l.elems) * (size_t)x.R;
    for (size_t b = 0; b < blocks; b++, v.block += l.size, x.at += step) {
        if (l.elems == DT_QK_K)
            acc = block_256(&v, &x, &l, acc);
        else if (l.elems == DT_QK)
            acc = block_32(&v, &x, &l, acc);
        else if (w->type == DT_F16)
            acc = fmaf(as_float(x.at[0]), half_at(&v, 0), acc);
        else if (form == DT_ACT_BF16)
            acc = pair_bf16(&v, &x, acc);
        else
            acc = pair_exact(&v, &x, 2 * b + 1 < (size_t)w->K, acc);
    }
    return acc;
}

void dt_scalar_product(const dt_product_part *p, int t0, int t1, size_t p0, size_t p1) {
    const dt_acts *a = p->a;
    const int tiles = dt_act_tiles(a->M, a->tile_rows);
    const int n0 = (int)p0 * DT_NR, n1 = p1 * DT_NR < (size_t)p->w->N ? (int)p1 * DT_NR : p->w->N;
    for (int t = t0; t < t1; t++) {
        const int m0 = dt_act_row(a->M, tiles, t), m1 = dt_act_row(a->M, tiles, t + 1);
        for (int m = m0; m < m1; m++) {
            const row x = {a->data + (size_t)m0 * dt_act_words(a->form, a->K) + (m - m0), m1 - m0};
            float *c = p->c + (size_t)m * p->ldc;
            for (int n = n0; n < n1; n++)
                c[n] = output(p->w, n, x, a->form, p->accumulate ? c[n] : 0.0f);
        }
    }
}

double dt_scalar_int8_burst(size_t n, float *sink) {
    int a[16] = {0};
    for (size_t i = 0; i < n; i++)
        for (int l = 0; l < 16; l++)
            a[l] += (int8_t)(i + (size_t)l) * (int8_t)i;
    for (int l = 0; l < 16; l++)
        *sink += (float)(a[l] & 1);
    return 16 * 2.0 * (double)n;
}

double dt_scalar_bf16_burst(size_t n, float *sink) {
    const size_t steps = n / 16;
    float acc = *sink;
    for (size_t i = 0; i < steps; i++)
        acc = dt_fma_flushed(0.5f, 0.25f, acc);
    *sink += acc;
    return 2.0 * (double)steps;
}
