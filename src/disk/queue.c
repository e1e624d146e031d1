/* SPDX-License-Identifier: BSD-3-Clause */
/* queue.c - cutting, taking turns, sending. One lock guards everything; it is never held while something is sent or a
 * request's done is called. Whoever starts a request sends what can be sent (pump). When answers free places, the
 * connection's receiver thread sends the next reads by itself; it must not send while writes are under way, because a
 * host that waits for us to take its answers might not be reading: then a thread that waits for its own request does
 * it, or a worker. Reads that can go go together, and those that come while a thread is sending some are left to it;
 * answers that have come together are told of together. */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "disk/disk_int.h"
#include "disk/host_limits.h"
#include "disk/queue_int.h"

static void piece_done(struct nfc_request *r, VixError result, const struct err *err);

/* ---- pieces ---- */

static struct piece *take_piece(struct queue *q)
{
    struct piece *p = q->spare;

    if (p != NULL) {
        q->spare = p->next;
        return p;
    }
    p = alloc_zero(sizeof *p, NULL);
    if (p != NULL) {
        p->q = q;
        p->r.done = piece_done;
        p->r.data = p;
    }
    return p;
}

static void spare_piece(struct queue *q, struct piece *p)
{
    p->next = q->spare;
    q->spare = p;
}

static uint32_t piece_max(const struct queue *q)
{
    uint32_t limit = atomic_load_explicit(&q->limits->request_max, memory_order_relaxed);
    return limit < q->p.request_max ? limit : q->p.request_max;
}

static unsigned depth_now(const struct queue *q)
{
    unsigned limit = atomic_load_explicit(&q->limits->depth, memory_order_relaxed);
    return limit < q->p.depth ? limit : q->p.depth;
}

/* ---- requests ---- */

static uint64_t io_len(const struct disk_io *io)
{
    return io->nsectors * SECTOR_SIZE;
}

static void join_turn(struct queue *q, struct disk_io *io)
{
    io->turn = NULL;
    if (q->turn_first == NULL) {
        q->turn_first = io;
    } else {
        q->turn_last->turn = io;
    }
    q->turn_last = io;
}

static void leave_turn(struct queue *q, struct disk_io *io)
{
    struct disk_io *before = NULL;

    for (struct disk_io *at = q->turn_first; at != NULL; before = at, at = at->turn) {
        if (at != io) {
            continue;
        }
        if (before != NULL) {
            before->turn = io->turn;
        } else {
            q->turn_first = io->turn;
        }
        if (q->turn_last == io) {
            q->turn_last = before;
        }
        return;
    }
}

/** Whether two requests may not be on the wire together: what the host makes of them is not defined. */
static bool conflict(const struct disk_io *a, const struct disk_io *b)
{
    return (a->write || b->write) && a->sector < b->sector + b->nsectors && b->sector < a->sector + a->nsectors;
}

static unsigned count_blockers(const struct queue *q, const struct disk_io *io)
{
    unsigned n = 0;

    if (q->writes > 0 || io->write) {
        for (const struct disk_io *at = q->first; at != NULL; at = at->next) {
            n += conflict(at, io) ? 1 : 0;
        }
    }
    return n;
}

/** The requests that waited for one that has ended. */
static void unblock(struct queue *q, const struct disk_io *ended, struct disk_io *later)
{
    for (struct disk_io *at = later; at != NULL && q->blocked > 0; at = at->next) {
        if (at->blockers > 0 && conflict(ended, at) && --at->blockers == 0) {
            q->blocked--;
            if (at->code == VIX_OK) {
                join_turn(q, at);
            }
        }
    }
}

static void wake_flushers(struct queue *q)
{
    for (struct waiter *w = q->waiters; w != NULL; w = w->next) {
        if (w->flushes) {
            (void)pthread_cond_signal(&w->wake);
        }
    }
}

/** Ends a request of which nothing is on the wire any more. */
static void finish_io(struct queue *q, struct disk_io *io, struct finished *done)
{
    *(io->prev != NULL ? &io->prev->next : &q->first) = io->next;
    *(io->next != NULL ? &io->next->prev : &q->last) = io->prev;
    if (io->blockers > 0) {
        q->blocked--;
    }
    unblock(q, io, io->next);
    if (io->write) {
        q->writes--;
        wake_flushers(q);
    }
    io->next = NULL;
    *(done->last != NULL ? &done->last->next : &done->first) = io;
    done->last = io;
}

static void check_finished(struct queue *q, struct disk_io *io, struct finished *done)
{
    if (io->pieces == 0 && (io->code != VIX_OK || io->asked == io_len(io))) {
        finish_io(q, io, done);
    }
}

/** Drops what a failed request still wanted. */
static void drop_again(struct queue *q, struct disk_io *io)
{
    for (struct piece **at = &q->again; *at != NULL;) {
        struct piece *p = *at;
        if (p->io == io) {
            *at = p->next;
            io->pieces--;
            spare_piece(q, p);
        } else {
            at = &p->next;
        }
    }
}

/** Records the first failure of a request; nothing more of it is sent. */
static void fail_io(struct queue *q, struct disk_io *io, VixError code, const struct err *err)
{
    if (io->code != VIX_OK) {
        return;
    }
    io->code = code;
    if (io->err == NULL) {
        io->err = alloc_zero(sizeof *io->err, NULL);
        io->own_err = true;
    }
    if (io->err != NULL && err != NULL) {
        *io->err = *err;
    }
    if (io->blockers == 0 && io->asked < io_len(io)) {
        leave_turn(q, io);
    }
    drop_again(q, io);
}

void queue_fail_all(struct queue *q, VixError code, const struct err *err, struct finished *done)
{
    for (struct disk_io *io = q->first, *next; io != NULL; io = next) {
        next = io->next;
        fail_io(q, io, code, err);
    }
    for (struct disk_io *io = q->first, *next; io != NULL; io = next) {
        next = io->next;
        check_finished(q, io, done);
    }
}

bool queue_has_work(const struct queue *q)
{
    return q->again != NULL || q->turn_first != NULL;
}

/* ---- what comes next ---- */

static void fill_piece(struct piece *p, struct disk_io *io, uint64_t at, uint32_t len)
{
    p->io = io;
    p->r.write = io->write;
    p->r.off = io->sector * SECTOR_SIZE + at;
    p->r.len = len;
    p->r.buf = (uint8_t *)io->buf + at;
    p->r.connection_lost = false;
    p->r.host_error = 0;
}

/** The next piece of those that are repeated; cut if the host takes less by now. */
static struct piece *next_again(struct queue *q)
{
    struct piece *p = q->again;
    uint32_t max = piece_max(q);

    if (p->r.len <= max) {
        q->again = p->next;
        return p;
    }
    struct piece *part = take_piece(q);
    if (part == NULL) {
        q->again = p->next; /* without memory it goes as it is */
        return p;
    }
    fill_piece(part, p->io, p->r.off - p->io->sector * SECTOR_SIZE, max);
    p->r.off += max;
    p->r.len -= max;
    p->r.buf = (uint8_t *)p->r.buf + max;
    p->io->pieces++;
    return part;
}

/** The next piece of the request whose turn it is, which then goes to the end of the line. */
static struct piece *next_of_turn(struct queue *q)
{
    struct disk_io *io = q->turn_first;
    struct piece *p = take_piece(q);

    if (p == NULL) {
        return NULL;
    }
    uint32_t len = (uint32_t)min_u64(piece_max(q), io_len(io) - io->asked);
    fill_piece(p, io, io->asked, len);
    io->asked += len;
    io->pieces++;
    q->turn_first = io->turn;
    if (q->turn_first == NULL) {
        q->turn_last = NULL;
    }
    if (io->asked < io_len(io)) {
        join_turn(q, io);
    }
    return p;
}

static const struct disk_io *next_io(const struct queue *q)
{
    return q->again != NULL ? q->again->io : q->turn_first;
}

/** What is to be sent together: one write, or some reads. 0: nothing, or nothing now. */
static unsigned next_pieces(struct queue *q, struct piece *pieces[NFC_SUBMIT_MAX])
{
    const bool write = next_io(q)->write;
    const unsigned max = write ? 1 : NFC_SUBMIT_MAX;
    unsigned n = 0;

    if (write ? q->receiver_sends > 0 : q->sends_reads) {
        return 0;
    }
    while (n < max && q->in_flight + n < depth_now(q) && queue_has_work(q) && next_io(q)->write == write) {
        struct piece *p = q->again != NULL ? next_again(q) : next_of_turn(q);
        if (p == NULL) {
            break;
        }
        pieces[n++] = p;
    }
    return n;
}

static void repeat(struct queue *q, struct piece *p)
{
    p->next = q->again;
    q->again = p;
}

/** Decides what becomes of a piece that failed. */
static void piece_failed(struct queue *q, struct piece *p, VixError code, const struct err *err, struct finished *done)
{
    struct disk_io *io = p->io;

    if (p->r.connection_lost) {
        queue_connection_lost(q, p->generation, err, done);
        code = VIX_E_HOST_TCP_CONN_LOST;
    }
    bool again = p->r.connection_lost ? !q->p.writable
                                      : p->r.host_error == NFC_ERROR_NO_MEMORY &&
                                            host_limits_shrink(q->limits, p->r.len, p->depth, p->epoch);
    if (again && io->code == VIX_OK) {
        repeat(q, p);
        return;
    }
    io->pieces--;
    spare_piece(q, p);
    fail_io(q, io, code, q->state == QUEUE_DEAD ? &q->lost : err);
    check_finished(q, io, done);
}

/* ---- sending ---- */

/** Finds a thread that may send. */
static void ask_others(struct queue *q)
{
    struct work_pool *pool;

    if (q->waiters != NULL) {
        q->waiters->pump = true;
        (void)pthread_cond_signal(&q->waiters->wake);
    } else if (!q->pump_queued && disk_async_pool(&pool, NULL) == VIX_OK) {
        q->pump_queued = true;
        work_submit(pool, &q->pump_item);
    }
}

/** Without the lock. After a success the pieces may be gone. */
static VixError submit(struct nfc_client *client, struct piece *const *pieces, unsigned count, bool write,
                       struct err *err)
{
    struct nfc_request *requests[NFC_SUBMIT_MAX];

    if (write) {
        return nfc_client_submit(client, &pieces[0]->r, err);
    }
    for (unsigned i = 0; i < count; i++) {
        requests[i] = &pieces[i]->r;
    }
    return nfc_client_submit_reads(client, requests, count, err);
}

/** Sends pieces; the lock is given back meanwhile. */
static void send_pieces(struct queue *q, struct piece *const *pieces, unsigned count, bool receiver,
                        struct finished *done)
{
    struct nfc_client *client = q->client;
    const bool write = pieces[0]->r.write;
    struct err err;

    err_init(&err);
    for (unsigned i = 0; i < count; i++) {
        pieces[i]->generation = q->generation;
        pieces[i]->epoch = atomic_load(&q->limits->epoch);
        pieces[i]->depth = depth_now(q);
    }
    q->in_flight += count;
    q->users++;
    q->receiver_sends += receiver ? 1 : 0;
    q->sends_reads = q->sends_reads || !write;
    (void)pthread_mutex_unlock(&q->lock);
    VixError code = submit(client, pieces, count, write, &err);
    (void)pthread_mutex_lock(&q->lock);
    q->sends_reads = q->sends_reads && write;
    q->receiver_sends -= receiver ? 1 : 0;
    if (--q->users == 0 && q->state != QUEUE_OPEN) {
        (void)pthread_cond_broadcast(&q->changed);
    }
    for (unsigned i = 0; code != VIX_OK && i < count; i++) {
        q->in_flight--;
        pieces[i]->r.connection_lost = code == VIX_E_HOST_TCP_CONN_LOST;
        piece_failed(q, pieces[i], code, &err, done);
    }
}

/** Sends what can be sent. With the lock; it is given back at times. */
void queue_pump(struct queue *q, bool receiver, struct finished *done)
{
    struct piece *pieces[NFC_SUBMIT_MAX];

    while (q->state == QUEUE_OPEN && q->in_flight < depth_now(q) && queue_has_work(q)) {
        if (receiver && q->writes > 0) {
            ask_others(q);
            return;
        }
        unsigned count = next_pieces(q, pieces);
        if (count == 0) {
            break;
        }
        send_pieces(q, pieces, count, receiver, done);
    }
    if (queue_has_work(q) && q->state == QUEUE_OPEN && q->in_flight == 0 && q->receiver_sends == 0 && !q->sends_reads) {
        struct err err; /* nothing will come and call again: there is no memory for a piece */
        queue_fail_all(q, err_set(&err, VIX_E_OUT_OF_MEMORY, "%s: no memory for a request", q->p.path), &err, done);
    }
    if (q->state == QUEUE_LOST && !q->reopening && (queue_has_work(q) || q->callers > 0)) {
        queue_start_reopen(q, done);
    }
}

void queue_call_done(struct finished *done)
{
    for (struct disk_io *io = done->first, *next; io != NULL; io = next) {
        next = io->next;
        struct err *own = io->own_err ? io->err : NULL;
        io->done(io, io->code, io->err); /* io is its owner's again */
        free(own);
    }
}

void queue_unlock_and_call(struct queue *q, struct finished *done)
{
    (void)pthread_mutex_unlock(&q->lock);
    queue_call_done(done);
}

void queue_run_pump(struct work_item *item)
{
    struct queue *q = (struct queue *)((char *)item - offsetof(struct queue, pump_item));
    struct finished done = {0};

    (void)pthread_mutex_lock(&q->lock);
    q->pump_queued = false;
    q->pumps++;
    queue_pump(q, false, &done);
    (void)pthread_mutex_unlock(&q->lock);
    queue_call_done(&done);
    (void)pthread_mutex_lock(&q->lock);
    if (--q->pumps == 0) {
        (void)pthread_cond_broadcast(&q->changed);
    }
    (void)pthread_mutex_unlock(&q->lock);
}

/** The end of a piece, on the receiver thread; what follows from it is queue_paused's. */
static void piece_done(struct nfc_request *r, VixError result, const struct err *err)
{
    struct piece *p = r->data;
    struct queue *q = p->q;
    SCOPED_LOCK(&q->lock);

    q->in_flight--;
    if (result == VIX_OK) {
        struct disk_io *io = p->io;
        q->unanswered = 0;
        io->pieces--;
        spare_piece(q, p);
        check_finished(q, io, &q->ended);
    } else {
        piece_failed(q, p, result, err, &q->ended);
    }
}

void queue_paused(void *queue)
{
    struct queue *q = queue;
    struct finished done;

    (void)pthread_mutex_lock(&q->lock);
    done = q->ended;
    q->ended = (struct finished){0};
    queue_pump(q, true, &done);
    queue_unlock_and_call(q, &done);
}

/* ---- for the disk ---- */

static void add_io(struct queue *q, struct disk_io *io)
{
    io->asked = 0;
    io->pieces = 0;
    io->code = VIX_OK;
    io->own_err = false;
    io->seq = ++q->seq;
    io->blockers = count_blockers(q, io);
    io->next = NULL;
    io->prev = q->last;
    *(q->last != NULL ? &q->last->next : &q->first) = io;
    q->last = io;
    q->writes += io->write ? 1 : 0;
    if (io->blockers > 0) {
        q->blocked++;
    } else {
        join_turn(q, io);
    }
}

/** Takes a request in and sends what can be sent. */
static void begin_io(struct queue *q, struct disk_io *io, struct finished *done)
{
    add_io(q, io);
    if (q->state == QUEUE_DEAD) {
        fail_io(q, io, q->lost.code, &q->lost);
        check_finished(q, io, done);
    }
    queue_pump(q, false, done);
}

void queue_start(struct queue *q, struct disk_io *io)
{
    struct finished done = {0};

    io->err = NULL;
    (void)pthread_mutex_lock(&q->lock);
    begin_io(q, io, &done);
    queue_unlock_and_call(q, &done);
}

static void waiter_done(struct disk_io *io, VixError result, const struct err *err)
{
    struct waiter *w = (struct waiter *)((char *)io - offsetof(struct waiter, io));
    struct queue *q = w->q;

    (void)result, (void)err; /* in io */
    SCOPED_LOCK(&q->lock);
    w->finished = true;
    (void)pthread_cond_signal(&w->wake);
}

static void waiter_begin(struct queue *q, struct waiter *w)
{
    (void)pthread_cond_init(&w->wake, NULL);
    w->q = q;
    w->next = q->waiters;
    q->waiters = w;
}

/** Waits for a moment, and sends meanwhile. */
static void waiter_wait(struct waiter *w, struct finished *done)
{
    struct queue *q = w->q;

    if (done->first != NULL) {
        queue_unlock_and_call(q, done);
        *done = (struct finished){0};
        (void)pthread_mutex_lock(&q->lock);
    } else if (w->pump) {
        w->pump = false;
        queue_pump(q, false, done);
    } else {
        (void)pthread_cond_wait(&w->wake, &q->lock);
    }
}

static void waiter_end(struct waiter *w, struct finished *done)
{
    struct queue *q = w->q;

    for (struct waiter **at = &q->waiters; *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    if (w->pump) {
        queue_pump(q, false, done);
    }
    queue_unlock_and_call(q, done);
    (void)pthread_cond_destroy(&w->wake);
}

VixError queue_run(struct queue *q, bool write, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct waiter w;
    struct finished done = {0};

    memset(&w, 0, sizeof w);
    w.io = (struct disk_io){
        .write = write, .sector = sector, .nsectors = nsectors, .buf = buf, .done = waiter_done, .err = err};
    (void)pthread_mutex_lock(&q->lock);
    waiter_begin(q, &w);
    begin_io(q, &w.io, &done);
    while (!w.finished) {
        waiter_wait(&w, &done);
    }
    waiter_end(&w, &done);
    return w.io.code;
}

static bool writes_before(const struct queue *q, uint64_t seq)
{
    for (const struct disk_io *io = q->first; io != NULL && io->seq <= seq; io = io->next) {
        if (io->write) {
            return true;
        }
    }
    return false;
}

void queue_wait_writes(struct queue *q)
{
    struct waiter w;
    struct finished done = {0};

    memset(&w, 0, sizeof w);
    w.flushes = true;
    (void)pthread_mutex_lock(&q->lock);
    uint64_t seq = q->seq;
    waiter_begin(q, &w);
    while (writes_before(q, seq)) {
        waiter_wait(&w, &done);
    }
    waiter_end(&w, &done);
}
