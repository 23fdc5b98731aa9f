/* Runs a fuzz target over the files of its seed folder, without a fuzzer: what once crashed stays fixed. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t n = 0, cap = 0;
    if (!f) {
        perror(path);
        return 1;
    }
    for (size_t got = 1; got; n += got) {
        if (n == cap) {
            uint8_t *grown = realloc(data, cap = cap ? 2 * cap : 4096);
            if (!grown) abort();
            data = grown;
        }
        got = fread(data + n, 1, cap - n, f);
    }
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read past the end */
    if (!exact) abort();
    for (size_t i = 0; i < n; i++)
        exact[i] = data[i];
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    free(data);
    return 0;
}

int main(int argc, char **argv) {
    int bad = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        size_t n = 0;
        if (!d) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(d));) {
            char path[4096];
            if (e->d_name[0] == '.') continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            bad |= replay(path);
            n++;
        }
        closedir(d);
        if (!n) {
            fprintf(stderr, "%s: no seeds\n", argv[i]);
            bad = 1;
        }
    }
    return argc > 1 ? bad : 1;
}
