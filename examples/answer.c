/* Answers one question with a pair of models: M writes a signal, m reads it and writes the answer.
 *
 *     cc -std=c11 answer.c $(pkg-config --cflags --libs libduet) -o answer
 *     ./answer runs/rl/M runs/rl/m 'b? a=3 b=a+2'
 *
 * Prints the signal while M writes it, the answer while m writes it, then one line of what both spent.
 * Ctrl-C stops between two tokens; what was said until then stays said. */
#include <duet/duet.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every call that takes `cancel` looks at it between tokens; setting an int is all a signal handler may do. */
static volatile int cancel;

static void on_interrupt(int sig) {
    (void)sig;
    cancel = 1;
}

/* Text that became certain: whole characters, no tags, no end tokens. stage 0 is M's signal, 1 is m's answer.
 * This runs on an engine's thread while duet_pair_answer waits in ours. Anything but 0 stops the models. */
static int on_text(void *user, int stage, const char *text, size_t n) {
    int *last_stage = user;
    if (stage != *last_stage) fputs(stage == 0 ? "signal: " : *last_stage == 0 ? "\nanswer: " : "answer: ", stdout);
    *last_stage = stage;
    fwrite(text, 1, n, stdout);
    return fflush(stdout); /* nobody reads any more: let the models rest */
}

int main(int argc, char **argv) {
    /* One block of handles, all NULL, so that the single exit below may close whatever was opened. */
    duet_backend *M = NULL, *m = NULL;
    duet_pair *pair = NULL;
    duet_pair_request ask = {0};
    char *ledger = NULL;
    int stage = -1;

    /* A call returns a status (negative: it failed) and leaves one sentence about a failure in `err`. */
    duet_err err = {{0}};
    duet_status st = DUET_OK;

    if (argc != 4) {
        fprintf(stderr, "usage: %s FOLDER_OF_M FOLDER_OF_m QUESTION\n", argv[0]);
        return 2;
    }
    signal(SIGINT, on_interrupt);

    /* A backend is a model that can be asked: weights, tokenizer and an engine of its own. In the options zero means
     * "the default" everywhere. One question at a time needs room for one sequence only. */
    const duet_backend_options options = {.engine = {.max_seqs = 1}};
    st = duet_backend_open(argv[1], &options, &M, &err);
    if (st) goto done;
    st = duet_backend_open(argv[2], &options, &m, &err);
    if (st) goto done;

    /* The pair borrows both. With one tokenizer the signal travels as tokens, otherwise once as text. Prices are money
     * per million output tokens; with them the ledger counts money too. */
    duet_pair_options terms = duet_pair_defaults();
    terms.price_M = 10.0;
    terms.price_m = 0.4;
    st = duet_pair_create(M, m, &terms, &pair, &err);
    if (st) goto done;

    /* The request starts from the budgets and sampling that suit these models. Change what you like: a smaller
     * signal_budget is the shortest way to a cheaper answer. */
    ask = duet_pair_request_defaults(pair);
    ask.question = argv[3];
    ask.n_question = strlen(argv[3]);
    ask.on_text = on_text;
    ask.user = &stage;

    /* Many questions go through together when they are asked together: pass an array and its length. */
    st = duet_pair_answer(pair, &ask, 1, &cancel, &err);
    if (stage >= 0) putchar('\n');
    if (!st) {
        /* How the signal ended is worth a look: "budget" means that M was cut off and m worked with what there was. */
        ledger = duet_ledger_line(&ask.ledger);
        printf("hand-over: %s\n%s\n", duet_handoff_name(ask.handoff), ledger ? ledger : "no memory for the ledger");
    }
    if (fflush(stdout) || ferror(stdout)) { /* on_text stopped the models then; alone that would read as interrupted */
        st = DUET_E_IO;
        snprintf(err.text, sizeof err.text, "standard output could not be written");
    }

done:
    if (st == DUET_E_CANCELLED)
        fprintf(stderr, "%s: interrupted\n", argv[0]);
    else if (st)
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
    free(ledger);
    duet_pair_request_clear(&ask); /* outputs only; fine on a request that was never asked */
    duet_pair_destroy(pair);       /* before the backends it borrows */
    duet_backend_close(m);
    duet_backend_close(M);
    return st == DUET_E_CANCELLED ? 130 : st ? 1 : 0;
}
