/* config.json and generation_config.json: the golden models, absurd numbers, what is written reads back. */
#include "format/folder.h"
#include "format/hf_config.h"

#include <jansson.h>
#include <math.h>

static void test_golden(void **state) {
    (void)state;
    static const struct {
        const char *name;
        dt_hf_config want;
    } models[] = {
        {"qwen3-tiny",
         {.arch = DT_ARCH_QWEN3,
          .n_layers = 4,
          .d_model = 64,
          .n_heads = 4,
          .n_kv = 2,
          .d_head = 32,
          .d_ffn = 160,
          .n_vocab = 512,
          .max_pos = 40960,
          .rms_eps = 1e-6,
          .rope_theta = 1e6,
          .tied = true,
          .qk_norm = true,
          .dtype = DT_F32,
          .bos_id = 507,
          .eos_ids = {509},
          .n_eos = 1}},
        {"qwen3-tiny-bf16",
         {.arch = DT_ARCH_QWEN3,
          .n_layers = 4,
          .d_model = 64,
          .n_heads = 4,
          .n_kv = 2,
          .d_head = 32,
          .d_ffn = 160,
          .n_vocab = 512,
          .max_pos = 40960,
          .rms_eps = 1e-6,
          .rope_theta = 1e6,
          .tied = true,
          .qk_norm = true,
          .dtype = DT_BF16,
          .bos_id = 507,
          .eos_ids = {509},
          .n_eos = 1}},
        {"qwen3-tiny-sharded",
         {.arch = DT_ARCH_QWEN3,
          .n_layers = 4,
          .d_model = 64,
          .n_heads = 4,
          .n_kv = 2,
          .d_head = 32,
          .d_ffn = 160,
          .n_vocab = 512,
          .max_pos = 40960,
          .rms_eps = 1e-6,
          .rope_theta = 1e6,
          .tied = true,
          .qk_norm = true,
          .dtype = DT_F32,
          .bos_id = 507,
          .eos_ids = {509},
          .n_eos = 1}},
        {"qwen2-tiny",
         {.arch = DT_ARCH_QWEN2,
          .n_layers = 3,
          .d_model = 96,
          .n_heads = 6,
          .n_kv = 2,
          .d_head = 16,
          .d_ffn = 224,
          .n_vocab = 509,
          .max_pos = 32768,
          .rms_eps = 1e-6,
          .rope_theta = 1e6,
          .qkv_bias = true,
          .dtype = DT_F32,
          .bos_id = 504,
          .eos_ids = {506},
          .n_eos = 1}},
        {"llama-tiny",
         {.arch = DT_ARCH_LLAMA,
          .n_layers = 3,
          .d_model = 96,
          .n_heads = 3,
          .n_kv = 1,
          .d_head = 32,
          .d_ffn = 256,
          .n_vocab = 384,
          .max_pos = 131072,
          .rms_eps = 1e-5,
          .rope_theta = 5e5,
          .rope_kind = DT_ROPE_LLAMA3,
          .rope_factor = 8,
          .rope_low = 1,
          .rope_high = 4,
          .rope_original = 128,
          .dtype = DT_F32,
          .bos_id = 379,
          .eos_ids = {380, 381, 382},
          .n_eos = 3}},
    };
    for (size_t i = 0; i < DT_COUNT(models); i++) {
        char rel[128], path[512];
        duet_err err = {{0}};
        dt_hf_config got, want = models[i].want;
        snprintf(rel, sizeof rel, "golden/models/%s", models[i].name);
        if (dt_hf_config_read(shared_path(path, sizeof path, rel), &got, &err))
            fail_msg("%s: %s", models[i].name, err.text);
        want.init_range = 0.02;
        memcpy(want.model_type, got.model_type, sizeof want.model_type);
        if (memcmp(&got, &want, sizeof got))
            fail_msg("%s: a field differs", models[i].name);

        folder dir = folder_make();
        dt_hf_config again;
        if (dt_hf_config_write(dir.path, &got, &err) || dt_hf_config_read(dir.path, &again, &err))
            fail_msg("%s: %s", models[i].name, err.text);
        if (memcmp(&got, &again, sizeof got))
            fail_msg("%s: written and read back, a field differs", models[i].name);
        folder_remove(&dir);
    }
}

#define BASE                                                                                                           \
    "\"num_hidden_layers\":2,\"hidden_size\":24,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,"   \
    "\"intermediate_size\":40,"                                                                                        \
    "\"vocab_size\":37,\"max_position_embeddings\":512"
#define WITH(extra) "{\"model_type\":\"qwen3\"," BASE "," extra "}"

static const struct {
    const char *name, *text;
    duet_status want;
    const char *says;
} texts[] = {
    {"plain",                   "{\"model_type\":\"qwen3\"," BASE "}",                                                     DUET_OK,            NULL                           },
    {"not JSON",                "{\"model_type\":",                                                                        DUET_E_FORMAT,      "JSON"                         },
    {"empty file",              "",                                                                                        DUET_E_FORMAT,      "JSON"                         },
    {"a list",                  "[]",                                                                                      DUET_E_FORMAT,      "object"                       },
    {"no type",                 "{" BASE "}",                                                                              DUET_E_FORMAT,      "model_type is missing"        },
    {"unknown type",            "{\"model_type\":\"gpt2\"," BASE "}",                                                      DUET_E_UNSUPPORTED, "gpt2"                         },
    {"no layers",               "{\"model_type\":\"qwen3\",\"hidden_size\":24}",                                           DUET_E_FORMAT,      "num_hidden_layers"            },
    {"repeated key",            WITH("\"vocab_size\":38"),                                                                 DUET_E_FORMAT,      "duplicate"                    },
    {"zero layers",             "{\"model_type\":\"qwen3\",\"num_hidden_layers\":0}",                                      DUET_E_FORMAT,      "num_hidden_layers is 0"       },
    {"negative layers",         "{\"model_type\":\"qwen3\",\"num_hidden_layers\":-3}",                                     DUET_E_FORMAT,
     "num_hidden_layers is -3"                                                                                                                                                },
    {"layers as text",          "{\"model_type\":\"qwen3\",\"num_hidden_layers\":\"2\"}",                                  DUET_E_FORMAT,      "num_hidden_layers"            },
    {"layers as fraction",      "{\"model_type\":\"qwen3\",\"num_hidden_layers\":2.5}",                                    DUET_E_FORMAT,      "2.5"                          },
    {"a billion layers",        "{\"model_type\":\"qwen3\",\"num_hidden_layers\":1000000000}",                             DUET_E_FORMAT,      "1000000000"                   },
    {"heads no multiple",
     "{\"model_type\":\"qwen3\",\"num_hidden_layers\":2,\"hidden_size\":24,\"num_attention_heads\":4,\"num_key_value_"
     "heads\":3,\"intermediate_size\":40,\"vocab_size\":37,\"max_position_embeddings\":512}",                              DUET_E_FORMAT,      "no multiple"                  },
    {"width no multiple",
     "{\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"hidden_size\":25,\"num_attention_heads\":4,\"intermediate_"
     "size\":40,\"vocab_size\":37,\"max_position_embeddings\":512}",                                                       DUET_E_FORMAT,      "head_dim is missing"          },
    {"odd head",
     "{\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"hidden_size\":12,\"num_attention_heads\":4,\"intermediate_"
     "size\":40,\"vocab_size\":37,\"max_position_embeddings\":512}",                                                       DUET_E_FORMAT,      "odd"                          },
    {"no context",
     "{\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"hidden_size\":12,\"num_attention_heads\":3,\"intermediate_"
     "size\":40,\"vocab_size\":37}",                                                                                       DUET_E_FORMAT,      "max_position_embeddings"      },
    {"eps below zero",          WITH("\"rms_norm_eps\":-1e-6"),                                                            DUET_E_FORMAT,      "rms_norm_eps"                 },
    {"eps as text",             WITH("\"rms_norm_eps\":\"1e-6\""),                                                         DUET_E_FORMAT,      "rms_norm_eps"                 },
    {"theta zero",              WITH("\"rope_theta\":0"),                                                                  DUET_E_FORMAT,      "rope_theta is 0"              },
    {"theta huge",              WITH("\"rope_theta\":1e300"),                                                              DUET_E_FORMAT,      "rope_theta"                   },
    {"tied as number",          WITH("\"tie_word_embeddings\":1"),                                                         DUET_E_FORMAT,      "tie_word_embeddings"          },
    {"gelu",                    WITH("\"hidden_act\":\"gelu\""),                                                           DUET_E_UNSUPPORTED, "gelu"                         },
    {"full layer types",        WITH("\"layer_types\":[\"full_attention\",\"full_attention\"]"),                           DUET_OK,            NULL                           },
    {"biases in qwen3",         WITH("\"attention_bias\":true"),                                                           DUET_E_UNSUPPORTED, "attention_bias"               },
    {"mlp biases",              WITH("\"mlp_bias\":true"),                                                                 DUET_E_UNSUPPORTED, "mlp_bias"                     },
    {"quantised",               WITH("\"quantization_config\":{\"bits\":4}"),                                              DUET_E_UNSUPPORTED, "quantization_config"          },
    {"llama3 reversed",
     WITH("\"rope_scaling\":{\"rope_type\":\"llama3\",\"low_freq_factor\":4,\"high_freq_factor\":1}"),                     DUET_E_FORMAT,
     "high_freq_factor"                                                                                                                                                       },
    {"sliding without window",  WITH("\"layer_types\":[\"full_attention\",\"sliding_attention\"]"),                        DUET_E_FORMAT,
     "sliding_window is 0"                                                                                                                                                    },
    {"sliding with window",
     WITH("\"layer_types\":[\"full_attention\",\"sliding_attention\"],\"use_sliding_window\":true,\"sliding_window\":"
          "64"),
     DUET_OK,                                                                                                                                  NULL                           },
    {"layer types too few",     WITH("\"layer_types\":[\"full_attention\"]"),                                              DUET_E_FORMAT,
     "layer_types is not a list of 2"                                                                                                                                         },
    {"chunked layer types",     WITH("\"layer_types\":[\"full_attention\",\"chunked_attention\"]"),                        DUET_E_UNSUPPORTED,
     "chunked_attention"                                                                                                                                                      },
    {"window zero",             WITH("\"use_sliding_window\":true,\"sliding_window\":0"),                                  DUET_E_FORMAT,      "sliding_window is 0"          },
    {"window in llama",         "{\"model_type\":\"llama\"," BASE ",\"sliding_window\":64}",                               DUET_E_UNSUPPORTED,
     "sliding_window (64)"                                                                                                                                                    },
    {"attention softcap",       WITH("\"attn_logit_softcapping\":50.0"),                                                   DUET_E_UNSUPPORTED, "attn_logit_softcapping (50.0)"},
    {"logit softcap",           WITH("\"final_logit_softcapping\":30"),                                                    DUET_E_UNSUPPORTED, "final_logit_softcapping (30)" },
    {"softcap null",            WITH("\"final_logit_softcapping\":null"),                                                  DUET_OK,            NULL                           },
    {"partial rotation",        WITH("\"partial_rotary_factor\":0.5"),                                                     DUET_E_UNSUPPORTED, "partial_rotary_factor (0.5)"  },
    {"whole rotation",          WITH("\"partial_rotary_factor\":1.0"),                                                     DUET_OK,            NULL                           },
    {"partial rotation, newer", WITH("\"rope_parameters\":{\"rope_theta\":1e4,\"partial_rotary_factor\":0.5}"),
     DUET_E_UNSUPPORTED,                                                                                                                       "partial_rotary_factor (0.5)"  },
    {"both directions",         WITH("\"use_bidirectional_attention\":true"),                                              DUET_E_UNSUPPORTED,
     "use_bidirectional_attention (true)"                                                                                                                                     },
    {"experts",                 WITH("\"num_experts\":8"),                                                                 DUET_E_UNSUPPORTED, "num_experts (8)"              },
    {"no experts",              WITH("\"num_experts\":0"),                                                                 DUET_OK,            NULL                           },
    {"residual multiplier",     WITH("\"residual_multiplier\":0.22"),                                                      DUET_E_UNSUPPORTED, "residual_multiplier (0.22)"   },
    {"dynamic scaling",         WITH("\"rope_scaling\":{\"rope_type\":\"dynamic\",\"factor\":4}"),                         DUET_E_UNSUPPORTED,
     "dynamic"                                                                                                                                                                },
    {"unknown scaling key",     WITH("\"rope_scaling\":{\"rope_type\":\"default\",\"mrope_section\":[1]}"),
     DUET_E_UNSUPPORTED,                                                                                                                       "mrope_section"                },
    {"scaling a list",          WITH("\"rope_scaling\":[4]"),                                                              DUET_E_FORMAT,      "not an object"                },
    {"linear below 1",          WITH("\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}"),                             DUET_E_FORMAT,      "factor is 0.5"                },
    {"yarn shrinks",            WITH("\"rope_scaling\":{\"type\":\"yarn\",\"original_max_position_embeddings\":1024}"),
     DUET_E_FORMAT,                                                                                                                            "factor 0.5 is below 1"        },
    {"yarn betas",              WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":1,\"beta_slow\":2}"),
     DUET_E_FORMAT,                                                                                                                            "beta_fast 1"                  },
    {"gemma3 without its text", "{\"model_type\":\"gemma3\"," BASE "}",                                                    DUET_E_FORMAT,      "text_config is missing"       },
    {"gemma2",                  "{\"model_type\":\"gemma2\"," BASE "}",                                                    DUET_E_UNSUPPORTED, "gemma2"                       },
    {"gemma3 exact gelu",       "{\"model_type\":\"gemma3_text\"," BASE ",\"hidden_activation\":\"gelu\"}",
     DUET_E_UNSUPPORTED,                                                                                                                       "gelu"                         },
    {"gemma3 local scaling",
     "{\"model_type\":\"gemma3_text\"," BASE
     ",\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"linear\",\"factor\":2}}}",                              DUET_E_UNSUPPORTED, "sliding_attention"            },
    {"mistral layer types",
     "{\"model_type\":\"mistral\"," BASE ",\"layer_types\":[\"full_attention\",\"full_attention\"]}",
     DUET_E_UNSUPPORTED,                                                                                                                       "layer_types"                  },
    {"eos negative",            WITH("\"eos_token_id\":-1"),                                                               DUET_E_FORMAT,      "eos_token_id"                 },
    {"eos a list of texts",     WITH("\"eos_token_id\":[\"a\"]"),                                                          DUET_E_FORMAT,      "eos_token_id"                 },
    {"eos far too many",        WITH("\"eos_token_id\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"),                      DUET_E_FORMAT,
     "eos_token_id"                                                                                                                                                           },
    {"eos null",                WITH("\"eos_token_id\":null"),                                                             DUET_OK,            NULL                           },
};

static void test_texts(void **state) {
    (void)state;
    for (size_t i = 0; i < DT_COUNT(texts); i++) {
        duet_err err = {{0}};
        dt_hf_config c;
        duet_status st = dt_hf_config_parse("config.json", texts[i].text, strlen(texts[i].text), &c, &err);
        if (st != texts[i].want)
            fail_msg("%s: status %d (%s), wanted %d", texts[i].name, st, err.text, texts[i].want);
        if (texts[i].says && !strstr(err.text, texts[i].says))
            fail_msg("%s: \"%s\" lacks \"%s\"", texts[i].name, err.text, texts[i].says);
        if (st && c.n_layers)
            fail_msg("%s: numbers came with an error", texts[i].name);
    }
}

/* Both spellings of newer and older files. */
static void test_spellings(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        dt_dtype dtype;
        double theta;
        dt_rope_kind rope;
        int n_eos;
    } cases[] = {
        {"torch_dtype",     WITH("\"torch_dtype\":\"bfloat16\",\"rope_theta\":5000,\"eos_token_id\":3"),                        DT_BF16, 5000,
         DT_ROPE_NONE,                                                                                                                                          1},
        {"dtype",           WITH("\"dtype\":\"bfloat16\",\"rope_parameters\":{\"rope_theta\":7000,\"rope_type\":\"default\"}"),
         DT_BF16,                                                                                                                        7000,  DT_ROPE_NONE,   0},
        {"llama3, new key",
         WITH("\"dtype\":\"float32\",\"rope_parameters\":{\"rope_theta\":9000,\"rope_type\":\"llama3\",\"factor\":8}"),
         DT_F32,                                                                                                                         9000,  DT_ROPE_LLAMA3, 0},
        {"defaults",        WITH("\"eos_token_id\":[1,2]"),                                                                     DT_F32,  10000, DT_ROPE_NONE,   2},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        dt_hf_config c;
        if (dt_hf_config_parse(cases[i].name, cases[i].text, strlen(cases[i].text), &c, &err))
            fail_msg("%s", err.text);
        if (c.dtype != cases[i].dtype || c.rope_theta != cases[i].theta || c.rope_kind != cases[i].rope ||
            c.n_eos != cases[i].n_eos)
            fail_msg("%s: dtype %d theta %g rope %d eos %d", cases[i].name, (int)c.dtype, c.rope_theta,
                     (int)c.rope_kind, c.n_eos);
    }
}

/* Windows and rope scaling: what each family's files say, that it is what was meant, and that it is written so that it
 * reads back the same. */
static void test_windows_and_scaling(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        const char *windows; /* a letter a layer: w = windowed, f = full */
        int window, max_pos;
        dt_rope_kind rope;
        double theta, local_theta, factor, original, attn;
    } cases[] = {
        {"qwen3, all full",                                  WITH("\"sliding_window\":64,\"use_sliding_window\":false"),                        "ff",      0,    512,    DT_ROPE_NONE,   1e4,
         0,                                                                                                                                                                                        0, 0,   0                 },
        {"qwen3, upper layers",                              WITH("\"sliding_window\":64,\"use_sliding_window\":true,\"max_window_layers\":1"), "fw",
         64,                                                                                                                                                     512,    DT_ROPE_NONE,   1e4, 0,   0, 0,   0                 },
        {"qwen3, no layer is so high",                       WITH("\"sliding_window\":64,\"use_sliding_window\":true"),                         "ff",      0,    512,
         DT_ROPE_NONE,                                                                                                                                                                   1e4, 0,   0, 0,   0                 },
        {"mistral, no window",                               "{\"model_type\":\"mistral\"," BASE ",\"sliding_window\":null}",                   "ff",      0,    512,
         DT_ROPE_NONE,                                                                                                                                                                   1e4, 0,   0, 0,   0                 },
        {"mistral, window",                                  "{\"model_type\":\"mistral\"," BASE ",\"sliding_window\":16}",                     "ww",      16,   512,    DT_ROPE_NONE,
         1e4,                                                                                                                                                                                 0,   0, 0,   0                 },
        {"mistral, as the first release",                    "{\"model_type\":\"mistral\"," BASE "}",                                           "ww",      4096, 512,    DT_ROPE_NONE,   1e4,
         0,                                                                                                                                                                                        0, 0,   0                 },
        {"gemma3, newer keys",
         "{\"model_type\":\"gemma3_text\"," BASE
         ",\"sliding_window\":32,\"layer_types\":[\"full_attention\",\"sliding_attention\"],"
         "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8,\"rope_theta\":2e6},"
         "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":5e3}}}",                                                              "fw",      32,   512,    DT_ROPE_LINEAR, 2e6, 5e3, 8, 0,   0                 },
        {"gemma3, older keys",
         "{\"model_type\":\"gemma3_text\"," BASE
         ",\"sliding_window\":32,\"sliding_window_pattern\":2,\"rope_theta\":3e6,"
         "\"rope_local_base_freq\":7e3,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8.0}}",                                            "wf",      32,   512,    DT_ROPE_LINEAR, 3e6, 7e3, 8, 0,   0                 },
        {"gemma3 with images",
         "{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"text_config\":{\"hidden_size\":2560,\"intermediate_"
         "size\":10240,"
         "\"model_type\":\"gemma3_text\",\"num_hidden_layers\":7,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":"
         "\"linear\"},"
         "\"sliding_window\":1024},\"vision_config\":{\"hidden_size\":1152}}",                                                                  "wwwwwfw", 1024, 131072, DT_ROPE_LINEAR, 1e6, 1e4, 8, 0,   0                 },
        {"yarn",
         WITH("\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":256}"),
         "ff",                                                                                                                                             0,    1024,   DT_ROPE_YARN,   1e4, 0,   4, 256, 1.1386294361119891},
        {"yarn, older key, original context from the sizes", WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}"),
         "ff",                                                                                                                                             0,    1024,   DT_ROPE_YARN,   1e4, 0,   2, 512, 1.0693147180559945},
        {"yarn, factor from the sizes",
         WITH("\"rope_parameters\":{\"rope_theta\":1e5,\"rope_type\":\"yarn\",\"factor\":null,\"original_max_position_"
              "embeddings\":64}"),
         "ff",                                                                                                                                             0,    512,    DT_ROPE_YARN,   1e5, 0,   8, 64,  1.2079441541679836},
        {"yarn, mscale",
         WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"mscale\":0.7,\"mscale_all_dim\":0.7}"),                                       "ff",      0,    1024,
         DT_ROPE_YARN,                                                                                                                                                                   1e4, 0,   2, 512, 1                 },
        {"yarn, attention_factor",
         WITH("\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"attention_factor\":0.9,\"truncate\":false}"),                                 "ff",      0,
         1024,                                                                                                                                                           DT_ROPE_YARN,   1e4, 0,   2, 512, 0.9               },
        {"linear, older key",                                WITH("\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}"),                       "ff",      0,    512,    DT_ROPE_LINEAR,
         1e4,                                                                                                                                                                                 0,   4, 0,   0                 },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        dt_hf_config c, again;
        const char *name = cases[i].name;
        if (dt_hf_config_parse(name, cases[i].text, strlen(cases[i].text), &c, &err))
            fail_msg("%s", err.text);
        if ((size_t)c.n_layers != strlen(cases[i].windows))
            fail_msg("%s: %d layers", name, c.n_layers);
        for (int l = 0; l < c.n_layers; l++)
            if (dt_hf_config_window(&c, l) != (cases[i].windows[l] == 'w' ? cases[i].window : 0))
                fail_msg("%s: layer %d has window %d", name, l, dt_hf_config_window(&c, l));
        if (c.window != cases[i].window || c.max_pos != cases[i].max_pos)
            fail_msg("%s: window %d, context %d", name, c.window, c.max_pos);
        if (c.rope_kind != cases[i].rope || c.rope_theta != cases[i].theta ||
            c.rope_local_theta != cases[i].local_theta || c.rope_factor != cases[i].factor ||
            c.rope_original != cases[i].original)
            fail_msg("%s: rope %d theta %g local %g factor %g original %g", name, (int)c.rope_kind, c.rope_theta,
                     c.rope_local_theta, c.rope_factor, c.rope_original);
        if (!(fabs(c.rope_attn - cases[i].attn) < 1e-12))
            fail_msg("%s: attention factor %.17g", name, c.rope_attn);

        folder dir = folder_make();
        if (dt_hf_config_write(dir.path, &c, &err) || dt_hf_config_read(dir.path, &again, &err))
            fail_msg("%s: %s", name, err.text);
        if (memcmp(&c, &again, sizeof c))
            fail_msg("%s: written and read back, a field differs", name);
        folder_remove(&dir);
    }
}

/* What makes a gemma3 text model different, with the numbers its family leaves out. */
static void test_gemma3(void **state) {
    (void)state;
    const char *text =
        "{\"model_type\":\"gemma3_text\",\"hidden_size\":640,\"intermediate_size\":2048,\"num_hidden_layers\":18}";
    duet_err err = {{0}};
    dt_hf_config c;
    if (dt_hf_config_parse("c", text, strlen(text), &c, &err))
        fail_msg("%s", err.text);
    assert_true(c.qk_norm && c.post_norms && c.norm_plus_one && c.scaled_embed && c.tied && !c.qkv_bias);
    assert_int_equal(c.act, DT_ACT_GELU_TANH);
    assert_true(c.attn_scalar == 256 && c.n_heads == 8 && c.n_kv == 4 && c.d_head == 256 && c.n_vocab == 262208);
    assert_true(c.bos_id == 2 && c.n_eos == 1 && c.eos_ids[0] == 1);
    assert_int_equal(dt_hf_config_window(&c, 4), 4096);
    assert_int_equal(dt_hf_config_window(&c, 5), 0);
    assert_int_equal(dt_hf_config_window(&c, 17), 0);
}

/* A longer context asked for: what it makes of a config, and where it is refused. */
static void test_scale_rope(void **state) {
    (void)state;
#define OWN(scaling) WITH("\"rope_scaling\":" scaling)
    static const struct {
        const char *config, *text;
        int max_pos; /* 0 = refused */
        double factor, original;
        const char *says;
    } cases[] = {
        {WITH("\"tie_word_embeddings\":true"),      "yarn:4",             2048,       4,   512,        NULL         },
        {WITH("\"tie_word_embeddings\":true"),      "yarn:4:256",         1024,       4,   256,        NULL         },
        {WITH("\"tie_word_embeddings\":true"),      "yarn:2.5",           1280,       2.5, 512,        NULL         },
        {WITH("\"tie_word_embeddings\":true"),      "linear:8",           4096,       8,   0,          NULL         },
        {WITH("\"tie_word_embeddings\":true"),      "yarn:1e6:268435456", DT_MAX_POS, 1e6, DT_MAX_POS, NULL         },
        {WITH("\"tie_word_embeddings\":true"),      "yarn:inf",           0,          0,   0,          "KIND:FACTOR"},
        {WITH("\"tie_word_embeddings\":true"),      "yarn:-2",            0,          0,   0,          "KIND:FACTOR"},
        {WITH("\"tie_word_embeddings\":true"),      "",                   0,          0,   0,          "KIND:FACTOR"},
        {OWN("{\"type\":\"yarn\",\"factor\":2}"),   "yarn:4",             0,          0,   0,          "(yarn, 2)"  },
        {OWN("{\"type\":\"yarn\",\"factor\":2}"),   "linear:4:512",       2048,       4,   0,          NULL         },
        {OWN("{\"type\":\"linear\",\"factor\":2}"), "yarn:4:512",         2048,       4,   512,        NULL         },
        {OWN("{\"type\":\"llama3\"}"),              "yarn:4:512",         0,          0,   0,          "llama3"     },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        dt_hf_config c, before;
        if (dt_hf_config_parse("c", cases[i].config, strlen(cases[i].config), &c, &err))
            fail_msg("%s", err.text);
        before = c;
        duet_status st = dt_hf_config_scale_rope(&c, cases[i].text, &err);
        if (st != (cases[i].max_pos ? DUET_OK : DUET_E_USAGE))
            fail_msg("%s: status %d (%s)", cases[i].text, st, err.text);
        if (st && (!strstr(err.text, cases[i].says) || memcmp(&c, &before, sizeof c)))
            fail_msg("%s: \"%s\", or a field changed", cases[i].text, err.text);
        if (!st &&
            (c.max_pos != cases[i].max_pos || c.rope_factor != cases[i].factor || c.rope_original != cases[i].original))
            fail_msg("%s: context %d factor %g original %g", cases[i].text, c.max_pos, c.rope_factor, c.rope_original);
    }
}

/* A config filled from elsewhere is checked like one that was read. */
static void test_filled_by_hand(void **state) {
    (void)state;
    duet_err err = {{0}};
    dt_hf_config c;
    dt_hf_config_start(&c, DT_ARCH_LLAMA);
    assert_int_equal(dt_hf_config_check(&c, "x", &err), DUET_E_FORMAT);
    c.n_layers = 2, c.d_model = 24, c.n_heads = 4, c.n_kv = 2, c.d_head = 8, c.d_ffn = 40, c.n_vocab = 37,
    c.max_pos = 512;
    assert_int_equal(dt_hf_config_check(&c, "x", &err), DUET_OK);
    c.window = 3;
    assert_int_equal(dt_hf_config_check(&c, "x", &err), DUET_E_FORMAT);
    dt_hf_config_window_layers(&c, 2);
    assert_int_equal(dt_hf_config_check(&c, "x", &err), DUET_OK);
    assert_int_equal(dt_hf_config_window(&c, 0), 3);
    assert_int_equal(dt_hf_config_window(&c, 1), 0);
}

/* The written file is what other tools expect: their key names, short numbers. */
static void test_written_keys(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512];
    dt_hf_config c;
    duet_err err = {{0}};
    dt_buf b = {0};
    const char *text = WITH("\"rms_norm_eps\":1e-6,\"rope_theta\":1000000,\"initializer_range\":0.02");
    if (dt_hf_config_parse("c", text, strlen(text), &c, &err) || dt_hf_config_write(dir.path, &c, &err))
        fail_msg("%s", err.text);
    if (dt_file_read(folder_at(&dir, "config.json", path, sizeof path), 1 << 20, &b, &err))
        fail_msg("%s", err.text);
    static const char *const want[] = {
        "\"Qwen3ForCausalLM\"",         "\"rms_norm_eps\": 1e-6", "\"initializer_range\": 0.02",
        "\"torch_dtype\": \"float32\"", "\"head_dim\": 8",        "\"hidden_act\": \"silu\""};
    for (size_t i = 0; i < DT_COUNT(want); i++)
        if (!strstr(b.data, want[i]))
            fail_msg("config.json lacks %s:\n%s", want[i], b.data);
    dt_buf_clear(&b);
    folder_remove(&dir);
}

static void test_generation(void **state) {
    (void)state;
    char path[512];
    duet_err err = {{0}};
    dt_hf_generation g, again;
    folder dir = folder_make();

    assert_int_equal(dt_hf_generation_read(dir.path, &g, &err), DUET_OK);
    assert_false(g.found);
    assert_int_equal(g.do_sample, -1);
    g = (dt_hf_generation){
        .found = true,
        .do_sample = 1,
        .temperature = 0.6,
        .top_p = 0.95,
        .min_p = -1,
        .top_k = 20,
        .eos_ids = {509, 507},
        .n_eos = 2
    };
    if (dt_hf_generation_write(dir.path, &g, &err) || dt_hf_generation_read(dir.path, &again, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(&g, &again, sizeof g);
    if (folder_fill_disk(&dir, "generation_config.json")) {
        g.top_k = 1;
        assert_int_equal(dt_hf_generation_write(dir.path, &g, &err), DUET_E_IO);
        assert_int_equal(dt_hf_generation_read(dir.path, &g, &err), DUET_OK);
        assert_int_equal(g.top_k, 20);
    }
    folder_put(&dir, "generation_config.json", "{\"temperature\":-1}", 18);
    assert_int_equal(dt_hf_generation_read(dir.path, &g, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "temperature"));
    folder_remove(&dir);

    if (dt_hf_generation_read(shared_path(path, sizeof path, "golden/models/qwen3-tiny"), &g, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(&g, &again, sizeof g);
}

static void test_not_a_folder(void **state) {
    (void)state;
    dt_hf_config c;
    duet_err err = {{0}};
    folder dir = folder_make();
    assert_int_equal(dt_hf_config_read("/nowhere", &c, &err), DUET_E_IO);
    assert_non_null(strstr(err.text, "/nowhere"));
    assert_int_equal(dt_hf_config_read(dir.path, &c, &err), DUET_E_IO);
    assert_non_null(strstr(err.text, "config.json"));
    folder_remove(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_written_keys),
        cmocka_unit_test(test_windows_and_scaling),
        cmocka_unit_test(test_gemma3),
        cmocka_unit_test(test_filled_by_hand),
        cmocka_unit_test(test_scale_rope),
        cmocka_unit_test(test_generation),
        cmocka_unit_test(test_not_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
