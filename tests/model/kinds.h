/* Tiny random models, one for each kind of layer. A test takes one as its initial state. */
#ifndef DT_TEST_KINDS_H
#define DT_TEST_KINDS_H

#include "model/model.h"
#include "support.h"

#define SIZES                                                                                                            \
    "\"num_hidden_layers\":2,\"hidden_size\":24,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,"          \
    "\"intermediate_size\":40,\"vocab_size\":37,\"max_position_embeddings\":512,\"initializer_range\":0.2,\"eos_token_id\":36"

/* Windows of 5 and 16 are shorter than the longest sequence, whose last block of query rows is ragged. */
static const struct kind {
    const char *name, *config;
} kinds[] = {
    {"qwen3",   tiny_config                                                                                                      },
    {"gemma3",
     "{\"model_type\":\"gemma3_text\"," SIZES ",\"sliding_window\":5,\"layer_types\":[\"sliding_attention\",\"full_attention\"],"
     "\"query_pre_attn_scalar\":11,\"rope_theta\":20000,\"rope_local_base_freq\":100,"
     "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}}"                                                                 },
    {"qwen2",
     "{\"model_type\":\"qwen2\"," SIZES ",\"tie_word_embeddings\":false,\"use_sliding_window\":true,\"sliding_window\":16,"
     "\"max_window_layers\":1,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":16}}"},
    {"mistral", "{\"model_type\":\"mistral\"," SIZES ",\"sliding_window\":1,\"hidden_act\":\"gelu_pytorch_tanh\"}"                },
};

static inline duet_model *model_of(void **state, uint64_t seed) {
    const struct kind *k = *state;
    duet_model *m = NULL;
    duet_err err = {{0}};
    if (duet_model_new(k->config, strlen(k->config), seed, &m, &err)) fail_msg("%s: %s", k->name, err.text);
    dt_rng r = dt_rng_make(seed, 99);
    for (int i = 0; i < m->n_param; i++) /* away from norms that multiply by exactly 1 and biases of 0 */
        for (int j = 0; m->param[i].is_vector && j < m->param[i].cols; j++)
            m->params[m->param[i].offset + (size_t)j] += (float)(0.2 * dt_rng_normal(&r));
    assert_int_equal(dt_model_publish(m, NULL, &err), DUET_OK);
    return m;
}

/* The test for kind k, named after both. */
static inline struct CMUnitTest test_of_kind(struct CMUnitTest test, const struct kind *k, char name[64]) {
    union {
        const struct kind *c;
        void *v;
    } state = {.c = k};
    snprintf(name, 64, "%s of %s", test.name, k->name);
    test.name = name;
    test.initial_state = state.v;
    return test;
}

#endif
