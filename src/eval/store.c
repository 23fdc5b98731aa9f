/* The store of finished samples: an SQLite file in WAL mode, one connection a process, one statement at a time. Every sample
 * is a transaction of its own. */
#include "eval/store.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { APPLICATION_ID = 0x64756574 /* "duet" */, FORMAT = 1, WAIT_MS = 30000 };

/* SQLite's names have no case, so M and m go by their long names. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS sample("
    "key TEXT PRIMARY KEY, signal BLOB, answer BLOB, signal_ids BLOB, answer_ids BLOB, signal_status INT, handoff INT, cut INT, "
    "reasoner_prompt INT, reasoner_cached INT, reasoner_output INT, reasoner_prefill_s REAL, reasoner_decode_s REAL, "
    "answerer_prompt INT, answerer_cached INT, answerer_output INT, answerer_prefill_s REAL, answerer_decode_s REAL, total_s REAL, sum INT);"
    "CREATE TABLE IF NOT EXISTS file(path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT) WITHOUT ROWID;";

/* ---- errors: one sentence each ---- */

duet_status dt_store_fail(duet_store *s, int rc, duet_err *err) {
    const char *why = sqlite3_errmsg(s->db);
    switch (rc & 0xFF) {
    case SQLITE_NOMEM: return dt_fail(err, DUET_E_NOMEM, "%s: no memory", s->path);
    case SQLITE_NOTADB: return dt_fail(err, DUET_E_FORMAT, "%s: not a store of samples: not an SQLite file", s->path);
    case SQLITE_CORRUPT: return dt_fail(err, DUET_E_FORMAT, "%s: damaged (%s); move it away, and its samples are made anew", s->path, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return dt_fail(err, DUET_E_IO, "%s: locked by another program for more than %.3g s", s->path, s->wait_ms / 1000.0);
    case SQLITE_READONLY:
    case SQLITE_PERM: return dt_fail(err, DUET_E_IO, "%s: cannot be written: it, or its folder, is read-only", s->path);
    case SQLITE_CANTOPEN: return dt_fail(err, DUET_E_IO, "%s: cannot be opened or made", s->path);
    case SQLITE_IOERR:
        return sqlite3_system_errno(s->db) ? dt_fail(err, DUET_E_IO, "%s: cannot read or write: %s; what was kept before stays", s->path, strerror(sqlite3_system_errno(s->db)))
                                           : dt_fail(err, DUET_E_IO, "%s: cannot read or write; what was kept before stays", s->path);
    case SQLITE_FULL: return dt_fail(err, DUET_E_IO, "%s: no room on the disk; what was kept before stays", s->path);
    default: return dt_fail(err, DUET_E_IO, "%s: %s", s->path, why);
    }
}

/* ---- opening ---- */

static int read_int(sqlite3 *db, const char *sql, int *out) {
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    if (!rc && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        *out = sqlite3_column_int(q, 0);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(q);
    return rc;
}

/* Is it ours, or new? One look at all, for another process may be making it. Nothing is written to a file of others. */
static duet_status check_kind(duet_store *s, duet_err *err) {
    int id = 0, version = 0, tables = 0;
    int rc = sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL);
    if (!rc) rc = read_int(s->db, "PRAGMA application_id", &id);
    if (!rc) rc = read_int(s->db, "PRAGMA user_version", &version);
    if (!rc) rc = read_int(s->db, "SELECT count(*) FROM sqlite_master", &tables);
    if (!rc) rc = sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    if (rc) return dt_store_fail(s, rc, err);
    if (id != APPLICATION_ID && (id || tables)) return dt_fail(err, DUET_E_FORMAT, "%s: not a store of samples: an SQLite file of another program", s->path);
    if (version > FORMAT)
        return dt_fail(err, DUET_E_FORMAT, "%s: made by a newer duet (format %d, this one knows %d)", s->path, version, FORMAT);
    return DUET_OK;
}

/* The switch to WAL needs the file for itself for a moment and does not wait by itself. */
static duet_status set_wal(duet_store *s, duet_err *err) {
    sqlite3_stmt *q = NULL;
    double until = dt_now() + s->wait_ms / 1000.0;
    char mode[16] = "";
    int rc = SQLITE_OK;
    do {
        rc = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode=WAL", -1, &q, NULL);
        if (!rc && (rc = sqlite3_step(q)) == SQLITE_ROW) {
            snprintf(mode, sizeof mode, "%s", (const char *)sqlite3_column_text(q, 0));
            rc = SQLITE_OK;
        }
        sqlite3_finalize(q);
        if ((rc & 0xFF) == SQLITE_BUSY) sqlite3_sleep(20);
    } while ((rc & 0xFF) == SQLITE_BUSY && dt_now() < until);
    if (rc) return dt_store_fail(s, rc, err);
    if (strcmp(mode, "wal")) return dt_fail(err, DUET_E_IO, "%s: this file system cannot share it between processes (SQLite's WAL mode)", s->path);
    return DUET_OK;
}

static duet_status make_tables(duet_store *s, duet_err *err) {
    char text[sizeof schema + 128];
    snprintf(text, sizeof text, "BEGIN IMMEDIATE;%sPRAGMA application_id=%d;PRAGMA user_version=%d;COMMIT", schema, APPLICATION_ID, FORMAT);
    int rc = sqlite3_exec(s->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
    if (!rc) rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);
    return rc ? dt_store_fail(s, rc, err) : DUET_OK;
}

static duet_status prepare_all(duet_store *s, duet_err *err) {
    static const char *const sql[DT_STORE_N] = {
        [DT_STORE_GET] = ("SELECT signal, answer, signal_ids, answer_ids, signal_status, handoff, cut, "
                         "reasoner_prompt, reasoner_cached, reasoner_output, reasoner_prefill_s, reasoner_decode_s, "
                         "answerer_prompt, answerer_cached, answerer_output, answerer_prefill_s, answerer_decode_s, total_s, sum FROM sample WHERE key=?1"),
        [DT_STORE_PUT] = "INSERT OR IGNORE INTO sample VALUES(?20,?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)",
        [DT_STORE_COUNT] = "SELECT count(*) FROM sample",
        [DT_STORE_GET_FILE] = "SELECT sha256 FROM file WHERE path=?1 AND stamp=?2",
        [DT_STORE_PUT_FILE] = "INSERT OR REPLACE INTO file VALUES(?1,?2,?3)"};
    int rc = SQLITE_OK;
    for (int i = 0; !rc && i < DT_STORE_N; i++)
        rc = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->q[i], NULL);
    return rc ? dt_store_fail(s, rc, err) : DUET_OK;
}

duet_status duet_store_open(const char *path, double wait_s, duet_store **out, duet_err *err) {
    *out = NULL;
    duet_store *s = calloc(1, sizeof *s);
    if (!s || !(s->path = dt_strdup(path))) {
        free(s);
        return dt_fail(err, DUET_E_NOMEM, "%s: no memory to open it", path);
    }
    s->wait_ms = wait_s > 0 ? (int)(wait_s * 1000) : WAIT_MS;
    pthread_mutex_init(&s->lock, NULL);
    int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (!rc) rc = sqlite3_busy_timeout(s->db, s->wait_ms);
    duet_status st = rc ? dt_store_fail(s, rc, err) : check_kind(s, err);
    if (!st && sqlite3_db_readonly(s->db, "main") == 1) st = dt_store_fail(s, SQLITE_READONLY, err);
    if (!st) st = set_wal(s, err);
    if (!st) st = make_tables(s, err);
    if (!st) st = prepare_all(s, err);
    if (st) {
        duet_store_close(s);
        return st;
    }
    *out = s;
    return DUET_OK;
}

void duet_store_close(duet_store *s) {
    if (!s) return;
    for (int i = 0; i < DT_STORE_N; i++)
        sqlite3_finalize(s->q[i]);
    sqlite3_close(s->db);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}

const char *duet_store_path(const duet_store *s) {
    return s->path;
}

/* ---- one sample ---- */

static int flags_of(const duet_pair_request *r) {
    return r->answer_cut | r->signal_cut << 1 | r->ledger.M.estimated << 2 | r->ledger.m.estimated << 3;
}

/* Of what a row holds, so that a row that changed on the disk is not taken for a sample. */
static uint64_t checksum(const char key[65], const duet_pair_request *r) {
    const duet_ledger_side *side[] = {&r->ledger.M, &r->ledger.m};
    uint64_t small[] = {r->signal_status, r->handoff, r->answer_cut, (uint64_t)flags_of(r) >> 1, 0, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < 2; i++) {
        small[4 + 3 * i] = side[i]->prompt_tokens;
        small[5 + 3 * i] = side[i]->cached_tokens;
        small[6 + 3 * i] = side[i]->output_tokens;
    }
    uint64_t h = dt_hash64(key, strlen(key), 1);
    h = dt_hash64(r->signal_text, r->n_signal_text, h);
    h = dt_hash64(r->answer_text, r->n_answer_text, h);
    h = dt_hash64(r->signal_ids, r->n_signal_ids * sizeof *r->signal_ids, h);
    h = dt_hash64(r->answer_ids, r->n_answer_ids * sizeof *r->answer_ids, h);
    return dt_hash64(small, sizeof small, h);
}

static sqlite3_int64 count_out(size_t n) {
    return n == SIZE_MAX ? -1 : (sqlite3_int64)n;
}

static size_t count_in(sqlite3_stmt *q, int at) {
    sqlite3_int64 n = sqlite3_column_int64(q, at);
    return n < 0 ? SIZE_MAX : (size_t)n;
}

static double real_in(sqlite3_stmt *q, int at) { /* SQLite keeps NaN as NULL */
    return sqlite3_column_type(q, at) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(q, at);
}

static int bind_side(sqlite3_stmt *q, int at, const duet_ledger_side *l) {
    int rc = sqlite3_bind_int64(q, at, count_out(l->prompt_tokens));
    if (!rc) rc = sqlite3_bind_int64(q, at + 1, count_out(l->cached_tokens));
    if (!rc) rc = sqlite3_bind_int64(q, at + 2, count_out(l->output_tokens));
    if (!rc) rc = sqlite3_bind_double(q, at + 3, l->prefill_s);
    return rc ? rc : sqlite3_bind_double(q, at + 4, l->decode_s);
}

static duet_ledger_side side_in(sqlite3_stmt *q, int at) {
    return (duet_ledger_side){.prompt_tokens = count_in(q, at), .cached_tokens = count_in(q, at + 1), .output_tokens = count_in(q, at + 2),
                              .prefill_s = real_in(q, at + 3), .decode_s = real_in(q, at + 4), .cost = (double)NAN};
}

/* A copy of a column with a zero behind it; nothing where it has no bytes. */
static bool take_bytes(sqlite3_stmt *q, int at, void **out, size_t *n, bool keep_empty) {
    const void *p = sqlite3_column_blob(q, at);
    *n = (size_t)sqlite3_column_bytes(q, at);
    *out = NULL;
    if (!*n && !keep_empty) return true;
    char *copy = malloc(*n + sizeof(int32_t));
    if (!copy) return false;
    if (*n) memcpy(copy, p, *n);
    memset(copy + *n, 0, sizeof(int32_t));
    *out = copy;
    return true;
}

static duet_status row_in(duet_store *s, sqlite3_stmt *q, const char key[65], duet_pair_request *r, duet_err *err) {
    void *v[4] = {NULL};
    size_t n[4] = {0};
    bool ok = true;
    for (int i = 0; i < 4; i++)
        ok = take_bytes(q, i, &v[i], &n[i], sqlite3_column_type(q, i) != SQLITE_NULL) && ok;
    r->signal_text = v[0];
    r->n_signal_text = n[0];
    r->answer_text = v[1];
    r->n_answer_text = n[1];
    r->signal_ids = v[2];
    r->n_signal_ids = n[2] / sizeof(int32_t);
    r->answer_ids = v[3];
    r->n_answer_ids = n[3] / sizeof(int32_t);
    if (!ok) return dt_fail(err, DUET_E_NOMEM, "%s: no memory for a sample", s->path);
    int cut = sqlite3_column_int(q, 6);
    r->signal_status = (duet_signal_status)sqlite3_column_int(q, 4);
    r->handoff = (duet_handoff)sqlite3_column_int(q, 5);
    r->answer_cut = cut & 1;
    r->signal_cut = cut & 2;
    r->ledger = (duet_ledger){.M = side_in(q, 7), .m = side_in(q, 12), .total_s = real_in(q, 17), .cost = (double)NAN, .M_alone_tokens = SIZE_MAX, .M_alone_cost = (double)NAN};
    r->ledger.M.estimated = cut & 4;
    r->ledger.m.estimated = cut & 8;
    if ((uint64_t)sqlite3_column_int64(q, 18) != checksum(key, r))
        return dt_fail(err, DUET_E_FORMAT, "%s: damaged: sample %.16s is not what was kept; move the file away, and its samples are made anew", s->path, key);
    return DUET_OK;
}

/* The lock is held. */
static duet_status get(duet_store *s, const char key[65], duet_pair_request *r, duet_err *err) {
    sqlite3_stmt *q = s->q[DT_STORE_GET];
    duet_pair_request_clear(r);
    int rc = sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
    if (!rc) rc = sqlite3_step(q);
    duet_status st = rc == SQLITE_ROW ? row_in(s, q, key, r, err) : rc == SQLITE_DONE ? DUET_END : dt_store_fail(s, rc, err);
    sqlite3_reset(q);
    if (st) duet_pair_request_clear(r);
    return st;
}

static int bind_bytes(sqlite3_stmt *q, int at, const void *p, size_t n) {
    return p ? sqlite3_bind_blob64(q, at, p, n, SQLITE_STATIC) : sqlite3_bind_null(q, at);
}

/* The lock is held. *new: it was not there before. */
static duet_status put(duet_store *s, const char key[65], const duet_pair_request *r, bool *new, duet_err *err) {
    sqlite3_stmt *q = s->q[DT_STORE_PUT];
    int rc = bind_bytes(q, 1, r->signal_text, r->n_signal_text);
    if (!rc) rc = bind_bytes(q, 2, r->answer_text, r->n_answer_text);
    if (!rc) rc = bind_bytes(q, 3, r->signal_ids, r->n_signal_ids * sizeof *r->signal_ids);
    if (!rc) rc = bind_bytes(q, 4, r->answer_ids, r->n_answer_ids * sizeof *r->answer_ids);
    if (!rc) rc = sqlite3_bind_int(q, 5, (int)r->signal_status);
    if (!rc) rc = sqlite3_bind_int(q, 6, (int)r->handoff);
    if (!rc) rc = sqlite3_bind_int(q, 7, flags_of(r));
    if (!rc) rc = bind_side(q, 8, &r->ledger.M);
    if (!rc) rc = bind_side(q, 13, &r->ledger.m);
    if (!rc) rc = sqlite3_bind_double(q, 18, r->ledger.total_s);
    if (!rc) rc = sqlite3_bind_int64(q, 19, (sqlite3_int64)checksum(key, r));
    if (!rc) rc = sqlite3_bind_text(q, 20, key, -1, SQLITE_STATIC);
    if (!rc) rc = sqlite3_step(q);
    duet_status st = rc == SQLITE_DONE ? DUET_OK : dt_store_fail(s, rc, err);
    *new = !st && sqlite3_changes(s->db) == 1;
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    return st;
}

duet_status duet_store_get(duet_store *s, const char key[65], duet_pair_request *r, duet_err *err) {
    pthread_mutex_lock(&s->lock);
    duet_status st = get(s, key, r, err);
    pthread_mutex_unlock(&s->lock);
    return st;
}

duet_status duet_store_put(duet_store *s, const char key[65], duet_pair_request *r, bool *found, duet_err *err) {
    bool new = false;
    pthread_mutex_lock(&s->lock);
    duet_status st = put(s, key, r, &new, err);
    *found = !st && !new;
    if (*found) {
        st = get(s, key, r, err);
        if (st == DUET_END) st = dt_fail(err, DUET_E_IO, "%s: a sample went away while it was read", s->path);
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

duet_status duet_store_count(duet_store *s, size_t *n, duet_err *err) {
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = s->q[DT_STORE_COUNT];
    int rc = sqlite3_step(q);
    duet_status st = rc == SQLITE_ROW ? DUET_OK : dt_store_fail(s, rc, err);
    *n = st ? 0 : count_in(q, 0);
    sqlite3_reset(q);
    pthread_mutex_unlock(&s->lock);
    return st;
}
