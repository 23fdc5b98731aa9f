/* The tensors of a Hugging Face folder: model.safetensors, or the shards named by model.safetensors.index.json. */
#include "format/hf_config.h"
#include "format/jsonl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INDEX ((size_t)64 << 20)

typedef struct named {
    const char *name; /* borrowed from the shard */
    const dt_view *view;
} named;

struct dt_hf_weights {
    dt_st **shard;
    size_t n_shards;
    named *t; /* sorted by name */
    size_t n;
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static duet_status add_shard(dt_hf_weights *w, const char *path, duet_err *err) {
    dt_st **grown = dt_realloc(w->shard, w->n_shards + 1, sizeof *grown);
    if (!grown)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    w->shard = grown;
    duet_status st = dt_st_open(path, &w->shard[w->n_shards], err);
    if (!st)
        w->n_shards++;
    return st;
}

/* Shard names in the index must be plain file names: an index may not reach outside its folder. */
static duet_status open_shards(dt_hf_weights *w, const char *dir, const char *index, duet_err *err) {
    json_t *root = NULL, *seen = json_object(), *value;
    const char *key;
    duet_status st = dt_json_read(index, MAX_INDEX, &root, err);
    json_t *map = st ? NULL : json_object_get(root, "weight_map");
    if (!st && (!json_is_object(map) || !seen))
        st = dt_fail(err, DUET_E_FORMAT, "%s: weight_map is missing", index);
    if (!st) {
        json_object_foreach(map, key, value) {
            const char *file = json_string_value(value);
            if (!file || !*file || strchr(file, '/')) {
                st = dt_fail(err, DUET_E_FORMAT, "%s: the file of %.80s is not a plain file name", index, key);
                break;
            }
            if (json_object_get(seen, file))
                continue;
            char *path = dt_path_join(dir, file);
            st = !path || json_object_set_new(seen, file, json_true())
                     ? dt_fail(err, DUET_E_NOMEM, "%s: no memory", index)
                     : add_shard(w, path, err);
            free(path);
            if (st)
                break;
        }
    }
    json_decref(root);
    json_decref(seen);
    return st;
}

static duet_status collect(dt_hf_weights *w, const char *dir, duet_err *err) {
    for (size_t i = 0; i < w->n_shards; i++)
        w->n += dt_st_count(w->shard[i]);
    w->t = dt_calloc(w->n, sizeof *w->t);
    if (!w->t)
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory for %zu tensors", dir, w->n);
    size_t k = 0;
    for (size_t i = 0; i < w->n_shards; i++)
        for (size_t j = 0; j < dt_st_count(w->shard[i]); j++)
            w->t[k++] = (named){dt_st_name(w->shard[i], j), dt_st_view(w->shard[i], j)};
    qsort(w->t, w->n, sizeof *w->t, by_name);
    for (size_t i = 1; i < w->n; i++)
        if (!strcmp(w->t[i].name, w->t[i - 1].name))
            return dt_fail(err, DUET_E_FORMAT, "%s: tensor %.80s is in two shards", dir, w->t[i].name);
    return DUET_OK;
}

duet_status dt_hf_weights_open(const char *dir, dt_hf_weights **out, duet_err *err) {
    duet_status st = DUET_OK;
    *out = NULL;
    char *one = dt_path_join(dir, "model.safetensors"), *index = dt_path_join(dir, "model.safetensors.index.json");
    dt_hf_weights *w = dt_calloc(1, sizeof *w);
    if (!one || !index || !w)
        st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", dir);
    else if (dt_path_exists(one))
        st = add_shard(w, one, err);
    else if (dt_path_exists(index))
        st = open_shards(w, dir, index, err);
    else
        st = dt_fail(err, DUET_E_IO, "%s: neither model.safetensors nor model.safetensors.index.json is there", dir);
    if (!st)
        st = collect(w, dir, err);
    if (st)
        dt_hf_weights_close(w);
    else
        *out = w;
    free(one);
    free(index);
    return st;
}

void dt_hf_weights_close(dt_hf_weights *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->n_shards; i++)
        dt_st_close(w->shard[i]);
    free(w->shard);
    free(w->t);
    free(w);
}

const dt_view *dt_hf_weights_find(const dt_hf_weights *w, const char *name) {
    named key = {.name = name};
    const named *t = w->n ? bsearch(&key, w->t, w->n, sizeof *w->t, by_name) : NULL;
    return t ? t->view : NULL;
}

size_t dt_hf_weights_count(const dt_hf_weights *w) {
    return w->n;
}

int dt_hf_weights_files(const dt_hf_weights *w) {
    return (int)w->n_shards;
}

const char *dt_hf_weights_name(const dt_hf_weights *w, size_t i) {
    return w->t[i].name;
}

const dt_view *dt_hf_weights_view(const dt_hf_weights *w, size_t i) {
    return w->t[i].view;
}
