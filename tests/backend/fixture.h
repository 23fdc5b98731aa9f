/* Small tokenizers trained on the spot, and model folders in a temporary place. */
#ifndef TESTS_BACKEND_FIXTURE_H
#define TESTS_BACKEND_FIXTURE_H

#include "duet/text.h"
#include "engine/tiny.h"

#include <unistd.h>

/* kind 0 and 1 learn different words, so their ids differ for almost every text; both have the Qwen markers. */
static inline duet_tokenizer *small_tokenizer(int kind) {
    static const char *const texts[2][2] = {
        {"first add seven then take three the answer is four so the answer is 4",
         "user assistant question signal red blue\n\n"},
        {"swap cup one and cup two, now ball under cup two; cup three stays where ball was",
         "la le li lo lu ball cup swap\n"             },
    };
    size_t lens[2] = {strlen(texts[kind][0]), strlen(texts[kind][1])};
    duet_bpe_train opt = {.n_vocab = 320, .min_count = 1};
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    if (duet_tokenizer_train(&opt, texts[kind], lens, 2, &t, &err)) {
        fail_msg("tokenizer: %s", err.text);
    }
    return t;
}

static inline void temp_dir(char out[64]) {
    snprintf(out, 64, "/tmp/duet-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static inline void write_text(const char *dir, const char *name, const char *text) {
    char *path = dt_path_join(dir, name);
    assert_int_equal(dt_file_write_atomic(path, text, strlen(text), NULL), DUET_OK);
    free(path);
}

/* A folder with a random model of n_vocab tokens and tokenizer t. */
static inline void model_folder(char dir[64], const duet_tokenizer *t, int n_vocab, int max_pos, uint64_t seed) {
    duet_model *m = tiny_model(n_vocab, max_pos, seed);
    temp_dir(dir);
    assert_int_equal(duet_model_save(m, dir, NULL), DUET_OK);
    assert_int_equal(duet_tokenizer_save(t, dir, NULL), DUET_OK);
    duet_model_close(m);
}

#endif
