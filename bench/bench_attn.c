/* Attention at real sizes, as the inference walk runs it: the share of the memory rate that decoding reaches, and of the
 * multiply-add rate that reading a prompt reaches. Usage: bench_attn [threads] [seconds a row] [heads kv-heads width] */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS = 28, CHUNK = 512, MAX_KEYS = 32768 };

static double budget = 0.3;
static int heads = 16, kv_heads = 8, width = 128;

static duet_model *make_model(void) {
    char config[1024];
    duet_model *m = NULL;
    duet_err err;
    int n = snprintf(config, sizeof config,
                     "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":32,\"num_hidden_layers\":%d,"
                     "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"head_dim\":%d,\"intermediate_size\":32,"
                     "\"vocab_size\":64,\"max_position_embeddings\":%d,\"rms_norm_eps\":1e-6,\"rope_theta\":10000,"
                     "\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\",\"eos_token_id\":1}",
                     LAYERS, heads, kv_heads, width, MAX_KEYS);
    if (duet_model_new(config, (size_t)n, 1, &m, &err)) {
        fprintf(stderr, "bench_attn: %s\n", err.text);
        exit(1);
    }
    return m;
}

static float *random_floats(size_t n) {
    dt_rng rng = dt_rng_make(1, n);
    float *p = dt_alloc_aligned(n, sizeof *p);
    if (!p)
        exit(1);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)dt_rng_uniform(&rng) * 2.0f - 1.0f;
    return p;
}

/* One sequence of n tokens in neighbouring pages; all pages hold the same random numbers. */
static dt_kv *make_kv(dt_dtype type, int layers, int n, dt_kv_seq *seq) {
    dt_kv *kv = NULL;
    duet_err err;
    if (dt_kv_create(type, layers, kv_heads, width, n / DT_KV_PAGE + 1, &kv, &err) || dt_kv_grow(kv, seq, n, &err)) {
        fprintf(stderr, "bench_attn: %s\n", err.text);
        exit(1);
    }
    size_t half = dt_kv_half_bytes(type, width);
    char *one = dt_calloc(2, half);
    float *x = random_floats(2 * (size_t)width * DT_KV_PAGE);
    for (int slot = 0; slot < DT_KV_PAGE; slot++)
        dt_kernels_get()->kv_store(type, one, one + half, slot, x + 2 * slot * width, x + (2 * slot + 1) * width, width);
    for (int l = 0; l < layers; l++)
        for (int p = 0; p < seq->n_pages; p++)
            for (int h = 0; h < kv_heads; h++) {
                memcpy(dt_kv_k(kv, seq->pages[p], l, h), one, half);
                memcpy(dt_kv_v(kv, seq->pages[p], l, h), one + half, half);
            }
    free(one);
    free(x);
    return kv;
}

/* Seconds a layer of n_new tokens at the end of n_keys takes, the best of the runs in the budget. */
static double seconds_of(const duet_model *m, dt_pool *pool, dt_kv *kv, const dt_kv_seq *seq, int layers, int n_keys, int n_new) {
    dt_attend *x = NULL;
    size_t W = (size_t)((heads + 2 * kv_heads) * width);
    float *rot = random_floats(W * (size_t)n_new), *out = random_floats((size_t)(heads * width) * (size_t)n_new);
    dt_infer_seq run = {.n = n_new, .pos0 = n_keys - n_new, .pages = seq->pages};
    int row0 = 0;
    double best = 1e30, end = dt_now() + budget;
    if (dt_attend_create(m, pool, &x, NULL) || dt_attend_plan(x, kv, &run, &row0, 1, NULL))
        exit(1);
    do {
        double t0 = dt_now();
        for (int l = 0; l < layers; l++)
            dt_attend_run(x, l, rot, out);
        double s = (dt_now() - t0) / layers;
        best = s < best ? s : best;
    } while (dt_now() < end);
    dt_attend_destroy(x);
    free(rot);
    free(out);
    return best;
}

int main(int argc, char **argv) {
    static const dt_dtype types[] = {DT_F32, DT_F16, DT_Q8_0};
    static const int keys[] = {512, 4096, 16384, 32768};
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    dt_pool *pool = NULL;

    if (argc > 2)
        budget = atof(argv[2]);
    if (argc > 5) {
        heads = atoi(argv[3]);
        kv_heads = atoi(argv[4]);
        width = atoi(argv[5]);
    }
    if (threads > 1 && dt_pool_create(threads, &pool, NULL))
        return 1;
    duet_model *m = make_model();
    printf("kernel %s, %d threads, %d query heads, %d kv heads, width %d\n", dt_kernels_get()->name, threads, heads, kv_heads, width);
    for (size_t t = 0; t < DT_COUNT(types); t++)
        for (size_t i = 0; i < DT_COUNT(keys); i++) {
            dt_kv_seq seq = {0};
            size_t each = dt_kv_page_bytes(types[t], 1, kv_heads, width) / DT_KV_PAGE * (size_t)keys[i];
            int layers = each * LAYERS > (size_t)1 << 30 ? (int)(((size_t)1 << 30) / each) : LAYERS;
            dt_kv *kv = make_kv(types[t], layers, keys[i], &seq);
            double memory = dt_peak_bandwidth(pool, 0.2), s = seconds_of(m, pool, kv, &seq, layers, keys[i], 1);
            double after = dt_peak_bandwidth(pool, 0.2); /* it may change within a run */
            memory = after < memory ? after : memory;
            printf("%-5s %5d keys: decode %6.1f GB/s, %5.1f %% of %.1f", dt_dtype_name(types[t]), keys[i], (double)each / s * 1e-9,
                   100 * (double)each / s / memory, memory * 1e-9);
            double peak = dt_peak_flops(pool, 0.1), before = keys[i] - CHUNK, pairs = CHUNK * before + CHUNK * (CHUNK + 1) / 2.0;
            double rate = 4.0 * pairs * heads * width / seconds_of(m, pool, kv, &seq, 1, keys[i], CHUNK);
            printf("; prompt %6.1f GFLOP/s, %5.1f %% of %.1f\n", rate * 1e-9, 100 * rate / peak, peak * 1e-9);
            dt_kv_drop(kv, &seq);
            dt_kv_destroy(kv);
        }
    duet_model_close(m);
    dt_pool_destroy(pool);
    return 0;
}
