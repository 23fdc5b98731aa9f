/* Family 2: where does an item end after a number of swaps of places?
 *
 *   1B2C3D4E5Ah24g25f45; D?        places with their letters, swaps with a mark that counts down to a, the item
 *
 * The chain has, for each swap, its mark and places as in the question (one token, found by its mark) and the item's place
 * after it; everything else is redundant, the letters of all places above all:
 *   start [A D=]3[E . ]      step h24[W  swap 24][T  now 1B2E3D4C5A][B  so D=]3[E . ]      check [C check: D at 3[E . ]]
 * A place needs the place and the swap before it only, a state the state before it. */
#include "task/family.h"

#include <string.h>

enum { MAX_PLACES = 5, MAX_SWAPS = 16 };
enum { A = 1, W = 2, T = 4, B = 8, E = 16, C = 32 };

typedef struct problem {
    char at[MAX_PLACES]; /* letter at each place */
    int n, n_swaps, swap[MAX_SWAPS][2];
    char item;
} problem;

static void draw_problem(dt_rng *r, int n, int n_swaps, problem *q) {
    *q = (problem){.n = n, .n_swaps = n_swaps};
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
    q->item = (char)('A' + (int)dt_rng_below(r, (uint32_t)n));
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

static int put_chain(dt_buf *b, const problem *q, unsigned f, bool early) {
    char at[MAX_PLACES];
    memcpy(at, q->at, sizeof at);
    const char *end = f & E ? ". " : "";
    if (f & A) dt_buf_addf(b, "%c=", q->item);
    dt_buf_addf(b, "%d%s", place_of(q, at), end);
    for (int i = 0; i < q->n_swaps; i++) {
        int x = q->swap[i][0], y = q->swap[i][1];
        char t = at[x];
        at[x] = at[y];
        at[y] = t;
        if (early && i == q->n_swaps - 1) break;
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
    return place_of(q, at);
}

static void draw(const double *knob, dt_rng *r, dt_style style, dt_draw *out) {
    problem q;
    int n = dt_knob_draw(r, knob[0], knob[1]), swaps = dt_knob_draw(r, knob[2], knob[3]);
    draw_problem(r, n, swaps, &q);
    put_state(&out->question, q.at, q.n);
    for (int i = 0; i < q.n_swaps; i++)
        put_swap(&out->question, &q, i);
    dt_buf_addf(&out->question, "; %c?", q.item);
    put_chain(&out->verbose, &q, DT_PIECES_ALL, false);
    put_chain(&out->chain, &q, style.pieces, style.early);
    dt_buf_addf(&out->answer, "%d", put_chain(&out->compact, &q, DT_PIECES_NONE, false));
}

static const duet_knob knobs[] = {
    {"places_min", "places, at least", 4, 3, MAX_PLACES},
    {"places_max", "and at most", 5, 3, MAX_PLACES},
    {"swaps_min", "swaps, at least", 3, 1, MAX_SWAPS},
    {"swaps_max", "and at most", 8, 1, MAX_SWAPS},
    DT_MIXTURE_KNOBS,
};

#define PAIRS(m) m "12", m "13", m "14", m "15", m "23", m "24", m "25", m "34", m "35", m "45"
#define LETTERS(p) p "A", p "B", p "C", p "D", p "E"

static const char *const tokens[] = {
    " swap ",   " now ",    " so ",     ". ",       "; ",       "check: ",  "A=",       "B=",       "C=",        "D=",      "E=",
    PAIRS(""),  PAIRS("a"), PAIRS("b"), PAIRS("c"), PAIRS("d"), PAIRS("e"), PAIRS("f"), PAIRS("g"), PAIRS("h"),  PAIRS("i"),
    PAIRS("j"), PAIRS("k"), PAIRS("l"), PAIRS("m"), PAIRS("n"), PAIRS("o"), PAIRS("p"), LETTERS("1"), LETTERS("2"),
    LETTERS("3"), LETTERS("4"), LETTERS("5"), NULL};

const dt_family dt_family_swap = {
    .pub = {"swap", "where an item ends after swaps of places", knobs, DT_COUNT(knobs)},
    .draw = draw,
    .alphabet = "ABCDEabcdefghijklmnop12345=;?:. ",
    .pattern = " swap | now | so |\\. |; |check: |user|assistant|[A-E]=|[a-p][1-5][1-5]|[1-5][1-5]|[1-5][A-E]|\\n+|[\\s\\S]",
    .tokens = tokens};
