/* Vocabularies in GGUF files and vocabularies of characters, against the vectors of two other programs
 * (tests/golden/tokenizers); what is refused; and which files hold the same tokenizer. */
#include "format/gguf_export.h"
#include "text/gguf_vocab.h"

#include <math.h>

static char *golden_path(char *buf, size_t n, const char *name) {
    snprintf(buf, n, "%s/golden/tokenizers/%s", DUET_TEST_DATA, name);
    return buf;
}

static duet_tokenizer *open_golden(const char *name) {
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    char path[1024];
    must(duet_tokenizer_open(golden_path(path, sizeof path, name), &t, &err), &err);
    return t;
}

static void list_ids(const json_t *list, duet_ids *out) {
    for (size_t i = 0; i < json_array_size(list); i++)
        dt_tok_push(out, (int32_t)json_integer_value(json_array_get(list, i)));
}

static bool check_encode(const duet_tokenizer *t, const json_t *text, const json_t *want, int flags, const char *name) {
    duet_ids got = {0}, ids = {0};
    duet_err err = {{0}};
    list_ids(want, &ids);
    must(duet_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &got, &err), &err);
    const bool ok = check_ids(name, &got, ids.v, ids.n);
    duet_ids_free(&got);
    duet_ids_free(&ids);
    return ok;
}

/* At once and as a stream, which must agree. */
static bool check_decode(const duet_tokenizer *t, const json_t *list, const json_t *want, bool skip, const char *name) {
    duet_ids ids = {0};
    duet_text got = {0};
    duet_decoder *d = NULL;
    duet_err err = {{0}};
    dt_buf all = {0};
    list_ids(list, &ids);
    must(duet_tokenizer_decode(t, ids.v, ids.n, skip, &got, &err), &err);
    must(duet_decoder_create(t, skip, &d, &err), &err);
    for (size_t i = 0; i <= ids.n; i++) {
        const char *s = NULL;
        size_t n = 0;
        must(duet_decoder_push(d, i < ids.n ? ids.v[i] : -1, &s, &n, &err), &err);
        dt_buf_add(&all, s, n);
    }
    const bool ok = check_text(name, got.data, got.n, json_string_value(want), json_string_length(want)) &&
                    check_text(name, all.data, all.len, got.data, got.n);
    duet_decoder_destroy(d);
    dt_buf_clear(&all);
    duet_ids_free(&ids);
    duet_text_free(&got);
    return ok;
}

typedef bool (*row_fn)(const duet_tokenizer *t, const json_t *row, const char *name);
static void each_row(const duet_tokenizer *t, const char *file, size_t at_least, row_fn fn) {
    dt_jsonl *r = NULL;
    json_t *row = NULL;
    duet_err err = {{0}};
    char path[1024], name[1100];
    size_t n = 0, wrong = 0;
    must(dt_jsonl_open(golden_path(path, sizeof path, file), &r, &err), &err);
    while (dt_jsonl_next(r, &row, &err) == DUET_OK) {
        snprintf(name, sizeof name, "%s, line %zu", file, dt_jsonl_line(r));
        wrong += !fn(t, row, name);
        n++;
        json_decref(row);
    }
    dt_jsonl_close(r);
    assert_true(n >= at_least);
    assert_int_equal(wrong, 0);
}

/* ---- vocabularies of characters ---- */

static bool spm_row(const duet_tokenizer *t, const json_t *row, const char *name) {
    const json_t *text = json_object_get(row, "text"), *ids = json_object_get(row, "ids"),
                 *llama = json_object_get(row, "llama");
    const json_t *want = t->vocab.ranks && llama ? llama : ids;
    bool ok = check_encode(t, text, want, 0, name);
    if (!llama)
        ok = check_encode(t, text, json_object_get(row, "ids_add_special"), DUET_ENC_ADD_SPECIAL, name) && ok;
    ok = check_decode(t, ids, json_object_get(row, "decoded"), false, name) && ok;
    return check_decode(t, ids, json_object_get(row, "decoded_skip_special"), true, name) && ok;
}

static void test_spm(void **state) {
    (void)state;
    static const char *const names[] = {"spm-prefix", "spm-plain"};
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        char rows[64], json[64], gguf[64];
        snprintf(rows, sizeof rows, "%s.jsonl", names[i]);
        snprintf(json, sizeof json, "%s.json", names[i]);
        snprintf(gguf, sizeof gguf, "%s.gguf", names[i]);
        duet_tokenizer *a = open_golden(json), *b = open_golden(gguf);
        each_row(a, rows, 90, spm_row);
        each_row(b, rows, 90, spm_row);
        assert_true(duet_tokenizer_same(a, b) && duet_tokenizer_same(b, a));
        duet_tokenizer_close(a);
        duet_tokenizer_close(b);
    }
    duet_tokenizer *a = open_golden("spm-prefix.json"), *b = open_golden("spm-plain.gguf");
    assert_false(duet_tokenizer_same(a, b) || duet_tokenizer_same(b, a));
    duet_tokenizer_close(a);
    duet_tokenizer_close(b);
}

/* A folder's tokenizer.json as dt_gguf_put_tokenizer writes it, with `change` made to it. */
static duet_status write_spm(const folder *f, const char *json, const char *change, const char *to, bool *named, duet_err *err) {
    const dt_hf_config c = {.n_vocab = 491, .bos_id = 1};
    const dt_hf_generation gen = {0};
    dt_buf text = {0}, changed = {0};
    char path[1024];
    must(dt_file_read(golden_path(path, sizeof path, json), (size_t)1 << 20, &text, err), err);
    const char *at = change ? memmem(text.data, text.len, change, strlen(change)) : text.data;
    assert_non_null(at);
    dt_buf_add(&changed, text.data, (size_t)(at - text.data));
    dt_buf_adds(&changed, change ? to : "");
    at += change ? strlen(change) : 0;
    dt_buf_add(&changed, at, (size_t)(text.data + text.len - at));
    must(dt_file_write_atomic(folder_at(f, "tokenizer.json", path, sizeof path), changed.data, changed.len, err), err);
    dt_gguf_writer *w = vocab_begin(f, "written.gguf");
    dt_gguf_put_text(w, "general.architecture", "llama");
    duet_status st = dt_gguf_put_tokenizer(w, f->path, &c, &gen, named, err);
    if (st)
        dt_gguf_abandon(w);
    else
        vocab_end(w);
    dt_buf_clear(&text);
    dt_buf_clear(&changed);
    return st;
}

static duet_tokenizer *open_written(const folder *f) {
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    char path[512];
    must(duet_tokenizer_open(folder_at(f, "written.gguf", path, sizeof path), &t, &err), &err);
    return t;
}

static void test_spm_written(void **state) {
    (void)state;
    const folder f = folder_make();
    bool named = false;
    duet_err err = {{0}};
    static const char *const names[] = {"spm-prefix", "spm-plain"};
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        char json[64], rows[64];
        snprintf(json, sizeof json, "%s.json", names[i]);
        snprintf(rows, sizeof rows, "%s.jsonl", names[i]);
        must(write_spm(&f, json, NULL, NULL, &named, &err), &err);
        assert_true(named);
        duet_tokenizer *a = open_written(&f), *c = open_golden(json);
        each_row(a, rows, 90, spm_row);
        assert_true(duet_tokenizer_same(a, c) && duet_tokenizer_same(c, a));
        duet_tokenizer_close(a);
        duet_tokenizer_close(c);
    }
    /* What the keys cannot say exactly goes along whole. */
    must(write_spm(&f, "spm-plain.json", "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"MergedWithPrevious\",\"invert\":false}",
                   "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" DT_SPACE_CHAR "\",\"prepend_scheme\":\"first\",\"split\":false}", &named, &err), &err);
    assert_false(named);
    duet_tokenizer *t = open_written(&f);
    assert_true(t->prefix_space && t->prefix_first && !t->vocab.ranks);
    duet_tokenizer_close(t);
    assert_int_equal(write_spm(&f, "spm-plain.json", "\"merges\":[", "\"merges\":[\"zq qz\",", &named, &err), DUET_E_FORMAT);
    assert_non_null(strstr(err.text, "model.merges[0] makes no token of the vocabulary"));
    assert_int_equal(write_spm(&f, "spm-plain.json", "\"byte_fallback\":true", "\"byte_fallback\":false", &named, &err), DUET_E_UNSUPPORTED);
    folder_remove(&f);
}

static void test_spm_tokens(void **state) {
    (void)state;
    duet_tokenizer *t = open_golden("spm-plain.gguf");
    duet_ids ids = {0};
    duet_err err = {{0}};
    size_t n = 0;
    const int32_t nl = duet_tokenizer_id(t, "<0x0A>");
    assert_true(nl > 0);
    assert_memory_equal(duet_tokenizer_bytes(t, nl, &n), "\n", 1);
    assert_int_equal(n, 1);
    assert_true(duet_tokenizer_id(t, DT_SPACE_CHAR) == duet_tokenizer_id(t, " "));
    assert_true(duet_tokenizer_is_special(t, duet_tokenizer_id(t, "<end_of_turn>")));
    assert_true(duet_tokenizer_is_added(t, duet_tokenizer_id(t, "[user]")));
    assert_false(duet_tokenizer_is_special(t, duet_tokenizer_id(t, "[user]")));
    /* No text forges a byte token or, encoded plain, a control token. */
    must(duet_tokenizer_encode(t, "<0x0A><end_of_turn>", 19, DUET_ENC_PLAIN, &ids, &err), &err);
    for (size_t i = 0; i < ids.n; i++)
        assert_true(ids.v[i] != nl && ids.v[i] != duet_tokenizer_id(t, "<end_of_turn>"));
    duet_ids_free(&ids);
    assert_int_equal(duet_tokenizer_save(t, "/nowhere", &err), DUET_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "spm-plain.gguf: from a tokenizer of kind llama"));
    assert_false(dt_path_exists("/nowhere"));
    duet_tokenizer_close(t);
}

static void test_spm_long_runs(void **state) {
    (void)state;
    static const char *const runs[] = {"e", "the ", " ", "\n", "=", "\xf0\x9f\x98\x80", "ab", "\xe2\x96\x81"};
    static const char *const files[] = {"spm-prefix.json", "spm-plain.gguf"};
    for (size_t f = 0; f < DT_COUNT(files); f++) {
        duet_tokenizer *t = open_golden(files[f]);
        for (size_t i = 0; i < DT_COUNT(runs); i++) {
            dt_buf b = {0};
            duet_ids ids = {0};
            duet_text back = {0};
            duet_err err = {{0}};
            while (b.len < 200000)
                dt_buf_adds(&b, runs[i]);
            must(duet_tokenizer_encode(t, b.data, b.len, 0, &ids, &err), &err);
            must(duet_tokenizer_decode(t, ids.v, ids.n, false, &back, &err), &err);
            if (runs[i][0] != DT_SPACE_CHAR[0])
                assert_true(check_text(runs[i], back.data, back.n, b.data, b.len));
            dt_buf_clear(&b);
            duet_ids_free(&ids);
            duet_text_free(&back);
        }
        duet_tokenizer_close(t);
    }
}

/* ---- byte-level vocabularies, under every pre-tokenizer ---- */

/* The golden file with other values for some keys. */
static void copy_golden(const folder *f, const char *from, const char *to, const char *but,
                        void (*put)(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg), const void *arg) {
    dt_gguf *g = NULL;
    duet_err err = {{0}};
    char path[1024];
    must(dt_gguf_open(golden_path(path, sizeof path, from), &g, &err), &err);
    dt_gguf_writer *w = vocab_begin(f, to);
    for (size_t i = 0; i < dt_gguf_n_keys(g); i++) {
        const dt_gguf_kv *kv = dt_gguf_key(g, i);
        if (strcmp(kv->key, but))
            dt_gguf_put_kv(w, kv);
        else
            put(w, kv, arg);
    }
    vocab_end(w);
    dt_gguf_close(g);
}

static void put_text(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    dt_gguf_put_text(w, kv->key, arg);
}

static struct {
    const folder *f;
    char pre[64];
    duet_tokenizer *t;
    int n_pre;
} under;

static bool bpe_row(const duet_tokenizer *unused, const json_t *row, const char *name) {
    const char *pre = json_string_value(json_object_get(row, "pre"));
    (void)unused;
    if (strcmp(pre, under.pre)) {
        duet_err err = {{0}};
        char path[512];
        duet_tokenizer_close(under.t);
        snprintf(under.pre, sizeof under.pre, "%s", pre);
        copy_golden(under.f, "bpe.gguf", "pre.gguf", GGML("pre"), put_text, pre);
        must(duet_tokenizer_open(folder_at(under.f, "pre.gguf", path, sizeof path), &under.t, &err), &err);
        under.n_pre++;
    }
    return check_encode(under.t, json_object_get(row, "text"), json_object_get(row, "ids"), 0, name);
}

static void test_pre_tokenizers(void **state) {
    (void)state;
    const folder f = folder_make();
    under.f = &f;
    each_row(NULL, "bpe.jsonl", 1000, bpe_row);
    assert_int_equal(under.n_pre, 14);
    duet_tokenizer_close(under.t);
    folder_remove(&f);
}

/* The same texts through the tokenizer.json that is made of the file. */
static bool saved_row(const duet_tokenizer *unused, const json_t *row, const char *name) {
    static const char *const kinds[] = {"qwen2", "llama-bpe", "smollm"};
    const char *pre = json_string_value(json_object_get(row, "pre"));
    bool wanted = false;
    (void)unused;
    for (size_t i = 0; i < DT_COUNT(kinds); i++)
        wanted = wanted || !strcmp(pre, kinds[i]);
    if (strcmp(pre, under.pre)) {
        duet_tokenizer *from = NULL;
        duet_err err = {{0}};
        char path[512], dir[512];
        duet_tokenizer_close(under.t);
        under.t = NULL;
        snprintf(under.pre, sizeof under.pre, "%s", pre);
        copy_golden(under.f, "bpe.gguf", "pre.gguf", GGML("pre"), put_text, pre);
        must(duet_tokenizer_open(folder_at(under.f, "pre.gguf", path, sizeof path), &from, &err), &err);
        folder_at(under.f, "saved", dir, sizeof dir);
        assert_int_equal(duet_tokenizer_can_save(from, &err), wanted ? DUET_OK : DUET_E_UNSUPPORTED);
        assert_int_equal(duet_tokenizer_save(from, dir, &err), wanted ? DUET_OK : DUET_E_UNSUPPORTED);
        if (wanted) {
            must(duet_tokenizer_open(dir, &under.t, &err), &err);
            assert_true(duet_tokenizer_same(from, under.t));
            must(dt_remove_tree(dir, &err), &err);
            under.n_pre++;
        }
        duet_tokenizer_close(from);
    }
    return !wanted || check_encode(under.t, json_object_get(row, "text"), json_object_get(row, "ids"), 0, name);
}

static void test_saved_as_json(void **state) {
    (void)state;
    const folder f = folder_make();
    under.f = &f;
    under.n_pre = 0;
    under.pre[0] = 0;
    under.t = NULL;
    each_row(NULL, "bpe.jsonl", 1000, saved_row);
    assert_int_equal(under.n_pre, 3);
    duet_tokenizer_close(under.t);
    folder_remove(&f);
}

static void test_bpe_tokens(void **state) {
    (void)state;
    duet_tokenizer *t = open_golden("bpe.gguf");
    duet_ids ids = {0};
    duet_err err = {{0}};
    const int32_t end = duet_tokenizer_id(t, "<|im_end|>"), think = duet_tokenizer_id(t, "<think>");
    assert_string_equal(t->chat_template, "{{ messages }}");
    assert_true(duet_tokenizer_is_special(t, end));
    assert_true(duet_tokenizer_is_added(t, think) && !duet_tokenizer_is_special(t, think));
    assert_int_equal(duet_tokenizer_size(t), think + 1); /* what fills up the matrix is no token */
    must(duet_tokenizer_encode(t, "<|im_end|><think>", 17, DUET_ENC_NO_SPECIAL, &ids, &err), &err);
    assert_true(ids.n > 1 && ids.v[ids.n - 1] == think);
    assert_true(ids.v[0] != end);
    duet_ids_free(&ids);
    must(duet_tokenizer_encode(t, "e\xcc\x81", 3, 0, &ids, &err), &err); /* Qwen's files ask for NFC */
    duet_ids nfc = {0};
    must(duet_tokenizer_encode(t, "\xc3\xa9", 2, 0, &nfc, &err), &err);
    assert_true(check_ids("NFC", &ids, nfc.v, nfc.n));
    duet_ids_free(&ids);
    duet_ids_free(&nfc);
    duet_tokenizer_close(t);
}

/* ---- what is refused ---- */

static void leave_out(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    (void)w;
    (void)kv;
    (void)arg;
}
static void put_number(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    (void)arg;
    dt_gguf_put_u32(w, kv->key, 999999);
}
static void put_few_types(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    const int32_t types[] = {1, 1, 3};
    (void)arg;
    dt_gguf_put_i32s(w, kv->key, types, DT_COUNT(types));
}
static void put_type_9(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    int32_t *types = dt_calloc(kv->n, sizeof *types);
    (void)arg;
    for (size_t i = 0; i < kv->n; i++)
        types[i] = i == 7 ? 9 : (int32_t)dt_gguf_int_at(kv, i);
    dt_gguf_put_i32s(w, kv->key, types, kv->n);
    free(types);
}
static void put_scores(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    float *x = dt_calloc(kv->n, sizeof *x);
    x[300] = *(const float *)arg;
    dt_gguf_put_f32s(w, kv->key, x, kv->n);
    free(x);
}
static void put_string_300(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg) {
    dt_gguf_str *s = dt_gguf_strings(kv);
    s[300] = (dt_gguf_str){arg, strlen(arg)};
    dt_gguf_put_strings(w, kv->key, s, kv->n);
    free(s);
}

static const float not_a_number = NAN, infinite = INFINITY;

static const struct {
    const char *name, *file, *key;
    void (*put)(dt_gguf_writer *w, const dt_gguf_kv *kv, const void *arg);
    const void *arg;
    duet_status want;
    const char *says;
} broken[] = {
    {"no model",           "bpe.gguf",        GGML("model"),            leave_out,      NULL,          DUET_E_FORMAT,      GGML("model")             },
    {"model is a number",  "bpe.gguf",        GGML("model"),            put_number,     NULL,          DUET_E_FORMAT,      GGML("model")             },
    {"Unigram",            "bpe.gguf",        GGML("model"),            put_text,       "t5",          DUET_E_UNSUPPORTED, "\"t5\""                  },
    {"unknown pre",        "bpe.gguf",        GGML("pre"),              put_text,       "grok-2",      DUET_E_UNSUPPORTED, "known: qwen2 "           },
    {"pre is a part",      "bpe.gguf",        GGML("pre"),              put_text,       "qwen",        DUET_E_UNSUPPORTED, "\"qwen\" is not known"   },
    {"pre is a number",    "bpe.gguf",        GGML("pre"),              put_number,     NULL,          DUET_E_FORMAT,      GGML("pre")               },
    {"no tokens",          "bpe.gguf",        GGML("tokens"),           leave_out,      NULL,          DUET_E_FORMAT,      GGML("tokens")            },
    {"tokens is a number", "bpe.gguf",        GGML("tokens"),           put_number,     NULL,          DUET_E_FORMAT,      GGML("tokens")            },
    {"no merges",          "bpe.gguf",        GGML("merges"),           leave_out,      NULL,          DUET_E_FORMAT,      GGML("merges")            },
    {"merge of one",       "bpe.gguf",        GGML("merges"),           put_string_300, "a",           DUET_E_FORMAT,      "merge 300 is not a pair" },
    {"merge of unknowns",  "bpe.gguf",        GGML("merges"),           put_string_300, "a zzzz",      DUET_E_FORMAT,
     "merge 300 names \"zzzz\""                                                                                                                      },
    {"no types",           "bpe.gguf",        GGML("token_type"),       leave_out,      NULL,          DUET_E_FORMAT,      GGML("token_type")        },
    {"too few types",      "bpe.gguf",        GGML("token_type"),       put_few_types,  NULL,          DUET_E_FORMAT,      "3 elements for 610"      },
    {"an odd type",        "bpe.gguf",        GGML("token_type"),       put_type_9,     NULL,          DUET_E_FORMAT,      "the type 9"              },
    {"token twice",        "bpe.gguf",        GGML("tokens"),           put_string_300, "a",           DUET_E_FORMAT,      "are the same token \"a\""},
    {"token not UTF-8",    "bpe.gguf",        GGML("tokens"),           put_string_300, "\xff",        DUET_E_FORMAT,      "is not UTF-8"            },
    {"no scores",          "spm-plain.gguf",  GGML("scores"),           leave_out,      NULL,          DUET_E_FORMAT,      GGML("scores")            },
    {"score NaN",          "spm-plain.gguf",  GGML("scores"),           put_scores,     &not_a_number, DUET_E_FORMAT,      "the score of token 300"  },
    {"score infinite",     "spm-plain.gguf",  GGML("scores"),           put_scores,     &infinite,     DUET_E_FORMAT,
     "the score of token 300"                                                                                                                        },
    {"BOS out of range",   "spm-plain.gguf",  GGML("bos_token_id"),     put_number,     NULL,          DUET_E_FORMAT,      "is 999999"               },
    {"no BOS to add",      "spm-plain.gguf",  GGML("bos_token_id"),     leave_out,      NULL,          DUET_E_FORMAT,      "names none"              },
    {"unknown too large",  "spm-plain.gguf",  GGML("unknown_token_id"), put_number,     NULL,          DUET_E_FORMAT,      "is 999999"               },
    {"flag is a number",   "spm-prefix.gguf", GGML("add_space_prefix"), put_number,     NULL,          DUET_E_FORMAT,
     GGML("add_space_prefix")                                                                                                                        },
    {"token twice",        "spm-plain.gguf",  GGML("tokens"),           put_string_300, "e",           DUET_E_FORMAT,      "are the same token \"e\""},
};

static void test_broken(void **state) {
    (void)state;
    const folder f = folder_make();
    size_t wrong = 0;
    for (size_t i = 0; i < DT_COUNT(broken); i++) {
        duet_tokenizer *t = NULL;
        duet_err err = {{0}};
        char path[512];
        copy_golden(&f, broken[i].file, "broken.gguf", broken[i].key, broken[i].put, broken[i].arg);
        duet_status st = duet_tokenizer_open(folder_at(&f, "broken.gguf", path, sizeof path), &t, &err);
        if (st != broken[i].want || !strstr(err.text, broken[i].says) || strncmp(err.text, path, strlen(path)) || t ||
            strstr(err.text + strlen(path), path)) {
            print_message("case: %s: %s: %s\n", broken[i].name, duet_status_name(st), err.text);
            wrong++;
        }
        duet_tokenizer_close(t);
    }
    assert_int_equal(wrong, 0);
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spm),        cmocka_unit_test(test_spm_written),   cmocka_unit_test(test_spm_tokens),
        cmocka_unit_test(test_spm_long_runs), cmocka_unit_test(test_pre_tokenizers), cmocka_unit_test(test_saved_as_json), cmocka_unit_test(test_bpe_tokens),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
