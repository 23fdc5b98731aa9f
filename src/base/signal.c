/* Ctrl-C: the first one asks long calls to save and stop, the second ends the process. */
#include "base/base.h"

#include <signal.h>
#include <unistd.h>

/* sig_atomic_t is int here (checked below), so that callers can be given the flag itself. */
static volatile int asked;
_Static_assert(_Generic((sig_atomic_t)0, int: 1, default: 0), "sig_atomic_t is int");

static void on_signal(int sig) {
    (void)sig;
    if (asked) _exit(130);
    asked = 1;
}

void dt_interrupt_install(void) {
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool dt_interrupted(void) {
    return asked != 0;
}

const volatile int *dt_interrupt_flag(void) {
    return &asked;
}

void dt_interrupt_request(void) {
    asked = 1;
}

void dt_interrupt_reset(void) {
    asked = 0;
}
