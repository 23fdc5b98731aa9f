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

duet_status dt_file_write_atomic(const char *path, const void *p, size_t n, duet_err *err) {
    duet_status st = DUET_OK;
    const char *at = p;
    dt_buf tmp = {0};
    int fd = -1;

    if (!dt_buf_addf(&tmp, "%s.%ld.tmp", path, (long)getpid()))
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write it", path);
    fd = open(tmp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        st = dt_fail(err, DUET_E_IO, "%s: cannot create: %s", path, strerror(errno));
        goto done;
    }
    for (size_t left = n; left;) {
        ssize_t w = write(fd, at, left);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            st = dt_fail(err, DUET_E_IO, "%s: cannot write: %s; what was there before is kept", path,
                         strerror(w < 0 ? errno : ENOSPC));
            goto done;
        }
        at += w;
        left -= (size_t)w;
    }
    if (fsync(fd)) {
        st = dt_fail(err, DUET_E_IO, "%s: cannot flush: %s; what was there before is kept", path, strerror(errno));
        goto done;
    }
    int bad = close(fd);
    fd = -1;
    if (bad || rename(tmp.data, path)) {
        st = dt_fail(err, DUET_E_IO, "%s: cannot replace: %s", path, strerror(errno));
        goto done;
    }
    sync_folder_of(path);
done:
    if (fd >= 0) close(fd);
    if (st) unlink(tmp.data);
    dt_buf_clear(&tmp);
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
