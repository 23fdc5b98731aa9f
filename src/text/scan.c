/* model.vocab and model.merges of a tokenizer.json, read straight from the text.
 *
 * These two hold nearly all of the file, and a tree of JSON values for them costs more time and memory than all the
 * rest of opening. So they are cut out here, and the JSON library sees the file with "{}" and "[]" in their place.
 * This reader knows only the plain case, a map of strings to numbers and a list of pairs; at anything else it gives
 * up without a word, and the library reads the whole file and says what is wrong with it. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct span {
    size_t from, to;
} span;

typedef struct scan {
    const char *text, *p, *end;
    char *mem; /* strings that had escapes; what is unescaped is never longer than the text */
    size_t n_mem;
    size_t cap_vocab, cap_merges;
    span vocab, merges;
    dt_tok_lists *out;
} scan;

static void skip_blanks(scan *z) {
    while (z->p < z->end && (*z->p == ' ' || *z->p == '\n' || *z->p == '\r' || *z->p == '\t'))
        z->p++;
}

/* The next character that is no blank is c: passes over it. */
static bool take(scan *z, char c) {
    skip_blanks(z);
    if (z->p == z->end || *z->p != c)
        return false;
    z->p++;
    return true;
}

static bool hex4(const char *p, const char *end, uint32_t *v) {
    *v = 0;
    if (end - p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0)
            return false;
        *v = *v << 4 | (uint32_t)d;
    }
    return true;
}

/* The character behind \u at p, a pair of surrogates as one. */
static bool read_unicode(scan *z, uint32_t *cp) {
    uint32_t low = 0;
    if (!hex4(z->p, z->end, cp) || !*cp || (*cp >= 0xdc00 && *cp <= 0xdfff))
        return false;
    z->p += 4;
    if (*cp < 0xd800 || *cp > 0xdbff)
        return true;
    if (z->end - z->p < 6 || z->p[0] != '\\' || z->p[1] != 'u' || !hex4(z->p + 2, z->end, &low) || low < 0xdc00 ||
        low > 0xdfff)
        return false;
    z->p += 6;
    *cp = 0x10000 + ((*cp - 0xd800) << 10 | (low - 0xdc00));
    return true;
}

/* The rest of a string that has a backslash at p; what stood before it is s[0, n). */
static bool read_escaped(scan *z, const char **s, size_t n) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (!z->mem)
        z->mem = malloc((size_t)(z->end - z->text));
    if (!z->mem)
        return false;
    char *const w = z->mem + z->n_mem;
    memcpy(w, *s, n);
    while (z->p < z->end && *z->p != '"') {
        if ((uint8_t)*z->p < 0x20)
            return false;
        if (*z->p != '\\') {
            w[n++] = *z->p++;
            continue;
        }
        if (++z->p == z->end)
            return false;
        const char c = *z->p++;
        const char *at = memchr(from, c, sizeof from - 1);
        uint32_t cp = 0;
        if (at)
            w[n++] = to[at - from];
        else if (c == 'u' && read_unicode(z, &cp))
            n += dt_utf8_put(cp, w + n);
        else
            return false;
    }
    *s = w;
    z->n_mem += n;
    return z->p < z->end;
}

static bool read_string(scan *z, const char **s, size_t *n) {
    bool ascii = true;
    if (!take(z, '"'))
        return false;
    *s = z->p;
    while (z->p < z->end && *z->p != '"' && *z->p != '\\' && (uint8_t)*z->p >= 0x20)
        ascii &= (uint8_t)*z->p++ < 0x80;
    if (z->p == z->end || (uint8_t)*z->p < 0x20)
        return false;
    *n = (size_t)(z->p - *s);
    if (*z->p == '\\') {
        const size_t had = z->n_mem;
        if (!read_escaped(z, s, *n))
            return false;
        *n = z->n_mem - had;
        ascii = false;
    }
    z->p++;
    return ascii || dt_utf8_bad(*s, *n) == *n;
}

static bool read_number(scan *z, int64_t *v) {
    *v = 0;
    skip_blanks(z);
    const char *first = z->p;
    while (z->p < z->end && z->p - first < 10 && *z->p >= '0' && *z->p <= '9')
        *v = 10 * *v + (*z->p++ - '0');
    return z->p > first && (*first != '0' || z->p == first + 1);
}

/* Any value; what is wrong inside is left to the library, which gets to see it. */
static bool skip_value(scan *z) {
    size_t depth = 0;
    skip_blanks(z);
    while (z->p < z->end) {
        const char c = *z->p;
        if (!depth && (c == ',' || c == '}' || c == ']'))
            return true;
        z->p++;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        if (c != '"')
            continue;
        while (z->p < z->end && *z->p != '"')
            z->p += *z->p == '\\' ? 2 : 1;
        if (z->p >= z->end)
            return false;
        z->p++;
    }
    return false;
}

/* Room for one more of `size` bytes behind n. */
static void *room(void *v, size_t n, size_t *cap, size_t size) {
    if (n < *cap)
        return v;
    const size_t more = *cap ? 2 * *cap : 4096;
    void *grown = dt_realloc(v, more, size);
    if (grown)
        *cap = more;
    return grown;
}

static bool read_vocab(scan *z) {
    dt_tok_lists *l = z->out;
    if (!take(z, '{'))
        return false;
    if (take(z, '}'))
        return true;
    do {
        dt_tok_entry *v = room(l->vocab, l->n_vocab, &z->cap_vocab, sizeof *v);
        if (!v)
            return false;
        l->vocab = v;
        v += l->n_vocab;
        *v = (dt_tok_entry){0};
        if (!read_string(z, &v->s, &v->n) || !take(z, ':') || !read_number(z, &v->id))
            return false;
        l->n_vocab++;
    } while (take(z, ','));
    return take(z, '}');
}

static bool read_merges(scan *z) {
    dt_tok_lists *l = z->out;
    if (!take(z, '['))
        return false;
    if (take(z, ']'))
        return true;
    do {
        dt_tok_pair *v = room(l->merges, l->n_merges, &z->cap_merges, sizeof *v);
        if (!v)
            return false;
        l->merges = v;
        v += l->n_merges;
        *v = (dt_tok_pair){0};
        if (take(z, '[')) {
            if (!read_string(z, &v->s[0], &v->n[0]) || !take(z, ',') || !read_string(z, &v->s[1], &v->n[1]) ||
                !take(z, ']'))
                return false;
        } else {
            const char *s = NULL;
            size_t n = 0;
            if (!read_string(z, &s, &n) || !dt_tok_cut_pair(v, s, n))
                return false;
        }
        l->n_merges++;
    } while (take(z, ','));
    return take(z, ']');
}

/* The members of an object: `one` for each, with the scan at its value. */
typedef bool (*member_fn)(scan *z, const char *key, size_t n);
static bool each_member(scan *z, member_fn one) {
    const char *key = NULL;
    size_t n = 0;
    if (!take(z, '{'))
        return false;
    do {
        if (!read_string(z, &key, &n) || !take(z, ':') || !one(z, key, n))
            return false;
    } while (take(z, ','));
    return take(z, '}');
}

static bool is_key(const char *key, size_t n, const char *name) {
    return n == strlen(name) && !memcmp(key, name, n);
}

static bool model_member(scan *z, const char *key, size_t n) {
    const bool vocab = is_key(key, n, "vocab"), merges = is_key(key, n, "merges");
    if (!vocab && !merges)
        return skip_value(z);
    span *where = vocab ? &z->vocab : &z->merges;
    skip_blanks(z);
    if (where->to) /* twice */
        return false;
    where->from = (size_t)(z->p - z->text);
    if (!(vocab ? read_vocab(z) : read_merges(z)))
        return false;
    where->to = (size_t)(z->p - z->text);
    return true;
}

static bool root_member(scan *z, const char *key, size_t n) {
    return is_key(key, n, "model") ? each_member(z, model_member) : skip_value(z);
}

bool dt_tok_scan(const char *text, size_t n, dt_tok_lists *out, dt_buf *rest) {
    scan z = {.text = text, .p = text, .end = text + n, .out = out};
    bool ok = each_member(&z, root_member) && z.vocab.to && z.merges.to;
    out->mem = z.mem;
    if (ok) {
        const span a = z.vocab.from < z.merges.from ? z.vocab : z.merges;
        const span b = z.vocab.from < z.merges.from ? z.merges : z.vocab;
        dt_buf_add(rest, text, a.from + 1); /* each with its brackets */
        dt_buf_add(rest, text + a.to - 1, b.from - a.to + 2);
        dt_buf_add(rest, text + b.to - 1, n - b.to + 1);
        ok = !rest->failed;
    }
    if (!ok)
        dt_tok_lists_clear(out);
    return ok;
}

bool dt_tok_cut_pair(dt_tok_pair *m, const char *s, size_t n) {
    const char *space = n ? memchr(s, ' ', n) : NULL;
    if (!space || memchr(space + 1, ' ', n - (size_t)(space + 1 - s)))
        return false;
    *m = (dt_tok_pair){
        {s,                   space + 1                  },
        {(size_t)(space - s), n - (size_t)(space + 1 - s)}
    };
    return true;
}

void dt_tok_lists_clear(dt_tok_lists *l) {
    free(l->vocab);
    free(l->merges);
    free(l->mem);
    *l = (dt_tok_lists){0};
}
