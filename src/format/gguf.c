/* GGUF reader: header, keys and tensors of one file or of all parts of a split one; the layout is in the header.
 * Nothing the file says is believed before it is checked against the file's size. */
#include "format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEY 65535  /* bytes of a key's name, by the specification */
#define MAX_NAME 1024  /* bytes of a tensor's name; the specification says 64 */
#define MAX_PARTS 9999 /* files of a split model */
#define MAX_ALIGN (1 << 20)

/* Of ggml, by its number; those with a dtype are read. */
/* clang-format off */
static const struct {
    const char *name;
    int dtype; /* -1 = not read */
} codes[] = {
    [0] = {"F32", DT_F32},    [1] = {"F16", DT_F16},    [2] = {"Q4_0", DT_Q4_0},  [3] = {"Q4_1", DT_Q4_1},
    [6] = {"Q5_0", DT_Q5_0},  [7] = {"Q5_1", DT_Q5_1},  [8] = {"Q8_0", DT_Q8_0},  [9] = {"Q8_1", -1},
    [10] = {"Q2_K", DT_Q2_K}, [11] = {"Q3_K", DT_Q3_K}, [12] = {"Q4_K", DT_Q4_K}, [13] = {"Q5_K", DT_Q5_K},
    [14] = {"Q6_K", DT_Q6_K}, [15] = {"Q8_K", -1},      [16] = {"IQ2_XXS", -1},   [17] = {"IQ2_XS", -1},
    [18] = {"IQ3_XXS", -1},   [19] = {"IQ1_S", -1},     [20] = {"IQ4_NL", -1},    [21] = {"IQ3_S", -1},
    [22] = {"IQ2_S", -1},     [23] = {"IQ4_XS", -1},    [24] = {"I8", DT_I8},     [25] = {"I16", DT_I16},
    [26] = {"I32", DT_I32},   [27] = {"I64", DT_I64},   [28] = {"F64", DT_F64},   [29] = {"IQ1_M", -1},
    [30] = {"BF16", DT_BF16}, [34] = {"TQ1_0", -1},     [35] = {"TQ2_0", -1},     [39] = {"MXFP4", -1},
    [40] = {"NVFP4", -1},
};
/* clang-format on */

typedef struct part {
    dt_map map;
    char *name;
    size_t size;
    dt_gguf_kv *kv; /* in the order of the file */
    const dt_gguf_kv **by_key;
    size_t n_kv;
    uint32_t alignment;
} part;

typedef struct tensor {
    const char *name;
    dt_view view;
    size_t n_bytes, at; /* at: offset in its file */
    size_t part;
} tensor;

struct dt_gguf {
    char *name;
    part *part;
    size_t n_parts;
    tensor *t; /* in the order of the files */
    const tensor **by_name;
    size_t n, cap;
    dt_arena names;
};

bool dt_gguf_dtype(uint32_t code, dt_dtype *out) {
    if (code >= DT_COUNT(codes) || !codes[code].name || codes[code].dtype < 0)
        return false;
    *out = (dt_dtype)codes[code].dtype;
    return true;
}

int dt_gguf_dtype_code(dt_dtype t) {
    for (size_t i = 0; i < DT_COUNT(codes); i++)
        if (codes[i].name && codes[i].dtype == (int)t)
            return (int)i;
    return -1;
}

/* ---- reading from the front ---- */

typedef struct cursor {
    const char *name; /* of the file */
    const uint8_t *p;
    size_t size, at;
    char what[160]; /* being read, for messages: "key 3 (general.name)" */
    duet_status st; /* after the first failure nothing is read any more */
    duet_err *err;
} cursor;

static const uint8_t *take(cursor *c, uint64_t n) {
    if (c->st)
        return NULL;
    if (n > c->size - c->at) {
        c->st = dt_fail(c->err, DUET_E_FORMAT,
                        "%s: %.100s at byte %zu needs %" PRIu64
                        " bytes, but the file ends at byte %zu: it was cut, is still "
                        "being written, or is damaged",
                        c->name, c->what, c->at, n, c->size);
        return NULL;
    }
    const uint8_t *p = c->p + c->at;
    c->at += (size_t)n;
    return p;
}

static uint32_t take_u32(cursor *c) {
    const uint8_t *p = take(c, 4);
    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static uint64_t take_u64(cursor *c) {
    const uint64_t low = take_u32(c);
    return low | (uint64_t)take_u32(c) << 32;
}

/* A name: printable ASCII, copied with a NUL behind it. */
static const char *take_name(cursor *c, size_t max, dt_arena *names) {
    const size_t from = c->at;
    const uint64_t n = take_u64(c);
    if (!c->st && (n == 0 || n > max))
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: the name of %.100s at byte %zu has %" PRIu64 " bytes, not 1 to %zu",
                        c->name, c->what, from, n, max);
    const uint8_t *p = take(c, n);
    if (!p)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (p[i] >= 0x20 && p[i] < 0x7f)
            continue;
        c->st =
            dt_fail(c->err, DUET_E_FORMAT, "%s: the name of %.100s at byte %zu has a byte 0x%02x, which no name has",
                    c->name, c->what, from, p[i]);
        return NULL;
    }
    char *s = dt_arena_alloc(names, (size_t)n + 1, 1);
    if (!s) {
        c->st = dt_fail(c->err, DUET_E_NOMEM, "%s: no memory to read it", c->name);
        return NULL;
    }
    memcpy(s, p, (size_t)n);
    s[n] = 0;
    return s;
}

/* ---- keys ---- */

static void skip_strings(cursor *c, uint64_t n) {
    for (uint64_t i = 0; i < n && !c->st; i++)
        take(c, take_u64(c));
}

static void read_value(cursor *c, dt_gguf_kv *kv) {
    uint32_t type = take_u32(c);
    uint64_t n = 1;
    const bool array = type == DT_GGUF_ARRAY;
    if (array) {
        type = take_u32(c);
        n = take_u64(c);
    }
    if (!c->st && type >= DT_GGUF_N_TYPES)
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: %.100s has the value type %" PRIu32 "; 0 to %d are known", c->name,
                        c->what, type, DT_GGUF_N_TYPES - 1);
    if (!c->st && type == DT_GGUF_ARRAY)
        c->st = dt_fail(c->err, DUET_E_UNSUPPORTED, "%s: %.100s is an array of arrays, which is not supported", c->name,
                        c->what);
    if (c->st)
        return;
    const size_t least = dt_gguf_type_size((dt_gguf_type)type); /* a string: its length */
    if (n > (c->size - c->at) / (least ? least : 8))
        c->st = dt_fail(c->err, DUET_E_FORMAT,
                        "%s: %.100s claims %" PRIu64 " values of type %s at byte %zu, but the file ends at byte %zu: "
                        "it was cut, is still being written, or is damaged",
                        c->name, c->what, n, dt_gguf_type_name((dt_gguf_type)type), c->at, c->size);
    if (c->st)
        return;
    kv->type = array ? DT_GGUF_ARRAY : (dt_gguf_type)type;
    kv->elem = (dt_gguf_type)type;
    kv->n = (size_t)n;
    kv->data = c->p + c->at;
    const size_t from = c->at;
    if (kv->elem == DT_GGUF_STRING)
        skip_strings(c, n);
    else
        take(c, n * dt_gguf_type_size(kv->elem));
    kv->n_bytes = c->at - from;
}

static int by_key(const void *a, const void *b) {
    return strcmp((*(const dt_gguf_kv *const *)a)->key, (*(const dt_gguf_kv *const *)b)->key);
}

static const dt_gguf_kv *find_key(const part *p, const char *key) {
    size_t lo = 0, hi = p->n_kv;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int d = strcmp(key, p->by_key[mid]->key);
        if (!d)
            return p->by_key[mid];
        if (d < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

static void no_memory(cursor *c) {
    if (!c->st)
        c->st = dt_fail(c->err, DUET_E_NOMEM, "%s: no memory to read it", c->name);
}

static void read_keys(cursor *c, part *p, uint64_t n, dt_arena *names) {
    size_t cap = 0;
    for (uint64_t i = 0; i < n && !c->st; i++) {
        if (p->n_kv == cap) { /* grows with what is there, not with what the file claims */
            cap = cap ? cap * 2 : 64;
            dt_gguf_kv *grown = dt_realloc(p->kv, cap, sizeof *grown);
            if (!grown) {
                no_memory(c);
                return;
            }
            p->kv = grown;
        }
        dt_gguf_kv *kv = &p->kv[p->n_kv];
        *kv = (dt_gguf_kv){0};
        snprintf(c->what, sizeof c->what, "key %" PRIu64 " of %" PRIu64, i + 1, n);
        kv->key = take_name(c, MAX_KEY, names);
        if (kv->key)
            snprintf(c->what, sizeof c->what, "key %" PRIu64 " of %" PRIu64 " (%.80s)", i + 1, n, kv->key);
        read_value(c, kv);
        if (!c->st)
            p->n_kv++;
    }
    p->by_key = c->st ? NULL : dt_calloc(p->n_kv, sizeof *p->by_key);
    if (!p->by_key) {
        no_memory(c);
        return;
    }
    for (size_t i = 0; i < p->n_kv; i++)
        p->by_key[i] = &p->kv[i];
    qsort(p->by_key, p->n_kv, sizeof *p->by_key, by_key);
    for (size_t i = 1; i < p->n_kv; i++) {
        if (strcmp(p->by_key[i]->key, p->by_key[i - 1]->key))
            continue;
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: the key %.80s is there twice", c->name, p->by_key[i]->key);
        return;
    }
}

static void read_alignment(cursor *c, part *p) {
    const dt_gguf_kv *kv = c->st ? NULL : find_key(p, "general.alignment");
    p->alignment = 32;
    if (!kv)
        return;
    const int64_t a = kv->type == DT_GGUF_U32 ? dt_gguf_int_at(kv, 0) : 0;
    if (a < 1 || a > MAX_ALIGN || (a & (a - 1)))
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: general.alignment is not a u32 that is a power of two up to %d",
                        c->name, MAX_ALIGN);
    else
        p->alignment = (uint32_t)a;
}

/* ---- tensors ---- */

static void unknown_type(cursor *c, const char *name, uint32_t code) {
    char known[160] = "", number[16];
    size_t len = 0;
    for (size_t i = 0; i < DT_COUNT(codes); i++)
        if (codes[i].name && codes[i].dtype >= 0 && len < sizeof known)
            len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", len ? ", " : "", codes[i].name);
    snprintf(number, sizeof number, "%" PRIu32, code);
    c->st = dt_fail(c->err, DUET_E_UNSUPPORTED, "%s: tensor %.80s has the type %s, which is not supported; %s are",
                    c->name, name, code < DT_COUNT(codes) && codes[code].name ? codes[code].name : number, known);
}

/* Shape, type and offset; where the data lies is checked when its start is known. */
static void read_tensor(cursor *c, tensor *t) {
    uint64_t dims[DT_MAX_DIMS] = {0};
    const uint32_t n_dims = take_u32(c);
    if (!c->st && (n_dims < 1 || n_dims > 4))
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: tensor %.80s has %" PRIu32 " dimensions, not 1 to 4", c->name,
                        t->name, n_dims);
    if (c->st)
        return;
    for (uint32_t i = 0; i < n_dims; i++)
        dims[i] = take_u64(c);
    const uint32_t code = take_u32(c);
    const uint64_t at = take_u64(c);
    if (c->st)
        return;
    t->view.n_dims = (int)n_dims;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (dims[i] == 0 || dims[i] > SIZE_MAX) {
            c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: tensor %.80s: dimension %" PRIu32 " is %" PRIu64, c->name,
                            t->name, i, dims[i]);
            return;
        }
        t->view.dims[n_dims - 1 - i] = (size_t)dims[i];
    }
    if (!dt_gguf_dtype(code, &t->view.dtype)) {
        unknown_type(c, t->name, code);
        return;
    }
    const size_t block = dt_dtype_block(t->view.dtype);
    if (dims[0] % block)
        c->st =
            dt_fail(c->err, DUET_E_FORMAT, "%s: tensor %.80s: its rows of %" PRIu64 " are no whole blocks of %zu (%s)",
                    c->name, t->name, dims[0], block, dt_dtype_name(t->view.dtype));
    else if (!dt_view_count(&t->view, NULL, &t->n_bytes) || at > SIZE_MAX)
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: tensor %.80s is larger than any memory", c->name, t->name);
    t->at = (size_t)at; /* from the start of the data, for now */
}

static void read_tensors(cursor *c, dt_gguf *g, uint64_t n) {
    for (uint64_t i = 0; i < n && !c->st; i++) {
        if (g->n == g->cap) {
            g->cap = g->cap ? g->cap * 2 : 256;
            tensor *grown = dt_realloc(g->t, g->cap, sizeof *grown);
            if (!grown) {
                no_memory(c);
                return;
            }
            g->t = grown;
        }
        tensor *t = &g->t[g->n];
        *t = (tensor){.part = g->n_parts};
        snprintf(c->what, sizeof c->what, "tensor %" PRIu64 " of %" PRIu64, i + 1, n);
        t->name = take_name(c, MAX_NAME, &g->names);
        if (t->name)
            snprintf(c->what, sizeof c->what, "the description of tensor %" PRIu64 " of %" PRIu64 " (%.80s)", i + 1, n,
                     t->name);
        read_tensor(c, t);
        if (!c->st)
            g->n++;
    }
}

/* c->at stands behind the last description: the data begins at the next multiple of the alignment. */
static void place_tensors(cursor *c, dt_gguf *g, const part *p, size_t first) {
    size_t start = 0;
    if (!c->st && !dt_add_size(c->at, (size_t)(p->alignment - c->at % p->alignment) % p->alignment, &start))
        c->st = dt_fail(c->err, DUET_E_FORMAT, "%s: larger than any memory", c->name);
    for (size_t i = first; i < g->n && !c->st; i++) {
        tensor *t = &g->t[i];
        size_t end = 0;
        if (t->at % p->alignment)
            c->st = dt_fail(c->err, DUET_E_FORMAT,
                            "%s: tensor %.80s: its offset %zu is no multiple of the alignment %" PRIu32, c->name,
                            t->name, t->at, p->alignment);
        else if (!dt_add_size(start, t->at, &t->at) || !dt_add_size(t->at, t->n_bytes, &end))
            c->st =
                dt_fail(c->err, DUET_E_FORMAT, "%s: tensor %.80s: its offset lies outside any file", c->name, t->name);
        else if (end > c->size)
            c->st = dt_fail(
                c->err, DUET_E_FORMAT,
                "%s: tensor %.80s has bytes %zu to %zu, but the file ends at byte %zu: it was cut or is still being "
                "written",
                c->name, t->name, t->at, end, c->size);
        else
            t->view.data = c->p + t->at;
    }
}

/* ---- a file ---- */

static uint64_t read_header(cursor *c, uint64_t *n_tensors) {
    static const uint8_t zeros[4] = {0};
    const size_t there = c->size < 4 ? c->size : 4;
    snprintf(c->what, sizeof c->what, "the header");
    if (there && memcmp(c->p, "GGUF", there)) {
        c->st = there == 4 && !memcmp(c->p, zeros, 4)
                    ? dt_fail(c->err, DUET_E_FORMAT,
                              "%s: not a GGUF file: it begins with zeros; is it still being downloaded?", c->name)
                    : dt_fail(c->err, DUET_E_FORMAT, "%s: not a GGUF file: it does not begin with \"GGUF\"", c->name);
        return 0;
    }
    take(c, 4);
    const uint32_t version = take_u32(c);
    if (!c->st && version != 2 && version != 3)
        c->st = version && !(version & 0xffffu)
                    ? dt_fail(c->err, DUET_E_UNSUPPORTED,
                              "%s: a big-endian GGUF file; only little-endian ones are read", c->name)
                    : dt_fail(c->err, DUET_E_UNSUPPORTED, "%s: GGUF version %" PRIu32 " is not supported; 2 and 3 are",
                              c->name, version);
    *n_tensors = take_u64(c);
    const uint64_t n_keys = take_u64(c);
    if (!c->st && (n_keys > c->size / 13 || *n_tensors > c->size / 32)) /* no key and no tensor takes less */
        c->st = dt_fail(c->err, DUET_E_FORMAT,
                        "%s: claims %" PRIu64 " keys and %" PRIu64
                        " tensors in a file of %zu bytes: it was cut, is still being written, or is damaged",
                        c->name, n_keys, *n_tensors, c->size);
    return n_keys;
}

/* Adds what is in p->name (p->size bytes at `data`) to g; p itself becomes g's last part whatever happens. */
static duet_status read_part(dt_gguf *g, part *p, const uint8_t *data, duet_err *err) {
    cursor c = {.name = p->name, .p = data, .size = p->size, .err = err};
    const size_t first = g->n;
    uint64_t n_tensors = 0;
    const uint64_t n_keys = read_header(&c, &n_tensors);
    if (!c.st)
        read_keys(&c, p, n_keys, &g->names);
    read_alignment(&c, p);
    read_tensors(&c, g, n_tensors);
    place_tensors(&c, g, p, first);
    g->n_parts++;
    return c.st;
}

static int by_place(const void *a, const void *b) {
    const uintptr_t x = (uintptr_t)(*(const tensor *const *)a)->view.data,
                    y = (uintptr_t)(*(const tensor *const *)b)->view.data;
    return x < y ? -1 : x > y;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const tensor *const *)a)->name, (*(const tensor *const *)b)->name);
}

/* All parts are read: no two tensors with one name or with the same bytes. */
static duet_status check_together(dt_gguf *g, duet_err *err) {
    g->by_name = dt_calloc(g->n, sizeof *g->by_name);
    if (!g->by_name)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to read it", g->name);
    for (size_t i = 0; i < g->n; i++)
        g->by_name[i] = &g->t[i];
    qsort(g->by_name, g->n, sizeof *g->by_name, by_place);
    for (size_t i = 1; i < g->n; i++) {
        const tensor *a = g->by_name[i - 1], *b = g->by_name[i];
        if (a->part == b->part && b->at < a->at + a->n_bytes)
            return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s at byte %zu overlaps %.80s", g->part[b->part].name,
                           b->name, b->at, a->name);
    }
    qsort(g->by_name, g->n, sizeof *g->by_name, by_name);
    for (size_t i = 1; i < g->n; i++)
        if (!strcmp(g->by_name[i]->name, g->by_name[i - 1]->name))
            return dt_fail(err, DUET_E_FORMAT, "%s: there are two tensors %.80s", g->name, g->by_name[i]->name);
    return DUET_OK;
}

/* ---- several files ---- */

/* split.KEY of a part: -1 = absent. */
static duet_status split_key(const part *p, const char *key, int64_t *out, duet_err *err) {
    const dt_gguf_kv *kv = find_key(p, key);
    *out = -1;
    if (!kv)
        return DUET_OK;
    if (kv->type == DT_GGUF_ARRAY || kv->type == DT_GGUF_STRING || kv->type == DT_GGUF_F32 || kv->type == DT_GGUF_F64 ||
        kv->type == DT_GGUF_BOOL || dt_gguf_int_at(kv, 0) < 0)
        return dt_fail(err, DUET_E_FORMAT, "%s: %s is not a whole number from 0", p->name, key);
    *out = dt_gguf_int_at(kv, 0);
    return DUET_OK;
}

static duet_status open_part(dt_gguf *g, const char *path, duet_err *err) {
    part *grown = dt_realloc(g->part, g->n_parts + 1, sizeof *grown);
    if (!grown)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    g->part = grown;
    part *p = &g->part[g->n_parts];
    *p = (part){0};
    duet_status st = dt_map_open(&p->map, path, err);
    if (st)
        return st;
    p->name = p->map.path;
    p->size = p->map.size;
    return read_part(g, p, p->map.data, err);
}

static void forget_parts(dt_gguf *g) {
    for (size_t i = 0; g->part && i < g->n_parts; i++) {
        part *p = &g->part[i];
        if (p->map.path)
            dt_map_close(&p->map); /* and with it p->name */
        else
            free(p->name);
        free(p->kv);
        free(p->by_key);
    }
    free(g->part);
    free(g->t);
    g->part = NULL;
    g->t = NULL;
    g->n_parts = g->n = g->cap = 0;
    dt_arena_clear(&g->names);
}

/* Parts 1..count in order, when path is one of them. */
static duet_status open_parts(dt_gguf *g, const char *path, int64_t no, int64_t count, duet_err *err) {
    duet_status st = DUET_OK;
    char tail[40];
    int64_t total = -1;
    const size_t len = strlen(path),
                 n_tail = (size_t)snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", (int)no + 1, (int)count);
    if (count > MAX_PARTS || no >= count)
        return dt_fail(err, DUET_E_FORMAT,
                       "%s: split.no %lld and split.count %lld do not fit together (at most %d parts)", path,
                       (long long)no, (long long)count, MAX_PARTS);
    if (len < n_tail || strcmp(path + len - n_tail, tail))
        return dt_fail(err, DUET_E_FORMAT,
                       "%s: its keys say part %d of %d, so its name should end in %s: without it the other "
                       "parts cannot be found",
                       path, (int)no + 1, (int)count, tail);
    char *other = dt_strdup(path);
    if (!other)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    forget_parts(g);
    for (int i = 0; i < (int)count && !st; i++) {
        snprintf(other + len - n_tail, n_tail + 1, "-%05d-of-%05d.gguf", i + 1, (int)count);
        if (!dt_path_exists(other))
            st = dt_fail(err, DUET_E_IO, "%s: part %d of %d is missing: %s is not there", path, i + 1, (int)count,
                         other);
    }
    for (int i = 0; i < (int)count && !st; i++) {
        int64_t its_no = 0, its_count = 0;
        snprintf(other + len - n_tail, n_tail + 1, "-%05d-of-%05d.gguf", i + 1, (int)count);
        st = open_part(g, other, err);
        if (!st)
            st = split_key(&g->part[i], "split.no", &its_no, err);
        if (!st)
            st = split_key(&g->part[i], "split.count", &its_count, err);
        if (!st && (its_no != i || its_count != count))
            st = dt_fail(err, DUET_E_FORMAT, "%s: its keys say part %lld of %lld; was it renamed?", other,
                         (long long)its_no + 1, (long long)its_count);
    }
    free(other);
    if (!st)
        st = split_key(&g->part[0], "split.tensors.count", &total, err);
    if (!st && total >= 0 && (uint64_t)total != g->n)
        st = dt_fail(err, DUET_E_FORMAT, "%s: split.tensors.count is %lld, but its %d parts have %zu tensors", path,
                     (long long)total, (int)count, g->n);
    return st;
}

static duet_status start(const char *name, dt_gguf **out, duet_err *err) {
    dt_gguf *g = dt_calloc(1, sizeof *g);
    *out = NULL;
    if (g)
        g->name = dt_strdup(name);
    if (!g || !g->name) {
        free(g);
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name);
    }
    g->names.block_bytes = 1 << 16;
    *out = g;
    return DUET_OK;
}

/* The last steps of both ways to open. */
static duet_status finish(dt_gguf *g, duet_status st, dt_gguf **out, duet_err *err) {
    if (!st)
        st = check_together(g, err);
    if (st)
        dt_gguf_close(g);
    *out = st ? NULL : g;
    return st;
}

duet_status dt_gguf_open(const char *path, dt_gguf **out, duet_err *err) {
    dt_gguf *g = NULL;
    int64_t no = -1, count = -1;
    *out = NULL;
    duet_status st = start(path, &g, err);
    if (st)
        return st;
    st = open_part(g, path, err);
    if (!st)
        st = split_key(&g->part[0], "split.no", &no, err);
    if (!st)
        st = split_key(&g->part[0], "split.count", &count, err);
    if (!st && count > 1)
        st = open_parts(g, path, no < 0 ? 0 : no, count, err);
    return finish(g, st, out, err);
}

duet_status dt_gguf_open_mem(const char *name, const void *data, size_t n, dt_gguf **out, duet_err *err) {
    dt_gguf *g = NULL;
    int64_t count = -1;
    *out = NULL;
    duet_status st = start(name, &g, err);
    if (st)
        return st;
    g->part = dt_calloc(1, sizeof *g->part);
    char *copy = dt_strdup(name);
    if (!g->part || !copy) {
        free(copy);
        return finish(g, dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", name), out, err);
    }
    g->part[0] = (part){.name = copy, .size = n};
    st = read_part(g, &g->part[0], data, err);
    if (!st)
        st = split_key(&g->part[0], "split.count", &count, err);
    if (!st && count > 1)
        st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: one of %lld parts, and bytes in memory have no others beside them",
                     name, (long long)count);
    return finish(g, st, out, err);
}

void dt_gguf_close(dt_gguf *g) {
    if (!g)
        return;
    forget_parts(g);
    free(g->by_name);
    free(g->name);
    free(g);
}

bool dt_gguf_is(const char *path) {
    char magic[4];
    FILE *f = dt_path_is_dir(path) ? NULL : fopen(path, "rb");
    const bool is = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f)
        fclose(f);
    return is;
}

/* ---- what is in it ---- */

const char *dt_gguf_name(const dt_gguf *g) {
    return g->name;
}

size_t dt_gguf_bytes(const dt_gguf *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_parts; i++)
        n += g->part[i].size;
    return n;
}

int dt_gguf_n_files(const dt_gguf *g) {
    return (int)g->n_parts;
}

uint32_t dt_gguf_alignment(const dt_gguf *g) {
    return g->part[0].alignment;
}

size_t dt_gguf_count(const dt_gguf *g) {
    return g->n;
}

const char *dt_gguf_tensor_name(const dt_gguf *g, size_t i) {
    return g->t[i].name;
}

const dt_view *dt_gguf_view(const dt_gguf *g, size_t i) {
    return &g->t[i].view;
}

const dt_view *dt_gguf_find(const dt_gguf *g, const char *name) {
    size_t lo = 0, hi = g->n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int d = strcmp(name, g->by_name[mid]->name);
        if (!d)
            return &g->by_name[mid]->view;
        if (d < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

size_t dt_gguf_n_keys(const dt_gguf *g) {
    return g->part[0].n_kv;
}

const dt_gguf_kv *dt_gguf_key(const dt_gguf *g, size_t i) {
    return &g->part[0].kv[i];
}

const dt_gguf_kv *dt_gguf_find_key(const dt_gguf *g, const char *key) {
    return find_key(&g->part[0], key);
}
