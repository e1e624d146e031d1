/* SPDX-License-Identifier: BSD-3-Clause */
/* tls.h - TLS over a stream, both ends, and certificates: the only place that names OpenSSL. The library's own context
 * only: nothing global of OpenSSL is configured, no configuration file of the machine is loaded into the host program.
 * One thread may read a stream while another writes it. */
#ifndef VIXDISK_NET_TLS_H
#define VIXDISK_NET_TLS_H

#include <stdbool.h>

#include "net/stream.h"
#include "net/thumbprint.h"

/** Whom a client takes for the right server. Exactly one of the three is in force, looked at in this order. */
struct tls_policy {
    const char *thumbprint;  /* text form; not NULL: the leaf certificate must have it, no chain is checked */
    const char *certificate; /* PEM; not NULL: the leaf must be this one */
    bool insecure;           /* true: anybody; only where the configuration says so */
    /* else: a chain to the machine's roots (or ca_file), and the name must fit */
    const char *ca_file; /* PEM file of roots in the place of the machine's; NULL: the machine's */
    const char *name;    /* host name or address to be found in the certificate */
};

/** Starts TLS on a stream as the client; *stream is replaced by the TLS stream over it, also owner of it. TLS 1.2 or
 * newer; @legacy: SECLEVEL 1 and, if the build of OpenSSL can, older certificates (ESXi 6.x). Within the stream's
 * deadline. On failure *stream stays the caller's to close. Codes: VIX_E_HOST_NETBLKDEV_HANDSHAKE (TLS fails; wrong
 * certificate: the sentence names what was found and what was wanted, with the thumbprints), VIX_E_HOST_TCP_CONN_LOST.
 */
VixError tls_client_start(struct stream **stream, const struct tls_policy *policy, bool legacy, struct err *err);

/** What the peer of a TLS stream has shown. */
void tls_peer_thumbprint(struct stream *s, struct thumbprint *ret_print);

/** Empties OpenSSL's list of errors of this thread: what a library that uses it has left there would be taken for the
 * program's own failure later on. */
void tls_forget_errors(void);

/** Ends TLS without a word to the peer (no close_notify) and gives the stream below back in its place; nothing of the
 * layer below may have been read ahead: VIX_E_HOST_NETBLKDEV_HANDSHAKE if decrypted bytes are waiting. For hosts that
 * end TLS 1 and go on in clear text, or with a new TLS, on the same connection. */
VixError tls_abandon(struct stream **stream, struct err *err);

/* ---- servers ---- */

struct tls_identity; /* a certificate and its key */

/** Loads PEM files (certificate chain, key without passphrase). VIX_E_FILE_NOT_FOUND, VIX_E_INVALID_ARG (they do not
 * fit one another) and so on. */
VixError tls_identity_load(const char *cert_file, const char *key_file, struct tls_identity **ret_identity,
                           struct err *err);

/** Writes a new self-signed certificate (ECDSA P-256 would be refused by old clients: RSA 2048, SHA-256; @names: host
 * names and addresses for subjectAltName, the first is the common name; 10 years) and key (mode 0600) as PEM files,
 * which must not exist. */
VixError tls_identity_create(const char *const *names, size_t name_count, const char *cert_file, const char *key_file,
                             struct err *err);
void tls_identity_free(struct tls_identity *identity);

/** Fingerprints of the identity's leaf certificate. */
void tls_identity_thumbprint(const struct tls_identity *identity, struct thumbprint *ret_print);

/** Starts TLS as the server, as tls_client_start. */
VixError tls_server_start(struct stream **stream, struct tls_identity *identity, struct err *err);

/* ---- for libcurl ---- */

/** Puts a policy into the SSL_CTX that libcurl hands to its context callback; @ret_print gets what the server showed
 * even when it is refused (*ret_seen tells); both must live as long as the connection. Returns false if it cannot. */
struct tls_curl_check {
    struct tls_policy policy; /* strings are the caller's */
    bool legacy;
    struct thumbprint print;
    bool seen;
    bool refused;     /* by the policy */
    char reason[256]; /* why, in words */
};
bool tls_curl_context(void *ssl_ctx, struct tls_curl_check *check);

/** The certificate that a server shows, whoever it is: connects, handshakes, closes. For `vixdisk thumbprint`. */
VixError tls_fetch_thumbprint(const char *host, uint16_t port, unsigned timeout_ms, struct thumbprint *ret_print,
                              struct err *err);

#endif
