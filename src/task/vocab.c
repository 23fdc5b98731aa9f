/* The tokenizers of the families: every piece of several characters becomes exactly one token of byte-level BPE. What
 * the merges so far leave of it is joined from the left, one merge at a time. */
#include "task/family.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What every chat turn needs besides a family's own characters. */
static const char *const frame[] = {"user", "assistant", "\n\n", NULL};
static const char frame_alphabet[] = "\n";

enum { MAX_MERGES = 512 };

typedef struct built {
    char *alphabet;
    char *merged[MAX_MERGES];
    size_t cut[MAX_MERGES], n;
} built;

/* Where the piece is cut after the merges so far: ends of its parts, in order; returns their number. */
static size_t parts_of(const built *b, const char *piece, size_t n, size_t *end) {
    size_t parts = n;
    for (size_t i = 0; i < n; i++)
        end[i] = i + 1;
    for (size_t m = 0; m < b->n; m++) { /* in the order of rank; a merge can only enable later ones */
        size_t len = strlen(b->merged[m]);
        for (size_t i = 0; i + 1 < parts; i++) {
            size_t from = i ? end[i - 1] : 0;
            if (end[i] - from != b->cut[m] || end[i + 1] - from != len || memcmp(piece + from, b->merged[m], len)) continue;
            memmove(end + i, end + i + 1, (parts - i - 1) * sizeof *end);
            parts--;
        }
    }
    return parts;
}

enum { LONGEST_PIECE = 32 };

static bool add_pieces(built *b, const char *const *piece) {
    size_t end[LONGEST_PIECE];
    for (; *piece; piece++) {
        size_t n = strlen(*piece);
        if (n > LONGEST_PIECE) return false;
        while (parts_of(b, *piece, n, end) > 1) {
            char *copy = b->n < MAX_MERGES ? strndup(*piece, end[1]) : NULL;
            if (!copy) return false;
            b->merged[b->n] = copy;
            b->cut[b->n++] = end[0];
        }
    }
    return true;
}

static bool build(const dt_family *f, built *b) {
    dt_buf a = {0};
    bool seen[256] = {false};
    const char *const *lists[] = {frame, f->tokens};
    const char *sources[3] = {f->alphabet, frame_alphabet, NULL};
    for (size_t i = 0; sources[i]; i++)
        for (const char *c = sources[i]; *c; c++)
            seen[(unsigned char)*c] = true;
    for (size_t l = 0; l < DT_COUNT(lists); l++)
        for (const char *const *p = lists[l]; *p; p++)
            for (const char *c = *p; *c; c++)
                seen[(unsigned char)*c] = true;
    for (int c = 1; c < 256; c++) {
        char ch = (char)c;
        if (seen[c]) dt_buf_add(&a, &ch, 1);
    }
    b->alphabet = dt_buf_take(&a);
    return b->alphabet && add_pieces(b, frame) && add_pieces(b, f->tokens);
}

static const dt_family *const families[] = {&dt_family_register, &dt_family_swap, &dt_family_remainder};
static built all[DT_COUNT(families)]; /* built once, kept for the life of the process */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

duet_status duet_task_vocab_get(const char *family, duet_task_vocab *out, duet_err *err) {
    for (size_t i = 0; i < DT_COUNT(families); i++) {
        if (strcmp(families[i]->pub.name, family)) continue;
        pthread_mutex_lock(&lock);
        bool ok = all[i].alphabet || build(families[i], &all[i]);
        pthread_mutex_unlock(&lock);
        if (!ok) return dt_fail(err, DUET_E_NOMEM, "task %s: no memory for its vocabulary", family);
        union {
            char **v;
            const char *const *c;
        } m = {.v = all[i].merged};
        *out = (duet_task_vocab){.pattern = families[i]->pattern, .alphabet = all[i].alphabet, .merged = m.c, .cut = all[i].cut, .n = all[i].n};
        return DUET_OK;
    }
    return dt_fail(err, DUET_E_USAGE, "task family %.40s is not known; there are register, swap, remainder", family);
}
