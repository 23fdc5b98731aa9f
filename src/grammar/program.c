/* Programs: nodes, rules, what every JSON text is made of, and the checks of a whole program. */
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INDENT 64

static int32_t add_node(dt_program *p, dt_gr_node node) {
    if (p->n_nodes == p->cap_nodes) {
        int32_t cap = p->cap_nodes * 2;
        if (p->n_nodes >= DT_GR_MAX_NODES) {
            p->full = true;
            return p->ret;
        }
        dt_gr_node *v = dt_realloc(p->nodes, (size_t)cap, sizeof *v);
        if (!v) {
            p->no_memory = true;
            return p->ret;
        }
        p->nodes = v;
        p->cap_nodes = cap;
    }
    node.need = DT_GR_NO_WAY;
    p->nodes[p->n_nodes] = node;
    return p->n_nodes++;
}

bool dt_program_init(dt_program *p) {
    *p = (dt_program){.cap_nodes = 256, .cap_rules = 16, .ws = -1, .character = -1, .any = -1};
    p->nodes = dt_calloc((size_t)p->cap_nodes, sizeof *p->nodes);
    p->entry = dt_calloc((size_t)p->cap_rules, sizeof *p->entry);
    if (!p->nodes || !p->entry) {
        dt_program_clear(p);
        return false;
    }
    p->ret = add_node(p, (dt_gr_node){.kind = DT_GR_RETURN});
    return true;
}

void dt_program_clear(dt_program *p) {
    free(p->nodes);
    free(p->entry);
    *p = (dt_program){0};
}

int32_t dt_program_rule(dt_program *p) {
    if (p->n_rules == p->cap_rules) {
        int32_t *v = dt_realloc(p->entry, (size_t)p->cap_rules * 2, sizeof *v);
        if (!v) {
            p->no_memory = true;
            return 0;
        }
        p->entry = v;
        p->cap_rules *= 2;
    }
    p->entry[p->n_rules] = -1;
    return p->n_rules++;
}

int32_t dt_gr_byte(dt_program *p, int lo, int hi, int32_t next) {
    return add_node(p, (dt_gr_node){.kind = DT_GR_BYTE, .lo = (uint8_t)lo, .hi = (uint8_t)hi, .a = next});
}

int32_t dt_gr_alt(dt_program *p, int32_t a, int32_t b) {
    return a == b ? a : add_node(p, (dt_gr_node){.kind = DT_GR_ALT, .a = a, .b = b});
}

int32_t dt_gr_call(dt_program *p, int32_t rule, int32_t next) {
    return add_node(p, (dt_gr_node){.kind = DT_GR_CALL, .a = rule, .b = next});
}

int32_t dt_gr_text(dt_program *p, const char *text, size_t n, int32_t next) {
    while (n-- > 0) {
        next = dt_gr_byte(p, (uint8_t)text[n], (uint8_t)text[n], next);
    }
    return next;
}

int32_t dt_gr_open(dt_program *p) {
    return add_node(p, (dt_gr_node){.kind = DT_GR_ALT, .a = p->ret, .b = p->ret});
}

void dt_gr_close(dt_program *p, int32_t loop, int32_t body, int32_t next) {
    if (loop != p->ret) {
        p->nodes[loop].a = body;
        p->nodes[loop].b = next;
    }
}

int32_t dt_gr_ws(dt_program *p, int32_t next) {
    if (p->ws < 0) {
        p->ws = dt_program_rule(p);
        int32_t indent = p->ret;
        for (int i = 0; i < MAX_INDENT; i++) {
            indent = dt_gr_maybe(p, dt_gr_byte(p, ' ', ' ', indent), p->ret);
        }
        int32_t some = dt_gr_alt(p, dt_gr_byte(p, ' ', ' ', p->ret), dt_gr_byte(p, '\n', '\n', indent));
        p->entry[p->ws] = dt_gr_maybe(p, some, p->ret);
    }
    return dt_gr_call(p, p->ws, next);
}

int32_t dt_gr_bytes_above(dt_program *p, int32_t next) {
    int32_t one = dt_gr_byte(p, 0x80, 0xBF, next), two = dt_gr_byte(p, 0x80, 0xBF, one);
    int32_t x = dt_gr_byte(p, 0xC2, 0xDF, one);
    x = dt_gr_alt(p, x, dt_gr_byte(p, 0xE0, 0xE0, dt_gr_byte(p, 0xA0, 0xBF, one)));
    x = dt_gr_alt(p, x, dt_gr_byte(p, 0xE1, 0xEC, two));
    x = dt_gr_alt(p, x, dt_gr_byte(p, 0xED, 0xED, dt_gr_byte(p, 0x80, 0x9F, one))); /* no surrogates */
    x = dt_gr_alt(p, x, dt_gr_byte(p, 0xEE, 0xEF, two));
    x = dt_gr_alt(p, x, dt_gr_byte(p, 0xF0, 0xF0, dt_gr_byte(p, 0x90, 0xBF, two)));
    x = dt_gr_alt(p, x, dt_gr_byte(p, 0xF1, 0xF3, dt_gr_byte(p, 0x80, 0xBF, two)));
    return dt_gr_alt(p, x, dt_gr_byte(p, 0xF4, 0xF4, dt_gr_byte(p, 0x80, 0x8F, two)));
}

static int32_t hex(dt_program *p, int n, int32_t next) {
    for (; n > 0; n--) {
        int32_t letter = dt_gr_alt(p, dt_gr_byte(p, 'a', 'f', next), dt_gr_byte(p, 'A', 'F', next));
        next = dt_gr_alt(p, dt_gr_byte(p, '0', '9', next), letter);
    }
    return next;
}

static int32_t hex_not_0(dt_program *p, int32_t next) {
    int32_t letter = dt_gr_alt(p, dt_gr_byte(p, 'a', 'f', next), dt_gr_byte(p, 'A', 'F', next));
    return dt_gr_alt(p, dt_gr_byte(p, '1', '9', next), letter);
}

/* uXXXX but a NUL, or half a surrogate pair. */
static int32_t escape_u(dt_program *p, int32_t next) {
    int32_t h1 = hex(p, 1, next), h2 = hex(p, 2, next), h3 = hex(p, 3, next);
    int32_t d = dt_gr_alt(p, dt_gr_byte(p, 'd', 'd', dt_gr_byte(p, '0', '7', h2)),
                          dt_gr_byte(p, 'D', 'D', dt_gr_byte(p, '0', '7', h2)));
    int32_t some = dt_gr_alt(p, dt_gr_byte(p, '1', '9', h3), dt_gr_alt(p, dt_gr_byte(p, 'a', 'c', h3), dt_gr_byte(p, 'A', 'C', h3)));
    some = dt_gr_alt(p, some, dt_gr_alt(p, dt_gr_byte(p, 'e', 'f', h3), dt_gr_byte(p, 'E', 'F', h3)));
    int32_t not_nul = dt_gr_alt(p, dt_gr_byte(p, '0', '0', hex_not_0(p, next)), hex_not_0(p, h1));
    int32_t zero = dt_gr_alt(p, dt_gr_byte(p, '0', '0', not_nul), hex_not_0(p, h2));
    return dt_gr_byte(p, 'u', 'u', dt_gr_alt(p, dt_gr_alt(p, some, d), dt_gr_byte(p, '0', '0', zero)));
}

int32_t dt_gr_char(dt_program *p, int32_t next) {
    if (p->character < 0) {
        static const char simple[] = "\"\\/bfnrt";
        p->character = dt_program_rule(p);
        int32_t escape = escape_u(p, p->ret);
        for (const char *c = simple; *c; c++) {
            escape = dt_gr_alt(p, escape, dt_gr_byte(p, *c, *c, p->ret));
        }
        int32_t x = dt_gr_alt(p, dt_gr_bytes_above(p, p->ret), dt_gr_byte(p, '\\', '\\', escape));
        x = dt_gr_alt(p, x, dt_gr_byte(p, ' ', '!', p->ret));
        x = dt_gr_alt(p, x, dt_gr_byte(p, '#', '[', p->ret));
        p->entry[p->character] = dt_gr_alt(p, dt_gr_byte(p, ']', 0x7F, p->ret), x);
    }
    return dt_gr_call(p, p->character, next);
}

int32_t dt_gr_chars(dt_program *p, int32_t next) {
    int32_t loop = dt_gr_open(p);
    dt_gr_close(p, loop, dt_gr_char(p, loop), next);
    return loop;
}

int32_t dt_gr_digits(dt_program *p, int min, int max, int32_t next) {
    int32_t at = next;
    for (int i = max; i > 0; i--) {
        at = dt_gr_byte(p, '0', '9', at);
        at = i > min ? dt_gr_maybe(p, at, next) : at;
    }
    return at;
}

/* ---- the whole ---- */

static unsigned need_of(const dt_program *p, const dt_gr_node *n) {
    unsigned a = 0, b = 0;
    switch (n->kind) {
    case DT_GR_RETURN:
        return 0;
    case DT_GR_BYTE:
        return p->nodes[n->a].need;
    case DT_GR_ALT:
        a = p->nodes[n->a].need;
        b = p->nodes[n->b].need;
        return a < b ? a : b;
    default: /* CALL */
        a = p->nodes[p->entry[n->a]].need;
        b = p->nodes[n->b].need;
        if (a >= DT_GR_MAX_DEPTH || b == DT_GR_NO_WAY) {
            return DT_GR_NO_WAY;
        }
        return a + 1 > b ? a + 1 : b;
    }
}

/* Each round finds the ways that are one rule deeper; what goes on was mostly built before what leads to it. */
static void find_needs(dt_program *p) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (int32_t i = 0; i < p->n_nodes; i++) {
            unsigned need = need_of(p, &p->nodes[i]);
            if (need < p->nodes[i].need) {
                p->nodes[i].need = (uint16_t)need;
                changed = true;
            }
        }
    }
}

/* Nodes from which a return is reached without a byte. */
static void find_empty(const dt_program *p, uint8_t *empty) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (int32_t i = 0; i < p->n_nodes; i++) {
            const dt_gr_node *n = &p->nodes[i];
            bool e = n->kind == DT_GR_RETURN || (n->kind == DT_GR_ALT && (empty[n->a] || empty[n->b])) ||
                     (n->kind == DT_GR_CALL && empty[p->entry[n->a]] && empty[n->b]);
            if (e && !empty[i]) {
                empty[i] = 1;
                changed = true;
            }
        }
    }
}

/* Depth first over what is reached without a byte; true if it comes back to a node on its own way. */
static bool goes_in_circles(const dt_program *p, const uint8_t *empty, uint8_t *seen, int32_t *stack) {
    for (int32_t from = 0; from < p->n_nodes; from++) {
        int32_t n = 0;
        if (seen[from]) {
            continue;
        }
        stack[n++] = from;
        while (n > 0) {
            int32_t i = stack[n - 1], to[2] = {-1, -1};
            const dt_gr_node *x = &p->nodes[i];
            if (x->kind == DT_GR_ALT) {
                to[0] = x->a;
                to[1] = x->b;
            } else if (x->kind == DT_GR_CALL) {
                to[0] = p->entry[x->a];
                to[1] = empty[to[0]] ? x->b : -1;
            }
            int k = 0;
            seen[i] = 1; /* on the way */
            while (k < 2 && (to[k] < 0 || seen[to[k]] == 2)) {
                k++;
            }
            if (k == 2) {
                seen[i] = 2;
                n--;
            } else if (seen[to[k]] == 1) {
                return true;
            } else {
                stack[n++] = to[k];
            }
        }
    }
    return false;
}

duet_status dt_program_finish(dt_program *p, duet_err *err) {
    if (p->no_memory) {
        return dt_fail(err, DUET_E_NOMEM, "schema: no memory for %d nodes", (int)p->n_nodes);
    }
    if (p->full) {
        return dt_fail(err, DUET_E_RANGE, "schema: too large, more than %d steps", DT_GR_MAX_NODES);
    }
    find_needs(p);
    if (p->nodes[p->root].need == DT_GR_NO_WAY) {
        return dt_fail(err, DUET_E_FORMAT, "schema: nothing of bounded depth fits it (a required part refers to itself?)");
    }
    uint8_t *empty = dt_calloc((size_t)p->n_nodes, 1), *seen = dt_calloc((size_t)p->n_nodes, 1);
    int32_t *stack = dt_calloc((size_t)p->n_nodes + 1, sizeof *stack);
    duet_status st = DUET_OK;
    if (!empty || !seen || !stack) {
        st = dt_fail(err, DUET_E_NOMEM, "schema: no memory for %d nodes", (int)p->n_nodes);
    } else {
        find_empty(p, empty);
        if (goes_in_circles(p, empty, seen, stack)) {
            st = dt_fail(err, DUET_E_UNSUPPORTED, "schema: a part repeats, or refers to itself, with nothing between");
        }
    }
    free(empty);
    free(seen);
    free(stack);
    return st;
}
