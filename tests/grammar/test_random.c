/* Random schemas and a random model: whatever it writes to its end is JSON and fits, by a checker that knows nothing of
 * automata; and the same alone as in a batch. */
#include "grammar/vocab.h"

#include <jansson.h>

enum { N_SCHEMAS = 60, MOST = 500 };

/* ---- a checker of what the random schemas use ---- */

static bool fits(json_t *schema, json_t *root, json_t *v);

static bool of_type(const char *type, json_t *v) {
    return (!strcmp(type, "null") && json_is_null(v)) || (!strcmp(type, "boolean") && json_is_boolean(v)) ||
           (!strcmp(type, "integer") && json_is_integer(v)) || (!strcmp(type, "number") && json_is_number(v)) ||
           (!strcmp(type, "string") && json_is_string(v)) || (!strcmp(type, "array") && json_is_array(v)) ||
           (!strcmp(type, "object") && json_is_object(v));
}

static size_t characters(const char *s) {
    size_t n = 0;
    for (; *s; s++) {
        n += ((unsigned char)*s & 0xC0) != 0x80;
    }
    return n;
}

static json_int_t number(json_t *schema, const char *key, json_int_t fallback) {
    json_t *v = json_object_get(schema, key);
    return v ? json_integer_value(v) : fallback;
}

static bool object_fits(json_t *schema, json_t *root, json_t *v) {
    json_t *listed = json_object_get(schema, "properties"), *other = json_object_get(schema, "additionalProperties"), *x;
    const char *key;
    size_t i;
    json_object_foreach(v, key, x) {
        json_t *p = json_object_get(listed, key);
        if (p ? !fits(p, root, x) : json_is_false(other) || (json_is_object(other) && !fits(other, root, x))) {
            return false;
        }
    }
    json_array_foreach(json_object_get(schema, "required"), i, x) {
        if (!json_object_get(v, json_string_value(x))) {
            return false;
        }
    }
    return true;
}

static bool any_fits(json_t *list, json_t *root, json_t *v, int *n) {
    size_t i;
    json_t *x;
    *n = 0;
    json_array_foreach(list, i, x) {
        *n += fits(x, root, v);
    }
    return *n > 0;
}

static bool fits(json_t *schema, json_t *root, json_t *v) {
    json_t *type = json_object_get(schema, "type"), *list, *x;
    size_t i;
    int n = 0;
    if (json_object_get(schema, "$ref")) {
        return fits(json_object_get(json_object_get(root, "$defs"), "d"), root, v);
    }
    if ((list = json_object_get(schema, "anyOf"))) {
        return any_fits(list, root, v, &n);
    }
    if ((list = json_object_get(schema, "oneOf"))) {
        return any_fits(list, root, v, &n) && n == 1;
    }
    if ((list = json_object_get(schema, "enum"))) {
        json_array_foreach(list, i, x) {
            if (json_equal(x, v)) {
                return true;
            }
        }
        return false;
    }
    if (json_is_string(type) && !of_type(json_string_value(type), v)) {
        return false;
    }
    if (json_is_array(type)) {
        bool one = false;
        json_array_foreach(type, i, x) {
            one = one || of_type(json_string_value(x), v);
        }
        if (!one) {
            return false;
        }
    }
    if (json_is_string(v)) {
        json_int_t len = (json_int_t)characters(json_string_value(v));
        return len >= number(schema, "minLength", 0) && len <= number(schema, "maxLength", 1 << 30);
    }
    if (json_is_integer(v)) {
        return json_integer_value(v) >= number(schema, "minimum", INT64_MIN) && json_integer_value(v) <= number(schema, "maximum", INT64_MAX);
    }
    if (json_is_array(v)) {
        json_int_t len = (json_int_t)json_array_size(v);
        json_t *items = json_object_get(schema, "items");
        json_array_foreach(v, i, x) {
            if (items && !fits(items, root, x)) {
                return false;
            }
        }
        return len >= number(schema, "minItems", 0) && len <= number(schema, "maxItems", 1 << 30);
    }
    return !json_is_object(v) || object_fits(schema, root, v);
}

/* ---- random schemas ---- */

static json_t *random_schema(dt_rng *r, int depth);

static json_t *random_string(dt_rng *r) {
    json_t *s = json_pack("{s:s}", "type", "string");
    json_int_t min = dt_rng_below(r, 4);
    if (dt_rng_below(r, 2)) {
        json_object_set_new(s, "minLength", json_integer(min));
    }
    json_object_set_new(s, "maxLength", json_integer(min + dt_rng_below(r, 12)));
    return s;
}

static json_t *random_object(dt_rng *r, int depth) {
    static const char *const names[] = {"a", "answer", "\xc3\xa9t\xc3\xa9", "a b", "q\"uote"};
    json_t *s = json_pack("{s:s}", "type", "object"), *p = json_object(), *required = json_array();
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        if (dt_rng_below(r, 2)) {
            json_object_set_new(p, names[i], random_schema(r, depth - 1));
            if (dt_rng_below(r, 2)) {
                json_array_append_new(required, json_string(names[i]));
            }
        }
    }
    json_object_set_new(s, "properties", p);
    json_object_set_new(s, "required", required);
    switch (dt_rng_below(r, 4)) {
    case 0:
        json_object_set_new(s, "additionalProperties", random_schema(r, 0));
        break;
    case 1:
        json_object_set_new(s, "additionalProperties", json_true());
        break;
    default:
        json_object_set_new(s, "additionalProperties", json_false());
    }
    return s;
}

static json_t *random_schema(dt_rng *r, int depth) {
    json_int_t lo = (json_int_t)dt_rng_below(r, 400) - 200, few = dt_rng_below(r, 3);
    switch (dt_rng_below(r, depth > 0 ? 12 : 6)) {
    case 0:
        return random_string(r);
    case 1:
        return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", lo, "maximum", lo + (json_int_t)dt_rng_below(r, 1500));
    case 2:
        return json_pack("{s:s}", "type", dt_rng_below(r, 2) ? "number" : "boolean");
    case 3:
        return json_pack("{s:[s,i,n,b,{s:[f]}]}", "enum", "the answer \xe2\x82\xac", 4, 1, "x", 0.1);
    case 4:
        return json_pack("{s:[s,s]}", "type", "null", "integer");
    case 5:
        return json_pack("{s:[{s:s},{s:s}]}", "oneOf", "type", "null", "type", "boolean");
    case 6:
        return json_pack("{s:[o,o]}", "anyOf", random_schema(r, depth - 1), random_schema(r, depth - 1));
    case 7:
        return json_pack("{s:s}", "$ref", "#/$defs/d");
    case 8:
        return json_pack("{s:s,s:o,s:I,s:I}", "type", "array", "items", random_schema(r, depth - 1), "minItems", few, "maxItems",
                         few + (json_int_t)dt_rng_below(r, 3));
    default:
        return random_object(r, depth);
    }
}

/* ---- a run ---- */

typedef struct run {
    duet_matcher *m;
    int32_t end;
} run;

static const uint32_t *allow(void *user, int sample, const int32_t *ids, size_t n, int32_t *n_bits) {
    run *u = user;
    (void)sample;
    return duet_matcher_allowed(u->m, ids, n, &u->end, 1, n_bits);
}

static void test_what_a_random_model_writes_fits(void **state) {
    (void)state;
    const int32_t end = duet_tokenizer_id(tok, "<|im_end|>");
    duet_model *model = tiny_model(duet_tokenizer_size(tok), 2048, 3);
    duet_engine *e = tiny_engine(model, (duet_engine_options){.n_threads = 2, .max_seqs = 16}),
                *slow = tiny_engine(model, (duet_engine_options){.n_threads = 1, .max_seqs = 1});
    static duet_gen_request req[N_SCHEMAS];
    static duet_generation out[N_SCHEMAS], alone;
    json_t *schema[N_SCHEMAS];
    duet_grammar *g[N_SCHEMAS];
    run u[N_SCHEMAS];
    int ended = 0;
    for (int i = 0; i < N_SCHEMAS; i++) {
        dt_rng rng = dt_rng_make(77, (uint64_t)i);
        static int32_t prompt[N_SCHEMAS][8];
        schema[i] = random_object(&rng, 3);
        json_object_set_new(schema[i], "$defs", json_pack("{s:o}", "d", random_schema(&rng, 0)));
        char *text = json_dumps(schema[i], JSON_COMPACT);
        duet_err err = {{0}};
        if (duet_grammar_json_schema(trie, text, strlen(text), &g[i], &err)) {
            fail_msg("schema %d: %s: %s", i, text, err.text);
        }
        free(text);
        assert_int_equal(duet_matcher_create(g[i], &u[i].m, NULL), DUET_OK);
        u[i].end = end;
        for (int j = 0; j < 8; j++) {
            prompt[i][j] = (int32_t)dt_rng_below(&rng, 250);
        }
        req[i] = (duet_gen_request){.prompt = prompt[i], .n_prompt = 8, .max_tokens = MOST, .eos_ids = &u[i].end, .n_eos = 1,
                                    .sampling = {.temperature = 5, .seed = 9}, .key = (uint64_t)i, .allow = allow, .user = &u[i],
                                    .out = &out[i]};
    }
    assert_int_equal(duet_engine_generate(e, req, N_SCHEMAS, NULL, NULL), DUET_OK);
    for (int i = 0; i < N_SCHEMAS; i++) {
        duet_text text = {0};
        json_error_t why;
        assert_int_equal(duet_tokenizer_decode(tok, out[i].ids, out[i].n - (out[i].stop == DUET_STOP_EOS), false, &text, NULL), DUET_OK);
        json_t *v = json_loadb(text.data, text.n, 0, &why);
        assert_true(out[i].stop == DUET_STOP_EOS || out[i].stop == DUET_STOP_LENGTH);
        assert_int_equal(duet_grammar_accepts(g[i], text.data, text.n), out[i].stop == DUET_STOP_EOS);
        if (out[i].stop == DUET_STOP_EOS && (!v || !fits(schema[i], schema[i], v))) {
            fail_msg("schema %d: %s\n%s\n%s", i, json_dumps(schema[i], JSON_COMPACT), text.data, v ? "does not fit" : why.text);
        }
        ended += out[i].stop == DUET_STOP_EOS;
        if (i % 6 == 0) {
            duet_gen_request r = req[i];
            r.out = &alone;
            assert_int_equal(duet_engine_generate(slow, &r, 1, NULL, NULL), DUET_OK);
            assert_int_equal(alone.n, out[i].n);
            assert_memory_equal(alone.ids, out[i].ids, alone.n * sizeof *alone.ids);
            assert_memory_equal(alone.logprobs, out[i].logprobs, alone.n * sizeof *alone.logprobs);
            duet_generation_clear(&alone);
        }
        json_decref(v);
        duet_text_free(&text);
    }
    if (ended < N_SCHEMAS * 3 / 4) {
        fail_msg("only %d of %d came to an end", ended, N_SCHEMAS);
    }
    for (int i = 0; i < N_SCHEMAS; i++) {
        duet_generation_clear(&out[i]);
        duet_matcher_destroy(u[i].m);
        duet_grammar_destroy(g[i]);
        json_decref(schema[i]);
    }
    duet_engine_destroy(e);
    duet_engine_destroy(slow);
    duet_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_random_model_writes_fits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
