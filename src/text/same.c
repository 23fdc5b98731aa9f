/* Do two tokenizers give equal ids for every text? What only concerns decoding, or text that asks for no special
 * tokens, does not count: a GGUF file and a tokenizer.json of one model mark such things differently. */
#include "text/tokenizer.h"

#include <string.h>

static bool same_text(const char *a, size_t na, const char *b, size_t nb) {
    return na == nb && (!na || !memcmp(a, b, na));
}

/* Tokens one by one; which file lists an added token in its vocabulary too makes no difference. */
static bool same_tokens(const dt_vocab *a, const dt_vocab *b) {
    const uint32_t kind = DT_TOK_HERE | DT_TOK_ADDED | DT_TOK_BYTE;
    if (a->size != b->size)
        return false;
    for (int32_t i = 0; i < a->size; i++) {
        const dt_token *x = &a->tokens[i], *y = &b->tokens[i];
        if ((x->flags & kind) != (y->flags & kind))
            return false;
        if (x->flags && !same_text(a->pool.data + x->off, x->n, b->pool.data + y->off, y->n))
            return false;
    }
    return true;
}

/* Merges that all say what the scores say: each of them makes a token of the other's, later ones never one of a
 * better rank, and no pair that spells a token is left out. Neighbours that spell one token in two ways have one rank
 * by scores and two by merges; whatever wrote the merges took the scores' order as far as it goes. */
static bool merges_follow_ranks(const dt_vocab *m, const dt_vocab *r) {
    int32_t last = INT32_MIN;
    for (size_t i = 0; i < m->n_merges; i++) {
        const uint32_t id = m->merges[i].id;
        if (r->tokens[id].flags & DT_TOK_ADDED) /* found before any merge: their scores mean nothing */
            continue;
        if (r->ranks[id] < last)
            return false;
        last = r->ranks[id];
    }
    for (int32_t id = 0; id < r->size; id++) {
        const dt_token *t = &r->tokens[id];
        const char *s = r->pool.data + t->off;
        if (!(t->flags & DT_TOK_VOCAB) || (t->flags & (DT_TOK_BYTE | DT_TOK_ODD | DT_TOK_ADDED)))
            continue;
        for (uint32_t cut = 1; cut < t->n; cut++) {
            if (((uint8_t)s[cut] & 0xc0) == 0x80)
                continue;
            const int32_t left = dt_vocab_find(r, s, cut, false), right = dt_vocab_find(r, s + cut, t->n - cut, false);
            if (left >= 0 && right >= 0 && !((r->tokens[left].flags | r->tokens[right].flags) & DT_TOK_ADDED) &&
                !dt_vocab_merge(m, (uint32_t)left, (uint32_t)right))
                return false;
        }
    }
    return true;
}

static bool same_merges(const dt_vocab *a, const dt_vocab *b) {
    if (a->ignore_merges != b->ignore_merges)
        return false;
    if (a->ranks && b->ranks)
        return !memcmp(a->ranks, b->ranks, (size_t)a->size * sizeof *a->ranks);
    if (a->ranks || b->ranks)
        return a->ranks ? merges_follow_ranks(b, a) : merges_follow_ranks(a, b);
    return a->n_merges == b->n_merges &&
           (!a->n_merges || !memcmp(a->merges, b->merges, a->n_merges * sizeof *a->merges));
}

static bool same_vocab(const dt_vocab *a, const dt_vocab *b) {
    if (a->chars != b->chars || !same_tokens(a, b))
        return false;
    /* What stands for a character without a token matters only where its bytes have none. */
    for (int i = 0; i < 256; i++)
        if ((a->byte_id[i] < 0 || b->byte_id[i] < 0) &&
            (a->has_unknown != b->has_unknown || a->fuse_unknown != b->fuse_unknown || a->unknown != b->unknown))
            return false;
    return same_merges(a, b);
}

/* With nothing to normalize, an added token is found before or after it alike. */
static bool same_added(const duet_tokenizer *a, const duet_tokenizer *b) {
    const bool normalizes = a->n_forms || a->prepend || a->vocab.chars;
    if (a->n_added != b->n_added)
        return false;
    for (size_t i = 0; i < a->n_added; i++) {
        const dt_added *x = &a->added[i], *y = &b->added[i];
        if (x->id != y->id || x->single_word != y->single_word || x->lstrip != y->lstrip || x->rstrip != y->rstrip ||
            (normalizes && x->normalized != y->normalized) || !same_text(x->content, x->n, y->content, y->n))
            return false;
    }
    return true;
}

bool duet_tokenizer_same(const duet_tokenizer *a, const duet_tokenizer *b) {
    if (a == b)
        return true;
    if (a->n_forms != b->n_forms || a->n_splits != b->n_splits || a->prefix_space != b->prefix_space ||
        a->prefix_first != b->prefix_first || a->prepend != b->prepend)
        return false;
    for (int i = 0; i < a->n_forms; i++)
        if (a->forms[i] != b->forms[i])
            return false;
    for (int i = 0; i < a->n_splits; i++) {
        const dt_split *x = &a->splits[i], *y = &b->splits[i];
        if (x->literal != y->literal || x->invert != y->invert || x->behavior != y->behavior ||
            !same_text(x->pattern, x->n_pattern, y->pattern, y->n_pattern))
            return false;
    }
    return same_added(a, b) && same_vocab(&a->vocab, &b->vocab);
}
