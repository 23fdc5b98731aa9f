/* POST /v1/answers/{id}/hand_over and /stop: what may be said to an answer while it is being written. */
#include "serve/chat.h"

#include <string.h>

static const char prefix[] = "/v1/answers/";

bool dt_answers_route(const char *path) {
    return !strncmp(path, prefix, sizeof prefix - 1);
}

void dt_answers_post(dt_conn *c) {
    const char *id = c->http.path + sizeof prefix - 1, *verb = strchr(id, '/');
    char name[48];
    dt_fault f;
    snprintf(name, sizeof name, "%.*s", verb ? (int)(verb - id < 47 ? verb - id : 47) : 0, id);
    const bool stop = verb && !strcmp(verb, "/stop"), over = verb && !strcmp(verb, "/hand_over");
    dt_job *j = stop || over ? dt_jobs_find(c->s, name) : NULL;
    if (!stop && !over) {
        dt_fault_set(&f, 404, NULL, "not_found", "there is nothing at this path");
    } else if (!j || !j->conn) {
        dt_fault_set(&f, 404, "id", "answer_not_found", "no answer %s is being written", name);
    } else if (over && !j->can_hand_over) {
        dt_fault_set(&f, 409, NULL, "no_hand_over", "%s: only duet hands over, and only until m speaks", name);
    } else {
        if (stop)
            j->stopped = true;
        __atomic_store_n(stop ? &j->cancel : &j->hand_over, 1, __ATOMIC_RELAXED);
        dt_conn_json(c, 200, NULL, json_pack("{s:s,s:s}", "id", j->id, "status", stop ? "stopping" : "handing_over"));
        return;
    }
    dt_conn_fault(c, &f);
}
