/* What several tests need: the shared golden folder (or a visible skip), and a small random model. */
#ifndef DT_TEST_SUPPORT_H
#define DT_TEST_SUPPORT_H

#include "duet/model.h"
#include "format/jsonl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Path below the shared folder, or a skip of the running test if it is not there. The buffer is the caller's. */
static inline const char *shared_path(char *buf, size_t n, const char *rel) {
    snprintf(buf, n, "%s/%s", DUET_SHARED, rel);
    if (!dt_path_exists(buf)) {
        printf("skipped: %s is not there\n", rel);
        skip();
    }
    return buf;
}

static const char tiny_config[] =
    "{\"model_type\":\"qwen3\",\"num_hidden_layers\":2,\"hidden_size\":24,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
    "\"head_dim\":8,\"intermediate_size\":40,\"vocab_size\":37,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000,\"tie_word_embeddings\":true,\"initializer_range\":0.2,\"eos_token_id\":36}";

static inline duet_model *tiny_model(uint64_t seed) {
    duet_model *m = NULL;
    duet_err err = {{0}};
    if (duet_model_new(tiny_config, sizeof tiny_config - 1, seed, &m, &err)) fail_msg("%s", err.text);
    return m;
}

#endif
