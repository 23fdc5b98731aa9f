/* Texts a model may write: a JSON schema becomes an automaton over bytes, and that says after each token which tokens may
 * come next. Every text it lets through to its end is JSON that fits the schema; it need not let every such text through.
 *
 * What is written: objects with the properties of the schema in its order (required ones always), then others where
 * additionalProperties is true or a schema (or where there is no `properties` at all); one space, or a newline and up to 64
 * spaces, between parts; integers of up to 18 digits, numbers of up to 15, 17 behind the point and two in the exponent.
 *
 * Keywords: type (one or several), properties, required, additionalProperties, items, prefixItems, minItems, maxItems,
 * minLength, maxLength (up to 4096), pattern, format (date, time, date-time, uuid, ipv4), minimum, maximum, exclusiveMinimum,
 * exclusiveMaximum (of integers), enum, const, anyOf, oneOf (of branches that exclude one another), allOf of one, $ref within
 * the schema (also to itself). Annotations (title, description, default, examples, $comment, ...) say nothing. Any other
 * keyword is refused by name.
 *
 * Threads: all calls may come from any thread; one matcher from one thread at a time. */
#ifndef DUET_GRAMMAR_H
#define DUET_GRAMMAR_H

#include "duet/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The tokens of a tokenizer in the order of their bytes; made once, for all grammars. Added tokens are no part of a text. */
typedef struct duet_vocab_trie duet_vocab_trie;
duet_status duet_vocab_trie_create(const duet_tokenizer *t /* borrowed */, duet_vocab_trie **out, duet_err *err);
void duet_vocab_trie_destroy(duet_vocab_trie *v); /* NULL is fine */

typedef struct duet_grammar duet_grammar;
/* schema: JSON, n bytes. v is borrowed. Errors: DUET_E_FORMAT (not JSON, or no schema; nothing fits it), DUET_E_UNSUPPORTED
 * (a keyword or a value, named with its place; a vocabulary that cannot spell JSON), DUET_E_RANGE (too large), DUET_E_NOMEM. */
duet_status duet_grammar_json_schema(const duet_vocab_trie *v, const char *schema, size_t n, duet_grammar **out, duet_err *err);
duet_status duet_grammar_json_object(const duet_vocab_trie *v, duet_grammar **out, duet_err *err); /* any JSON object */
void duet_grammar_destroy(duet_grammar *g); /* NULL is fine */
/* True if text is whole: it could end here. */
bool duet_grammar_accepts(duet_grammar *g, const char *text, size_t n);

/* Follows one text, token by token. g is borrowed. */
typedef struct duet_matcher duet_matcher;
duet_status duet_matcher_create(duet_grammar *g, duet_matcher **out, duet_err *err);
void duet_matcher_destroy(duet_matcher *m); /* NULL is fine */
/* The tokens that may follow ids[0, n): bit id % 32 of word id / 32, ids below *n_bits; end[n_end] where the text may end.
 * Borrowed until the next call. An all-zero set: nothing may, e.g. because ids are no beginning of a text. Calls that go on
 * from the last one's ids take up to a few milliseconds for a place that is new, else next to nothing. A place with so many ways on
 * that more than some 20 ms would be needed lets tokens of one byte come alone. */
const uint32_t *duet_matcher_allowed(duet_matcher *m, const int32_t *ids, size_t n, const int32_t *end, size_t n_end,
                                     int32_t *n_bits);

#ifdef __cplusplus
}
#endif
#endif
