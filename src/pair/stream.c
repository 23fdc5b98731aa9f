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

/* Newlines that a token consists of; 0 if it holds anything else. */
static size_t newlines(const dt_stream *s, int32_t id) {
    size_t n = 0;
    const char *bytes = duet_tokenizer_bytes(s->side->tok, id, &n);
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != '\n') {
            return 0;
        }
    }
    return bytes ? n : 0;
}

static void emit_held(dt_stream *s, size_t keep) {
    while (s->held > keep && !*s->stop_all) {
        s->held--;
        emit(s, "\n", 1);
    }
    s->held = s->held_last = 0;
}

/* The answer starts afresh. Held newlines were framing: the last one, and all of them in an empty thought. */
static void end_thought(dt_stream *s) {
    const char *text = NULL;
    size_t n = 0;
    emit_held(s, !s->in_text ? s->held : s->held_last == 1);
    duet_decoder_push(s->decoder, -1, &text, &n, NULL);
    s->stage = 1;
    s->in_text = false;
}

/* What the tags mean for a token of M's; true if there is nothing more to do with it. */
static bool think_token(dt_stream *s, int32_t id) {
    const dt_tmpl *t = &s->side->tmpl;
    if (id == t->think_open && !s->seen_open && !s->in_text) {
        s->seen_open = s->fresh = true;
        return true;
    }
    if (id == t->think_close) {
        end_thought(s);
        return true;
    }
    size_t n = newlines(s, id);
    bool framing = s->fresh && n == 1;
    s->fresh = false;
    if (n > 0) { /* whether they are text is known when the next token comes */
        s->held += framing ? 0 : n;
        s->held_last = framing ? 0 : n;
        return true;
    }
    emit_held(s, 0);
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
    if (s->decoder && s->stage == 0) {
        emit_held(s, 0);
    }
}
