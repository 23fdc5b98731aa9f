/* Family 3: the remainder of a number modulo 7, digit by digit. The smoke test of training.
 *
 *   d9c4b5a8 mod 7?        digits with marks that count down to a (one token each)
 *
 * For each digit the chain has its mark and digit, and the remainder so far; the rest of the wording is redundant:
 *   d9[M +10*0=09][W , 09 mod 7=]2[E . ]                         check [C so 2[E . ]] */
#include "task/family.h"

enum { MOD = 7, MAX_DIGITS = 12 };
enum { M = 1, W = 2, E = 4, C = 8 };

typedef struct problem {
    int n, digit[MAX_DIGITS];
} problem;

static int put_chain(dt_buf *b, const problem *q, unsigned f, bool early) {
    int r = 0;
    const char *end = f & E ? ". " : "";
    for (int i = 0; i < q->n; i++) {
        int d = q->digit[i], was = r;
        r = (10 * r + d) % MOD;
        if (early && i == q->n - 1) break;
        dt_buf_addf(b, "%c%d", 'a' + q->n - 1 - i, d);
        if (f & M) dt_buf_addf(b, "+10*%d=%d%d", was, was, d);
        if (f & W) dt_buf_addf(b, ", %d%d mod 7=", was, d);
        dt_buf_addf(b, "%d%s", r, end);
    }
    if ((f & C) && !early) dt_buf_addf(b, "so %d%s", r, end);
    return r;
}

static void draw(const double *knob, dt_rng *r, dt_style style, dt_draw *out) {
    problem q = {.n = dt_knob_draw(r, knob[0], knob[1])};
    for (int i = 0; i < q.n; i++) {
        q.digit[i] = i ? (int)dt_rng_below(r, 10) : 1 + (int)dt_rng_below(r, 9);
        dt_buf_addf(&out->question, "%c%d", 'a' + q.n - 1 - i, q.digit[i]);
    }
    dt_buf_adds(&out->question, " mod 7?");
    put_chain(&out->verbose, &q, DT_PIECES_ALL, false);
    put_chain(&out->chain, &q, style.pieces, style.early);
    dt_buf_addf(&out->answer, "%d", put_chain(&out->compact, &q, DT_PIECES_NONE, false));
}

static const duet_knob knobs[] = {
    {"digits_min", "digits, at least", 4, 2, MAX_DIGITS},
    {"digits_max", "and at most", 8, 2, MAX_DIGITS},
    DT_MIXTURE_KNOBS,
};

#define DIGITS(m) m "0", m "1", m "2", m "3", m "4", m "5", m "6", m "7", m "8", m "9"

static const char *const tokens[] = {" mod 7?",   " mod 7=",   "+10*",      ", ",        ". ",        "so ",       DIGITS("a"), DIGITS("b"), DIGITS("c"),
                                     DIGITS("d"), DIGITS("e"), DIGITS("f"), DIGITS("g"), DIGITS("h"), DIGITS("i"), DIGITS("j"), DIGITS("k"), DIGITS("l"),
                                     NULL};

const dt_family dt_family_remainder = {
    .pub = {"remainder", "a number modulo 7, digit by digit", knobs, DT_COUNT(knobs)},
    .draw = draw,
    .alphabet = "abcdefghijkl0123456789+*=,.? ",
    .pattern = " mod 7\\?| mod 7=|\\+10\\*|, |\\. |so |user|assistant|[a-l][0-9]|\\n+|[\\s\\S]",
    .tokens = tokens};
