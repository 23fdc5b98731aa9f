/* The engine's handle: sizes of everything it owns, its worker's start and end, and statistics. */
#include "engine/sched.h"

#include <stdlib.h>
#include <unistd.h>

static int or_default(int value, int fallback) {
    return value > 0 ? value : fallback;
}

/* Pages of the pool, and with them the longest sequence that can be promised: one sequence alone must always fit,
 * else it could wait for ever. */
static duet_status plan_memory(duet_engine *e, const duet_engine_options *opt, int *n_pages, duet_err *err) {
    const dt_hf_config *c = &e->model->cfg;
    size_t page = dt_kv_page_bytes(e->kv_type, c->n_layers, c->n_kv, c->d_head);
    size_t bytes = opt->kv_bytes;

    e->ctx = or_default(opt->ctx, c->max_pos);
    if (e->ctx > c->max_pos) {
        return dt_fail(err, DUET_E_RANGE, "context of %d tokens asked for, the model has %d positions; " DT_LONGER,
                       e->ctx, c->max_pos);
    }
    if (bytes == 0) {
        size_t ram = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
        size_t each = e->ctx < 1024 ? (size_t)e->ctx : 1024;
        size_t tokens = (size_t)e->max_seqs * each > (size_t)e->ctx ? (size_t)e->max_seqs * each : (size_t)e->ctx;
        size_t pages = tokens / DT_KV_PAGE + (size_t)e->max_seqs + 2;
        if (!dt_mul_size(pages, page, &bytes) || bytes > ram / 4) {
            bytes = ram / 4;
        }
        /* A context that was asked for may take what is free; memory is touched only where tokens come. */
        size_t one = 0, most = dt_memory_free() / 10 * 9;
        if (opt->ctx > 0 && dt_mul_size((size_t)opt->ctx / DT_KV_PAGE + 2, page, &one) && one > bytes) {
            bytes = one < most ? one : most > bytes ? most : bytes;
        }
    }
    size_t pages = bytes / page < INT32_MAX / DT_KV_PAGE ? bytes / page : INT32_MAX / DT_KV_PAGE;
    size_t fit = pages > 1 ? (pages - 1) * DT_KV_PAGE : 0;
    if (fit == 0 || (opt->ctx > 0 && (size_t)opt->ctx > fit)) {
        return dt_fail(err, DUET_E_RANGE,
                       "%zu bytes for keys and values hold %zu tokens, the context is %d: lower it, or hold them as f16 or q8_0",
                       bytes, fit, e->ctx);
    }
    if ((size_t)e->ctx > fit) {
        e->ctx = (int)fit;
    }
    *n_pages = (int)pages;
    return DUET_OK;
}

static duet_status allocate(duet_engine *e, duet_err *err) {
    size_t S = (size_t)e->max_seqs, V = (size_t)e->V;
    e->slots = dt_calloc(S, sizeof *e->slots);
    e->order = dt_calloc(S, sizeof *e->order);
    e->free_slots = dt_calloc(S, sizeof *e->free_slots);
    e->runs = dt_calloc(S, sizeof *e->runs);
    e->run_slot = dt_calloc(S, sizeof *e->run_slot);
    e->draws = dt_calloc(S, sizeof *e->draws);
    e->row_ids = dt_calloc((size_t)e->max_rows, sizeof *e->row_ids);
    e->seq_ids = dt_calloc((size_t)e->ctx, sizeof *e->seq_ids);
    e->logits_bytes = S * V * sizeof *e->logits;
    e->logits = dt_pages_alloc(e->logits_bytes);
    e->scratch = dt_alloc_aligned((size_t)dt_pool_threads(e->pool) * 3 * V, sizeof *e->scratch);
    e->seen = dt_calloc((size_t)dt_pool_threads(e->pool) * DT_BIT_WORDS(V), sizeof *e->seen);
    if (!e->slots || !e->order || !e->free_slots || !e->runs || !e->run_slot || !e->draws || !e->row_ids ||
        !e->seq_ids || !e->logits || !e->scratch || !e->seen) {
        return dt_fail(err, DUET_E_NOMEM, "engine: no memory for %d sequences and a vocabulary of %d", e->max_seqs,
                       e->V);
    }
    for (int i = 0; i < e->max_seqs; i++) {
        e->free_slots[e->n_free_slots++] = e->max_seqs - 1 - i;
    }
    return DUET_OK;
}

duet_status duet_engine_create(duet_model *model, const duet_engine_options *opt, duet_engine **out, duet_err *err) {
    static const duet_engine_options defaults = {0};
    duet_status st = DUET_OK;
    int n_pages = 0;

    *out = NULL;
    opt = opt ? opt : &defaults;
    if (opt->n_threads < 0 || opt->max_seqs < 0 || opt->prefill_chunk < 0 || opt->ctx < 0 || opt->max_seqs > 65536 ||
        opt->prefill_chunk > 1 << 20) {
        return dt_fail(err, DUET_E_RANGE,
                       "engine: threads %d, sequences %d (at most 65536), prefill chunk %d (at most %d), context %d: "
                       "none may be negative",
                       opt->n_threads, opt->max_seqs, opt->prefill_chunk, 1 << 20, opt->ctx);
    }
    duet_engine *e = calloc(1, sizeof *e);
    if (!e) {
        return dt_fail(err, DUET_E_NOMEM, "engine: no memory");
    }
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    pthread_cond_init(&e->finished, NULL);
    e->model = model;
    e->kernels = dt_kernels_get();
    e->V = model->cfg.n_vocab;
    e->max_seqs = or_default(opt->max_seqs, 64);
    e->chunk = or_default(opt->prefill_chunk, 512);
    e->max_rows = e->max_seqs + e->chunk;
    e->prefix_cache = !opt->no_prefix_cache;
    e->version = model->version;

    e->kv_type = dt_model_kv_dtype(model, opt->kv_type);
    st = plan_memory(e, opt, &n_pages, err);
    if (st) {
        goto done;
    }
    st = dt_model_rope_reserve(model, e->ctx, err);
    if (st) {
        goto done;
    }
    st = dt_pool_create(opt->n_threads, &e->pool, err);
    if (st) {
        goto done;
    }
    st = dt_kv_create(e->kv_type, model->cfg.n_layers, model->cfg.n_kv, model->cfg.d_head, n_pages, &e->kv, err);
    if (st) {
        goto done;
    }
    st = dt_infer_create(model, e->pool, e->max_rows, &e->infer, err);
    if (st) {
        goto done;
    }
    dt_infer_watch(e->infer, dt_engine_step_is_vain, e);
    st = allocate(e, err);
    if (st) {
        goto done;
    }
    if (opt->ctx > 0) {
        e->promised = (size_t)e->ctx * duet_model_kv_bytes(model, opt->kv_type);
        dt_memory_promise((ptrdiff_t)e->promised);
    }
    e->stats.kv_pages = e->stats.kv_pages_free = (size_t)n_pages;
    e->stats.kv_page_bytes = dt_kv_page_bytes(e->kv_type, model->cfg.n_layers, model->cfg.n_kv, model->cfg.d_head);
    if (pthread_create(&e->worker, NULL, dt_engine_worker, e)) {
        st = dt_fail(err, DUET_E_NOMEM, "engine: the worker thread could not be started");
        goto done;
    }
    e->worker_up = true;
    *out = e;
    e = NULL;
done:
    duet_engine_destroy(e);
    return st;
}

void duet_engine_destroy(duet_engine *e) {
    if (!e) {
        return;
    }
    pthread_mutex_lock(&e->lock);
    __atomic_store_n(&e->stop, true, __ATOMIC_RELAXED); /* a step looks without the lock */
    pthread_cond_signal(&e->wake);
    while (e->n_callers > 0) { /* they still use the engine's lock */
        pthread_cond_wait(&e->finished, &e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    if (e->worker_up) {
        pthread_join(e->worker, NULL);
    }
    dt_memory_promise(-(ptrdiff_t)e->promised);
    dt_infer_destroy(e->infer);
    dt_kv_destroy(e->kv);
    dt_pool_destroy(e->pool);
    free(e->slots);
    free(e->order);
    free(e->free_slots);
    free(e->runs);
    free(e->run_slot);
    free(e->draws);
    free(e->row_ids);
    free(e->seq_ids);
    dt_pages_free(e->logits, e->logits_bytes);
    free(e->scratch);
    free(e->seen);
    pthread_cond_destroy(&e->finished);
    pthread_cond_destroy(&e->wake);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int duet_engine_ctx(const duet_engine *e) {
    return e->ctx;
}

void duet_engine_get_stats(duet_engine *e, duet_engine_stats *out) {
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    for (const dt_job *j = e->incoming; j; j = j->next) {
        out->waiting += j->n_reqs;
    }
    pthread_mutex_unlock(&e->lock);
}
