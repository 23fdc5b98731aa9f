/* Runs a program on bytes. A state is the set of all ways to have read the bytes so far, each a place in a rule and the stack of
 * places to return to; sets and stacks are held once, numbered, and remember where each byte leads. So a state that was met
 * before costs a look-up.
 *
 * A way that needs more rules within rules than DT_GR_MAX_DEPTH is not taken, and of too many ways the first are followed: each
 * way alone can be brought to an end, so texts are only fewer, never stuck. */
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#define UNKNOWN (-3)
#define NO_STACK (-1)
#define MAX_STACKS 262144
#define MAX_VISITS 4096 /* places looked at to find one state */

typedef struct way {
    int32_t node; /* a BYTE; or the RETURN, stack empty: the text may end */
    int32_t stack;
} way;

typedef struct state {
    int32_t first, n; /* in ways */
    int32_t chain;    /* next state of the same bucket */
    bool ends;
    int32_t next[256];
} state;

typedef struct frame {
    int32_t node, below; /* where to go on; the stack under it */
    int32_t chain;
    uint16_t depth;
} frame;

struct dt_machine {
    const dt_program *p;
    state **states; /* [n_states], each of its own: they are large */
    int32_t n_states, cap_states;
    way *ways;
    size_t n_ways, cap_ways;
    frame *frames;
    int32_t n_frames, cap_frames;
    int32_t *state_buckets, *frame_buckets; /* [N_BUCKETS] */
    way *todo;                              /* [MAX_VISITS] */
    way set[DT_GR_MAX_WAYS];
    int n_set, n_todo, n_seen;
    uint32_t *seen; /* [2 * MAX_VISITS]: which places of a table are taken, by round */
    way *seen_way;
    uint32_t round;
    int64_t work; /* places that may be looked at before dt_machine_next gives up */
    bool failed;
};

#define N_BUCKETS 8192

dt_machine *dt_machine_create(const dt_program *p) {
    dt_machine *m = dt_calloc(1, sizeof *m);
    if (!m) {
        return NULL;
    }
    m->p = p;
    m->work = INT64_MAX;
    m->state_buckets = dt_calloc(N_BUCKETS, sizeof *m->state_buckets);
    m->frame_buckets = dt_calloc(N_BUCKETS, sizeof *m->frame_buckets);
    m->todo = dt_calloc(MAX_VISITS, sizeof *m->todo);
    m->seen = dt_calloc(2 * MAX_VISITS, sizeof *m->seen);
    m->seen_way = dt_calloc(2 * MAX_VISITS, sizeof *m->seen_way);
    if (!m->state_buckets || !m->frame_buckets || !m->todo || !m->seen || !m->seen_way) {
        dt_machine_destroy(m);
        return NULL;
    }
    dt_machine_forget(m);
    return m;
}

void dt_machine_forget(dt_machine *m) {
    for (int32_t i = 0; i < m->n_states; i++) {
        free(m->states[i]);
    }
    m->n_states = m->n_frames = 0;
    m->n_ways = 0;
    m->failed = false;
    for (int i = 0; i < N_BUCKETS; i++) {
        m->state_buckets[i] = m->frame_buckets[i] = -1;
    }
}

void dt_machine_destroy(dt_machine *m) {
    if (!m) {
        return;
    }
    if (m->state_buckets && m->frame_buckets) {
        dt_machine_forget(m);
    }
    free(m->states);
    free(m->ways);
    free(m->frames);
    free(m->state_buckets);
    free(m->frame_buckets);
    free(m->todo);
    free(m->seen);
    free(m->seen_way);
    free(m);
}

void dt_machine_allow(dt_machine *m, int64_t work) {
    m->work = work;
}

int32_t dt_machine_states(const dt_machine *m) {
    return m->n_states;
}

bool dt_machine_ends(const dt_machine *m, int32_t s) {
    return s >= 0 && m->states[s]->ends;
}

/* ---- stacks ---- */

static int depth_of(const dt_machine *m, int32_t stack) {
    return stack < 0 ? 0 : m->frames[stack].depth;
}

static int32_t push(dt_machine *m, int32_t node, int32_t below) {
    size_t bucket = ((size_t)node * 2654435761u + (size_t)below * 40503u) % N_BUCKETS;
    for (int32_t i = m->frame_buckets[bucket]; i >= 0; i = m->frames[i].chain) {
        if (m->frames[i].node == node && m->frames[i].below == below) {
            return i;
        }
    }
    if (m->n_frames == m->cap_frames) {
        int32_t cap = m->cap_frames ? m->cap_frames * 2 : 256;
        frame *v = cap > MAX_STACKS ? NULL : dt_realloc(m->frames, (size_t)cap, sizeof *v);
        if (!v) {
            m->failed = true;
            return below;
        }
        m->frames = v;
        m->cap_frames = cap;
    }
    m->frames[m->n_frames] = (frame){.node = node, .below = below, .chain = m->frame_buckets[bucket],
                                     .depth = (uint16_t)(depth_of(m, below) + 1)};
    m->frame_buckets[bucket] = m->n_frames;
    return m->n_frames++;
}

/* ---- ways ---- */

/* True the first time in this round. */
static bool first_visit(dt_machine *m, way w) {
    size_t i = ((size_t)w.node * 2654435761u ^ (size_t)w.stack * 2246822519u) % (2 * MAX_VISITS);
    while (m->seen[i] == m->round) {
        if (m->seen_way[i].node == w.node && m->seen_way[i].stack == w.stack) {
            return false;
        }
        i = (i + 1) % (2 * MAX_VISITS);
    }
    m->seen[i] = m->round;
    m->seen_way[i] = w;
    return true;
}

static void visit(dt_machine *m, int32_t node, int32_t stack) {
    way w = {node, stack};
    if (m->n_seen < MAX_VISITS && depth_of(m, stack) + m->p->nodes[node].need <= DT_GR_MAX_DEPTH && first_visit(m, w)) {
        m->n_seen++;
        m->todo[m->n_todo++] = w;
    }
}

/* Follows w without a byte: into the set comes what reads one next, or ends. */
static void reach(dt_machine *m, way w) {
    const dt_program *p = m->p;
    visit(m, w.node, w.stack);
    while (m->n_todo > 0) {
        way at = m->todo[--m->n_todo];
        const dt_gr_node *n = &p->nodes[at.node];
        switch (n->kind) {
        case DT_GR_ALT:
            visit(m, n->b, at.stack);
            visit(m, n->a, at.stack);
            break;
        case DT_GR_CALL: /* a call at a rule's end returns to where the rule does */
            visit(m, p->entry[n->a], n->b == p->ret ? at.stack : push(m, n->b, at.stack));
            break;
        default:
            if (n->kind == DT_GR_RETURN && at.stack >= 0) {
                visit(m, m->frames[at.stack].node, m->frames[at.stack].below);
            } else if (m->n_set < DT_GR_MAX_WAYS) {
                m->set[m->n_set++] = at;
            }
        }
    }
}

static void begin(dt_machine *m) {
    m->n_set = m->n_todo = m->n_seen = 0;
    if (++m->round == 0) {
        memset(m->seen, 0, 2 * MAX_VISITS * sizeof *m->seen);
        m->round = 1;
    }
}

static int by_place(const void *a, const void *b) {
    const way *x = a, *y = b;
    return x->node != y->node ? (x->node > y->node) - (x->node < y->node) : (x->stack > y->stack) - (x->stack < y->stack);
}

/* ---- states ---- */

static int32_t new_state(dt_machine *m, size_t bucket) {
    if (m->n_states == m->cap_states) {
        int32_t cap = m->cap_states ? m->cap_states * 2 : 64;
        state **v = dt_realloc(m->states, (size_t)cap, sizeof *v);
        if (!v) {
            return DT_MACHINE_FULL;
        }
        m->states = v;
        m->cap_states = cap;
    }
    if (m->n_ways + (size_t)m->n_set > m->cap_ways) {
        size_t cap = 2 * (m->n_ways + (size_t)m->n_set);
        way *v = dt_realloc(m->ways, cap, sizeof *v);
        if (!v) {
            return DT_MACHINE_FULL;
        }
        m->ways = v;
        m->cap_ways = cap;
    }
    state *s = m->n_states < DT_GR_MAX_STATES ? malloc(sizeof *s) : NULL;
    if (!s) {
        return DT_MACHINE_FULL;
    }
    s->first = (int32_t)m->n_ways;
    s->n = m->n_set;
    s->ends = false;
    for (int i = 0; i < m->n_set; i++) {
        s->ends = s->ends || m->set[i].node == m->p->ret;
    }
    for (int i = 0; i < 256; i++) {
        s->next[i] = UNKNOWN;
    }
    memcpy(m->ways + m->n_ways, m->set, (size_t)m->n_set * sizeof *m->set);
    m->n_ways += (size_t)m->n_set;
    s->chain = m->state_buckets[bucket];
    m->state_buckets[bucket] = m->n_states;
    m->states[m->n_states] = s;
    return m->n_states++;
}

static int32_t find_state(dt_machine *m) {
    if (m->failed) {
        return DT_MACHINE_FULL;
    }
    if (m->n_set == 0) {
        return DT_MACHINE_DEAD;
    }
    qsort(m->set, (size_t)m->n_set, sizeof *m->set, by_place);
    size_t bytes = (size_t)m->n_set * sizeof *m->set, bucket = (size_t)dt_hash64(m->set, bytes, 0) % N_BUCKETS;
    for (int32_t i = m->state_buckets[bucket]; i >= 0; i = m->states[i]->chain) {
        if (m->states[i]->n == m->n_set && !memcmp(m->ways + m->states[i]->first, m->set, bytes)) {
            return i;
        }
    }
    return new_state(m, bucket);
}

int32_t dt_machine_start(dt_machine *m) {
    begin(m);
    reach(m, (way){m->p->root, NO_STACK});
    return find_state(m);
}

int32_t dt_machine_next(dt_machine *m, int32_t from, uint8_t byte) {
    if (from < 0) {
        return from;
    }
    int32_t known = m->states[from]->next[byte];
    if (known != UNKNOWN) {
        return known;
    }
    if (m->work <= 0) {
        return DT_MACHINE_FULL;
    }
    begin(m);
    for (int32_t i = 0; i < m->states[from]->n; i++) {
        way w = m->ways[m->states[from]->first + i];
        const dt_gr_node *n = &m->p->nodes[w.node];
        if (n->kind == DT_GR_BYTE && n->lo <= byte && byte <= n->hi) {
            reach(m, (way){n->a, w.stack});
        }
    }
    m->work -= m->n_seen + m->states[from]->n;
    int32_t to = find_state(m);
    if (to != DT_MACHINE_FULL) {
        m->states[from]->next[byte] = to;
    }
    return to;
}
