/* Any bytes as CSV: the reader ends, every bad record has a sentence, every good one has the header's columns. */
#include "format/csv.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_csv *r = NULL;
    json_t *j = NULL;
    if (dt_csv_open_mem("fuzz", data, size, &r, &err)) {
        if (!err.text[0] || r) abort();
        return 0;
    }
    size_t records = 0, line = 0;
    for (duet_status st; (st = dt_csv_next(r, &j, &err)) != DUET_END;) {
        if (++records > size || dt_csv_line(r) < line) abort();
        line = dt_csv_line(r);
        if (st && (!err.text[0] || j)) abort();
        if (st) continue;
        if (!json_is_object(j) || json_object_size(j) < 1) abort();
        json_decref(j);
    }
    dt_csv_close(r);
    return 0;
}
