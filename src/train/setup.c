/* Opening and making the models of a run. */
#include "train/setup.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ENGINE_SEQS 128

duet_status dt_side_open(dt_side *s, const char *key, const char *path, const char *chat_template, duet_err *err) {
    *s = (dt_side){0};
    duet_model_options how = {.weights = DUET_WEIGHTS_F32};
    duet_status st = duet_model_open(path, &how, &s->model, err);
    if (!st) st = dt_words_open(&s->words, path, chat_template, err);
    if (!st || !key) return st;
    return dt_fail_in(err, st == DUET_E_IO ? DUET_E_USAGE : st, "%s", key); /* what is not there was named wrongly */
}

static duet_status take_adapters(dt_side *s, const char *side, const char *path, const dt_recipe_lora *l, uint64_t seed, bool kl, duet_err *err) {
    const dt_lora *a = s->model->lora;
    if (!a) {
        dt_lora_options opt = {.rank = (int)l->rank, .alpha = l->alpha, .targets = l->targets, .base = path, .seed = seed};
        char *whole = realpath(path, NULL); /* the adapter's folder names it, wherever that is moved to */
        if (whole) opt.base = whole;
        duet_status st = dt_lora_attach(s->model, &opt, err);
        free(whole);
        return st ? dt_fail_in(err, st, "%s.lora", side) : DUET_OK;
    }
    if (a->rank != l->rank || fabs(a->alpha - l->alpha) > 1e-9 * fabs(a->alpha))
        return dt_fail(err, DUET_E_USAGE, "%s.lora: %s has adapters of rank %d and alpha %g, the recipe asks for rank %lld and alpha %g", side, path, a->rank,
                       a->alpha, (long long)l->rank, l->alpha);
    if (kl)
        return dt_fail(err, DUET_E_USAGE, "%s.path: %s is an adapter, and KL to where training began needs that as a model: merge it first (duet merge)", side, path);
    return DUET_OK;
}

duet_status dt_side_open_lora(dt_side *s, const char *side, const char *path, const char *chat_template, const dt_recipe_lora *l, int weights,
                              uint64_t seed, bool kl, duet_err *err) {
    char key[32];
    *s = (dt_side){0};
    snprintf(key, sizeof key, "%s.path", side);
    duet_model_options how = {.weights = weights ? (duet_weights)weights : l->rank ? DUET_WEIGHTS_FILE : DUET_WEIGHTS_F32};
    duet_status st = duet_model_open(path, &how, &s->model, err);
    if (!st) st = dt_words_open(&s->words, path, chat_template, err);
    if (st) return dt_fail_in(err, st == DUET_E_IO ? DUET_E_USAGE : st, "%s", key);
    if (l->rank) return take_adapters(s, side, path, l, seed, kl, err);
    if (s->model->lora) return dt_fail(err, DUET_E_USAGE, "%s: %s is an adapter: set %s.lora.rank=%d to train it, or merge it first (duet merge)", key, path, side, s->model->lora->rank);
    if (!dt_trainee_can_learn(s->model)) return DUET_OK;
    st = duet_tokenizer_can_save(s->words.tok, err); /* sooner than at the first checkpoint */
    if (!st) return DUET_OK;
    return dt_fail_in(err, st, "%s: the whole model is saved, so its tokenizer must be: train adapters (%s.lora.rank), or, if it is not trained, hold it with %s.weights=file",
                      key, side, side);
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

duet_status dt_side_engine(dt_side *s, int n_threads, const dt_recipe *r, duet_err *err) {
    duet_engine_options opt = {.n_threads = n_threads, .max_seqs = ENGINE_SEQS, .kv_type = DUET_KV_F32, /* the bits of learn.c */
                               .kv_bytes = (size_t)r->train.kv_mib << 20};
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
    if (!dt_trainee_can_learn(s->model)) return DUET_OK;
    char *path = dt_path_join(dir, name);
    duet_status st = path ? duet_model_save(s->model, path, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) st = dt_words_save(&s->words, path, s->model->lora != NULL, err);
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

dt_side_bytes dt_side_memory(const dt_side *s, const dt_recipe *r, bool recompute) {
    dt_learn_options o = {.max_tokens = (int)r->train.micro_tokens, .recompute = recompute};
    dt_side_bytes b = {.logits = dt_learn_logit_bytes(&s->model->cfg, &o)};
    duet_model_info info;
    size_t n = 0;
    dt_model_trained(s->model, &n);
    if (!duet_model_describe(s->model, &info, NULL)) b.weights = info.weight_bytes;
    b.adapters = dt_lora_bytes(s->model->lora);
    b.weights -= b.adapters;
    b.optimizer = s->trainee.grad ? 3 * n * sizeof(float) : 0;
    b.activations = dt_learn_bytes(&s->model->cfg, &o) - b.logits;
    if (s->engine) {
        duet_engine_stats e;
        duet_engine_get_stats(s->engine, &e);
        b.kv = e.kv_pages * DT_KV_PAGE * duet_model_kv_bytes(s->model, DUET_KV_F32);
    }
    return b;
}

static double mib(size_t n) {
    return (double)n / 1048576;
}

size_t dt_side_tell_memory(const char *name, const dt_side_bytes *b, char out[256]) {
    size_t sum = b->weights + b->adapters + b->optimizer + b->activations + b->logits + b->kv;
    snprintf(out, 256, "%s: weights %.1f MiB, adapters %.1f, gradient and moments %.1f, activations %.1f, logits %.1f, keys and values up to %.1f; in all %.1f",
             name, mib(b->weights), mib(b->adapters), mib(b->optimizer), mib(b->activations), mib(b->logits), mib(b->kv), mib(sum));
    return sum;
}
