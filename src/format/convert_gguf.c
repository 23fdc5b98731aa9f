/* A GGUF file from a Hugging Face folder or from another GGUF file: which tensors, which types, which keys. */
#include "format/convert.h"
#include "format/gguf_export.h"
#include "format/parts.h"
#include "tensor/quant.h"

#include <stdlib.h>
#include <string.h>

/* What --type says. file_type: general.file_type, by ggml's numbers. */
static const struct recipe {
    const char *name;
    dt_dtype most; /* of the matrices */
    int file_type;
    bool mixed; /* Q6_K for half of attn_v and ffn_down */
} recipes[] = {
    {"f32",    DT_F32,  0,  false},
    {"f16",    DT_F16,  1,  false},
    {"bf16",   DT_BF16, 32, false},
    {"q4_0",   DT_Q4_0, 2,  false},
    {"q8_0",   DT_Q8_0, 7,  false},
    {"q6_k",   DT_Q6_K, 18, false},
    {"q4_k_m", DT_Q4_K, 15, true },
};

typedef struct item {
    char name[DT_GGUF_NAME];
    dt_carry carry;
} item;

typedef struct plan {
    const char *in;
    const struct recipe *recipe; /* NULL = types stay */
    dt_hf_config cfg;
    dt_hf_generation gen;
    dt_gguf *gguf; /* the source, one of the two */
    dt_hf_weights *hf;
    item *items;
    size_t n, cap;
    float *divisors; /* of rope_freqs.weight */
    dt_view divisors_view;
} plan;

static void drop(plan *p) {
    dt_gguf_close(p->gguf);
    dt_hf_weights_close(p->hf);
    free(p->items);
    free(p->divisors);
}

/* ---- types ---- */

/* Half of the layers, the first and last eighth among them: those in which coarse values hurt most. As the usual mix
 * has it. */
static bool wants_more(int layer, int n_layers) {
    return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

static dt_dtype fitting(dt_dtype want, size_t cols) {
    if (want == DT_Q4_K && cols % DT_QK_K)
        want = DT_Q5_0;
    if (want == DT_Q6_K && cols % DT_QK_K)
        want = DT_Q8_0;
    return cols % dt_dtype_block(want) ? DT_F16 : want;
}

static dt_dtype type_of(const plan *p, const char *name, const dt_view *src) {
    const struct recipe *r = p->recipe;
    const char *part = strrchr(name, '.'); /* of "blk.3.attn_v.weight": attn_v.weight */
    if (src->n_dims < 2 || strstr(name, "norm"))
        return DT_F32;
    if (!r)
        return src->dtype;
    if (!dt_dtype_is_quantised(r->most))
        return r->most;
    const bool head = !strcmp(name, "output.weight") || (p->cfg.tied && !strcmp(name, "token_embd.weight"));
    if (head)
        return fitting(r->most == DT_Q8_0 ? DT_Q8_0 : DT_Q6_K, src->dims[1]);
    const bool picked = part && (strstr(name, ".attn_v.weight") || strstr(name, ".ffn_down.weight"));
    const int layer = dt_gguf_layer_of(name);
    if (r->mixed && picked && layer >= 0 && wants_more(layer, p->cfg.n_layers))
        return fitting(DT_Q6_K, src->dims[1]);
    return fitting(r->most, src->dims[1]);
}

/* ---- tensors ---- */

static duet_status add(plan *p, const char *name, const dt_view *src, dt_gguf_change change, duet_err *err) {
    if (p->n == p->cap) {
        const size_t cap = p->cap ? 2 * p->cap : 256;
        item *grown = dt_realloc(p->items, cap, sizeof *grown);
        if (!grown)
            return dt_fail(err, DUET_E_NOMEM, "%s: no memory for its %zu tensors", p->in, cap);
        p->items = grown;
        p->cap = cap;
    }
    item *t = &p->items[p->n++];
    *t = (item){
        .carry = {.src = src, .E = (size_t)p->cfg.d_head}
    };
    snprintf(t->name, sizeof t->name, "%s", name);
    t->carry.dtype = type_of(p, name, src);
    t->carry.add = change == DT_GGUF_NORM_PLUS_1 ? 1 : 0;
    t->carry.rows = change == DT_GGUF_ROPE_ROWS ? DT_ROWS_FROM_HF : DT_ROWS_SAME;
    return DUET_OK;
}

/* Weights that no part of the model uses: a name we do not know may be a part we do not do. */
static duet_status refuse_others(const plan *p, duet_err *err) {
    size_t known = 0;
    for (size_t i = 0; i < dt_hf_weights_count(p->hf); i++) {
        const char *name = dt_hf_weights_name(p->hf, i);
        const dt_view *v = dt_hf_weights_view(p->hf, i);
        bool used = strstr(name, ".rotary_emb.inv_freq") || (p->cfg.tied && !strcmp(name, "lm_head.weight"));
        for (size_t k = 0; !used && k < p->n; k++) /* mostly in the same order */
            used = p->items[(known + k) % p->n].carry.src == v;
        if (!used)
            return dt_fail(err, DUET_E_UNSUPPORTED, "%s: the tensor %.80s is no part of a %s model that is known",
                           p->in, name, p->cfg.model_type);
        known++;
    }
    return DUET_OK;
}

static duet_status plan_divisors(plan *p, duet_err *err) {
    const size_t n = (size_t)p->cfg.d_head / 2;
    if (p->cfg.rope_kind != DT_ROPE_LLAMA3)
        return DUET_OK;
    p->divisors = dt_calloc(n, sizeof *p->divisors);
    if (!p->divisors)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to convert it", p->in);
    dt_gguf_rope_divisors(&p->cfg, p->divisors);
    p->divisors_view = (dt_view){.dtype = DT_F32, .n_dims = 1, .dims = {n}, .data = p->divisors};
    return add(p, "rope_freqs.weight", &p->divisors_view, DT_GGUF_SAME, err);
}

static duet_status plan_folder(plan *p, duet_err *err) {
    char name[DT_GGUF_NAME], own[DT_GGUF_NAME];
    size_t n_params = 0;
    dt_gguf_change change;
    dt_view shape;
    duet_status st = dt_hf_config_read(p->in, &p->cfg, err);
    if (!st)
        st = dt_hf_generation_read(p->in, &p->gen, err);
    if (!st)
        st = dt_hf_weights_open(p->in, &p->hf, err);
    const dt_part_files files = {.path = p->in, .hf = p->hf};
    if (!st)
        st = dt_part_check(&files, &p->cfg, &n_params, err);
    if (!st)
        st = plan_divisors(p, err);
    for (size_t i = 0; !st && dt_gguf_part(&p->cfg, i, name, &shape); i++) {
        const dt_view *v = dt_part_find(&files, &p->cfg, name, own, &change);
        if (v->dtype != DT_F32 && v->dtype != DT_BF16 && v->dtype != DT_F16)
            st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: %.80s is %s; F32, BF16 and F16 are supported", p->in, own,
                         dt_dtype_name(v->dtype));
        else
            st = add(p, name, v, change, err);
    }
    return st ? st : refuse_others(p, err);
}

static duet_status plan_gguf(plan *p, duet_err *err) {
    bool again = false;
    duet_status st = dt_gguf_open(p->in, &p->gguf, err);
    if (!st)
        st = dt_gguf_config(p->gguf, &p->cfg, err);
    for (size_t i = 0; !st && i < dt_gguf_count(p->gguf); i++) {
        const dt_view *v = dt_gguf_view(p->gguf, i);
        st = add(p, dt_gguf_tensor_name(p->gguf, i), v, DT_GGUF_SAME, err);
        if (!st)
            again = again || (dt_dtype_is_quantised(v->dtype) && p->items[p->n - 1].carry.dtype != v->dtype);
    }
    if (!st && again && p->recipe && dt_dtype_is_quantised(p->recipe->most))
        dt_log(DT_LOG_WARN,
               "%s is quantised already: quantising it again loses more than going from the original would", p->in);
    return st;
}

/* ---- keys ---- */

static const char *base_name(const char *path, char out[128]) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    snprintf(out, 128, "%.*s", (int)(n - from < 127 ? n - from : 127), path + from);
    return out;
}

static duet_status put_keys(const plan *p, dt_gguf_writer *w, duet_err *err) {
    char name[128];
    bool named = true;
    static const char *const ours[] = {"general.alignment", "general.quantization_version", "split.no", "split.count",
                                       "split.tensors.count"};
    duet_status st = DUET_OK;
    if (p->hf) {
        st = dt_gguf_put_config(w, base_name(p->in, name), &p->cfg, &p->gen, err);
        if (st)
            return dt_fail_in(err, st, "%s", p->in);
        st = dt_gguf_put_tokenizer(w, p->in, &p->cfg, &p->gen, &named, err);
        if (!st && !named)
            dt_log(DT_LOG_WARN,
                   "%s: its tokenizer prepares text in a way that has no name in the format: duet finds it in the file, "
                   "other programs may cut text into other tokens",
                   p->in);
    }
    for (size_t i = 0; p->gguf && i < dt_gguf_n_keys(p->gguf); i++) {
        const dt_gguf_kv *kv = dt_gguf_key(p->gguf, i);
        bool skip = p->recipe && !strcmp(kv->key, "general.file_type");
        for (size_t k = 0; k < DT_COUNT(ours); k++)
            skip = skip || !strcmp(kv->key, ours[k]);
        if (!skip)
            dt_gguf_put_kv(w, kv);
    }
    if (p->recipe || p->hf)
        dt_gguf_put_u32(w, "general.file_type",
                        p->recipe                 ? (uint32_t)p->recipe->file_type
                        : p->cfg.dtype == DT_BF16 ? 32
                                                  : 0);
    dt_gguf_put_u32(w, "general.quantization_version", 2);
    return st;
}

/* ---- the whole ---- */

typedef struct sink {
    dt_gguf_writer *w;
    const duet_convert_options *opt;
    size_t done, total;
} sink;

static duet_status put(void *user, const void *p, size_t n, duet_err *err) {
    sink *s = user;
    duet_status st = dt_gguf_add(s->w, p, n, err);
    s->done += n;
    if (!st && !dt_tell_progress(s->opt, s->done, s->total))
        st = dt_fail(err, DUET_E_CANCELLED, "stopped; nothing was written");
    return st;
}

static duet_status choose_recipe(const char *type, const struct recipe **out, duet_err *err) {
    *out = NULL;
    if (!type)
        return DUET_OK;
    for (size_t i = 0; i < DT_COUNT(recipes); i++)
        if (!strcmp(recipes[i].name, type))
            *out = &recipes[i];
    return *out ? DUET_OK
                : dt_fail(err, DUET_E_USAGE,
                          "type %.20s is unknown; known are f32, bf16, f16, q8_0, q6_k, q4_k_m, q4_0", type);
}

duet_status dt_convert_to_gguf(const char *in, bool from_folder, const char *out, const duet_convert_options *opt,
                               dt_pool *pool, duet_err *err) {
    plan p = {.in = in};
    sink s = {.opt = opt};
    uint8_t *room = dt_carry_room();
    duet_status st =
        room ? choose_recipe(opt ? opt->type : NULL, &p.recipe, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", in);
    if (!st)
        st = from_folder ? plan_folder(&p, err) : plan_gguf(&p, err);
    if (!st)
        st = dt_gguf_create(out, &s.w, err);
    if (!st)
        st = put_keys(&p, s.w, err);
    for (size_t i = 0; !st && i < p.n; i++) {
        dt_view v = *p.items[i].carry.src;
        v.dtype = p.items[i].carry.dtype;
        dt_gguf_declare(s.w, p.items[i].name, &v);
    }
    if (!st)
        st = dt_gguf_begin(s.w, err);
    s.total = s.w ? dt_gguf_declared_bytes(s.w) : 0;
    for (size_t i = 0; !st && i < p.n; i++)
        st = dt_carry_tensor(&p.items[i].carry, p.items[i].name, pool, room, put, &s, err);
    if (!st)
        st = dt_gguf_end(s.w, err);
    else
        dt_gguf_abandon(s.w);
    drop(&p);
    free(room);
    return st;
}
