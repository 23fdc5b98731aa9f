/* Vocabulary and merges: bytes of an id, id of bytes, and the token two neighbours merge into. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

static size_t table_size(size_t n) {
    size_t k = 16;
    while (k < 2 * n)
        k *= 2;
    return k;
}

bool dt_vocab_reserve(dt_vocab *v, size_t n_tokens, int32_t size, size_t n_bytes) {
    v->size = size;
    v->n_slots = table_size(n_tokens);
    v->tokens = dt_calloc((size_t)size + 1, sizeof *v->tokens);
    v->slots = dt_calloc(v->n_slots, sizeof *v->slots);
    memset(v->byte_id, -1, sizeof v->byte_id);
    return v->tokens && v->slots && dt_buf_reserve(&v->pool, n_bytes + 1);
}

void dt_vocab_clear(dt_vocab *v) {
    free(v->tokens);
    free(v->slots);
    free(v->merges);
    free(v->merge_slots);
    free(v->ranks);
    dt_buf_clear(&v->pool);
    *v = (dt_vocab){0};
}

/* The slot of these bytes, or the empty one where they belong. */
static uint32_t *slot_of(const dt_vocab *v, const void *bytes, size_t n, bool odd) {
    size_t i = dt_hash64(bytes, n, odd) & (v->n_slots - 1);
    for (; v->slots[i]; i = (i + 1) & (v->n_slots - 1)) {
        const dt_token *t = &v->tokens[v->slots[i] - 1];
        if (t->n == n && odd == ((t->flags & DT_TOK_ODD) != 0) && (!n || !memcmp(v->pool.data + t->off, bytes, n)))
            break;
    }
    return &v->slots[i];
}

bool dt_vocab_put(dt_vocab *v, int32_t id, const void *bytes, size_t n, uint32_t flags) {
    if (v->pool.len > UINT32_MAX - n)
        return false;
    dt_token *t = &v->tokens[id];
    const uint32_t off = (uint32_t)v->pool.len;
    if (n && !dt_buf_add(&v->pool, bytes, n))
        return false;
    *t = (dt_token){off, (uint32_t)n, flags | DT_TOK_HERE};
    if (!(flags & DT_TOK_VOCAB))
        return true;
    if (flags & DT_TOK_BYTE) { /* no text leads to it but the lack of another token */
        v->byte_id[*(const uint8_t *)bytes] = id;
        return true;
    }
    if (n > v->max_bytes)
        v->max_bytes = n;
    uint32_t *slot = slot_of(v, bytes, n, (flags & DT_TOK_ODD) != 0);
    if (!*slot)
        *slot = (uint32_t)id + 1;
    if (n == 1 && !(flags & DT_TOK_ODD) && !v->chars)
        v->byte_id[*(const uint8_t *)bytes] = id;
    return true;
}

int32_t dt_vocab_find(const dt_vocab *v, const void *bytes, size_t n, bool odd) {
    return (int32_t)*slot_of(v, bytes, n, odd) - 1;
}

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

uint32_t dt_vocab_unspell(const dt_vocab *v, const char *s, size_t n, char *out, size_t *n_out) {
    if (!v->chars) {
        if (dt_bytes_unspell(s, n, (uint8_t *)out, n_out))
            return 0;
    } else if (n == 6 && !memcmp(s, "<0x", 3) && hex(s[3]) >= 0 && hex(s[4]) >= 0 && s[5] == '>') {
        out[0] = (char)(hex(s[3]) << 4 | hex(s[4]));
        *n_out = 1;
        return DT_TOK_BYTE;
    } else if (!n || !memchr(s, ' ', n)) {
        *n_out = dt_spaces_unspell(s, n, out);
        return 0;
    }
    memcpy(out, s, n);
    *n_out = n;
    return DT_TOK_ODD;
}

int32_t dt_vocab_find_spelled(const dt_vocab *v, const char *s, size_t n) {
    char small[256], *raw = n <= sizeof small ? small : malloc(n);
    size_t k = 0;
    if (!raw)
        return -1;
    const uint32_t kind = dt_vocab_unspell(v, s, n, raw, &k);
    const int32_t id = kind == DT_TOK_BYTE ? v->byte_id[(uint8_t)raw[0]] : dt_vocab_find(v, raw, k, kind == DT_TOK_ODD);
    if (raw != small)
        free(raw);
    return id;
}

/* ---- merges ---- */

bool dt_vocab_reserve_merges(dt_vocab *v, size_t n) {
    v->n_merge_slots = table_size(n);
    v->merges = dt_calloc(n, sizeof *v->merges);
    v->merge_slots = dt_calloc(v->n_merge_slots, sizeof *v->merge_slots);
    if (!v->merges || !v->merge_slots)
        return false;
    for (size_t i = 0; i < v->n_merge_slots; i++)
        v->merge_slots[i].left = UINT32_MAX;
    return true;
}

static dt_merge_slot *merge_slot(const dt_vocab *v, uint32_t left, uint32_t right) {
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 32 ^ h >> 15) & (v->n_merge_slots - 1);
    for (; v->merge_slots[i].left != UINT32_MAX; i = (i + 1) & (v->n_merge_slots - 1))
        if (v->merge_slots[i].left == left && v->merge_slots[i].right == right)
            break;
    return &v->merge_slots[i];
}

void dt_vocab_add_merge(dt_vocab *v, uint32_t left, uint32_t right, uint32_t id) {
    /* A pair that is listed twice has the rank of its last line, as in the libraries that wrote such files. */
    *merge_slot(v, left, right) = (dt_merge_slot){left, right, (int32_t)v->n_merges, (int32_t)id};
    v->merges[v->n_merges++] = (dt_merge){left, right, id};
}

const dt_merge_slot *dt_vocab_merge(const dt_vocab *v, uint32_t left, uint32_t right) {
    const dt_merge_slot *s = merge_slot(v, left, right);
    return s->left == UINT32_MAX ? NULL : s;
}
