/* What went wrong with a server, as one sentence with the next step. */
#include "backend/remote.h"

#include <string.h>

static const char *tried(int tries, char out[48]) {
    out[0] = 0;
    if (tries > 1)
        snprintf(out, 48, ", after %d tries", tries);
    return out;
}

/* ": what the server says", or nothing. */
static void words_of(const char *page, size_t n, char out[240]) {
    out[0] = 0;
    char words[236];
    dt_reply_error_words(page ? page : "", n, words, sizeof words);
    if (words[0])
        snprintf(out, 240, ": %s", words);
}

static bool is_about_context(const char *words) {
    return strcasestr(words, "context length") || strcasestr(words, "context size") ||
           strcasestr(words, "context_length") || strcasestr(words, "maximum context");
}

duet_status dt_remote_refused(const dt_remote *r, long status, const char *page, size_t n, const char *to, int tries,
                              duet_err *err) {
    char words[240], times[48];
    const char *name = r->at.base;
    words_of(page, n, words);
    if (status >= 300 && status < 400)
        return dt_fail(err, DUET_E_BACKEND, "%s: the server sends on to %.150s (HTTP %ld), which is not followed; give that address",
                       name, to ? to : "nowhere", status);
    if (status == 401 || status == 403)
        return dt_fail(err, DUET_E_BACKEND, "%s: the server %s (HTTP %ld%s)", name,
                       r->key ? "refuses the key" : "wants a key; --key-env names the variable that holds it", status, words);
    if (status == 404 && r->at.model && r->known)
        return dt_fail(err, DUET_E_BACKEND, "%s: not found there: model %.80s or the path (HTTP 404%.120s); its models: %.140s",
                       name, r->at.model, words, r->known);
    if (status == 404 || status == 405)
        return dt_fail(err, DUET_E_BACKEND, "%s: nothing there answers like an OpenAI server (HTTP %ld%s); an address looks like https://host/v1#model",
                       name, status, words);
    if (status == 413 || (status == 400 && is_about_context(words)))
        return dt_fail(err, DUET_E_RANGE, "%s: the question is too long for the model (HTTP %ld%s)", name, status, words);
    if (status == 400 || status == 422)
        return dt_fail(err, DUET_E_UNSUPPORTED, "%s: the server refuses the request (HTTP %ld%s)", name, status, words);
    if (status == 429 || status == 503 || status == 529)
        return dt_fail(err, DUET_E_BACKEND, "%s: the server is too busy (HTTP %ld%s)%s", name, status, words,
                       tried(tries, times));
    return dt_fail(err, DUET_E_BACKEND, "%s: the server failed (HTTP %ld%s)%s", name, status, words, tried(tries, times));
}

duet_status dt_remote_unreached(const dt_remote *r, CURLcode code, const char *detail, int tries, duet_err *err) {
    char times[48];
    const char *name = r->at.base;
    tried(tries, times);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return dt_fail(err, DUET_E_BACKEND, "%s: no host of this name is known%s", name, times);
    case CURLE_COULDNT_CONNECT:
        return dt_fail(err, DUET_E_BACKEND, "%s: no server answers there (%.150s)%s", name, detail, times);
    case CURLE_OPERATION_TIMEDOUT:
        return dt_fail(err, DUET_E_BACKEND, "%s: no connection within %.3g s%s", name, r->connect_s, times);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
        return dt_fail(err, DUET_E_BACKEND, "%s: no trusted TLS connection (%.200s)", name, detail);
    default:
        return dt_fail(err, DUET_E_BACKEND, "%s: the server broke off before it answered (%.150s)%s", name,
                       detail[0] ? detail : curl_easy_strerror(code), times);
    }
}
