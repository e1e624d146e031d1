/* SPDX-License-Identifier: BSD-3-Clause */
/* http_face.h - the HTTPS port: takes SOAP calls in, gives answers out. libmicrohttpd does HTTP, GnuTLS below it TLS; a
 * thread for each connection, up to the limits. */
#ifndef VIXDISKD_HTTP_FACE_H
#define VIXDISKD_HTTP_FACE_H

#include "daemon/host.h"

struct http_face;

/** Serves the listening socket, which is the face's then, also on failure. @cert_pem, @key_pem must live as long. */
VixError http_face_start(struct host *host, int listen_fd, const char *cert_pem, const char *key_pem,
                         struct http_face **ret_face, struct err *err);

/** To be called about once in a second: ends connections that take too long over a request. */
void http_face_tick(struct http_face *face);

/** Ends all connections, frees. NULL is harmless. */
void http_face_stop(struct http_face *face);

#endif
