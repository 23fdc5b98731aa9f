/* A tokenizer.json on its way to the keys of a GGUF file; between gguf_tokenizer.c and gguf_chars.c. */
#ifndef DT_GGUF_TOKENIZER_H
#define DT_GGUF_TOKENIZER_H

#include "format/gguf_export.h"

#include <jansson.h>

typedef struct dt_gguf_source {
    char *file;       /* path of tokenizer.json, for messages */
    json_t *json;     /* tokenizer.json; NULL = not there */
    json_t *config;   /* tokenizer_config.json; NULL = not there */
    json_t *jinja;    /* chat_template.jinja as a string; NULL = not there */
    dt_arena strings; /* of those that are not in the JSON */
} dt_gguf_source;

/* Merge i of the list, from either of the spellings of tokenizer.json, as "left right" that the source owns; *cut: bytes of left. */
duet_status dt_gguf_merge_at(dt_gguf_source *s, const json_t *merges, size_t i, dt_gguf_str *out, size_t *cut, duet_err *err);

/* ---- gguf_chars.c: SentencePiece's BPE, a vocabulary of characters, with bytes for those that have no token ---- */

typedef struct dt_gguf_spaces {
    bool chars, replaced; /* U+2581 stands for spaces */
    bool prefix;          /* and before a text */
    bool other;           /* something that the keys cannot say exactly */
} dt_gguf_spaces;

/* Adds what a normalizer or a pre_tokenizer, or a sequence of them, says. */
void dt_gguf_look_at_spaces(const json_t *j, dt_gguf_spaces *out);
bool dt_gguf_is_byte(const char *text); /* "<0x0A>" */
/* A user's token as it stands in a text; the source owns the new one. */
duet_status dt_gguf_plain_spaces(dt_gguf_source *s, const char **text, size_t *n, duet_err *err);
duet_status dt_gguf_put_scores(dt_gguf_writer *w, dt_gguf_source *s, int n, duet_err *err); /* of n tokens */

#endif
