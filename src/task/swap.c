/* Family 2: where does an item end after a number of swaps of places?
 *
 *   1B2C3D4E5Ah24g25f45; D?        places with their letters, swaps with a mark that counts down to a, the item
 *
 * The chain has, for each swap, its mark and places as in the question (one token, found by its mark) and the item's place
 * after it; everything else is redundant, the letters of all places above all:
 *   start [A D=]3[E . ]      step h24[W  swap 24][T  now 1B2E3D4C5A][B  so D=]3[E . ]      check [C check: D at 3[E . ]]
 * A place needs the place and the swap before it only, a state the state before it.
 *
 * Two more questions of the same swaps. `; D twice?`: the place after all swaps are done and then done once more; the
 * chain has a second round of steps after the necessary mark `;`. `; 3?`: the item at a place in the end. Its chain goes
 * back, from the last swap (mark a) to the first, with the place the item had before each, and reads the item there after
 * the necessary mark `:`. The redundant T tells it for all places, the end first: 12 is `at 1 in the end, at 2 before`:
 *   start [A 3=]3[E . ]      step a45[W  swap 45][T  now 1122334554][B  so 3=]3[E . ]
 *   read  :[T  now 1B2C3D4E5A][B  so 3=]D[E . ]      (left out when early)      check [C check: 3=D[E . ]] */
#include "task/family.h"

#include <string.h>

enum { MAX_PLACES = 5, MAX_SWAPS = 16 };
enum { A = 1, W = 2, T = 4, B = 8, E = 16, C = 32 };
enum { PLACES, PLACES_MAX, SWAPS, SWAPS_MAX, QUERY_AT, QUERY_TWICE }; /* places of the knobs */

typedef enum query { WHERE_IS, WHAT_IS_AT, WHERE_IS_TWICE } query;

typedef struct problem {
    char at[MAX_PLACES]; /* letter at each place */
    int n, n_swaps, swap[MAX_SWAPS][2];
    query query;
    int place; /* asked for in WHAT_IS_AT, 0-based */
    char item; /* asked for in the others */
} problem;

/* A query is drawn only where there is a choice: without one the numbers that follow are the same as ever. */
static query draw_query(dt_rng *r, double p_at, double p_twice) {
    if (p_at + p_twice <= 0) return WHERE_IS;
    double u = dt_rng_uniform(r);
    return u < p_at ? WHAT_IS_AT : u < p_at + p_twice ? WHERE_IS_TWICE : WHERE_IS;
}

static void draw_problem(dt_rng *r, const double *knob, problem *q) {
    int n = dt_knob_draw(r, knob[PLACES], knob[PLACES_MAX]), n_swaps = dt_knob_draw(r, knob[SWAPS], knob[SWAPS_MAX]);
    *q = (problem){.n = n, .n_swaps = n_swaps, .query = draw_query(r, knob[QUERY_AT], knob[QUERY_TWICE])};
    for (int i = 0; i < n; i++)
        q->at[i] = (char)('A' + i);
    for (int i = n - 1; i > 0; i--) {
        int j = (int)dt_rng_below(r, (uint32_t)i + 1);
        char t = q->at[i];
        q->at[i] = q->at[j];
        q->at[j] = t;
    }
    for (int i = 0; i < n_swaps; i++) {
        int x = (int)dt_rng_below(r, (uint32_t)n), y = (int)dt_rng_below(r, (uint32_t)n - 1);
        y += y >= x;
        q->swap[i][0] = x < y ? x : y;
        q->swap[i][1] = x < y ? y : x;
    }
    q->place = (int)dt_rng_below(r, (uint32_t)n);
    q->item = (char)('A' + q->place);
}

static void put_state(dt_buf *b, const char *at, int n) {
    for (int i = 0; i < n; i++)
        dt_buf_addf(b, "%d%c", i + 1, at[i]);
}

static void put_swap(dt_buf *b, const problem *q, int i) {
    dt_buf_addf(b, "%c%d%d", 'a' + q->n_swaps - 1 - i, q->swap[i][0] + 1, q->swap[i][1] + 1);
}

static int place_of(const problem *q, const char *at) {
    int p = 0;
    while (p < q->n - 1 && at[p] != q->item)
        p++;
    return p + 1;
}

/* The place of the item, in one round or two; returns it as a character. */
static char put_chain_item(dt_buf *b, const problem *q, unsigned f, bool early) {
    char at[MAX_PLACES];
    memcpy(at, q->at, sizeof at);
    const char *end = f & E ? ". " : "";
    int n_steps = q->n_swaps * (q->query == WHERE_IS_TWICE ? 2 : 1);
    if (f & A) dt_buf_addf(b, "%c=", q->item);
    dt_buf_addf(b, "%d%s", place_of(q, at), end);
    for (int step = 0; step < n_steps; step++) {
        int i = step % q->n_swaps, x = q->swap[i][0], y = q->swap[i][1];
        char t = at[x];
        at[x] = at[y];
        at[y] = t;
        if (step == q->n_swaps) dt_buf_adds(b, ";");
        if (early && step == n_steps - 1) break;
        put_swap(b, q, i);
        if (f & W) dt_buf_addf(b, " swap %d%d", x + 1, y + 1);
        if (f & T) {
            dt_buf_adds(b, " now ");
            put_state(b, at, q->n);
        }
        if (f & B) dt_buf_addf(b, " so %c=", q->item);
        dt_buf_addf(b, "%d%s", place_of(q, at), end);
    }
    if ((f & C) && !early) dt_buf_addf(b, "check: %c=%d%s", q->item, place_of(q, at), end);
    return (char)('0' + place_of(q, at));
}

/* The item at the place, back from the end; returns it. */
static char put_chain_place(dt_buf *b, const problem *q, unsigned f, bool early) {
    int from[MAX_PLACES], asked = q->place + 1; /* from[j]: where what ends at j was, 0-based */
    const char *end = f & E ? ". " : "";
    for (int j = 0; j < MAX_PLACES; j++)
        from[j] = j;
    if (f & A) dt_buf_addf(b, "%d=", asked);
    dt_buf_addf(b, "%d%s", asked, end);
    for (int i = q->n_swaps - 1; i >= 0; i--) {
        int x = q->swap[i][0], y = q->swap[i][1];
        for (int j = 0; j < q->n; j++)
            from[j] = from[j] == x ? y : from[j] == y ? x : from[j];
        put_swap(b, q, i);
        if (f & W) dt_buf_addf(b, " swap %d%d", x + 1, y + 1);
        if (f & T) dt_buf_adds(b, " now ");
        for (int j = 0; j < q->n && (f & T); j++)
            dt_buf_addf(b, "%d%d", j + 1, from[j] + 1);
        if (f & B) dt_buf_addf(b, " so %d=", asked);
        dt_buf_addf(b, "%d%s", from[q->place] + 1, end);
    }
    char item = q->at[from[q->place]];
    if (early) return item;
    dt_buf_adds(b, ":");
    if (f & T) {
        dt_buf_adds(b, " now ");
        put_state(b, q->at, q->n);
    }
    if (f & B) dt_buf_addf(b, " so %d=", asked);
    dt_buf_addf(b, "%c%s", item, end);
    if (f & C) dt_buf_addf(b, "check: %d=%c%s", asked, item, end);
    return item;
}

static char put_chain(dt_buf *b, const problem *q, unsigned f, bool early) {
    return q->query == WHAT_IS_AT ? put_chain_place(b, q, f, early) : put_chain_item(b, q, f, early);
}

static void draw(const double *knob, dt_rng *r, dt_style style, dt_draw *out) {
    problem q;
    draw_problem(r, knob, &q);
    put_state(&out->question, q.at, q.n);
    for (int i = 0; i < q.n_swaps; i++)
        put_swap(&out->question, &q, i);
    dt_buf_addf(&out->question, "; %c%s?", q.query == WHAT_IS_AT ? '1' + q.place : q.item, q.query == WHERE_IS_TWICE ? " twice" : "");
    put_chain(&out->verbose, &q, DT_PIECES_ALL, false);
    put_chain(&out->chain, &q, style.pieces, style.early);
    dt_buf_addf(&out->answer, "%c", put_chain(&out->compact, &q, DT_PIECES_NONE, false));
}

static duet_status check(const double *knob, duet_err *err) {
    if (knob[QUERY_AT] + knob[QUERY_TWICE] <= 1) return DUET_OK;
    return dt_fail(err, DUET_E_USAGE, "task swap: query_at %g and query_twice %g are shares of one whole: together at most 1", knob[QUERY_AT], knob[QUERY_TWICE]);
}

static const duet_knob knobs[] = {
    {"places_min", "places, at least", 4, 3, MAX_PLACES},
    {"places_max", "and at most", 5, 3, MAX_PLACES},
    {"swaps_min", "swaps, at least", 3, 1, MAX_SWAPS},
    {"swaps_max", "and at most", 8, 1, MAX_SWAPS},
    {"query_at", "share of questions for the item at a place in the end, not the place of an item", 0, 0, 1},
    {"query_twice", "share of questions for the place of an item after all swaps are done twice", 0, 0, 1},
    DT_MIXTURE_KNOBS,
};

#define PAIRS(m) m "12", m "13", m "14", m "15", m "23", m "24", m "25", m "34", m "35", m "45"
#define LETTERS(p) p "A", p "B", p "C", p "D", p "E"

static const char *const tokens[] = {
    " swap ",   " now ",    " so ",     ". ",       "; ",       "check: ",  "A=",       "B=",       "C=",        "D=",      "E=",
    PAIRS(""),  PAIRS("a"), PAIRS("b"), PAIRS("c"), PAIRS("d"), PAIRS("e"), PAIRS("f"), PAIRS("g"), PAIRS("h"),  PAIRS("i"),
    PAIRS("j"), PAIRS("k"), PAIRS("l"), PAIRS("m"), PAIRS("n"), PAIRS("o"), PAIRS("p"), LETTERS("1"), LETTERS("2"),
    LETTERS("3"), LETTERS("4"), LETTERS("5"), " twice",   "1=",       "2=",       "3=",       "4=",       "5=",        "11",      "21",
    "22",       "31",       "32",       "33",       "41",       "42",       "43",       "44",       "51",        "52",      "53",
    "54",       "55",       NULL};

const dt_family dt_family_swap = {
    .pub = {"swap", "where an item ends after swaps of places", knobs, DT_COUNT(knobs)},
    .check = check,
    .draw = draw,
    .alphabet = "ABCDEabcdefghijklmnop12345=;?:. ",
    .pattern = " swap | now | so |\\. |; |check: |user|assistant| twice|[A-E1-5]=|[a-p][1-5][1-5]|[1-5][1-5]|[1-5][A-E]|\\n+|[\\s\\S]",
    .tokens = tokens};
