/* SPDX-License-Identifier: BSD-3-Clause */
/* tcp.c - TCP as a stream. The socket never blocks: what is there is taken at once, and poll waits for the rest, so
 * that time-outs are exact and shutdown wakes a waiting thread. */
#include "net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "net/net_int.h"

#define TCP_IOV_MAX 64 /* own: pieces for one system call */
#define TCP_BACKLOG 128
#define TCP_IDLE_S 60       /* own: s without a byte, then the peer is probed, which routers on the way see too */
#define TCP_PROBE_EACH_S 10 /* own: s between probes */
#define TCP_PROBES 6        /* own: unanswered ones, then the connection is lost */
#define TICK_MS 10          /* own: the kernel's count of time is coarse: never too early */

struct tcp {
    struct stream base;
    int fd;
    atomic_bool shut;
    uint8_t *unread; /* put back by the layer above; NULL: none */
    size_t unread_off, unread_len;
    unsigned socket_read_ms, socket_write_ms; /* what the socket waits by itself; the reader's, the writer's */
};

static const struct stream_ops tcp_ops;

static VixError fail(struct err *err, VixError code, int errnum, const char *peer, const char *what)
{
    char reason[128];

    (void)err_set(err, code, "%s: %s: %s", peer, what, strerror_r(errnum, reason, sizeof reason));
    if (err != NULL) {
        err->sys_errno = errnum;
    }
    return code;
}

static VixError lost(struct tcp *t, struct err *err, int errnum, const char *what)
{
    return fail(err, VIX_E_HOST_TCP_CONN_LOST, errnum, t->base.peer, what);
}

static VixError ended_here(struct tcp *t, struct err *err)
{
    return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the connection was shut down on this side", t->base.peer);
}

/* ---- waiting ---- */

/** Polls until the moment end_ns (0: for ever). 1: ready; 0: time is up; -1: errno. */
static int poll_until(int fd, short events, uint64_t end_ns)
{
    struct pollfd wanted = {.fd = fd, .events = events};

    for (;;) {
        int wait_ms = -1;
        if (end_ns != 0) {
            uint64_t now = net_now_ns();
            wait_ms = now >= end_ns ? 0 : (int)min_u64(div_up(end_ns - now, NET_NS_PER_MS), 3600000);
        }
        int ready = poll(&wanted, 1, wait_ms);
        if (ready > 0) {
            return 1;
        }
        if (ready < 0 && errno != EINTR) {
            return -1;
        }
        if (ready == 0 && net_now_ns() >= end_ns) {
            return 0;
        }
    }
}

static VixError timed_out(struct tcp *t, bool reading, bool by_deadline, unsigned limit_ms, struct err *err)
{
    (void)err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: time-out: %s within %u ms%s", t->base.peer,
                  reading ? "not enough came" : "not all could be sent", by_deadline ? t->base.deadline_ms : limit_ms,
                  by_deadline ? " allowed for the whole step" : "");
    if (err != NULL) {
        err->sys_errno = ETIMEDOUT;
    }
    return VIX_E_HOST_TCP_CONN_LOST;
}

/** Waits for a socket to be ready for a read or a write, no longer than the stream allows. */
static VixError wait_ready(struct tcp *t, short events, struct err *err)
{
    const bool reading = events == POLLIN;
    const unsigned limit_ms = reading ? t->base.read_timeout_ms : t->base.write_timeout_ms;
    const uint64_t deadline = t->base.deadline_ns;
    uint64_t end = limit_ms > 0 ? net_now_ns() + limit_ms * NET_NS_PER_MS : 0;
    const bool by_deadline = deadline != 0 && (end == 0 || deadline < end);

    if (by_deadline) {
        end = deadline;
    }
    int ready = poll_until(t->fd, events, end);
    if (atomic_load(&t->shut)) {
        return ended_here(t, err);
    }
    if (ready < 0) {
        return lost(t, err, errno, "cannot wait on the connection");
    }
    if (ready > 0) {
        return VIX_OK;
    }
    return timed_out(t, reading, by_deadline, limit_ms, err);
}

/** How to call recvmsg or sendmsg: 0, waiting as long as the stream allows, or without waiting. *socket_ms is what the
 * socket's own time-out is. */
static int wait_flags(struct tcp *t, int option, unsigned limit_ms, unsigned *socket_ms)
{
    if (t->base.deadline_ns != 0) {
        return MSG_DONTWAIT;
    }
    if (limit_ms != *socket_ms) {
        const uint64_t ms = limit_ms > 0 ? (uint64_t)limit_ms + TICK_MS : 0;
        const struct timeval wait = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
        if (setsockopt(t->fd, SOL_SOCKET, option, &wait, sizeof wait) != 0) {
            return MSG_DONTWAIT;
        }
        *socket_ms = limit_ms;
    }
    return 0;
}

/** After a call that had nothing to do: 0 to call again, else the time is up. *flags is changed. */
static VixError wait_again(struct tcp *t, short events, int *flags, struct err *err)
{
    const bool reading = events == POLLIN;

    if (errno == EINTR) {
        *flags = MSG_DONTWAIT; /* the call would begin to wait anew: a signal now and then, and it would never end */
        return VIX_OK;
    }
    if ((*flags & MSG_DONTWAIT) == 0 && !atomic_load(&t->shut)) {
        return timed_out(t, reading, false, reading ? t->base.read_timeout_ms : t->base.write_timeout_ms, err);
    }
    return wait_ready(t, events, err);
}

static bool nothing_done(int errnum)
{
    return errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINTR;
}

/* ---- reading ---- */

/** Takes from what was put back. */
static size_t take_unread(struct tcp *t, const struct iovec *iov, int iov_count)
{
    size_t total = 0;

    for (int i = 0; i < iov_count && t->unread_len > 0; i++) {
        size_t n = iov[i].iov_len < t->unread_len ? iov[i].iov_len : t->unread_len;
        memcpy(iov[i].iov_base, t->unread + t->unread_off, n);
        t->unread_off += n;
        t->unread_len -= n;
        total += n;
    }
    if (t->unread_len == 0) {
        free(t->unread);
        t->unread = NULL;
    }
    return total;
}

static VixError tcp_readv(struct stream *s, const struct iovec *iov, int iov_count, size_t *ret_len, struct err *err)
{
    struct tcp *t = (struct tcp *)s;
    struct msghdr message = {.msg_iovlen = (size_t)(iov_count < TCP_IOV_MAX ? iov_count : TCP_IOV_MAX)};

    if (t->unread != NULL) {
        *ret_len = take_unread(t, iov, iov_count);
        return VIX_OK;
    }
    const uint64_t deadline = s->deadline_ns;
    if (deadline != 0 && net_now_ns() >= deadline) { /* also for a peer that never stops sending */
        return timed_out(t, true, true, 0, err);
    }
    memcpy(&message.msg_iov, &iov, sizeof iov); /* recvmsg does not change the pieces themselves */
    int flags = wait_flags(t, SO_RCVTIMEO, s->read_timeout_ms, &t->socket_read_ms);
    for (;;) {
        ssize_t n = recvmsg(t->fd, &message, flags);
        if (n >= 0) {
            if (n == 0 && atomic_load(&t->shut)) {
                return ended_here(t, err);
            }
            atomic_fetch_add_explicit(&s->bytes_in, (uint64_t)n, memory_order_relaxed);
            *ret_len = (size_t)n;
            return VIX_OK;
        }
        if (!nothing_done(errno)) {
            return atomic_load(&t->shut) ? ended_here(t, err) : lost(t, err, errno, "reading fails");
        }
        VixError result = wait_again(t, POLLIN, &flags, err);
        if (result != VIX_OK) {
            return result;
        }
    }
}

bool tcp_readable(struct stream *s)
{
    struct tcp *t = (struct tcp *)s;
    struct pollfd wanted = {.fd = t->fd, .events = POLLIN};

    return t->unread != NULL || poll(&wanted, 1, 0) > 0;
}

VixError tcp_unread(struct stream *s, const void *data, size_t len, struct err *err)
{
    struct tcp *t = (struct tcp *)s;

    if (s->ops != &tcp_ops) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: bytes can be put back into TCP only, not into %s", s->peer,
                       s->ops->kind);
    }
    if (len == 0) {
        return VIX_OK;
    }
    uint8_t *all = alloc_zero(len + t->unread_len, err);
    if (all == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    memcpy(all, data, len);
    if (t->unread != NULL) {
        memcpy(all + len, t->unread + t->unread_off, t->unread_len);
        free(t->unread);
    }
    t->unread = all;
    t->unread_off = 0;
    t->unread_len += len;
    return VIX_OK;
}

/* ---- writing ---- */

/** Sends pieces of which the first may be changed; what is left of them is in *iov and *iov_count. */
static VixError send_some(struct tcp *t, struct iovec **iov, int *iov_count, int *flags, struct err *err)
{
    struct msghdr message = {.msg_iov = *iov, .msg_iovlen = (size_t)*iov_count};
    ssize_t n = sendmsg(t->fd, &message, *flags | MSG_NOSIGNAL);

    if (n < 0) {
        if (nothing_done(errno)) {
            return wait_again(t, POLLOUT, flags, err);
        }
        return atomic_load(&t->shut) ? ended_here(t, err) : lost(t, err, errno, "writing fails");
    }
    atomic_fetch_add_explicit(&t->base.bytes_out, (uint64_t)n, memory_order_relaxed);
    size_t left = (size_t)n;
    for (; *iov_count > 0 && left >= (*iov)->iov_len; (*iov)++, (*iov_count)--) {
        left -= (*iov)->iov_len;
    }
    if (*iov_count > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + left;
        (*iov)->iov_len -= left;
    }
    return VIX_OK;
}

static VixError tcp_writev(struct stream *s, const struct iovec *iov, int iov_count, struct err *err)
{
    struct tcp *t = (struct tcp *)s;
    int flags = wait_flags(t, SO_SNDTIMEO, s->write_timeout_ms, &t->socket_write_ms);

    while (iov_count > 0) {
        struct iovec pieces[TCP_IOV_MAX];
        struct iovec *next = pieces;
        int count = iov_count < TCP_IOV_MAX ? iov_count : TCP_IOV_MAX;
        memcpy(pieces, iov, (size_t)count * sizeof *iov);
        iov += count;
        iov_count -= count;
        while (count > 0) {
            VixError result = send_some(t, &next, &count, &flags, err);
            if (result != VIX_OK) {
                return result;
            }
        }
    }
    return VIX_OK;
}

/* ---- the end ---- */

static void tcp_shutdown(struct stream *s)
{
    struct tcp *t = (struct tcp *)s;

    atomic_store(&t->shut, true);
    (void)shutdown(t->fd, SHUT_RDWR);
}

static void tcp_close(struct stream *s)
{
    struct tcp *t = (struct tcp *)s;

    (void)close(t->fd);
    free(t->unread);
    stream_destroy(s);
    free(t);
}

static const struct stream_ops tcp_ops = {
    .kind = "tcp",
    .readv = tcp_readv,
    .writev = tcp_writev,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
};

/* ---- making streams ---- */

/** What every socket of a stream has. Options fail on sockets that are not TCP, which is harmless. */
static bool prepare_socket(int fd)
{
    const int on = 1;
    const int idle = TCP_IDLE_S;
    const int each = TCP_PROBE_EACH_S;
    const int probes = TCP_PROBES;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return false;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each, sizeof each);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    return true;
}

VixError tcp_from_fd(int fd, const char *peer, struct stream **ret_stream, struct err *err)
{
    CLEANUP_CLOSE int own = fd;
    CLEANUP_FREE struct tcp *t = alloc_zero(sizeof *t, err);

    if (t == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (!prepare_socket(fd)) {
        return fail(err, VIX_E_HOST_SOCKET_CREATION_ERROR, errno, peer, "cannot prepare the socket");
    }
    VixError result = stream_init(&t->base, &tcp_ops, peer, err);
    if (result == VIX_OK) {
        t->fd = own;
        own = -1;
        *ret_stream = &TAKE_PTR(t)->base;
    }
    return result;
}

/** Connects a socket to one address until end_ns (0: no limit of ours). 0 or an errno. */
static int connect_one(int fd, const struct addrinfo *address, uint64_t end_ns)
{
    int fault = 0;
    socklen_t len = sizeof fault;

    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS && errno != EINTR) {
        return errno;
    }
    int ready = poll_until(fd, POLLOUT, end_ns);
    if (ready <= 0) {
        return ready == 0 ? ETIMEDOUT : errno;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &len) == 0 ? fault : errno;
}

static VixError connect_failed(int errnum, const struct addrinfo *address, const char *peer, unsigned timeout_ms,
                               struct err *err)
{
    char digits[64] = "?";
    char what[160];

    (void)getnameinfo(address->ai_addr, address->ai_addrlen, digits, sizeof digits, NULL, 0, NI_NUMERICHOST);
    if (errnum == ETIMEDOUT && timeout_ms > 0) {
        return err_set(err, VIX_E_HOST_TCP_SOCKET_ERROR, "%s: time-out: %s has not answered within %u ms", peer, digits,
                       timeout_ms);
    }
    (void)snprintf(what, sizeof what, "cannot connect to %s", digits);
    return fail(err, errnum == ECONNREFUSED ? VIX_E_HOST_NETWORK_CONN_REFUSED : VIX_E_HOST_TCP_SOCKET_ERROR, errnum,
                peer, what);
}

static size_t count_addresses(const struct addrinfo *a)
{
    size_t n = 0;

    for (; a != NULL; a = a->ai_next) {
        n++;
    }
    return n;
}

/** Tries the addresses in turn; each gets its share of the time that is left, so that a dead one does not eat it all.
 */
static VixError connect_any(const struct addrinfo *addresses, uint64_t deadline_ns, unsigned timeout_ms,
                            const char *peer, int *ret_fd, struct err *err)
{
    VixError result = err_set(err, VIX_E_HOST_SERVER_NOT_FOUND, "%s: the name has no address", peer);

    for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next) {
        CLEANUP_CLOSE int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        uint64_t now = net_now_ns();
        uint64_t end = deadline_ns;
        if (end > now) {
            end = now + (end - now) / count_addresses(a);
        }
        int fault = fd >= 0 ? connect_one(fd, a, end) : errno;
        if (fault == 0) {
            *ret_fd = fd;
            fd = -1;
            return VIX_OK;
        }
        result = connect_failed(fault, a, peer, timeout_ms, err);
    }
    return result;
}

/** "host:port", addresses of IPv6 in brackets; *ret_host the host without brackets. */
static VixError name_peer(const char *host, uint16_t port, char **ret_host, char **ret_peer, struct err *err)
{
    size_t len = strlen(host);
    bool bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';
    CLEANUP_FREE char *bare = bracketed ? alloc_text_n(host + 1, len - 2, err) : alloc_text(host, err);

    if (bare == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    char *peer = alloc_printf(err, strchr(bare, ':') != NULL ? "[%s]:%u" : "%s:%u", bare, (unsigned)port);
    if (peer == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_host = TAKE_PTR(bare);
    *ret_peer = peer;
    return VIX_OK;
}

VixError tcp_connect(const char *host, uint16_t port, unsigned timeout_ms, struct stream **ret_stream, struct err *err)
{
    const uint64_t deadline = timeout_ms > 0 ? net_now_ns() + timeout_ms * NET_NS_PER_MS : 0;
    CLEANUP_FREE char *bare = NULL;
    CLEANUP_FREE char *peer = NULL;
    struct addrinfo *addresses = NULL;
    int fd = -1;

    VixError result = name_peer(host, port, &bare, &peer, err);
    if (result == VIX_OK) {
        result = net_resolve(bare, port, deadline, peer, &addresses, err);
    }
    if (result == VIX_OK) {
        result = connect_any(addresses, deadline, timeout_ms, peer, &fd, err);
        freeaddrinfo(addresses);
    }
    return result == VIX_OK ? tcp_from_fd(fd, peer, ret_stream, err) : result;
}

/* ---- listening ---- */

/** A listening socket on one address; -1 and errno. */
static int listen_on(const struct addrinfo *a)
{
    const int on = 1;
    const int off = 0;
    CLEANUP_CLOSE int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, TCP_BACKLOG) != 0) {
        return -1;
    }
    int ready = fd;
    fd = -1;
    return ready;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    uint16_t port = 0;

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    /* the port is at the same place in both kinds of address */
    memcpy(&port, (const char *)&address + offsetof(struct sockaddr_in, sin_port), sizeof port);
    return ntohs(port);
}

/** Listens on one textual address. */
static VixError listen_at(const char *address, uint16_t port, int *ret_fd, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[8];

    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    int fault = getaddrinfo(address, service, &hints, &found);
    if (fault != 0) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: not an address to listen on: %s", address, gai_strerror(fault));
    }
    int fd = listen_on(found);
    fault = errno;
    freeaddrinfo(found);
    if (fd < 0) {
        char what[64];
        (void)snprintf(what, sizeof what, "cannot listen on port %u", (unsigned)port);
        return fail(err, VIX_E_HOST_SOCKET_CREATION_ERROR, fault, address, what);
    }
    *ret_fd = fd;
    return VIX_OK;
}

VixError tcp_listen(const char *address, uint16_t port, int *ret_fd, uint16_t *ret_port, struct err *err)
{
    VixError result = VIX_E_FAIL;

    if (address != NULL) {
        result = listen_at(address, port, ret_fd, err);
    } else {
        result = listen_at("::", port, ret_fd, NULL); /* IPv4 too, where the machine has IPv6 */
        if (result != VIX_OK) {
            result = listen_at("0.0.0.0", port, ret_fd, err);
        }
    }
    if (result == VIX_OK) {
        *ret_port = port_of(*ret_fd);
    }
    return result;
}
