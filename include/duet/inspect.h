/* What is in a model file or folder, without reading the weights.
 *
 * Threads: calls are independent. */
#ifndef DUET_INSPECT_H
#define DUET_INSPECT_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DUET_MAX_TYPES 24

typedef struct duet_type_count {
    char name[8]; /* "F32", "Q4_K", ... */
    int n_tensors;
    size_t n_elems, n_bytes;
} duet_type_count;

typedef struct duet_file_info {
    char format[16]; /* "gguf", "huggingface" */
    char name[96];   /* general.name, or empty */
    int n_files;
    bool has_model;  /* the fields up to types are set: a folder may hold a tokenizer alone */
    char arch[32];   /* as config.json calls it: "qwen3", ... */
    int n_layers, d_model, n_heads, n_kv, d_head, d_ffn, n_vocab, max_pos;
    int window; /* of windowed layers, tokens; 0 = none */
    bool tied;
    char rope[64]; /* "theta 1000000", "theta 500000, llama3 8" */
    size_t n_params, n_tensors, tensor_bytes;
    duet_type_count types[DUET_MAX_TYPES]; /* the one with most bytes first */
    int n_types;
    bool has_tokenizer;    /* GGUF files only; a folder's tokenizer is opened by duet_tokenizer_open */
    char tokenizer[64];    /* "gpt2, qwen2": tokenizer.ggml.model and .pre */
    int n_tokens, n_added; /* added: control and user-defined ones */
    size_t template_bytes; /* of the chat template; 0 = none */
} duet_file_info;

/* Opens and checks everything but the numbers: configuration, names, shapes, types, sizes. Errors as duet_model_open. */
duet_status duet_file_describe(const char *path, duet_file_info *out, duet_err *err);

typedef struct duet_tensor_info {
    const char *name, *type; /* borrowed for the call */
    const size_t *dims;      /* outermost first */
    int n_dims;
    size_t n_bytes;
} duet_tensor_info;

/* Each tensor in the order of the files, until `each` gives false. */
duet_status duet_file_tensors(const char *path, bool (*each)(void *user, const duet_tensor_info *t), void *user, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
