/* New models with random weights, saving, the fingerprint, and the two public calls that score given tokens. */
#include "model/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Normal weights. Embeddings: standard deviation initializer_range. Matrices: 1/sqrt(inputs), so that rows of unit size
 * stay of unit size; the two that write to the residual stream are scaled by 0.3/sqrt(2 layers) more (after Radford et al.,
 * "Language models are unsupervised multitask learners", 2019), so that early in training what a token is stays readable
 * behind what the layers add: with this tiny models learn to copy an order of magnitude sooner. Where norms follow those
 * two, it is these that are scaled. Other norms 1, biases 0. */
static void init_weights(duet_model *m, uint64_t seed) {
    double residual = 0.3 / sqrt(2.0 * m->cfg.n_layers);
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        size_t n = (size_t)p->rows * (size_t)p->cols;
        float *w = m->params + p->offset;
        dt_rng r = dt_rng_make(seed, dt_hash64(p->name, strlen(p->name), 0));
        double std = p->offset == m->embed ? m->cfg.init_range : 1.0 / sqrt((double)p->cols);
        if (strstr(p->name, ".o_proj.") || strstr(p->name, ".down_proj.")) std *= residual;
        bool adds = m->cfg.post_norms && (strstr(p->name, ".post_attention_") || strstr(p->name, ".post_feedforward_"));
        float norm = (adds ? (float)residual : 1.0f) - (m->cfg.norm_plus_one ? 1.0f : 0.0f);
        for (size_t j = 0; j < n; j++) {
            if (p->is_vector)
                w[j] = strstr(p->name, ".bias") ? 0.0f : norm;
            else
                w[j] = (float)(std * dt_rng_normal(&r));
        }
    }
}

duet_status duet_model_new(const char *config_json, size_t n, uint64_t seed, duet_model **out, duet_err *err) {
    dt_hf_config cfg;
    duet_model *m = NULL;
    *out = NULL;
    duet_status st = dt_hf_config_parse("config", config_json, n, &cfg, err);
    if (st) return st;
    st = dt_model_bind(&cfg, true, &m, err);
    if (!st) st = dt_model_hold(m, err);
    if (st) {
        duet_model_close(m);
        return st;
    }
    m->gen = (dt_hf_generation){.found = true, .do_sample = 0, .temperature = -1, .top_p = -1, .min_p = -1, .top_k = -1, .n_eos = cfg.n_eos};
    memcpy(m->gen.eos_ids, cfg.eos_ids, sizeof m->gen.eos_ids);
    init_weights(m, seed);
    st = dt_model_rope_reserve(m, cfg.max_pos < 4096 ? cfg.max_pos : 4096, err);
    if (!st) st = dt_model_publish(m, NULL, err);
    if (st) {
        duet_model_close(m);
        return st;
    }
    *out = m;
    return DUET_OK;
}

duet_status duet_model_save(const duet_model *m, const char *dir, duet_err *err) {
    duet_status st = DUET_OK;
    uint16_t *half = NULL;
    char *path = NULL;
    if (m->lora) return dt_adapter_save(m, dir, err);
    if (m->weights != DUET_WEIGHTS_F32)
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: only a model opened with its weights as f32 can be saved", dir);
    dt_st_item *items = dt_calloc((size_t)m->n_param, sizeof *items);
    if (!items) return dt_fail(err, DUET_E_NOMEM, "%s: no memory to save the model", dir);
    if (m->cfg.dtype == DT_BF16) {
        half = dt_calloc(m->n_params, sizeof *half);
        if (!half) {
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to save the model", dir);
            goto done;
        }
        for (size_t i = 0; i < m->n_params; i++)
            half[i] = dt_f32_to_bf16(m->params[i]);
    }
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        dt_view v = {.dtype = half ? DT_BF16 : DT_F32, .n_dims = p->is_vector ? 1 : 2};
        v.dims[0] = (size_t)(p->is_vector ? p->cols : p->rows);
        v.dims[1] = (size_t)(p->is_vector ? 0 : p->cols);
        v.data = half ? (const void *)(half + p->offset) : (const void *)(m->params + p->offset);
        items[i] = (dt_st_item){.name = p->name, .view = v};
    }
    st = dt_mkdirs(dir, err);
    if (st) goto done;
    path = dt_path_join(dir, "model.safetensors");
    if (!path) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to save the model", dir);
        goto done;
    }
    st = dt_st_write(path, items, (size_t)m->n_param, NULL, 0, err);
    if (!st) st = dt_hf_config_write(dir, &m->cfg, err);
    if (!st) st = dt_hf_generation_write(dir, &m->gen, err);
done:
    free(path);
    free(half);
    free(items);
    return st;
}

void dt_model_hash(const duet_model *m, char out[65]) {
    dt_sha256 s;
    dt_sha256_init(&s);
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        if (p->offset != DT_NONE) {
            dt_sha256_add(&s, m->params + p->offset, (size_t)p->rows * (size_t)p->cols * sizeof(float));
            continue;
        }
        size_t row = dt_tensor_row_bytes(&p->file, (size_t)p->cols);
        for (int r = 0; r < p->rows; r++)
            dt_sha256_add(&s, dt_tensor_row(&p->file, (size_t)r, row, m->cfg.d_head), row);
        dt_map_drop(p->file.view.data, row * (size_t)p->rows);
    }
    if (m->lora) dt_sha256_add(&s, m->lora->params, m->lora->n * sizeof(float));
    dt_sha256_hex(&s, out);
}

duet_status duet_model_fingerprint(const duet_model *m, char out[65], duet_err *err) {
    (void)err;
    dt_model_hash(m, out);
    return DUET_OK;
}

/* "Q4_K, Q6_K": the types of the matrices, the one with most bytes first. */
static void types_of(const duet_model *m, char *out, size_t n) {
    size_t bytes[DT_N_DTYPES] = {0}, at = 0;
    const dt_matrix *x;
    for (size_t i = 0; (x = dt_model_matrix_at(m, i)); i++)
        for (int p = 0; p < x->n_parts; p++)
            bytes[x->part[p].type] += x->part[p].bytes;
    *out = 0;
    for (;;) {
        int most = 0;
        for (int t = 1; t < DT_N_DTYPES; t++)
            if (bytes[t] > bytes[most]) most = t;
        if (!bytes[most] || at + 8 >= n) return;
        at += (size_t)snprintf(out + at, n - at, "%s%s", at ? ", " : "", dt_dtype_name((dt_dtype)most));
        bytes[most] = 0;
    }
}

static bool has_only_floats(const dt_matrix *x) {
    for (int i = 0; i < x->n_parts; i++)
        if (x->part[i].type != DT_F32) return false;
    return true;
}

dt_dtype dt_model_kv_dtype(const duet_model *m, duet_kv_type type) {
    if (type == DUET_KV_F32) return DT_F32;
    if (type == DUET_KV_F16) return DT_F16;
    if (type == DUET_KV_Q8_0) return DT_Q8_0;
    for (int l = 0; l < m->cfg.n_layers; l++) {
        const dt_layer *y = &m->layer[l];
        if (!has_only_floats(&y->qkv) || !has_only_floats(&y->o) || !has_only_floats(&y->gate_up) || !has_only_floats(&y->down)) return DT_F16;
    }
    return DT_F32;
}

size_t duet_model_kv_bytes(const duet_model *m, duet_kv_type type) {
    const dt_hf_config *c = &m->cfg;
    return dt_kv_page_bytes(dt_model_kv_dtype(m, type), c->n_layers, c->n_kv, c->d_head) / DT_KV_PAGE;
}

const char *duet_kv_type_name(duet_kv_type type) {
    static const char *const names[] = {"default", "f32", "f16", "q8_0"};
    return (size_t)type < DT_COUNT(names) ? names[type] : "unknown";
}

duet_status duet_model_describe(const duet_model *m, duet_model_info *out, duet_err *err) {
    const dt_hf_config *c = &m->cfg;
    (void)err;
    *out = (duet_model_info){.n_layers = c->n_layers, .d_model = c->d_model, .n_heads = c->n_heads, .n_kv = c->n_kv, .d_head = c->d_head,
                             .d_ffn = c->d_ffn, .n_vocab = c->n_vocab, .max_pos = c->max_pos, .tied = c->tied, .n_params = m->n_all,
                             .weights = m->weights, .open_s = m->open_s, .lora_rank = m->lora ? m->lora->rank : 0,
                             .lora_params = m->lora ? m->lora->n : 0};
    snprintf(out->arch, sizeof out->arch, "%s", c->model_type);
    snprintf(out->dtype, sizeof out->dtype, "%s", dt_dtype_name(c->dtype));
    types_of(m, out->held, sizeof out->held);
    out->weight_bytes = m->n_params * sizeof(float) + dt_model_packed_bytes(m) + dt_lora_bytes(m->lora);
    out->kv_type = dt_model_kv_dtype(m, DUET_KV_DEFAULT) == DT_F32 ? DUET_KV_F32 : DUET_KV_F16;
    out->kv_bytes_per_token = duet_model_kv_bytes(m, DUET_KV_DEFAULT);
    return DUET_OK;
}

/* One sequence through the inference walk in chunks; exactly one of logits, logp is wanted. */
static duet_status score(duet_model *m, const int32_t *ids, size_t n, int n_threads, float *logits, float *logp, duet_err *err) {
    enum { CHUNK = 128 };
    duet_status st = DUET_OK;
    dt_pool *pool = NULL;
    dt_infer *f = NULL;
    dt_kv *kv = NULL;
    dt_kv_seq seq = {0};
    float *rows = NULL;
    size_t V = (size_t)m->cfg.n_vocab;

    if (n == 0 || n > (size_t)m->cfg.max_pos)
        return dt_fail(err, DUET_E_RANGE, "%zu tokens: the model takes 1 to %d%s", n, m->cfg.max_pos, n ? "; " DT_LONGER : "");
    st = dt_pool_create(n_threads, &pool, err);
    if (!st) st = dt_model_rope_reserve(m, (int)n, err);
    if (!st) st = dt_infer_create(m, pool, CHUNK, &f, err);
    if (!st) st = dt_kv_create(DT_F32, m->cfg.n_layers, m->cfg.n_kv, m->cfg.d_head, (int)(n / DT_KV_PAGE) + 2, &kv, err);
    if (!st && logp && !(rows = dt_alloc_aligned(CHUNK * V, sizeof *rows))) st = dt_fail(err, DUET_E_NOMEM, "scoring: no memory");
    for (size_t at = 0; !st && at < n; at += CHUNK) {
        int k = n - at < CHUNK ? (int)(n - at) : CHUNK;
        float *dst = logits ? logits + at * V : rows;
        st = dt_kv_grow(kv, &seq, k, err);
        if (st) break;
        dt_infer_seq s = {.ids = ids + at, .n = k, .pos0 = (int)at, .pages = seq.pages, .n_logits = k};
        st = dt_infer_run(f, kv, &s, 1, dst, err);
        seq.n_tokens += k;
        if (!st && logp) {
            int usable = at + (size_t)k < n ? k : k - 1; /* the last token predicts nothing */
            dt_kernels_get()->xent(dst, V, ids + at + 1, usable, (int)V, 1.0f, logp + at, NULL, NULL);
        }
    }
    if (kv) dt_kv_drop(kv, &seq);
    dt_kv_destroy(kv);
    dt_infer_destroy(f);
    dt_pool_destroy(pool);
    free(rows);
    return st;
}

duet_status duet_model_logprobs(duet_model *m, const int32_t *ids, size_t n, int n_threads, float *out, duet_err *err) {
    return score(m, ids, n, n_threads, NULL, out, err);
}

duet_status duet_model_logits(duet_model *m, const int32_t *ids, size_t n, int n_threads, float *out, duet_err *err) {
    return score(m, ids, n, n_threads, out, NULL, err);
}
