/* SPDX-License-Identifier: BSD-3-Clause */
/* line.c - a line between two programs on loopback that is longer or narrower than loopback is: a proxy that delivers
 * what it takes after a delay, and no faster than a rate.
 *
 * What goes to PORT is held for the whole of the delay, what comes from there not at all: who asks and waits sees a
 * round trip that is so much longer, wherever the time is spent. Answers that are under way would be megabytes, which a
 * long line has on the wire, and a proxy in the memory of the machine whose processors it shares with both ends.
 *
 * usage: line PORT DELAY-MS MBIT
 *   PORT of 127.0.0.1 to connect to for each connection that comes; DELAY-MS of a round trip; MBIT per second and
 *   direction, 0: as fast as it goes
 * Prints the port that it listens on, runs until standard input ends, and prints how many bytes came from PORT. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE ((size_t)256 << 10)
#define QUEUE 512 /* pieces under way in one direction: 128 MiB when they are full */
#define PIPE_BYTES ((size_t)1 << 20)
#define LATE_NS 10000000u /* by so much at most the line makes up for a processor that was busy */

struct piece {
    uint64_t due_ns;
    size_t len; /* 0: the end */
    unsigned char *bytes;
};

/** One direction of a connection. */
struct pipe {
    int from, to;
    uint64_t delay_ns;
    bool counted;
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct piece pieces[QUEUE];
    unsigned first, count;
    unsigned char *spare[QUEUE + 2]; /* buffers that are used again, the last one first: memory that is touched for the
                                        first time takes longer than the copy */
    unsigned spare_count;
};

static uint64_t delay_ns;
static uint64_t bytes_per_s;
static uint16_t target;
static atomic_uint_fast64_t carried;

static void die(const char *what)
{
    (void)fprintf(stderr, "line: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    const struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

static unsigned char *take_buffer(struct pipe *p)
{
    (void)pthread_mutex_lock(&p->lock);
    unsigned char *bytes = p->spare_count > 0 ? p->spare[--p->spare_count] : malloc(PIECE);
    (void)pthread_mutex_unlock(&p->lock);
    if (bytes == NULL) {
        die("out of memory");
    }
    return bytes;
}

static void give_buffer(struct pipe *p, unsigned char *bytes)
{
    (void)pthread_mutex_lock(&p->lock);
    p->spare[p->spare_count++] = bytes;
    (void)pthread_mutex_unlock(&p->lock);
}

static void put(struct pipe *p, struct piece piece)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->count == QUEUE) {
        (void)pthread_cond_wait(&p->change, &p->lock);
    }
    p->pieces[(p->first + p->count++) % QUEUE] = piece;
    (void)pthread_cond_signal(&p->change);
    (void)pthread_mutex_unlock(&p->lock);
}

static struct piece take(struct pipe *p)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->count == 0) {
        (void)pthread_cond_wait(&p->change, &p->lock);
    }
    struct piece piece = p->pieces[p->first];
    p->first = (p->first + 1) % QUEUE;
    p->count--;
    (void)pthread_cond_signal(&p->change);
    (void)pthread_mutex_unlock(&p->lock);
    return piece;
}

/** Takes bytes in that are held, and says when each piece has arrived at the other end: the line is busy with one after
 * the other. */
static void *receiver(void *arg)
{
    struct pipe *p = arg;
    uint64_t free_at = 0;
    ssize_t n = 0;

    do {
        struct piece piece = {.bytes = take_buffer(p)};
        n = recv(p->from, piece.bytes, PIECE, 0);
        piece.len = n > 0 ? (size_t)n : 0;
        if (p->counted) {
            atomic_fetch_add(&carried, piece.len);
        }
        uint64_t now = now_ns();
        free_at = free_at > now ? free_at : now;
        if (bytes_per_s > 0) {
            free_at += piece.len * 1000000000u / bytes_per_s;
        }
        piece.due_ns = free_at + p->delay_ns;
        put(p, piece);
    } while (n > 0);
    return NULL;
}

static bool send_all(int to, const unsigned char *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(to, bytes + done, len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static void *sender(void *arg)
{
    struct pipe *p = arg;
    bool good = true;
    size_t len = 0;

    do {
        struct piece piece = take(p);
        len = piece.len;
        sleep_until(piece.due_ns);
        good = good && send_all(p->to, piece.bytes, len);
        give_buffer(p, piece.bytes);
    } while (len > 0);
    (void)shutdown(p->to, SHUT_WR);
    return NULL;
}

/** Waits until the line has carried so many bytes more, which came at once if it was busy until then; *free_at is when
 * it is free again. What this program comes too late for goes out the sooner, as a wire is not late. */
static void wait_for_line(uint64_t *free_at, bool busy, size_t len)
{
    uint64_t now = now_ns();
    uint64_t earliest = busy && now > LATE_NS ? now - LATE_NS : now;

    *free_at = (*free_at > earliest ? *free_at : earliest) + len * 1000000000u / bytes_per_s;
    sleep_until(*free_at);
}

static bool splice_all(int from, int to, size_t len)
{
    while (len > 0) {
        ssize_t n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE);
        if (n <= 0) {
            return false;
        }
        len -= (size_t)n;
    }
    return true;
}

/** A direction in which nothing is held: the kernel's pages go from socket to socket as they are, as a copy of each
 * byte would take from both ends a processor that a wire does not need. */
static void *passer(void *arg)
{
    struct pipe *p = arg;
    struct pollfd ready = {.fd = p->from, .events = POLLIN};
    const size_t most = bytes_per_s > 0 ? PIECE : PIPE_BYTES;
    uint64_t free_at = 0;
    int way[2];

    if (pipe2(way, O_CLOEXEC) != 0 || fcntl(way[1], F_SETPIPE_SZ, (int)PIPE_BYTES) < 0) {
        die("no pipe");
    }
    for (;;) {
        bool busy = bytes_per_s > 0 && poll(&ready, 1, 0) > 0;
        ssize_t n = splice(p->from, NULL, way[1], NULL, most, SPLICE_F_MOVE);
        if (n <= 0) {
            break;
        }
        if (p->counted) {
            atomic_fetch_add(&carried, (size_t)n);
        }
        if (bytes_per_s > 0) {
            wait_for_line(&free_at, busy, (size_t)n);
        }
        if (!splice_all(way[0], p->to, (size_t)n)) {
            break;
        }
    }
    (void)close(way[0]);
    (void)close(way[1]);
    (void)shutdown(p->from, SHUT_RD);
    (void)shutdown(p->to, SHUT_WR);
    return NULL;
}

static void start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, arg) != 0 || pthread_detach(thread) != 0) {
        die("no thread");
    }
}

/** A direction; lives as long as the program. */
static void start_pipe(int from, int to, uint64_t held_ns, bool counted)
{
    struct pipe *p = calloc(1, sizeof *p);
    if (p == NULL) {
        die("out of memory");
    }
    p->from = from;
    p->to = to;
    p->delay_ns = held_ns;
    p->counted = counted;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->change, NULL);
    if (held_ns == 0) {
        start(passer, p);
        return;
    }
    start(receiver, p);
    start(sender, p);
}

static int loopback_socket(struct sockaddr_in *address, uint16_t port)
{
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void *accepter(void *arg)
{
    const int on = 1;

    for (;;) {
        struct sockaddr_in address;
        int near = accept(*(int *)arg, NULL, NULL);
        int far = loopback_socket(&address, target);
        if (near < 0 || far < 0 || connect(far, (struct sockaddr *)&address, sizeof address) != 0) {
            die("cannot connect to the other end");
        }
        (void)setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        start_pipe(near, far, delay_ns, false);
        start_pipe(far, near, 0, true);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;

    if (argc != 4) {
        die("usage: line PORT DELAY-MS MBIT");
    }
    target = (uint16_t)atoi(argv[1]);
    delay_ns = (uint64_t)(atof(argv[2]) * 1e6);
    bytes_per_s = (uint64_t)(atof(argv[3]) * 1e6 / 8);
    (void)signal(SIGPIPE, SIG_IGN);      /* splice has no MSG_NOSIGNAL */
    (void)prctl(PR_SET_TIMERSLACK, 1ul); /* ns: the delay is no longer than was asked for */
    int fd = loopback_socket(&address, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        die("cannot listen");
    }
    (void)printf("%u\n", (unsigned)ntohs(address.sin_port));
    (void)fflush(stdout);
    start(accepter, &fd);
    while (getchar() != EOF) {
    }
    (void)printf("%llu\n", (unsigned long long)atomic_load(&carried));
    return 0;
}
