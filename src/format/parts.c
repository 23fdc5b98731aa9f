/* Which tensors a model of a configuration has, with their shapes. */
#include "format/parts.h"

#include <string.h>

enum { MAX_PARTS = 16 };

typedef struct part {
    const char *name;
    size_t d0, d1; /* d1 0: a vector */
} part;

static size_t layer_parts(const dt_hf_config *c, part out[MAX_PARTS]) {
    const size_t D = (size_t)c->d_model, F = (size_t)c->d_ffn, E = (size_t)c->d_head;
    const size_t HE = (size_t)c->n_heads * E, KE = (size_t)c->n_kv * E;
    const struct {
        part p;
        bool there;
    } all[MAX_PARTS] = {
        {{"attn_norm.weight", D, 0},           true         },
        {{"attn_q.weight", HE, D},             true         },
        {{"attn_q.bias", HE, 0},               c->qkv_bias  },
        {{"attn_k.weight", KE, D},             true         },
        {{"attn_k.bias", KE, 0},               c->qkv_bias  },
        {{"attn_v.weight", KE, D},             true         },
        {{"attn_v.bias", KE, 0},               c->qkv_bias  },
        {{"attn_q_norm.weight", E, 0},         c->qk_norm   },
        {{"attn_k_norm.weight", E, 0},         c->qk_norm   },
        {{"attn_output.weight", D, HE},        true         },
        {{"post_attention_norm.weight", D, 0}, c->post_norms},
        {{"ffn_norm.weight", D, 0},            true         },
        {{"ffn_gate.weight", F, D},            true         },
        {{"ffn_up.weight", F, D},              true         },
        {{"ffn_down.weight", D, F},            true         },
        {{"post_ffw_norm.weight", D, 0},       c->post_norms},
    };
    size_t n = 0;
    for (size_t i = 0; i < MAX_PARTS; i++)
        if (all[i].there)
            out[n++] = all[i].p;
    return n;
}

bool dt_gguf_part(const dt_hf_config *c, size_t i, char name[DT_GGUF_NAME], dt_view *shape) {
    const size_t V = (size_t)c->n_vocab, D = (size_t)c->d_model;
    part layer[MAX_PARTS], p = {0};
    const size_t n = layer_parts(c, layer), in_layers = n * (size_t)c->n_layers;
    if (i == 0) {
        p = (part){"token_embd.weight", V, D};
    } else if (i <= in_layers) {
        p = layer[(i - 1) % n];
        snprintf(name, DT_GGUF_NAME, "blk.%zu.%s", (i - 1) / n, p.name);
    } else if (i == in_layers + 1) {
        p = (part){"output_norm.weight", D, 0};
    } else if (i == in_layers + 2 && !c->tied) {
        p = (part){"output.weight", V, D};
    } else {
        return false;
    }
    if (i == 0 || i > in_layers)
        snprintf(name, DT_GGUF_NAME, "%s", p.name);
    *shape = (dt_view){
        .n_dims = p.d1 ? 2 : 1, .dims = {p.d0, p.d1}
    };
    return true;
}

const dt_view *dt_part_find(const dt_part_files *f, const dt_hf_config *c, const char *gguf, char own[DT_GGUF_NAME],
                            dt_gguf_change *change) {
    *change = DT_GGUF_SAME;
    if (f->gguf) {
        snprintf(own, DT_GGUF_NAME, "%s", gguf);
        return dt_gguf_find(f->gguf, gguf);
    }
    return dt_gguf_name_to_hf(c, gguf, own, change) ? dt_hf_weights_find(f->hf, own) : NULL;
}

duet_status dt_part_check(const dt_part_files *f, const dt_hf_config *c, size_t *n_params, duet_err *err) {
    const char *config = f->gguf ? "the metadata" : "config";
    char gguf[DT_GGUF_NAME], own[DT_GGUF_NAME], is[96], should[96];
    dt_gguf_change change;
    dt_view want;
    dt_buf bad = {0};
    size_t n_bad = 0, n = 0;
    *n_params = 0;
    for (size_t i = 0; dt_gguf_part(c, i, gguf, &want); i++) {
        const dt_view *v = dt_part_find(f, c, gguf, own, &change);
        dt_view_count(&want, &n, NULL);
        *n_params += n;
        if ((v && dt_view_is(v, want.n_dims, want.dims[0], want.dims[1])) || n_bad++ >= 4)
            continue;
        dt_buf_addf(&bad, "%s%s", bad.len ? "; " : "", own);
        if (!v) {
            dt_buf_adds(&bad, " is missing");
            continue;
        }
        dt_view_shape_str(v, is);
        dt_view_shape_str(&want, should);
        dt_buf_addf(&bad, " has shape %s, %s says %s", is, config, should);
    }
    duet_status st = DUET_OK;
    if (n_bad)
        st = dt_fail(err, DUET_E_FORMAT, "%s: %zu tensors do not fit %s: %s%s", f->path, n_bad,
                     f->gguf ? config : "config.json", bad.data ? bad.data : "", n_bad > 4 ? "; ..." : "");
    dt_buf_clear(&bad);
    return st;
}
