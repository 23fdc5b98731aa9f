/* What llama.cpp makes of a GGUF file: log-probs and greedy text of given token ids. Built by llama_cpp.sh against its library.
 *
 *   llama_check FILE logprobs    for each line of ids: the log-probs of all but the first
 *   llama_check FILE greedy N    for each line of ids: the N likeliest that follow
 *   llama_check FILE tokens      for each line of text: its ids, special tokens by their spelling */
#include <llama.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 4096 };

static void quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static int read_ids(char *line, llama_token *ids) {
    int n = 0;
    for (char *p = strtok(line, " \n"); p && n < MAX; p = strtok(NULL, " \n"))
        ids[n++] = (llama_token)atoi(p);
    return n;
}

static double logprob(const float *logits, int n_vocab, int id) {
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n_vocab; i++)
        max = logits[i] > max ? logits[i] : max;
    for (int i = 0; i < n_vocab; i++)
        sum += exp(logits[i] - max);
    return logits[id] - max - log(sum);
}

static int likeliest(const float *logits, int n_vocab) {
    int best = 0;
    for (int i = 1; i < n_vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

int main(int argc, char **argv) {
    static char line[1 << 20];
    static llama_token ids[MAX];
    if (argc < 3)
        return 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model_params mp = llama_model_default_params();
    struct llama_model *m = llama_model_load_from_file(argv[1], mp);
    if (!m)
        return 1;
    const struct llama_vocab *vocab = llama_model_get_vocab(m);
    const int n_vocab = llama_vocab_n_tokens(vocab);
    struct llama_context_params cp = llama_context_default_params();
    cp.n_ctx = MAX;
    cp.n_batch = MAX;
    cp.n_ubatch = MAX;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.type_k = cp.type_v = GGML_TYPE_F32;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    struct llama_context *ctx = llama_init_from_model(m, cp);
    if (!ctx)
        return 1;
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(argv[2], "tokens")) {
            const size_t len = strcspn(line, "\n");
            const int n = llama_tokenize(vocab, line, (int)len, ids, MAX, false, true);
            for (int i = 0; i < n; i++)
                printf("%d%c", ids[i], i + 1 < n ? ' ' : '\n');
            if (n <= 0)
                printf("\n");
            continue;
        }
        const bool greedy = !strcmp(argv[2], "greedy");
        const int n = read_ids(line, ids), more = greedy && argc > 3 ? atoi(argv[3]) : 0;
        struct llama_batch b = llama_batch_init(MAX, 0, 1);
        llama_memory_clear(llama_get_memory(ctx), true);
        for (int i = 0; i < n; i++) {
            b.token[i] = ids[i];
            b.pos[i] = i;
            b.n_seq_id[i] = 1;
            b.seq_id[i][0] = 0;
            b.logits[i] = !greedy || i == n - 1;
        }
        b.n_tokens = n;
        if (n < 1 || llama_decode(ctx, b))
            return 1;
        for (int i = 0; !greedy && i + 1 < n; i++)
            printf("%.7f%c", logprob(llama_get_logits_ith(ctx, i), n_vocab, ids[i + 1]), i + 2 < n ? ' ' : '\n');
        int id = greedy ? likeliest(llama_get_logits_ith(ctx, n - 1), n_vocab) : 0;
        for (int k = 0; k < more; k++) {
            printf("%d%c", id, k + 1 < more ? ' ' : '\n');
            b.n_tokens = 1;
            b.token[0] = id;
            b.pos[0] = n + k;
            b.logits[0] = true;
            if (llama_decode(ctx, b))
                return 1;
            id = likeliest(llama_get_logits_ith(ctx, 0), n_vocab);
        }
        llama_batch_free(b);
    }
    llama_free(ctx);
    llama_model_free(m);
    return 0;
}
