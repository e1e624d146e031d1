/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams: TCP and TLS over loopback, both ends in this program. */
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

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void nap(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static void assert_text(const char *part)
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

static struct stream *accept_one(int listener)
{
    struct stream *s = NULL;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(tcp_from_fd(fd, "client", &s, NULL), VIX_OK);
    return s;
}

static void *run_server(void *arg)
{
    struct server *server = arg;
    struct stream *s = accept_one(server->fd);

    server->serve(&s, server->arg);
    stream_close(s);
    return NULL;
}

static void start_server(struct server *server, void (*serve)(struct stream **s, void *arg), void *arg)
{
    server->serve = serve;
    server->arg = arg;
    assert_int_equal(tcp_listen("127.0.0.1", 0, &server->fd, &server->port, &err), VIX_OK);
    assert_int_not_equal(server->port, 0);
    assert_int_equal(pthread_create(&server->thread, NULL, run_server, server), 0);
}

static void stop_server(struct server *server)
{
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    assert_int_equal(close(server->fd), 0);
}

static struct stream *connect_to(const struct server *server)
{
    struct stream *s = NULL;

    assert_int_equal(tcp_connect("127.0.0.1", server->port, 5000, &s, &err), VIX_OK);
    stream_set_deadline(s, 20000);
    return s;
}

/** Two ends of a connected pair of sockets; no thread is needed. */
static void make_pair(struct stream **ret_a, struct stream **ret_b)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(tcp_from_fd(fds[0], "a", ret_a, &err), VIX_OK);
    assert_int_equal(tcp_from_fd(fds[1], "b", ret_b, &err), VIX_OK);
}

/* ---- thumbprints ---- */

static void thumbprint_texts(void **state)
{
    struct thumbprint p;
    char text[THUMBPRINT_TEXT_MAX];

    (void)state;
    for (unsigned i = 0; i < sizeof p.sha256; i++) {
        p.sha256[i] = (uint8_t)(i * 7 + 1);
    }
    for (unsigned i = 0; i < sizeof p.sha1; i++) {
        p.sha1[i] = (uint8_t)(0xf0 + i);
    }
    thumbprint_format(p.sha1, sizeof p.sha1, text);
    assert_string_equal(text, "F0:F1:F2:F3:F4:F5:F6:F7:F8:F9:FA:FB:FC:FD:FE:FF:00:01:02:03");
    assert_true(thumbprint_matches(text, &p));
    assert_true(thumbprint_matches("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00010203", &p));
    assert_true(thumbprint_matches(" f0:F1 f2:f3:f4:f5:f6:f7:f8:f9:fa:fb:fc:fd:fe:ff:00:01:02:03\n", &p));
    assert_false(thumbprint_matches("F0:F1:F2:F3:F4:F5:F6:F7:F8:F9:FA:FB:FC:FD:FE:FF:00:01:02:04", &p));
    assert_false(thumbprint_matches("F0:F1:F2:F3:F4:F5:F6:F7:F8:F9:FA:FB:FC:FD:FE:FF:00:01:02", &p));
    assert_false(thumbprint_matches("F0:F1:F2:F3:F4:F5:F6:F7:F8:F9:FA:FB:FC:FD:FE:FF:00:01:02:0g", &p));
    assert_false(thumbprint_matches("", &p));
    thumbprint_format(p.sha256, sizeof p.sha256, text);
    assert_int_equal(strlen(text), 95);
    assert_true(thumbprint_matches(text, &p));
    assert_int_equal(thumbprint_digest_len(text), 32);
    text[94] = text[94] == '0' ? '1' : '0';
    assert_false(thumbprint_matches(text, &p));
    assert_true(thumbprint_is_valid(text));
    assert_false(thumbprint_is_valid("00:11"));
    assert_false(
        thumbprint_is_valid("F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF00010203F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF00010203"));
}

/* ---- TCP ---- */

static void connect_failures(void **state)
{
    struct stream *s = NULL;
    uint16_t port = 0;
    int fd = -1;

    (void)state;
    assert_int_equal(tcp_listen("127.0.0.1", 0, &fd, &port, &err), VIX_OK);
    assert_int_equal(close(fd), 0); /* nobody listens there now */
    assert_int_equal(tcp_connect("127.0.0.1", port, 5000, &s, &err), VIX_E_HOST_NETWORK_CONN_REFUSED);
    assert_text("127.0.0.1:");
    assert_int_equal(tcp_connect("[::1]", port, 5000, &s, NULL) == VIX_OK, 0);
    assert_int_equal(tcp_connect("no-such-host.invalid", 902, 5000, &s, &err), VIX_E_HOST_SERVER_NOT_FOUND);
    assert_text("no-such-host.invalid:902: ");
    assert_int_equal(tcp_connect("", 902, 5000, &s, NULL) == VIX_OK, 0);
    assert_int_equal(tcp_listen("not an address", 0, &fd, &port, &err), VIX_E_INVALID_ARG);
    assert_null(s);
}

/** A listener whose queue is full lets nobody in: the connection must end with its time. */
static void connect_times_out(void **state)
{
    struct stream *s = NULL;
    int queue[8];
    const int queued = sizeof queue / sizeof queue[0];
    int fd = -1;
    uint16_t port = 0;
    struct sockaddr_storage address;
    socklen_t len = sizeof address;

    (void)state;
    assert_int_equal(tcp_listen("127.0.0.1", 0, &fd, &port, &err), VIX_OK);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    for (int i = 0; i < queued; i++) {
        queue[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(queue[i], (struct sockaddr *)&address, len);
    }
    uint64_t begin = now_ms();
    assert_int_equal(tcp_connect("127.0.0.1", port, 200, &s, &err), VIX_E_HOST_TCP_SOCKET_ERROR);
    uint64_t took = now_ms() - begin;
    assert_text("200 ms");
    assert_true(took >= 200 && took < 3000);
    for (int i = 0; i < queued; i++) {
        (void)close(queue[i]);
    }
    (void)close(fd);
}

static void serve_lines(struct stream **s, void *arg)
{
    (void)arg;
    assert_int_equal(stream_write(*s, "220 one\r\ntwo\n\nrest", 18, NULL), VIX_OK);
}

static void lines(void **state)
{
    struct server server;
    char line[16], rest[8];

    (void)state;
    start_server(&server, serve_lines, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(fcntl((int)server.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "220 one");
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "two");
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "");
    assert_int_equal(stream_read(s, rest, 4, &err), VIX_OK); /* nothing behind the line was taken */
    assert_memory_equal(rest, "rest", 4);
    assert_int_equal(stream_read(s, rest, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text("0 of 1 bytes");
    assert_int_equal(s->bytes_in, 18);
    stream_close(s);
    stop_server(&server);
}

static void line_limits(void **state)
{
    struct stream *a, *b;
    char line[8];

    (void)state;
    make_pair(&a, &b);
    assert_int_equal(stream_write(a, "1234567\n12345678\n", 17, &err), VIX_OK);
    assert_int_equal(stream_read_line(b, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "1234567");
    assert_int_equal(stream_read_line(b, line, sizeof line, &err), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("7 bytes");
    stream_close(a);
    stream_close(b);

    make_pair(&a, &b);
    assert_int_equal(stream_write(a, "12\0004\n", 5, &err), VIX_OK);
    assert_int_equal(stream_read_line(b, line, sizeof line, &err), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    stream_close(a);
    assert_int_equal(stream_read(b, line, 2, &err), VIX_OK);
    assert_int_equal(stream_read_line(b, line, sizeof line, &err), VIX_E_HOST_TCP_CONN_LOST);
    stream_close(b);
}

static void time_outs(void **state)
{
    struct stream *a, *b;
    static char big[4 << 20];
    char c;

    (void)state;
    make_pair(&a, &b);
    a->read_timeout_ms = 50;
    uint64_t begin = now_ms();
    assert_int_equal(stream_read(a, &c, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text("time-out");
    assert_text(" 50 ms");
    assert_true(now_ms() - begin >= 50);
    a->write_timeout_ms = 60; /* b does not read */
    assert_int_equal(stream_write(a, big, sizeof big, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text(" 60 ms");
    a->read_timeout_ms = 10000;
    stream_set_deadline(a, 40); /* the nearer of the two counts */
    begin = now_ms();
    assert_int_equal(stream_read(a, &c, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text(" 40 ms");
    assert_true(now_ms() - begin < 5000);
    assert_int_equal(stream_write(b, "x", 1, &err), VIX_OK); /* bytes that are there do not lift a deadline */
    assert_int_equal(stream_read(a, &c, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    stream_set_deadline(a, 0);
    assert_true(tcp_readable(a));
    assert_int_equal(stream_read(a, &c, 1, &err), VIX_OK);
    assert_false(tcp_readable(a));
    stream_close(b);
    assert_true(tcp_readable(a));
    stream_close(a);
}

static void *read_until_lost(void *arg)
{
    struct stream *s = arg;
    char c;

    return (void *)(intptr_t)stream_read(s, &c, 1, NULL);
}

static void shutdown_wakes_reader(struct stream *s)
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

static void shutdown_tcp(void **state)
{
    struct stream *a, *b;

    (void)state;
    make_pair(&a, &b);
    shutdown_wakes_reader(a);
    stream_close(a);
    stream_close(b);
}

/* ---- identities ---- */

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    tls_identity_free(identity);
    (void)unlink(cert_file);
    (void)unlink(key_file);
    (void)unlink(other_cert);
    (void)unlink(other_key);
    return rmdir(dir);
}

static void identities(void **state)
{
    static const char *const names[] = {"x"};
    struct tls_identity *none = NULL;
    struct stat st;
    char path[80];

    (void)state;
    assert_int_equal(stat(key_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(tls_identity_create(names, 1, cert_file, key_file, &err), VIX_E_FILE_ALREADY_EXISTS);
    (void)snprintf(path, sizeof path, "%s/new-key.pem", dir); /* the certificate's file is there, so neither stays */
    assert_int_equal(tls_identity_create(names, 1, cert_file, path, &err), VIX_E_FILE_ALREADY_EXISTS);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(tls_identity_create(names, 0, path, path, &err), VIX_E_INVALID_ARG);
    assert_int_equal(tls_identity_load(cert_file, path, &none, &err), VIX_E_FILE_NOT_FOUND);
    assert_int_equal(tls_identity_load(cert_file, other_key, &none, &err), VIX_E_INVALID_ARG);
    assert_int_equal(tls_identity_load(key_file, key_file, &none, &err), VIX_E_INVALID_ARG);
    assert_null(none);
}

/* ---- TLS ---- */

/** Greets, then gives back what it reads until the other side ends. */
static void serve_echo(struct stream **s, void *arg)
{
    char buf[512];

    (void)arg;
    stream_set_deadline(*s, 20000);
    if (tls_server_start(s, identity, NULL) != VIX_OK) {
        return;
    }
    for (;;) {
        struct iovec piece = {.iov_base = buf, .iov_len = sizeof buf};
        size_t got = 0;
        if ((*s)->ops->readv(*s, &piece, 1, &got, NULL) != VIX_OK || got == 0 ||
            stream_write(*s, buf, got, NULL) != VIX_OK) {
            return;
        }
    }
}

/** One handshake under a policy; on success bytes go there and back. */
static VixError try_policy(const struct tls_policy *policy)
{
    struct server server;
    char back[6] = "";

    start_server(&server, serve_echo, NULL);
    struct stream *s = connect_to(&server);
    VixError result = tls_client_start(&s, policy, false, &err);
    if (result == VIX_OK) {
        struct thumbprint found;
        tls_peer_thumbprint(s, &found);
        assert_memory_equal(found.sha256, print.sha256, sizeof found.sha256);
        assert_string_equal(s->ops->kind, "tls");
        assert_int_equal(stream_write(s, "hello", 5, &err), VIX_OK);
        assert_int_equal(stream_read(s, back, 5, &err), VIX_OK);
        assert_string_equal(back, "hello");
        assert_int_equal(s->bytes_in, 5);
        assert_int_equal(s->bytes_out, 5);
    } else {
        assert_string_equal(s->ops->kind, "tcp");
        assert_text("127.0.0.1:");
    }
    stream_close(s);
    stop_server(&server);
    return result;
}

static void policy_thumbprint(void **state)
{
    char wrong1[THUMBPRINT_TEXT_MAX], wrong256[THUMBPRINT_TEXT_MAX];

    (void)state;
    memcpy(wrong1, sha1_text, sizeof wrong1);
    memcpy(wrong256, sha256_text, sizeof wrong256);
    wrong1[0] = wrong1[0] == '0' ? '1' : '0';
    wrong256[94] = wrong256[94] == '0' ? '1' : '0';
    assert_int_equal(try_policy(&(struct tls_policy){.thumbprint = sha1_text}), VIX_OK);
    assert_int_equal(try_policy(&(struct tls_policy){.thumbprint = sha256_text}), VIX_OK);
    assert_int_equal(try_policy(&(struct tls_policy){.thumbprint = wrong1}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text(wrong1);
    assert_text(sha1_text);
    assert_int_equal(try_policy(&(struct tls_policy){.thumbprint = wrong256}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text(wrong256);
    assert_text(sha256_text);
    /* looked at first, and never skipped */
    assert_int_equal(try_policy(&(struct tls_policy){.thumbprint = wrong1, .insecure = true}),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_int_equal(try_policy(&(struct tls_policy){.thumbprint = ""}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
}

static char *read_text(const char *path)
{
    char *text = calloc(1, 16384);
    FILE *f = fopen(path, "re");

    assert_non_null(text);
    assert_non_null(f);
    assert_true(fread(text, 1, 16383, f) > 0);
    (void)fclose(f);
    return text;
}

static void policy_certificate(void **state)
{
    char *same = read_text(cert_file);
    char *other = read_text(other_cert);

    (void)state;
    assert_int_equal(try_policy(&(struct tls_policy){.certificate = same}), VIX_OK);
    assert_int_equal(try_policy(&(struct tls_policy){.certificate = other}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text(sha256_text);
    assert_int_equal(try_policy(&(struct tls_policy){.certificate = "nonsense"}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    free(same);
    free(other);
}

static void policy_chain(void **state)
{
    (void)state;
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = cert_file, .name = "disk-host.example"}), VIX_OK);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = cert_file, .name = "127.0.0.1"}), VIX_OK);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = cert_file, .name = "::1"}), VIX_OK);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = cert_file, .name = "wrong.example"}),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("certificate refused");
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = cert_file, .name = "127.0.0.2"}),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = cert_file}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = other_cert, .name = "disk-host.example"}),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text(sha256_text);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = "/nonexistent", .name = "disk-host.example"}),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_int_equal(try_policy(&(struct tls_policy){.ca_file = key_file, .name = "disk-host.example"}),
                     VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    /* the machine's roots do not know it */
    assert_int_equal(try_policy(&(struct tls_policy){.name = "disk-host.example"}), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_int_equal(try_policy(&(struct tls_policy){.insecure = true}), VIX_OK);
}

static void fetch(void **state)
{
    struct server server;
    struct thumbprint found = {{0}, {0}};

    (void)state;
    start_server(&server, serve_echo, NULL);
    assert_int_equal(tls_fetch_thumbprint("127.0.0.1", server.port, 20000, &found, &err), VIX_OK);
    assert_memory_equal(found.sha1, print.sha1, sizeof found.sha1);
    assert_memory_equal(found.sha256, print.sha256, sizeof found.sha256);
    stop_server(&server);
}

/** Clear text, TLS, clear text, TLS again, on one connection; each part follows the one before without a pause, so that
 * everything lies together in the client's socket. */
static void serve_parts(struct stream **s, void *arg)
{
    char line[32];

    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(stream_write(*s, "220 banner\r\n", 12, NULL), VIX_OK);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_read_line(*s, line, sizeof line, NULL), VIX_OK);
    assert_string_equal(line, "SESSION secret");
    assert_int_equal(stream_write(*s, "200 inside\r\n", 12, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_string_equal((*s)->ops->kind, "tcp");
    assert_int_equal(stream_write(*s, "\x17\x03\x03\x00\x04MAGIC", 10, NULL), VIX_OK); /* as a record begins */
    assert_int_equal(stream_read_line(*s, line, sizeof line, NULL), VIX_OK);
    assert_string_equal(line, "clear");
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "second", 6, NULL), VIX_OK);
    assert_int_equal(stream_read(*s, line, 1, NULL), VIX_OK);
}

static void abandon(void **state)
{
    const struct tls_policy policy = {.thumbprint = sha1_text};
    struct server server;
    char line[32];

    (void)state;
    start_server(&server, serve_parts, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "220 banner");
    assert_int_equal(tls_client_start(&s, &policy, false, &err), VIX_OK);
    assert_int_equal(stream_write(s, "SESSION secret\r\n", 16, &err), VIX_OK);
    assert_int_equal(stream_read(s, line, 4, &err), VIX_OK);
    assert_int_equal(tls_abandon(&s, &err), VIX_E_HOST_NETBLKDEV_HANDSHAKE); /* the rest of the line waits */
    assert_text("8 bytes");
    nap(30); /* the clear text is there, and may be taken together with the last record */
    assert_int_equal(stream_read_line(s, line, sizeof line, &err), VIX_OK);
    assert_string_equal(line, "inside");
    assert_int_equal(tls_abandon(&s, &err), VIX_OK);
    assert_string_equal(s->ops->kind, "tcp");
    assert_int_equal(stream_read(s, line, 10, &err), VIX_OK);
    assert_memory_equal(line, "\x17\x03\x03\x00\x04MAGIC", 10);
    assert_int_equal(stream_write(s, "clear\n", 6, &err), VIX_OK);
    assert_int_equal(tls_client_start(&s, &policy, false, &err), VIX_OK);
    assert_int_equal(stream_read(s, line, 6, &err), VIX_OK);
    assert_memory_equal(line, "second", 6);
    assert_int_equal(stream_write(s, "!", 1, &err), VIX_OK);
    stream_close(s);
    stop_server(&server);
}

/** Reads all at once although less comes: what follows TLS must come out of the stream below, every byte of it. */
static void serve_mixed(struct stream **s, void *arg)
{
    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "tls", 3, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "clear text behind it", 20, NULL), VIX_OK);
}

static void abandon_keeps_read_ahead(void **state)
{
    struct server server;
    char text[32];
    struct iovec pieces[2] = {{.iov_base = text, .iov_len = 1}, {.iov_base = text + 1, .iov_len = sizeof text - 1}};
    size_t got = 0;

    (void)state;
    start_server(&server, serve_mixed, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    stop_server(&server); /* everything has been sent */
    assert_int_equal(s->ops->readv(s, pieces, 2, &got, &err), VIX_OK);
    assert_int_equal(got, 3);
    assert_memory_equal(text, "tls", 3);
    assert_int_equal(tls_abandon(&s, &err), VIX_OK);
    assert_true(tcp_readable(s));
    assert_int_equal(stream_read(s, text, 20, &err), VIX_OK);
    assert_memory_equal(text, "clear text behind it", 20);
    stream_close(s);
}

/* ---- both directions at once ---- */

#ifdef __SANITIZE_THREAD__
#define DUPLEX_BYTES ((size_t)16 << 20)
#else
#define DUPLEX_BYTES ((size_t)64 << 20)
#endif
#define DUPLEX_STEP ((size_t)300000)

static uint8_t byte_at(size_t off, unsigned seed)
{
    return (uint8_t)((off * 2654435761u >> 16) + seed);
}

struct side {
    struct stream *s;
    unsigned seed;
    VixError result;
    size_t wrong;
};

static void *send_much(void *arg)
{
    struct side *side = arg;
    uint8_t *buf = malloc(DUPLEX_STEP);

    for (size_t off = 0; off < DUPLEX_BYTES && side->result == VIX_OK;) {
        size_t n = DUPLEX_BYTES - off < DUPLEX_STEP ? DUPLEX_BYTES - off : DUPLEX_STEP;
        for (size_t i = 0; i < n; i++) {
            buf[i] = byte_at(off + i, side->seed);
        }
        /* a head, an empty piece, data, a tail: as messages are */
        struct iovec pieces[4] = {{buf, 48}, {buf, 0}, {buf + 48, n - 48 - 7}, {buf + n - 7, 7}};
        side->result = side->s->ops->writev(side->s, pieces, 4, NULL);
        off += n;
    }
    free(buf);
    return NULL;
}

static void *receive_much(void *arg)
{
    struct side *side = arg;
    uint8_t *buf = malloc(DUPLEX_STEP);

    for (size_t off = 0; off < DUPLEX_BYTES && side->result == VIX_OK;) {
        struct iovec pieces[3] = {{buf, 100}, {buf, 0}, {buf + 100, DUPLEX_STEP - 100}};
        size_t got = 0;
        side->result = side->s->ops->readv(side->s, pieces, 3, &got, NULL);
        if (got == 0) {
            side->wrong++;
            break;
        }
        for (size_t i = 0; i < got; i++) {
            side->wrong += buf[i] != byte_at(off + i, side->seed);
        }
        off += got;
    }
    free(buf);
    return NULL;
}

static void move_both_ways(struct stream *s, unsigned send_seed, unsigned receive_seed)
{
    struct side sender = {.s = s, .seed = send_seed};
    struct side receiver = {.s = s, .seed = receive_seed};
    pthread_t thread;

    s->read_timeout_ms = s->write_timeout_ms = 20000;
    assert_int_equal(pthread_create(&thread, NULL, send_much, &sender), 0);
    (void)receive_much(&receiver);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sender.result, VIX_OK);
    assert_int_equal(receiver.result, VIX_OK);
    assert_int_equal(receiver.wrong, 0);
    assert_int_equal(s->bytes_in, DUPLEX_BYTES);
    assert_int_equal(s->bytes_out, DUPLEX_BYTES);
}

static void serve_duplex(struct stream **s, void *arg)
{
    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    stream_set_deadline(*s, 0);
    move_both_ways(*s, 1, 2);
}

static void full_duplex(void **state)
{
    struct server server;

    (void)state;
    start_server(&server, serve_duplex, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    stream_set_deadline(s, 0);
    move_both_ways(s, 2, 1);
    stream_close(s);
    stop_server(&server);
}

/* ---- peers that fail ---- */

static void serve_silence(struct stream **s, void *arg)
{
    char c;

    (void)arg;
    stream_set_deadline(*s, 20000);
    (void)tls_server_start(s, identity, NULL);
    (void)stream_read(*s, &c, 1, NULL); /* until the other side ends */
}

static void shutdown_tls(void **state)
{
    struct server server;

    (void)state;
    start_server(&server, serve_silence, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    stream_set_deadline(s, 0);
    s->read_timeout_ms = 40;
    char c;
    assert_int_equal(stream_read(s, &c, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text(" 40 ms");
    shutdown_wakes_reader(s);
    stream_close(s);
    stop_server(&server);
}

/** Ends without a word, in the middle of a record that TLS has begun: nothing of it may come out. */
static void serve_vanish(struct stream **s, void *arg)
{
    char c;

    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "whole", 5, NULL), VIX_OK);
    assert_int_equal(stream_read(*s, &c, 1, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, "\x17\x03\x03\x01\x00 a part of a record", 25, NULL), VIX_OK);
}

static void peer_vanishes(void **state)
{
    struct server server;
    char text[64];

    (void)state;
    start_server(&server, serve_vanish, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    assert_int_equal(stream_write(s, "!", 1, &err), VIX_OK);
    assert_int_equal(stream_read(s, text, 10, &err), VIX_E_HOST_TCP_CONN_LOST);
    assert_text("5 of 10 bytes");
    stream_close(s);
    stop_server(&server);
}

/** Records with nothing in them, or changed on the way, end the stream with an error and no bytes. */
static void serve_forged(struct stream **s, void *arg)
{
    static const char forged[] = "\x17\x03\x03\x00\x21 thirty bytes of no record at all";

    (void)arg;
    stream_set_deadline(*s, 20000);
    assert_int_equal(tls_server_start(s, identity, NULL), VIX_OK);
    assert_int_equal(tls_abandon(s, NULL), VIX_OK);
    assert_int_equal(stream_write(*s, forged, sizeof forged - 1, NULL), VIX_OK);
}

static void forged_record(void **state)
{
    struct server server;
    char text[64];

    (void)state;
    start_server(&server, serve_forged, NULL);
    struct stream *s = connect_to(&server);
    assert_int_equal(tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err), VIX_OK);
    assert_int_equal(stream_read(s, text, 10, &err), VIX_E_HOST_NETBLKDEV_HANDSHAKE);
    assert_text("TLS");
    assert_int_not_equal(stream_read(s, text, 10, &err), VIX_OK);
    stream_close(s);
    stop_server(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thumbprint_texts),  cmocka_unit_test(connect_failures),
        cmocka_unit_test(connect_times_out), cmocka_unit_test(lines),
        cmocka_unit_test(line_limits),       cmocka_unit_test(time_outs),
        cmocka_unit_test(shutdown_tcp),      cmocka_unit_test(identities),
        cmocka_unit_test(policy_thumbprint), cmocka_unit_test(policy_certificate),
        cmocka_unit_test(policy_chain),      cmocka_unit_test(fetch),
        cmocka_unit_test(abandon),           cmocka_unit_test(abandon_keeps_read_ahead),
        cmocka_unit_test(full_duplex),       cmocka_unit_test(shutdown_tls),
        cmocka_unit_test(peer_vanishes),     cmocka_unit_test(forged_record),
    };
    return cmocka_run_group_tests_name("net", tests, set_up, tear_down);
}
