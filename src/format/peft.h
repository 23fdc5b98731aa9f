/* The adapter_config.json of a folder with a low-rank adapter, as PEFT writes it.
 *
 * Beside it lies adapter_model.safetensors, with two tensors for each adapted matrix W [rows, cols]:
 *   base_model.model.NAME.lora_A.weight [r, cols],  base_model.model.NAME.lora_B.weight [rows, r]
 * where NAME.weight is W's name in the base model; W stands for W + (lora_alpha / r) B A. */
#ifndef DT_PEFT_H
#define DT_PEFT_H

#include "base/base.h"

#define DT_PEFT_CONFIG "adapter_config.json"
#define DT_PEFT_WEIGHTS "adapter_model.safetensors"
#define DT_PEFT_MAX_RANK 4096

typedef struct dt_peft {
    int rank;
    double alpha;
    char *base; /* base_model_name_or_path; NULL = not given. Owned */
} dt_peft;

bool dt_peft_is(const char *path); /* a folder with an adapter_config.json */
/* What is no plain LoRA (DoRA, rank patterns, biases, ...) is refused by the key's name. *out is owned by the caller:
 * dt_peft_clear, also after a failure. DUET_E_FORMAT, DUET_E_UNSUPPORTED, DUET_E_IO. */
duet_status dt_peft_parse(const char *name, const char *json, size_t n, dt_peft *out, duet_err *err);
duet_status dt_peft_read(const char *dir, dt_peft *out, duet_err *err);
void dt_peft_clear(dt_peft *p);
/* Where the base model is: its path as it is or relative to dir, whichever is there. *out owned (free). DUET_E_IO: neither. */
duet_status dt_peft_base(const char *dir, const dt_peft *p, char **out, duet_err *err);
/* targets: the last parts of the names of the adapted matrices, "q_proj", ... */
duet_status dt_peft_write(const char *dir, const dt_peft *p, const char *const *targets, size_t n_targets, duet_err *err);

#endif
