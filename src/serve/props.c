/* GET /props: what is served here, for people and for the page. */
#include "serve/chat.h"

#include <limits.h>
#include <string.h>

/* A path's last part: where models lie on this machine is nobody's business. */
static const char *short_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static json_t *sampling(const duet_sampling *s) {
    return json_pack("{s:o,s:i,s:f,s:f}", "temperature", s->temperature < 0 ? json_null() : json_real(s->temperature), "top_k", s->top_k,
                     "top_p", s->top_p, "min_p", s->min_p);
}

static json_t *side(const duet_backend *b, const char *template, const duet_sampling *s) {
    if (!b)
        return json_null();
    const int ctx = duet_backend_ctx(b);
    return json_pack("{s:s,s:b,s:s?,s:o,s:o}", "name", short_name(duet_backend_name(b)), "remote", duet_backend_tokenizer(b) == NULL,
                     "chat_template", template, "ctx", ctx == INT_MAX ? json_null() : json_integer(ctx), "sampling", sampling(s));
}

void dt_props_get(dt_conn *c) {
    const dt_server *s = c->s;
    const duet_pair_terms t = duet_pair_describe(s->pair);
    dt_conn_json(c, 200, NULL,
                 json_pack("{s:s,s:o,s:o,s:{s:b,s:b,s:b,s:s},s:i,s:i,s:i,s:i,s:I}", "version", duet_version(), "M",
                           side(s->M, t.M_template, &s->opt.M), "m", side(s->m, t.m_template, &s->opt.m), "terms", "same_tokenizer",
                           (int)t.same_tokens, "same_ends", (int)t.same_ends, "M_thinks", (int)t.M_thinks, "layout", t.layout, "signal_budget",
                           s->opt.signal_budget, "answer_budget", s->opt.answer_budget, "parallel", s->opt.parallel, "queue", s->opt.queue,
                           "max_body", (json_int_t)s->opt.max_body));
}
