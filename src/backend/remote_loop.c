/* Many exchanges at once, on one thread: a bounded number of them run, limits in time are kept, and cancelling is looked for
 * twenty times a second. The first that fails for good ends them all. */
#include "backend/remote.h"

#include <string.h>

#define TICK_MS 50
#define RETRY 0.01 /* seconds until a place that was not free is asked for again */
#define LINGER 0.5 /* seconds that an ended stream may take to give its connection back */

static bool cancelled(const volatile int *cancel) {
    return cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED);
}

/* A limit that this try has passed, as a sentence; false: none. */
static bool is_late(dt_exchange *x, double now) {
    const dt_remote *r = x->remote;
    if (r->total_s > 0 && now - x->began > r->total_s)
        x->st = dt_fail(&x->why, DUET_E_BACKEND, "no whole answer within %.3g s", r->total_s);
    else if (x->heard == 0 && r->first_s > 0 && now - x->sent > r->first_s)
        x->st = dt_fail(&x->why, DUET_E_BACKEND, "no answer began within %.3g s", r->first_s);
    else if (x->heard > 0 && !x->over && r->idle_s > 0 && now - x->heard > r->idle_s)
        x->st = dt_fail(&x->why, DUET_E_BACKEND, "the server fell silent for %.3g s after about %zu tokens", r->idle_s,
                        x->n_parts);
    return x->st != DUET_OK;
}

/* Starts what is due, ends what is late. Returns the seconds until something is due. */
static double tend(dt_remote *r, CURLM *m, dt_exchange *x, size_t n, duet_err *err, duet_status *st) {
    const double now = dt_now();
    double soon = 1;
    for (size_t i = 0; i < n && !*st; i++) {
        if (x[i].done)
            continue;
        if (cancelled(x[i].ask->end)) { /* its own wish, and no error */
            x[i].ask->stop = DUET_STOP_CALLBACK;
            x[i].cut = true;
            if (x[i].easy)
                dt_exchange_judge(&x[i], CURLE_OK);
            x[i].done = true;
            dt_exchange_stop(&x[i], m);
        } else if (x[i].easy) {
            const bool rests = x[i].over && x[i].ended > 0 && now - x[i].ended > LINGER;
            if (rests || is_late(&x[i], now)) {
                dt_exchange_judge(&x[i], CURLE_OK);
                dt_exchange_stop(&x[i], m);
            }
        } else if (now >= x[i].next) {
            if (dt_remote_enter(r))
                *st = dt_exchange_start(&x[i], m, err);
            else
                soon = soon < RETRY ? soon : RETRY;
        } else if (x[i].next - now < soon) {
            soon = x[i].next - now;
        }
    }
    return soon > 0 ? soon : 0;
}

static void collect(CURLM *m) {
    int left = 0;
    for (CURLMsg *msg; (msg = curl_multi_info_read(m, &left));) {
        dt_exchange *x = NULL;
        if (msg->msg != CURLMSG_DONE)
            continue;
        const CURLcode code = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &x);
        dt_exchange_judge(x, code);
        dt_exchange_stop(x, m);
    }
}

/* All done? Or one has failed. */
static bool is_over(dt_exchange *x, size_t n, duet_status *st, duet_err *err) {
    bool all = true;
    for (size_t i = 0; i < n; i++) {
        if (x[i].done && x[i].st && !*st) {
            *st = x[i].st;
            dt_fail(err, *st, "%s", x[i].why.text);
        }
        all = all && x[i].done;
    }
    return all || *st;
}

duet_status dt_remote_run(dt_remote *r, CURLM *m, dt_exchange *x, size_t n, const volatile int *cancel, duet_err *err) {
    duet_status st = DUET_OK;
    int running = 0;
    while (!is_over(x, n, &st, err)) {
        if (cancelled(cancel)) {
            st = dt_fail(err, DUET_E_CANCELLED, "generation cancelled");
            break;
        }
        const double soon = tend(r, m, x, n, err, &st);
        if (st)
            break;
        if (curl_multi_perform(m, &running)) {
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory for a request", r->at.base);
            break;
        }
        collect(m);
        if (!is_over(x, n, &st, err))
            curl_multi_poll(m, NULL, 0, soon * 1000 < TICK_MS ? (int)(soon * 1000) + 1 : TICK_MS, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        const bool cut = !x[i].done;
        dt_exchange_stop(&x[i], m);
        if (cut) {
            dt_think_end(&x[i].think);
            x[i].ask->stop = DUET_STOP_CANCELLED;
        }
    }
    return st;
}
