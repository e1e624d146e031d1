/* SPDX-License-Identifier: BSD-3-Clause */
/* tls_int.h - what the files of TLS share: OpenSSL's contexts, which are made once for the process, and the one place
 * that decides whether a certificate is the right one. */
#ifndef VIXDISK_NET_TLS_INT_H
#define VIXDISK_NET_TLS_INT_H

#include <openssl/ssl.h>

#include "net/tls.h"

/** OpenSSL's library context of ours; NULL with *err if OpenSSL cannot work. */
OSSL_LIB_CTX *tls_library(struct err *err);

/** The context of all clients; shared, not to be freed. */
SSL_CTX *tls_client_context(bool legacy, struct err *err);

/** A new context with the settings of both sides. */
SSL_CTX *tls_new_context(const SSL_METHOD *method, bool legacy, struct err *err);

/** The roots in a PEM file (NULL: the machine's), kept until the file changes. To be freed by X509_STORE_free. On
 * failure NULL and the reason in words. */
X509_STORE *tls_roots(const char *file, char *reason, size_t size);

/** Both fingerprints of a certificate. */
bool tls_print_of(X509 *cert, struct thumbprint *ret_print);

/** OpenSSL's callback: applies the policy to what the server shows, fills in print, seen, refused, reason. */
int tls_check_certificate(X509_STORE_CTX *chain, struct tls_curl_check *check);

/** What OpenSSL says of the last failure on this thread. */
void tls_reason(char *text, size_t size);

/** Starts TLS as the server with a context. */
VixError tls_server_start_context(struct stream **stream, SSL_CTX *ctx, struct err *err);

#endif
