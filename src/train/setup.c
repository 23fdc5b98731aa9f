/* Opening and making the models of a run. */
#include "train/setup.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ENGINE_SEQS 128

duet_status dt_side_open(dt_side *s, const char *key, const char *path, duet_err *err) {
    *s = (dt_side){0};
    duet_model_options how = {.weights = DUET_WEIGHTS_F32};
    duet_status st = duet_model_open(path, &how, &s->model, err);
    if (!st) st = dt_words_open(&s->words, path, err);
    if (!st || !key) return st;
    return dt_fail_in(err, st == DUET_E_IO ? DUET_E_USAGE : st, "%s", key); /* what is not there was named wrongly */
}

static char *new_config(const dt_recipe *r, const dt_words *w) {
    dt_buf b = {0};
    dt_buf_addf(&b, "{\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"],\"num_hidden_layers\":%lld,\"hidden_size\":%lld,",
                (long long)r->model.init.layers, (long long)r->model.init.width);
    dt_buf_addf(&b, "\"num_attention_heads\":%lld,\"num_key_value_heads\":%lld,\"head_dim\":%lld,\"intermediate_size\":%lld,",
                (long long)r->model.init.heads, (long long)r->model.init.kv_heads, (long long)r->model.init.head_dim, (long long)r->model.init.ffn);
    dt_buf_addf(&b, "\"vocab_size\":%d,\"max_position_embeddings\":%lld,\"rms_norm_eps\":1e-06,\"rope_theta\":%.17g,\"tie_word_embeddings\":%s,",
                (int)duet_tokenizer_size(w->tok), (long long)r->model.init.ctx, r->model.init.rope_theta, r->model.init.tied ? "true" : "false");
    dt_buf_addf(&b, "\"initializer_range\":%.17g,\"torch_dtype\":\"%s\",\"eos_token_id\":%d}", r->model.init.std,
                r->model.init.dtype ? "bfloat16" : "float32", (int)dt_tmpl_end(&w->tmpl));
    return b.failed ? NULL : dt_buf_take(&b);
}

duet_status dt_side_new(dt_side *s, const dt_recipe *r, duet_err *err) {
    const char *words = *r->model.tokenizer ? r->model.tokenizer : r->data.task;
    *s = (dt_side){0};
    if (!*words) return dt_fail(err, DUET_E_USAGE, "a new model needs model.tokenizer (or give model.path)");
    duet_status st = dt_words_new(&s->words, words, err);
    if (st) return dt_fail_in(err, st, "model.tokenizer");
    char *config = new_config(r, &s->words);
    if (!config) return dt_fail(err, DUET_E_NOMEM, "no memory for a config");
    st = duet_model_new(config, strlen(config), (uint64_t)(r->model.init.seed < 0 ? r->seed : r->model.init.seed), &s->model, err);
    free(config);
    if (st == DUET_E_FORMAT || st == DUET_E_RANGE) st = dt_fail_in(err, DUET_E_USAGE, "model.init");
    return st;
}

duet_status dt_side_engine(dt_side *s, int n_threads, duet_err *err) {
    duet_engine_options opt = {.n_threads = n_threads, .max_seqs = ENGINE_SEQS, .kv_type = DUET_KV_F32}; /* the bits of learn.c */
    return duet_engine_create(s->model, &opt, &s->engine, err);
}

double dt_peak_mib(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : (double)u.ru_maxrss / 1024; /* Linux counts in KiB */
}

void dt_side_close(dt_side *s) {
    duet_engine_destroy(s->engine);
    dt_trainee_clear(&s->trainee);
    duet_model_close(s->model);
    dt_words_close(&s->words);
    *s = (dt_side){0};
}

duet_status dt_side_save(const dt_side *s, const char *dir, const char *name, duet_err *err) {
    char *path = dt_path_join(dir, name);
    duet_status st = path ? duet_model_save(s->model, path, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) st = duet_tokenizer_save(s->words.tok, path, err);
    free(path);
    return st;
}

static void add_eos(dt_player *p, int32_t id) {
    for (size_t i = 0; i < p->n_eos; i++)
        if (p->eos[i] == id) return;
    if (p->n_eos < DT_BACKEND_MAX_EOS) p->eos[p->n_eos++] = id;
}

dt_player dt_side_player(const dt_side *s, int samples, int response_max, double temperature) {
    const duet_model *m = s->model;
    dt_player p = {.engine = s->engine, .words = &s->words, .samples = samples, .response_max = response_max,
                   .sampling = {.temperature = temperature, .top_p = 1}};
    add_eos(&p, dt_tmpl_end(&s->words.tmpl)); /* a base model's config may name only its end of text */
    for (int i = 0; i < m->gen.n_eos; i++)
        add_eos(&p, m->gen.eos_ids[i]);
    for (int i = 0; m->gen.n_eos <= 0 && i < m->cfg.n_eos; i++)
        add_eos(&p, m->cfg.eos_ids[i]);
    return p;
}

size_t dt_side_train_bytes(const dt_side *s, const dt_recipe *r, bool recompute) {
    dt_learn_options o = {.max_tokens = (int)r->train.micro_tokens, .recompute = recompute};
    duet_model_info info;
    size_t weights = s->model->n_params * sizeof(float);
    if (!duet_model_describe(s->model, &info, NULL)) weights = info.weight_bytes;
    return weights + 3 * s->model->n_params * sizeof(float) + dt_learn_bytes(&s->model->cfg, &o);
}
