/* How vocabulary files write bytes.
 *
 * The byte alphabet of byte-level BPE files: each of the 256 bytes is written as one printable character.
 * The 188 bytes that are printable in Latin-1 stand for themselves; the other 68, in order, are U+0100 and on
 * (so space is U+0120 and newline U+010A). */
#include "text/tokenizer.h"

#include <string.h>

static bool is_own_char(int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

uint32_t dt_bytes_char(uint8_t b) {
    if (is_own_char(b))
        return b;
    return 0x100u + (b <= 32 ? b : b <= 160 ? b - 127u + 33u : 67u);
}

/* The byte a character spells, -1 = none: the inverse of the above. */
static int char_byte(uint32_t cp) {
    if (cp < 0x100)
        return is_own_char((int)cp) ? (int)cp : -1;
    if (cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp <= 0x142)
        return (int)(cp - 0x121 + 127);
    return cp == 0x143 ? 173 : -1;
}

uint8_t dt_bytes_order(int i) {
    if (i < 94)
        return (uint8_t)(33 + i);
    if (i < 106)
        return (uint8_t)(161 + i - 94);
    if (i < 188)
        return (uint8_t)(174 + i - 106);
    return (uint8_t)char_byte(0x100u + (uint32_t)(i - 188));
}

bool dt_bytes_unspell(const char *s, size_t n, uint8_t *out, size_t *n_out) {
    const uint8_t *p = (const uint8_t *)s;
    size_t w = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        bool cut = false;
        int len = dt_utf8_next(p + i, n - i, &cp, &cut);
        int b = len < 0 ? -1 : char_byte(cp);
        if (b < 0)
            return false;
        out[w++] = (uint8_t)b;
        i += (size_t)len;
    }
    *n_out = w;
    return true;
}

size_t dt_spaces_unspell(const char *s, size_t n, char *out) {
    size_t w = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && !memcmp(s + i, DT_SPACE_CHAR, 3)) {
            out[w++] = ' ';
            i += 3;
        } else {
            out[w++] = s[i++];
        }
    }
    return w;
}

bool dt_bytes_spell(const char *raw, size_t n, dt_buf *out) {
    for (size_t i = 0; i < n; i++) {
        char c[4];
        size_t k = dt_utf8_put(dt_bytes_char((uint8_t)raw[i]), c);
        if (!dt_buf_add(out, c, k))
            return false;
    }
    return true;
}
