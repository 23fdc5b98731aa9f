/* Answers, step 1: bytes to tokens. Spacing, sizing and font commands vanish here; a run of letters becomes a function,
 * a word or single-letter variables; digits with their separators become one number. */
#include "task/answer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool dt_ans_stop(dt_ans *c, const char *why) {
    if (!c->why) c->why = why;
    return false;
}

bool dt_ans_spend(dt_ans *c, long steps) {
    c->steps -= steps;
    return c->steps >= 0 || dt_ans_stop(c, "more work than allowed");
}

void *dt_ans_alloc(dt_ans *c, size_t n, size_t size) {
    if (c->mem.used > DT_ANS_MAX_MEMORY) {
        dt_ans_stop(c, "more memory than allowed");
        return NULL;
    }
    if (c->mem.used > c->mem.block_bytes) c->mem.block_bytes = c->mem.used; /* few blocks, however large the tree */
    void *p = dt_arena_alloc(&c->mem, n ? n : 1, size);
    if (p) return memset(p, 0, (n ? n : 1) * size);
    dt_ans_stop(c, "no memory");
    return NULL;
}

const char *dt_ans_copy(dt_ans *c, const char *s, size_t n) {
    char *p = dt_ans_alloc(c, n + 1, 1);
    if (p) memcpy(p, s, n);
    return p;
}

typedef struct word {
    const char *name;
    int kind, id;
    const char *s; /* name of the token, if not the word */
} word;

/* Functions by their names in LaTeX and in plain text. */
static const word functions[] = {
    {"sin", T_FUNC, F_SIN, 0},       {"cos", T_FUNC, F_COS, 0},       {"tan", T_FUNC, F_TAN, 0},       {"tg", T_FUNC, F_TAN, 0},
    {"cot", T_FUNC, F_COT, 0},       {"ctg", T_FUNC, F_COT, 0},       {"sec", T_FUNC, F_SEC, 0},       {"csc", T_FUNC, F_CSC, 0},
    {"arcsin", T_FUNC, F_ASIN, 0},   {"asin", T_FUNC, F_ASIN, 0},     {"arccos", T_FUNC, F_ACOS, 0},   {"acos", T_FUNC, F_ACOS, 0},
    {"arctan", T_FUNC, F_ATAN, 0},   {"atan", T_FUNC, F_ATAN, 0},     {"arctg", T_FUNC, F_ATAN, 0},    {"arccot", T_FUNC, F_ACOT, 0},
    {"arcsec", T_FUNC, F_ASEC, 0},   {"arccsc", T_FUNC, F_ACSC, 0},   {"sinh", T_FUNC, F_SINH, 0},     {"cosh", T_FUNC, F_COSH, 0},
    {"tanh", T_FUNC, F_TANH, 0},     {"arcsinh", T_FUNC, F_ASINH, 0}, {"arsinh", T_FUNC, F_ASINH, 0},  {"asinh", T_FUNC, F_ASINH, 0},
    {"arccosh", T_FUNC, F_ACOSH, 0}, {"acosh", T_FUNC, F_ACOSH, 0},   {"arctanh", T_FUNC, F_ATANH, 0}, {"atanh", T_FUNC, F_ATANH, 0},
    {"ln", T_FUNC, F_LN, 0},         {"log", T_FUNC, F_LOG, 0},       {"lg", T_FUNC, F_LG, 0},         {"exp", T_FUNC, F_EXP, 0},
    {"sqrt", T_FUNC, F_SQRT, 0},     {"cbrt", T_FUNC, F_CBRT, 0},     {"abs", T_FUNC, F_ABS, 0},       {"floor", T_FUNC, F_FLOOR, 0},
    {"ceil", T_FUNC, F_CEIL, 0},     {"max", T_FUNC, F_MAX, 0},       {"min", T_FUNC, F_MIN, 0},       {"gcd", T_FUNC, F_GCD, 0},
    {"lcm", T_FUNC, F_LCM, 0},       {"Re", T_FUNC, F_RE, 0},         {"Im", T_FUNC, F_IM, 0},         {"arg", T_FUNC, F_ARG, 0},
    {"det", T_FUNC, F_DET, 0},       {"binom", T_FUNC, F_BINOM, 0},   {"binomial", T_FUNC, F_BINOM, 0}, {"conj", T_FUNC, F_CONJ, 0},
};

/* Words of plain text that mean something. */
static const word words[] = {
    {"pi", T_SYM, 0, "\\pi"}, {"infinity", T_INF, 0, 0}, {"inf", T_INF, 0, 0},      {"oo", T_INF, 0, 0},     {"infty", T_INF, 0, 0},
    {"and", T_AND, 0, 0},     {"or", T_OR, 0, 0},        {"percent", T_PERCENT, 0, 0}, {"pct", T_PERCENT, 0, 0}, {"degrees", T_CIRC, 0, 0}, {"degree", T_CIRC, 0, 0},
    {"union", T_CUP, 0, 0},   {"theta", T_SYM, 0, "\\theta"}, {"alpha", T_SYM, 0, "\\alpha"}, {"beta", T_SYM, 0, "\\beta"}, {"mod", T_MOD, 0, 0},
    {"lambda", T_SYM, 0, "\\lambda"}, {"sigma", T_SYM, 0, "\\sigma"}, {"omega", T_SYM, 0, "\\omega"}, {"gamma", T_SYM, 0, "\\gamma"},
};

/* Commands of LaTeX. kind -1: vanishes; -2: font or text with a braced argument; -3: vanishes with its braced argument. */
static const word commands[] = {
    {",", -1, 0, 0}, {";", -1, 0, 0}, {"!", -1, 0, 0}, {":", -1, 0, 0}, {" ", -1, 0, 0}, {">", -1, 0, 0}, {"quad", -1, 0, 0}, {"qquad", -1, 0, 0},
    {"thinspace", -1, 0, 0}, {"medspace", -1, 0, 0}, {"thickspace", -1, 0, 0}, {"enspace", -1, 0, 0}, {"negthinspace", -1, 0, 0},
    {"hspace", -3, 0, 0}, {"vspace", -3, 0, 0}, {"phantom", -3, 0, 0}, {"hphantom", -3, 0, 0}, {"label", -3, 0, 0}, {"tag", -3, 0, 0}, {"space", -1, 0, 0},
    {"left", -1, 1, 0}, {"right", -1, 1, 0}, {"middle", -1, 1, 0}, {"big", -1, 1, 0}, {"Big", -1, 1, 0}, {"bigg", -1, 1, 0}, {"Bigg", -1, 1, 0}, {"bigl", -1, 1, 0},
    {"bigr", -1, 1, 0}, {"Bigl", -1, 1, 0}, {"Bigr", -1, 1, 0}, {"biggl", -1, 1, 0}, {"biggr", -1, 1, 0}, {"Biggl", -1, 1, 0}, {"Biggr", -1, 1, 0},
    {"displaystyle", -1, 0, 0}, {"textstyle", -1, 0, 0}, {"scriptstyle", -1, 0, 0}, {"limits", -1, 0, 0}, {"nolimits", -1, 0, 0}, {"rm", -1, 0, 0},
    {"bf", -1, 0, 0}, {"it", -1, 0, 0}, {"boxed", -1, 0, 0}, {"fbox", -1, 0, 0}, {"mathstrut", -1, 0, 0}, {"strut", -1, 0, 0}, {"hfill", -1, 0, 0},
    {"newline", -1, 0, 0}, {"therefore", -1, 0, 0}, {"allowbreak", -1, 0, 0}, {"ensuremath", -1, 0, 0}, {"(", -1, 0, 0}, {")", -1, 0, 0}, {"nonumber", -1, 0, 0},
    {"text", -2, 0, 0}, {"textbf", -2, 0, 0}, {"textit", -2, 0, 0}, {"textrm", -2, 0, 0}, {"textnormal", -2, 0, 0}, {"texttt", -2, 0, 0}, {"textsf", -2, 0, 0},
    {"mbox", -2, 0, 0}, {"hbox", -2, 0, 0}, {"mathrm", -2, 0, 0}, {"mathbf", -2, 1, 0}, {"mathit", -2, 0, 0}, {"mathsf", -2, 0, 0}, {"mathtt", -2, 0, 0},
    {"boldsymbol", -2, 1, 0}, {"bm", -2, 1, 0}, {"mathnormal", -2, 1, 0}, {"operatorname", -2, 0, 0}, {"emph", -2, 0, 0}, {"unit", -2, 0, 0}, {"textup", -2, 0, 0}, {"underline", -1, 0, 0},
    {"frac", T_FRAC, 0, 0}, {"dfrac", T_FRAC, 0, 0}, {"tfrac", T_FRAC, 0, 0}, {"cfrac", T_FRAC, 0, 0}, {"nicefrac", T_FRAC, 0, 0}, {"sfrac", T_FRAC, 0, 0}, {"sqrt", T_SQRT, 0, 0},
    {"binom", T_BINOM, 0, 0}, {"dbinom", T_BINOM, 0, 0}, {"tbinom", T_BINOM, 0, 0}, {"choose", T_CHOOSE, 0, 0}, {"over", T_OVER, 0, 0},
    {"cdot", T_MUL, 0, 0}, {"times", T_MUL, 0, 0}, {"ast", T_MUL, 0, 0}, {"cdotp", T_MUL, 0, 0}, {"div", T_DIV, 0, 0}, {"pm", T_PM, 0, 0}, {"mp", T_MP, 0, 0}, {"slash", T_DIV, 0, 0},
    {"le", T_REL, 'l', 0}, {"leq", T_REL, 'l', 0}, {"leqslant", T_REL, 'l', 0}, {"ge", T_REL, 'g', 0}, {"geq", T_REL, 'g', 0}, {"geqslant", T_REL, 'g', 0},
    {"lt", T_REL, '<', 0}, {"gt", T_REL, '>', 0}, {"ne", T_REL, 'n', 0}, {"neq", T_REL, 'n', 0}, {"approx", T_REL, '~', 0}, {"equiv", T_REL, 'e', 0}, {"cong", T_REL, 'c', 0},
    {"sim", T_REL, 's', 0}, {"to", T_REL, 't', 0}, {"rightarrow", T_REL, 't', 0}, {"mapsto", T_REL, 't', 0}, {"implies", T_REL, 'i', 0}, {"Rightarrow", T_REL, 'i', 0}, {"propto", T_REL, 'p', 0},
    {"iff", T_REL, 'f', 0}, {"parallel", T_REL, 'P', 0}, {"perp", T_REL, 'T', 0}, {"subset", T_REL, 'S', 0}, {"subseteq", T_REL, 'S', 0}, {"simeq", T_REL, '~', 0}, {"leftrightarrow", T_REL, 'f', 0},
    {"in", T_IN, 0, 0}, {"cup", T_CUP, 0, 0}, {"bigcup", T_CUP, 0, 0}, {"cap", T_CAP, 0, 0}, {"setminus", T_SETMINUS, 0, 0}, {"backslash", T_SETMINUS, 0, 0}, {"smallsetminus", T_SETMINUS, 0, 0},
    {"emptyset", T_EMPTY, 0, 0}, {"varnothing", T_EMPTY, 0, 0}, {"infty", T_INF, 0, 0}, {"{", T_LSET, 0, 0}, {"}", T_RSET, 0, 0}, {"lbrace", T_LSET, 0, 0}, {"rbrace", T_RSET, 0, 0},
    {"langle", T_LANGLE, 0, 0}, {"rangle", T_RANGLE, 0, 0}, {"lfloor", T_LFLOOR, 0, 0}, {"rfloor", T_RFLOOR, 0, 0}, {"lceil", T_LCEIL, 0, 0}, {"rceil", T_RCEIL, 0, 0},
    {"lvert", T_BAR, 0, 0}, {"rvert", T_BAR, 0, 0}, {"vert", T_BAR, 0, 0}, {"|", T_DBAR, 0, 0}, {"Vert", T_DBAR, 0, 0}, {"lVert", T_DBAR, 0, 0}, {"rVert", T_DBAR, 0, 0}, {"mid", T_MID, 0, 0},
    {"lbrack", T_LBRACK, 0, 0}, {"rbrack", T_RBRACK, 0, 0}, {"land", T_AND, 0, 0}, {"wedge", T_AND, 0, 0}, {"lor", T_OR, 0, 0}, {"vee", T_OR, 0, 0}, {"colon", T_COLON, 0, 0},
    {"circ", T_CIRC, 0, 0}, {"degree", T_CIRC, 0, 0}, {"%", T_PERCENT, 0, 0}, {"$", T_CUR, 0, "$"}, {"pounds", T_CUR, 0, "pound"}, {"euro", T_CUR, 0, "euro"}, {"prime", T_PRIME, 0, 0},
    {"begin", T_BEGIN, 0, 0}, {"end", T_ENDENV, 0, 0}, {"\\", T_ROW, 0, 0}, {"cr", T_ROW, 0, 0}, {"sum", T_BIG, 0, "sum"}, {"prod", T_BIG, 0, "prod"}, {"int", T_BIG, 0, "int"}, {"lim", T_BIG, 0, "lim"},
    {"overline", T_ACCENT, 0, "bar"}, {"bar", T_ACCENT, 0, "bar"}, {"vec", T_ACCENT, 0, "vec"}, {"overrightarrow", T_ACCENT, 0, "vec"}, {"hat", T_ACCENT, 0, "hat"}, {"widehat", T_ACCENT, 0, "hat"},
    {"tilde", T_ACCENT, 0, "tilde"}, {"dot", T_ACCENT, 0, "dot"}, {"ddot", T_ACCENT, 0, "ddot"}, {"widetilde", T_ACCENT, 0, "tilde"}, {"mathbb", T_ACCENT, 0, "bb"}, {"mathcal", T_ACCENT, 0, "cal"},
    {"mathfrak", T_ACCENT, 0, "frak"}, {"overset", -3, 0, 0}, {"ldots", T_DOTS, 0, 0}, {"dots", T_DOTS, 0, 0}, {"cdots", T_DOTS, 0, 0}, {"dotsc", T_DOTS, 0, 0}, {"vdots", T_DOTS, 0, 0}, {"ddots", T_DOTS, 0, 0},
    {"bmod", T_MOD, 0, 0}, {"mod", T_MOD, 0, 0}, {"pmod", T_MOD, 0, 0}, {"varepsilon", T_SYM, 0, "\\epsilon"}, {"varphi", T_SYM, 0, "\\phi"}, {"vartheta", T_SYM, 0, "\\theta"}, {"dag", T_SYM, 0, 0},
    {"Z", T_ACCENT, 0, "bb"}, {"And", T_AND, 0, 0}, {"textdollar", T_CUR, 0, "$"}, {"and", T_AND, 0, 0},
};

/* Characters beyond ASCII. */
static const word chars[] = {
    {"\xC2\xA0", -1, 0, 0}, {"\xE2\x80\x89", -1, 0, 0}, {"\xE2\x80\xAF", -1, 0, 0}, {"\xE2\x80\x8A", -1, 0, 0}, {"\xE2\x80\x83", -1, 0, 0}, {"\xE2\x80\x82", -1, 0, 0}, {"\xE2\x80\x8B", -1, 0, 0}, {"\xE3\x80\x80", -1, 0, 0},
    {"\xE2\x88\x92", T_MINUS, 0, 0}, {"\xE2\x80\x93", T_MINUS, 0, 0}, {"\xC3\x97", T_MUL, 0, 0}, {"\xC2\xB7", T_MUL, 0, 0}, {"\xE2\x8B\x85", T_MUL, 0, 0}, {"\xC3\xB7", T_DIV, 0, 0}, {"\xE2\x88\x95", T_DIV, 0, 0}, {"\xE2\x81\x84", T_DIV, 0, 0},
    {"\xC2\xB1", T_PM, 0, 0}, {"\xE2\x88\x93", T_MP, 0, 0}, {"\xE2\x89\xA4", T_REL, 'l', 0}, {"\xE2\x89\xA5", T_REL, 'g', 0}, {"\xE2\xA9\xBD", T_REL, 'l', 0}, {"\xE2\xA9\xBE", T_REL, 'g', 0}, {"\xE2\x89\xA0", T_REL, 'n', 0}, {"\xE2\x89\x88", T_REL, '~', 0},
    {"\xE2\x88\x88", T_IN, 0, 0}, {"\xE2\x88\xAA", T_CUP, 0, 0}, {"\xE2\x88\xA9", T_CAP, 0, 0}, {"\xE2\x88\x96", T_SETMINUS, 0, 0}, {"\xE2\x88\x85", T_EMPTY, 0, 0}, {"\xE2\x88\x9E", T_INF, 0, 0}, {"\xC2\xB0", T_CIRC, 1, 0},
    {"\xCF\x80", T_SYM, 0, "\\pi"}, {"\xCE\xB8", T_SYM, 0, "\\theta"}, {"\xCE\xB1", T_SYM, 0, "\\alpha"}, {"\xCE\xB2", T_SYM, 0, "\\beta"}, {"\xCE\xBB", T_SYM, 0, "\\lambda"}, {"\xE2\x88\x9A", T_SQRT, 0, 0}, {"\xE2\x82\xAC", T_CUR, 0, "euro"},
    {"\xC2\xA3", T_CUR, 0, "pound"}, {"\xC2\xA5", T_CUR, 0, "yen"}, {"\xE2\x80\xA6", T_DOTS, 0, 0}, {"\xEF\xBC\x8C", T_COMMA, 0, 0}, {"\xE3\x80\x81", T_COMMA, 0, 0}, {"\xEF\xBC\x9A", T_COLON, 0, 0}, {"\xE2\x84\x9D", T_SYM, 0, "bb(R)"},
    {"\xEF\xBC\x88", T_LPAR, 0, 0}, {"\xEF\xBC\x89", T_RPAR, 0, 0}, {"\xE2\x9F\xA8", T_LANGLE, 0, 0}, {"\xE2\x9F\xA9", T_RANGLE, 0, 0}, {"\xE2\x80\xB2", T_PRIME, 0, 0},
};

/* Units that a run of letters may be right after a number. */
static const char *const short_units[] = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "mi", "mph", "kmh", "lb", "lbs", "oz", "hr", "hrs", "min", "sec", "nm", "kW", "Hz", "kJ",
                                          "USD", "EUR", "AM", "PM", "day", "ton", "cm2", "yd", "yr", "yrs", "am", "pm", "deg", "kPa", "rad", "mol", "kN", "in", "Pa"};

typedef struct lexer {
    dt_ans *c;
    const char *s;
    size_t n, i;
    bool space, plain_commas;
    int inner; /* depth of brackets in which a comma separates */
    int envs;  /* open environments: there \\ ends a row */
    dt_tokens *out;
} lexer;

static const word *look_up(const word *table, size_t n, const char *s, size_t len) {
    for (size_t i = 0; i < n; i++)
        if (table[i].name[0] == s[0] && strlen(table[i].name) == len && !memcmp(table[i].name, s, len)) return &table[i];
    return NULL;
}

bool dt_ans_word_fn(const char *s, size_t n, dt_fn *fn) {
    const word *w = n ? look_up(functions, DT_COUNT(functions), s, n) : NULL;
    if (w) *fn = (dt_fn)w->id;
    return w != NULL;
}

static dt_token *push(lexer *l, dt_tok_kind kind) {
    if (l->out->n >= DT_ANS_MAX_TOKENS) {
        dt_ans_stop(l->c, "too long an answer");
        return NULL;
    }
    dt_token *t = &l->out->v[l->out->n++];
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->space = l->space;
    l->space = false;
    l->inner += kind == T_LPAR || kind == T_LBRACK || kind == T_LSET || kind == T_LANGLE;
    l->inner -= kind == T_RPAR || kind == T_RBRACK || kind == T_RSET || kind == T_RANGLE;
    return t;
}

static bool push_named(lexer *l, dt_tok_kind kind, const char *s, size_t n) {
    dt_token *t = push(l, kind);
    if (!t) return false;
    t->s = s;
    t->n = n;
    return true;
}

static bool digit_at(const lexer *l, size_t i) { return i < l->n && isdigit((unsigned char)l->s[i]); }

static bool text_at(const lexer *l, size_t i, const char *what) {
    size_t n = strlen(what);
    return i <= l->n && l->n - i >= n && !memcmp(l->s + i, what, n);
}

/* Three digits and then no digit. */
static bool group_at(const lexer *l, size_t i) { return digit_at(l, i) && digit_at(l, i + 1) && digit_at(l, i + 2) && !digit_at(l, i + 3); }

/* A thousands separator at i: its length; 0 = none. *comma: it is a plain comma. */
static size_t separator(const lexer *l, size_t i, bool *comma) {
    static const char *const marks[] = {"{,}", "\\,", "\\!", "\\;", "\\:", "\\ ", "~", "\xC2\xA0", "\xE2\x80\x89", "\xE2\x80\xAF", "{\\,}", "{ }"};
    *comma = false;
    if (text_at(l, i, ",")) {
        size_t k = 1;
        while (text_at(l, i + k, "\\!") || (k > 1 && text_at(l, i + k, " ")))
            k += text_at(l, i + k, " ") ? 1 : 2;
        if (!group_at(l, i + k)) return 0;
        if (k == 1 && (l->plain_commas || l->inner > 0)) return 0;
        *comma = k == 1;
        return k;
    }
    size_t b = i; /* {,} with blanks anywhere */
    while (text_at(l, b, " ") || text_at(l, b, "{"))
        b++;
    if (b > i && text_at(l, b, ",") && l->s[b - 1] != ',') {
        bool brace = memchr(l->s + i, '{', b - i) != NULL;
        for (b++; text_at(l, b, " "); b++)
            ;
        if (brace && text_at(l, b, "}")) {
            for (b++; text_at(l, b, " "); b++)
                ;
            if (group_at(l, b)) return b - i;
        }
    }
    for (size_t k = 0; k < DT_COUNT(marks); k++) {
        if (!text_at(l, i, marks[k])) continue;
        size_t n = strlen(marks[k]);
        while (text_at(l, i + n, "\\!") || text_at(l, i + n, "\\,"))
            n += 2;
        if (group_at(l, i + n)) return n;
    }
    if (text_at(l, i, " ") && group_at(l, i + 1)) {
        size_t after = i + 4; /* "1 234/5" and "1 234^2" are no groups of digits */
        while (after < l->n && l->s[after] == ' ')
            after++;
        if (!text_at(l, after, "/") && !text_at(l, after, "^")) return 1;
    }
    return 0;
}

/* \overline{36} or \bar 3 or (36) after the decimals: repeating digits. */
static size_t repeating(const lexer *l, size_t i, size_t *from, size_t *to) {
    size_t k = 0;
    char close = 0;
    if (text_at(l, i, "\\overline{") || text_at(l, i, "\\bar{") || text_at(l, i, "\\dot{")) {
        k = i + (size_t)(strchr(l->s + i, '{') - (l->s + i)) + 1;
        close = '}';
    } else if (text_at(l, i, "(")) {
        k = i + 1;
        close = ')';
    } else {
        return 0;
    }
    *from = k;
    while (digit_at(l, k))
        k++;
    *to = k;
    return k > *from && k - *from <= 40 && k < l->n && l->s[k] == close ? k + 1 - i : 0;
}

static bool number(lexer *l) {
    size_t i = l->i, len = 0;
    bool grouped = false, commas = false;
    char d[DT_ANS_MAX_DIGITS + 64];
    size_t first = i;
    while (digit_at(l, i)) {
        if (len >= DT_ANS_MAX_DIGITS) return dt_ans_stop(l->c, "too many digits in a number");
        d[len++] = l->s[i++];
        bool comma = false;
        size_t sep = (grouped || i - first <= 3) && !digit_at(l, i) ? separator(l, i, &comma) : 0;
        if (sep && (grouped || l->s[first] != '0')) {
            grouped = true;
            commas = commas || comma;
            i += sep;
        }
    }
    int scale = 0, repeat = 0;
    size_t point = text_at(l, i, "{,}") && !group_at(l, i + 3) && digit_at(l, i + 3) && !grouped ? 3 : text_at(l, i, ".") && !text_at(l, i, "..") ? 1 : 0;
    if (point) {
        size_t k = i + point, from = 0, to = 0;
        while (digit_at(l, k)) {
            if (len >= DT_ANS_MAX_DIGITS) return dt_ans_stop(l->c, "too many digits in a number");
            d[len++] = l->s[k++];
            scale++;
            bool comma = false;
            if (text_at(l, k, "\\,") && digit_at(l, k + 2) && separator(l, k, &comma)) k += 2; /* 3.141\,592 */
        }
        size_t rep = repeating(l, k, &from, &to);
        if (rep && (l->s[k] != '(' || scale)) {
            repeat = (int)(to - from);
            memcpy(d + len, l->s + from, to - from);
            len += to - from;
            scale += repeat;
            k += rep;
        }
        if (scale || len) i = k; /* "5." is 5 */
    }
    long exp10 = 0;
    if (i < l->n && (l->s[i] == 'e' || l->s[i] == 'E')) {
        size_t k = i + 1;
        if (k < l->n && (l->s[k] == '-' || l->s[k] == '+')) k++;
        if (digit_at(l, k)) {
            char text[24] = {0};
            memcpy(text, l->s + i + 1, l->n - i - 1 < 23 ? l->n - i - 1 : 23);
            exp10 = strtol(text, NULL, 10);
            while (digit_at(l, k))
                k++;
            i = k;
            if (exp10 > 1000000000000000 || exp10 < -1000000000000000) return dt_ans_stop(l->c, "too large an exponent");
        }
    }
    dt_token *t = push(l, T_NUM);
    if (!t) return false;
    t->s = dt_ans_copy(l->c, d, len);
    if (!t->s) return false;
    t->n = len;
    t->scale = scale;
    t->repeat = repeat;
    t->exp10 = exp10;
    t->commas = commas;
    l->out->commas = l->out->commas || commas;
    l->i = i;
    return true;
}

static bool has_vowel(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strchr("aeiouyAEIOUY", s[i])) return true;
    return false;
}

static bool after_quantity(const lexer *l) {
    if (!l->out->n) return false;
    dt_tok_kind k = l->out->v[l->out->n - 1].kind;
    return k == T_NUM || k == T_RPAR || k == T_RBRACE;
}

/* A run of letters that is not a command. in_text: it stands in \text{} and its kin. */
static bool letters(lexer *l, bool in_text) {
    const char *s = l->s + l->i;
    size_t n = 0;
    while (l->i + n < l->n && isalpha((unsigned char)s[n]))
        n++;
    if ((n == 2 && !memcmp(s, "np", 2) && text_at(l, l->i + 2, ".")) || (n == 4 && !memcmp(s, "math", 4) && text_at(l, l->i + 4, "."))) {
        l->i += n + 1; /* numpy and Python spellings */
        return true;
    }
    if (n == 1 && (text_at(l, l->i, "a.m") || text_at(l, l->i, "p.m") || text_at(l, l->i, "A.M") || text_at(l, l->i, "P.M")) && !isalpha((unsigned char)(l->i + 3 < l->n ? s[3] : ' '))) {
        l->i += 3 + (size_t)text_at(l, l->i + 3, ".");
        return push_named(l, T_TEXT, *s == 'a' || *s == 'A' ? "am" : "pm", 2);
    }
    const word *w = n > 1 ? look_up(words, DT_COUNT(words), s, n) : NULL;
    if (w && (w->kind != T_CIRC || after_quantity(l))) {
        l->i += n;
        const char *name = w->s ? w->s : w->name;
        return push_named(l, (dt_tok_kind)w->kind, name, strlen(name));
    }
    dt_fn fn = F_N;
    bool minutes = n == 3 && !memcmp(s, "min", 3) && after_quantity(l) && !text_at(l, l->i + 3, "(") && !text_at(l, l->i + 3, "{") && !text_at(l, l->i + 3, "_");
    if (n > 1 && !in_text && !minutes && (dt_ans_word_fn(s, n, &fn))) {
        dt_token *t = push(l, T_FUNC);
        if (t) t->id = fn;
        l->i += n;
        return t != NULL;
    }
    for (size_t k = 1; !in_text && k < n && text_at(l, l->i + n, "("); k++) /* xsin( */
        if (n - k > 1 && n <= 6 && dt_ans_word_fn(s + k, n - k, &fn)) {
            for (size_t q = 0; q < k; q++)
                if (!push_named(l, T_SYM, s + q, 1)) return false;
            dt_token *t = push(l, T_FUNC);
            if (t) t->id = fn;
            l->i += n;
            return t != NULL;
        }
    bool is_unit = false;
    for (size_t k = 0; k < DT_COUNT(short_units); k++)
        is_unit = is_unit || (strlen(short_units[k]) == n && !memcmp(short_units[k], s, n));
    if (in_text || (n >= 4 && has_vowel(s, n) && !(isupper((unsigned char)s[0]) && isupper((unsigned char)s[1]) && n == 4)) || (is_unit && after_quantity(l))) {
        size_t end = n; /* the words that follow belong to it */
        for (;;) {
            size_t k = end, q = 0;
            while (l->i + k < l->n && (s[k] == ' ' || s[k] == '-' || (in_text && s[k] == '.')))
                k++;
            while (l->i + k + q < l->n && isalpha((unsigned char)s[k + q]))
                q++;
            if (!q || (k == end) || (look_up(words, DT_COUNT(words), s + k, q)) || (!in_text && q < 2)) break;
            end = k + q;
        }
        l->i += end;
        return push_named(l, T_TEXT, s, end);
    }
    for (size_t k = 0; k < n; k++)
        if (!push_named(l, T_SYM, s + k, 1)) return false;
    l->i += n;
    return true;
}

static bool lex_run(lexer *l, bool in_text, int depth);

/* The braced argument at the cursor (blanks before it allowed): its place without braces; false if there is none. */
static bool argument(lexer *l, size_t *from, size_t *to) {
    size_t i = l->i;
    while (i < l->n && l->s[i] == ' ')
        i++;
    if (i >= l->n || l->s[i] != '{') return false;
    int depth = 0;
    for (size_t k = i; k < l->n; k++) {
        if (l->s[k] == '\\' && k + 1 < l->n) {
            k++;
            continue;
        }
        depth += l->s[k] == '{';
        depth -= l->s[k] == '}';
        if (!depth) {
            *from = i + 1;
            *to = k;
            l->i = k + 1;
            return true;
        }
    }
    return false;
}

static bool sub_lex(lexer *l, size_t from, size_t to, bool in_text, int depth) {
    size_t i = l->i, n = l->n;
    l->i = from;
    l->n = to;
    bool ok = lex_run(l, in_text, depth + 1);
    l->i = i;
    l->n = n;
    return ok;
}

/* \text{...}, \mathrm{...}: a letter or two is a name, the rest words. */
static bool text_command(lexer *l, bool bold, int depth) {
    size_t from = 0, to = 0;
    if (!argument(l, &from, &to)) return true;
    while (from < to && l->s[from] == ' ')
        from++;
    while (to > from && l->s[to - 1] == ' ')
        to--;
    size_t k = from;
    while (k < to && isalpha((unsigned char)l->s[k]))
        k++;
    dt_fn fn = F_N;
    bool all = k == to && to > from;
    bool minutes = all && to - from == 3 && text_at(l, from, "min") && after_quantity(l);
    if (all && !minutes && dt_ans_word_fn(l->s + from, to - from, &fn)) {
        dt_token *t = push(l, T_FUNC);
        if (t) t->id = fn;
        return t != NULL;
    }
    if (all && to - from == 1 && !after_quantity(l)) return push_named(l, T_SYM, l->s + from, 1);
    l->space = true;
    return sub_lex(l, from, to, !bold, depth);
}

static bool command(lexer *l, int depth) {
    size_t at = l->i++, n = 0;
    while (l->i + n < l->n && isalpha((unsigned char)l->s[l->i + n]))
        n++;
    if (!n) n = l->i < l->n;
    const char *s = l->s + l->i;
    if (!n) return true; /* a backslash at the end */
    l->i += n;
    if (*s == '\\' && l->envs <= 0) { /* a command typed with two backslashes */
        size_t k = 0;
        while (l->i + k < l->n && isalpha((unsigned char)s[k + 1]))
            k++;
        if (k > 1 && (look_up(commands, DT_COUNT(commands), s + 1, k) || look_up(functions, DT_COUNT(functions), s + 1, k))) {
            l->i--;
            return true;
        }
    }
    const word *w = look_up(commands, DT_COUNT(commands), s, n);
    if (!w) w = look_up(functions, DT_COUNT(functions), s, n);
    if (!w && n > 3 && !memcmp(s, "text", 4)) return push_named(l, T_TEXT, s + 4, n - 4); /* \textcm, seen in the wild */
    if (!w) return push_named(l, T_SYM, l->s + at, n + 1);
    if (w->kind == -1) {
        l->space = true;
        if (w->id && text_at(l, l->i, ".")) l->i++; /* \left. */
        return true;
    }
    if (w->kind == -2) return text_command(l, w->id == 1, depth);
    size_t from = 0, to = 0;
    if (w->kind == -3) {
        argument(l, &from, &to);
        return true;
    }
    if (w->kind == T_BEGIN || w->kind == T_ENDENV) {
        if (!argument(l, &from, &to)) return dt_ans_stop(l->c, "\\begin or \\end without a name");
        l->envs += w->kind == T_BEGIN ? 1 : -1;
        if (w->kind == T_BEGIN && to - from >= 5 && !memcmp(l->s + from, "array", 5)) {
            size_t a = 0, b = 0;
            argument(l, &a, &b);
        }
        return push_named(l, (dt_tok_kind)w->kind, l->s + from, to - from);
    }
    dt_token *t = push(l, (dt_tok_kind)w->kind);
    if (!t) return false;
    t->id = w->id;
    t->s = w->s ? w->s : w->kind == T_SYM ? l->s + at : w->name;
    t->n = w->s ? strlen(w->s) : w->kind == T_SYM ? n + 1 : strlen(w->name);
    return true;
}

static bool punctuation(lexer *l) {
    static const struct {
        const char *s;
        dt_tok_kind kind;
        int id;
    } marks[] = {{"<=", T_REL, 'l'}, {">=", T_REL, 'g'}, {"!=", T_REL, 'n'}, {"==", T_REL, '='}, {"=<", T_REL, 'l'}, {"=>", T_REL, 'i'}, {"->", T_REL, 't'}, {"**", T_POW, 0}, {"...", T_DOTS, 0},
                 {"+-", T_PM, 0},    {"+/-", T_PM, 0},   {"+", T_PLUS, 0},   {"-", T_MINUS, 0},  {"*", T_MUL, 0},    {"/", T_DIV, 0},    {"^", T_POW, 0},    {"_", T_SUB, 0},
                 {"!", T_BANG, 0},   {"'", T_PRIME, 0},  {"%", T_PERCENT, 0}, {"=", T_REL, '='}, {"<", T_REL, '<'},  {">", T_REL, '>'},  {"(", T_LPAR, 0},   {")", T_RPAR, 0},
                 {"[", T_LBRACK, 0}, {"]", T_RBRACK, 0}, {"{", T_LBRACE, 0}, {"}", T_RBRACE, 0}, {"|", T_BAR, 0},    {",", T_COMMA, 0},  {";", T_COMMA, ';'},  {":", T_COLON, 0},  {"&", T_AMP, 0}};
    for (size_t k = 0; k < DT_COUNT(marks); k++)
        if (text_at(l, l->i, marks[k].s)) {
            if (marks[k].kind == T_REL && marks[k].id == 'n' && l->out->n && text_at(l, l->i, "!==")) continue;
            dt_token *t = push(l, marks[k].kind);
            if (!t) return false;
            t->id = marks[k].id;
            l->i += strlen(marks[k].s);
            return true;
        }
    return dt_ans_stop(l->c, "a character that no answer has");
}

static bool lex_run(lexer *l, bool in_text, int depth) {
    if (depth > 20) return dt_ans_stop(l->c, "nested too deeply");
    while (l->i < l->n) {
        unsigned char ch = (unsigned char)l->s[l->i];
        bool ok = true;
        if (isspace(ch) || ch == '~' || ch == '$' || (in_text && (ch == '.' || ch == '\'')) || ch == '"' || ch == '`' || (ch == '*' && in_text)) {
            l->i++;
            l->space = true;
        } else if (isdigit(ch) || (ch == '.' && digit_at(l, l->i + 1))) {
            ok = number(l);
        } else if (isalpha(ch)) {
            ok = letters(l, in_text);
        } else if (ch == '\\') {
            ok = command(l, depth);
        } else if (ch >= 0x80) {
            const word *w = NULL;
            for (size_t k = 0; !w && k < DT_COUNT(chars); k++)
                if (text_at(l, l->i, chars[k].name)) w = &chars[k];
            if (w) {
                l->i += strlen(w->name);
                if (w->kind == -1) {
                    l->space = true;
                } else {
                    dt_token *t = push(l, (dt_tok_kind)w->kind);
                    if (!t) return false;
                    t->id = w->id;
                    t->s = w->s ? w->s : w->name;
                    t->n = strlen(t->s);
                }
            } else { /* words of other scripts */
                size_t k = l->i;
                while (k < l->n && (unsigned char)l->s[k] >= 0x80)
                    k++;
                ok = push_named(l, T_TEXT, l->s + l->i, k - l->i);
                l->i = k;
            }
        } else {
            ok = punctuation(l);
        }
        if (!ok) return false;
    }
    return true;
}

/* In align and its kin marks of columns go, and a row that begins with a relation goes on with the row before: one chain. */
static void join_rows(dt_tokens *t) {
    static const char *const kinds[] = {"align", "aligned", "alignat", "split", "gather", "gathered", "eqnarray", "multline"};
    size_t out = 0;
    int inside = 0, other = 0;
    for (size_t i = 0; i < t->n; i++) {
        dt_token k = t->v[i];
        size_t name = k.kind == T_BEGIN || k.kind == T_ENDENV ? k.n - (k.n && k.s[k.n - 1] == '*') : 0;
        bool chain = false;
        for (size_t q = 0; name && q < DT_COUNT(kinds); q++)
            chain = chain || (strlen(kinds[q]) == name && !memcmp(kinds[q], k.s, name));
        if (k.kind == T_BEGIN || k.kind == T_ENDENV) *(chain ? &inside : &other) += k.kind == T_BEGIN ? 1 : -1;
        if (inside > 0 && other <= 0) {
            size_t next = i + 1;
            while (next < t->n && t->v[next].kind == T_AMP)
                next++;
            if (k.kind == T_AMP || (k.kind == T_ROW && next < t->n && t->v[next].kind == T_REL)) continue;
        }
        t->v[out++] = k;
    }
    t->n = out;
}

bool dt_ans_lex(dt_ans *c, const char *s, size_t n, bool plain_commas, dt_tokens *out) {
    memset(out, 0, sizeof *out);
    if (n > DT_ANS_MAX_BYTES) return dt_ans_stop(c, "too long an answer");
    const char *text = dt_ans_spell(c, s, n, &n);
    size_t cap = n + 2 < DT_ANS_MAX_TOKENS ? n + 2 : DT_ANS_MAX_TOKENS;
    out->v = dt_ans_alloc(c, cap + 1, sizeof *out->v);
    lexer l = {.c = c, .s = text, .n = n, .plain_commas = plain_commas, .out = out};
    if (!out->v || !l.s || !lex_run(&l, false, 0)) return false;
    join_rows(out);
    while (out->n && (out->v[out->n - 1].kind == T_COMMA || out->v[out->n - 1].kind == T_ROW))
        out->n--;
    out->v[out->n].kind = T_END;
    return true;
}
