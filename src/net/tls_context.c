/* SPDX-License-Identifier: BSD-3-Clause */
/* tls_context.c - OpenSSL's contexts. We are a guest in a process that may use OpenSSL too: everything is in a library
 * context of our own, whose providers and algorithms the program's configuration does not touch. Any thread. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "net/tls_int.h"

/* AES with GCM first, 128 bits before 256: what every processor with AES instructions does fastest. */
#define TLS13_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define TLS12_CIPHERS                                                                                                  \
    "ECDHE+AESGCM:DHE+AESGCM:ECDHE+CHACHA20:AESGCM:ECDHE+AES:DHE+AES:AES:!aNULL:!eNULL:!PSK:!SRP:!DSS:!MD5"

#define ROOTS_KEPT 4 /* files of roots kept in memory */

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static OSSL_LIB_CTX *library;       /* these are set once, under the lock, when all are there */
static SSL_CTX *client_contexts[2]; /* strict, legacy */

/** Roots of one file, as it was. */
struct roots {
    char *file;
    struct stat made;
    X509_STORE *store;
};
static pthread_mutex_t roots_lock = PTHREAD_MUTEX_INITIALIZER;
static struct roots roots[ROOTS_KEPT];
static unsigned roots_next;

void tls_reason(char *text, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

    (void)snprintf(text, size, "%s", reason != NULL ? reason : "no reason given");
    ERR_clear_error();
}

void tls_forget_errors(void)
{
    ERR_clear_error();
}

static int check_stream(X509_STORE_CTX *chain, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());

    (void)arg;
    return ssl != NULL ? tls_check_certificate(chain, SSL_get_app_data(ssl)) : 0;
}

static bool set_up(SSL_CTX *ctx, bool legacy)
{
    uint64_t options =
        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE;

    if (legacy) {
        options |= SSL_OP_LEGACY_SERVER_CONNECT;
    }
    (void)SSL_CTX_set_options(ctx, options);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_security_level(ctx, legacy ? 1 : 2);
    (void)SSL_CTX_set_num_tickets(ctx, 0); /* they would lie in front of what follows the end of TLS */
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, TLS13_SUITES) == 1 && SSL_CTX_set_cipher_list(ctx, TLS12_CIPHERS) == 1;
}

static SSL_CTX *new_context(OSSL_LIB_CTX *lib, const SSL_METHOD *method, bool legacy)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(lib, NULL, method);

    if (ctx != NULL && !set_up(ctx, legacy)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static bool make_client_contexts(OSSL_LIB_CTX *lib, SSL_CTX *ret_contexts[2])
{
    for (unsigned legacy = 0; legacy < 2; legacy++) {
        SSL_CTX *ctx = new_context(lib, TLS_client_method(), legacy != 0);
        if (ctx == NULL) {
            SSL_CTX_free(ret_contexts[0]);
            return false;
        }
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_cert_verify_callback(ctx, check_stream, NULL);
        ret_contexts[legacy] = ctx;
    }
    return true;
}

static bool start(void)
{
    SSL_CTX *contexts[2] = {NULL};

    /* The cleanup at the end of the process would run while threads of the program may still be in a call. */
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) != 1) {
        return false;
    }
    OSSL_LIB_CTX *lib = OSSL_LIB_CTX_new();
    if (lib == NULL || !make_client_contexts(lib, contexts)) {
        OSSL_LIB_CTX_free(lib);
        return false;
    }
    library = lib;
    memcpy(client_contexts, contexts, sizeof contexts);
    return true;
}

/** What fails for want of memory may go well the next time. */
static bool started(struct err *err)
{
    SCOPED_LOCK(&start_lock);

    if (library != NULL) {
        return true;
    }
    ERR_clear_error();
    if (!start()) {
        char reason[128];
        tls_reason(reason, sizeof reason);
        (void)err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "OpenSSL cannot be used: %s", reason);
        return false;
    }
    return true;
}

OSSL_LIB_CTX *tls_library(struct err *err)
{
    return started(err) ? library : NULL;
}

SSL_CTX *tls_client_context(bool legacy, struct err *err)
{
    return started(err) ? client_contexts[legacy] : NULL;
}

SSL_CTX *tls_new_context(const SSL_METHOD *method, bool legacy, struct err *err)
{
    if (!started(err)) {
        return NULL;
    }
    ERR_clear_error();
    SSL_CTX *ctx = new_context(library, method, legacy);
    if (ctx == NULL) {
        char reason[128];
        tls_reason(reason, sizeof reason);
        (void)err_set(err, VIX_E_OUT_OF_MEMORY, "no context for TLS: %s", reason);
    }
    return ctx;
}

/* ---- roots ---- */

/** The file that has the machine's roots: Debian and its kin, Enterprise Linux, SUSE. NULL: none. */
static const char *machine_roots(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    };
    const char *named = secure_getenv("SSL_CERT_FILE");

    if (named != NULL && named[0] != '\0') {
        return named;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (access(places[i], R_OK) == 0) {
            return places[i];
        }
    }
    return NULL;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/** The kept roots of a file, or NULL. With the lock held. */
static X509_STORE *find_roots(const char *file, const struct stat *now)
{
    for (unsigned i = 0; i < ROOTS_KEPT; i++) {
        if (roots[i].file != NULL && strcmp(roots[i].file, file) == 0 && same_file(&roots[i].made, now)) {
            return X509_STORE_up_ref(roots[i].store) == 1 ? roots[i].store : NULL;
        }
    }
    return NULL;
}

/** Keeps roots in the place of an older version of the file, or of the oldest. With the lock held. */
static void keep_roots(const char *file, const struct stat *now, X509_STORE *store)
{
    unsigned place = roots_next;
    char *name = strdup(file);

    if (name == NULL || X509_STORE_up_ref(store) != 1) {
        free(name);
        return;
    }
    for (unsigned i = 0; i < ROOTS_KEPT; i++) {
        if (roots[i].file != NULL && strcmp(roots[i].file, file) == 0) {
            place = i;
        }
    }
    if (place == roots_next) {
        roots_next = (roots_next + 1) % ROOTS_KEPT;
    }
    free(roots[place].file);
    X509_STORE_free(roots[place].store);
    roots[place] = (struct roots){.file = name, .made = *now, .store = store};
}

static X509_STORE *load_roots(const char *file, char *reason, size_t size)
{
    X509_STORE *store = X509_STORE_new();

    ERR_clear_error();
    /* A file may hold the server's own certificate in the place of the root above it. */
    if (store != NULL && X509_STORE_load_file_ex(store, file, library, NULL) == 1 &&
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1) {
        return store;
    }
    char why[128];
    tls_reason(why, sizeof why);
    (void)snprintf(reason, size, "no trusted roots can be read from %.120s: %.80s", file, why);
    X509_STORE_free(store);
    return NULL;
}

X509_STORE *tls_roots(const char *file, char *reason, size_t size)
{
    struct stat now;

    file = file != NULL ? file : machine_roots();
    if (file == NULL) {
        (void)snprintf(reason, size, "this machine has no file of trusted roots: give a thumbprint or a CA file");
        return NULL;
    }
    if (stat(file, &now) != 0) {
        char text[64];
        (void)snprintf(reason, size, "file of trusted roots %.150s: %s", file, strerror_r(errno, text, sizeof text));
        return NULL;
    }
    SCOPED_LOCK(&roots_lock);
    X509_STORE *store = find_roots(file, &now);
    if (store == NULL) {
        store = load_roots(file, reason, size);
        if (store != NULL) {
            keep_roots(file, &now, store);
        }
    }
    return store;
}
