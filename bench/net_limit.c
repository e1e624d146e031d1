/* SPDX-License-Identifier: BSD-3-Clause */
/* net_limit - what one connection over loopback can carry: the limits beside which remote disks are measured.
 *
 * usage: net_limit socket|tls|stream|streamtls GIB [FROM TO]
 *   socket  plain send and recv of 1 MiB at a time
 *   tls     OpenSSL as s_server and s_client use it: SSL_write and SSL_read on a blocking socket, AES-128-GCM
 *   stream, streamtls  the same through src/net
 * With two files (socket and tls) it is a copy: what is sent is read from FROM, what is received is written to TO.
 * Prints the seconds, and GiB/s. One thread sends, the main thread receives. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/tcp.h"
#include "net/tls.h"

#define STEP ((size_t)1 << 20)

enum way { WAY_SOCKET, WAY_TLS, WAY_STREAM, WAY_STREAMTLS, WAYS };
static const char *const way_names[WAYS] = {"socket", "tls", "stream", "streamtls"};

static enum way way;
static size_t total;
static int from = -1, to = -1;
static char dir[] = "/tmp/net-limit-XXXXXX";
static char cert_file[64], key_file[64];
static struct err err;

static void die(const char *what)
{
    (void)fprintf(stderr, "net_limit: %s %s\n", what, err.text);
    exit(1);
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What is sent next, `at` bytes from the start: of the file, if there is one. */
static void fill(char *buf, size_t want, size_t at)
{
    if (from >= 0 && pread(from, buf, want, (off_t)at) != (ssize_t)want) {
        die("read");
    }
}

static void keep(const char *buf, size_t n, size_t at)
{
    if (to >= 0 && pwrite(to, buf, n, (off_t)at) != (ssize_t)n) {
        die("write");
    }
}

static void send_socket(int fd, char *buf)
{
    for (size_t done = 0; done < total;) {
        size_t want = total - done < STEP ? total - done : STEP;
        fill(buf, want, done);
        for (size_t sent = 0; sent < want;) {
            ssize_t n = send(fd, buf + sent, want - sent, MSG_NOSIGNAL);
            if (n <= 0) {
                die("send");
            }
            sent += (size_t)n;
        }
        done += want;
    }
}

static void receive_socket(int fd, char *buf)
{
    for (size_t done = 0; done < total;) {
        ssize_t n = recv(fd, buf, STEP, 0);
        if (n <= 0) {
            die("recv");
        }
        keep(buf, (size_t)n, done);
        done += (size_t)n;
    }
}

static SSL *start_ssl(int fd, bool server)
{
    SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

    if (ctx == NULL || SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1) {
        die("SSL_CTX");
    }
    if (server && (SSL_CTX_use_certificate_file(ctx, cert_file, SSL_FILETYPE_PEM) != 1 ||
                   SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)) {
        die("certificate");
    }
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if ((server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1) {
        die("handshake");
    }
    return ssl;
}

static void send_tls(SSL *ssl, char *buf)
{
    for (size_t done = 0; done < total;) {
        size_t want = total - done < STEP ? total - done : STEP;
        size_t n = 0;
        fill(buf, want, done);
        if (SSL_write_ex(ssl, buf, want, &n) != 1) {
            die("SSL_write");
        }
        done += n;
    }
}

static void receive_tls(SSL *ssl, char *buf)
{
    for (size_t done = 0; done < total;) {
        size_t n = 0;
        if (SSL_read_ex(ssl, buf, STEP, &n) != 1) {
            die("SSL_read");
        }
        keep(buf, n, done);
        done += n;
    }
}

static void send_stream(struct stream *s, const char *buf)
{
    for (size_t done = 0; done < total; done += STEP) {
        if (stream_write(s, buf, total - done < STEP ? total - done : STEP, &err) != VIX_OK) {
            die("write");
        }
    }
}

static void receive_stream(struct stream *s, char *buf)
{
    for (size_t done = 0; done < total; done += STEP) {
        if (stream_read(s, buf, total - done < STEP ? total - done : STEP, &err) != VIX_OK) {
            die("read");
        }
    }
}

static struct stream *start_stream(int fd, bool server)
{
    struct stream *s = NULL;
    struct tls_identity *identity = NULL;

    if (tcp_from_fd(fd, "loopback", &s, &err) != VIX_OK) {
        die("stream");
    }
    if (way == WAY_STREAM) {
        return s;
    }
    if (server) {
        if (tls_identity_load(cert_file, key_file, &identity, &err) != VIX_OK ||
            tls_server_start(&s, identity, &err) != VIX_OK) {
            die("server");
        }
        tls_identity_free(identity);
    } else if (tls_client_start(&s, &(struct tls_policy){.insecure = true}, false, &err) != VIX_OK) {
        die("client");
    }
    return s;
}

static void *sender(void *arg)
{
    int fd = accept(*(int *)arg, NULL, NULL);
    char *buf = aligned_alloc(4096, STEP);

    if (fd < 0 || buf == NULL) {
        die("accept");
    }
    memset(buf, 0x5a, STEP);
    if (way == WAY_SOCKET) {
        send_socket(fd, buf);
    } else if (way == WAY_TLS) {
        send_tls(start_ssl(fd, true), buf);
    } else {
        send_stream(start_stream(fd, true), buf);
    }
    free(buf);
    return NULL;
}

static int connect_to(uint16_t port)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        die("connect");
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void receive(int fd)
{
    char *buf = aligned_alloc(4096, STEP);

    if (buf == NULL) {
        die("memory");
    }
    if (way == WAY_SOCKET) {
        receive_socket(fd, buf);
    } else if (way == WAY_TLS) {
        receive_tls(start_ssl(fd, false), buf);
    } else {
        receive_stream(start_stream(fd, false), buf);
    }
    free(buf);
}

static void make_certificate(void)
{
    static const char *const names[] = {"localhost"};

    if (mkdtemp(dir) == NULL) {
        die("folder");
    }
    (void)snprintf(cert_file, sizeof cert_file, "%s/cert.pem", dir);
    (void)snprintf(key_file, sizeof key_file, "%s/key.pem", dir);
    if (tls_identity_create(names, 1, cert_file, key_file, &err) != VIX_OK) {
        die("certificate");
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    uint16_t port = 0;
    int fd = -1;

    while (way < WAYS && (argc < 3 || strcmp(argv[1], way_names[way]) != 0)) {
        way++;
    }
    double gib = argc >= 3 ? atof(argv[2]) : 0;
    if (way == WAYS || gib <= 0 || (argc != 3 && (argc != 5 || way > WAY_TLS))) {
        (void)fprintf(stderr, "usage: net_limit socket|tls|stream|streamtls GIB [FROM TO]\n");
        return 2;
    }
    if (argc == 5) {
        from = open(argv[3], O_RDONLY | O_CLOEXEC);
        to = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (from < 0 || to < 0) {
            die("files");
        }
    }
    total = (size_t)(gib * 1024) << 20;
    make_certificate();
    if (tcp_listen("127.0.0.1", 0, &fd, &port, &err) != VIX_OK || pthread_create(&thread, NULL, sender, &fd) != 0) {
        die("listen");
    }
    double begin = now();
    receive(connect_to(port));
    double seconds = now() - begin;
    (void)pthread_join(thread, NULL);
    (void)unlink(cert_file);
    (void)unlink(key_file);
    (void)rmdir(dir);
    (void)printf("%.6f seconds, %.2f GiB/s\n", seconds, gib / seconds);
    return 0;
}
