/* SPDX-License-Identifier: BSD-3-Clause */
/* tls_identity.c - a server's certificate and key: loaded, or made. An identity does not change once it is there; any
 * number of threads may start TLS with it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "net/tls_int.h"

#define KEY_BITS ((size_t)2048)
#define VALID_SECONDS (10L * 366 * 24 * 3600)
#define DAY_SECONDS (24L * 3600)

struct tls_identity {
    SSL_CTX *ctx;
    struct thumbprint print;
};

/* ---- loading ---- */

static int no_passphrase(char *buf, int size, int writing, void *data)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)data;
    return 0;
}

static VixError readable(const char *path, struct err *err)
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot be opened", path);
}

static VixError unusable(const char *path, const char *what, struct err *err)
{
    char reason[160];

    tls_reason(reason, sizeof reason);
    return err_set(err, VIX_E_INVALID_ARG, "%s: %s: %s", path, what, reason);
}

static VixError load_files(SSL_CTX *ctx, const char *cert_file, const char *key_file, struct thumbprint *ret_print,
                           struct err *err)
{
    VixError result = readable(cert_file, err);

    if (result == VIX_OK) {
        result = readable(key_file, err);
    }
    if (result != VIX_OK) {
        return result;
    }
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1) {
        return unusable(cert_file, "no certificate in PEM form that can be used", err);
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        return unusable(key_file, "no key in PEM form that fits the certificate", err);
    }
    X509 *leaf = SSL_CTX_get0_certificate(ctx);
    if (leaf == NULL || !tls_print_of(leaf, ret_print)) {
        return unusable(cert_file, "no thumbprint", err);
    }
    return VIX_OK;
}

VixError tls_identity_load(const char *cert_file, const char *key_file, struct tls_identity **ret_identity,
                           struct err *err)
{
    struct tls_identity *identity = alloc_zero(sizeof *identity, err);

    if (identity == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    identity->ctx = tls_new_context(TLS_server_method(), false, err);
    VixError result = identity->ctx != NULL ? load_files(identity->ctx, cert_file, key_file, &identity->print, err)
                                            : VIX_E_OUT_OF_MEMORY;
    if (result != VIX_OK) {
        tls_identity_free(identity);
        return result;
    }
    *ret_identity = identity;
    return VIX_OK;
}

void tls_identity_free(struct tls_identity *identity)
{
    if (identity != NULL) {
        SSL_CTX_free(identity->ctx);
        free(identity);
    }
}

void tls_identity_thumbprint(const struct tls_identity *identity, struct thumbprint *ret_print)
{
    *ret_print = identity->print;
}

VixError tls_server_start(struct stream **stream, struct tls_identity *identity, struct err *err)
{
    return tls_server_start_context(stream, identity->ctx, err);
}

/* ---- making ---- */

/** One host name or address as an entry of subjectAltName; NULL if there is no memory. */
static GENERAL_NAME *alternative_name(const char *name)
{
    uint8_t address[sizeof(struct in6_addr)];
    GENERAL_NAME *entry = GENERAL_NAME_new();
    const bool v4 = inet_pton(AF_INET, name, address) == 1;
    const bool v6 = !v4 && inet_pton(AF_INET6, name, address) == 1;
    ASN1_STRING *value = ASN1_STRING_type_new(v4 || v6 ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    const void *bytes = v4 || v6 ? (const void *)address : (const void *)name;
    size_t len = v4 ? sizeof(struct in_addr) : v6 ? sizeof(struct in6_addr) : strlen(name);

    if (entry == NULL || value == NULL || ASN1_STRING_set(value, bytes, (int)len) != 1) {
        GENERAL_NAME_free(entry);
        ASN1_STRING_free(value);
        return NULL;
    }
    GENERAL_NAME_set0_value(entry, v4 || v6 ? GEN_IPADD : GEN_DNS, value);
    return entry;
}

static bool add_names(X509 *cert, const char *const *names, size_t name_count)
{
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    bool good = all != NULL;

    for (size_t i = 0; good && i < name_count; i++) {
        GENERAL_NAME *entry = alternative_name(names[i]);
        good = entry != NULL && sk_GENERAL_NAME_push(all, entry) > 0;
        if (!good) {
            GENERAL_NAME_free(entry);
        }
    }
    good = good && X509_add1_ext_i2d(cert, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1;
    sk_GENERAL_NAME_pop_free(all, GENERAL_NAME_free);
    return good;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX context;

    X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool good = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool set_serial(X509 *cert, OSSL_LIB_CTX *library)
{
    unsigned char bytes[16];

    if (RAND_bytes_ex(library, bytes, sizeof bytes, 0) != 1) {
        return false;
    }
    bytes[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool good = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return good;
}

static bool fill_certificate(X509 *cert, EVP_PKEY *key, OSSL_LIB_CTX *library, const char *const *names,
                             size_t name_count)
{
    X509_NAME *subject = X509_get_subject_name(cert);

    return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert, library) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_SECONDS) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(cert), VALID_SECONDS) != NULL &&
           X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)"vixdisk", -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)names[0], -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_names(cert, names, name_count) && add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
           add_extension(cert, NID_ext_key_usage, "serverAuth") &&
           add_extension(cert, NID_subject_key_identifier, "hash") && X509_sign(cert, key, EVP_sha256()) > 0;
}

/** Writes what is in a memory BIO to a new file. */
static VixError write_new_file(const char *path, mode_t mode, BIO *bio, struct err *err)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    CLEANUP_CLOSE int fd = open(path, flags, mode);

    if (fd < 0) {
        return err_set_errno(err, errno, "%s: cannot be created", path);
    }
    for (long done = 0; done < len;) {
        ssize_t n = write(fd, data + done, (size_t)(len - done));
        if (n < 0 && errno != EINTR) {
            int fault = errno;
            (void)unlink(path);
            return err_set_errno(err, fault, "%s: cannot be written", path);
        }
        done += n > 0 ? n : 0;
    }
    if (fsync(fd) != 0) {
        int fault = errno;
        (void)unlink(path);
        return err_set_errno(err, fault, "%s: cannot be written", path);
    }
    return VIX_OK;
}

/** Both files or none. */
static VixError write_files(X509 *cert, EVP_PKEY *key, const char *cert_file, const char *key_file, struct err *err)
{
    BIO *cert_text = BIO_new(BIO_s_mem());
    BIO *key_text = BIO_new(BIO_s_secmem()); /* wiped when it is freed */
    VixError result = VIX_OK;

    if (cert_text == NULL || key_text == NULL || PEM_write_bio_X509(cert_text, cert) != 1 ||
        PEM_write_bio_PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) != 1) {
        result = unusable(cert_file, "no text of the certificate", err);
    }
    if (result == VIX_OK) {
        result = write_new_file(key_file, 0600, key_text, err);
    }
    if (result == VIX_OK) {
        result = write_new_file(cert_file, 0644, cert_text, err);
        if (result != VIX_OK) {
            (void)unlink(key_file);
        }
    }
    BIO_free(key_text);
    BIO_free(cert_text);
    return result;
}

VixError tls_identity_create(const char *const *names, size_t name_count, const char *cert_file, const char *key_file,
                             struct err *err)
{
    OSSL_LIB_CTX *library = tls_library(err);

    if (library == NULL) {
        return VIX_E_HOST_NETBLKDEV_HANDSHAKE;
    }
    if (name_count == 0) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: a certificate needs a host name or an address", cert_file);
    }
    ERR_clear_error();
    EVP_PKEY *key = EVP_PKEY_Q_keygen(library, NULL, "RSA", KEY_BITS);
    X509 *cert = X509_new_ex(library, NULL);
    VixError result = key != NULL && cert != NULL && fill_certificate(cert, key, library, names, name_count)
                          ? write_files(cert, key, cert_file, key_file, err)
                          : unusable(cert_file, "the certificate cannot be made", err);
    X509_free(cert);
    EVP_PKEY_free(key);
    return result;
}
