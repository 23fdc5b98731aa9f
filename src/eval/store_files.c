/* Hashes of models and data sets by their content, remembered so that a large file is read once. */
#include "eval/store.h"

#include "base/base.h"
#include "format/peft.h"

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
    if (hex && !st) memcpy(out, hex, 65);
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

/* One line of what sha256sum would print. */
static void add_line(dt_sha256 *h, const char *hex, const char *name) {
    dt_sha256_add(h, hex, 64);
    dt_sha256_add(h, "  ", 2);
    dt_sha256_add(h, name, strlen(name));
    dt_sha256_add(h, "\n", 1);
}

static duet_status add_file(duet_store *s, const char *dir, const char *name, dt_sha256 *h, size_t *bytes, duet_err *err) {
    char hex[65], *file = dt_path_join(dir, name);
    duet_status st = file ? hash_one(s, file, hex, bytes, err) : dt_fail(err, DUET_E_NOMEM, "%s: no memory", dir);
    if (!st) add_line(h, hex, name);
    free(file);
    return st;
}

/* An adapter is what it is on top of its base model. */
static duet_status add_base(duet_store *s, const char *dir, dt_sha256 *h, size_t *bytes, duet_err *err) {
    dt_peft p = {0};
    char hex[65], *base = NULL;
    size_t n = 0;
    duet_status st = dt_peft_read(dir, &p, err);
    if (!st && p.base) st = dt_peft_base(dir, &p, &base, err);
    if (!st && base) st = duet_store_hash_file(s, base, hex, &n, err);
    if (!st && base) add_line(h, hex, "base");
    *bytes += n;
    dt_peft_clear(&p);
    free(base);
    return st;
}

static duet_status hash_folder(duet_store *s, const char *path, char out[65], size_t *bytes, duet_err *err) {
    struct dirent **e = NULL;
    duet_status st = DUET_OK;
    dt_sha256 h;
    dt_sha256_init(&h);
    int n = scandir(path, &e, chosen, by_name);
    if (n < 0) return dt_fail(err, DUET_E_IO, "%s: cannot read the folder: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (!st) st = add_file(s, path, e[i]->d_name, &h, bytes, err);
        free(e[i]);
    }
    free(e);
    if (!st && dt_peft_is(path)) st = add_base(s, path, &h, bytes, err);
    dt_sha256_hex(&h, out);
    return st;
}

/* "NAME-00001-of-00003.gguf": the number of files, and where the first number stands; else 0. */
static int parts_of(const char *path, size_t *at) {
    static const char shape[] = "-00000-of-00000.gguf";
    size_t n = strlen(path), k = sizeof shape - 1;
    if (n < k) return 0;
    const char *tail = path + n - k;
    for (size_t i = 0; i < k; i++)
        if (shape[i] == '0' ? tail[i] < '0' || tail[i] > '9' : tail[i] != shape[i]) return 0;
    *at = n - k + 1;
    return (int)strtol(tail + 10, NULL, 10);
}

static duet_status hash_parts(duet_store *s, const char *path, size_t at, int parts, char out[65], size_t *bytes, duet_err *err) {
    char digits[16], *name = dt_strdup(path), *slash = name ? strrchr(name, '/') : NULL;
    duet_status st = name ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "%s: no memory", path);
    dt_sha256 h;
    dt_sha256_init(&h);
    if (slash) *slash = 0;
    const char *dir = slash == name ? "/" : slash ? name : "";
    char *file = slash ? slash + 1 : name;
    for (int i = 1; !st && i <= parts; i++) {
        snprintf(digits, sizeof digits, "%05d", i % 100000);
        memcpy(name + at, digits, 5);
        st = add_file(s, dir, file, &h, bytes, err);
    }
    dt_sha256_hex(&h, out);
    free(name);
    return st;
}

duet_status duet_store_hash_file(duet_store *s, const char *path, char out[65], size_t *bytes, duet_err *err) {
    size_t total = 0, at = 0;
    int parts = parts_of(path, &at);
    duet_status st = dt_path_is_dir(path) ? hash_folder(s, path, out, &total, err)
                     : parts > 1          ? hash_parts(s, path, at, parts, out, &total, err)
                                          : hash_one(s, path, out, &total, err);
    if (bytes) *bytes = total;
    return st;
}
