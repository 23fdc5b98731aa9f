/* The matrices of a model as the walks multiply them: forward through the packed parts, each in its element type;
 * backward through W in f32, packed anew into scratch. */
#include "model/internal.h"

#include <string.h>

enum { A_LAYER = 4 }; /* matrices of a layer */

dt_matrix *dt_model_matrix(duet_model *m, size_t i) {
    if (i == 0) return &m->head; /* the largest first: what loading it needs besides is free again before the rest comes */
    size_t l = (i - 1) / A_LAYER;
    if (l >= (size_t)m->cfg.n_layers) return NULL;
    dt_layer *y = &m->layer[l];
    dt_matrix *of_layer[A_LAYER] = {&y->qkv, &y->o, &y->gate_up, &y->down};
    return of_layer[(i - 1) % A_LAYER];
}

const dt_matrix *dt_model_matrix_at(const duet_model *m, size_t i) {
    union {
        const duet_model *c;
        duet_model *v;
    } u = {.c = m};
    return dt_model_matrix(u.v, i);
}

size_t dt_model_scratch(const duet_model *m, int rows) {
    const dt_matrix *x;
    size_t most = 0;
    for (size_t i = 0; (x = dt_model_matrix_at(m, i)); i++)
        for (int p = 0; p < x->n_parts; p++) {
            size_t n = dt_product_scratch(x->part[p].type, rows, x->cols);
            if (n > most) most = n;
        }
    if (m->lora && dt_lora_scratch(m->lora, rows) > most) most = dt_lora_scratch(m->lora, rows);
    return most;
}

size_t dt_model_packed_bytes(const duet_model *m) {
    const dt_matrix *x;
    size_t n = 0;
    for (size_t i = 0; (x = dt_model_matrix_at(m, i)); i++)
        for (int p = 0; p < x->n_parts; p++)
            n += x->part[p].bytes;
    return n;
}

void dt_matrix_multiply(dt_pool *pool, const dt_matrix *x, float *y, const float *in, int T, bool acc, void *scratch) {
    dt_acts a = {.form = DT_N_ACT_FORMS}; /* none yet */
    int row = 0;
    for (int p = 0; p < x->n_parts; p++) {
        dt_act_form form = dt_packed_form(&x->part[p]);
        if (form != a.form) dt_acts_make(pool, &a, form, in, (size_t)x->cols, T, x->cols, scratch);
        dt_product_acts(pool, y + row, (size_t)x->rows, &a, &x->part[p], acc);
        row += x->part[p].N;
    }
}

void dt_embed_lookup(const duet_model *m, int32_t id, float *row) {
    const dt_param *p = &m->param[m->embed_param];
    size_t D = (size_t)p->cols;
    if (m->embed != DT_NONE)
        memcpy(row, m->params + m->embed + (size_t)id * D, D * sizeof *row);
    else
        dt_tensor_floats(&p->file, (size_t)id, D, m->cfg.d_head, 0, D, row);
}

/* ---- W for dx = dy W ---- */

enum { BACK_ROWS = 64, BACK_COLS = 256 }; /* of one task; of one turn, whole blocks of every type */

typedef struct back_job {
    const duet_model *m;
    const dt_matrix *x;
    float *bp;
} back_job;

/* Rows of W read from the file: column c of row r goes to panel c / DT_NR, row r. */
static void back_rows(void *arg, size_t task, int thread) {
    const back_job *j = arg;
    size_t O = (size_t)j->x->rows, I = (size_t)j->x->cols, r0 = task * BACK_ROWS, r1 = r0 + BACK_ROWS < O ? r0 + BACK_ROWS : O;
    const dt_param *p = &j->m->param[j->x->param];
    size_t first = 0; /* row of x that is the first of p */
    (void)thread;
    for (size_t r = r0; r < r1; r++) {
        for (; r - first >= (size_t)p->rows; p++)
            first += (size_t)p->rows;
        for (size_t c = 0; c < I; c += BACK_COLS) {
            float part[BACK_COLS] = {0};
            size_t n = I - c < BACK_COLS ? I - c : BACK_COLS;
            dt_tensor_floats(&p->file, r - first, I, j->m->cfg.d_head, c, n, part);
            for (size_t i = 0; i < n; i += DT_NR)
                memcpy(j->bp + (c + i) * O + r * DT_NR, part + i, DT_NR * sizeof *part);
        }
    }
}

void dt_matrix_pack_back(dt_pool *pool, const duet_model *m, const dt_matrix *x, float *bp) {
    back_job j = {.m = m, .x = x, .bp = bp};
    if (x->offset != DT_NONE)
        dt_pack(pool, bp, m->params + x->offset, (size_t)x->cols, 1, x->rows, x->cols);
    else
        dt_pool_run(pool, ((size_t)x->rows + BACK_ROWS - 1) / BACK_ROWS, back_rows, &j);
}

void dt_matrix_bwd(dt_walk *w, const dt_matrix *x, float *dx, const float *dy, const float *in, dt_grads *g, bool acc) {
    size_t O = (size_t)x->rows, I = (size_t)x->cols;
    if (x->trained) {
        dt_pack(w->pool, g->pack_x, in, I, 1, w->T, x->cols);
        dt_gemm(w->pool, g->param + x->offset, I, dy, 1, O, g->pack_x, x->rows, x->cols, w->T, true);
    }
    if (dx) {
        dt_matrix_pack_back(w->pool, w->m, x, g->pack_w);
        dt_gemm(w->pool, dx, I, dy, O, 1, g->pack_w, w->T, x->cols, x->rows, acc);
    }
    if (x->n_adapters) dt_lora_backward(w, x, dx, dy, in, g);
}
