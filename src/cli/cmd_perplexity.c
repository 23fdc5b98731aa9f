/* duet perplexity: how well a model predicts a text. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct scored {
    double sum, sum2; /* of the negative log-probs */
    size_t n;
} scored;

static duet_status read_text(const char *path, dt_buf *text, duet_err *err) {
    return strcmp(path, "-") ? dt_file_read(path, (size_t)1 << 30, text, err) : cli_read_stdin(text, err);
}

static void show(const scored *s, size_t done, size_t total, double began, bool quiet) {
    char left[16], line[160];
    if (quiet || !s->n)
        return;
    dt_time_left((dt_now() - began) / (double)done * (double)(total - done), left);
    snprintf(line, sizeof line, "window %zu of %zu, perplexity %.4f, %s left", done, total, exp(s->sum / (double)s->n), left);
    cli_live(line);
}

/* Windows of `ctx` tokens, each begun anew (with what the tokenizer puts before a text in place of its first tokens); of
 * each the tokens from `first` on count, of the only one all. */
static duet_status score(duet_model *m, const cli_args *a, duet_ids *text, const duet_ids *begin, scored *s, duet_err *err) {
    size_t ctx = (size_t)a->ctx, windows = text->n / ctx, first = a->all_tokens ? 1 : ctx / 2;
    if (!windows) {
        windows = 1;
        ctx = text->n;
        first = 1;
    }
    float *lp = dt_calloc(ctx, sizeof *lp);
    if (!lp)
        return dt_fail(err, DUET_E_NOMEM, "no memory for a window of %zu tokens", ctx);
    duet_status st = DUET_OK;
    double began = dt_now();
    for (size_t w = 0; w < windows && !st; w++) {
        int32_t *ids = text->v + w * ctx;
        if (begin->n)
            memcpy(ids, begin->v, (begin->n < ctx ? begin->n : ctx) * sizeof *ids);
        st = dt_interrupted() ? dt_fail(err, DUET_E_CANCELLED, "interrupted")
                              : duet_model_logprobs(m, ids, ctx, a->threads, lp, err);
        for (size_t i = first; i < ctx && !st; i++) {
            double nll = -(double)lp[i - 1];
            s->sum += nll;
            s->sum2 += nll * nll;
            s->n++;
        }
        if (!st)
            show(s, w + 1, windows, began, a->quiet);
    }
    cli_live(NULL);
    free(lp);
    return st;
}

static int report(const cli_args *a, const scored *s, size_t n_tokens, size_t n_bytes, double seconds) {
    double n = (double)s->n, mean = s->sum / n, var = s->n > 1 ? (s->sum2 - s->sum * mean) / (n - 1) : 0;
    double error = sqrt((var > 0 ? var : 0) / n);
    if (a->json)
        return cli_print_json(json_pack("{s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:o}", "perplexity", cli_real(exp(mean)), "perplexity_error",
                                        cli_real(exp(mean) * error), "mean_nll", cli_real(mean), "mean_nll_error",
                                        cli_real(error), "scored_tokens", (json_int_t)s->n, "tokens", (json_int_t)n_tokens,
                                        "bytes", (json_int_t)n_bytes, "seconds", cli_real(seconds)));
    printf("perplexity %.4f +- %.4f, %.4f nats a token over %zu of %zu tokens, %.3f bits a byte, %.1f s\n", exp(mean),
           exp(mean) * error, mean, s->n, n_tokens, mean / M_LN2 * (double)n_tokens / (double)n_bytes, seconds);
    return cli_finish(EXIT_DONE);
}

static int run(const cli_command *self, cli_args *a) {
    duet_err err = {{0}};
    duet_tokenizer *tok = NULL;
    duet_model *m = NULL;
    dt_buf text = {0};
    duet_ids ids = {0}, begin = {0};
    scored s = {0};
    duet_model_info info;
    int code = EXIT_DONE;
    double began = dt_now();

    if (!a->m)
        return cli_fail(EXIT_USAGE, "%s: -m is missing: a model", self->name);
    duet_status st = read_text(a->rest[0], &text, &err);
    if (!st)
        st = duet_tokenizer_open(a->m, &tok, &err);
    if (!st)
        st = duet_tokenizer_encode(tok, "", 0, DUET_ENC_ADD_SPECIAL, &begin, &err);
    if (!st)
        st = duet_tokenizer_encode(tok, text.data ? text.data : "", text.len, DUET_ENC_ADD_SPECIAL | DUET_ENC_PLAIN, &ids, &err);
    duet_model_options how = cli_model_options(a, a->ctx);
    if (!st)
        st = duet_model_open(a->m, &how, &m, &err);
    if (!st)
        st = duet_model_describe(m, &info, &err);
    if (st) {
        code = cli_fail_input(st, &err);
        goto done;
    }
    if (ids.n < 2) {
        code = cli_fail(EXIT_INPUT, "%s: the text has %zu tokens; there is nothing to predict", a->rest[0], ids.n);
        goto done;
    }
    if (!cli_given(a, &a->ctx) && a->ctx > info.max_pos)
        a->ctx = info.max_pos;
    if (a->ctx > info.max_pos) {
        code = cli_fail(EXIT_USAGE, "%s: windows of %d tokens asked for (-c), the model has %d positions; a longer context "
                        "needs --rope-scaling", a->m, a->ctx,
                        info.max_pos);
        goto done;
    }
    st = score(m, a, &ids, &begin, &s, &err);
    code = st ? cli_fail_status(st, &err) : report(a, &s, ids.n, text.len, dt_now() - began);
done:
    duet_ids_free(&ids);
    duet_ids_free(&begin);
    dt_buf_clear(&text);
    duet_tokenizer_close(tok);
    duet_model_close(m);
    return code;
}

static const cli_opt opts[] = {
    CLI_ROW_MODEL,
    {'c', "ctx-size", CLI_INT, CLI_AT(ctx), "TOKENS", "tokens of one window, at most the model's context", "512", 2, 1 << 28, NULL},
    {0, "all", CLI_FLAG, CLI_AT(all_tokens), NULL, "score every token, not only those of a window's second half", NULL, 0, 0, NULL},
    CLI_ROW_ROPE,
    CLI_ROW_WEIGHTS,
    CLI_ROW_THREADS,
    CLI_ROW_JSON("one JSON object"),
    CLI_ROW_QUIET,
    CLI_ROW_CONFIG,
    CLI_ROW_HELP,
};

const cli_command cli_perplexity = {
    .name = "perplexity",
    .operands = "FILE",
    .min_rest = 1,
    .max_rest = 1,
    .title = "measure how well a model predicts a text",
    .text = "Cuts the text (- is standard input) into windows of -c tokens and scores each from nothing: the exponential of "
            "the mean negative log-prob. Of a window only the second half counts, where there is something to go by, as "
            "llama-perplexity does, so the numbers compare; what is left behind the last whole window does not count.",
    .examples = "duet perplexity -m model.gguf book.txt  # one number, with its standard error",
    .opts = opts,
    .n_opts = DT_COUNT(opts),
    .run = run,
};
