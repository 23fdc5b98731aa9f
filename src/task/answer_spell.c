/* Answers, step 0: spellings that tokens do not know become ones they do. One pass over the bytes, each rule looks at one place.
 *
 *   2² x⁻¹ a₁           2^{2} x^{-1} a_{1}
 *   ½ 4½                \frac{1}{2} 4\frac{1}{2}
 *   3x10^8              3 \times 10^8
 *   0.333... 0.(3)      0.\overline{3}: at least three of the repeating block
 *   (1011)_2 2A_{16} _{\text{two}}   1011_{2} 42 _{2}
 *   {}_5C_2 _5C_2       \binom{5}{2}
 *   1'000 1.000.000     1000 1000000
 *   USD 40              \$40
 *   5^{\text{th}} 5th   5
 *   2 h 30 min          2 hour 30 min
 *   3 to 4              3:4, where it is all of the answer */
#include "task/answer.h"
#include "task/span.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct speller {
    dt_span s;
    size_t i;
    dt_buf out;
} speller;

static bool is_digit_at(dt_span s, size_t i) { return i < s.n && isdigit((unsigned char)s.p[i]); }
static bool is_letter_at(dt_span s, size_t i) { return i < s.n && isalpha((unsigned char)s.p[i]); }
static size_t digits_at(dt_span s, size_t i) {
    size_t k = i;
    while (is_digit_at(s, k))
        k++;
    return k - i;
}
static size_t blanks_at(dt_span s, size_t i) {
    size_t k = i;
    while (k < s.n && s.p[k] == ' ')
        k++;
    return k - i;
}
static char last_of(const speller *p) { return p->out.len ? p->out.data[p->out.len - 1] : 0; }

/* ---- raised and lowered characters, fractions ---- */

static const char *const raised[] = {"\xE2\x81\xB0", "\xC2\xB9", "\xC2\xB2", "\xC2\xB3", "\xE2\x81\xB4", "\xE2\x81\xB5", "\xE2\x81\xB6", "\xE2\x81\xB7", "\xE2\x81\xB8", "\xE2\x81\xB9", "\xE2\x81\xBB", "\xE2\x81\xBA", "\xE2\x81\xBF"};
static const char *const lowered[] = {"\xE2\x82\x80", "\xE2\x82\x81", "\xE2\x82\x82", "\xE2\x82\x83", "\xE2\x82\x84", "\xE2\x82\x85", "\xE2\x82\x86", "\xE2\x82\x87", "\xE2\x82\x88", "\xE2\x82\x89", "\xE2\x82\x8B", "\xE2\x82\x8A", "\xE2\x82\x99"};
static const char plain[] = "0123456789-+n";

static bool script(speller *p, const char *const *chars, char mark) {
    size_t i = p->i, k = 0;
    char text[64];
    size_t n = 0;
    while (n < sizeof text) {
        for (k = 0; k < sizeof plain - 1 && !dt_span_starts(p->s, i, chars[k]); k++)
            ;
        if (k == sizeof plain - 1) break;
        text[n++] = plain[k];
        i += strlen(chars[k]);
    }
    if (!n) return false;
    dt_buf_addf(&p->out, "%c{%.*s}", mark, (int)n, text);
    p->i = i;
    return true;
}

static bool fraction(speller *p) {
    static const struct {
        const char *s;
        int a, b;
    } all[] = {{"\xC2\xBD", 1, 2},     {"\xC2\xBC", 1, 4},     {"\xC2\xBE", 3, 4},     {"\xE2\x85\x93", 1, 3}, {"\xE2\x85\x94", 2, 3}, {"\xE2\x85\x95", 1, 5}, {"\xE2\x85\x96", 2, 5}, {"\xE2\x85\x97", 3, 5},
               {"\xE2\x85\x98", 4, 5}, {"\xE2\x85\x99", 1, 6}, {"\xE2\x85\x9A", 5, 6}, {"\xE2\x85\x9B", 1, 8}, {"\xE2\x85\x9C", 3, 8}, {"\xE2\x85\x9D", 5, 8}, {"\xE2\x85\x9E", 7, 8}};
    for (size_t k = 0; k < DT_COUNT(all); k++)
        if (dt_span_starts(p->s, p->i, all[k].s)) {
            dt_buf_addf(&p->out, "\\frac{%d}{%d}", all[k].a, all[k].b);
            p->i += strlen(all[k].s);
            return true;
        }
    return false;
}

/* ---- numbers ---- */

/* The block that the decimals s[from..to) repeat to their end, at least three times; 0 = none. */
static size_t period(dt_span s, size_t from, size_t to) {
    for (size_t k = 1; k <= 12 && 3 * k <= to - from; k++)
        if (!memcmp(s.p + to - 3 * k, s.p + to - 2 * k, k) && !memcmp(s.p + to - 2 * k, s.p + to - k, k)) return k;
    return 0;
}

static size_t dots_at(dt_span s, size_t i) {
    static const char *const ways[] = {"\\ldots", "\\dots", "\\cdots", "...", "\xE2\x80\xA6"};
    for (size_t k = 0; k < DT_COUNT(ways); k++)
        if (dt_span_starts(s, i, ways[k])) return strlen(ways[k]);
    return 0;
}

/* Decimals that repeat: .333..., .(3), at a point behind digits. */
static bool decimals(speller *p) {
    size_t i = p->i;
    if (p->s.p[i] != '.') return false;
    size_t from = i + 1, n = digits_at(p->s, from), to = from + n, dots = n ? dots_at(p->s, to) : 0, k = dots ? period(p->s, from, to) : 0;
    if (k) {
        size_t head = to - k; /* all whole blocks but one go */
        while (head >= from + k && !memcmp(p->s.p + head - k, p->s.p + head, k))
            head -= k;
        dt_buf_addf(&p->out, ".%.*s\\overline{%.*s}", (int)(head - from), p->s.p + from, (int)k, p->s.p + to - k);
        p->i = to + dots;
        return true;
    }
    if (!n && from < p->s.n && p->s.p[from] == '(' && is_digit_at(p->s, i - 1)) {
        size_t m = digits_at(p->s, from + 1), close = from + 1 + m;
        if (!m || m > 30 || close >= p->s.n || p->s.p[close] != ')') return false;
        dt_buf_addf(&p->out, ".\\overline{%.*s}", (int)m, p->s.p + from + 1);
        p->i = close + 1;
        return true;
    }
    return false;
}

/* A number whose thousands are parted by ' or by points, at its first digit. */
static bool groups(speller *p) {
    size_t i = p->i, n = digits_at(p->s, i), k = i + n, parts = 0;
    char mark = k < p->s.n ? p->s.p[k] : 0;
    if (!n || n > 3 || p->s.p[i] == '0' || (mark != '\'' && mark != '.')) return false;
    while (k < p->s.n && p->s.p[k] == mark && digits_at(p->s, k + 1) == 3)
        k += 4, parts++;
    if (!parts || (mark == '.' && parts < 2) || (k < p->s.n && p->s.p[k] == mark && is_digit_at(p->s, k + 1))) return false;
    for (; i < k; i++)
        if (p->s.p[i] != mark) dt_buf_add(&p->out, p->s.p + i, 1);
    p->i = k;
    return true;
}

/* 5th, 5^{th}, 5^{\text{th}}, 5\text{th}: what goes, at the place behind the digits. */
static size_t ordinal_at(dt_span s, size_t i) {
    static const char *const ends[] = {"st", "nd", "rd", "th"};
    static const struct {
        const char *open, *close;
    } ways[] = {{"^{\\text{", "}}"}, {"^{\\mathrm{", "}}"}, {"^\\text{", "}"}, {"\\text{", "}"}, {"^{", "}"}, {"\\textsuperscript{", "}"}, {"", ""}};
    for (size_t k = 0; k < DT_COUNT(ways); k++) {
        if (!dt_span_starts(s, i, ways[k].open)) continue;
        size_t at = i + strlen(ways[k].open);
        for (size_t e = 0; e < DT_COUNT(ends); e++)
            if (dt_span_starts(s, at, ends[e]) && dt_span_starts(s, at + 2, ways[k].close)) {
                size_t to = at + 2 + strlen(ways[k].close);
                if (!is_letter_at(s, to)) return to - i;
            }
    }
    return 0;
}

/* ---- bases ---- */

/* _2, _{16}, _{\text{two}}: the base, and the length of it all. 0 = none. */
static int base_at(dt_span s, size_t i, size_t *len) {
    static const char *const names[] = {"two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"};
    if (i >= s.n || s.p[i] != '_') return 0;
    size_t k = i + 1, n = 0;
    bool brace = k < s.n && s.p[k] == '{';
    k += brace;
    size_t wrap = dt_span_starts(s, k, "\\text{") ? 6 : dt_span_starts(s, k, "\\mathrm{") ? 8 : 0;
    k += wrap;
    int base = 0;
    if ((n = digits_at(s, k)) && n <= 2) {
        base = n == 1 || !brace ? s.p[k] - '0' : 10 * (s.p[k] - '0') + s.p[k + 1] - '0';
        k += brace ? n : 1;
    } else {
        for (size_t q = 0; wrap && !base && q < DT_COUNT(names); q++)
            if (dt_span_starts(s, k, names[q]) && s.p[k + strlen(names[q])] == '}') {
                base = (int)q + 2;
                k += strlen(names[q]);
            }
    }
    for (size_t q = 0; q < (size_t)brace + (wrap != 0); q++)
        if (k >= s.n || s.p[k++] != '}') return 0;
    *len = k - i;
    return base >= 2 && base <= 36 ? base : 0;
}

static int digit_of(char ch) { return isdigit((unsigned char)ch) ? ch - '0' : isupper((unsigned char)ch) ? ch - 'A' + 10 : 99; }

/* Digits of a base at the place, also in brackets or as text; with letters among them they become a decimal number. */
static bool based(speller *p) {
    dt_span s = p->s;
    size_t i = p->i, wrap = dt_span_starts(s, i, "\\text{") ? 6 : dt_span_starts(s, i, "\\mathrm{") ? 8 : s.p[i] == '(', from = i + wrap, to = from, len = 0;
    bool letters = false;
    if (is_letter_at(s, i ? i - 1 : s.n) || is_digit_at(s, i ? i - 1 : s.n) || (i && strchr("\\.", s.p[i - 1])) || (i && s.p[i - 1] == ',' && !(i > 1 && s.p[i - 2] == '\\')))
        return false;
    for (; to < s.n && to - from <= 12 && digit_of(s.p[to]) < 36; to++)
        letters = letters || is_letter_at(s, to);
    bool word = dt_span_starts(s, to, "_{\\"); /* a base in words: the lexer knows those in digits */
    if (to == from || to - from > 12 || (!letters && !wrap && !word) || (letters && !wrap && !is_digit_at(s, from))) return false;
    if (wrap && (to >= s.n || s.p[to] != (s.p[i] == '(' ? ')' : '}'))) return false;
    size_t after = to + (wrap != 0);
    int base = base_at(s, after, &len);
    if (!base) return false;
    long long v = 0;
    for (size_t k = from; k < to; k++) {
        if (digit_of(s.p[k]) >= base) return false;
        v = v * base + digit_of(s.p[k]);
        if (v > 1000000000000000) return false;
    }
    if (letters)
        dt_buf_addf(&p->out, "%lld", v);
    else
        dt_buf_addf(&p->out, "%.*s_{%d}", (int)(to - from), s.p + from, base);
    p->i = after + len;
    return true;
}

/* ---- others ---- */

/* {}_5C_2, _5C_2, {}_{10}C_{3}, ^5C_2 */
static bool combinations(speller *p) {
    dt_span s = p->s;
    size_t i = p->i, arg[2][2];
    if (i && (isalnum((unsigned char)s.p[i - 1]) || strchr(")}]", s.p[i - 1]))) return false;
    if (dt_span_starts(s, i, "{}")) i += 2;
    if (i >= s.n || (s.p[i] != '_' && s.p[i] != '^')) return false;
    for (int k = 0; k < 2; k++) {
        if (k && (i >= s.n || s.p[i] != '_')) return false;
        bool brace = ++i < s.n && s.p[i] == '{';
        i += brace;
        size_t n = digits_at(s, i);
        if (!brace && n > 1 && k) n = 1;
        arg[k][0] = i;
        arg[k][1] = n;
        i += n;
        if (!n || (brace && (i >= s.n || s.p[i++] != '}'))) return false;
        if (!k && (i >= s.n || s.p[i++] != 'C')) return false;
    }
    dt_buf_addf(&p->out, "\\binom{%.*s}{%.*s}", (int)arg[0][1], s.p + arg[0][0], (int)arg[1][1], s.p + arg[1][0]);
    p->i = i;
    return true;
}

static bool currency(speller *p) {
    static const char *const names[] = {"USD", "US\\$", "US$", "EUR"};
    if (p->i && p->s.p[p->i - 1] != ' ') return false;
    for (size_t k = 0; k < DT_COUNT(names); k++) {
        if (!dt_span_starts(p->s, p->i, names[k])) continue;
        size_t to = p->i + strlen(names[k]);
        to += blanks_at(p->s, to);
        if (!is_digit_at(p->s, to)) continue;
        dt_buf_adds(&p->out, k == 3 ? "\xE2\x82\xAC" : "\\$");
        p->i = to;
        return true;
    }
    return false;
}

/* Behind a digit: "x10^" is a product; "h" and a number of minutes are hours. */
static bool after_digit(speller *p) {
    size_t i = p->i + blanks_at(p->s, p->i), to = i + 1 + blanks_at(p->s, i + 1);
    size_t end = ordinal_at(p->s, p->i);
    if (end) {
        p->i += end;
        return true;
    }
    if (i >= p->s.n) return false;
    if ((p->s.p[i] == 'x' || p->s.p[i] == 'X') && (dt_span_starts(p->s, to, "10^") || dt_span_starts(p->s, to, "10\xE2\x81") || dt_span_starts(p->s, to, "10\xC2"))) {
        dt_buf_adds(&p->out, "\\times ");
        p->i = to;
        return true;
    }
    size_t n = digits_at(p->s, to), unit = to + n + blanks_at(p->s, to + n);
    if (p->s.p[i] == 'h' && n && (dt_span_starts(p->s, unit, "min") || (dt_span_starts(p->s, unit, "m") && unit + 1 == p->s.n))) {
        dt_buf_addf(&p->out, " hour %.*s min", (int)n, p->s.p + to);
        p->i = unit + (dt_span_starts(p->s, unit, "min") ? 3 : 1);
        return true;
    }
    return false;
}

/* All of the answer is "3 to 4". */
static bool ratio(speller *p) {
    size_t n = digits_at(p->s, 0), i = n + blanks_at(p->s, n);
    if (!n || i == n || !dt_span_starts(p->s, i, "to ")) return false;
    i += 2 + blanks_at(p->s, i + 2);
    size_t m = digits_at(p->s, i);
    if (!m || i + m != p->s.n) return false;
    dt_buf_addf(&p->out, "%.*s:%.*s", (int)n, p->s.p, (int)m, p->s.p + i);
    p->i = p->s.n;
    return true;
}

static bool rule(speller *p) {
    unsigned char ch = (unsigned char)p->s.p[p->i];
    bool behind_digit = isdigit((unsigned char)last_of(p)) != 0;
    if (ch >= 0x80) return script(p, raised, '^') || script(p, lowered, '_') || fraction(p);
    if (behind_digit && !isdigit(ch) && after_digit(p)) return true;
    if (ch == '.') {
        if (!p->out.len && dt_span_starts(p->s, p->i, ".\\overline")) dt_buf_adds(&p->out, "0");
        return decimals(p);
    }
    if (dt_span_starts(p->s, p->i, "\\mathrm{i}") || dt_span_starts(p->s, p->i, "\\mathrm{e}")) {
        dt_buf_addf(&p->out, " %c ", p->s.p[p->i + 8]);
        p->i += 10;
        return true;
    }
    if ((isdigit(ch) && !behind_digit) || ch == '(' || ch == '\\')
        if (based(p)) return true;
    if (isdigit(ch) && !behind_digit && last_of(p) != '.' && groups(p)) return true;
    if (ch == '_' || ch == '^' || ch == '{')
        if (combinations(p)) return true;
    return (ch == 'U' || ch == 'E') && currency(p);
}

const char *dt_ans_spell(dt_ans *c, const char *s, size_t n, size_t *len) {
    speller p = {.s = {s, n}, .out = {.max = 4 * DT_ANS_MAX_BYTES}};
    const char *t = NULL;
    dt_buf_adds(&p.out, "");
    if (n && isdigit((unsigned char)*s)) ratio(&p);
    while (p.i < n && !p.out.failed)
        if (!rule(&p)) dt_buf_add(&p.out, s + p.i++, 1);
    if (p.out.failed)
        dt_ans_stop(c, "too long an answer");
    else
        t = dt_ans_copy(c, p.out.data, p.out.len);
    *len = p.out.len;
    dt_buf_clear(&p.out);
    return t;
}
