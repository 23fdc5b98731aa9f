/* The turn of a model that is asked in words (a remote one): its thought and its answer come as text, apart. What it shares
 * with a model of ours is all that lies above: the conversation, the budgets, the hand-off, the ledger. */
#include "pair/call.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ---- streaming ---- */

static bool is_space(char c) {
    return c && strchr(" \t\n\r\v\f", c);
}

/* White space at both ends of a signal is none of it: it is held until something follows. */
static void say_signal(dt_turn *t, const char *text, size_t n) {
    dt_stream *s = &t->stream;
    while (!s->in_text && n && is_space(*text)) {
        text++;
        n--;
    }
    size_t end = n;
    while (end && is_space(text[end - 1]))
        end--;
    if (end) {
        if (t->space.len)
            dt_stream_text(s, t->space.data, t->space.len);
        t->space.len = 0;
        dt_stream_text(s, text, end);
    }
    if (s->in_text && !dt_buf_add(&t->space, text + end, n - end))
        *s->stop_all = s->no_memory = true;
}

/* Part 0 = thought, 1 = answer; of m the thought is nobody's, of M in two stages all is signal. */
static int on_text(void *user, int part, const char *text, size_t n) {
    dt_turn *t = user;
    dt_stream *s = &t->stream;
    if (*s->stop_all || (t->answers && s->stage == 1 && part == 0))
        return *s->stop_all;
    if (s->stage == 0 && part == 1 && t->answers) { /* mode M: the answer begins */
        s->stage = 1;
        s->in_text = false;
    }
    if (s->stage == 0)
        say_signal(t, text, n);
    else
        dt_stream_text(s, text, n);
    return *s->stop_all || s->matched >= 0;
}

/* ---- turns ---- */

static duet_status prepare(const duet_pair *p, dt_pair_call *c, dt_turn *t, int stage, duet_err *err) {
    t->stream = (dt_stream){.r = c->r, .stage = stage, .matched = -1};
    duet_status st = dt_turns_make(p, c->r, &t->turns, err);
    if (!st && t->answers)
        st = dt_stops_open(&t->stream.stops, c->r->stop, c->r->n_stop, err);
    for (size_t i = 0; i < t->turns.n && !st; i++) {
        const duet_message *m = &t->turns.v[i];
        const size_t bad = dt_utf8_bad(m->text, m->n);
        if (bad < m->n)
            st = dt_fail(err, DUET_E_FORMAT, "the %s is not UTF-8: byte 0x%02x at offset %zu",
                         i + 1 == t->turns.n ? "question" : "conversation", (unsigned)(uint8_t)m->text[bad], bad);
    }
    return st;
}

duet_status dt_words_stage1(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    return prepare(p, c, &c->M, 0, err);
}

/* The signal as text: M's own, or the one that was given, in M's tokens where m has none. */
static duet_status signal_text(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    const duet_tokenizer *tok = duet_pair_signal_tokenizer(p);
    if (r->mode == DUET_MODE_DUET && r->signal) {
        if (!tok)
            return dt_fail(err, DUET_E_UNSUPPORTED, "a given signal is in token ids, and neither model has a tokenizer here");
        duet_status st = dt_pair_copy(r->signal, r->n_signal, &r->signal_ids, &r->n_signal_ids, err);
        free(r->signal_text);
        r->signal_text = NULL;
        return st ? st : dt_pair_text(tok, r->signal, r->n_signal, false, &r->signal_text, &r->n_signal_text, err);
    }
    if (!r->signal_text) {
        r->signal_text = dt_strdup("");
        r->n_signal_text = 0;
    }
    return r->signal_text ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "pair: no memory for a signal");
}

duet_status dt_words_handoff(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_status st = signal_text(p, c, err);
    return st ? st : prepare(p, c, &c->m, 1, err);
}

/* What a pair's request says of its answer. In mode M a stop string in the thought is no end, so the server is not told. */
static void shape(const duet_pair_request *r, bool second, duet_ask *a) {
    a->stops = r->stop;
    a->n_stops = second ? r->n_stop : 0;
    a->logit_bias = r->logit_bias;
    a->n_logit_bias = r->n_logit_bias;
    a->presence_penalty = r->presence_penalty;
    a->frequency_penalty = r->frequency_penalty;
}

duet_status dt_words_check(const duet_pair_request *r, duet_err *err) {
    if (r->answer_grammar) {
        return dt_fail(err, DUET_E_UNSUPPORTED, "a remote model's answer cannot be held to a schema here");
    }
    if (r->mode == DUET_MODE_M && r->no_thought) {
        return dt_fail(err, DUET_E_UNSUPPORTED, "a remote model decides for itself whether it thinks");
    }
    return r->top_logprobs > 0 ? dt_fail(err, DUET_E_UNSUPPORTED, "log-probs of a remote model's answer are not known here") : DUET_OK;
}

duet_status dt_words_run(const dt_side *side, dt_turn *const *turns, size_t n, bool *stop_all,
                         const volatile int *cancel, duet_err *err) {
    size_t n_asked = 0;
    duet_status st = DUET_OK;
    duet_ask *asks = dt_calloc(n, sizeof *asks);
    if (!asks)
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory for %zu questions", n);
    for (size_t i = 0; i < n; i++) {
        dt_turn *t = turns[i];
        const duet_pair_request *r = t->stream.r;
        const bool second = t->stream.stage == 1;
        if (!t->ask)
            continue;
        t->stream.stop_all = stop_all;
        asks[n_asked++] = (duet_ask){.turns = t->turns.v,
                                     .n_turns = t->turns.n,
                                     .signal = second ? r->signal_text : NULL,
                                     .n_signal = second ? r->n_signal_text : 0,
                                     .thought_only = t->stop_at_close,
                                     .max_tokens = t->limit,
                                     .sampling = t->sampling,
                                     .key = t->key,
                                     .end = t->end,
                                     .on_text = on_text,
                                     .user = t};
        if (t->answers)
            shape(r, second, &asks[n_asked - 1]);
    }
    if (n_asked > 0)
        st = duet_backend_ask(side->b, asks, n_asked, cancel, err);
    for (size_t i = 0, k = 0; i < n; i++) {
        if (turns[i]->ask) {
            turns[i]->said = asks[k++];
            turns[i]->usage = turns[i]->said.usage;
            turns[i]->estimated = turns[i]->said.estimated;
        }
    }
    free(asks);
    return dt_turns_end(turns, n, *stop_all, st, err);
}

void dt_words_clear(dt_turn *t) {
    dt_turns_clear(&t->turns);
    duet_ask_clear(&t->said);
    dt_buf_clear(&t->space);
}

/* ---- what it said ---- */

static duet_status take_text(const char *text, size_t n, char **out, size_t *n_out, duet_err *err) {
    dt_buf b = {0};
    text = text ? text : "";
    dt_pair_trim(&text, &n);
    free(*out);
    dt_buf_add(&b, text, n);
    *out = dt_buf_take(&b);
    *n_out = *out ? n : 0;
    return *out ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "pair: no memory for a text of %zu bytes", n);
}

static duet_signal_status status_of(const duet_ask *s, bool spoken, size_t n) {
    if (n == 0)
        return spoken ? DUET_SIGNAL_UNTAGGED : DUET_SIGNAL_EMPTY;
    return s->thought_closed ? DUET_SIGNAL_CLOSED : DUET_SIGNAL_TRUNCATED;
}

/* The answer: nothing from a stop string on, and why it ended. */
static duet_status take_answer(dt_pair_call *c, const dt_turn *t, duet_err *err) {
    duet_pair_request *r = c->r;
    const duet_ask *s = &t->said;
    duet_status st = take_text(s->answer, s->n_answer, &r->answer_text, &r->n_answer_text, err);
    if (st)
        return st;
    if (t->stream.matched >= 0 && t->stream.cut < r->n_answer_text) { /* the cut counts from the first character */
        const char *text = r->answer_text;
        r->n_answer_text = t->stream.cut;
        dt_pair_trim(&text, &r->n_answer_text);
        r->answer_text[r->n_answer_text] = 0;
    }
    dt_turn_ended(t, s->stop, r);
    return dt_pair_copy(NULL, 0, &r->answer_ids, &r->n_answer_ids, err);
}

/* Mode M: its thought is the signal, what follows the answer. */
static duet_status split(dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    const duet_ask *s = &c->M.said;
    duet_status st = take_text(s->thought, s->n_thought, &r->signal_text, &r->n_signal_text, err);
    if (!st)
        st = take_answer(c, &c->M, err);
    r->signal_status = status_of(s, r->n_answer_text > 0 && !s->thought_closed, r->n_signal_text);
    return st;
}

duet_status dt_words_read_signal(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    const duet_ask *s = &c->M.said;
    const bool tagged = s->n_thought > 0 || s->thought_closed;
    (void)p;
    duet_status st = dt_pair_copy(NULL, 0, &r->signal_ids, &r->n_signal_ids, err);
    if (!st && r->mode == DUET_MODE_M)
        return split(c, err);
    if (!st) /* a model that does not mark its thought gives all it says */
        st = take_text(tagged ? s->thought : s->answer, tagged ? s->n_thought : s->n_answer, &r->signal_text,
                       &r->n_signal_text, err);
    r->signal_status = tagged ? status_of(s, false, r->n_signal_text)
                       : r->n_signal_text ? DUET_SIGNAL_UNTAGGED
                                          : DUET_SIGNAL_EMPTY;
    r->handoff = s->thought_closed ? r->n_signal_text ? DUET_HANDOFF_END : DUET_HANDOFF_EMPTY
                 : c->M.ask && s->stop == DUET_STOP_EOS ? DUET_HANDOFF_EOS
                 : c->M.ask && s->stop == DUET_STOP_CALLBACK ? DUET_HANDOFF_REQUEST
                                                       : DUET_HANDOFF_BUDGET;
    return st;
}

duet_status dt_words_read_answer(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    (void)p;
    return take_answer(c, &c->m, err);
}
