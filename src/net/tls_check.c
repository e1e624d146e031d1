/* SPDX-License-Identifier: BSD-3-Clause */
/* tls_check.c - whether a certificate is the right one. Called by OpenSSL in the middle of a handshake, for our streams
 * and for libcurl's; what is refused here ends the handshake. */
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "net/tls_int.h"

bool tls_print_of(X509 *cert, struct thumbprint *ret_print)
{
    struct thumbprint print;
    unsigned char *der = NULL;
    OSSL_LIB_CTX *library = tls_library(NULL);
    int len = i2d_X509(cert, &der);

    bool good = len > 0 && library != NULL &&
                EVP_Q_digest(library, "SHA1", NULL, der, (size_t)len, print.sha1, NULL) == 1 &&
                EVP_Q_digest(library, "SHA256", NULL, der, (size_t)len, print.sha256, NULL) == 1;
    OPENSSL_free(der);
    if (good) {
        *ret_print = print;
    }
    return good;
}

static bool refuse(struct tls_curl_check *check, const char *reason)
{
    check->refused = true;
    if (reason != check->reason) {
        (void)snprintf(check->reason, sizeof check->reason, "%s", reason);
    }
    return false;
}

static bool check_thumbprint(struct tls_curl_check *check)
{
    const char *wanted = check->policy.thumbprint;
    char found[THUMBPRINT_TEXT_MAX];

    if (thumbprint_matches(wanted, &check->print)) {
        return true;
    }
    size_t len = thumbprint_digest_len(wanted);
    if (len == 0) {
        return refuse(check, "the wanted thumbprint is not one: it needs 40 or 64 hex digits");
    }
    const bool sha1 = len == THUMBPRINT_SHA1_LEN;
    thumbprint_format(sha1 ? check->print.sha1 : check->print.sha256, len, found);
    (void)snprintf(check->reason, sizeof check->reason, "wrong certificate: %s thumbprint is %s, wanted is %.100s",
                   sha1 ? "SHA-1" : "SHA-256", found, wanted);
    return refuse(check, check->reason);
}

static bool check_equal(struct tls_curl_check *check)
{
    struct thumbprint wanted;
    char found_text[THUMBPRINT_TEXT_MAX];
    char wanted_text[THUMBPRINT_TEXT_MAX];
    BIO *bio = BIO_new_mem_buf(check->policy.certificate, -1);
    X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    bool readable = cert != NULL && tls_print_of(cert, &wanted);

    X509_free(cert);
    BIO_free(bio);
    if (!readable) {
        return refuse(check, "the wanted certificate cannot be read as PEM");
    }
    if (memcmp(wanted.sha256, check->print.sha256, sizeof wanted.sha256) == 0) {
        return true;
    }
    thumbprint_format(check->print.sha256, THUMBPRINT_SHA256_LEN, found_text);
    thumbprint_format(wanted.sha256, THUMBPRINT_SHA256_LEN, wanted_text);
    (void)snprintf(check->reason, sizeof check->reason, "wrong certificate: SHA-256 thumbprint is %s, wanted is %s",
                   found_text, wanted_text);
    return refuse(check, check->reason);
}

/** Asks OpenSSL to look for a host name or an address in the certificate. */
static bool want_name(X509_STORE_CTX *chain, const char *name)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(chain);
    uint8_t address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, name, address) == 1) {
        return X509_VERIFY_PARAM_set1_ip(param, address, sizeof(struct in_addr)) == 1;
    }
    if (inet_pton(AF_INET6, name, address) == 1) {
        return X509_VERIFY_PARAM_set1_ip(param, address, sizeof(struct in6_addr)) == 1;
    }
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

static bool check_chain(X509_STORE_CTX *chain, struct tls_curl_check *check)
{
    const char *name = check->policy.name;
    char sha256[THUMBPRINT_TEXT_MAX];

    if (name == NULL || name[0] == '\0' || !want_name(chain, name)) {
        return refuse(check, "no host name to look for in the certificate");
    }
    if (X509_verify_cert(chain) == 1) {
        return true;
    }
    thumbprint_format(check->print.sha256, THUMBPRINT_SHA256_LEN, sha256);
    (void)snprintf(check->reason, sizeof check->reason, "certificate refused: %s (SHA-256 thumbprint %s)",
                   X509_verify_cert_error_string(X509_STORE_CTX_get_error(chain)), sha256);
    return refuse(check, check->reason);
}

static bool check_policy(X509_STORE_CTX *chain, struct tls_curl_check *check)
{
    X509 *leaf = X509_STORE_CTX_get0_cert(chain);

    check->refused = false;
    check->seen = leaf != NULL && tls_print_of(leaf, &check->print);
    if (!check->seen) {
        return refuse(check, "the server shows no certificate that can be read");
    }
    if (check->policy.thumbprint != NULL) {
        return check_thumbprint(check);
    }
    if (check->policy.certificate != NULL) {
        return check_equal(check);
    }
    return check->policy.insecure || check_chain(chain, check);
}

int tls_check_certificate(X509_STORE_CTX *chain, struct tls_curl_check *check)
{
    if (check_policy(chain, check)) {
        X509_STORE_CTX_set_error(chain, X509_V_OK);
        return 1;
    }
    if (X509_STORE_CTX_get_error(chain) == X509_V_OK) {
        X509_STORE_CTX_set_error(chain, X509_V_ERR_APPLICATION_VERIFICATION);
    }
    return 0;
}

/* ---- libcurl ---- */

static int check_curl(X509_STORE_CTX *chain, void *arg)
{
    return tls_check_certificate(chain, arg);
}

static bool needs_roots(const struct tls_policy *policy)
{
    return policy->thumbprint == NULL && policy->certificate == NULL && !policy->insecure;
}

bool tls_curl_context(void *ssl_ctx, struct tls_curl_check *check)
{
    SSL_CTX *ctx = ssl_ctx;

    check->seen = false;
    check->refused = false;
    if (tls_library(NULL) == NULL) {
        return false;
    }
    if (needs_roots(&check->policy)) {
        X509_STORE *store = tls_roots(check->policy.ca_file, check->reason, sizeof check->reason);
        if (store == NULL) {
            return refuse(check, check->reason);
        }
        SSL_CTX_set1_cert_store(ctx, store);
        X509_STORE_free(store);
    }
    if (check->legacy) {
        SSL_CTX_set_security_level(ctx, 1);
        (void)SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
    }
    (void)SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT); /* answers to a login carry its cookie */
    /* A resumed session would skip the check. */
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, check_curl, check);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;
}
