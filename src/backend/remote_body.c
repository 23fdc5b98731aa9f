/* A question as the JSON of a request: a conversation for /chat/completions, or the exact prompt of a known chat template for
 * /completions. Only what was asked for is sent, so a server's own defaults stay its own. */
#include "backend/remote.h"
#include "text/prompt_text.h"
#include "text/render.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The servers that read what is not in OpenAI's own interface, without refusing it. */
static bool reads_extras(dt_remote_kind k) {
    return k == DT_REMOTE_VLLM || k == DT_REMOTE_SGLANG || k == DT_REMOTE_LLAMACPP || k == DT_REMOTE_DUET;
}

/* A signal for a model that is asked by messages is an instruction in the last of them. [duet-algorithm section 2] */
static json_t *messages_of(const duet_ask *a) {
    json_t *all = json_array();
    for (size_t i = 0; all && i < a->n_turns; i++) {
        const duet_message *m = &a->turns[i];
        dt_buf text = {0};
        dt_buf_add(&text, m->text, m->n);
        if (i + 1 == a->n_turns && a->n_signal) {
            dt_buf_adds(&text, DT_INSTRUCT_INTRO);
            dt_buf_add(&text, a->signal, a->n_signal);
            dt_buf_adds(&text, DT_INSTRUCT_OUTRO);
        }
        json_t *one = json_pack("{s:s,s:o}", "role", m->role, "content", json_stringn(text.data ? text.data : "", text.len));
        if (text.failed || json_array_append_new(all, one)) {
            json_decref(all);
            all = NULL;
        }
        dt_buf_clear(&text);
    }
    return all;
}

static bool set(json_t *j, const char *key, json_t *v) {
    return !json_object_set_new(j, key, v);
}

static bool set_sampling(json_t *j, const duet_ask *a) {
    const duet_sampling *s = &a->sampling;
    const uint64_t names[2] = {s->seed, a->key};
    bool ok = set(j, "seed", json_integer((json_int_t)(dt_hash64(names, sizeof names, 0) & 0x7fffffff)));
    if (s->temperature >= 0)
        ok = ok && set(j, "temperature", json_real(s->temperature));
    if (s->top_p > 0 && s->top_p < 1)
        ok = ok && set(j, "top_p", json_real(s->top_p));
    if (s->top_k > 0)
        ok = ok && set(j, "top_k", json_integer(s->top_k));
    if (s->min_p > 0)
        ok = ok && set(j, "min_p", json_real(s->min_p));
    return ok;
}

/* What is asked of the answer. */
static bool set_shape(json_t *j, const duet_ask *a) {
    bool ok = true;
    if (a->n_stops && a->n_stops <= 4 && !a->thought_only) {
        json_t *all = json_array();
        for (size_t i = 0; i < a->n_stops; i++)
            ok = !json_array_append_new(all, json_string(a->stops[i])) && ok;
        ok = set(j, "stop", all) && ok;
    }
    if (a->n_logit_bias) {
        json_t *all = json_object();
        char id[16];
        for (size_t i = 0; i < a->n_logit_bias; i++) {
            const double bias = (double)a->logit_bias[i].bias; /* the interface ends at -100 and 100 */
            snprintf(id, sizeof id, "%d", (int)a->logit_bias[i].id);
            ok = set(all, id, json_real(bias < -100 ? -100 : bias > 100 ? 100 : bias)) && ok;
        }
        ok = set(j, "logit_bias", all) && ok;
    }
    if (a->presence_penalty != 0)
        ok = set(j, "presence_penalty", json_real(a->presence_penalty)) && ok;
    if (a->frequency_penalty != 0)
        ok = set(j, "frequency_penalty", json_real(a->frequency_penalty)) && ok;
    return ok;
}

/* So that a stream that is cut was counted up to there, where the server can. */
static bool set_counting(json_t *j, dt_remote_kind k) {
    json_t *o = json_pack("{s:b}", "include_usage", 1);
    bool ok = o && (k != DT_REMOTE_VLLM || set(o, "continuous_usage_stats", json_true()));
    ok = set(j, "stream_options", o) && ok;
    return ok && (k != DT_REMOTE_LLAMACPP || set(j, "timings_per_token", json_true()));
}

static duet_status exact_prompt(const dt_remote *r, const duet_ask *a, json_t *j, duet_err *err) {
    duet_text text = {0};
    duet_status st = dt_tmpl_text(r->family, a->turns, a->n_turns, a->signal, a->n_signal, &text, err);
    if (!st && !set(j, "prompt", json_stringn(text.data, text.n)))
        st = dt_fail(err, DUET_E_FORMAT, "the prompt is not UTF-8");
    duet_text_free(&text);
    if (!st && a->thought_only && r->family->thought != DT_THOUGHT_NONE &&
        !set(j, "stop", json_pack("[s]", "</think>")))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a request");
    return st;
}

static duet_status chat_prompt(const dt_remote *r, const duet_ask *a, json_t *j, duet_err *err) {
    if (!set(j, "messages", messages_of(a)))
        return dt_fail(err, DUET_E_FORMAT, "the conversation is not UTF-8");
    if (a->signal && reads_extras(r->kind) &&
        !set(j, "chat_template_kwargs", json_pack("{s:b}", "enable_thinking", 0)))
        return dt_fail(err, DUET_E_NOMEM, "no memory for a request");
    return DUET_OK;
}

duet_status dt_remote_body(const dt_remote *r, const duet_ask *a, char **out, duet_err *err) {
    json_t *j = json_pack("{s:s,s:b}", "model", r->at.model, "stream", 1);
    duet_status st = j ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "no memory for a request");
    *out = NULL;
    if (!st)
        st = r->family ? exact_prompt(r, a, j, err) : chat_prompt(r, a, j, err);
    const char *limit = r->kind == DT_REMOTE_OPENAI && !r->family ? "max_completion_tokens" : "max_tokens";
    if (!st && a->max_tokens >= 0 && !set(j, limit, json_integer(a->max_tokens)))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a request");
    if (!st && (!set_sampling(j, a) || !set_shape(j, a) || !set_counting(j, r->kind) || (r->more && json_object_update(j, r->more))))
        st = dt_fail(err, DUET_E_NOMEM, "no memory for a request");
    *out = st ? NULL : json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(j);
    return st || *out ? st : dt_fail(err, DUET_E_NOMEM, "no memory for a request");
}
