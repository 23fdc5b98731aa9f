/* safetensors: golden files, lying headers, write and read back, writes that fail. */
#include "format/folder.h"
#include "format/hf_config.h"
#include "format/safetensors.h"

/* A file: 8 bytes of length, the header, n_data bytes. `claim` overrides the length if it is not -1. */
static size_t build(uint8_t *out, const char *header, size_t n_data, int64_t claim) {
    size_t n = strlen(header);
    uint64_t len = claim < 0 ? n : (uint64_t)claim;
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(len >> (8 * i));
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        out[8 + n + i] = (uint8_t)i;
    return 8 + n + n_data;
}

#define T(dtype, shape, from, to) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static const struct {
    const char *name, *header;
    size_t n_data;
    int64_t claim;
    duet_status want;
    const char *says; /* what the sentence must contain */
} headers[] = {
    {"one tensor",                 "{\"a\":" T("F32",         "[2,2]","0",  "16") "}",16,-1, DUET_OK, NULL},
    {"scalar",                     "{\"a\":" T("F32",                                          "[]","0","4") "}",4,-1, DUET_OK, NULL},
    {"empty tensor",                    "{\"a\":" T("F32",                                            "[0,7]","0", "0") "}",                                                                     0,                                                                                                                                                                                           -1, DUET_OK, NULL},
    {"no tensors","{}",0,-1,DUET_OK,NULL},
    {"metadata only",                        "{\"__metadata__\":{\"format\":\"pt\"}}",                                                 0,-1,DUET_OK,      NULL                                                                               },
    {"trailing blanks",                        "{\"a\":" T("U8",                                                 "[3]","0","3") "}     ",     3,                                                                                                                                                                                                                                                                                                                                                                                           -1, DUET_OK, NULL},
    {"shuffled order",                        "{\"a\":" T("U8",                                                 "[3]","2","5") ",\"b\":" T("U8","[2]","0", "2") "}", 5, -1, DUET_OK, NULL},
    {"empty header",                           "",                                                  0,-1,DUET_E_FORMAT,"header"},
    {"header past the end",                       "{}",0,3,                   DUET_E_FORMAT,                                                                                                                                                      "header says 3"                                                                                                                                                                                                                                                                                                                               },
    {"huge header",                          "{}",                                            0,INT64_MAX,DUET_E_FORMAT,"header says"},
    {"header cut",                          "{\"a\":" T("F32",                                      "[2]","0",                       "8") "}",                                      8,                                                                                                                                                                                                                                                                                                                                                                                                                                                         20, DUET_E_FORMAT, "JSON"},
    {"data cut",                           "{\"a\":" T("F32",                                       "[4]",        "0","16") "}",15,-1, DUET_E_FORMAT, "15 bytes"},
    {"hole at the end",                   "{\"a\":" T("F32",                               "[4]","0",             "16") "}",                                             17,                                                                           -1, DUET_E_FORMAT, "after the last"},
    {"hole at the start",                         "{\"a\":" T("U8",                                          "[4]","1","5") "}",5,-1, DUET_E_FORMAT, "belong to none"},
    {"hole between",                   "{\"a\":" T("U8", "[2]","0","2") ",\"b\":" T("U8","[2]",                                         "3", "5") "}", 5, -1, DUET_E_FORMAT,
     "belong to none"},
    {"overlap",               "{\"a\":" T("U8",                              "[3]","0","3") ",\"b\":" T("U8","[3]","2", "5") "}", 5, -1, DUET_E_FORMAT,
     "overlaps"},
    {"same bytes twice",                   "{\"a\":" T("U8",                                          "[3]","0","3") ",\"b\":" T("U8","[3]","0", "3") "}", 3, -1,
     DUET_E_FORMAT, "overlaps"},
    {"wrong dtype size","{\"a\":" T("BF16","[4]","0","16") "}",                                    16,                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                           -1, DUET_E_FORMAT, "do not fit"},
    {"wrong shape",            "{\"a\":" T("F32",                                     "[5]","0","16") "}",16,                          -1, DUET_E_FORMAT, "do not fit"},
    {"shape overflows",                       "{\"a\":" T("F32",                                             "[4294967296,4294967296,4]","0","16") "}",                                                                                         16,                                  -1, DUET_E_FORMAT,
     "do not fit"},
    {"bytes overflow",                            "{\"a\":" T("F32",                                             "[4611686018427387905]","0","4") "}",4,-1, DUET_E_FORMAT, "do not fit"},
    {"negative dimension",                         "{\"a\":" T("F32",                                          "[-4]","0","16") "}",16,-1, DUET_E_FORMAT, "dimension 0"},
    {"fractional dimension",           "{\"a\":" T("F32",  "[4.0]","0","16") "}",16,                                                            -1, DUET_E_FORMAT, "dimension 0"},
    {"number too large",                    "{\"a\":" T("F32",                                            "[18446744073709551617]","0","4") "}",4,-1, DUET_E_FORMAT, "JSON"},
    {"negative offset",                       "{\"a\":" T("F32",                                                                             "[4]",                                                                                           "-16",                                                                                                                                            "0") "}",                                                                                                      16,-1, DUET_E_FORMAT, "data_offsets"},
    {"offsets reversed",                "{\"a\":" T("F32",                                         "[4]","16","0") "}",16,-1, DUET_E_FORMAT, "data_offsets"},
    {"offset far outside",                          "{\"a\":" T("F32",                                                 "[4]","9223372036854775791","9223372036854775807") "}",                                        16,-1,
     DUET_E_FORMAT, "data_offsets"},
    {"unknown dtype", "{\"a\":" T("F7","[4]","0","16") "}",16,-1, DUET_E_UNSUPPORTED, "F7"},
    {"nine dimensions",                            "{\"a\":" T("U8",                                      "[1,1,1,1,1,1,1,1,1]","0","1") "}",1,-1, DUET_E_UNSUPPORTED,
     "9 dimensions"},
    {"duplicate name",                          "{\"a\":" T("U8",                                      "[1]","0","1") ",\"a\":" T("U8","[1]","1", "2") "}", 2, -1, DUET_E_FORMAT,
     "duplicate"},
    {"no dtype",                         "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}",                                         1,-1,                                DUET_E_FORMAT,                                                               "lacks"                                                                  },
    {"three offsets",       "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}",     1,-1,                                           DUET_E_FORMAT,
     "lacks"                                                                                                                                                                 },
    {"entry is a number",               "{\"a\":3}",                           0,-1,DUET_E_FORMAT,"lacks"},
    {"header is an array",                    "[]",                                            0,-1,DUET_E_FORMAT,          "object"                                           },
    {"NUL in a name","{\"a\\u0000b\":" T("U8","[1]","0","1") "}",1,-1, DUET_E_FORMAT, "JSON"},
    {"invalid UTF-8",              "{\"\xff\":" T("U8",                                       "[1]","0","1") "}",1,-1, DUET_E_FORMAT, "JSON"},
    {"metadata is a list",                          "{\"__metadata__\":[1]}",                                                 0,-1,DUET_E_FORMAT,                                                               "__metadata__"                                                                                                           },
    {"metadata of numbers",                       "{\"__metadata__\":{\"k\":1}}",0,-1,DUET_E_FORMAT,"__metadata__"},
};

static void test_headers(void **state) {
    (void)state;
    uint8_t file[1024];
    for (size_t i = 0; i < DT_COUNT(headers); i++) {
        duet_err err = {{0}};
        dt_st *f = NULL;
        size_t n = build(file, headers[i].header, headers[i].n_data, headers[i].claim);
        uint8_t *exact = malloc(n); /* so that a sanitizer sees a read past the end */
        assert_non_null(exact);
        memcpy(exact, file, n);
        duet_status st = dt_st_open_mem("x.safetensors", exact, n, &f, &err);
        if (st != headers[i].want)
            fail_msg("%s: status %d (%s), wanted %d", headers[i].name, st, err.text, headers[i].want);
        if (st && f)
            fail_msg("%s: a handle came with an error", headers[i].name);
        if (headers[i].says && !strstr(err.text, headers[i].says))
            fail_msg("%s: \"%s\" lacks \"%s\"", headers[i].name, err.text, headers[i].says);
        dt_st_close(f);
        free(exact);
    }
}

/* Every prefix of a good file is refused, none is believed. */
static void test_truncated(void **state) {
    (void)state;
    uint8_t file[256];
    duet_err err = {{0}};
    dt_st *f = NULL;
    size_t n = build(file, "{\"a\":" T("U8", "[3]", "2", "5") ",\"b\":" T("U8", "[2]", "0", "2") "}", 5, -1);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1);
        assert_non_null(exact);
        memcpy(exact, file, cut);
        if (dt_st_open_mem("cut", exact, cut, &f, &err) != DUET_E_FORMAT)
            fail_msg("%zu of %zu bytes: not refused", cut, n);
        free(exact);
    }
    assert_int_equal(dt_st_open_mem("whole", file, n, &f, &err), DUET_OK);
    assert_string_equal(dt_st_name(f, 0), "b"); /* in the order of the data */
    assert_memory_equal(dt_st_find(f, "a")->data, "\2\3\4", 3);
    assert_null(dt_st_find(f, "c"));
    dt_st_close(f);
}

static void test_deep_json(void **state) {
    (void)state;
    enum { DEEP = 200000 };
    duet_err err = {{0}};
    dt_st *f = NULL;
    char *header = malloc(DEEP + 1);
    uint8_t *file = malloc(DEEP + 9);
    assert_non_null(header);
    assert_non_null(file);
    memset(header, '[', DEEP);
    header[DEEP] = 0;
    assert_int_equal(dt_st_open_mem("deep", file, build(file, header, 0, -1), &f, &err), DUET_E_FORMAT);
    free(header);
    free(file);
}

static void test_round_trip(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512];
    duet_err err = {{0}};
    dt_st *f = NULL;
    const float w[6] = {1, -2, 3.5f, 0, 1e-40f, -0.0f};
    const uint16_t h[3] = {0x3f80, 0x7fc0, 0x8000};
    const uint8_t raw[5] = {0, 255, 7, 10, 34};
    const dt_st_item items[] = {
        {"w\"eight\n", {DT_F32, 2, {2, 3}, w} },
        {"empty",      {DT_F32, 2, {0, 3}, w} },
        {"half",       {DT_BF16, 1, {3}, h}   },
        {"scalar",     {DT_F32, 0, {0}, w + 2}},
        {"bytes",      {DT_U8, 2, {5, 1}, raw}},
    };
    const char *meta[] = {"step", "12", "odd", "a\\b\tc"};
    folder_at(&dir, "t.safetensors", path, sizeof path);
    for (int again = 0; again < 2; again++) /* new, then over an old one */
        if (dt_st_write(path, items, DT_COUNT(items), meta, 2, &err))
            fail_msg("%s", err.text);
    if (dt_st_open(path, &f, &err))
        fail_msg("%s", err.text);
    assert_int_equal(dt_st_count(f), DT_COUNT(items));
    for (size_t i = 0; i < DT_COUNT(items); i++) {
        const dt_view *v = dt_st_find(f, items[i].name);
        size_t bytes = 0;
        if (!v)
            fail_msg("%s is not there", items[i].name);
        assert_int_equal(v->dtype, items[i].view.dtype);
        assert_int_equal(v->n_dims, items[i].view.n_dims);
        for (int d = 0; d < v->n_dims; d++)
            assert_int_equal(v->dims[d], items[i].view.dims[d]);
        assert_true(dt_view_count(v, NULL, &bytes));
        assert_memory_equal(v->data, items[i].view.data, bytes);
    }
    assert_int_equal((uintptr_t)dt_st_view(f, 0)->data % 64, 0);
    assert_string_equal(dt_st_meta(f, "format"), "pt");
    assert_string_equal(dt_st_meta(f, "odd"), "a\\b\tc");
    assert_null(dt_st_meta(f, "none"));
    dt_st_close(f);
    folder_remove(&dir);
}

static void test_writes_that_fail(void **state) {
    (void)state;
    folder dir = folder_make();
    char path[512];
    duet_err err = {{0}};
    dt_st *f = NULL;
    const float w[2] = {1, 2}, other[2] = {3, 4};
    const dt_st_item item =
                         {
                             "w", {DT_F32, 1, {2}, w}
    },
                     changed = {"w", {DT_F32, 1, {2}, other}};

    folder_put(&dir, "file", "x", 1);
    assert_int_equal(dt_st_write(folder_at(&dir, "file/t.safetensors", path, sizeof path), &item, 1, NULL, 0, &err),
                     DUET_E_IO);
    assert_non_null(strstr(err.text, "Not a directory"));
    assert_int_equal(dt_st_write(folder_at(&dir, "none/t.safetensors", path, sizeof path), &item, 1, NULL, 0, &err),
                     DUET_E_IO);
    assert_int_equal(dt_st_write(dir.path, &item, 1, NULL, 0, &err), DUET_E_IO);
    assert_int_equal(dt_st_write("/dev/null", &item, 1, NULL, 0, &err), DUET_E_IO);

    folder_at(&dir, "t.safetensors", path, sizeof path);
    assert_int_equal(dt_st_write(path, &item, 1, NULL, 0, &err), DUET_OK);
    if (folder_fill_disk(&dir, "t.safetensors")) {
        assert_int_equal(dt_st_write(path, &changed, 1, NULL, 0, &err), DUET_E_IO);
        if (!strstr(err.text, "No space left"))
            fail_msg("\"%s\" does not say why", err.text);
    } else {
        printf("skipped: no /dev/full to write to\n");
    }
    if (dt_st_open(path, &f, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(dt_st_find(f, "w")->data, w, sizeof w); /* the old file is whole */
    dt_st_close(f);
    folder_remove(&dir);
}

static void test_missing_file(void **state) {
    (void)state;
    duet_err err = {{0}};
    dt_st *f = NULL;
    assert_int_equal(dt_st_open("/nowhere/model.safetensors", &f, &err), DUET_E_IO);
    assert_non_null(strstr(err.text, "/nowhere/model.safetensors"));
    assert_null(f);
}

/* The golden models: every tensor is found, one file and two shards hold the same numbers. */
static void test_golden(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t count;
    } models[] = {
        {"qwen3-tiny",         46},
        {"qwen3-tiny-bf16",    46},
        {"qwen3-tiny-sharded", 46},
        {"qwen2-tiny",         39},
        {"llama-tiny",         30},
    };
    char path[512];
    duet_err err = {{0}};
    dt_hf_weights *one = NULL, *w = NULL;
    if (dt_hf_weights_open(shared_path(path, sizeof path, "golden/models/qwen3-tiny"), &one, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < DT_COUNT(models); i++) {
        char rel[128];
        snprintf(rel, sizeof rel, "golden/models/%s", models[i].name);
        if (dt_hf_weights_open(shared_path(path, sizeof path, rel), &w, &err))
            fail_msg("%s: %s", models[i].name, err.text);
        if (dt_hf_weights_count(w) != models[i].count)
            fail_msg("%s: %zu tensors, wanted %zu", models[i].name, dt_hf_weights_count(w), models[i].count);
        const dt_view *embed = dt_hf_weights_find(w, "model.embed_tokens.weight");
        if (!embed || embed->n_dims != 2)
            fail_msg("%s: no embeddings", models[i].name);
        for (size_t k = 0; strstr(models[i].name, "sharded") && k < dt_hf_weights_count(w); k++) {
            const dt_view *a = dt_hf_weights_view(w, k), *b = dt_hf_weights_find(one, dt_hf_weights_name(w, k));
            size_t na = 0, nb = 0;
            if (!b || !dt_view_count(a, NULL, &na) || !dt_view_count(b, NULL, &nb) || na != nb ||
                memcmp(a->data, b->data, na))
                fail_msg("shards: %s differs", dt_hf_weights_name(w, k));
        }
        dt_hf_weights_close(w);
    }
    dt_hf_weights_close(one);
}

static void put_tensor(const folder *dir, const char *file, const char *name) {
    const float x = 1;
    char path[512];
    duet_err err = {{0}};
    const dt_st_item item = {
        name, {DT_F32, 1, {1}, &x}
    };
    if (dt_st_write(folder_at(dir, file, path, sizeof path), &item, 1, NULL, 0, &err))
        fail_msg("%s", err.text);
}

static void test_index(void **state) {
    (void)state;
    static const struct {
        const char *name, *index;
        duet_status want;
        const char *says;
    } cases[] = {
        {"two shards",      "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}",  DUET_OK,       NULL             },
        {"no map",          "{\"metadata\":{}}",                                                   DUET_E_FORMAT, "weight_map"     },
        {"map is a list",   "{\"weight_map\":[]}",                                                 DUET_E_FORMAT, "weight_map"     },
        {"not an object",   "[1]",                                                                 DUET_E_FORMAT, "weight_map"     },
        {"file not a text", "{\"weight_map\":{\"a\":1}}",                                          DUET_E_FORMAT, "plain file name"},
        {"outside",         "{\"weight_map\":{\"a\":\"../1.safetensors\"}}",                       DUET_E_FORMAT, "plain file name"},
        {"missing shard",   "{\"weight_map\":{\"a\":\"9.safetensors\"}}",                          DUET_E_IO,     "9.safetensors"  },
        {"in two shards",   "{\"weight_map\":{\"a\":\"1.safetensors\",\"x\":\"1b.safetensors\"}}", DUET_E_FORMAT,
         "two shards"                                                                                                              },
        {"broken JSON",     "{\"weight_map\":",                                                    DUET_E_FORMAT, "JSON"           },
    };
    folder dir = folder_make();
    put_tensor(&dir, "1.safetensors", "a");
    put_tensor(&dir, "1b.safetensors", "a");
    put_tensor(&dir, "2.safetensors", "b");
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        duet_err err = {{0}};
        dt_hf_weights *w = NULL;
        folder_put(&dir, "model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        duet_status st = dt_hf_weights_open(dir.path, &w, &err);
        if (st != cases[i].want)
            fail_msg("%s: status %d (%s), wanted %d", cases[i].name, st, err.text, cases[i].want);
        if (cases[i].says && !strstr(err.text, cases[i].says))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].name, err.text, cases[i].says);
        dt_hf_weights_close(w);
    }
    folder_remove(&dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),          cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_deep_json),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_writes_that_fail), cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_golden),           cmocka_unit_test(test_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
