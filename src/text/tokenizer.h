/* What a BPE tokenizer is made of, shared by the files of this room.
 *
 * tokenizer.json                   here
 *   added_tokens                   tokens[] with DT_TOK_ADDED, added[], the two tries of added.c
 *   normalizer                     forms[], prepend (normal.c)
 *   pre_tokenizer                  splits[] (split.c), each one regular expression (regex.c); prefix_space
 *   model.vocab, model.merges      tokens[] and two hash tables (vocab.c, filled by fill.c), applied by bpe.c
 *   post_processor                 prefix[], suffix[]: what DUET_ENC_ADD_SPECIAL puts around
 *   decoder                        a token is its bytes; strip_space
 *
 * There are two kinds of vocabulary. A byte-level one has a token for every byte, and its file spells a byte as a
 * character (space is U+0120). One of characters (SentencePiece's BPE) has tokens for characters, spells a space as
 * U+2581, and writes a character it lacks as the tokens <0x00> .. <0xFF> of its bytes. "Spelled" means the file's
 * way; "raw" means the bytes a token stands for in a text. All work is done on raw bytes, so that a space is a space:
 * in a vocabulary of characters a text's own U+2581 becomes a space, which is what its tokens say too. */
#ifndef DT_TOKENIZER_H
#define DT_TOKENIZER_H

#include "base/base.h"
#include "duet/text.h"

#define DT_TOK_MAX_IDS (1 << 24) /* no vocabulary comes near; an id beyond is a broken file */
#define DT_TOK_MAX_GAP (1 << 16) /* ids that may be missing below the largest */
#define DT_TOK_MAX_BYTES ((size_t)1 << 20)

/* ---- ids and text (ids.c) ---- */
bool dt_tok_push(duet_ids *a, int32_t id);
bool dt_tok_append(duet_ids *a, const int32_t *v, size_t n);

/* ---- UTF-8 (utf8.c) ---- */

/* Length of the valid character at p (n >= 1 bytes there), its code point in *cp; or, negated, the length of
 * the maximal invalid prefix, with *cut true if it is the beginning of a character that more bytes could end. */
int dt_utf8_next(const uint8_t *p, size_t n, uint32_t *cp, bool *cut);
size_t dt_utf8_put(uint32_t cp, char out[4]);
size_t dt_utf8_bad(const char *s, size_t n); /* offset of the first invalid byte, n if there is none */
bool dt_utf8_is_space(uint32_t cp);          /* White_Space */
bool dt_utf8_is_word(uint32_t cp);           /* what \w matches: letters, marks, digits, connectors, joiners */
/* A token for an error sentence: in quotes, control characters as escapes, shortened. Returns out. */
#define DT_TOK_QUOTE 80
const char *dt_tok_quote(char out[DT_TOK_QUOTE], const char *s, size_t n);

/* ---- byte alphabet (bytes.c) ---- */
uint32_t dt_bytes_char(uint8_t b); /* the character that spells a byte */
uint8_t dt_bytes_order(int i);     /* the i-th byte in the order of those characters: ids 0..255 of GPT-2's kind */
/* Spelled to raw; false if a character spells no byte. out has room for n bytes. */
bool dt_bytes_unspell(const char *s, size_t n, uint8_t *out, size_t *n_out);
bool dt_bytes_spell(const char *raw, size_t n, dt_buf *out);
#define DT_SPACE_CHAR "\xe2\x96\x81" /* U+2581, a space in vocabularies of characters */
/* Every U+2581 in s[0, n) becomes a space; returns the new length. out may be s. */
size_t dt_spaces_unspell(const char *s, size_t n, char *out);

/* ---- regular expressions (regex.c) ---- */
typedef struct dt_regex dt_regex;
typedef struct dt_regex_work dt_regex_work; /* one a thread */
/* `literal`: the pattern is plain text. Errors: DUET_E_FORMAT, DUET_E_UNSUPPORTED, DUET_E_NOMEM. */
duet_status dt_regex_open(const char *pattern, size_t n, bool literal, dt_regex **out, duet_err *err);
void dt_regex_close(dt_regex *re);
dt_regex_work *dt_regex_work_create(void);
void dt_regex_work_destroy(dt_regex_work *w);
/* First match in s[0, n) at or after `from`: DUET_OK, DUET_END if there is none, DUET_E_RANGE at the step limit. */
duet_status dt_regex_find(const dt_regex *re, dt_regex_work *w, const char *s, size_t n, size_t from, size_t *begin,
                          size_t *end, duet_err *err);

/* ---- pre-tokenizer (split.c) ---- */
typedef enum dt_split_behavior {
    DT_SPLIT_ISOLATED,
    DT_SPLIT_REMOVED,
    DT_SPLIT_WITH_PREVIOUS,
    DT_SPLIT_WITH_NEXT,
    DT_SPLIT_CONTIGUOUS
} dt_split_behavior;
typedef struct dt_split {
    char *pattern; /* owned, NUL-terminated */
    size_t n_pattern;
    bool literal, invert;
    dt_split_behavior behavior;
    dt_regex *re;
} dt_split;
typedef struct dt_piece {
    size_t off, n;
} dt_piece;
typedef struct dt_pieces {
    dt_piece *v;
    size_t n, cap;
} dt_pieces;
/* Cuts s[0, n) into non-empty pieces by all steps in order; the result is in a, b is scratch. */
duet_status dt_split_run(const dt_split *splits, int n_splits, dt_regex_work *w, const char *s, size_t n, dt_pieces *a,
                         dt_pieces *b, duet_err *err);

/* ---- normalizer (normal.c) ---- */
typedef enum dt_form { DT_NFC, DT_NFD, DT_NFKC, DT_NFKD } dt_form;
#define DT_MAX_STEPS 8
/* *out_s borrowed: s itself where nothing changes, else from *mem (owned by the caller, free). */
duet_status dt_normal_run(const dt_form *forms, int n_forms, const char *s, size_t n, char **mem, const char **out_s,
                          size_t *out_n, duet_err *err);

/* ---- added tokens (added.c) ---- */
typedef struct dt_added {
    int32_t id;
    const char *content; /* borrowed, as it stands in texts; NUL-terminated */
    size_t n;
    bool single_word, lstrip, rstrip, normalized, special;
} dt_added;
typedef struct dt_trie_node {
    int32_t child, next; /* node indices, 0 = none */
    int32_t added;       /* index into added[], -1 = no token ends here */
    uint8_t byte;
} dt_trie_node;
typedef struct dt_trie {
    dt_trie_node *v; /* v[0] is the root */
    size_t n, cap;
    int32_t first[256]; /* root's child for a byte, 0 = none */
} dt_trie;
bool dt_trie_add(dt_trie *t, const char *s, size_t n, int32_t added, int32_t *was); /* *was: what it was, or -1 */
void dt_trie_clear(dt_trie *t);
/* Next added token in s at or after *scan, the longest of those that begin leftmost, by its own rules (single_word,
 * lstrip, rstrip), and of those that the DUET_ENC_* flags allow. `done`: how far s is already used up. Advances *scan; false
 * at the end. */
bool dt_added_next(const dt_trie *t, const dt_added *added, int flags, const char *s, size_t n, size_t done,
                   size_t *scan, int32_t *which, size_t *begin, size_t *end);

/* ---- vocabulary and merges (vocab.c) ---- */
enum {
    DT_TOK_HERE = 1,
    DT_TOK_VOCAB = 2,
    DT_TOK_ADDED = 4,
    DT_TOK_SPECIAL = 8,
    DT_TOK_ODD = 16, /* not spelled: its bytes are the file's, and no text leads to it */
    DT_TOK_BYTE = 32 /* <0xXX> of a vocabulary of characters */
};
typedef struct dt_token {
    uint32_t off, n; /* bytes in pool */
    uint32_t flags;
} dt_token;
typedef struct dt_merge {
    uint32_t left, right, id;
} dt_merge;
typedef struct dt_merge_slot {
    uint32_t left, right; /* left == UINT32_MAX: empty */
    int32_t rank;
    int32_t id;
} dt_merge_slot;

typedef struct dt_vocab {
    dt_token *tokens; /* [size] */
    int32_t size;
    dt_buf pool;
    uint32_t *slots; /* id + 1 by hash of bytes; 0 = empty */
    size_t n_slots;
    dt_merge *merges; /* in the file's order: the index is the rank */
    size_t n_merges;
    dt_merge_slot *merge_slots;
    size_t n_merge_slots;
    int32_t byte_id[256]; /* base token of a byte, -1 = none */
    bool ignore_merges;   /* a piece that is a token as it stands is not built from merges */
    bool chars;           /* of characters, not of bytes */
    bool has_unknown, fuse_unknown;
    int32_t unknown;  /* stands for a character that has neither a token nor bytes; neighbours may share one */
    int32_t *ranks;   /* [size]: any two neighbours that spell a token may merge, lowest rank first; NULL = by merges */
    size_t max_bytes; /* longest token */
} dt_vocab;
bool dt_vocab_reserve(dt_vocab *v, size_t n_tokens, int32_t size, size_t n_bytes);
bool dt_vocab_put(dt_vocab *v, int32_t id, const void *bytes, size_t n, uint32_t flags);
void dt_vocab_clear(dt_vocab *v);
int32_t dt_vocab_find(const dt_vocab *v, const void *bytes, size_t n, bool odd); /* -1 = none */
int32_t dt_vocab_find_spelled(const dt_vocab *v, const char *s, size_t n);       /* n <= DT_TOK_MAX_BYTES */
/* Spelled to raw (out has room for n bytes); returns 0, or DT_TOK_ODD or DT_TOK_BYTE for what it is. */
uint32_t dt_vocab_unspell(const dt_vocab *v, const char *s, size_t n, char *out, size_t *n_out);
bool dt_vocab_reserve_merges(dt_vocab *v, size_t n);
void dt_vocab_add_merge(dt_vocab *v, uint32_t left, uint32_t right, uint32_t id);
const dt_merge_slot *dt_vocab_merge(const dt_vocab *v, uint32_t left, uint32_t right); /* NULL = none */

/* ---- filling it (fill.c, scan.c) ---- */
typedef struct dt_tok_entry {
    const char *s; /* borrowed, as the file spells it */
    size_t n;
    int64_t id;
    bool raw; /* of a vocabulary of characters: its spaces are spaces */
} dt_tok_entry;
typedef struct dt_tok_pair {
    const char *s[2];
    size_t n[2];
} dt_tok_pair;
typedef struct dt_tok_lists {
    dt_tok_entry *vocab;
    size_t n_vocab;
    dt_tok_pair *merges;
    size_t n_merges;
    char *mem; /* strings that could not be borrowed */
} dt_tok_lists;
void dt_tok_lists_clear(dt_tok_lists *l);
bool dt_tok_cut_pair(dt_tok_pair *m, const char *s, size_t n); /* "left right" */
/* Takes model.vocab and model.merges out of the text of a tokenizer.json, which is borrowed by the lists; the file
 * without them goes to *rest. false: not the plain case, read the whole file with the JSON library. */
bool dt_tok_scan(const char *text, size_t n, dt_tok_lists *out, dt_buf *rest);
/* What the vocabulary must have room for. */
typedef struct dt_tok_room {
    size_t n_tokens, n_bytes;
    int32_t size;
} dt_tok_room;
duet_status dt_tok_measure(dt_tok_room *r, const char *s, size_t n, int64_t id, duet_err *err);
duet_status dt_tok_fill(dt_vocab *v, const dt_tok_lists *l, dt_tok_room *more, duet_err *err);
duet_status dt_tok_fill_merges(dt_vocab *v, const dt_tok_lists *l, duet_err *err);
/* Added tokens: room for all, then one after the other behind the vocabulary, then the tries. */
duet_status dt_tok_reserve_added(duet_tokenizer *t, size_t n, size_t n_bytes, duet_err *err);
duet_status dt_tok_put_added(duet_tokenizer *t, const dt_added *a, duet_err *err); /* content is copied */
duet_status dt_tok_index_added(duet_tokenizer *t, duet_err *err);
duet_status dt_tok_add_split(duet_tokenizer *t, const char *pattern, size_t n, bool literal, dt_split_behavior behavior,
                             bool invert, duet_err *err); /* (split.c) */
extern const char dt_tok_gpt2_pattern[];

/* ---- merging one piece (bpe.c) ---- */
typedef struct dt_bpe_work dt_bpe_work;
dt_bpe_work *dt_bpe_work_create(void);
void dt_bpe_work_destroy(dt_bpe_work *w);
/* Appends the ids of one piece. What has no token: DUET_E_FORMAT, *bad its offset in the piece. */
duet_status dt_bpe_piece(const dt_vocab *v, dt_bpe_work *w, const uint8_t *s, size_t n, duet_ids *out, size_t *bad);

/* ---- the whole ---- */
struct duet_tokenizer {
    dt_vocab vocab;
    dt_form forms[DT_MAX_STEPS];
    int n_forms;
    bool prepend;      /* a space before every text between added tokens, before those that are normalized */
    bool prefix_space; /* a space before every text that has none, after them: ByteLevel, Metaspace */
    bool prefix_first; /* only before the first of them */
    bool strip_space;  /* decoding drops one space at the beginning */
    dt_split splits[DT_MAX_STEPS];
    int n_splits;
    dt_added *added; /* by rising id */
    size_t n_added;
    char *added_text; /* their contents */
    size_t n_added_text;
    dt_trie raw, normal; /* added tokens found before and after normalization */
    duet_ids prefix, suffix;
    char *chat_template; /* of chat_template.jinja, or else of tokenizer_config.json; NULL = none */
    dt_buf json, config, jinja; /* the files as they were; data NULL = not there */
    char *gguf;                 /* the file it is from, where that has no tokenizer.json in it */
};

/* Everything between the added tokens of `raw` and those of `normal`; n > 0. As dt_normal_run. (normal.c) */
duet_status dt_tok_normalize(const duet_tokenizer *t, const char *s, size_t n, char **mem, const char **out_s,
                             size_t *out_n, duet_err *err);

/* From memory: what duet_tokenizer_open does once the files are read. `name` is for error sentences; `config` may
 * be NULL. (load.c) */
duet_status dt_tokenizer_parse(const char *name, const char *json, size_t n, const char *config, size_t n_config,
                               duet_tokenizer **out, duet_err *err);

/* The tokenizer that a GGUF file describes; borrows nothing of it. (gguf.c) */
struct dt_gguf;
duet_status dt_tokenizer_from_gguf(const struct dt_gguf *g, duet_tokenizer **out, duet_err *err);
/* Normal form, split steps and habits of the pre-tokenizer with this name. (pre.c) */
duet_status dt_tok_use_pre(duet_tokenizer *t, const char *name, size_t n, bool *add_bos, duet_err *err);

/* Calls fn for every piece that merges would work on: normalized text, cut by the pre-tokenizer, added tokens left
 * out. (encode.c) */
typedef duet_status (*dt_piece_fn)(void *user, const char *s, size_t n, duet_err *err);
duet_status dt_tokenizer_pieces(const duet_tokenizer *t, const char *text, size_t n, dt_piece_fn fn, void *user,
                                duet_err *err);

/* ---- making new ones (build.c, write.c) ---- */

#define DT_TOK_N_ADDED 5
extern const char dt_tok_qwen_pattern[];
/* Gives the bytes in `use` their base tokens, in the order of dt_bytes_order, and makes room for n_more merged tokens,
 * each of which then takes dt_vocab_put(v, v->size++, ...) and dt_vocab_add_merge. */
duet_status dt_tok_begin(dt_vocab *v, const bool use[256], size_t n_more, duet_err *err);
/* Writes the files into memory and opens them: what is made is what a reader of the files gets. pattern NULL = Qwen's.
 */
duet_status dt_tok_finish(const dt_vocab *v, const char *pattern, duet_tokenizer **out, duet_err *err);
duet_status dt_tok_write(const dt_vocab *v, const char *pattern, dt_buf *json, dt_buf *config, duet_err *err);

#endif
