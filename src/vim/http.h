/* SPDX-License-Identifier: BSD-3-Clause */
/* http.h - HTTPS requests to one server over one connection that is kept: no proxy, no redirects, the session's cookie
 * byte for byte as the server gave it. For src/vim only; one thread at a time. */
#ifndef VIXDISK_VIM_HTTP_H
#define VIXDISK_VIM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct http;

struct http_how {
    const char *host;
    uint16_t port;
    const char *thumbprint; /* as in struct tls_policy */
    const char *ca_file;
    bool insecure;
    unsigned connect_timeout_ms; /* for name, TCP and TLS together */
    unsigned call_timeout_ms;    /* for a request and its answer, another try included */
};

/** Copies everything, connects to nothing. */
VixError http_open(const struct http_how *how, struct http **ret_http, struct err *err);
/** Wipes the cookie. NULL is harmless. */
void http_close(struct http *h);

/** "host:port", the host in brackets where it is an IPv6 address. */
const char *http_peer(const struct http *h);

/** The cookie to send, "vmware_soap_session=..."; NULL: none. @fixed: what the server sets later does not replace it.
 */
VixError http_set_cookie(struct http *h, const char *cookie, bool fixed, struct err *err);

/** Time for a request and its answer from now on. */
void http_set_timeouts(struct http *h, unsigned connect_timeout_ms, unsigned call_timeout_ms);

struct http_request {
    const char *path; /* "/sdk" */
    const char *body; /* NULL: GET, else POST of XML */
    size_t body_len;
    const char *soap_action; /* with its quotes; NULL: none */
    bool repeatable;         /* asks, changes nothing: sent again on a new connection if the kept one proves dead */
    bool secret;             /* the body's copies inside the HTTP library are overwritten */
};

struct http_answer {
    unsigned status;
    char *body; /* NUL-terminated */
    size_t len, room;
};

/** Sends a request and reads the whole answer, whatever its status. Failures: no answer; sentences begin with the
 * peer. */
VixError http_do(struct http *h, const struct http_request *request, struct http_answer *ret_answer, struct err *err);
/** Wipes. */
void http_answer_free(struct http_answer *answer);

#endif
