/* A random model of one layer type, and a GGUF file of it with a type for each matrix. */
#ifndef DT_TEST_GGUF_OF_H
#define DT_TEST_GGUF_OF_H

#include "format/gguf_write.h"
#include "model/model.h"
#include "support.h"
#include "tensor/quant.h"

#include <unistd.h>

/* Rows are whole blocks of the K types; 3 kv heads of 16 make k and v no whole panels. */
#define WIDE                                                                                                             \
    "\"num_hidden_layers\":2,\"hidden_size\":256,\"num_attention_heads\":16,\"num_key_value_heads\":%d,\"head_dim\":16,"      \
    "\"intermediate_size\":512,\"vocab_size\":99,\"max_position_embeddings\":1024,\"initializer_range\":0.2,\"eos_token_id\":36,"

static inline duet_model *wide_model(const char *arch, int n_kv, bool tied, uint64_t seed) {
    char config[768];
    duet_model *m = NULL;
    duet_err err = {{0}};
    int n = snprintf(config, sizeof config, "{\"model_type\":\"%s\"," WIDE "\"tie_word_embeddings\":%s}", arch, n_kv, tied ? "true" : "false");
    if (duet_model_new(config, (size_t)n, seed, &m, &err)) fail_msg("%s", err.text);
    dt_rng r = dt_rng_make(seed, 99);
    for (int i = 0; i < m->n_param; i++)
        for (int j = 0; m->param[i].is_vector && j < m->param[i].cols; j++)
            m->params[m->param[i].offset + (size_t)j] += (float)(0.2 * dt_rng_normal(&r));
    assert_int_equal(dt_model_publish(m, NULL, &err), DUET_OK);
    return m;
}

/* Q2_K and Q3_K, which are read but not written: random blocks of about the size of the numbers of x. */
static inline void random_blocks(dt_dtype t, const float *x, size_t n, uint8_t *out) {
    size_t size = dt_dtype_size(t);
    dt_rng r = dt_rng_make(5, dt_hash64(x, 64, 0));
    for (size_t i = 0; i < n / DT_QK_K * size; i++)
        out[i] = (uint8_t)dt_rng_u32(&r);
    for (size_t b = 0; b < n / DT_QK_K; b++) {
        uint16_t d = dt_f32_to_f16(t == DT_Q2_K ? 0.003f : 0.0015f), dmin = dt_f32_to_f16(0.0045f);
        if (t == DT_Q2_K) memcpy(out + b * size + offsetof(dt_q2_k, dmin), &dmin, 2);
        memcpy(out + b * size + (t == DT_Q2_K ? offsetof(dt_q2_k, d) : offsetof(dt_q3_k, d)), &d, 2);
    }
}

static inline void put_in_type(dt_dtype t, const float *x, size_t n, uint8_t *out) {
    if (dt_quant_can_write(t))
        dt_quant_from_f32(t, x, out, n);
    else
        random_blocks(t, x, n, out);
}

/* type_of: the type of a matrix of this name. Leaves out the tensor named `without`, if any. */
static inline void write_gguf(const duet_model *m, const char *path, dt_dtype (*type_of)(const char *name), const char *without) {
    static const char *const keys[] = {"block_count", "embedding_length", "attention.head_count", "attention.head_count_kv",
                                       "attention.key_length", "attention.value_length", "feed_forward_length", "context_length"};
    const dt_hf_config *c = &m->cfg;
    const int values[] = {c->n_layers, c->d_model, c->n_heads, c->n_kv, c->d_head, c->d_head, c->d_ffn, c->max_pos};
    dt_gguf_writer *w = NULL;
    duet_err err = {{0}};
    char name[DT_GGUF_NAME];
    if (dt_gguf_create(path, &w, &err)) fail_msg("%s", err.text);
    dt_gguf_put_text(w, "general.architecture", c->model_type);
    for (size_t i = 0; i < DT_COUNT(keys); i++) {
        snprintf(name, sizeof name, "%s.%s", c->model_type, keys[i]);
        dt_gguf_put_u32(w, name, (uint32_t)values[i]);
    }
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", c->model_type);
    dt_gguf_put_f32(w, name, (float)c->rms_eps);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < m->n_param; i++) {
            const dt_param *p = &m->param[i];
            dt_gguf_change change;
            dt_view v = {.dtype = p->is_vector ? DT_F32 : type_of(p->name), .n_dims = p->is_vector ? 1 : 2};
            v.dims[0] = (size_t)(p->is_vector ? p->cols : p->rows);
            v.dims[1] = (size_t)p->cols;
            if (without && !strcmp(p->name, without)) continue;
            assert_true(dt_gguf_name_from_hf(c, p->name, name, &change));
            if (pass == 0) {
                dt_gguf_declare(w, name, &v);
                continue;
            }
            size_t bytes = 0, n = (size_t)p->rows * (size_t)p->cols;
            assert_true(dt_view_count(&v, NULL, &bytes));
            uint8_t *data = calloc(2, bytes), *moved = data + bytes;
            put_in_type(v.dtype, m->params + p->offset, n, data);
            if (change == DT_GGUF_ROPE_ROWS)
                dt_gguf_rope_rows_from_hf(moved, data, v.dims[0], (size_t)c->d_head, bytes / v.dims[0]);
            if (dt_gguf_add(w, change == DT_GGUF_ROPE_ROWS ? moved : data, bytes, &err)) fail_msg("%s", err.text);
            free(data);
        }
        if (pass == 0 && dt_gguf_begin(w, &err)) fail_msg("%s", err.text);
    }
    if (dt_gguf_end(w, &err)) fail_msg("%s", err.text);
}

#endif
