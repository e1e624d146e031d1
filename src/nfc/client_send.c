/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads and writes on their way to the host, on the threads that submit them. A frame goes out as one piece under
 * send_lock; fragments of several writes may take turns. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "nfc/client_int.h"

#define HEAD_LEN (NFC_HEADER_LEN + NFC_IO_LEN)

static struct iovec piece(const void *bytes, size_t len)
{
    return (struct iovec){(void *)(uintptr_t)bytes, len}; /* writev only reads */
}

VixError nfc_client_send(struct nfc_client *c, const struct iovec *iov, int count, struct err *err)
{
    SCOPED_LOCK(&c->send_lock);
    return c->stream->ops->writev(c->stream, iov, count, err);
}

static void put_head(const struct nfc_client *c, uint32_t op_id, const struct nfc_request *r, uint32_t off,
                     uint32_t len, uint8_t head[HEAD_LEN])
{
    const struct nfc_header header = {NFC_AIO_IO, NFC_IO_LEN, op_id};
    const struct nfc_io io = {
        .handle = c->handle,
        .direction = r->write ? NFC_IO_WRITE : NFC_IO_READ,
        .compression = r->write || r == &c->beat ? NFC_COMPRESS_NONE : c->compression,
        .off = r->off,
        .total = r->len,
        .part_off = off,
        .part_len = len,
        .extra_len = len,
    };

    nfc_header_put(&header, head);
    nfc_io_put(&io, head + NFC_HEADER_LEN);
}

/* ---- writes ---- */

static void packer_free(struct nfc_packer *p)
{
    nfc_coder_free(p->coder);
    free(p->packed);
    free(p);
}

void nfc_packers_free(struct nfc_packer *packer)
{
    while (packer != NULL) {
        struct nfc_packer *p = packer;
        packer = p->next;
        packer_free(p);
    }
}

static struct nfc_packer *take_packer(struct nfc_client *c)
{
    struct nfc_packer *p;

    {
        SCOPED_LOCK(&c->lock);
        p = c->packers;
        if (p != NULL) {
            c->packers = p->next;
            return p;
        }
    }
    p = alloc_zero(sizeof *p, NULL);
    if (p == NULL) {
        return NULL;
    }
    p->packed = alloc_aligned(64, nfc_fragment_bound(c->buffer_size), NULL);
    if (p->packed == NULL || nfc_coder_new(&p->coder, NULL) != VIX_OK) {
        packer_free(p);
        return NULL;
    }
    return p;
}

static void give_packer(struct nfc_client *c, struct nfc_packer *p)
{
    SCOPED_LOCK(&c->lock);
    p->next = c->packers;
    c->packers = p;
}

/** As many fragments as one call takes. *off is moved. */
static VixError send_plain(struct nfc_client *c, const struct nfc_request *r, uint32_t *off, struct err *err)
{
    uint8_t heads[CLIENT_BATCH][HEAD_LEN];
    struct iovec iov[2 * CLIENT_BATCH];
    uint32_t begin = *off;
    int count = 0;

    do {
        uint32_t len = (uint32_t)min_u64(r->len - *off, c->buffer_size);
        put_head(c, r->op_id, r, *off, len, heads[count / 2]);
        iov[count] = piece(heads[count / 2], HEAD_LEN);
        iov[count + 1] = piece((const uint8_t *)r->buf + *off, len);
        count += 2;
        *off += len;
    } while (*off < r->len && count < (int)(2 * CLIENT_BATCH) && *off - begin < CLIENT_BATCH_BYTES);
    return nfc_client_send(c, iov, count, err);
}

static VixError send_packed(struct nfc_client *c, const struct nfc_request *r, struct nfc_packer *p, uint32_t *off,
                            struct err *err)
{
    const uint8_t *data = (const uint8_t *)r->buf + *off;
    uint32_t len = (uint32_t)min_u64(r->len - *off, c->buffer_size);
    size_t made = nfc_fragment_compress(p->coder, c->compression, data, len, p->packed);
    uint8_t head[HEAD_LEN];
    struct nfc_io io;

    put_head(c, r->op_id, r, *off, len, head);
    if (made > 0) {
        nfc_io_get(head + NFC_HEADER_LEN, &io);
        io.compression = c->compression;
        io.extra_len = (uint32_t)made;
        nfc_io_put(&io, head + NFC_HEADER_LEN);
    }
    const struct iovec iov[2] = {piece(head, HEAD_LEN), made > 0 ? piece(p->packed, made) : piece(data, len)};
    *off += len;
    return nfc_client_send(c, iov, 2, err);
}

/** All fragments, in order. Without memory to compress they go as they are. */
static VixError send_write(struct nfc_client *c, const struct nfc_request *r, struct err *err)
{
    struct nfc_packer *p = c->compression != NFC_COMPRESS_NONE ? take_packer(c) : NULL;
    uint32_t off = 0;
    VixError code = VIX_OK;

    while (code == VIX_OK && off < r->len) {
        code = p != NULL ? send_packed(c, r, p, &off, err) : send_plain(c, r, &off, err);
    }
    if (p != NULL) {
        give_packer(c, p);
    }
    return code;
}

/** The buffer is the caller's again; a write that has ended meanwhile is told of here. */
static void end_sending(struct nfc_client *c, struct nfc_request *r)
{
    CLEANUP_FREE struct err *failure = NULL;
    struct err none;
    VixError result;

    {
        SCOPED_LOCK(&c->lock);
        c->senders--;
        c->waiting_ns = nfc_client_now();
        r->sending = false;
        if (!r->ended) {
            return;
        }
        failure = r->failure;
        result = r->result;
    }
    err_init(&none);
    none.code = result;
    r->done(r, result, failure != NULL ? failure : &none);
    nfc_client_pause(c);
}

/* ---- submit ---- */

static void prepare(struct nfc_request *r)
{
    r->arrived = 0;
    r->seen = NULL;
    r->sending = r->write;
    r->ended = false;
    r->failure = NULL;
    r->connection_lost = false;
    r->host_error = 0;
}

/** With the lock. */
static void add_request(struct nfc_client *c, struct nfc_request *r)
{
    r->op_id = c->next_op++;
    r->next = c->requests[r->op_id % CLIENT_BUCKETS];
    c->requests[r->op_id % CLIENT_BUCKETS] = r;
}

/** Makes them known to the receiver; from here on a read may end, and be gone, at any moment. Their numbers follow
 * each other. */
static VixError enter(struct nfc_client *c, struct nfc_request *const *requests, unsigned count, uint32_t *ret_op_id,
                      struct err *err)
{
    SCOPED_LOCK(&c->lock);
    if (c->broken) {
        if (err != NULL) {
            *err = c->broken_err;
        }
        return VIX_E_HOST_TCP_CONN_LOST;
    }
    *ret_op_id = c->next_op;
    for (unsigned i = 0; i < count; i++) {
        struct nfc_request *r = requests[i];
        add_request(c, r);
        nfc_client_in_flight(c, r->write);
        c->senders += r->write ? 1 : 0;
    }
    return VIX_OK;
}

VixError nfc_client_submit_reads(struct nfc_client *c, struct nfc_request *const *reads, unsigned count,
                                 struct err *err)
{
    uint8_t heads[NFC_SUBMIT_MAX][HEAD_LEN];
    const struct iovec iov = piece(heads, count * sizeof heads[0]);
    struct err failure;
    uint32_t op_id;

    for (unsigned i = 0; i < count; i++) {
        prepare(reads[i]);
        put_head(c, 0, reads[i], 0, reads[i]->len, heads[i]);
    }
    if (enter(c, reads, count, &op_id, err) != VIX_OK) {
        return VIX_E_HOST_TCP_CONN_LOST;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct nfc_header header = {NFC_AIO_IO, NFC_IO_LEN, op_id + i};
        nfc_header_put(&header, heads[i]);
    }
    err_init(&failure);
    if (nfc_client_send(c, &iov, 1, &failure) != VIX_OK) {
        nfc_client_break(c, &failure); /* the receiver tells */
    }
    return VIX_OK;
}

VixError nfc_client_submit(struct nfc_client *c, struct nfc_request *r, struct err *err)
{
    struct err failure;
    uint32_t op_id;

    if (!r->write) {
        return nfc_client_submit_reads(c, &r, 1, err);
    }
    prepare(r);
    if (enter(c, &r, 1, &op_id, err) != VIX_OK) {
        return VIX_E_HOST_TCP_CONN_LOST;
    }
    err_init(&failure);
    if (send_write(c, r, &failure) != VIX_OK) {
        nfc_client_break(c, &failure); /* the receiver tells */
    }
    end_sending(c, r);
    return VIX_OK;
}

/* ---- keeping the connection alive ---- */

/** Makes it known, if nothing is under way. With send_lock: nothing can be sent before it. */
static bool enter_beat(struct nfc_client *c)
{
    struct nfc_request *r = &c->beat;
    SCOPED_LOCK(&c->lock);

    if (c->broken || c->beating || c->in_flight > 0 || c->senders > 0) {
        return false;
    }
    prepare(r);
    add_request(c, r);
    c->beating = true;
    return true;
}

void nfc_client_beat(struct nfc_client *c)
{
    uint8_t head[HEAD_LEN];
    const struct iovec iov = piece(head, sizeof head);
    struct err failure;
    VixError code = VIX_OK;

    err_init(&failure);
    if (pthread_mutex_trylock(&c->send_lock) != 0) {
        return; /* somebody sends, and the host may wait for its answers to be taken meanwhile */
    }
    if (enter_beat(c)) { /* the host has answered all that was sent: there is room for this at once */
        put_head(c, c->beat.op_id, &c->beat, 0, c->beat.len, head);
        code = c->stream->ops->writev(c->stream, &iov, 1, &failure);
    }
    (void)pthread_mutex_unlock(&c->send_lock);
    if (code != VIX_OK) {
        nfc_client_break(c, &failure);
    }
}
