/* One log sink for the process, set by the application; the library itself prints nothing. */
#include "base/base.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dt_log_fn sink;
static void *sink_user;

void dt_log_set(dt_log_fn fn, void *user) {
    pthread_mutex_lock(&lock);
    sink = fn;
    sink_user = user;
    pthread_mutex_unlock(&lock);
}

void dt_log(int level, const char *fmt, ...) {
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&lock);
    if (sink) sink(sink_user, level, line);
    pthread_mutex_unlock(&lock);
}
