/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection from the banner to its end: its phases, and what is put away afterwards in whatever state it ended. */
#include "nfc/server.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "nfc/server_int.h"

#define RANDOM_SEED 0x9E3779B97F4A7C15u /* tests are to be repeatable */

static void init_conditions(struct nfc_session *ss)
{
    pthread_condattr_t attr;

    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&ss->sender.wake, &attr);
    (void)pthread_cond_init(&ss->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static void session_init(struct nfc_session *ss, struct stream *stream, const struct nfc_serve *how)
{
    memset(ss, 0, sizeof *ss);
    ss->how = how;
    if (how->test != NULL) {
        ss->test = *how->test;
    }
    ss->stream = stream;
    ss->tcp = stream;
    ss->tls = how->identity != NULL && !ss->test.no_ssl_word;
    ss->random = RANDOM_SEED;
    ss->sender.last = &ss->sender.first;
    (void)pthread_mutex_init(&ss->lock, NULL);
    (void)pthread_mutex_init(&ss->send_lock, NULL);
    init_conditions(ss);
    err_init(&ss->broken_err);
    stream->read_timeout_ms = how->idle_timeout_ms;
    stream->write_timeout_ms = how->write_timeout_ms;
    stream_set_deadline(stream, how->handshake_timeout_ms);
}

static void session_destroy(struct nfc_session *ss)
{
    nfc_stock_free(&ss->stock);
    nfc_input_free(&ss->in);
    (void)pthread_cond_destroy(&ss->changed);
    (void)pthread_cond_destroy(&ss->sender.wake);
    (void)pthread_mutex_destroy(&ss->lock);
    (void)pthread_mutex_destroy(&ss->send_lock);
    explicit_bzero(ss->tag, sizeof ss->tag);
}

static void set_reading_max(struct nfc_session *ss)
{
    const bool held = ss->test.delay_ms > 0 || ss->test.shuffle_replies; /* answers, by tests: they are not ahead */

    ss->reading_low = (uint64_t)work_pool_threads(ss->how->pool) * SERVER_UNIT_MAX;
    ss->reading_max = held ? UINT64_MAX : ss->reading_low + SERVER_AHEAD;
}

static VixError run_phases(struct nfc_session *ss, struct err *err)
{
    bool ended = false;
    VixError code = nfc_server_authd(ss, err);

    /* the host may have settled it when it took the ticket; no buffer is wanted before */
    uint64_t memory = ss->how->memory_max > 0 ? ss->how->memory_max : SERVER_MEMORY_DEFAULT;
    ss->stock.max = max_u64(memory, SERVER_MEMORY_MIN);
    set_reading_max(ss);
    if (code == VIX_OK) {
        code = nfc_input_init(&ss->in, ss->stream, ss->tcp, SERVER_STAGING, err);
    }
    if (code == VIX_OK) {
        code = nfc_server_classic(ss, &ended, err);
    }
    if (code == VIX_OK && !ended) {
        code = nfc_server_aio(ss, err);
    }
    return code;
}

/* The first thing that went wrong is what ended the session. */
static VixError first_failure(struct nfc_session *ss, VixError code, const struct err *close_err, struct err *err)
{
    if (ss->broken_err.code != VIX_OK) {
        *err = ss->broken_err;
        return err->code;
    }
    if (code == VIX_OK && close_err->code != VIX_OK) {
        *err = *close_err;
        err_prefix(err, "%s: closing the disk", ss->stream->peer);
        return err->code;
    }
    return code;
}

/* What was given to the pool is done before anything is put away: a write that has arrived is written. */
static VixError wind_up(struct nfc_session *ss, VixError code, struct err *err)
{
    struct err close_err;

    if (code != VIX_OK) {
        nfc_session_break(ss, err);
    }
    nfc_io_settle(ss);
    nfc_io_forget(ss);
    nfc_sender_end(ss);
    err_init(&close_err);
    if (ss->disk != NULL) {
        close_err.code = ss->how->ops->close(ss->disk, &close_err);
        ss->disk = NULL;
    }
    code = first_failure(ss, code, &close_err, err);
    if (ss->grant != NULL) {
        ss->how->ops->end_grant(ss->how->host, ss->grant);
    }
    stream_close(ss->stream);
    return code;
}

VixError nfc_serve(struct stream *s, const struct nfc_serve *how, struct err *err)
{
    struct nfc_session ss;
    VixError code;

    session_init(&ss, s, how);
    code = run_phases(&ss, err);
    code = wind_up(&ss, code, err);
    session_destroy(&ss);
    return code;
}
