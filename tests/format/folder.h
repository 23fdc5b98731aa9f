/* A fresh folder for one test, and a few ways to look into it. */
#ifndef DT_TEST_FOLDER_H
#define DT_TEST_FOLDER_H

#include "support.h"

#include <stdlib.h>
#include <unistd.h>

typedef struct folder {
    char path[256];
} folder;

static inline folder folder_make(void) {
    const char *tmp = getenv("TMPDIR");
    folder f;
    snprintf(f.path, sizeof f.path, "%s/duet-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(f.path))
        fail_msg("cannot make a folder below %s", f.path);
    return f;
}

static inline void folder_remove(const folder *f) {
    duet_err err = {{0}};
    if (dt_remove_tree(f->path, &err))
        fail_msg("%s", err.text);
}

static inline const char *folder_at(const folder *f, const char *name, char *buf, size_t n) {
    snprintf(buf, n, "%s/%s", f->path, name);
    return buf;
}

static inline void folder_put(const folder *f, const char *name, const void *p, size_t n) {
    char path[512];
    FILE *file = fopen(folder_at(f, name, path, sizeof path), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(p, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* The next atomic write of `name` by this process meets a full disk: its temporary file leads to /dev/full. */
static inline bool folder_fill_disk(const folder *f, const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.%ld.tmp", f->path, name, (long)getpid());
    return !access("/dev/full", W_OK) && !symlink("/dev/full", path);
}

#endif
