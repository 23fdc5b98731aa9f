/* Any bytes as a JSON schema: it is refused with a sentence, or texts drawn from it step by step stay on a way to an end, and
 * those that end are JSON. */
#include "grammar/grammar.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All bytes are tried at each place, so not for long where there are many ways. */
static void draw(dt_machine *m, uint64_t seed) {
    dt_rng rng = dt_rng_make(seed, 0);
    char text[512];
    size_t n = 0;
    int32_t s = dt_machine_start(m);
    dt_machine_allow(m, 1000000);
    while (s >= 0 && n < sizeof text) {
        uint8_t can[256];
        uint32_t n_can = 0;
        for (int b = 0; b < 256; b++) {
            int32_t to = dt_machine_next(m, s, (uint8_t)b);
            if (to == DT_MACHINE_FULL) {
                dt_machine_allow(m, INT64_MAX);
                return;
            }
            if (to >= 0)
                can[n_can++] = (uint8_t)b;
        }
        if (dt_machine_ends(m, s)) {
            json_t *v = json_loadb(text, n, JSON_DECODE_ANY, NULL);
            if (!v)
                abort();
            json_decref(v);
        } else if (n_can == 0) {
            abort(); /* stuck */
        }
        if (n_can == 0)
            return;
        uint8_t b = can[dt_rng_below(&rng, n_can)];
        text[n++] = (char)b;
        s = dt_machine_next(m, s, b);
    }
    if (s == DT_MACHINE_DEAD)
        abort();
    dt_machine_allow(m, INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_program p;
    if (!dt_program_init(&p))
        return 0;
    duet_status st = dt_schema_compile((const char *)data, size, &p, &err);
    if (st && !err.text[0])
        abort();
    if (!st) {
        dt_machine *m = dt_machine_create(&p);
        for (uint64_t seed = 0; m && seed < 3; seed++)
            draw(m, seed);
        dt_machine_destroy(m);
    }
    dt_program_clear(&p);
    return 0;
}
