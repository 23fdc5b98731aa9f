/* A strategy is the name of a model: duet, duet-M, duet-m, with @N behind for the budget of the signal. */
#include "serve/ask.h"

#include <string.h>

static const char *const names[] = {[DUET_MODE_DUET] = "duet", [DUET_MODE_M] = "duet-M", [DUET_MODE_m] = "duet-m"};

static bool offered(const dt_server *s, duet_mode mode) {
    return (s->M || mode == DUET_MODE_m) && (s->m || mode == DUET_MODE_M);
}

static bool read_budget(const char *digits, int *out) {
    long n = 0;
    if (!*digits)
        return false;
    for (; *digits; digits++) {
        if (*digits < '0' || *digits > '9' || n > 1 << 28)
            return false;
        n = n * 10 + (*digits - '0');
    }
    *out = (int)n;
    return n <= 1 << 28;
}

bool dt_model_read(const dt_server *s, const char *name, duet_mode *mode, int *budget, dt_fault *f) {
    const char *at = strchr(name, '@');
    const size_t n = at ? (size_t)(at - name) : strlen(name);
    char list[64] = "";
    *budget = DT_ASK_UNSET;
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        if (!offered(s, (duet_mode)i))
            continue;
        if (strlen(names[i]) == n && !strncmp(name, names[i], n)) {
            *mode = (duet_mode)i;
            if (!at || read_budget(at + 1, budget))
                return true;
            return dt_fault_set(f, 404, "model", "model_not_found", "model: %.80s: what stands behind @ is no number of tokens", name);
        }
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "", names[i]);
    }
    return dt_fault_set(f, 404, "model", "model_not_found", "model: there is no %.80s here; there are %s, and duet@N with a signal of at most N tokens",
                        name, list);
}

json_t *dt_models_json(const dt_server *s) {
    json_t *list = json_array();
    for (size_t i = 0; i < DT_COUNT(names); i++) {
        if (offered(s, (duet_mode)i))
            json_array_append_new(list, json_pack("{s:s,s:s,s:I,s:s}", "id", names[i], "object", "model", "created",
                                                  (json_int_t)(dt_serve_wall() - (dt_now() - s->started)), "owned_by", "duet"));
    }
    return json_pack("{s:s,s:o}", "object", "list", "data", list);
}
