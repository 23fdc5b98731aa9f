/* Family 1: a chain of register definitions modulo 7, shuffled, with distractors.
 *
 *   f? l=n+6 k=p+1 i=3 f=l+6 j=p+3 p=i+1 n=p-3
 *
 * Path f -> l -> n -> p -> i: each is the next plus or minus 1..6, the root is a digit; distractors are digits or defined
 * over the asked name or an earlier distractor. No name is used in two definitions: where one is, what follows a name has
 * to be found by two tokens and not by one, which small models learn far slower. The chain goes back from the asked name and carries one offset, so each written piece is one
 * look-up away from what stands before it:
 *   first step  [P want f:][R  f=l+6][W  so][S  f=]                l+6 [W .]
 *   later step  [P  need l:][R  l=n+6][W  so][S  f=l+6=n+6+6=]     n+5 [W .]
 *   root        [P  need i:][R  i=3][W  so][S  f=i+3=3+3=]         6   [W .]      (left out when early)
 *   distractors [X  also k=p+1 also j=p+3 [W .]]   check [C  check: f is 6 [W .]]  (not when early) */
#include "task/family.h"

#include <string.h>

enum { MOD = 7, N_NAMES = 16, MAX_DEPTH = 8, MAX_EXTRA = 6 };
enum { P = 1, R = 2, W = 4, S = 8, X = 16, C = 32 };

typedef struct definition {
    char name, of; /* of = 0: a digit */
    int k;         /* signed step -6..6, or the digit */
} definition;

typedef struct problem {
    definition d[MAX_DEPTH + 1 + MAX_EXTRA]; /* path first, then distractors */
    int depth, n;
    int order[MAX_DEPTH + 1 + MAX_EXTRA]; /* as the question lists them */
} problem;

static void shuffle(dt_rng *r, int *v, int n) {
    for (int i = n - 1; i > 0; i--) {
        int j = (int)dt_rng_below(r, (uint32_t)i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

static int draw_step(dt_rng *r) {
    int k = 1 + (int)dt_rng_below(r, MOD - 1);
    return dt_rng_below(r, 2) ? k : -k;
}

/* A name for distractor i to be defined over: the asked one or an earlier distractor, and free; there always is one. */
static char draw_parent(dt_rng *r, const problem *q, int i) {
    char free_name[1 + MAX_EXTRA] = {0};
    uint32_t n = 0;
    for (int c = 0; c < i; c++) {
        bool used = c > 0 && c <= q->depth; /* the path's own */
        for (int d = q->depth + 1; d < i; d++)
            used = used || q->d[d].of == q->d[c].name;
        if (!used) free_name[n++] = q->d[c].name;
    }
    return free_name[dt_rng_below(r, n)];
}

static void draw_problem(dt_rng *r, int depth, int extra, problem *q) {
    int name[N_NAMES];
    for (int i = 0; i < N_NAMES; i++)
        name[i] = i;
    shuffle(r, name, N_NAMES);
    *q = (problem){.depth = depth, .n = depth + 1 + extra};
    for (int i = 0; i < q->n; i++) {
        definition *d = &q->d[i];
        d->name = (char)('a' + name[i]);
        bool digit = i == depth || (i > depth && dt_rng_uniform(r) < 0.4);
        if (i < depth)
            d->of = (char)('a' + name[i + 1]);
        else if (!digit)
            d->of = draw_parent(r, q, i);
        d->k = digit ? (int)dt_rng_below(r, MOD) : draw_step(r);
        q->order[i] = i;
    }
    shuffle(r, q->order, q->n);
}

static void put_definition(dt_buf *b, const definition *d) {
    if (d->of)
        dt_buf_addf(b, " %c=%c%+d", d->name, d->of, d->k);
    else
        dt_buf_addf(b, " %c=%d", d->name, d->k);
}

static int mod(int x) {
    return (x % MOD + MOD) % MOD;
}

static int put_chain(dt_buf *b, const problem *q, unsigned f, bool early) {
    char asked = q->d[0].name;
    int s = 0;
    for (int i = 0; i < q->depth; i++) {
        const definition *d = &q->d[i];
        int next = mod(s + d->k);
        if (f & P) dt_buf_addf(b, i ? " need %c:" : "want %c:", d->name);
        if (f & R) put_definition(b, d);
        if (f & W) dt_buf_adds(b, " so");
        if (f & S) dt_buf_addf(b, " %c=", asked);
        if ((f & S) && i) dt_buf_addf(b, "%c+%d=%c%+d+%d=", d->name, s, d->of, d->k, s);
        dt_buf_addf(b, "%c+%d", d->of, next);
        if (f & W) dt_buf_adds(b, ".");
        s = next;
    }
    const definition *root = &q->d[q->depth];
    int answer = mod(root->k + s);
    if (!early) {
        if (f & P) dt_buf_addf(b, " need %c:", root->name);
        if (f & R) put_definition(b, root);
        if (f & W) dt_buf_adds(b, " so");
        if (f & S) dt_buf_addf(b, " %c=%c+%d=%d+%d=", asked, root->name, s, root->k, s);
        dt_buf_addf(b, "%d", answer);
        if (f & W) dt_buf_adds(b, ".");
    }
    if (f & X) {
        for (int i = 0; i < q->n; i++) {
            if (q->order[i] <= q->depth) continue;
            dt_buf_adds(b, " also");
            put_definition(b, &q->d[q->order[i]]);
        }
        if ((f & W) && q->n > q->depth + 1) dt_buf_adds(b, ".");
    }
    if ((f & C) && !early) dt_buf_addf(b, " check: %c is %d%s", asked, answer, f & W ? "." : "");
    return answer;
}

static void draw(const double *knob, dt_rng *r, dt_style style, dt_draw *out) {
    problem q;
    int depth = dt_knob_draw(r, knob[0], knob[1]), extra = dt_knob_draw(r, knob[2], knob[3]);
    draw_problem(r, depth, extra, &q);
    dt_buf_addf(&out->question, "%c?", q.d[0].name);
    for (int i = 0; i < q.n; i++)
        put_definition(&out->question, &q.d[q.order[i]]);
    put_chain(&out->verbose, &q, DT_PIECES_ALL, false);
    put_chain(&out->chain, &q, style.pieces, style.early);
    dt_buf_addf(&out->answer, "%d", put_chain(&out->compact, &q, DT_PIECES_NONE, false));
}

static const duet_knob knobs[] = {
    {"depth_min", "look-ups from the asked name to the digit, at least", 2, 1, MAX_DEPTH},
    {"depth_max", "and at most", 4, 1, MAX_DEPTH},
    {"distract_min", "definitions that do not matter, at least", 0, 0, MAX_EXTRA},
    {"distract_max", "and at most", 2, 0, MAX_EXTRA},
    DT_MIXTURE_KNOBS,
};

static const char *const tokens[] = {
    "want ", " need ", " so", " also", " check: ", " is ", " a=", " b=", " c=", " d=", " e=", " f=", " g=", " h=", " i=", " j=",
    " k=",   " l=",    " m=", " n=",   " o=",      " p=",  "+0",  "+1",  "+2",  "+3",  "+4",  "+5",  "+6",  "-1",  "-2",  "-3",
    "-4",    "-5",     "-6",  NULL};

const dt_family dt_family_register = {
    .pub = {"register", "register definitions modulo 7, shuffled, with distractors", knobs, DT_COUNT(knobs)},
    .draw = draw,
    .alphabet = "abcdefghijklmnop0123456?=:. ",
    .pattern = "want | need | so| also| check: | is |user|assistant| [a-p]=|[+-][0-9]|\\n+|[\\s\\S]",
    .tokens = tokens};
