/* From the rows of a file to panels: the words of a block are spread over the outputs (layout.h), a panel at a time. */
#include "kernel/layout.h"

#define VISIT_BYTES 128 /* read from one row before the next one: whole cache lines of the file */

typedef struct fill_job {
    dt_packed *w;
    const uint8_t *rows; /* of n0 */
    int n0, n1;
    dt_layout l;
    size_t blocks;    /* of a row */
    size_t row_bytes; /* in the file */
} fill_job;

static uint32_t word_at(const uint8_t *p) {
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

/* words: the output's place in the first word of a block. */
static void put_word(uint8_t *words, int at, const uint8_t *src) {
    memcpy(words + at * DT_WORD_BYTES, src, 4);
}
static void put_u32(uint8_t *words, int at, uint32_t u) {
    memcpy(words + at * DT_WORD_BYTES, &u, sizeof u);
}

static void put_half(uint8_t *out, size_t field, int n, const uint8_t b[2]) {
    memcpy(out + field + 2 * n, b, 2);
}

static void put_pairs(uint8_t *out, size_t field, int n, const uint8_t *v, int runs) {
    for (int r = 0; r < runs; r += 2)
        memcpy(out + field + (size_t)(r / 2) * DT_HALF_BYTES + 2 * n, v + r, 2);
}

/* Bit 4 g + b of the file becomes bit g of byte b: the product puts bit b of a nibble at 7 i + b for i = 0..3. */
static uint32_t fifth_bits_32(const uint8_t qh[4]) {
    const uint32_t u = word_at(qh);
    uint32_t out = 0;
    for (int g = 0; g < 8; g++)
        out |= ((u >> (4 * g) & 15) * 0x204081u & 0x01010101u) << g;
    return out;
}

static void put_q4(uint8_t *out, uint8_t *words, size_t d, int n, const uint8_t *b, dt_dtype t) {
    const bool has_m = t == DT_Q4_1 || t == DT_Q5_1, has_h = t == DT_Q5_0 || t == DT_Q5_1;
    put_half(out, d, n, b);
    b += 2;
    if (has_m) {
        put_half(out, d + DT_HALF_BYTES, n, b);
        b += 2;
    }
    if (has_h) {
        put_u32(words, dt_word_high(t, 0, 0), fifth_bits_32(b));
        b += 4;
    }
    for (int g = 0; g < 4; g++)
        put_word(words, dt_word_low(t, 0, 0, g), b + 4 * g);
}

static void put_q8_0(uint8_t *out, uint8_t *words, size_t d, int n, const uint8_t *b) {
    put_half(out, d, n, b);
    for (int g = 0; g < 8; g++)
        put_u32(words, g, word_at(b + 2 + 4 * g) ^ 0x80808080u);
}

static void put_q4_k(uint8_t *out, uint8_t *words, size_t d, int n, const uint8_t *p, dt_dtype t) {
    const dt_q4_k *b = (const void *)p;
    const dt_q5_k *b5 = (const void *)p; /* begins alike */
    uint8_t sc[8], mn[8];
    for (int r = 0; r < 8; r++) {
        int s, m;
        dt_q4_k_scale(b->scales, r, &s, &m);
        sc[r] = (uint8_t)s;
        mn[r] = (uint8_t)m;
    }
    put_half(out, d, n, b->d);
    put_half(out, d + DT_HALF_BYTES, n, b->dmin);
    put_pairs(out, d + 2 * DT_HALF_BYTES, n, sc, 8);
    put_pairs(out, d + 6 * DT_HALF_BYTES, n, mn, 8);
    for (int i = 0; i < 32; i++)
        put_word(words, dt_word_low(t, i / 8, 0, i % 8), (t == DT_Q5_K ? b5->qs : b->qs) + 4 * i);
    for (int x = 0; t == DT_Q5_K && x < 8; x++) { /* two bits of four words become one */
        uint32_t u = 0;
        for (int i = 0; i < 4; i++)
            u |= (word_at(b5->qh + 16 * (x % 2) + 4 * i) >> (2 * (x / 2)) & 0x03030303u) << (2 * i);
        put_u32(words, dt_word_high(t, x / 2, x % 2 * 4), u);
    }
}

static void put_q2_k(uint8_t *out, uint8_t *words, size_t d, int n, const dt_q2_k *b) {
    put_half(out, d, n, b->d);
    put_half(out, d + DT_HALF_BYTES, n, b->dmin);
    put_pairs(out, d + 2 * DT_HALF_BYTES, n, b->scales, 16);
    for (int i = 0; i < 16; i++)
        put_word(words, dt_word_low(DT_Q2_K, i / 8, 0, i % 8), b->qs + 4 * i);
}

static void put_q3_k(uint8_t *out, uint8_t *words, size_t d, int n, const dt_q3_k *b) {
    uint8_t sc[16];
    for (int r = 0; r < 16; r++)
        sc[r] = (uint8_t)dt_q3_k_scale(b->scales, r);
    put_half(out, d, n, b->d);
    put_pairs(out, d + DT_HALF_BYTES, n, sc, 16);
    for (int i = 0; i < 16; i++)
        put_word(words, dt_word_low(DT_Q3_K, i / 8, 0, i % 8), b->qs + 4 * i);
    for (int x = 0; x < 8; x++) { /* four bits of two words become one */
        const int h = x / 4, g = x % 4 * 2;
        const uint32_t u = (word_at(b->hmask + 4 * g) >> (4 * h) & 0x0f0f0f0fu) |
                           (word_at(b->hmask + 4 * g + 4) >> (4 * h) & 0x0f0f0f0fu) << 4;
        put_u32(words, dt_word_high(DT_Q3_K, h, g), u);
    }
}

static void put_q6_k(uint8_t *out, uint8_t *words, size_t d, int n, const dt_q6_k *b) {
    put_half(out, d, n, b->d);
    put_pairs(out, d + DT_HALF_BYTES, n, (const uint8_t *)b->scales, 16);
#pragma GCC unroll 32
    for (int i = 0; i < 32; i++)
        put_word(words, dt_word_low(DT_Q6_K, i / 16, i / 8 % 2, i % 8), b->ql + 4 * i);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        put_word(words, dt_word_high(DT_Q6_K, i / 8, i % 8), b->qh + 4 * i);
}

/* Block b of the row that is output n of a panel; `out` is the panel's block. */
static void put_block(const fill_job *j, uint8_t *out, int n, const uint8_t *b) {
    uint8_t *words = out + dt_layout_words(&j->l) + n * 4;
    const size_t d = dt_layout_d(&j->l);
    const dt_dtype t = j->w->type;
    switch (t) {
    case DT_Q8_0: put_q8_0(out, words, d, n, b); break;
    case DT_Q2_K: put_q2_k(out, words, d, n, (const void *)b); break;
    case DT_Q3_K: put_q3_k(out, words, d, n, (const void *)b); break;
    case DT_Q4_K:
    case DT_Q5_K: put_q4_k(out, words, d, n, b, t); break;
    case DT_Q6_K: put_q6_k(out, words, d, n, (const void *)b); break;
    default: put_q4(out, words, d, n, b, t); break;
    }
}

/* Types without blocks: words (or half words) of a row follow one another in k. */
static void put_elements(const fill_job *j, uint8_t *out, int n, const uint8_t *b, size_t blocks) {
    if (j->w->type == DT_F16) {
        out += n * 2;
        for (size_t i = 0; i < blocks; i++, out += DT_HALF_BYTES, b += 2)
            memcpy(out, b, 2);
    } else {
        out += n * 4;
        for (size_t i = 0; i < blocks; i++, out += DT_WORD_BYTES, b += 4)
            memcpy(out, b, 4);
    }
}

static void fill_panel(void *arg, size_t task, int thread) {
    const fill_job *j = arg;
    (void)thread;
    const size_t panel = (size_t)j->n0 / DT_NR + task;
    const size_t file_block = (size_t)j->l.elems / dt_dtype_block(j->w->type) * dt_dtype_size(j->w->type);
    const int K = j->w->K, first = (int)panel * DT_NR;
    const int n0 = first > j->n0 ? 0 : j->n0 - first, n1 = j->n1 - first < DT_NR ? j->n1 - first : DT_NR;
    const uint8_t *rows = j->rows + (size_t)(first + n0 - j->n0) * j->row_bytes;
    uint8_t *out = (uint8_t *)j->w->data + panel * j->blocks * j->l.size;
    const bool cut = j->w->type == DT_BF16 && K % 2; /* the last pair is half a pair */
    const size_t whole = j->blocks - cut, step = VISIT_BYTES / file_block + 1;

    for (size_t b0 = 0; b0 < whole; b0 += step) {
        const size_t b1 = b0 + step < whole ? b0 + step : whole;
        for (int n = n0; n < n1; n++) {
            const uint8_t *row = rows + (size_t)(n - n0) * j->row_bytes;
            for (size_t i = 0; b1 < whole && i < (b1 - b0) * file_block; i += 64) /* what the next visit reads */
                __builtin_prefetch(row + b1 * file_block + i);
            if (j->l.elems < DT_QK)
                put_elements(j, out + b0 * j->l.size, n, row + b0 * file_block, b1 - b0);
            for (size_t b = b0; j->l.elems >= DT_QK && b < b1; b++)
                put_block(j, out + b * j->l.size, n, row + b * file_block);
        }
    }
    for (int n = n0; cut && n < n1; n++) {
        uint8_t last[4] = {0};
        memcpy(last, rows + (size_t)(n - n0 + 1) * j->row_bytes - 2, 2);
        put_elements(j, out + whole * j->l.size, n, last, 1);
    }
}

void dt_packed_fill_rows(dt_pool *pool, dt_packed *w, int n0, int n1, const void *rows) {
    if (n1 <= n0 || !w->K) return;
    fill_job j = {.w = w, .rows = rows, .n0 = n0, .n1 = n1, .l = dt_layout_of(w->type)};
    j.blocks = ((size_t)w->K + (size_t)j.l.elems - 1) / (size_t)j.l.elems;
    j.row_bytes = (size_t)w->K / dt_dtype_block(w->type) * dt_dtype_size(w->type);
    if ((double)j.row_bytes * (n1 - n0) < 1e5) pool = NULL;
    dt_pool_run(pool, (size_t)(n1 - 1) / DT_NR - (size_t)n0 / DT_NR + 1, fill_panel, &j);
}

void dt_packed_fill(dt_pool *pool, dt_packed *w, const void *rows) {
    dt_packed_fill_rows(pool, w, 0, w->N, rows);
}
