/* The price of M's length: a controller that raises lambda while M is longer than the bound B. */
#include "train/train.h"

#include <math.h>

/* Called once a batch, after its rewards, so that a batch is judged by one price. */
void dt_penalty_update(dt_penalty *p, double mean_len) {
    if (!p->adaptive) return;
    p->lambda += p->eta * (mean_len / p->bound - 1);
    if (p->clip) p->lambda = fmin(1, fmax(0, p->lambda));
}
