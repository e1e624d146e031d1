/* SPDX-License-Identifier: BSD-3-Clause */
/* tls.c - TLS as a stream over another one.
 *
 * OpenSSL works on memory only: what the stream below brings is put in front of it, what it wants to send is taken from
 * behind it, and both go through the stream below in large pieces, whose waits, time-outs and wake-ups hold for TLS
 * too. The lock is held for the work on some records, never in a wait, so that one thread can read while another
 * writes. Without renegotiation (refused) reading never has to write nor writing to read: a KeyUpdate is answered by
 * the next write. */
#include "net/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "net/net_int.h"
#include "net/tcp.h"
#include "net/tls_int.h"

#define RECORD_MAX ((size_t)16384) /* limit: bytes of a TLS record */
#define RECORD_HEAD ((size_t)5)
#define RECORD_DATA 23               /* type: application data */
#define IN_MAX ((size_t)128 << 10)   /* limit: bytes taken from below TLS at a time */
#define OUT_SEND ((size_t)64 << 10)  /* bytes with which sending begins */
#define OUT_FIRST ((size_t)8 << 10)  /* size of an outgoing buffer at first */
#define OUT_MAX ((size_t)1 << 20)    /* limit: bytes that wait to be encrypted and sent */
#define ENCRYPT_MAX (4 * RECORD_MAX) /* own: plain bytes under the lock at a time */

/** Bytes that OpenSSL wants to have sent. */
struct out {
    uint8_t *data;
    size_t len, size;
};

struct tls {
    struct stream base;
    struct stream *below;
    pthread_mutex_t lock; /* ssl, in_off, in_end, out, broken */
    SSL *ssl;
    size_t in_off, in_end; /* what of in OpenSSL has not seen */
    struct out out;
    bool broken;        /* a part of a record may be lost: nothing can be said to the peer any more */
    uint8_t *in;        /* IN_MAX bytes; the reader's where OpenSSL has seen them all */
    struct out sending; /* the writer's */
    uint8_t *gather;    /* RECORD_MAX bytes, the writer's: small pieces become one record; NULL: none needed so far */
    struct tls_curl_check check;
};

static const struct stream_ops tls_ops;

/* ---- OpenSSL's ends of the two buffers; called with the lock held ---- */

static int bio_read(BIO *bio, char *buf, size_t len, size_t *ret_len)
{
    struct tls *t = BIO_get_data(bio);
    size_t n = t->in_end - t->in_off;

    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    n = n < len ? n : len;
    memcpy(buf, t->in + t->in_off, n);
    t->in_off += n;
    *ret_len = n;
    return 1;
}

static bool out_reserve(struct out *out, size_t more)
{
    size_t size = out->size > 0 ? out->size : OUT_FIRST;

    if (more > OUT_MAX - out->len) {
        return false;
    }
    while (size < out->len + more) {
        size *= 2;
    }
    if (size > out->size) {
        uint8_t *data = realloc(out->data, size);
        if (data == NULL) {
            return false;
        }
        out->data = data;
        out->size = size;
    }
    return true;
}

static int bio_write(BIO *bio, const char *buf, size_t len, size_t *ret_len)
{
    struct tls *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (!out_reserve(&t->out, len)) {
        return 0;
    }
    memcpy(t->out.data + t->out.len, buf, len);
    t->out.len += len;
    *ret_len = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static pthread_mutex_t bio_lock = PTHREAD_MUTEX_INITIALIZER;
static BIO_METHOD *bio_method; /* set once, under the lock */

/** NULL where memory is wanting. */
static BIO_METHOD *get_bio_method(void)
{
    SCOPED_LOCK(&bio_lock);

    if (bio_method == NULL) {
        BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "vixdisk stream");
        if (method != NULL && BIO_meth_set_read_ex(method, bio_read) == 1 &&
            BIO_meth_set_write_ex(method, bio_write) == 1 && BIO_meth_set_ctrl(method, bio_ctrl) == 1) {
            bio_method = method;
        } else {
            BIO_meth_free(method);
        }
    }
    return bio_method;
}

/* ---- below ---- */

/** Sends what OpenSSL has left to be sent. The writer's thread only. */
static VixError send_out(struct tls *t, struct err *err)
{
    (void)pthread_mutex_lock(&t->lock);
    struct out full = t->out;
    t->out = t->sending;
    t->sending = full;
    (void)pthread_mutex_unlock(&t->lock);

    stream_copy_limits(t->below, &t->base);
    VixError result = stream_write(t->below, full.data, full.len, err);
    t->sending.len = 0;
    if (result != VIX_OK) {
        SCOPED_LOCK(&t->lock);
        t->broken = true;
    }
    return result;
}

/** Waits for bytes from below, all of which OpenSSL has seen before. The reader's thread only. *ret_ended: the stream
 * below has ended. */
static VixError fetch_in(struct tls *t, bool *ret_ended, struct err *err)
{
    struct iovec piece = {.iov_base = t->in, .iov_len = IN_MAX};
    size_t got = 0;

    stream_copy_limits(t->below, &t->base);
    VixError result = t->below->ops->readv(t->below, &piece, 1, &got, err);
    if (result == VIX_OK) {
        SCOPED_LOCK(&t->lock);
        t->in_off = 0;
        t->in_end = got;
        *ret_ended = got == 0;
    }
    return result;
}

/* ---- reading ---- */

enum step { STEP_DONE, STEP_WANTS_BYTES, STEP_ENDED, STEP_FAILED };

/** What the return of an SSL function means. With the lock held. */
static enum step judge(struct tls *t, int ret, const char *what, struct err *err)
{
    char reason[160];
    int kind = SSL_get_error(t->ssl, ret);

    if (kind == SSL_ERROR_WANT_READ) {
        return STEP_WANTS_BYTES;
    }
    if (kind == SSL_ERROR_ZERO_RETURN) {
        return STEP_ENDED;
    }
    tls_reason(reason, sizeof reason);
    (void)err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: TLS: %s: %s", t->base.peer, what, reason);
    return STEP_FAILED;
}

/** Whether the rest of what came is, or begins with, a whole record of data: then reading it needs no wait and cannot
 * take anything that is not of this TLS. With the lock held. */
static bool record_is_here(const struct tls *t)
{
    const uint8_t *head = t->in + t->in_off;
    size_t len = t->in_end - t->in_off;

    return len >= RECORD_HEAD && head[0] == RECORD_DATA && len - RECORD_HEAD >= ((size_t)head[3] << 8 | head[4]);
}

/** Decrypts into one buffer what is there without a wait; *ret_len bytes, also beside STEP_WANTS_BYTES. */
static enum step decrypt_some(struct tls *t, uint8_t *buf, size_t len, size_t *ret_len, bool *ret_more, struct err *err)
{
    size_t done = 0;
    enum step step = STEP_DONE;
    SCOPED_LOCK(&t->lock);

    do {
        size_t got = 0;
        ERR_clear_error();
        if (SSL_read_ex(t->ssl, buf + done, len - done, &got) != 1) {
            step = judge(t, 0, "reading fails", err);
        }
        done += got;
    } while (step == STEP_DONE && done < len && record_is_here(t));
    *ret_len = done;
    *ret_more = step == STEP_DONE && (SSL_pending(t->ssl) > 0 || record_is_here(t));
    return step;
}

static VixError tls_readv(struct stream *s, const struct iovec *iov, int iov_count, size_t *ret_len, struct err *err)
{
    struct tls *t = (struct tls *)s;
    size_t total = 0;
    size_t at = 0; /* within the first piece */
    bool more = true;

    while (iov_count > 0 && more) {
        size_t got = 0;
        bool ended = false;
        if (at == iov->iov_len) {
            at = 0;
            iov++;
            iov_count--;
            continue;
        }
        enum step step = decrypt_some(t, (uint8_t *)iov->iov_base + at, iov->iov_len - at, &got, &more, err);
        total += got;
        at += got;
        if (step == STEP_FAILED && total == 0) {
            return VIX_E_HOST_NETBLKDEV_HANDSHAKE;
        }
        if (step == STEP_WANTS_BYTES && total == 0) {
            VixError result = fetch_in(t, &ended, err);
            if (result != VIX_OK) {
                return result;
            }
            more = true;
        }
        if (ended || step == STEP_ENDED) {
            break;
        }
    }
    atomic_fetch_add_explicit(&s->bytes_in, total, memory_order_relaxed);
    *ret_len = total;
    return VIX_OK;
}

/* ---- writing ---- */

/** Encrypts bytes; sends when enough have come together. */
static VixError encrypt_all(struct tls *t, const uint8_t *data, size_t len, struct err *err)
{
    while (len > 0) {
        size_t n = len < ENCRYPT_MAX ? len : ENCRYPT_MAX;
        size_t done = 0;
        enum step step = STEP_DONE;
        (void)pthread_mutex_lock(&t->lock);
        ERR_clear_error();
        if (SSL_write_ex(t->ssl, data, n, &done) != 1) {
            step = judge(t, 0, "writing fails", err);
        }
        const bool enough = t->out.len >= OUT_SEND;
        (void)pthread_mutex_unlock(&t->lock);
        if (step != STEP_DONE) {
            return step == STEP_FAILED
                       ? VIX_E_HOST_NETBLKDEV_HANDSHAKE
                       : err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE,
                                 "%s: TLS cannot go on: the peer wants to negotiate again", t->base.peer);
        }
        data += done;
        len -= done;
        if (enough) {
            VixError result = send_out(t, err);
            if (result != VIX_OK) {
                return result;
            }
        }
    }
    return VIX_OK;
}

/** The pieces as one text, taken off the front. */
struct pieces {
    const struct iovec *iov;
    int count;
    size_t at; /* within the first */
};

/** Copies the next bytes, at most size. */
static size_t gather(struct pieces *p, uint8_t *buf, size_t size)
{
    size_t done = 0;

    while (p->count > 0 && done < size) {
        size_t left = p->iov->iov_len - p->at;
        size_t n = left < size - done ? left : size - done;
        if (n > 0) {
            memcpy(buf + done, (const uint8_t *)p->iov->iov_base + p->at, n);
        }
        done += n;
        p->at += n;
        if (p->at == p->iov->iov_len) {
            p->iov++;
            p->count--;
            p->at = 0;
        }
    }
    return done;
}

/** A record's worth of the next pieces, copied together: a head of some bytes before its data costs no record of its
 * own. */
static VixError encrypt_gathered(struct tls *t, struct pieces *p, struct err *err)
{
    if (t->gather == NULL) {
        t->gather = alloc_zero(RECORD_MAX, err);
        if (t->gather == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
    }
    return encrypt_all(t, t->gather, gather(p, t->gather, RECORD_MAX), err);
}

static VixError tls_writev(struct stream *s, const struct iovec *iov, int iov_count, struct err *err)
{
    struct tls *t = (struct tls *)s;
    struct pieces p = {.iov = iov, .count = iov_count};
    VixError result = VIX_OK;
    size_t total = 0;

    for (int i = 0; i < iov_count; i++) {
        total += iov[i].iov_len;
    }
    while (result == VIX_OK && p.count > 0) {
        size_t left = p.iov->iov_len - p.at;
        if (p.count > 1 && left < RECORD_MAX) {
            result = encrypt_gathered(t, &p, err);
            continue;
        }
        size_t whole = p.count > 1 ? left / RECORD_MAX * RECORD_MAX : left; /* the rest goes with the next piece */
        result = encrypt_all(t, (const uint8_t *)p.iov->iov_base + p.at, whole, err);
        p.at += whole;
        if (p.at == p.iov->iov_len) {
            p.iov++;
            p.count--;
            p.at = 0;
        }
    }
    if (result == VIX_OK) {
        result = send_out(t, err);
    }
    if (result == VIX_OK) {
        atomic_fetch_add_explicit(&s->bytes_out, total, memory_order_relaxed);
    }
    return result;
}

/* ---- the end ---- */

static void tls_shutdown(struct stream *s)
{
    struct tls *t = (struct tls *)s;

    t->below->ops->shutdown(t->below);
}

static void wipe(void *data, size_t len)
{
    if (data != NULL) {
        explicit_bzero(data, len);
        free(data);
    }
}

/** Frees everything but the stream below. */
static void tls_free(struct tls *t)
{
    SSL_free(t->ssl);
    free(t->in);
    free(t->out.data);
    free(t->sending.data);
    wipe(t->gather, RECORD_MAX);
    (void)pthread_mutex_destroy(&t->lock);
    stream_destroy(&t->base);
    free(t);
    ERR_clear_error();
}

/** Sends what is left, and close_notify, if the socket takes it at once. */
static void say_goodbye(struct tls *t)
{
    ERR_clear_error();
    if (!t->broken) {
        (void)SSL_shutdown(t->ssl);
        t->base.deadline_ns = 1; /* long past: no wait */
        (void)send_out(t, NULL);
    }
}

static void tls_close(struct stream *s)
{
    struct tls *t = (struct tls *)s;
    struct stream *below = t->below;

    say_goodbye(t);
    tls_free(t);
    stream_close(below);
}

static const struct stream_ops tls_ops = {
    .kind = "tls",
    .readv = tls_readv,
    .writev = tls_writev,
    .shutdown = tls_shutdown,
    .close = tls_close,
};

VixError tls_abandon(struct stream **stream, struct err *err)
{
    struct tls *t = (struct tls *)*stream;
    struct stream *below = t->below;

    if (t->base.ops != &tls_ops) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: not a TLS stream", t->base.peer);
    }
    if (SSL_pending(t->ssl) > 0) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: TLS cannot end here: %d bytes have not been read",
                       t->base.peer, SSL_pending(t->ssl));
    }
    if (SSL_has_pending(t->ssl) == 1) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: TLS cannot end within a record", t->base.peer);
    }
    /* What was read from below and not asked for by TLS is what follows it. */
    VixError result = t->in_end > t->in_off ? tcp_unread(below, t->in + t->in_off, t->in_end - t->in_off, err) : VIX_OK;
    if (result == VIX_OK) {
        stream_copy_limits(below, &t->base);
        tls_free(t);
        *stream = below;
    }
    return result;
}

/* ---- the beginning ---- */

static bool set_bio(struct tls *t)
{
    BIO_METHOD *method = get_bio_method();
    BIO *bio = method != NULL ? BIO_new(method) : NULL;

    if (bio == NULL) {
        return false;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio); /* which frees it */
    return true;
}

/** A TLS stream over another, before the handshake. On failure the one below is untouched. */
static VixError tls_new(struct stream *below, SSL_CTX *ctx, struct tls **ret_tls, struct err *err)
{
    struct tls *t = alloc_zero(sizeof *t, err);

    if (t == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&t->lock, NULL);
    t->below = below;
    t->in = alloc_aligned(64, IN_MAX, err);
    VixError result = t->in != NULL ? stream_init(&t->base, &tls_ops, below->peer, err) : VIX_E_OUT_OF_MEMORY;
    if (result == VIX_OK) {
        t->ssl = SSL_new(ctx);
        if (t->ssl == NULL || SSL_set_app_data(t->ssl, &t->check) != 1 || !set_bio(t)) {
            result = err_set(err, VIX_E_OUT_OF_MEMORY, "%s: no memory for TLS", below->peer);
        }
    }
    if (result != VIX_OK) {
        tls_free(t);
        return result;
    }
    stream_copy_limits(&t->base, below);
    *ret_tls = t;
    return VIX_OK;
}

/** Why a handshake failed: the policy knows better than OpenSSL. */
static VixError handshake_failed(struct tls *t, const char *reason, struct err *err)
{
    if (t->check.refused) {
        return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: %s", t->base.peer, t->check.reason);
    }
    return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: TLS handshake fails: %s", t->base.peer, reason);
}

/** One round of the handshake: OpenSSL's turn, then sending what it says, then waiting for the peer. */
static VixError handshake_round(struct tls *t, bool *ret_done, struct err *err)
{
    char reason[160] = "";
    bool ended = false;

    ERR_clear_error();
    int ret = SSL_do_handshake(t->ssl);
    bool wants = ret != 1 && SSL_get_error(t->ssl, ret) == SSL_ERROR_WANT_READ;
    if (ret != 1 && !wants) {
        tls_reason(reason, sizeof reason);
        t->base.deadline_ns = 1;
        (void)send_out(t, NULL); /* tells the peer if that needs no wait */
        return handshake_failed(t, reason, err);
    }
    VixError result = send_out(t, err);
    if (result == VIX_OK && wants) {
        result = fetch_in(t, &ended, err);
    }
    if (result == VIX_OK && ended) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the peer has ended the connection in the TLS handshake",
                       t->base.peer);
    }
    *ret_done = ret == 1;
    return result;
}

/** The whole handshake. On failure t is freed and the stream below stays. */
static VixError handshake(struct tls *t, struct stream **stream, bool client, struct err *err)
{
    bool done = false;
    VixError result = VIX_OK;
    struct stream limits = {.read_timeout_ms = t->base.read_timeout_ms,
                            .write_timeout_ms = t->base.write_timeout_ms,
                            .deadline_ns = t->base.deadline_ns,
                            .deadline_ms = t->base.deadline_ms};

    while (result == VIX_OK && !done) {
        result = handshake_round(t, &done, err);
    }
    if (result == VIX_OK && client && (!t->check.seen || t->check.refused)) {
        result = handshake_failed(t, "the server has shown no certificate", err);
    }
    if (result != VIX_OK) {
        stream_copy_limits(t->below, &limits);
        tls_free(t);
        return result;
    }
    *stream = &t->base;
    return VIX_OK;
}

/** Name in the handshake, and roots, as the policy has them. */
static VixError prepare_client(struct tls *t, const struct tls_policy *policy, struct err *err)
{
    uint8_t address[sizeof(struct in6_addr)];
    const char *name = policy->name;

    t->check.policy = *policy;
    if (name != NULL && name[0] != '\0' && inet_pton(AF_INET, name, address) != 1 &&
        inet_pton(AF_INET6, name, address) != 1) {
        (void)SSL_set_tlsext_host_name(t->ssl, name);
    }
    if (policy->thumbprint == NULL && policy->certificate == NULL && !policy->insecure) {
        X509_STORE *roots = tls_roots(policy->ca_file, t->check.reason, sizeof t->check.reason);
        if (roots == NULL) {
            return err_set(err, VIX_E_HOST_NETBLKDEV_HANDSHAKE, "%s: %s", t->base.peer, t->check.reason);
        }
        SSL_set1_verify_cert_store(t->ssl, roots);
        X509_STORE_free(roots);
    }
    SSL_set_connect_state(t->ssl);
    return VIX_OK;
}

VixError tls_client_start(struct stream **stream, const struct tls_policy *policy, bool legacy, struct err *err)
{
    SSL_CTX *ctx = tls_client_context(legacy, err);
    struct tls *t = NULL;

    if (ctx == NULL) {
        return VIX_E_HOST_NETBLKDEV_HANDSHAKE;
    }
    VixError result = tls_new(*stream, ctx, &t, err);
    if (result != VIX_OK) {
        return result;
    }
    result = prepare_client(t, policy, err);
    if (result != VIX_OK) {
        tls_free(t);
        return result;
    }
    result = handshake(t, stream, true, err);
    if (result == VIX_OK) {
        t->check.policy = (struct tls_policy){0}; /* the texts are the caller's */
    }
    return result;
}

VixError tls_server_start_context(struct stream **stream, SSL_CTX *ctx, struct err *err)
{
    struct tls *t = NULL;
    VixError result = tls_new(*stream, ctx, &t, err);

    if (result != VIX_OK) {
        return result;
    }
    SSL_set_accept_state(t->ssl);
    return handshake(t, stream, false, err);
}

void tls_peer_thumbprint(struct stream *s, struct thumbprint *ret_print)
{
    *ret_print = ((struct tls *)s)->check.print;
}

VixError tls_fetch_thumbprint(const char *host, uint16_t port, unsigned timeout_ms, struct thumbprint *ret_print,
                              struct err *err)
{
    const struct tls_policy anybody = {.insecure = true, .name = host};
    struct stream *stream = NULL;
    VixError result = tcp_connect(host, port, timeout_ms, &stream, err);

    if (result != VIX_OK) {
        return result;
    }
    stream_set_deadline(stream, timeout_ms);
    result = tls_client_start(&stream, &anybody, true, err);
    if (result == VIX_OK) {
        tls_peer_thumbprint(stream, ret_print);
    }
    stream_close(stream);
    return result;
}
