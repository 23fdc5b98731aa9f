/* Recognises a chat template by what it does, not by how it is written.
 *
 * A Jinja text is raw text, which is printed, and tags: {{ print }}, {% statement %}, {# comment #}. Its form here is the
 * sequence of what is printed and done: white space that trim_blocks, lstrip_blocks and the minus signs take away is
 * gone (Hugging Face's transformers renders with both options on), so are comments and blanks inside tags; a string
 * literal stands as its characters, whichever quotes and escapes wrote it. Two templates of one form render equally, so a
 * form that is known settles the family; one that is not known settles nothing. */
#include "text/render.h"

#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

/* The next tag's "{", at or after i; n = none. */
static size_t find_tag(const char *s, size_t n, size_t i) {
    while (i + 1 < n && !(s[i] == '{' && (s[i + 1] == '{' || s[i + 1] == '%' || s[i + 1] == '#')))
        i++;
    return i + 1 < n ? i : n;
}

/* Where the tag that begins at `i` ends (behind its "}"); 0 = it does not. A "}}" inside a literal is none. */
static size_t tag_end(const char *s, size_t n, size_t i) {
    const char kind = s[i + 1], close = kind == '{' ? '}' : kind;
    char quote = 0;
    for (size_t k = i + 2; k + 1 < n; k++) {
        if (quote && s[k] == '\\')
            k++;
        else if (quote)
            quote = s[k] == quote ? 0 : quote;
        else if (kind != '#' && (s[k] == '\'' || s[k] == '"'))
            quote = s[k];
        else if (s[k] == close && s[k + 1] == '}')
            return k + 2;
    }
    return 0;
}

/* A literal that begins with the quote at s[i]; returns the index behind it. Written with its length, so that nothing
 * inside can be taken for what follows. */
static size_t add_literal(const char *s, size_t n, size_t i, dt_buf *out) {
    const char quote = s[i++];
    dt_buf b = {0};
    for (; i < n && s[i] != quote; i++) {
        if (s[i] != '\\' || i + 1 >= n) {
            dt_buf_add(&b, s + i, 1);
            continue;
        }
        static const char letter[] = "ntr\\'\"", plain[] = "\n\t\r\\'\"";
        const char *at = s[i + 1] ? strchr(letter, s[i + 1]) : NULL;
        if (at)
            dt_buf_add(&b, plain + (at - letter), 1);
        else
            dt_buf_add(&b, s + i, 2);
        i++;
    }
    dt_buf_addf(out, "'%zu:", b.len);
    dt_buf_add(out, b.data ? b.data : "", b.len);
    out->failed = out->failed || b.failed;
    dt_buf_clear(&b);
    return i < n ? i + 1 : n;
}

static void add_tag(const char *s, size_t n, char kind, dt_buf *out) {
    bool gap = false, word = false; /* blanks since the last character; that was part of a word */
    dt_buf_add(out, kind == '{' ? "{" : "%", 1);
    for (size_t i = 0; i < n;) {
        if (is_space(s[i])) {
            gap = true;
            i++;
            continue;
        }
        if (gap && word && is_word(s[i]))
            dt_buf_add(out, " ", 1);
        gap = false;
        word = is_word(s[i]);
        if (s[i] == '\'' || s[i] == '"')
            i = add_literal(s, n, i, out);
        else
            dt_buf_add(out, s + i++, 1);
    }
    dt_buf_add(out, "}", 1);
}

/* Raw text s[b, e): what the tag before and the tag behind it leave. */
static void add_raw(const char *s, size_t b, size_t e, size_t n, bool behind_block, bool eats_left, dt_buf *out) {
    const size_t begin = b;
    const bool minus = e + 2 < n && s[e + 2] == '-', plus = e + 2 < n && s[e + 2] == '+';
    if (eats_left) {
        while (b < e && is_space(s[b]))
            b++;
    } else if (behind_block && b < e && s[b] == '\n') {
        b++;
    }
    if (minus) {
        while (e > b && is_space(s[e - 1]))
            e--;
    } else if (e < n && s[e + 1] != '{' && !plus) { /* blanks in front of a block that begins its line */
        size_t k = e;
        while (k > b && (s[k - 1] == ' ' || s[k - 1] == '\t'))
            k--;
        if (k == 0 || s[k - 1] == '\n' || (k == b && begin == 0))
            e = k;
    }
    if (e == n && e > b && s[e - 1] == '\n') /* keep_trailing_newline is off */
        e--;
    if (e > b) {
        dt_buf_addf(out, "=%zu:", e - b);
        dt_buf_add(out, s + b, e - b);
    }
}

duet_status dt_template_form(const char *s, size_t n, dt_buf *out, duet_err *err) {
    bool behind_block = false, eats_left = false;
    for (size_t i = 0; i < n;) {
        const size_t tag = find_tag(s, n, i);
        add_raw(s, i, tag, n, behind_block, eats_left, out);
        if (tag == n)
            break;
        const size_t end = tag_end(s, n, tag);
        if (!end)
            return dt_fail(err, DUET_E_FORMAT, "chat template: the tag at byte %zu is not closed", tag);
        size_t b = tag + 2, e = end - 2;
        eats_left = e > b && s[e - 1] == '-';
        if (b < e && (s[b] == '-' || s[b] == '+'))
            b++;
        if (e > b && (s[e - 1] == '-' || s[e - 1] == '+'))
            e--;
        behind_block = s[tag + 1] != '{';
        if (s[tag + 1] != '#')
            add_tag(s + b, e - b, s[tag + 1], out);
        i = end;
    }
    return out->failed ? dt_fail(err, DUET_E_NOMEM, "no memory for a chat template") : DUET_OK;
}

duet_status dt_template_fingerprint(const char *s, size_t n, char out[DT_FINGERPRINT], duet_err *err) {
    dt_buf form = {0};
    char hex[65];
    duet_status st = dt_template_form(s, n, &form, err);
    if (!st) {
        dt_sha256 h;
        dt_sha256_init(&h);
        dt_sha256_add(&h, form.data ? form.data : "", form.len);
        dt_sha256_hex(&h, hex);
        memcpy(out, hex, DT_FINGERPRINT - 1);
        out[DT_FINGERPRINT - 1] = 0;
    }
    dt_buf_clear(&form);
    return st;
}
