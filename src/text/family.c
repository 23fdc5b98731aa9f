/* The families of chat templates: who writes them how, which marks they live on, what their makers advise. */
#include "text/render.h"

#include <string.h>

#define R1(what) "<\xef\xbd\x9c" what "\xef\xbd\x9c>"
#define R1_BOS R1("begin\xe2\x96\x81of\xe2\x96\x81sentence")
#define R1_EOS R1("end\xe2\x96\x81of\xe2\x96\x81sentence")

#define CHATML .open = "<|im_start|>", .end = "<|im_end|>", .ends = {"<|endoftext|>"}
#define LLAMA3                                                                                                         \
    .bos = "<|begin_of_text|>", .eos = "<|eot_id|>", .open = "<|start_header_id|>", .end = "<|eot_id|>",               \
    .ends = {"<|end_of_text|>", "<|eom_id|>"}, .temperature = 0.6, .top_p = 0.9
#define DEEPSEEK                                                                                                       \
    .bos = R1_BOS, .eos = R1_EOS, .open = R1("User"), .end = R1_EOS, .temperature = 0.6, .top_p = 0.95

static const dt_family families[] = {
    {.name = "chatml", .title = "turns between <|im_start|> and <|im_end|>, nothing else", .render = dt_render_chatml,
     CHATML},
    {.name = "chatml-think", .title = "the same with <think>; the models that duet makes", .render = dt_render_chatml,
     .flags = DT_CHATML_SWITCH, CHATML, .thought = DT_THOUGHT_SPOKEN},
    {.name = "smollm2", .title = "SmolLM2-Instruct", .render = dt_render_chatml,
     .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face", CHATML, .temperature = 0.2,
     .top_p = 0.9},
    {.name = "qwen2", .title = "Qwen2-Instruct", .render = dt_render_chatml, .system = "You are a helpful assistant.",
     CHATML, .temperature = 0.7, .top_p = 0.8, .top_k = 20},
    {.name = "qwen2.5", .title = "Qwen2.5-Instruct, Qwen2.5-Coder-Instruct", .render = dt_render_qwen,
     .flags = DT_QWEN_25, .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", CHATML,
     .temperature = 0.7, .top_p = 0.8, .top_k = 20},
    {.name = "qwen2.5-math", .title = "Qwen2.5-Math-Instruct", .render = dt_render_qwen, .flags = DT_QWEN_25,
     .system = "Please reason step by step, and put your final answer within \\boxed{}.", CHATML, .temperature = 0.7,
     .top_p = 0.8, .top_k = 20},
    {.name = "qwen3", .title = "Qwen3, thinking and not", .render = dt_render_qwen,
     .flags = DT_QWEN_THINKS | DT_QWEN_SWITCH | DT_QWEN_LENIENT, CHATML, .thought = DT_THOUGHT_SPOKEN,
     .temperature = 0.6, .top_p = 0.95, .top_k = 20},
    {.name = "qwen3", .title = "its first revision", .render = dt_render_qwen,
     .flags = DT_QWEN_THINKS | DT_QWEN_SWITCH, CHATML, .thought = DT_THOUGHT_SPOKEN, .temperature = 0.6, .top_p = 0.95,
     .top_k = 20},
    {.name = "qwen3-instruct-2507", .title = "Qwen3-Instruct-2507", .render = dt_render_qwen,
     .flags = DT_QWEN_LENIENT, CHATML, .temperature = 0.7, .top_p = 0.8, .top_k = 20},
    {.name = "qwen3-thinking-2507", .title = "Qwen3-Thinking-2507: the prompt opens the thought",
     .render = dt_render_qwen, .flags = DT_QWEN_THINKS | DT_QWEN_LENIENT, CHATML, .thought = DT_THOUGHT_OPENED,
     .temperature = 0.6, .top_p = 0.95, .top_k = 20},
    {.name = "llama3", .title = "Llama-3-Instruct", .render = dt_render_llama3, LLAMA3},
    {.name = "llama3.1", .title = "Llama-3.1-Instruct, Llama-3.3-Instruct", .render = dt_render_llama31, LLAMA3},
    {.name = "llama3.2", .title = "Llama-3.2-Instruct: with today's date", .render = dt_render_llama31,
     .flags = DT_LLAMA_TODAY, LLAMA3},
    {.name = "deepseek-r1", .title = "DeepSeek-R1 and its distils: the prompt opens the thought",
     .render = dt_render_deepseek, DEEPSEEK, .thought = DT_THOUGHT_OPENED},
    {.name = "deepseek-r1-first", .title = "its first revision: the model opens the thought",
     .render = dt_render_deepseek, DEEPSEEK, .thought = DT_THOUGHT_SPOKEN},
    {.name = "deepseek-r1-switch", .title = "a copy with enable_thinking, as some GGUF files have it",
     .render = dt_render_deepseek, .flags = DT_DEEPSEEK_SWITCH, DEEPSEEK, .thought = DT_THOUGHT_OPENED},
    {.name = "gemma3", .title = "Gemma 3 (it)", .render = dt_render_gemma3, .bos = "<bos>", .eos = "<eos>",
     .open = "<start_of_turn>", .end = "<end_of_turn>", .ends = {"<eos>"}, .temperature = 1, .top_p = 0.95,
     .top_k = 64},
    {.name = "mistral", .title = "Mistral-7B-Instruct-v0.1 and v0.2", .render = dt_render_mistral, .bos = "<s>",
     .eos = "</s>", .open = "<s>", .end = "</s>"},
};

const dt_family *dt_family_find(const char *name) {
    for (size_t i = 0; i < DT_COUNT(families); i++)
        if (!strcmp(families[i].name, name))
            return &families[i];
    return NULL;
}

const dt_family *dt_family_at(size_t i) {
    for (size_t k = 0; k < DT_COUNT(families); k++) {
        if (k && !strcmp(families[k].name, families[k - 1].name))
            continue;
        if (!i--)
            return &families[k];
    }
    return NULL;
}

void dt_family_names(dt_buf *b) {
    for (size_t i = 0; dt_family_at(i); i++)
        dt_buf_addf(b, "%s%s", i ? ", " : "", dt_family_at(i)->name);
}

duet_status dt_family_unknown(duet_status st, const char *what, duet_err *err) {
    dt_buf known = {0};
    dt_family_names(&known);
    dt_fail(err, st, "%s; known: %s (--chat-template NAME, in a recipe chat_template, takes one of them)", what, known.data ? known.data : "");
    dt_buf_clear(&known);
    return st;
}

duet_status dt_family_called(const char *name, const dt_family **out, duet_err *err) {
    char what[128];
    *out = dt_family_find(name);
    if (*out)
        return DUET_OK;
    snprintf(what, sizeof what, "no chat template is called %.60s", name);
    return dt_family_unknown(DUET_E_USAGE, what, err);
}

/* Which templates are which family: fingerprints of the forms of published templates (known.c). Several spellings of one
 * template share a form; several rows of a family are templates that render the same. */
static const struct {
    const char *fingerprint, *name;
    unsigned without; /* flags of the family that this revision does not have */
} known[] = {
    {"adf4e2ca61db379a", "chatml",              0              },
    {"79fa7eb38ae8382b", "chatml",              0              }, /* sets add_generation_prompt first */
    {"aab567aa2e102d8c", "chatml",              0              }, /* message.role for message["role"] */
    {"4b150f00fb1304ed", "chatml-think",        0              },
    {"02494d703158b222", "smollm2",             0              },
    {"5bd4b45560a9dad8", "qwen2",               0              },
    {"2f9f4a3222062375", "qwen2.5",             0              },
    {"664f7a69b015a013", "qwen2.5-math",        0              },
    {"7e2d031204d8600c", "qwen3",               DT_QWEN_LENIENT},
    {"41139826d64f6a07", "qwen3",               0              },
    {"1297ce51937657a1", "qwen3",               DT_QWEN_LENIENT}, /* slices where the first revision has startswith */
    {"e7a1b341f9ee7d4c", "qwen3",               DT_QWEN_LENIENT},
    {"52b617b2c52a8667", "qwen3-instruct-2507", 0              },
    {"aa24ae97918e8ea4", "qwen3-thinking-2507", 0              },
    {"c9b4fb850f1dca6c", "llama3",              0              },
    {"24e44d2bbece6b19", "llama3.1",            0              },
    {"4b7597c46e33fff0", "llama3.2",            0              },
    {"a4e4c84917766150", "deepseek-r1",         0              },
    {"472bd66f452a799c", "deepseek-r1-first",   0              },
    {"6522e882f920e5e7", "deepseek-r1-switch",  0              },
    {"18c15bf5026db57b", "gemma3",              0              },
    {"297f3fad82baba3e", "mistral",             0              },
};

const dt_family *dt_family_of(const char *fingerprint) {
    for (size_t i = 0; i < DT_COUNT(known); i++) {
        if (strcmp(known[i].fingerprint, fingerprint) != 0)
            continue;
        const dt_family *f = dt_family_find(known[i].name);
        for (const dt_family *r = f; known[i].without && r < families + DT_COUNT(families); r++)
            if (!strcmp(r->name, f->name) && r->flags == (f->flags & ~known[i].without))
                return r;
        return f;
    }
    return NULL;
}
