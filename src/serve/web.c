/* The page at / and what it loads: the files of src/serve/web/, embedded in the program. */
#include "serve/static.h"

#include "base/embed.h"

extern const dt_embedded dt_serve_web[]; /* made by CMakeLists.txt */

static const struct {
    const char *path, *name, *type;
} known[] = {
    {"/",          "index.html", "text/html; charset=utf-8"      },
    {"/app.js",    "app.js",     "text/javascript; charset=utf-8"},
    {"/style.css", "style.css",  "text/css; charset=utf-8"       },
};

bool dt_static_find(const char *path, dt_static_file *out) {
    for (size_t i = 0; i < DT_COUNT(known); i++) {
        if (strcmp(known[i].path, path) != 0)
            continue;
        const dt_embedded *f = dt_embed_find(dt_serve_web, known[i].name);
        *out = (dt_static_file){known[i].path, known[i].type, f->data, f->n};
        return true;
    }
    return false;
}
