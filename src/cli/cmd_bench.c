/* duet bench: how fast this machine reads prompts, writes tokens and trains. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MAX_BATCHES = 16, MOST_TOGETHER = 64 /* tokens that each of several writes */ };

typedef struct bench {
    const cli_args *a;
    duet_model *model;
    duet_model_info info;
    duet_engine *engine;
    int batch[MAX_BATCHES], depth[MAX_BATCHES];
    size_t n_batches, n_depths;
    duet_peak peak;                 /* of this machine; measured with -m */
    double opened_s, first_token_s; /* from the start of opening: the engine is there, a token has come */
} bench;

/* One row: `batch` sequences after the same prompt of `prompt` tokens, or after prompts of their own, each writing
 * `tokens`; or reading prompts of `tokens`. At a depth: one sequence after `prompt` tokens, which the run that warms up reads and the
 * cache keeps. */
typedef struct measure {
    bool reading, apart, deep;
    int batch, prompt, tokens;
} measure;

static const int32_t no_ids[1] = {0};

/* Numbers 1..most from a list with commas; NULL = none. */
static int read_list(const char *option, const char *list, int most, int *out, size_t *n_out) {
    char *copy = dt_strdup(list ? list : ""), *rest = copy;
    int code = 0;
    for (char *word; list && !code && (word = strsep(&rest, ","));) {
        long long n = 0;
        if (!cli_read_int(word, 1, most, &n) || *n_out == MAX_BATCHES)
            code = cli_fail(EXIT_USAGE, "bench: --%s: %s is not a list of at most %d numbers in 1..%d", option, list, MAX_BATCHES,
                            most);
        else
            out[(*n_out)++] = (int)n;
    }
    free(copy);
    return code;
}

/* Random tokens, other ones for each key: nothing is found in a cache. Together after one prompt: the samples of one
 * request. The engine says how long its two halves took; the first token of each sample belongs to the prompt. With
 * prompts of their own: requests that run together, from their start to their end. read_s, where not NULL: what reading took. */
static duet_status once(const bench *b, const measure *m, uint64_t key, double *seconds, double *read_s, duet_err *err) {
    duet_status st = DUET_OK;
    size_t n_reqs = m->apart ? (size_t)m->batch : 1, len = (size_t)(m->reading ? m->tokens : m->prompt);
    int32_t *ids = dt_calloc(n_reqs * len, sizeof *ids);
    duet_gen_request *r = dt_calloc(n_reqs, sizeof *r);
    duet_generation *g = dt_calloc((size_t)m->batch, sizeof *g);
    if (!ids || !r || !g) {
        st = dt_fail(err, DUET_E_NOMEM, "bench: no memory for %d requests", m->batch);
        goto done;
    }
    dt_rng rng = dt_rng_make(1, key);
    for (size_t i = 0; i < n_reqs * len; i++)
        ids[i] = (int32_t)dt_rng_below(&rng, (uint32_t)b->info.n_vocab);
    for (size_t i = 0; i < n_reqs; i++)
        r[i] = (duet_gen_request){.prompt = ids + i * len,
                                  .n_prompt = len,
                                  .n = m->apart ? 1 : m->batch,
                                  .max_tokens = m->reading ? 1 : m->tokens + !m->apart,
                                  .eos_ids = no_ids,
                                  .key = i,
                                  .out = &g[i]};
    double began = dt_now();
    st = duet_engine_generate(b->engine, r, n_reqs, cli_cancel(), err);
    *seconds = m->apart ? dt_now() - began : m->reading ? r->usage.prefill_s : r->usage.decode_s;
    if (read_s)
        *read_s = r->usage.prefill_s;
done:
    for (int i = 0; g && i < m->batch; i++)
        duet_generation_clear(&g[i]);
    free(g);
    free(r);
    free(ids);
    return st;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *x, int n) {
    double copy[64];
    memcpy(copy, x, (size_t)n * sizeof *x);
    qsort(copy, (size_t)n, sizeof *copy, by_value);
    return n % 2 ? copy[n / 2] : (copy[n / 2 - 1] + copy[n / 2]) / 2;
}

static json_t *samples_json(const double *x, int n) {
    json_t *a = json_array();
    for (int i = 0; a && i < n; i++)
        json_array_append_new(a, cli_real(x[i]));
    return a;
}

static void show(const bench *b, json_t *rows, json_t *row) {
    if (!b->a->json) {
        const json_t *share = json_object_get(row, "share_of_limit");
        double speed = json_number_value(json_object_get(row, "tokens_per_s"));
        double limit = json_number_value(json_object_get(row, "limit_tokens_per_s"));
        printf("%-14s%12.1f tokens/s %6.1f %% of %.1f (limit: %s)\n", json_string_value(json_object_get(row, "test")),
               speed, 100 * (share ? json_number_value(share) : speed / limit), limit,
               json_string_value(json_object_get(row, "limit")));
        cli_flush();
    }
    json_array_append_new(rows, row);
}

/* Tokens a second that no engine could pass where memory is read at this rate. */
static double limit_of(const bench *b, const measure *m, double bytes_per_s, bool *memory) {
    duet_peak peak = b->peak;
    double s = 0;
    peak.bytes_per_s = bytes_per_s;
    size_t steps = m->reading ? 1 : (size_t)m->tokens;
    for (size_t i = 0; i < steps; i++) { /* the last step's bound stands for all: writing only grows longer */
        duet_step step = {.batch = (size_t)m->batch, .n_new = m->reading ? (size_t)m->tokens : 1,
                          .kv_type = cli_kv_type(b->a),
                          .pos0 = m->reading ? 0 : (size_t)m->prompt + i, .shared = m->apart ? 0 : (size_t)m->prompt};
        s += duet_model_least_seconds(b->model, &peak, &step, memory);
    }
    return (double)m->tokens * m->batch / s;
}

/* The row of n runs. */
static void add(const bench *b, json_t *rows, const measure *m, const double *speed, const double *limit, const double *share, int n,
                bool memory) {
    char name[32];
    int at = snprintf(name, sizeof name, m->batch > 1 ? "%s%dx%d" : "%s%d", m->reading ? "pp" : "tg", m->tokens, m->batch);
    if (m->deep)
        snprintf(name + at, sizeof name - (size_t)at, "@d%d", m->prompt);
    show(b, rows,
         json_pack("{s:s,s:i,s:i,s:i,s:f,s:o,s:f,s:f,s:s}", "test", name, "tokens", m->tokens, "batch", m->batch, "prompt",
                   m->reading ? 0 : m->prompt, "tokens_per_s", median(speed, n), "samples", samples_json(speed, n),
                   "limit_tokens_per_s", median(limit, n), "share_of_limit", median(share, n), "limit",
                   memory ? "reading memory" : "computing"));
}

/* Every run stands beside a limit from what memory gave just before and after it: on some machines that changes from
 * minute to minute. The context of a depth is read once, which gives a row too. */
static duet_status row(const bench *b, const measure *m, json_t *rows, duet_err *err) {
    double speed[64], limit[64], share[64], before = 0, after = 0;
    const measure context = {.reading = true, .batch = 1, .tokens = m->prompt};
    bool memory = false;
    duet_status st = duet_model_measure_reading(b->model, b->a->threads, &before, err);
    for (int i = -1; !st && i < b->a->repeats; i++) { /* the first run only warms up */
        double s = 0, read_s = 0;
        st = once(b, m, m->deep ? (uint64_t)1 << 32 | (uint64_t)m->prompt : (uint64_t)(i + 2), &s, &read_s, err);
        if (!st)
            st = duet_model_measure_reading(b->model, b->a->threads, &after, err);
        if (!st && i < 0 && m->deep && m->prompt != b->a->bench_p) { /* else there is a row of that name, of more runs */
            speed[0] = context.tokens / read_s;
            limit[0] = limit_of(b, &context, before > after ? before : after, &memory);
            share[0] = speed[0] / limit[0];
            add(b, rows, &context, speed, limit, share, 1, memory);
        }
        if (st || i < 0) {
            before = after;
            continue;
        }
        speed[i] = (double)m->tokens * m->batch / s;
        limit[i] = limit_of(b, m, before > after ? before : after, &memory);
        share[i] = speed[i] / limit[i];
        before = after;
    }
    if (st)
        return st;
    add(b, rows, m, speed, limit, share, b->a->repeats, memory);
    return DUET_OK;
}

/* pp: reading a prompt. tg: writing after one token; several together: after a prompt that they share, if there is one. */
static measure reading_of(const cli_args *a, int batch) {
    return (measure){.reading = true, .apart = batch > 1, .batch = batch, .tokens = a->bench_p};
}

static measure writing_of(const cli_args *a, int batch) {
    bool together = batch > 1 && a->shared;
    return (measure){.apart = batch > 1 && !together,
                     .batch = batch,
                     .prompt = together ? a->shared : 1,
                     .tokens = together && a->bench_n > MOST_TOGETHER ? MOST_TOGETHER : a->bench_n};
}

static measure deep_of(const cli_args *a, int depth) {
    return (measure){.deep = true, .batch = 1, .prompt = depth, .tokens = a->bench_n};
}

static duet_status rows_of(const bench *b, int batch, json_t *rows, duet_err *err) {
    const measure reading = reading_of(b->a, batch), writing = writing_of(b->a, batch);
    bool skip = !reading.tokens || (batch > 1 && !writing.apart);
    duet_status st = skip ? DUET_OK : row(b, &reading, rows, err);
    return !st && writing.tokens ? row(b, &writing, rows, err) : st;
}

static duet_status train_row(bench *b, json_t *rows, duet_err *err) {
    const cli_args *a = b->a;
    double speed[64] = {0}, flops = 0, peak = 0;
    duet_status st = duet_train_bench(NULL, a->layers, a->width, a->vocab, a->seqs, a->seq_len, a->threads, a->repeats,
                                      cli_cancel(), speed, &flops, &peak, err);
    if (st)
        return st;
    double mid = median(speed, a->repeats);
    show(b, rows,
         json_pack("{s:s,s:i,s:i,s:i,s:i,s:i,s:f,s:o,s:f,s:s,s:f,s:f,s:f}", "test", "train", "layers", a->layers, "width",
                   a->width, "vocab", a->vocab, "seqs", a->seqs, "seq_len", a->seq_len, "tokens_per_s", mid, "samples",
                   samples_json(speed, a->repeats), "limit_tokens_per_s",
                   mid * peak / flops, "limit", "computing", "flops_per_s", flops, "peak_flops_per_s", peak,
                   "share_of_peak", flops / peak));
    if (!a->json)
        printf("%-14s%12.1f GFLOP/s of a peak of %.1f\n", "", flops / 1e9, peak / 1e9);
    return DUET_OK;
}

static json_t *rate(const bench *b, double per_s) {
    return cli_real(b->a->m && per_s > 0 ? per_s : (double)NAN);
}

static json_t *machine(const bench *b) {
    json_t *o = cli_machine_json(b->a), *more = json_pack("{s:s,s:o,s:o,s:o,s:o}", "version", duet_version(), "flops_per_s",
                     rate(b, b->peak.flops_per_s), "bf16_per_s", rate(b, b->peak.bf16_per_s), "int8_per_s",
                     rate(b, b->peak.int8_per_s), "read_bytes_per_s", rate(b, b->peak.bytes_per_s));
    json_object_update(o, more);
    json_decref(more);
    return o;
}

static double peak_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : (double)u.ru_maxrss * 1024; /* Linux counts in KiB */
}

static json_t *loading(const bench *b) {
    return json_pack("{s:s,s:s,s:I,s:f,s:f,s:f,s:f}", "weights", duet_weights_name(b->info.weights), "held", b->info.held,
                     "weight_bytes", (json_int_t)b->info.weight_bytes, "model_s", b->info.open_s, "ready_s", b->opened_s,
                     "first_token_s", b->first_token_s, "peak_bytes", peak_bytes());
}

static void show_machine(const bench *b) {
    printf("%-14s%12.1f GFLOP/s", "this machine", b->peak.flops_per_s / 1e9);
    if (b->peak.bf16_per_s > 0)
        printf(", %.1f G/s of bf16", b->peak.bf16_per_s / 1e9);
    if (b->peak.int8_per_s > 0)
        printf(", %.1f G/s of int8", b->peak.int8_per_s / 1e9);
    printf(", reads the model's matrices at %.1f GB/s\n", b->peak.bytes_per_s / 1e9);
    printf("%-14s%12.2f s to open, first token after %.2f s, weights %.2f MiB as %s\n", "start", b->opened_s,
           b->first_token_s, (double)b->info.weight_bytes / (double)(1 << 20), b->info.held);
}

static duet_status open_engine(bench *b, duet_err *err) {
    const cli_args *a = b->a;
    const measure first = {.reading = true, .batch = 1, .tokens = 1};
    double began = dt_now(), unused = 0;
    int most = 1, longest = a->bench_p;
    for (size_t i = 0; i < b->n_batches; i++) {
        const measure m = writing_of(a, b->batch[i]);
        most = b->batch[i] > most ? b->batch[i] : most;
        longest = m.prompt + m.tokens > longest ? m.prompt + m.tokens : longest;
    }
    for (size_t i = 0; i < b->n_depths; i++)
        longest = b->depth[i] + a->bench_n > longest ? b->depth[i] + a->bench_n : longest;
    longest++; /* the token that follows */
    duet_model_options how = cli_model_options(a, longest);
    duet_status st = duet_model_open(a->m, &how, &b->model, err);
    if (!st)
        st = duet_model_describe(b->model, &b->info, err);
    if (st)
        return st;
    if (b->info.max_pos < longest)
        return dt_fail(err, DUET_E_RANGE,
                       "bench: %d tokens are more than the model's context of %d; set -p, -n, --shared and --depth lower, or ask for "
                       "--rope-scaling",
                       longest, b->info.max_pos);
    duet_engine_options o = {.n_threads = a->threads, .max_seqs = most, .ctx = longest, .no_prefix_cache = !b->n_depths,
                             .kv_type = cli_kv_type(a)};
    o.kv_bytes = duet_model_kv_bytes(b->model, o.kv_type) * ((size_t)longest + 64) * (size_t)most * 2;
    st = duet_engine_create(b->model, &o, &b->engine, err);
    b->opened_s = dt_now() - began;
    if (!st)
        st = once(b, &first, 0, &unused, NULL, err);
    b->first_token_s = dt_now() - began;
    return st;
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    bench b = {.a = a};
    json_t *rows = json_array();
    duet_status st = DUET_OK;
    int code = read_list("batch", a->batches, 4096, b.batch, &b.n_batches);
    if (!code)
        code = read_list("depth", a->depths, 1 << 24, b.depth, &b.n_depths);
    if (code)
        goto done;
    if (!a->m && !a->train) {
        code = cli_fail(EXIT_USAGE, "%s: nothing to do: give -m PATH, --train, or both", self->name);
        goto done;
    }
    if (a->m) {
        st = open_engine(&b, &err);
        if (st) {
            code = st == DUET_E_RANGE ? cli_fail(EXIT_USAGE, "%s", err.text) : cli_fail_input(st, &err);
            goto done;
        }
    }
    if (a->train)
        st = train_row(&b, rows, &err);
    if (!st && a->m)
        st = duet_model_measure_peak(b.model, a->threads, &b.peak, &err);
    if (!st && a->m && !a->json)
        show_machine(&b);
    for (size_t i = 0; !st && a->m && i < b.n_batches; i++)
        st = rows_of(&b, b.batch[i], rows, &err);
    for (size_t i = 0; !st && a->m && a->bench_n && i < b.n_depths; i++) {
        const measure m = deep_of(a, b.depth[i]);
        st = row(&b, &m, rows, &err);
    }
    if (st)
        code = cli_fail_status(st, &err);
    if (!code && a->json)
        code = cli_print_json(json_pack("{s:O,s:o,s:o}", "rows", rows, "load", a->m ? loading(&b) : json_null(), "machine",
                                        machine(&b)));
done:
    json_decref(rows);
    duet_engine_destroy(b.engine);
    duet_model_close(b.model);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_MODEL,
    {'p', "prompt",  CLI_INT,  CLI_AT(bench_p), "TOKENS", "length of the prompts to read; 0 = skip",                     "512", 0, 1 << 24,
      NULL                                                                                                                                       },
    {'n', "gen",     CLI_INT,  CLI_AT(bench_n), "TOKENS", "tokens to write; 0 = skip",                                   "128", 0, 1 << 24, NULL},
    {0,   "batch",   CLI_TEXT, CLI_AT(batches), "LIST",   "requests together, one row for each number",                  "1",   0, 0,       NULL},
    {0,   "depth",   CLI_TEXT, CLI_AT(depths),  "LIST",   "also read so many tokens once and write after them, two rows for each number", NULL, 0, 0, NULL},
    {0,   "shared",  CLI_INT,  CLI_AT(shared),  "TOKENS", "prompt that several requests share; 0 = none, each reads one", "128", 0, 1 << 24, NULL},
    {'r', "repeats", CLI_INT,  CLI_AT(repeats), "N",      "measurements a row, after one to warm up; the median counts", "3",
      1,                                                                                                                            64,      NULL},
    {0,   "train",   CLI_FLAG, CLI_AT(train),   NULL,     "time a training step and the machine's peak too",             NULL,  0, 0,       NULL},
    {0,   "layers",  CLI_INT,  CLI_AT(layers),  "N",      "--train: layers",                                             "6",   1, 1024,    NULL},
    {0,   "width",   CLI_INT,  CLI_AT(width),   "N",      "--train: model width",                                        "256", 2, 1 << 17, NULL},
    {0,   "vocab",   CLI_INT,  CLI_AT(vocab),   "N",      "--train: vocabulary",                                         "512", 2, 1 << 20, NULL},
    {0,   "seqs",    CLI_INT,  CLI_AT(seqs),    "N",      "--train: sequences a step",                                   "32",  1, 1 << 16, NULL},
    {0,   "seq-len", CLI_INT,  CLI_AT(seq_len), "TOKENS", "--train: tokens a sequence",                                  "256", 2, 1 << 20, NULL},
    CLI_ROW_ROPE,
    CLI_ROW_WEIGHTS,
    CLI_ROW_KV_TYPE,
    CLI_ROW_THREADS,
    CLI_ROW_JSON("one JSON object with all rows and the machine"),
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_bench = {
    .name = "bench",
    .operands = "",
    .title = "measure speed: reading prompts, writing tokens, training",
    .text = "Rows: pp512 reads a prompt of 512 tokens, tg128 writes 128 tokens, tg64x16 writes 64 tokens (or -n, if that "
            "is less) for each of 16 requests together after a prompt that they share (--shared 0: with prompts of their own, and "
            "pp512x16 reads those), pp4096 and tg128@d4096 read a context of 4096 tokens once and write after it (--depth), train is "
            "one training step. "
            "Medians; reading and writing are timed apart. The limit beside each is what the machine's own rates allow: "
            "multiply-adds from registers in the type of the weights for what must be computed, and reading a block as "
            "large as the weights, from a cache if it fits one, for what must be read: the weights and the context once a "
            "step. Reading is measured again beside every run. The one that takes longer is named: writing alone reads "
            "memory, reading prompts and training compute.",
    .examples = "duet bench -m models/register-M -p 512 -n 128 --batch 1,16 --json  # for a table\n"
                "duet bench --train  # one training step against the peak of this machine",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
