/* Grammars and matchers: the machine walks the vocabulary's trie from a state, and what it survives may come. Sets are kept by
 * state, shared by all matchers of a grammar under its lock; when there are too many of anything, all are forgotten and a
 * matcher finds its state again from its tokens. */
#include "grammar/grammar.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKEN 256
#define MAX_WORK 1000000 /* steps of the machine to find a set, some 20 ms: the engine waits for it */

struct duet_grammar {
    const duet_vocab_trie *v;
    dt_program program;
    pthread_mutex_t lock; /* guards what follows */
    dt_machine *machine;
    uint32_t **masks; /* [n_masks], by state; NULL = not known yet */
    int32_t n_masks;
    int n_kept;
    uint64_t epoch; /* of the states */
};

struct duet_matcher {
    duet_grammar *g;
    uint64_t epoch;
    int32_t state;
    size_t n; /* tokens read */
    int32_t last;
    uint32_t *allowed; /* [words] */
};

static size_t words(const duet_grammar *g) {
    return ((size_t)g->v->size + 31) / 32;
}

/* ---- grammars ---- */

static duet_status make(const duet_vocab_trie *v, const char *schema, size_t n, duet_grammar **out, duet_err *err) {
    *out = NULL;
    if (v->lacks >= 0) {
        return dt_fail(err, DUET_E_UNSUPPORTED, "this model cannot write JSON: its vocabulary has no token for the byte 0x%02X alone",
                       v->lacks);
    }
    duet_grammar *g = dt_calloc(1, sizeof *g);
    if (!g || !dt_program_init(&g->program)) {
        free(g);
        return dt_fail(err, DUET_E_NOMEM, "grammar: no memory");
    }
    pthread_mutex_init(&g->lock, NULL);
    g->v = v;
    duet_status st = dt_schema_compile(schema, n, &g->program, err);
    if (!st) {
        g->machine = dt_machine_create(&g->program);
        st = g->machine ? DUET_OK : dt_fail(err, DUET_E_NOMEM, "grammar: no memory");
    }
    if (st) {
        duet_grammar_destroy(g);
        return st;
    }
    *out = g;
    return DUET_OK;
}

duet_status duet_grammar_json_schema(const duet_vocab_trie *v, const char *schema, size_t n, duet_grammar **out, duet_err *err) {
    return make(v, schema, n, out, err);
}

duet_status duet_grammar_json_object(const duet_vocab_trie *v, duet_grammar **out, duet_err *err) {
    static const char any[] = "{\"type\":\"object\"}";
    return make(v, any, sizeof any - 1, out, err);
}

const duet_tokenizer *dt_grammar_tokenizer(const duet_grammar *g) {
    return g->v->t;
}

static void forget(duet_grammar *g) {
    for (int32_t i = 0; i < g->n_masks; i++) {
        free(g->masks[i]);
    }
    free(g->masks);
    g->masks = NULL;
    g->n_masks = 0;
    g->n_kept = 0;
    g->epoch++;
    if (g->machine) {
        dt_machine_forget(g->machine);
    }
}

void duet_grammar_destroy(duet_grammar *g) {
    if (!g) {
        return;
    }
    forget(g);
    dt_machine_destroy(g->machine);
    dt_program_clear(&g->program);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

static int32_t read_bytes(duet_grammar *g, int32_t state, const char *bytes, size_t n) {
    for (size_t i = 0; i < n && state >= 0; i++) {
        state = dt_machine_next(g->machine, state, (uint8_t)bytes[i]);
    }
    return state;
}

bool duet_grammar_accepts(duet_grammar *g, const char *text, size_t n) {
    pthread_mutex_lock(&g->lock);
    int32_t state = dt_machine_start(g->machine);
    for (size_t i = 0; i < n && state != DT_MACHINE_DEAD; i++) {
        int32_t next = state >= 0 ? dt_machine_next(g->machine, state, (uint8_t)text[i]) : state;
        if (next == DT_MACHINE_FULL) { /* once more from the start; a text that is too much even then is none of ours */
            forget(g);
            next = read_bytes(g, dt_machine_start(g->machine), text, i + 1);
            next = next == DT_MACHINE_FULL ? DT_MACHINE_DEAD : next;
        }
        state = next;
    }
    bool ends = dt_machine_ends(g->machine, state);
    pthread_mutex_unlock(&g->lock);
    return ends;
}

/* ---- sets of tokens ---- */

static void allow(const duet_vocab_trie *v, int32_t token, uint32_t *bits) {
    do {
        int32_t id = v->sorted[token];
        bits[id / 32] |= (uint32_t)1 << (id % 32);
    } while (++token < v->n_sorted && v->again[token]);
}

/* Sets the bits of tokens of at most max_len bytes that may follow; false: the machine is full. */
static bool walk(duet_grammar *g, int32_t from, int max_len, uint32_t *bits) {
    const duet_vocab_trie *v = g->v;
    int32_t at[MAX_TOKEN + 1];
    at[0] = from;
    for (int32_t i = 0; i < v->n_places;) {
        const dt_trie_place *p = &v->places[i];
        int32_t to = p->depth < max_len ? dt_machine_next(g->machine, at[p->depth], p->byte) : DT_MACHINE_DEAD;
        if (to == DT_MACHINE_FULL) {
            return false;
        }
        if (to < 0) {
            i = p->end;
            continue;
        }
        at[p->depth + 1] = to;
        if (p->token >= 0) {
            allow(v, p->token, bits);
        }
        i++;
    }
    return true;
}

static bool keep_mask(duet_grammar *g, int32_t state, uint32_t *bits) {
    if (state >= g->n_masks) {
        int32_t n = state + 64;
        uint32_t **v = dt_realloc(g->masks, (size_t)n, sizeof *v);
        if (!v) {
            return false;
        }
        memset(v + g->n_masks, 0, (size_t)(n - g->n_masks) * sizeof *v);
        g->masks = v;
        g->n_masks = n;
    }
    g->masks[state] = bits;
    g->n_kept++;
    return true;
}

/* ---- matchers ---- */

duet_status duet_matcher_create(duet_grammar *g, duet_matcher **out, duet_err *err) {
    duet_matcher *m = dt_calloc(1, sizeof *m);
    uint32_t *allowed = dt_calloc(words(g) + 1, sizeof *allowed);
    *out = NULL;
    if (!m || !allowed) {
        free(m);
        free(allowed);
        return dt_fail(err, DUET_E_NOMEM, "grammar: no memory for a matcher");
    }
    m->g = g;
    m->allowed = allowed;
    m->epoch = UINT64_MAX;
    *out = m;
    return DUET_OK;
}

void duet_matcher_destroy(duet_matcher *m) {
    if (m) {
        free(m->allowed);
        free(m);
    }
}

static int32_t read_tokens(duet_grammar *g, int32_t state, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n && state >= 0; i++) {
        size_t len = 0;
        const char *bytes = duet_tokenizer_bytes(g->v->t, ids[i], &len);
        state = bytes && !duet_tokenizer_is_added(g->v->t, ids[i]) ? read_bytes(g, state, bytes, len) : DT_MACHINE_DEAD;
    }
    return state;
}

/* The state after ids[0, n): from where this matcher was, if that still holds, else from the start. */
static void follow(duet_matcher *m, const int32_t *ids, size_t n) {
    duet_grammar *g = m->g;
    bool goes_on = m->epoch == g->epoch && n >= m->n && (m->n == 0 || ids[m->n - 1] == m->last) && m->state != DT_MACHINE_FULL;
    int32_t state = DT_MACHINE_FULL;
    if (goes_on) {
        state = read_tokens(g, m->state, ids + m->n, n - m->n);
    }
    for (int i = 0; i < 2 && state == DT_MACHINE_FULL; i++) {
        if (i > 0 || dt_machine_states(g->machine) > DT_GR_MAX_STATES / 2) {
            forget(g);
        }
        state = read_tokens(g, dt_machine_start(g->machine), ids, n);
    }
    m->state = state;
    m->epoch = g->epoch;
    m->n = n;
    m->last = n ? ids[n - 1] : -1;
}

static void set_mask(duet_matcher *m, const int32_t *ids, size_t n) {
    duet_grammar *g = m->g;
    if (g->n_kept >= DT_GR_MAX_MASKS || dt_machine_states(g->machine) > DT_GR_MAX_STATES / 2) {
        forget(g);
    }
    follow(m, ids, n);
    if (m->state < 0) {
        return;
    }
    if (m->state < g->n_masks && g->masks[m->state]) {
        memcpy(m->allowed, g->masks[m->state], words(g) * sizeof *m->allowed);
        return;
    }
    dt_machine_allow(g->machine, MAX_WORK);
    bool whole = walk(g, m->state, MAX_TOKEN, m->allowed);
    dt_machine_allow(g->machine, INT64_MAX);
    if (!whole) { /* too much to look at, or to hold: tokens of one byte lead on as well */
        if (dt_machine_states(g->machine) > DT_GR_MAX_STATES / 2) {
            forget(g);
            follow(m, ids, n);
        }
        memset(m->allowed, 0, words(g) * sizeof *m->allowed);
        if (m->state >= 0) {
            walk(g, m->state, 1, m->allowed);
        }
        return;
    }
    uint32_t *copy = dt_calloc(words(g), sizeof *copy);
    if (copy) {
        memcpy(copy, m->allowed, words(g) * sizeof *copy);
        if (!keep_mask(g, m->state, copy)) {
            free(copy);
        }
    }
}

const uint32_t *duet_matcher_allowed(duet_matcher *m, const int32_t *ids, size_t n, const int32_t *end, size_t n_end, int32_t *n_bits) {
    duet_grammar *g = m->g;
    memset(m->allowed, 0, words(g) * sizeof *m->allowed);
    pthread_mutex_lock(&g->lock);
    set_mask(m, ids, n);
    bool ends = dt_machine_ends(g->machine, m->state);
    pthread_mutex_unlock(&g->lock);
    for (size_t i = 0; ends && i < n_end; i++) {
        if (end[i] >= 0 && end[i] < g->v->size) {
            m->allowed[end[i] / 32] |= (uint32_t)1 << (end[i] % 32);
        }
    }
    *n_bits = g->v->size;
    return m->allowed;
}
