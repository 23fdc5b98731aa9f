/* Recipes: what a training run does, as YAML. One table (recipe_keys.c) names every key with its type, default, range and
 * meaning; from it come the libcyaml schema, the checks, the layers and the resolved copy in the run folder.
 *
 *   Layers, later ones win: defaults < preset of `compat` < file < DUET_* environment < overrides ("a.b=c").
 *   Environment: dots become '_', letters capitals, except in a section of one letter: DUET_TRAIN_LR, DUET_M_LR, DUET_m_LR.
 *   `stages` (a list, SFT only) has no name in the environment or among the overrides; train.steps cuts it short. */
#ifndef DT_RECIPE_H
#define DT_RECIPE_H

#include "base/base.h"

typedef enum dt_run_kind { DT_RUN_SFT = 1, DT_RUN_RL = 2 } dt_run_kind;

enum dt_role { DT_ROLE_M, DT_ROLE_m };
enum dt_form { DT_FORM_MIXTURE, DT_FORM_VERBOSE, DT_FORM_COMPACT };
enum dt_schedule { DT_LR_CONSTANT, DT_LR_COSINE, DT_LR_LINEAR };
enum dt_stop_at { DT_STOP_AT_CLOSE, DT_STOP_AT_EOS };
enum dt_extract { DT_EXTRACT_IDS, DT_EXTRACT_TEXT };
enum dt_layout { DT_LAYOUT_TEMPLATE, DT_LAYOUT_RAW };
enum dt_combine { DT_COMBINE_SEPARATE, DT_COMBINE_SUM };
enum dt_m_group { DT_GROUP_QUESTION, DT_GROUP_SIGNAL };
enum dt_agg { DT_AGG_TOKEN_MEAN, DT_AGG_MICRO_TOKEN_MEAN };
enum dt_overlong { DT_OVERLONG_KEEP, DT_OVERLONG_MASK };
enum dt_price { DT_PRICE_ADAPTIVE, DT_PRICE_CONSTANT };
enum dt_compat { DT_COMPAT_NONE, DT_COMPAT_REFERENCE };

/* One part of an SFT run with its own data; 0 or NULL: as the recipe's. */
typedef struct dt_stage {
    int64_t steps, batch_tokens;
    double lr;
    char *knobs;
} dt_stage;

/* A low-rank adapter that is trained in place of the weights. */
typedef struct dt_recipe_lora {
    int64_t rank; /* 0 = none: all weights are trained */
    double alpha;
    char *targets;
} dt_recipe_lora;

/* What both models of a joint run have. */
typedef struct dt_recipe_side {
    char *path, *chat_template;
    bool enable, train;
    int64_t samples, top_k, prompt_max, response_max, minibatch, micro_seqs;
    double temperature, top_p, min_p, lr;
    int group;
    dt_recipe_lora lora;
    int weights; /* duet_weights */
} dt_recipe_side;

typedef struct dt_recipe {
    char *out;
    int64_t seed;
    int compat;
    struct {
        char *task, *file, *knobs, *signals_from, *instruction;
        int64_t seed, signals_max;
        int role, form;
        double empty, signals_temperature;
    } data;
    struct {
        char *path, *chat_template, *tokenizer;
        dt_recipe_lora lora;
        int weights;
        struct {
            int64_t layers, width, heads, kv_heads, head_dim, ffn, ctx, seed;
            bool tied;
            int dtype; /* of the files: 0 = float32, 1 = bfloat16; training is in float32 */
            double rope_theta, std;
        } init;
    } model;
    dt_recipe_side M, m;
    struct {
        int stop, extract, keep;
    } signal;
    int handoff;
    struct {
        bool shared;
        int64_t samples;
    } baseline;
    struct {
        int combine;
        bool norm_std;
        double std_floor, eps;
    } adv;
    struct {
        bool marginal;
    } reward;
    struct {
        int schedule; /* enum dt_price */
        bool clip;
        double lambda0, eta, bound, gate;
    } penalty;
    struct {
        bool in_reward;
        double coef, loss_coef;
    } kl;
    struct {
        double clip_low, clip_high, dual_clip;
        int agg;
    } loss;
    int overlong, grader;
    struct {
        double accuracy_floor, accuracy_drop, length_min;
    } guard;
    struct {
        int64_t steps, batch, batch_tokens, micro_tokens, questions, epochs, alternate, save_every, keep, kv_mib;
        double lr, warmup, lr_end, weight_decay, beta1, beta2, eps, clip;
        int schedule;
        bool recompute;
    } train;
    struct {
        bool keep_lambda;
    } resume;
    struct {
        char *knobs, *file;
        int64_t every, n, seed, max_tokens;
    } eval;
    struct {
        int64_t every, samples;
    } log;
    dt_stage *stages;
    size_t n_stages;
    dt_run_kind kind;
    bool *is_set; /* for each key of the table: given by a layer above the defaults */
} dt_recipe;

/* Reads file and layers. Errors name the key, and for the file the line. DUET_E_IO, DUET_E_FORMAT (no YAML), DUET_E_USAGE.
 * *out owned by the caller: dt_recipe_free. */
duet_status dt_recipe_load(const char *path, dt_run_kind kind, const char *const *overrides, size_t n, dt_recipe **out, duet_err *err);
/* The same from bytes in memory; environment: whether DUET_* variables count. */
duet_status dt_recipe_parse(const char *name, const char *text, size_t len, dt_run_kind kind, bool environment,
                            const char *const *overrides, size_t n, dt_recipe **out, duet_err *err);
void dt_recipe_free(dt_recipe *r); /* NULL is fine */
/* The whole resolved recipe as YAML that can be loaded again, each key with its meaning. Owned (free); NULL = no memory. */
char *dt_recipe_text(const dt_recipe *r);
/* A sentence "compat.key=value ..." of all keys that differ from the defaults. Owned (free). */
char *dt_recipe_differences(const dt_recipe *r);
/* Fingerprint of everything that decides the weights (not `out`, not how often things are saved or logged). */
void dt_recipe_hash(const dt_recipe *r, char hex[65]);

/* ---- the table ---- */
typedef enum dt_key_type { DT_KEY_INT, DT_KEY_REAL, DT_KEY_BOOL, DT_KEY_TEXT, DT_KEY_CHOICE } dt_key_type;
typedef struct dt_recipe_key {
    const char *name; /* "train.lr" */
    int kinds;        /* DT_RUN_SFT | DT_RUN_RL */
    dt_key_type type;
    size_t offset;
    const char *def;
    double min, max;
    const char *choices; /* "a|b|c", for DT_KEY_CHOICE and DT_KEY_BOOL with names */
    const char *help;
} dt_recipe_key;
extern const dt_recipe_key dt_recipe_keys[];
extern const size_t dt_recipe_n_keys;
/* The preset of `compat: reference`: pairs key, value. [duet-algorithm section 11] */
extern const char *const dt_recipe_reference[][2];
extern const size_t dt_recipe_n_reference;

#endif
