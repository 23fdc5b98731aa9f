/* The learning rate as a function of the step. */
#include "train/trainee.h"

#include <math.h>

double dt_lr_at(double lr, int schedule, double warmup, double end, int64_t step, int64_t n) {
    double s = (double)step, left = (double)n - warmup;
    if (s < warmup) return lr * (s + 1) / (warmup + 1);
    double x = left > 0 ? (s - warmup) / left : 1; /* 0..1 after the warm-up */
    switch (schedule) {
    case DT_LR_COSINE: return lr * (end + (1 - end) * 0.5 * (1 + cos(acos(-1.0) * fmin(1, x))));
    case DT_LR_LINEAR: return lr * (end + (1 - end) * (1 - fmin(1, x)));
    default: return lr;
    }
}

dt_adamw dt_adamw_of(const dt_recipe *r, double lr) {
    return (dt_adamw){.lr = lr, .beta1 = r->train.beta1, .beta2 = r->train.beta2, .eps = r->train.eps,
                      .weight_decay = r->train.weight_decay, .max_norm = r->train.clip};
}
