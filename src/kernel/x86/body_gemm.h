/* Matrix product for one vector width; included by the file of each instruction set after its v16 header.
 *
 * A block of A (up to BLOCK_M rows, BLOCK_K of k) is copied to a small buffer, so that any strides of A run
 * alike and rows a power of two apart do not fall on the same cache lines. Then each panel of B, while it is
 * in the nearest cache, meets all rows of the block. Between blocks of k the chain rests in C: no bit changes. */
#ifndef DT_KERNEL_BODY_GEMM_H
#define DT_KERNEL_BODY_GEMM_H

#define PANEL_COLS (DT_NR / 16)
#define BLOCK_M 144
#define BLOCK_K 256
#define AHEAD_M 4               /* rows of A fetched ahead of the copy */
#define AHEAD_K 24              /* rows of B fetched ahead of their use */
#define ROW_STEP (BLOCK_K + 16) /* floats between rows of the copy when k is contiguous in A */

static _Thread_local float a_block[BLOCK_M * ROW_STEP] __attribute__((aligned(64)));

/* c[rows][cols*16] = or += a * b, element (m,k) of a at a[m*rs + k*cs]; width: columns of c that exist.
 * The rows of c after these are fetched meanwhile: a chain that starts from c waits for it. */
V16_INLINE void micro(int rows, int cols, float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b,
                      int K, size_t width, bool from_c) {
    v16 acc[GEMM_ROWS][PANEL_COLS];
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++)
            __builtin_prefetch((const char *)(c + (m + rows) * ldc + n * 16), 1);
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++) {
            size_t left = width > (size_t)n * 16 ? width - (size_t)n * 16 : 0;
            if (!from_c)
                acc[m][n] = v_zero();
            else if (left >= 16)
                acc[m][n] = v_load(c + m * ldc + n * 16);
            else
                acc[m][n] = v_load_n(c + m * ldc + n * 16, left);
        }
    }
    for (int k = 0; k < K; k++) {
        v16 bv[PANEL_COLS];
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++)
            bv[n] = v_load(b + n * 16);
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++)
            __builtin_prefetch((const char *)(b + AHEAD_K * DT_NR + n * 16));
#pragma GCC unroll 16
        for (int m = 0; m < rows; m++) {
            v16 av = v_set(a[m * rs]);
#pragma GCC unroll 2
            for (int n = 0; n < cols; n++)
                acc[m][n] = v_fma(av, bv[n], acc[m][n]);
        }
        a += cs;
        b += DT_NR;
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++) {
            size_t left = width > (size_t)n * 16 ? width - (size_t)n * 16 : 0;
            if (left >= 16)
                v_store(c + m * ldc + n * 16, acc[m][n]);
            else if (left)
                v_store_n(c + m * ldc + n * 16, acc[m][n], left);
        }
    }
}

/* One function for each number of rows and each layout of the copy, so that all strides are constants. */
#define MICRO(R)                                                                                                       \
    static void micro_rows_##R(float *c, size_t ldc, const float *a, const float *b, int K, size_t width,              \
                               bool from_c) {                                                                          \
        micro(R, GEMM_COLS, c, ldc, a, ROW_STEP, 1, b, K, width, from_c);                                              \
    }                                                                                                                  \
    static void micro_cols_##R(float *c, size_t ldc, const float *a, const float *b, int K, size_t width,              \
                               bool from_c) {                                                                          \
        micro(R, GEMM_COLS, c, ldc, a, 1, GEMM_ROWS, b, K, width, from_c);                                             \
    }
MICRO(1)
MICRO(2)
MICRO(3)
MICRO(4)
MICRO(5)
MICRO(6)
#if GEMM_ROWS == 12
MICRO(7)
MICRO(8)
MICRO(9)
MICRO(10)
MICRO(11)
MICRO(12)
#endif

#if GEMM_COLS < PANEL_COLS
/* A few rows alone, as in decoding: whole panels, so that B streams through once. */
#define MICRO_WIDE(R)                                                                                                  \
    static void micro_wide_##R(float *c, size_t ldc, const float *a, const float *b, int K, size_t width,              \
                               bool from_c) {                                                                          \
        micro(R, PANEL_COLS, c, ldc, a, ROW_STEP, 1, b, K, width, from_c);                                             \
    }
MICRO_WIDE(1)
MICRO_WIDE(2)
MICRO_WIDE(3)
#endif

typedef void (*micro_fn)(float *c, size_t ldc, const float *a, const float *b, int K, size_t width, bool from_c);

#if GEMM_COLS < PANEL_COLS
enum { GEMM_WIDE_ROWS = 3 };
static const micro_fn micro_wide[GEMM_WIDE_ROWS] = {micro_wide_1, micro_wide_2, micro_wide_3};
#endif

static const micro_fn micro_fns[2][GEMM_ROWS] = {
#if GEMM_ROWS == 12
    {micro_rows_1, micro_rows_2, micro_rows_3, micro_rows_4, micro_rows_5, micro_rows_6, micro_rows_7, micro_rows_8,
                       micro_rows_9, micro_rows_10, micro_rows_11, micro_rows_12},
    {micro_cols_1, micro_cols_2, micro_cols_3, micro_cols_4, micro_cols_5, micro_cols_6, micro_cols_7, micro_cols_8,
                       micro_cols_9, micro_cols_10, micro_cols_11, micro_cols_12},
#else
    {micro_rows_1, micro_rows_2, micro_rows_3, micro_rows_4, micro_rows_5, micro_rows_6},
    {micro_cols_1, micro_cols_2, micro_cols_3, micro_cols_4, micro_cols_5, micro_cols_6},
#endif
};

/* Copies rows [0,M) and k [0,K) of a: row by row, or, where rows are what is contiguous, k by k in groups of
 * GEMM_ROWS rows, each group ROW_STEP * GEMM_ROWS floats after the one before. */
static void copy_block(const float *a, size_t rsa, size_t csa, int M, int K, bool by_k) {
    if (by_k) {
        int whole = M / GEMM_ROWS * GEMM_ROWS;
        for (int k = 0; k < K; k++) {
            const float *from = a + k * csa;
            float *to = a_block + (size_t)k * GEMM_ROWS;
            int m = 0;
            for (; m < whole; m += GEMM_ROWS)
                memcpy(to + (size_t)m * ROW_STEP, from + m, GEMM_ROWS * sizeof *a);
            for (int r = 0; m + r < M; r++)
                to[(size_t)m * ROW_STEP + r] = from[m + r];
        }
    } else if (csa == 1) {
        for (int m = 0; m < M; m++) {
            for (int k = 0; m + AHEAD_M < M && k < K; k += 16)
                __builtin_prefetch((const char *)(a + (m + AHEAD_M) * rsa + k));
            memcpy(a_block + (size_t)m * ROW_STEP, a + m * rsa, (size_t)K * sizeof *a);
        }
    } else {
        for (int m = 0; m < M; m++)
            for (int k = 0; k < K; k++)
                a_block[(size_t)m * ROW_STEP + k] = a[m * rsa + k * csa];
    }
}

static void gemm_block(float *c, size_t ldc, const float *bp, int N, int K, int k0, int M, int Kb, int p0, int p1,
                       bool by_k, bool from_c) {
    for (int p = p0; p < p1; p++) {
        const float *b = bp + ((size_t)p * K + k0) * DT_NR;
#if GEMM_COLS < PANEL_COLS
        if (M <= GEMM_WIDE_ROWS && !by_k) {
            size_t n0 = (size_t)p * DT_NR;
            micro_wide[M - 1](c + n0, ldc, a_block, b, Kb, (size_t)N - n0, from_c);
            continue;
        }
#endif
        for (int h = 0; h < DT_NR; h += GEMM_COLS * 16) {
            size_t n0 = (size_t)p * DT_NR + h;
            if (n0 >= (size_t)N)
                break;
            for (int m = 0; m < M; m += GEMM_ROWS) {
                int rows = M - m < GEMM_ROWS ? M - m : GEMM_ROWS;
                micro_fns[by_k][rows - 1](c + m * ldc + n0, ldc, a_block + (size_t)m * ROW_STEP, b + h, Kb,
                                          (size_t)N - n0, from_c);
            }
        }
    }
}

static void gemm_tile(float *c, size_t ldc, const float *a, size_t rsa, size_t csa, const float *bp, int N, int K,
                      int m0, int m1, int p0, int p1, bool accumulate) {
    bool by_k = rsa == 1 && csa != 1;
    for (int m = m0; m < m1; m += BLOCK_M) {
        int M = m1 - m < BLOCK_M ? m1 - m : BLOCK_M, k = 0;
        do { /* once even when K is 0: C must be written */
            int Kb = K - k < BLOCK_K ? K - k : BLOCK_K;
            copy_block(a + m * rsa + k * csa, rsa, csa, M, Kb, by_k);
            gemm_block(c + m * ldc, ldc, bp, N, K, k, M, Kb, p0, p1, by_k, accumulate || k > 0);
            k += BLOCK_K;
        } while (k < K);
    }
}

#endif
