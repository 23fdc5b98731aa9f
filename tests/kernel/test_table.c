/* The choice of the kernel table, which a process makes once: each case is a child process. */
#include "kernel_test.h"

#include <sys/wait.h>
#include <unistd.h>

static char logged[256];

static void keep_line(void *user, int level, const char *line) {
    (void)user;
    (void)level;
    snprintf(logged, sizeof logged, "%s", line);
}

static const struct {
    const char *name, *env;
    const char *want; /* NULL: the best there is */
    bool complaint;
} cases[] = {
    {"not set",  NULL,     NULL,     false},
    {"empty",    "",       NULL,     false},
    {"scalar",   "scalar", "scalar", false},
    {"unknown",  "neon",   NULL,     true },
    {"misspelt", "AVX2",   NULL,     true },
};

/* Exit code of the child: 0 right, 1 wrong table, 2 wrong complaint. */
static int choose(size_t i, const char *best) {
    if (cases[i].env)
        setenv("DUET_KERNEL", cases[i].env, 1);
    else
        unsetenv("DUET_KERNEL");
    dt_log_set(keep_line, NULL);
    if (strcmp(dt_kernels_get()->name, cases[i].want ? cases[i].want : best) != 0)
        return 1;
    return (logged[0] != '\0') == cases[i].complaint ? 0 : 2;
}

static void the_environment_chooses(void **state) {
    (void)state;
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    const char *best = NULL;
    for (int i = 0; i < 3; i++) { /* asked in a child too: asking decides for the process */
        pid_t pid = fork();
        if (pid == 0)
            _exit(dt_kernels_isa((dt_isa)i) ? 0 : 1);
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            best = names[i];
    }
    assert_non_null(best);
    for (size_t i = 0; i < DT_COUNT(cases); i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(choose(i, best));
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            fail_msg("%s: %s", cases[i].name,
                     WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "wrong table" : "wrong complaint");
    }
}

static void tables_are_whole(void **state) {
    (void)state;
    const dt_kernels *k;
    assert_non_null(scalar());
    assert_null(dt_kernels_isa((dt_isa)99));
    for (int i = -1; (k = next_isa(&i));) {
        assert_int_equal(k->isa, i);
        assert_non_null(k->name);
        assert_true(k->gemm_tile && k->act_tile && k->product_int && k->product_bf16 && k->product_float &&
                    k->int8_burst && k->bf16_burst && k->rmsnorm && k->rmsnorm_bwd && k->rope && k->attn && k->attn_bwd && k->swiglu &&
                    k->swiglu_bwd && k->geglu && k->geglu_bwd && k->max && k->exp_weights && k->add && k->xent && k->xent_bwd && k->adamw && k->sumsq);
    }
}

static void peaks_are_measured(void **state) {
    (void)state;
    double flops = dt_peak_flops(NULL, 0.01), bandwidth = dt_peak_bandwidth(NULL, 0.01);
    if (!(flops > 1e6 && flops < 1e13))
        fail_msg("peak of %g FLOP/s cannot be", flops);
    if (!(bandwidth > 1e7 && bandwidth < 1e13))
        fail_msg("bandwidth of %g bytes/s cannot be", bandwidth);
    const double int8 = dt_peak_int8(NULL, 0.01), bf16 = dt_peak_bf16(NULL, 0.01);
    if (!(int8 > 1e6 && int8 < 1e13 && bf16 > 1e6 && bf16 < 1e13))
        fail_msg("peaks of %g int8 and %g bfloat16 operations/s cannot be", int8, bf16);
    static uint64_t block[1 << 11]; /* fits the first cache */
    double near = dt_peak_reading(NULL, block, sizeof block, 0.05);
    if (!(near > bandwidth * 0.8 && near < 1e13))
        fail_msg("%g bytes/s from a cache, %g from memory", near, bandwidth);
    assert_true(dt_peak_reading(NULL, block, 32, 0.01) == 0); /* less than a line */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_chooses), /* first: before this process has chosen */
        cmocka_unit_test(tables_are_whole),
        cmocka_unit_test(peaks_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
