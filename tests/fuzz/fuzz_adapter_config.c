/* Any bytes as adapter_config.json: refused with a sentence, or a rank and a finite alpha. */
#include "format/peft.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    duet_err err = {{0}};
    dt_peft p;
    duet_status st = dt_peft_parse("fuzz", (const char *)data, size, &p, &err);
    if (st ? !err.text[0] : p.rank < 1 || p.rank > DT_PEFT_MAX_RANK || !isfinite(p.alpha))
        abort();
    dt_peft_clear(&p);
    return 0;
}
