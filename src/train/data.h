/* Where training questions come from, and how an example becomes tokens. Example number i of a run is a pure function of
 * (recipe, i): a resumed run needs nothing but its counter. */
#ifndef DT_TRAIN_DATA_H
#define DT_TRAIN_DATA_H

#include "duet/task.h"
#include "text/template.h"
#include "train/recipe.h"

typedef struct dt_source {
    duet_task *task;      /* or: */
    duet_example *row;    /* of a file; chain: its signal */
    size_t n_rows;
    uint32_t *order;      /* this epoch's permutation */
    uint64_t epoch;
    uint64_t seed;
    duet_split split;
    char sha256[65];      /* of the file, or of the task's settings */
} dt_source;

/* A task family with knobs (a text of settings), or a file. Borrows nothing. */
duet_status dt_source_open(dt_source *s, const char *family, const char *knobs, const char *file, duet_split split, uint64_t seed, duet_err *err);
void dt_source_close(dt_source *s);
/* Copies example `index`; a file is gone through again and again, shuffled anew each time (test split: in order).
 * *out: duet_example_clear. */
duet_status dt_source_example(dt_source *s, uint64_t index, duet_example *out, duet_err *err);
size_t dt_source_size(const dt_source *s); /* rows of a file; 0 = endless */
const duet_example *dt_source_row(const dt_source *s, size_t i); /* of the file, in its order; borrowed */
void dt_source_drop_row(dt_source *s, size_t i);                 /* before the first example is taken */

/* A model's words: tokenizer and turn layout. */
typedef struct dt_words {
    duet_tokenizer *tok;
    dt_tmpl tmpl;
} dt_words;
/* chat_template: a family; NULL or "": what the files say. */
duet_status dt_words_open(dt_words *w, const char *path, const char *chat_template, duet_err *err);
/* name: a path that exists, or a family. */
duet_status dt_words_new(dt_words *w, const char *name, duet_err *err);
void dt_words_close(dt_words *w);
/* Into a model's folder. An adapter's may go without, where they cannot be written: its base has them. */
duet_status dt_words_save(const dt_words *w, const char *dir, bool of_adapter, duet_err *err);

/* question + instruction as they stand in a user's turn; owned (dt_buf_clear). */
duet_status dt_words_question(const char *question, const char *instruction, dt_buf *out, duet_err *err);
/* user turn of question + instruction with the generation prompt. */
duet_status dt_words_prompt(const dt_words *w, const char *question, const char *instruction, duet_ids *out, duet_err *err);
/* Appends text as plain tokens. */
duet_status dt_words_add(const dt_words *w, const char *text, duet_ids *out, duet_err *err);
/* Text of sampled tokens as the pair reads an answer: special ones left out, whole characters, white space at both ends
 * trimmed. Owned (free). */
duet_status dt_words_text(const dt_words *w, const int32_t *ids, size_t n, char **out, duet_err *err);
bool dt_ids_append(duet_ids *a, const int32_t *v, size_t n);

#endif
