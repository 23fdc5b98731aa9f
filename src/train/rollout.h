/* Rollouts: questions -> M's signals -> m's answers -> grades, in groups, with the log-probs of every sampled token.
 * [duet-algorithm sections 1 to 4] */
#ifndef DT_ROLLOUT_H
#define DT_ROLLOUT_H

#include "backend/interface.h"
#include "duet/engine.h"
#include "train/data.h"
#include "train/trainee.h"

/* A model that is sampled from. Everything is borrowed. */
typedef struct dt_player {
    duet_engine *engine;
    const dt_words *words;
    duet_sampling sampling; /* its seed is replaced by one derived from the rollout's */
    int samples;            /* of a prompt */
    int response_max;       /* tokens sampled at most */
    int prompt_max;         /* tokens of a prompt at most; 0 = what the context leaves */
    int32_t eos[DT_BACKEND_MAX_EOS]; /* what ends a turn: as in a pair, the model's own and its template's */
    size_t n_eos;
} dt_player;

/* One sampled response. Owned by the rollout. */
typedef struct dt_sample {
    int32_t *ids;      /* prompt and response */
    float *logp;       /* [n - first] of the response, as sampled */
    int n, first;      /* all tokens; where the response begins */
    duet_stop stop;
    int grade;         /* 0 or 1; of M only where M answers itself */
    char *text;        /* the answer that was graded */
    dt_signal_status status; /* M: */
    int32_t *signal;   /* what m reads, in m's tokens */
    size_t n_signal;
    char *signal_text; /* compat: extracted as text */
} dt_sample;

typedef struct dt_rollout_spec {
    const dt_recipe *r;
    dt_player M, m, base; /* base: m alone; its engine may be NULL: no baseline */
    bool use_m;           /* false: M goes on to its own answer and that is graded */
    bool to_eos;          /* M goes on behind </think> */
    bool same_tokens;     /* M's ids go to m as they are */
    bool given_signals;   /* the examples' chains instead of M's */
    uint64_t seed, key;   /* random numbers: question q of this rollout is number key + q */
    const volatile int *cancel;
} dt_rollout_spec;

typedef struct dt_rollout {
    size_t n_questions;
    int n, k, k0;      /* samples: M of a question, m of a signal, m alone of a prompt */
    bool base_shared;  /* one baseline a question; else one for each M sample */
    duet_example *example; /* [n_questions], owned */
    dt_sample *M;      /* [n_questions * n]: sample i of question q at q*n + i */
    dt_sample *m;      /* [n_questions * n * k]: j of signal s at s*k + j; NULL without m */
    dt_sample *base;   /* [n_questions (* n) * k0]; NULL without */
    size_t M_tokens, m_tokens, prompt_tokens; /* sampled; prompts as the models saw them */
    size_t n_signal_cut;
    double seconds;
} dt_rollout;

/* Takes the examples (also on failure). *out: dt_rollout_clear. */
duet_status dt_rollout_run(const dt_rollout_spec *s, duet_example *examples, size_t n, dt_rollout *out, duet_err *err);
/* Only M's part: signals without answers. */
duet_status dt_rollout_signals(const dt_rollout_spec *s, duet_example *examples, size_t n, dt_rollout *out, duet_err *err);
void dt_rollout_clear(dt_rollout *o);

size_t dt_rollout_n_signals(const dt_rollout *o);
double dt_rollout_r_Mm(const dt_rollout *o, size_t signal); /* mean grade with the signal; without m: M's own grade */
double dt_rollout_r_m(const dt_rollout *o, size_t signal);  /* mean grade of m alone; 0 without a baseline */
int dt_sample_len(const dt_sample *s);                      /* L: all tokens sampled */

#endif
