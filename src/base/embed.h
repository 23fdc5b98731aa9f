/* Files that are part of the program: duet_embed() in cmake/embed.cmake makes tables of them. A room declares its own:
 * `extern const dt_embedded NAME[];`. */
#ifndef DT_EMBED_H
#define DT_EMBED_H

#include <stddef.h>
#include <string.h>

typedef struct dt_embedded {
    const char *name;          /* without folders; NULL ends a table */
    const unsigned char *data; /* n bytes, and a NUL behind them */
    size_t n;
} dt_embedded;

/* The file of this name, or NULL. */
static inline const dt_embedded *dt_embed_find(const dt_embedded *table, const char *name) {
    for (; table->name; table++)
        if (!strcmp(table->name, name)) return table;
    return NULL;
}

#endif
