/* A server from its start to its end: where it listens, its event loop, how it stops. */
#include "serve/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

duet_serve_options duet_serve_defaults(const duet_pair *p) {
    const duet_pair_request r = duet_pair_request_defaults(p);
    return (duet_serve_options){.parallel = 64,
                                .queue = 512,
                                .max_connections = 4096,
                                .max_body = (size_t)8 << 20,
                                .head_s = 10,
                                .body_s = 60,
                                .idle_s = 75,
                                .write_s = 60,
                                .keep_alive_s = 10,
                                .signal_budget = r.signal_budget,
                                .answer_budget = r.answer_budget,
                                .M = r.M,
                                .m = r.m};
}

/* ---- small things ---- */

double dt_serve_wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

uint64_t dt_serve_random(dt_server *s) {
    const uint64_t n = s->n_ids++;
    return dt_hash64(&n, sizeof n, s->seed);
}

void dt_serve_id(dt_server *s, const char *prefix, char out[48]) {
    const unsigned long long a = dt_serve_random(s), b = dt_serve_random(s);
    snprintf(out, 48, "%s-%016llx%08llx", prefix, a, b & 0xffffffffULL);
}

/* ---- listening ---- */

static duet_status listen_on(dt_server *s, const struct sockaddr *sa, int n, duet_err *err);

static duet_status listen_unix(dt_server *s, const char *path, duet_err *err) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof sa.sun_path)
        return dt_fail(err, DUET_E_RANGE, "%s: a socket's path has at most %zu bytes", path, sizeof sa.sun_path - 1);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if (!lstat(path, &st)) { /* left by a server that was killed? */
        const int fd = S_ISSOCK(st.st_mode) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
        const bool dead = fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) && errno == ECONNREFUSED;
        if (fd >= 0)
            close(fd);
        if (!dead)
            return dt_fail(err, DUET_E_IO, "%s: %s", path, fd < 0 ? "is there and is no socket" : "another server listens there");
        unlink(path);
    }
    const mode_t old = umask(0177);
    duet_status status = listen_on(s, (struct sockaddr *)&sa, sizeof sa, err);
    umask(old);
    snprintf(s->address, sizeof s->address, "unix:%s", path);
    return status ? dt_fail_in(err, status, "%s", path) : DUET_OK;
}

static duet_status listen_tcp(dt_server *s, const char *host, int port, duet_err *err) {
    char service[16];
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    snprintf(service, sizeof service, "%d", port);
    const int code = getaddrinfo(host, service, &want, &list);
    if (code)
        return dt_fail(err, DUET_E_IO, "%s: %s", host, gai_strerror(code));
    duet_status st = listen_on(s, list->ai_addr, (int)list->ai_addrlen, err);
    freeaddrinfo(list);
    if (st)
        return dt_fail_in(err, st, "%s:%d", host, port);
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    memset(&at, 0, sizeof at);
    socklen_t n = sizeof at;
    if (getsockname(evconnlistener_get_fd(s->listener), &at.any, &n))
        return dt_fail(err, DUET_E_IO, "%s:%d: %s", host, port, strerror(errno));
    s->port = ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
    snprintf(s->address, sizeof s->address, strchr(host, ':') ? "http://[%s]:%d" : "http://%s:%d", host, s->port);
    return DUET_OK;
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int n, void *user) {
    (void)l;
    (void)n;
    dt_conn_accept(user, fd, sa);
}

/* No more descriptors: the next tick tries again. */
static void on_accept_error(struct evconnlistener *l, void *user) {
    (void)user;
    dt_log(DT_LOG_WARN, "server: cannot take a connection: %s", strerror(errno));
    evconnlistener_disable(l);
}

static duet_status listen_on(dt_server *s, const struct sockaddr *sa, int n, duet_err *err) {
    s->listener = evconnlistener_new_bind(s->base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                          4096, sa, n);
    if (!s->listener)
        return dt_fail(err, DUET_E_IO, "cannot listen: %s", strerror(errno));
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    return DUET_OK;
}

static void stop_listening(dt_server *s) {
    if (s->listener && s->opt.unix_socket)
        unlink(s->opt.unix_socket);
    if (s->listener)
        evconnlistener_free(s->listener);
    s->listener = NULL;
}

/* ---- the loop ---- */

static void on_tick(evutil_socket_t fd, short what, void *user) {
    dt_server *s = user;
    (void)fd;
    (void)what;
    const int asked = __atomic_load_n(&s->stop_asked, __ATOMIC_RELAXED);
    if (asked || (s->stop_flag && __atomic_load_n(s->stop_flag, __ATOMIC_RELAXED))) {
        s->stopping = true;
        stop_listening(s);
    }
    if (asked == 2)
        dt_jobs_cancel_all(s);
    if (s->listener)
        evconnlistener_enable(s->listener);
    dt_conn_tick(s, dt_now());
    if (s->stopping && !s->n_conns && !s->jobs.n_all)
        event_base_loopbreak(s->base);
}

/* A client that is gone shows as a failed write, whatever the program does about SIGPIPE. */
duet_status duet_server_run(duet_server *s, const volatile int *stop, duet_err *err) {
    sigset_t pipe_only, before;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    s->stop_flag = stop;
    const int code = event_base_dispatch(s->base);
    event_base_loop(s->base, EVLOOP_NONBLOCK); /* libevent closes what was freed in its next turn */
    s->stop_flag = NULL;
    if (!sigismember(&before, SIGPIPE))
        while (sigtimedwait(&pipe_only, NULL, &(struct timespec){0}) > 0) {
        }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code < 0 ? dt_fail(err, DUET_E_INTERNAL, "%s: the event loop failed", s->address) : DUET_OK;
}

void duet_server_stop(duet_server *s, bool now) {
    __atomic_store_n(&s->stop_asked, now ? 2 : 1, __ATOMIC_RELAXED);
}

/* ---- start and end ---- */

static duet_status check(const duet_serve_options *o, duet_err *err) {
    if (o->parallel < 1 || o->parallel > 4096 || o->queue < 0 || o->max_connections < 1 || o->port < 0 || o->port > 65535)
        return dt_fail(err, DUET_E_RANGE, "server: parallel %d (1 to 4096), queue %d, connections %d, port %d: one is out of range",
                       o->parallel, o->queue, o->max_connections, o->port);
    if (o->signal_budget < -1 || o->answer_budget < -1)
        return dt_fail(err, DUET_E_RANGE, "server: budgets of %d and %d tokens: must be 0 or more, or -1 for no bound",
                       o->signal_budget, o->answer_budget);
    return DUET_OK;
}

static bool copy(const char **s) {
    const char *old = *s;
    *s = dt_strdup(old);
    return *s || !old;
}

/* Keys are kept as hashes: comparing those takes the same time whatever is right in them. */
static duet_status take_options(dt_server *s, const duet_serve_options *opt, duet_err *err) {
    s->opt = *opt;
    s->opt.api_keys = NULL;
    bool ok = copy(&s->opt.host) & copy(&s->opt.unix_socket) & copy(&s->opt.cors_origin) & copy(&s->opt.log) & copy(&s->opt.trace);
    s->keys = dt_calloc(opt->n_api_keys + 1, sizeof *s->keys);
    if (!ok || !s->keys)
        return dt_fail(err, DUET_E_NOMEM, "server: no memory");
    for (size_t i = 0; i < opt->n_api_keys; i++) {
        dt_sha256 h;
        dt_sha256_init(&h);
        dt_sha256_add(&h, opt->api_keys[i], strlen(opt->api_keys[i]));
        dt_sha256_hex(&h, s->keys[i]);
    }
    return DUET_OK;
}

/* As many descriptors as connections are allowed, if the system lets us. */
static void raise_files(size_t n) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= n)
        return;
    r.rlim_cur = r.rlim_max < n ? r.rlim_max : n;
    setrlimit(RLIMIT_NOFILE, &r);
}

duet_status duet_server_create(duet_pair *p, duet_backend *M, duet_backend *m, const duet_serve_options *opt, duet_server **out,
                               duet_err *err) {
    const duet_serve_options defaults = duet_serve_defaults(p);
    const struct timeval each = {0, (int)(DT_TICK_S * 1e6)};
    *out = NULL;
    opt = opt ? opt : &defaults;
    duet_status st = check(opt, err);
    if (st)
        return st;
    dt_server *s = calloc(1, sizeof *s);
    if (!s)
        return dt_fail(err, DUET_E_NOMEM, "server: no memory");
    s->pair = p;
    s->M = M;
    s->m = m;
    s->started = dt_now();
    if (getrandom(&s->seed, sizeof s->seed, 0) != sizeof s->seed)
        s->seed = (uint64_t)(dt_serve_wall() * 1e9);
    raise_files((size_t)opt->max_connections + 64);
    st = take_options(s, opt, err);
    if (st)
        goto done;
    s->base = event_base_new();
    s->tick = s->base ? event_new(s->base, -1, EV_PERSIST, on_tick, s) : NULL;
    if (!s->tick || event_add(s->tick, &each)) {
        st = dt_fail(err, DUET_E_NOMEM, "server: no event loop");
        goto done;
    }
    st = dt_log_open(opt->log, &s->log, err);
    if (!st)
        st = dt_log_open(opt->trace, &s->trace, err);
    if (!st)
        st = dt_jobs_open(s, err);
    if (!st)
        st = opt->unix_socket ? listen_unix(s, opt->unix_socket, err) : listen_tcp(s, opt->host ? opt->host : "127.0.0.1", opt->port, err);
    if (st)
        goto done;
    *out = s;
    s = NULL;
done:
    duet_server_destroy(s);
    return st;
}

void duet_server_destroy(duet_server *s) {
    if (!s)
        return;
    stop_listening(s);
    if (s->jobs.open)
        dt_jobs_close(s);
    for (dt_conn *c = s->conns, *next = NULL; c; c = next) {
        next = c->next;
        c->job = NULL; /* ended above */
        dt_conn_free(c);
    }
    dt_log_close(s->log);
    dt_log_close(s->trace);
    if (s->tick)
        event_free(s->tick);
    if (s->base)
        event_base_free(s->base);
    free((void *)(uintptr_t)s->opt.host);
    free((void *)(uintptr_t)s->opt.unix_socket);
    free((void *)(uintptr_t)s->opt.cors_origin);
    free((void *)(uintptr_t)s->opt.log);
    free((void *)(uintptr_t)s->opt.trace);
    free(s->keys);
    free(s);
}

const char *duet_server_address(const duet_server *s) {
    return s->address;
}

int duet_server_port(const duet_server *s) {
    return s->port;
}
