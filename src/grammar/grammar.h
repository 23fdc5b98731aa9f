/* The inside of a grammar.
 *
 * schema.c, parts.c, numbers.c    a JSON schema -> a program, through
 * program.c                       nodes and rules, built from the end backwards
 * pattern.c                       a regular expression -> nodes that spell its texts as JSON does
 * machine.c                       runs a program on bytes: all ways at once, each with its stack of rules to return to
 * trie.c                          a vocabulary in the order of bytes
 * mask.c                          machine and trie -> allowed tokens
 *
 * A program is a set of rules that call one another; a rule is a graph of nodes from its entry to a return. */
#ifndef DT_GRAMMAR_H
#define DT_GRAMMAR_H

#include "base/base.h"
#include "duet/grammar.h"

#define DT_GR_MAX_NODES 100000
#define DT_GR_MAX_DEPTH 96   /* rules within rules; a nested value takes two */
#define DT_GR_MAX_WAYS 256   /* ways to read the same bytes that are followed; beyond, texts are only fewer */
#define DT_GR_MAX_STATES 24000 /* kept, about 1.2 KiB each; then all are forgotten */
#define DT_GR_MAX_MASKS 1024   /* kept, a bit a token each */

const duet_tokenizer *dt_grammar_tokenizer(const duet_grammar *g);

/* ---- programs (program.c) ---- */

typedef enum dt_gr_kind { DT_GR_BYTE, DT_GR_ALT, DT_GR_CALL, DT_GR_RETURN } dt_gr_kind;

typedef struct dt_gr_node {
    uint8_t kind, lo, hi; /* BYTE: lo..hi, then a */
    uint16_t need;        /* rules that must be entered within one another on the way to a return, at least */
    int32_t a, b;         /* ALT: a or b; CALL: rule a, then b */
} dt_gr_node;

#define DT_GR_NO_WAY 0xFFFF /* need: there is no way within DT_GR_MAX_DEPTH */

typedef struct dt_program {
    dt_gr_node *nodes;
    int32_t n_nodes, cap_nodes;
    int32_t *entry; /* [n_rules], -1 = not built yet */
    int32_t n_rules, cap_rules;
    int32_t root; /* node of a text's beginning */
    int32_t ret;  /* the one RETURN */
    int32_t ws, character, any; /* rules, -1 = not made yet */
    bool full, no_memory;
} dt_program;

bool dt_program_init(dt_program *p);
void dt_program_clear(dt_program *p);
int32_t dt_program_rule(dt_program *p); /* a new rule; its entry is set later */
/* Nodes that match something and go on at `next`. On failure `full` or `no_memory` is set and any node is returned. */
int32_t dt_gr_byte(dt_program *p, int lo, int hi, int32_t next);
int32_t dt_gr_alt(dt_program *p, int32_t a, int32_t b);
int32_t dt_gr_call(dt_program *p, int32_t rule, int32_t next);
int32_t dt_gr_text(dt_program *p, const char *text, size_t n, int32_t next);
int32_t dt_gr_ws(dt_program *p, int32_t next);        /* between parts of JSON, may be nothing */
int32_t dt_gr_char(dt_program *p, int32_t next);      /* a character of a JSON string */
int32_t dt_gr_chars(dt_program *p, int32_t next);     /* any number of them */
int32_t dt_gr_bytes_above(dt_program *p, int32_t next); /* a character of several bytes, UTF-8 */
int32_t dt_gr_digits(dt_program *p, int min, int max, int32_t next);
/* x or nothing, where x was built to go on at next. */
#define dt_gr_maybe(p, x, next) dt_gr_alt(p, x, next)
/* A loop: a node to build towards, and its end once the body is known: body any number of times, then next. */
int32_t dt_gr_open(dt_program *p);
void dt_gr_close(dt_program *p, int32_t loop, int32_t body, int32_t next);
/* Needs of all nodes. DUET_E_FORMAT: no text ends; DUET_E_UNSUPPORTED: a rule enters itself before any byte. */
duet_status dt_program_finish(dt_program *p, duet_err *err);

/* ---- building ---- */

/* n bytes of a schema -> program. */
duet_status dt_schema_compile(const char *schema, size_t n, dt_program *p, duet_err *err);
/* pattern.c: the texts a pattern matches in a JSON string without its quotes. Errors say what is not supported. */
duet_status dt_pattern_compile(dt_program *p, const char *pattern, size_t n, int32_t next, int32_t *out, duet_err *err);
/* numbers.c */
int32_t dt_gr_integer(dt_program *p, int32_t next);
int32_t dt_gr_number(dt_program *p, int32_t next);
int32_t dt_gr_integer_between(dt_program *p, int64_t lo, int64_t hi, int32_t next); /* lo <= hi, at most 18 digits each */

/* ---- running (machine.c) ---- */

typedef struct dt_machine dt_machine;
dt_machine *dt_machine_create(const dt_program *p /* borrowed */); /* NULL = no memory */
void dt_machine_destroy(dt_machine *m);
#define DT_MACHINE_DEAD (-1)
#define DT_MACHINE_FULL (-2) /* no memory, or more states than may be kept: dt_machine_forget, then anew from the start */
int32_t dt_machine_start(dt_machine *m);
int32_t dt_machine_next(dt_machine *m, int32_t state, uint8_t byte);
bool dt_machine_ends(const dt_machine *m, int32_t state); /* the text may end here */
void dt_machine_forget(dt_machine *m);                    /* states given out are void */
void dt_machine_allow(dt_machine *m, int64_t work);       /* so many steps until what is not known is FULL; INT64_MAX at first */
int32_t dt_machine_states(const dt_machine *m);

/* ---- vocabulary (trie.c) ---- */

typedef struct dt_trie_place {
    int32_t token; /* place in sorted[], -1 = none ends here */
    int32_t end;   /* first place that is not below this one */
    uint8_t byte, depth;
} dt_trie_place;

struct duet_vocab_trie {
    const duet_tokenizer *t;
    int32_t size;          /* ids of the tokenizer */
    dt_trie_place *places; /* in the order of bytes, a place before what is below it */
    int32_t n_places;
    int32_t *sorted; /* ids by bytes */
    uint8_t *again;  /* [n_sorted + 1]: the same bytes as the one before */
    int32_t n_sorted;
    int lacks; /* an ASCII character of JSON that no token spells alone, -1 = none: texts could get stuck before it */
};

#endif
