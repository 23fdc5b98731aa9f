/* A server on scripted models, whose speed the test sets: how long a prompt takes, and each token. */
#ifndef TESTS_SERVE_STAGE_H
#define TESTS_SERVE_STAGE_H

#include "backend/fixture.h"
#include "backend/interface.h"
#include "duet/serve.h"
#include "serve/client.h"

#include <math.h>
#include <pthread.h>

typedef struct actor { /* one model */
    duet_backend *b;
    duet_status (*generate)(duet_backend *, duet_gen_request *, size_t, const volatile int *, duet_err *);
    const char *reply;  /* NULL = fails */
    volatile int prompt_ms, token_ms;
    volatile int now, calls, cancelled; /* how many are being asked, were asked, were cut */
    volatile size_t prompt_tokens, output_tokens; /* all that was ever spent */
    char prompt[8192]; /* the last one */
    pthread_mutex_t lock;
} actor;

typedef struct stage {
    actor M, m;
    duet_tokenizer *tok;
    duet_pair *pair;
    duet_server *server;
    int port;
    pthread_t thread;
    volatile int stop;
} stage;

static stage *on_stage; /* the one whose actors play */

static inline const char *actor_says(void *user, const char *prompt, int sample) {
    actor *a = user;
    (void)sample;
    pthread_mutex_lock(&a->lock);
    snprintf(a->prompt, sizeof a->prompt, "%s", prompt);
    a->calls++;
    pthread_mutex_unlock(&a->lock);
    return a->reply;
}

static inline bool slept(int ms, const volatile int *cancel) {
    for (; ms > 0; ms -= 5) {
        if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED))
            return false;
        usleep(ms < 5 ? (useconds_t)ms * 1000 : 5000);
    }
    return !cancel || !__atomic_load_n(cancel, __ATOMIC_RELAXED);
}

typedef struct slow {
    actor *a;
    const volatile int *cancel;
    int (*on_token)(void *user, int sample, int32_t id, float logprob);
    void *user;
} slow;

static inline int slow_token(void *user, int sample, int32_t id, float logprob) {
    slow *s = user;
    slept(s->a->token_ms, s->cancel);
    return s->on_token ? s->on_token(s->user, sample, id, logprob) : 0;
}

static inline duet_status slow_generate(duet_backend *b, duet_gen_request *reqs, size_t n, const volatile int *cancel, duet_err *err) {
    actor *a = b == on_stage->M.b ? &on_stage->M : &on_stage->m;
    duet_status st = DUET_OK;
    slow *s = calloc(n, sizeof *s);
    __atomic_add_fetch(&a->now, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < n; i++) {
        reqs[i].usage = (duet_usage){0};
        for (int j = 0; j < (reqs[i].n > 0 ? reqs[i].n : 1); j++)
            reqs[i].out[j] = (duet_generation){0};
        s[i] = (slow){a, cancel, reqs[i].on_token, reqs[i].user};
        reqs[i].on_token = slow_token;
        reqs[i].user = &s[i];
    }
    if (!slept(a->prompt_ms, cancel))
        st = dt_fail(err, DUET_E_CANCELLED, "cancelled");
    if (!st)
        st = a->generate(b, reqs, n, cancel, err);
    for (size_t i = 0; i < n; i++) {
        __atomic_add_fetch(&a->prompt_tokens, reqs[i].usage.prompt_tokens, __ATOMIC_RELAXED);
        __atomic_add_fetch(&a->output_tokens, reqs[i].usage.output_tokens, __ATOMIC_RELAXED);
    }
    __atomic_add_fetch(&a->cancelled, st == DUET_E_CANCELLED, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&a->now, 1, __ATOMIC_RELAXED);
    free(s);
    return st;
}

static inline void actor_enter(actor *a, const duet_tokenizer *tok, const char *line) {
    a->reply = line;
    pthread_mutex_init(&a->lock, NULL);
    assert_int_equal(duet_backend_scripted(tok, actor_says, a, &a->b, NULL), DUET_OK);
    a->generate = a->b->generate;
    a->b->generate = slow_generate;
}

static inline void *stage_plays(void *user) {
    stage *s = user;
    duet_err err = {{0}};
    if (duet_server_run(s->server, &s->stop, &err))
        fail_msg("server: %s", err.text);
    return NULL;
}

/* opt: NULL = defaults; of it, everything but the sampling counts. */
static inline void stage_open(stage *s, const duet_serve_options *opt) {
    duet_err err = {{0}};
    *s = (stage){0};
    on_stage = s;
    s->tok = small_tokenizer(0);
    actor_enter(&s->M, s->tok, "<think>\nfirst add seven then take three\n</think>");
    actor_enter(&s->m, s->tok, "the answer is 4");
    assert_int_equal(duet_pair_create(s->M.b, s->m.b, NULL, &s->pair, NULL), DUET_OK);
    if (duet_server_create(s->pair, s->M.b, s->m.b, opt, &s->server, &err))
        fail_msg("server: %s", err.text);
    s->port = duet_server_port(s->server);
    assert_int_equal(pthread_create(&s->thread, NULL, stage_plays, s), 0);
}

static inline void stage_wait(stage *s) { /* until it has stopped */
    pthread_join(s->thread, NULL);
    s->thread = 0;
}

static inline void stage_close(stage *s) {
    if (s->thread) {
        duet_server_stop(s->server, true);
        stage_wait(s);
    }
    duet_server_destroy(s->server);
    duet_pair_destroy(s->pair);
    duet_backend_close(s->M.b);
    duet_backend_close(s->m.b);
    pthread_mutex_destroy(&s->M.lock);
    pthread_mutex_destroy(&s->m.lock);
    duet_tokenizer_close(s->tok);
}

/* The stage `s` of a file of tests, and what opens it with defaults and closes it. */
#define STAGE_OF_TESTS                                                                                                 \
    static stage s;                                                                                                    \
    static int open_default(void **state) {                                                                            \
        (void)state;                                                                                                   \
        stage_open(&s, NULL);                                                                                          \
        return 0;                                                                                                      \
    }                                                                                                                  \
    static int close_it(void **state) {                                                                                \
        (void)state;                                                                                                   \
        stage_close(&s);                                                                                               \
        return 0;                                                                                                      \
    }

/* Waits until *value is what is wanted; false: not within the time. */
static inline bool becomes(const volatile int *value, int want, double seconds) {
    for (const double end = dt_now() + seconds; dt_now() < end; usleep(2000))
        if (__atomic_load_n(value, __ATOMIC_RELAXED) == want)
            return true;
    return __atomic_load_n(value, __ATOMIC_RELAXED) == want;
}

#define CHAT "/v1/chat/completions"
#define QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"question\"}]"

#endif
