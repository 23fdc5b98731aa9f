/* All golden encode and decode rows of tiny, Qwen3 and Llama 3.1, exactly, in every mode; and that streaming decode
 * gives the same bytes and never half a character. Once from the tokenizer.json, and once from a GGUF file with the
 * same vocabulary, which must be the same tokenizer. */
#include "text/gguf_vocab.h"

/* The golden ids_nospecial come from a copy of the file without its special tokens, in which the oracle numbered the
 * remaining added tokens anew: the k-th of them is n_vocab + k there. Here it keeps its own id. */
static int32_t own_id(const duet_tokenizer *t, int32_t id) {
    int32_t k = id - t->added[0].id;
    for (size_t i = 0; k >= 0 && i < t->n_added; i++)
        if (!t->added[i].special && k-- == 0)
            return t->added[i].id;
    return id;
}

static bool check_row_ids(const duet_tokenizer *t, const json_t *row, const char *key, int flags, size_t line) {
    const json_t *text = json_object_get(row, "text"), *want = json_object_get(row, key);
    duet_ids got = {0}, ids = {0};
    duet_err err = {{0}};
    char name[80];
    if (!want)
        want = json_object_get(row, "ids");
    for (size_t i = 0; i < json_array_size(want); i++) {
        const int32_t id = (int32_t)json_integer_value(json_array_get(want, i));
        dt_tok_push(&ids, (flags & DUET_ENC_NO_SPECIAL) && json_object_get(row, key) ? own_id(t, id) : id);
    }
    must(duet_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &got, &err), &err);
    snprintf(name, sizeof name, "line %zu, %s", line, key);
    const bool ok = check_ids(name, &got, ids.v, ids.n);
    duet_ids_free(&got);
    duet_ids_free(&ids);
    return ok;
}

static bool check_stream(const duet_tokenizer *t, const duet_ids *ids, bool skip, const duet_text *want, size_t line) {
    duet_decoder *d = NULL;
    duet_err err = {{0}};
    dt_buf all = {0};
    char name[80];
    bool ok = true;
    must(duet_decoder_create(t, skip, &d, &err), &err);
    for (size_t i = 0; i <= ids->n; i++) {
        const char *s = NULL;
        size_t n = 0;
        must(duet_decoder_push(d, i < ids->n ? ids->v[i] : -1, &s, &n, &err), &err);
        ok = ok && dt_utf8_bad(s, n) == n;
        dt_buf_add(&all, s, n);
    }
    snprintf(name, sizeof name, "line %zu, streamed", line);
    ok = ok && check_text(name, all.data, all.len, want->data, want->n);
    duet_decoder_destroy(d);
    dt_buf_clear(&all);
    return ok;
}

static bool check_row_text(const duet_tokenizer *t, const json_t *row, bool skip, size_t line) {
    const json_t *list = json_object_get(row, "decode_ids"),
                 *want = skip ? json_object_get(row, "decoded_skip_special") : NULL;
    duet_ids ids = {0};
    duet_text got = {0};
    duet_err err = {{0}};
    char name[80];
    if (!list)
        list = json_object_get(row, "ids");
    if (!want)
        want = json_object_get(row, "decoded");
    if (!want)
        want = json_object_get(row, "text");
    for (size_t i = 0; i < json_array_size(list); i++)
        dt_tok_push(&ids, (int32_t)json_integer_value(json_array_get(list, i)));
    must(duet_tokenizer_decode(t, ids.v, ids.n, skip, &got, &err), &err);
    snprintf(name, sizeof name, "line %zu, decoded%s", line, skip ? ", special left out" : "");
    bool ok = check_text(name, got.data, got.n, json_string_value(want), json_string_length(want));
    ok = check_stream(t, &ids, skip, &got, line) && ok;
    duet_ids_free(&ids);
    duet_text_free(&got);
    return ok;
}

static void check_rows(const duet_tokenizer *t, const char *name) {
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    duet_err err = {{0}};
    char path[1024];
    size_t n = 0, wrong = 0;
    duet_status st = DUET_OK;
    snprintf(path, sizeof path, "%s/golden/tokenizers/%s/encode.jsonl", DUET_SHARED, name);
    must(dt_jsonl_open(path, &r, &err), &err);
    while ((st = dt_jsonl_next(r, &row, &err)) == DUET_OK) {
        const size_t line = dt_jsonl_line(r);
        bool ok = true;
        if (json_object_get(row, "text")) {
            ok = check_row_ids(t, row, "ids", 0, line);
            ok = check_row_ids(t, row, "ids_plain", DUET_ENC_PLAIN, line) && ok;
            ok = check_row_ids(t, row, "ids_nospecial", DUET_ENC_NO_SPECIAL, line) && ok;
            ok = check_row_ids(t, row, "ids_add_special", DUET_ENC_ADD_SPECIAL, line) && ok;
        }
        ok = check_row_text(t, row, false, line) && ok;
        ok = check_row_text(t, row, true, line) && ok;
        wrong += !ok;
        n++;
        json_decref(row);
    }
    assert_int_equal(st, DUET_END);
    dt_jsonl_close(r);
    assert_true(n >= 800);
    assert_int_equal(wrong, 0);
}

static void check_golden(const char *name, const char *pre) {
    duet_tokenizer *t = golden_tokenizer(name), *g = NULL;
    duet_err err = {{0}};
    char path[512];
    if (!t)
        skip();
    check_rows(t, name);
    const folder f = folder_make();
    vocab_from(&f, "vocab.gguf", t, pre);
    must(duet_tokenizer_open(folder_at(&f, "vocab.gguf", path, sizeof path), &g, &err), &err);
    folder_remove(&f);
    assert_true(duet_tokenizer_same(t, g) && duet_tokenizer_same(g, t));
    check_rows(g, name);
    duet_tokenizer_close(g);
    duet_tokenizer_close(t);
}

static void test_tiny(void **state) {
    (void)state;
    check_golden("tiny", "qwen2");
}

static void test_qwen3(void **state) {
    (void)state;
    check_golden("qwen3", "qwen2");
}

static void test_llama3_1(void **state) {
    (void)state;
    check_golden("llama3_1", "llama-bpe");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_llama3_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
