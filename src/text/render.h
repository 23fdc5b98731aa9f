/* Chat templates as C: a conversation becomes the text that the model's own Jinja template would make of it.
 *
 * What belongs to whom stays known: every byte of a page is either the template's own or data from the messages. Marks
 * are looked for in the template's bytes alone, so a message that spells one stays text. [template.h]
 *
 *   known.c     which family a template's text is
 *   family.c    the families, and where their differences lie
 *   render_*.c  one function for each layout
 *   json_py.c   the filter tojson, as Python writes JSON */
#ifndef DT_RENDER_H
#define DT_RENDER_H

#include "base/base.h"
#include "duet/text.h"

#include <jansson.h>

typedef struct dt_family dt_family;

typedef struct dt_span {
    size_t begin, end;
} dt_span;

/* A rendered prompt. Ends with dt_page_clear. */
typedef struct dt_page {
    dt_buf text;
    dt_span *data; /* rising, none empty: bytes that came from messages or tools */
    size_t n_data, cap_data;
    const char *mark; /* a place inside a message's content that is looked for; NULL = none */
    size_t hole;      /* where in text it came to lie; SIZE_MAX = not yet */
} dt_page;

void dt_page_clear(dt_page *p);
void dt_page_own(dt_page *p, const char *s); /* the template's own words */
void dt_page_data(dt_page *p, const char *s, size_t n);
bool dt_page_failed(const dt_page *p); /* no memory at some point */

typedef enum dt_tristate { DT_UNSET = -1, DT_NO = 0, DT_YES = 1 } dt_tristate;

/* What a template is given. All borrowed. */
typedef struct dt_chat {
    const dt_family *family;
    const json_t *messages;   /* an array of objects, each with a role that is a string */
    const json_t *tools;      /* an array; NULL = none */
    bool generation;          /* add_generation_prompt */
    dt_tristate thinking;     /* enable_thinking */
    const char *date;         /* date_string; NULL = the template's own default */
    const char *bos, *eos;    /* as the template is to write them */
    bool bare;                /* leave out the opening tag of a thought that the prompt would open */
} dt_chat;

/* Reads {"messages", "tools"?, "add_generation_prompt"?, "enable_thinking"?, "date_string"?, "bos_token"?, "eos_token"?}
 * (null = not given; other keys are not looked at). *out borrows from `in`. DUET_E_FORMAT names the key. */
duet_status dt_chat_read(const dt_family *f, const json_t *in, dt_chat *out, duet_err *err);
/* DUET_E_FORMAT: the template refuses, with its own sentence where it has one. */
duet_status dt_chat_render(const dt_chat *c, dt_page *out, duet_err *err);

/* ---- families (family.c) ---- */

typedef enum dt_thought {
    DT_THOUGHT_NONE,   /* no think tags: all that is said is the answer */
    DT_THOUGHT_SPOKEN, /* the model opens its thought itself */
    DT_THOUGHT_OPENED  /* the prompt ends with the opening tag */
} dt_thought;

#define DT_FAMILY_MARKS 4
struct dt_family {
    const char *name;  /* of --chat-template; revisions of one template share it */
    const char *title; /* for help */
    duet_status (*render)(const dt_chat *c, dt_page *p, duet_err *err);
    unsigned flags;               /* what `render` does differently, its own business */
    const char *system;           /* the system message where none is given; NULL = none */
    const char *bos, *eos;        /* NULL = "" */
    const char *open;             /* begins a turn: must be one token */
    const char *end;              /* ends an assistant's turn: must be one token */
    const char *ends[DT_FAMILY_MARKS]; /* what else ends what a model says, where the tokenizer has it */
    dt_thought thought;
    double temperature, top_p; /* what its makers advise; temperature 0 = nothing */
    int top_k;
};

const dt_family *dt_family_find(const char *name); /* NULL = none */
const dt_family *dt_family_at(size_t i);           /* each name once; NULL behind the last */
/* "chatml, gemma3, ..." appended to b. */
void dt_family_names(dt_buf *b);
/* The family of a name that a user gave; DUET_E_USAGE tells the names there are. */
duet_status dt_family_called(const char *name, const dt_family **out, duet_err *err);
/* Fails with st: what is wrong, and the names there are. */
duet_status dt_family_unknown(duet_status st, const char *what, duet_err *err);

/* ---- recognition (known.c) ---- */

/* What a Jinja template does, without how it is written: comments gone, white space that is not printed gone, literals
 * in one spelling. Equal forms render equally. Appends to out. DUET_E_FORMAT: a tag that is not closed. */
duet_status dt_template_form(const char *s, size_t n, dt_buf *out, duet_err *err);
#define DT_FINGERPRINT 17
/* 16 hexadecimal digits of the form's SHA-256. */
duet_status dt_template_fingerprint(const char *s, size_t n, char out[DT_FINGERPRINT], duet_err *err);
const dt_family *dt_family_of(const char *fingerprint); /* NULL = not known */

/* ---- what the layouts share (render.c) ---- */

const json_t *dt_msg(const dt_chat *c, size_t i);
size_t dt_msg_count(const dt_chat *c);
bool dt_msg_is(const json_t *m, const char *role);
/* The string `key` of message i; DUET_E_FORMAT where it is missing or something else. */
duet_status dt_msg_string(const json_t *m, size_t i, const char *key, const char **s, size_t *n, duet_err *err);
duet_status dt_msg_content(const dt_chat *c, size_t i, const char **s, size_t *n, duet_err *err);
/* Calls of message i: a non-empty array, or NULL where there are none. Each is an object; its name and arguments may
 * stand in "function". */
const json_t *dt_msg_calls(const json_t *m);
duet_status dt_call_parts(const json_t *call, size_t i, const json_t **name, const json_t **arguments, duet_err *err);
void dt_page_role(dt_page *p, const json_t *m);
void dt_page_json(dt_page *p, const json_t *v, int indent); /* as data */
/* Python's str.strip(), lstrip("\n"), rstrip("\n"). */
void dt_strip(const char **s, size_t *n);
void dt_strip_newlines(const char **s, size_t *n, bool left, bool right);
/* First or last occurrence; NULL = none. */
const char *dt_find(const char *s, size_t n, const char *what);
const char *dt_find_last(const char *s, size_t n, const char *what);

duet_status dt_render_chatml(const dt_chat *c, dt_page *p, duet_err *err);
duet_status dt_render_qwen(const dt_chat *c, dt_page *p, duet_err *err);
duet_status dt_render_llama3(const dt_chat *c, dt_page *p, duet_err *err);
duet_status dt_render_llama31(const dt_chat *c, dt_page *p, duet_err *err);
duet_status dt_render_deepseek(const dt_chat *c, dt_page *p, duet_err *err);
duet_status dt_render_gemma3(const dt_chat *c, dt_page *p, duet_err *err);
duet_status dt_render_mistral(const dt_chat *c, dt_page *p, duet_err *err);

/* flags */
enum {
    DT_CHATML_SWITCH = 1,   /* enable_thinking false closes an empty thought */
    DT_QWEN_25 = 2,         /* layout of Qwen2.5: default system message, calls on lines of their own */
    DT_QWEN_LENIENT = 4,    /* a content that is no string counts as empty */
    DT_QWEN_THINKS = 8,     /* keeps the thoughts of the last turn */
    DT_QWEN_SWITCH = 16,    /* enable_thinking false closes an empty thought */
    DT_LLAMA_TODAY = 32,    /* the date is today's where none is given */
    DT_DEEPSEEK_SWITCH = 64 /* tool arguments as JSON; a thought that is not wanted is closed */
};

/* ---- JSON as Python's json.dumps writes it (json_py.c) ---- */

/* ensure_ascii off, separators ", " and ": "; indent 0 = one line, else that many blanks a level. */
bool dt_json_py(const json_t *v, int indent, dt_buf *out);

#endif
