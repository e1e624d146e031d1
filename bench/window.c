/* SPDX-License-Identifier: BSD-3-Clause */
/* window.c - a client that keeps some requests under way and a server that answers each with so many bytes, and nothing
 * else: what is left to win on a long line.
 *
 * usage: window serve SIZE
 *        window ask PORT SIZE COUNT DEPTH
 *   serve  prints the port that it listens on; serves one connection after another until it is ended
 *   ask    COUNT requests, DEPTH of them at once, one byte each; prints the seconds */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 1024u

static size_t size;

static void die(const char *what)
{
    (void)fprintf(stderr, "window: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void send_all(int fd, const char *buf, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, buf + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            die("send");
        }
        done += (size_t)n;
    }
}

static int loopback_socket(struct sockaddr_in *address, uint16_t port)
{
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void no_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void answer(int fd, const char *buf)
{
    char asked[DEPTH_MAX];
    ssize_t n;

    while ((n = recv(fd, asked, sizeof asked, 0)) > 0) {
        for (; n > 0; n--) {
            send_all(fd, buf, size);
        }
    }
}

static void serve(void)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    int fd = loopback_socket(&address, 0);
    char *buf = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);

    if (buf == NULL || fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        die("listen");
    }
    memset(buf, 0x5a, size);
    (void)printf("%u\n", (unsigned)ntohs(address.sin_port));
    (void)fflush(stdout);
    for (;;) {
        int client = accept(fd, NULL, NULL);
        if (client < 0) {
            die("accept");
        }
        no_delay(client);
        answer(client, buf);
        (void)close(client);
    }
}

static void ask(uint16_t port, unsigned long count, unsigned depth)
{
    static const char wanted[DEPTH_MAX];
    struct sockaddr_in address;
    char *buf = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    int fd = loopback_socket(&address, port);

    if (buf == NULL || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        die("connect");
    }
    no_delay(fd);
    memset(buf, 0, size);
    double begin = now();
    unsigned long asked = depth < count ? depth : count;
    send_all(fd, wanted, asked);
    for (unsigned long done = 0; done < count; done++) {
        if (recv(fd, buf, size, MSG_WAITALL) != (ssize_t)size) {
            die("recv");
        }
        if (asked < count) {
            send_all(fd, wanted, 1);
            asked++;
        }
    }
    (void)printf("%.6f\n", now() - begin);
    (void)close(fd);
    free(buf);
}

int main(int argc, char **argv)
{
    const bool serving = argc == 3 && strcmp(argv[1], "serve") == 0;
    const bool asking = argc == 6 && strcmp(argv[1], "ask") == 0;

    size = serving ? strtoul(argv[2], NULL, 10) : asking ? strtoul(argv[3], NULL, 10) : 0;
    unsigned long count = asking ? strtoul(argv[4], NULL, 10) : 0;
    unsigned long depth = asking ? strtoul(argv[5], NULL, 10) : 0;
    if (size == 0 || (asking && (count == 0 || depth == 0 || depth > DEPTH_MAX))) {
        (void)fprintf(stderr, "usage: window serve SIZE | ask PORT SIZE COUNT DEPTH\n");
        return 2;
    }
    if (serving) {
        serve();
    }
    ask((uint16_t)atoi(argv[2]), count, (unsigned)depth);
    return 0;
}
