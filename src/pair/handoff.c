/* The hand-off: what M wrote becomes what m reads. Ids stay ids where the tokenizers are the same; else the signal
 * goes through text, once, here. A signal too long for m's context is cut at a token boundary, the question never. */
#include "pair/call.h"

#include <stdlib.h>

/* The signal in m's tokens: the request's signal_ids and signal_text from here on. */
static duet_status translate(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    duet_status st = DUET_OK;

    if (r->mode == DUET_MODE_m) {
        return dt_pair_copy(NULL, 0, &r->signal_ids, &r->n_signal_ids, err);
    }
    if (r->signal) { /* given, in m's tokens */
        return dt_pair_copy(r->signal, r->n_signal, &r->signal_ids, &r->n_signal_ids, err);
    }
    if (!p->shares_tokens) { /* plain: a signal that spells a tag is only text */
        duet_ids ids = {0};
        st = duet_tokenizer_encode(p->m.tok, r->signal_text, r->n_signal_text, DUET_ENC_PLAIN, &ids, err);
        if (!st) {
            st = dt_pair_copy(ids.v, ids.n, &r->signal_ids, &r->n_signal_ids, err);
        }
        duet_ids_free(&ids);
    }
    return st;
}

/* Tokens kept free for the answer: its budget, or a quarter of what the question leaves, whichever is less. */
static int answer_room(const duet_pair_request *r, int left) {
    int most = left / 4 > 1 ? left / 4 : 1;
    return r->answer_budget > 0 && r->answer_budget < most ? r->answer_budget : most;
}

/* prompt: the question's tokens; the signal follows, as much of it as fits. */
static duet_status frame(const duet_pair *p, dt_pair_call *c, duet_ids *prompt, duet_err *err) {
    duet_pair_request *r = c->r;
    int ctx = duet_backend_ctx(p->m.b);
    size_t question = prompt->n, n = r->n_signal_ids, keep = n, from = 0;

    duet_status st = dt_tmpl_think(&p->m.tmpl, p->m.tok, NULL, 0, prompt, err);
    if (st) {
        return st;
    }
    if (prompt->n >= (size_t)ctx) {
        return dt_fail(err, DUET_E_RANGE, "the question takes %zu tokens (%zu with its framing), m's context is %d",
                       question, prompt->n, ctx);
    }
    size_t room = (size_t)(ctx - answer_room(r, ctx - (int)prompt->n));
    if (room < prompt->n) {
        room = prompt->n;
    }
    while (n > 0) {
        from = p->keep == DUET_KEEP_TAIL ? n - keep : p->keep == DUET_KEEP_MIDDLE ? (n - keep) / 2 : 0;
        prompt->n = question;
        st = dt_tmpl_think(&p->m.tmpl, p->m.tok, r->signal_ids + from, keep, prompt, err);
        if (st) {
            return st;
        }
        if (prompt->n <= room || keep == 0) {
            break;
        }
        size_t excess = prompt->n - room;
        keep = keep > excess ? keep - excess : 0;
    }
    r->signal_cut = keep < n;
    return r->signal_cut ? dt_pair_copy(r->signal_ids + from, keep, &r->signal_ids, &r->n_signal_ids, err) : DUET_OK;
}

/* Compat: the reference's extraction on M's whole text, its framing without turn tokens, its cut on the left.
 * [duet-algorithm sections 1 and 2, "Ref"] */
static duet_status frame_raw(const duet_pair *p, dt_pair_call *c, duet_ids *prompt, duet_err *err) {
    duet_pair_request *r = c->r;
    char *whole = NULL;
    size_t n_whole = 0, n = 0;
    const char *signal = NULL;
    dt_buf text = {0};
    duet_ids ids = {0};

    bool given = r->signal != NULL;
    const int32_t *said = given ? r->signal : c->M.gen.ids;
    duet_status st =
        dt_pair_text(given ? p->m.tok : p->M.tok, said, given ? r->n_signal : c->M.gen.n, true, &whole, &n_whole, err);
    if (st) {
        goto done;
    }
    signal = whole;
    n = n_whole;
    if (!given) {
        dt_signal_extract_text(whole, n_whole, &signal, &n);
    }
    dt_buf_adds(&text, "user\n");
    dt_buf_add(&text, r->question, r->n_question);
    dt_buf_adds(&text, p->instruction ? p->instruction : "");
    dt_buf_adds(&text, "\nassistant\n<think>\n");
    dt_buf_add(&text, signal, n);
    dt_buf_adds(&text, "\n</think>");
    if (text.failed) {
        st = dt_fail(err, DUET_E_NOMEM, "pair: no memory for a prompt of %zu bytes", r->n_question + n);
        goto done;
    }
    prompt->n = 0;
    st = duet_tokenizer_encode(p->m.tok, text.data, text.len, 0, prompt, err);
    if (st) {
        goto done;
    }
    st = duet_tokenizer_encode(p->m.tok, signal, n, DUET_ENC_PLAIN, &ids, err);
    if (st) {
        goto done;
    }
    st = dt_pair_copy(ids.v, ids.n, &r->signal_ids, &r->n_signal_ids, err);
    int ctx = duet_backend_ctx(p->m.b);
    size_t room = (size_t)(ctx - answer_room(r, ctx));
    if (prompt->n > room) {
        size_t cut = prompt->n - room;
        for (size_t i = 0; i < room; i++) {
            prompt->v[i] = prompt->v[i + cut];
        }
        prompt->n = room;
        r->signal_cut = true;
    }
done:
    duet_ids_free(&ids);
    dt_buf_clear(&text);
    free(whole);
    return st;
}

duet_status dt_handoff(const duet_pair *p, dt_pair_call *c, duet_err *err) {
    duet_pair_request *r = c->r;
    if (r->mode == DUET_MODE_M) {
        return DUET_OK;
    }
    c->m.limit = r->answer_budget;
    c->m.ask = c->m.limit != 0;
    c->m.sampling = r->m;
    bool raw = p->handoff_raw && r->mode == DUET_MODE_DUET; /* the reference's baseline uses the template */
    duet_status st = translate(p, c, err);
    if (!st) {
        st = dt_turn_question(p, &p->m, r, &c->m.prompt, err);
    }
    if (!st) {
        st = raw ? frame_raw(p, c, &c->m.prompt, err) : frame(p, c, &c->m.prompt, err);
    }
    if (!st) {
        free(r->signal_text);
        r->signal_text = NULL;
        st = dt_pair_text(p->m.tok, r->signal_ids, r->n_signal_ids, false, &r->signal_text, &r->n_signal_text, err);
    }
    return st ? st : dt_stream_init(&c->m.stream, r, &p->m, 1, err);
}
