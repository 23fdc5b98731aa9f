/* Runs a fuzz target over files without a fuzzer: every file named, and every file of every folder named.
 * A name that is not there, or a folder without files, is an error: a corpus that got lost must not look like a pass.
 */
#include "base/base.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path) {
    dt_buf b = {0};
    duet_err err = {{0}};
    printf("%s\n", path);
    fflush(stdout); /* the last line names the input that crashed */
    if (dt_file_read(path, MAX_BYTES, &b, &err)) {
        fprintf(stderr, "replay: %s\n", err.text);
        return -1;
    }
    /* A copy of just this size, so that a sanitizer sees a read one byte past the end. */
    uint8_t *exact = malloc(b.len ? b.len : 1);
    if (exact && b.len)
        memcpy(exact, b.data, b.len);
    if (exact)
        LLVMFuzzerTestOneInput(exact, b.len);
    const int n = exact ? 1 : -1;
    free(exact);
    dt_buf_clear(&b);
    return n;
}

static int run_folder(const char *path) {
    int n = 0;
    struct dirent *e = NULL;
    DIR *d = opendir(path);
    if (!d) {
        fprintf(stderr, "replay: %s: cannot be opened\n", path);
        return -1;
    }
    while (n >= 0 && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        char *file = dt_path_join(path, e->d_name);
        const int k = file ? run_file(file) : -1;
        n = k < 0 ? -1 : n + k;
        free(file);
    }
    closedir(d);
    if (!n)
        fprintf(stderr, "replay: %s: no inputs\n", path);
    return n ? n : -1;
}

int main(int argc, char **argv) {
    int n = 0;
    for (int i = 1; i < argc; i++) {
        const int k = dt_path_is_dir(argv[i]) ? run_folder(argv[i]) : run_file(argv[i]);
        if (k < 0)
            return 1;
        n += k;
    }
    printf("%d inputs\n", n);
    return n ? 0 : 1;
}
