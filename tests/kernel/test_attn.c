/* Attention over pages: against double, against finite differences, every instruction set against scalar. */
#include "kernel_test.h"

/* Keys and values of one kv head, contiguous and in pages; what lies after the last token is NaN, so that reading
 * it shows. */
typedef struct cache {
    int T, E;
    float *k, *v; /* [T][E] */
    float *k_pages, *v_pages;
    const float *kp[64], *vp[64];
} cache;

static cache cache_make(int T, int E) {
    cache c = {.T = T, .E = E, .k = floats((size_t)T * E), .v = floats((size_t)T * E)};
    size_t n = (size_t)ROUND_UP(T, DT_KV_PAGE) * E;
    assert_true(T <= 64 * DT_KV_PAGE);
    c.k_pages = floats(n);
    c.v_pages = floats(n);
    for (size_t i = 0; i < n; i++)
        c.k_pages[i] = c.v_pages[i] = NAN;
    for (int j = 0; j < T; j++) {
        for (int e = 0; e < E; e++) {
            size_t page = (size_t)(j / DT_KV_PAGE) * DT_KV_PAGE * E;
            c.k_pages[page + (size_t)e * DT_KV_PAGE + j % DT_KV_PAGE] = c.k[j * E + e];
            c.v_pages[page + (size_t)(j % DT_KV_PAGE) * E + e] = c.v[j * E + e];
        }
    }
    for (int p = 0; p * DT_KV_PAGE < T; p++) {
        c.kp[p] = c.k_pages + (size_t)p * DT_KV_PAGE * E;
        c.vp[p] = c.v_pages + (size_t)p * DT_KV_PAGE * E;
    }
    return c;
}

static void cache_clear(cache *c) {
    free(c->k), free(c->v), free(c->k_pages), free(c->v_pages);
}

static void attend(const dt_kernels *k, const cache *c, const float *q, float *o, size_t ld, const int *first, const int *n_keys,
                   int nq, float scale, float *mx, float *z) {
    float *scratch = floats((size_t)nq * ROUND_UP(c->T, 16));
    dt_attn a = {.q = q,
                 .o = o,
                 .ldq = ld,
                 .ldo = ld,
                 .nq = nq,
                 .d_head = c->E,
                 .first_key = first,
                 .n_keys = n_keys,
                 .k = c->kp,
                 .v = c->vp,
                 .scale = scale,
                 .scratch = scratch,
                 .max_out = mx,
                 .sum_out = z};
    k->attn(&a);
    free(scratch);
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
    bool shuffle;
    int window; /* keys a row sees at most; 0 = all */
} cases[] = {
    {"one key",            1,   16,  1,  false, 0 },
    {"two rows",           2,   2,   2,  false, 0 },
    {"below a page",       15,  32,  15, false, 0 },
    {"a page",             16,  64,  16, false, 0 },
    {"above a page",       17,  34,  17, false, 0 },
    {"odd head",           40,  18,  13, false, 0 },
    {"decode",             130, 64,  1,  false, 0 },
    {"decode group",       100, 128, 4,  false, 0 },
    {"causal",             77,  48,  77, false, 0 },
    {"wide head",          33,  100, 9,  false, 0 },
    {"ragged, some empty", 90,  30,  20, true,  0 },
    {"window of one",      40,  16,  40, false, 1 },
    {"narrow window",      77,  48,  77, false, 3 },
    {"window of a page",   70,  32,  70, false, 16},
    {"window",             130, 64,  60, false, 33},
    {"window not reached", 30,  18,  30, false, 99},
    {"window, decode",     130, 64,  1,  false, 50},
    {"window, ragged",     90,  30,  20, true,  21},
};

static void fill_keys(int *first, int *n_keys, size_t i) {
    for (int r = 0; r < cases[i].nq; r++) {
        n_keys[r] = cases[i].shuffle ? r * 37 % (cases[i].T + 1) : cases[i].T - cases[i].nq + r + 1;
        first[r] = cases[i].window && n_keys[r] > cases[i].window ? n_keys[r] - cases[i].window : 0;
    }
}

static void forward_is_right(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        int T = cases[i].T, E = cases[i].E, nq = cases[i].nq, n_keys[128], first[128];
        size_t ld = (size_t)E + 2, n = nq * ld;
        cache c = cache_make(T, E);
        float *q = floats(n), *o = floats(n);
        double *qd = doubles_of(q, n), *kd = doubles_of(c.k, (size_t)T * E), *vd = doubles_of(c.v, (size_t)T * E);
        float scale = 2.0f / sqrtf((float)E);
        fill_keys(first, n_keys, i);
        attend(scalar(), &c, q, o, ld, first, n_keys, nq, scale, NULL, NULL);
        for (int r = 0; r < nq; r++) {
            double want[128];
            reference(qd + r * ld, kd, vd, first[r], n_keys[r], E, (double)scale, want);
            check_near(cases[i].name, o + r * ld, want, E, 2e-6);
        }
        cache_clear(&c);
        free(q), free(o), free(qd), free(kd), free(vd);
    }
}

static void forward_bits(void **state) {
    (void)state;
    const dt_kernels *k;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        int T = cases[i].T, E = cases[i].E, nq = cases[i].nq, n_keys[128], first[128];
        size_t ld = (size_t)E + 2, n = nq * ld;
        cache c = cache_make(T, E);
        float *q = floats(n), *o = floats(n), *want = copy_floats(o, n), mx[144] = {0}, z[144] = {0};
        fill_keys(first, n_keys, i);
        attend(scalar(), &c, q, want, ld, first, n_keys, nq, 0.3f, mx, z);
        for (int j = 0; (k = next_isa(&j));) {
            float *got = copy_floats(o, n), gmx[144] = {0}, gz[144] = {0};
            attend(k, &c, q, got, ld, first, n_keys, nq, 0.3f, gmx, gz);
            check_bits(cases[i].name, k, got, want, n);
            check_bits("row max", k, gmx, mx, nq);
            check_bits("row sum", k, gz, z, nq);
            /* and each row alone, as decoding does */
            for (int r = 0; r < nq; r++)
                attend(k, &c, q + r * ld, got + r * ld, ld, first + r, n_keys + r, 1, 0.3f, NULL, NULL);
            check_bits("row alone", k, got, want, n);
            free(got);
        }
        cache_clear(&c);
        free(q), free(o), free(want);
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
    attend(scalar(), c, q, o, E, first, n_keys, T, scale, mx, z);
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
        cache c = cache_make(T, E);
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
        cache c = cache_make(T, E);
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
        cmocka_unit_test(backward_is_the_gradient),
        cmocka_unit_test(backward_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
