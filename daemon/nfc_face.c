/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections of the NFC port. One thread accepts; each connection has a thread, which reads requests, and the disks
 * are read and written by one pool for all. Limits are looked at before anything is allocated for a connection. */
#include "daemon/nfc_face.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "net/tcp.h"
#include "work/work.h"

#define MEMORY_MIN (8u << 20) /* what one connection needs at least */
#define MEMORY_SHARES 16u     /* one connection gets this part of what is left */
#define STOP_GENTLE_S 5       /* limit: s for clients to take the answers that are due when the host stops */
#define NO_FD_PAUSE_MS 100    /* own: when the process has no descriptors left */
#define ADDRESS_MAX 64u       /* own: room for an address */

struct connection {
    struct host_client client; /* first: the disks hold this */
    struct connection *next, **link;
    struct nfc_face *face;
    pthread_t thread;
    struct stream *stream; /* nfc_serve's */
    int fd;                /* a second descriptor of the socket: nfc_serve closes the first at a moment of its own */
    uint64_t memory;       /* bytes; 0: no ticket was taken */
    struct nfc_serve how;
    char address[ADDRESS_MAX];
};

struct nfc_face {
    struct host *host;
    int listen_fd, stop_fd;
    pthread_t thread;
    struct work_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a connection has */
    struct connection *connections;
    struct connection *finished; /* their threads are to be joined */
    uint64_t count;
    uint64_t memory_left;
};

/* ---- one connection ---- */

/** Its place is free again. With the lock held. */
static void leave_locked(struct connection *c)
{
    struct nfc_face *face = c->face;

    *c->link = c->next;
    if (c->next != NULL) {
        c->next->link = c->link;
    }
    face->count--;
    face->memory_left += c->memory;
    (void)close(c->fd);
}

/** The end of a connection whose thread was not started. */
static void drop(struct connection *c)
{
    SCOPED_LOCK(&c->face->lock);
    leave_locked(c);
    free(c);
}

/** The end of a connection, told by its thread, which is to be joined. */
static void finish(struct connection *c)
{
    struct nfc_face *face = c->face;

    SCOPED_LOCK(&face->lock);
    leave_locked(c);
    c->next = face->finished;
    face->finished = c;
    (void)pthread_cond_broadcast(&face->ended);
}

/** Joins the threads that have ended. */
static void reap(struct nfc_face *face)
{
    (void)pthread_mutex_lock(&face->lock);
    struct connection *c = face->finished;
    face->finished = NULL;
    (void)pthread_mutex_unlock(&face->lock);
    while (c != NULL) {
        struct connection *next = c->next;
        (void)pthread_join(c->thread, NULL);
        free(c);
        c = next;
    }
}

static struct nfc_serve how_to_serve(const struct nfc_face *face, struct connection *c)
{
    const struct host_limits *limits = &face->host->config.limits;

    return (struct nfc_serve){
        .ops = &host_nfc_ops,
        .host = &c->client,
        .identity = face->host->identity,
        .pool = face->pool,
        .handshake_timeout_ms = (unsigned)limits->handshake * 1000,
        .idle_timeout_ms = (unsigned)limits->idle * 1000,
        .write_timeout_ms = (unsigned)limits->write_wait * 1000,
        .in_flight_max = (uint32_t)limits->requests,
        .test = &face->host->knobs,
    };
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    struct err err;

    err_init(&err);
    if (nfc_serve(c->stream, &c->how, &err) != VIX_OK) {
        host_log(HOST_LOG_WARN, "NFC: %s", err.text);
    }
    finish(c);
    return NULL;
}

/** The memory a connection gets; 0: there is none. With the lock held. */
static uint64_t share_locked(const struct nfc_face *face)
{
    uint64_t share = max_u64(face->memory_left / MEMORY_SHARES, MEMORY_MIN);

    share = min_u64(share, max_u64(face->host->config.limits.connection_memory << 20, MEMORY_MIN));
    return share <= face->memory_left ? share : 0;
}

/** Before it has a ticket a connection holds no memory to speak of: those that only wait keep it from nobody. */
static VixError admit(struct host_client *client, struct err *err)
{
    struct connection *c = (struct connection *)client;
    struct nfc_face *face = c->face;

    SCOPED_LOCK(&face->lock);
    c->memory = share_locked(face);
    if (c->memory == 0) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "the memory of [limits] memory-mib is in use");
    }
    face->memory_left -= c->memory;
    c->how.memory_max = c->memory;
    return VIX_OK;
}

/** Why a connection cannot be had; NULL: it is entered. */
static const char *enter(struct nfc_face *face, struct connection *c)
{
    const struct host_limits *limits = &face->host->config.limits;
    uint64_t same = 0;

    SCOPED_LOCK(&face->lock);
    for (const struct connection *other = face->connections; other != NULL; other = other->next) {
        same += strcmp(other->address, c->address) == 0;
    }
    if (face->count >= limits->connections) {
        return "as many connections as [limits] connections allows";
    }
    if (same >= limits->connections_per_address) {
        return "as many connections of this address as [limits] connections-per-address allows";
    }
    c->next = face->connections;
    c->link = &face->connections;
    if (c->next != NULL) {
        c->next->link = &c->next;
    }
    face->connections = c;
    face->count++;
    return NULL;
}

static void refuse(int fd, const char *peer, const char *why)
{
    static const char words[] = "421 Too many connections\r\n";

    host_log(HOST_LOG_WARN, "NFC: %s is refused: %s", peer, why);
    (void)send(fd, words, sizeof words - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/** fd is taken over. */
static void begin(struct nfc_face *face, int fd, const char *address, const char *peer)
{
    struct err err;
    struct connection *c = alloc_zero(sizeof *c, NULL);
    int second = c != NULL ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

    err_init(&err);
    if (second < 0) {
        refuse(fd, peer, "out of memory or descriptors");
        free(c);
        (void)close(fd);
        return;
    }
    c->client = (struct host_client){.host = face->host, .admit = admit};
    c->face = face;
    c->fd = second;
    c->how = how_to_serve(face, c);
    (void)snprintf(c->address, sizeof c->address, "%s", address);
    const char *why = enter(face, c);
    if (why != NULL) {
        refuse(fd, peer, why);
        (void)close(second);
        free(c);
        (void)close(fd);
        return;
    }
    if (tcp_from_fd(fd, peer, &c->stream, &err) != VIX_OK) {
        host_log(HOST_LOG_WARN, "NFC: %s", err.text);
        drop(c);
    } else if (pthread_create(&c->thread, NULL, serve, c) != 0) {
        host_log(HOST_LOG_WARN, "NFC: %s is refused: no thread can be started", peer);
        stream_close(c->stream);
        drop(c);
    }
}

/* ---- accepting ---- */

static void name_peer(const struct sockaddr_storage *from, socklen_t len, char address[ADDRESS_MAX], char *peer,
                      size_t peer_size)
{
    char port[16];

    if (getnameinfo((const struct sockaddr *)from, len, address, ADDRESS_MAX, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(address, ADDRESS_MAX, "unknown");
        (void)snprintf(port, sizeof port, "0");
    }
    (void)snprintf(peer, peer_size, strchr(address, ':') != NULL ? "[%s]:%s" : "%s:%s", address, port);
}

static void accept_one(struct nfc_face *face)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    char address[ADDRESS_MAX];
    char peer[ADDRESS_MAX + 32];
    int fd = accept4(face->listen_fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);

    reap(face);
    if (fd >= 0) {
        name_peer(&from, len, address, peer, sizeof peer);
        begin(face, fd, address, peer);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        struct timespec pause = {.tv_nsec = NO_FD_PAUSE_MS * 1000000L};
        (void)nanosleep(&pause, NULL);
    }
}

static void *accept_all(void *arg)
{
    struct nfc_face *face = arg;
    struct pollfd fds[] = {{.fd = face->listen_fd, .events = POLLIN}, {.fd = face->stop_fd, .events = POLLIN}};

    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            continue;
        }
        if (fds[1].revents != 0) {
            return NULL;
        }
        if (fds[0].revents != 0) {
            accept_one(face);
        }
    }
}

/* ---- start and stop ---- */

static void face_free(struct nfc_face *face)
{
    if (face->listen_fd >= 0) {
        (void)close(face->listen_fd);
    }
    if (face->stop_fd >= 0) {
        (void)close(face->stop_fd);
    }
    work_pool_free(face->pool);
    (void)pthread_cond_destroy(&face->ended);
    (void)pthread_mutex_destroy(&face->lock);
    free(face);
}

VixError nfc_face_start(struct host *host, int listen_fd, struct nfc_face **ret_face, struct err *err)
{
    struct nfc_face *face = alloc_zero(sizeof *face, err);

    if (face == NULL) {
        (void)close(listen_fd);
        return VIX_E_OUT_OF_MEMORY;
    }
    face->host = host;
    face->listen_fd = listen_fd;
    face->memory_left = host->config.limits.memory << 20;
    (void)pthread_mutex_init(&face->lock, NULL);
    (void)pthread_cond_init(&face->ended, NULL);
    (void)fcntl(listen_fd, F_SETFL, O_NONBLOCK); /* a client may be gone before it is accepted */
    face->stop_fd = eventfd(0, EFD_CLOEXEC);
    VixError code = face->stop_fd >= 0 ? work_pool_new((unsigned)host->config.limits.threads, &face->pool, err)
                                       : err_set_errno(err, errno, "NFC: no descriptor to be stopped by");
    if (code == VIX_OK) {
        int e = pthread_create(&face->thread, NULL, accept_all, face);
        code = e != 0 ? err_set_errno(err, e, "NFC: no thread to accept connections") : VIX_OK;
    }
    if (code != VIX_OK) {
        face_free(face);
        return code;
    }
    *ret_face = face;
    return VIX_OK;
}

static void shut_all_locked(const struct nfc_face *face, int how)
{
    for (const struct connection *c = face->connections; c != NULL; c = c->next) {
        (void)shutdown(c->fd, how);
    }
}

/** First only the reading side: answers that are due still go out. */
static void end_connections(struct nfc_face *face)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_GENTLE_S;
    SCOPED_LOCK(&face->lock);
    shut_all_locked(face, SHUT_RD);
    while (face->count > 0 && pthread_cond_timedwait(&face->ended, &face->lock, &until) == 0) {
    }
    shut_all_locked(face, SHUT_RDWR);
    while (face->count > 0) {
        (void)pthread_cond_wait(&face->ended, &face->lock);
    }
}

void nfc_face_stop(struct nfc_face *face)
{
    const uint64_t one = 1;

    if (face == NULL) {
        return;
    }
    while (write(face->stop_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    (void)pthread_join(face->thread, NULL);
    end_connections(face);
    reap(face);
    face_free(face);
}
