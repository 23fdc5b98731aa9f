/* Matrix product for one vector width; included by the file of each instruction set after its v16 header.
 *
 * A block of A (up to BLOCK_M rows, BLOCK_K of k) is copied to a small buffer, so that any strides of A run
 * alike and rows a power of two apart do not fall on the same cache lines. Then each panel of B, while it is
 * in the nearest cache, meets all rows of the block. Between blocks of k the chain rests in C: no bit changes. */
#define BLOCK_M 144
#define BLOCK_K 256
#define ROW_STEP (BLOCK_K + 16) /* floats between rows of the copy when k is contiguous in A */

static _Thread_local float a_block[BLOCK_M * ROW_STEP] __attribute__((aligned(64)));

/* c[rows][cols*16] = or += a * b, element (m,k) of a at a[m*rs + k*cs]; width: columns of c that exist. */
V16_INLINE void micro(int rows, int cols, float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b,
                      int K, size_t width, bool from_c) {
    v16 acc[GEMM_ROWS][GEMM_COLS];
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++) {
            size_t left = width > (size_t)n * 16 ? width - (size_t)n * 16 : 0;
            if (!from_c) acc[m][n] = v_zero();
            else if (left >= 16) acc[m][n] = v_load(c + m * ldc + n * 16);
            else acc[m][n] = v_load_n(c + m * ldc + n * 16, left);
        }
    }
    for (int k = 0; k < K; k++) {
        v16 bv[GEMM_COLS];
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++) bv[n] = v_load(b + n * 16);
#pragma GCC unroll 16
        for (int m = 0; m < rows; m++) {
            v16 av = v_set(a[m * rs]);
#pragma GCC unroll 2
            for (int n = 0; n < cols; n++) acc[m][n] = v_fma(av, bv[n], acc[m][n]);
        }
        a += cs;
        b += DT_NR;
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < cols; n++) {
            size_t left = width > (size_t)n * 16 ? width - (size_t)n * 16 : 0;
            if (left >= 16) v_store(c + m * ldc + n * 16, acc[m][n]);
            else if (left) v_store_n(c + m * ldc + n * 16, acc[m][n], left);
        }
    }
}

/* One function for each number of rows and each layout of the copy, so that all strides are constants. */
#define MICRO(R)                                                                                                        \
    static void micro_rows_##R(float *c, size_t ldc, const float *a, const float *b, int K, size_t width, bool from_c) { \
        micro(R, GEMM_COLS, c, ldc, a, ROW_STEP, 1, b, K, width, from_c);                                               \
    }                                                                                                                   \
    static void micro_cols_##R(float *c, size_t ldc, const float *a, const float *b, int K, size_t width, bool from_c) { \
        micro(R, GEMM_COLS, c, ldc, a, 1, BLOCK_M, b, K, width, from_c);                                                \
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

typedef void (*micro_fn)(float *c, size_t ldc, const float *a, const float *b, int K, size_t width, bool from_c);

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

/* Copies rows [0,M) and k [0,K) of a: row by row, or k by k where rows are what is contiguous. */
static void copy_block(const float *a, size_t rsa, size_t csa, int M, int K, bool by_k) {
    if (by_k) {
        for (int k = 0; k < K; k++) memcpy(a_block + (size_t)k * BLOCK_M, a + k * csa, (size_t)M * sizeof *a);
    } else if (csa == 1) {
        for (int m = 0; m < M; m++) memcpy(a_block + (size_t)m * ROW_STEP, a + m * rsa, (size_t)K * sizeof *a);
    } else {
        for (int m = 0; m < M; m++)
            for (int k = 0; k < K; k++) a_block[(size_t)m * ROW_STEP + k] = a[m * rsa + k * csa];
    }
}

static void gemm_block(float *c, size_t ldc, const float *bp, int N, int K, int k0, int M, int Kb, int p0, int p1,
                       bool by_k, bool from_c) {
    for (int p = p0; p < p1; p++) {
        const float *b = bp + ((size_t)p * K + k0) * DT_NR;
        for (int h = 0; h < DT_NR; h += GEMM_COLS * 16) {
            size_t n0 = (size_t)p * DT_NR + h;
            if (n0 >= (size_t)N) break;
            for (int m = 0; m < M; m += GEMM_ROWS) {
                int rows = M - m < GEMM_ROWS ? M - m : GEMM_ROWS;
                const float *a = a_block + (by_k ? (size_t)m : (size_t)m * ROW_STEP);
                micro_fns[by_k][rows - 1](c + m * ldc + n0, ldc, a, b + h, Kb, (size_t)N - n0, from_c);
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
