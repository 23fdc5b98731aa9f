/* From options to what the library takes: engine options, sampling, prices, tasks. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define SAID_BYTES ((size_t)256 << 20)

duet_weights cli_weights(const cli_args *a) {
    for (int w = DUET_WEIGHTS_AUTO; a->weights && w <= DUET_WEIGHTS_EXACT; w++)
        if (!strcmp(a->weights, duet_weights_name((duet_weights)w)))
            return (duet_weights)w;
    return DUET_WEIGHTS_AUTO;
}

duet_kv_type cli_kv_type(const cli_args *a) {
    for (int t = DUET_KV_F32; t <= DUET_KV_Q8_0; t++)
        if (a->kv_type && !strcmp(a->kv_type, duet_kv_type_name((duet_kv_type)t)))
            return (duet_kv_type)t;
    return DUET_KV_DEFAULT;
}

duet_model_options cli_model_options(const cli_args *a, int ctx) {
    return (duet_model_options){.weights = cli_weights(a),
                                .n_threads = a->threads,
                                .ctx = (size_t)ctx,
                                .rope_scaling = a->rope,
                                .kv_type = cli_kv_type(a)};
}

duet_backend_options cli_backend_options(const cli_args *a, char side) {
    const char *rope = side == 'M' ? a->rope_M : side == 'm' ? a->rope_m : NULL;
    const char *template = side == 'M' ? a->M_template : side == 'm' ? a->m_template : NULL;
    return (duet_backend_options){
        .engine = {.n_threads = a->threads, .max_seqs = a->batch, .ctx = a->ctx, .kv_type = cli_kv_type(a)},
        .model = {.weights = cli_weights(a), .rope_scaling = rope ? rope : a->rope},
        .chat_template = template ? template : a->chat_template
    };
}

/* A large file is not simply mapped: what became of it is said once. */
duet_status cli_backend_open(const cli_args *a, const char *path, char side, duet_backend **out, duet_err *err) {
    duet_backend_options o = cli_backend_options(a, side);
    duet_model_info info;
    duet_status st = DUET_OK;
    *out = NULL;
    if (duet_backend_is_address(path) && !side)
        return dt_fail(err, DUET_E_USAGE, "%s: this command takes a folder or a file; run, chat, eval and serve take an address", path);
    if (duet_backend_is_address(path))
        st = cli_remote_options(a, side, &o.remote, err);
    if (!st)
        st = duet_backend_open(path, &o, out, err);
    const duet_model *m = st ? NULL : duet_backend_model(*out);
    if (m && !a->quiet && !duet_model_describe(m, &info, NULL) && info.weight_bytes >= SAID_BYTES)
        fprintf(stderr, "duet: %s: weights held as %s, %.2f GiB, read and repacked in %.2f s\n", path, info.held,
                (double)info.weight_bytes / (double)(1 << 30), info.open_s);
    return st;
}

static void overlay(const cli_args *a, const cli_sampling *o, duet_sampling *s) {
    if (cli_given(a, &o->temp))
        s->temperature = o->temp;
    if (cli_given(a, &o->top_k))
        s->top_k = o->top_k;
    if (cli_given(a, &o->top_p))
        s->top_p = o->top_p;
    if (cli_given(a, &o->min_p))
        s->min_p = o->min_p;
}

duet_sampling cli_sampling_for(const cli_args *a, const duet_backend *b, const cli_sampling *stage) {
    duet_sampling s = b ? duet_backend_sampling(b) : duet_sampling_defaults();
    overlay(a, &a->both, &s);
    if (stage)
        overlay(a, stage, &s);
    s.seed = a->seed;
    return s;
}

duet_pair_options cli_pair_options(const cli_args *a) {
    duet_pair_options o = duet_pair_defaults();
    if (cli_given(a, &a->price_M))
        o.price_M = a->price_M;
    if (cli_given(a, &a->price_m))
        o.price_m = a->price_m;
    if (cli_given(a, &a->price_M_in))
        o.price_M_in = a->price_M_in;
    if (cli_given(a, &a->price_m_in))
        o.price_m_in = a->price_m_in;
    o.instruction = a->instruction;
    o.keep = !strcmp(a->keep, "head") ? DUET_KEEP_HEAD : !strcmp(a->keep, "middle") ? DUET_KEEP_MIDDLE : DUET_KEEP_TAIL;
    return o;
}

void cli_say_terms(const cli_args *a, const duet_pair *p) {
    char *line = a->quiet ? NULL : duet_pair_terms_line(p);
    if (line)
        fprintf(stderr, "%s\n", line);
    free(line);
}

json_t *cli_terms_json(const duet_pair *p) {
    const duet_pair_terms t = duet_pair_describe(p);
    return json_pack("{s:s?,s:s?,s:b,s:b,s:s}", "M", t.M_template, "m", t.m_template, "same_tokenizer",
                     (int)t.same_tokens, "same_ends", (int)t.same_ends, "layout", t.layout);
}

const volatile int *cli_cancel(void) {
    return dt_interrupt_flag();
}

duet_status cli_task_open(const char *text, char *const *more, int n, duet_task **out, duet_err *err) {
    const char *settings[64];
    size_t k = 0;
    *out = NULL;
    char *copy = dt_strdup(text), *rest = copy;
    if (!copy)
        return dt_fail(err, DUET_E_NOMEM, "no memory for the task");
    const char *family = strsep(&rest, ",");
    for (char *s; (s = strsep(&rest, ",")) && k < DT_COUNT(settings);)
        settings[k++] = s;
    for (int i = 0; i < n && k < DT_COUNT(settings); i++)
        settings[k++] = more[i];
    duet_status st = rest || k == DT_COUNT(settings) ? dt_fail(err, DUET_E_USAGE, "%s: too many settings", family)
                                                     : duet_task_open(family, settings, k, out, err);
    free(copy);
    return st;
}
