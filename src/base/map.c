/* Read-only memory maps of whole files. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

duet_status dt_map_open(dt_map *m, const char *path, duet_err *err) {
    duet_status st = DUET_OK;
    struct stat sb;
    void *p = NULL;

    *m = (dt_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return dt_fail(err, DUET_E_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(fd, &sb)) {
        st = dt_fail(err, DUET_E_IO, "%s: cannot stat: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(sb.st_mode)) {
        st = dt_fail(err, DUET_E_IO, "%s: not a regular file", path);
        goto done;
    }
    if ((uint64_t)sb.st_size > SIZE_MAX) {
        st = dt_fail(err, DUET_E_RANGE, "%s: too large to map", path);
        goto done;
    }
    if (sb.st_size) {
        p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = dt_fail(err, DUET_E_IO, "%s: cannot map %lld bytes: %s", path, (long long)sb.st_size, strerror(errno));
            goto done;
        }
    }
    m->data = p;
    m->size = (size_t)sb.st_size;
    m->path = dt_strdup(path);
    if (!m->path) {
        dt_map_close(m);
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    }
done:
    close(fd);
    return st;
}

void dt_map_close(dt_map *m) {
    union {
        const uint8_t *c;
        void *v;
    } u = {.c = m->data};
    if (m->data) munmap(u.v, m->size);
    free(m->path);
    *m = (dt_map){0};
}
