/* A Hugging Face folder's configuration and tokenizer as the keys of a GGUF file, named as llama.cpp reads them. */
#ifndef DT_GGUF_EXPORT_H
#define DT_GGUF_EXPORT_H

#include "format/gguf_model.h"
#include "format/gguf_write.h"

/* general.*, <architecture>.* and general.sampling.*, all but the element types. name: for people. Refused: what the
 * keys cannot say (yarn with truncate false, gemma3 with another query_pre_attn_scalar than its sizes imply). */
duet_status dt_gguf_put_config(dt_gguf_writer *w, const char *name, const dt_hf_config *c, const dt_hf_generation *gen,
                               duet_err *err);

/* tokenizer.*, from tokenizer.json, tokenizer_config.json and chat_template.jinja of dir; without tokenizer.json a file
 * without vocabulary. Byte-level BPE and SentencePiece's; other kinds are refused. Where the keys cannot say how a text is split
 * (named "default" then) or where spaces go (Metaspace), *named is false, and tokenizer.json goes into the key
 * tokenizer.huggingface.json as it is. */
duet_status dt_gguf_put_tokenizer(dt_gguf_writer *w, const char *dir, const dt_hf_config *c,
                                  const dt_hf_generation *gen, bool *named, duet_err *err);

/* The name of a split (tokenizer.ggml.pre) with this regular expression (NULL: none), single digits, and the expression
 * of ByteLevel itself; NULL = it has no name. */
const char *dt_gguf_pre_of(const char *regex, bool digits, bool byte_level_regex);
const char *dt_gguf_regex_of(const char *pre); /* NULL = a name that has none here */

/* tokenizer.json and tokenizer_config.json into dir: tokenizer.huggingface.json as it is, else, for the splits qwen2,
 * llama-bpe and smollm, files that give the same ids; other kinds are refused. Nothing where the file has no tokenizer. */
duet_status dt_gguf_write_tokenizer(const dt_gguf *g, const char *dir, duet_err *err);
/* Whether that can be done; DUET_E_UNSUPPORTED says why not, DUET_END: the file has no tokenizer. */
duet_status dt_gguf_can_write_tokenizer(const dt_gguf *g, duet_err *err);

#endif
