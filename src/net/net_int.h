/* SPDX-License-Identifier: BSD-3-Clause */
/* net_int.h - what the files of src/net share. */
#ifndef VIXDISK_NET_NET_INT_H
#define VIXDISK_NET_NET_INT_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/stream.h"

#define NET_NS_PER_MS UINT64_C(1000000)

/** CLOCK_MONOTONIC. */
uint64_t net_now_ns(void);

/** Fills the common part of a stream; the peer's name is copied. */
VixError stream_init(struct stream *s, const struct stream_ops *ops, const char *peer, struct err *err);

/** Frees the common part. */
void stream_destroy(struct stream *s);

/** Gives time-outs and deadline of one stream to another; writes only what differs, since a reader and a writer may
 * both do it. */
void stream_copy_limits(struct stream *to, const struct stream *from);

/** Puts len bytes back in front of what a TCP stream reads next. VIX_E_INVALID_ARG for a stream of another kind. */
VixError tcp_unread(struct stream *s, const void *data, size_t len, struct err *err);

/** Finds the addresses of a host within the deadline (0: none), whatever the system's resolver does meanwhile; freed by
 * freeaddrinfo. @peer for messages. VIX_E_HOST_SERVER_NOT_FOUND, VIX_E_HOST_TCP_SOCKET_ERROR (time-out). */
VixError net_resolve(const char *host, uint16_t port, uint64_t deadline_ns, const char *peer,
                     struct addrinfo **ret_addresses, struct err *err);

#endif
