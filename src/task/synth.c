/* Task families: settings, the train and test split, examples by number. Example `index` of (split, seed) is a pure
 * function: candidates are drawn from the stream (seed, split, index) until one falls into the split. */
#include "task/family.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const dt_family *const families[] = {&dt_family_register, &dt_family_swap, &dt_family_remainder};

struct duet_task {
    const dt_family *f;
    double *knob;
};

int dt_knob_draw(dt_rng *r, double lo, double hi) {
    return hi <= lo ? (int)lo : (int)lo + (int)dt_rng_below(r, (uint32_t)(hi - lo) + 1);
}

const duet_family *duet_families(size_t *n) {
    static duet_family list[DT_COUNT(families)];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < DT_COUNT(families); i++)
        list[i] = families[i]->pub;
    pthread_mutex_unlock(&lock);
    *n = DT_COUNT(families);
    return list;
}

static const dt_family *find(const char *name, duet_err *err) {
    for (size_t i = 0; i < DT_COUNT(families); i++)
        if (!strcmp(families[i]->pub.name, name)) return families[i];
    dt_fail(err, DUET_E_USAGE, "task family %.40s is not known; there are register, swap, remainder", name);
    return NULL;
}

static int knob_index(const dt_family *f, const char *name, size_t n) {
    for (size_t i = 0; i < f->pub.n_knobs; i++)
        if (strlen(f->pub.knobs[i].name) == n && !memcmp(f->pub.knobs[i].name, name, n)) return (int)i;
    return -1;
}

static duet_status set_knob(duet_task *t, int i, const char *text, duet_err *err) {
    const duet_knob *k = &t->f->pub.knobs[i];
    char *end = NULL;
    double v = strtod(text, &end);
    bool whole = k->max > 1;
    if (end == text || *end || !(v >= k->min && v <= k->max) || (whole && v > (double)(int)v))
        return dt_fail(err, DUET_E_USAGE, "task %s: %s=%.40s is not a %s in %g..%g", t->f->pub.name, k->name, text, whole ? "whole number" : "number", k->min, k->max);
    t->knob[i] = v;
    return DUET_OK;
}

/* "depth=3" and "depth=2..6" set depth_min and depth_max; any other name is a knob itself. */
static duet_status apply(duet_task *t, const char *setting, duet_err *err) {
    const char *eq = strchr(setting, '=');
    char lo[64], hi[64], name[64];
    if (!eq || eq == setting || (size_t)(eq - setting) > 40 || strlen(eq + 1) > 60)
        return dt_fail(err, DUET_E_USAGE, "task %s: %.60s is not knob=value", t->f->pub.name, setting);
    int i = knob_index(t->f, setting, (size_t)(eq - setting));
    if (i >= 0) return set_knob(t, i, eq + 1, err);
    snprintf(name, sizeof name, "%.*s_min", (int)(eq - setting), setting);
    int a = knob_index(t->f, name, strlen(name));
    snprintf(name, sizeof name, "%.*s_max", (int)(eq - setting), setting);
    int b = knob_index(t->f, name, strlen(name));
    if (a < 0 || b < 0) {
        dt_buf known = {0};
        for (size_t k = 0; k < t->f->pub.n_knobs; k++)
            dt_buf_addf(&known, "%s%s", k ? ", " : "", t->f->pub.knobs[k].name);
        duet_status st = dt_fail(err, DUET_E_USAGE, "task %s has no knob %.*s; it has %s", t->f->pub.name, (int)(eq - setting), setting, known.data ? known.data : "");
        dt_buf_clear(&known);
        return st;
    }
    const char *dots = strstr(eq + 1, "..");
    snprintf(lo, sizeof lo, "%.*s", dots ? (int)(dots - eq - 1) : 60, eq + 1);
    snprintf(hi, sizeof hi, "%s", dots ? dots + 2 : eq + 1);
    duet_status st = set_knob(t, a, lo, err);
    return st ? st : set_knob(t, b, hi, err);
}

duet_status duet_task_open(const char *family, const char *const *settings, size_t n, duet_task **out, duet_err *err) {
    duet_status st = DUET_OK;
    *out = NULL;
    const dt_family *f = find(family, err);
    if (!f) return DUET_E_USAGE;
    duet_task *t = dt_calloc(1, sizeof *t);
    if (t) t->knob = dt_calloc(f->pub.n_knobs, sizeof *t->knob);
    if (!t || !t->knob) {
        duet_task_close(t);
        return dt_fail(err, DUET_E_NOMEM, "task %s: no memory", family);
    }
    t->f = f;
    for (size_t i = 0; i < f->pub.n_knobs; i++)
        t->knob[i] = f->pub.knobs[i].def;
    for (size_t i = 0; !st && i < n; i++)
        st = apply(t, settings[i], err);
    for (size_t i = 0; !st && i + 1 < f->pub.n_knobs; i++) { /* pairs X_min, X_max stand side by side */
        const char *name = f->pub.knobs[i].name;
        size_t len = strlen(name);
        if (len > 4 && !strcmp(name + len - 4, "_min") && t->knob[i] > t->knob[i + 1])
            st = dt_fail(err, DUET_E_USAGE, "task %s: %s is %g, above %s %g", family, name, t->knob[i], f->pub.knobs[i + 1].name, t->knob[i + 1]);
    }
    if (!st && f->check) st = f->check(t->knob, err);
    if (st) {
        duet_task_close(t);
        return st;
    }
    *out = t;
    return DUET_OK;
}

void duet_task_close(duet_task *t) {
    if (!t) return;
    free(t->knob);
    free(t);
}

/* The mixture: every piece, none, or a fair coin for each. */
static dt_style mixture(const duet_task *t, dt_rng *r) {
    const double *m = t->knob + t->f->pub.n_knobs - DT_N_MIXTURE;
    double u = dt_rng_uniform(r);
    unsigned coins = dt_rng_u32(r) & DT_PIECES_ALL;
    bool early = dt_rng_uniform(r) < m[2];
    return (dt_style){.pieces = u < m[0] ? DT_PIECES_ALL : u < m[0] + m[1] ? DT_PIECES_NONE : coins, .early = early};
}

static void draw_clear(dt_draw *d) {
    dt_buf_clear(&d->question);
    dt_buf_clear(&d->answer);
    dt_buf_clear(&d->verbose);
    dt_buf_clear(&d->compact);
    dt_buf_clear(&d->chain);
}

duet_status duet_task_example(const duet_task *t, duet_split split, uint64_t seed, uint64_t index, duet_example *out, duet_err *err) {
    dt_rng r = dt_rng_make(seed ^ (split == DUET_SPLIT_TEST ? 0x7465737400000000u : 0), index);
    *out = (duet_example){0};
    for (int tries = 0; tries < 10000; tries++) {
        dt_draw d = {0};
        dt_style style = mixture(t, &r);
        t->f->draw(t->knob, &r, style, &d);
        if (d.question.failed || d.answer.failed || d.verbose.failed || d.compact.failed || d.chain.failed) {
            draw_clear(&d);
            return dt_fail(err, DUET_E_NOMEM, "task %s: no memory", t->f->pub.name);
        }
        bool test = dt_hash64(d.question.data, d.question.len, 0) % 10 == 0;
        if (test != (split == DUET_SPLIT_TEST)) {
            draw_clear(&d);
            continue;
        }
        char id[96];
        snprintf(id, sizeof id, "%s-%s-%llu-%llu", t->f->pub.name, test ? "test" : "train", (unsigned long long)seed, (unsigned long long)index);
        out->id = dt_strdup(id);
        out->question = dt_buf_take(&d.question);
        out->answer = dt_buf_take(&d.answer);
        out->verbose = dt_buf_take(&d.verbose);
        out->compact = dt_buf_take(&d.compact);
        out->chain = dt_buf_take(&d.chain);
        out->early = style.early;
        draw_clear(&d);
        if (out->id && out->question && out->answer && out->verbose && out->compact && out->chain) return DUET_OK;
        duet_example_clear(out);
        return dt_fail(err, DUET_E_NOMEM, "task %s: no memory", t->f->pub.name);
    }
    return dt_fail(err, DUET_E_RANGE, "task %s: these knobs leave no question for the %s split; widen them", t->f->pub.name, split == DUET_SPLIT_TEST ? "test" : "train");
}

void duet_example_clear(duet_example *e) {
    free(e->id);
    free(e->question);
    free(e->answer);
    free(e->verbose);
    free(e->compact);
    free(e->chain);
    free(e->prompt);
    *e = (duet_example){0};
}
