/* What a request for an answer asks: OpenAI's chat fields and the usual extras, checked. A field that is not known, or whose
 * value cannot be had, is a fault that names it; null is the same as not there. */
#ifndef DT_SERVE_ASK_H
#define DT_SERVE_ASK_H

#include "serve/server.h"

#define DT_ASK_MAX_N 128
#define DT_ASK_UNSET INT32_MIN /* a number that was not given */

typedef struct dt_ask {
    json_t *body; /* owned; texts are borrowed from it */
    bool completion; /* a prompt instead of messages: the question */
    const char *model;
    duet_mode mode;
    duet_message *turns; /* the conversation; its last turn is the question */
    char **owned;        /* [n_turns] texts that were put together of parts; NULL = borrowed */
    size_t n_turns;
    int n;
    int signal_budget, answer_budget;
    int total_budget; /* of both stages; -1 = no bound beside the two */
    duet_sampling M, m;
    bool seed_given, stream, include_usage;
    bool hide_reasoning, reasoning_name; /* the signal is left out; is called `reasoning` */
    const char **stops; /* owned list of borrowed strings */
    size_t n_stops;
    duet_logit_bias *bias; /* owned */
    size_t n_bias;
    enum { DT_FORMAT_TEXT, DT_FORMAT_OBJECT, DT_FORMAT_SCHEMA } format;
    const json_t *schema;
    bool no_thought; /* M alone answers at once */
    bool logprobs;
    int top_logprobs;
    double presence_penalty, frequency_penalty;
    /* while reading: which field said how much M may think */
    const char *budget_by;
    int budget, max_tokens, max_completion_tokens;
    int thinks; /* enable_thinking: 0, 1, or DT_ASK_UNSET */
    bool include_usage_given;
} dt_ask;

/* Takes body, also where it fails; dt_ask_clear in either case. completion: a prompt is asked for, not messages. */
bool dt_ask_read(const dt_server *s, json_t *body, bool completion, dt_ask *out, dt_fault *f);
void dt_ask_clear(dt_ask *a);

/* fields.c: one value of a JSON object; name is for the fault. */
bool dt_field_bool(const json_t *v, const char *name, bool *out, dt_fault *f);
bool dt_field_int(const json_t *v, const char *name, json_int_t lo, json_int_t hi, int *out, dt_fault *f);
bool dt_field_real(const json_t *v, const char *name, double lo, double hi, double *out, dt_fault *f);
bool dt_field_string(const json_t *v, const char *name, const char **out, dt_fault *f);
/* Each key of an object goes to the reader of its name; one without a reader is a fault. Names below `prefix` ("" = the
 * request itself, else "reasoning."). Nulls are passed over. */
typedef struct dt_field {
    const char *name;
    bool (*read)(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
} dt_field;
bool dt_fields_read(dt_ask *a, const json_t *object, const char *prefix, const dt_field *fields, size_t n, dt_fault *f);

/* shape.c: readers of the fields, and what they say together once the model is known. */
bool dt_shape_stop(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
bool dt_shape_bias(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
bool dt_shape_logprobs(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
bool dt_shape_top_logprobs(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
bool dt_shape_presence(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
bool dt_shape_frequency(dt_ask *a, const char *name, const json_t *v, dt_fault *f);
bool dt_shape_format(dt_ask *a, const char *name, const json_t *v, dt_fault *f); /* format.c */
bool dt_shape_settle(const dt_server *s, dt_ask *a, dt_fault *f);

/* messages.c */
bool dt_ask_messages(dt_ask *a, const json_t *messages, dt_fault *f);
bool dt_ask_prompt(dt_ask *a, const json_t *prompt, dt_fault *f); /* a string, or an array of one */

/* models.c: "duet", "duet-M", "duet-m", with "@N" behind: the mode and the budget (DT_ASK_UNSET = none named). */
bool dt_model_read(const dt_server *s, const char *name, duet_mode *mode, int *budget, dt_fault *f);
json_t *dt_models_json(const dt_server *s);

#endif
