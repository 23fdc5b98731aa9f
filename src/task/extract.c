/* The answer in a response, by style. In every style the last answer wins, except gpqa-first, which is the reference's
 * own expression. */
#include "base/base.h"
#include "duet/grade.h"
#include "task/span.h"

#include <stdlib.h>

bool duet_style_parse(const char *name, duet_style *out) {
    static const char *const names[] = {"boxed", "answer_letter", "gsm8k", "free", "letter_any", "gpqa-first"};
    for (size_t i = 0; i < DT_COUNT(names); i++)
        if (!strcmp(names[i], name)) {
            *out = (duet_style)i;
            return true;
        }
    return false;
}

/* ---- boxes ---- */

/* From the '{' at `open` to its partner; SIZE_MAX if there is none. */
static size_t partner(dt_span s, size_t open) {
    int depth = 0;
    for (size_t i = open; i < s.n; i++) {
        if (s.p[i] == '\\') {
            i++;
            continue;
        }
        if (s.p[i] == '{') depth++;
        if (s.p[i] == '}' && --depth == 0) return i;
    }
    return SIZE_MAX;
}

bool dt_last_box(dt_span s, dt_span *in, size_t *at, size_t *end) {
    dt_span rest = s;
    size_t found = SIZE_MAX;
    for (;;) {
        found = dt_span_find_last(rest, "\\boxed");
        if (found == SIZE_MAX) return false;
        size_t k = found + 6, blanks = 0;
        while (k < s.n && s.p[k] == ' ')
            k++, blanks++;
        if (k < s.n && s.p[k] == '{') {
            size_t close = partner(s, k);
            if (close == SIZE_MAX) return false; /* an unclosed last box hides the earlier ones */
            *in = (dt_span){s.p + k + 1, close - k - 1};
            *at = found;
            *end = close + 1;
            return true;
        }
        if (blanks && k < s.n && (isdigit((unsigned char)s.p[k]) || s.p[k] == '-' || s.p[k] == '\\' || s.p[k] == '$')) { /* \boxed 7, not the bare word */
            size_t to = k;
            if (s.p[k] == '\\') { /* a command with its arguments */
                const char *dollar = memchr(s.p + k, '$', s.n - k);
                to = dollar ? (size_t)(dollar - s.p) : s.n;
            } else {
                while (to < s.n && !strchr("$ \n\\", s.p[to]))
                    to++;
                if (to > k && (s.p[to - 1] == '.' || s.p[to - 1] == ',')) to--;
            }
            *in = (dt_span){s.p + k, to - k};
            *at = found;
            *end = to;
            if (to > k) return true;
        }
        rest.n = found;
    }
}

/* ---- letters ---- */

static bool is_word(int ch) { return isalnum((unsigned char)ch) || ch == '_'; }

static const char *const wraps[] = {"\\textbf{", "\\mathbf{", "\\mathrm{", "\\boxed{", "\\text{", "\\left(", "\\(", "\\[", "\\boxed", "**", "*", "$", "(", "[", "{", "_", "`", "\"", "\xE2\x80\x9C"};

/* Past blanks and light markup. */
static size_t skip_markup(dt_span s, size_t i) {
    for (bool moved = true; moved;) {
        moved = false;
        while (i < s.n && isspace((unsigned char)s.p[i]))
            i++;
        for (size_t k = 0; k < DT_COUNT(wraps) && !moved; k++)
            if (dt_span_starts(s, i, wraps[k])) {
                i += strlen(wraps[k]);
                moved = true;
            }
    }
    return i;
}

/* A letter A..D at i that begins no word; 0 = none. A small letter must stand alone: "a" is a word too. */
static char letter_at(dt_span s, size_t i, bool small_too) {
    if (i >= s.n || (i + 1 < s.n && (is_word(s.p[i + 1]) || s.p[i + 1] == '\''))) return 0;
    char ch = s.p[i];
    if (ch >= 'A' && ch <= 'D') return ch;
    if (!small_too || ch < 'a' || ch > 'd') return 0;
    size_t k = i + 1;
    while (k < s.n && (s.p[k] == ' ' || s.p[k] == '\t'))
        k++;
    bool word_follows = k > i + 1 && k < s.n && (isalnum((unsigned char)s.p[k]) || (unsigned char)s.p[k] >= 0x80);
    return word_follows ? 0 : (char)toupper((unsigned char)ch);
}

static size_t colon(dt_span s, size_t i) {
    static const char *const marks[] = {":", "\xEF\xBC\x9A"};
    while (i < s.n && (isspace((unsigned char)s.p[i]) || s.p[i] == '*' || s.p[i] == '_'))
        i++;
    for (size_t k = 0; k < DT_COUNT(marks); k++)
        if (dt_span_starts(s, i, marks[k])) return i + strlen(marks[k]);
    return SIZE_MAX;
}

static size_t skip_words(dt_span s, size_t i, const char *const *words, size_t n) {
    i = skip_markup(s, i);
    for (size_t k = 0; k < n; k++)
        if (dt_span_starts_nocase(s, i, words[k])) return skip_markup(s, i + strlen(words[k]));
    return i;
}

static char answer_letter(dt_span s) {
    static const char *const names[] = {"option", "choice"};
    for (size_t i = s.n; i-- > 0;) {
        size_t k = dt_span_starts_nocase(s, i, "answer") && !(i && is_word(s.p[i - 1])) ? i + 6 : dt_span_starts(s, i, "\xE7\xAD\x94\xE6\xA1\x88") ? i + 6 : SIZE_MAX;
        if (k == SIZE_MAX || (k = colon(s, k)) == SIZE_MAX) continue;
        char ch = letter_at(s, skip_words(s, k, names, 2), true);
        if (ch) return ch;
    }
    for (size_t i = s.n; i-- > 0;) {
        size_t k = dt_span_starts_nocase(s, i, "answer is") ? i + 9 : dt_span_starts(s, i, "\xE7\xAD\x94\xE6\xA1\x88\xE6\x98\xAF") ? i + 9 : SIZE_MAX;
        if (k == SIZE_MAX) continue;
        size_t c = colon(s, k);
        char ch = letter_at(s, skip_words(s, c == SIZE_MAX ? k : c, names, 2), false);
        if (ch) return ch;
    }
    dt_span in;
    size_t at = 0, end = 0;
    if (!dt_last_box(s, &in, &at, &end)) return 0;
    return letter_at(in, skip_markup(in, 0), true);
}

static char letter_any(dt_span s) {
    char ch = answer_letter(s);
    if (ch) return ch;
    bool fresh = true; /* only blanks since the start of the line */
    for (size_t i = 0; i < s.n; i++) {
        if (fresh && isspace((unsigned char)s.p[i])) continue;
        size_t k = fresh ? skip_markup(s, i) : i;
        if (fresh && (ch = letter_at(s, k, false)) && k + 1 < s.n && strchr(".):", s.p[k + 1])) return ch;
        if (fresh && ch && k + 1 == s.n) return ch;
        fresh = s.p[i] == '\n';
    }
    for (size_t i = s.n; i-- > 0;) {
        if (i && is_word(s.p[i - 1])) continue;
        ch = letter_at(s, i, false);
        bool article = ch == 'A' && i + 2 < s.n && s.p[i + 1] == ' ' && islower((unsigned char)s.p[i + 2]);
        if (ch && !article) return ch;
    }
    return 0;
}

/* The reference: the first "Answer", blanks, ":", blanks, an optional "$", one of A-D of either case, whatever follows. */
static char gpqa_first(dt_span s) {
    for (size_t i = 0; i + 6 <= s.n; i++) {
        if (!dt_span_starts_nocase(s, i, "answer")) continue;
        size_t k = i + 6;
        while (k < s.n && isspace((unsigned char)s.p[k]))
            k++;
        if (k >= s.n || s.p[k++] != ':') continue;
        while (k < s.n && isspace((unsigned char)s.p[k]))
            k++;
        if (k < s.n && s.p[k] == '$') k++;
        if (k < s.n && s.p[k] && strchr("ABCDabcd", s.p[k])) return s.p[k];
    }
    return 0;
}

/* ---- numbers ---- */

size_t dt_number_at(dt_span s, size_t i) {
    size_t k = i, digits = 0;
    if (k < s.n && (s.p[k] == '-' || s.p[k] == '+')) k++;
    while (k < s.n && isdigit((unsigned char)s.p[k])) {
        k++;
        digits++;
        if (k + 1 < s.n && s.p[k] == ',' && isdigit((unsigned char)s.p[k + 1])) k++;
    }
    if (k + 1 < s.n && s.p[k] == '.' && isdigit((unsigned char)s.p[k + 1])) {
        k++;
        while (k < s.n && isdigit((unsigned char)s.p[k]))
            k++, digits++;
    }
    return digits ? k - i : 0;
}

static char *without_commas(dt_span s) {
    char *t = malloc(s.n + 1);
    size_t k = 0;
    for (size_t i = 0; t && i < s.n; i++)
        if (s.p[i] != ',' && s.p[i] != '+') t[k++] = s.p[i];
    if (t) t[k] = 0;
    return t;
}

static bool gsm8k(dt_span s, dt_span *out, bool *minus) {
    static const char *const currency[] = {"\\$", "$", "\xE2\x82\xAC", "\xC2\xA3", "\xC2\xA5"};
    size_t i = dt_span_find_last(s, "####");
    if (i == SIZE_MAX) return false;
    i += 4;
    while (i < s.n && isspace((unsigned char)s.p[i]))
        i++;
    *minus = i < s.n && s.p[i] == '-' && !dt_number_at(s, i);
    i += *minus;
    for (size_t k = 0; k < DT_COUNT(currency); k++)
        if (dt_span_starts(s, i, currency[k])) {
            i += strlen(currency[k]);
            break;
        }
    while (i < s.n && s.p[i] == ' ')
        i++;
    size_t n = dt_number_at(s, i);
    *out = (dt_span){s.p + i, n};
    return n > 0;
}

bool dt_after_hashes(dt_span s, dt_span *out) {
    bool minus = false;
    return gsm8k(s, out, &minus) && !minus;
}

static bool last_number(dt_span s, dt_span *out) {
    for (size_t i = s.n; i-- > 0;) {
        if (!isdigit((unsigned char)s.p[i])) continue;
        size_t from = i;
        while (from && (isdigit((unsigned char)s.p[from - 1]) || ((s.p[from - 1] == ',' || s.p[from - 1] == '.') && from > 1 && isdigit((unsigned char)s.p[from - 2])) ||
                        (s.p[from - 1] == '.' && (from == 1 || isspace((unsigned char)s.p[from - 2])))))
            from--;
        if (from && s.p[from - 1] == '-' && !(from > 1 && (is_word(s.p[from - 2]) || s.p[from - 2] == ')'))) from--;
        *out = (dt_span){s.p + from, i + 1 - from};
        return true;
    }
    return false;
}

/* ---- free ---- */

dt_span dt_strip_markup(dt_span s) {
    static const struct {
        const char *open, *close;
    } pairs[] = {{"**", "**"}, {"$$", "$$"}, {"$", "$"}, {"\\(", "\\)"}, {"\\[", "\\]"}, {"*", "*"}, {"`", "`"}, {"__", "__"}};
    for (bool moved = true; moved;) {
        moved = false;
        s = dt_span_trim(s);
        for (size_t k = 0; k < DT_COUNT(pairs) && !moved; k++) {
            size_t a = strlen(pairs[k].open), b = strlen(pairs[k].close);
            if (s.n < a + b || !dt_span_starts(s, 0, pairs[k].open) || !dt_span_starts(s, s.n - b, pairs[k].close)) continue;
            if (dt_span_find(s, a, pairs[k].close) != s.n - b) continue; /* $1$ and $2$ */
            s = (dt_span){s.p + a, s.n - a - b};
            moved = true;
        }
        size_t stars = 0; /* the end of bold print before it: "** 17" */
        while (stars < s.n && s.p[stars] == '*')
            stars++;
        if (stars && stars < s.n && s.p[stars] == ' ') {
            s = dt_span_from(s, stars);
            moved = true;
        }
        bool escaped = s.n > 1 && s.p[s.n - 2] == '\\';
        if (!moved && s.n && s.p[s.n - 1] == '.' && !escaped && !(s.n > 1 && s.p[s.n - 2] == '.')) {
            s.n--;
            moved = true;
        }
    }
    return s;
}

/* The end of the line, or of the sentence: a full stop before a blank, outside of math. */
static dt_span sentence(dt_span s) {
    bool dollar = false;
    int depth = 0;
    while (s.n && (isspace((unsigned char)*s.p) || *s.p == ':' || *s.p == '*'))
        if (*s.p == '*') break;
        else s.p++, s.n--;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n) {
            depth += s.p[i + 1] == '(' || s.p[i + 1] == '[';
            depth -= s.p[i + 1] == ')' || s.p[i + 1] == ']';
            i++;
            continue;
        }
        if (s.p[i] == '$') dollar = !dollar;
        if (dollar || depth > 0) continue;
        if (s.p[i] == '\n') return (dt_span){s.p, i};
        if (s.p[i] == '.' && i + 1 < s.n && isspace((unsigned char)s.p[i + 1])) return (dt_span){s.p, i};
        if (dt_span_starts(s, i, "\xE3\x80\x82")) return (dt_span){s.p, i};
    }
    return s;
}

bool dt_after_answer_is(dt_span s, bool colon_too, dt_span *out) {
    static const char *const marks[] = {"answer is", "\xE7\xAD\x94\xE6\xA1\x88\xE6\x98\xAF", "\xE7\xAD\x94\xE6\xA1\x88\xE4\xB8\xBA", "answer:"};
    for (size_t i = s.n; i-- > 0;)
        for (size_t k = 0; k < DT_COUNT(marks) - !colon_too; k++)
            if (k == 1 || k == 2 ? dt_span_starts(s, i, marks[k]) : dt_span_starts_nocase(s, i, marks[k])) {
                dt_span after = dt_strip_markup(sentence(dt_span_from(s, i + strlen(marks[k]))));
                if (!after.n) continue;
                *out = after;
                return true;
            }
    return false;
}

static bool minerva(dt_span s, dt_span *out) {
    size_t i = dt_span_find_last(s, "final answer is ");
    if (i == SIZE_MAX) return false;
    size_t from = i + strlen("final answer is "), to = dt_span_find(s, from, "I hope");
    if (to == SIZE_MAX) return false;
    *out = dt_strip_markup((dt_span){s.p + from, to - from});
    return out->n > 0;
}

static bool free_answer(dt_span s, dt_span *out, bool *number) {
    size_t at = 0, end = 0;
    if (dt_span_find(s, 0, "\\boxed") != SIZE_MAX && dt_last_box(s, out, &at, &end)) {
        *out = dt_strip_markup(*out);
        return true;
    }
    if (minerva(s, out) || dt_after_answer_is(s, false, out)) return true;
    *number = true;
    return last_number(s, out);
}

duet_status duet_extract(duet_style style, bool lenient, const char *response, size_t n, char **answer, duet_err *err) {
    dt_span s = {response, n}, out = {"", 0};
    size_t at = 0, end = 0;
    bool found = false, number = false, minus = false;
    char letter = 0;
    *answer = NULL;
    switch (style) {
    case DUET_STYLE_BOXED: found = dt_last_box(s, &out, &at, &end); break;
    case DUET_STYLE_GSM8K: found = number = gsm8k(s, &out, &minus); break;
    case DUET_STYLE_FREE: found = free_answer(s, &out, &number); break;
    case DUET_STYLE_ANSWER_LETTER: letter = lenient ? letter_any(s) : answer_letter(s); break;
    case DUET_STYLE_LETTER_ANY: letter = letter_any(s); break;
    case DUET_STYLE_GPQA_FIRST: letter = gpqa_first(s); break;
    }
    if (!found && lenient && (style == DUET_STYLE_BOXED || style == DUET_STYLE_GSM8K)) found = free_answer(s, &out, &number);
    if (!found && !letter) return DUET_OK;
    if (letter) out = (dt_span){&letter, 1};
    else if (!number) out = dt_span_trim(out);
    if (number) {
        *answer = without_commas(out);
        if (*answer && minus) {
            char *t = malloc(strlen(*answer) + 2);
            if (t) sprintf(t, "-%s", *answer);
            free(*answer);
            *answer = t;
        }
    } else if ((*answer = malloc(out.n + 1))) {
        memcpy(*answer, out.p, out.n);
        (*answer)[out.n] = 0;
    }
    return *answer ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "extraction: no memory for an answer of %zu bytes", out.n);
}
