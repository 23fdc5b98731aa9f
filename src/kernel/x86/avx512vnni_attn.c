/* Attention of the AVX512 table once more, for processors that multiply and add bytes in one step. */
#define DT_VNNI
#include "kernel/x86/v16_avx512.h"

#include <string.h>

#include "kernel/x86/body_attn.h"

void dt_kernels_fill_vnni_attn(dt_kernels *t) {
    t->attn = attn;
    t->attn_spans = attn_spans;
    t->attn_join = attn_join;
}
