/* Stage 2: m writes the answer. */
#include "pair/call.h"

#include <stdlib.h>
#include <string.h>

duet_status dt_stage2_answer(const dt_side *side, dt_pair_call *c, const int32_t *ids, size_t n, bool ended,
                             duet_err *err) {
    duet_pair_request *r = c->r;
    duet_status st = dt_pair_copy(ids, n, &r->answer_ids, &r->n_answer_ids, err);
    if (st) {
        return st;
    }
    st = dt_pair_text(side->tok, ids, n - ended, true, &r->answer_text, &r->n_answer_text, err);
    if (st) {
        return st;
    }
    const char *text = r->answer_text;
    size_t len = r->n_answer_text;
    dt_pair_trim(&text, &len);
    memmove(r->answer_text, text, len);
    r->answer_text[len] = 0;
    r->n_answer_text = len;
    return DUET_OK;
}

duet_status dt_stage2_read(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    const dt_turn *t = &c->m;
    if (c->r->mode == DUET_MODE_M) {
        return DUET_OK;
    }
    c->r->answer_cut = !t->ask || t->gen.stop == DUET_STOP_LENGTH;
    return dt_stage2_answer(&p->m, c, t->gen.ids, t->gen.n, t->gen.n > dt_turn_spoken(t), err);
}
