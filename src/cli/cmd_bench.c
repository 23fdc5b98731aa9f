/* duet bench: how fast this machine reads prompts, writes tokens and trains. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BATCHES = 16 };

typedef struct bench {
    const cli_args *a;
    duet_model *model;
    duet_model_info info;
    duet_engine *engine;
    int batch[MAX_BATCHES];
    size_t n_batches;
    duet_peak peak; /* of this machine; measured with -m */
} bench;

static const int32_t no_ids[1] = {0};

static int read_batches(bench *b) {
    char *copy = dt_strdup(b->a->batches), *rest = copy;
    int code = 0;
    for (char *word; !code && (word = strsep(&rest, ","));) {
        long long n = 0;
        if (!cli_read_int(word, 1, 4096, &n) || b->n_batches == MAX_BATCHES)
            code = cli_fail(EXIT_USAGE, "bench: --batch: %s is not a list of at most %d numbers in 1..4096",
                            b->a->batches, MAX_BATCHES);
        else
            b->batch[b->n_batches++] = (int)n;
    }
    free(copy);
    return code;
}

/* Seconds to run `batch` requests of n_prompt random tokens, each sampling n_out. */
static duet_status once(const bench *b, int batch, int n_prompt, int n_out, uint64_t key, double *seconds,
                        duet_err *err) {
    duet_status st = DUET_OK;
    size_t n = (size_t)batch, len = (size_t)n_prompt;
    int32_t *ids = dt_calloc(n * len, sizeof *ids);
    duet_gen_request *r = dt_calloc(n, sizeof *r);
    duet_generation *g = dt_calloc(n, sizeof *g);
    if (!ids || !r || !g) {
        st = dt_fail(err, DUET_E_NOMEM, "bench: no memory for %d requests", batch);
        goto done;
    }
    dt_rng rng = dt_rng_make(1, key); /* other tokens each time: nothing is found in a cache */
    for (size_t i = 0; i < n * len; i++)
        ids[i] = (int32_t)dt_rng_below(&rng, (uint32_t)b->info.n_vocab);
    for (size_t i = 0; i < n; i++)
        r[i] = (duet_gen_request){.prompt = ids + i * len,
                                  .n_prompt = len,
                                  .n = 1,
                                  .max_tokens = n_out,
                                  .eos_ids = no_ids,
                                  .key = i,
                                  .out = &g[i]};
    double began = dt_now();
    st = duet_engine_generate(b->engine, r, n, cli_cancel(), err);
    *seconds = dt_now() - began;
done:
    for (size_t i = 0; g && i < n; i++)
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
        double speed = json_number_value(json_object_get(row, "tokens_per_s"));
        double limit = json_number_value(json_object_get(row, "limit_tokens_per_s"));
        printf("%-14s%12.1f tokens/s %6.1f %% of %.1f (limit: %s)\n", json_string_value(json_object_get(row, "test")),
               speed, 100 * speed / limit, limit, json_string_value(json_object_get(row, "limit")));
        cli_flush();
    }
    json_array_append_new(rows, row);
}

/* Tokens a second that no engine could pass here: `batch` prompts read in one step, or written token by token. */
static double limit_of(const bench *b, bool reading, int n, int batch, bool *memory) {
    double s = 0;
    size_t steps = reading ? 1 : (size_t)n;
    for (size_t i = 0; i < steps; i++) /* the last step's bound stands for all: writing only grows longer */
        s += duet_model_least_seconds(b->model, &b->peak, (size_t)batch, reading ? (size_t)n : 1, i, memory);
    return (double)n * batch / s;
}

/* pp: reading a prompt of n tokens; tg: writing n tokens. */
static duet_status row(const bench *b, const char *kind, int n, int batch, json_t *rows, duet_err *err) {
    double speed[64];
    char name[32];
    bool reading = !strcmp(kind, "pp"), memory = false;
    double limit = limit_of(b, reading, n, batch, &memory);
    for (int i = -1; i < b->a->repeats; i++) { /* the first run only warms up */
        double s = 0;
        duet_status st = once(b, batch, reading ? n : 1, reading ? 1 : n, (uint64_t)(i + 2), &s, err);
        if (st)
            return st;
        if (i >= 0)
            speed[i] = (double)n * batch / s;
    }
    snprintf(name, sizeof name, batch > 1 ? "%s%dx%d" : "%s%d", kind, n, batch);
    show(b, rows,
         json_pack("{s:s,s:i,s:i,s:f,s:o,s:f,s:s}", "test", name, "tokens", n, "batch", batch, "tokens_per_s",
                   median(speed, b->a->repeats), "samples", samples_json(speed, b->a->repeats), "limit_tokens_per_s",
                   limit, "limit", memory ? "reading memory" : "computing"));
    return DUET_OK;
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

static json_t *cpu_name(void) {
    char line[512], name[256] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && !*name && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    }
    if (f)
        fclose(f);
    return *name ? json_string(name) : json_null();
}

static json_t *machine(const bench *b) {
    const char *kernel = getenv("DUET_KERNEL");
    return json_pack("{s:o,s:i,s:i,s:o,s:s,s:o,s:o}", "cpu", cpu_name(), "cpus", dt_cpu_count(), "threads",
                     b->a->threads ? b->a->threads : dt_cpu_count(), "kernel",
                     kernel && *kernel ? json_string(kernel) : json_null(), "version", duet_version(), "flops_per_s",
                     cli_real(b->a->m ? b->peak.flops_per_s : (double)NAN), "read_bytes_per_s",
                     cli_real(b->a->m ? b->peak.bytes_per_s : (double)NAN));
}

static duet_status open_engine(bench *b, duet_err *err) {
    int most = 1;
    for (size_t i = 0; i < b->n_batches; i++)
        most = b->batch[i] > most ? b->batch[i] : most;
    duet_engine_options o = {.n_threads = b->a->threads, .max_seqs = most, .no_prefix_cache = true};
    duet_model_options how = {.weights = cli_weights(b->a), .n_threads = b->a->threads, .rope_scaling = b->a->rope};
    size_t longest = (size_t)(b->a->bench_p > b->a->bench_n ? b->a->bench_p : b->a->bench_n) + 1;
    duet_status st = duet_model_open(b->a->m, &how, &b->model, err);
    if (!st)
        st = duet_model_describe(b->model, &b->info, err);
    if (st)
        return st;
    if ((size_t)b->info.max_pos < longest)
        return dt_fail(err, DUET_E_RANGE,
                       "bench: %zu tokens are more than the model's context of %d; set -p and -n lower, or ask for --rope-scaling", longest,
                       b->info.max_pos);
    o.kv_bytes = b->info.kv_bytes_per_token * (longest + 64) * (size_t)most * 2;
    return duet_engine_create(b->model, &o, &b->engine, err);
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    bench b = {.a = a};
    json_t *rows = json_array();
    duet_status st = DUET_OK;
    int code = read_batches(&b);
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
        printf("%-14s%12.1f GFLOP/s, reads a block as large as the model at %.1f GB/s\n", "this machine",
               b.peak.flops_per_s / 1e9, b.peak.bytes_per_s / 1e9);
    for (size_t i = 0; !st && a->m && i < b.n_batches; i++) {
        if (a->bench_p)
            st = row(&b, "pp", a->bench_p, b.batch[i], rows, &err);
        if (!st && a->bench_n)
            st = row(&b, "tg", a->bench_n, b.batch[i], rows, &err);
    }
    if (st)
        code = cli_fail_status(st, &err);
    if (!code && a->json)
        code = cli_print_json(json_pack("{s:O,s:o}", "rows", rows, "machine", machine(&b)));
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
    CLI_ROW_THREADS,
    CLI_ROW_JSON("one JSON object with all rows and the machine"),
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_bench = {
    .name = "bench",
    .operands = "",
    .title = "measure speed: reading prompts, writing tokens, training",
    .text = "Rows: pp512 reads a prompt of 512 tokens, tg128 writes 128 tokens, tg128x16 writes them for 16 requests "
            "together, train is one training step. The limit beside each is what the machine's own rates allow, measured "
            "at the start: multiply-adds from registers for what must be computed, and reading a block as large as the "
            "model, from a cache if it fits one, for what must be read: the weights and the context once a step. "
            "The one that takes longer is named: writing alone reads memory, reading prompts and training compute.",
    .examples = "duet bench -m models/register-M -p 512 -n 128 --batch 1,16 --json  # for a table\n"
                "duet bench --train  # one training step against the peak of this machine",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
