/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages that are no reads and writes: one frame there, one back, and a thread that waits for it. Any thread. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "nfc/client_int.h"

/* ---- one call ---- */

static VixError enter(struct nfc_client *c, struct nfc_call *call, struct err *err)
{
    SCOPED_LOCK(&c->lock);
    if (c->broken) {
        *err = c->broken_err;
        return VIX_E_HOST_TCP_CONN_LOST;
    }
    call->op_id = c->next_op++;
    call->next = c->calls;
    c->calls = call;
    nfc_client_in_flight(c, call->writes);
    return VIX_OK;
}

static VixError send_call(struct nfc_client *c, uint32_t op_id, const struct nfc_call *call, const uint8_t *payload,
                          uint32_t payload_len, struct err *err)
{
    const struct nfc_header header = {call->type, payload_len, op_id};
    uint8_t head[NFC_HEADER_LEN];
    const struct iovec iov[4] = {
        {head, sizeof head},
        {(void *)(uintptr_t)payload, payload_len},
        {(void *)(uintptr_t)call->extra, call->extra_len},
        {(void *)(uintptr_t)call->extra2, call->extra2_len},
    };

    nfc_header_put(&header, head);
    return nfc_client_send(c, iov, call->extra_len == 0 ? 2 : call->extra2_len == 0 ? 3 : 4, err);
}

/** The receiver answers, or, before there is one, this thread does its work. */
static void await_answer(struct nfc_client *c, struct nfc_call *call, unsigned timeout_ms)
{
    const struct timespec until = nfc_client_moment(timeout_ms);
    struct err err;

    err_init(&err);
    if (!c->receiving) {
        while (!call->done && nfc_client_receive(c, &err) == VIX_OK) {
        }
        if (!call->done) {
            nfc_client_break(c, &err);
            nfc_client_fail_all(c);
        }
        return;
    }
    (void)pthread_mutex_lock(&c->lock);
    int late = 0;
    while (!call->done && late == 0) {
        late = timeout_ms > 0 ? pthread_cond_timedwait(&c->answered, &c->lock, &until)
                              : pthread_cond_wait(&c->answered, &c->lock);
    }
    bool done = call->done;
    (void)pthread_mutex_unlock(&c->lock);
    if (!done) {
        (void)err_set(&err, VIX_E_HOST_TCP_CONN_LOST, "%s: time-out: no answer within %u ms", c->stream->peer,
                      timeout_ms);
        nfc_client_break(c, &err); /* the receiver ends the call */
        (void)pthread_mutex_lock(&c->lock);
        while (!call->done) {
            (void)pthread_cond_wait(&c->answered, &c->lock);
        }
        (void)pthread_mutex_unlock(&c->lock);
    }
}

VixError nfc_call_run(struct nfc_client *c, struct nfc_call *call, const uint8_t *payload, uint32_t payload_len,
                      unsigned timeout_ms, struct err *err)
{
    struct err failure;

    err_init(&failure);
    err_init(&call->err);
    call->done = false;
    call->reply_extra = NULL;
    if (enter(c, call, &failure) != VIX_OK) {
        if (err != NULL) {
            *err = failure;
        }
        return VIX_E_HOST_TCP_CONN_LOST;
    }
    if (send_call(c, call->op_id, call, payload, payload_len, &failure) != VIX_OK) {
        nfc_client_break(c, &failure);
    }
    await_answer(c, call, timeout_ms);
    if (call->code != VIX_OK && err != NULL) {
        *err = call->err;
    }
    return call->code;
}

static VixError wrong_reply(struct nfc_client *c, uint32_t op_id, const char *what, struct err *err)
{
    struct err why;

    (void)nfc_client_not_allowed(c, op_id, what, &why);
    nfc_client_break(c, &why);
    if (err != NULL) {
        *err = why;
    }
    return VIX_E_HOST_TCP_CONN_LOST;
}

/* ---- allocated blocks ---- */

VixError nfc_client_allocated(struct nfc_client *c, uint64_t chunk, uint64_t start, uint32_t nchunks, uint8_t *bitmap,
                              struct err *err)
{
    const struct nfc_query_blocks query = {.handle = c->handle, .chunk = chunk, .start = start, .nchunks = nchunks};
    struct nfc_call call = {.type = NFC_AIO_QUERY_BLOCKS};
    uint8_t payload[NFC_QUERY_BLOCKS_LEN];

    if (c->version < NFC_VERSION_QUERY_BLOCKS) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: the host cannot tell which blocks are allocated: its NFC is "
                       "version %u, %u is needed (ESXi 6.7)",
                       c->stream->peer, c->version, NFC_VERSION_QUERY_BLOCKS);
    }
    nfc_query_put(&query, payload);
    VixError code = nfc_call_run(c, &call, payload, sizeof payload, 0, err);
    CLEANUP_FREE char *bits = call.reply_extra;
    if (code != VIX_OK) {
        return code;
    }
    if (nfc_query_reply_get(call.reply) != nchunks) {
        return wrong_reply(c, call.op_id, "another number of chunks than was asked for", err);
    }
    if (bits != NULL) {
        memcpy(bitmap, bits, nfc_bitmap_len(nchunks));
    }
    return VIX_OK;
}

/* ---- the disk database ---- */

static VixError check_key(const struct nfc_client *c, const char *key, size_t *ret_len, struct err *err)
{
    *ret_len = strnlen(key, NFC_KEY_MAX + 1);
    if (*ret_len == 0 || *ret_len > NFC_KEY_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: a key of %zu bytes; 1 to %u are allowed", c->stream->peer, *ret_len,
                       NFC_KEY_MAX);
    }
    return VIX_OK;
}

/** What no bytes for an answer mean: the protocol has the same for an empty value and for a key that is not there, so
 * the list of keys has to tell. Hosts of VMware give none: with them there is no such key. */
static VixError empty_value(struct nfc_client *c, const char *key, char **ret_value, struct err *err)
{
    CLEANUP_FREE char *keys = NULL;
    size_t len = 0;
    VixError code = c->banner.extension ? nfc_client_meta_keys(c, &keys, &len, err) : VIX_OK;

    if (code != VIX_OK) {
        return code;
    }
    for (size_t at = 0; at < len; at += strlen(keys + at) + 1) {
        if (text_equal_nocase(keys + at, key)) {
            *ret_value = alloc_text("", err);
            return *ret_value != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
        }
    }
    return err_set(err, VIX_E_DISK_KEY_NOTFOUND, "%s: the disk has no key %s", c->stream->peer, key);
}

VixError nfc_client_meta_get(struct nfc_client *c, const char *key, char **ret_value, struct err *err)
{
    struct nfc_call call = {.type = NFC_AIO_DDB_GET, .extra = key};
    uint8_t payload[NFC_DDB_GET_LEN];
    size_t len;

    if (check_key(c, key, &len, err) != VIX_OK) {
        return VIX_E_INVALID_ARG;
    }
    call.extra_len = (uint32_t)len;
    nfc_ddb_get_put(c->handle, call.extra_len, payload);
    VixError code = nfc_call_run(c, &call, payload, sizeof payload, 0, err);
    CLEANUP_FREE char *value = call.reply_extra;
    if (code != VIX_OK) {
        return code;
    }
    if (value == NULL && (code = empty_value(c, key, &value, err)) != VIX_OK) {
        return code;
    }
    *ret_value = TAKE_PTR(value);
    return VIX_OK;
}

static VixError check_own(const struct nfc_client *c, const char *what, struct err *err)
{
    return c->banner.extension
               ? VIX_OK
               : err_set(err, VIX_E_NOT_SUPPORTED, "%s: hosts of VMware cannot %s over NFC", c->stream->peer, what);
}

VixError nfc_client_meta_set(struct nfc_client *c, const char *key, const char *value, struct err *err)
{
    struct nfc_call call = {.type = NFC_AIO_X_DDB_SET, .extra = key, .extra2 = value, .writes = true};
    size_t value_len = value != NULL ? strlen(value) : 0;
    uint8_t payload[NFC_X_DDB_SET_LEN];
    size_t len;
    VixError code = check_own(c, "change the disk database", err);

    if (code == VIX_OK) {
        code = check_key(c, key, &len, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (value_len > NFC_VALUE_MAX) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: a value of %zu bytes; at most %u are allowed", c->stream->peer,
                       value_len, NFC_VALUE_MAX);
    }
    call.extra_len = (uint32_t)len;
    call.extra2_len = (uint32_t)value_len;
    const struct nfc_x_ddb_set set = {c->handle, call.extra_len, value != NULL ? call.extra2_len : NFC_X_VALUE_NONE};
    nfc_x_ddb_set_put(&set, payload);
    return nfc_call_run(c, &call, payload, sizeof payload, 0, err);
}

VixError nfc_client_meta_keys(struct nfc_client *c, char **ret_keys, size_t *ret_len, struct err *err)
{
    struct nfc_call call = {.type = NFC_AIO_X_DDB_ENUM};
    uint8_t payload[NFC_HANDLE_LEN];
    VixError code = check_own(c, "list the keys of the disk database", err);

    if (code != VIX_OK) {
        return code;
    }
    nfc_handle_put(c->handle, payload);
    code = nfc_call_run(c, &call, payload, sizeof payload, 0, err);
    CLEANUP_FREE char *keys = call.reply_extra;
    if (code == VIX_OK && keys == NULL) {
        keys = alloc_zero(1, err);
        code = keys != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    if (code != VIX_OK) {
        return code;
    }
    if (call.reply_extra_len > 0 && keys[call.reply_extra_len - 1] != '\0') {
        return wrong_reply(c, call.op_id, "the list of keys does not end in a zero byte", err);
    }
    *ret_len = call.reply_extra_len;
    *ret_keys = TAKE_PTR(keys);
    return VIX_OK;
}

VixError nfc_client_flush(struct nfc_client *c, struct err *err)
{
    struct nfc_call call = {.type = NFC_AIO_X_FLUSH, .writes = true};
    uint8_t payload[NFC_HANDLE_LEN];
    VixError code = check_own(c, "flush", err);

    if (code != VIX_OK) {
        return code;
    }
    nfc_handle_put(c->handle, payload);
    return nfc_call_run(c, &call, payload, sizeof payload, 0, err);
}
