/* Added tokens in text: found before anything else, the longest of those that begin leftmost. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static int32_t child_of(const dt_trie *t, int32_t node, uint8_t byte) {
    int32_t c = t->v[node].child;
    while (c && t->v[c].byte != byte)
        c = t->v[c].next;
    return c;
}

static int32_t add_child(dt_trie *t, int32_t node, uint8_t byte) {
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        if (cap > INT32_MAX)
            return 0;
        dt_trie_node *v = dt_realloc(t->v, cap, sizeof *v);
        if (!v)
            return 0;
        t->v = v;
        t->cap = cap;
    }
    const int32_t c = (int32_t)t->n++;
    t->v[c] = (dt_trie_node){.byte = byte, .added = -1};
    if (c) { /* not the root itself */
        t->v[c].next = t->v[node].child;
        t->v[node].child = c;
    }
    return c;
}

bool dt_trie_add(dt_trie *t, const char *s, size_t n, int32_t added, int32_t *was) {
    if (!t->n) {
        add_child(t, 0, 0);
        if (!t->n)
            return false;
    }
    int32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t b = (uint8_t)s[i];
        int32_t c = child_of(t, node, b);
        if (!c)
            c = add_child(t, node, b);
        if (!c)
            return false;
        if (!i)
            t->first[b] = c;
        node = c;
    }
    *was = t->v[node].added;
    t->v[node].added = added;
    return true;
}

void dt_trie_clear(dt_trie *t) {
    free(t->v);
    *t = (dt_trie){0};
}

/* The longest token that begins at s[0]; -1 = none. */
static int32_t longest(const dt_trie *t, const char *s, size_t n, size_t *len) {
    int32_t best = -1;
    int32_t node = t->first[(uint8_t)s[0]];
    for (size_t i = 1; node; i++) {
        if (t->v[node].added >= 0) {
            best = t->v[node].added;
            *len = i;
        }
        if (i == n)
            break;
        node = child_of(t, node, (uint8_t)s[i]);
    }
    return best;
}

/* Start of the last character of s[0, n), n > 0, and its code point. */
static size_t last_char(const char *s, size_t n, uint32_t *cp) {
    size_t i = n - 1;
    bool half = false;
    while (i && ((uint8_t)s[i] & 0xc0) == 0x80)
        i--;
    dt_utf8_next((const uint8_t *)s + i, n - i, cp, &half);
    return i;
}

static bool word_before(const char *s, size_t i) {
    uint32_t cp = 0;
    if (!i)
        return false;
    last_char(s, i, &cp);
    return dt_utf8_is_word(cp);
}

static bool word_after(const char *s, size_t n, size_t i) {
    uint32_t cp = 0;
    bool half = false;
    return i < n && dt_utf8_next((const uint8_t *)s + i, n - i, &cp, &half) > 0 && dt_utf8_is_word(cp);
}

static size_t blanks_before(const char *s, size_t i) {
    while (i) {
        uint32_t cp = 0;
        size_t k = last_char(s, i, &cp);
        if (!dt_utf8_is_space(cp))
            break;
        i = k;
    }
    return i;
}

static size_t blanks_after(const char *s, size_t n, size_t i) {
    while (i < n) {
        uint32_t cp = 0;
        bool half = false;
        int len = dt_utf8_next((const uint8_t *)s + i, n - i, &cp, &half);
        if (len < 0 || !dt_utf8_is_space(cp))
            break;
        i += (size_t)len;
    }
    return i;
}

/* Runs of blanks that a vocabulary keeps as added tokens (Gemma) are part of its text, and no mark. */
static bool is_blank(const dt_added *a) {
    for (size_t i = 0; i < a->n;) {
        if (a->content[i] && strchr(" \t\n\r", a->content[i]))
            i++;
        else if (a->n - i >= 3 && !memcmp(a->content + i, "\xe2\x96\x81", 3)) /* U+2581, how SentencePiece writes a space */
            i += 3;
        else
            return false;
    }
    return true;
}

static bool allowed(const dt_added *a, int flags) {
    if (flags & DUET_ENC_PLAIN)
        return !a->special && is_blank(a);
    return !(flags & DUET_ENC_NO_SPECIAL && a->special);
}

bool dt_added_next(const dt_trie *t, const dt_added *added, int flags, const char *s, size_t n, size_t done,
                   size_t *scan, int32_t *which, size_t *begin, size_t *end) {
    if (!t->n)
        return false;
    for (size_t i = *scan; i < n;) {
        size_t len = 0;
        int32_t k = t->first[(uint8_t)s[i]] ? longest(t, s + i, n - i, &len) : -1;
        if (k < 0) {
            i++;
            continue;
        }
        const dt_added *a = &added[k];
        const size_t b = i, e = i + len;
        i = e; /* a token that is found and then refused still uses up its text */
        if (!allowed(a, flags))
            continue;
        if (a->single_word && (word_before(s, b) || word_after(s, n, e)))
            continue;
        *scan = e;
        *which = k;
        *begin = a->lstrip ? blanks_before(s, b) : b;
        if (*begin < done)
            *begin = done; /* blanks that the token before took */
        *end = a->rstrip ? blanks_after(s, n, e) : e;
        if (*end < *begin)
            *end = *begin;
        return true;
    }
    *scan = n;
    return false;
}
