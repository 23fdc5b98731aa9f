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

/* A Hugging Face folder; key: where the recipe names it, for errors (NULL: in a checkpoint). Held as f32. chat_template: as for
 * dt_words_open. */
duet_status dt_side_open(dt_side *s, const char *key, const char *path, const char *chat_template, duet_err *err);
/* The same for a model that learns through adapters, which are new, or those of `path` where that is a folder with some of
 * this rank and alpha; rank 0: dt_side_open. side: its name in the recipe. kl: refuses adapters that are not new, whose
 * model without them is not what training began from. */
duet_status dt_side_open_lora(dt_side *s, const char *side, const char *path, const char *chat_template, const dt_recipe_lora *l, int weights,
                              uint64_t seed, bool kl, duet_err *err);
/* New weights and words as the recipe's model.* says. */
duet_status dt_side_new(dt_side *s, const dt_recipe *r, duet_err *err);
duet_status dt_side_engine(dt_side *s, int n_threads, const dt_recipe *r, duet_err *err);
void dt_side_close(dt_side *s);
/* Model and tokenizer into dir/name. */
duet_status dt_side_save(const dt_side *s, const char *dir, const char *name, duet_err *err);
dt_player dt_side_player(const dt_side *s, int samples, int response_max, double temperature);
/* Memory for one model of a run, bytes. */
typedef struct dt_side_bytes {
    size_t weights, adapters, optimizer, activations, logits, kv; /* optimizer: gradient and moments; kv: what the pool may reach */
} dt_side_bytes;
dt_side_bytes dt_side_memory(const dt_side *s, const dt_recipe *r, bool recompute);
/* "M: weights 1137 MiB, adapters 38 MiB, ..." into out; gives the sum. */
size_t dt_side_tell_memory(const char *name, const dt_side_bytes *b, char out[256]);
/* The most memory this process has had so far, MiB. */
double dt_peak_mib(void);

#endif
