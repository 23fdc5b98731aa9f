/* Training from recipes (YAML): supervised (SFT) and joint reinforcement learning of a pair. */
#ifndef DUET_TRAIN_H
#define DUET_TRAIN_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_train_options {
    const char *recipe;            /* YAML file */
    const char *const *overrides;  /* "a.b=c", applied after file and DUET_* environment */
    size_t n_overrides;
    const char *out;               /* run folder; NULL = the recipe's `out` */
    bool resume;                   /* go on from the newest checkpoint in the run folder, if any */
    bool dry_run;                  /* print memory and time a step, train nothing */
    int n_threads;                 /* 0 = all CPUs */
    const volatile int *cancel;    /* non-zero: save a checkpoint and stop with DUET_E_CANCELLED; may be NULL */
    void (*on_line)(void *user, const char *line, bool live); /* progress for people; live: replaces the last live line */
    void *user;
} duet_train_options;

/* One supervised run (one model). Writes into the run folder: recipe.yaml (resolved), metrics.jsonl, TensorBoard
 * events, samples, curves.svg, checkpoints/, and the final model as a Hugging Face folder `model/`. */
duet_status duet_train_sft(const duet_train_options *opt, duet_err *err);
/* Joint RL of a pair: final models in `M/` and `m/`. */
duet_status duet_train_rl(const duet_train_options *opt, duet_err *err);

/* Times one training step of a model with random weights (forward, loss, backward, update) on n_seqs sequences of
 * seq_len random tokens. The model: a config.json text, or NULL for a qwen3 model of n_layers, d_model, n_vocab.
 * tokens_per_s[repeats]: one number a step. flops_per_s: of the median step, 6 operations a parameter and token and the
 * attention's. peak_flops: multiply-adds this machine was measured to do with n_threads (0 = all CPUs).
 * cancel (may be NULL): non-zero ends it before the next step with DUET_E_CANCELLED. */
duet_status duet_train_bench(const char *config_json, int n_layers, int d_model, int n_vocab, int n_seqs, int seq_len,
                             int n_threads, int repeats, const volatile int *cancel, double *tokens_per_s, double *flops_per_s,
                             double *peak_flops, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
