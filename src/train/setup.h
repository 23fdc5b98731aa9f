/* A model with everything a training run needs of it: words, engine, optimizer. */
#ifndef DT_TRAIN_SETUP_H
#define DT_TRAIN_SETUP_H

#include "train/rollout.h"
#include "train/trainee.h"

typedef struct dt_side {
    duet_model *model;
    dt_words words;
    duet_engine *engine;
    dt_trainee trainee;
} dt_side;

/* A Hugging Face folder; key: where the recipe names it, for errors (NULL: in a checkpoint). */
duet_status dt_side_open(dt_side *s, const char *key, const char *path, duet_err *err);
/* New weights and words as the recipe's model.* says. */
duet_status dt_side_new(dt_side *s, const dt_recipe *r, duet_err *err);
duet_status dt_side_engine(dt_side *s, int n_threads, duet_err *err);
void dt_side_close(dt_side *s);
/* Model and tokenizer into dir/name. */
duet_status dt_side_save(const dt_side *s, const char *dir, const char *name, duet_err *err);
dt_player dt_side_player(const dt_side *s, int samples, int response_max, double temperature);
/* Memory for training it: weights, packed copies, gradient, moments, activations. */
size_t dt_side_train_bytes(const dt_side *s, const dt_recipe *r, bool recompute);
/* The most memory this process has had so far, MiB. */
double dt_peak_mib(void);

#endif
