/* What a GGUF file says about a model, in the terms of a Hugging Face folder: configuration, end tokens, tensor names.
 *
 * Architectures: qwen3, qwen2, llama, gemma3 (text). Three things are stored differently from Hugging Face:
 *
 *   llama   The rows of attn_q and attn_k stand in another order, because the format pairs neighbouring elements for
 *           rotary positions where Hugging Face pairs element j with j + E/2. Within each head of E rows, row 2j of the
 *           GGUF tensor is row j of Hugging Face's and row 2j + 1 is row j + E/2 (DT_GGUF_ROPE_ROWS). Rows are whole
 *           blocks of every type, so quantised ones are moved as they are. qwen2, qwen3 and gemma3 keep their order.
 *   gemma3  Norm weights hold 1 + w (DT_GGUF_NORM_PLUS_1).
 *   llama3  rope scaling is a tensor rope_freqs.weight of E/2 divisors of the frequencies, not four numbers. */
#ifndef DT_GGUF_MODEL_H
#define DT_GGUF_MODEL_H

#include "format/gguf.h"
#include "format/hf_config.h"

const char *dt_gguf_arch(dt_arch arch); /* general.architecture */
/* Configuration from <architecture>.* keys and from which tensors are there (biases, output.weight), in the terms of
 * config.json: whoever reads the weights undoes the changes below, so that norm_plus_one of gemma3 holds. dtype is what
 * such a model is saved as: F32 for F32 and F16 files, else BF16. */
duet_status dt_gguf_config(const dt_gguf *g, dt_hf_config *out, duet_err *err);
/* End tokens (eos, eot, eom keys, and control tokens known by their text, such as <|im_end|>), and general.sampling.*
 */
duet_status dt_gguf_generation(const dt_gguf *g, dt_hf_generation *out, duet_err *err);
/* tokenizer.chat_template; DUET_END = none. */
duet_status dt_gguf_chat_template(const dt_gguf *g, dt_gguf_str *out, duet_err *err);

/* How the bytes of a GGUF tensor differ from those of its Hugging Face twin. */
typedef enum dt_gguf_change { DT_GGUF_SAME, DT_GGUF_ROPE_ROWS, DT_GGUF_NORM_PLUS_1 } dt_gguf_change;

#define DT_GGUF_NAME 96 /* room for a name either way */

/* "model.layers.3.self_attn.q_proj.weight" <-> "blk.3.attn_q.weight". false: no such name in this architecture. change
 * may be NULL. */
bool dt_gguf_name_from_hf(const dt_hf_config *c, const char *hf, char out[DT_GGUF_NAME], dt_gguf_change *change);
bool dt_gguf_name_to_hf(const dt_hf_config *c, const char *gguf, char out[DT_GGUF_NAME], dt_gguf_change *change);
int dt_gguf_layer_of(const char *gguf); /* "blk.3.attn_q.weight": 3; -1 = of no layer */

/* Where row r of the GGUF tensor (0..n_heads * E - 1) is in Hugging Face's, and the other way. */
size_t dt_gguf_rope_row_to_hf(size_t r, size_t E);
size_t dt_gguf_rope_row_from_hf(size_t r, size_t E);
/* All rows moved: dst must not overlap src. A bias is rows of one element. */
void dt_gguf_rope_rows_to_hf(void *dst, const void *src, size_t n_rows, size_t E, size_t row_bytes);
void dt_gguf_rope_rows_from_hf(void *dst, const void *src, size_t n_rows, size_t E, size_t row_bytes);

/* The E/2 divisors of the frequencies that llama3 scaling of c amounts to: what rope_freqs.weight holds. */
void dt_gguf_rope_divisors(const dt_hf_config *c, float *out);

#endif
