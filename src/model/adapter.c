/* Adapters as PEFT's folders: saved, opened with the model they belong to, and merged into its weights. */
#include "model/internal.h"

#include "format/peft.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- saving ---- */

static dt_st_item item_of(const char *name, const float *data, int rows, int cols) {
    return (dt_st_item){.name = name,
                        .view = {.dtype = DT_F32, .n_dims = 2, .dims = {(size_t)rows, (size_t)cols}, .data = data}};
}

/* "q_proj" of "model.layers.0.self_attn.q_proj.weight", into out. */
static void leaf_of(const char *param, char out[32]) {
    const char *end = strrchr(param, '.'), *begin = end;
    while (begin > param && begin[-1] != '.')
        begin--;
    snprintf(out, 32, "%.*s", (int)(end - begin), begin);
}

duet_status dt_adapter_save(const duet_model *m, const char *dir, duet_err *err) {
    const dt_lora *a = m->lora;
    char leaves[8][32], *path = NULL;
    const char *targets[8];
    size_t n = (size_t)a->n_adapters, n_targets = 0;
    dt_st_item *items = dt_calloc(2 * n + 1, sizeof *items);
    char(*names)[128] = dt_calloc(2 * n + 1, sizeof *names);
    duet_status st = items && names ? dt_mkdirs(dir, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory to save the adapter", dir);
    if (st) goto done;
    for (size_t i = 0; i < n; i++) {
        const dt_adapter *d = &a->adapter[i];
        const char *param = m->param[d->param].name;
        char leaf[32];
        size_t t = 0;
        dt_lora_tensor_name(param, 'A', names[2 * i]);
        dt_lora_tensor_name(param, 'B', names[2 * i + 1]);
        items[2 * i] = item_of(names[2 * i], a->params + d->a, a->rank, d->cols);
        items[2 * i + 1] = item_of(names[2 * i + 1], a->params + d->b, d->rows, a->rank);
        leaf_of(param, leaf);
        while (t < n_targets && strcmp(leaves[t], leaf))
            t++;
        if (t < n_targets || t == DT_COUNT(leaves)) continue;
        memcpy(leaves[t], leaf, sizeof leaf);
        targets[n_targets++] = leaves[t];
    }
    path = dt_path_join(dir, DT_PEFT_WEIGHTS);
    if (!path) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to save the adapter", dir);
        goto done;
    }
    st = dt_st_write(path, items, 2 * n, NULL, 0, err);
    const dt_peft p = {.rank = a->rank, .alpha = a->alpha, .base = a->base};
    if (!st) st = dt_peft_write(dir, &p, targets, n_targets, err);
done:
    free(path);
    free(items);
    free(names);
    return st;
}

/* ---- opening ---- */

/* One adapter's file while its model is being given the adapters. */
typedef struct source {
    dt_peft p;
    char *base, *path;
    dt_st *file;
} source;

static void close_source(source *s) {
    dt_st_close(s->file);
    dt_peft_clear(&s->p);
    free(s->base);
    free(s->path);
}

static duet_status open_source(const char *dir, source *s, duet_err *err) {
    *s = (source){0};
    duet_status st = dt_peft_read(dir, &s->p, err);
    if (!st) st = dt_peft_base(dir, &s->p, &s->base, err);
    if (!st && dt_peft_is(s->base)) st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: its base model %s is an adapter itself; merge that first", dir, s->base);
    if (!st && !(s->path = dt_path_join(dir, DT_PEFT_WEIGHTS))) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    return st ? st : dt_st_open(s->path, &s->file, err);
}

/* Which of the model's parameters the file has an A and a B for; a tensor that is neither is named. */
static duet_status find_wanted(const source *s, const duet_model *m, bool *wanted, duet_err *err) {
    char name[2][128];
    size_t found = 0;
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        const dt_view *v[2];
        if (p->is_vector || i == m->embed_param || !strcmp(p->name, "lm_head.weight")) continue;
        for (int k = 0; k < 2; k++) {
            dt_lora_tensor_name(p->name, k ? 'B' : 'A', name[k]);
            v[k] = dt_st_find(s->file, name[k]);
        }
        if (!v[0] && !v[1]) continue;
        if (!v[0] || !v[1]) return dt_fail(err, DUET_E_FORMAT, "%s: %s is missing", s->path, name[v[0] != NULL]);
        for (int k = 0; k < 2; k++)
            if (!dt_view_is(v[k], 2, (size_t)(k ? p->rows : s->p.rank), (size_t)(k ? s->p.rank : p->cols)) ||
                (v[k]->dtype != DT_F32 && v[k]->dtype != DT_BF16 && v[k]->dtype != DT_F16))
                return dt_fail(err, DUET_E_FORMAT, "%s: %s is not [%d, %d] of F32, BF16 or F16, as r and the base model say", s->path, name[k],
                               k ? p->rows : s->p.rank, k ? s->p.rank : p->cols);
        wanted[i] = true;
        found += 2;
    }
    if (found == dt_st_count(s->file) && found) return DUET_OK;
    for (size_t t = 0; t < dt_st_count(s->file); t++) {
        bool known = false;
        for (int i = 0; i < m->n_param && !known; i++) {
            for (int k = 0; k < 2 && wanted[i]; k++) {
                dt_lora_tensor_name(m->param[i].name, k ? 'B' : 'A', name[k]);
                known = known || !strcmp(name[k], dt_st_name(s->file, t));
            }
        }
        if (!known)
            return dt_fail(err, DUET_E_UNSUPPORTED, "%s: %.100s belongs to no matrix of the base model's layers", s->path, dt_st_name(s->file, t));
    }
    return dt_fail(err, DUET_E_FORMAT, "%s: has no tensors", s->path);
}

static duet_status take_floats(const source *s, const char *param, char which, float *out, duet_err *err) {
    char name[128];
    size_t n = 0, bytes = 0;
    dt_lora_tensor_name(param, which, name);
    const dt_view *v = dt_st_find(s->file, name);
    if (!v || !dt_view_count(v, &n, &bytes)) return dt_fail(err, DUET_E_FORMAT, "%s: %s is missing", s->path, name);
    dt_view_to_f32(v, out);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(out[i])) return dt_fail(err, DUET_E_FORMAT, "%s: %s: number %zu is not finite; did training diverge?", s->path, name, i);
    return DUET_OK;
}

static duet_status apply(const source *s, duet_model *m, duet_err *err) {
    bool *wanted = dt_calloc((size_t)m->n_param, sizeof *wanted);
    duet_status st = wanted ? find_wanted(s, m, wanted, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", s->path);
    if (!st && (st = dt_lora_make(m, s->p.rank, s->p.alpha, wanted, s->base, err))) st = dt_fail_in(err, st, "%s", s->path);
    for (int i = 0; !st && i < m->lora->n_adapters; i++) {
        const dt_adapter *d = &m->lora->adapter[i];
        st = take_floats(s, m->param[d->param].name, 'A', m->lora->params + d->a, err);
        if (!st) st = take_floats(s, m->param[d->param].name, 'B', m->lora->params + d->b, err);
    }
    free(wanted);
    return st ? st : dt_model_publish(m, NULL, err);
}

duet_status dt_adapter_open(const char *dir, const duet_model_options *opt, duet_model **out, duet_err *err) {
    source s;
    duet_model *m = NULL;
    *out = NULL;
    duet_status st = open_source(dir, &s, err);
    if (!st) st = duet_model_open(s.base, opt, &m, err);
    if (!st) st = apply(&s, m, err);
    close_source(&s);
    if (st)
        duet_model_close(m);
    else
        *out = m;
    return st;
}

/* ---- merging ---- */

enum { MERGE_ROWS = 16 }; /* of one task */

typedef struct merge {
    duet_model *m; /* of it only names, files and adapters: no weights are held */
    dt_pool *pool;
    bool bf16;
    const dt_param *p; /* in turn */
    const dt_adapter *d; /* of it; NULL = none */
    size_t n, width;     /* rows; a vector is one */
    size_t row_bytes;
    uint8_t *out;
} merge;

/* Row r: W + s B A, the sum over the rank in double, rounded once. */
static void merge_row(const merge *g, size_t r, float *x) {
    const dt_param *p = g->p;
    const dt_lora *a = g->m->lora;
    if (p->is_vector) /* the change of a file's rows may move single elements */
        for (size_t i = 0; i < g->width; i++)
            dt_tensor_floats(&p->file, i, 1, g->m->cfg.d_head, 0, 1, x + i);
    else
        dt_tensor_floats(&p->file, r, g->width, g->m->cfg.d_head, 0, g->width, x);
    if (!g->d) return;
    const float *b = a->params + g->d->b + r * (size_t)a->rank;
    for (size_t i = 0; i < g->width; i++) {
        double sum = 0;
        for (size_t j = 0; j < (size_t)a->rank; j++)
            sum += (double)b[j] * (double)a->params[g->d->a + j * g->width + i];
        x[i] = (float)((double)x[i] + a->alpha / a->rank * sum);
    }
}

static void merge_task(void *arg, size_t task, int thread) {
    const merge *g = arg;
    size_t end = (task + 1) * MERGE_ROWS < g->n ? (task + 1) * MERGE_ROWS : g->n;
    (void)thread;
    for (size_t r = task * MERGE_ROWS; r < end; r++) {
        uint8_t *row = g->out + r * g->row_bytes;
        float *x = (float *)(void *)row; /* with bf16 the row has room for floats, and is narrowed in place */
        merge_row(g, r, x);
    }
}

static duet_status merge_fill(void *user, size_t item, dt_atomic *out, duet_err *err) {
    merge *g = user;
    const dt_lora *a = g->m->lora;
    g->p = &g->m->param[item];
    g->d = NULL;
    for (int i = 0; i < a->n_adapters; i++)
        if (a->adapter[i].param == (int)item) g->d = &a->adapter[i];
    g->n = g->p->is_vector ? 1 : (size_t)g->p->rows;
    g->width = (size_t)g->p->cols;
    g->row_bytes = g->width * sizeof(float);
    g->out = dt_pages_alloc(g->n * g->row_bytes);
    if (!g->out) return dt_fail(err, DUET_E_NOMEM, "no memory to merge %s", g->p->name);
    dt_pool_run(g->pool, (g->n + MERGE_ROWS - 1) / MERGE_ROWS, merge_task, g);
    size_t count = g->n * g->width;
    const float *x = (const float *)(const void *)g->out;
    uint16_t *half = (uint16_t *)(void *)g->out;
    duet_status st = DUET_OK;
    for (size_t i = 0; i < count && !st; i++)
        if (!isfinite(x[i])) st = dt_fail(err, DUET_E_FORMAT, "%s: number %zu is not finite", g->p->name, i);
    for (size_t i = 0; g->bf16 && i < count; i++) { /* ascending: what is overwritten has been read */
        float v;
        memcpy(&v, g->out + i * sizeof v, sizeof v);
        uint16_t h = dt_f32_to_bf16(v);
        memcpy(half + i, &h, sizeof h);
    }
    if (!st) st = dt_atomic_add(out, g->out, count * (g->bf16 ? sizeof *half : sizeof *x), err);
    dt_pages_free(g->out, g->n * g->row_bytes);
    return st;
}

/* The model of an adapter without any weights: its parameters where its files have them. */
static duet_status bind_source(const source *s, duet_model **out, duet_err *err) {
    dt_model_files *files = NULL;
    duet_status st = dt_model_files_open(s->base, &files, err);
    if (!st) st = dt_model_bind(&files->cfg, false, out, err);
    if (st) {
        dt_model_files_close(files);
        return st;
    }
    (*out)->files = files;
    (*out)->gen = files->gen;
    return dt_model_find_tensors(*out, err);
}

duet_status duet_model_merge(const char *path, const char *dir, bool bf16, int n_threads, duet_err *err) {
    source s = {.p = {.rank = 0}};
    merge g = {.bf16 = bf16};
    dt_st_item *items = NULL;
    char *file = NULL;

    if (!dt_peft_is(path)) return dt_fail(err, DUET_E_USAGE, "%s: no folder with an adapter (%s)", path, DT_PEFT_CONFIG);
    duet_status st = open_source(path, &s, err);
    if (!st) st = bind_source(&s, &g.m, err);
    if (!st) st = apply(&s, g.m, err);
    if (!st) st = dt_pool_create(n_threads, &g.pool, err);
    if (!st) st = dt_mkdirs(dir, err);
    if (st) goto done;
    items = dt_calloc((size_t)g.m->n_param, sizeof *items);
    file = dt_path_join(dir, "model.safetensors");
    if (!items || !file) {
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
        goto done;
    }
    for (int i = 0; i < g.m->n_param; i++) {
        const dt_param *p = &g.m->param[i];
        items[i] = (dt_st_item){.name = p->name, .view = {.dtype = bf16 ? DT_BF16 : DT_F32, .n_dims = p->is_vector ? 1 : 2}};
        items[i].view.dims[0] = (size_t)(p->is_vector ? p->cols : p->rows);
        items[i].view.dims[1] = (size_t)(p->is_vector ? 0 : p->cols);
    }
    st = dt_st_stream(file, items, (size_t)g.m->n_param, NULL, 0, merge_fill, &g, err);
    g.m->cfg.dtype = bf16 ? DT_BF16 : DT_F32;
    if (!st) st = dt_hf_config_write(dir, &g.m->cfg, err);
    if (!st) st = dt_hf_generation_write(dir, &g.m->gen, err);
done:
    dt_pool_destroy(g.pool);
    duet_model_close(g.m);
    close_source(&s);
    free(items);
    free(file);
    return st;
}
