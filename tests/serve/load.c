/* A server under a crowd, by hand (script/test-load): 1,000 clients connect at once and keep asking for some minutes, 200 of them
 * for streams; three in ten leave at a random moment. Two small random models answer. At the end no place may be held, the queue
 * must have kept to its bound, and the ledgers must have counted what the engines did, to the token.
 *   load [MINUTES [CLIENTS]] */
#include "serve/stage.h"

enum { PARALLEL = 32, QUEUE = 200 };

static struct crowd {
    int port, n;
    volatile int over;
    volatile long asked, answered, refused, left, failed, tokens_cut;
} crowd;

static void count(volatile long *what) {
    __atomic_add_fetch(what, 1, __ATOMIC_RELAXED);
}

static void nap(dt_rng *r, uint32_t most_ms) {
    usleep(dt_rng_below(r, most_ms * 1000) + 1);
}

/* Reads an answer, or a part of it. */
static void listen_to(client *c, dt_rng *r, bool leaves) {
    reply a = {0};
    const uint32_t pieces = leaves ? dt_rng_below(r, 30) : UINT32_MAX;
    if (leaves && dt_rng_below(r, 2)) {
        nap(r, 100);
        count(&crowd.left);
        return;
    }
    if (leaves) {
        client_head(c, &a, 60);
        for (uint32_t i = 0; i < pieces && a.status == 200 && reply_header(&a, "Transfer-Encoding") && client_chunk(c, &a, 60) > 0; i++) {
        }
        count(&crowd.left);
    } else {
        a = client_reads(c, 120, false);
        const bool cut = a.status == 200 && !a.whole;
        if (a.status == 200 && !cut && !strstr(a.body.data, "\"error\""))
            count(&crowd.answered);
        else if (a.status == 429 || a.status == 503)
            count(&crowd.refused);
        else if (count(&crowd.failed), crowd.failed < 5)
            printf("status %d, %s: %.200s\n", a.status, a.whole ? "whole" : "cut", a.body.data ? a.body.data : "");
    }
    reply_clear(&a);
}

static void *ask_again_and_again(void *user) {
    static const char *const models[] = {"duet", "duet@20", "duet-m", "duet-M", "duet@0"};
    const long id = (long)(intptr_t)user;
    dt_rng r = dt_rng_make(1, (uint64_t)id);
    client c = client_open(crowd.port);
    while (!__atomic_load_n(&crowd.over, __ATOMIC_RELAXED)) {
        char body[320];
        const bool leaves = dt_rng_below(&r, 10) < 3;
        snprintf(body, sizeof body,
                 "{\"model\":\"%s\",\"stream\":%s,\"max_tokens\":%u,\"seed\":%u,\"temperature\":1,\"messages\":[{\"role\":\"user\",\"content\":\"add %u take %u\"}]}",
                 models[dt_rng_below(&r, 5)], id % 5 ? "false" : "true", dt_rng_below(&r, 60), dt_rng_below(&r, 4), dt_rng_below(&r, 50),
                 dt_rng_below(&r, 3));
        if (c.fd < 0)
            c = client_open(crowd.port);
        count(&crowd.asked);
        if (c.fd >= 0 && client_asks(&c, "POST", CHAT, NULL, body))
            listen_to(&c, &r, leaves);
        if (leaves || c.ended || dt_rng_below(&r, 10) == 0) {
            client_close(&c);
            c.fd = -1;
        }
        nap(&r, 200);
    }
    client_close(&c);
    return NULL;
}

static double metric(const dt_buf *text, const char *name) {
    const char *at = text->data ? strstr(text->data, name) : NULL;
    return at ? strtod(at + strlen(name), NULL) : (double)NAN;
}

static reply metrics(void) {
    return ask(crowd.port, "GET", "/metrics", NULL, NULL);
}

static int check_counts(const dt_buf *m) {
    static const char *const kinds[] = {"prompt", "cached", "output"};
    int bad = 0;
    for (int side = 0; side < 2; side++) {
        for (int k = 0; k < 3; k++) {
            char name[128];
            double ledger = 0;
            for (int part = 0; part < 2 - side; part++) {
                snprintf(name, sizeof name, "duet_tokens_total{model=\"%s\",stage=\"%s\",kind=\"%s\"} ", side ? "m" : "M", side || part ? "answer" : "signal", kinds[k]);
                ledger += metric(m, name);
            }
            snprintf(name, sizeof name, "duet_engine_tokens_total{model=\"%s\",kind=\"%s\"} ", side ? "m" : "M", kinds[k]);
            printf("%s %-6s ledger %.0f engine %.0f\n", side ? "m" : "M", kinds[k], ledger, metric(m, name));
            bad += !(ledger == metric(m, name));
        }
    }
    return bad;
}

static duet_backend *open_model(const duet_tokenizer *tok, uint64_t seed) {
    char dir[64];
    duet_backend *b = NULL;
    duet_err err = {{0}};
    model_folder(dir, tok, duet_tokenizer_size(tok), 256, seed);
    if (duet_backend_open(dir, &(duet_backend_options){.engine = {.n_threads = 1, .max_seqs = PARALLEL}}, &b, &err)) {
        printf("%s\n", err.text);
        exit(1);
    }
    dt_remove_tree(dir, NULL);
    return b;
}

static int watch(double minutes, pthread_t *threads) {
    double most_waiting = 0;
    int bad = 0;
    for (const double end = dt_now() + 60 * minutes; dt_now() < end; usleep(500000)) {
        reply r = metrics();
        const double waiting = metric(&r.body, "\nduet_queue_waiting ");
        most_waiting = waiting > most_waiting ? waiting : most_waiting;
        reply_clear(&r);
    }
    __atomic_store_n(&crowd.over, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < crowd.n; i++)
        pthread_join(threads[i], NULL);
    reply r = {0};
    double held = 1;
    for (const double end = dt_now() + 10; held > 0 && dt_now() < end; usleep(100000)) {
        reply_clear(&r);
        r = metrics();
        held = metric(&r.body, "\nduet_queue_running ") + metric(&r.body, "\nduet_queue_waiting ");
    }
    printf("asked %ld, answered %ld, refused %ld, left %ld, failed %ld; most waiting %.0f of %d; places held at the end %.0f; connections %.0f\n",
           crowd.asked, crowd.answered, crowd.refused, crowd.left, crowd.failed, most_waiting, QUEUE, held, metric(&r.body, "\nduet_connections "));
    bad = check_counts(&r.body) + (crowd.failed != 0) + (held != 0) + (most_waiting > QUEUE) + (crowd.answered == 0);
    reply_clear(&r);
    return bad;
}

int main(int argc, char **argv) {
    const double minutes = argc > 1 ? strtod(argv[1], NULL) : 1;
    stage s = {0};
    pthread_attr_t small;
    crowd.n = argc > 2 ? atoi(argv[2]) : 1000;
    pthread_t *threads = calloc((size_t)crowd.n, sizeof *threads);
    s.tok = small_tokenizer(0);
    duet_backend *M = open_model(s.tok, 1), *m = open_model(s.tok, 2);
    duet_err err = {{0}};
    if (!threads || duet_pair_create(M, m, NULL, &s.pair, &err))
        return 1;
    duet_serve_options o = duet_serve_defaults(s.pair);
    o.parallel = PARALLEL;
    o.queue = QUEUE;
    o.signal_budget = 60;
    if (duet_server_create(s.pair, M, m, &o, &s.server, &err)) {
        printf("%s\n", err.text);
        return 1;
    }
    crowd.port = duet_server_port(s.server);
    pthread_create(&s.thread, NULL, stage_plays, &s);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, (size_t)1 << 20);
    for (int i = 0; i < crowd.n; i++)
        if (pthread_create(&threads[i], &small, ask_again_and_again, (void *)(intptr_t)i)) {
            printf("client %d could not be started\n", i);
            exit(1);
        }
    const int bad = watch(minutes, threads);
    duet_server_stop(s.server, false);
    pthread_join(s.thread, NULL);
    duet_server_destroy(s.server);
    duet_pair_destroy(s.pair);
    duet_backend_close(M);
    duet_backend_close(m);
    duet_tokenizer_close(s.tok);
    pthread_attr_destroy(&small);
    free(threads);
    printf("%s\n", bad ? "FAILED" : "passed");
    return bad != 0;
}
