/* tensor: element types and shapes of named arrays. No arithmetic here. */
#ifndef DT_TENSOR_H
#define DT_TENSOR_H

#include "base/base.h"

#define DT_MAX_DIMS 8

typedef enum dt_dtype {
    DT_F32,
    DT_BF16,
    DT_F16,
    DT_F64,
    DT_I8,
    DT_I16,
    DT_I32,
    DT_I64,
    DT_U8,
    DT_U16,
    DT_U32,
    DT_U64,
    DT_BOOL,
    /* Quantised in blocks of 32 or 256 elements along a row: quant.h. GGUF files have them, safetensors does not. */
    DT_Q4_0,
    DT_Q4_1,
    DT_Q5_0,
    DT_Q5_1,
    DT_Q8_0,
    DT_Q2_K,
    DT_Q3_K,
    DT_Q4_K,
    DT_Q5_K,
    DT_Q6_K,
    DT_N_DTYPES
} dt_dtype;

size_t dt_dtype_size(dt_dtype t);       /* bytes of one block: of one element where the type is not quantised */
size_t dt_dtype_block(dt_dtype t);      /* elements of one block: 1, 32 or 256 */
bool dt_dtype_is_quantised(dt_dtype t); /* block > 1 */
const char *dt_dtype_name(dt_dtype t);  /* as safetensors and GGUF spell it: "F32", "BF16", "Q4_K", ... */
bool dt_dtype_parse(const char *name, dt_dtype *out);

/* A view of a row-major array. Owns nothing: data is valid as long as its owner says. */
typedef struct dt_view {
    dt_dtype dtype;
    int n_dims;
    size_t dims[DT_MAX_DIMS]; /* outermost first */
    const void *data;         /* any byte alignment: read elements with memcpy or dt_view_to_f32 */
} dt_view;

/* Elements and bytes of a shape; false where the product overflows, or the rows of a quantised type are not whole
 * blocks. */
bool dt_view_count(const dt_view *v, size_t *n_elems, size_t *n_bytes);
bool dt_view_is(const dt_view *v, int n_dims, size_t d0, size_t d1); /* shape test for 1-D and 2-D */
void dt_view_shape_str(const dt_view *v, char out[96]);              /* "[512, 64]" */

/* Converts all elements to float. dst has room for the count. Every type. */
void dt_view_to_f32(const dt_view *v, float *dst);

float dt_bf16_to_f32(uint16_t b);
uint16_t dt_f32_to_bf16(float f); /* nearest even; NaN stays NaN */
float dt_f16_to_f32(uint16_t h);
uint16_t dt_f32_to_f16(float f); /* nearest even; too large becomes infinite, NaN stays NaN */

#endif
