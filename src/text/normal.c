/* Unicode normal forms before splitting. Text that a form cannot change is passed on without a copy. */
#include "text/tokenizer.h"

#include <utf8proc.h>

#include <stdlib.h>

/* No form changes ASCII, and NFC changes nothing below U+0300, where the combining marks begin. */
static bool is_stable(dt_form f, const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    const uint8_t limit = f == DT_NFC ? 0xcc : 0x80; /* 0xcc is the first lead byte of U+0300 */
    for (size_t i = 0; i < n; i++)
        if (p[i] >= limit)
            return false;
    return true;
}

duet_status dt_normal_run(const dt_form *forms, int n_forms, const char *s, size_t n, char **mem, const char **out_s,
                          size_t *out_n, duet_err *err) {
    static const int options[] = {
        [DT_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [DT_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [DT_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [DT_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    *mem = NULL;
    for (int i = 0; i < n_forms; i++) {
        if (!n || is_stable(forms[i], s, n))
            continue;
        utf8proc_uint8_t *made = NULL;
        utf8proc_ssize_t len =
            utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &made, (utf8proc_option_t)options[forms[i]]);
        free(*mem);
        *mem = (char *)made;
        if (len < 0) {
            free(made);
            *mem = NULL;
            if (len == UTF8PROC_ERROR_NOMEM)
                return dt_fail(err, DUET_E_NOMEM, "no memory to normalize %zu bytes", n);
            return dt_fail(err, DUET_E_FORMAT, "text cannot be normalized: %s", utf8proc_errmsg(len));
        }
        s = *mem;
        n = (size_t)len;
    }
    *out_s = s;
    *out_n = n;
    return DUET_OK;
}
