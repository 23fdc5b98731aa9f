/* Two trees: what shape each has, and which shapes may meet. Numbers and expressions go to the exact and the ball stage.
 *
 * What may be left out on one side only: a unit, a currency, a percent sign, a degree sign, "x =" and "x \in". What must be
 * the same in order: tuples, intervals, matrices. What need not: sets and lists. */
#include "task/answer.h"

#include <ctype.h>
#include <string.h>

static void raise_to(dt_method *by, dt_method m) {
    if (m > *by) *by = m;
}

/* ---- numbers ---- */

static bool has_kind(const dt_node *n, dt_node_kind kind) {
    if (n->kind == kind) return true;
    for (int i = 0; i < n->n; i++)
        if (has_kind(n->kid[i], kind)) return true;
    return false;
}

static bool has_decimals(const dt_node *n, int digits) {
    if (n->kind == N_NUM) return n->scale >= digits;
    for (int i = 0; i < n->n; i++)
        if (has_decimals(n->kid[i], digits)) return true;
    return false;
}

static bool has_infinity(const dt_node *n, bool *minus) {
    *minus = n->kind == N_NEG;
    if (n->kind == N_NEG) n = n->kid[0];
    return n->kind == N_INF;
}

static dt_tri keys_equal(dt_ans *c, const dt_node *a, const dt_node *b) {
    size_t n = 0, m = 0;
    const char *x = dt_ans_key(c, a, &n), *y = x ? dt_ans_key(c, b, &m) : NULL;
    return x && y ? (n == m && !memcmp(x, y, n) ? DT_YES : DT_NO) : DT_UNKNOWN;
}

dt_tri dt_ans_number_equal(dt_ans *c, const dt_node *a, const dt_node *b, dt_method *by) {
    bool ma = false, mb = false, ia = has_infinity(a, &ma), ib = has_infinity(b, &mb);
    if (ia || ib) return ia == ib && ma == mb ? DT_YES : DT_NO;
    if (has_kind(a, N_INF) || has_kind(b, N_INF)) return DT_UNKNOWN;
    dt_tri r = dt_ans_rational_equal(c, a, b);
    dt_method how = DT_BY_EXACT;
    if (r == DT_UNKNOWN && !c->why) r = dt_ans_exact_equal(c, a, b);
    if (r == DT_UNKNOWN && !c->why) {
        r = dt_ans_ball_equal(c, a, b);
        how = DT_BY_BALL;
    }
    if (r == DT_NO && !c->why && (has_decimals(a, c->digits) || has_decimals(b, c->digits)) && dt_ans_rounded_equal(c, a, b) == DT_YES) {
        r = DT_YES;
        how = DT_BY_ROUNDING;
    }
    if (r == DT_UNKNOWN && !c->why && keys_equal(c, a, b) == DT_YES) {
        r = DT_YES;
        how = DT_BY_TEXT;
    }
    if (r == DT_YES) raise_to(by, how);
    return r;
}

/* ---- names, words, units ---- */

static bool is_capitals(const dt_node *n) { /* AB, ABC: a segment, a triangle */
    if (n->kind == N_SYM) return n->sn == 1 && isupper((unsigned char)n->s[0]);
    if (n->kind != N_MUL) return false;
    for (int i = 0; i < n->n; i++)
        if (!is_capitals(n->kid[i])) return false;
    return true;
}

/* dy, dx, AB: what stands above and below in dy/dx = ... and AB/CD = ... */
static bool is_plain_product(const dt_node *n) {
    return is_capitals(n) || n->kind == N_SYM || (n->kind == N_MUL && n->n == 2 && n->kid[0]->kind == N_SYM && n->kid[0]->s[0] == 'd' && n->kid[1]->kind == N_SYM);
}

/* What stands left of "=" only to say what is meant: x, x_1, AB, f(x), |AB|, f^{-1}(x), P(A), AB/CD, a:b, (x, y), a word. */
bool dt_ans_is_name(const dt_node *n) {
    switch (n->kind) {
    case N_DIV: return is_plain_product(n->kid[0]) && is_plain_product(n->kid[1]);
    case N_RATIO:
        for (int i = 0; i < n->n; i++)
            if (!dt_ans_is_name(n->kid[i])) return false;
        return true;
    case N_SYM:
    case N_TEXT: return true;
    case N_OPAQUE: return n->n && (n->s[0] == '_' || !strcmp(n->s, "prime") || !strcmp(n->s, "figure") || !strcmp(n->s, "bar") || !strcmp(n->s, "vec") || !strcmp(n->s, "hat")) &&
                          (dt_ans_is_name(n->kid[0]) || is_capitals(n->kid[0]));
    case N_FUNC: return n->fn == F_ABS && is_capitals(n->kid[0]);
    case N_TUPLE:
        for (int i = 0; i < n->n; i++)
            if (!dt_ans_is_name(n->kid[i])) return false;
        return n->n > 0;
    case N_UNIT: return dt_ans_is_name(n->kid[0]);
    case N_POW: return n->kid[0]->kind == N_SYM && n->kid[1]->kind == N_NEG;
    case N_MUL: {
        if (is_capitals(n)) return true;
        const dt_node *f = n->kid[0], *x = n->kid[n->n - 1];
        int at = f->kind == N_SYM && f->sn == 1 && *f->s == 'm'; /* m\\angle ABC */
        const dt_node *figure = n->kid[at];
        bool angle = figure->kind == N_OPAQUE && !strcmp(figure->s, "figure");
        for (int i = at + 1; angle && i < n->n; i++)
            angle = is_capitals(n->kid[i]);
        if (angle || (n->n == 2 && f->kind == N_OPAQUE && !strcmp(f->s, "figure"))) return true;
        bool applied = x->paren || x->kind == N_TUPLE;
        return n->n == 2 && applied && (f->kind == N_SYM || f->kind == N_OPAQUE || f->kind == N_POW) && dt_ans_is_name(f);
    }
    default: return false;
    }
}

/* Letters of a tree that is nothing but letters (or a text); 0 = it is something else. Lower case, no blanks. */
static size_t letters_of(const dt_node *n, char *out, size_t cap) {
    size_t len = 0;
    if (n->kind == N_TEXT || n->kind == N_SYM) {
        for (size_t i = 0; i < n->sn; i++) {
            unsigned char ch = (unsigned char)n->s[i];
            if (n->kind == N_SYM && !isalpha(ch)) return 0;
            if (isspace(ch) || ch == '.' || ch == '-') continue;
            if (len == cap) return 0;
            out[len++] = (char)tolower(ch);
        }
        return len;
    }
    if (n->kind != N_MUL && n->kind != N_UNIT) return 0;
    for (int i = 0; i < n->n; i++) {
        size_t k = letters_of(n->kid[i], out + len, cap - len);
        if (!k) return 0;
        len += k;
    }
    if (n->kind == N_UNIT) { /* words split into a variable and a word */
        dt_node t = {.kind = N_TEXT, .s = n->s, .sn = n->sn};
        size_t k = letters_of(&t, out + len, cap - len);
        len = k ? len + k : 0;
    }
    return len;
}

/* Units that can be turned into one another: a quantity and how many of the first of its kind. */
static const struct {
    const char *name;
    int kind;
    const char *num, *den;
} units[] = {
    {"m", 1, "1", "1"}, {"meter", 1, "1", "1"}, {"metre", 1, "1", "1"}, {"cm", 1, "1", "100"}, {"centimeter", 1, "1", "100"}, {"centimetre", 1, "1", "100"}, {"mm", 1, "1", "1000"},
    {"millimeter", 1, "1", "1000"}, {"km", 1, "1000", "1"}, {"kilometer", 1, "1000", "1"}, {"kilometre", 1, "1000", "1"}, {"in", 1, "254", "10000"}, {"inch", 1, "254", "10000"},
    {"ft", 1, "3048", "10000"}, {"foot", 1, "3048", "10000"}, {"feet", 1, "3048", "10000"}, {"yd", 1, "9144", "10000"}, {"yard", 1, "9144", "10000"}, {"mi", 1, "1609344", "1000"},
    {"mile", 1, "1609344", "1000"}, {"g", 2, "1", "1"}, {"gram", 2, "1", "1"}, {"kg", 2, "1000", "1"}, {"kilogram", 2, "1000", "1"}, {"mg", 2, "1", "1000"}, {"milligram", 2, "1", "1000"},
    {"s", 3, "1", "1"}, {"sec", 3, "1", "1"}, {"second", 3, "1", "1"}, {"min", 3, "60", "1"}, {"minute", 3, "60", "1"}, {"h", 3, "3600", "1"}, {"hr", 3, "3600", "1"}, {"hour", 3, "3600", "1"},
    {"day", 3, "86400", "1"}, {"week", 3, "604800", "1"}, {"$", 4, "1", "1"}, {"dollar", 4, "1", "1"}, {"usd", 4, "1", "1"}, {"cent", 4, "1", "100"}, {"l", 5, "1", "1"}, {"liter", 5, "1", "1"},
    {"litre", 5, "1", "1"}, {"ml", 5, "1", "1000"}, {"milliliter", 5, "1", "1000"}, {"euro", 6, "1", "1"}, {"eur", 6, "1", "1"}, {"pound", 7, "1", "1"}, {"lb", 7, "1", "1"}, {"yen", 8, "1", "1"},
    {"ton", 9, "1", "1"}, {"ounce", 10, "1", "1"}, {"oz", 10, "1", "1"}, {"month", 11, "1", "1"}, {"year", 12, "1", "1"}, {"yr", 12, "1", "1"}, {"am", 13, "1", "1"}, {"pm", 14, "1", "1"},
    {"mph", 15, "1", "1"}, {"kmh", 16, "1", "1"}, {"n", 18, "1", "1"}, {"newton", 18, "1", "1"}, {"rad", 17, "1", "1"}, {"radian", 17, "1", "1"},
};

static const struct {
    const char *name, *value;
} multiples[] = {{"hundred", "100"}, {"thousand", "1000"}, {"million", "1000000"}, {"billion", "1000000000"}, {"trillion", "1000000000000"}, {"dozen", "12"}, {"mil", NULL}};

typedef struct unit_text {
    char name[64];
    int power, known; /* known: 1 + index in units; 0: some noun */
    const char *times;
} unit_text;

/* Words that change what the number says: no unit. */
static bool qualifies(const char *s) {
    static const char *const bad[] = {"or", "not", "more", "less", "most", "least", "fewer", "greater", "between", "than", "undefined", "solutions", "solution", "false", "true", "no", "only", "mod", "over", "minus", "plus", "times",
                                      "half", "negative", "tenths", "percent", "squared", "if", "when", "for", "where", "base"};
    for (const char *p = s; *p;) {
        size_t n = strcspn(p, " ");
        for (size_t k = 0; k < DT_COUNT(bad); k++)
            if (strlen(bad[k]) == n && !memcmp(bad[k], p, n)) return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

/* False: these words are no unit. */
static bool read_unit(const dt_node *n, unit_text *u) {
    memset(u, 0, sizeof *u);
    size_t len = 0;
    u->power = 1;
    for (size_t i = 0; i < n->sn; i++) {
        unsigned char ch = (unsigned char)n->s[i];
        if (ch == '^') {
            u->power = i + 1 < n->sn && isdigit((unsigned char)n->s[i + 1]) ? n->s[i + 1] - '0' : -1;
            break;
        }
        if (len + 1 >= sizeof u->name) return true; /* a long description: some noun */
        if (ch == '.' || (ch == ' ' && !len)) continue;
        u->name[len++] = (char)tolower(ch);
    }
    while (len && u->name[len - 1] == ' ')
        len--;
    u->name[len] = 0;
    if (qualifies(u->name)) return false;
    if (!strncmp(u->name, "square ", 7) || !strncmp(u->name, "sq ", 3)) {
        u->power = 2;
        memmove(u->name, strchr(u->name, ' ') + 1, strlen(strchr(u->name, ' ')));
    } else if (!strncmp(u->name, "cubic ", 6)) {
        u->power = 3;
        memmove(u->name, u->name + 6, strlen(u->name + 6) + 1);
    }
    for (size_t k = 0; k < DT_COUNT(multiples); k++) {
        size_t m = strlen(multiples[k].name);
        if (multiples[k].value && !strncmp(u->name, multiples[k].name, m) && (!u->name[m] || u->name[m] == ' ' || (u->name[m] == 's' && !u->name[m + 1]))) {
            u->times = multiples[k].value;
            memmove(u->name, u->name + m, strlen(u->name + m) + 1);
        }
    }
    const char *name = u->name[0] == ' ' ? u->name + 1 : u->name;
    len = strlen(name);
    for (size_t k = 0; k < DT_COUNT(units); k++) {
        size_t m = strlen(units[k].name);
        if (!strncmp(units[k].name, name, m) && (len == m || (len == m + 1 && name[m] == 's' && m > 1) || (len == m + 2 && !strcmp(name + m, "es")))) u->known = 1 + (int)k;
    }
    return true;
}

static dt_node *literal(dt_ans *c, const char *digits) {
    dt_node *x = dt_ans_node(c, N_NUM, 0);
    if (x) x->s = digits, x->sn = strlen(digits);
    return x;
}

/* The quantity in the first unit of its kind (with all = false: only "million" and its kin are applied). */
static const dt_node *quantity(dt_ans *c, const dt_node *n, const unit_text *u, bool all) {
    dt_node *x = n->kid[0];
    if (u->times) x = dt_ans_node(c, N_MUL, 2, x, literal(c, u->times));
    if (!all || !u->known) return x;
    for (int i = 0; x && i < u->power && i < 4; i++)
        x = dt_ans_node(c, N_DIV, 2, dt_ans_node(c, N_MUL, 2, x, literal(c, units[u->known - 1].num)), literal(c, units[u->known - 1].den));
    return x;
}

/* 3 m, 5 N, 2 L without \text: a number and one letter that `like` has for a unit, or that is one of its kind. */
static dt_node *letter_unit(dt_ans *c, dt_node *n, const dt_node *like) {
    unit_text u, v;
    if (n->kind != N_MUL || n->n != 2 || n->kid[0]->kind != N_NUM || n->kid[1]->kind != N_SYM || n->kid[1]->sn != 1 || !read_unit(like, &u)) return n;
    dt_node *x = dt_ans_node(c, N_UNIT, 1, n->kid[0]);
    if (!x) return n;
    x->s = n->kid[1]->s;
    x->sn = n->kid[1]->sn;
    bool same = like->sn == 1 && *like->s == *x->s;
    return same || (read_unit(x, &v) && u.known && v.known && units[u.known - 1].kind == units[v.known - 1].kind) ? x : n;
}

/* 2 hours 30 minutes, 5 ft and 3 in: as one quantity in the first unit of the kind; n itself if it is no such sum. */
static dt_node *one_quantity(dt_ans *c, dt_node *n) {
    unit_text u;
    int kind = 0, used[8] = {0};
    if ((n->kind != N_ADD && !(n->kind == N_LIST && n->s[0] == 'a')) || n->n < 2 || n->n > 4) return n;
    dt_node *sum = dt_ans_node(c, N_ADD, 0);
    if (!sum || !(sum->kid = dt_ans_alloc(c, (size_t)n->n, sizeof *sum->kid))) return n;
    for (int i = 0; i < n->n; i++) {
        dt_node *x = one_quantity(c, n->kid[i]);
        if (x->kind != N_UNIT || !read_unit(x, &u) || !u.known || u.power != 1 || (kind && units[u.known - 1].kind != kind)) return n;
        for (int k = 0; k < i; k++)
            if (used[k] == u.known) return n; /* 2 hours and 3 hours: two answers */
        used[i] = u.known;
        kind = units[u.known - 1].kind;
        sum->kid[sum->n++] = (dt_node *)(uintptr_t)quantity(c, x, &u, true);
        if (!sum->kid[i]) return n;
    }
    dt_node *x = dt_ans_node(c, N_UNIT, 1, sum);
    for (size_t k = 0; x && k < DT_COUNT(units); k++)
        if (units[k].kind == kind) {
            x->s = units[k].name;
            x->sn = strlen(units[k].name);
            break;
        }
    return x ? x : n;
}

static dt_tri with_units(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    unit_text u, v;
    if (a->kind == N_UNIT) b = letter_unit(c, b, a);
    if (b->kind == N_UNIT) a = letter_unit(c, a, b);
    bool ua = a->kind == N_UNIT, ub = b->kind == N_UNIT;
    const dt_node *other = ua ? b : a;
    bool sign = other->kind == N_DEG || other->kind == N_PERCENT; /* $36 is no angle */
    if (ua != ub && sign && read_unit(ua ? a : b, &u) && u.known && strncmp(units[u.known - 1].name, "rad", 3) != 0) return DT_NO;
    if ((ua && !read_unit(a, &u)) || (ub && !read_unit(b, &v))) return keys_equal(c, a, b);
    bool convert = ua && ub && u.known && v.known;
    if (convert && (units[u.known - 1].kind != units[v.known - 1].kind || u.power != v.power)) return DT_NO;
    bool degrees = ua && ub && a->kid[0]->kind == N_DEG && b->kid[0]->kind == N_DEG;
    if (degrees && u.name[0] != v.name[0]) return DT_NO; /* Celsius and Fahrenheit */
    if (ua && ub && !convert && (strchr(u.name, '/') || strchr(v.name, '/')) && strcmp(u.name, v.name) != 0) return DT_NO;
    const dt_node *x = ua ? quantity(c, a, &u, convert) : a, *y = ub ? quantity(c, b, &v, convert) : b;
    return x && y ? dt_ans_equal(c, x, y, by) : DT_UNKNOWN;
}

/* ---- lists ---- */

bool dt_ans_has_pm(const dt_node *n) { return has_kind(n, N_PM); }

dt_node *dt_ans_choose(dt_ans *c, dt_node *n, bool upper) {
    if (!has_kind(n, N_PM)) return n;
    if (!dt_ans_spend(c, 1)) return NULL;
    dt_node *x = dt_ans_alloc(c, 1, sizeof *x);
    if (!x) return NULL;
    *x = *n;
    x->kid = dt_ans_alloc(c, (size_t)n->n, sizeof *x->kid);
    for (int i = 0; x->kid && i < n->n; i++)
        if (!(x->kid[i] = dt_ans_choose(c, n->kid[i], upper))) return NULL;
    if (!x->kid || n->kind != N_PM) return x->kid ? x : NULL;
    dt_node *last = x->kid[n->n - 1];
    if ((n->s[0] == '+') != upper) last = dt_ans_node(c, N_NEG, 1, last);
    return n->n == 1 ? last : dt_ans_node(c, N_ADD, 2, x->kid[0], last);
}

typedef struct items {
    dt_node *v[DT_ANS_MAX_ITEMS];
    int n;
} items;

static bool small_number(const dt_node *n, long *v) {
    const dt_node *x = n->kind == N_NEG ? n->kid[0] : n;
    if (x->kind != N_NUM || x->scale || x->exp10 || x->sn > 6 || !x->sn) return false;
    *v = 0;
    for (size_t i = 0; i < x->sn; i++)
        *v = 10 * *v + x->s[i] - '0';
    if (n->kind == N_NEG) *v = -*v;
    return true;
}

static dt_node *small_node(dt_ans *c, long v) {
    char text[24];
    int n = snprintf(text, sizeof text, "%ld", v < 0 ? -v : v);
    dt_node *x = dt_ans_node(c, N_NUM, 0);
    if (x) x->s = dt_ans_copy(c, text, (size_t)n), x->sn = (size_t)n;
    return x && x->s ? (v < 0 ? dt_ans_node(c, N_NEG, 1, x) : x) : NULL;
}

/* 1, 2, ..., 5: all of them; n itself if it is no such list. */
static dt_node *spelled_out(dt_ans *c, dt_node *n) {
    long v[DT_ANS_MAX_ITEMS], last = 0;
    int k = 0;
    if ((n->kind != N_LIST && n->kind != N_SET) || n->n < 4 || n->n > 40) return n;
    const dt_node *dots = n->kid[n->n - 2];
    if (dots->kind != N_SYM || dots->sn < 3 || memcmp(dots->s, "...", 3) != 0 || !small_number(n->kid[n->n - 1], &last)) return n;
    for (; k < n->n - 2; k++)
        if (!small_number(n->kid[k], &v[k]) || (k > 1 && v[k] - v[k - 1] != v[1] - v[0])) return n;
    long step = v[1] - v[0];
    if (!step || (last - v[k - 1]) % step || (last - v[k - 1]) / step < 1 || k + (last - v[k - 1]) / step > DT_ANS_MAX_ITEMS) return n;
    for (; v[k - 1] != last; k++)
        v[k] = v[k - 1] + step;
    dt_node *x = dt_ans_alloc(c, 1, sizeof *x);
    if (!x) return n;
    *x = *n;
    x->n = k;
    if (!(x->kid = dt_ans_alloc(c, (size_t)k, sizeof *x->kid))) return n;
    for (int i = 0; i < k; i++)
        if (!(x->kid[i] = small_node(c, v[i]))) return n;
    return x;
}

static bool list_items(dt_ans *c, dt_node *n, items *out) {
    n = spelled_out(c, n);
    bool list = n->kind == N_LIST || n->kind == N_SET;
    for (int i = 0; i < (list ? n->n : 1); i++) {
        dt_node *x = list ? n->kid[i] : n;
        bool two = has_kind(x, N_PM);
        if (out->n + 1 + two > DT_ANS_MAX_ITEMS) return dt_ans_stop(c, "too long a list");
        out->v[out->n++] = dt_ans_choose(c, x, true);
        if (two) out->v[out->n++] = dt_ans_choose(c, x, false);
        if (!out->v[out->n - 1]) return false;
    }
    return true;
}

static bool is_equation(const dt_node *n) { return n->kind == N_REL && n->n == 2 && n->s[0] == '=' && dt_ans_is_name(n->kid[0]); }

/* "x = 1, y = 2" against "1, 2": the names say the order. */
static bool named_apart(dt_ans *c, const items *a) {
    if (a->n < 2) return false;
    for (int i = 0; i < a->n; i++)
        if (!is_equation(a->v[i])) return false;
    return keys_equal(c, a->v[0]->kid[0], a->v[1]->kid[0]) == DT_NO;
}

static dt_tri in_order(dt_ans *c, dt_node *const *a, dt_node *const *b, int n, dt_method *by) {
    dt_tri res = DT_YES;
    for (int i = 0; i < n; i++) {
        dt_tri r = dt_ans_equal(c, a[i], b[i], by);
        if (r == DT_NO) return DT_NO;
        if (r == DT_UNKNOWN) res = DT_UNKNOWN;
    }
    return res;
}

/* Each of a finds a partner in b; `once`: a partner of its own. */
static dt_tri covered(dt_ans *c, const items *a, const items *b, bool once, dt_method *by) {
    bool used[DT_ANS_MAX_ITEMS] = {false};
    dt_tri res = DT_YES;
    for (int i = 0; i < a->n; i++) {
        bool found = false, maybe = false;
        for (int k = 0; k < b->n && !found; k++) {
            int j = (i + k) % b->n; /* most lists come in the same order */
            if (once && used[j]) continue;
            dt_tri r = dt_ans_equal(c, a->v[i], b->v[j], by);
            maybe = maybe || r == DT_UNKNOWN;
            if (r != DT_YES) continue;
            found = used[j] = true;
        }
        if (!found && !maybe) return DT_NO;
        if (!found) res = DT_UNKNOWN;
    }
    return res;
}

static dt_tri lists(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    items x = {.n = 0}, y = {.n = 0};
    if (!list_items(c, a, &x) || !list_items(c, b, &y)) return DT_UNKNOWN;
    bool as_set = a->kind == N_SET || b->kind == N_SET;
    /* "a = 4, -8, -10": the name goes for all */
    for (int side = 0; side < 2; side++) {
        items *l = side ? &y : &x;
        bool rest = true;
        for (int i = 1; i < l->n; i++)
            rest = rest && l->v[i]->kind != N_REL;
        if (l->n > 1 && rest && is_equation(l->v[0])) l->v[0] = l->v[0]->kid[1];
    }
    if (x.n != y.n && !as_set) return DT_NO;
    if (x.n == y.n && (named_apart(c, &x) != named_apart(c, &y))) return in_order(c, x.v, y.v, x.n, by);
    if (x.n == y.n) return covered(c, &x, &y, true, by);
    dt_tri r = covered(c, &x, &y, false, by), s = r == DT_NO ? DT_NO : covered(c, &y, &x, false, by);
    return r == DT_NO || s == DT_NO ? DT_NO : r == DT_YES && s == DT_YES ? DT_YES : DT_UNKNOWN;
}

/* ---- matrices ---- */

static dt_node *matrix_of(dt_ans *c, dt_node *n);

static dt_node *matrix_new(dt_ans *c, int rows, int cols) {
    dt_node *x = dt_ans_node(c, N_MATRIX, 0);
    if (!x) return NULL;
    x->rows = rows;
    x->n = rows * cols;
    x->kid = dt_ans_alloc(c, (size_t)x->n, sizeof *x->kid);
    return x->kid ? x : NULL;
}

static dt_node *matrix_times(dt_ans *c, dt_node *a, dt_node *b) {
    bool ma = a->kind == N_MATRIX, mb = b->kind == N_MATRIX;
    if (!ma && !mb) return dt_ans_node(c, N_MUL, 2, a, b);
    if (ma != mb) {
        dt_node *m = ma ? a : b, *k = ma ? b : a, *x = matrix_new(c, m->rows, m->n / m->rows);
        for (int i = 0; x && i < m->n; i++)
            if (!(x->kid[i] = dt_ans_node(c, N_MUL, 2, k, m->kid[i]))) return NULL;
        return x;
    }
    int r = a->rows, mid = a->n / r, cols = b->n / b->rows;
    if (mid != b->rows || r * cols * mid > 300) return NULL;
    dt_node *x = matrix_new(c, r, cols);
    for (int i = 0; x && i < r; i++)
        for (int j = 0; j < cols; j++) {
            dt_node *sum = dt_ans_node(c, N_ADD, 0);
            if (!sum || !(sum->kid = dt_ans_alloc(c, (size_t)mid, sizeof *sum->kid))) return NULL;
            sum->n = mid;
            for (int k = 0; k < mid; k++)
                if (!(sum->kid[k] = dt_ans_node(c, N_MUL, 2, a->kid[i * mid + k], b->kid[k * cols + j]))) return NULL;
            x->kid[i * cols + j] = sum;
        }
    return x;
}

/* Sums, multiples and products of matrices, worked out; n itself if there is no matrix in it; NULL where they do not fit. */
static dt_node *matrix_of(dt_ans *c, dt_node *n) {
    if (n->kind == N_MATRIX || !has_kind(n, N_MATRIX)) return n;
    if (!dt_ans_spend(c, 5)) return NULL;
    if (n->kind != N_ADD && n->kind != N_MUL && n->kind != N_NEG && n->kind != N_DIV) return NULL;
    dt_node *x = matrix_of(c, n->kid[0]);
    if (n->kind == N_NEG) return x ? matrix_times(c, x, dt_ans_node(c, N_NEG, 1, literal(c, "1"))) : NULL;
    for (int i = 1; x && i < n->n; i++) {
        dt_node *y = matrix_of(c, n->kid[i]), *s = NULL;
        if (!y) return NULL;
        if (n->kind == N_MUL) {
            x = matrix_times(c, x, y);
        } else if (n->kind == N_DIV) {
            x = y->kind == N_MATRIX ? NULL : matrix_times(c, x, dt_ans_node(c, N_DIV, 2, literal(c, "1"), y));
        } else {
            if (x->kind != N_MATRIX || y->kind != N_MATRIX || x->rows != y->rows || x->n != y->n) return NULL;
            s = matrix_new(c, x->rows, x->n / x->rows);
            for (int k = 0; s && k < x->n; k++)
                if (!(s->kid[k] = dt_ans_node(c, N_ADD, 2, x->kid[k], y->kid[k]))) return NULL;
            x = s;
        }
    }
    return x;
}

/* [[1, 2], [3, 4]] as a matrix, (1, 2)^T as its tuple; n itself if it is neither. */
static dt_node *matrix_in_brackets(dt_ans *c, dt_node *n) {
    if (n->kind == N_POW && n->kid[0]->kind == N_TUPLE && n->kid[1]->kind == N_SYM && n->kid[1]->sn == 1 && *n->kid[1]->s == 'T') return n->kid[0];
    if (n->kind != N_TUPLE || n->n < 1 || n->s[0] != '[' || n->n > 20) return n;
    int cols = n->kid[0]->n;
    for (int i = 0; i < n->n; i++)
        if (n->kid[i]->kind != N_TUPLE || n->kid[i]->n != cols || !cols || cols > 20 || n->kid[i]->s[0] != '[') return n;
    dt_node *x = matrix_new(c, n->n, cols);
    for (int i = 0; x && i < x->n; i++)
        x->kid[i] = n->kid[i / cols]->kid[i % cols];
    return x ? x : n;
}

static dt_tri matrices(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    a = matrix_of(c, matrix_in_brackets(c, a));
    b = matrix_of(c, matrix_in_brackets(c, b));
    if (!a || !b) return DT_UNKNOWN;
    bool ma = a->kind == N_MATRIX, mb = b->kind == N_MATRIX;
    if (ma && mb) return a->rows == b->rows && a->n == b->n ? in_order(c, a->kid, b->kid, a->n, by) : DT_NO;
    dt_node *m = ma ? a : b, *t = ma ? b : a;
    bool vector = m->rows == 1 || m->rows == m->n;
    if (m->n == 1) return dt_ans_equal(c, m->kid[0], t, by);
    if (t->kind == N_TUPLE && vector) return m->n == t->n ? in_order(c, a->kid, b->kid, a->n, by) : DT_NO;
    return DT_NO;
}

/* ---- relations ---- */

static bool ordered_op(char op) { return op == '<' || op == '>' || op == 'l' || op == 'g'; }

/* left - right, turned so that < and <= remain. */
static dt_node *difference(dt_ans *c, const dt_node *n, char *op) {
    bool flip = n->s[0] == '>' || n->s[0] == 'g';
    *op = (char)(n->s[0] == '>' ? '<' : n->s[0] == 'g' ? 'l' : n->s[0]);
    return dt_ans_node(c, N_ADD, 2, n->kid[flip], dt_ans_node(c, N_NEG, 1, n->kid[!flip]));
}

static bool is_expression(const dt_node *n) {
    switch (n->kind) {
    case N_SET: case N_LIST: case N_TUPLE: case N_CUP: case N_CAP: case N_SETMINUS: case N_EMPTY: case N_BUILD: case N_REL: case N_MATRIX: case N_TEXT: case N_RATIO: case N_INF: return false;
    default:
        for (int i = n->kind == N_BIG ? 2 : 0; i < n->n; i++) /* of a sum, the body */
            if (!is_expression(n->kid[i])) return false;
        return true;
    }
}

static dt_tri relations(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    bool chain_a = a->n > 2 && memchr(a->s, '=', a->sn) && !memchr(a->s, '<', a->sn), chain_b = b->n > 2 && memchr(b->s, '=', b->sn) && !memchr(b->s, '<', b->sn);
    dt_node *la = a->kid[a->n - 1], *lb = b->kid[b->n - 1];
    if ((chain_a || chain_b) && a->s[0] == '=' && b->s[0] == '=' && dt_ans_is_name(a->kid[0]) && dt_ans_is_name(b->kid[0])) /* z = 1 + 1 = 2 */
        return keys_equal(c, a->kid[0], b->kid[0]) == DT_YES ? dt_ans_equal(c, la, lb, by) : DT_NO;
    if (a->n == b->n && !memcmp(a->s, b->s, a->sn) && keys_equal(c, a->kid[0], b->kid[0]) == DT_YES) {
        dt_tri r = in_order(c, a->kid + 1, b->kid + 1, a->n - 1, by);
        if (r == DT_YES || (r == DT_NO && a->s[0] == '=' && dt_ans_is_name(a->kid[0]))) return r;
    }
    if (a->n == 2 && b->n == 2 && is_expression(a) == false && a->s[0] == '=' && b->s[0] == '=') { /* kids decide below */
        if (!is_expression(a->kid[0]) || !is_expression(a->kid[1]) || !is_expression(b->kid[0]) || !is_expression(b->kid[1])) return keys_equal(c, a, b);
    }
    if (a->n == 2 && b->n == 2 && is_expression(a->kid[0]) && is_expression(a->kid[1]) && is_expression(b->kid[0]) && is_expression(b->kid[1])) {
        char op = 0, oq = 0;
        dt_node *x = difference(c, a, &op), *y = difference(c, b, &oq);
        if (!x || !y) return DT_UNKNOWN;
        if (op != oq) return DT_NO;
        if (op == '=' || op == 'n' || ordered_op(op)) {
            dt_tri r = dt_ans_exact_proportional(c, x, y, ordered_op(op));
            if (r == DT_YES) raise_to(by, DT_BY_EXACT);
            if (r != DT_UNKNOWN || c->why) return r;
            r = dt_ans_ball_proportional(c, x, y, ordered_op(op));
            if (r == DT_YES) raise_to(by, DT_BY_BALL);
            return r;
        }
    }
    dt_tri r = dt_ans_real_equal(c, a, b, by);
    if (r != DT_UNKNOWN || c->why) return r;
    if (a->n == b->n && a->n > 2) { /* a < x < b, also written backwards */
        if (!memcmp(a->s, b->s, a->sn)) return in_order(c, a->kid, b->kid, a->n, by);
        bool mirror = true;
        for (int i = 0; i + 1 < a->n; i++) {
            char p = a->s[i], q = b->s[a->n - 2 - i];
            mirror = mirror && ((p == '<' && q == '>') || (p == '>' && q == '<') || (p == 'l' && q == 'g') || (p == 'g' && q == 'l') || (p == '=' && q == '='));
        }
        dt_node **back = mirror ? dt_ans_alloc(c, (size_t)b->n, sizeof *back) : NULL;
        for (int i = 0; back && i < b->n; i++)
            back[i] = b->kid[b->n - 1 - i];
        if (back) return in_order(c, a->kid, back, a->n, by);
    }
    return keys_equal(c, a, b);
}

/* x = 1/3 \approx 0.33: without what is only near. */
static void drop_near(dt_node *n) {
    while (n->n > 2 && n->s[n->sn - 1] == '~') {
        n->n--;
        n->sn--;
    }
}

static bool is_residue(const dt_node *n) { return n->kind == N_OPAQUE && !strcmp(n->s, "mod"); } /* 3 (mod 7) */

/* What a relation says about the thing asked for; the relation itself if it says more than that. */
static dt_node *value_of(dt_node *n) {
    if (n->kind != N_REL) return n;
    for (size_t i = 0; i < n->sn; i++)
        if (n->s[i] != '=' && n->s[i] != '~' && !(n->s[i] == 'm' && n->sn == 1) && !(n->s[i] == 'e' && is_residue(n->kid[n->n - 1]))) return n;
    if (dt_ans_is_name(n->kid[0])) return n->kid[n->n - 1];
    if (n->sn == 1 && n->s[0] == '=' && n->kid[1]->kind == N_SYM && !has_kind(n->kid[0], N_SYM)) return n->kid[0];
    for (int i = 0; i < n->n; i++)
        if (has_kind(n->kid[i], N_SYM) || has_kind(n->kid[i], N_OPAQUE)) return n;
    return n->s[0] == 'm' ? n : n->kid[n->n - 1]; /* 2 + 3 = 5 */
}

/* ---- ratios ---- */

static bool like_time(const dt_node *n) { return n->n == 2 && n->kid[0]->kind == N_NUM && n->kid[1]->kind == N_NUM && n->kid[1]->sn == 2 && n->kid[0]->sn <= 2; }

/* 3:30 PM: a time of day; *half is its am or pm, 0 where it says neither. */
static bool is_time(const dt_node *n, char *half, dt_node *minutes) {
    unit_text u;
    *half = 0;
    if (n->kind != N_RATIO || n->n != 2 || n->kid[0]->kind != N_NUM) return false;
    *minutes = *n->kid[1];
    if (n->kid[1]->kind == N_UNIT) {
        if (!read_unit(n->kid[1], &u) || (strcmp(u.name, "am") != 0 && strcmp(u.name, "pm") != 0)) return false;
        *half = u.name[0];
        *minutes = *n->kid[1]->kid[0];
    }
    return minutes->kind == N_NUM && minutes->sn == 2 && n->kid[0]->sn <= 2;
}

static dt_tri ratios(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    char half_a = 0, half_b = 0;
    dt_node *m = dt_ans_alloc(c, 2, sizeof *m);
    if (!m) return DT_UNKNOWN;
    if (is_time(a, &half_a, m) && is_time(b, &half_b, m + 1) && (half_a || half_b)) {
        if (half_a && half_b && half_a != half_b) return DT_NO;
        dt_tri r = dt_ans_equal(c, a->kid[0], b->kid[0], by);
        return r == DT_YES ? dt_ans_equal(c, m, m + 1, by) : r;
    }
    if (a->kind != b->kind) { /* 3 : 4 and 3/4 */
        dt_node *r = a->kind == N_RATIO ? a : b, *x = a->kind == N_RATIO ? b : a;
        if (r->n != 2 || !is_expression(x) || like_time(r)) return DT_NO;
        dt_node *q = dt_ans_node(c, N_DIV, 2, r->kid[0], r->kid[1]);
        return q ? dt_ans_number_equal(c, q, x, by) : DT_UNKNOWN;
    }
    if (a->n != b->n) return DT_NO;
    if (like_time(a) && like_time(b)) return in_order(c, a->kid, b->kid, 2, by);
    for (int i = 1; i < a->n; i++) {
        dt_node *x = dt_ans_node(c, N_MUL, 2, a->kid[0], b->kid[i]), *y = dt_ans_node(c, N_MUL, 2, b->kid[0], a->kid[i]);
        dt_tri r = x && y ? dt_ans_equal(c, x, y, by) : DT_UNKNOWN;
        if (r != DT_YES) return r;
    }
    return DT_YES;
}

/* ---- all shapes ---- */

static bool is_list(const dt_node *n) { return n->kind == N_LIST || n->kind == N_SET; }

static dt_tri tuples(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    if (a->n != b->n) return DT_NO;
    if (a->n == 2 && memcmp(a->s, b->s, 2) != 0) { /* interval ends at infinity are open whatever was typed */
        dt_tri r = dt_ans_real_equal(c, a, b, by);
        return r == DT_UNKNOWN ? DT_NO : r;
    }
    return in_order(c, a->kid, b->kid, a->n, by);
}

static dt_tri loose(dt_ans *c, dt_node *a, dt_node *b, dt_method *by);

dt_tri dt_ans_equal(dt_ans *c, const dt_node *ca, const dt_node *cb, dt_method *by) {
    dt_node *a = dt_ans_alloc(c, 2, sizeof *a), *b = a ? a + 1 : NULL; /* shapes are taken apart, never changed */
    if (!a || !dt_ans_spend(c, 2)) return DT_UNKNOWN;
    *a = *ca;
    *b = *cb;
    if (a->kind == N_REL) drop_near(a);
    if (b->kind == N_REL) drop_near(b);
    if (a->kind == N_REL && b->kind == N_REL) return relations(c, a, b, by);
    if (a->kind == N_REL || b->kind == N_REL) {
        dt_node *x = value_of(a), *y = value_of(b);
        if (x->kind != N_REL && y->kind != N_REL) return dt_ans_equal(c, x, y, by);
        if (is_list(x) || is_list(y) || has_kind(x, N_PM) || has_kind(y, N_PM)) {
            dt_tri r = is_list(x) && is_list(y) ? DT_UNKNOWN : dt_ans_real_equal(c, x, y, by);
            return r != DT_UNKNOWN ? r : lists(c, x, y, by);
        }
        if (!c->set_rel && b->kind == N_REL) return DT_NO;
        dt_tri r = dt_ans_real_equal(c, x, y, by);
        return r == DT_UNKNOWN && !c->why ? DT_NO : r;
    }
    return loose(c, a, b, by);
}

/* The same letters, but for the s of a plural. */
static bool same_words(const char *x, size_t n, const char *y, size_t m) {
    size_t k = n < m ? n : m;
    if ((n == 3 && m == 12 && !memcmp(x, "dne", 3) && !memcmp(y, "doesnotexist", 12)) || (m == 3 && n == 12 && !memcmp(y, "dne", 3) && !memcmp(x, "doesnotexist", 12))) return true;
    if (memcmp(x, y, k) != 0) return false;
    return n == m || (k > 5 && (n > m ? n - m : m - n) == 1 && (n > m ? x[k] : y[k]) == 's');
}

static bool says_all_reals(const char *x, size_t n) {
    static const char *const ways[] = {"allrealnumbers", "allreals", "realnumbers", "allreal"};
    for (size_t i = 0; i < DT_COUNT(ways); i++)
        if (n == strlen(ways[i]) && !memcmp(x, ways[i], n)) return true;
    return false;
}

/* "no solution" and the empty set. */
static bool says_nothing(const char *x, size_t n) {
    static const char *const ways[] = {"nosolution", "nosolutions", "nosolutionexists", "nosolutionsexist", "nonexistent", "none", "emptyset", "theemptyset", "nullset"};
    for (size_t i = 0; i < DT_COUNT(ways); i++)
        if (n == strlen(ways[i]) && !memcmp(x, ways[i], n)) return true;
    return false;
}

/* Numbers in words; NULL = none of those known. */
static const char *number_in_words(const char *x, size_t n) {
    static const struct {
        const char *word, *value;
    } all[] = {{"zero", "0"},     {"one", "1"},        {"two", "2"},         {"three", "3"},    {"four", "4"},      {"five", "5"},         {"six", "6"},        {"seven", "7"},       {"eight", "8"},
               {"nine", "9"},     {"ten", "10"},       {"eleven", "11"},     {"twelve", "12"},  {"thirteen", "13"}, {"fourteen", "14"},    {"fifteen", "15"},   {"sixteen", "16"},    {"seventeen", "17"},
               {"eighteen", "18"}, {"nineteen", "19"}, {"twenty", "20"},     {"thirty", "30"},  {"forty", "40"},    {"fifty", "50"},       {"sixty", "60"},     {"seventy", "70"},    {"eighty", "80"},
               {"ninety", "90"},  {"hundred", "100"},  {"onehundred", "100"}, {"first", "1"}, {"second", "2"}, {"third", "3"}, {"fourth", "4"}, {"fifth", "5"}, {"sixth", "6"}, {"seventh", "7"}, {"eighth", "8"}, {"ninth", "9"}, {"tenth", "10"},
               {"onethird", "1/3"}, {"twothirds", "2/3"},
               {"half", "0.5"},  {"onehalf", "0.5"}, {"onequarter", "0.25"}, {"onefourth", "0.25"}, {"threequarters", "0.75"}, {"threefourths", "0.75"}};
    for (size_t i = 0; i < DT_COUNT(all); i++)
        if (n == strlen(all[i].word) && !memcmp(x, all[i].word, n)) return all[i].value;
    return NULL;
}

/* The text as a shape that is no text: the empty set, a number; NULL = neither. */
static dt_node *meant_by(dt_ans *c, const char *x, size_t n, const dt_node *other) {
    if (other->kind == N_EMPTY && says_nothing(x, n)) return dt_ans_node(c, N_EMPTY, 0);
    const char *v = is_expression(other) ? number_in_words(x, n) : NULL;
    if (v && v[1] == '/') return dt_ans_node(c, N_DIV, 2, literal(c, v[0] == '1' ? "1" : "2"), literal(c, v + 2));
    dt_node *num = v ? literal(c, strncmp(v, "0.", 2) != 0 ? v : v + 2) : NULL;
    if (num && !strncmp(v, "0.", 2)) num->scale = (int)num->sn;
    return num;
}

/* "no solution", "one half": words whose first became a product of letters. NULL = none such. */
static dt_node *split_words(dt_ans *c, const dt_node *n, const dt_node *other) {
    char x[64];
    size_t k = n->kind == N_UNIT && n->kid[0]->kind == N_MUL ? letters_of(n, x, sizeof x) : 0;
    return k ? meant_by(c, x, k, other) : NULL;
}

/* Odd and odd, where no text says that they are words: letters one by one, which differ in the case of the first. */
static bool same_word(dt_ans *c, const dt_node *a, const dt_node *b) {
    char x[16], y[16];
    if (a->kind != N_MUL || b->kind != N_MUL || a->n != b->n || a->n < 3 || !dt_ans_spend(c, 1)) return false;
    for (int i = 0; i < a->n; i++)
        if (a->kid[i]->kind != N_SYM || b->kid[i]->kind != N_SYM || a->kid[i]->sn != 1 || (i && *a->kid[i]->s != *b->kid[i]->s)) return false;
    size_t n = letters_of(a, x, sizeof x), m = letters_of(b, y, sizeof y);
    return n && n == m && !memcmp(x, y, n);
}

static bool has_units(const dt_node *n) { return n->kind == N_UNIT || ((n->kind == N_ADD || is_list(n)) && n->n && has_units(n->kid[0])); }

/* A(1, 2): the point without its name; n itself if it is none. */
static dt_node *without_point_name(dt_node *n) {
    bool named = n->kind == N_MUL && n->n == 2 && n->kid[1]->kind == N_TUPLE && n->kid[1]->n > 1 && n->kid[0]->kind == N_SYM && n->kid[0]->sn == 1 && isupper((unsigned char)*n->kid[0]->s);
    return named ? n->kid[1] : n;
}

/* The segment AB without its bar; n itself if it is none. */
static dt_node *without_bar(dt_node *n) { return n->kind == N_OPAQUE && n->n == 1 && !strcmp(n->s, "bar") && is_capitals(n->kid[0]) ? n->kid[0] : n; }

static dt_tri loose(dt_ans *c, dt_node *a, dt_node *b, dt_method *by) {
    char x[256], y[256];
    if (same_word(c, a, b)) return DT_YES;
    if (is_capitals(b)) a = without_bar(a);
    if (is_capitals(a)) b = without_bar(b);
    if (b->kind == N_TUPLE) a = without_point_name(a);
    if (a->kind == N_TUPLE) b = without_point_name(b);
    if (has_units(a) || has_units(b)) {
        dt_node *p = one_quantity(c, a), *q = one_quantity(c, b);
        if (p != a && q == b && q->kind != N_UNIT) q = letter_unit(c, q, p);
        if (q != b && p == a && p->kind != N_UNIT) p = letter_unit(c, p, q);
        if ((p != a || q != b) && p->kind == N_UNIT && q->kind == N_UNIT) return with_units(c, p, q, by);
    }
    dt_node *by_words = split_words(c, a, b);
    if (by_words) return loose(c, by_words, b, by);
    by_words = split_words(c, b, a);
    if (by_words) return loose(c, a, by_words, by);
    if (a->kind == N_TEXT || b->kind == N_TEXT) {
        size_t n = letters_of(a, x, sizeof x), m = letters_of(b, y, sizeof y);
        if (n && m) {
            if (same_words(x, n, y, m)) return DT_YES;
            if (a->kind == N_TEXT && b->kind == N_TEXT) return DT_NO;
        }
        dt_node *meant = a->kind == N_TEXT && n ? meant_by(c, x, n, b) : b->kind == N_TEXT && m ? meant_by(c, y, m, a) : NULL;
        if (meant) return a->kind == N_TEXT ? loose(c, meant, b, by) : loose(c, a, meant, by);
        if (n && m) return DT_NO;
        dt_node line = {.kind = N_SYM, .s = "bb(R)", .sn = 5};
        if (says_all_reals(x, n)) return loose(c, &line, b, by);
        if (says_all_reals(y, m)) return loose(c, a, &line, by);
        return a->kind == b->kind ? keys_equal(c, a, b) : DT_NO;
    }
    if (has_kind(a, N_MATRIX) || has_kind(b, N_MATRIX)) {
        if (is_list(a) && is_list(b)) return lists(c, a, b, by);
        if (matrix_in_brackets(c, a) != a || matrix_in_brackets(c, b) != b) return matrices(c, a, b, by);
        if (is_expression(a) || is_expression(b) || a->kind != b->kind || a->kind == N_MATRIX || (a->kind == N_FUNC && a->fn == F_DET)) {
            bool det = !(a->kind == N_MATRIX || b->kind == N_MATRIX) && (has_kind(a, N_FUNC) || has_kind(b, N_FUNC));
            if (det) return dt_ans_number_equal(c, a, b, by);
            return matrices(c, a, b, by);
        }
    }
    if (a->kind == N_RATIO || b->kind == N_RATIO) return ratios(c, a, b, by);
    if (is_list(a) || is_list(b) || ((has_kind(a, N_PM) || has_kind(b, N_PM)) && !(a->kind == N_CUP || b->kind == N_CUP))) {
        dt_node *l = is_list(a) ? a : b, *o = is_list(a) ? b : a;
        if (o->kind == N_TUPLE && l->kind == N_LIST && l->n && l->kid[0]->kind == N_REL && ordered_op(l->kid[0]->s[0])) { /* x >= 2 and x <= 5 */
            dt_tri r = dt_ans_real_equal(c, a, b, by);
            if (r != DT_UNKNOWN || c->why) return r;
        }
        if (o->kind == N_TUPLE && l->kind == N_LIST) { /* "(1, 2)" without its brackets */
            bool interval = o->n == 2 && (o->s[0] == '[' || o->s[1] == ']');
            return o->n == l->n && !interval ? in_order(c, a->kid, b->kid, a->n, by) : DT_NO;
        }
        if ((o->kind == N_CUP || o->kind == N_CAP || o->kind == N_SETMINUS || o->kind == N_BUILD || o->kind == N_EMPTY) || (o->kind == N_TUPLE && l->kind == N_SET)) {
            dt_tri r = dt_ans_real_equal(c, a, b, by);
            return r == DT_UNKNOWN && !c->why ? DT_NO : r;
        }
        return lists(c, a, b, by);
    }
    if (a->kind == N_UNIT || b->kind == N_UNIT) return with_units(c, a, b, by);
    if (a->kind == N_NEG && a->kid[0]->kind == N_UNIT) { /* -$5 */
        dt_node *u = dt_ans_alloc(c, 1, sizeof *u);
        if (!u) return DT_UNKNOWN;
        *u = *a->kid[0];
        u->kid = dt_ans_alloc(c, 1, sizeof *u->kid);
        if (!u->kid || !(u->kid[0] = dt_ans_node(c, N_NEG, 1, a->kid[0]->kid[0]))) return DT_UNKNOWN;
        return dt_ans_equal(c, u, b, by);
    }
    if (b->kind == N_NEG && b->kid[0]->kind == N_UNIT) {
        dt_tri r = loose(c, b, a, by);
        return r;
    }
    /* A sign that one side may leave out: 12 % is 12 and also 0.12; 180 degrees is 180 and also pi. */
    if ((a->kind == N_PERCENT) != (b->kind == N_PERCENT) || (a->kind == N_DEG) != (b->kind == N_DEG)) {
        const dt_node *bare_a = a->kind == N_PERCENT || a->kind == N_DEG ? a->kid[0] : a, *bare_b = b->kind == N_PERCENT || b->kind == N_DEG ? b->kid[0] : b;
        if ((a->kind == N_PERCENT && b->kind == N_DEG) || (a->kind == N_DEG && b->kind == N_PERCENT)) return DT_NO;
        dt_tri r = dt_ans_equal(c, bare_a, bare_b, by);
        if (r == DT_YES || c->why || !is_expression(a) || !is_expression(b)) return r;
        dt_tri s = dt_ans_number_equal(c, a, b, by);
        return s == DT_YES ? s : r;
    }
    if (a->kind == N_TUPLE && b->kind == N_TUPLE) return tuples(c, a, b, by);
    if (a->kind == N_EMPTY && b->kind == N_EMPTY) return DT_YES;
    if (a->kind == N_BUILD && b->kind == N_BUILD && keys_equal(c, a, b) == DT_YES) return DT_YES;
    if (dt_ans_is_line(a) && dt_ans_is_line(b)) return DT_YES;
    if (is_expression(a) && is_expression(b)) {
        if (a->kind == N_SYM && b->kind == N_SYM && a->sn == 1 && b->sn == 1 && toupper((unsigned char)a->s[0]) == toupper((unsigned char)b->s[0]) && strchr("ABCDEFGHabcdefgh", a->s[0]))
            return DT_YES; /* letters of options */
        return dt_ans_number_equal(c, a, b, by);
    }
    if (a->kind == N_INF || b->kind == N_INF || has_kind(a, N_INF) || has_kind(b, N_INF)) {
        bool ma = false, mb = false;
        if (has_infinity(a, &ma) || has_infinity(b, &mb)) return dt_ans_number_equal(c, a, b, by);
    }
    dt_tri r = dt_ans_real_equal(c, a, b, by);
    if (r != DT_UNKNOWN || c->why) return r;
    if (a->kind == b->kind && a->kind == N_CUP) return keys_equal(c, a, b) == DT_YES ? DT_YES : DT_UNKNOWN;
    return keys_equal(c, a, b) == DT_YES ? DT_YES : is_expression(a) != is_expression(b) ? DT_NO : a->kind != b->kind ? DT_NO : DT_UNKNOWN;
}
