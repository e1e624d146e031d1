/* SPDX-License-Identifier: BSD-3-Clause */
/* peer.c - the stream of peer.h. One thread may read while another writes. */
#include "peer.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "net/net_int.h"

#define TURN_WAIT_MS 5 /* then the answer comes although nothing was asked */
#define TURNS_LATE_MAX 2

struct peer {
    struct stream base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct piece pieces[PIECES_MAX];
    size_t count, next; /* next: the one that is being read */
    uint32_t pos;       /* in it */
    bool in_turn, written, ended;
    unsigned late;
};

static struct peer *peer_of(struct stream *s)
{
    return (struct peer *)s;
}

/* Waits for the turn of the next piece; false if a reader that waits for less than that has waited for long enough. */
static bool wait_turn(struct peer *p)
{
    const bool hasty = p->base.read_timeout_ms > 0 && p->base.read_timeout_ms < TURN_WAIT_MS;
    struct timespec end;

    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_nsec += (hasty ? (long)p->base.read_timeout_ms : TURN_WAIT_MS) * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000L;
    }
    while (!p->written && !p->ended && p->late < TURNS_LATE_MAX) {
        bool late = pthread_cond_timedwait(&p->changed, &p->lock, &end) != 0;
        p->late += late ? 1 : 0;
        if (late && hasty) {
            return false;
        }
    }
    p->written = false;
    return true;
}

static VixError peer_readv(struct stream *s, const struct iovec *iov, int iov_count, size_t *ret_len, struct err *err)
{
    struct peer *p = peer_of(s);
    size_t done = 0;
    SCOPED_LOCK(&p->lock);

    while (p->next < p->count && p->pos == p->pieces[p->next].len) {
        p->next++;
        p->pos = 0;
    }
    if (p->next < p->count && p->pos == 0 && p->in_turn && p->pieces[p->next].file != 1 && !wait_turn(p)) {
        return err_set_errno(err, ETIMEDOUT, "%s: nothing has come", s->peer);
    }
    if (p->ended) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the connection was ended", s->peer);
    }
    for (int i = 0; i < iov_count && p->next < p->count; i++) {
        const struct piece *piece = &p->pieces[p->next];
        size_t n = iov[i].iov_len < piece->len - p->pos ? iov[i].iov_len : piece->len - p->pos;
        memcpy(iov[i].iov_base, piece->data + p->pos, n);
        p->pos += (uint32_t)n;
        done += n;
        if (n < iov[i].iov_len) {
            break;
        }
    }
    s->bytes_in += done;
    *ret_len = done;
    return VIX_OK;
}

static VixError peer_writev(struct stream *s, const struct iovec *iov, int iov_count, struct err *err)
{
    struct peer *p = peer_of(s);
    volatile uint8_t sum = 0;

    for (int i = 0; i < iov_count; i++) {
        const uint8_t *bytes = iov[i].iov_base;
        for (size_t at = 0; at < iov[i].iov_len; at++) {
            sum = (uint8_t)(sum + bytes[at]); /* all of it is memory that may be read */
        }
        s->bytes_out += iov[i].iov_len;
    }
    SCOPED_LOCK(&p->lock);
    if (p->ended) {
        return err_set(err, VIX_E_HOST_TCP_CONN_LOST, "%s: the connection was ended", s->peer);
    }
    p->written = true;
    (void)pthread_cond_signal(&p->changed);
    return VIX_OK;
}

static void peer_shutdown(struct stream *s)
{
    struct peer *p = peer_of(s);
    SCOPED_LOCK(&p->lock);

    p->ended = true;
    (void)pthread_cond_signal(&p->changed);
}

static void peer_close(struct stream *s)
{
    struct peer *p = peer_of(s);

    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_cond_destroy(&p->changed);
    stream_destroy(s);
    free(p);
}

static const struct stream_ops peer_ops = {
    .kind = "peer",
    .readv = peer_readv,
    .writev = peer_writev,
    .shutdown = peer_shutdown,
    .close = peer_close,
};

struct stream *peer_stream(const uint8_t *data, size_t size, bool in_turn)
{
    struct peer *p = calloc(1, sizeof *p);

    FUZZ_ASSERT(p != NULL && stream_init(&p->base, &peer_ops, "peer:1", NULL) == VIX_OK, "no memory");
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
    p->count = pieces_read(data, size, p->pieces);
    p->in_turn = in_turn;
    return &p->base;
}
