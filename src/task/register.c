/* Family 1: a chain of register definitions modulo a small number (7), shuffled, with distractors.
 *
 *   f? l=n+6 k=p+1 i=3 f=l+6 j=p+3 p=i+1 n=p-3
 *
 * Path f -> l -> n -> p -> i: each is the next plus or minus 1..6, the root is a digit; distractors are digits or defined
 * over the asked name or an earlier distractor. No name is used in two definitions: where one is, what follows a name has
 * to be found by two tokens and not by one, which small models learn far slower. The chain goes back from the asked name
 * and carries one offset, so each written piece is one look-up away from what stands before it:
 *   first step  [P want f:][R  f=l+6][W  so][S  f=]                l+6 [W .]
 *   later step  [P  need l:][R  l=n+6][W  so][S  f=l+6=n+6+6=]     n+5 [W .]
 *   root        [P  need i:][R  i=3][W  so][S  f=i+3=3+3=]         6   [W .]      (left out when early)
 *   distractors [X  also k=p+1 also j=p+3 [W .]]   check [C  check: f is 6 [W .]]  (not when early)
 *
 * A definition may name two parents, c=a+b: the path becomes a tree, gone through depth first. What is left to do stands
 * between the name in hand and the offset, nearest first, so a step still replaces the first name and adds:
 *   two parents [P  need c:][R  c=a+b][W  so][S  f=c+e+2=]         a+b+e+2 [W .]
 *   digit       [P  need a:][R  a=5][W  so][S  f=a+b+e+2=5+b+e+2=] b+e+0   [W .]
 * Two names may be asked, fc?, each with a tree of its own: the answer is both digits, the chain the two chains in that
 * order, the second beginning with " want c:" where P is written; early leaves out the last step of the second only. */
#include "task/family.h"

#include <string.h>

enum { DEFAULT_MOD = 7, MAX_MOD = 10, N_NAMES = 16, MAX_DEPTH = 8, MAX_EXTRA = 6, MAX_ASKED = 2 };
enum { P = 1, R = 2, W = 4, S = 8, X = 16, C = 32 };
enum { DEPTH, DEPTH_MAX, EXTRA, EXTRA_MAX, MODULUS, SHUFFLE, TWO_PARENTS, ASKED, ASKED_MAX }; /* places of the knobs */

typedef struct definition {
    char name;
    int of[2]; /* the definitions of its parents, -1 = none; without parents it is a digit */
    int k;     /* the digit, or the signed step of a definition with one parent */
} definition;

typedef struct problem {
    definition d[N_NAMES]; /* the asked names with what they rest on, then distractors */
    int mod, asked[MAX_ASKED], n_asked, n_needed, n;
    int order[N_NAMES]; /* as the question lists them */
} problem;

static void shuffle(dt_rng *r, int *v, int n) {
    for (int i = n - 1; i > 0; i--) {
        int j = (int)dt_rng_below(r, (uint32_t)i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

static int draw_step(dt_rng *r, int mod) {
    int k = 1 + (int)dt_rng_below(r, (uint32_t)mod - 1);
    return dt_rng_below(r, 2) ? k : -k;
}

/* Adds a name `depth` look-ups above a digit, and what it rests on; second parents take names from `spare`. */
static int grow(dt_rng *r, problem *q, int depth, double two_parents, int *spare) {
    int top = q->n_needed;
    q->n_needed += depth + 1;
    for (int i = 0; i <= depth; i++)
        q->d[top + i] = (definition){.of = {i < depth ? top + i + 1 : -1, -1}};
    for (int i = 0; i < depth && two_parents > 0; i++) {
        if (*spare == 0 || dt_rng_uniform(r) >= two_parents) continue;
        int most = *spare < depth - i ? *spare : depth - i; /* names: the branch is no longer than the path it leaves */
        int below = (int)dt_rng_below(r, (uint32_t)most);
        *spare -= below + 1;
        int second = grow(r, q, below, two_parents, spare), *of = q->d[top + i].of;
        bool swap = dt_rng_below(r, 2);
        of[1] = swap ? of[0] : second;
        of[0] = swap ? second : of[0];
    }
    return top;
}

/* A parent for distractor i: an asked name or an earlier distractor, and free. For a first parent there always is one. */
static int draw_parent(dt_rng *r, const problem *q, int i) {
    int unused[N_NAMES] = {0};
    uint32_t n = 0;
    for (int c = 0; c < i; c++) {
        bool used = c < q->n_needed && c != q->asked[0] && c != q->asked[q->n_asked - 1];
        for (int d = q->n_needed; d <= i; d++)
            used = used || q->d[d].of[0] == c || q->d[d].of[1] == c;
        if (!used) unused[n++] = c;
    }
    return n ? unused[dt_rng_below(r, n)] : -1;
}

/* The order as it is, but each definition after those of its parents. */
static void put_parents_first(problem *q) {
    int order[N_NAMES];
    bool done[N_NAMES] = {false};
    for (int n = 0; n < q->n; n++) {
        int i = 0;
        for (;; i++) {
            const int *of = q->d[q->order[i]].of;
            if (!done[q->order[i]] && (of[0] < 0 || done[of[0]]) && (of[1] < 0 || done[of[1]])) break;
        }
        order[n] = q->order[i];
        done[q->order[i]] = true;
    }
    memcpy(q->order, order, (size_t)q->n * sizeof *order);
}

/* A knob at its default draws nothing, so the numbers that follow are the same with and without it. */
static void draw_problem(dt_rng *r, const double *knob, problem *q) {
    int depth = dt_knob_draw(r, knob[DEPTH], knob[DEPTH_MAX]), extra = dt_knob_draw(r, knob[EXTRA], knob[EXTRA_MAX]);
    int name[N_NAMES];
    for (int i = 0; i < N_NAMES; i++)
        name[i] = i;
    *q = (problem){.mod = (int)knob[MODULUS], .n_asked = dt_knob_draw(r, knob[ASKED], knob[ASKED_MAX])};
    shuffle(r, name, N_NAMES);
    int deep[MAX_ASKED] = {depth, q->n_asked > 1 ? dt_knob_draw(r, knob[DEPTH], knob[DEPTH_MAX]) : -1};
    int spare = N_NAMES - extra - (deep[0] + 1) - (deep[1] + 1);
    for (int a = 0; a < q->n_asked; a++)
        q->asked[a] = grow(r, q, deep[a], knob[TWO_PARENTS], &spare);
    q->n = q->n_needed + extra;
    for (int i = 0; i < q->n; i++) {
        definition *d = &q->d[i];
        d->name = (char)('a' + name[i]);
        if (i >= q->n_needed) {
            d->of[0] = d->of[1] = -1;
            if (dt_rng_uniform(r) >= 0.4) d->of[0] = draw_parent(r, q, i);
            if (d->of[0] >= 0 && knob[TWO_PARENTS] > 0 && dt_rng_uniform(r) < knob[TWO_PARENTS]) d->of[1] = draw_parent(r, q, i);
        }
        if (d->of[1] < 0) d->k = d->of[0] < 0 ? (int)dt_rng_below(r, (uint32_t)q->mod) : draw_step(r, q->mod);
        q->order[i] = i;
    }
    shuffle(r, q->order, q->n);
    if (knob[SHUFFLE] < 1 && dt_rng_uniform(r) >= knob[SHUFFLE]) put_parents_first(q);
}

/* What a definition says: 3, l+6, a+b. */
static void put_said(dt_buf *b, const problem *q, const definition *d) {
    if (d->of[0] < 0)
        dt_buf_addf(b, "%d", d->k);
    else if (d->of[1] < 0)
        dt_buf_addf(b, "%c%+d", q->d[d->of[0]].name, d->k);
    else
        dt_buf_addf(b, "%c+%c", q->d[d->of[0]].name, q->d[d->of[1]].name);
}

static void put_definition(dt_buf *b, const problem *q, const definition *d) {
    dt_buf_addf(b, " %c=", d->name);
    put_said(b, q, d);
}

/* Names still to do, the last one in hand; a trace is a sum of them and an offset. */
typedef struct trace {
    int todo[N_NAMES], n, sum;
} trace;

static void put_pending(dt_buf *b, const problem *q, const trace *t) {
    for (int i = t->n - 2; i >= 0; i--)
        dt_buf_addf(b, "+%c", q->d[t->todo[i]].name);
    dt_buf_addf(b, "+%d", t->sum);
}

static void put_state(dt_buf *b, const problem *q, const trace *t) {
    if (!t->n) {
        dt_buf_addf(b, "%d", t->sum);
        return;
    }
    dt_buf_addf(b, "%c", q->d[t->todo[t->n - 1]].name);
    put_pending(b, q, t);
}

static void take_step(const problem *q, const definition *d, trace *t) {
    t->n--;
    for (int p = 1; p >= 0; p--)
        if (d->of[p] >= 0) t->todo[t->n++] = d->of[p];
    t->sum = ((t->sum + d->k) % q->mod + q->mod) % q->mod;
}

/* The chain of one asked name; returns its value. */
static int put_trace(dt_buf *b, const problem *q, int ask, unsigned f, bool early) {
    trace t = {.todo = {q->asked[ask]}, .n = 1};
    char asked = q->d[q->asked[ask]].name;
    const char *want = ask ? " want " : "want ";
    for (bool first = true; t.n; first = false) {
        const definition *d = &q->d[t.todo[t.n - 1]];
        trace was = t;
        take_step(q, d, &t);
        if (early && !t.n) break;
        if (f & P) dt_buf_addf(b, "%s%c:", first ? want : " need ", d->name);
        if (f & R) put_definition(b, q, d);
        if (f & W) dt_buf_adds(b, " so");
        if (f & S) dt_buf_addf(b, " %c=", asked);
        if ((f & S) && !first) {
            put_state(b, q, &was);
            dt_buf_adds(b, "=");
            if (d->of[1] < 0) { /* with two parents there is nothing to add up */
                put_said(b, q, d);
                put_pending(b, q, &was);
                dt_buf_adds(b, "=");
            }
        }
        put_state(b, q, &t);
        if (f & W) dt_buf_adds(b, ".");
    }
    return t.sum;
}

static void put_chain(dt_buf *b, const problem *q, unsigned f, bool early, int *answer) {
    for (int a = 0; a < q->n_asked; a++)
        answer[a] = put_trace(b, q, a, f, early && a == q->n_asked - 1);
    if (f & X) {
        for (int i = 0; i < q->n; i++) {
            if (q->order[i] < q->n_needed) continue;
            dt_buf_adds(b, " also");
            put_definition(b, q, &q->d[q->order[i]]);
        }
        if ((f & W) && q->n > q->n_needed) dt_buf_adds(b, ".");
    }
    for (int a = 0; a < q->n_asked && (f & C) && !early; a++)
        dt_buf_addf(b, " check: %c is %d%s", q->d[q->asked[a]].name, answer[a], f & W ? "." : "");
}

static void draw(const double *knob, dt_rng *r, dt_style style, dt_draw *out) {
    problem q;
    int answer[MAX_ASKED];
    draw_problem(r, knob, &q);
    for (int a = 0; a < q.n_asked; a++)
        dt_buf_addf(&out->question, "%c", q.d[q.asked[a]].name);
    dt_buf_adds(&out->question, "?");
    for (int i = 0; i < q.n; i++)
        put_definition(&out->question, &q, &q.d[q.order[i]]);
    put_chain(&out->verbose, &q, DT_PIECES_ALL, false, answer);
    put_chain(&out->chain, &q, style.pieces, style.early, answer);
    put_chain(&out->compact, &q, DT_PIECES_NONE, false, answer);
    for (int a = 0; a < q.n_asked; a++)
        dt_buf_addf(&out->answer, "%d", answer[a]);
}

static duet_status check(const double *knob, duet_err *err) {
    int most = (int)(knob[ASKED_MAX] * (knob[DEPTH_MAX] + 1) + knob[EXTRA_MAX]);
    if (most <= N_NAMES) return DUET_OK;
    return dt_fail(err, DUET_E_USAGE, "task register: asked_max %g, depth_max %g and distract_max %g need %d names of %d; lower one of them",
                   knob[ASKED_MAX], knob[DEPTH_MAX], knob[EXTRA_MAX], most, N_NAMES);
}

static const duet_knob knobs[] = {
    {"depth_min", "look-ups from the asked name to the digit, at least", 2, 1, MAX_DEPTH},
    {"depth_max", "and at most", 4, 1, MAX_DEPTH},
    {"distract_min", "definitions that do not matter, at least", 0, 0, MAX_EXTRA},
    {"distract_max", "and at most", 2, 0, MAX_EXTRA},
    {"modulus", "all is counted modulo this; digits and steps stay below it", DEFAULT_MOD, 2, MAX_MOD},
    {"shuffle", "share of questions with definitions in any order; else a parent precedes its child", 1, 0, 1},
    {"two_parents", "share of definitions over two names instead of one, while the 16 names last", 0, 0, 1},
    {"asked_min", "names asked for, each with definitions of its own, at least", 1, 1, MAX_ASKED},
    {"asked_max", "and at most", 1, 1, MAX_ASKED},
    DT_MIXTURE_KNOBS,
};

static const char *const tokens[] = {
    "want ", " need ", " so", " also", " check: ", " is ", " a=", " b=", " c=", " d=", " e=", " f=", " g=", " h=", " i=", " j=",
    " k=",   " l=",    " m=", " n=",   " o=",      " p=",  "+0",  "+1",  "+2",  "+3",  "+4",  "+5",  "+6",  "-1",  "-2",  "-3",
    "-4",    "-5",     "-6",  "+7",    "+8",       "+9",  "-7",  "-8",  "-9",  " want ", "+a", "+b", "+c", "+d", "+e", "+f",
    "+g",    "+h",     "+i",  "+j",    "+k",       "+l",  "+m",  "+n",  "+o",  "+p",  NULL};

const dt_family dt_family_register = {
    .pub = {"register", "register definitions modulo a small number, shuffled, with distractors", knobs, DT_COUNT(knobs)},
    .check = check,
    .draw = draw,
    .alphabet = "abcdefghijklmnop0123456789?=:. ",
    .pattern = "want | want | need | so| also| check: | is |user|assistant| [a-p]=|[+-][0-9]|\\+[a-p]|\\n+|[\\s\\S]",
    .tokens = tokens};
