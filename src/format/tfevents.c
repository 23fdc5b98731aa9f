/* TensorBoard event files: framing, checksums and the few protobuf fields that scalars need. */
#include "format/tfevents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct dt_tfevents {
    int fd;
    char *path;
    dt_buf event, summary, value, record;
};

/* CRC-32C (Castagnoli), reflected polynomial 0x82F63B78, a nibble at a time: no table to initialise. */
uint32_t dt_crc32c(const void *p, size_t n) {
    static const uint32_t nibble[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const uint8_t *b = p;
    uint32_t c = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        c ^= b[i];
        c = (c >> 4) ^ nibble[c & 15];
        c = (c >> 4) ^ nibble[c & 15];
    }
    return ~c;
}

static uint32_t masked_crc(const void *p, size_t n) {
    uint32_t c = dt_crc32c(p, n);
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

static void add_le(dt_buf *b, uint64_t x, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) {
        uint8_t byte = (uint8_t)(x >> (8 * i));
        dt_buf_add(b, &byte, 1);
    }
}

static void add_varint(dt_buf *b, uint64_t x) {
    do {
        uint8_t byte = (uint8_t)((x & 127) | (x > 127 ? 128 : 0));
        dt_buf_add(b, &byte, 1);
        x >>= 7;
    } while (x);
}

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void add_tag(dt_buf *b, unsigned field, unsigned wire) {
    add_varint(b, field << 3 | wire);
}

static void add_bytes(dt_buf *b, unsigned field, const void *p, size_t n) {
    add_tag(b, field, WIRE_BYTES);
    add_varint(b, n);
    dt_buf_add(b, p, n);
}

static void add_wall_time(dt_buf *b, double t) {
    uint64_t bits = 0;
    memcpy(&bits, &t, sizeof bits);
    add_tag(b, 1, WIRE_64);
    add_le(b, bits, 8);
}

/* Empties without giving the memory back. */
static void rewind_buf(dt_buf *b) {
    b->len = 0;
    b->failed = false;
}

/* Appends one framed record. A record that cannot be written whole is taken back, so readers keep what came before. */
static duet_status put_record(dt_tfevents *t, duet_err *err) {
    rewind_buf(&t->record);
    add_le(&t->record, t->event.len, 8);
    add_le(&t->record, masked_crc(t->record.data, 8), 4);
    dt_buf_add(&t->record, t->event.data, t->event.len);
    add_le(&t->record, masked_crc(t->event.data, t->event.len), 4);
    if (t->event.failed || t->summary.failed || t->value.failed || t->record.failed)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write an event", t->path);
    off_t before = lseek(t->fd, 0, SEEK_END);
    for (size_t done = 0; done < t->record.len;) {
        ssize_t w = write(t->fd, t->record.data + done, t->record.len - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            duet_status st = dt_fail(err, DUET_E_IO, "%s: cannot write: %s", t->path, strerror(w < 0 ? errno : ENOSPC));
            if (before >= 0)
                (void)!ftruncate(t->fd, before);
            return st;
        }
        done += (size_t)w;
    }
    return DUET_OK;
}

duet_status dt_tfevents_open(const char *dir, dt_tfevents **out, duet_err *err) {
    char name[96];
    *out = NULL;
    duet_status st = dt_mkdirs(dir, err);
    if (st)
        return st;
    dt_tfevents *t = dt_calloc(1, sizeof *t);
    if (!t)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to write events", dir);
    t->fd = -1;
    for (int i = 0; t->fd < 0 && i < 1000; i++) { /* runs that start within one second get different names */
        snprintf(name, sizeof name, "events.out.tfevents.%010lld.duet.%ld.%d", (long long)time(NULL), (long)getpid(),
                 i);
        free(t->path);
        t->path = dt_path_join(dir, name);
        if (!t->path) {
            st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to write events", dir);
            goto done;
        }
        t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
        if (t->fd < 0 && errno != EEXIST)
            break;
    }
    if (t->fd < 0) {
        st = dt_fail(err, DUET_E_IO, "%s: cannot create: %s", t->path, strerror(errno));
        goto done;
    }
    add_wall_time(&t->event, (double)time(NULL));
    add_bytes(&t->event, 3, "brain.Event:2", 13);
    st = put_record(t, err);
    if (st)
        goto done;
    *out = t;
    t = NULL;
done:
    dt_tfevents_close(t);
    return st;
}

duet_status dt_tfevents_scalars(dt_tfevents *t, int64_t step, double wall_time, const char *const *tags,
                                const double *values, size_t n, duet_err *err) {
    rewind_buf(&t->event);
    rewind_buf(&t->summary);
    for (size_t i = 0; i < n; i++) {
        float x = (float)values[i];
        uint32_t bits = 0;
        memcpy(&bits, &x, sizeof bits);
        rewind_buf(&t->value);
        add_bytes(&t->value, 1, tags[i], strlen(tags[i]));
        add_tag(&t->value, 2, WIRE_32);
        add_le(&t->value, bits, 4);
        add_bytes(&t->summary, 1, t->value.data, t->value.len);
    }
    add_wall_time(&t->event, wall_time);
    add_tag(&t->event, 2, WIRE_VARINT);
    add_varint(&t->event, (uint64_t)step);
    add_bytes(&t->event, 5, t->summary.data, t->summary.len);
    return put_record(t, err);
}

void dt_tfevents_close(dt_tfevents *t) {
    if (!t)
        return;
    if (t->fd >= 0)
        close(t->fd);
    dt_buf_clear(&t->event);
    dt_buf_clear(&t->summary);
    dt_buf_clear(&t->value);
    dt_buf_clear(&t->record);
    free(t->path);
    free(t);
}
