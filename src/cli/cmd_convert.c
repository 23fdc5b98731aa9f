/* duet convert: a model from one file format into another. */
#include "cli/cli.h"

#include <string.h>
#include <sys/stat.h>

typedef struct show {
    double start;
    bool quiet;
} show;

static bool progress(void *user, size_t done, size_t total) {
    const show *s = user;
    char line[96], left[16];
    const double spent = dt_now() - s->start;
    if (s->quiet)
        return !dt_interrupted();
    dt_time_left(done ? spent * (double)(total - done) / (double)done : 0, left);
    snprintf(line, sizeof line, "%.1f of %.1f MB, %.0f MB/s, %s left", (double)done / 1e6, (double)total / 1e6,
             (double)done / 1e6 / (spent > 0 ? spent : 1e-9), left);
    cli_live(line);
    return !dt_interrupted();
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    const char *in = a->rest[0], *out = a->rest[1];
    show s = {.start = dt_now(), .quiet = a->quiet};
    const duet_convert_options o = {
        .type = a->type, .n_threads = a->threads, .no_tokenizer = a->no_tokenizer, .progress = progress, .user = &s};
    (void)self;
    if (dt_path_exists(out) && !a->force)
        return cli_fail(EXIT_USAGE, "convert: %s is there already; --force overwrites it", out);
    duet_status st = duet_convert(in, out, &o, &err);
    cli_live(NULL);
    if (st == DUET_E_USAGE)
        return cli_fail(EXIT_USAGE, "convert: %s", err.text);
    if (st == DUET_E_CANCELLED || st == DUET_E_NOMEM)
        return cli_fail_status(st, &err);
    if (st)
        return cli_fail_input(st, &err);
    struct stat sb;
    char text[32];
    const double bytes = stat(out, &sb) || S_ISDIR(sb.st_mode) ? -1 : (double)sb.st_size;
    if (a->json)
        return cli_print_json(json_pack("{s:s,s:o,s:o}", "path", out, "bytes",
                                        bytes < 0 ? json_null() : json_integer((json_int_t)bytes), "seconds",
                                        cli_real(dt_now() - s.start)));
    if (bytes >= 0)
        printf("%s: %s\n", out, cli_bytes_text(bytes, text));
    else
        printf("%s\n", out);
    return EXIT_DONE;
}

static const cli_opt opts[] = {
    {0, "type",         CLI_TEXT, CLI_AT(type),         "TYPE",
     "of the matrices: f32, bf16, f16, q8_0, q6_k, q4_k_m or q4_0 (default: as they are)", NULL, 0, 0,
     "f32|bf16|f16|q8_0|q6_k|q4_k_m|q4_0"                                                                  },
    {0, "no-tokenizer", CLI_FLAG, CLI_AT(no_tokenizer), NULL,
     "to a folder: no tokenizer.json, where the file cannot give it back exactly",         NULL, 0, 0, NULL},
    {0, "force",        CLI_FLAG, CLI_AT(force),        NULL,   "overwrite OUT",           NULL, 0, 0, NULL},
    CLI_ROW_THREADS,
    CLI_ROW_QUIET,
    CLI_ROW_JSON("one JSON object"),
    CLI_ROW_HELP,
};

const cli_command cli_convert = {
    .name = "convert",
    .operands = "IN OUT",
    .min_rest = 2,
    .max_rest = 2,
    .title = "a model from one file format into another",
    .text =
        "IN is a Hugging Face folder or a GGUF file; a split one by any of its parts. OUT is a GGUF file if its name "
        "ends in .gguf, else a Hugging Face folder.\n\n"
        "Into a GGUF file go the weights with the types that --type says, and the tokenizer and the chat template, so "
        "that llama.cpp opens it too. Vectors stay F32. q4_k_m is the usual mix of Q4_K and Q6_K. Rows that are no "
        "multiple of 256 get Q5_0 for Q4_K and Q8_0 for Q6_K.\n\n"
        "Into a folder go only F32, F16 and BF16 files, because from rounded numbers no exact folder can be made.\n\n"
        "Memory use does not grow with the model, and OUT appears when it is whole.",
    .examples = "duet convert Qwen3-0.6B Qwen3-0.6B.gguf --type q8_0  # 8 bits a weight\n"
                "duet convert big-00001-of-00003.gguf big.gguf  # the parts in one file\n"
                "duet convert Qwen3-4B-BF16.gguf Qwen3-4B  # a Hugging Face folder",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
