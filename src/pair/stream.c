/* Tokens -> text for a caller that reads along. The same rules as for the finished text: tags and end tokens are
 * not text, the newline after the opening tag and the one before the closing tag are framing, an answer has no
 * leading white space. */
#include "pair/call.h"

#include <string.h>

duet_status dt_stream_init(dt_stream *s, const duet_pair_request *r, const dt_side *side, int stage, duet_err *err) {
    *s = (dt_stream){.r = r, .side = side, .stage = stage};
    return r->on_text ? duet_decoder_create(side->tok, stage == 1, &s->decoder, err) : DUET_OK;
}

/* Text for the caller; an answer begins with its first character that is no white space. */
static void emit(dt_stream *s, const char *text, size_t n) {
    while (s->stage == 1 && !s->in_text && n > 0 && strchr(" \t\n\r\v\f", *text) && *text) {
        text++;
        n--;
    }
    if (n == 0) {
        return;
    }
    s->in_text = true;
    if (s->r->on_text(s->r->user, s->stage, text, n)) {
        *s->stop_all = true;
    }
}

static bool is_newline(const dt_stream *s, int32_t id) {
    size_t n = 0;
    const char *bytes = duet_tokenizer_bytes(s->side->tok, id, &n);
    return bytes && n == 1 && bytes[0] == '\n';
}

/* What the tags mean for a token of M's; true if there is nothing more to do with it. */
static bool think_token(dt_stream *s, int32_t id) {
    const dt_tmpl *t = &s->side->tmpl;
    if (id == t->think_open && !s->seen_open && !s->in_text) {
        s->seen_open = true;
        return true;
    }
    if (id == t->think_close) { /* the answer starts afresh; a newline still held was framing */
        const char *text = NULL;
        size_t n = 0;
        duet_decoder_push(s->decoder, -1, &text, &n, NULL);
        s->stage = 1;
        s->in_text = s->held_newline = false;
        return true;
    }
    if (is_newline(s, id)) {
        if (s->seen_open && !s->in_text) {
            s->in_text = true; /* the one after the opening tag */
            return true;
        }
        if (s->held_newline) {
            emit(s, "\n", 1);
        }
        return s->held_newline = true;
    }
    if (s->held_newline) {
        s->held_newline = false;
        emit(s, "\n", 1);
    }
    return false;
}

int dt_stream_token(dt_stream *s, int32_t id) {
    const char *text = NULL;
    size_t n = 0;

    if (*s->stop_all || !s->decoder) {
        return *s->stop_all;
    }
    for (size_t i = 0; i < s->side->n_eos; i++) {
        if (s->side->eos[i] == id) {
            return 0;
        }
    }
    if (s->stage == 0 && think_token(s, id)) {
        return *s->stop_all;
    }
    if (duet_decoder_push(s->decoder, id, &text, &n, NULL) == DUET_OK) {
        emit(s, text, n);
    }
    return *s->stop_all;
}

void dt_stream_end(dt_stream *s) {
    if (s->decoder && s->stage == 0 && s->held_newline) {
        emit(s, "\n", 1);
        s->held_newline = false;
    }
}
