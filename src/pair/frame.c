/* The hand-off as a matter of tokens: no backend, no request. [duet-algorithm sections 1 and 2] */
#include "pair/frame.h"

#include "text/tokenizer.h"

#include <string.h>

size_t dt_frame_answer(const dt_tmpl *t, const int32_t *ids, size_t n, dt_signal_span s) {
    size_t at = dt_tmpl_thinks(t) ? s.end : n;
    while (at < n && ids[at] != t->think_close) {
        at++;
    }
    if (at < n) {
        return at + 1;
    }
    return s.status == DT_SIGNAL_UNTAGGED ? 0 : n;
}

/* ---- text ---- */

duet_status dt_pair_text(const duet_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **out,
                         size_t *n_out, duet_err *err) {
    duet_decoder *d = NULL;
    dt_buf text = {0};
    duet_status st = duet_decoder_create(t, skip_special, &d, err);

    for (size_t i = 0; i < n && !st; i++) { /* never flushed: what does not end a character is dropped */
        const char *piece = NULL;
        size_t len = 0;
        if (!duet_tokenizer_bytes(t, ids[i], &len)) { /* a row that only pads the model's vocabulary */
            continue;
        }
        st = duet_decoder_push(d, ids[i], &piece, &len, err);
        dt_buf_add(&text, piece ? piece : "", st ? 0 : len);
    }
    dt_buf_adds(&text, "");
    if (!st && (text.failed || !text.data)) {
        st = dt_fail(err, DUET_E_NOMEM, "pair: no memory for the text of %zu tokens", n);
    }
    if (!st) {
        *n_out = text.len;
        *out = dt_buf_take(&text);
    }
    dt_buf_clear(&text);
    duet_decoder_destroy(d);
    return st;
}

void dt_pair_trim(const char **text, size_t *n) {
    static const char space[] = " \t\n\r\v\f";
    while (*n > 0 && strchr(space, (*text)[0]) && (*text)[0]) {
        (*text)++;
        (*n)--;
    }
    while (*n > 0 && strchr(space, (*text)[*n - 1]) && (*text)[*n - 1]) {
        (*n)--;
    }
}

/* ---- m's prompt ---- */

/* Most tokens of a prompt that holds `fixed` of them in any case. */
static size_t room_of(const dt_frame_limit *l, size_t fixed) {
    int left = l->ctx - (int)fixed, most = left / 4 > 1 ? left / 4 : 1;
    size_t room = (size_t)(l->ctx - (l->answer > 0 && l->answer < most ? l->answer : most));
    if (l->prompt_max > 0 && l->prompt_max < room) {
        room = l->prompt_max;
    }
    return room < fixed ? fixed : room;
}

static duet_status fits(const duet_ids *prompt, size_t question, const dt_frame_limit *limit, duet_err *err) {
    return prompt->n < (size_t)limit->ctx
               ? DUET_OK
               : dt_fail(err, DUET_E_RANGE, "the question takes %zu tokens (%zu with its framing), m's context is %d",
                         question, prompt->n, limit->ctx);
}

static size_t begin_of(duet_keep keep, size_t n, size_t kept) {
    return keep == DUET_KEEP_TAIL ? n - kept : keep == DUET_KEEP_MIDDLE ? (n - kept) / 2 : 0;
}

/* prompt: the turns; the finished thought follows. */
static duet_status frame_thought(const dt_tmpl *t, const duet_tokenizer *tok, const int32_t *signal, size_t n,
                                 duet_keep keep, const dt_frame_limit *limit, duet_ids *prompt, size_t *from,
                                 size_t *kept, duet_err *err) {
    size_t question = prompt->n;
    duet_status st = dt_tmpl_think(t, tok, NULL, 0, prompt, err);
    if (!st) {
        st = fits(prompt, question, limit, err);
    }
    size_t room = room_of(limit, prompt->n);
    while (n > 0 && !st) {
        *from = begin_of(keep, n, *kept);
        prompt->n = question;
        st = dt_tmpl_think(t, tok, signal + *from, *kept, prompt, err);
        if (st || prompt->n <= room || *kept == 0) {
            break;
        }
        size_t excess = prompt->n - room;
        *kept = *kept > excess ? *kept - excess : 0;
    }
    return st;
}

/* prompt: the turns without any signal; they are written anew around it, if some of it fits. */
static duet_status frame_instruction(const dt_tmpl *t, const duet_tokenizer *tok, const duet_message *turns,
                                     size_t n_turns, const int32_t *signal, size_t n, duet_keep keep,
                                     const dt_frame_limit *limit, duet_ids *prompt, size_t *from, size_t *kept,
                                     duet_err *err) {
    duet_ids before = {0}, after = {0};
    duet_status st = fits(prompt, prompt->n, limit, err);
    if (!st && n > 0) {
        st = dt_tmpl_instruct(t, tok, turns, n_turns, &before, &after, err);
    }
    if (!st && n > 0) {
        size_t fixed = before.n + after.n, room = room_of(limit, prompt->n);
        *kept = fixed >= room ? 0 : n < room - fixed ? n : room - fixed;
        *from = begin_of(keep, n, *kept);
    }
    if (!st && *kept > 0) {
        prompt->n = 0;
        if (!dt_tok_append(prompt, before.v, before.n) || !dt_tok_append(prompt, signal + *from, *kept) ||
            !dt_tok_append(prompt, after.v, after.n)) {
            st = dt_fail(err, DUET_E_NOMEM, "pair: no memory for a prompt of %zu tokens", before.n + *kept + after.n);
        }
    }
    duet_ids_free(&before);
    duet_ids_free(&after);
    return st;
}

duet_status dt_frame_prompt(const dt_tmpl *t, const duet_tokenizer *tok, const duet_message *turns, size_t n_turns,
                            const int32_t *signal, size_t n, duet_keep keep, const dt_frame_limit *limit,
                            duet_ids *prompt, size_t *from, size_t *kept, duet_err *err) {
    *from = 0;
    *kept = n;
    prompt->n = 0;
    duet_status st = dt_tmpl_prompt(t, tok, turns, n_turns, true, prompt, err);
    if (st) {
        return st;
    }
    return dt_tmpl_thinks(t)
               ? frame_thought(t, tok, signal, n, keep, limit, prompt, from, kept, err)
               : frame_instruction(t, tok, turns, n_turns, signal, n, keep, limit, prompt, from, kept, err);
}

duet_status dt_frame_raw(const duet_tokenizer *tok, const char *question, size_t n_question, const char *instruction,
                         const char *signal, size_t n_signal, const dt_frame_limit *limit, duet_ids *prompt, bool *cut,
                         duet_err *err) {
    dt_buf text = {0};
    dt_buf_adds(&text, "user\n");
    dt_buf_add(&text, question, n_question);
    dt_buf_adds(&text, instruction ? instruction : "");
    dt_buf_adds(&text, "\nassistant\n<think>\n");
    dt_buf_add(&text, signal, n_signal);
    dt_buf_adds(&text, "\n</think>");
    prompt->n = 0;
    duet_status st = text.failed ? dt_fail(err, DUET_E_NOMEM, "pair: no memory for a prompt of %zu bytes", n_question + n_signal)
                                 : duet_tokenizer_encode(tok, text.data, text.len, 0, prompt, err);
    size_t room = room_of(limit, 0);
    *cut = !st && prompt->n > room;
    if (*cut) {
        memmove(prompt->v, prompt->v + (prompt->n - room), room * sizeof *prompt->v);
        prompt->n = room;
    }
    dt_buf_clear(&text);
    return st;
}
