/* Status codes and the one-line error every fallible call can fill.
 *
 * Convention in all of duet: 0 is success, a negative value is an error, a positive value is an
 * ordinary outcome the caller plans for. The library never exits, aborts or prints. */
#ifndef DUET_STATUS_H
#define DUET_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum duet_status {
    DUET_OK = 0,
    DUET_WAIT = 1,          /* not now: ask again after a step (no free page, queue full) */
    DUET_END = 2,           /* no more items (end of a file, of a data set) */
    DUET_E_NOMEM = -1,      /* memory could not be had */
    DUET_E_IO = -2,         /* the operating system refused a read, write, rename, ... */
    DUET_E_FORMAT = -3,     /* a file or message breaks its format */
    DUET_E_RANGE = -4,      /* a number is outside what is possible here */
    DUET_E_USAGE = -5,      /* a wrong option, recipe key or combination of settings */
    DUET_E_UNSUPPORTED = -6,/* well-formed, but not something this build can do */
    DUET_E_CANCELLED = -7,  /* stopped on request (Ctrl-C, a callback, a cancel flag) */
    DUET_E_BACKEND = -8,    /* a model backend could not be reached or broke off */
    DUET_E_INTERNAL = -9    /* our own bug; the text says where */
} duet_status;

/* One line for a person: the thing, the place, the numbers, what to do. Always NUL-terminated. */
typedef struct duet_err {
    char text[512];
} duet_err;

/* A short fixed name such as "format"; borrowed, never NULL. */
const char *duet_status_name(duet_status st);

#ifdef __cplusplus
}
#endif
#endif
