/* Any bytes as a recipe of either kind: refused with a sentence, or every value lies in its range and the resolved copy
 * reads back as itself. */
#include "train/recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok) {
    if (!ok)
        abort();
}

static void check_values(const dt_recipe *r) {
    for (size_t i = 0; i < dt_recipe_n_keys; i++) {
        const dt_recipe_key *k = &dt_recipe_keys[i];
        const void *at = (const char *)r + k->offset;
        if (k->type == DT_KEY_INT)
            check((double)*(const int64_t *)at >= k->min && (double)*(const int64_t *)at <= k->max);
        if (k->type == DT_KEY_REAL)
            check(isfinite(*(const double *)at) && *(const double *)at >= k->min && *(const double *)at <= k->max);
        if (k->type == DT_KEY_TEXT)
            check(*(char *const *)at != NULL);
    }
    check(r->train.steps > 0);
    for (size_t i = 0; i < r->n_stages; i++)
        check(r->stages[i].steps > 0 && r->stages[i].lr >= 0 && r->stages[i].batch_tokens >= 0);
}

static void try_kind(const uint8_t *data, size_t size, dt_run_kind kind) {
    dt_recipe *r = NULL, *again = NULL;
    duet_err err = {{0}};
    char hash[65], hash2[65];
    if (dt_recipe_parse("fuzz", (const char *)data, size, kind, false, NULL, 0, &r, &err)) {
        check(err.text[0] && !r);
        return;
    }
    check_values(r);
    char *text = dt_recipe_text(r), *differs = dt_recipe_differences(r), *text2 = NULL;
    check(text && differs);
    dt_recipe_hash(r, hash);
    check(!dt_recipe_parse("fuzz again", text, strlen(text), kind, false, NULL, 0, &again, &err));
    text2 = dt_recipe_text(again);
    dt_recipe_hash(again, hash2);
    check(text2 && !strcmp(text, text2) && !strcmp(hash, hash2));
    free(text);
    free(text2);
    free(differs);
    dt_recipe_free(r);
    dt_recipe_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    try_kind(data, size, DT_RUN_SFT);
    try_kind(data, size, DT_RUN_RL);
    return 0;
}
