/* Inside the task room: an answer as a typed tree, and what is done with it.
 *
 *   answer_spell.c  bytes -> bytes: rarer spellings (x², ½, 0.333..., 2A_{16}) as the usual ones
 *   answer_lex.c    bytes -> tokens: LaTeX and plain text, spacing and sizing commands gone, numbers read whole
 *   answer_parse.c  tokens -> tree (precedence climbing)
 *   answer_key.c    tree -> one string for every way to write it in another order
 *   answer_exact.c  numbers: rationals, polynomials, square roots; a proof either way, or "not here"
 *   answer_ball.c   numbers: enclosures (Arb); a proof that two differ, or agreement to many digits
 *   answer_real.c   intervals, unions, inequalities in one variable as sets of reals
 *   answer_equal.c  trees: sets, tuples, equations, units, ...; numbers go to the two above
 *
 * All memory of a tree is in one arena. Every stage has a limit on size or on counted steps; none looks at a clock. */
#ifndef DT_TASK_ANSWER_H
#define DT_TASK_ANSWER_H

#include "base/base.h"

/* ---- limits ---- */
enum {
    DT_ANS_MAX_BYTES = 20000,   /* of one answer */
    DT_ANS_MAX_TOKENS = 6000,
    DT_ANS_MAX_DEPTH = 120,     /* of nesting */
    DT_ANS_MAX_DIGITS = 4000,   /* of one number */
    DT_ANS_MAX_BITS = 20000,    /* of an exact number on the way */
    DT_ANS_MAX_ITEMS = 200,     /* of lists that are matched in any order */
    DT_ANS_MAX_MEMORY = 32 << 20,
    DT_ANS_STEPS = 20000        /* of one comparison; see dt_ans_spend */
};

typedef enum dt_tok_kind {
    T_END, T_NUM, T_SYM, T_FUNC, T_INF, T_TEXT,
    T_PLUS, T_MINUS, T_PM, T_MP, T_MUL, T_DIV, T_POW, T_SUB, T_BANG, T_PRIME, T_PERCENT, T_CIRC, T_CUR,
    T_REL, T_IN, T_CUP, T_CAP, T_SETMINUS, T_EMPTY,
    T_LPAR, T_RPAR, T_LBRACK, T_RBRACK, T_LBRACE, T_RBRACE, T_LSET, T_RSET, T_LANGLE, T_RANGLE,
    T_LFLOOR, T_RFLOOR, T_LCEIL, T_RCEIL, T_BAR, T_DBAR, T_COMMA, T_AND, T_OR, T_COLON, T_MID, T_AMP, T_ROW,
    T_FRAC, T_SQRT, T_BINOM, T_CHOOSE, T_OVER, T_BEGIN, T_ENDENV, T_BIG, T_ACCENT, T_DOTS, T_MOD
} dt_tok_kind;

/* Functions that T_FUNC and N_FUNC name. */
typedef enum dt_fn {
    F_SIN, F_COS, F_TAN, F_COT, F_SEC, F_CSC, F_ASIN, F_ACOS, F_ATAN, F_ACOT, F_ASEC, F_ACSC, F_SINH, F_COSH, F_TANH, F_ASINH, F_ACOSH,
    F_ATANH, F_LN, F_LOG, F_LG, F_EXP, F_SQRT, F_CBRT, F_ABS, F_FLOOR, F_CEIL, F_MAX, F_MIN, F_GCD, F_LCM, F_RE, F_IM, F_ARG, F_CONJ, F_DET,
    F_BINOM, F_N
} dt_fn;

typedef struct dt_token {
    dt_tok_kind kind;
    bool space;    /* blank before it */
    int id;        /* T_FUNC: dt_fn; T_REL: one of "=<>lgn~..." */
    const char *s; /* T_NUM: digits, without point and separators; T_SYM, T_TEXT, T_CUR, T_BEGIN, T_BIG: name */
    size_t n;
    int scale;     /* T_NUM: digits after the point */
    int repeat;    /* T_NUM: how many of them, the last ones, repeat for ever */
    long exp10;    /* T_NUM */
    bool commas;   /* T_NUM: held plain commas that could be list separators too */
} dt_token;

typedef struct dt_tokens {
    dt_token *v;
    size_t n;
    bool commas; /* some number has `commas` */
} dt_tokens;

typedef enum dt_node_kind {
    N_NUM, N_SYM, N_INF, N_TEXT,
    N_ADD, N_MUL, N_NEG, N_DIV, N_POW, N_PM, /* PM: kids a, b (a +- b) or b alone; s "+" or "-" is the upper sign */
    N_FUNC,                                  /* fn, kids: arguments; fn LOG has the base second */
    N_ROOT,                                  /* kids: radicand, index */
    N_FACT, N_PERCENT, N_DEG,
    N_UNIT,                                  /* kid, s: unit or currency */
    N_BASE,                                  /* s: digits, kid: base */
    N_SET, N_LIST, N_TUPLE,                  /* TUPLE: s[0], s[1] the brackets; LIST: s[0] = ',', 'a'(nd) or 'o'(r) */
    N_CUP, N_CAP, N_SETMINUS, N_EMPTY,
    N_BUILD,                                 /* set builder: kids: pattern, condition */
    N_REL,                                   /* kids; s: n - 1 operators */
    N_RATIO, N_MATRIX,                       /* MATRIX: rows, kids row by row */
    N_BIG,                                   /* s: sum, prod, int, lim; kids: lower, upper (or NULL), body */
    N_OPAQUE                                 /* s: name; kids */
} dt_node_kind;

typedef struct dt_node {
    dt_node_kind kind;
    dt_fn fn;
    int n, rows;
    struct dt_node **kid;
    const char *s;
    size_t sn;
    int scale, repeat; /* NUM, as in the token */
    long exp10;
    bool paren;        /* stood in parentheses */
} dt_node;

/* One comparison: memory, the work left, and why it stopped. */
typedef struct dt_ans {
    dt_arena mem;
    long steps;
    int digits;      /* decimals that a rounded number must have */
    bool set_rel;    /* a set may match an inequality */
    const char *why; /* static: the first reason for "undecided" */
} dt_ans;

bool dt_ans_spend(dt_ans *c, long steps); /* false: the budget is gone (why is set) */
bool dt_ans_stop(dt_ans *c, const char *why); /* keeps the first reason; returns false */
void *dt_ans_alloc(dt_ans *c, size_t n, size_t size); /* zeroed; NULL = no memory (why is set) */
const char *dt_ans_copy(dt_ans *c, const char *s, size_t n);

/* The text in spellings that dt_ans_lex knows, *len bytes; NULL: c->why. */
const char *dt_ans_spell(dt_ans *c, const char *s, size_t n, size_t *len);
/* False: c->why says what is wrong. plain_commas: a comma between digits always separates. */
bool dt_ans_lex(dt_ans *c, const char *s, size_t n, bool plain_commas, dt_tokens *out);
dt_node *dt_ans_parse(dt_ans *c, const dt_tokens *t); /* NULL: c->why */
dt_node *dt_ans_node(dt_ans *c, dt_node_kind kind, int n, ...); /* with n kids; NULL = no memory */
bool dt_ans_word_fn(const char *s, size_t n, dt_fn *fn);

/* The same string for trees that differ in the order of sums, products and sets only. NULL = too long. */
const char *dt_ans_key(dt_ans *c, const dt_node *n, size_t *len);

typedef enum dt_tri { DT_NO, DT_YES, DT_UNKNOWN } dt_tri;
typedef enum dt_method { DT_BY_TEXT, DT_BY_EXACT, DT_BY_BALL, DT_BY_ROUNDING } dt_method; /* from the surest on */

dt_tri dt_ans_rational_equal(dt_ans *c, const dt_node *a, const dt_node *b); /* both rational numbers, else UNKNOWN */
dt_tri dt_ans_exact_equal(dt_ans *c, const dt_node *a, const dt_node *b);
/* Is a = factor * b for some constant factor (positive if `positive`)? */
dt_tri dt_ans_exact_proportional(dt_ans *c, const dt_node *a, const dt_node *b, bool positive);
bool dt_ans_small_int(dt_ans *c, const dt_node *n, long *v); /* an exact integer of at most 30 bits */

dt_tri dt_ans_ball_equal(dt_ans *c, const dt_node *a, const dt_node *b);
dt_tri dt_ans_ball_proportional(dt_ans *c, const dt_node *a, const dt_node *b, bool positive);
/* Equal if the numbers written with at least c->digits decimals stand for roundings. NO where there are none. */
dt_tri dt_ans_rounded_equal(dt_ans *c, const dt_node *a, const dt_node *b);
/* Sign of a - b of two real constants: -1, 0 (not separated), 1; false: not real constants. */
bool dt_ans_ball_order(dt_ans *c, const dt_node *a, const dt_node *b, int *sign);

/* A copy of n in which every plus-minus has its upper (or lower) sign; NULL = no memory. */
dt_node *dt_ans_choose(dt_ans *c, dt_node *n, bool upper);
bool dt_ans_has_pm(const dt_node *n);
bool dt_ans_is_line(const dt_node *n); /* all real numbers, as a symbol */
bool dt_ans_is_name(const dt_node *n); /* x, x_1, f(x), AB, ...: what an answer may be called */

/* Numbers and expressions; *by is raised to the weakest method used. */
dt_tri dt_ans_number_equal(dt_ans *c, const dt_node *a, const dt_node *b, dt_method *by);
/* As subsets of the real line; UNKNOWN where one of them is none (why is not set then). */
dt_tri dt_ans_real_equal(dt_ans *c, const dt_node *a, const dt_node *b, dt_method *by);
dt_tri dt_ans_equal(dt_ans *c, const dt_node *a, const dt_node *b, dt_method *by);

#endif
