/* What is done to text before splitting: Unicode normal forms, and the spaces of vocabularies of characters. Text that
 * nothing changes is passed on without a copy.
 *
 * utf8proc decomposes and composes; the order of combining marks is made here, since its own sort takes quadratic
 * time on a long run of marks, and texts come from anyone. */
#include "text/tokenizer.h"

#include <utf8proc.h>

#include <stdlib.h>
#include <string.h>

/* No form changes ASCII, and NFC changes nothing below U+0300, where the combining marks begin. */
static bool is_stable(dt_form f, const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    const uint8_t limit = f == DT_NFC ? 0xcc : 0x80; /* 0xcc is the first lead byte of U+0300 */
    for (size_t i = 0; i < n; i++)
        if (p[i] >= limit)
            return false;
    return true;
}

static int by_key(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts v[0, n) by combining class, equal classes in their old order. */
static bool order_marks(utf8proc_int32_t *v, size_t n, uint64_t **scratch, size_t *cap) {
    if (n > *cap) {
        uint64_t *k = dt_realloc(*scratch, n, sizeof *k);
        if (!k)
            return false;
        *scratch = k;
        *cap = n;
    }
    for (size_t i = 0; i < n; i++) { /* class, place, character: 8, 35 and 21 bits */
        const uint64_t class = (uint64_t)utf8proc_get_property(v[i])->combining_class;
        (*scratch)[i] = class << 56 | (uint64_t)i << 21 | (uint32_t)v[i];
    }
    qsort(*scratch, n, sizeof **scratch, by_key);
    for (size_t i = 0; i < n; i++)
        v[i] = (utf8proc_int32_t)((*scratch)[i] & 0x1fffff);
    return true;
}

static bool order_all(utf8proc_int32_t *v, size_t n) {
    uint64_t *scratch = NULL;
    size_t cap = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        const size_t from = i;
        bool sorted = true;
        for (utf8proc_propval_t last = 0, c = 0; i < n; i++, last = c) {
            c = utf8proc_get_property(v[i])->combining_class;
            if (!c)
                break;
            sorted = sorted && last <= c;
        }
        if (!sorted)
            ok = order_marks(v + from, i - from, &scratch, &cap);
    }
    free(scratch);
    return ok;
}

/* One form; *out is owned by the caller, NULL = no memory. */
static char *normalize(dt_form f, const char *s, size_t n, size_t *n_out) {
    const int compat = f == DT_NFKC || f == DT_NFKD ? UTF8PROC_COMPAT : 0;
    const int options = UTF8PROC_STABLE | compat;
    const int compose = f == DT_NFC || f == DT_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    size_t cap = n + 32, len = 0;
    utf8proc_int32_t *v = dt_calloc(cap, sizeof *v);
    utf8proc_ssize_t bytes = -1;
    for (size_t i = 0; v && i < n;) {
        uint32_t cp = 0;
        bool cut = false;
        const int k = dt_utf8_next((const uint8_t *)s + i, n - i, &cp, &cut);
        if (cap - len < 32) { /* the longest decomposition has 18 characters */
            utf8proc_int32_t *grown = dt_realloc(v, 2 * cap, sizeof *v);
            if (!grown)
                break;
            v = grown;
            cap *= 2;
        }
        len += (size_t)utf8proc_decompose_char((utf8proc_int32_t)cp, v + len, (utf8proc_ssize_t)(cap - len),
                                               (utf8proc_option_t)(options | UTF8PROC_DECOMPOSE), NULL);
        i += (size_t)k;
        if (i == n && order_all(v, len))
            bytes = utf8proc_reencode(v, (utf8proc_ssize_t)len, (utf8proc_option_t)(options | compose));
    }
    if (bytes < 0) {
        free(v);
        return NULL;
    }
    *n_out = (size_t)bytes;
    return (char *)v; /* written over the code points, which take more room */
}

duet_status dt_normal_run(const dt_form *forms, int n_forms, const char *s, size_t n, char **mem, const char **out_s,
                          size_t *out_n, duet_err *err) {
    *mem = NULL;
    for (int i = 0; i < n_forms; i++) {
        if (!n || is_stable(forms[i], s, n))
            continue;
        size_t len = 0;
        char *made = normalize(forms[i], s, n, &len);
        free(*mem);
        *mem = made;
        if (!made)
            return dt_fail(err, DUET_E_NOMEM, "no memory to normalize %zu bytes", n);
        s = made;
        n = len;
    }
    *out_s = s;
    *out_n = n;
    return DUET_OK;
}

duet_status dt_tok_normalize(const duet_tokenizer *t, const char *s, size_t n, char **mem, const char **out_s,
                             size_t *out_n, duet_err *err) {
    duet_status st = dt_normal_run(t->forms, t->n_forms, s, n, mem, out_s, out_n, err);
    if (st || (!t->prepend && !(t->vocab.chars && memmem(*out_s, *out_n, DT_SPACE_CHAR, 3))))
        return st;
    char *spaced = malloc(*out_n + 1);
    size_t k = 0;
    if (!spaced) {
        free(*mem);
        *mem = NULL;
        return dt_fail(err, DUET_E_NOMEM, "no memory to normalize %zu bytes", n);
    }
    if (t->prepend)
        spaced[k++] = ' ';
    k += dt_spaces_unspell(*out_s, *out_n, spaced + k);
    free(*mem);
    *mem = spaced;
    *out_s = spaced;
    *out_n = k;
    return DUET_OK;
}
