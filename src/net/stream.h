/* SPDX-License-Identifier: BSD-3-Clause */
/* stream.h - a connection as a stream of bytes: TCP, or TLS over it, behind one table of functions. Knows no protocol.
 *
 * One thread may read while another writes; two readers, or two writers, need a lock of their own. shutdown may be
 * called at any moment by any thread: it is how a thread that waits in read or write is woken. */
#ifndef VIXDISK_NET_STREAM_H
#define VIXDISK_NET_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

struct stream;

struct stream_ops {
    const char *kind; /* "tcp", "tls" */
    /** Fills the pieces in order with what there is, at least one byte; *ret_len 0: the peer has ended its side. */
    VixError (*readv)(struct stream *s, const struct iovec *iov, int iov_count, size_t *ret_len, struct err *err);
    /** Writes all pieces, waiting as needed. */
    VixError (*writev)(struct stream *s, const struct iovec *iov, int iov_count, struct err *err);
    /** Makes reads and writes, running ones too, fail or end soon. Safe against everything but close. */
    void (*shutdown)(struct stream *s);
    /** Frees. No other thread may be in a call. TLS says good-bye if it can do so without waiting. */
    void (*close)(struct stream *s);
};

/** An open stream; the maker's own members follow. */
struct stream {
    const struct stream_ops *ops;
    char *peer; /* "host:port", for messages */
    /* Limits may be changed at any moment; a wait that runs keeps those it began with. */
    _Atomic unsigned read_timeout_ms;  /* longest wait for the next byte to arrive; 0: none */
    _Atomic unsigned write_timeout_ms; /* longest wait for the peer to take a byte; 0: none */
    _Atomic uint64_t deadline_ns;      /* CLOCK_MONOTONIC moment at which every wait ends, for handshakes; 0: none */
    _Atomic unsigned deadline_ms;      /* how long that was when it was set, for messages */
    _Atomic uint64_t bytes_in;         /* of this layer */
    _Atomic uint64_t bytes_out;
};

/* Failures: VIX_E_HOST_TCP_CONN_LOST for a connection that is reset, ended or shut down, and for a time-out: the
 * sentence says which, and after how long; a time-out also has sys_errno ETIMEDOUT, and what has not come yet can still
 * be waited for. Sentences begin with the peer. */

/** Reads exactly len bytes; the peer's ending before that is VIX_E_HOST_TCP_CONN_LOST. */
VixError stream_read(struct stream *s, void *buf, size_t len, struct err *err);

/** Writes len bytes. */
VixError stream_write(struct stream *s, const void *buf, size_t len, struct err *err);

/** Reads up to and with the next LF, byte by byte so that nothing behind the line is taken; *ret_line without CR LF,
 * NUL terminated. A longer line than size - 1 is VIX_E_HOST_NETBLKDEV_HANDSHAKE. */
VixError stream_read_line(struct stream *s, char *line, size_t size, struct err *err);

/** Sets the deadline to so many milliseconds from now; 0: none. */
void stream_set_deadline(struct stream *s, unsigned ms);

/** Closes and frees; NULL is harmless. */
void stream_close(struct stream *s);

#endif
