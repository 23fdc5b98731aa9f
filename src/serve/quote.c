/* Text as a JSON string, as fast as tokens come. */
#include "serve/server.h"

void dt_serve_quote(dt_buf *b, const char *text, size_t n) {
    size_t from = 0;
    dt_buf_add(b, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        dt_buf_add(b, text + from, i - from);
        from = i + 1;
        if (c == '\n')
            dt_buf_add(b, "\\n", 2);
        else if (c == '"' || c == '\\')
            dt_buf_add(b, (char[]){'\\', (char)c}, 2);
        else
            dt_buf_addf(b, "\\u%04x", c);
    }
    dt_buf_add(b, text + from, n - from);
    dt_buf_add(b, "\"", 1);
}
