/* The page pool and its prefix tree: a random walk against a simple model, and the rules one by one. */
#include "kv/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 2, HEADS = 2, WIDTH = 4, MAX_SEQS = 12, MAX_TOKENS = 120 };

/* What the model knows of a sequence: its tokens. A token's keys and values are a mark made of the version and of
 * all tokens up to it, so a wrongly shared, stale or overwritten page shows. */
typedef struct sim_seq {
    dt_kv_seq s;
    int32_t ids[MAX_TOKENS];
    uint64_t version;
    bool live;
} sim_seq;

/* A mark of 22 bits: exact as a float with the small terms added. */
static uint64_t prefix_hash(const sim_seq *q, uint64_t before, int pos) {
    return (before ^ (uint64_t)(q->ids[pos] + 7)) * 0x9E3779B97F4A7C15u + q->version + (before >> 29);
}

static float mark(uint64_t hash, int layer, int head, int which) {
    return (float)((hash >> 30) & 0x3fffff) + (float)(layer * 100 + head * 20 + which * 10);
}

static void write_tokens(dt_kv *kv, sim_seq *q, int more) {
    uint64_t hash = 0;
    for (int pos = 0; pos < q->s.n_tokens + more; pos++) {
        hash = prefix_hash(q, hash, pos);
        int page = q->s.pages[pos / DT_KV_PAGE], at = pos % DT_KV_PAGE;
        for (int l = 0; pos >= q->s.n_tokens && l < LAYERS; l++) {
            for (int h = 0; h < HEADS; h++) {
                float *k = dt_kv_k(kv, page, l, h), *v = dt_kv_v(kv, page, l, h);
                for (int e = 0; e < WIDTH; e++) {
                    k[e * DT_KV_PAGE + at] = mark(hash, l, h, 0) + (float)e;
                    v[at * WIDTH + e] = mark(hash, l, h, 1) + (float)e;
                }
            }
        }
    }
    q->s.n_tokens += more;
}

static bool holds_its_tokens(const dt_kv *kv, const sim_seq *q) {
    uint64_t hash = 0;
    for (int pos = 0; pos < q->s.n_tokens; pos++) {
        hash = prefix_hash(q, hash, pos);
        int page = q->s.pages[pos / DT_KV_PAGE], at = pos % DT_KV_PAGE;
        for (int l = 0; l < LAYERS; l++) {
            for (int h = 0; h < HEADS; h++) {
                const float *k = dt_kv_k(kv, page, l, h), *v = dt_kv_v(kv, page, l, h);
                for (int e = 0; e < WIDTH; e++) {
                    if (k[e * DT_KV_PAGE + at] != mark(hash, l, h, 0) + (float)e ||
                        v[at * WIDTH + e] != mark(hash, l, h, 1) + (float)e) {
                        return false;
                    }
                }
            }
        }
    }
    return true;
}

/* Pages held by sequences, each counted once. */
static int held_pages(const sim_seq *q, int n_pages) {
    bool seen[256] = {false};
    int n = 0;
    assert_true(n_pages <= 256);
    for (int i = 0; i < MAX_SEQS; i++) {
        for (int j = 0; q[i].live && j < q[i].s.n_pages; j++) {
            n += !seen[q[i].s.pages[j]];
            seen[q[i].s.pages[j]] = true;
        }
    }
    return n;
}

static bool page_is_shared(const sim_seq *q, int self, int page) {
    for (int i = 0; i < MAX_SEQS; i++) {
        for (int j = 0; i != self && q[i].live && j < q[i].s.n_pages; j++) {
            if (q[i].s.pages[j] == page) {
                return true;
            }
        }
    }
    return false;
}

static void walk(uint64_t seed, int n_pages) {
    dt_rng rng = dt_rng_make(seed, 0);
    dt_kv *kv = NULL;
    static sim_seq q[MAX_SEQS];
    uint64_t version = 1;

    memset(q, 0, sizeof q);
    assert_int_equal(dt_kv_create(DT_F32, LAYERS, HEADS, WIDTH, n_pages, &kv, NULL), DUET_OK);
    for (int step = 0; step < 600; step++) {
        int i = (int)dt_rng_below(&rng, MAX_SEQS);
        sim_seq *a = &q[i];
        uint32_t op = dt_rng_below(&rng, 100);
        int before = dt_kv_free_pages(kv);
        if (!a->live) { /* a new sequence from the tree, with few different beginnings */
            a->live = true;
            a->version = version;
            for (int t = 0; t < MAX_TOKENS; t++) {
                a->ids[t] = (int32_t)(dt_rng_below(&rng, 40) == 0) + (t < 16 ? 0 : 2);
            }
            int most = (int)dt_rng_below(&rng, MAX_TOKENS);
            int peek = dt_kv_peek(kv, version, a->ids, most);
            assert_int_equal(dt_kv_match(kv, version, a->ids, MAX_TOKENS, most, &a->s, NULL), DUET_OK);
            assert_int_equal(a->s.n_tokens, peek);
            assert_true(a->s.n_tokens <= most && a->s.n_tokens % DT_KV_PAGE == 0);
        } else if (op < 60) { /* grow, write */
            int more = 1 + (int)dt_rng_below(&rng, 24);
            if (a->s.n_tokens + more > MAX_TOKENS) {
                more = MAX_TOKENS - a->s.n_tokens;
            }
            int last = a->s.n_tokens / DT_KV_PAGE;
            int need = (a->s.n_tokens + more + DT_KV_PAGE - 1) / DT_KV_PAGE - a->s.n_pages;
            need = need > 0 ? need : 0;
            need += more > 0 && a->s.n_tokens % DT_KV_PAGE && page_is_shared(q, i, a->s.pages[last]);
            duet_status st = dt_kv_grow(kv, &a->s, more, NULL);
            if (st != (need > before ? DUET_WAIT : DUET_OK)) {
                fail_msg("seed %llu step %d: grow by %d needs %d of %d free pages, status %d", (unsigned long long)seed,
                         step, more, need, before, st);
            }
            if (st == DUET_OK) {
                write_tokens(kv, a, more);
            }
        } else if (op < 75) { /* fork */
            sim_seq *b = &q[dt_rng_below(&rng, MAX_SEQS)];
            if (!b->live) {
                memcpy(b->ids, a->ids, sizeof b->ids);
                b->version = a->version;
                b->live = true;
                assert_int_equal(dt_kv_fork(kv, &a->s, &b->s, NULL), DUET_OK);
                for (int t = b->s.n_tokens; t < MAX_TOKENS; t++) {
                    b->ids[t] = (int32_t)dt_rng_below(&rng, 3);
                }
            }
        } else if (op < 85) {
            assert_int_equal(dt_kv_remember(kv, a->version, a->ids, &a->s, NULL), DUET_OK);
        } else if (op < 98) {
            dt_kv_drop(kv, &a->s);
            a->live = false;
        } else {
            dt_kv_forget_others(kv, ++version);
        }
        for (int j = 0; j < MAX_SEQS; j++) {
            if (q[j].live && !holds_its_tokens(kv, &q[j])) {
                fail_msg("seed %llu step %d: sequence %d lost its contents", (unsigned long long)seed, step, j);
            }
        }
        if (dt_kv_free_pages(kv) != n_pages - held_pages(q, n_pages)) {
            fail_msg("seed %llu step %d: %d pages free, want %d", (unsigned long long)seed, step, dt_kv_free_pages(kv),
                     n_pages - held_pages(q, n_pages));
        }
    }
    for (int j = 0; j < MAX_SEQS; j++) {
        dt_kv_drop(kv, &q[j].s);
    }
    assert_int_equal(dt_kv_free_pages(kv), n_pages);
    dt_kv_forget_others(kv, UINT64_MAX);
    assert_int_equal(dt_kv_free_pages(kv), n_pages);
    dt_kv_destroy(kv);
}

static void test_random_share_write_release(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 24; seed++) {
        walk(seed, seed % 3 == 0 ? 12 : seed % 3 == 1 ? 40 : 200);
    }
}

static dt_kv *pool(int n_pages) {
    dt_kv *kv = NULL;
    assert_int_equal(dt_kv_create(DT_F32, LAYERS, HEADS, WIDTH, n_pages, &kv, NULL), DUET_OK);
    return kv;
}

static void fill(dt_kv *kv, dt_kv_seq *s, int n) {
    assert_int_equal(dt_kv_grow(kv, s, n, NULL), DUET_OK);
    s->n_tokens += n;
}

static void test_match_finds_longest_full_pages(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t version;
        int differ_at, n, most, want;
    } cases[] = {
        {"all full pages",         7, 99, 50, 50, 48},
        {"shorter prompt",         7, 99, 40, 40, 32},
        {"bounded",                7, 99, 50, 47, 32},
        {"bounded below one page", 7, 99, 50, 15, 0 },
        {"differs in page 1",      7, 20, 50, 50, 16},
        {"differs at once",        7, 0,  50, 50, 0 },
        {"other version",          8, 99, 50, 50, 0 },
        {"empty",                  7, 99, 0,  0,  0 },
    };
    dt_kv *kv = pool(16);
    int32_t ids[64];
    dt_kv_seq a = {0};
    for (int i = 0; i < 64; i++) {
        ids[i] = i;
    }
    fill(kv, &a, 50);
    assert_int_equal(dt_kv_remember(kv, 7, ids, &a, NULL), DUET_OK);
    dt_kv_drop(kv, &a);
    assert_int_equal(dt_kv_free_pages(kv), 16);
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        int32_t mine[64];
        dt_kv_seq b = {0};
        memcpy(mine, ids, sizeof ids);
        if (cases[c].differ_at < 64) {
            mine[cases[c].differ_at] = -1;
        }
        assert_int_equal(dt_kv_match(kv, cases[c].version, mine, cases[c].n, cases[c].most, &b, NULL), DUET_OK);
        if (b.n_tokens != cases[c].want || dt_kv_free_pages(kv) != 16 - cases[c].want / DT_KV_PAGE) {
            fail_msg("%s: %d tokens, want %d", cases[c].name, b.n_tokens, cases[c].want);
        }
        dt_kv_drop(kv, &b);
    }
    dt_kv_forget_others(kv, 8);
    dt_kv_seq b = {0};
    assert_int_equal(dt_kv_match(kv, 7, ids, 50, 50, &b, NULL), DUET_OK);
    assert_int_equal(b.n_tokens, 0);
    dt_kv_destroy(kv);
}

/* Three prefixes of two pages in a pool of six; one is used again; two new pages push out the oldest. */
static void test_least_recently_used_leaves_first(void **state) {
    (void)state;
    dt_kv *kv = pool(6);
    int32_t ids[3][32];
    for (int p = 0; p < 3; p++) {
        dt_kv_seq s = {0};
        for (int i = 0; i < 32; i++) {
            ids[p][i] = 100 * p + i;
        }
        fill(kv, &s, 32);
        assert_int_equal(dt_kv_remember(kv, 1, ids[p], &s, NULL), DUET_OK);
        dt_kv_drop(kv, &s);
    }
    dt_kv_seq use = {0}, more = {0};
    assert_int_equal(dt_kv_cached_pages(kv), 6);
    assert_int_equal(dt_kv_evicted(kv), 0);
    assert_int_equal(dt_kv_match(kv, 1, ids[0], 32, 32, &use, NULL), DUET_OK);
    assert_int_equal(dt_kv_cached_pages(kv), 4);
    dt_kv_drop(kv, &use);
    fill(kv, &more, 17); /* two pages: both of prefix 1 must go, its last page first */
    assert_int_equal(dt_kv_peek(kv, 1, ids[0], 32), 32);
    assert_int_equal(dt_kv_peek(kv, 1, ids[1], 32), 0);
    assert_int_equal(dt_kv_peek(kv, 1, ids[2], 32), 32);
    assert_int_equal(dt_kv_evicted(kv), 2);
    assert_int_equal(dt_kv_cached_pages(kv), 4);
    fill(kv, &more, 16);
    assert_int_equal(dt_kv_peek(kv, 1, ids[2], 32), 16); /* a leaf left, its parent stayed */
    fill(kv, &more, 48);
    assert_int_equal(dt_kv_free_pages(kv), 0);
    assert_int_equal(dt_kv_grow(kv, &more, 16, NULL), DUET_WAIT);
    assert_int_equal(more.n_pages, 6);
    dt_kv_drop(kv, &more);
    assert_int_equal(dt_kv_free_pages(kv), 6);
    dt_kv_destroy(kv);
}

/* What takes the place of a remembered text stands in memory in the order of its tokens, as in a fresh pool. */
static void test_pages_of_a_full_pool_ascend(void **state) {
    (void)state;
    dt_kv *kv = pool(8);
    int32_t ids[2][128];
    dt_kv_seq s = {0};
    for (int p = 0; p < 2; p++) {
        for (int i = 0; i < 128; i++) {
            ids[p][i] = 1000 * p + i;
        }
        fill(kv, &s, 128);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(s.pages[i], i);
        }
        assert_int_equal(dt_kv_remember(kv, 1, ids[p], &s, NULL), DUET_OK);
        dt_kv_drop(kv, &s);
        assert_int_equal(dt_kv_cached_pages(kv), 8);
    }
    dt_kv_destroy(kv);
}

/* Two sequences computed the same page; the tree keeps the first one's, with the second one's page below it. */
static void test_same_prefix_twice_can_be_evicted(void **state) {
    (void)state;
    dt_kv *kv = pool(5);
    int32_t ids[32] = {0};
    dt_kv_seq a = {0}, b = {0}, c = {0};
    fill(kv, &a, 16);
    fill(kv, &b, 32);
    assert_int_equal(dt_kv_remember(kv, 1, ids, &a, NULL), DUET_OK);
    assert_int_equal(dt_kv_remember(kv, 1, ids, &b, NULL), DUET_OK);
    dt_kv_drop(kv, &a);
    assert_int_equal(dt_kv_free_pages(kv), 3); /* a's page is only the tree's, above b's second */
    fill(kv, &c, 48);
    assert_int_equal(dt_kv_peek(kv, 1, ids, 32), 0);
    assert_int_equal(dt_kv_free_pages(kv), 0);
    dt_kv_drop(kv, &b);
    dt_kv_drop(kv, &c);
    assert_int_equal(dt_kv_free_pages(kv), 5);
    dt_kv_destroy(kv);
}

/* Every K and V of a pool is its own memory, and a shared last page is copied whole, in each type. */
static void test_pages_of_each_type(void **state) {
    (void)state;
    static const dt_dtype types[] = {DT_F32, DT_F16, DT_Q8_0};
    enum { L = 3, H = 2, E = 32, N = 40, SMALL = 3 }; /* more than a group, and no whole number of them */
    for (size_t t = 0; t < DT_COUNT(types); t++) {
        dt_kv *kv = NULL;
        size_t half = dt_kv_half_bytes(types[t], E);
        assert_int_equal(dt_kv_page_bytes(types[t], L, H, E), 2 * half * L * H);
        assert_int_equal(dt_kv_create(types[t], L, H, E, N, &kv, NULL), DUET_OK);
        assert_int_equal(dt_kv_type(kv), types[t]);
        for (int pass = 0; pass < 2; pass++)
            for (int p = 0; p < N; p++)
                for (int l = 0; l < L; l++)
                    for (int h = 0; h < 2 * H; h++) {
                        unsigned char *at = h % 2 ? dt_kv_v(kv, p, l, h / 2) : dt_kv_k(kv, p, l, h / 2);
                        const unsigned char want[2] = {(unsigned char)(p * 5 + l), (unsigned char)(h * 7 + p)};
                        for (size_t i = 0; i < half; i++) {
                            if (pass == 0)
                                at[i] = want[i % 2];
                            else
                                assert_int_equal(at[i], want[i % 2]);
                        }
                    }
        dt_kv_seq a = {0}, b = {0};
        assert_int_equal(dt_kv_grow(kv, &a, SMALL, NULL), DUET_OK);
        a.n_tokens = SMALL;
        assert_int_equal(dt_kv_fork(kv, &a, &b, NULL), DUET_OK);
        assert_int_equal(dt_kv_grow(kv, &b, 1, NULL), DUET_OK);
        assert_int_not_equal(a.pages[0], b.pages[0]);
        for (int l = 0; l < L; l++)
            for (int h = 0; h < H; h++) {
                assert_memory_equal(dt_kv_k(kv, a.pages[0], l, h), dt_kv_k(kv, b.pages[0], l, h), half);
                assert_memory_equal(dt_kv_v(kv, a.pages[0], l, h), dt_kv_v(kv, b.pages[0], l, h), half);
            }
        dt_kv_drop(kv, &a);
        dt_kv_drop(kv, &b);
        dt_kv_destroy(kv);
    }
}

static void test_a_type_that_does_not_fit(void **state) {
    (void)state;
    duet_err err;
    dt_kv *kv = NULL;
    assert_int_equal(dt_kv_create(DT_Q8_0, 2, 2, 80, 10, &kv, &err), DUET_E_UNSUPPORTED);
    assert_null(kv);
    assert_non_null(strstr(err.text, "80 wide"));
    assert_int_equal(dt_kv_create(DT_BF16, 2, 2, 64, 10, &kv, &err), DUET_E_UNSUPPORTED);
    assert_null(kv);
}

static void test_absurd_pools_are_refused(void **state) {
    (void)state;
    duet_err err;
    dt_kv *kv = NULL;
    assert_int_equal(dt_kv_create(DT_F32, 2, 2, 4, 0, &kv, &err), DUET_E_RANGE);
    assert_null(kv);
    assert_true(dt_kv_create(DT_F32, 100000, 1000, 100000, INT32_MAX, &kv, &err) < 0);
    assert_null(kv);
    dt_kv_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_share_write_release),
        cmocka_unit_test(test_match_finds_longest_full_pages),
        cmocka_unit_test(test_least_recently_used_leaves_first),
        cmocka_unit_test(test_pages_of_a_full_pool_ascend),
        cmocka_unit_test(test_same_prefix_twice_can_be_evicted),
        cmocka_unit_test(test_pages_of_each_type),
        cmocka_unit_test(test_a_type_that_does_not_fit),
        cmocka_unit_test(test_absurd_pools_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
