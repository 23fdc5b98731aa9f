/* The vocabulary that tests of grammars share. */
#ifndef DT_TEST_GRAMMAR_VOCAB_H
#define DT_TEST_GRAMMAR_VOCAB_H

#include "backend/fixture.h"
#include "duet/grammar.h"

static duet_tokenizer *tok;
static duet_vocab_trie *trie;

static int setup(void **state) {
    (void)state;
    tok = small_tokenizer(0);
    return duet_vocab_trie_create(tok, &trie, NULL);
}

static int teardown(void **state) {
    (void)state;
    duet_vocab_trie_destroy(trie);
    duet_tokenizer_close(tok);
    return 0;
}

#endif
