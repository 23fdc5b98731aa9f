/* The page at / and what it loads. */
#include "serve/static.h"

static const char index_html[] =
    "<!doctype html><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>duet</title>"
    "<h1>duet</h1><p>This is a server for clients of the OpenAI API: <code>/v1/chat/completions</code>. It knows these models: "
    "<code>/v1/models</code>; and says how it is: <code>/health</code>, <code>/props</code>, <code>/metrics</code>.</p>";

static const dt_static_file files[] = {
    {"/", "text/html; charset=utf-8", index_html, sizeof index_html - 1},
};

size_t dt_static_files(const dt_static_file **out) {
    *out = files;
    return DT_COUNT(files);
}
