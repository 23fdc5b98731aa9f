/* What a request says of its answer: biases, penalties, log-probs, stop strings, a grammar. A grammar begins where the answer
 * does: behind M's thought, if it has one of its own. */
#include "grammar/grammar.h"
#include "pair/call.h"
#include "sample/sample.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void plain_shape(const duet_pair_request *r, duet_gen_request *g) {
    g->logit_bias = r->logit_bias;
    g->n_logit_bias = r->n_logit_bias;
    g->presence_penalty = r->presence_penalty;
    g->frequency_penalty = r->frequency_penalty;
    g->top_logprobs = r->top_logprobs;
}

duet_status dt_shape_check(const dt_side *side, const duet_pair_request *r, duet_err *err) {
    for (size_t i = 0; i < r->n_stop; i++) {
        if (!r->stop[i][0]) {
            return dt_fail(err, DUET_E_RANGE, "stop string %zu of %zu is empty", i + 1, r->n_stop);
        }
    }
    if (side->words) {
        duet_status st = dt_words_check(r, err);
        if (st) {
            return st;
        }
    }
    if (r->answer_grammar && dt_grammar_tokenizer(r->answer_grammar) != side->tok) {
        return dt_fail(err, DUET_E_USAGE, "the grammar is of another model's tokens than mode %s answers in", duet_mode_name(r->mode));
    }
    duet_gen_request g = {0};
    plain_shape(r, &g);
    return dt_gen_check(&g, side->words ? INT_MAX : duet_tokenizer_size(side->tok), err);
}

/* Called once for each token, in order, on an engine thread. */
static const uint32_t *allow(void *user, int sample, const int32_t *ids, size_t n, int32_t *n_bits) {
    dt_turn *t = user;
    const dt_side *side = t->stream.side;
    (void)sample;
    if (t->answer_from == SIZE_MAX && n > 0 && ids[n - 1] == side->tmpl.think_close) {
        t->answer_from = n;
    }
    if (t->answer_from == SIZE_MAX && t->first && n == 1 && ids[0] != side->tmpl.think_open) {
        t->answer_from = 0;
    }
    if (t->answer_from == SIZE_MAX && !(t->first && n == 0)) {
        return NULL;
    }
    size_t from = n == 0 ? 0 : t->answer_from;
    const uint32_t *allowed = duet_matcher_allowed(t->matcher, ids ? ids + from : NULL, n - from, side->eos, side->n_eos, n_bits);
    if (t->answer_from == SIZE_MAX) { /* an answer at once, or a thought before it */
        memcpy(t->first, allowed, ((size_t)*n_bits + 31) / 32 * sizeof *t->first);
        t->first[side->tmpl.think_open / 32] |= (uint32_t)1 << (side->tmpl.think_open % 32);
        allowed = t->first;
    }
    return allowed;
}

duet_status dt_shape_answer(dt_turn *t, duet_gen_request *g, duet_err *err) {
    const duet_pair_request *r = t->stream.r;
    const dt_side *side = t->stream.side;
    plain_shape(r, g);
    if (!r->answer_grammar) {
        return DUET_OK;
    }
    duet_status st = duet_matcher_create(r->answer_grammar, &t->matcher, err);
    if (st) {
        return st;
    }
    t->answer_from = t->thinks ? SIZE_MAX : 0;
    if (t->thinks && !side->tmpl.opened) {
        t->first = dt_calloc(((size_t)duet_tokenizer_size(side->tok) + 31) / 32 + 1, sizeof *t->first);
        if (!t->first) {
            return dt_fail(err, DUET_E_NOMEM, "pair: no memory for a set of %d tokens", (int)duet_tokenizer_size(side->tok));
        }
    }
    g->allow = allow;
    return DUET_OK;
}

void dt_shape_clear(dt_turn *t) {
    duet_matcher_destroy(t->matcher);
    free(t->first);
    t->matcher = NULL;
    t->first = NULL;
}

duet_status duet_pair_grammar(duet_pair *p, duet_mode mode, const char *schema, size_t n, duet_grammar **out, duet_err *err) {
    const int which = mode == DUET_MODE_M ? 0 : 1;
    const dt_side *side = which ? &p->m : &p->M;
    duet_status st = DUET_OK;
    *out = NULL;
    if (!side->b) {
        return dt_fail(err, DUET_E_USAGE, "mode %s needs model %s, which was not given", duet_mode_name(mode), which ? "m" : "M");
    }
    if (side->words) {
        return dt_fail(err, DUET_E_UNSUPPORTED, "a remote model's answer cannot be held to a schema here");
    }
    pthread_mutex_lock(&p->lock);
    if (!p->tries[which]) {
        st = duet_vocab_trie_create(side->tok, &p->tries[which], err);
    }
    pthread_mutex_unlock(&p->lock);
    if (st) {
        return st;
    }
    return schema ? duet_grammar_json_schema(p->tries[which], schema, n, out, err)
                  : duet_grammar_json_object(p->tries[which], out, err);
}
