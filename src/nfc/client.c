/* SPDX-License-Identifier: BSD-3-Clause */
/* A session from its beginning to its end: the steps of opening in their order, the receiver thread, the farewell. */
#include "nfc/client.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "nfc/client_int.h"
#include "work/thread.h"

#define SECTOR 512u

/* ---- memory ---- */

/** Of two spans of time; 0: without an end. */
static unsigned earlier(unsigned a_ms, unsigned b_ms)
{
    return a_ms == 0 || (b_ms != 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static VixError client_new(const struct nfc_connect *how, struct nfc_client **ret_client, struct err *err)
{
    struct nfc_client *c = alloc_zero(sizeof *c, err);
    pthread_condattr_t attr;

    if (c == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    c->compression = how->compression;
    c->read_timeout_ms = how->read_timeout_ms;
    c->write_timeout_ms = how->write_timeout_ms;
    c->keep_alive_ms = how->keep_alive_ms;
    c->wait_ms = earlier(how->read_timeout_ms, how->keep_alive_ms);
    c->beat.len = CLIENT_BEAT_LEN;
    c->beat.buf = c->beat_bytes;
    c->writable = !how->read_only;
    (void)pthread_mutex_init(&c->send_lock, NULL);
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->answered, &attr);
    (void)pthread_condattr_destroy(&attr);
    *ret_client = c;
    return VIX_OK;
}

static void client_free(struct nfc_client *c)
{
    nfc_packers_free(c->packers);
    nfc_coder_free(c->coder);
    free(c->packed);
    nfc_input_free(&c->in);
    (void)pthread_cond_destroy(&c->answered);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->send_lock);
    free(c);
}

/* ---- opening ---- */

/** A message whose failure does not matter as long as the connection lives. */
static VixError ask(struct nfc_client *c, uint32_t type, const uint8_t *payload, uint32_t payload_len, struct err *err)
{
    struct nfc_call call = {.type = type};
    VixError code = nfc_call_run(c, &call, payload, payload_len, 0, err);

    return nfc_client_lost(c) ? code : VIX_OK;
}

/** 2, and 9 and 22 as VMware's library sends them. */
static VixError open_session(struct nfc_client *c, const struct nfc_connect *how, struct err *err)
{
    const struct nfc_open_session session = {
        .buffer_size = how->buffer_size != 0 || !c->banner.extension ? how->buffer_size : CLIENT_BUFFER_OWN,
        .buffer_count = how->buffer_count,
    };
    const struct nfc_sock_opts opts = {0};
    struct nfc_call call = {.type = NFC_AIO_OPEN_SESSION};
    uint8_t payload[NFC_OPEN_SESSION_LEN];

    c->buffer_size = session.buffer_size != 0 ? session.buffer_size : NFC_BUFFER_DEFAULT;
    nfc_open_session_put(&session, payload);
    VixError code = nfc_call_run(c, &call, payload, NFC_OPEN_SESSION_LEN, 0, err);
    if (code == VIX_OK) {
        nfc_sock_opts_put(&opts, payload);
        code = ask(c, NFC_AIO_SET_SOCK_OPTS, payload, NFC_SOCK_OPTS_LEN, err);
    }
    if (code == VIX_OK) {
        nfc_res_pool_put(1, payload);
        code = ask(c, NFC_AIO_SET_RES_POOL, payload, NFC_RES_POOL_LEN, err);
    }
    return code;
}

/** After an ERROR hosts send the reply of OPEN_FILE too. */
static void await_trailing(struct nfc_client *c)
{
    struct err ignored;

    err_init(&ignored);
    stream_set_deadline(c->stream, CLIENT_TRAILING_MS);
    if (!nfc_client_lost(c) && nfc_client_receive(c, &ignored) != VIX_OK) {
        nfc_client_break(c, &ignored);
    }
}

static VixError check_reply(const struct nfc_client *c, const struct nfc_open_file_reply *reply, struct err *err)
{
    if (reply->status != 0) {
        return err_set(err, VIX_E_FILE_ERROR, "%s: the host does not open the disk: status %llu; its log tells why",
                       c->stream->peer, (unsigned long long)reply->status);
    }
    if (reply->capacity == 0 || reply->capacity % SECTOR != 0 || reply->capacity > INT64_MAX) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                       "%s: the host tells of a disk of %llu bytes, which is no number of sectors", c->stream->peer,
                       (unsigned long long)reply->capacity);
    }
    if (reply->sector_size != 0 && (reply->sector_size % SECTOR != 0 || !is_power_of_two(reply->sector_size))) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: the host tells of sectors of %u bytes",
                       c->stream->peer, reply->sector_size);
    }
    return VIX_OK;
}

static VixError open_disk(struct nfc_client *c, const struct nfc_connect *how, struct nfc_disk_info *ret_info,
                          struct err *err)
{
    const struct nfc_open_file open = {
        .path_len = (uint32_t)strlen(how->path),
        .file_type = NFC_FILE_DISK,
        .flags = NFC_OPEN_ALWAYS | NFC_OPEN_LOCK | (how->single_link ? 0 : NFC_OPEN_CHAIN) |
                 (how->read_only ? NFC_OPEN_READ_ONLY : 0),
    };
    struct nfc_call call = {.type = NFC_AIO_OPEN_FILE,
                            .extra = how->path,
                            .extra_len = open.path_len,
                            .opens = true,
                            .writes = !how->read_only};
    struct nfc_open_file_reply reply;
    uint8_t payload[NFC_OPEN_FILE_LEN];

    nfc_open_file_put(&open, payload);
    VixError code = nfc_call_run(c, &call, payload, sizeof payload, 0, err);
    if (code != VIX_OK) {
        await_trailing(c);
        return code;
    }
    nfc_open_reply_get(call.reply, &reply);
    code = check_reply(c, &reply, err);
    if (code != VIX_OK) {
        return code;
    }
    c->handle = reply.handle;
    *ret_info = (struct nfc_disk_info){
        .capacity = reply.capacity,
        .sector_size = reply.sector_size != 0 ? reply.sector_size : SECTOR,
        .cylinders = reply.cylinders,
        .heads = reply.heads,
        .sectors = reply.sectors,
        .server_version = c->version,
        .extended = c->banner.extension,
    };
    return VIX_OK;
}

static VixError check_how(const struct nfc_connect *how, struct err *err)
{
    size_t path_len = strnlen(how->path, NFC_PATH_MAX + 1);

    if (path_len == 0 || path_len > NFC_PATH_MAX) {
        return err_set(err, VIX_E_FILE_NAME_INVALID, "%s:%u: a path of %zu bytes; 1 to %u are allowed", how->host,
                       how->port, path_len, NFC_PATH_MAX);
    }
    if (how->buffer_size > NFC_BUFFER_MAX || how->buffer_size % SECTOR != 0) {
        return err_set(err, VIX_E_INVALID_ARG, "%s:%u: buffers of %u bytes; up to %u are allowed", how->host, how->port,
                       how->buffer_size, NFC_BUFFER_MAX);
    }
    return VIX_OK;
}

/** Everything up to a session in which a disk can be opened. */
static VixError connect_session(struct nfc_client *c, const struct nfc_connect *how, bool own_only, struct err *err)
{
    VixError code = nfc_client_authd(c, how, own_only, err);

    if (code == VIX_OK) {
        code = nfc_input_init(&c->in, c->stream, c->tcp, CLIENT_STAGING, err);
    }
    if (code == VIX_OK) {
        code = nfc_client_classic(c, err);
    }
    return code == VIX_OK ? open_session(c, how, err) : code;
}

static VixError start_receiver(struct nfc_client *c, struct err *err)
{
    stream_set_deadline(c->stream, 0); /* from now on the time-outs hold */
    c->receiving = true;
    int fault = work_thread_start(&c->thread, "vixdisk-nfc", nfc_client_run, c);
    if (fault != 0) {
        c->receiving = false;
        return err_set_errno(err, fault, "%s: the thread of the connection cannot be started", c->stream->peer);
    }
    return VIX_OK;
}

/** Before the disk is open there is no connection to be lost: the handshake has failed, for a cause that may pass. */
static VixError open_failed(struct nfc_client *c, VixError code, struct err *err)
{
    nfc_client_close(c);
    if (code == VIX_E_HOST_TCP_CONN_LOST) {
        code = err_set_retry(err, ERR_RETRY_HELPS, VIX_E_HOST_NETBLKDEV_HANDSHAKE);
        if (err != NULL) {
            err->code = code;
        }
    }
    return code;
}

VixError nfc_client_open(const struct nfc_connect *how, struct nfc_client **ret_client, struct nfc_disk_info *ret_info,
                         struct err *err)
{
    struct nfc_client *c = NULL;
    struct nfc_disk_info info;
    VixError code = check_how(how, err);

    if (code == VIX_OK) {
        code = client_new(how, &c, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = connect_session(c, how, false, err);
    if (code == VIX_OK) {
        code = open_disk(c, how, &info, err);
    }
    if (code == VIX_OK) {
        code = start_receiver(c, err);
    }
    if (code != VIX_OK) {
        return open_failed(c, code, err);
    }
    *ret_client = c;
    *ret_info = info;
    return VIX_OK;
}

VixError nfc_client_create_disk(const struct nfc_connect *how, uint32_t type, uint32_t adapter, uint32_t hw_version,
                                uint64_t capacity, struct err *err)
{
    struct nfc_call call = {.type = NFC_AIO_X_CREATE_DISK, .extra = how->path, .writes = true};
    struct nfc_client *c = NULL;
    uint8_t payload[NFC_X_CREATE_LEN];
    VixError code = check_how(how, err);

    if (code == VIX_OK) {
        code = client_new(how, &c, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = connect_session(c, how, true, err);
    if (code == VIX_OK) {
        call.extra_len = (uint32_t)strlen(how->path);
        const struct nfc_x_create create = {call.extra_len, type, adapter, hw_version, capacity};
        nfc_x_create_put(&create, payload);
        c->stream->read_timeout_ms = 0;
        stream_set_deadline(c->stream, how->write_timeout_ms); /* the host may have to write all of it */
        code = nfc_call_run(c, &call, payload, sizeof payload, 0, err);
    }
    if (code != VIX_OK) {
        return open_failed(c, code, err);
    }
    nfc_client_close(c);
    return VIX_OK;
}

/* ---- what is known ---- */

void nfc_client_traffic(struct nfc_client *c, uint64_t *ret_in, uint64_t *ret_out)
{
    *ret_in = c->tcp->bytes_in;
    *ret_out = c->tcp->bytes_out;
}

bool nfc_client_lost(struct nfc_client *c)
{
    SCOPED_LOCK(&c->lock);
    return c->broken;
}

/* ---- the end ---- */

/** Whether the session can end in order. What keeps it alive and is under way comes to its end first. */
static bool is_idle(struct nfc_client *c)
{
    const struct timespec until = nfc_client_moment(CLIENT_FAREWELL_MS);
    int late = 0;
    SCOPED_LOCK(&c->lock);

    while (c->beating && !c->broken && late == 0) {
        late = pthread_cond_timedwait(&c->answered, &c->lock, &until);
    }
    return !c->broken && c->in_flight == 0;
}

/** CLOSE_FILE, CLOSE_SESSION, SESSION_COMPLETE, as far as there is somebody to hear it. */
static void say_goodbye(struct nfc_client *c)
{
    struct nfc_call call = {.type = NFC_AIO_CLOSE_FILE, .writes = c->writable};
    uint8_t payload[NFC_HANDLE_LEN] = {0};
    uint8_t frame[NFC_CLASSIC_LEN];
    VixError code = VIX_OK;

    c->stream->write_timeout_ms = CLIENT_FAREWELL_MS;
    if (c->receiving) {
        nfc_handle_put(c->handle, payload);
        code =
            nfc_call_run(c, &call, payload, sizeof payload, c->writable ? c->write_timeout_ms : CLIENT_CLOSE_MS, NULL);
    } else {
        stream_set_deadline(c->stream, CLIENT_FAREWELL_MS);
    }
    if (code != VIX_E_HOST_TCP_CONN_LOST) {
        memset(payload, 0, sizeof payload);
        call = (struct nfc_call){.type = NFC_AIO_CLOSE_SESSION};
        code = nfc_call_run(c, &call, payload, NFC_CLOSE_SESSION_LEN, CLIENT_FAREWELL_MS, NULL);
    }
    if (code != VIX_E_HOST_TCP_CONN_LOST) {
        nfc_classic_put(NFC_CLASSIC_SESSION_COMPLETE, frame);
        (void)stream_write(c->stream, frame, sizeof frame, NULL);
    }
}

void nfc_client_close(struct nfc_client *c)
{
    struct err err;

    if (c == NULL) {
        return;
    }
    if (c->buffer_size > 0 && is_idle(c)) { /* there is a session */
        say_goodbye(c);
    }
    if (c->receiving) {
        (void)err_set(&err, VIX_E_HOST_TCP_CONN_LOST, "%s: the connection is closed", c->stream->peer);
        nfc_client_break(c, &err);
        (void)pthread_join(c->thread, NULL);
    }
    stream_close(c->stream);
    client_free(c);
}
