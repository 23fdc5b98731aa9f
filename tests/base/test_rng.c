/* Random numbers against published vectors, their addressing and their spread; the stable hash; SHA-256. */
#include "base/base.h"
#include "support.h"

#include <math.h>

/* Known answers of the Random123 library (Salmon et al., SC 2011), philox 4x32 with 10 rounds. */
static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t seed, stream, ctr;
        uint32_t want[4];
    } cases[] = {
        {"zeros", 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {"ones", UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {"digits of pi", 0x299f31d0a4093822u, 0x0370734413198a2eu, 0x85a308d3243f6a88u, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        uint32_t out[4];
        dt_philox(cases[i].seed, cases[i].stream, cases[i].ctr, out);
        for (int w = 0; w < 4; w++)
            if (out[w] != cases[i].want[w]) fail_msg("%s: word %d is %08x, not %08x", cases[i].name, w, out[w], cases[i].want[w]);
    }
}

static void test_a_stream_is_its_blocks_in_order(void **state) {
    (void)state;
    dt_rng r = dt_rng_make(7, 9), s = dt_rng_make(7, 9);
    for (uint64_t ctr = 0; ctr < 5; ctr++) {
        uint32_t block[4];
        dt_philox(7, 9, ctr, block);
        for (int w = 0; w < 4; w++)
            assert_int_equal(dt_rng_u32(&r), block[w]);
        double x = (double)(((uint64_t)block[0] << 32 | block[1]) >> 11) / 9007199254740992.0;
        assert_true(dt_rng_at(7, 9, ctr) == x); /* equal bits */
        assert_true(dt_rng_uniform(&s) == x);
        (void)dt_rng_uniform(&s);
    }
}

static void test_below_is_even(void **state) {
    (void)state;
    static const uint32_t sides[] = {1, 2, 3, 7, 10, 16};
    enum { N = 40000 };
    for (size_t i = 0; i < DT_COUNT(sides); i++) {
        dt_rng r = dt_rng_make(1, sides[i]);
        size_t count[16] = {0};
        double mean = (double)N / sides[i], chi2 = 0;
        for (int k = 0; k < N; k++) {
            uint32_t x = dt_rng_below(&r, sides[i]);
            assert_true(x < sides[i]);
            count[x]++;
        }
        for (uint32_t k = 0; k < sides[i]; k++)
            chi2 += ((double)count[k] - mean) * ((double)count[k] - mean) / mean;
        /* Mean sides-1, variance 2(sides-1): five deviations. */
        if (chi2 > sides[i] - 1 + 5 * sqrt(2.0 * (sides[i] - 1))) fail_msg("%u sides: chi2 %.1f", sides[i], chi2);
    }
    /* 3 * 2^30 values: of the 2^32 words the first quarter must be drawn again, or low numbers come twice as often. */
    dt_rng r = dt_rng_make(1, 99);
    int low = 0;
    for (int k = 0; k < N; k++)
        low += dt_rng_below(&r, 3u << 30) < 1u << 30;
    assert_true(fabs(low - N / 3.0) < 5 * sqrt(N * 2 / 9.0));
    for (int k = 0; k < 1000; k++)
        assert_true(dt_rng_below(&r, UINT32_MAX) < UINT32_MAX);
}

static void test_uniform_and_normal(void **state) {
    (void)state;
    enum { N = 40000 };
    dt_rng r = dt_rng_make(5, 0);
    double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0;
    for (int i = 0; i < N; i++) {
        double u = dt_rng_uniform(&r), x = dt_rng_normal(&r);
        assert_true(u >= 0 && u < 1 && isfinite(x));
        u1 += u / N;
        u2 += u * u / N;
        n1 += x / N;
        n2 += x * x / N;
        n4 += x * x * x * x / N;
    }
    /* Five deviations of each mean: its own standard deviation over sqrt(N). */
    double s = 5 / sqrt(N);
    assert_true(fabs(u1 - 0.5) < s * sqrt(1 / 12.0));
    assert_true(fabs(u2 - 1 / 3.0) < s * sqrt(4 / 45.0));
    assert_true(fabs(n1) < s);
    assert_true(fabs(n2 - 1) < s * sqrt(2));
    assert_true(fabs(n4 - 3) < s * sqrt(96));
}

/* FNV-1a and the finaliser of splitmix64, computed elsewhere: files and splits depend on these values for good. */
static void test_hash64(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        size_t n;
        uint64_t seed, want;
    } cases[] = {
        {"empty", "", 0, 0, 0xf52a15e9a9b5e89bu},
        {"one letter", "a", 1, 0, 0x02c0bdbf481420f8u},
        {"word", "duet", 4, 0, 0x849986c43fbae205u},
        {"word, seed 1", "duet", 4, 1, 0xb8e6d0d6c4e0ce10u},
        {"two NULs", "\0\0", 2, 0, 0x7bc210046bd616ccu},
        {"high bytes, high seed", "\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9, UINT64_MAX, 0x45571152b65d6629u},
    };
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        uint64_t h = dt_hash64(cases[i].text, cases[i].n, cases[i].seed);
        if (h != cases[i].want) fail_msg("%s: %016llx", cases[i].name, (unsigned long long)h);
    }
}

/* ---- SHA-256 ---- */

static void want_sha(const char *name, dt_sha256 *s, const char *want) {
    char hex[65];
    dt_sha256_hex(s, hex);
    if (strcmp(hex, want)) fail_msg("%s: %s, not %s", name, hex, want);
}

/* The examples of FIPS 180-4 and NIST's long message. */
static void test_sha256_known_answers(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"empty", "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"448 bits", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"896 bits", "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    dt_sha256 s;
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        dt_sha256_init(&s);
        dt_sha256_add(&s, cases[i].text, strlen(cases[i].text));
        want_sha(cases[i].name, &s, cases[i].want);
    }
    char block[1000];
    memset(block, 'a', sizeof block);
    dt_sha256_init(&s);
    for (int i = 0; i < 1000; i++)
        dt_sha256_add(&s, block, sizeof block);
    want_sha("a million a", &s, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Byte i of the message is i * 7 + 3; the lengths lie around the padding's edges. */
static void test_sha256_lengths_and_pieces(void **state) {
    (void)state;
    static const struct {
        size_t n;
        const char *want;
    } cases[] = {
        {1, "084fed08b978af4d7d196a7446a86b58009e636b611db16211b65a9aadff29c5"},
        {55, "e7313d333c272e639f790978283f9eb392e843d0f29b7016828bb1daa4aac70b"},
        {56, "4324d65f3c103567f5589c710bc08f8523f929a9272e3af36fc968e52abc6c27"},
        {63, "81c80242132f230c3bd41b3e63bbcff16107339549214a99614ff26664625055"},
        {64, "39e3d7b6b5d075d37d053ad89b24b41bef4f3c29760c84447cab3f3be1882241"},
        {65, "aacca6ff74fdbb296d165a45cecfa04e5127bc008770fbbdd48006f2d2fae95e"},
        {119, "9ce7368e4daf32341631b492e80359dc9f594b48453cd0dd5bf0b19279cc177e"},
        {120, "7836b787757e95e58b3ca5aec90b1b004e8deba1e50e9675af9cabf1a13a04b5"},
        {1000, "1e9bc38cbf860b9ec31918b065f9b52476c549a782e0e7990bed8ce3868d2371"},
    };
    static const size_t pieces[] = {1000, 1, 3, 63, 64, 65};
    uint8_t m[1000];
    for (size_t i = 0; i < sizeof m; i++)
        m[i] = (uint8_t)(i * 7 + 3);
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        for (size_t k = 0; k < DT_COUNT(pieces); k++) {
            char name[64];
            dt_sha256 s;
            snprintf(name, sizeof name, "%zu bytes in pieces of %zu", cases[i].n, pieces[k]);
            dt_sha256_init(&s);
            for (size_t at = 0; at < cases[i].n; at += pieces[k])
                dt_sha256_add(&s, m + at, pieces[k] < cases[i].n - at ? pieces[k] : cases[i].n - at);
            want_sha(name, &s, cases[i].want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers), cmocka_unit_test(test_a_stream_is_its_blocks_in_order),
        cmocka_unit_test(test_below_is_even),        cmocka_unit_test(test_uniform_and_normal),
        cmocka_unit_test(test_hash64),               cmocka_unit_test(test_sha256_known_answers),
        cmocka_unit_test(test_sha256_lengths_and_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
