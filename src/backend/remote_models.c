/* What a server says about itself at the start: which models it has, and what kind of server it is. A server that does not
 * tell is believed; a model that is not among those it names is an error before anything is paid for. */
#include "backend/remote.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LIST ((size_t)8 << 20)
#define NAMED 12 /* models a sentence names */

static size_t on_bytes(char *bytes, size_t size, size_t n, void *user) {
    dt_buf *b = user;
    return dt_buf_add(b, bytes, n * size) ? n * size : 0;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    const dt_remote *r = user;
    (void)total;
    (void)now;
    (void)up_total;
    (void)up_now;
    return r->cancel && __atomic_load_n(r->cancel, __ATOMIC_RELAXED);
}

/* Asks base + path, with a body where there is one. *status 0: no answer. to: where a redirect leads. */
static CURLcode look_at(const dt_remote *r, const char *path, const char *body, dt_buf *page, long *status,
                        char detail[CURL_ERROR_SIZE], char to[256]) {
    bool failed = false;
    char *where = NULL;
    struct curl_slist *headers = dt_remote_headers(r, body != NULL, &failed);
    CURL *easy = failed ? NULL : dt_remote_handle(r, path);
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (easy) {
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, page);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, (void *)(uintptr_t)r);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)((r->connect_s > 0 ? r->connect_s : 10) * 1000) + 20000);
        if (body)
            curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        code = curl_easy_perform(easy);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, status);
        curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &where);
        snprintf(to, 256, "%s", where ? where : "nowhere");
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    return code;
}

static dt_remote_kind kind_of(const char *owner) {
    static const struct {
        const char *owner;
        dt_remote_kind kind;
    } kinds[] = {
        {"vllm",            DT_REMOTE_VLLM    },
        {"sglang",          DT_REMOTE_SGLANG  },
        {"llamacpp",        DT_REMOTE_LLAMACPP},
        {"duet",            DT_REMOTE_DUET    },
        {"openai",          DT_REMOTE_OPENAI  },
        {"openai-internal", DT_REMOTE_OPENAI  },
        {"system",          DT_REMOTE_OPENAI  },
    };
    for (size_t i = 0; owner && i < DT_COUNT(kinds); i++)
        if (!strcmp(owner, kinds[i].owner))
            return kinds[i].kind;
    return DT_REMOTE_ANY;
}

/* Some servers list "models/NAME" or "NAME:latest" for what they are asked as NAME. */
static bool is_named(const char *listed, const char *name) {
    const char *base = strrchr(listed, '/');
    const size_t n = strlen(name);
    return !strcmp(listed, name) || (base && !strncmp(listed, "models/", 7) && !strcmp(base + 1, name)) ||
           (!strncmp(listed, name, n) && !strcmp(listed + n, ":latest"));
}

static const json_t *find(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *id = json_string_value(json_object_get(m, "id"));
        if (id && is_named(id, name))
            return m;
    }
    return NULL;
}

/* "a, b, c and 3 more"; NULL = none or no memory. */
static char *names_of(const json_t *list) {
    dt_buf b = {0};
    const size_t n = json_array_size(list);
    for (size_t i = 0; i < n && i < NAMED; i++) {
        const char *id = json_string_value(json_object_get(json_array_get(list, i), "id"));
        if (id)
            dt_buf_addf(&b, "%s%.60s", b.len ? ", " : "", id);
    }
    if (n > NAMED)
        dt_buf_addf(&b, " and %zu more", n - NAMED);
    for (size_t i = 0; i < b.len; i++)
        if ((unsigned char)b.data[i] < ' ')
            b.data[i] = ' ';
    return b.len && !b.failed ? dt_buf_take(&b) : (dt_buf_clear(&b), NULL);
}

static duet_status choose(dt_remote *r, const json_t *list, duet_err *err) {
    const json_t *m = NULL;
    r->known = names_of(list);
    if (r->at.model) {
        m = find(list, r->at.model);
        if (!m && r->known)
            return dt_fail(err, DUET_E_BACKEND, "%s: there is no model %.80s there; its models: %.300s", r->at.base, r->at.model,
                           r->known);
    } else if (json_array_size(list) == 1) {
        m = json_array_get(list, 0);
        r->at.model = dt_strdup(json_string_value(json_object_get(m, "id")));
    }
    if (!r->at.model)
        return dt_fail(err, DUET_E_USAGE, "%s: which model? Put #NAME behind the address%s%.300s", r->at.base,
                       r->known ? "; its models: " : "", r->known ? r->known : "");
    r->kind = kind_of(json_string_value(json_object_get(m, "owned_by")));
    return DUET_OK;
}

/* Exact prompts where the server takes them: a request without anything in it is refused there, and costs nothing. A server that
 * has no such path is asked by messages. */
static void look_for_completions(dt_remote *r) {
    char detail[CURL_ERROR_SIZE] = "", to[256] = "";
    dt_buf page = {.max = MAX_LIST};
    long status = 0;
    look_at(r, "/completions", "{}", &page, &status, detail, to);
    if (status == 404 || status == 405 || status == 501) {
        r->family = NULL;
        r->base.reads_thoughts = false;
        free(r->base.chat_template);
        r->base.chat_template = NULL;
    }
    dt_buf_clear(&page);
}

duet_status dt_remote_look(dt_remote *r, duet_err *err) {
    char detail[CURL_ERROR_SIZE] = "", to[256] = "";
    dt_buf page = {.max = MAX_LIST};
    long status = 0;
    duet_status st = DUET_OK;
    const CURLcode code = look_at(r, "/models", NULL, &page, &status, detail, to);
    json_t *j = status == 200 && page.data ? json_loadb(page.data, page.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (code == CURLE_ABORTED_BY_CALLBACK) {
        st = dt_fail(err, DUET_E_CANCELLED, "interrupted");
    } else if (status == 401 || status == 403 || (status >= 300 && status < 400)) {
        st = dt_remote_refused(r, status, page.data, page.len, to, 1, err);
    } else if (code && status == 0) {
        st = dt_remote_unreached(r, code, detail, 1, err);
    } else if (!r->at.model || json_is_array(json_object_get(j, "data"))) {
        st = choose(r, json_object_get(j, "data"), err);
    }
    json_decref(j);
    dt_buf_clear(&page);
    if (!st && r->family)
        look_for_completions(r);
    return st;
}
