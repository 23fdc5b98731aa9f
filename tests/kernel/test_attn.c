/* Attention over pages: against double, against finite differences, every instruction set against scalar, for each
 * type of page. */
#include "kernel_test.h"

enum { MAX_PAGES = 100 };

/* Keys and values of one kv head, contiguous and in pages; what lies after the last token is NaN (as f32, as f16 and as
 * the scale of bytes), so that reading it shows. */
typedef struct cache {
    int T, E;
    dt_dtype type;
    float *k, *v; /* [T][E] */
    char *bytes;
    const void *kp[MAX_PAGES], *vp[MAX_PAGES];
} cache;

static cache cache_make(dt_dtype type, int T, int E) {
    cache c = {.T = T, .E = E, .type = type, .k = floats((size_t)T * E), .v = floats((size_t)T * E)};
    size_t half = dt_kv_half_bytes(type, E), n_pages = ROUND_UP((size_t)T, DT_KV_PAGE) / DT_KV_PAGE;
    assert_true(n_pages <= MAX_PAGES);
    c.bytes = dt_alloc_aligned(n_pages * 2 * half, 1);
    assert_non_null(c.bytes);
    memset(c.bytes, 0xff, n_pages * 2 * half);
    for (int j = 0; j < T; j++) {
        char *page = c.bytes + (size_t)(j / DT_KV_PAGE) * 2 * half;
        c.kp[j / DT_KV_PAGE] = page;
        c.vp[j / DT_KV_PAGE] = page + half;
        scalar()->kv_store(type, page, page + half, j % DT_KV_PAGE, c.k + (size_t)j * E, c.v + (size_t)j * E, E);
    }
    return c;
}

static void cache_clear(cache *c) {
    free(c->k), free(c->v), free(c->bytes);
}

static dt_attn attn_of(const cache *c, const float *q, float *o, size_t ld, const int *first, const int *n_keys, int nq,
                       int heads, float scale, float *mx, float *z) {
    return (dt_attn){.q = q,
                     .o = o,
                     .ldq = ld,
                     .ldo = ld,
                     .nq = nq,
                     .n_heads = heads,
                     .d_head = c->E,
                     .first_key = first,
                     .n_keys = n_keys,
                     .type = c->type,
                     .k = c->kp,
                     .v = c->vp,
                     .scale = scale,
                     .max_out = mx,
                     .sum_out = z};
}

static void attend(const dt_kernels *k, const cache *c, const float *q, float *o, size_t ld, const int *first,
                   const int *n_keys, int nq, int heads, float scale, float *mx, float *z) {
    dt_attn a = attn_of(c, q, o, ld, first, n_keys, nq, heads, scale, mx, z);
    a.scratch = floats(dt_attn_scratch(c->type, nq * heads, c->E));
    k->attn(&a);
    free(a.scratch);
}

/* One row in double: keys first..n-1. */
static void reference(const double *q, const double *k, const double *v, int first, int n, int E, double scale, double *o) {
    double mx = -(double)INFINITY, z = 0.0;
    for (int e = 0; e < E; e++)
        o[e] = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        for (int j = first; j < n; j++) {
            double s = 0.0;
            for (int e = 0; e < E; e++)
                s += q[e] * k[j * E + e];
            s *= scale;
            if (pass == 0) {
                mx = s > mx ? s : mx;
                continue;
            }
            double p = exp(s - mx);
            z += p;
            for (int e = 0; e < E; e++)
                o[e] += p * v[j * E + e];
        }
    }
    for (int e = 0; e < E; e++)
        o[e] = first < n ? o[e] / z : 0.0;
}

static const struct {
    const char *name;
    int T, E, nq; /* the last nq rows of a causal sequence; with `shuffle`, any numbers of keys */
    int heads;
    bool shuffle;
    int window; /* keys a row sees at most; 0 = all */
} cases[] = {
    {"one key",              1,    16,  1,  1, false, 0  },
    {"two rows",             2,    2,   2,  1, false, 0  },
    {"below a page",         15,   32,  15, 1, false, 0  },
    {"a page",               16,   64,  16, 1, false, 0  },
    {"above a page",         17,   34,  17, 1, false, 0  },
    {"odd head",             40,   18,  13, 3, false, 0  },
    {"decode",               130,  64,  1,  1, false, 0  },
    {"decode group",         100,  128, 1,  4, false, 0  },
    {"decode wide group",    100,  32,  1,  9, false, 0  },
    {"causal",               77,   48,  77, 1, false, 0  },
    {"causal group",         77,   64,  70, 2, false, 0  },
    {"wide head",            33,   100, 9,  1, false, 0  },
    {"ragged, some empty",   90,   30,  20, 1, true,  0  },
    {"ragged group",         90,   32,  20, 3, true,  0  },
    {"window of one",        40,   16,  40, 1, false, 1  },
    {"narrow window",        77,   48,  77, 2, false, 3  },
    {"window of a page",     70,   32,  70, 1, false, 16 },
    {"window",               130,  64,  60, 2, false, 33 },
    {"window not reached",   30,   18,  30, 1, false, 99 },
    {"window, decode",       130,  64,  1,  2, false, 50 },
    {"window, ragged",       90,   30,  20, 1, true,  21 },
    {"a span",               512,  32,  3,  1, false, 0  },
    {"above a span",         514,  32,  5,  2, false, 0  },
    {"three spans",          1100, 64,  19, 2, false, 0  },
    {"spans, decode",        1300, 128, 1,  2, false, 0  },
    {"spans, ragged",        1200, 34,  40, 1, true,  0  },
    {"spans, window",        1200, 32,  20, 1, false, 513},
    {"spans, short windows", 1060, 64,  90, 2, false, 20 },
};

enum { MAX_ROWS = 192 };

static bool held(dt_dtype type, size_t i) {
    return dt_kv_type_fits(type, cases[i].E);
}

static void fill_keys(int *first, int *n_keys, size_t i) {
    for (int r = 0; r < cases[i].nq; r++) {
        n_keys[r] = cases[i].shuffle ? r * 37 % (cases[i].T + 1) : cases[i].T - cases[i].nq + r + 1;
        first[r] = cases[i].window && n_keys[r] > cases[i].window ? n_keys[r] - cases[i].window : 0;
    }
}

static const dt_dtype types[] = {DT_F32, DT_F16, DT_Q8_0};

/* f16 keeps 11 bits of each key and value; q8_0 steps of 1/254 of the largest of 32 keys, values and queries. */
static void forward_is_right(void **state) {
    (void)state;
    static const double bound[] = {2e-6, 1.5e-3, 2.5e-2};
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        for (size_t i = 0; i < DT_COUNT(cases); i++) {
            int T = cases[i].T, E = cases[i].E, nq = cases[i].nq, G = cases[i].heads, n_keys[128], first[128];
            size_t ld = (size_t)E * G + 2, n = nq * ld;
            if (!held(types[t], i))
                continue;
            cache c = cache_make(types[t], T, E);
            float *q = floats(n), *o = floats(n);
            double *qd = doubles_of(q, n), *kd = doubles_of(c.k, (size_t)T * E), *vd = doubles_of(c.v, (size_t)T * E);
            float scale = 2.0f / sqrtf((float)E);
            fill_keys(first, n_keys, i);
            attend(scalar(), &c, q, o, ld, first, n_keys, nq, G, scale, NULL, NULL);
            for (int r = 0; r < nq * G; r++) {
                double want[128];
                size_t at = r / G * ld + (size_t)(r % G * E);
                reference(qd + at, kd, vd, first[r / G], n_keys[r / G], E, (double)scale, want);
                check_near(cases[i].name, o + at, want, E, bound[t]);
            }
            cache_clear(&c);
            free(q), free(o), free(qd), free(kd), free(vd);
        }
    }
}

static void forward_bits(void **state) {
    (void)state;
    const dt_kernels *k;
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        for (size_t i = 0; i < DT_COUNT(cases); i++) {
            int T = cases[i].T, E = cases[i].E, nq = cases[i].nq, G = cases[i].heads, n_keys[128], first[128];
            size_t ld = (size_t)E * G + 2, n = nq * ld;
            if (!held(types[t], i))
                continue;
            cache c = cache_make(types[t], T, E);
            float *q = floats(n), *o = floats(n), *want = copy_floats(o, n), mx[MAX_ROWS + 16] = {0}, z[MAX_ROWS + 16] = {0};
            fill_keys(first, n_keys, i);
            attend(scalar(), &c, q, want, ld, first, n_keys, nq, G, 0.3f, mx, z);
            for (int j = 0; (k = next_isa(&j));) {
                float *got = copy_floats(o, n), gmx[MAX_ROWS + 16] = {0}, gz[MAX_ROWS + 16] = {0};
                attend(k, &c, q, got, ld, first, n_keys, nq, G, 0.3f, gmx, gz);
                check_bits(cases[i].name, k, got, want, n);
                check_bits("row max", k, gmx, mx, nq * G);
                check_bits("row sum", k, gz, z, nq * G);
                /* and each row alone, as decoding does */
                for (int r = 0; r < nq; r++)
                    for (int h = 0; h < G; h++)
                        attend(k, &c, q + r * ld + h * E, got + r * ld + h * E, ld, first + r, n_keys + r, 1, 1, 0.3f, NULL,
                               NULL);
                check_bits("row alone", k, got, want, n);
                free(got);
            }
            cache_clear(&c);
            free(q), free(o), free(want);
        }
    }
}

/* Spans computed apart, in any cut, and joined: the bits of the whole. */
static void parts_join_to_the_whole(void **state) {
    (void)state;
    const dt_kernels *k;
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        for (size_t i = 0; i < DT_COUNT(cases); i++) {
            int T = cases[i].T, E = cases[i].E, nq = cases[i].nq, G = cases[i].heads, n_keys[128], first[128];
            int spans = (T + DT_ATTN_SPAN - 1) / DT_ATTN_SPAN;
            size_t ld = (size_t)E * G + 2, n = nq * ld, P = dt_attn_part(E) * (size_t)(nq * G);
            if (!held(types[t], i))
                continue;
            cache c = cache_make(types[t], T, E);
            float *q = floats(n), *o = floats(n), *want = copy_floats(o, n), mx[MAX_ROWS + 16] = {0}, z[MAX_ROWS + 16] = {0};
            fill_keys(first, n_keys, i);
            attend(scalar(), &c, q, want, ld, first, n_keys, nq, G, 0.3f, mx, z);
            for (int j = -1; (k = next_isa(&j));) {
                for (int cut = 1; cut <= spans; cut++) {
                    float *got = copy_floats(o, n), gmx[MAX_ROWS + 16] = {0}, gz[MAX_ROWS + 16] = {0};
                    float *part = floats(P * (size_t)spans);
                    dt_attn a = attn_of(&c, q, got, ld, first, n_keys, nq, G, 0.3f, gmx, gz);
                    a.scratch = floats(dt_attn_scratch(c.type, nq * G, E));
                    for (int s = spans; s > 0; s -= cut) /* from the end: the order of computing is free */
                        k->attn_spans(&a, s > cut ? s - cut : 0, s, part + (size_t)(s > cut ? s - cut : 0) * P);
                    k->attn_join(&a, spans, part);
                    check_bits(cases[i].name, k, got, want, n);
                    check_bits("row max", k, gmx, mx, nq * G);
                    check_bits("row sum", k, gz, z, nq * G);
                    free(got), free(part), free(a.scratch);
                }
            }
            cache_clear(&c);
            free(q), free(o), free(want);
        }
    }
}

/* What a page holds, against scalar byte by byte, and within the rounding that kernel.h states. */
static void storing_rounds_as_stated(void **state) {
    (void)state;
    const dt_kernels *k;
    static const int widths[] = {32, 64, 96, 128, 18, 100};
    static const float factors[] = {1.0f, 0.0f, 1e-3f, 300.0f, 1e6f, 1e-7f, 1e-9f, 1e10f};
    for (size_t t = 0; t < DT_COUNT(types); t++)
        for (size_t w = 0; w < DT_COUNT(widths); w++)
            for (size_t f = 0; f < DT_COUNT(factors); f++) {
                int E = widths[w];
                size_t half = dt_kv_half_bytes(types[t], E);
                char *want = dt_calloc(2, half), *got = dt_calloc(2, half);
                if (!dt_kv_type_fits(types[t], E)) {
                    free(want), free(got);
                    continue;
                }
                float *x = floats(2 * (size_t)E);
                for (int e = 0; e < 2 * E; e++)
                    x[e] = e % 7 == 3 ? x[e] * factors[f] * 0.0078125f : x[e] * factors[f];
                for (int slot = 0; slot < DT_KV_PAGE; slot += 5)
                    scalar()->kv_store(types[t], want, want + half, slot, x, x + E, E);
                for (int j = 0; (k = next_isa(&j));) {
                    memset(got, 0, 2 * half);
                    for (int slot = 0; slot < DT_KV_PAGE; slot += 5)
                        k->kv_store(types[t], got, got + half, slot, x, x + E, E);
                    if (memcmp(got, want, 2 * half) != 0)
                        fail_msg("%s: a page of %s, width %d, numbers of %g differs", k->name, dt_dtype_name(types[t]), E,
                                 (double)factors[f]);
                }
                free(x), free(want), free(got);
            }
}

/* ---- backward ---- */

typedef struct bwd_case {
    int T, E, vary; /* which of q, k, v the differences move */
    int window;     /* 0 = none */
    double scale;
    const double *in[3], *d_o;
} bwd_case;

static int first_of(int row, int window) {
    return window && row >= window ? row - window + 1 : 0;
}

static double weighted_output(const double *x, void *arg) {
    const bwd_case *b = arg;
    const double *in[3] = {b->in[0], b->in[1], b->in[2]};
    double sum = 0.0, o[128];
    in[b->vary] = x;
    for (int i = 0; i < b->T; i++) {
        reference(in[0] + i * b->E, in[1], in[2], first_of(i, b->window), i + 1, b->E, b->scale, o);
        for (int e = 0; e < b->E; e++)
            sum += o[e] * b->d_o[i * b->E + e];
    }
    return sum;
}

/* Forward on scalar, backward on k; grads: dq, dk, dv, [T][ld]. */
static void backward(const dt_kernels *k, const cache *c, const float *q, const float *d_o, int window,
                     float scale, float *const grads[3], size_t ld) {
    int T = c->T, E = c->E, *n_keys = dt_calloc((size_t)T, 2 * sizeof *n_keys), *first = n_keys + T;
    float *o = floats((size_t)T * E), *mx = floats(T), *z = floats(T), *scratch = floats(dt_attn_bwd_scratch(T, E));
    for (int i = 0; i < T; i++) {
        n_keys[i] = i + 1;
        first[i] = first_of(i, window);
    }
    attend(scalar(), c, q, o, E, first, n_keys, T, 1, scale, mx, z);
    dt_attn_bwd a = {.q = q,
                     .k = c->k,
                     .v = c->v,
                     .o = o,
                     .d_o = d_o,
                     .dq = grads[0],
                     .dk = grads[1],
                     .dv = grads[2],
                     .ldq = E,
                     .ldkv = E,
                     .ldo = E,
                     .lddq = ld,
                     .lddkv = ld,
                     .mx = mx,
                     .z = z,
                     .first_key = window ? first : NULL,
                     .T = T,
                     .d_head = E,
                     .scale = scale,
                     .scratch = scratch};
    k->attn_bwd(&a);
    free(n_keys), free(o), free(mx), free(z), free(scratch);
}

static void backward_is_the_gradient(void **state) {
    (void)state;
    static const int sizes[][3] = {
        {1,  4,  0},
        {5,  6,  0},
        {19, 10, 0},
        {6,  4,  1},
        {19, 6,  4},
        {40, 4,  17}
    };
    static const char *const names[] = {"dq", "dk", "dv"};
    for (size_t s = 0; s < DT_COUNT(sizes); s++) {
        int T = sizes[s][0], E = sizes[s][1], window = sizes[s][2];
        size_t n = (size_t)T * E;
        cache c = cache_make(DT_F32, T, E);
        float *q = floats(n), *d_o = floats(n), *grads[3];
        double *in[3] = {doubles_of(q, n), doubles_of(c.k, n), doubles_of(c.v, n)}, *dd = doubles_of(d_o, n);
        for (int g = 0; g < 3; g++) {
            grads[g] = floats(n);
            memset(grads[g], 0, n * sizeof(float));
        }
        backward(scalar(), &c, q, d_o, window, 0.7f, grads, E);
        for (int g = 0; g < 3; g++) {
            bwd_case b = {
                T, E, g, window, (double)0.7f, {in[0], in[1], in[2]},
                    dd
            };
            check_gradient(names[g], grads[g], in[g], n, weighted_output, &b, 2e-5);
        }
        cache_clear(&c);
        for (int g = 0; g < 3; g++)
            free(grads[g]), free(in[g]);
        free(q), free(d_o), free(dd);
    }
}

static void backward_bits(void **state) {
    (void)state;
    static const int sizes[][3] = {
        {1,   2,  0 },
        {6,   16, 0 },
        {7,   18, 0 },
        {16,  64, 0 },
        {37,  32, 0 },
        {48,  34, 0 },
        {100, 48, 0 },
        {131, 64, 0 },
        {37,  18, 1 },
        {70,  32, 5 },
        {131, 34, 16},
        {131, 64, 50},
        {50,  16, 90}
    };
    static const char *const names[] = {"dq", "dk", "dv"};
    const dt_kernels *k;
    for (size_t s = 0; s < DT_COUNT(sizes); s++) {
        int T = sizes[s][0], E = sizes[s][1], window = sizes[s][2];
        size_t ld = (size_t)E + 1, n = T * ld;
        cache c = cache_make(DT_F32, T, E);
        float *q = floats((size_t)T * E), *d_o = floats((size_t)T * E), *start[3], *want[3];
        for (int g = 0; g < 3; g++) {
            start[g] = floats(n);
            want[g] = copy_floats(start[g], n);
        }
        backward(scalar(), &c, q, d_o, window, 0.4f, want, ld);
        for (int j = 0; (k = next_isa(&j));) {
            float *got[3];
            for (int g = 0; g < 3; g++)
                got[g] = copy_floats(start[g], n);
            backward(k, &c, q, d_o, window, 0.4f, got, ld);
            for (int g = 0; g < 3; g++) {
                check_bits(names[g], k, got[g], want[g], n);
                free(got[g]);
            }
        }
        cache_clear(&c);
        for (int g = 0; g < 3; g++)
            free(start[g]), free(want[g]);
        free(q), free(d_o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_right),
        cmocka_unit_test(forward_bits),
        cmocka_unit_test(parts_join_to_the_whole),
        cmocka_unit_test(storing_rounds_as_stated),
        cmocka_unit_test(backward_is_the_gradient),
        cmocka_unit_test(backward_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
