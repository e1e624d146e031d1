/* SPDX-License-Identifier: BSD-3-Clause */
/* What is asked for and is not in the staging buffer is read straight to where it is wanted; the same call fills the
 * staging buffer with what follows. */
#include "nfc/input.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "net/tcp.h"
#include "nfc/wire.h"

/* Behind data of that length more of it is likely: only the head of the next frame is read ahead, so that its data
 * goes straight to its place too. */
#define LONG_DATA (32u << 10)
#define HEAD_LEN (NFC_HEADER_LEN + NFC_IO_LEN)

VixError nfc_input_init(struct nfc_input *in, struct stream *stream, struct stream *tcp, size_t size, struct err *err)
{
    in->size = size;
    in->stream = stream;
    in->tcp = strcmp(tcp->ops->kind, "tcp") == 0 ? tcp : NULL;
    in->pos = 0;
    in->end = 0;
    in->staging = alloc_aligned(64, size, err);
    return in->staging != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

void nfc_input_free(struct nfc_input *in)
{
    free(in->staging);
    in->staging = NULL;
}

static size_t take_staged(struct nfc_input *in, uint8_t *buf, size_t len)
{
    size_t n = (size_t)min_u64(len, in->end - in->pos);

    if (n > 0) {
        memcpy(buf, in->staging + in->pos, n);
        in->pos += n;
    }
    return n;
}

/* At least one byte into buf; the staging buffer is empty. */
static VixError refill(struct nfc_input *in, uint8_t *buf, size_t len, size_t *ret_len, struct err *err)
{
    struct iovec iov[2] = {{buf, len}, {in->staging, len < LONG_DATA ? in->size : HEAD_LEN}};
    size_t n;
    VixError code = in->stream->ops->readv(in->stream, iov, 2, &n, err);

    if (code != VIX_OK) {
        return code;
    }
    in->pos = 0;
    in->end = n > len ? n - len : 0;
    *ret_len = n > len ? len : n;
    return VIX_OK;
}

VixError nfc_input_start(struct nfc_input *in, void *buf, size_t len, bool *ret_ended, struct err *err)
{
    uint8_t *to = buf;
    size_t done = take_staged(in, to, len);

    while (done < len) {
        size_t n;
        VixError code = refill(in, to + done, len - done, &n, err);
        if (code != VIX_OK) {
            return code;
        }
        if (n == 0 && done == 0) {
            *ret_ended = true;
            return VIX_OK;
        }
        if (n == 0) {
            return err_set(err, VIX_E_HOST_TCP_CONN_LOST,
                           "%s: the peer has ended the connection %zu bytes into a part "
                           "of %zu of a message",
                           in->stream->peer, done, len);
        }
        done += n;
    }
    *ret_ended = false;
    return VIX_OK;
}

VixError nfc_input_wait(struct nfc_input *in, bool *ret_ended, struct err *err)
{
    struct iovec iov = {in->staging, in->size};
    size_t n = 0;

    if (in->pos == in->end) {
        VixError code = in->stream->ops->readv(in->stream, &iov, 1, &n, err);
        if (code != VIX_OK) {
            return code;
        }
        in->pos = 0;
        in->end = n;
    }
    *ret_ended = in->pos == in->end;
    return VIX_OK;
}

VixError nfc_input_read(struct nfc_input *in, void *buf, size_t len, struct err *err)
{
    bool ended = false;
    VixError code = len > 0 ? nfc_input_start(in, buf, len, &ended, err) : VIX_OK;

    if (code == VIX_OK && ended) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the peer has ended the connection within a message",
                       in->stream->peer);
    }
    return code;
}

VixError nfc_input_drop(struct nfc_input *in, uint64_t len, struct err *err)
{
    uint8_t waste[4096];

    while (len > 0) {
        size_t n = (size_t)min_u64(len, sizeof waste);
        VixError code = nfc_input_read(in, waste, n, err);
        if (code != VIX_OK) {
            return code;
        }
        len -= n;
    }
    return VIX_OK;
}

size_t nfc_input_staged(const struct nfc_input *in, const uint8_t **ret_bytes)
{
    *ret_bytes = in->staging + in->pos;
    return in->end - in->pos;
}

bool nfc_input_waiting(const struct nfc_input *in)
{
    return in->end > in->pos || (in->tcp != NULL && tcp_readable(in->tcp));
}
