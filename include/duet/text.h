/* Tokenizers (BPE, byte-level or SentencePiece's, from Hugging Face tokenizer.json or GGUF) and chat templates by model
 * family.
 *
 * Threads: a tokenizer is immutable once open; any number of threads may use it. */
#ifndef DUET_TEXT_H
#define DUET_TEXT_H

#include "duet/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct duet_tokenizer duet_tokenizer;

/* A growing list of token ids; zero-initialise, end with duet_ids_free. */
typedef struct duet_ids {
    int32_t *v;
    size_t n, cap;
} duet_ids;
void duet_ids_free(duet_ids *a);

/* Bytes owned by the caller; data is NUL-terminated one past n and may hold NULs. End with duet_text_free. */
typedef struct duet_text {
    char *data;
    size_t n;
} duet_text;
void duet_text_free(duet_text *t);

/* Opens a folder (tokenizer.json, and tokenizer_config.json if there), a tokenizer.json file, or a GGUF file, of which
 * no weights are read.
 * Errors: DUET_E_IO, DUET_E_FORMAT (broken merges, unknown ids, ...), DUET_E_UNSUPPORTED (another model
 * type or a component that is named), DUET_E_NOMEM. */
duet_status duet_tokenizer_open(const char *path, duet_tokenizer **out, duet_err *err);
void duet_tokenizer_close(duet_tokenizer *t);

enum {
    DUET_ENC_ADD_SPECIAL = 1, /* with the post-processor's tokens (Llama: BOS first) */
    DUET_ENC_PLAIN = 2,       /* recognise no added token but runs of blanks: for text nobody vouches for */
    DUET_ENC_NO_SPECIAL = 4   /* recognise only added tokens with "special": false */
};
/* Appends the ids of n bytes of UTF-8 text to *out. Invalid UTF-8: DUET_E_FORMAT with the byte offset. */
duet_status duet_tokenizer_encode(const duet_tokenizer *t, const char *text, size_t n, int flags,
                                  duet_ids *out, duet_err *err);
/* Bytes of ids; invalid UTF-8 becomes U+FFFD (one per maximal invalid prefix). Unknown id: DUET_E_RANGE. */
duet_status duet_tokenizer_decode(const duet_tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                                  duet_text *out, duet_err *err);
int32_t duet_tokenizer_size(const duet_tokenizer *t);               /* ids are 0 .. size-1 */
int32_t duet_tokenizer_id(const duet_tokenizer *t, const char *content); /* an added or vocabulary token; -1 = none */
/* The raw bytes one token stands for (borrowed), n its length; NULL for an id that is not there. */
const char *duet_tokenizer_bytes(const duet_tokenizer *t, int32_t id, size_t *n);
bool duet_tokenizer_is_added(const duet_tokenizer *t, int32_t id);
bool duet_tokenizer_is_special(const duet_tokenizer *t, int32_t id);
/* True if both give equal ids for every text (equal vocabulary, merges, split and added tokens), whatever files they
 * come from. */
bool duet_tokenizer_same(const duet_tokenizer *a, const duet_tokenizer *b);
/* Writes tokenizer.json and tokenizer_config.json into dir (the files it was opened from, or the trained ones).
 * From a GGUF file: tokenizer.json where one gives the same ids, else DUET_E_UNSUPPORTED. */
duet_status duet_tokenizer_save(const duet_tokenizer *t, const char *dir, duet_err *err);
/* DUET_E_UNSUPPORTED: duet_tokenizer_save would refuse it, and why. */
duet_status duet_tokenizer_can_save(const duet_tokenizer *t, duet_err *err);

/* Trains byte-level BPE on texts (n strings, borrowed for the call).
 * The result always has the 256 bytes (or, with `alphabet`, only the bytes that occur in the texts and
 * ASCII printables), the merges, and the Qwen-style added tokens <|endoftext|>, <|im_start|>, <|im_end|>,
 * <think>, </think>. `pattern`: split regex, NULL = Qwen's. Ties: lower pair first, so one corpus gives one file. */
typedef struct duet_bpe_train {
    int n_vocab;         /* wanted size, all tokens counted */
    int min_count;       /* a pair rarer than this is not merged; 0 = 2 */
    const char *pattern; /* NULL = the Qwen2 pattern */
    bool alphabet;       /* only bytes that are needed, for tiny vocabularies */
} duet_bpe_train;
duet_status duet_tokenizer_train(const duet_bpe_train *opt, const char *const *texts, const size_t *lens,
                                 size_t n, duet_tokenizer **out, duet_err *err);
/* Builds a byte-level BPE tokenizer from an explicit list of merges: each "left right" in plain text
 * (space inside a piece is written as it is, the pair is split at the byte offset `cut[i]`). */
duet_status duet_tokenizer_build(const char *pattern, const char *const *merged, const size_t *cut, size_t n,
                                 const char *alphabet, duet_tokenizer **out, duet_err *err);

/* Streaming decode: bytes are held until they form whole characters. */
typedef struct duet_decoder duet_decoder;
duet_status duet_decoder_create(const duet_tokenizer *t, bool skip_special, duet_decoder **out, duet_err *err);
void duet_decoder_destroy(duet_decoder *d);
/* Text that became certain with this token (borrowed until the next call; n may be 0). id -1 flushes the rest. */
duet_status duet_decoder_push(duet_decoder *d, int32_t id, const char **text, size_t *n, duet_err *err);

/* ---- chat templates ----
 * A conversation becomes a prompt as the model's own template would render it. The family is recognised by the template
 * that comes with the tokenizer; one that is not known is refused, never guessed. */

/* One turn. role: "system", "user" or "assistant"; text UTF-8, may hold NULs. Borrowed. */
typedef struct duet_message {
    const char *role, *text;
    size_t n;
} duet_message;

/* The family of the tokenizer's own template; NULL: none or none that is known, err says which are. */
const char *duet_template_name(const duet_tokenizer *t, duet_err *err);
/* The known families by number, with what they are for; NULL behind the last. */
const char *duet_template_known(size_t i, const char **title);
/* Whether a family has this name. DUET_E_USAGE: none has, err says which there are. */
duet_status duet_template_check(const char *name, duet_err *err);
/* Renders {"messages":[{"role","content",...},...],"tools"?,"add_generation_prompt"?,"enable_thinking"?,"date_string"?}
 * (JSON, n bytes; other keys are not looked at) by the family `name`, or NULL = the tokenizer's own. t may be NULL where
 * a name is given. Errors: DUET_E_FORMAT (not JSON, a key of the wrong kind, or the template refuses the conversation),
 * DUET_E_UNSUPPORTED (template not known), DUET_E_USAGE (name not known), DUET_E_NOMEM. */
duet_status duet_template_render(const duet_tokenizer *t, const char *name, const char *json, size_t n, duet_text *out,
                                 duet_err *err);
/* The same as ids, appended: the template's marks as ids, the text of messages plain, so what it spells stays text. */
duet_status duet_template_encode(const duet_tokenizer *t, const char *name, const char *json, size_t n, duet_ids *out,
                                 duet_err *err);

#ifdef __cplusplus
}
#endif
#endif
