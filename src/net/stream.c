/* SPDX-License-Identifier: BSD-3-Clause */
/* stream.c - what every kind of stream has in common: exact reads, lines, deadlines. */
#include "net/stream.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "net/net_int.h"

uint64_t net_now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

VixError stream_init(struct stream *s, const struct stream_ops *ops, const char *peer, struct err *err)
{
    s->ops = ops;
    s->peer = alloc_text(peer, err);
    return s->peer != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

void stream_destroy(struct stream *s)
{
    free(s->peer);
    s->peer = NULL;
}

void stream_copy_limits(struct stream *to, const struct stream *from)
{
    if (to->read_timeout_ms != from->read_timeout_ms) {
        to->read_timeout_ms = from->read_timeout_ms;
    }
    if (to->write_timeout_ms != from->write_timeout_ms) {
        to->write_timeout_ms = from->write_timeout_ms;
    }
    if (to->deadline_ns != from->deadline_ns) {
        to->deadline_ms = from->deadline_ms;
        to->deadline_ns = from->deadline_ns;
    }
}

VixError stream_read(struct stream *s, void *buf, size_t len, struct err *err)
{
    size_t done = 0;

    while (done < len) {
        struct iovec piece = {.iov_base = (char *)buf + done, .iov_len = len - done};
        size_t got = 0;
        VixError result = s->ops->readv(s, &piece, 1, &got, err);
        if (result != VIX_OK) {
            return result;
        }
        if (got == 0) {
            return err_set(err, VIX_E_HOST_TCP_CONN_LOST,
                           "%s: the peer has ended the connection: %zu of %zu bytes came", s->peer, done, len);
        }
        done += got;
    }
    return VIX_OK;
}

VixError stream_write(struct stream *s, const void *buf, size_t len, struct err *err)
{
    struct iovec piece = {.iov_len = len};

    memcpy(&piece.iov_base, &buf, sizeof buf); /* writev only reads from it */
    return len > 0 ? s->ops->writev(s, &piece, 1, err) : VIX_OK;
}

VixError stream_read_line(struct stream *s, char *line, size_t size, struct err *err)
{
    size_t len = 0;

    for (;;) {
        char c = 0;
        VixError result = stream_read(s, &c, 1, err);
        if (result != VIX_OK) {
            return result;
        }
        if (c == '\n') {
            break;
        }
        if (c == '\0') {
            return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: byte %zu of a line of text is zero", s->peer, len);
        }
        if (len + 1 >= size) {
            return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: a line has more than the allowed %zu bytes",
                           s->peer, size - 1);
        }
        line[len++] = c;
    }
    while (len > 0 && line[len - 1] == '\r') {
        len--;
    }
    line[len] = '\0';
    return VIX_OK;
}

void stream_set_deadline(struct stream *s, unsigned ms)
{
    s->deadline_ms = ms;
    s->deadline_ns = ms > 0 ? net_now_ns() + ms * NET_NS_PER_MS : 0;
}

void stream_close(struct stream *s)
{
    if (s != NULL) {
        s->ops->close(s);
    }
}
