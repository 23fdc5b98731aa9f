/* Any bytes as a response: each style gives an answer no longer than the response, or none. */
#include "base/base.h"
#include "duet/grade.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int style = DUET_STYLE_BOXED; style <= DUET_STYLE_GPQA_FIRST; style++)
        for (int lenient = 0; lenient < 2; lenient++) {
            char *answer = NULL;
            if (duet_extract((duet_style)style, lenient != 0, (const char *)data, size, &answer, NULL)) abort();
            if (answer && strlen(answer) > size) abort();
            free(answer);
        }
    return 0;
}
