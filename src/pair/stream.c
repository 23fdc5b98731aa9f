/* Tokens -> text for a caller that reads along. The same rules as for the finished text: tags and end tokens are
 * not text, the newline after the opening tag and the one before the closing tag are framing, an answer has no
 * leading white space. */
#include "pair/call.h"

#include <string.h>

duet_status dt_stream_init(dt_stream *s, const duet_pair_request *r, const dt_side *side, int stage, duet_err *err) {
    *s = (dt_stream){.r = r, .side = side, .stage = stage, .matched = -1};
    bool answers = stage == 1 || r->mode == DUET_MODE_M;
    if (!r->on_text && !r->on_token && !(answers && r->n_stop > 0)) {
        return DUET_OK;
    }
    duet_status st = duet_decoder_create(side->tok, stage == 1, &s->decoder, err);
    if (!st && answers && stage == 0) {
        st = duet_decoder_create(side->tok, true, &s->of_answer, err);
    }
    return st || !answers ? st : dt_stops_open(&s->stops, r->stop, r->n_stop, err);
}

void dt_stream_clear(dt_stream *s) {
    duet_decoder_destroy(s->decoder);
    duet_decoder_destroy(s->of_answer);
    dt_stops_clear(&s->stops);
    dt_buf_clear(&s->unsaid);
}

bool dt_stream_reads(const dt_stream *s) {
    return s->decoder != NULL;
}

static void say(dt_stream *s, const char *text, size_t n) {
    if (n > 0 && s->r->on_text && s->r->on_text(s->r->user, s->stage, text, n)) {
        *s->stop_all = true;
    }
}

/* Text of an answer that has stop strings: what may begin one waits. */
static void search(dt_stream *s, const char *text, size_t n) {
    size_t sure = 0;
    for (size_t i = 0; i < n && s->matched < 0; i++) {
        if (!dt_buf_add(&s->unsaid, text + i, 1)) {
            *s->stop_all = s->no_memory = true;
            return;
        }
        s->matched = dt_stops_push(&s->stops, text[i]);
    }
    if (s->matched >= 0) {
        sure = s->unsaid.len - s->stops.len[s->matched];
        s->cut = s->n_said + sure;
    } else {
        sure = s->unsaid.len - dt_stops_held(&s->stops);
    }
    say(s, s->unsaid.data, sure);
    s->n_said += sure;
    s->unsaid.len -= sure;
    memmove(s->unsaid.data, s->unsaid.data + sure, s->unsaid.len);
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
    if (s->stage == 1 && s->stops.n > 0) {
        search(s, text, n);
    } else {
        say(s, text, n);
    }
}

void dt_stream_text(dt_stream *s, const char *text, size_t n) {
    emit(s, text, n);
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
    if (s->of_answer) {
        duet_decoder_destroy(s->decoder);
        s->decoder = s->of_answer;
        s->of_answer = NULL;
    }
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

static bool is_end(const dt_side *side, int32_t id) {
    for (size_t i = 0; i < side->n_eos; i++) {
        if (side->eos[i] == id) {
            return true;
        }
    }
    return false;
}

int dt_stream_token(dt_stream *s, int32_t id, float logprob, const duet_likely *top, int n_top) {
    const char *text = NULL;
    size_t n = 0;

    if (*s->stop_all || !s->decoder) {
        return *s->stop_all;
    }
    if (s->r->on_token) {
        s->r->on_token(s->r->user, s->stage, id, logprob, top, n_top);
    }
    if (is_end(s->side, id) || (s->stage == 0 && think_token(s, id))) {
        return *s->stop_all;
    }
    if (duet_decoder_push(s->decoder, id, &text, &n, NULL) == DUET_OK) {
        emit(s, text, n);
    }
    return *s->stop_all || s->matched >= 0;
}

void dt_stream_end(dt_stream *s) {
    if (s->decoder && s->stage == 0) {
        emit_held(s, 0);
    }
    if (s->matched < 0) {
        say(s, s->unsaid.data, s->unsaid.len);
    }
    s->unsaid.len = 0;
}
