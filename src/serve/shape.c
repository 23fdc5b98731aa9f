/* Fields that shape the answer: where it ends, which tokens it prefers, what is told about them. */
#include "serve/ask.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STOPS 16

static bool one_stop(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *s = NULL;
    if (!dt_field_string(v, name, &s, f))
        return false;
    if (!*s)
        return dt_fault_set(f, 400, name, NULL, "%s: an empty string would end every answer", name);
    a->stops[a->n_stops++] = s;
    return true;
}

bool dt_shape_stop(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > MAX_STOPS)
        return dt_fault_set(f, 400, name, NULL, "%s: %zu strings, at most %d are looked for", name, n, MAX_STOPS);
    a->stops = dt_calloc(n, sizeof *a->stops);
    if (!a->stops)
        return dt_fault_set(f, 500, NULL, NULL, "no memory");
    for (size_t i = 0; i < n; i++)
        if (!one_stop(a, name, json_is_array(v) ? json_array_get(v, i) : v, f))
            return false;
    return true;
}

/* {"id": bias}; whether the ids are there is seen when the model is known. */
bool dt_shape_bias(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *key = NULL;
    json_t *value = NULL;
    if (!json_is_object(v))
        return dt_fault_set(f, 400, name, NULL, "%s: not an object of token ids", name);
    a->bias = dt_calloc(json_object_size(v), sizeof *a->bias);
    if (!a->bias)
        return dt_fault_set(f, 500, NULL, NULL, "no memory");
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        char one[96], *end = NULL;
        double x = 0;
        snprintf(one, sizeof one, "%s.%.60s", name, key);
        errno = 0;
        const long id = strtol(key, &end, 10);
        if (errno || *end || end == key || *key == ' ' || *key == '+' || id < 0 || id > INT32_MAX)
            return dt_fault_set(f, 400, one, NULL, "%s: is no token id", one);
        if (!dt_field_real(value, one, -100, 100, &x, f))
            return false;
        a->bias[a->n_bias++] = (duet_logit_bias){(int32_t)id, x <= -100 ? -INFINITY : (float)x};
    }
    return true;
}

bool dt_shape_logprobs(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_bool(v, name, &a->logprobs, f);
}

bool dt_shape_top_logprobs(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_int(v, name, 0, DUET_TOP_LOGPROBS_MAX, &a->top_logprobs, f);
}

bool dt_shape_presence(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_real(v, name, -2, 2, &a->presence_penalty, f);
}

bool dt_shape_frequency(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_real(v, name, -2, 2, &a->frequency_penalty, f);
}

bool dt_shape_settle(const dt_server *s, dt_ask *a, dt_fault *f) {
    const duet_backend *b = a->mode == DUET_MODE_M ? s->M : s->m;
    const duet_tokenizer *tok = duet_backend_tokenizer(b);
    if (a->top_logprobs && !a->logprobs)
        return dt_fault_set(f, 400, "top_logprobs", NULL, "top_logprobs: only with logprobs");
    if (a->logprobs && !tok)
        return dt_fault_set(f, 400, "logprobs", NULL, "logprobs: %s is behind a server that is not asked for them", duet_backend_name(b));
    for (size_t i = 0; tok && i < a->n_bias; i++)
        if (a->bias[i].id >= duet_tokenizer_size(tok))
            return dt_fault_set(f, 400, "logit_bias", NULL, "logit_bias: there is no token %d, the last one is %d", (int)a->bias[i].id,
                                (int)duet_tokenizer_size(tok) - 1);
    return true;
}
