/* Any bytes as requests of one connection: the parser ends, says why it refuses, holds no more than its limits, and reads the
 * same whatever pieces the bytes come in. The first byte says how large those are. */
#include "serve/http.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const dt_http_limits limits = {.head = 600, .body = 300};

/* A hash of all requests in the bytes. */
static uint64_t read_all(const char *p, size_t n, size_t step) {
    dt_http h;
    uint64_t sum = 0;
    size_t at = 0;
    dt_http_init(&h, &limits);
    while (at < n) {
        const size_t k = step < n - at ? step : n - at, took = dt_http_feed(&h, p + at, k);
        if (took > k || h.head.len > limits.head || h.body.len > limits.body)
            abort();
        at += took;
        if (h.state == DT_HTTP_BAD) {
            if (h.status < 400 || !h.why || dt_http_feed(&h, p, n))
                abort();
            sum = dt_hash64(&h.status, sizeof h.status, sum);
            break;
        }
        if (h.state == DT_HTTP_DONE) {
            sum = dt_hash64(h.method, strlen(h.method), sum);
            sum = dt_hash64(h.path, strlen(h.path), sum);
            sum = dt_hash64(h.body.data ? h.body.data : "", h.body.len, sum);
            for (size_t i = 0; i < h.n_headers; i++)
                if (!dt_http_header(&h, h.names[i]))
                    abort();
            sum += h.keep_alive;
            dt_http_reset(&h);
        } else if (!took) {
            abort();
        }
    }
    dt_http_clear(&h);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    const char *text = (const char *)data + 1;
    if (read_all(text, size - 1, 1 + data[0] % 64u) != read_all(text, size - 1, SIZE_MAX))
        abort();
    return 0;
}
