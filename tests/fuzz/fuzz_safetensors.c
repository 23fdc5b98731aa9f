/* Any bytes as a safetensors file: refused with a sentence, or every view can be read to its end. */
#include "format/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_st *f = NULL;
    duet_status st = dt_st_open_mem("fuzz", data, size, &f, &err);
    if (st ? !err.text[0] || f : !f)
        abort();
    volatile uint8_t sum = 0;
    for (size_t i = 0; f && i < dt_st_count(f); i++) {
        const dt_view *v = dt_st_view(f, i);
        size_t bytes = 0;
        if (!dt_view_count(v, NULL, &bytes) || dt_st_find(f, dt_st_name(f, i)) != v)
            abort();
        for (size_t k = 0; k < bytes; k++)
            sum = (uint8_t)(sum + ((const uint8_t *)v->data)[k]);
    }
    if (f)
        (void)dt_st_meta(f, "format");
    dt_st_close(f);
    return 0;
}
