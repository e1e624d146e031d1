/* SPDX-License-Identifier: BSD-3-Clause */
/* net_util.h - what tests of connections share: a server on loopback, connected pairs, identities made for the test. */
#ifndef VIXDISK_TESTS_NET_UTIL_H
#define VIXDISK_TESTS_NET_UTIL_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp.h"
#include "net/thumbprint.h"
#include "net/tls.h"

static struct err err;
static char dir[] = "/tmp/vixdisk-net-XXXXXX";
static char cert_file[64], key_file[64], other_cert[64], other_key[64];
static struct tls_identity *identity;
static struct thumbprint print;
static char sha1_text[THUMBPRINT_TEXT_MAX], sha256_text[THUMBPRINT_TEXT_MAX];

static inline uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void nap(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static inline void assert_text(const char *part)
{
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, err.text);
    }
}

/* ---- connections ---- */

/** A listening socket and the thread that serves the first connection to it. */
struct server {
    int fd;
    uint16_t port;
    pthread_t thread;
    void (*serve)(struct stream **s, void *arg);
    void *arg;
};

static inline struct stream *accept_one(int listener)
{
    struct stream *s = NULL;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(tcp_from_fd(fd, "client", &s, NULL), VIX_OK);
    return s;
}

static inline void *run_server(void *arg)
{
    struct server *server = arg;
    struct stream *s = accept_one(server->fd);

    server->serve(&s, server->arg);
    stream_close(s);
    return NULL;
}

static inline void start_server(struct server *server, void (*serve)(struct stream **s, void *arg), void *arg)
{
    server->serve = serve;
    server->arg = arg;
    assert_int_equal(tcp_listen("127.0.0.1", 0, &server->fd, &server->port, &err), VIX_OK);
    assert_int_not_equal(server->port, 0);
    assert_int_equal(pthread_create(&server->thread, NULL, run_server, server), 0);
}

static inline void stop_server(struct server *server)
{
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    assert_int_equal(close(server->fd), 0);
}

static inline struct stream *connect_to(const struct server *server)
{
    struct stream *s = NULL;

    assert_int_equal(tcp_connect("127.0.0.1", server->port, 5000, &s, &err), VIX_OK);
    stream_set_deadline(s, 20000);
    return s;
}

/** Two ends of a connected pair of sockets; no thread is needed. */
static inline void make_pair(struct stream **ret_a, struct stream **ret_b)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(tcp_from_fd(fds[0], "a", ret_a, &err), VIX_OK);
    assert_int_equal(tcp_from_fd(fds[1], "b", ret_b, &err), VIX_OK);
}

/* ---- identities ---- */

static inline int set_up(void **state)
{
    static const char *const names[] = {"disk-host.example", "127.0.0.1", "::1", "second.example"};
    static const char *const other_names[] = {"other.example"};

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(cert_file, sizeof cert_file, "%s/cert.pem", dir);
    (void)snprintf(key_file, sizeof key_file, "%s/key.pem", dir);
    (void)snprintf(other_cert, sizeof other_cert, "%s/other-cert.pem", dir);
    (void)snprintf(other_key, sizeof other_key, "%s/other-key.pem", dir);
    assert_int_equal(tls_identity_create(names, 4, cert_file, key_file, &err), VIX_OK);
    assert_int_equal(tls_identity_create(other_names, 1, other_cert, other_key, &err), VIX_OK);
    assert_int_equal(tls_identity_load(cert_file, key_file, &identity, &err), VIX_OK);
    tls_identity_thumbprint(identity, &print);
    thumbprint_format(print.sha1, sizeof print.sha1, sha1_text);
    thumbprint_format(print.sha256, sizeof print.sha256, sha256_text);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    tls_identity_free(identity);
    (void)unlink(cert_file);
    (void)unlink(key_file);
    (void)unlink(other_cert);
    (void)unlink(other_key);
    return rmdir(dir);
}

static inline void *read_until_lost(void *arg)
{
    struct stream *s = arg;
    char c;

    return (void *)(intptr_t)stream_read(s, &c, 1, NULL);
}

static inline void shutdown_wakes_reader(struct stream *s)
{
    pthread_t thread;
    void *result = NULL;

    s->read_timeout_ms = 20000;
    assert_int_equal(pthread_create(&thread, NULL, read_until_lost, s), 0);
    nap(30);
    uint64_t begin = now_ms();
    s->ops->shutdown(s);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_true(now_ms() - begin < 5000);
    assert_int_equal((intptr_t)result, VIX_E_HOST_TCP_CONN_LOST);
    assert_int_equal(stream_write(s, "x", 1, &err), VIX_E_HOST_TCP_CONN_LOST);
}

#endif
