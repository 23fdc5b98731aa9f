/* Models from one file format into another, and what is in a model file, without running the model.
 *
 * Threads: a call uses n_threads of its own; calls may run concurrently on different outputs. */
#ifndef DUET_CONVERT_H
#define DUET_CONVERT_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_convert_options {
    const char *type; /* of the matrices: "f32", "bf16", "f16", "q8_0", "q6_k", "q4_k_m", "q4_0"; NULL = as they are */
    int n_threads;    /* 0 = all CPUs */
    bool no_tokenizer; /* to a folder: write none, where it cannot be written exactly */
    bool (*progress)(void *user, size_t done_bytes, size_t total_bytes); /* of the output; false = stop. NULL = none */
    void *user;
} duet_convert_options;

/* Writes the model at `in` (a Hugging Face folder or a GGUF file) to `out`: a GGUF file where that ends in ".gguf", else a
 * Hugging Face folder. The output appears when it is whole; memory use does not grow with the model.
 *
 * To GGUF: vectors and norms stay F32. "q4_k_m" is the usual mix: Q6_K for the output (or tied embeddings) and for half of
 * attn_v and ffn_down, Q4_K for the rest; rows that are no multiple of 256 get Q5_0 and Q8_0 instead, and rows that are no
 * multiple of 32 F16. To a folder: only from F32, F16 and BF16, since the result would not be exact otherwise, and `type` is
 * NULL; a tokenizer whose tokenizer.json cannot be given back with the same ids (all but byte-level BPE with the splits
 * qwen2 and llama-bpe, and files that hold it whole) is refused unless no_tokenizer is set.
 * opt may be NULL. Errors: DUET_E_IO, DUET_E_FORMAT, DUET_E_UNSUPPORTED, DUET_E_USAGE, DUET_E_CANCELLED, DUET_E_NOMEM. */
duet_status duet_convert(const char *in, const char *out, const duet_convert_options *opt, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
