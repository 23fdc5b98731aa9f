/* A small random model and a batch of mixed requests, for tests of what stands on the engine. */
#ifndef TESTS_ENGINE_TINY_H
#define TESTS_ENGINE_TINY_H

#include "base/base.h"
#include "duet/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Weights wide enough that distributions differ from prompt to prompt. Ids 90 and 91 are EOS. */
static inline duet_model *tiny_model(int n_vocab, int max_pos, uint64_t seed) {
    char config[1024];
    duet_model *m = NULL;
    duet_err err = {{0}};
    int n = snprintf(config, sizeof config,
                     "{\"architectures\":[\"Qwen3ForCausalLM\"],\"model_type\":\"qwen3\",\"hidden_size\":32,"
                     "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":16,"
                     "\"intermediate_size\":48,\"vocab_size\":%d,\"max_position_embeddings\":%d,"
                     "\"rms_norm_eps\":1e-6,\"rope_theta\":10000,\"tie_word_embeddings\":true,"
                     "\"initializer_range\":0.25,\"torch_dtype\":\"float32\",\"eos_token_id\":[90,91]}",
                     n_vocab, max_pos);
    if (duet_model_new(config, (size_t)n, seed, &m, &err)) {
        fail_msg("tiny model: %s", err.text);
    }
    return m;
}

static inline duet_engine *tiny_engine(duet_model *m, duet_engine_options opt) {
    duet_engine *e = NULL;
    duet_err err = {{0}};
    if (duet_engine_create(m, &opt, &e, &err)) {
        fail_msg("engine: %s", err.text);
    }
    return e;
}

#endif
