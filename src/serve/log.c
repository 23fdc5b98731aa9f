#include "serve/server.h"
void dt_log_request(dt_conn *c) {
    (void)c;
}
