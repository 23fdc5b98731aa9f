/* What the server counts. Tokens, seconds and money come from the ledgers of finished answers, those that were cut included. */
#ifndef DT_SERVE_METRICS_H
#define DT_SERVE_METRICS_H

#include "duet/pair.h"

#define DT_BUCKETS 14
#define DT_OUTCOMES 4

typedef struct dt_histogram {
    uint64_t n[DT_BUCKETS + 1]; /* the last: above all bounds */
    uint64_t count;
    double sum;
} dt_histogram;
void dt_histogram_add(dt_histogram *h, double x);

typedef enum dt_outcome { DT_ANSWERED, DT_FAILED, DT_LEFT, DT_STOPPED } dt_outcome;

typedef struct dt_metrics {
    struct dt_request_count {
        char path[32];
        int status;
        uint64_t n;
    } requests[128]; /* the last one counts all that found no place */
    size_t n_requests;
    uint64_t connections;
    uint64_t answers[3][DT_OUTCOMES]; /* by mode */
    uint64_t handoffs[8];             /* by duet_handoff */
    uint64_t prompt[3], cached[3], output[3]; /* M's signals, M's answers, m's answers */
    double cost[2];                           /* M, m; of answers whose cost is known */
    double busy_s[3];
    dt_histogram first, handoff, whole; /* seconds: until the first text, of m's prompt, of a whole answer */
} dt_metrics;

void dt_metrics_answer(dt_metrics *m, duet_mode mode, const duet_ledger *l, dt_outcome outcome);

#endif
