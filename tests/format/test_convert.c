/* Conversion: a folder into GGUF and back gives the same bytes, types are what was asked for, the model in the new file
 * says the same, and what cannot be exact is refused. */
#include "duet/convert.h"
#include "duet/text.h"
#include "format/folder.h"
#include "format/gguf_model.h"

#include <math.h>

#define SIZES                                                                                                          \
    "\"num_hidden_layers\":3,\"hidden_size\":64,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,"  \
    "\"intermediate_size\":96,\"vocab_size\":37,\"max_position_embeddings\":128,\"initializer_range\":0.2,\"eos_"      \
    "token_id\":36,"

static const struct {
    const char *name, *config;
} models[] = {
    {"qwen3",  "{\"model_type\":\"qwen3\"," SIZES "\"tie_word_embeddings\":true}"                            },
    {"bf16",   "{\"model_type\":\"qwen3\"," SIZES "\"torch_dtype\":\"bfloat16\"}"                            },
    {"qwen2",  "{\"model_type\":\"qwen2\"," SIZES "\"rope_theta\":1000000}"                                  },
    {"llama",
     "{\"model_type\":\"llama\"," SIZES "\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
     "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":64}}"                },
    {"gemma3", "{\"model_type\":\"gemma3_text\"," SIZES "\"query_pre_attn_scalar\":16,\"sliding_window\":24}"},
};

static const char *at(const folder *f, const char *name) {
    static char path[3][512];
    static int i = 0;
    i = (i + 1) % 3;
    return folder_at(f, name, path[i], sizeof path[i]);
}

static void convert(const char *in, const char *out, const char *type) {
    duet_err err = {{0}};
    const duet_convert_options o = {.type = type, .n_threads = 2};
    if (duet_convert(in, out, &o, &err))
        fail_msg("%s", err.text);
}

static void make_model(const char *config, const char *dir) {
    duet_err err = {{0}};
    duet_model *m = NULL;
    if (duet_model_new(config, strlen(config), 5, &m, &err) || duet_model_save(m, dir, &err))
        fail_msg("%s", err.text);
    duet_model_close(m);
}

static void logits_of(const char *path, float *out) {
    duet_err err = {{0}};
    duet_model *m = NULL;
    int32_t ids[40];
    for (int i = 0; i < 40; i++)
        ids[i] = i * 7 % 37;
    if (duet_model_open(path, NULL, &m, &err) || duet_model_logits(m, ids, 40, 1, out, &err))
        fail_msg("%s", err.text);
    duet_model_close(m);
}

/* Every tensor of b is in a with the same type and bytes, and none besides. */
static void same_weights(const char *name, const char *a, const char *b) {
    duet_err err = {{0}};
    dt_hf_weights *x = NULL, *y = NULL;
    if (dt_hf_weights_open(a, &x, &err) || dt_hf_weights_open(b, &y, &err))
        fail_msg("%s", err.text);
    assert_int_equal(dt_hf_weights_count(x), dt_hf_weights_count(y));
    for (size_t i = 0; i < dt_hf_weights_count(y); i++) {
        const dt_view *v = dt_hf_weights_find(x, dt_hf_weights_name(y, i)), *u = dt_hf_weights_view(y, i);
        size_t n = 0;
        dt_view_count(u, NULL, &n);
        if (!v || v->dtype != u->dtype || memcmp(v->data, u->data, n))
            fail_msg("%s: %s is another one", name, dt_hf_weights_name(y, i));
    }
    dt_hf_weights_close(x);
    dt_hf_weights_close(y);
}

static void test_there_and_back(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(models); i++) {
        folder f = folder_make();
        float a[40 * 37], b[40 * 37];
        dt_buf config = {0}, again = {0};
        duet_err err = {{0}};
        make_model(models[i].config, at(&f, "M"));
        convert(at(&f, "M"), at(&f, "m.gguf"), NULL);
        logits_of(at(&f, "M"), a);
        logits_of(at(&f, "m.gguf"), b);
        for (size_t k = 0; k < DT_COUNT(a); k++)
            if (fabsf(a[k] - b[k]) > 1e-5f)
                fail_msg("%s: logit %zu is %g and was %g", models[i].name, k, (double)b[k], (double)a[k]);
        convert(at(&f, "m.gguf"), at(&f, "B"), NULL);
        if (strcmp(models[i].name, "gemma3")) /* 1 + w - 1 is rounded */
            same_weights(models[i].name, at(&f, "M"), at(&f, "B"));
        assert_int_equal(dt_file_read(at(&f, "M/config.json"), 1 << 20, &config, &err), DUET_OK);
        assert_int_equal(dt_file_read(at(&f, "B/config.json"), 1 << 20, &again, &err), DUET_OK);
        if (strcmp(config.data, again.data) && !strstr(config.data, "\"initializer_range\": 0.2"))
            fail_msg("%s: config.json\n%s\nbecame\n%s", models[i].name, config.data, again.data);
        logits_of(at(&f, "B"), b);
        for (size_t k = 0; k < DT_COUNT(a); k++)
            if (fabsf(a[k] - b[k]) > 1e-5f)
                fail_msg("%s, back: logit %zu is %g and was %g", models[i].name, k, (double)b[k], (double)a[k]);
        dt_buf_clear(&config);
        dt_buf_clear(&again);
        folder_remove(&f);
    }
}

/* ---- types ---- */

static const struct {
    const char *type, *tensor;
    dt_dtype want;
} types[] = {
  /* rows of 64 are no multiple of 256: Q5_0 and Q8_0 stand in; ffn_down of 256 is one */
    {"f32",    "blk.0.attn_q.weight",    DT_F32 },
    {"f16",    "blk.0.attn_q.weight",    DT_F16 },
    {"bf16",   "token_embd.weight",      DT_BF16},
    {"bf16",   "blk.0.attn_norm.weight", DT_F32 },
    {"q8_0",   "blk.0.attn_q.weight",    DT_Q8_0},
    {"q8_0",   "token_embd.weight",      DT_Q8_0},
    {"q8_0",   "blk.1.attn_norm.weight", DT_F32 },
    {"q4_0",   "blk.0.ffn_down.weight",  DT_Q4_0},
    {"q4_0",   "token_embd.weight",      DT_Q8_0}, /* tied: it is the output, which gets more */
    {"q6_k",   "blk.0.ffn_down.weight",  DT_Q6_K},
    {"q6_k",   "blk.0.attn_q.weight",    DT_Q8_0},
    {"q4_k_m", "blk.0.ffn_down.weight",  DT_Q4_K},
    {"q4_k_m", "blk.2.ffn_down.weight",  DT_Q6_K},
    {"q4_k_m", "blk.0.attn_q.weight",    DT_Q5_0},
    {"q4_k_m", "blk.2.attn_v.weight",    DT_Q8_0},
};

static void test_types(void **state) {
    (void)state;
    static const char config[] = "{\"model_type\":\"qwen3\",\"num_hidden_layers\":3,\"hidden_size\":64,\"num_attention_"
                                 "heads\":4,\"num_key_value_heads\":2,"
                                 "\"head_dim\":16,\"intermediate_size\":256,\"vocab_size\":37,\"max_position_"
                                 "embeddings\":128,\"initializer_range\":0.2,"
                                 "\"tie_word_embeddings\":true,\"eos_token_id\":36}";
    folder f = folder_make();
    float a[40 * 37], b[40 * 37];
    make_model(config, at(&f, "M"));
    logits_of(at(&f, "M"), a);
    for (size_t i = 0; i < DT_COUNT(types); i++) {
        duet_err err = {{0}};
        dt_gguf *g = NULL;
        convert(at(&f, "M"), at(&f, "m.gguf"), types[i].type);
        assert_int_equal(dt_gguf_open(at(&f, "m.gguf"), &g, &err), DUET_OK);
        const dt_view *v = dt_gguf_find(g, types[i].tensor);
        if (!v || v->dtype != types[i].want)
            fail_msg("%s: %s is %s, not %s", types[i].type, types[i].tensor, v ? dt_dtype_name(v->dtype) : "missing",
                     dt_dtype_name(types[i].want));
        dt_gguf_close(g);
        logits_of(at(&f, "m.gguf"), b);
        double err2 = 0, all = 0;
        for (size_t k = 0; k < DT_COUNT(a); k++) {
            err2 += (double)(a[k] - b[k]) * (double)(a[k] - b[k]);
            all += (double)a[k] * (double)a[k];
        }
        if (!(err2 < 0.1 * all))
            fail_msg("%s: the logits are others: %g of %g", types[i].type, err2, all);
    }
    /* from GGUF to GGUF: what keeps its type keeps its bytes */
    duet_err err = {{0}};
    dt_gguf *g = NULL, *h = NULL;
    convert(at(&f, "m.gguf"), at(&f, "n.gguf"), "q4_k_m");
    assert_int_equal(dt_gguf_open(at(&f, "m.gguf"), &g, &err), DUET_OK);
    assert_int_equal(dt_gguf_open(at(&f, "n.gguf"), &h, &err), DUET_OK);
    assert_int_equal(dt_gguf_count(g), dt_gguf_count(h));
    for (size_t i = 0; i < dt_gguf_count(g); i++) {
        const dt_view *v = dt_gguf_view(g, i), *u = dt_gguf_find(h, dt_gguf_tensor_name(g, i));
        size_t n = 0;
        assert_true(dt_view_count(v, NULL, &n) && u && u->dtype == v->dtype && !memcmp(u->data, v->data, n));
    }
    dt_gguf_close(g);
    dt_gguf_close(h);
    folder_remove(&f);
}

/* ---- what is refused ---- */

static bool stop(void *user, size_t done, size_t total) {
    (void)total;
    *(size_t *)user = done;
    return false;
}

static void test_refusals(void **state) {
    (void)state;
    folder f = folder_make();
    duet_err err = {{0}};
    size_t done = 0;
    make_model(models[0].config, at(&f, "M"));
    convert(at(&f, "M"), at(&f, "q.gguf"), "q8_0");
    assert_int_equal(duet_convert(at(&f, "q.gguf"), at(&f, "B"), NULL, &err), DUET_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "token_embd.weight is Q8_0"));
    assert_int_equal(duet_convert(at(&f, "M"), at(&f, "B"), NULL, &err), DUET_E_USAGE);
    assert_int_equal(duet_convert(at(&f, "none"), at(&f, "b.gguf"), NULL, &err), DUET_E_IO);
    const duet_convert_options odd = {.type = "q3_k"}, stops = {.type = "f16", .progress = stop, .user = &done};
    assert_int_equal(duet_convert(at(&f, "M"), at(&f, "b.gguf"), &odd, &err), DUET_E_USAGE);
    assert_non_null(strstr(err.text, "known are"));
    assert_int_equal(duet_convert(at(&f, "M"), at(&f, "b.gguf"), &stops, &err), DUET_E_CANCELLED);
    assert_true(done > 0);
    assert_false(dt_path_exists(at(&f, "b.gguf")));

    /* numbers that do not go into the type: one that F16 has not, one that is none */
    dt_hf_weights *w = NULL;
    for (int i = 0; i < 2; i++) {
        static const char *const says[] = {"too large for F16", "not finite"};
        assert_int_equal(dt_hf_weights_open(at(&f, "M"), &w, &err), DUET_OK);
        const size_t n = dt_hf_weights_count(w);
        dt_st_item *items = calloc(n, sizeof *items);
        assert_non_null(items);
        float *embed = malloc(37 * 64 * sizeof *embed);
        assert_non_null(embed);
        for (size_t k = 0; k < n; k++) {
            items[k] = (dt_st_item){dt_hf_weights_name(w, k), *dt_hf_weights_view(w, k)};
            if (strcmp(items[k].name, "model.embed_tokens.weight"))
                continue;
            dt_view_to_f32(&items[k].view, embed);
            embed[64 * 3 + 5] = i ? NAN : 70000;
            items[k].view.data = embed;
        }
        assert_int_equal(dt_mkdirs(at(&f, "N"), &err), DUET_OK);
        assert_int_equal(dt_st_write(at(&f, "N/model.safetensors"), items, n, NULL, 0, &err), DUET_OK);
        dt_hf_config c;
        assert_int_equal(dt_hf_config_read(at(&f, "M"), &c, &err), DUET_OK);
        assert_int_equal(dt_hf_config_write(at(&f, "N"), &c, &err), DUET_OK);
        dt_hf_weights_close(w);
        free(items);
        free(embed);
        const duet_convert_options f16 = {.type = "f16"};
        assert_int_equal(duet_convert(at(&f, "N"), at(&f, "b.gguf"), &f16, &err), DUET_E_FORMAT);
        if (!strstr(err.text, "token_embd.weight: row 3") || !strstr(err.text, says[i]))
            fail_msg("'%s' does not say '%s'", err.text, says[i]);
        assert_false(dt_path_exists(at(&f, "b.gguf")));
    }
    folder_remove(&f);
}

/* The tokenizer of a folder comes back with the same ids for every text. */
static void test_tokenizer(void **state) {
    (void)state;
    char golden[512];
    folder f = folder_make();
    duet_err err = {{0}};
    duet_tokenizer *a = NULL, *b = NULL;
    shared_path(golden, sizeof golden, "golden/models/qwen3-tiny");
    convert(golden, at(&f, "m.gguf"), NULL);
    convert(at(&f, "m.gguf"), at(&f, "B"), NULL);
    if (duet_tokenizer_open(golden, &a, &err) || duet_tokenizer_open(at(&f, "B"), &b, &err))
        fail_msg("%s", err.text);
    assert_true(duet_tokenizer_same(a, b));
    duet_tokenizer_close(a);
    duet_tokenizer_close(b);
    same_weights("qwen3-tiny", golden, at(&f, "B"));
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
