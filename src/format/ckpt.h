/* Checkpoint folders: written under a temporary name, fsynced, renamed; the last k are kept.
 *
 *   run/checkpoints/step-000120/state.json       counters, lambda, RNG cursors, config hash
 *                               NAME.safetensors one file for each named group of tensors
 *                               M/, m/           model folders (written by the caller)
 *   A folder without a final rename never counts. `latest` is found by listing, not by a link. */
#ifndef DT_CKPT_H
#define DT_CKPT_H

#include "base/base.h"

/* Begins `root/step-N.tmp` (an old one is removed); *tmp is owned by the caller. */
duet_status dt_ckpt_begin(const char *root, int64_t step, char **tmp, duet_err *err);
/* fsyncs files and folder, renames to `root/step-N` (replacing one), removes all but the last `keep`. */
duet_status dt_ckpt_commit(const char *root, int64_t step, const char *tmp, int keep, duet_err *err);
/* Newest complete folder: *path owned by the caller, *step its number; DUET_END if there is none. */
duet_status dt_ckpt_latest(const char *root, char **path, int64_t *step, duet_err *err);

#endif
