/* Any bytes as the body of a request for an answer: read, or refused with a status and a sentence that is JSON. */
#include "format/jsonl.h"
#include "serve/ask.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *no_reply(void *user, const char *prompt, int sample) {
    (void)user;
    (void)prompt;
    (void)sample;
    return NULL;
}

static dt_server *server(void) {
    static dt_server s;
    duet_bpe_train opt = {.n_vocab = 300, .min_count = 1};
    const char *text = "some words";
    const size_t n = strlen(text);
    duet_tokenizer *tok = NULL;
    if (s.M)
        return &s;
    if (duet_tokenizer_train(&opt, &text, &n, 1, &tok, NULL) || duet_backend_scripted(tok, no_reply, NULL, &s.M, NULL) ||
        duet_backend_scripted(tok, no_reply, NULL, &s.m, NULL))
        abort();
    s.opt.signal_budget = s.opt.answer_budget = 100;
    return &s;
}

/* Takes body. */
static void ask(json_t *body, bool completion) {
    dt_ask a;
    dt_fault f;
    if (dt_ask_read(server(), body, completion, &a, &f)) {
        if (!a.n_turns || a.n < 1 || a.signal_budget < -1 || a.answer_budget < -1 || a.total_budget < -1)
            abort();
        for (size_t i = 0; i < a.n_turns; i++)
            if (!a.turns[i].role || !a.turns[i].text)
                abort();
    } else {
        json_t *j = dt_fault_json(&f);
        if (f.status < 400 || !f.text[0] || !json_object_get(json_object_get(j, "error"), "message"))
            abort();
        json_decref(j);
    }
    dt_ask_clear(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *body = NULL;
    if (dt_json_parse("the body", (const char *)data, size, &body, NULL) || !json_is_object(body)) {
        json_decref(body);
        return 0;
    }
    ask(json_incref(body), false);
    ask(body, true);
    return 0;
}
