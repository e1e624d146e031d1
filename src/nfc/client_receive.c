/* SPDX-License-Identifier: BSD-3-Clause */
/* What the host sends, frame by frame. Data that is not compressed goes from the socket straight into the buffer of its
 * request. Whatever a host may not send ends the connection. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "nfc/client_int.h"

#define NS_PER_MS UINT64_C(1000000)

uint64_t nfc_client_now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

struct timespec nfc_client_moment(unsigned ms)
{
    const uint64_t moment = nfc_client_now() + ms * NS_PER_MS;

    return (struct timespec){.tv_sec = (time_t)(moment / 1000000000), .tv_nsec = (long)(moment % 1000000000)};
}

VixError nfc_client_not_allowed(const struct nfc_client *c, uint32_t op_id, const char *what, struct err *err)
{
    return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the host breaks the protocol of NFC: request %u: %s",
                   c->stream->peer, op_id, what);
}

/* ---- the end of requests ---- */

void nfc_client_in_flight(struct nfc_client *c, bool writes)
{
    c->writes_in_flight += writes ? 1 : 0;
    if (c->in_flight++ == 0) {
        c->waiting_ns = nfc_client_now();
    }
}

static struct nfc_request *find_request(struct nfc_client *c, uint32_t op_id)
{
    SCOPED_LOCK(&c->lock);
    struct nfc_request *r = c->requests[op_id % CLIENT_BUCKETS];

    while (r != NULL && r->op_id != op_id) {
        r = r->next;
    }
    return r;
}

/** Takes it out of the requests in flight. With the lock. */
static void remove_request(struct nfc_client *c, struct nfc_request *r)
{
    struct nfc_request **link = &c->requests[r->op_id % CLIENT_BUCKETS];

    while (*link != r) {
        link = &(*link)->next;
    }
    *link = r->next;
    if (r == &c->beat) {
        c->beating = false;
        (void)pthread_cond_broadcast(&c->answered);
        return;
    }
    c->in_flight--;
    c->writes_in_flight -= r->write ? 1 : 0;
}

/** Tells of the end, or has the thread tell that is still sending. */
static void end_request(struct nfc_client *c, struct nfc_request *r, VixError result, const struct err *err)
{
    nfc_parts_free(r);
    {
        SCOPED_LOCK(&c->lock);
        remove_request(c, r);
        if (r == &c->beat) {
            return;
        }
        if (r->sending) {
            r->ended = true;
            r->result = result;
            r->failure = result != VIX_OK ? malloc(sizeof *err) : NULL;
            if (r->failure != NULL) {
                *r->failure = *err;
            }
            return;
        }
    }
    c->told = true;
    r->done(r, result, err);
}

void nfc_client_on_pause(struct nfc_client *c, void (*pause)(void *ctx), void *ctx)
{
    c->pause = pause;
    c->pause_ctx = ctx;
}

void nfc_client_pause(const struct nfc_client *c)
{
    if (c->pause != NULL) {
        c->pause(c->pause_ctx);
    }
}

static struct nfc_call *find_call(struct nfc_client *c, uint32_t op_id)
{
    SCOPED_LOCK(&c->lock);
    struct nfc_call *call = c->calls;

    while (call != NULL && call->op_id != op_id) {
        call = call->next;
    }
    return call;
}

/** The reply, or the failure, is in the call; from here on it is its maker's. With the lock. */
static void end_call(struct nfc_client *c, struct nfc_call *call, VixError code)
{
    struct nfc_call **link = &c->calls;

    while (*link != call) {
        link = &(*link)->next;
    }
    *link = call->next;
    c->in_flight--;
    c->writes_in_flight -= call->writes ? 1 : 0;
    call->code = code;
    call->done = true;
    (void)pthread_cond_broadcast(&c->answered);
}

void nfc_client_note_failed(struct nfc_client *c, uint32_t op_id)
{
    c->failed[c->failed_next] = op_id;
    c->failed_next = (c->failed_next + 1) % CLIENT_FAILED_MAX;
    c->failed_count += c->failed_count < CLIENT_FAILED_MAX ? 1 : 0;
}

static bool has_failed(const struct nfc_client *c, uint32_t op_id)
{
    for (unsigned i = 0; i < c->failed_count; i++) {
        if (c->failed[i] == op_id) {
            return true;
        }
    }
    return false;
}

/* ---- a lost connection ---- */

void nfc_client_break(struct nfc_client *c, const struct err *err)
{
    {
        SCOPED_LOCK(&c->lock);
        if (!c->broken) {
            c->broken = true;
            c->broken_err = *err;
            c->broken_err.code = VIX_E_HOST_TCP_CONN_LOST;
        }
    }
    c->stream->ops->shutdown(c->stream);
}

static struct nfc_request *any_request(struct nfc_client *c)
{
    SCOPED_LOCK(&c->lock);

    for (unsigned i = 0; i < CLIENT_BUCKETS; i++) {
        if (c->requests[i] != NULL) {
            return c->requests[i];
        }
    }
    return NULL;
}

void nfc_client_fail_all(struct nfc_client *c)
{
    for (struct nfc_request *r = any_request(c); r != NULL; r = any_request(c)) {
        r->connection_lost = true;
        end_request(c, r, VIX_E_HOST_TCP_CONN_LOST, &c->broken_err);
    }
    SCOPED_LOCK(&c->lock);
    while (c->calls != NULL) {
        c->calls->err = c->broken_err;
        end_call(c, c->calls, VIX_E_HOST_TCP_CONN_LOST);
    }
}

/* ---- ERROR ---- */

static VixError read_text(struct nfc_client *c, uint32_t op_id, uint32_t len, uint32_t max, char **ret_text,
                          struct err *err)
{
    CLEANUP_FREE char *text = NULL;

    if (len > max) {
        return nfc_client_not_allowed(c, op_id, "an answer is too long", err);
    }
    text = alloc_zero((size_t)len + 1, err);
    if (text == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = nfc_input_read(&c->in, text, len, err);
    if (code == VIX_OK) {
        *ret_text = TAKE_PTR(text);
    }
    return code;
}

static VixError take_error(struct nfc_client *c, uint32_t op_id, const uint8_t *payload, struct err *err)
{
    struct nfc_request *r = find_request(c, op_id);
    struct nfc_call *call = r == NULL ? find_call(c, op_id) : NULL;
    struct nfc_refusal refusal = {.peer = c->stream->peer, .own = c->banner.extension, .io = r != NULL};
    CLEANUP_FREE char *text = NULL;
    struct err why;

    nfc_error_get(payload, &refusal.error);
    if (r == NULL && call == NULL) {
        return nfc_client_not_allowed(c, op_id, "an error for a request that is not under way", err);
    }
    VixError code = read_text(c, op_id, refusal.error.text_len, NFC_TEXT_MAX, &text, err);
    if (code != VIX_OK) {
        return code;
    }
    refusal.text = text;
    refusal.opens = call != NULL && call->opens;
    refusal.writes = r != NULL ? r->write : call->writes;
    err_init(&why);
    code = nfc_refusal_code(&refusal, &why);
    nfc_client_note_failed(c, op_id);
    if (r != NULL) {
        r->host_error = code == VIX_E_OUT_OF_MEMORY ? NFC_ERROR_NO_MEMORY : refusal.error.code;
        end_request(c, r, code, &why);
        return VIX_OK;
    }
    SCOPED_LOCK(&c->lock);
    call->err = why;
    end_call(c, call, code);
    return VIX_OK;
}

/* ---- reads and writes ---- */

static VixError check_fragment(const struct nfc_client *c, const struct nfc_request *r, const struct nfc_io *io,
                               struct err *err)
{
    const uint32_t extra_max =
        io->compression == NFC_COMPRESS_NONE ? io->part_len : c->buffer_size + CLIENT_EXTRA_SURPLUS;

    if (io->direction != NFC_IO_READ || io->off != r->off || io->total != r->len) {
        return nfc_client_not_allowed(c, r->op_id, "an answer to another request", err);
    }
    if (io->part_len == 0 || io->part_off > r->len || io->part_len > r->len - io->part_off) {
        return nfc_client_not_allowed(c, r->op_id, "a part of the answer is empty, or beyond what was asked for", err);
    }
    if (io->extra_len > extra_max || (io->compression == NFC_COMPRESS_NONE && io->extra_len != io->part_len)) {
        return nfc_client_not_allowed(c, r->op_id, "a part of the answer has a wrong length on the wire", err);
    }
    return VIX_OK;
}

static VixError read_packed(struct nfc_client *c, const struct nfc_io *io, uint8_t *to, struct err *err)
{
    if (c->packed == NULL) {
        c->packed = alloc_aligned(64, (size_t)c->buffer_size + CLIENT_EXTRA_SURPLUS, err);
        if (c->packed == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    if (c->coder == NULL && nfc_coder_new(&c->coder, err) != VIX_OK) {
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError code = nfc_input_read(&c->in, c->packed, io->extra_len, err);
    if (code == VIX_OK && !nfc_fragment_expand(c->coder, io->compression, c->packed, io->extra_len, to, io->part_len)) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST,
                       "%s: the host breaks the protocol of NFC: %u bytes of compression %u do not expand to %u bytes",
                       c->stream->peer, io->extra_len, io->compression, io->part_len);
    }
    return code;
}

static VixError fail_io(struct nfc_client *c, struct nfc_request *r, uint64_t status)
{
    struct err why;

    (void)err_set(&why, VIX_E_DISK_NOIO, "%s: the host fails to %s %u bytes at byte %llu: status %llu", c->stream->peer,
                  r->write ? "write" : "read", r->len, (unsigned long long)r->off, (unsigned long long)status);
    nfc_client_note_failed(c, r->op_id);
    r->host_error = NFC_ERROR_OTHER;
    end_request(c, r, VIX_E_DISK_NOIO, &why);
    return VIX_OK;
}

static VixError take_read(struct nfc_client *c, struct nfc_request *r, const struct nfc_io *io, struct err *err)
{
    VixError code = check_fragment(c, r, io, err);

    if (code != VIX_OK) {
        return code;
    }
    if (!nfc_parts_add(r, io->part_off, io->part_len)) {
        return nfc_client_not_allowed(c, r->op_id, "parts of the answer overlap, or are too many", err);
    }
    uint8_t *to = (uint8_t *)r->buf + io->part_off;
    code = io->compression == NFC_COMPRESS_NONE ? nfc_input_read(&c->in, to, io->part_len, err)
                                                : read_packed(c, io, to, err);
    if (code == VIX_OK && r->arrived == r->len) {
        struct err none;
        err_init(&none);
        end_request(c, r, VIX_OK, &none);
    }
    return code;
}

static VixError take_written(struct nfc_client *c, struct nfc_request *r, const struct nfc_io *io, struct err *err)
{
    struct err none;

    if (io->direction != NFC_IO_WRITE) {
        return nfc_client_not_allowed(c, r->op_id, "data for a request that writes", err);
    }
    err_init(&none);
    end_request(c, r, VIX_OK, &none);
    return VIX_OK;
}

/** What follows an answer of a read that has failed is dropped. */
static VixError drop_data(struct nfc_client *c, uint32_t op_id, const struct nfc_io *io, struct err *err)
{
    if (io->direction != NFC_IO_READ) {
        return VIX_OK;
    }
    if (io->extra_len > NFC_BUFFER_MAX + CLIENT_EXTRA_SURPLUS) {
        return nfc_client_not_allowed(c, op_id, "an answer is too long", err);
    }
    return nfc_input_drop(&c->in, io->extra_len, err);
}

static VixError take_io(struct nfc_client *c, const struct nfc_header *header, const uint8_t *payload, struct err *err)
{
    struct nfc_request *r = find_request(c, header->op_id);
    struct nfc_io io;

    nfc_io_get(payload, &io);
    if (header->payload_len < NFC_IO_LEN) {
        return nfc_client_not_allowed(c, header->op_id, "the payload of an answer is too short", err);
    }
    if (r == NULL) {
        return has_failed(c, header->op_id)
                   ? drop_data(c, header->op_id, &io, err)
                   : nfc_client_not_allowed(c, header->op_id, "an answer that was not asked for", err);
    }
    if (io.handle != 0) {
        VixError code = drop_data(c, header->op_id, &io, err);
        return code == VIX_OK ? fail_io(c, r, io.handle) : code;
    }
    return r->write ? take_written(c, r, &io, err) : take_read(c, r, &io, err);
}

/* ---- other replies ---- */

/** What follows the payload of a reply. false: too much. */
static bool extra_of_reply(uint32_t type, const uint8_t *payload, uint32_t *ret_len)
{
    uint64_t chunks;
    uint32_t count;

    *ret_len = 0;
    switch (type) {
    case NFC_AIO_DDB_GET:
        *ret_len = nfc_ddb_reply_get(payload);
        return *ret_len <= NFC_VALUE_MAX;
    case NFC_AIO_QUERY_BLOCKS:
        chunks = nfc_query_reply_get(payload);
        *ret_len = chunks <= NFC_QUERY_CHUNKS_MAX ? (uint32_t)nfc_bitmap_len((uint32_t)chunks) : 0;
        return chunks <= NFC_QUERY_CHUNKS_MAX;
    case NFC_AIO_X_DDB_ENUM:
        nfc_x_keys_get(payload, &count, ret_len);
        return *ret_len <= NFC_KEYS_MAX;
    default:
        return true;
    }
}

static VixError take_reply(struct nfc_client *c, const struct nfc_header *header, const uint8_t *payload,
                           struct err *err)
{
    struct nfc_call *call = find_call(c, header->op_id);
    uint32_t len;

    if (!extra_of_reply(header->type, payload, &len)) {
        return nfc_client_not_allowed(c, header->op_id, "an answer is too long", err);
    }
    if (call == NULL && has_failed(c, header->op_id)) {
        return nfc_input_drop(&c->in, len, err);
    }
    if (call == NULL || call->type != header->type) {
        return nfc_client_not_allowed(c, header->op_id, "an answer that was not asked for", err);
    }
    char *extra = NULL;
    VixError code = len > 0 ? read_text(c, header->op_id, len, len, &extra, err) : VIX_OK;
    if (code != VIX_OK) {
        return code;
    }
    SCOPED_LOCK(&c->lock);
    memcpy(call->reply, payload, NFC_PAYLOAD_KEPT);
    call->reply_extra = extra;
    call->reply_extra_len = len;
    end_call(c, call, VIX_OK);
    return VIX_OK;
}

/* ---- frames ---- */

/** After a time-out: how long to wait on; 0: an answer is overdue, *ret_limit_ms was allowed. What puts bytes on the
 * host's disks may take as long as writing. */
static unsigned wait_on_ms(struct nfc_client *c, uint64_t silent_since, unsigned *ret_limit_ms)
{
    SCOPED_LOCK(&c->lock);
    const bool writes = c->writes_in_flight > 0;
    const unsigned limit_ms = writes ? c->write_timeout_ms : c->read_timeout_ms;
    const uint64_t limit = limit_ms * NS_PER_MS;
    const uint64_t waited = nfc_client_now() - max_u64(c->waiting_ns, silent_since);

    *ret_limit_ms = limit_ms;
    if (c->in_flight == 0 || c->senders > 0 || limit_ms == 0) {
        return c->wait_ms;
    }
    return waited < limit ? (unsigned)div_up(limit - waited, NS_PER_MS) : 0;
}

/** Ends a silence that has lasted for long enough. Returns how long to wait on: more_ms, or until that moment. */
static unsigned keep_alive(struct nfc_client *c, uint64_t silent_since, unsigned more_ms)
{
    const uint64_t now = nfc_client_now();
    const uint64_t due = silent_since + c->keep_alive_ms * NS_PER_MS;

    if (c->keep_alive_ms > 0 && now < due) {
        return (unsigned)min_u64(more_ms, div_up(due - now, NS_PER_MS));
    }
    if (c->keep_alive_ms > 0) {
        nfc_client_beat(c);
    }
    return more_ms;
}

/** Waits for a frame. Where no answer is due, that is for as long as it takes. */
static VixError await_frame(struct nfc_client *c, struct err *err)
{
    bool ended = false;
    uint64_t silent_since = 0;
    unsigned limit_ms = 0;
    VixError code;

    if (c->receiving && c->wait_ms != c->read_timeout_ms) {
        c->stream->read_timeout_ms = c->wait_ms;
    }
    for (;;) {
        code = nfc_input_wait(&c->in, &ended, err);
        if (code == VIX_OK || !c->receiving || err->sys_errno != ETIMEDOUT) {
            break;
        }
        if (silent_since == 0) {
            silent_since = nfc_client_now() - c->wait_ms * NS_PER_MS;
        }
        unsigned more_ms = wait_on_ms(c, silent_since, &limit_ms);
        if (more_ms == 0) {
            return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: time-out: the host has answered no request within %u ms",
                           c->stream->peer, limit_ms);
        }
        c->stream->read_timeout_ms = keep_alive(c, silent_since, more_ms);
        err_init(err);
    }
    if (c->receiving && c->stream->read_timeout_ms != c->read_timeout_ms) {
        c->stream->read_timeout_ms = c->read_timeout_ms;
    }
    if (code == VIX_OK && ended) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the host has ended the connection", c->stream->peer);
    }
    return code;
}

static VixError no_frame(const struct nfc_client *c, const uint8_t bytes[NFC_HEADER_LEN], struct err *err)
{
    if (get_le32(bytes) == NFC_CLASSIC_SESSION_COMPLETE) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the host has ended the session", c->stream->peer);
    }
    return err_set(err, VIX_E_HOST_TCP_CONN_LOST,
                   "%s: the host breaks the protocol of NFC: a frame begins with 0x%08x instead of 0x%08x",
                   c->stream->peer, get_le32(bytes), NFC_AIO_MAGIC);
}

VixError nfc_client_receive(struct nfc_client *c, struct err *err)
{
    uint8_t bytes[NFC_HEADER_LEN];
    uint8_t payload[NFC_PAYLOAD_KEPT] = {0};
    struct nfc_header header;
    VixError code = await_frame(c, err);

    if (code == VIX_OK) {
        code = nfc_input_read(&c->in, bytes, sizeof bytes, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (!nfc_header_get(bytes, &header)) {
        return no_frame(c, bytes, err);
    }
    if (header.payload_len > NFC_PAYLOAD_MAX) {
        return nfc_client_not_allowed(c, header.op_id, "the payload of an answer is too long", err);
    }
    uint32_t kept = (uint32_t)min_u64(header.payload_len, NFC_PAYLOAD_KEPT);
    code = nfc_input_read(&c->in, payload, kept, err);
    if (code == VIX_OK) {
        code = nfc_input_drop(&c->in, header.payload_len - kept, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    if (header.type == NFC_AIO_IO) {
        return take_io(c, &header, payload, err);
    }
    return header.type == NFC_AIO_ERROR ? take_error(c, header.op_id, payload, err)
                                        : take_reply(c, &header, payload, err);
}

/** Whether all of the next answer has come: taking it will not wait for the host. */
static bool answer_is_here(const struct nfc_client *c)
{
    const uint8_t *bytes;
    size_t len = nfc_input_staged(&c->in, &bytes);
    struct nfc_header header;
    struct nfc_io io;

    if (len < NFC_HEADER_LEN + NFC_IO_LEN || !nfc_header_get(bytes, &header) || header.type != NFC_AIO_IO) {
        return false;
    }
    nfc_io_get(bytes + NFC_HEADER_LEN, &io);
    return header.payload_len == NFC_IO_LEN && io.extra_len <= len - NFC_HEADER_LEN - NFC_IO_LEN;
}

static void pause_if_told(struct nfc_client *c)
{
    if (c->told) {
        c->told = false;
        nfc_client_pause(c);
    }
}

void *nfc_client_run(void *client)
{
    struct nfc_client *c = client;
    struct err err;

    err_init(&err);
    while (nfc_client_receive(c, &err) == VIX_OK) {
        if (c->told && !answer_is_here(c)) {
            pause_if_told(c);
        }
    }
    nfc_client_break(c, &err);
    nfc_client_fail_all(c);
    pause_if_told(c);
    return NULL;
}
