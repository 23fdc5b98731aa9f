/* duet_model_open: which form the weights take, whether that fits in memory, and reading them.
 *
 * Every byte of a file is read once. Matrices held in the type of their file are repacked piece by piece, the largest
 * first, and the file's pages are dropped behind: more than the packed weights is never in memory for long. */
#include "model/internal.h"

#include "format/peft.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_F32 ((size_t)64 << 20)  /* AUTO: up to here all is held as f32 */
#define PIECE_BYTES ((size_t)8 << 20) /* of a matrix, repacked at a time */
#define POOL_BYTES ((size_t)4 << 20)  /* weights below this are read by one thread */
#define ROWS_A_TASK 64

const char *duet_weights_name(duet_weights w) {
    static const char *const names[] = {"auto", "f32", "file", "exact"};
    return (size_t)w < DT_COUNT(names) ? names[w] : "?";
}

/* ---- which tensors, and of what type ---- */

static bool readable(dt_dtype t) {
    return t == DT_F32 || t == DT_BF16 || t == DT_F16 || dt_dtype_is_quantised(t);
}

duet_status dt_model_find_tensors(duet_model *m, duet_err *err) {
    const char *path = m->files->path, *said_by = m->files->file ? "the metadata" : "config";
    dt_buf bad = {0};
    int n_bad = 0;
    char shape[96];
    duet_status st = DUET_OK;
    for (int i = 0; i < m->n_param; i++) {
        dt_param *p = &m->param[i];
        p->file = dt_model_files_find(m->files, p->name);
        const dt_view *v = p->file.view.data ? &p->file.view : NULL;
        bool fits = v && (p->is_vector ? dt_view_is(v, 1, (size_t)p->cols, 0) : dt_view_is(v, 2, (size_t)p->rows, (size_t)p->cols));
        if (fits && !readable(v->dtype) && !st)
            st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: %s is %s; F32, BF16, F16 and the block types of GGUF are supported", path, p->name,
                         dt_dtype_name(v->dtype));
        if (fits && p->is_vector && dt_dtype_is_quantised(v->dtype) && !st)
            st = dt_fail(err, DUET_E_UNSUPPORTED, "%s: %s is %s: a vector must not be quantised", path, p->name, dt_dtype_name(v->dtype));
        if (fits || n_bad++ >= 4) continue;
        dt_buf_addf(&bad, "%s%s", bad.len ? "; " : "", p->name);
        if (!v) {
            dt_buf_adds(&bad, " is missing");
            continue;
        }
        dt_view_shape_str(v, shape);
        if (p->is_vector)
            dt_buf_addf(&bad, " has shape %s, %s says [%d]", shape, said_by, p->cols);
        else
            dt_buf_addf(&bad, " has shape %s, %s says [%d, %d]", shape, said_by, p->rows, p->cols);
    }
    if (n_bad)
        st = dt_fail(err, DUET_E_FORMAT, "%s: %d tensors do not fit %s: %s%s", path, n_bad, m->files->file ? said_by : "config.json",
                     bad.data ? bad.data : "", n_bad > 4 ? "; ..." : "");
    dt_buf_clear(&bad);
    return st;
}

/* The type a parameter is multiplied in, held as FILE. */
static dt_dtype held_type(const dt_param *p) {
    dt_dtype t = p->file.view.dtype;
    return dt_packed_supports(t) ? t : DT_F32;
}

/* Cuts every matrix in parts of one type. A part's rows are filled parameter by parameter, which needs whole panels. */
static void plan_parts(duet_model *m) {
    dt_matrix *x;
    for (size_t i = 0; (x = dt_model_matrix(m, i)); i++) {
        x->n_parts = 0;
        for (int k = 0; k < x->n_params; k++) {
            const dt_param *p = &m->param[x->param + k];
            dt_packed *last = x->n_parts ? &x->part[x->n_parts - 1] : NULL;
            if (last && last->type == held_type(p) && last->N % DT_NR == 0)
                last->N += p->rows;
            else
                x->part[x->n_parts++] = (dt_packed){.type = held_type(p), .N = p->rows, .K = p->cols};
        }
    }
}

/* ---- memory ---- */

/* Bytes of the weights in memory in one form or the other. */
static size_t weight_bytes(const duet_model *m, bool f32) {
    size_t n = 0;
    for (int i = 0; i < m->n_param; i++) {
        const dt_param *p = &m->param[i];
        if (f32 || p->is_vector) n += (size_t)p->rows * (size_t)p->cols * sizeof(float);
        if (!p->is_vector && (i != m->embed_param || m->cfg.tied))
            n += dt_packed_bytes(f32 ? DT_F32 : held_type(p), p->rows, p->cols);
    }
    return n;
}

static double gib(size_t bytes) {
    return (double)bytes / (double)(1 << 30);
}

/* Says before anything is read that it cannot fit, and what would. */
static duet_status check_memory(const duet_model *m, const duet_model_options *opt, duet_err *err) {
    bool f32 = m->weights == DUET_WEIGHTS_F32;
    size_t have = dt_memory_free(), w = weight_bytes(m, f32) + PIECE_BYTES, other = weight_bytes(m, false) + PIECE_BYTES;
    size_t each = duet_model_kv_bytes(m, opt->kv_type), longest = (size_t)m->cfg.max_pos;
    size_t kv = (opt->ctx < longest ? opt->ctx : longest) * each;
    size_t promised = dt_memory_promised();
    char context[96] = "", advice[128] = "", others[96] = "";
    if (w <= have && kv <= have - w) return DUET_OK;
    if (kv) snprintf(context, sizeof context, " and %.2f GiB for a context of %zu tokens", gib(kv), kv / each);
    if (f32 && other <= have && kv <= have - other)
        snprintf(advice, sizeof advice, "; with --weights file (%.2f GiB) it would fit", gib(other));
    else if (w < have && (have - w) / each >= 256)
        snprintf(advice, sizeof advice, "; with -c %zu it would fit", (have - w) / each / 256 * 256);
    if (promised) snprintf(others, sizeof others, " beside %.2f GiB for the contexts of models that are open", gib(promised));
    return dt_fail(err, DUET_E_NOMEM, "%s: needs %.2f GiB for weights%s, %.2f GiB of memory are free%s%s", m->files->path, gib(w), context,
                   gib(have), others, advice);
}

/* ---- reading ---- */

typedef struct reader {
    duet_model *m;
    dt_pool *pool;
    void *stage; /* rows on their way to a packed matrix */
    size_t stage_bytes;
} reader;

typedef struct rows_job {
    const duet_model *m;
    const dt_param *p;
    size_t row0, n, width; /* rows of `width` numbers; a vector is rows of one */
    size_t row_bytes;      /* in dst */
    uint8_t *dst;
    bool as_floats;       /* else the bytes of the file */
    bool check;           /* that all are finite */
    atomic_size_t not_ok; /* the first that is not; SIZE_MAX = none */
} rows_job;

static void note_not_ok(rows_job *j, size_t at) {
    size_t seen = atomic_load(&j->not_ok);
    while (at < seen && !atomic_compare_exchange_weak(&j->not_ok, &seen, at)) {
    }
}

static void rows_task(void *arg, size_t task, int thread) {
    rows_job *j = arg;
    size_t r0 = task * ROWS_A_TASK, r1 = r0 + ROWS_A_TASK < j->n ? r0 + ROWS_A_TASK : j->n;
    int E = j->m->cfg.d_head;
    (void)thread;
    for (size_t r = r0; r < r1; r++) {
        uint8_t *dst = j->dst + r * j->row_bytes;
        if (!j->as_floats) {
            memcpy(dst, dt_tensor_row(&j->p->file, j->row0 + r, j->row_bytes, E), j->row_bytes);
            continue;
        }
        float *x = (float *)(void *)dst;
        dt_tensor_floats(&j->p->file, j->row0 + r, j->width, E, 0, j->width, x);
        for (size_t i = 0; j->check && i < j->width; i++)
            if (!isfinite(x[i])) note_not_ok(j, (j->row0 + r) * j->width + i);
    }
}

static void run_rows(dt_pool *pool, rows_job *j) {
    dt_pool_run(pool, (j->n + ROWS_A_TASK - 1) / ROWS_A_TASK, rows_task, j);
}

/* One parameter into params. */
static duet_status read_floats(const reader *r, const dt_param *p, duet_err *err) {
    rows_job j = {.m = r->m, .p = p, .n = (size_t)(p->is_vector ? p->cols : p->rows), .width = p->is_vector ? 1 : (size_t)p->cols,
                  .dst = (uint8_t *)(r->m->params + p->offset), .as_floats = true, .check = true, .not_ok = SIZE_MAX};
    j.row_bytes = j.width * sizeof(float);
    run_rows(p->is_vector ? NULL : r->pool, &j);
    size_t bad = atomic_load(&j.not_ok);
    if (bad != SIZE_MAX)
        return dt_fail(err, DUET_E_FORMAT, "%s: %s: number %zu is not finite; did training diverge?", r->m->files->path, p->name, bad);
    dt_map_drop(p->file.view.data, dt_tensor_row_bytes(&p->file, j.width) * j.n);
    return DUET_OK;
}

/* The rows of one parameter into rows row0.. of a part. */
static duet_status pack_rows(reader *r, dt_packed *part, int row0, const dt_param *p, duet_err *err) {
    bool as_floats = part->type != p->file.view.dtype, moved = p->file.change != DT_GGUF_SAME;
    size_t K = (size_t)p->cols, in = dt_tensor_row_bytes(&p->file, K), out = as_floats ? K * sizeof(float) : in;
    size_t n_piece = PIECE_BYTES / out / DT_NR * DT_NR;
    if (n_piece < DT_NR) n_piece = DT_NR;
    if ((as_floats || moved) && n_piece * out > r->stage_bytes) {
        dt_pages_free(r->stage, r->stage_bytes);
        r->stage_bytes = n_piece * out;
        r->stage = dt_pages_alloc(r->stage_bytes);
        if (!r->stage) return dt_fail(err, DUET_E_NOMEM, "%s: no memory to repack %s", r->m->files->path, p->name);
    }
    for (size_t at = 0; at < (size_t)p->rows; at += n_piece) {
        size_t n = (size_t)p->rows - at < n_piece ? (size_t)p->rows - at : n_piece;
        const void *rows = (const uint8_t *)p->file.view.data + at * in;
        if (as_floats || moved) {
            rows_job j = {.m = r->m, .p = p, .row0 = at, .n = n, .width = K, .row_bytes = out, .dst = r->stage, .as_floats = as_floats};
            run_rows(r->pool, &j);
            rows = r->stage;
        }
        dt_packed_fill_rows(r->pool, part, row0 + (int)at, row0 + (int)(at + n), rows);
        if (!moved) dt_map_drop((const uint8_t *)p->file.view.data + at * in, n * in);
    }
    dt_map_drop(p->file.view.data, (size_t)p->rows * in);
    return DUET_OK;
}

static duet_status pack_matrix(reader *r, dt_matrix *x, duet_err *err) {
    dt_packed *part = x->part;
    int row = 0; /* of the part */
    for (int k = 0; k < x->n_params; k++) {
        const dt_param *p = &r->m->param[x->param + k];
        if (row == part->N) part++, row = 0;
        duet_status st = pack_rows(r, part, row, p, err);
        if (st) return st;
        row += p->rows;
    }
    return DUET_OK;
}

static duet_status read_all(duet_model *m, int n_threads, duet_err *err) {
    reader r = {.m = m};
    dt_matrix *x;
    duet_status st = DUET_OK;
    if (weight_bytes(m, m->weights == DUET_WEIGHTS_F32) >= POOL_BYTES) st = dt_pool_create(n_threads, &r.pool, err);
    for (int i = 0; !st && i < m->n_param; i++)
        if (m->param[i].offset != DT_NONE) st = read_floats(&r, &m->param[i], err);
    for (size_t i = 0; !st && m->weights != DUET_WEIGHTS_F32 && (x = dt_model_matrix(m, i)); i++)
        st = pack_matrix(&r, x, err);
    if (!st) st = dt_model_publish(m, r.pool, err);
    dt_pages_free(r.stage, r.stage_bytes);
    dt_pool_destroy(r.pool);
    return st;
}

static bool wants_f32(const dt_hf_config *c, duet_weights w) {
    size_t n = 0;
    if (w != DUET_WEIGHTS_AUTO) return w == DUET_WEIGHTS_F32;
    return dt_model_count(c, &n) && n <= SMALL_F32 / sizeof(float);
}

duet_status duet_model_open(const char *path, const duet_model_options *opt, duet_model **out, duet_err *err) {
    static const duet_model_options defaults = {0};
    dt_model_files *files = NULL;
    duet_model *m = NULL;
    double began = dt_now();

    *out = NULL;
    opt = opt ? opt : &defaults;
    if (opt->weights < DUET_WEIGHTS_AUTO || opt->weights > DUET_WEIGHTS_EXACT)
        return dt_fail(err, DUET_E_RANGE, "%s: weights: %d is none of auto, f32, file, exact", path, (int)opt->weights);
    if (dt_peft_is(path)) return dt_adapter_open(path, opt, out, err);
    duet_status st = dt_model_files_open(path, &files, err);
    if (!st && opt->rope_scaling) {
        st = dt_hf_config_scale_rope(&files->cfg, opt->rope_scaling, err);
        files->rope_scaling = dt_strdup(opt->rope_scaling);
        if (!st && !files->rope_scaling) st = dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    }
    if (st) {
        dt_model_files_close(files);
        return st;
    }
    st = dt_model_bind(&files->cfg, wants_f32(&files->cfg, opt->weights), &m, err);
    if (st) {
        dt_model_files_close(files);
        return dt_fail_in(err, st, "%s", path);
    }
    m->files = files; /* the model's from here */
    m->gen = files->gen;
    if (opt->weights == DUET_WEIGHTS_EXACT) m->weights = DUET_WEIGHTS_EXACT;
    st = dt_model_find_tensors(m, err);
    if (!st && m->weights != DUET_WEIGHTS_F32) plan_parts(m);
    if (!st) st = check_memory(m, opt, err);
    if (!st && (st = dt_model_hold(m, err))) st = dt_fail_in(err, st, "%s", path);
    if (!st) st = read_all(m, opt->n_threads, err);
    if (!st) st = dt_model_rope_reserve(m, m->cfg.max_pos < 4096 ? m->cfg.max_pos : 4096, err);
    if (st) {
        duet_model_close(m);
        return st;
    }
    if (m->weights == DUET_WEIGHTS_F32) {
        for (int i = 0; i < m->n_param; i++)
            m->param[i].file = (dt_tensor){0};
        dt_model_files_close(m->files);
        m->files = NULL;
    }
    m->open_s = dt_now() - began;
    *out = m;
    return DUET_OK;
}
