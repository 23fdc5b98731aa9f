/* GGUF metadata as a model configuration, every number checked as for config.json. */
#include "format/gguf_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static const struct {
    const char *gguf;
    dt_arch arch;
} archs[] = {
    {"qwen3",  DT_ARCH_QWEN3 },
    {"qwen2",  DT_ARCH_QWEN2 },
    {"llama",  DT_ARCH_LLAMA }, /* and mistral */
    {"gemma3", DT_ARCH_GEMMA3},
};

const char *dt_gguf_arch(dt_arch arch) {
    for (size_t i = 0; i < DT_COUNT(archs); i++)
        if (archs[i].arch == arch)
            return archs[i].gguf;
    return "llama"; /* mistral: the same computation */
}

/* What is being read; after the first failure nothing is. */
typedef struct reader {
    const dt_gguf *g;
    const char *arch;
    duet_err *err;
    duet_status st;
} reader;

static void refuse(reader *r, const char *what) {
    if (!r->st)
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED, "%s: %s is not supported", dt_gguf_name(r->g), what);
}

/* <arch>.<key>, a whole number in lo..hi; missing: `def` if that is >= 0, else an error. */
static int number(reader *r, const char *key, int def, int lo, int hi) {
    char full[96];
    int64_t x = def;
    if (r->st)
        return def;
    snprintf(full, sizeof full, "%s.%s", r->arch, key);
    duet_status st = dt_gguf_int(r->g, full, lo, hi, &x, r->err);
    r->st = st == DUET_END && def >= 0 ? DUET_OK : dt_gguf_need(st, r->g, full, r->err);
    return (int)x;
}

static double real(reader *r, const char *key, double def, double lo, double hi) {
    char full[96];
    double x = def;
    if (r->st)
        return def;
    snprintf(full, sizeof full, "%s.%s", r->arch, key);
    duet_status st = dt_gguf_real(r->g, full, lo, hi, &x, r->err);
    r->st = st < 0 ? st : DUET_OK;
    return x;
}

/* A float as the shortest decimal that gives the same float: 1e-6 and not 9.99999997e-07, as config.json has it. */
static double shortest(double x) {
    char text[32];
    for (int digits = 6; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        const double y = strtod(text, NULL);
        if ((float)y == (float)x)
            return y;
    }
    return x;
}

static void read_arch(reader *r, char name[32], dt_hf_config *c) {
    dt_gguf_str s = {0};
    r->st =
        dt_gguf_need(dt_gguf_string(r->g, "general.architecture", &s, r->err), r->g, "general.architecture", r->err);
    for (size_t i = 0; !r->st && i < DT_COUNT(archs); i++) {
        if (!dt_gguf_str_is(s, archs[i].gguf))
            continue;
        dt_hf_config_start(c, archs[i].arch);
        snprintf(name, 32, "%s", archs[i].gguf);
        return;
    }
    if (!r->st)
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                        "%s: general.architecture %.*s is not supported; known are qwen3, qwen2, llama, "
                        "gemma3",
                        dt_gguf_name(r->g), (int)(s.n < 40 ? s.n : 40), s.s);
}

/* What would change the arithmetic and is not done here. */
static void refuse_unknown_parts(reader *r, const dt_hf_config *c) {
    if (number(r, "expert_count", 0, 0, 1 << 20) > 0)
        refuse(r, "a mixture of experts (expert_count)");
    if (number(r, "rope.dimension_count", c->d_head, 0, 1 << 20) != c->d_head)
        refuse(r, "rotation of a part of each head (rope.dimension_count)");
    if (number(r, "attention.value_length", c->d_head, 1, 1 << 20) != c->d_head)
        refuse(r, "another width of values than of keys (attention.value_length)");
    if (real(r, "final_logit_softcapping", 0, 0, 1e9) > 0)
        refuse(r, "a soft cap of the logits (final_logit_softcapping)");
    if (!r->st && c->qkv_bias && c->arch != DT_ARCH_QWEN2)
        refuse(r, "a bias of q, k and v (attn_q.bias) outside qwen2");
    if (!r->st && dt_gguf_find(r->g, "blk.0.attn_output.bias"))
        refuse(r, "a bias of the attention output (attn_output.bias)");
    if (!r->st && dt_gguf_find(r->g, "blk.0.ffn_down.bias"))
        refuse(r, "a bias in the feed-forward part (ffn_down.bias)");
}

/* ---- llama3 rope scaling, a tensor of divisors ---- */

void dt_gguf_rope_divisors(const dt_hf_config *c, float *out) {
    for (int j = 0; j < c->d_head / 2; j++) {
        const double wave = 2 * pi * pow(c->rope_theta, 2.0 * j / c->d_head);
        const double s = (c->rope_original / wave - c->rope_low) / (c->rope_high - c->rope_low);
        const double d = wave < c->rope_original / c->rope_high  ? 1
                         : wave > c->rope_original / c->rope_low ? c->rope_factor
                                                                 : 1 / ((1 - s) / c->rope_factor + s);
        out[j] = (float)d;
    }
}

static bool same_divisors(const dt_hf_config *c, const float *want) {
    float *mine = dt_calloc((size_t)c->d_head / 2, sizeof *mine);
    bool same = mine != NULL;
    if (mine)
        dt_gguf_rope_divisors(c, mine);
    for (int j = 0; same && j < c->d_head / 2; j++)
        same = fabs((double)mine[j] - (double)want[j]) <= 1e-4 * (double)want[j];
    free(mine);
    return same;
}

/* The number nearest to x that people would write: x itself where none is within 1e-3 of it. */
static double tidy(double x) {
    const double whole = round(x);
    return whole > 0 && fabs(x - whole) < 1e-3 * whole ? whole : x;
}

/* Finds the four numbers of llama3 scaling again. The factor is the largest divisor. Between the two ends 1/divisor is
 * (1 - s)/factor + s with s = original / (high - low) / wavelength - low / (high - low): a line through two of them
 * gives original / (high - low) and low / (high - low). Only two of original, low and high matter; low = 1 is what all
 * models have. With fewer than two in between high = 4 is taken, as all models have it. */
static bool find_scaling(dt_hf_config *c, const float *d) {
    const int n = c->d_head / 2;
    double x[2] = {0}, s[2] = {0};
    int found = 0;
    c->rope_factor = 1;
    for (int j = 0; j < n; j++)
        c->rope_factor = fmax(c->rope_factor, (double)d[j]);
    c->rope_factor = tidy(c->rope_factor);
    for (int j = 0; j < n; j++) {
        const double t = (1 / (double)d[j] - 1 / c->rope_factor) / (1 - 1 / c->rope_factor);
        if (!(t > 1e-3 && t < 1 - 1e-3))
            continue;
        const int at = found ? 1 : 0; /* the first and the last */
        x[at] = 1 / (2 * pi * pow(c->rope_theta, 2.0 * j / c->d_head));
        s[at] = t;
        found++;
    }
    if (found >= 2) {
        const double a = (s[1] - s[0]) / (x[1] - x[0]), b = a * x[0] - s[0]; /* s = a x - b */
        c->rope_low = 1;
        c->rope_high = tidy(1 + 1 / b);
        c->rope_original = tidy(a * (c->rope_high - 1));
        if (b > 0 && same_divisors(c, d))
            return true;
    }
    c->rope_low = 1;
    c->rope_high = 4;
    c->rope_original = found == 1 ? tidy((3 * s[0] + 1) / x[0]) : 0;
    if (found == 1 && same_divisors(c, d))
        return true;
    for (c->rope_original = 32; c->rope_original < 1e8; c->rope_original *= 2)
        if (same_divisors(c, d))
            return true;
    return false;
}

static void read_divisors(reader *r, dt_hf_config *c) {
    const dt_view *v = dt_gguf_find(r->g, "rope_freqs.weight");
    float *d = NULL;
    if (r->st || !v)
        return;
    if (!dt_view_is(v, 1, (size_t)c->d_head / 2, 0) || v->dtype != DT_F32) {
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: rope_freqs.weight does not hold %d numbers of type F32",
                        dt_gguf_name(r->g), c->d_head / 2);
        return;
    }
    d = dt_calloc((size_t)c->d_head / 2, sizeof *d);
    if (!d) {
        r->st = dt_fail(r->err, DUET_E_NOMEM, "%s: no memory to read it", dt_gguf_name(r->g));
        return;
    }
    dt_view_to_f32(v, d);
    bool ones = true;
    for (int j = 0; j < c->d_head / 2; j++) {
        ones = ones && d[j] == 1.0f;
        if (!r->st && !(d[j] >= 1.0f && d[j] < 1e6f))
            r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: rope_freqs.weight: number %d is %g, outside 1..1e6",
                            dt_gguf_name(r->g), j, (double)d[j]);
    }
    if (!r->st && !ones) {
        c->rope_kind = DT_ROPE_LLAMA3;
        if (!find_scaling(c, d))
            r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                            "%s: rope_freqs.weight is no scaling of type llama3, the only one that is "
                            "supported",
                            dt_gguf_name(r->g));
    }
    free(d);
}

static void read_yarn(reader *r, dt_hf_config *c) {
    c->rope_original = number(r, "rope.scaling.original_context_length", c->max_pos, 1, 1 << 28);
    c->rope_fast = shortest(real(r, "rope.scaling.yarn_beta_fast", 32, 0, 1e6));
    c->rope_slow = shortest(real(r, "rope.scaling.yarn_beta_slow", 1, 0, 1e6));
    c->rope_attn = dt_hf_yarn_attn(c->rope_factor) * real(r, "rope.scaling.attn_factor", 1, 1e-3, 1e3);
    if (real(r, "rope.scaling.yarn_ext_factor", 1, -1e6, 1e6) != 1)
        refuse(r, "a yarn scaling with yarn_ext_factor other than 1");
}

/* A factor without a type is linear, as the format has it. */
static void read_rope(reader *r, dt_hf_config *c) {
    char key[96];
    dt_gguf_str type = {.s = "linear", .n = 6};
    c->rope_theta = shortest(real(r, "rope.freq_base", c->rope_theta, 1, 1e12));
    if (c->rope_local_theta > 0)
        c->rope_local_theta = shortest(real(r, "rope.freq_base_swa", c->rope_local_theta, 1, 1e12));
    const double factor = shortest(real(r, "rope.scaling.factor", 1, 0, 1e6));
    if (r->st)
        return;
    snprintf(key, sizeof key, "%s.rope.scaling.type", r->arch);
    duet_status st = dt_gguf_string(r->g, key, &type, r->err);
    const bool linear = dt_gguf_str_is(type, "linear"), yarn = dt_gguf_str_is(type, "yarn");
    if (st < 0)
        r->st = st;
    else if (!linear && !yarn && !dt_gguf_str_is(type, "none"))
        r->st = dt_fail(r->err, DUET_E_UNSUPPORTED,
                        "%s: %s %.*s is not supported; none, linear, yarn and llama3 (rope_freqs.weight) are",
                        dt_gguf_name(r->g), key, (int)(type.n < 30 ? type.n : 30), type.s);
    if (!r->st && factor > 0 && factor != 1 && (linear || yarn)) {
        c->rope_factor = factor;
        c->rope_kind = yarn ? DT_ROPE_YARN : DT_ROPE_LINEAR;
        if (yarn)
            read_yarn(r, c);
    }
    const bool scaled = c->rope_kind != DT_ROPE_NONE;
    read_divisors(r, c);
    if (scaled && c->rope_kind == DT_ROPE_LLAMA3)
        refuse(r, "rope_freqs.weight together with a scaling factor");
}

/* gemma3: all layers but each sixth, or as sliding_window_pattern says (a period, or a truth value a layer). Others
 * have the key where every layer is windowed. */
static void read_windows(reader *r, dt_hf_config *c) {
    char key[96];
    const int window = number(r, "attention.sliding_window", 0, 0, INT32_MAX);
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", r->arch);
    const dt_gguf_kv *kv = r->st ? NULL : dt_gguf_find_key(r->g, key);
    if (r->st || window == 0 || (c->arch != DT_ARCH_GEMMA3 && window >= c->max_pos))
        return;
    c->window = window;
    if (kv && kv->type == DT_GGUF_ARRAY && kv->elem == DT_GGUF_BOOL && kv->n >= (size_t)c->n_layers) {
        for (int l = 0; l < c->n_layers; l++)
            if (dt_gguf_int_at(kv, (size_t)l))
                dt_hf_config_window_layer(c, l);
        return;
    }
    dt_hf_config_window_layers(
        c, number(r, "attention.sliding_window_pattern", c->arch == DT_ARCH_GEMMA3 ? 6 : 0, 0, 1024));
}

/* ---- the whole ---- */

static void read_vocab(reader *r, dt_hf_config *c) {
    const dt_view *embd = r->st ? NULL : dt_gguf_find(r->g, "token_embd.weight");
    if (r->st)
        return;
    if (!embd || embd->n_dims != 2 || embd->dims[0] > 1 << 24) {
        r->st = dt_fail(r->err, DUET_E_FORMAT, "%s: %s", dt_gguf_name(r->g),
                        !embd ? "the tensor token_embd.weight is missing"
                              : "the tensor token_embd.weight is no matrix of up to "
                                "16777216 rows");
        return;
    }
    c->n_vocab = (int)embd->dims[0];
    c->dtype = embd->dtype == DT_F32 || embd->dtype == DT_F16 ? DT_F32 : DT_BF16;
    c->tied = dt_gguf_find(r->g, "output.weight") == NULL;
    c->qkv_bias = dt_gguf_find(r->g, "blk.0.attn_q.bias") != NULL;
}

static void read_token(reader *r, const char *key, int32_t *out) {
    int64_t id = -1;
    duet_status st = r->st ? r->st : dt_gguf_int(r->g, key, 0, INT32_MAX, &id, r->err);
    if (st < 0)
        r->st = st;
    *out = (int32_t)id;
}

duet_status dt_gguf_config(const dt_gguf *g, dt_hf_config *out, duet_err *err) {
    char arch[32] = "";
    dt_hf_config c;
    dt_hf_generation gen;
    reader r = {.g = g, .arch = arch, .err = err};
    dt_hf_config_start(&c, DT_ARCH_LLAMA);
    *out = (dt_hf_config){0};
    read_arch(&r, arch, &c);
    c.n_layers = number(&r, "block_count", -1, 1, 1024);
    c.d_model = number(&r, "embedding_length", -1, 1, 1 << 17);
    c.n_heads = number(&r, "attention.head_count", -1, 1, 4096);
    c.n_kv = number(&r, "attention.head_count_kv", r.st ? 1 : c.n_heads, 1, 4096);
    c.d_head = number(&r, "attention.key_length", 0, 2, 1024);
    c.d_ffn = number(&r, "feed_forward_length", -1, 1, 1 << 20);
    c.max_pos = number(&r, "context_length", -1, 1, 1 << 28);
    c.rms_eps = shortest(real(&r, "attention.layer_norm_rms_epsilon", 1e-6, 0, 1));
    if (!r.st && !c.d_head && c.d_model % c.n_heads)
        r.st = dt_fail(err, DUET_E_FORMAT,
                       "%s: %s.attention.key_length is missing and embedding_length %d is no multiple of %d heads",
                       dt_gguf_name(g), arch, c.d_model, c.n_heads);
    if (!r.st && !c.d_head)
        c.d_head = c.d_model / c.n_heads;
    read_vocab(&r, &c);
    refuse_unknown_parts(&r, &c);
    if (!r.st && c.d_head % 2)
        r.st = dt_fail(err, DUET_E_FORMAT, "%s: the width %d of a head is odd", dt_gguf_name(g), c.d_head);
    read_windows(&r, &c);
    read_rope(&r, &c);
    if (c.arch == DT_ARCH_GEMMA3 && c.n_layers == 62) /* Gemma 3 27B, which no key tells apart */
        c.attn_scalar = (double)c.d_model / c.n_heads;
    read_token(&r, "tokenizer.ggml.bos_token_id", &c.bos_id);
    if (!r.st)
        r.st = dt_gguf_generation(g, &gen, err);
    if (!r.st)
        r.st = dt_hf_config_check(&c, dt_gguf_name(g), err);
    if (r.st)
        return r.st;
    c.n_eos = gen.n_eos;
    memcpy(c.eos_ids, gen.eos_ids, sizeof c.eos_ids);
    *out = c;
    return DUET_OK;
}

/* ---- generation ---- */

static void add_end(dt_hf_generation *out, int32_t id) {
    for (int i = 0; i < out->n_eos; i++)
        if (out->eos_ids[i] == id)
            return;
    if (id >= 0 && out->n_eos < DT_MAX_EOS)
        out->eos_ids[out->n_eos++] = id;
}

/* Many files name one end token only, where the model's generation_config.json has several. Control tokens of these
 * spellings end an answer in the families that have them. */
static duet_status add_ends_by_text(const dt_gguf *g, dt_hf_generation *out, duet_err *err) {
    static const char *const ends[] = {"<|im_end|>",    "<|endoftext|>",   "<|eot_id|>",           "<|eom_id|>",
                                       "<end_of_turn>", "<|end_of_text|>", "<｜end▁of▁sentence｜>"};
    const dt_gguf_kv *tokens = NULL, *types = NULL;
    dt_gguf_str s;
    size_t at = 0;
    duet_status st = dt_gguf_array(g, "tokenizer.ggml.tokens", DT_GGUF_STRING, &tokens, err);
    if (st >= 0)
        st = dt_gguf_array(g, "tokenizer.ggml.token_type", DT_GGUF_I64, &types, err);
    if (st < 0 || !tokens)
        return st < 0 ? st : DUET_OK;
    for (size_t i = 0; i < tokens->n && i <= INT32_MAX && dt_gguf_next_str(tokens, &at, &s); i++) {
        if (s.n < 10 || s.s[0] != '<' || (types && i < types->n && dt_gguf_int_at(types, i) != 3)) /* 3: control */
            continue;
        for (size_t k = 0; k < DT_COUNT(ends); k++)
            if (dt_gguf_str_is(s, ends[k]))
                add_end(out, (int32_t)i);
    }
    return DUET_OK;
}

duet_status dt_gguf_generation(const dt_gguf *g, dt_hf_generation *out, duet_err *err) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int64_t k = -1;
    reader r = {.g = g, .arch = "general.sampling", .err = err};
    *out = (dt_hf_generation){.do_sample = -1, .temperature = -1, .top_p = -1, .min_p = -1, .top_k = -1};
    for (size_t i = 0; i < DT_COUNT(keys); i++) {
        int32_t id = -1;
        read_token(&r, keys[i], &id);
        add_end(out, id);
    }
    if (!r.st)
        r.st = add_ends_by_text(g, out, err);
    out->temperature = real(&r, "temp", -1, 0, 100);
    out->top_p = real(&r, "top_p", -1, 0, 1);
    out->min_p = real(&r, "min_p", -1, 0, 1);
    duet_status st = r.st ? r.st : dt_gguf_int(g, "general.sampling.top_k", 0, INT32_MAX, &k, err);
    if (st < 0)
        return st;
    out->top_k = (int)k;
    out->found = out->n_eos > 0 || out->temperature >= 0 || out->top_k >= 0;
    if (out->temperature >= 0)
        out->do_sample = out->temperature > 0;
    return DUET_OK;
}

duet_status dt_gguf_chat_template(const dt_gguf *g, dt_gguf_str *out, duet_err *err) {
    return dt_gguf_string(g, "tokenizer.chat_template", out, err);
}
