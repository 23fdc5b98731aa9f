/* kv: token prefixes -> shared pages of keys and values.
 *
 * A page holds DT_KV_PAGE tokens of all layers and kv heads of one model, as f32, f16 or q8_0 (kernel.h says how). In
 * memory pages stand in groups of DT_KV_GROUP: for each layer, group, kv head: K of its pages, then V of its pages, so that
 * a sequence in neighbouring pages is read in long pieces. Memory is taken from the system when it is first written.
 * Pages are counted references: siblings of one prompt share its pages; a page is written only while one
 * sequence holds it (dt_kv_grow copies a shared last page first). The prefix tree remembers full pages by
 * (weight version, tokens so far) so that a later request with the same beginning starts from them.
 * Owner: the engine thread. Not thread-safe by itself. */
#ifndef DT_KV_H
#define DT_KV_H

#include "kernel/kernel.h"

typedef struct dt_kv dt_kv;

#define DT_KV_GROUP 32 /* pages of one group: a span of attention */

/* n_pages of n_layers * n_kv heads of width d_head. DUET_E_UNSUPPORTED: the type does not fit the width. */
duet_status dt_kv_create(dt_dtype type, int n_layers, int n_kv, int d_head, int n_pages, dt_kv **out, duet_err *err);
void dt_kv_destroy(dt_kv *kv);
int dt_kv_pages(const dt_kv *kv);
int dt_kv_free_pages(const dt_kv *kv); /* free now, pages kept only by the prefix tree counted as free */
int dt_kv_cached_pages(const dt_kv *kv); /* kept only by the prefix tree */
size_t dt_kv_evicted(const dt_kv *kv);   /* pages the tree has given up for others, ever */
dt_dtype dt_kv_type(const dt_kv *kv);
size_t dt_kv_page_bytes(dt_dtype type, int n_layers, int n_kv, int d_head);

void *dt_kv_k(const dt_kv *kv, int page, int layer, int head);
void *dt_kv_v(const dt_kv *kv, int page, int layer, int head);

/* A sequence's page table. */
typedef struct dt_kv_seq {
    int *pages;
    int n_pages, cap;
    int n_tokens; /* tokens whose keys and values are in the pages */
} dt_kv_seq;

/* Memory of the page table for sequences up to n_tokens, so that growing to there allocates nothing. */
duet_status dt_kv_reserve(dt_kv_seq *s, int n_tokens, duet_err *err);
/* Makes room for `more` tokens after n_tokens, copying a shared last page; DUET_WAIT if no page is free
 * (nothing changed then). Does not change n_tokens: the caller adds what it computed. */
duet_status dt_kv_grow(dt_kv *kv, dt_kv_seq *s, int more, duet_err *err);
duet_status dt_kv_fork(dt_kv *kv, const dt_kv_seq *from, dt_kv_seq *to, duet_err *err); /* shares every page */
void dt_kv_drop(dt_kv *kv, dt_kv_seq *s); /* releases all pages and the table; s becomes empty */

/* Prefix tree. Only full pages are remembered, least recently used leave first when pages run out. */
/* Starts s (empty) from the longest remembered prefix of ids[0..n), at most max_tokens tokens of it. */
/* (dt_kv_peek says how many tokens that would be and changes nothing.) */
duet_status dt_kv_match(dt_kv *kv, uint64_t version, const int32_t *ids, int n, int max_tokens, dt_kv_seq *s,
                        duet_err *err);
int dt_kv_peek(const dt_kv *kv, uint64_t version, const int32_t *ids, int n);
/* Remembers the full pages of s, whose tokens are ids[0..s->n_tokens). */
duet_status dt_kv_remember(dt_kv *kv, uint64_t version, const int32_t *ids, const dt_kv_seq *s, duet_err *err);
void dt_kv_forget(dt_kv *kv, uint64_t version); /* drops its remembered pages */
void dt_kv_forget_others(dt_kv *kv, uint64_t keep_version);

#endif
