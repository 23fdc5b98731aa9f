/* An answer as one JSON object, in OpenAI's shape. Every number about cost comes from the ledger of the pair. */
#include "serve/chat.h"

#include <stdlib.h>
#include <string.h>

const char *dt_reply_finish(const dt_chat *a, int choice) {
    return a->reqs[choice].answer_cut ? "length" : "stop";
}

static json_t *count(size_t n) {
    return n == SIZE_MAX ? json_null() : json_integer((json_int_t)n);
}

static size_t sum(size_t a, size_t b) {
    return a == SIZE_MAX || b == SIZE_MAX ? SIZE_MAX : a + b;
}

/* Tokens of both models together. The reasoning is what M sampled before the hand-off; where M answers itself, its signal. */
json_t *dt_reply_usage(const dt_chat *a) {
    const duet_ledger *l = &a->ledger;
    const size_t prompt = sum(l->M.prompt_tokens, l->m.prompt_tokens), cached = sum(l->M.cached_tokens, l->m.cached_tokens);
    const size_t output = sum(l->M.output_tokens, l->m.output_tokens);
    size_t reasoning = l->M.output_tokens;
    if (a->ask.mode == DUET_MODE_M) {
        reasoning = 0;
        for (int i = 0; i < a->ask.n; i++)
            reasoning += a->reqs[i].n_signal_ids;
    }
    return json_pack("{s:o,s:o,s:o,s:{s:o},s:{s:o}}", "prompt_tokens", count(prompt), "completion_tokens", count(output), "total_tokens",
                     count(sum(prompt, output)), "prompt_tokens_details", "cached_tokens", count(cached), "completion_tokens_details",
                     "reasoning_tokens", count(reasoning));
}

json_t *dt_reply_duet(const dt_chat *a) {
    char *text = duet_ledger_json(&a->ledger);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL, *list = json_array();
    free(text);
    for (int i = 0; i < a->ask.n; i++) {
        const duet_pair_request *r = &a->reqs[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:b}", "handoff", duet_handoff_name(r->handoff), "signal_status",
                                              duet_signal_status_name(r->signal_status), "signal_cut", (int)r->signal_cut));
    }
    if (!j) {
        json_decref(list);
        return NULL;
    }
    json_object_set_new(j, "mode", json_string(duet_mode_name(a->ask.mode)));
    json_object_set_new(j, "handoff", json_string(duet_handoff_name(a->reqs[0].handoff)));
    json_object_set_new(j, "choices", list);
    json_object_set_new(j, "queue_s", json_real(a->job.t_begun - a->job.t_queued));
    json_object_set_new(j, "seed", json_integer((json_int_t)a->ask.M.seed));
    return j;
}

static json_t *text(const char *s, size_t n) {
    return json_stringn(s ? s : "", s ? n : 0);
}

static json_t *choice(const dt_chat *a, int i) {
    const duet_pair_request *r = &a->reqs[i];
    if (a->ask.completion)
        return json_pack("{s:i,s:o,s:n,s:s}", "index", i, "text", text(r->answer_text, r->n_answer_text), "logprobs", "finish_reason",
                         dt_reply_finish(a, i));
    json_t *message = json_pack("{s:s,s:o,s:n}", "role", "assistant", "content", text(r->answer_text, r->n_answer_text), "refusal");
    if (message && !a->ask.hide_reasoning && a->ask.mode != DUET_MODE_m)
        json_object_set_new(message, a->ask.reasoning_name ? "reasoning" : "reasoning_content", text(r->signal_text, r->n_signal_text));
    return json_pack("{s:i,s:o,s:o,s:s}", "index", i, "message", message, "logprobs", dt_logprobs_json(a, i), "finish_reason", dt_reply_finish(a, i));
}

json_t *dt_reply_whole(const dt_chat *a) {
    json_t *choices = json_array();
    for (int i = 0; i < a->ask.n; i++)
        json_array_append_new(choices, choice(a, i));
    return json_pack("{s:s,s:s,s:I,s:s,s:o,s:o,s:s,s:o}", "id", a->job.id, "object", a->ask.completion ? "text_completion" : "chat.completion", "created", (json_int_t)a->created,
                     "model", a->ask.model, "choices", choices, "usage", dt_reply_usage(a), "system_fingerprint", "duet-" DUET_VERSION,
                     "duet", dt_reply_duet(a));
}
