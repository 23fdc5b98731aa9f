/* JSON texts and JSON lines over jansson, with file and line in every message. */
#include "format/jsonl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* jansson itself bounds the depth of nesting (JSON_PARSER_MAX_DEPTH). */
#define PARSE_FLAGS (JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES)

struct dt_jsonl {
    char *name;
    FILE *file; /* NULL when reading memory */
    bool close_file;
    const char *mem;
    size_t n_mem, at;
    dt_buf line;
    size_t number;
};

duet_status dt_json_parse(const char *name, const char *text, size_t n, json_t **out, duet_err *err) {
    json_error_t je;
    *out = json_loadb(text, n, PARSE_FLAGS, &je);
    if (!*out)
        return dt_fail(err, DUET_E_FORMAT, "%s: not valid JSON at line %d, column %d: %s", name, je.line, je.column,
                       je.text);
    return DUET_OK;
}

duet_status dt_json_read(const char *path, size_t max_bytes, json_t **out, duet_err *err) {
    dt_buf b = {0};
    *out = NULL;
    duet_status st = dt_file_read(path, max_bytes, &b, err);
    if (!st)
        st = dt_json_parse(path, b.data, b.len, out, err);
    dt_buf_clear(&b);
    return st;
}

/* Bytes of the character at s (1 to 4), or 0: no valid UTF-8 begins there. */
static size_t character(const unsigned char *s, size_t n) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 : *s >= 0xe0 && *s < 0xf0 ? 3 : *s >= 0xf0 && *s < 0xf5 ? 4 : 0;
    if (!len || len > n) return 0;
    uint32_t c = len == 1 ? *s : *s & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

json_t *dt_json_text(const char *s, size_t n) {
    json_t *j = json_stringn(s, n);
    dt_buf b = {0};
    if (j)
        return j;
    dt_buf_adds(&b, "");
    for (size_t i = 0; i < n && !b.failed;) {
        size_t len = character((const unsigned char *)s + i, n - i);
        if (len)
            dt_buf_add(&b, s + i, len);
        else
            dt_buf_adds(&b, "\xef\xbf\xbd");
        i += len ? len : 1;
    }
    j = b.failed ? NULL : json_stringn(b.data, b.len);
    dt_buf_clear(&b);
    return j;
}

char *dt_json_line(const json_t *obj) {
    return json_dumps(obj, JSON_COMPACT | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
}

static duet_status reader_new(const char *name, dt_jsonl **out, duet_err *err) {
    *out = dt_calloc(1, sizeof **out);
    if (*out)
        (*out)->name = dt_strdup(name);
    if (*out && (*out)->name)
        return DUET_OK;
    free(*out);
    *out = NULL;
    return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name);
}

duet_status dt_jsonl_open(const char *path, dt_jsonl **out, duet_err *err) {
    bool std = !strcmp(path, "-");
    duet_status st = reader_new(std ? "standard input" : path, out, err);
    if (st)
        return st;
    (*out)->file = std ? stdin : fopen(path, "rb");
    (*out)->close_file = !std;
    if (!(*out)->file) {
        st = dt_fail(err, DUET_E_IO, "%s: cannot open: %s", path, strerror(errno));
        dt_jsonl_close(*out);
        *out = NULL;
    }
    return st;
}

duet_status dt_jsonl_open_mem(const char *name, const void *p, size_t n, dt_jsonl **out, duet_err *err) {
    duet_status st = reader_new(name, out, err);
    if (st)
        return st;
    (*out)->mem = p;
    (*out)->n_mem = n;
    return DUET_OK;
}

void dt_jsonl_close(dt_jsonl *r) {
    if (!r)
        return;
    if (r->file && r->close_file)
        fclose(r->file);
    dt_buf_clear(&r->line);
    free(r->name);
    free(r);
}

size_t dt_jsonl_line(const dt_jsonl *r) {
    return r->number;
}

/* Reads up to the line's end into r->line; what is longer than the cap is passed over, so that the next line can be
 * read. *n counts all of it. */
static duet_status read_line(dt_jsonl *r, size_t *n, duet_err *err) {
    int c = 0;
    *n = 0;
    r->line.len = 0;
    errno = 0;
    flockfile(r->file);
    while (c != EOF && c != '\n' && !r->line.failed) {
        char chunk[4096];
        size_t k = 0;
        while (k < sizeof chunk && (c = getc_unlocked(r->file)) != EOF && c != '\n')
            chunk[k++] = (char)c;
        *n += k;
        if (*n <= DT_JSONL_MAX_LINE)
            dt_buf_add(&r->line, chunk, k);
    }
    funlockfile(r->file);
    if (r->line.failed)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory for line %zu", r->name, r->number + 1);
    if (c == EOF && ferror(r->file))
        return dt_fail(err, DUET_E_IO, "%s: cannot read: %s", r->name, strerror(errno ? errno : EIO));
    return c == EOF && !*n ? DUET_END : DUET_OK;
}

/* One raw line without its end; DUET_END at the end. */
static duet_status raw_line(dt_jsonl *r, const char **line, size_t *n, duet_err *err) {
    if (!r->file) {
        if (r->at >= r->n_mem)
            return DUET_END;
        const char *p = r->mem + r->at, *end = memchr(p, '\n', r->n_mem - r->at);
        *line = p;
        *n = end ? (size_t)(end - p) : r->n_mem - r->at;
        r->at += *n + 1;
    } else {
        duet_status st = read_line(r, n, err);
        if (st)
            return st;
        *line = r->line.data;
    }
    r->number++;
    return DUET_OK;
}

duet_status dt_jsonl_next(dt_jsonl *r, json_t **obj, duet_err *err) {
    const char *line = NULL;
    size_t n = 0;
    json_error_t je;
    *obj = NULL;
    for (;;) {
        duet_status st = raw_line(r, &line, &n, err);
        if (st)
            return st;
        size_t i = 0;
        while (i < n && i < DT_JSONL_MAX_LINE && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r'))
            i++;
        if (i < n)
            break;
    }
    if (n > DT_JSONL_MAX_LINE)
        return dt_fail(err, DUET_E_FORMAT, "%s: line %zu has %zu bytes, at most %zu are read", r->name, r->number, n,
                       DT_JSONL_MAX_LINE);
    *obj = json_loadb(line, n, PARSE_FLAGS, &je);
    if (!*obj)
        return dt_fail(err, DUET_E_FORMAT, "%s: line %zu is not valid JSON (column %d): %s", r->name, r->number,
                       je.column, je.text);
    if (!json_is_object(*obj)) {
        json_decref(*obj);
        *obj = NULL;
        return dt_fail(err, DUET_E_FORMAT, "%s: line %zu is not a JSON object", r->name, r->number);
    }
    return DUET_OK;
}
