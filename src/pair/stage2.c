/* Stage 2: m writes the answer. */
#include "pair/call.h"

#include <stdlib.h>
#include <string.h>

static duet_status take_logprobs(duet_pair_request *r, const duet_generation *g, size_t from, duet_err *err) {
    size_t n = g->n - from, n_top = (size_t)g->n_top;
    r->answer_logprobs = dt_calloc(n ? n : 1, sizeof *r->answer_logprobs);
    r->answer_top = n_top && n ? dt_calloc(n, n_top * sizeof *r->answer_top) : NULL;
    if (!r->answer_logprobs || (n_top && n && !r->answer_top)) {
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory for the log-probs of %zu tokens", n);
    }
    if (n) {
        memcpy(r->answer_logprobs, g->logprobs + from, n * sizeof *r->answer_logprobs);
    }
    if (r->answer_top) {
        memcpy(r->answer_top, g->top + from * n_top, n * n_top * sizeof *r->answer_top);
    }
    r->n_answer_top = r->answer_top ? g->n_top : 0;
    return DUET_OK;
}

/* Where the text begins and ends: no white space around, nothing from a stop string on. */
static void trim_answer(duet_pair_request *r, const dt_stream *stream) {
    const char *text = r->answer_text;
    size_t len = r->n_answer_text;
    dt_pair_trim(&text, &len);
    if (stream->matched >= 0) { /* the cut counts from the first character */
        len = stream->cut;
        dt_pair_trim(&text, &len);
    }
    memmove(r->answer_text, text, len);
    r->answer_text[len] = 0;
    r->n_answer_text = len;
}

duet_status dt_stage2_answer(const dt_side *side, dt_pair_call *c, const dt_turn *t, size_t from, duet_err *err) {
    duet_pair_request *r = c->r;
    const size_t n = dt_turn_spoken(t);
    duet_status st = dt_pair_copy(t->gen.ids + from, t->gen.n - from, &r->answer_ids, &r->n_answer_ids, err);
    if (!st) {
        st = take_logprobs(r, &t->gen, from, err);
    }
    if (!st) {
        st = dt_pair_text(side->tok, t->gen.ids + from, from < n ? n - from : 0, true, &r->answer_text, &r->n_answer_text, err);
    }
    if (st) {
        return st;
    }
    trim_answer(r, &t->stream);
    dt_turn_ended(t, t->gen.stop, r);
    return DUET_OK;
}

duet_status dt_stage2_read(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    if (c->r->mode == DUET_MODE_M) {
        return DUET_OK;
    }
    return p->m.words ? dt_words_read_answer(p, c, err) : dt_stage2_answer(&p->m, c, &c->m, 0, err);
}
