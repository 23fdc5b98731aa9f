/* Inside the task room: what a family of generated questions provides.
 *
 * A family draws a problem from its knobs and a random stream, and writes it as a question, an answer and a chain. A
 * chain has optional pieces, one bit each; the state of each step is always there, so the shortest chain still answers. */
#ifndef DT_TASK_FAMILY_H
#define DT_TASK_FAMILY_H

#include "base/base.h"
#include "duet/task.h"

#define DT_PIECES_ALL 0xffu
#define DT_PIECES_NONE 0u

typedef struct dt_draw {
    dt_buf question, answer, verbose, compact, chain;
} dt_draw;

/* How the chain of an example is drawn: which pieces, and whether it stops a step early. */
typedef struct dt_style {
    unsigned pieces;
    bool early;
} dt_style;

typedef struct dt_family {
    duet_family pub;
    duet_status (*check)(const double *knob, duet_err *err); /* refuses knobs that do not go together; NULL: all do */
    /* Draws a problem (knob values in the order of pub.knobs) and writes all five texts; style applies to `chain`. */
    void (*draw)(const double *knob, dt_rng *r, dt_style style, dt_draw *out);
    const char *alphabet;          /* single characters of the texts */
    const char *pattern;           /* split: one match for each token of several characters */
    const char *const *tokens;     /* texts that are one token, longer than one character; NULL-terminated */
} dt_family;

extern const dt_family dt_family_register, dt_family_swap, dt_family_remainder;

/* The knobs every family has, last in its list: the mixture of chains. */
#define DT_MIXTURE_KNOBS                                                                                              \
    {"p_verbose", "share of chains with every redundant piece", 0.60, 0, 1},                                           \
        {"p_compact", "share of chains with none; the rest flips a coin for each piece", 0.15, 0, 1},                 \
        {"early", "share of chains that stop one step before the answer", 0.30, 0, 1}
#define DT_N_MIXTURE 3

/* A whole number between two knobs' values, both included. */
int dt_knob_draw(dt_rng *r, double lo, double hi);

#endif
