/* What a question cost: the only source of token counts, seconds and money. Counts come from the backends' usage
 * alone; what cannot be known stays unknown (NaN, SIZE_MAX) and is null in JSON. */
#include "pair/call.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static duet_ledger_side side_of(const dt_turn *t) {
    const duet_usage *u = &t->usage;
    return (duet_ledger_side){.prompt_tokens = u->prompt_tokens,
                              .cached_tokens = u->cached_tokens,
                              .output_tokens = u->output_tokens,
                              .prefill_s = u->prefill_s,
                              .decode_s = u->decode_s,
                              .estimated = t->estimated};
}

static double cost_of(const dt_side *s, const duet_ledger_side *l) {
    if (l->prompt_tokens == 0 && l->output_tokens == 0) {
        return 0;
    }
    if (!(s->price >= 0)) {
        return (double)NAN;
    }
    double in = s->price_in >= 0 ? (double)l->prompt_tokens * s->price_in / 1e6 : 0;
    return (double)l->output_tokens * s->price / 1e6 + in;
}

void dt_ledger_price(const duet_pair *p, duet_mode mode, duet_ledger *l) {
    bool alone = mode == DUET_MODE_M;
    l->M.cost = cost_of(&p->M, &l->M);
    l->m.cost = cost_of(&p->m, &l->m);
    l->cost = l->M.cost + l->m.cost;
    /* Only this mode measures M alone; whoever has run it for the question, or an average, may fill it in. */
    l->M_alone_tokens = alone ? l->M.output_tokens : SIZE_MAX;
    l->M_alone_cost = alone ? l->M.cost : (double)NAN;
    l->M_alone_estimated = false;
}

void dt_ledger_fill(const duet_pair *p, dt_pair_call *c) {
    duet_ledger *l = &c->r->ledger;
    l->M = side_of(&c->M);
    l->m = side_of(&c->m);
    l->total_s = c->M.usage.queue_s + c->M.usage.prefill_s + c->M.usage.decode_s + c->m.usage.queue_s +
                 c->m.usage.prefill_s + c->m.usage.decode_s;
    dt_ledger_price(p, c->r->mode, l);
}

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *count(size_t n) {
    return n == SIZE_MAX ? json_null() : json_integer((json_int_t)n);
}

static json_t *side_json(const duet_ledger_side *s) {
    json_t *j = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "prompt_tokens", count(s->prompt_tokens), "cached_tokens",
                     count(s->cached_tokens), "output_tokens", count(s->output_tokens), "prefill_s",
                     number(s->prefill_s), "decode_s", number(s->decode_s), "cost", number(s->cost));
    if (j && s->estimated)
        json_object_set_new(j, "estimated", json_true());
    return j;
}

char *duet_ledger_json(const duet_ledger *l) {
    json_t *j = json_pack("{s:o,s:o,s:o,s:o,s:{s:o,s:o,s:b}}", "M", side_json(&l->M), "m", side_json(&l->m), "total_s",
                          number(l->total_s), "cost", number(l->cost), "M_alone", "output_tokens",
                          count(l->M_alone_tokens), "cost", number(l->M_alone_cost), "estimated", l->M_alone_estimated);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(j);
    return text;
}

static void add_side(dt_buf *b, const char *name, const duet_ledger_side *s) {
    if (s->prompt_tokens == 0 && s->output_tokens == 0) {
        return;
    }
    dt_buf_addf(b, "%s%s %s%zu+%zu tokens", b->len ? " | " : "", name, s->estimated ? "about " : "", s->prompt_tokens,
                s->output_tokens);
    if (s->cached_tokens > 0 && s->cached_tokens != SIZE_MAX) {
        dt_buf_addf(b, " (%zu cached)", s->cached_tokens);
    }
    dt_buf_addf(b, " %.2f s", s->prefill_s + s->decode_s);
}

char *duet_ledger_line(const duet_ledger *l) {
    dt_buf b = {0};
    add_side(&b, "M", &l->M);
    add_side(&b, "m", &l->m);
    if (b.len == 0) {
        dt_buf_adds(&b, "no tokens");
    }
    dt_buf_addf(&b, " | total %.2f s", l->total_s);
    if (isfinite(l->cost)) {
        dt_buf_addf(&b, ", cost %.3g", l->cost);
    }
    if (l->M_alone_tokens != SIZE_MAX) {
        dt_buf_addf(&b, " | M alone: %s%zu tokens", l->M_alone_estimated ? "about " : "", l->M_alone_tokens);
        if (isfinite(l->M_alone_cost)) {
            dt_buf_addf(&b, ", cost %.3g", l->M_alone_cost);
        }
    }
    return b.failed ? (dt_buf_clear(&b), NULL) : dt_buf_take(&b);
}
