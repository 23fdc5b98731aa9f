/* Any bytes as a chat template and as a conversation for every family. Input: template, a NUL, a request in JSON. What
 * comes out is UTF-8, its data spans lie inside it in order, and as ids the text of messages holds no mark. */
#include "text/render.h"
#include "text/template.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static duet_tokenizer *words(void) {
    static duet_tokenizer *t;
    if (!t)
        check(!duet_tokenizer_build(NULL, NULL, NULL, 0, NULL, &t, NULL));
    return t;
}

static void probe_form(const char *s, size_t n) {
    dt_buf a = {0};
    char print[DT_FINGERPRINT];
    duet_err err = {{0}};
    duet_status st = dt_template_form(s, n, &a, &err);
    check(!st == !dt_template_fingerprint(s, n, print, NULL));
    check(st || strlen(print) == DT_FINGERPRINT - 1);
    check(!st || err.text[0]);
    if (!st)
        (void)dt_family_of(print);
    dt_buf_clear(&a);
}

static void probe_family(const dt_family *f, const json_t *in) {
    dt_page p = {0};
    dt_chat c;
    duet_err err = {{0}};
    duet_status st = dt_chat_read(f, in, &c, &err);
    if (!st)
        st = dt_chat_render(&c, &p, &err);
    check(!st || (st == DUET_E_FORMAT && err.text[0]));
    if (!st) {
        size_t done = 0;
        check(p.text.data && dt_utf8_bad(p.text.data, p.text.len) == p.text.len);
        for (size_t i = 0; i < p.n_data; i++) {
            check(p.data[i].begin >= done && p.data[i].begin < p.data[i].end && p.data[i].end <= p.text.len);
            done = p.data[i].end;
        }
    }
    dt_page_clear(&p);
}

/* The ids of the prompt say what the text says, and turn marks are as many as turns. */
static void probe_ids(const char *json, size_t n) {
    duet_ids ids = {0};
    duet_text text = {0}, back = {0};
    if (!duet_template_encode(words(), "chatml", json, n, &ids, NULL)) {
        check(!duet_template_render(NULL, "chatml", json, n, &text, NULL));
        check(!duet_tokenizer_decode(words(), ids.v, ids.n, false, &back, NULL));
        json_t *in = json_loadb(json, n, JSON_ALLOW_NUL, NULL);
        size_t starts = 0, turns = json_array_size(json_object_get(in, "messages"));
        turns += json_is_true(json_object_get(in, "add_generation_prompt"));
        for (size_t i = 0; i < ids.n; i++)
            starts += ids.v[i] == duet_tokenizer_id(words(), "<|im_start|>");
        check(starts == turns);
        json_decref(in);
    }
    duet_ids_free(&ids);
    duet_text_free(&text);
    duet_text_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t n_template = nul ? (size_t)(nul - data) : size;
    const char *json = nul ? (const char *)nul + 1 : "";
    const size_t n_json = nul ? size - n_template - 1 : 0;
    probe_form((const char *)data, n_template);
    json_t *in = json_loadb(json, n_json, JSON_ALLOW_NUL, NULL);
    for (size_t i = 0; in && dt_family_at(i); i++)
        probe_family(dt_family_at(i), in);
    if (in)
        probe_ids(json, n_json);
    json_decref(in);
    return 0;
}
