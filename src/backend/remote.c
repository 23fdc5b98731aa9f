/* A backend that is a model behind an OpenAI-compatible server: it is asked in words and has no tokenizer here. */
#include "backend/remote.h"
#include "format/jsonl.h"
#include "text/render.h"

#include <stdlib.h>
#include <string.h>

#define CONNECT_S 10
#define FIRST_S 300
#define IDLE_S 120
#define TOTAL_S 3600
#define TRIES 5
#define STEP_S 0.5
#define PARALLEL 16

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void init_curl(void) {
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- requests ---- */

CURL *dt_remote_handle(const dt_remote *r, const char *path) {
    char *url = NULL;
    CURL *c = curl_easy_init();
    if (!c || asprintf(&url, "%s%s", r->at.base, path) < 0) {
        curl_easy_cleanup(c);
        return NULL;
    }
    CURLcode bad = curl_easy_setopt(c, CURLOPT_URL, url);
    free(url);
#if LIBCURL_VERSION_NUM >= 0x075500
    bad = bad ? bad : curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    bad = bad ? bad : curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); /* a name that does not resolve must not hold up cancelling */
#endif
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); /* the key is for this server */
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, r->connect_s > 0 ? (long)(r->connect_s * 1000) + 1 : 86400000L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "duet");
    if (r->at.loopback)
        curl_easy_setopt(c, CURLOPT_PROXY, "");
    if (bad) {
        curl_easy_cleanup(c);
        return NULL;
    }
    return c;
}

static struct curl_slist *add(struct curl_slist *list, const char *line, bool *failed) {
    struct curl_slist *more = curl_slist_append(list, line);
    *failed = *failed || !more;
    return more ? more : list;
}

struct curl_slist *dt_remote_headers(const dt_remote *r, bool post, bool *failed) {
    struct curl_slist *list = NULL;
    if (post) {
        list = add(list, "Content-Type: application/json", failed);
        list = add(list, "Accept: text/event-stream", failed);
        list = add(list, "Expect:", failed);
    }
    if (r->key)
        list = add(list, r->key, failed);
    return list;
}

/* ---- connections: a call has a set of its own while it runs ---- */

static CURLM *take_idle(dt_remote *r) {
    CURLM *m = NULL;
    pthread_mutex_lock(&r->lock);
    if (r->n_idle)
        m = r->idle[--r->n_idle];
    pthread_mutex_unlock(&r->lock);
    return m ? m : curl_multi_init();
}

static void give_back(dt_remote *r, CURLM *m) {
    pthread_mutex_lock(&r->lock);
    if (r->n_idle < DT_REMOTE_IDLE) {
        r->idle[r->n_idle++] = m;
        m = NULL;
    }
    pthread_mutex_unlock(&r->lock);
    if (m)
        curl_multi_cleanup(m);
}

/* The counts of a backend that is shared: its settings never change. */
static dt_remote *shared(const dt_remote *r) {
    return (dt_remote *)(uintptr_t)r;
}

bool dt_remote_enter(const dt_remote *r) {
    pthread_mutex_lock(&shared(r)->lock);
    const bool free_place = r->running < r->parallel;
    shared(r)->running += free_place;
    pthread_mutex_unlock(&shared(r)->lock);
    return free_place;
}

void dt_remote_leave(const dt_remote *r) {
    pthread_mutex_lock(&shared(r)->lock);
    shared(r)->running--;
    pthread_mutex_unlock(&shared(r)->lock);
}

static duet_status remote_ask(duet_backend *b, duet_ask *asks, size_t n, const volatile int *cancel, duet_err *err) {
    dt_remote *r = (dt_remote *)b;
    dt_exchange *x = dt_calloc(n ? n : 1, sizeof *x);
    CURLM *m = x ? take_idle(r) : NULL;
    duet_status st = m ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu questions", b->name, n);
    for (size_t i = 0; i < n && !st; i++) {
        st = dt_exchange_init(&x[i], r, &asks[i], err);
        if (st)
            dt_fail_in(err, st, "%s", r->at.base);
    }
    if (!st)
        st = dt_remote_run(r, m, x, n, cancel, err);
    for (size_t i = 0; x && i < n; i++) {
        dt_exchange_report(&x[i]);
        dt_exchange_clear(&x[i]);
    }
    if (m)
        give_back(r, m);
    free(x);
    return st;
}

static duet_status no_tokens(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel, duet_err *err) {
    (void)reqs;
    (void)n;
    (void)cancel;
    return dt_fail(err, DUET_E_UNSUPPORTED, "%s: a remote model is asked in words, not in token ids", b->name);
}

static void remote_close(duet_backend *b) {
    dt_remote *r = (dt_remote *)b;
    while (r->n_idle)
        curl_multi_cleanup(r->idle[--r->n_idle]);
    pthread_mutex_destroy(&r->lock);
    dt_remote_address_clear(&r->at);
    json_decref(r->more);
    free(r->key);
    free(r->known);
    free(b->name);
    free(b->chat_template);
    free(r);
}

/* ---- opening ---- */

static double limit_of(double s, double usual) {
    return s == 0 ? usual : s > 0 ? s : 0;
}

static duet_status set_key(dt_remote *r, const char *key, duet_err *err) {
    if (!key || !*key)
        return DUET_OK;
    for (const char *c = key; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            return dt_fail(err, DUET_E_USAGE, "%s: the key has a blank or another character that a key cannot have",
                           r->at.base);
    return asprintf(&r->key, "Authorization: Bearer %s", key) < 0
               ? (r->key = NULL, dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", r->at.base))
               : DUET_OK;
}

static duet_status set_more(dt_remote *r, const char *text, duet_err *err) {
    static const char *const ours[] = {"model", "messages", "prompt", "stream", "stream_options", "n"};
    duet_status st = text ? dt_json_parse("fields for the server", text, strlen(text), &r->more, err) : DUET_OK;
    if (!st && text && !json_is_object(r->more))
        st = dt_fail(err, DUET_E_FORMAT, "fields for the server: not a JSON object");
    for (size_t i = 0; i < DT_COUNT(ours) && !st; i++)
        if (json_object_get(r->more, ours[i]))
            st = dt_fail(err, DUET_E_USAGE, "fields for the server: %s is not to be set there", ours[i]);
    return st ? dt_fail_in(err, st == DUET_E_FORMAT ? DUET_E_USAGE : st, "%s", r->at.base) : DUET_OK;
}

static duet_status set_family(dt_remote *r, const char *name, duet_err *err) {
    if (!name)
        return DUET_OK;
    duet_status st = dt_family_called(name, &r->family, err);
    r->base.chat_template = dt_strdup(name);
    if (st)
        return dt_fail_in(err, st, "%s", r->at.base);
    r->base.reads_thoughts = r->family->thought != DT_THOUGHT_NONE;
    return r->base.chat_template ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", r->at.base);
}

duet_status dt_remote_open(const char *address, const duet_backend_options *opt, duet_backend **out, duet_err *err) {
    const duet_remote_options o = opt ? opt->remote : (duet_remote_options){0};
    duet_status st = DUET_OK;

    pthread_once(&curl_once, init_curl);
    dt_remote *r = calloc(1, sizeof *r);
    if (!r || curl_ready) {
        free(r);
        return dt_fail(err, DUET_E_NOMEM, "%.200s: no memory to open it", address);
    }
    pthread_mutex_init(&r->lock, NULL);
    r->base = (duet_backend){.name = dt_strdup(address),
                             .sampling = {.temperature = -1},
                             .ctx = INT32_MAX,
                             .generate = no_tokens,
                             .ask = remote_ask,
                             .close = remote_close};
    r->connect_s = limit_of(o.connect_s, CONNECT_S);
    r->first_s = limit_of(o.first_s, FIRST_S);
    r->idle_s = limit_of(o.idle_s, IDLE_S);
    r->total_s = limit_of(o.total_s, TOTAL_S);
    r->step_s = STEP_S;
    r->cancel = o.cancel;
    r->tries = o.tries > 0 ? o.tries : TRIES;
    r->parallel = o.parallel > 0 ? o.parallel : PARALLEL;
    if (!r->base.name)
        st = dt_fail(err, DUET_E_NOMEM, "%.200s: no memory to open it", address);
    if (!st)
        st = dt_remote_address_parse(address, &r->at, err);
    if (!st)
        st = set_key(r, o.key, err);
    if (!st)
        st = set_more(r, o.fields, err);
    if (!st)
        st = set_family(r, opt ? opt->chat_template : NULL, err);
    if (!st)
        st = dt_remote_look(r, err);
    if (st) {
        remote_close(&r->base);
        return st;
    }
    *out = &r->base;
    return DUET_OK;
}
