/* Binds a configuration to parameters: which tensors exist, under which names, with which shapes, and which of them lie in
 * the one block of floats. Everything else in this room works on offsets into that block and on matrices. */
#include "model/internal.h"

#include <stdlib.h>
#include <string.h>

static int add_param(duet_model *m, int rows, int cols, bool is_vector, const char *fmt, int layer) {
    dt_param *p = &m->param[m->n_param++];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* every fmt below is a literal of this file */
    snprintf(p->name, sizeof p->name, fmt, layer);
#pragma GCC diagnostic pop
    p->rows = rows;
    p->cols = cols;
    p->is_vector = is_vector;
    p->offset = m->weights == DUET_WEIGHTS_F32 || is_vector ? m->n_params : DT_NONE;
    m->n_all += (size_t)rows * (size_t)cols;
    if (p->offset != DT_NONE) m->n_params += (size_t)rows * (size_t)cols;
    return m->n_param - 1;
}

static size_t add_vector(duet_model *m, int n, const char *fmt, int layer) {
    return m->param[add_param(m, 1, n, true, fmt, layer)].offset;
}

/* The matrix of the parameters from `first` to the last one added. */
static dt_matrix matrix(const duet_model *m, int first) {
    dt_matrix x = {.param = first, .n_params = m->n_param - first, .cols = m->param[first].cols,
                   .offset = m->param[first].offset, .trained = m->weights == DUET_WEIGHTS_F32};
    for (int i = first; i < m->n_param; i++)
        x.rows += m->param[i].rows;
    return x;
}

static void bind_layer(duet_model *m, int l) {
    const dt_hf_config *c = &m->cfg;
    dt_layer *y = &m->layer[l];
    int D = c->d_model, F = c->d_ffn, HE = c->n_heads * c->d_head, KE = c->n_kv * c->d_head;

    *y = (dt_layer){.q_norm = DT_NONE, .k_norm = DT_NONE, .qkv_bias = DT_NONE, .post1 = DT_NONE, .post2 = DT_NONE,
                    .window = dt_hf_config_window(c, l)};
    y->rope = y->window && c->rope_local_theta > 0 ? &m->rope_local : &m->rope;
    y->norm1 = add_vector(m, D, "model.layers.%d.input_layernorm.weight", l);
    /* q, k, v follow one another: the walks multiply them as one matrix */
    int first = add_param(m, HE, D, false, "model.layers.%d.self_attn.q_proj.weight", l);
    add_param(m, KE, D, false, "model.layers.%d.self_attn.k_proj.weight", l);
    add_param(m, KE, D, false, "model.layers.%d.self_attn.v_proj.weight", l);
    y->qkv = matrix(m, first);
    if (c->qkv_bias) {
        y->qkv_bias = add_vector(m, HE, "model.layers.%d.self_attn.q_proj.bias", l);
        add_vector(m, KE, "model.layers.%d.self_attn.k_proj.bias", l);
        add_vector(m, KE, "model.layers.%d.self_attn.v_proj.bias", l);
    }
    if (c->qk_norm) {
        y->q_norm = add_vector(m, c->d_head, "model.layers.%d.self_attn.q_norm.weight", l);
        y->k_norm = add_vector(m, c->d_head, "model.layers.%d.self_attn.k_norm.weight", l);
    }
    y->o = matrix(m, add_param(m, D, HE, false, "model.layers.%d.self_attn.o_proj.weight", l));
    if (c->post_norms) y->post1 = add_vector(m, D, "model.layers.%d.post_attention_layernorm.weight", l);
    y->norm2 = c->post_norms ? add_vector(m, D, "model.layers.%d.pre_feedforward_layernorm.weight", l)
                             : add_vector(m, D, "model.layers.%d.post_attention_layernorm.weight", l);
    first = add_param(m, F, D, false, "model.layers.%d.mlp.gate_proj.weight", l);
    add_param(m, F, D, false, "model.layers.%d.mlp.up_proj.weight", l);
    y->gate_up = matrix(m, first);
    y->down = matrix(m, add_param(m, D, F, false, "model.layers.%d.mlp.down_proj.weight", l));
    if (c->post_norms) y->post2 = add_vector(m, D, "model.layers.%d.post_feedforward_layernorm.weight", l);
}

/* Parameters of a config, checked for overflow before anything is allocated. */
bool dt_model_count(const dt_hf_config *c, size_t *out) {
    size_t D = (size_t)c->d_model, F = (size_t)c->d_ffn, E = (size_t)c->d_head, n = 0, t = 0;
    size_t qkv = ((size_t)c->n_heads + 2 * (size_t)c->n_kv), layer = 0, a = 0;
    if (!dt_mul_size(qkv, E, &qkv) || !dt_mul_size(qkv, D, &layer)) return false;
    if (!dt_mul_size((size_t)c->n_heads * E, D, &a) || !dt_add_size(layer, a, &layer)) return false;
    if (!dt_mul_size(3 * F, D, &a) || !dt_add_size(layer, a, &layer)) return false;
    if (!dt_add_size(layer, 4 * D + 2 * E + qkv, &layer) || !dt_mul_size(layer, (size_t)c->n_layers, &n)) return false;
    if (!dt_mul_size((size_t)c->n_vocab, D, &t) || !dt_add_size(n, t, &n)) return false;
    if (!c->tied && !dt_add_size(n, t, &n)) return false;
    if (!dt_add_size(n, D, &n) || n > SIZE_MAX / 16) return false;
    *out = n;
    return true;
}

duet_status dt_model_bind(const dt_hf_config *cfg, bool f32, duet_model **out, duet_err *err) {
    size_t n = 0;
    *out = NULL;
    if (!dt_model_count(cfg, &n)) return dt_fail(err, DUET_E_RANGE, "config: the number of parameters does not fit in memory");
    duet_model *m = dt_calloc(1, sizeof *m);
    if (!m) return dt_fail(err, DUET_E_NOMEM, "model: no memory");
    m->cfg = *cfg;
    m->weights = f32 ? DUET_WEIGHTS_F32 : DUET_WEIGHTS_FILE;
    m->param = dt_calloc((size_t)cfg->n_layers * 17 + 3, sizeof *m->param);
    m->layer = dt_calloc((size_t)cfg->n_layers, sizeof *m->layer);
    if (!m->param || !m->layer) {
        duet_model_close(m);
        return dt_fail(err, DUET_E_NOMEM, "model: no memory");
    }
    m->embed_param = add_param(m, cfg->n_vocab, cfg->d_model, false, "model.embed_tokens.weight", 0);
    m->embed = m->param[m->embed_param].offset;
    m->embed_trained = f32;
    m->head = matrix(m, m->embed_param); /* when tied */
    for (int l = 0; l < cfg->n_layers; l++)
        bind_layer(m, l);
    m->final_norm = add_vector(m, cfg->d_model, "model.norm.weight", 0);
    if (!cfg->tied) m->head = matrix(m, add_param(m, cfg->n_vocab, cfg->d_model, false, "lm_head.weight", 0));
    *out = m;
    return DUET_OK;
}

duet_status dt_model_hold(duet_model *m, duet_err *err) {
    dt_matrix *x;
    m->params = dt_pages_alloc(m->n_params * sizeof(float));
    if (!m->params) return dt_fail(err, DUET_E_NOMEM, "model: no memory for %zu parameters (%zu MiB)", m->n_params, m->n_params >> 18);
    for (size_t i = 0; (x = dt_model_matrix(m, i)); i++) {
        if (m->weights == DUET_WEIGHTS_F32) {
            x->n_parts = 1;
            x->part[0] = (dt_packed){.type = DT_F32, .N = x->rows, .K = x->cols};
        }
        for (int p = 0; p < x->n_parts; p++) {
            duet_status st = dt_packed_place(&x->part[p], x->part[p].type, x->part[p].N, x->part[p].K, NULL, err);
            if (st) return st;
            x->part[p].exact = m->weights == DUET_WEIGHTS_EXACT;
        }
    }
    m->packed_bytes = dt_model_packed_bytes(m);
    m->packed = dt_pages_alloc(m->packed_bytes);
    if (!m->packed) return dt_fail(err, DUET_E_NOMEM, "model: no memory for its matrices (%zu MiB)", m->packed_bytes >> 20);
    uint8_t *at = m->packed;
    for (size_t i = 0; (x = dt_model_matrix(m, i)); i++)
        for (int p = 0; p < x->n_parts; at += x->part[p++].bytes)
            x->part[p].data = at;
    return DUET_OK;
}

void duet_model_close(duet_model *m) {
    if (!m) return;
    free(m->param);
    free(m->layer);
    dt_pages_free(m->params, m->n_params * sizeof(float));
    dt_pages_free(m->packed, m->packed_bytes);
    dt_model_files_close(m->files);
    dt_lora_destroy(m->lora);
    free(m->rope.cos_t);
    free(m->rope.sin_t);
    free(m->rope_local.cos_t);
    free(m->rope_local.sin_t);
    free(m);
}

duet_status dt_model_publish(duet_model *m, dt_pool *pool, duet_err *err) {
    (void)err;
    dt_matrix *x;
    for (size_t i = 0; !m->lora && (x = dt_model_matrix(m, i)); i++)
        if (x->offset != DT_NONE) dt_packed_fill(pool, &x->part[0], m->params + x->offset);
    if (m->lora) dt_lora_publish(m->lora, pool);
    m->version++;
    return DUET_OK;
}

float *dt_model_trained(const duet_model *m, size_t *n) {
    *n = m->lora ? m->lora->n : m->n_params;
    return m->lora ? m->lora->params : m->params;
}

duet_status dt_model_clone(const duet_model *m, duet_model **out, duet_err *err) {
    duet_model_options opt = {.weights = m->weights, .rope_scaling = m->files ? m->files->rope_scaling : NULL};
    if (m->files) return duet_model_open(m->files->path, &opt, out, err);
    duet_status st = dt_model_bind(&m->cfg, true, out, err);
    if (st) return st;
    (*out)->gen = m->gen;
    st = dt_model_hold(*out, err);
    if (!st) memcpy((*out)->params, m->params, m->n_params * sizeof(float));
    if (!st) st = dt_model_rope_reserve(*out, m->rope_len, err);
    if (!st) st = dt_model_publish(*out, NULL, err);
    if (st) {
        duet_model_close(*out);
        *out = NULL;
    }
    return st;
}
