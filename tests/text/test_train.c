/* Training and building: what is learned, the same file for the same corpus, what is saved opens again with equal
 * ids, and any text comes back from its ids. */
#include "text/text_test.h"

#include <unistd.h>

static const char *const corpus[] = {
    "low low low low low lower lower newest newest newest newest newest newest widest widest widest",
    "<|im_start|>user\nhow low?<|im_end|>\n<think>\nthe lowest\n</think>\n\nnewest",
    "3 apples and 14 pears, 15 plums\n\n\tthe end. \xc3\xa9t\xc3\xa9",
};

static duet_tokenizer *train(const duet_bpe_train *opt) {
    size_t lens[DT_COUNT(corpus)];
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    for (size_t i = 0; i < DT_COUNT(corpus); i++)
        lens[i] = strlen(corpus[i]);
    must(duet_tokenizer_train(opt, corpus, lens, DT_COUNT(corpus), &t, &err), &err);
    return t;
}

/* Encodes, decodes at once and as a stream; true if the text comes back. Text must be NFC. */
static bool comes_back(const duet_tokenizer *t, const char *s, size_t n, int flags) {
    duet_ids ids = {0};
    duet_text text = {0};
    duet_err err = {{0}};
    must(duet_tokenizer_encode(t, s, n, flags, &ids, &err), &err);
    must(duet_tokenizer_decode(t, ids.v, ids.n, false, &text, &err), &err);
    bool ok = check_text("there and back", text.data, text.n, s, n);
    duet_decoder *d = NULL;
    dt_buf all = {0};
    must(duet_decoder_create(t, false, &d, &err), &err);
    for (size_t i = 0; i <= ids.n; i++) {
        const char *part = NULL;
        size_t k = 0;
        must(duet_decoder_push(d, i < ids.n ? ids.v[i] : -1, &part, &k, &err), &err);
        ok = ok && dt_utf8_bad(part, k) == k;
        dt_buf_add(&all, part, k);
    }
    ok = ok && check_text("streamed", all.data, all.len, s, n);
    duet_decoder_destroy(d);
    dt_buf_clear(&all);
    duet_ids_free(&ids);
    duet_text_free(&text);
    return ok;
}

static void test_first_merges(void **state) {
    (void)state;
    duet_tokenizer *t = train(&(duet_bpe_train){.n_vocab = 256 + 6 + 5});
    /* What the trainer of Hugging Face's tokenizers learns from the same texts without the tags, in this order. */
    static const char *const want[] = {"es", "est", "ow", "low", " low", "ew"};
    assert_int_equal(duet_tokenizer_size(t), 256 + 6 + 5);
    for (size_t i = 0; i < DT_COUNT(want); i++) {
        size_t n = 0;
        const char *s = duet_tokenizer_bytes(t, 256 + (int32_t)i, &n);
        assert_true(check_text("merge", s, n, want[i], strlen(want[i])));
    }
    static const char *const added[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"};
    for (size_t i = 0; i < DT_COUNT(added); i++) {
        const int32_t id = 262 + (int32_t)i;
        assert_int_equal(duet_tokenizer_id(t, added[i]), id);
        assert_true(duet_tokenizer_is_added(t, id));
        assert_int_equal(duet_tokenizer_is_special(t, id), i < 3);
    }
    assert_int_equal(duet_tokenizer_id(t, "!"), 0);
    assert_int_equal(duet_tokenizer_id(t, " "), 220); /* the same base ids as GPT-2 and Qwen */
    assert_int_equal(duet_tokenizer_id(t, "\n"), 198);
    duet_tokenizer_close(t);
}

static void test_deterministic(void **state) {
    (void)state;
    const duet_bpe_train opt = {.n_vocab = 320, .alphabet = true};
    duet_tokenizer *a = train(&opt), *b = train(&opt);
    assert_true(duet_tokenizer_same(a, b));
    assert_int_equal(a->json.len, b->json.len);
    assert_memory_equal(a->json.data, b->json.data, a->json.len);
    duet_tokenizer_close(a);
    duet_tokenizer_close(b);
}

static void test_min_count(void **state) {
    (void)state;
    duet_tokenizer *all = train(&(duet_bpe_train){.n_vocab = 100000, .min_count = 1});
    duet_tokenizer *some = train(&(duet_bpe_train){.n_vocab = 100000, .min_count = 3});
    duet_tokenizer *none = train(&(duet_bpe_train){.n_vocab = 100000, .min_count = 1000});
    assert_true(duet_tokenizer_size(all) > duet_tokenizer_size(some));
    assert_true(duet_tokenizer_size(some) > duet_tokenizer_size(none));
    assert_int_equal(duet_tokenizer_size(none), 256 + 5);
    duet_tokenizer_close(all);
    duet_tokenizer_close(some);
    duet_tokenizer_close(none);
}

static void test_too_small(void **state) {
    (void)state;
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    size_t lens[1] = {3};
    const char *bad = "\xff\xff\xff", *good = "abc";
    assert_int_equal(duet_tokenizer_train(&(duet_bpe_train){.n_vocab = 260}, &good, lens, 1, &t, &err), DUET_E_RANGE);
    assert_string_equal(err.text, "a vocabulary of 260 is too small: 256 bytes and 5 added tokens are needed");
    assert_int_equal(duet_tokenizer_train(&(duet_bpe_train){.n_vocab = 300}, &bad, lens, 1, &t, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "training text 0"));
    assert_int_equal(duet_tokenizer_train(&(duet_bpe_train){.n_vocab = 300, .pattern = "("}, &good, lens, 1, &t, &err),
                     DUET_E_FORMAT);
    assert_null(t);
    must(duet_tokenizer_train(&(duet_bpe_train){.n_vocab = 300}, NULL, NULL, 0, &t, &err), &err); /* no text: bytes */
    assert_int_equal(duet_tokenizer_size(t), 261);
    duet_tokenizer_close(t);
}

static void test_saved(void **state) {
    (void)state;
    char dir[] = "/tmp/duet_text_XXXXXX";
    duet_tokenizer *t = train(&(duet_bpe_train){.n_vocab = 300}), *back = NULL;
    duet_err err = {{0}};
    assert_non_null(mkdtemp(dir));
    char *inner = dt_path_join(dir, "new/folder");
    must(duet_tokenizer_save(t, inner, &err), &err);
    must(duet_tokenizer_open(inner, &back, &err), &err);
    assert_true(duet_tokenizer_same(t, back));
    assert_non_null(strstr(back->chat_template, "enable_thinking is false"));
    for (size_t i = 0; i < DT_COUNT(corpus); i++)
        for (int flags = 0; flags <= DUET_ENC_NO_SPECIAL; flags += 2) {
            duet_ids a = {0}, b = {0};
            must(duet_tokenizer_encode(t, corpus[i], strlen(corpus[i]), flags, &a, &err), &err);
            must(duet_tokenizer_encode(back, corpus[i], strlen(corpus[i]), flags, &b, &err), &err);
            assert_true(check_ids(corpus[i], &b, a.v, a.n));
            duet_ids_free(&a);
            duet_ids_free(&b);
        }
    duet_tokenizer_close(back);
    char *file = dt_path_join(inner, "tokenizer.json");
    must(duet_tokenizer_open(file, &back, &err), &err);
    assert_null(back->chat_template);
    duet_tokenizer_close(back);
    assert_int_equal(duet_tokenizer_open("/nowhere/at/all", &back, &err), DUET_E_IO);
    assert_null(back);
    must(dt_remove_tree(dir, &err), &err);
    free(file);
    free(inner);
    duet_tokenizer_close(t);
}

/* Random texts of whole characters in NFC: letters, blanks, marks, ideographs, emoji, NUL. */
static void test_there_and_back(void **state) {
    (void)state;
    static const char *const chars[] = {"a",
                                        "e",
                                        "o",
                                        "w",
                                        "l",
                                        " ",
                                        "\n",
                                        "\t",
                                        "1",
                                        "?",
                                        "'s",
                                        "\xc3\xa9",
                                        "\xe4\xb8\xad",
                                        "\xf0\x9f\x98\x80",
                                        "\xcc\x83",
                                        "<think>",
                                        "</think>",
                                        "<|im_end|>",
                                        "<",
                                        "low"};
    duet_tokenizer *t = train(&(duet_bpe_train){.n_vocab = 330});
    for (uint64_t seed = 1; seed <= 300; seed++) {
        dt_rng r = dt_rng_make(seed, 7);
        dt_buf b = {0};
        for (uint32_t n = dt_rng_below(&r, 60); n; n--)
            if (dt_rng_below(&r, 30))
                dt_buf_adds(&b, chars[dt_rng_below(&r, DT_COUNT(chars))]);
            else
                dt_buf_add(&b, "\0", 1);
        char *mem = NULL;
        const char *s = NULL;
        size_t n = 0;
        duet_err err = {{0}};
        must(dt_normal_run((const dt_form[]){DT_NFC}, 1, b.data ? b.data : "", b.len, &mem, &s, &n, &err), &err);
        if (!comes_back(t, s, n, 0) || !comes_back(t, s, n, DUET_ENC_PLAIN))
            fail_msg("seed %d", (int)seed);
        free(mem);
        dt_buf_clear(&b);
    }
    duet_tokenizer_close(t);
}

/* A long text with many repeats goes through the piece cache; sentence by sentence it does not. */
static void test_cache(void **state) {
    (void)state;
    duet_tokenizer *t = train(&(duet_bpe_train){.n_vocab = 330});
    dt_buf b = {0};
    duet_ids whole = {0}, parts = {0};
    duet_err err = {{0}};
    for (int i = 0; i < 400; i++) {
        char line[64];
        snprintf(line, sizeof line, "low %d newest%d\n", i * i, i % 7);
        dt_buf_adds(&b, line);
        must(duet_tokenizer_encode(t, line, strlen(line), 0, &parts, &err), &err);
    }
    must(duet_tokenizer_encode(t, b.data, b.len, 0, &whole, &err), &err);
    assert_true(b.len > 4096);
    assert_true(check_ids("whole = line by line", &whole, parts.v, parts.n));
    duet_ids_free(&whole);
    duet_ids_free(&parts);
    dt_buf_clear(&b);
    duet_tokenizer_close(t);
}

static void test_stream_holds_halves(void **state) {
    (void)state;
    duet_tokenizer *t = NULL;
    duet_decoder *d = NULL;
    duet_err err = {{0}};
    const char *s = NULL;
    size_t n = 0;
    must(duet_tokenizer_build(NULL, NULL, NULL, 0, NULL, &t, &err), &err);
    must(duet_decoder_create(t, true, &d, &err), &err);
    static const struct {
        const char *name;
        int byte; /* -1 flush, -2 a special token */
        const char *want;
    } steps[] = {
        {"plain",           'a',  "a"           },
        {"first of three",  0xe4, ""            },
        {"second",          0xb8, ""            },
        {"special between", -2,   ""            },
        {"third",           0xad, "\xe4\xb8\xad"},
        {"half",            0xf0, ""            },
        {"still half",      0x9f, ""            },
        {"broken off",      'b',
         "\xef\xbf\xbd"
         "b"                                    },
        {"stray",           0x80, "\xef\xbf\xbd"},
        {"half at the end", 0xc3, ""            },
        {"flush",           -1,   "\xef\xbf\xbd"},
        {"flush again",     -1,   ""            },
    };
    for (size_t i = 0; i < DT_COUNT(steps); i++) {
        const uint8_t b = (uint8_t)steps[i].byte;
        const int32_t id = steps[i].byte == -1   ? -1
                           : steps[i].byte == -2 ? duet_tokenizer_id(t, "<|im_end|>")
                                                 : dt_vocab_find(&t->vocab, &b, 1, false);
        must(duet_decoder_push(d, id, &s, &n, &err), &err);
        assert_true(check_text(steps[i].name, s, n, steps[i].want, strlen(steps[i].want)));
    }
    assert_int_equal(duet_decoder_push(d, 100000, &s, &n, &err), DUET_E_RANGE);
    duet_decoder_destroy(d);
    duet_tokenizer_close(t);
}

static void test_build(void **state) {
    (void)state;
    static const char *const merged[] = {" i", "is", " is", "\n\n", " is."};
    static const size_t cut[] = {1, 1, 1, 1, 3};
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    duet_ids ids = {0};
    must(duet_tokenizer_build("[^\\n]+|\\n+", merged, cut, DT_COUNT(merged), " \nabis.", &t, &err), &err);
    assert_int_equal(duet_tokenizer_size(t), 7 + 5 + 5);
    assert_int_equal(duet_tokenizer_id(t, "\n\n"), 7 + 3);
    must(duet_tokenizer_encode(t, "a is.\n\nb", 8, 0, &ids, &err), &err);
    /* " i" ranks before "is", so " is" is not reached from " " + "is": the pieces stay as their ranks say. */
    const int32_t want[] = {duet_tokenizer_id(t, "a"), duet_tokenizer_id(t, " i"),   duet_tokenizer_id(t, "s"),
                            duet_tokenizer_id(t, "."), duet_tokenizer_id(t, "\n\n"), duet_tokenizer_id(t, "b")};
    assert_true(check_ids("ranks", &ids, want, DT_COUNT(want)));
    assert_int_equal(duet_tokenizer_encode(t, "a z", 3, 0, &ids, &err), DUET_E_FORMAT);
    assert_string_equal(err.text, "character \"z\" at byte 2 is not in this tokenizer's alphabet");
    duet_ids_free(&ids);
    duet_tokenizer_close(t);
}

static void test_build_refuses(void **state) {
    (void)state;
    static const struct {
        const char *name, *first, *second;
        size_t cut1, cut2;
        const char *says;
    } cases[] = {
        {"left missing",        "ab",  "xyc", 1, 2, "merge 1: \"xyc\" needs \"xy\""   },
        {"right missing",       "ab",  "axy", 1, 1, "merge 1: \"axy\" needs \"xy\""   },
        {"made later",          "abc", "ab",  2, 1, "merge 0: \"abc\" needs \"ab\""   },
        {"not in the alphabet", "ab",  "az",  1, 1, "needs \"z\""                     },
        {"twice",               "ab",  "ab",  1, 1, "merge 1: \"ab\" is there already"},
        {"cut at 0",            "ab",  "abc", 1, 0, "cannot be cut at byte 0"         },
        {"cut at the end",      "ab",  "abc", 1, 3, "cannot be cut at byte 3"         },
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        const char *merged[] = {cases[i].first, cases[i].second};
        const size_t cut[] = {cases[i].cut1, cases[i].cut2};
        duet_tokenizer *t = NULL;
        duet_err err = {{0}};
        duet_status st = duet_tokenizer_build(NULL, merged, cut, 2, "abcxy", &t, &err);
        print_message("case: %s: %s\n", cases[i].name, err.text);
        assert_int_equal(st, DUET_E_USAGE);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_null(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_merges), cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_min_count),    cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_saved),        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_cache),        cmocka_unit_test(test_stream_holds_halves),
        cmocka_unit_test(test_build),        cmocka_unit_test(test_build_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
