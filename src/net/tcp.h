/* SPDX-License-Identifier: BSD-3-Clause */
/* tcp.h - TCP connections, both ends. Sockets are close-on-exec, TCP_NODELAY, SO_KEEPALIVE (after 60 s); no signal
 * is ever raised (MSG_NOSIGNAL). Any thread. */
#ifndef VIXDISK_NET_TCP_H
#define VIXDISK_NET_TCP_H

#include <stdbool.h>
#include <stdint.h>

#include "net/stream.h"

/** Connects to host (name or address, IPv4 and IPv6, each address in turn) within timeout_ms in all (0: as long as the
 * system tries). Codes:
 * VIX_E_HOST_SERVER_NOT_FOUND (name), VIX_E_HOST_NETWORK_CONN_REFUSED, VIX_E_HOST_TCP_SOCKET_ERROR (time-out,
 * unreachable, anything else). */
VixError tcp_connect(const char *host, uint16_t port, unsigned timeout_ms, struct stream **ret_stream, struct err *err);

/** Listens on an address ("127.0.0.1", "::", NULL: all) and a port (0: a free one, told in *ret_port). The descriptor
 * is close-on-exec and waits in accept; the caller closes it. VIX_E_HOST_SOCKET_CREATION_ERROR. */
VixError tcp_listen(const char *address, uint16_t port, int *ret_fd, uint16_t *ret_port, struct err *err);

/** Makes a stream of an accepted socket, which is the stream's then, also on failure. @peer for messages. */
VixError tcp_from_fd(int fd, const char *peer, struct stream **ret_stream, struct err *err);

/** Whether bytes are there to be read now without waiting (also: the peer has ended). TCP only. */
bool tcp_readable(struct stream *s);

#endif
