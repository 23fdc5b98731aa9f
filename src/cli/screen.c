/* The two stages as a person sees them: streamed on a terminal, the signal dim and the answer bright; labelled lines
 * elsewhere. */
#include "cli/cli.h"

#include <string.h>
#include <unistd.h>

static const char *const labels[] = {"signal: ", "answer: "};
static const char *const styles[] = {"\033[2m", "\033[1m"};

cli_screen cli_screen_open(void) {
    return (cli_screen){.live = isatty(STDOUT_FILENO), .colour = cli_colour(STDOUT_FILENO), .stage = -1};
}

static void enter_stage(cli_screen *s, int stage) {
    if (s->stage >= 0)
        printf("%s\n", s->colour ? "\033[0m" : "");
    s->stage = stage;
    if (stage >= 0)
        fputs(s->colour ? styles[stage] : labels[stage], stdout);
}

int cli_screen_text(void *user, int stage, const char *text, size_t n) {
    cli_screen *s = user;
    if (stage == 0 && s->no_signal)
        return 0;
    if (n && stage != s->stage)
        enter_stage(s, stage);
    cli_put_text(stdout, text, n);
    return !cli_flush();
}

void cli_screen_end(cli_screen *s) {
    enter_stage(s, -1);
}

void cli_screen_whole(const cli_screen *s, const duet_pair_request *r) {
    if (r->mode != DUET_MODE_m && !s->no_signal) {
        fputs(labels[0], stdout);
        cli_put_text(stdout, r->signal_text ? r->signal_text : "", r->n_signal_text);
        putchar('\n');
    }
    fputs(labels[1], stdout);
    cli_put_text(stdout, r->answer_text ? r->answer_text : "", r->n_answer_text);
    putchar('\n');
}

void cli_screen_dim(const cli_screen *s, const char *line) {
    printf("%s%s%s\n", s->colour ? "\033[2m" : "", line, s->colour ? "\033[0m" : "");
}
