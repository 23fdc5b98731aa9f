/* Every key of a recipe: one row, one key. The order is that of the resolved copy; keys of a section stand together. */
#include "train/recipe.h"

#define BOTH (DT_RUN_SFT | DT_RUN_RL)
#define SFT DT_RUN_SFT
#define RL DT_RUN_RL
#define AT(field) offsetof(dt_recipe, field)
#define INT(name, kinds, field, def, min, max, help) {name, kinds, DT_KEY_INT, AT(field), def, min, max, NULL, help}
#define REAL(name, kinds, field, def, min, max, help) {name, kinds, DT_KEY_REAL, AT(field), def, min, max, NULL, help}
#define BOOL(name, kinds, field, def, help) {name, kinds, DT_KEY_BOOL, AT(field), def, 0, 1, NULL, help}
#define TEXT(name, kinds, field, def, help) {name, kinds, DT_KEY_TEXT, AT(field), def, 0, 0, NULL, help}
#define CHOICE(name, kinds, field, def, choices, help) {name, kinds, DT_KEY_CHOICE, AT(field), def, 0, 0, choices, help}
#define BIG 1e15

/* A model's adapters, and how its weights are held: the choices are those of duet_weights. */
#define LORA(s, kinds, field)                                                                                                          \
    INT(s ".lora.rank", kinds, field.lora.rank, "0", 0, 4096, "rank of the adapters that are trained; 0 = all weights are"),           \
        REAL(s ".lora.alpha", kinds, field.lora.alpha, "16", 1e-6, 1e6, "an adapter adds alpha/rank B A"),                             \
        TEXT(s ".lora.targets", kinds, field.lora.targets, "all-linear", "all-linear, or q_proj,k_proj,...: the matrices that get one")

#define CHAT_TEMPLATE(s, kinds, field)                                                                                                 \
    TEXT(s ".chat_template", kinds, field.chat_template, "", "of a model that comes without one; duet template --list names them")

#define WEIGHTS(s, kinds, field)                                                                                                       \
    CHOICE(s ".weights", kinds, field.weights, "auto", "auto|f32|file|exact",                                                          \
           "how they are held; auto: f32, with adapters file (the types of the files)")

/* Keys that M and m share; the defaults differ. */
#define SIDE(s, samples_def, response_def)                                                                                             \
    TEXT(#s ".path", RL, s.path, "", "model folder or GGUF file to start from"),                                                       \
        CHAT_TEMPLATE(#s, RL, s), WEIGHTS(#s, RL, s), LORA(#s, RL, s),                                                                 \
        BOOL(#s ".train", RL, s.train, "true", "update its weights"),                                                                  \
        INT(#s ".samples", RL, s.samples, samples_def, 1, 4096, "samples of a prompt"),                                                \
        REAL(#s ".temperature", RL, s.temperature, "1", 1e-3, 100, "sampling in training"),                                            \
        INT(#s ".top_k", RL, s.top_k, "0", 0, BIG, "0 = off"), REAL(#s ".top_p", RL, s.top_p, "1", 0, 1, "1 = off"),                   \
        REAL(#s ".min_p", RL, s.min_p, "0", 0, 1, "0 = off"),                                                                          \
        INT(#s ".prompt_max", RL, s.prompt_max, "0", 0, BIG, "tokens of a prompt at most; 0 = what the context leaves"),               \
        INT(#s ".response_max", RL, s.response_max, response_def, 1, BIG, "tokens sampled at most"),                                   \
        REAL(#s ".lr", RL, s.lr, "0", 0, 10, "learning rate; 0 = train.lr"),                                                           \
        INT(#s ".minibatch", RL, s.minibatch, "0", 0, BIG, "sequences of one update; 0 = all of a step"),                              \
        INT(#s ".micro_seqs", RL, s.micro_seqs, "2", 1, BIG, "sequences of a micro-batch (loss.agg micro-token-mean only)")

const dt_recipe_key dt_recipe_keys[] = {
    TEXT("out", BOTH, out, "", "run folder"),
    INT("seed", BOTH, seed, "1", 0, BIG, "of everything random in the run"),
    CHOICE("compat", RL, compat, "none", "none|reference", "reference: the published implementation's settings as defaults"),

    TEXT("data.task", BOTH, data.task, "", "task family (duet tasks lists them)"),
    TEXT("data.knobs", BOTH, data.knobs, "", "its settings, \"depth=1..2 distractors=0\""),
    TEXT("data.file", BOTH, data.file, "", "instead of a task: JSON lines with question, answer, and for SFT signal"),
    INT("data.seed", BOTH, data.seed, "-1", -1, BIG, "of the questions; -1 = seed"),
    TEXT("data.instruction", BOTH, data.instruction, "", "added to the question of both models"),
    CHOICE("data.role", SFT, data.role, "M", "M|m", "M learns chain and answer; m, which is given the chain, the answer"),
    CHOICE("data.form", SFT, data.form, "mixture", "mixture|verbose|compact", "which chain of a task"),
    REAL("data.empty", SFT, data.empty, "0", 0, 1, "share of examples with an empty chain"),
    TEXT("data.signals_from", SFT, data.signals_from, "", "role m: folder of an M that writes the chains by sampling"),
    REAL("data.signals_temperature", SFT, data.signals_temperature, "1", 0, 100, "of that sampling"),
    INT("data.signals_max", SFT, data.signals_max, "512", 0, BIG, "tokens of such a chain at most"),

    TEXT("model.path", SFT, model.path, "", "model folder or GGUF file to go on from; empty = a new model"),
    CHAT_TEMPLATE("model", SFT, model),
    WEIGHTS("model", SFT, model),
    LORA("model", SFT, model),
    TEXT("model.tokenizer", SFT, model.tokenizer, "", "new model: family name, folder or tokenizer.json; empty = the task's"),
    INT("model.init.layers", SFT, model.init.layers, "4", 1, 1000, "new model: layers"),
    INT("model.init.width", SFT, model.init.width, "128", 1, 1 << 20, "D"),
    INT("model.init.heads", SFT, model.init.heads, "4", 1, 4096, "H"),
    INT("model.init.kv_heads", SFT, model.init.kv_heads, "2", 1, 4096, "K"),
    INT("model.init.head_dim", SFT, model.init.head_dim, "32", 2, 4096, "E"),
    INT("model.init.ffn", SFT, model.init.ffn, "384", 1, 1 << 22, "F"),
    INT("model.init.ctx", SFT, model.init.ctx, "1024", 1, 1 << 24, "longest sequence"),
    BOOL("model.init.tied", SFT, model.init.tied, "true", "input and output embedding are one"),
    CHOICE("model.init.dtype", SFT, model.init.dtype, "float32", "float32|bfloat16", "of the model's files; training is in float32"),
    REAL("model.init.rope_theta", SFT, model.init.rope_theta, "10000", 1, BIG, "base of the rotary frequencies"),
    REAL("model.init.std", SFT, model.init.std, "0.3", 0, 100, "standard deviation of new embeddings"),
    INT("model.init.seed", SFT, model.init.seed, "-1", -1, BIG, "of the new weights; -1 = seed"),

    SIDE(M, "8", "512"),

    BOOL("m.enable", RL, m.enable, "true", "false: no m; M is graded on its own answer"),
    SIDE(m, "4", "16"),
    CHOICE("m.group", RL, m.group, "question", "question|signal", "whose mean m's answers are compared with"),

    CHOICE("signal.stop", RL, signal.stop, "close", "close|eos", "where M's rollout ends: at </think> or at its end token"),
    CHOICE("signal.extract", RL, signal.extract, "ids", "ids|text", "tags by token id, or by the reference's rules on text"),
    CHOICE("signal.keep", RL, signal.keep, "tail", "tail|head|middle", "part of a signal kept that is too long for m"),
    CHOICE("handoff", RL, handoff, "template", "template|raw", "m's prompt: chat template, or the reference's raw text"),

    BOOL("baseline.shared", RL, baseline.shared, "true", "m alone answers once a question; false: once for each M sample"),
    INT("baseline.samples", RL, baseline.samples, "0", 0, 4096, "answers of m alone; 0 = m.samples"),
    CHOICE("adv.combine", RL, adv.combine, "separate", "separate|sum", "terms of M's reward apart, or summed and divided by the std"),
    BOOL("adv.norm_std", RL, adv.norm_std, "true", "divide by the group's standard deviation"),
    REAL("adv.std_floor", RL, adv.std_floor, "0.1", 0, 10, "smallest standard deviation to divide by"),
    REAL("adv.eps", RL, adv.eps, "1e-6", 0, 1, "added to it"),
    BOOL("reward.marginal", RL, reward.marginal, "true", "subtract what m reaches alone"),

    CHOICE("penalty.schedule", RL, penalty.schedule, "adaptive", "adaptive|constant", "how lambda moves"),
    REAL("penalty.lambda0", RL, penalty.lambda0, "0", 0, BIG, "first price of length"),
    REAL("penalty.eta", RL, penalty.eta, "0.01", 0, BIG, "its step"),
    REAL("penalty.bound", RL, penalty.bound, "1000", 1, BIG, "B: the length lambda steers to, tokens"),
    BOOL("penalty.clip", RL, penalty.clip, "true", "keep lambda in 0..1"),
    REAL("penalty.gate", RL, penalty.gate, "0", -1, 1, "no length term below this share of right answers; 0: none right; -1: off"),
    BOOL("kl.in_reward", RL, kl.in_reward, "false", "charge M for log p - log p of the initial M, summed over tokens"),
    REAL("kl.coef", RL, kl.coef, "0.001", 0, BIG, "beta"),
    REAL("kl.loss_coef", RL, kl.loss_coef, "0", 0, BIG, "coefficient of a KL loss against the initial M; 0 = off"),
    REAL("loss.clip_low", RL, loss.clip_low, "0.2", 0, 1, "ratio not below 1 - this"),
    REAL("loss.clip_high", RL, loss.clip_high, "0.2", 0, BIG, "ratio not above 1 + this"),
    REAL("loss.dual_clip", RL, loss.dual_clip, "3", 1, BIG, "largest loss of a token with A < 0, in |A|"),
    CHOICE("loss.agg", RL, loss.agg, "token-mean", "token-mean|micro-token-mean", "mean over the mini-batch, or of its micro-batches"),
    CHOICE("overlong", RL, overlong, "keep", "keep|mask", "M samples cut by the limit: trained on, or left out"),
    CHOICE("grader", RL, grader, "exact", "exact|hendrycks|gpqa-first|plain", "who decides what is right; of a task family, exact is plain"),
    REAL("guard.accuracy_floor", RL, guard.accuracy_floor, "0", 0, 1, "lambda does not rise while the pair is below this"),
    REAL("guard.accuracy_drop", RL, guard.accuracy_drop, "0.2", 0, 1, "alarm when the pair falls this far below its best"),
    REAL("guard.length_min", RL, guard.length_min, "1", 0, BIG, "alarm when the mean signal is shorter, tokens"),

    INT("train.steps", BOTH, train.steps, "0", 0, BIG, "steps; 0 = the sum of the stages"),
    INT("train.batch", SFT, train.batch, "64", 1, BIG, "sequences of a step"),
    INT("train.batch_tokens", SFT, train.batch_tokens, "0", 0, BIG, "instead: as many sequences as fit these tokens"),
    INT("train.questions", RL, train.questions, "32", 1, BIG, "questions of a step"),
    INT("train.epochs", RL, train.epochs, "1", 1, 1000, "passes over a step's samples"),
    INT("train.alternate", RL, train.alternate, "0", 0, BIG, "train M and m in turns of so many steps; 0 = both always"),
    INT("train.micro_tokens", BOTH, train.micro_tokens, "4096", 1, BIG, "tokens that go through the model together"),
    BOOL("train.recompute", BOTH, train.recompute, "false", "recompute activations in the backward pass"),
    REAL("train.lr", BOTH, train.lr, "1e-3", 0, 10, "learning rate"),
    CHOICE("train.schedule", BOTH, train.schedule, "constant", "constant|cosine|linear", "of the learning rate after the warm-up"),
    REAL("train.warmup", BOTH, train.warmup, "0", 0, BIG, "steps from 0 to the full rate"),
    REAL("train.lr_end", BOTH, train.lr_end, "0", 0, 1, "share of the rate left at the end"),
    REAL("train.weight_decay", BOTH, train.weight_decay, "0.01", 0, 10, "AdamW"),
    REAL("train.beta1", BOTH, train.beta1, "0.9", 0, 0.999999, "AdamW"),
    REAL("train.beta2", BOTH, train.beta2, "0.95", 0, 0.9999999, "AdamW"),
    REAL("train.eps", BOTH, train.eps, "1e-8", 0, 1, "AdamW"),
    REAL("train.clip", BOTH, train.clip, "1", 0, BIG, "largest norm of the gradient; 0 = no clipping"),
    INT("train.kv_mib", BOTH, train.kv_mib, "0", 0, 1 << 24, "MiB for keys and values of each model that samples, at most; 0 = a quarter of RAM"),
    INT("train.save_every", BOTH, train.save_every, "100", 0, BIG, "steps between checkpoints; 0 = only at the end"),
    INT("train.keep", BOTH, train.keep, "2", 1, 100000, "checkpoints kept"),
    CHOICE("resume.lambda", BOTH, resume.keep_lambda, "keep", "drop|keep", "drop: lambda starts over, as in the reference"),

    INT("eval.every", BOTH, eval.every, "0", 0, BIG, "steps between evaluations on held-out questions; 0 = only at the end"),
    INT("eval.n", BOTH, eval.n, "200", 0, BIG, "held-out questions; 0 = no evaluation"),
    TEXT("eval.knobs", BOTH, eval.knobs, "", "settings of the task there; empty = data.knobs"),
    TEXT("eval.file", BOTH, eval.file, "", "JSON lines of held-out questions"),
    INT("eval.seed", BOTH, eval.seed, "1000", 0, BIG, "of the held-out questions"),
    INT("eval.max_tokens", BOTH, eval.max_tokens, "0", 0, BIG, "tokens sampled at most (M); 0 = 512, joint: M.response_max"),
    INT("log.every", BOTH, log.every, "10", 1, BIG, "steps between lines of metrics.jsonl"),
    INT("log.samples", BOTH, log.samples, "2", 0, BIG, "samples written to samples.jsonl each time"),
};
const size_t dt_recipe_n_keys = DT_COUNT(dt_recipe_keys);

const char *const dt_recipe_reference[][2] = {
    {"signal.stop",         "eos"             },
    {"signal.extract",      "text"            },
    {"handoff",             "raw"             },
    {"baseline.shared",     "false"           },
    {"adv.combine",         "sum"             },
    {"adv.std_floor",       "0"               },
    {"m.group",             "question"        },
    {"loss.agg",            "micro-token-mean"},
    {"penalty.gate",        "-1"              },
    {"kl.in_reward",        "true"            },
    {"kl.coef",             "0.001"           },
    {"resume.lambda",       "drop"            },
    {"grader",              "hendrycks"       },
    {"train.questions",     "64"              },
    {"M.samples",           "4"               },
    {"m.samples",           "4"               },
    {"M.prompt_max",        "512"             },
    {"M.response_max",      "8192"            },
    {"m.prompt_max",        "8704"            },
    {"m.response_max",      "1024"            },
    {"M.minibatch",         "128"             },
    {"m.minibatch",         "128"             },
    {"M.micro_seqs",        "2"               },
    {"m.micro_seqs",        "4"               },
    {"train.lr",            "1e-6"            },
    {"train.beta2",         "0.999"           },
    {"train.weight_decay",  "0.01"            },
    {"penalty.lambda0",     "0"               },
    {"penalty.eta",         "0.01"            },
    {"penalty.bound",       "1000"            },
    {"guard.accuracy_drop", "0"               },
    {"guard.length_min",    "0"               },
    {"train.save_every",    "50"              },
    {"eval.every",          "10"              },
};
const size_t dt_recipe_n_reference = DT_COUNT(dt_recipe_reference);
