/* What the tests of this room share: checks that print their case, unpacking of the golden files, a small tokenizer. */
#ifndef DT_TEXT_TEST_H
#define DT_TEXT_TEST_H

#include "base/base.h"
#include "duet/text.h"
#include "format/jsonl.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline void must(duet_status st, const duet_err *err) {
    if (st)
        fail_msg("%s: %s", duet_status_name(st), err->text);
}

/* Whole output of `gzip -dc path`; false if there is no such file or no gzip. */
static inline bool gunzip(const char *path, dt_buf *out) {
    char cmd[1024], chunk[65536];
    if (!dt_path_exists(path))
        return false;
    snprintf(cmd, sizeof cmd, "gzip -dc '%s' 2>/dev/null", path);
    FILE *p = popen(cmd, "r");
    size_t n = 0;
    if (!p)
        return false;
    while ((n = fread(chunk, 1, sizeof chunk, p)) > 0)
        dt_buf_add(out, chunk, n);
    return pclose(p) == 0 && out->len && !out->failed;
}

/* A golden tokenizer by its name, or NULL (with the reason on stdout). */
static inline duet_tokenizer *golden_tokenizer(const char *name) {
    duet_tokenizer *t = NULL;
    duet_err err = {{0}};
    char path[1024];
    if (!strcmp(name, "tiny")) {
        snprintf(path, sizeof path, "%s/golden/models/qwen3-tiny", DUET_SHARED);
        if (!dt_path_exists(path)) {
            printf("skipped: golden/models/qwen3-tiny is not there\n");
            return NULL;
        }
        must(duet_tokenizer_open(path, &t, &err), &err);
        return t;
    }
    dt_buf json = {0}, config = {0};
    snprintf(path, sizeof path, "%s/golden/tokenizers/%s/tokenizer.json.gz", DUET_SHARED, name);
    bool ok = gunzip(path, &json);
    snprintf(path, sizeof path, "%s/golden/tokenizers/%s/tokenizer_config.json.gz", DUET_SHARED, name);
    ok = ok && gunzip(path, &config);
    if (ok)
        must(dt_tokenizer_parse(name, json.data, json.len, config.data, config.len, &t, &err), &err);
    else
        printf("skipped: golden/tokenizers/%s or gzip is not there\n", name);
    dt_buf_clear(&json);
    dt_buf_clear(&config);
    return t;
}

static inline void print_ids(const char *what, const int32_t *v, size_t n) {
    print_message("  %s:", what);
    for (size_t i = 0; i < n; i++)
        print_message(" %d", (int)v[i]);
    print_message("\n");
}

static inline bool same_ids(const int32_t *a, size_t na, const int32_t *b, size_t nb) {
    return na == nb && (!na || !memcmp(a, b, na * sizeof *a));
}

/* Compares and prints the case on a difference. */
static inline bool check_ids(const char *name, const duet_ids *got, const int32_t *want, size_t n) {
    if (same_ids(got->v, got->n, want, n))
        return true;
    print_message("case: %s\n", name);
    print_ids("want", want, n);
    print_ids("got ", got->v, got->n);
    return false;
}

static inline bool check_text(const char *name, const char *got, size_t n_got, const char *want, size_t n_want) {
    if (n_got == n_want && (!n_want || !memcmp(got, want, n_want)))
        return true;
    print_message("case: %s\n  want (%zu): %.*s\n  got  (%zu): %.*s\n", name, n_want, (int)n_want, want, n_got,
                  (int)n_got, got ? got : "");
    return false;
}

#endif
