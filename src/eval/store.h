/* Inside the store: its connection and statements. */
#ifndef DT_EVAL_STORE_H
#define DT_EVAL_STORE_H

#include "duet/store.h"

#include <pthread.h>
#include <sqlite3.h>

enum { DT_STORE_GET, DT_STORE_PUT, DT_STORE_COUNT, DT_STORE_GET_FILE, DT_STORE_PUT_FILE, DT_STORE_N };

struct duet_store {
    sqlite3 *db;
    char *path;
    int wait_ms;
    pthread_mutex_t lock; /* one statement at a time */
    sqlite3_stmt *q[DT_STORE_N];
};

/* Turns an SQLite code into one sentence and a status. */
duet_status dt_store_fail(duet_store *s, int rc, duet_err *err);

#endif
