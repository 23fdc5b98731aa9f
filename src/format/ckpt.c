/* Checkpoint folders: begun under a temporary name, made durable, renamed, pruned. What lies in a folder is the
 * caller's business. */
#include "format/ckpt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *step_path(const char *root, int64_t step, const char *suffix) {
    char name[64];
    snprintf(name, sizeof name, "step-%06" PRId64 "%s", step, suffix);
    return dt_path_join(root, name);
}

/* The number in "step-NNNNNN" as step_path() writes it; -1 for any other name ("step-000012.tmp", "step-7", "notes").
 */
static int64_t step_of(const char *name) {
    char again[64];
    if (strncmp(name, "step-", 5))
        return -1;
    int64_t n = strtoll(name + 5, NULL, 10);
    snprintf(again, sizeof again, "step-%06" PRId64, n);
    return n >= 0 && !strcmp(name, again) ? n : -1;
}

static bool is_leftover(const char *name) {
    size_t n = strlen(name);
    return !strncmp(name, "step-", 5) && n > 4 && !strcmp(name + n - 4, ".tmp");
}

static int descending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : -(x > y);
}

/* The steps of all complete folders, newest first; *steps owned by the caller. With `clean`, what killed runs left
 * under temporary names is removed on the way. A missing root has none. */
static duet_status list_steps(const char *root, bool clean, int64_t **steps, size_t *n, duet_err *err) {
    duet_status st = DUET_OK;
    *steps = NULL;
    *n = 0;
    DIR *d = opendir(root);
    if (!d)
        return errno == ENOENT ? DUET_OK
                               : dt_fail(err, DUET_E_IO, "%s: cannot open the folder: %s", root, strerror(errno));
    for (struct dirent *e; !st && (e = readdir(d));) {
        char *path = dt_path_join(root, e->d_name);
        int64_t *grown = *steps;
        if (!path) {
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to list it", root);
        } else if (clean && is_leftover(e->d_name)) {
            st = dt_remove_tree(path, err);
        } else if (step_of(e->d_name) >= 0 && dt_path_is_dir(path)) {
            grown = dt_realloc(*steps, *n + 1, sizeof **steps);
            if (grown) {
                *steps = grown;
                grown[(*n)++] = step_of(e->d_name);
            } else {
                st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to list it", root);
            }
        }
        free(path);
    }
    closedir(d);
    if (st) {
        free(*steps);
        *steps = NULL;
        *n = 0;
    } else if (*n) {
        qsort(*steps, *n, sizeof **steps, descending);
    }
    return st;
}

static duet_status sync_path(const char *path, duet_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return dt_fail(err, DUET_E_IO, "%s: cannot open: %s", path, strerror(errno));
    /* Some file systems cannot flush a folder and say EINVAL; the data of its files is safe all the same. */
    bool bad = fsync(fd) && errno != EINVAL;
    duet_status st = bad ? dt_fail(err, DUET_E_IO, "%s: cannot flush: %s", path, strerror(errno)) : DUET_OK;
    close(fd);
    return st;
}

static duet_status sync_tree(const char *path, duet_err *err) {
    duet_status st = DUET_OK;
    if (dt_path_is_dir(path)) {
        DIR *d = opendir(path);
        if (!d)
            return dt_fail(err, DUET_E_IO, "%s: cannot open the folder: %s", path, strerror(errno));
        for (struct dirent *e; !st && (e = readdir(d));) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                continue;
            char *child = dt_path_join(path, e->d_name);
            st = child ? sync_tree(child, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory to flush it", path);
            free(child);
        }
        closedir(d);
    }
    return st ? st : sync_path(path, err);
}

/* A folder leaves under a temporary name, so that a removal cut short never looks like a checkpoint. */
static duet_status remove_step(const char *root, int64_t step, duet_err *err) {
    duet_status st = DUET_OK;
    char *path = step_path(root, step, ""), *gone = step_path(root, step, ".old.tmp");
    if (!path || !gone)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to remove step %" PRId64, root, step);
    else
        st = dt_remove_tree(gone, err);
    if (!st && rename(path, gone) && errno != ENOENT)
        st = dt_fail(err, DUET_E_IO, "%s: cannot rename: %s", path, strerror(errno));
    if (!st)
        st = dt_remove_tree(gone, err);
    free(path);
    free(gone);
    return st;
}

duet_status dt_ckpt_begin(const char *root, int64_t step, char **tmp, duet_err *err) {
    int64_t *steps = NULL;
    size_t n = 0;
    *tmp = NULL;
    char *path = step_path(root, step, ".tmp");
    if (!path)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write step %" PRId64, root, step);
    duet_status st = dt_mkdirs(root, err);
    if (!st)
        st = list_steps(root, true, &steps, &n, err);
    if (!st)
        st = dt_mkdirs(path, err);
    free(steps);
    if (st)
        free(path);
    else
        *tmp = path;
    return st;
}

duet_status dt_ckpt_commit(const char *root, int64_t step, const char *tmp, int keep, duet_err *err) {
    int64_t *steps = NULL;
    size_t n = 0;
    duet_status st = DUET_OK;
    char *path = step_path(root, step, "");
    if (!path)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to commit step %" PRId64, root, step);
    st = sync_tree(tmp, err);
    if (st)
        goto done;
#ifdef RENAME_EXCHANGE
    /* Replacing in one move: at no moment is the step missing. The old content then has the temporary name. */
    if (!renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE)) {
        st = dt_remove_tree(tmp, err);
        if (st)
            goto done;
    } else
#endif
    {
        if (dt_path_exists(path))
            st = remove_step(root, step, err);
        if (!st && rename(tmp, path))
            st = dt_fail(err, DUET_E_IO, "%s: cannot rename to %s: %s", tmp, path, strerror(errno));
        if (st)
            goto done;
    }
    st = sync_path(root, err);
    if (!st)
        st = list_steps(root, false, &steps, &n, err);
    for (size_t i = keep > 0 ? (size_t)keep : n; !st && i < n; i++)
        st = remove_step(root, steps[i], err);
done:
    free(steps);
    free(path);
    return st;
}

duet_status dt_ckpt_latest(const char *root, char **path, int64_t *step, duet_err *err) {
    int64_t *steps = NULL;
    size_t n = 0;
    *path = NULL;
    *step = -1;
    duet_status st = list_steps(root, false, &steps, &n, err);
    if (!st && !n)
        st = DUET_END;
    if (!st) {
        *path = step_path(root, steps[0], "");
        *step = steps[0];
        if (!*path)
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open its newest step", root);
    }
    free(steps);
    return st;
}
