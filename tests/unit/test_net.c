/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections: addresses, time-outs, lines, thumbprints, whose certificate is accepted. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>

#include "net_util.h"

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
/* Nothing is said for a while: the peer is probed before a router on the way forgets the connection. */
static void idle_connections(void **state)
{
    static const struct {
        int option, value;
    } wanted[] = {{TCP_KEEPIDLE, 60}, {TCP_KEEPINTVL, 10}, {TCP_KEEPCNT, 6}};
    struct stream *s = NULL;
    int listener = -1;
    uint16_t port = 0;
    int on = 0;
    socklen_t len = sizeof on;

    (void)state;
    assert_int_equal(tcp_listen("127.0.0.1", 0, &listener, &port, NULL), VIX_OK);
    struct stream *other = NULL;
    assert_int_equal(tcp_connect("127.0.0.1", port, 5000, &other, NULL), VIX_OK);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_equal(tcp_from_fd(fd, "client", &s, NULL), VIX_OK);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
    assert_int_equal(on, 1);
    for (unsigned i = 0; i < 3; i++) {
        int found = 0;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, wanted[i].option, &found, &len), 0);
        assert_int_equal(found, wanted[i].value);
    }
    stream_close(s);
    stream_close(other);
    (void)close(listener);
}

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

static void on_signal(int number)
{
    (void)number;
}

static atomic_bool enough;

static void *send_signals(void *arg)
{
    const pthread_t *thread = arg;

    for (unsigned i = 0; i < 500 && !atomic_load(&enough); i++) {
        nap(10);
        (void)pthread_kill(*thread, SIGUSR1);
    }
    return NULL;
}

/** A program's signals, which come more often than a time-out ends, do not make it longer. */
static void time_out_among_signals(void **state)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct sigaction old;
    struct stream *a, *b;
    pthread_t self = pthread_self();
    pthread_t thread;
    char c;

    (void)state;
    make_pair(&a, &b);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    assert_int_equal(pthread_create(&thread, NULL, send_signals, &self), 0);
    a->read_timeout_ms = 60;
    uint64_t begin = now_ms();
    assert_int_equal(stream_read(a, &c, 1, &err), VIX_E_HOST_TCP_CONN_LOST);
    uint64_t took = now_ms() - begin;
    atomic_store(&enough, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
    assert_text(" 60 ms");
    assert_true(took >= 60 && took < 3000);
    stream_close(a);
    stream_close(b);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thumbprint_texts),
        cmocka_unit_test(connect_failures),
        cmocka_unit_test(connect_times_out),
        cmocka_unit_test(idle_connections),
        cmocka_unit_test(lines),
        cmocka_unit_test(line_limits),
        cmocka_unit_test(time_outs),
        cmocka_unit_test(time_out_among_signals),
        cmocka_unit_test(shutdown_tcp),
        cmocka_unit_test(identities),
        cmocka_unit_test(policy_thumbprint),
        cmocka_unit_test(policy_certificate),
        cmocka_unit_test(policy_chain),
        cmocka_unit_test(fetch),
    };
    return cmocka_run_group_tests_name("net", tests, set_up, tear_down);
}
