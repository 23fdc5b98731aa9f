/* One model's turn: the conversation it is asked, all turns of a stage as one backend call. */
#include "pair/call.h"

#include <stdlib.h>
#include <string.h>

static duet_status add_instruction(const duet_pair *p, duet_message *m, char **owned, duet_err *err) {
    dt_buf text = {0};
    dt_buf_add(&text, m->text, m->n);
    dt_buf_adds(&text, p->instruction);
    if (text.failed) {
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory for a question of %zu bytes", m->n);
    }
    m->n = text.len;
    m->text = *owned = dt_buf_take(&text);
    return DUET_OK;
}

duet_status dt_turns_make(const duet_pair *p, const duet_pair_request *r, dt_turns *out, duet_err *err) {
    duet_status st = DUET_OK;
    *out = (dt_turns){.n = r->n_history + 1};
    out->v = dt_calloc(out->n, sizeof *out->v);
    out->owned = dt_calloc(out->n, sizeof *out->owned);
    if (!out->v || !out->owned) {
        st = dt_fail(err, DUET_E_NOMEM, "pair: no memory for %zu turns", out->n);
    }
    for (size_t i = 0; i < out->n && !st; i++) {
        bool last = i == r->n_history;
        out->v[i] = last ? (duet_message){"user", r->question ? r->question : "", r->n_question} : r->history[i];
        if (p->instruction && !strcmp(out->v[i].role, "user")) {
            st = add_instruction(p, &out->v[i], &out->owned[i], err);
        }
    }
    return st;
}

void dt_turns_clear(dt_turns *t) {
    for (size_t i = 0; t->owned && i < t->n; i++) {
        free(t->owned[i]);
    }
    free(t->owned);
    free(t->v);
    *t = (dt_turns){0};
}

static int on_token(void *user, int sample, int32_t id, float logprob) {
    dt_turn *t = user;
    size_t n_top = (size_t)t->gen.n_top;
    (void)sample; /* this token is the last of gen */
    return dt_stream_token(&t->stream, id, logprob, n_top ? t->gen.top + (t->gen.n - 1) * n_top : NULL, (int)n_top);
}

duet_status dt_turn_run(const dt_side *side, dt_turn *const *turns, size_t n, bool *stop_all,
                        const volatile int *cancel, duet_err *err) {
    if (side->words) {
        return dt_words_run(side, turns, n, stop_all, cancel, err);
    }
    duet_status st = DUET_OK;
    size_t n_asked = 0;
    bool streams = false;
    duet_gen_request *reqs = dt_calloc(n, sizeof *reqs);

    if (!reqs) {
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory for %zu questions", n);
    }
    for (size_t i = 0; i < n; i++) {
        streams = streams || (turns[i]->ask && dt_stream_reads(&turns[i]->stream));
    }
    for (size_t i = 0; i < n; i++) {
        dt_turn *t = turns[i];
        if (!t->ask) {
            continue;
        }
        t->stream.stop_all = stop_all;
        reqs[n_asked++] = (duet_gen_request){.prompt = t->prompt.v,
                                             .n_prompt = t->prompt.n,
                                             .n = 1,
                                             .max_tokens = t->limit,
                                             .sampling = t->sampling,
                                             .key = t->key,
                                             .stop_ids = &side->tmpl.think_close,
                                             .n_stop = t->stop_at_close && dt_tmpl_thinks(&side->tmpl),
                                             .eos_ids = side->eos,
                                             .n_eos = side->n_eos,
                                             .on_token = streams ? on_token : NULL,
                                             .user = t,
                                             .plain_logprobs = true,
                                             .end = t->end,
                                             .out = &t->gen};
        if (t->answers) {
            st = st ? st : dt_shape_answer(t, &reqs[n_asked - 1], err);
        }
    }
    if (n_asked > 0 && !st) {
        st = duet_backend_generate(side->b, reqs, n_asked, cancel, err);
    }
    for (size_t i = 0, k = 0; i < n; i++) {
        if (turns[i]->ask) {
            turns[i]->usage = reqs[k++].usage;
        }
    }
    free(reqs);
    return dt_turns_end(turns, n, *stop_all, st, err);
}

duet_status dt_turns_end(dt_turn *const *turns, size_t n, bool stopped, duet_status st, duet_err *err) {
    for (size_t i = 0; i < n; i++) {
        if (turns[i]->ask && !stopped) {
            dt_stream_end(&turns[i]->stream);
        }
        if (turns[i]->ask && !st && turns[i]->stream.no_memory) {
            st = dt_fail(err, DUET_E_NOMEM, "pair: no memory for the text of an answer");
        }
    }
    return st || !stopped ? st : dt_fail(err, DUET_E_CANCELLED, "stopped by the caller");
}

void dt_turn_clear(dt_turn *t) {
    duet_ids_free(&t->prompt);
    duet_generation_clear(&t->gen);
    dt_stream_clear(&t->stream);
    dt_words_clear(t);
    dt_shape_clear(t);
    *t = (dt_turn){0};
}

void dt_turn_ended(const dt_turn *t, duet_stop stop, duet_pair_request *r) {
    r->stop_matched = t->stream.matched;
    r->answer_stop = r->stop_matched >= 0 ? DUET_STOP_TOKEN : t->ask ? stop : DUET_STOP_LENGTH;
    r->answer_cut = r->answer_stop == DUET_STOP_LENGTH;
}

size_t dt_turn_spoken(const dt_turn *t) {
    return t->gen.n - (t->gen.n > 0 && t->gen.stop == DUET_STOP_EOS);
}

duet_status dt_pair_copy(const int32_t *ids, size_t n, int32_t **out, size_t *n_out, duet_err *err) {
    int32_t *copy = dt_calloc(n ? n : 1, sizeof *copy);
    if (!copy) {
        return dt_fail(err, DUET_E_NOMEM, "pair: no memory for %zu tokens", n);
    }
    if (n) {
        memcpy(copy, ids, n * sizeof *copy);
    }
    free(*out);
    *out = copy;
    *n_out = n;
    return DUET_OK;
}
