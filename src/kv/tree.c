/* The prefix tree: full pages of finished work, found again by (weight version, tokens so far), and their
 * eviction. The tree is one more borrower of each page it remembers; a page that nobody else borrows is as good
 * as free, and the least recently used leaf goes first when pages run out. All memory is set up once. */
#include "kv/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static size_t bucket_of(const dt_kv *kv, uint64_t version, int parent, const int32_t *ids) {
    uint64_t key = version * 0x9E3779B97F4A7C15u + (uint64_t)(parent + 1);
    return (size_t)dt_hash64(ids, DT_KV_PAGE * sizeof *ids, key) & (kv->n_buckets - 1);
}

static int find(const dt_kv *kv, uint64_t version, int parent, const int32_t *ids) {
    int i = kv->buckets[bucket_of(kv, version, parent, ids)];
    for (; i >= 0; i = kv->nodes[i].chain) {
        const dt_kv_node *n = &kv->nodes[i];
        if (n->version == version && n->parent == parent && !memcmp(n->ids, ids, sizeof n->ids)) {
            return i;
        }
    }
    return -1;
}

/* ---- the list by age ---- */

static void age_unlink(dt_kv *kv, int i) {
    dt_kv_node *n = &kv->nodes[i];
    if (n->older >= 0) {
        kv->nodes[n->older].newer = n->newer;
    } else {
        kv->oldest = n->newer;
    }
    if (n->newer >= 0) {
        kv->nodes[n->newer].older = n->older;
    } else {
        kv->newest = n->older;
    }
}

static void age_append(dt_kv *kv, int i) {
    dt_kv_node *n = &kv->nodes[i];
    n->older = kv->newest;
    n->newer = -1;
    if (kv->newest >= 0) {
        kv->nodes[kv->newest].newer = i;
    } else {
        kv->oldest = i;
    }
    kv->newest = i;
}

/* Makes a node and its ancestors the youngest, the node first. */
static void touch(dt_kv *kv, int i) {
    for (; i >= 0; i = kv->nodes[i].parent) {
        age_unlink(kv, i);
        age_append(kv, i);
    }
}

/* ---- nodes ---- */

static int add_node(dt_kv *kv, uint64_t version, int parent, const int32_t *ids, int page) {
    int i = kv->free_node;
    dt_kv_node *n = &kv->nodes[i];
    kv->free_node = n->chain;

    n->version = version;
    n->parent = parent;
    n->page = page;
    n->n_children = 0;
    memcpy(n->ids, ids, sizeof n->ids);
    n->bucket = bucket_of(kv, version, parent, ids);
    n->chain = kv->buckets[n->bucket];
    kv->buckets[n->bucket] = i;
    age_append(kv, i);
    if (parent >= 0) {
        kv->nodes[parent].n_children++;
    }
    dt_kv_page_ref(kv, page);
    kv->node_of[page] = i; /* after the reference: until now the page was not the tree's */
    return i;
}

static void remove_leaf(dt_kv *kv, int i) {
    dt_kv_node *n = &kv->nodes[i];
    assert(n->n_children == 0);
    int *at = &kv->buckets[n->bucket];
    while (*at != i) {
        at = &kv->nodes[*at].chain;
    }
    *at = n->chain;
    age_unlink(kv, i);
    if (n->parent >= 0) {
        kv->nodes[n->parent].n_children--;
    }
    if (kv->refs[n->page] == 1) {
        kv->n_tree_only--;
    }
    kv->node_of[n->page] = -1;
    dt_kv_page_unref(kv, n->page);
    n->chain = kv->free_node;
    kv->free_node = i;
}

bool dt_kv_tree_init(dt_kv *kv) {
    kv->n_buckets = 64;
    while (kv->n_buckets < (size_t)kv->n_pages) {
        kv->n_buckets *= 2;
    }
    kv->nodes = dt_calloc((size_t)kv->n_pages, sizeof *kv->nodes);
    kv->buckets = dt_calloc(kv->n_buckets, sizeof *kv->buckets);
    if (!kv->nodes || !kv->buckets) {
        return false;
    }
    for (size_t i = 0; i < kv->n_buckets; i++) {
        kv->buckets[i] = -1;
    }
    for (int i = 0; i < kv->n_pages; i++) {
        kv->nodes[i].chain = i + 1 < kv->n_pages ? i + 1 : -1;
    }
    kv->free_node = 0;
    kv->oldest = kv->newest = -1;
    return true;
}

void dt_kv_tree_clear(dt_kv *kv) {
    free(kv->nodes);
    free(kv->buckets);
}

void dt_kv_tree_evict(dt_kv *kv, int n) {
    while (kv->n_free < n && kv->oldest >= 0) {
        int i = kv->oldest;
        /* Prefer a leaf that frees its page. A page can stand above one that a sequence still uses (two
         * sequences computed the same prefix, the tree kept the first one's): then the oldest leaf goes. */
        while (i >= 0 && (kv->nodes[i].n_children > 0 || kv->refs[kv->nodes[i].page] > 1)) {
            i = kv->nodes[i].newer;
        }
        remove_leaf(kv, i >= 0 ? i : kv->oldest);
        kv->n_evicted++;
    }
}

duet_status dt_kv_match(dt_kv *kv, uint64_t version, const int32_t *ids, int n, int max_tokens, dt_kv_seq *s,
                        duet_err *err) {
    assert(s->n_pages == 0 && s->n_tokens == 0);
    int most = (n < max_tokens ? n : max_tokens) / DT_KV_PAGE;
    int last = -1, found = 0;
    while (found < most) {
        int next = find(kv, version, last, ids + (size_t)found * DT_KV_PAGE);
        if (next < 0) {
            break;
        }
        last = next;
        found++;
    }
    if (found == 0) {
        return DUET_OK;
    }
    duet_status st = dt_kv_reserve(s, found * DT_KV_PAGE, err);
    if (st) {
        return st;
    }
    touch(kv, last);
    for (int i = found - 1; i >= 0; i--) {
        s->pages[i] = kv->nodes[last].page;
        dt_kv_page_ref(kv, s->pages[i]);
        last = kv->nodes[last].parent;
    }
    s->n_pages = found;
    s->n_tokens = found * DT_KV_PAGE;
    return DUET_OK;
}

int dt_kv_peek(const dt_kv *kv, uint64_t version, const int32_t *ids, int n) {
    int last = -1, found = 0;
    while (found < n / DT_KV_PAGE) {
        last = find(kv, version, last, ids + (size_t)found * DT_KV_PAGE);
        if (last < 0) {
            break;
        }
        found++;
    }
    return found * DT_KV_PAGE;
}

duet_status dt_kv_remember(dt_kv *kv, uint64_t version, const int32_t *ids, const dt_kv_seq *s, duet_err *err) {
    int last = -1;
    (void)err; /* nodes are set up with the pool: nothing can fail */
    for (int i = 0; i < s->n_tokens / DT_KV_PAGE; i++) {
        const int32_t *page_ids = ids + (size_t)i * DT_KV_PAGE;
        int next = find(kv, version, last, page_ids);
        if (next < 0) {
            if (kv->node_of[s->pages[i]] >= 0) {
                break; /* remembered under another version: it keeps that name */
            }
            next = add_node(kv, version, last, page_ids, s->pages[i]);
        }
        last = next;
    }
    touch(kv, last);
    return DUET_OK;
}

/* Those of the version, or all others. */
static void forget(dt_kv *kv, uint64_t version, bool others) {
    /* Children are older than parents, so each node met here has lost its children already. */
    for (int i = kv->oldest; i >= 0;) {
        int next = kv->nodes[i].newer;
        if ((kv->nodes[i].version != version) == others) {
            remove_leaf(kv, i);
        }
        i = next;
    }
}

void dt_kv_forget(dt_kv *kv, uint64_t version) {
    forget(kv, version, false);
}

void dt_kv_forget_others(dt_kv *kv, uint64_t keep_version) {
    forget(kv, keep_version, true);
}
