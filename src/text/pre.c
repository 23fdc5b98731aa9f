/* The pre-tokenizers that GGUF files name (tokenizer.ggml.pre), as the patterns of the models' own files. A name stands
 * for split steps, a normal form, and two habits of its vocabulary. Each step's matches and what lies between them are
 * pieces. */
#include "text/tokenizer.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+"
/* GPT-2's without a last "|\\s+": what it would match is what is left over. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

static const char llama3[] = CONTRACTIONS "|" WORD "\\p{L}+|\\p{N}{1,3}|" SIGNS "[\\r\\n]*|" TAIL;
static const char qwen35[] = CONTRACTIONS "|" WORD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" TAIL;
static const char tekken[] = WORD UPPER "*" LOWER "+|" WORD UPPER "+" LOWER "*|\\p{N}|" SIGNS "[\\r\\n/]*|" TAIL;
static const char gpt4o[] = WORD UPPER "*" LOWER "+" CONTRACTIONS "?|" WORD UPPER "+" LOWER "*" CONTRACTIONS
                                       "?|\\p{N}{1,3}|" SIGNS "[\\r\\n/]*|" TAIL;
static const char deepseek3[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL;
/* The letters of alphabets with capitals. */
static const char deepseek_letters[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌ"
    "Ύ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ"
    "-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ"
    "-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ"
    "-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏"
    "𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

typedef struct pre {
    const char *names; /* one blank between two */
    bool nfc, ignore_merges, add_bos;
    const char *steps[6];
} pre;

static const pre known[] = {
    {"qwen2 deepseek-r1-qwen megrez",                      true,  false, false, {dt_tok_qwen_pattern}                                                                                                      },
    {"qwen35",                                             true,  false, false, {qwen35}                                                                                                                   },
    {"llama-bpe llama3 llama-v3 falcon3 pixtral lfm2",     false, true,  true,  {llama3}                                                                                                                   },
    {"smaug-bpe dbrx chatglm-bpe glm4",                    false, false, false, {llama3}                                                                                                                   },
    {"smollm starcoder refact command-r codeshell exaone", false, false, false, {"\\p{N}", dt_tok_gpt2_pattern}                                                                                            },
    {"gpt-2 phi-2 mpt olmo",                               false, false, false, {dt_tok_gpt2_pattern}                                                                                                      },
    {"tekken",                                             false, true,  true,  {tekken}                                                                                                                   },
    {"gpt-4o llama4",                                      false, false, false, {gpt4o}                                                                                                                    },
    {"deepseek-llm",
     false,                                                       false,
     false,                                                                     {"[\\r\\n]", deepseek_letters, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"}},
    {"deepseek-coder",
     false,                                                       false,
     false,                                                                     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}                                           },
    {"deepseek-v3",                                        false, false, false, {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", deepseek3}                                                                     },
    {"falcon",                                             false, false, false, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}                                                                    },
    {"default",                                            false, false, false, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}                                                          },
};

static bool has_name(const char *names, const char *s, size_t n) {
    for (const char *p = names; p; p = strchr(p, ' '), p = p ? p + 1 : NULL)
        if (strcspn(p, " ") == n && !memcmp(p, s, n))
            return true;
    return false;
}

duet_status dt_tok_use_pre(duet_tokenizer *t, const char *name, size_t n, bool *add_bos, duet_err *err) {
    char list[600], q[DT_TOK_QUOTE];
    size_t w = 0;
    for (size_t i = 0; i < DT_COUNT(known); i++) {
        const pre *p = &known[i];
        if (!has_name(p->names, name, n))
            continue;
        duet_status st = DUET_OK;
        if (p->nfc)
            t->forms[t->n_forms++] = DT_NFC;
        t->vocab.ignore_merges = p->ignore_merges;
        *add_bos = p->add_bos;
        for (size_t k = 0; !st && k < DT_COUNT(p->steps) && p->steps[k]; k++)
            st = dt_tok_add_split(t, p->steps[k], strlen(p->steps[k]), false, DT_SPLIT_ISOLATED, false, err);
        return st;
    }
    for (size_t i = 0; i < DT_COUNT(known); i++)
        w += (size_t)snprintf(list + w, sizeof list - w, "%s%s", i ? " " : "", known[i].names);
    return dt_fail(err, DUET_E_UNSUPPORTED, "pre-tokenizer %s is not known (known: %s)", dt_tok_quote(q, name, n),
                   list);
}
