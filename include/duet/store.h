/* A store of finished samples: what two models said to a question is kept in an SQLite file as soon as it is there, and
 * never generated twice.
 *
 * A sample is named by a key, a hash of all that decides what is said (duet_eval_job, `store`). Several threads and several
 * processes may use one file at once: of two who bring the same key, the first wins and both have what it brought. A process
 * that is killed loses what it had not put; what was put is there (after a power cut perhaps not the last of it, and the
 * file is sound). */
#ifndef DUET_STORE_H
#define DUET_STORE_H

#include "duet/pair.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_store duet_store;

/* Opens the file, or makes it. wait_s: how long to wait for a file that others have locked; 0 = 30 seconds. *out is owned by
 * the caller: duet_store_close. Errors: DUET_E_FORMAT (no store, a damaged one, one of a newer duet), DUET_E_IO (locked, read
 * only, cannot be made), DUET_E_NOMEM. All calls below may also fail with these. */
duet_status duet_store_open(const char *path, double wait_s, duet_store **out, duet_err *err);
void duet_store_close(duet_store *s); /* NULL is fine */
const char *duet_store_path(const duet_store *s); /* borrowed */

/* The outputs of this key into r, owned as duet_pair_answer leaves them; costs are left to the caller (NaN), times are those
 * of the run that made them. DUET_END: there are none, r is cleared. */
duet_status duet_store_get(duet_store *s, const char key[65], duet_pair_request *r, duet_err *err);
/* Keeps the outputs of r. Where the key is there already, r gets what is there in their place and *found is true. */
duet_status duet_store_put(duet_store *s, const char key[65], duet_pair_request *r, bool *found, duet_err *err);
duet_status duet_store_count(duet_store *s, size_t *n, duet_err *err);

/* SHA-256 of a file's content, as sha256sum prints it; of a folder: of the lines "SHA-256  NAME\n", sorted by name, of its
 * model files (*.json, *.jinja, *.safetensors, *.gguf, *.model, merges.txt, vocab.txt), which is what
 * `cd FOLDER && sha256sum FILES | sha256sum` prints; of a GGUF file in parts, the same over its parts; an adapter's folder has
 * a last line "SHA-256  base". Remembered in the store by path, inode, size and times of change, so a
 * large file is read once. s NULL: nothing is remembered. *bytes (may be NULL): their size. */
duet_status duet_store_hash_file(duet_store *s, const char *path, char out[65], size_t *bytes, duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
