/* UTF-8, character by character, and the few character classes that added tokens and trimming need.
 * Invalid bytes are counted as Unicode recommends ("maximal subpart"), so that decoded text has one U+FFFD for
 * each, like every other reader of these tokenizers. */
#include "text/tokenizer.h"

#include <utf8proc.h>

#include <stdio.h>
#include <string.h>

int dt_utf8_next(const uint8_t *p, size_t n, uint32_t *cp, bool *cut) {
    const uint8_t b = p[0];
    *cut = false;
    if (b < 0x80) {
        *cp = b;
        return 1;
    }
    int len = b >= 0xc2 && b <= 0xdf ? 2 : b >= 0xe0 && b <= 0xef ? 3 : b >= 0xf0 && b <= 0xf4 ? 4 : 0;
    if (!len)
        return -1;
    /* The second byte's range shuts out overlong forms, surrogates and what lies beyond U+10FFFF. */
    uint8_t lo = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    uint32_t c = b & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n) {
            *cut = true;
            return -i;
        }
        if (p[i] < lo || p[i] > hi)
            return -i;
        c = c << 6 | (p[i] & 0x3fu);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = c;
    return len;
}

size_t dt_utf8_put(uint32_t cp, char out[4]) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

size_t dt_utf8_bad(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    uint32_t cp = 0;
    bool cut = false;
    for (size_t i = 0; i < n;) {
        uint64_t eight = 0;
        if (n - i >= 8 && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        int len = dt_utf8_next(p + i, n - i, &cp, &cut);
        if (len < 0)
            return i;
        i += (size_t)len;
    }
    return n;
}

bool dt_utf8_is_space(uint32_t cp) {
    return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

bool dt_utf8_is_word(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and the circled and squared letters: symbols that count as alphabetic */
        return cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) ||
               (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189);
    }
}

const char *dt_tok_quote(char out[DT_TOK_QUOTE], const char *s, size_t n) {
    size_t w = 0;
    out[w++] = '"';
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        bool cut = false;
        int len = dt_utf8_next((const uint8_t *)s + i, n - i, &cp, &cut);
        if (w + 12 > DT_TOK_QUOTE) { /* the longest item, the dots, the quote and the NUL */
            memcpy(out + w, "...", 3);
            w += 3;
            break;
        }
        if (len < 0 || cp < 0x20 || cp == 0x7f) {
            w += (size_t)snprintf(out + w, 5, "\\x%02x", (unsigned)(uint8_t)s[i]);
            i++;
        } else {
            memcpy(out + w, s + i, (size_t)len);
            w += (size_t)len;
            i += (size_t)len;
        }
    }
    out[w++] = '"';
    out[w] = 0;
    return out;
}
