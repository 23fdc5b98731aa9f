/* The inside of a page pool, shared by page.c (pages, references, copy on write) and tree.c (the prefix
 * tree and eviction). Nobody outside this room includes it. */
#ifndef DT_KV_POOL_H
#define DT_KV_POOL_H

#include "kv/kv.h"

/* One remembered full page. Its path from the root spells the tokens before it, so (version, parent, tokens)
 * names its contents. Nodes are in one list by age: whoever touches a node touches its ancestors after it, so a
 * parent is always younger than its children and the oldest node is a leaf. */
typedef struct dt_kv_node {
    uint64_t version;
    int32_t ids[DT_KV_PAGE];
    int page;
    int parent; /* node, -1 = root */
    int n_children;
    int older, newer; /* list by age, -1 = end */
    int chain;        /* next node of the same hash bucket (or of the free list), -1 = end */
    size_t bucket;
} dt_kv_node;

struct dt_kv {
    int n_layers, n_kv, d_head, n_pages;
    dt_dtype type;
    size_t half;        /* bytes of K, or of V, of one head in one page */
    size_t layer_bytes; /* of all groups of a layer */
    size_t bytes;
    char *data; /* [layer][group][head][K or V][page of the group] */
    int *refs;       /* [n_pages] borrowers, the tree counted as one */
    int *node_of;    /* [n_pages] tree node that remembers the page, -1 = none */
    int *free_pages; /* stack */
    int n_free;
    int n_tree_only; /* pages that only the tree holds */
    size_t n_evicted;

    dt_kv_node *nodes; /* [n_pages]: a node holds a page of its own, so there are never more */
    int free_node;
    int oldest, newest;
    int *buckets;     /* [n_buckets], first node or -1 */
    size_t n_buckets; /* power of two */
};

/* page.c */
void dt_kv_page_ref(dt_kv *kv, int page);
void dt_kv_page_unref(dt_kv *kv, int page);

/* tree.c */
bool dt_kv_tree_init(dt_kv *kv); /* false = no memory */
void dt_kv_tree_clear(dt_kv *kv);
/* Drops old nodes until at least n pages are free, or all have gone. */
void dt_kv_tree_evict(dt_kv *kv, int n);

#endif
