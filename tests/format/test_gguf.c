/* GGUF: broken files and what is said of them, keys and their types, tensors, split models, configurations, row order.
 */
#include "format/folder.h"
#include "format/gguf_export.h"

#include <math.h>

/* ---- broken files: the fuzzer's seeds, with the sentences they get ---- */

static const struct {
    const char *seed;
    duet_status want;
    const char *says;
} seeds[] = {
    {"all",          DUET_OK,            NULL                                                              },
    {"v2",           DUET_OK,            NULL                                                              },
    {"keys-only",    DUET_OK,            NULL                                                              },
    {"align",        DUET_OK,            NULL                                                              },
    {"big-endian",   DUET_E_UNSUPPORTED, "a big-endian GGUF file"                                          },
    {"cut",          DUET_E_FORMAT,      "tensor bf has bytes 704 to 708, but the file ends at byte 703"   },
    {"cut-keys",     DUET_E_FORMAT,      "key 3 of 9 (qwen3.rope.freq_base) at byte 130 needs 4 bytes"     },
    {"twice",        DUET_E_FORMAT,      "two tensors norm"                                                },
    {"key-twice",    DUET_E_FORMAT,      "the key general.architecture is there twice"                     },
    {"overlap",      DUET_E_FORMAT,      "tensor b at byte 128 overlaps a"                                 },
    {"counts",       DUET_E_FORMAT,      "claims 4611686018427387904 keys"                                 },
    {"array-count",  DUET_E_FORMAT,      "claims 2305843009213693952 values of type string"                },
    {"array-count2", DUET_E_FORMAT,      "claims 2305843009213693953 values of type f64"                   },
    {"shape",        DUET_E_FORMAT,      "tensor a is larger than any memory"                              },
    {"offset",       DUET_E_FORMAT,      "tensor a: its offset lies outside any file"                      },
    {"type",         DUET_E_UNSUPPORTED, "tensor a has the type IQ2_XXS, which is not supported; F32, F16,"},
    {"align0",       DUET_E_FORMAT,      "general.alignment"                                               },
    {"split",        DUET_E_UNSUPPORTED, "one of 2 parts"                                                  },
    {"nested",       DUET_E_UNSUPPORTED, "an array of arrays"                                              },
    {"value-type",   DUET_E_FORMAT,      "has the value type"                                              },
};

static void read_seed(const char *name, dt_buf *b) {
    char path[512];
    duet_err err = {{0}};
    snprintf(path, sizeof path, "%s/fuzz/seeds/fuzz_gguf/%s", DUET_TEST_DATA, name);
    if (dt_file_read(path, 1 << 20, b, &err))
        fail_msg("%s", err.text);
}

static void test_broken_files(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(seeds); i++) {
        dt_buf b = {0};
        dt_gguf *g = NULL;
        duet_err err = {{0}};
        read_seed(seeds[i].seed, &b);
        duet_status st = dt_gguf_open_mem("F", b.data, b.len, &g, &err);
        if (st != seeds[i].want || (st && (strncmp(err.text, "F: ", 3) || !strstr(err.text, seeds[i].says) || g)))
            fail_msg("%s: %s '%s', wanted %s '%s'", seeds[i].seed, duet_status_name(st), err.text,
                     duet_status_name(seeds[i].want), seeds[i].says ? seeds[i].says : "");
        dt_gguf_close(g);
        dt_buf_clear(&b);
    }
}

/* A file that is cut anywhere is refused, with a sentence. */
static void test_every_cut(void **state) {
    (void)state;
    dt_buf b = {0};
    read_seed("all", &b);
    for (size_t n = 0; n < b.len; n++) {
        duet_err err = {{0}};
        dt_gguf *g = NULL;
        char *cut = malloc(n ? n : 1); /* its own block, so that a read behind it shows */
        assert_non_null(cut);
        memcpy(cut, b.data, n);
        if (dt_gguf_open_mem("F", cut, n, &g, &err) != DUET_E_FORMAT || !strstr(err.text, "cut"))
            fail_msg("cut to %zu bytes: '%s'", n, err.text);
        free(cut);
    }
    dt_buf_clear(&b);
}

static void test_not_gguf(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"{\"a\":1}",                                    7,  "does not begin with \"GGUF\""},
        {"x",                                            1,  "does not begin with \"GGUF\""},
        {"\0\0\0\0\0\0\0\0",                             8,  "still being downloaded"      },
        {"GGUF\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, "version 1 is not supported"  },
        {"GGUF\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, "version 4 is not supported"  },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        dt_gguf *g = NULL;
        if (dt_gguf_open_mem("F", cases[i].bytes, cases[i].n, &g, &err) >= 0 || !strstr(err.text, cases[i].says))
            fail_msg("case %zu: '%s' does not say '%s'", i, err.text, cases[i].says);
    }
}

/* ---- written and read ---- */

static const char *here(const folder *f, const char *name) {
    static char path[2][512];
    static int at = 0;
    at = !at;
    return folder_at(f, name, path[at], sizeof path[at]);
}

static dt_gguf *open_file(const char *path) {
    duet_err err = {{0}};
    dt_gguf *g = NULL;
    if (dt_gguf_open(path, &g, &err))
        fail_msg("%s", err.text);
    return g;
}

static void end(dt_gguf_writer *w) {
    duet_err err = {{0}};
    if (dt_gguf_end(w, &err))
        fail_msg("%s", err.text);
}

static void test_round_trip(void **state) {
    (void)state;
    folder f = folder_make();
    duet_err err = {{0}};
    dt_gguf_writer *w = NULL;
    static const int32_t ints[] = {3, -1, INT32_MIN};
    static const float reals[] = {0.5f, -INFINITY};
    static const dt_gguf_str words[] = {
        {"one",  3},
        {"",     0},
        {"a\0b", 3}
    };
    static const float numbers[6] = {1, 2, 3, 4, 5, 6};
    uint8_t block[34] = {1, 2, 3};
    assert_int_equal(dt_gguf_create(here(&f, "a.gguf"), &w, &err), DUET_OK);
    dt_gguf_put_u32(w, "u", 4000000000u);
    dt_gguf_put_i32(w, "i", -7);
    dt_gguf_put_f32(w, "f", 1e-6f);
    dt_gguf_put_bool(w, "b", true);
    dt_gguf_put_text(w, "s", "text");
    dt_gguf_put_i32s(w, "ints", ints, 3);
    dt_gguf_put_f32s(w, "reals", reals, 2);
    dt_gguf_put_strings(w, "words", words, 3);
    dt_gguf_put_strings(w, "none", NULL, 0);
    const dt_view m =
                      {
                          .dtype = DT_F32, .n_dims = 2, .dims = {2, 3}
    },
                  q = {.dtype = DT_Q8_0, .n_dims = 1, .dims = {32}};
    dt_gguf_declare(w, "m", &m);
    dt_gguf_declare(w, "q", &q);
    assert_int_equal(dt_gguf_declared_bytes(w), 24 + 34);
    assert_int_equal(dt_gguf_begin(w, &err), DUET_OK);
    assert_int_equal(dt_gguf_add(w, numbers, 8, &err), DUET_OK);
    assert_int_equal(dt_gguf_add(w, numbers + 2, 17, &err), DUET_E_INTERNAL); /* across the end of a tensor */
    assert_int_equal(dt_gguf_add(w, numbers + 2, 16, &err), DUET_OK);
    assert_int_equal(dt_gguf_add(w, block, 34, &err), DUET_OK);
    assert_false(dt_path_exists(here(&f, "a.gguf"))); /* not before it is whole */
    end(w);

    dt_gguf *g = open_file(here(&f, "a.gguf"));
    int64_t i = 0;
    double d = 0;
    bool b = false;
    dt_gguf_str s = {0};
    const dt_gguf_kv *kv = NULL;
    assert_int_equal(dt_gguf_n_keys(g), 9);
    assert_int_equal(dt_gguf_int(g, "u", 0, INT64_MAX, &i, &err), DUET_OK);
    assert_true(i == 4000000000);
    assert_int_equal(dt_gguf_int(g, "i", -7, 0, &i, &err), DUET_OK);
    assert_true(i == -7);
    assert_int_equal(dt_gguf_real(g, "f", 0, 1, &d, &err), DUET_OK);
    assert_true((float)d == 1e-6f);
    assert_int_equal(dt_gguf_real(g, "i", -10, 0, &d, &err), DUET_OK);
    assert_true(d == -7);
    assert_int_equal(dt_gguf_bool(g, "b", &b, &err), DUET_OK);
    assert_true(b);
    assert_int_equal(dt_gguf_string(g, "s", &s, &err), DUET_OK);
    assert_true(dt_gguf_str_is(s, "text"));
    assert_int_equal(dt_gguf_array(g, "ints", DT_GGUF_I64, &kv, &err), DUET_OK);
    assert_true(kv->n == 3 && dt_gguf_int_at(kv, 2) == INT32_MIN);
    assert_int_equal(dt_gguf_array(g, "ints", DT_GGUF_F64, &kv, &err), DUET_OK); /* whole numbers are numbers */
    assert_int_equal(dt_gguf_array(g, "reals", DT_GGUF_F64, &kv, &err), DUET_OK);
    assert_true(dt_gguf_real_at(kv, 1) == -(double)INFINITY);
    assert_int_equal(dt_gguf_array(g, "words", DT_GGUF_STRING, &kv, &err), DUET_OK);
    dt_gguf_str *all = dt_gguf_strings(kv);
    assert_non_null(all);
    assert_true(kv->n == 3 && dt_gguf_str_is(all[0], "one") && all[1].n == 0 && !memcmp(all[2].s, "a\0b", 3));
    free(all);

    const dt_view *v = dt_gguf_find(g, "m");
    assert_non_null(v);
    assert_true(dt_view_is(v, 2, 2, 3) && !memcmp(v->data, numbers, 24));
    v = dt_gguf_find(g, "q");
    assert_true(v && v->dtype == DT_Q8_0 && !memcmp(v->data, block, 34));
    assert_null(dt_gguf_find(g, "x"));

    /* what is missing, and what is another thing */
    i = 5;
    assert_int_equal(dt_gguf_int(g, "x", 0, 9, &i, &err), DUET_END);
    assert_true(i == 5);
    assert_int_equal(dt_gguf_need(DUET_END, g, "x", &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "a.gguf: the key x is missing"));
    assert_int_equal(dt_gguf_int(g, "s", 0, 9, &i, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "a.gguf: s is of type string, not a whole number"));
    assert_int_equal(dt_gguf_int(g, "f", 0, 9, &i, &err), DUET_E_FORMAT);
    assert_int_equal(dt_gguf_int(g, "u", 0, 9, &i, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "u is 4000000000, outside 0..9"));
    assert_int_equal(dt_gguf_string(g, "ints", &s, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "ints is an array of 3 values of type i32, not a string"));
    assert_int_equal(dt_gguf_array(g, "words", DT_GGUF_I64, &kv, &err), DUET_E_FORMAT);
    assert_int_equal(dt_gguf_array(g, "reals", DT_GGUF_I64, &kv, &err), DUET_E_FORMAT);
    assert_int_equal(dt_gguf_bool(g, "u", &b, &err), DUET_E_FORMAT);
    dt_gguf_close(g);
    folder_remove(&f);
}

static void test_writer_refuses(void **state) {
    (void)state;
    folder f = folder_make();
    duet_err err = {{0}};
    dt_gguf_writer *w = NULL;
    const dt_view v = {.dtype = DT_F32, .n_dims = 1, .dims = {4}};
    assert_int_equal(dt_gguf_create(here(&f, "a.gguf"), &w, &err), DUET_OK);
    dt_gguf_declare(w, "t", &v);
    assert_int_equal(dt_gguf_begin(w, &err), DUET_OK);
    assert_int_equal(dt_gguf_end(w, &err), DUET_E_INTERNAL); /* a tensor without data */
    assert_int_equal(dt_gguf_create(here(&f, "a.gguf"), &w, &err), DUET_OK);
    dt_gguf_put_u32(w, "k", 1);
    dt_gguf_put_u32(w, "k", 1);
    assert_int_equal(dt_gguf_begin(w, &err), DUET_E_INTERNAL);
    dt_gguf_abandon(w);
    const dt_view odd = {.dtype = DT_Q8_0, .n_dims = 1, .dims = {33}};
    assert_int_equal(dt_gguf_create(here(&f, "a.gguf"), &w, &err), DUET_OK);
    dt_gguf_declare(w, "t", &odd);
    assert_int_equal(dt_gguf_begin(w, &err), DUET_E_UNSUPPORTED);
    dt_gguf_abandon(w);
    assert_int_equal(dt_gguf_create(here(&f, "no/a.gguf"), &w, &err), DUET_E_IO);
    assert_null(w);
    assert_int_equal(rmdir(f.path), 0); /* nothing was left behind */
}

/* ---- split models ---- */

static void write_part(const char *path, int no, int count, int total, const char *tensor) {
    duet_err err = {{0}};
    dt_gguf_writer *w = NULL;
    const dt_view v = {.dtype = DT_F32, .n_dims = 1, .dims = {1}};
    const float x = (float)no;
    assert_int_equal(dt_gguf_create(path, &w, &err), DUET_OK);
    if (no == 0)
        dt_gguf_put_text(w, "general.architecture", "qwen3");
    dt_gguf_put_u32(w, "split.no", (uint32_t)no);
    dt_gguf_put_u32(w, "split.count", (uint32_t)count);
    if (total >= 0)
        dt_gguf_put_i32(w, "split.tensors.count", total);
    dt_gguf_declare(w, tensor, &v);
    assert_int_equal(dt_gguf_begin(w, &err), DUET_OK);
    assert_int_equal(dt_gguf_add(w, &x, 4, &err), DUET_OK);
    end(w);
}

static void refused(const char *path, const char *says) {
    duet_err err = {{0}};
    dt_gguf *g = NULL;
    if (dt_gguf_open(path, &g, &err) >= 0 || !strstr(err.text, says))
        fail_msg("%s: '%s' does not say '%s'", path, err.text, says);
}

static void test_split(void **state) {
    (void)state;
    folder f = folder_make();
    static const char *const parts[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    for (int i = 0; i < 3; i++)
        write_part(here(&f, parts[i]), i, 3, 3, i == 0 ? "a" : i == 1 ? "b" : "c");
    for (int i = 0; i < 3; i++) { /* any of them opens all */
        dt_gguf *g = open_file(here(&f, parts[i]));
        assert_int_equal(dt_gguf_count(g), 3);
        assert_int_equal(dt_gguf_n_files(g), 3);
        assert_non_null(dt_gguf_find_key(g, "general.architecture"));
        const dt_view *v = dt_gguf_find(g, "c");
        float x = 0;
        assert_non_null(v);
        dt_view_to_f32(v, &x);
        assert_true(x == 2);
        dt_gguf_close(g);
    }
    write_part(here(&f, parts[2]), 2, 3, 3, "a");
    refused(here(&f, parts[0]), "there are two tensors a");
    write_part(here(&f, parts[0]), 0, 3, 4, "a");
    write_part(here(&f, parts[2]), 2, 3, -1, "c");
    refused(here(&f, parts[1]), "split.tensors.count is 4, but its 3 parts have 3 tensors");
    write_part(here(&f, parts[0]), 0, 3, 3, "a");
    write_part(here(&f, parts[2]), 1, 3, 3, "c");
    refused(here(&f, parts[0]), "its keys say part 2 of 3; was it renamed?");
    assert_int_equal(unlink(here(&f, parts[2])), 0);
    refused(here(&f, parts[0]), "part 3 of 3 is missing");
    write_part(here(&f, "other.gguf"), 0, 3, 3, "a");
    refused(here(&f, "other.gguf"), "its name should end in -00001-of-00003.gguf");
    write_part(here(&f, "other.gguf"), 7, 3, 3, "a");
    refused(here(&f, "other.gguf"), "do not fit together");
    write_part(here(&f, "alone.gguf"), 0, 1, 1, "a");
    dt_gguf_close(open_file(here(&f, "alone.gguf")));
    folder_remove(&f);
}

/* ---- configurations ---- */

#define SIZES                                                                                                          \
    "\"num_hidden_layers\":12,\"hidden_size\":64,\"num_attention_heads\":4,\"num_key_value_heads\":2,"                 \
    "\"intermediate_size\":96,\"vocab_size\":7,\"max_position_embeddings\":4096,\"head_dim\":32,\"eos_token_id\":[3,"  \
    "4],"                                                                                                              \
    "\"bos_token_id\":2,"

static const char *const configs[] = {
    "{\"model_type\":\"qwen3\"," SIZES "\"rms_norm_eps\":1e-6,\"rope_theta\":1000000,\"tie_word_embeddings\":true}",
    "{\"model_type\":\"qwen2\"," SIZES
    "\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"rope_scaling\":{\"rope_type\":\"yarn\","
    "\"factor\":4.0,\"original_max_position_embeddings\":1024}}",
    "{\"model_type\":\"llama\"," SIZES "\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
    "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
    "{\"model_type\":\"llama\"," SIZES "\"rope_theta\":500000,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32,"
    "\"low_freq_factor\":1,\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
    "{\"model_type\":\"llama\"," SIZES
    "\"rope_theta\":10000,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2.5}}",
    "{\"model_type\":\"gemma3_text\"," SIZES
    "\"query_pre_attn_scalar\":32,\"sliding_window\":512,\"rope_theta\":1000000,"
    "\"rope_local_base_freq\":10000,\"tie_word_embeddings\":true}",
};

/* Only the tensors that a configuration is read from. */
static void write_config(const char *path, const dt_hf_config *c) {
    duet_err err = {{0}};
    dt_gguf_writer *w = NULL;
    const dt_hf_generation gen = {
        .do_sample = 1,
        .temperature = 0.6,
        .top_p = 0.95,
        .min_p = -1,
        .top_k = 20,
        .n_eos = c->n_eos,
        .eos_ids = {c->eos_ids[0], c->eos_ids[1]}
    };
    float zeros[64 * 7] = {0}, divisors[16];
    const dt_view embd =
                      {
                          .dtype = DT_F32, .n_dims = 2, .dims = {7, 64}
    },
                  vec = {.dtype = DT_F32, .n_dims = 1, .dims = {16}};
    bool named = false;
    assert_int_equal(dt_gguf_create(path, &w, &err), DUET_OK);
    if (dt_gguf_put_config(w, "test", c, &gen, &err))
        fail_msg("%s", err.text);
    assert_int_equal(dt_gguf_put_tokenizer(w, "/nowhere", c, &gen, &named, &err), DUET_OK);
    dt_gguf_declare(w, "token_embd.weight", &embd);
    if (!c->tied)
        dt_gguf_declare(w, "output.weight", &embd);
    if (c->qkv_bias)
        dt_gguf_declare(w, "blk.0.attn_q.bias", &vec);
    if (c->rope_kind == DT_ROPE_LLAMA3)
        dt_gguf_declare(w, "rope_freqs.weight", &vec);
    assert_int_equal(dt_gguf_begin(w, &err), DUET_OK);
    assert_int_equal(dt_gguf_add(w, zeros, sizeof zeros, &err), DUET_OK);
    if (!c->tied)
        assert_int_equal(dt_gguf_add(w, zeros, sizeof zeros, &err), DUET_OK);
    if (c->qkv_bias)
        assert_int_equal(dt_gguf_add(w, zeros, sizeof divisors, &err), DUET_OK);
    if (c->rope_kind == DT_ROPE_LLAMA3) {
        dt_gguf_rope_divisors(c, divisors);
        assert_int_equal(dt_gguf_add(w, divisors, sizeof divisors, &err), DUET_OK);
    }
    end(w);
}

static void test_configs(void **state) {
    (void)state;
    folder f = folder_make();
    for (size_t i = 0; i < DT_COUNT(configs); i++) {
        duet_err err = {{0}};
        dt_hf_config a, b;
        dt_hf_generation gen;
        if (dt_hf_config_parse("config", configs[i], strlen(configs[i]), &a, &err))
            fail_msg("%s", err.text);
        write_config(here(&f, "c.gguf"), &a);
        dt_gguf *g = open_file(here(&f, "c.gguf"));
        if (dt_gguf_config(g, &b, &err) || dt_gguf_generation(g, &gen, &err))
            fail_msg("config %zu: %s", i, err.text);
        const bool same = a.arch == b.arch && !strcmp(a.model_type, b.model_type) && a.n_layers == b.n_layers &&
                          a.d_model == b.d_model && a.n_heads == b.n_heads && a.n_kv == b.n_kv &&
                          a.d_head == b.d_head && a.d_ffn == b.d_ffn && a.n_vocab == b.n_vocab &&
                          a.max_pos == b.max_pos && a.tied == b.tied && a.qk_norm == b.qk_norm &&
                          a.qkv_bias == b.qkv_bias && a.post_norms == b.post_norms &&
                          a.norm_plus_one == b.norm_plus_one && a.scaled_embed == b.scaled_embed && a.act == b.act &&
                          a.window == b.window && !memcmp(a.windowed, b.windowed, sizeof a.windowed) &&
                          a.bos_id == b.bos_id && a.n_eos == b.n_eos && !memcmp(a.eos_ids, b.eos_ids, sizeof a.eos_ids);
        const double x[][2] = {
            {a.rms_eps,          b.rms_eps         },
            {a.rope_theta,       b.rope_theta      },
            {a.rope_factor,      b.rope_factor     },
            {a.rope_original,    b.rope_original   },
            {a.rope_low,         b.rope_low        },
            {a.rope_high,        b.rope_high       },
            {a.rope_fast,        b.rope_fast       },
            {a.rope_slow,        b.rope_slow       },
            {a.rope_attn,        b.rope_attn       },
            {a.rope_local_theta, b.rope_local_theta},
        };
        assert_true(a.rope_kind == b.rope_kind);
        for (size_t k = 0; k < DT_COUNT(x); k++)
            if (fabs(x[k][0] - x[k][1]) > 1e-9 * fabs(x[k][0]))
                fail_msg("config %zu: number %zu was %.12g and is %.12g", i, k, x[k][0], x[k][1]);
        if (!same)
            fail_msg("config %zu is another one", i);
        assert_true(gen.top_k == 20 && (float)gen.temperature == 0.6f && (float)gen.top_p == 0.95f &&
                    gen.do_sample == 1);
        assert_true(gen.n_eos == 2 && gen.eos_ids[0] == 3 && gen.eos_ids[1] == 4);
        dt_gguf_close(g);
    }
    folder_remove(&f);
}

/* ---- names and rows ---- */

static void test_names(void **state) {
    (void)state;
    static const struct {
        dt_arch arch;
        const char *hf, *gguf; /* gguf NULL: no such tensor */
        dt_gguf_change change;
    } cases[] = {
        {DT_ARCH_QWEN3,   "model.embed_tokens.weight",                       "token_embd.weight",                DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "lm_head.weight",                                  "output.weight",                    DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "model.norm.weight",                               "output_norm.weight",               DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "model.layers.0.self_attn.q_proj.weight",          "blk.0.attn_q.weight",              DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "model.layers.35.self_attn.k_norm.weight",         "blk.35.attn_k_norm.weight",        DT_GGUF_SAME       },
        {DT_ARCH_QWEN2,   "model.layers.1.self_attn.v_proj.bias",            "blk.1.attn_v.bias",                DT_GGUF_SAME       },
        {DT_ARCH_QWEN2,   "model.layers.1.post_attention_layernorm.weight",  "blk.1.ffn_norm.weight",            DT_GGUF_SAME       },
        {DT_ARCH_LLAMA,   "model.layers.1.self_attn.q_proj.weight",          "blk.1.attn_q.weight",              DT_GGUF_ROPE_ROWS  },
        {DT_ARCH_MISTRAL, "model.layers.1.self_attn.k_proj.weight",          "blk.1.attn_k.weight",              DT_GGUF_ROPE_ROWS  },
        {DT_ARCH_LLAMA,   "model.layers.1.self_attn.v_proj.weight",          "blk.1.attn_v.weight",              DT_GGUF_SAME       },
        {DT_ARCH_GEMMA3,  "model.layers.2.post_attention_layernorm.weight",  "blk.2.post_attention_norm.weight",
         DT_GGUF_NORM_PLUS_1                                                                                                        },
        {DT_ARCH_GEMMA3,  "model.layers.2.pre_feedforward_layernorm.weight", "blk.2.ffn_norm.weight",
         DT_GGUF_NORM_PLUS_1                                                                                                        },
        {DT_ARCH_GEMMA3,  "model.layers.2.self_attn.q_norm.weight",          "blk.2.attn_q_norm.weight",         DT_GGUF_NORM_PLUS_1},
        {DT_ARCH_GEMMA3,  "model.layers.2.self_attn.q_proj.weight",          "blk.2.attn_q.weight",              DT_GGUF_SAME       },
        {DT_ARCH_GEMMA3,  "model.norm.weight",                               "output_norm.weight",               DT_GGUF_NORM_PLUS_1},
        {DT_ARCH_QWEN3,   "model.layers.2.pre_feedforward_layernorm.weight", NULL,                               DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "model.layers.01.mlp.up_proj.weight",              NULL,                               DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "model.layers.1.mlp.up_proj.scale",                NULL,                               DT_GGUF_SAME       },
        {DT_ARCH_QWEN3,   "model.layers.x.mlp.up_proj.weight",               NULL,                               DT_GGUF_SAME       },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_hf_config c;
        char name[DT_GGUF_NAME] = "";
        dt_gguf_change change = DT_GGUF_SAME;
        dt_hf_config_start(&c, cases[i].arch);
        const bool there = dt_gguf_name_from_hf(&c, cases[i].hf, name, &change);
        if (there != (cases[i].gguf != NULL) || (there && (strcmp(name, cases[i].gguf) || change != cases[i].change)))
            fail_msg("%s became %s (%d)", cases[i].hf, there ? name : "nothing", (int)change);
        if (there && (!dt_gguf_name_to_hf(&c, cases[i].gguf, name, &change) || strcmp(name, cases[i].hf) ||
                      change != cases[i].change))
            fail_msg("%s became %s (%d)", cases[i].gguf, name, (int)change);
    }
}

static void test_rope_rows(void **state) {
    (void)state;
    static const char hf[] = "0123ABCD", gguf[] = "0213ACBD"; /* two heads of four rows of one byte */
    char out[8];
    dt_gguf_rope_rows_from_hf(out, hf, 8, 4, 1);
    assert_memory_equal(out, gguf, 8);
    dt_gguf_rope_rows_to_hf(out, gguf, 8, 4, 1);
    assert_memory_equal(out, hf, 8);
    for (size_t r = 0; r < 3 * 64; r++)
        assert_int_equal(dt_gguf_rope_row_from_hf(dt_gguf_rope_row_to_hf(r, 64), 64), r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_files), cmocka_unit_test(test_every_cut),      cmocka_unit_test(test_not_gguf),
        cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_writer_refuses), cmocka_unit_test(test_split),
        cmocka_unit_test(test_configs),      cmocka_unit_test(test_names),          cmocka_unit_test(test_rope_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
