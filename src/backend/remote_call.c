/* One question's exchange with a server: a try is started, its bytes become text as they come, and when it ends it is judged:
 * done, failed, or to be tried again. A try whose output was heard is never repeated: it was paid for. */
#include "backend/remote.h"
#include "text/render.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PAGE ((size_t)64 << 10)  /* of an answer that is no stream: enough for its sentence */
#define MAX_TEXT ((size_t)256 << 20) /* of a thought, and of an answer */
#define MAX_WAIT 60.0                /* seconds a server may ask us to wait */

/* ---- what comes ---- */

static void take_counts(dt_exchange *x, const dt_reply *r) {
    if (!r->counted)
        return;
    const dt_reply_counts c = r->counts;
    x->counts.output = c.output;
    x->counts.prompt = c.prompt != SIZE_MAX ? c.prompt : x->counts.prompt;
    x->counts.cached = c.cached != SIZE_MAX ? c.cached : x->counts.cached;
    x->counted_live = true; /* until more text comes without a count */
}

/* More pieces than tokens asked for: the server does not keep to the budget. */
static bool beyond(const dt_exchange *x) {
    return x->ask->max_tokens >= 0 && x->n_parts > (size_t)x->ask->max_tokens;
}

static void take_text(dt_exchange *x, const dt_reply *r) {
    const size_t n = r->n_reasoning + r->n_content;
    if (n == 0)
        return;
    if (x->first == 0)
        x->first = dt_now();
    x->n_parts++;
    if (beyond(x)) {
        x->ask->stop = DUET_STOP_LENGTH;
        x->cut = true;
        return;
    }
    x->n_bytes += n;
    x->counted_live = false;
    x->named = x->named || r->n_reasoning;
    dt_think_reason(&x->think, r->reasoning, r->n_reasoning);
    if (x->ask->thought_only && r->n_content && x->think.state == DT_THINK_FIELD)
        x->think.closed = true; /* the answer begins: it is not asked for */
    else
        dt_think_say(&x->think, r->content, r->n_content);
}

static void take_finish(dt_exchange *x, const dt_reply *r) {
    if (!r->finish || x->over)
        return;
    x->over = true;
    x->ended = dt_now();
    x->ask->stop = !strcmp(r->finish, "length") ? DUET_STOP_LENGTH : DUET_STOP_EOS;
    const bool at_mark = x->remote->family && x->ask->thought_only && !r->stop_was_eos && !strcmp(r->finish, "stop");
    if (at_mark && x->remote->family->thought != DT_THOUGHT_NONE) {
        x->think.closed = true;
        x->ask->stop = DUET_STOP_TOKEN;
    }
}

static int on_event(void *user, const char *data, size_t n) {
    dt_exchange *x = user;
    dt_reply r;
    if (n == 6 && !memcmp(data, "[DONE]", 6)) {
        if (!x->over)
            x->ask->stop = DUET_STOP_EOS;
        x->over = true;
        x->ended = dt_now();
        return 0;
    }
    if (x->over && n == 0)
        return 0;
    x->st = dt_reply_read(data, n, &r, &x->why);
    if (x->st)
        return 1;
    if (!x->over)
        take_text(x, &r);
    take_counts(x, &r);
    take_finish(x, &r);
    dt_reply_clear(&r);
    if (dt_think_failed(&x->think)) {
        x->st = dt_fail(&x->why, DUET_E_FORMAT, "its answer is longer than %zu MiB", MAX_TEXT >> 20);
        return 1;
    }
    if (x->think.stop) {
        x->ask->stop = DUET_STOP_CALLBACK;
        x->cut = true;
    } else if (x->ask->thought_only && x->think.closed && !x->over) {
        x->ask->stop = DUET_STOP_TOKEN;
        x->cut = true;
    }
    return x->cut;
}

static bool is_stream(CURL *easy) {
    const char *type = NULL;
    curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
    return !type || (strncasecmp(type, "text/html", 9) != 0 && strncasecmp(type, "application/json", 16) != 0);
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *user) {
    dt_exchange *x = user;
    long status = 0;
    n *= size;
    if (x->heard <= x->sent) {
        curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
        x->streams = status == 200 && is_stream(x->easy);
    }
    x->heard = dt_now();
    if (!x->streams) {
        const size_t room = MAX_PAGE - x->page.len;
        dt_buf_add(&x->page, bytes, n < room ? n : room);
        return n <= room ? n : 0;
    }
    const duet_status st = dt_sse_push(&x->sse, bytes, n, on_event, x, &x->why);
    if (st && st != DUET_END)
        x->st = st;
    return st ? 0 : n;
}

/* ---- tries ---- */

duet_status dt_exchange_init(dt_exchange *x, const dt_remote *r, duet_ask *ask, duet_err *err) {
    *x = (dt_exchange){.remote = r, .ask = ask, .counts = {SIZE_MAX, SIZE_MAX, SIZE_MAX}};
    ask->stop = DUET_STOP_LENGTH;
    if (ask->max_tokens == 0) {
        x->done = true;
        return DUET_OK;
    }
    const bool opened = r->family && r->family->thought == DT_THOUGHT_OPENED && !ask->signal;
    dt_think_init(&x->think, opened, MAX_TEXT);
    x->think.on_text = ask->on_text;
    x->think.user = ask->user;
    x->asked = x->next = dt_now();
    return dt_remote_body(r, ask, &x->body, err);
}

duet_status dt_exchange_start(dt_exchange *x, CURLM *m, duet_err *err) {
    bool failed = false;
    x->headers = dt_remote_headers(x->remote, true, &failed);
    x->easy = failed ? NULL : dt_remote_handle(x->remote, x->remote->family ? "/completions" : "/chat/completions");
    if (!x->easy) {
        curl_slist_free_all(x->headers);
        x->headers = NULL;
        dt_remote_leave(x->remote);
        return dt_fail(err, DUET_E_NOMEM, "no memory for a request");
    }
    x->tries++;
    x->page.len = 0;
    x->detail[0] = 0;
    x->sent = dt_now();
    x->began = x->began > 0 ? x->began : x->sent;
    x->waited = x->sent - x->asked;
    x->heard = x->first = 0;
    dt_sse_clear(&x->sse);
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDS, x->body);
    curl_easy_setopt(x->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(x->body));
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->detail);
    curl_easy_setopt(x->easy, CURLOPT_PRIVATE, x);
    return curl_multi_add_handle(m, x->easy) ? dt_fail(err, DUET_E_NOMEM, "no memory for a request") : DUET_OK;
}

void dt_exchange_stop(dt_exchange *x, CURLM *m) {
    if (!x->easy)
        return;
    dt_remote_leave(x->remote);
    curl_multi_remove_handle(m, x->easy);
    curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->headers);
    x->easy = NULL;
    x->headers = NULL;
}

/* ---- the verdict ---- */

static void fail_here(dt_exchange *x) {
    dt_fail_in(&x->why, x->st, "%s", x->remote->at.base);
    x->done = true;
}

static void finish(dt_exchange *x) {
    dt_think_end(&x->think);
    if (x->think.state == DT_THINK_FIELD && x->ask->stop == DUET_STOP_EOS)
        x->think.closed = true; /* a thought and nothing else */
    x->done = true;
}

/* Waits before another try; false: there is none. */
static bool again(dt_exchange *x, double asked) {
    const dt_remote *r = x->remote;
    const double now = dt_now();
    double wait = r->step_s * (double)(1 << (x->tries < 8 ? x->tries - 1 : 7));
    wait *= 0.75 + 0.5 * dt_rng_at(x->ask->key, (uint64_t)(uintptr_t)x->body, (uint64_t)x->tries); /* not all at once */
    wait = asked > 0 ? asked : wait < MAX_WAIT ? wait : MAX_WAIT;
    if (x->tries >= r->tries || wait > MAX_WAIT || (r->total_s > 0 && now + wait - x->began > r->total_s))
        return false;
    x->next = now + wait;
    return true;
}

static bool is_passing(long status) { /* may be gone on the next try */
    return status == 408 || status == 409 || status == 425 || status == 429 || (status >= 500 && status != 501);
}

static void judge_status(dt_exchange *x, long status) {
    curl_off_t asked = 0;
    char *to = NULL;
    curl_easy_getinfo(x->easy, CURLINFO_RETRY_AFTER, &asked);
    curl_easy_getinfo(x->easy, CURLINFO_REDIRECT_URL, &to);
    if (is_passing(status) && again(x, (double)asked))
        return;
    x->st = dt_remote_refused(x->remote, status, x->page.data, x->page.len, to, x->tries, &x->why);
    if (is_passing(status) && (double)asked > MAX_WAIT)
        dt_fail(&x->why, x->st, "%s: the server is busy and asks to come back in %.0f s (HTTP %ld)", x->remote->at.base,
                (double)asked, status);
    x->done = true;
}

/* 200 that is no stream, or one without an end. */
static void judge_page(dt_exchange *x) {
    char words[200], *type = NULL;
    curl_easy_getinfo(x->easy, CURLINFO_CONTENT_TYPE, &type);
    dt_reply_error_words(x->page.data ? x->page.data : "", x->page.len, words, sizeof words);
    x->st = dt_fail(&x->why, DUET_E_BACKEND, "the server answered with %.60s instead of a stream of events%s%s",
                    type ? type : "a page", words[0] ? ": " : "", words);
    fail_here(x);
}

static void judge_broken(dt_exchange *x, CURLcode code) {
    const bool hopeless = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    if (x->n_parts == 0 && !x->counted_live) {
        if (!hopeless && again(x, 0))
            return;
        x->st = dt_remote_unreached(x->remote, code ? code : CURLE_GOT_NOTHING, x->detail, x->tries, &x->why);
        x->done = true;
        return;
    }
    x->st = dt_fail(&x->why, DUET_E_BACKEND, "the server broke off after about %zu tokens, before the end (%.150s)",
                    x->n_parts, code ? x->detail[0] ? x->detail : curl_easy_strerror(code) : "the connection was closed");
    dt_think_end(&x->think);
    fail_here(x);
}

void dt_exchange_judge(dt_exchange *x, CURLcode code) {
    long status = 0;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    if (x->st) {
        dt_think_end(&x->think);
        fail_here(x);
    } else if (x->cut || x->over) {
        finish(x);
    } else if (status != 0 && status != 200) {
        judge_status(x, status);
    } else if (status == 200 && !x->streams && x->page.len) {
        judge_page(x);
    } else {
        judge_broken(x, code);
    }
}

/* ---- the report ---- */

/* A token is about four bytes of English; a server that sends a piece for each token is counted by its pieces. */
static size_t estimate(size_t parts, size_t bytes) {
    const size_t by_bytes = (bytes + 3) / 4;
    return parts == 0 ? 0 : bytes <= 6 * parts || by_bytes < parts ? parts : by_bytes;
}

/* A count no tokenizer could give for this text, or beyond what was allowed, is not believed. */
static bool is_plausible(const dt_exchange *x) {
    const size_t n = x->counts.output, max = (size_t)x->ask->max_tokens;
    return n != SIZE_MAX && (x->n_bytes == 0 || (n > 0 && x->n_bytes / 256 <= n)) &&
           (x->ask->max_tokens < 0 || n <= max || n - max <= 1);
}

void dt_exchange_report(dt_exchange *x) {
    duet_ask *a = x->ask;
    duet_usage *u = &a->usage;
    if (x->tries == 0)
        return;
    const bool counted = x->counted_live && is_plausible(x), heard = x->n_parts > 0 || x->over;
    size_t prompt = 0;
    for (size_t i = 0; i < a->n_turns; i++)
        prompt += a->turns[i].n;
    prompt = estimate(1, prompt + a->n_signal) + 4 * a->n_turns;
    u->output_tokens = counted ? x->counts.output : estimate(x->n_parts, x->n_bytes);
    if (!counted && x->think.thought.len && x->named) /* the marks around a thought that came in a field were written too */
        u->output_tokens += x->think.closed ? 2 : 1;
    u->prompt_tokens = x->counts.prompt != SIZE_MAX ? x->counts.prompt : heard ? prompt : 0;
    u->cached_tokens = x->counts.cached != SIZE_MAX ? x->counts.cached : heard ? SIZE_MAX : 0;
    a->estimated = heard && (!counted || x->counts.prompt == SIZE_MAX);
    const double end = x->ended > 0 ? x->ended : dt_now();
    u->queue_s = x->waited;
    u->prefill_s = x->first > 0 ? x->first - x->sent : end - x->sent;
    u->decode_s = x->first > 0 ? end - x->first : 0;
    a->thought_closed = x->think.closed;
    a->n_thought = x->think.thought.len;
    a->n_answer = x->think.answer.len;
    a->thought = dt_buf_take(&x->think.thought);
    a->answer = dt_buf_take(&x->think.answer);
    if (!a->thought || !a->answer)
        a->n_thought = a->n_answer = 0;
}

void dt_exchange_clear(dt_exchange *x) {
    free(x->body);
    dt_sse_clear(&x->sse);
    dt_think_clear(&x->think);
    dt_buf_clear(&x->page);
}
