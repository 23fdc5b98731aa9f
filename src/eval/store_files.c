/* Hashes of models and data sets by their content, remembered so that a large file is read once. */
#include "eval/store.h"

#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void stamp_of(const struct stat *b, char out[128]) {
    snprintf(out, 128, "%llu %llu %lld %lld.%09ld %lld.%09ld", (unsigned long long)b->st_dev, (unsigned long long)b->st_ino, (long long)b->st_size, (long long)b->st_mtim.tv_sec,
             b->st_mtim.tv_nsec, (long long)b->st_ctim.tv_sec, b->st_ctim.tv_nsec);
}

static duet_status remembered(duet_store *s, const char *path, const char *stamp, char out[65], duet_err *err) {
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = s->q[DT_STORE_GET_FILE];
    sqlite3_bind_text(q, 1, path, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, stamp, -1, SQLITE_STATIC);
    int rc = sqlite3_step(q);
    const char *hex = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : NULL;
    duet_status st = hex && strlen(hex) == 64 ? DUET_OK : rc == SQLITE_ROW || rc == SQLITE_DONE ? DUET_END : dt_store_fail(s, rc, err);
    if (!st) memcpy(out, hex, 65);
    sqlite3_reset(q);
    pthread_mutex_unlock(&s->lock);
    return st;
}

static duet_status remember(duet_store *s, const char *path, const char *stamp, const char *hex, duet_err *err) {
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = s->q[DT_STORE_PUT_FILE];
    sqlite3_bind_text(q, 1, path, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, stamp, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 3, hex, -1, SQLITE_STATIC);
    int rc = sqlite3_step(q);
    duet_status st = rc == SQLITE_DONE ? DUET_OK : dt_store_fail(s, rc, err);
    sqlite3_reset(q);
    pthread_mutex_unlock(&s->lock);
    return st;
}

static duet_status read_all(const char *path, int fd, char out[65], duet_err *err) {
    enum { PIECE = 1 << 20 };
    dt_sha256 h;
    duet_status st = DUET_OK;
    char *piece = malloc(PIECE);
    dt_sha256_init(&h);
    if (!piece) return dt_fail(err, DUET_E_NOMEM, "%s: no memory to read it", path);
    for (ssize_t n; !st && (n = read(fd, piece, PIECE)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            st = dt_fail(err, DUET_E_IO, "%s: cannot read: %s", path, strerror(errno));
        else if (dt_interrupted())
            st = dt_fail(err, DUET_E_CANCELLED, "interrupted");
        else
            dt_sha256_add(&h, piece, (size_t)n);
    }
    dt_sha256_hex(&h, out);
    free(piece);
    return st;
}

static duet_status hash_one(duet_store *s, const char *path, char out[65], size_t *bytes, duet_err *err) {
    char stamp[128];
    struct stat b;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return dt_fail(err, DUET_E_IO, "%s: cannot open: %s", path, strerror(errno));
    char *real = realpath(path, NULL);
    duet_status st = fstat(fd, &b) ? dt_fail(err, DUET_E_IO, "%s: cannot stat: %s", path, strerror(errno)) : DUET_OK;
    bool keep = !st && s && real && S_ISREG(b.st_mode); /* a pipe has no content to come back to */
    if (!st) {
        *bytes += (size_t)b.st_size;
        stamp_of(&b, stamp);
        st = keep ? remembered(s, real, stamp, out, err) : DUET_END;
    }
    if (st == DUET_END) {
        st = read_all(path, fd, out, err);
        if (!st && keep) st = remember(s, real, stamp, out, err);
    }
    close(fd);
    free(real);
    return st;
}

static bool is_model_file(const char *name) {
    static const char *const ends[] = {".json", ".jinja", ".safetensors", ".gguf", ".model"};
    size_t n = strlen(name);
    for (size_t i = 0; i < DT_COUNT(ends); i++) {
        size_t k = strlen(ends[i]);
        if (*name != '.' && n > k && !strcmp(name + n - k, ends[i])) return true;
    }
    return !strcmp(name, "merges.txt") || !strcmp(name, "vocab.txt");
}

static int chosen(const struct dirent *e) {
    return is_model_file(e->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static duet_status hash_folder(duet_store *s, const char *path, char out[65], size_t *bytes, duet_err *err) {
    struct dirent **e = NULL;
    duet_status st = DUET_OK;
    dt_sha256 h;
    dt_sha256_init(&h);
    int n = scandir(path, &e, chosen, by_name);
    if (n < 0) return dt_fail(err, DUET_E_IO, "%s: cannot read the folder: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        char hex[65], *file = st ? NULL : dt_path_join(path, e[i]->d_name);
        if (!st) st = file ? hash_one(s, file, hex, bytes, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
        if (!st) {
            dt_sha256_add(&h, hex, 64);
            dt_sha256_add(&h, "  ", 2);
            dt_sha256_add(&h, e[i]->d_name, strlen(e[i]->d_name));
            dt_sha256_add(&h, "\n", 1);
        }
        free(file);
        free(e[i]);
    }
    free(e);
    dt_sha256_hex(&h, out);
    return st;
}

duet_status duet_store_hash_file(duet_store *s, const char *path, char out[65], size_t *bytes, duet_err *err) {
    size_t total = 0;
    duet_status st = dt_path_is_dir(path) ? hash_folder(s, path, out, &total, err) : hash_one(s, path, out, &total, err);
    if (bytes) *bytes = total;
    return st;
}
