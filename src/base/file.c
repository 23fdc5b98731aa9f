/* Whole files and folders: read with a cap, written atomically, made and removed. */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

duet_status dt_file_read(const char *path, size_t max_bytes, dt_buf *b, duet_err *err) {
    duet_status st = DUET_OK;
    char chunk[1 << 16];
    size_t n = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return dt_fail(err, DUET_E_IO, "%s: cannot open: %s", path, strerror(errno));
    errno = 0;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        if (n > max_bytes || b->len > max_bytes - n) {
            st = dt_fail(err, DUET_E_RANGE, "%s: larger than the %zu bytes allowed here", path, max_bytes);
            goto done;
        }
        if (!dt_buf_add(b, chunk, n)) {
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to read it", path);
            goto done;
        }
    }
    if (ferror(f))
        st = dt_fail(err, DUET_E_IO, "%s: cannot read: %s", path, strerror(errno ? errno : EIO));
    else if (!dt_buf_add(b, "", 0))
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to read it", path);
done:
    fclose(f);
    return st;
}

static void sync_folder_of(const char *path) {
    char *dir = dt_strdup(path);
    if (!dir) return;
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd); /* some file systems refuse it for folders; the rename itself is done */
        close(fd);
    }
    free(dir);
}

duet_status dt_atomic_open(dt_atomic *a, const char *path, duet_err *err) {
    struct stat sb;
    dt_buf tmp = {0};
    *a = (dt_atomic){.fd = -1};
    if (!stat(path, &sb) && !S_ISREG(sb.st_mode)) /* renaming over a device or a folder is never what was meant */
        return dt_fail(err, DUET_E_IO, "%s: cannot write: it is there and is not a regular file", path);
    dt_buf_addf(&tmp, "%s.%ld.tmp", path, (long)getpid());
    a->path = dt_strdup(path);
    a->tmp = dt_buf_take(&tmp);
    if (!a->path || !a->tmp) {
        dt_atomic_abandon(a);
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write it", path);
    }
    a->fd = open(a->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (a->fd < 0) {
        duet_status st = dt_fail(err, DUET_E_IO, "%s: cannot create: %s", path, strerror(errno));
        dt_atomic_abandon(a);
        return st;
    }
    return DUET_OK;
}

static duet_status cannot_write(const dt_atomic *a, int why, duet_err *err) {
    return dt_fail(err, DUET_E_IO, "%s: cannot write: %s; what was there before is kept", a->path, strerror(why));
}

duet_status dt_atomic_add(dt_atomic *a, const void *p, size_t n, duet_err *err) {
    const char *at = p;
    a->n += n;
    while (n) {
        ssize_t w = write(a->fd, at, n < ((size_t)1 << 30) ? n : (size_t)1 << 30);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return cannot_write(a, w < 0 ? errno : ENOSPC, err);
        at += w;
        n -= (size_t)w;
    }
    return DUET_OK;
}

duet_status dt_atomic_commit(dt_atomic *a, duet_err *err) {
    duet_status st = fsync(a->fd) ? cannot_write(a, errno, err) : DUET_OK;
    if (close(a->fd) && !st) st = cannot_write(a, errno, err);
    a->fd = -1;
    if (!st && rename(a->tmp, a->path)) st = dt_fail(err, DUET_E_IO, "%s: cannot replace: %s", a->path, strerror(errno));
    if (!st) {
        sync_folder_of(a->path);
        free(a->tmp);
        a->tmp = NULL;
    }
    dt_atomic_abandon(a);
    return st;
}

void dt_atomic_abandon(dt_atomic *a) {
    if (a->fd >= 0) close(a->fd);
    if (a->tmp) unlink(a->tmp);
    free(a->tmp);
    free(a->path);
    *a = (dt_atomic){.fd = -1};
}

duet_status dt_file_write_atomic(const char *path, const void *p, size_t n, duet_err *err) {
    dt_atomic a;
    duet_status st = dt_atomic_open(&a, path, err);
    if (!st) st = dt_atomic_add(&a, p, n, err);
    if (!st) return dt_atomic_commit(&a, err);
    dt_atomic_abandon(&a);
    return st;
}

bool dt_path_exists(const char *path) {
    struct stat sb;
    return !stat(path, &sb);
}

bool dt_path_is_dir(const char *path) {
    struct stat sb;
    return !stat(path, &sb) && S_ISDIR(sb.st_mode);
}

duet_status dt_mkdirs(const char *path, duet_err *err) {
    duet_status st = DUET_OK;
    char *p = dt_strdup(path);
    if (!p) return dt_fail(err, DUET_E_NOMEM, "%s: no memory to make the folder", path);
    for (char *s = p + 1; !st; s++) {
        if (*s && *s != '/') continue;
        char c = *s;
        *s = 0;
        if (*p && mkdir(p, 0777) && !(errno == EEXIST && dt_path_is_dir(p)))
            st = dt_fail(err, DUET_E_IO, "%s: cannot make the folder %s: %s", path, p, strerror(errno == EEXIST ? ENOTDIR : errno));
        *s = c;
        if (!c) break;
    }
    free(p);
    return st;
}

duet_status dt_remove_tree(const char *path, duet_err *err) {
    duet_status st = DUET_OK;
    struct stat sb;
    if (lstat(path, &sb)) return errno == ENOENT ? DUET_OK : dt_fail(err, DUET_E_IO, "%s: cannot stat: %s", path, strerror(errno));
    if (S_ISDIR(sb.st_mode)) {
        DIR *d = opendir(path);
        if (!d) return dt_fail(err, DUET_E_IO, "%s: cannot open the folder: %s", path, strerror(errno));
        for (struct dirent *e; !st && (e = readdir(d));) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
            char *child = dt_path_join(path, e->d_name);
            st = child ? dt_remove_tree(child, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory to remove it", path);
            free(child);
        }
        closedir(d);
        if (st) return st;
    }
    if (S_ISDIR(sb.st_mode) ? rmdir(path) : unlink(path))
        return dt_fail(err, DUET_E_IO, "%s: cannot remove: %s", path, strerror(errno));
    return DUET_OK;
}

char *dt_path_join(const char *dir, const char *name) {
    dt_buf b = {0};
    size_t n = strlen(dir);
    dt_buf_addf(&b, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : n ? "/" : "", name);
    return dt_buf_take(&b);
}
