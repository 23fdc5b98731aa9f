/* Which texts a schema lets through, what it refuses to understand, and that the tokens it allows are just those that lead on. */
#include "grammar/vocab.h"

static duet_grammar *compile(const char *schema) {
    duet_grammar *g = NULL;
    duet_err err = {{0}};
    if (duet_grammar_json_schema(trie, schema, strlen(schema), &g, &err)) {
        fail_msg("%s: %s", schema, err.text);
    }
    return g;
}

#define OBJ "{\"type\":\"object\",\"properties\":"

static void test_what_fits(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        const char *yes[8], *no[10];
    } cases[] = {
        {"{\"type\":\"integer\"}", {"0", "-7", "120", "999999999999999999", "\n\n5", " 5"}, {"", "01", "-", "1.0", "1e3", "+1", "\n\n\n5", "1234567890123456789"}},
        {"{\"type\":\"number\"}", {"0", "-0.5", "1e5", "12.25E-3", "3"}, {"", ".5", "1.", "1e", "01", "1e400", "--1", "NaN"}},
        {"{\"type\":\"boolean\"}", {"true", "false"}, {"tru", "True", "truefalse", "null"}},
        {"{\"type\":[\"null\",\"integer\"]}", {"null", "4"}, {"nul", "4null", "\"4\""}},
        {"{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}", {"-12", "-9", "0", "9", "99", "105", "100"}, {"-13", "106", "-20", "110", "200", "1000", "-0", "-"}},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":8,\"exclusiveMaximum\":31}", {"9", "10", "29", "30"}, {"8", "31", "7", "3", "40", "300"}},
        {"{\"type\":\"integer\",\"minimum\":7}", {"7", "10", "12345678"}, {"6", "0", "-7"}},
        {"{\"type\":\"integer\",\"maximum\":-3}", {"-3", "-30", "-4"}, {"-2", "0", "3", "-"}},
        {"{\"type\":\"integer\",\"minimum\":1.5,\"maximum\":3.5}", {"2", "3"}, {"1", "4"}},
        {"{\"type\":\"string\"}",
         {"\"\"", "\"a b\"", "\"\\n\\u00e9\\\"\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
         {"\"", "a", "\"\\x\"", "\"\n\"", "\"\xc3\"", "\"\\ud800\"", "\"\\u0000\"", "\"\xed\xa0\x80\"", "\"\xff\"", "\"a\"b"}},
        {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", {"\"ab\"", "\"abc\"", "\"\xc3\xa9\xc3\xa9\"", "\"\\n\\n\""}, {"\"a\"", "\"abcd\"", "\"\"", "\"\xc3\xa9\""}},
        {"{\"type\":\"string\",\"minLength\":3}", {"\"abc\"", "\"abcdef\""}, {"\"ab\"", "\"\\n\\n\""}},
        {"{\"enum\":[\"red\",3,null,{\"a\":[1,true]},0.1]}", {"\"red\"", "3", "null", "{\"a\":[1,true]}", "0.1"}, {"\"re\"", "red", "4", "{}", "true"}},
        {"{\"type\":\"string\",\"enum\":[\"x\",3,\"y\"]}", {"\"x\"", "\"y\""}, {"3"}},
        {"{\"const\":\"\xc3\xa9\\n\"}", {"\"\xc3\xa9\\n\""}, {"\"\""}},
        {OBJ "{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"boolean\"}},\"required\":[\"a\"],\"additionalProperties\":false}",
         {"{\"a\":1}", "{\"a\": 1, \"b\": true}", "{\n  \"a\": 1\n}", "{ \"a\":1 }"},
         {"{}", "{\"b\":true}", "{\"a\":1,}", "{\"b\":true,\"a\":1}", "{\"a\":1,\"c\":2}", "{\"a\" :1}", "{\"a\":  1}", "{\"a\":true}", "{\"a\":1", "{,\"a\":1}"}},
        {OBJ "{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"},\"c\":{\"type\":\"null\"}},\"required\":[\"b\"]}",
         {"{\"b\":null}", "{\"a\":null,\"b\":null,\"c\":null}", "{\"b\":null,\"c\":null}"}, {"{}", "{\"a\":null}", "{\"c\":null}", "{\"b\":null,\"d\":null}"}},
        {OBJ "{\"ab\":{\"type\":\"null\"},\"\xc3\xa9\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":\"integer\"}}",
         {"{}", "{\"ab\":null,\"x\":1}", "{\"a\":1}", "{\"abc\":1,\"b\":2}", "{\"\xc3\xa9\":null}", "{\"b\xc3\xa9\":1}", "{\"\":1}"},
         {"{\"ab\":1}", "{\"x\":null}", "{\"\xc3\xa9\":1}", "{\"\\u0061b\":1}", "{\"x\":1,\"ab\":null}"}},
        {"{\"type\":\"object\"}", {"{}", "{\"a\":{\"b\":[1,\"x\",null]}}", "{\"a\":1, \"b\":2}"}, {"[]", "1", "{a:1}", "{\"a\"}", "{\"a\":1,}"}},
        {"{\"required\":[\"k\"]}", {"{\"k\":1}", "{\"k\":[],\"z\":2}"}, {"{}", "{\"z\":2}", "{\"z\":1,\"k\":2}"}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}", {"[1]", "[1, 2]", "[1,2,3]", "[ 1 ]"}, {"[]", "[1,2,3,4]", "[1,]", "[true]", "[1 2]"}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}", {"[]", "[1]", "[1,2,3,4,5,6,7]"}, {"[,]", "[1", "1"}},
        {"{\"type\":\"array\",\"minItems\":2}", {"[1,2]", "[[],{},3]"}, {"[]", "[1]"}},
        {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}", {"[]", "[1]", "[1,\"a\"]"}, {"[\"a\"]", "[1,2]", "[1,\"a\",1]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"}],\"items\":{\"type\":\"integer\"},\"minItems\":2}", {"[null,1]", "[null,1,2]"}, {"[]", "[null]", "[1,1]", "[null,null]"}},
        {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"maxLength\":1},{\"type\":\"null\"}]}", {"1", "\"a\"", "null"}, {"\"ab\"", "true"}},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", {"1", "\"a\""}, {"null"}},
        {"{\"oneOf\":[" OBJ "{\"k\":{\"const\":\"a\"},\"v\":{\"type\":\"integer\"}},\"required\":[\"k\",\"v\"]}," OBJ "{\"k\":{\"enum\":[\"b\",\"c\"]}},\"required\":[\"k\"]}]}",
         {"{\"k\":\"a\",\"v\":1}", "{\"k\":\"c\"}"}, {"{\"k\":\"a\"}", "{\"k\":\"d\"}", "{\"k\":\"b\",\"v\":1}"}},
        {"{\"allOf\":[{\"$ref\":\"#/$defs/p\"}],\"$defs\":{\"p\":{\"type\":\"null\"}}}", {"null"}, {"1"}},
        {"{\"$ref\":\"#/definitions/a~1b/0\",\"definitions\":{\"a/b\":[{\"type\":\"null\"}]}}", {"null"}, {"1"}},
        {OBJ "{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}",
         {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":null}}}"}, {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":1}}", "null"}},
        {"{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}}}}", {"[]", "[[],[[]]]"}, {"[1]", "[[]"}},
        {"{}", {"1", "\"x\"", "[{\"a\":[]}]", "null"}, {"", "nope", "[1,,2]"}},
        {"true", {"1"}, {""}},
        {"{\"type\":\"string\",\"format\":\"date\"}", {"\"2024-02-28\"", "\"1999-12-31\"", "\"2023-04-30\""}, {"\"2024-02-30\"", "\"2024-13-01\"", "\"24-01-01\"", "\"2023-04-31\""}},
        {"{\"type\":\"string\",\"format\":\"date-time\"}", {"\"2024-02-28T23:59:00Z\"", "\"2024-02-28T03:09:00.25+02:00\""}, {"\"2024-02-28\"", "\"2024-02-28T24:00:00Z\""}},
        {"{\"type\":\"string\",\"format\":\"ipv4\"}", {"\"1.2.3.4\"", "\"255.249.0.10\""}, {"\"256.1.1.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
        {"{\"type\":\"string\",\"format\":\"uuid\"}", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""}},
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_grammar *g = compile(cases[c].schema);
        for (int i = 0; i < 8 && cases[c].yes[i]; i++) {
            if (!duet_grammar_accepts(g, cases[c].yes[i], strlen(cases[c].yes[i]))) {
                fail_msg("%s refuses %s", cases[c].schema, cases[c].yes[i]);
            }
        }
        for (int i = 0; i < 10 && cases[c].no[i]; i++) {
            if (duet_grammar_accepts(g, cases[c].no[i], strlen(cases[c].no[i]))) {
                fail_msg("%s lets through %s", cases[c].schema, cases[c].no[i]);
            }
        }
        duet_grammar_destroy(g);
    }
}

static void test_patterns(void **state) {
    (void)state;
    static const struct {
        const char *pattern; /* as in JSON */
        const char *yes[6], *no[6];
    } cases[] = {
        {"^abc$", {"abc"}, {"ab", "abcd", "xabc", ""}},
        {"b", {"b", "abc", "\xc3\xa9" "b"}, {"", "ac"}},
        {"^a", {"a", "ab"}, {"ba", ""}},
        {"a$", {"a", "ba"}, {"ab"}},
        {"^(a|bc)*$", {"", "abca", "bc"}, {"b", "ac"}},
        {"^a|b$", {"ax", "xb", "a"}, {"xa", "bx"}},
        {"^[a-c]+[^a-c]?$", {"abc", "abcz", "c\xc3\xa9"}, {"z", "", "abczz"}},
        {"^\\\\d{2,3}$", {"12", "123"}, {"1", "1234", "ab"}},
        {"^\\\\d{2,}$", {"12", "123456"}, {"1"}},
        {"^x{3}$", {"xxx"}, {"xx", "xxxx"}},
        {"^\\\\w+\\\\s\\\\S$", {"a_9 z"}, {"a-9 z", "a9 "}},
        {"^.$", {"a", "\xe2\x82\xac", "\\\"", "\\t"}, {"", "ab", "\\n"}},
        {"^\\\"\\\\\\\\/$", {"\\\"\\\\/"}, {"\"\\\\/"}},
        {"^(?:ab?){2}c+?$", {"aac", "ababcc"}, {"ac", "aa"}},
        {"^\xc3\xa9+$", {"\xc3\xa9", "\xc3\xa9\xc3\xa9"}, {"e", ""}},
        {"^[\\\\w.+-]+@[a-z]+\\\\.[a-z]{2,4}$", {"a.b+c@example.com"}, {"a@b", "@b.com", "a@b.c"}},
        {"^\\\\x41\\\\u0042\\\\n$", {"AB\\n"}, {"AB"}},
        {"^(|a)$", {"", "a"}, {"aa"}},
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        char schema[256], text[64];
        snprintf(schema, sizeof schema, "{\"type\":\"string\",\"pattern\":\"%s\"}", cases[c].pattern);
        duet_grammar *g = compile(schema);
        for (int no = 0; no < 2; no++) {
            const char *const *v = no ? cases[c].no : cases[c].yes;
            for (int i = 0; i < 6 && v[i]; i++) {
                int n = snprintf(text, sizeof text, "\"%s\"", v[i]);
                if (duet_grammar_accepts(g, text, (size_t)n) == (bool)no) {
                    fail_msg("%s %s %s", cases[c].pattern, no ? "lets through" : "refuses", text);
                }
            }
        }
        duet_grammar_destroy(g);
    }
}

static void test_what_is_not_understood_is_named(void **state) {
    (void)state;
    static const struct {
        const char *schema, *names;
        duet_status st;
    } cases[] = {
        {"{\"type\":\"integer\"", "line 1", DUET_E_FORMAT},
        {"3", "must be an object", DUET_E_FORMAT},
        {"false", "nothing fits", DUET_E_FORMAT},
        {"{\"type\":\"int\"}", "\"type\" must be", DUET_E_FORMAT},
        {"{\"type\":[]}", "empty list", DUET_E_FORMAT},
        {"{\"not\":{}}", "keyword \"not\"", DUET_E_UNSUPPORTED},
        {OBJ "{\"a\":{\"type\":\"array\",\"items\":{\"uniqueItems\":true}}}}", "at /properties/a/items: keyword \"uniqueItems\"", DUET_E_UNSUPPORTED},
        {"{\"type\":\"object\",\"patternProperties\":{}}", "patternProperties", DUET_E_UNSUPPORTED},
        {"{\"type\":\"number\",\"multipleOf\":2}", "multipleOf", DUET_E_UNSUPPORTED},
        {"{\"type\":\"number\",\"minimum\":2}", "bounds of a number", DUET_E_UNSUPPORTED},
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "no integer", DUET_E_FORMAT},
        {"{\"type\":\"integer\",\"minimum\":1e30}", "more than 17 digits", DUET_E_RANGE},
        {"{\"type\":\"string\",\"format\":\"email\"}", "format \"email\"", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":3}", "only one of", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"minLength\":5000}", "4096", DUET_E_RANGE},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "minLength", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"minLength\":-1}", "whole number", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"(?=a)\"}", "group of this kind", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"(a\"}", "( without )", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"a)\"}", ") without (", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"[b-a]\"}", "ends before it begins", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"[a\"}", "[ without ]", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"*a\"}", "nothing to repeat", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"a\\\\1\"}", "this escape", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"a\\\\b\"}", "this escape", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"a^b\"}", "^ and $", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"(a*)*\"}", "with nothing between", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"pattern\":\"a{2,1}\"}", "count", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"pattern\":\"a{1001}\"}", "1000", DUET_E_RANGE},
        {"{\"type\":\"string\",\"pattern\":\"((a{999}){999}){999}\"}", "too large", DUET_E_RANGE},
        {"{\"type\":\"string\",\"pattern\":\"((){999}){999}\"}", "too large", DUET_E_RANGE},
        {"{\"type\":\"string\",\"pattern\":\"a\\\\\"}", "this escape", DUET_E_FORMAT},
        {"{\"enum\":[]}", "no value", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"enum\":[1]}", "no value", DUET_E_FORMAT},
        {"{\"type\":\"string\",\"const\":1}", "\"const\" is not of the type", DUET_E_FORMAT},
        {"{\"anyOf\":[]}", "not empty", DUET_E_FORMAT},
        {"{\"anyOf\":[{}],\"properties\":{}}", "beside \"anyOf\"", DUET_E_UNSUPPORTED},
        {"{\"anyOf\":[{}],\"enum\":[1]}", "beside", DUET_E_UNSUPPORTED},
        {"{\"allOf\":[{},{}]}", "\"allOf\" of 2", DUET_E_UNSUPPORTED},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "branches 1 and 2", DUET_E_UNSUPPORTED},
        {"{\"$ref\":\"http://x/y\"}", "must begin with #", DUET_E_UNSUPPORTED},
        {"{\"$ref\":\"#/nowhere\"}", "leads nowhere", DUET_E_FORMAT},
        {"{\"$ref\":\"#\"}", "nothing of bounded depth", DUET_E_FORMAT},
        {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "with nothing between", DUET_E_UNSUPPORTED},
        {OBJ "{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "nothing of bounded depth", DUET_E_FORMAT},
        {OBJ "{\"a\":{}},\"required\":[\"b\"],\"additionalProperties\":false}", "\"b\" is required", DUET_E_FORMAT},
        {"{\"type\":\"array\",\"items\":[{}]}", "prefixItems", DUET_E_UNSUPPORTED},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "at least 3", DUET_E_FORMAT},
        {"{\"type\":\"array\",\"minItems\":99999,\"items\":{}}", "too large", DUET_E_RANGE},
        {"{\"type\":\"array\",\"minItems\":199999,\"items\":{}}", "cannot be counted", DUET_E_RANGE},
        {"{\"minLength\":1,\"minItems\":2}", "several types", DUET_E_UNSUPPORTED},
        {"{\"type\":\"string\",\"type\":\"null\"}", "duplicate", DUET_E_FORMAT},
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_grammar *g = NULL;
        duet_err err = {{0}};
        duet_status st = duet_grammar_json_schema(trie, cases[c].schema, strlen(cases[c].schema), &g, &err);
        if (st != cases[c].st || g || !strstr(err.text, cases[c].names)) {
            fail_msg("%s: %s, \"%s\"", cases[c].schema, duet_status_name(st), err.text);
        }
    }
}

/* ---- tokens ---- */

static bool allowed(const uint32_t *bits, int32_t id) {
    return bits[id / 32] >> (id % 32) & 1;
}

/* A token is allowed just if some text goes on with it; here: if a prefix of a text that fits is spelled with it. */
static void test_allowed_tokens_lead_on_and_others_do_not(void **state) {
    (void)state;
    static const char schema[] = OBJ "{\"answer\":{\"enum\":[\"four\",\"five\"]},\"is\":{\"type\":\"boolean\"}},\"required\":[\"answer\"],"
                                     "\"additionalProperties\":false}";
    static const char *const texts[] = {"{\"answer\":\"four\"}", "{\"answer\":\"five\",\"is\":true}", "{\"answer\": \"five\", \"is\": false}",
                                        "\n{\n  \"answer\": \"four\"\n}"};
    duet_grammar *g = compile(schema);
    const int32_t size = duet_tokenizer_size(tok), end = duet_tokenizer_id(tok, "<|im_end|>");
    for (size_t c = 0; c < DT_COUNT(texts); c++) {
        duet_matcher *m = NULL;
        duet_ids ids = {0};
        assert_int_equal(duet_matcher_create(g, &m, NULL), DUET_OK);
        assert_int_equal(duet_tokenizer_encode(tok, texts[c], strlen(texts[c]), 0, &ids, NULL), DUET_OK);
        for (size_t n = 0; n <= ids.n; n++) {
            int32_t n_bits = 0;
            const uint32_t *bits = duet_matcher_allowed(m, ids.v, n, &end, 1, &n_bits);
            assert_int_equal(n_bits, size);
            assert_int_equal(allowed(bits, end), n == ids.n);
            if (n < ids.n && !allowed(bits, ids.v[n])) {
                fail_msg("%s: token %zu is not allowed", texts[c], n);
            }
            duet_text before = {0};
            assert_int_equal(duet_tokenizer_decode(tok, ids.v, n, false, &before, NULL), DUET_OK);
            for (int32_t id = 0; id < size; id++) { /* tried one by one, by a matcher that begins anew */
                duet_matcher *fresh = NULL;
                int32_t all[128], bits_of = 0;
                size_t len = 0;
                const char *bytes = duet_tokenizer_bytes(tok, id, &len);
                if (id == end) {
                    continue;
                }
                assert_int_equal(duet_matcher_create(g, &fresh, NULL), DUET_OK);
                memcpy(all, ids.v, n * sizeof *all);
                all[n] = id;
                const uint32_t *after = duet_matcher_allowed(fresh, all, n + 1, &end, 1, &bits_of);
                bool leads = false;
                for (int32_t i = 0; i < size && !leads; i++) {
                    leads = allowed(after, i);
                }
                if (leads != allowed(bits, id)) {
                    fail_msg("after %s: token %.*s %s", before.data, (int)len, bytes, leads ? "could come" : "leads nowhere");
                }
                duet_matcher_destroy(fresh);
            }
            duet_text_free(&before);
        }
        duet_matcher_destroy(m);
        duet_ids_free(&ids);
    }
    int32_t wrong[2] = {duet_tokenizer_id(tok, "<think>"), 3}, n_bits = 0;
    duet_matcher *m = NULL;
    assert_int_equal(duet_matcher_create(g, &m, NULL), DUET_OK);
    const uint32_t *bits = duet_matcher_allowed(m, wrong, 2, &end, 1, &n_bits);
    for (int32_t i = 0; i < size; i++) {
        assert_false(allowed(bits, i));
    }
    duet_matcher_destroy(m);
    duet_grammar_destroy(g);
}

/* A machine that forgets now and then goes on as if it did not; many ways at once stay bounded. */
static void test_too_much_is_forgotten_and_found_again(void **state) {
    (void)state;
    static const struct {
        const char *schema, *text;
    } cases[] = {
        {"{\"type\":\"string\",\"maxLength\":4000}", "x"},
        {"{\"type\":\"string\",\"pattern\":\"^[ab]*a[ab]{14}c$\"}", "ab"}, /* 2^14 states, if one looks */
        {"{\"type\":\"string\",\"pattern\":\"((a|ab|b){1,9}[ab]){9,90}\"}", "ab"}, /* hundreds of ways */
        {"{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}},"
         "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"$ref\":\"#/$defs/t\"},{\"type\":\"null\"}]}}]}}}", "["},
    };
    for (size_t c = 0; c < DT_COUNT(cases); c++) {
        duet_grammar *g = compile(cases[c].schema);
        duet_matcher *m = NULL;
        int32_t ids[1500], n_bits = 0, end = duet_tokenizer_id(tok, "<|im_end|>");
        const size_t n = c == 0 ? 1200 : c == 1 ? 1500 : c == 2 ? 300 : 40;
        dt_rng rng = dt_rng_make(1, c);
        assert_int_equal(duet_matcher_create(g, &m, NULL), DUET_OK);
        for (size_t i = 0; i < n; i++) {
            char s[2] = {i == 0 && c < 3 ? '"' : cases[c].text[dt_rng_below(&rng, (uint32_t)strlen(cases[c].text))], 0};
            ids[i] = duet_tokenizer_id(tok, s);
            const uint32_t *bits = duet_matcher_allowed(m, ids, i, &end, 1, &n_bits);
            if (!allowed(bits, ids[i])) {
                fail_msg("case %zu: token %zu is not allowed", c, i);
            }
        }
        duet_matcher_destroy(m);
        duet_grammar_destroy(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fits),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_what_is_not_understood_is_named),
        cmocka_unit_test(test_allowed_tokens_lead_on_and_others_do_not),
        cmocka_unit_test(test_too_much_is_forgotten_and_found_again),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
