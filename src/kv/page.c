/* The page pool: which pages are free, who borrows the others, and page tables of sequences. A page is written
 * only by the one sequence that holds it; growing a sequence whose half-full last page is shared copies it first.
 * What the pages remember across requests is tree.c's. */
#include "kv/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int pages_for(int n_tokens) {
    return n_tokens / DT_KV_PAGE + (n_tokens % DT_KV_PAGE != 0);
}

size_t dt_kv_page_bytes(dt_dtype type, int n_layers, int n_kv, int d_head) {
    return (size_t)n_layers * (size_t)n_kv * 2 * dt_kv_half_bytes(type, d_head);
}

dt_dtype dt_kv_type(const dt_kv *kv) {
    return kv->type;
}

duet_status dt_kv_create(dt_dtype type, int n_layers, int n_kv, int d_head, int n_pages, dt_kv **out, duet_err *err) {
    duet_status st = DUET_OK;
    size_t n_groups = ((size_t)n_pages + DT_KV_GROUP - 1) / DT_KV_GROUP;

    *out = NULL;
    if (n_layers < 1 || n_kv < 1 || d_head < 1 || n_pages < 1) {
        return dt_fail(err, DUET_E_RANGE,
                       "kv pool: %d pages of %d layers, %d heads of width %d: all must be at least 1", n_pages,
                       n_layers, n_kv, d_head);
    }
    if (!dt_kv_type_fits(type, 32)) {
        return dt_fail(err, DUET_E_UNSUPPORTED, "keys and values as %s: only F32, F16 and Q8_0 are possible", dt_dtype_name(type));
    }
    if (!dt_kv_type_fits(type, d_head)) {
        return dt_fail(err, DUET_E_UNSUPPORTED,
                       "keys and values as %s: heads are %d wide, a multiple of 32 up to 512 is needed; use f16 or f32", dt_dtype_name(type),
                       d_head);
    }
    dt_kv *kv = calloc(1, sizeof *kv);
    if (!kv) {
        return dt_fail(err, DUET_E_NOMEM, "kv pool: no memory");
    }
    kv->n_layers = n_layers;
    kv->n_kv = n_kv;
    kv->d_head = d_head;
    kv->n_pages = n_pages;
    kv->type = type;
    kv->half = dt_kv_half_bytes(type, d_head);
    if (!dt_mul_size(2 * kv->half * (size_t)n_kv, n_groups * DT_KV_GROUP, &kv->layer_bytes) ||
        !dt_mul_size(kv->layer_bytes, (size_t)n_layers, &kv->bytes)) {
        st = dt_fail(err, DUET_E_RANGE, "kv pool: %d pages of %zu bytes are too many", n_pages,
                     dt_kv_page_bytes(type, n_layers, n_kv, d_head));
        goto done;
    }
    kv->data = dt_pages_alloc(kv->bytes);
    kv->refs = dt_calloc((size_t)n_pages, sizeof *kv->refs);
    kv->node_of = dt_calloc((size_t)n_pages, sizeof *kv->node_of);
    kv->free_pages = dt_calloc((size_t)n_pages, sizeof *kv->free_pages);
    if (!kv->data || !kv->refs || !kv->node_of || !kv->free_pages || !dt_kv_tree_init(kv)) {
        st = dt_fail(err, DUET_E_NOMEM, "kv pool: no memory for %d pages, %zu bytes", n_pages, kv->bytes);
        goto done;
    }
    for (int i = 0; i < n_pages; i++) {
        kv->node_of[i] = -1;
        kv->free_pages[i] = n_pages - 1 - i; /* low pages leave first: a small load touches little memory */
    }
    kv->n_free = n_pages;
    *out = kv;
    kv = NULL;
done:
    dt_kv_destroy(kv);
    return st;
}

void dt_kv_destroy(dt_kv *kv) {
    if (!kv) {
        return;
    }
    dt_kv_tree_clear(kv);
    free(kv->free_pages);
    free(kv->node_of);
    free(kv->refs);
    dt_pages_free(kv->data, kv->bytes);
    free(kv);
}

int dt_kv_pages(const dt_kv *kv) {
    return kv->n_pages;
}

int dt_kv_free_pages(const dt_kv *kv) {
    return kv->n_free + kv->n_tree_only;
}

int dt_kv_cached_pages(const dt_kv *kv) {
    return kv->n_tree_only;
}

size_t dt_kv_evicted(const dt_kv *kv) {
    return kv->n_evicted;
}

void *dt_kv_k(const dt_kv *kv, int page, int layer, int head) {
    assert(page >= 0 && page < kv->n_pages);
    size_t of_group = (size_t)(page / DT_KV_GROUP) * (size_t)kv->n_kv + (size_t)head;
    return kv->data + (size_t)layer * kv->layer_bytes + (of_group * 2 * DT_KV_GROUP + (size_t)(page % DT_KV_GROUP)) * kv->half;
}

void *dt_kv_v(const dt_kv *kv, int page, int layer, int head) {
    return (char *)dt_kv_k(kv, page, layer, head) + DT_KV_GROUP * kv->half;
}

static void copy_page(const dt_kv *kv, int to, int from) {
    for (int l = 0; l < kv->n_layers; l++)
        for (int h = 0; h < kv->n_kv; h++) {
            memcpy(dt_kv_k(kv, to, l, h), dt_kv_k(kv, from, l, h), kv->half);
            memcpy(dt_kv_v(kv, to, l, h), dt_kv_v(kv, from, l, h), kv->half);
        }
}

void dt_kv_page_ref(dt_kv *kv, int page) {
    if (kv->refs[page]++ == 1 && kv->node_of[page] >= 0) {
        kv->n_tree_only--;
    }
}

void dt_kv_page_unref(dt_kv *kv, int page) {
    assert(kv->refs[page] > 0);
    kv->refs[page]--;
    if (kv->refs[page] == 0) {
        kv->free_pages[kv->n_free++] = page;
    } else if (kv->refs[page] == 1 && kv->node_of[page] >= 0) {
        kv->n_tree_only++;
    }
}

/* A free page with one borrower, the caller, who made sure that there is one. */
static int take_page(dt_kv *kv) {
    int page = kv->free_pages[--kv->n_free];
    assert(kv->refs[page] == 0 && kv->node_of[page] < 0);
    kv->refs[page] = 1;
    return page;
}

duet_status dt_kv_reserve(dt_kv_seq *s, int n_tokens, duet_err *err) {
    int need = pages_for(n_tokens);
    if (need <= s->cap) {
        return DUET_OK;
    }
    int cap = s->cap * 2 > need ? s->cap * 2 : need;
    int *pages = dt_realloc(s->pages, (size_t)cap, sizeof *pages);
    if (!pages) {
        return dt_fail(err, DUET_E_NOMEM, "kv: no memory for a page table of %d pages", cap);
    }
    s->pages = pages;
    s->cap = cap;
    return DUET_OK;
}

duet_status dt_kv_grow(dt_kv *kv, dt_kv_seq *s, int more, duet_err *err) {
    if (more <= 0) {
        return DUET_OK;
    }
    if (more > INT32_MAX - DT_KV_PAGE - s->n_tokens) {
        return dt_fail(err, DUET_E_RANGE, "kv: a sequence of %d tokens cannot grow by %d", s->n_tokens, more);
    }
    int last = s->n_tokens / DT_KV_PAGE; /* the page that the next token goes to */
    bool copy = s->n_tokens % DT_KV_PAGE != 0 && kv->refs[s->pages[last]] > 1;
    int want = pages_for(s->n_tokens + more);
    int fresh = want > s->n_pages ? want - s->n_pages : 0;
    if (fresh + copy > dt_kv_free_pages(kv)) {
        return DUET_WAIT;
    }
    duet_status st = dt_kv_reserve(s, s->n_tokens + more, err);
    if (st) {
        return st;
    }
    /* All that it takes at once: the last of a text leave first, so the first of them are the next to be taken, and pages stand in
     * memory in the order of their tokens. */
    dt_kv_tree_evict(kv, fresh + copy);
    if (copy) {
        int page = take_page(kv);
        copy_page(kv, page, s->pages[last]);
        dt_kv_page_unref(kv, s->pages[last]);
        s->pages[last] = page;
    }
    while (s->n_pages < want) {
        s->pages[s->n_pages++] = take_page(kv);
    }
    return DUET_OK;
}

duet_status dt_kv_fork(dt_kv *kv, const dt_kv_seq *from, dt_kv_seq *to, duet_err *err) {
    assert(to->n_pages == 0 && to->n_tokens == 0);
    /* Pages beyond the last token are from's reserve, not contents. */
    int n = pages_for(from->n_tokens);
    duet_status st = dt_kv_reserve(to, from->n_tokens, err);
    if (st) {
        return st;
    }
    for (int i = 0; i < n; i++) {
        dt_kv_page_ref(kv, from->pages[i]);
        to->pages[i] = from->pages[i];
    }
    to->n_pages = n;
    to->n_tokens = from->n_tokens;
    return DUET_OK;
}

void dt_kv_drop(dt_kv *kv, dt_kv_seq *s) {
    for (int i = s->n_pages; i-- > 0;) { /* the first is the next to be taken again: pages leave in their order */
        dt_kv_page_unref(kv, s->pages[i]);
    }
    free(s->pages);
    *s = (dt_kv_seq){0};
}
