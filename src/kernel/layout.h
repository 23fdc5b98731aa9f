/* Where things lie in a packed matrix and in prepared activations. Internal to the room.
 *
 * A packed matrix is panels of DT_NR = 32 outputs, each panel its blocks in order of k. A block is, for 32 outputs n:
 *   words  [words][32][4 bytes]   4 neighbouring k of one output
 *   d      [32] half floats       quantised types
 *   m      [32] half floats       m, or dmin of the K types
 *   sc     [pairs][32][2 bytes]   K types: scales of two runs. Q2_K keeps its min in the high nibble
 *   mn     [pairs][32][2 bytes]   Q4_K, Q5_K: mins of two runs
 * so that one vector register has one output a lane; with the K types the words are last. F16 is [k][32], BF16 [k / 2][32][2],
 * F32 [k][32].
 *
 * Run r of 32 elements, g = k % 32 / 4, b = k % 4; in the K types h is the part of the block with two runs (four where runs are
 * of 16) and j the run in it. dt_word_low and dt_word_high say which words; of their byte b:
 *   Q8_0                 q + 128 in the low word
 *   Q4_0 Q4_1 Q5_0 Q5_1  low: the low nibble for g < 4; high: bit g
 *   Q4_K Q5_K            low: nibble j; high: bit 2 (g % 4) + j
 *   Q2_K Q3_K            low: bits 2j; high: bit 4 (g % 2) + j
 *   Q6_K                 low: nibble j / 2; high: bits 2j
 * One row of activations meets these bytes in the order in which they lie, from the first to the last of the matrix: only so does
 * the processor fetch them ahead at the rate of its memory.
 *
 * Activations lie in tiles of R rows, R at most `tile_rows` of the table, as 32-bit words with the row innermost:
 *   F32   [k]
 *   BF16  [k / 2] two bfloat16
 *   Q32   for each 32:  [8] four int8, [1] float scale, [1] int -128 * sum, [1] float scale * (float)sum
 *   Q256  for each 256: [64] four int8, [1] float scale, [16] int -32 * sum of 16, [8] two int16: sums of 16, [4] two int16:
 *         sums of 32 */
#ifndef DT_KERNEL_LAYOUT_H
#define DT_KERNEL_LAYOUT_H

#include "kernel/packed.h"
#include "tensor/quant.h"

#include <string.h>

typedef struct dt_layout {
    int elems, words; /* of a block */
    bool has_m;
    int sc, mn;  /* pairs */
    int offset;  /* what is taken off the stored unsigned number */
    int run;     /* elements with one scale */
    size_t size; /* bytes of a block of 32 outputs */
} dt_layout;

#define DT_WORD_BYTES (DT_NR * 4)
#define DT_HALF_BYTES (DT_NR * 2)

static inline __attribute__((always_inline)) dt_layout dt_layout_of(dt_dtype t) {
    dt_layout l = {.elems = DT_QK, .run = DT_QK};
    switch (t) {
    case DT_BF16: return (dt_layout){.elems = 2, .words = 1, .size = DT_WORD_BYTES};
    case DT_F16: return (dt_layout){.elems = 1, .size = DT_HALF_BYTES};
    case DT_Q4_0: l.words = 4, l.offset = 8; break;
    case DT_Q4_1: l.words = 4, l.has_m = true; break;
    case DT_Q5_0: l.words = 5, l.offset = 16; break;
    case DT_Q5_1: l.words = 5, l.has_m = true; break;
    case DT_Q8_0: l.words = 8, l.offset = 128; break;
    case DT_Q2_K: l.elems = DT_QK_K, l.words = 16, l.has_m = true, l.sc = 8, l.run = 16; break;
    case DT_Q3_K: l.elems = DT_QK_K, l.words = 24, l.sc = 8, l.run = 16, l.offset = 4; break;
    case DT_Q4_K: l.elems = DT_QK_K, l.words = 32, l.has_m = true, l.sc = 4, l.mn = 4; break;
    case DT_Q5_K: l.elems = DT_QK_K, l.words = 40, l.has_m = true, l.sc = 4, l.mn = 4; break;
    case DT_Q6_K: l.elems = DT_QK_K, l.words = 48, l.sc = 8, l.run = 16, l.offset = 32; break;
    default: return (dt_layout){.elems = 1, .words = 1, .size = DT_WORD_BYTES}; /* F32 */
    }
    l.size = (size_t)l.words * DT_WORD_BYTES + (size_t)(1 + l.has_m + l.sc + l.mn) * DT_HALF_BYTES;
    return l;
}

static inline size_t dt_layout_d(const dt_layout *l) { /* m, sc and mn follow */
    return l->elems == DT_QK_K ? 0 : (size_t)l->words * DT_WORD_BYTES;
}
static inline size_t dt_layout_words(const dt_layout *l) {
    return l->elems == DT_QK_K ? l->size - (size_t)l->words * DT_WORD_BYTES : 0;
}

/* Number of a word of the block; h and j are 0 in blocks of 32. */
static inline __attribute__((always_inline)) int dt_word_low(dt_dtype t, int h, int j, int g) {
    switch (t) {
    case DT_Q4_0:
    case DT_Q4_1: return g % 4;
    case DT_Q5_0:
    case DT_Q5_1: return 1 + g % 4;
    case DT_Q5_K: return 10 * h + g / 4 * 5 + 1 + g % 4;
    case DT_Q3_K: return 12 * h + g / 2 * 3 + 1 + g % 2;
    case DT_Q6_K: return 24 * h + 3 * g + j % 2;
    default: return 8 * h + g;
    }
}
static inline __attribute__((always_inline)) int dt_word_high(dt_dtype t, int h, int g) { /* types that have one */
    switch (t) {
    case DT_Q5_K: return 10 * h + g / 4 * 5;
    case DT_Q3_K: return 12 * h + g / 2 * 3;
    case DT_Q6_K: return 24 * h + 3 * g + 2;
    default: return 0;
    }
}

enum { DT_Q32_WORDS = 11, DT_Q256_WORDS = 93 }; /* of a block of one row */

static inline size_t dt_act_words(dt_act_form f, int K) { /* of one row */
    switch (f) {
    case DT_ACT_F32: return (size_t)K;
    case DT_ACT_BF16: return ((size_t)K + 1) / 2;
    case DT_ACT_Q32: return (size_t)K / DT_QK * DT_Q32_WORDS;
    case DT_ACT_Q256: return (size_t)K / DT_QK_K * DT_Q256_WORDS;
    default: return 0;
    }
}

/* M rows in tiles of at most `most`, as even as can be: how many tiles, and the first row of one. */
static inline int dt_act_tiles(int M, int most) {
    return (M + most - 1) / most;
}
static inline int dt_act_row(int M, int tiles, int t) {
    return t * (M / tiles) + (t < M % tiles ? t : M % tiles);
}

/* What `product` of a table is given. */
typedef struct dt_product_part {
    const dt_packed *w;
    const dt_acts *a;
    float *c;
    size_t ldc;
    bool accumulate;
} dt_product_part;

#define DT_Q_TINY 0x1p-100f /* activations below it count as 0 */

#endif
