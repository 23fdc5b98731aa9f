/* A request for an answer, field by field. */
#include "serve/ask.h"

#include <stdlib.h>
#include <string.h>

#define MOST_TOKENS (1 << 28)

/* ---- how much M may think: one number, however it is spelled ---- */

static bool set_budget(dt_ask *a, const char *name, int n, dt_fault *f) {
    if (a->budget_by && a->budget != n)
        return dt_fault_set(f, 400, name, NULL, "%s: says %d tokens, %s says %d", name, n, a->budget_by, a->budget);
    a->budget_by = a->budget_by ? a->budget_by : name;
    a->budget = n;
    return true;
}

/* Names of fields that live long enough for set_budget. */
static bool read_budget(dt_ask *a, const char *name, const char *lasting, const json_t *v, dt_fault *f) {
    int n = 0;
    return dt_field_int(v, name, -1, MOST_TOKENS, &n, f) && set_budget(a, lasting, n, f);
}

static bool read_thinking_budget(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return read_budget(a, name, "thinking_budget", v, f);
}

static bool read_max_reasoning_tokens(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return read_budget(a, name, "max_reasoning_tokens", v, f);
}

static bool read_reasoning_max(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return read_budget(a, name, "reasoning.max_tokens", v, f);
}

static bool read_budget_tokens(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return read_budget(a, name, "thinking.budget_tokens", v, f);
}

/* Shares of the signal that the server grants: none 0, minimal 1/16, low 1/4, medium 1/2, high all of it. */
static bool read_effort(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const struct {
        const char *name;
        int num, den;
    } efforts[] = {
        {"none", 0, 1}, {"minimal", 1, 16}, {"low", 1, 4}, {"medium", 1, 2}, {"high", 1, 1}, {"xhigh", 1, 1}};
    const char *word = NULL;
    if (!dt_field_string(v, name, &word, f))
        return false;
    for (size_t i = 0; i < DT_COUNT(efforts); i++) {
        if (strcmp(efforts[i].name, word) != 0)
            continue;
        const int all = a->signal_budget;
        const bool bounded = all >= 0 || efforts[i].num == 0;
        return set_budget(a, "reasoning_effort", bounded && all >= 0 ? (int)((long long)all * efforts[i].num / efforts[i].den) : efforts[i].num ? -1 : 0, f);
    }
    return dt_fault_set(f, 400, name, NULL, "%s: %.40s is not none, minimal, low, medium, high or xhigh", name, word);
}

static bool read_thinks(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    bool on = false;
    if (!dt_field_bool(v, name, &on, f))
        return false;
    if (a->thinks != DT_ASK_UNSET && a->thinks != on)
        return dt_fault_set(f, 400, name, NULL, "%s: another field says the opposite", name);
    a->thinks = on;
    return true;
}

static bool read_thinking_type(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *type = NULL;
    if (!dt_field_string(v, name, &type, f))
        return false;
    if (strcmp(type, "enabled") != 0 && strcmp(type, "disabled") != 0)
        return dt_fault_set(f, 400, name, NULL, "%s: %.40s is neither enabled nor disabled", name, type);
    a->thinks = !strcmp(type, "enabled");
    return true;
}

static bool read_thinking(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const dt_field fields[] = {{"type", read_thinking_type}, {"budget_tokens", read_budget_tokens}};
    (void)name;
    return dt_fields_read(a, v, "thinking.", fields, DT_COUNT(fields), f);
}

static bool read_exclude(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_bool(v, name, &a->hide_reasoning, f);
}

static bool read_include_reasoning(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    bool on = false;
    if (!dt_field_bool(v, name, &on, f))
        return false;
    a->hide_reasoning = !on;
    return true;
}

/* Who asks with `reasoning` is answered with `reasoning`. */
static bool read_reasoning(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const dt_field fields[] = {
        {"max_tokens", read_reasoning_max}, {"effort", read_effort}, {"enabled", read_thinks}, {"exclude", read_exclude}};
    (void)name;
    a->reasoning_name = true;
    return dt_fields_read(a, v, "reasoning.", fields, DT_COUNT(fields), f);
}

static bool read_template_kwargs(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const dt_field fields[] = {{"enable_thinking", read_thinks}, {"thinking_budget", read_thinking_budget}};
    (void)name;
    return dt_fields_read(a, v, "chat_template_kwargs.", fields, DT_COUNT(fields), f);
}

/* ---- sampling, of both stages ---- */

static bool read_temperature(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    double x = 0;
    if (!dt_field_real(v, name, 0, 100, &x, f))
        return false;
    a->M.temperature = a->m.temperature = x;
    return true;
}

static bool read_top_p(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    double x = 0;
    if (!dt_field_real(v, name, 0, 1, &x, f))
        return false;
    if (x == 0)
        return dt_fault_set(f, 400, name, NULL, "%s: 0 leaves no token; temperature 0 is greedy", name);
    a->M.top_p = a->m.top_p = x;
    return true;
}

static bool read_top_k(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    int k = 0;
    if (!dt_field_int(v, name, -1, MOST_TOKENS, &k, f))
        return false;
    a->M.top_k = a->m.top_k = k < 0 ? 0 : k; /* -1 and 0: off */
    return true;
}

static bool read_min_p(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    double x = 0;
    if (!dt_field_real(v, name, 0, 1, &x, f))
        return false;
    a->M.min_p = a->m.min_p = x;
    return true;
}

static bool read_seed(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    if (!json_is_integer(v))
        return dt_fault_set(f, 400, name, NULL, "%s: not a whole number of 64 bits", name);
    a->M.seed = a->m.seed = (uint64_t)json_integer_value(v);
    a->seed_given = true;
    return true;
}

static bool read_n(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_int(v, name, 1, DT_ASK_MAX_N, &a->n, f);
}

static bool read_max_tokens(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_int(v, name, 0, MOST_TOKENS, &a->max_tokens, f);
}

static bool read_max_completion_tokens(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_int(v, name, 0, MOST_TOKENS, &a->max_completion_tokens, f);
}

/* ---- the rest ---- */

static bool read_model(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_string(v, name, &a->model, f);
}

static bool read_messages(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    if (a->completion)
        return dt_fault_set(f, 400, name, "unknown_parameter", "%s: completions have a prompt", name);
    return dt_ask_messages(a, v, f);
}

static bool read_prompt(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    if (!a->completion)
        return dt_fault_set(f, 400, name, "unknown_parameter", "%s: chat completions have messages", name);
    return dt_ask_prompt(a, v, f);
}

static bool read_stream(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    return dt_field_bool(v, name, &a->stream, f);
}

static bool read_include_usage(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    a->include_usage_given = true;
    return dt_field_bool(v, name, &a->include_usage, f);
}

static bool read_obfuscation(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    bool on = false;
    (void)a;
    if (!dt_field_bool(v, name, &on, f))
        return false;
    return !on || dt_fault_set(f, 400, name, NULL, "%s: is not done here", name);
}

static bool read_stream_options(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    static const dt_field fields[] = {{"include_usage", read_include_usage}, {"include_obfuscation", read_obfuscation}};
    (void)name;
    return dt_fields_read(a, v, "stream_options.", fields, DT_COUNT(fields), f);
}

/* Names for the caller's own use: nothing here depends on them. */
static bool read_label(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *s = NULL;
    (void)a;
    return dt_field_string(v, name, &s, f);
}

/* Fields that only have the value that changes nothing. */
static bool read_one(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    double x = 0;
    (void)a;
    if (!dt_field_real(v, name, -1e9, 1e9, &x, f))
        return false;
    return x == 1 || dt_fault_set(f, 400, name, NULL, "%s: %g is not supported, only 1", name, x);
}

static bool read_false(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    bool on = false;
    (void)a;
    if (!dt_field_bool(v, name, &on, f))
        return false;
    return !on || dt_fault_set(f, 400, name, NULL, "%s: true is not supported", name);
}

static bool read_empty(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    (void)a;
    return (json_is_array(v) && !json_array_size(v)) || (json_is_object(v) && !json_object_size(v)) ||
           dt_fault_set(f, 400, name, NULL, "%s: is not supported", name);
}

static bool read_tool_choice(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *s = json_string_value(v);
    (void)a;
    return (s && (!strcmp(s, "none") || !strcmp(s, "auto"))) || dt_fault_set(f, 400, name, NULL, "%s: tools are not supported", name);
}

static bool read_modalities(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *s = json_string_value(json_array_get(v, 0));
    (void)a;
    return (s && !strcmp(s, "text") && json_array_size(v) == 1) || dt_fault_set(f, 400, name, NULL, "%s: only [\"text\"] is supported", name);
}

static bool read_service_tier(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    const char *s = json_string_value(v);
    (void)a;
    return (s && (!strcmp(s, "auto") || !strcmp(s, "default"))) || dt_fault_set(f, 400, name, NULL, "%s: only auto and default are supported", name);
}

static bool read_labels(dt_ask *a, const char *name, const json_t *v, dt_fault *f) {
    (void)a;
    return json_is_object(v) || dt_fault_set(f, 400, name, NULL, "%s: not an object", name);
}

static const dt_field fields[] = {
    {"model",                 read_model                },
    {"messages",              read_messages             },
    {"prompt",                read_prompt               },
    {"stream",                read_stream               },
    {"stream_options",        read_stream_options       },
    {"n",                     read_n                    },
    {"max_tokens",            read_max_tokens           },
    {"max_completion_tokens", read_max_completion_tokens},
    {"temperature",           read_temperature          },
    {"top_p",                 read_top_p                },
    {"top_k",                 read_top_k                },
    {"min_p",                 read_min_p                },
    {"seed",                  read_seed                 },
    {"thinking_budget",       read_thinking_budget      },
    {"max_reasoning_tokens",  read_max_reasoning_tokens },
    {"reasoning",             read_reasoning            },
    {"thinking",              read_thinking             },
    {"reasoning_effort",      read_effort               },
    {"enable_thinking",       read_thinks               },
    {"chat_template_kwargs",  read_template_kwargs      },
    {"include_reasoning",     read_include_reasoning    },
    {"user",                  read_label                },
    {"safety_identifier",     read_label                },
    {"prompt_cache_key",      read_label                },
    {"metadata",              read_labels               },
    {"store",                 read_false                },
    {"service_tier",          read_service_tier         },
    {"frequency_penalty",     dt_shape_frequency        },
    {"presence_penalty",      dt_shape_presence         },
    {"repetition_penalty",    read_one                  },
    {"logprobs",              dt_shape_logprobs         },
    {"top_logprobs",          dt_shape_top_logprobs     },
    {"logit_bias",            dt_shape_bias             },
    {"stop",                  dt_shape_stop             },
    {"response_format",       dt_shape_format           },
    {"modalities",            read_modalities           },
    {"tools",                 read_empty                },
    {"tool_choice",           read_tool_choice          },
    {"parallel_tool_calls",   read_false                },
};

/* ---- what the fields say together ---- */

/* What each model may sample. `named`: the budget of the model's name. */
static bool settle_budgets(dt_ask *a, int named, dt_fault *f) {
    if (named != DT_ASK_UNSET && !set_budget(a, "model", named, f))
        return false;
    if (a->thinks == 0 && !set_budget(a, "enable_thinking", 0, f))
        return false;
    if (a->thinks == 1 && a->budget_by && a->budget == 0)
        return dt_fault_set(f, 400, a->budget_by, NULL, "%s: no tokens, while thinking is asked for", a->budget_by);
    if (a->mode == DUET_MODE_M && a->budget_by && !strcmp(a->budget_by, "reasoning_effort") && a->budget > 0)
        a->budget_by = NULL; /* M alone thinks as much as it wants */
    a->no_thought = a->mode == DUET_MODE_M && a->budget_by && a->budget == 0;
    if (a->mode == DUET_MODE_M && a->budget_by && a->budget > 0)
        return dt_fault_set(f, 400, a->budget_by, NULL,
                            "%s: M alone thinks and answers in one piece; max_completion_tokens bounds both together", a->budget_by);
    if (a->mode == DUET_MODE_m && ((a->budget_by && a->budget != 0) || a->thinks == 1))
        return dt_fault_set(f, 400, a->budget_by ? a->budget_by : "enable_thinking", NULL, "%s: m alone does not think",
                            a->budget_by ? a->budget_by : "enable_thinking");
    a->signal_budget = a->budget_by ? a->budget : a->signal_budget;
    a->answer_budget = a->max_tokens != DT_ASK_UNSET ? a->max_tokens : a->answer_budget;
    a->total_budget = a->max_completion_tokens != DT_ASK_UNSET ? a->max_completion_tokens : -1;
    return true;
}

bool dt_ask_read(const dt_server *s, json_t *body, bool completion, dt_ask *a, dt_fault *f) {
    int named = 0;
    *a = (dt_ask){.body = body,
                  .completion = completion,
                  .n = 1,
                  .signal_budget = s->opt.signal_budget,
                  .answer_budget = s->opt.answer_budget,
                  .max_tokens = DT_ASK_UNSET,
                  .max_completion_tokens = DT_ASK_UNSET,
                  .thinks = DT_ASK_UNSET,
                  .M = s->opt.M,
                  .m = s->opt.m};
    if (!dt_fields_read(a, body, "", fields, DT_COUNT(fields), f))
        return false;
    if (!a->model)
        return dt_fault_set(f, 400, "model", NULL, "model: is missing");
    if (!a->turns)
        return a->completion ? dt_fault_set(f, 400, "prompt", NULL, "prompt: is missing")
                             : dt_fault_set(f, 400, "messages", NULL, "messages: is missing");
    if (a->completion && a->logprobs)
        return dt_fault_set(f, 400, "logprobs", NULL, "logprobs: only of chat completions");
    if (a->include_usage_given && !a->stream)
        return dt_fault_set(f, 400, "stream_options", NULL, "stream_options: only with stream");
    return dt_model_read(s, a->model, &a->mode, &named, f) && settle_budgets(a, named, f) && dt_shape_settle(s, a, f);
}

void dt_ask_clear(dt_ask *a) {
    for (size_t i = 0; a->owned && i < a->n_turns; i++)
        free(a->owned[i]);
    free(a->owned);
    free(a->turns);
    free(a->stops);
    free(a->bias);
    json_decref(a->body);
    *a = (dt_ask){0};
}
