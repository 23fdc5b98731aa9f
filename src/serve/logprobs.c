/* Log-probs of answer tokens in OpenAI's shape: {"token", "logprob", "bytes", "top_logprobs": [...]}. */
#include "serve/chat.h"

#include <math.h>

#define LEAST (-9999.0) /* what OpenAI gives for a token that cannot come */

static void token(dt_buf *b, const duet_tokenizer *tok, int32_t id, float logprob) {
    duet_text text = {0};
    size_t n = 0;
    const char *bytes = duet_tokenizer_bytes(tok, id, &n);
    dt_buf_adds(b, "{\"token\":");
    if (duet_tokenizer_decode(tok, &id, 1, false, &text, NULL)) /* half a character becomes U+FFFD; bytes have all of it */
        dt_buf_adds(b, "\"\"");
    else
        dt_serve_quote(b, text.data, text.n);
    duet_text_free(&text);
    dt_buf_addf(b, ",\"logprob\":%.9g,\"bytes\":[", isfinite(logprob) ? (double)logprob : LEAST);
    for (size_t i = 0; bytes && i < n; i++)
        dt_buf_addf(b, "%s%d", i ? "," : "", (unsigned char)bytes[i]);
    dt_buf_adds(b, "]");
}

void dt_logprob_add(dt_buf *b, const duet_tokenizer *tok, int32_t id, float logprob, const duet_likely *top, int n_top) {
    dt_buf_adds(b, b->len ? "," : "");
    token(b, tok, id, logprob);
    dt_buf_adds(b, ",\"top_logprobs\":[");
    for (int i = 0; i < n_top; i++) {
        dt_buf_adds(b, i ? "," : "");
        token(b, tok, top[i].id, top[i].logprob);
        dt_buf_adds(b, "}");
    }
    dt_buf_adds(b, "]}");
}

const duet_tokenizer *dt_answer_tokenizer(const dt_chat *a) {
    const dt_server *s = a->job.s;
    const duet_backend *b = a->ask.mode == DUET_MODE_M ? s->M : s->m;
    return b ? duet_backend_tokenizer(b) : NULL;
}

/* Of a whole answer, without the token that ended it. */
json_t *dt_logprobs_json(const dt_chat *a, int choice) {
    const duet_pair_request *r = &a->reqs[choice];
    const duet_tokenizer *tok = dt_answer_tokenizer(a);
    const size_t n = r->n_answer_ids - (r->n_answer_ids && r->answer_stop == DUET_STOP_EOS);
    dt_buf b = {0};
    if (!a->ask.logprobs || !tok || !r->answer_logprobs)
        return json_null();
    for (size_t i = 0; i < n; i++)
        dt_logprob_add(&b, tok, r->answer_ids[i], r->answer_logprobs[i],
                       r->answer_top ? r->answer_top + i * (size_t)r->n_answer_top : NULL, r->answer_top ? r->n_answer_top : 0);
    dt_buf whole = {0};
    dt_buf_addf(&whole, "{\"content\":[%s],\"refusal\":null}", b.data ? b.data : "");
    json_t *j = b.failed || whole.failed ? NULL : json_loadb(whole.data, whole.len, JSON_ALLOW_NUL, NULL);
    dt_buf_clear(&b);
    dt_buf_clear(&whole);
    return j;
}
