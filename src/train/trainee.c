/* Sequences through a model that learns: packing into micro-batches, gradient, optimizer step, checkpoint files. */
#include "train/trainee.h"

#include "format/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

duet_status dt_trainee_init(dt_trainee *t, duet_model *model, dt_pool *pool, int micro_tokens, bool recompute, double temperature, duet_err *err) {
    size_t T = (size_t)micro_tokens;
    dt_learn_options opt = {.max_tokens = micro_tokens, .recompute = recompute};

    *t = (dt_trainee){.model = model, .pool = pool, .micro_tokens = micro_tokens, .inv_temp = (float)(1.0 / temperature)};
    t->params = dt_model_trained(model, &t->optim.n);
    t->optim.m = dt_alloc_aligned(t->optim.n, sizeof(float));
    t->optim.v = dt_alloc_aligned(t->optim.n, sizeof(float));
    t->grad = dt_alloc_aligned(t->optim.n, sizeof(float));
    t->ids = dt_calloc(T, sizeof *t->ids);
    t->logp = dt_calloc(T, sizeof *t->logp);
    t->entropy = dt_calloc(T, sizeof *t->entropy);
    t->coef = dt_calloc(T, sizeof *t->coef);
    t->start = dt_calloc(T + 1, sizeof *t->start);
    if (!t->optim.m || !t->optim.v || !t->grad || !t->ids || !t->logp || !t->entropy || !t->coef || !t->start)
        return dt_fail(err, DUET_E_NOMEM, "training: no memory for gradient and moments of %zu parameters", t->optim.n);
    return dt_learn_create(model, pool, &opt, &t->learn, err);
}

void dt_trainee_clear(dt_trainee *t) {
    dt_learn_destroy(t->learn);
    free(t->optim.m);
    free(t->optim.v);
    free(t->grad);
    free(t->ids);
    free(t->logp);
    free(t->entropy);
    free(t->coef);
    free(t->start);
    *t = (dt_trainee){0};
}

/* Lays as many of seqs[0..n) end to end as fit. */
static duet_status gather(dt_trainee *t, const dt_seq *seqs, size_t n, dt_batch *b, duet_err *err) {
    int total = 0, count = 0;
    for (size_t i = 0; i < n && seqs[i].n <= t->micro_tokens - total; i++) {
        memcpy(t->ids + total, seqs[i].ids, (size_t)seqs[i].n * sizeof *t->ids);
        t->start[count++] = total;
        total += seqs[i].n;
    }
    if (!count)
        return dt_fail(err, DUET_E_RANGE, "a sequence of %d tokens does not fit train.micro_tokens = %d", seqs[0].n, t->micro_tokens);
    t->start[count] = total;
    *b = (dt_batch){.ids = t->ids, .start = t->start, .n_seqs = count};
    return DUET_OK;
}

typedef enum walk_kind { SCORE, SCORE_BASE, LEARN } walk_kind;

static duet_status walk(dt_trainee *t, const dt_seq *seqs, size_t n, walk_kind kind, dt_coef_fn fn, void *user, duet_err *err) {
    for (size_t at = 0; at < n;) {
        dt_batch b;
        duet_status st = gather(t, seqs + at, n - at, &b, err);
        if (st) return st;
        st = (kind == LEARN ? dt_learn_forward : kind == SCORE ? dt_learn_score : dt_learn_score_base)(t->learn, &b, t->inv_temp, t->logp, t->entropy, err);
        if (st) return st;
        memset(t->coef, 0, (size_t)b.start[b.n_seqs] * sizeof *t->coef);
        for (int s = 0; s < b.n_seqs; s++)
            fn(user, at + (size_t)s, &seqs[at + (size_t)s], t->logp + b.start[s], t->entropy + b.start[s], t->coef + b.start[s]);
        if (kind == LEARN) st = dt_learn_backward(t->learn, t->coef, t->grad, err);
        if (st) return st;
        at += (size_t)b.n_seqs;
    }
    return DUET_OK;
}

duet_status dt_trainee_accumulate(dt_trainee *t, const dt_seq *seqs, size_t n, dt_coef_fn fn, void *user, duet_err *err) {
    return walk(t, seqs, n, LEARN, fn, user, err);
}

duet_status dt_trainee_score(dt_trainee *t, const dt_seq *seqs, size_t n, dt_coef_fn fn, void *user, duet_err *err) {
    return walk(t, seqs, n, SCORE, fn, user, err);
}

duet_status dt_trainee_score_base(dt_trainee *t, const dt_seq *seqs, size_t n, dt_coef_fn fn, void *user, duet_err *err) {
    return walk(t, seqs, n, SCORE_BASE, fn, user, err);
}

duet_status dt_trainee_update(dt_trainee *t, const dt_adamw *h, double *norm, duet_err *err) {
    dt_adamw_step(t->pool, h, &t->optim, t->params, t->grad, norm, NULL);
    memset(t->grad, 0, t->optim.n * sizeof *t->grad);
    return dt_model_publish(t->model, t->pool, err);
}

static dt_st_item item(const char *name, const float *data, size_t n) {
    return (dt_st_item){.name = name, .view = {.dtype = DT_F32, .n_dims = 1, .dims = {n}, .data = data}};
}

static duet_status state_path(const char *dir, const char *name, char **out, duet_err *err) {
    char file[64];
    snprintf(file, sizeof file, "%s.safetensors", name);
    *out = dt_path_join(dir, file);
    return *out ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
}

bool dt_trainee_can_learn(const duet_model *m) {
    return m->lora || m->weights == DUET_WEIGHTS_F32;
}

duet_status dt_trainee_save(const dt_trainee *t, const char *dir, const char *name, const dt_words *words, duet_err *err) {
    char *path = NULL, *folder = dt_path_join(dir, name), done[32];
    const char *meta[] = {"updates", done};
    const dt_st_item items[] = {item("params", t->params, t->optim.n), item("m", t->optim.m, t->optim.n), item("v", t->optim.v, t->optim.n)};

    duet_status st = folder ? state_path(dir, name, &path, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (st) goto done;
    snprintf(done, sizeof done, "%lld", (long long)t->optim.step);
    st = dt_st_write(path, items, DT_COUNT(items), meta, 1, err);
    if (st || !dt_trainee_can_learn(t->model)) goto done;
    st = duet_model_save(t->model, folder, err);
    if (st) goto done;
    st = dt_words_save(words, folder, t->model->lora != NULL, err);
done:
    free(path);
    free(folder);
    return st;
}

static duet_status load_block(const dt_st *f, const char *path, const char *name, float *out, size_t n, duet_err *err) {
    const dt_view *v = dt_st_find(f, name);
    if (!v || v->dtype != DT_F32 || !dt_view_is(v, 1, n, 0))
        return dt_fail(err, DUET_E_FORMAT, "%s: \"%s\" is not a tensor of %zu floats: the checkpoint is of another model", path, name, n);
    memcpy(out, v->data, n * sizeof *out);
    return DUET_OK;
}

duet_status dt_trainee_load(dt_trainee *t, const char *dir, const char *name, duet_err *err) {
    char *path = NULL;
    dt_st *f = NULL;

    duet_status st = state_path(dir, name, &path, err);
    if (st) goto done;
    st = dt_st_open(path, &f, err);
    if (st) goto done;
    const char *done = dt_st_meta(f, "updates");
    if (!done) {
        st = dt_fail(err, DUET_E_FORMAT, "%s: says nothing of the updates done", path);
        goto done;
    }
    t->optim.step = strtoll(done, NULL, 10);
    st = load_block(f, path, "params", t->params, t->optim.n, err);
    if (!st) st = load_block(f, path, "m", t->optim.m, t->optim.n, err);
    if (!st) st = load_block(f, path, "v", t->optim.v, t->optim.n, err);
    if (!st) st = dt_model_publish(t->model, t->pool, err);
done:
    dt_st_close(f);
    free(path);
    return st;
}
