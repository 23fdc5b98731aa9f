/* duet_verify: the answers in two texts, and the way from cheap to costly: the same string, plain integers, trees. */
#include "base/base.h"
#include "duet/grade.h"
#include "task/answer.h"
#include "task/hendrycks.h"
#include "task/span.h"

#include <flint/flint.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- memory of FLINT ---- */

/* FLINT keeps a cache for each thread; it goes when the thread ends. */
static pthread_key_t flint_key;
static pthread_once_t flint_once = PTHREAD_ONCE_INIT;
static void flint_leave(void *unused) {
    (void)unused;
    flint_cleanup();
}
static void flint_make_key(void) { pthread_key_create(&flint_key, flint_leave); }
static void flint_enter(void) {
    pthread_once(&flint_once, flint_make_key);
    pthread_setspecific(flint_key, &flint_once);
}

/* ---- the answer in a text ---- */

typedef struct found {
    dt_span s;
    dt_buf joined; /* s may lie in it */
    bool boxed;
} found;

/* Is what stands between two answers only "and", ",", math delimiters, a name with "="? */
static bool connects(dt_span gap) {
    static const char *const marks[] = {"\\text{and}", "\\text{ and }", "\\text{or}", "\\text{ or }", "\\quad", "\\qquad", "\\(", "\\)", "\\[", "\\]", "\\,", "\\;", "\\ ", "$", ",", ";", " ", "\n", "and", "or", "&", "\\\\"};
    if (gap.n > 60) return false;
    for (size_t i = 0; i < gap.n;) {
        size_t k = 0;
        while (k < DT_COUNT(marks) && !dt_span_starts(gap, i, marks[k]))
            k++;
        if (k < DT_COUNT(marks)) {
            i += strlen(marks[k]);
            continue;
        }
        size_t j = i; /* y_2 = */
        while (j < gap.n && (isalnum((unsigned char)gap.p[j]) || gap.p[j] == '_' || gap.p[j] == '{' || gap.p[j] == '}'))
            j++;
        if (j - i > 6 || j == i) return false;
        while (j < gap.n && gap.p[j] == ' ')
            j++;
        if (j >= gap.n || gap.p[j] != '=') return false;
        i = j + 1;
    }
    return gap.n > 0;
}

/* Puts `first` and a comma before what was found. */
static void join(found *f, dt_span first) {
    dt_buf b = {0};
    dt_buf_add(&b, first.p, first.n);
    dt_buf_adds(&b, ", ");
    dt_buf_add(&b, f->s.p, f->s.n);
    b.failed = b.failed || f->joined.failed;
    dt_buf_clear(&f->joined);
    f->joined = b;
    f->s = b.failed ? (dt_span){"", 0} : (dt_span){b.data, b.len};
}

/* The last box, with those before it that belong to the same answer. */
static bool boxes(dt_span s, found *f) {
    size_t at = 0, end = 0, before = 0, stop = 0;
    dt_span in;
    if (!dt_last_box(s, &f->s, &at, &end)) return false;
    f->boxed = true;
    for (int k = 0; k < 20; k++) {
        dt_span rest = {s.p, at};
        if (!dt_last_box(rest, &in, &before, &stop) || !connects((dt_span){s.p + stop, at - stop})) break;
        join(f, in);
        at = before;
    }
    return true;
}

/* The last math in the text, with what connects to it; where it ends. */
static bool last_math(dt_span s, found *f, size_t *end) {
    static const struct {
        const char *open, *close;
        bool inner; /* may not begin with a newline */
    } kinds[] = {{"$$", "$$", false}, {"\\[", "\\]", false}, {"$", "$", true}, {"\\(", "\\)", true}};
    dt_span in[16];
    size_t from[16], to[16], n = 0;
    bool joined = false, none[4] = {false}; /* no further end of this kind: do not look again */
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n && strchr("$\\", s.p[i + 1])) {
            i++;
            continue;
        }
        if (s.p[i] != '$' && s.p[i] != '\\') continue;
        for (size_t k = 0; k < DT_COUNT(kinds); k++) {
            if (none[k] || !dt_span_starts(s, i, kinds[k].open)) continue;
            size_t a = i + strlen(kinds[k].open), b = a;
            while (b < s.n && !(dt_span_starts(s, b, kinds[k].close) && s.p[b - 1] != '\\'))
                b++;
            if (b >= s.n) {
                none[k] = true;
                break;
            }
            size_t c = a;
            while (c < b && s.p[c] == ' ')
                c++;
            if (kinds[k].inner && c < b && s.p[c] == '\n') break;
            if (b > a) {
                if (n == DT_COUNT(in)) {
                    memmove(in, in + 1, sizeof in - sizeof *in);
                    memmove(from, from + 1, sizeof from - sizeof *from);
                    memmove(to, to + 1, sizeof to - sizeof *to);
                    n--;
                }
                in[n] = dt_span_trim((dt_span){s.p + a, b - a});
                from[n] = i;
                to[n++] = b + strlen(kinds[k].close);
            }
            i = b + strlen(kinds[k].close) - 1;
            break;
        }
    }
    if (!n) return false;
    f->s = in[n - 1];
    *end = to[n - 1];
    bool all = n > 1 && !from[0] && to[n - 1] == s.n; /* nothing but math, commas and "and": "$a$, $b$" */
    for (size_t k = 1; all && k < n; k++)
        all = connects((dt_span){s.p + to[k - 1], from[k] - to[k - 1]});
    for (size_t k = n - 1; k > 0; k--) { /* "$a$ and $b$", "$a$, $b$ or $c$" */
        dt_span gap = {s.p + to[k - 1], from[k] - to[k - 1]};
        bool word = dt_span_find(gap, 0, "and") != SIZE_MAX || dt_span_find(gap, 0, "or") != SIZE_MAX;
        if (!connects(gap) || !(all || word || (joined && memchr(gap.p, ',', gap.n)))) break;
        join(f, in[k - 1]);
        joined = true;
    }
    return true;
}

/* Words of plain text that are no functions. */
static int plain_words(dt_span s) {
    int words = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\') {
            size_t from = i + 1;
            while (i + 1 < s.n && isalpha((unsigned char)s.p[i + 1]))
                i++;
            dt_span name = {s.p + from, i + 1 - from};
            if (dt_span_starts(name, 0, "begin") || dt_span_starts(name, 0, "end") || dt_span_starts(name, 0, "text") || dt_span_starts(name, 0, "mbox") || dt_span_starts(name, 0, "math"))
                while (i + 1 < s.n && s.p[i + 1] != '}')
                    i++;
            continue;
        }
        size_t n = 0;
        dt_fn fn = F_N;
        while (i + n < s.n && isalpha((unsigned char)s.p[i + n]))
            n++;
        if (n > 1 && !dt_ans_word_fn(s.p + i, n, &fn) && !(n == 3 && !memcmp(s.p + i, "and", 3)) && !(n == 2 && !memcmp(s.p + i, "or", 2))) words++;
        if (n) i += n - 1;
    }
    return words;
}

static dt_ans fresh(const duet_verify_options *o) {
    return (dt_ans){.mem = {.block_bytes = 1 << 15}, .steps = DT_ANS_STEPS, .digits = o->digits > 0 ? o->digits : 6, .set_rel = !o->one_way};
}

/* Prose has several words; an expression with a word or two in it can be read as one. */
static bool is_prose(dt_span s) {
    static const duet_verify_options none = {0};
    int words = plain_words(s);
    bool digits = false;
    for (size_t i = 0; i < s.n && !digits; i++)
        digits = isdigit((unsigned char)s.p[i]);
    if (words >= 3 || !words || !digits) return words >= 3;
    dt_ans c = fresh(&none);
    dt_tokens t;
    bool ok = dt_ans_lex(&c, s.p, s.n, false, &t) && dt_ans_parse(&c, &t);
    dt_arena_clear(&c.mem);
    return !ok;
}

/* The last number of plain text from `from` on, with what makes it a fraction. */
static bool last_plain(dt_span s, size_t from, dt_span *out) {
    for (size_t i = s.n; i-- > from;) {
        if (!isdigit((unsigned char)s.p[i])) continue;
        size_t a = i, b = i + 1, slashes = 0;
        while (a > from) {
            char ch = s.p[a - 1];
            bool digit_before = a - 1 > from && isdigit((unsigned char)s.p[a - 2]);
            bool of_number = isdigit((unsigned char)ch) || ((ch == '.' || ch == ',') && digit_before) ||
                             (ch == '.' && (a - 1 == from || isspace((unsigned char)s.p[a - 2])));
            if (!of_number && !(ch == '/' && digit_before && !slashes++))
                break;
            a--;
        }
        if (a > from + 2 && dt_span_starts(s, a - 3, "\xE2\x88\x92") && !(a > from + 3 && (isalnum((unsigned char)s.p[a - 4]) || s.p[a - 4] == ')'))) a -= 3; /* the minus sign of Unicode */
        if (a > from && s.p[a - 1] == '-' && !(a - 1 > from && (isalnum((unsigned char)s.p[a - 2]) || s.p[a - 2] == ')'))) a--;
        if (a > from && isalpha((unsigned char)s.p[a - 1])) { /* the 2 of AZ2 is no number */
            i = a;
            continue;
        }
        *out = (dt_span){s.p + a, b - a};
        return true;
    }
    return false;
}

static bool has_math(dt_span s) {
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '$') return true;
        if (s.p[i] != '\\' || ++i >= s.n) continue;
        if (s.p[i] == '(' || s.p[i] == '[') return true;
    }
    return false;
}

static bool is_letter(dt_span s) {
    s = dt_strip_markup(s);
    if (s.n == 3 && s.p[0] == '(' && s.p[2] == ')') return s.p[1] >= 'A' && s.p[1] <= 'J';
    return s.n == 1 && *s.p >= 'A' && *s.p <= 'J';
}

/* Behind the last "option is" or "choice is"; SIZE_MAX = there is none, or the text has the usual form behind it. */
static size_t after_option_is(dt_span s) {
    static const char *const marks[] = {"option is", "choice is"};
    size_t at = SIZE_MAX;
    for (size_t i = s.n; i-- > 0 && at == SIZE_MAX;) {
        if (dt_span_starts_nocase(s, i, "answer")) return SIZE_MAX;
        for (size_t k = 0; k < DT_COUNT(marks); k++)
            if (dt_span_starts_nocase(s, i, marks[k])) at = i + strlen(marks[k]);
    }
    return at;
}

/* "B) 12", "(B) 12", "B. 12": an option with what it says. */
static bool labelled(dt_span s, dt_span *letter) {
    size_t i = s.n && *s.p == '(';
    if (i + 2 >= s.n || s.n > 200 || s.p[i] < 'A' || s.p[i] > 'J' || !strchr(i ? ")" : ").:", s.p[i + 1]) || s.p[i + 2] != ' ') return false;
    *letter = (dt_span){s.p + i, 1};
    return true;
}

static bool find_answer(dt_span s, const duet_verify_options *o, found *f) {
    size_t end = 0;
    s = dt_span_trim(s);
    bool box = dt_span_find(s, 0, "\\boxed") != SIZE_MAX;
    if (box && !o->no_latex) {
        if (boxes(s, f)) return true;
        size_t last = dt_span_find_last(s, "\\boxed{");
        if (last != SIZE_MAX) return false; /* the last box is not closed */
    }
    if (!o->no_expr && dt_after_hashes(s, &f->s)) return true;
    if (dt_after_answer_is(s, true, &f->s) && f->s.n < 400 && !is_prose(f->s) && !has_math(f->s)) {
        size_t from = (size_t)(f->s.p - s.p);
        bool math = from && (s.p[from - 1] == '$' || dt_span_starts(s, from - 1, "(") || dt_span_starts(s, from - 1, "[")); /* its delimiters are gone */
        if (!o->no_expr || math || memchr(f->s.p, '\\', f->s.n)) return true;
    }
    dt_span bare = dt_strip_markup(s);
    if (bare.n && !has_math(bare) && !is_prose(bare) && !(o->no_expr && bare.n == s.n)) {
        bool inner_newline = o->no_expr && s.n > 2 && s.p[0] == '\\' && s.p[1] == '(' && s.p[2] == '\n';
        if (!inner_newline) {
            f->s = bare;
            return true;
        }
    }
    bool math = !o->no_latex && last_math(s, f, &end);
    dt_span number;
    if (!o->no_expr && last_plain(s, math ? end : 0, &number)) {
        f->s = number;
        return true;
    }
    if (!math && !o->no_expr && bare.n && bare.n < 400) {
        f->s = bare; /* words */
        return true;
    }
    return math;
}

/* ---- comparison ---- */

static bool plain_integer(dt_span s, int64_t *v) {
    size_t minus = s.n && *s.p == '-';
    if (s.n == minus || s.n - minus > 18) return false;
    *v = 0;
    for (size_t i = minus; i < s.n; i++) {
        if (!isdigit((unsigned char)s.p[i])) return false;
        *v = 10 * *v + (s.p[i] - '0');
    }
    if (minus) *v = -*v;
    return true;
}

static dt_node *read_tree(dt_ans *c, dt_span s, bool plain_commas, bool *commas) {
    dt_tokens t;
    while (s.n && (strchr(".;,:", s.p[s.n - 1]) || isspace((unsigned char)s.p[s.n - 1])) && !(s.n > 1 && s.p[s.n - 2] == '\\') && s.p[s.n - 1] && !dt_span_starts(s, s.n < 3 ? s.n : s.n - 3, "..."))
        s.n--;
    if (!dt_ans_lex(c, s.p, s.n, plain_commas, &t)) return NULL;
    *commas = t.commas;
    return dt_ans_parse(c, &t);
}

/* Letters and digits of both without spacing: the last resort when one cannot be read. */
static bool same_text(dt_span a, dt_span b) {
    size_t i = 0, j = 0, from[2];
    static const char *const blanks[] = {" ", "\n", "\t", "\\,", "\\;", "\\!", "\\ ", "~", "\\left", "\\right", "\\quad", "$"};
    for (;;) {
        for (int side = 0; side < 2; side++) {
            size_t *k = side ? &j : &i;
            dt_span s = side ? b : a;
            from[side] = *k;
            for (bool moved = true; moved;) {
                moved = false;
                for (size_t q = 0; q < DT_COUNT(blanks) && !moved; q++)
                    if (dt_span_starts(s, *k, blanks[q])) {
                        *k += strlen(blanks[q]);
                        moved = true;
                    }
            }
        }
        if (i >= a.n || j >= b.n) return i >= a.n && j >= b.n;
        bool gap = i > from[0], other = j > from[1]; /* "1 2" is not "12" */
        if (gap != other && i && isdigit((unsigned char)a.p[from[0] ? from[0] - 1 : 0]) && isdigit((unsigned char)a.p[i])) return false;
        if (a.p[i++] != b.p[j++]) return false;
    }
}

/* "1,22" where a comma is the decimal point: the same with a point, in buf; false: no such number. */
static bool decimal_comma(dt_span s, char buf[64], dt_span *out) {
    size_t i = s.n && *s.p == '-', n = 0, whole = 0, part = 0, comma = 0;
    if (s.n >= 60) return false;
    for (size_t k = 0; k < i; k++)
        buf[n++] = s.p[k];
    for (; i < s.n && (isdigit((unsigned char)s.p[i]) || (s.p[i] == ' ' && i)); i++)
        if (s.p[i] != ' ') buf[n++] = s.p[i], whole++;
    if (i < s.n && s.p[i] == ',') buf[n++] = '.', comma++, i++;
    for (; i < s.n && isdigit((unsigned char)s.p[i]); i++)
        buf[n++] = s.p[i], part++;
    *out = (dt_span){buf, n};
    bool thousands = part == 3 && whole <= 3 && buf[s.p[0] == '-'] != '0'; /* 1,234 */
    return i == s.n && whole && comma && part && !thousands;
}

static void compare(dt_span gold, dt_span pred, const duet_verify_options *o, duet_verdict *v) {
    static const char *const methods[] = {"text", "exact", "ball", "rounding"};
    dt_ans c = fresh(o);
    dt_method by = DT_BY_TEXT;
    bool commas_g = false, commas_p = false;
    flint_enter();
    dt_node *g = read_tree(&c, gold, false, &commas_g), *p = g ? read_tree(&c, pred, false, &commas_p) : NULL;
    dt_tri r = DT_UNKNOWN;
    if (g && p) {
        r = dt_ans_equal(&c, g, p, &by);
        bool list_g = g->kind == N_LIST || g->kind == N_SET, list_p = p->kind == N_LIST || p->kind == N_SET;
        if (r != DT_YES && ((commas_g && !commas_p && list_p) || (commas_p && !commas_g && list_g))) { /* "100,200" may be two numbers */
            g = read_tree(&c, gold, true, &commas_g);
            p = g ? read_tree(&c, pred, true, &commas_p) : NULL;
            by = DT_BY_TEXT;
            if (g && p) r = dt_ans_equal(&c, g, p, &by);
        }
    } else if (same_text(gold, pred)) {
        r = DT_YES;
    }
    char buf[64];
    dt_span other;
    bool comma_g = decimal_comma(gold, buf, &other), comma_p = !comma_g && decimal_comma(pred, buf, &other);
    if (r != DT_YES && (comma_g || comma_p) && memchr(comma_g ? pred.p : gold.p, '.', comma_g ? pred.n : gold.n)) {
        g = comma_g ? read_tree(&c, other, true, &commas_g) : g;
        p = comma_p ? read_tree(&c, other, true, &commas_p) : p;
        by = DT_BY_TEXT;
        if (g && p && dt_ans_equal(&c, g, p, &by) == DT_YES) r = DT_YES;
    }
    v->equal = r == DT_YES;
    v->method = r == DT_YES ? methods[by] : r == DT_NO ? "different" : "undecided";
    if (r == DT_UNKNOWN) v->reason = c.why ? c.why : "no rule for these two";
    dt_arena_clear(&c.mem);
}

static char *copy(dt_span s) {
    char *t = malloc(s.n + 1);
    if (t) {
        if (s.n) memcpy(t, s.p, s.n);
        t[s.n] = 0;
    }
    return t;
}

static duet_status strict(dt_span gold, dt_span pred, duet_verdict *v, duet_err *err) {
    dt_buf x = {0}, y = {0};
    dt_span in;
    if (dt_hendrycks_box(pred, &in)) pred = in;
    if (dt_hendrycks_box(gold, &in)) gold = in;
    bool ok = dt_hendrycks_normalise(gold, &x);
    ok = dt_hendrycks_normalise(pred, &y) && ok;
    dt_span a = ok ? (dt_span){x.data ? x.data : "", x.len} : gold, b = ok ? (dt_span){y.data ? y.data : "", y.len} : pred;
    v->equal = dt_span_is(a, b);
    v->method = ok ? "normalised" : "raw";
    v->gold = x.failed || y.failed ? NULL : copy(a);
    v->pred = v->gold ? copy(b) : NULL;
    dt_buf_clear(&x);
    dt_buf_clear(&y);
    if (v->pred) return DUET_OK;
    duet_verdict_clear(v);
    return dt_fail(err, DUET_E_NOMEM, "comparison: no memory");
}

duet_status duet_verify(const char *gold, size_t n_gold, const char *pred, size_t n_pred, const duet_verify_options *opt, duet_verdict *v, duet_err *err) {
    static const duet_verify_options none = {0};
    const duet_verify_options *o = opt ? opt : &none;
    found g = {0}, p = {0};
    int64_t ig = 0, ip = 0;
    dt_span sg = {gold, n_gold}, sp = {pred, n_pred};
    char *letter = NULL;
    memset(v, 0, sizeof *v);
    if (o->strict) return strict(sg, sp, v, err);
    bool got_g = find_answer(sg, o, &g), got_p = find_answer(sp, o, &p);
    bool failed = g.joined.failed || p.joined.failed;
    if (got_g && is_letter(g.s) && (!got_p || !is_letter(p.s))) { /* an option: its letter somewhere in the response */
        size_t option = p.boxed ? SIZE_MAX : after_option_is(sp);
        dt_span in = p.boxed ? p.s : option != SIZE_MAX ? dt_span_from(sp, option) : sp;
        dt_buf b = {0};
        if (p.boxed || option != SIZE_MAX) {
            dt_buf_adds(&b, "Answer: ");
            dt_buf_add(&b, in.p, in.n);
            in = (dt_span){b.data ? b.data : "", b.len};
        }
        failed = failed || b.failed || duet_extract(DUET_STYLE_ANSWER_LETTER, false, in.p, in.n, &letter, NULL);
        dt_buf_clear(&b);
        if (letter) {
            p.s = dt_span_of(letter);
            got_p = true;
        } else if (!p.boxed && labelled(dt_strip_markup(sp), &p.s)) {
            got_p = true;
        }
    }
    if (!got_g || !got_p || !g.s.n || !p.s.n) {
        v->method = "none";
        v->reason = got_g && g.s.n ? "no answer in pred" : "no answer in gold";
    } else if (dt_span_is(dt_span_trim(g.s), dt_span_trim(p.s))) {
        v->equal = true;
        v->method = "text";
    } else if (plain_integer(g.s, &ig) && plain_integer(p.s, &ip)) {
        v->equal = ig == ip;
        v->method = v->equal ? "exact" : "different";
    } else {
        compare(dt_span_trim(g.s), dt_span_trim(p.s), o, v);
    }
    if (got_g && !failed) failed = !(v->gold = copy(dt_span_trim(g.s)));
    if (got_p && !failed) failed = !(v->pred = copy(dt_span_trim(p.s)));
    dt_buf_clear(&g.joined);
    dt_buf_clear(&p.joined);
    free(letter);
    if (!failed) return DUET_OK;
    duet_verdict_clear(v);
    return dt_fail(err, DUET_E_NOMEM, "comparison: no memory");
}

void duet_verdict_clear(duet_verdict *v) {
    free(v->gold);
    free(v->pred);
    memset(v, 0, sizeof *v);
}
