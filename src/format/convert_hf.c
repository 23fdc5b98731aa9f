/* A Hugging Face folder from a GGUF file, where that is exact: F32, F16 and BF16 tensors. */
#include "format/convert.h"
#include "format/gguf_export.h"

#include <stdlib.h>
#include <string.h>

typedef struct plan {
    const char *in;
    const duet_convert_options *opt;
    dt_pool *pool;
    dt_gguf *g;
    dt_hf_config cfg;
    dt_carry *carry;
    dt_st_item *items;
    char (*names)[DT_GGUF_NAME];
    size_t n, done, total;
    uint8_t *room;
    dt_atomic *out;
} plan;

static void drop(plan *p) {
    dt_gguf_close(p->g);
    free(p->carry);
    free(p->items);
    free(p->names);
    free(p->room);
}

/* A vector that is stored as F32 beside BF16 matrices has been BF16 if every number is one. */
static bool all_bf16(const dt_view *v, float add) {
    size_t n = 0;
    bool all = true;
    dt_view_count(v, &n, NULL);
    const float *x = v->data;
    for (size_t i = 0; i < n && all; i++) {
        float f;
        memcpy(&f, x + i, sizeof f);
        f += add;
        all = dt_bf16_to_f32(dt_f32_to_bf16(f)) == f;
    }
    return all;
}

static duet_status plan_tensor(plan *p, const char *name, const dt_view *v, duet_err *err) {
    dt_gguf_change change = DT_GGUF_SAME;
    dt_carry *c = &p->carry[p->n];
    if (!strcmp(name, "rope_freqs.weight")) /* config.json says it */
        return DUET_OK;
    if (!dt_gguf_name_to_hf(&p->cfg, name, p->names[p->n], &change))
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: the tensor %.80s is no part of a %s model that is known", p->in,
                       name, p->cfg.model_type);
    if (v->dtype != DT_F32 && v->dtype != DT_F16 && v->dtype != DT_BF16)
        return dt_fail(
            err, DUET_E_UNSUPPORTED,
            "%s: %.80s is %s: a folder of its rounded numbers would not be the model it was made from; only F32, F16 "
            "and BF16 files become folders",
            p->in, name, dt_dtype_name(v->dtype));
    *c = (dt_carry){.src = v, .dtype = v->dtype, .E = (size_t)p->cfg.d_head};
    c->add = change == DT_GGUF_NORM_PLUS_1 ? -1 : 0;
    c->rows = change == DT_GGUF_ROPE_ROWS ? DT_ROWS_TO_HF : DT_ROWS_SAME;
    if (p->cfg.dtype == DT_BF16 && v->dtype == DT_F32 && all_bf16(v, c->add))
        c->dtype = DT_BF16;
    else if (v->dtype == DT_F16) /* the one 16-bit type that config.json says here is bfloat16 */
        c->dtype = DT_F32;
    if (c->dtype == DT_F32)
        p->cfg.dtype = DT_F32;
    dt_st_item *item = &p->items[p->n];
    *item = (dt_st_item){.name = p->names[p->n], .view = *v};
    item->view.dtype = c->dtype;
    item->view.data = NULL;
    size_t bytes = 0;
    dt_view_count(&item->view, NULL, &bytes);
    p->total += bytes;
    p->n++;
    return DUET_OK;
}

static duet_status put(void *user, const void *bytes, size_t n, duet_err *err) {
    plan *p = user;
    duet_status st = dt_atomic_add(p->out, bytes, n, err);
    p->done += n;
    if (!st && !dt_tell_progress(p->opt, p->done, p->total))
        st = dt_fail(err, DUET_E_CANCELLED, "stopped; no weights were written");
    return st;
}

static duet_status fill(void *user, size_t i, dt_atomic *out, duet_err *err) {
    plan *p = user;
    p->out = out;
    return dt_carry_tensor(&p->carry[i], p->names[i], p->pool, p->room, put, p, err);
}

duet_status dt_convert_to_hf(const char *in, const char *out, const duet_convert_options *opt, dt_pool *pool,
                             duet_err *err) {
    plan p = {.in = in, .opt = opt, .pool = pool};
    dt_hf_generation gen;
    char *path = dt_path_join(out, "model.safetensors");
    p.room = dt_carry_room();
    duet_status st = path && p.room ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory to convert it", in);
    if (!st && opt && opt->type)
        st = dt_fail(err, DUET_E_USAGE,
                     "%s: a folder gets the types of the file: no --type (or should the name end in .gguf?)", out);
    if (!st)
        st = dt_gguf_open(in, &p.g, err);
    if (!st)
        st = dt_gguf_config(p.g, &p.cfg, err);
    if (!st)
        st = dt_gguf_generation(p.g, &gen, err);
    const size_t n = st ? 0 : dt_gguf_count(p.g);
    p.carry = dt_calloc(n, sizeof *p.carry);
    p.items = dt_calloc(n, sizeof *p.items);
    p.names = dt_calloc(n, sizeof *p.names);
    if (!st && (!p.carry || !p.items || !p.names))
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to convert it", in);
    for (size_t i = 0; !st && i < n; i++)
        st = plan_tensor(&p, dt_gguf_tensor_name(p.g, i), dt_gguf_view(p.g, i), err);
    if (!st)
        st = dt_mkdirs(out, err);
    if (!st && !(opt && opt->no_tokenizer))
        st = dt_gguf_write_tokenizer(p.g, out, err);
    if (!st)
        st = dt_hf_config_write(out, &p.cfg, err);
    if (!st)
        st = dt_hf_generation_write(out, &gen, err);
    if (!st)
        st = dt_st_stream(path, p.items, p.n, NULL, 0, fill, &p, err);
    drop(&p);
    free(path);
    return st;
}
