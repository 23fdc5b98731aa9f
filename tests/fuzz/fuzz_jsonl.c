/* Any bytes as JSON lines: the reader ends, every bad line has a sentence, every good one writes and reads back. */
#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_jsonl *r = NULL;
    json_t *j = NULL, *again = NULL;
    if (dt_jsonl_open_mem("fuzz", data, size, &r, &err))
        abort();
    size_t lines = 0;
    for (duet_status st; (st = dt_jsonl_next(r, &j, &err)) != DUET_END;) {
        if (++lines > size)
            abort();
        if (st) {
            if (!err.text[0] || j)
                abort();
            continue;
        }
        char *line = dt_json_line(j);
        if (!line || strchr(line, '\n') || dt_json_parse("again", line, strlen(line), &again, &err) ||
            !json_equal(j, again))
            abort();
        free(line);
        json_decref(again);
        json_decref(j);
    }
    dt_jsonl_close(r);
    return 0;
}
