/* Chooses the kernel table for this process, once. */
#include "duet/model.h"
#include "kernel/isa.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) && defined(__clang__)
#include <cpuid.h>
#endif

enum { N_ISA = DT_ISA_AVX512 + 1 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dt_kernels tables[N_ISA];
static bool have[N_ISA];
static const dt_kernels *chosen;

#if defined(__x86_64__)
/* Clang up to 18 knows no "f16c" below; that the system saves the registers is asked with avx2. */
static bool has_f16c(void) {
#if defined(__clang__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#else
    return __builtin_cpu_supports("f16c");
#endif
}
#endif

static void fill_tables(void) {
    dt_kernels_fill_scalar(&tables[DT_ISA_SCALAR]);
    have[DT_ISA_SCALAR] = true;
#if defined(__x86_64__)
    /* The feature test of the compiler's runtime also asks whether the system saves the registers. */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
        dt_kernels_fill_avx2(&tables[DT_ISA_AVX2]);
        have[DT_ISA_AVX2] = true;
    }
    if (have[DT_ISA_AVX2] && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
        dt_kernels_fill_avx512(&tables[DT_ISA_AVX512]);
        if (__builtin_cpu_supports("avx512vnni")) dt_product_fill_avx512vnni(&tables[DT_ISA_AVX512]);
        if (__builtin_cpu_supports("avx512bf16")) dt_product_fill_avx512bf16(&tables[DT_ISA_AVX512]);
        if (__builtin_cpu_supports("avx512vnni")) dt_kernels_fill_vnni_attn(&tables[DT_ISA_AVX512]);
        have[DT_ISA_AVX512] = true;
    }
#endif
}

static void choose(void) {
    fill_tables();
    for (int i = 0; i < N_ISA; i++)
        if (have[i])
            chosen = &tables[i];

    const char *want = getenv("DUET_KERNEL");
    if (!want || !*want)
        return;
    for (int i = 0; i < N_ISA; i++) {
        if (have[i] && strcmp(want, tables[i].name) == 0) {
            chosen = &tables[i];
            return;
        }
    }
    dt_log(DT_LOG_WARN, "DUET_KERNEL=%s is unknown or not supported by this CPU: using %s", want, chosen->name);
}

const dt_kernels *dt_kernels_get(void) {
    pthread_once(&once, choose);
    return chosen;
}

const dt_kernels *dt_kernels_isa(dt_isa isa) {
    pthread_once(&once, choose);
    return (int)isa >= 0 && (int)isa < N_ISA && have[isa] ? &tables[isa] : NULL;
}

const char *duet_kernel_name(void) {
    return dt_kernels_get()->name;
}
