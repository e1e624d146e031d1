/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_async.c - requests in the background: carried out on the workers of the process, or started by a transport that
 * needs no thread for each; the callbacks are the workers' in both cases. One pool serves all disks and is made at
 * the first request, so that a program may fork before. A disk has so many requests in flight at most: a caller that
 * finds as many waits; a callback, which would wait for itself, does not. They are counted without a lock as long as
 * nobody waits. Callbacks run without a lock, and never nest: what a callback starts and what must end at once is
 * finished by a worker. */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/activity.h"
#include "base/cleanup.h"
#include "disk/disk_int.h"
#include "work/work.h"

struct async_request {
    struct work_item item;
    struct disk *d;
    struct disk_io io;
    disk_done_func *done;
    void *data;
    struct work_pool *pool;
    struct err *failed; /* the request is done, and failed: what the callback is to be told; NULL: the code is all */
    VixError code;      /* of a request that is carried out */
    bool carried_out;   /* only the callback is left */
    struct activity_mark mark; /* of a request that the transport carries out */
};

#define IN_FLIGHT_WAITED (1u << 31)

struct disk_async {
    atomic_uint
        in_flight; /* accepted, callback not yet returned; with IN_FLIGHT_WAITED it goes down under the lock only */
    pthread_mutex_t lock;
    pthread_cond_t less; /* in flight */
    unsigned waiters;
};

/** The callbacks that this thread is in, innermost first. */
struct callback_frame {
    const struct disk *d;
    const struct callback_frame *outer;
};

static _Thread_local const struct callback_frame *callback_frames;

/* ---- the pool of the process ---- */

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct work_pool *_Atomic pool;

static VixError make_pool(struct work_pool **ret_pool, struct err *err)
{
    SCOPED_LOCK(&pool_lock);
    struct work_pool *p = atomic_load(&pool);
    if (p == NULL) {
        VixError code = work_pool_new(0, &p, err);
        if (code != VIX_OK) {
            return code;
        }
        atomic_store(&pool, p);
    }
    *ret_pool = p;
    return VIX_OK;
}

VixError disk_async_pool(struct work_pool **ret_pool, struct err *err)
{
    struct work_pool *p = atomic_load_explicit(&pool, memory_order_acquire);
    if (p == NULL) {
        return make_pool(ret_pool, err);
    }
    *ret_pool = p;
    return VIX_OK;
}

void disk_async_shutdown(void)
{
    struct work_pool *p;
    {
        SCOPED_LOCK(&pool_lock);
        p = atomic_exchange(&pool, NULL);
    }
    work_pool_free(p);
}

/* ---- the requests of a disk ---- */

static struct disk_async *peek_async(const struct disk *d)
{
    return atomic_load_explicit(&d->async, memory_order_acquire);
}

static VixError make_async(struct disk *d, struct disk_async **ret_async, struct err *err)
{
    struct disk_async *present = NULL;
    struct disk_async *a = alloc_zero(sizeof *a, err);

    if (a == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->less, NULL);
    if (!atomic_compare_exchange_strong(&d->async, &present, a)) {
        free(a); /* another thread was first */
        a = present;
    }
    *ret_async = a;
    return VIX_OK;
}

void disk_async_free(struct disk *d)
{
    struct disk_async *a = peek_async(d);
    if (a != NULL) {
        (void)pthread_cond_destroy(&a->less);
        (void)pthread_mutex_destroy(&a->lock);
        free(a);
        atomic_store_explicit(&d->async, NULL, memory_order_relaxed);
    }
}

static unsigned count_in_flight(struct disk_async *a)
{
    return atomic_load(&a->in_flight) & ~IN_FLIGHT_WAITED;
}

/** Waits until at most so many are in flight. */
static void wait_for_less_locked(struct disk_async *a, unsigned most)
{
    a->waiters++;
    (void)atomic_fetch_or(&a->in_flight, IN_FLIGHT_WAITED);
    while (count_in_flight(a) > most) {
        (void)pthread_cond_wait(&a->less, &a->lock);
    }
    if (--a->waiters == 0) {
        (void)atomic_fetch_and(&a->in_flight, ~IN_FLIGHT_WAITED);
    }
}

/** One more in flight, if there may be. */
static bool try_enter(struct disk_async *a, bool beyond_limit)
{
    unsigned old = atomic_load(&a->in_flight);

    do {
        if (!beyond_limit && (old & ~IN_FLIGHT_WAITED) >= DISK_ASYNC_MAX_IN_FLIGHT) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&a->in_flight, &old, old + 1));
    return true;
}

static void enter(struct disk_async *a)
{
    while (!try_enter(a, callback_frames != NULL)) {
        SCOPED_LOCK(&a->lock);
        wait_for_less_locked(a, DISK_ASYNC_MAX_IN_FLIGHT - 1);
    }
}

/** One less, and who waits is woken. The disk may be gone when this returns, and is not touched once nothing of it is
 * in flight but by the holder of the lock, which waiters have to get first. */
static void leave(struct disk_async *a)
{
    unsigned old = atomic_load(&a->in_flight);

    while ((old & IN_FLIGHT_WAITED) == 0) {
        if (atomic_compare_exchange_weak(&a->in_flight, &old, old - 1)) {
            return;
        }
    }
    SCOPED_LOCK(&a->lock);
    (void)atomic_fetch_sub(&a->in_flight, 1);
    (void)pthread_cond_broadcast(&a->less);
}

static VixError carry_out(struct async_request *r, struct err *err)
{
    const struct disk_io *io = &r->io;

    if (io->nsectors == 0) {
        return VIX_OK;
    }
    return io->write ? disk_write_checked(r->d, io->sector, io->nsectors, io->buf, err)
                     : disk_read_checked(r->d, io->sector, io->nsectors, io->buf, err);
}

/** Runs the callback and ends the request. */
static void finish(struct async_request *r, VixError result, const struct err *err)
{
    struct callback_frame frame = {.d = r->d, .outer = callback_frames};
    struct disk_async *a = peek_async(r->d);

    callback_frames = &frame;
    r->done(r->data, result, err);
    callback_frames = frame.outer;
    free(r);
    leave(a);
}

static void run_request(struct work_item *item)
{
    struct async_request *r = (struct async_request *)item; /* item is its first member */
    struct err err;

    err_init(&err);
    if (r->carried_out) {
        struct err *failed = r->failed;
        finish(r, r->code, failed != NULL ? failed : &err);
        free(failed);
        return;
    }
    VixError code = carry_out(r, &err);
    finish(r, code, &err);
}

/** Carries a request out inside the call. Within a callback its own callback is left to a worker: a chain of requests
 * that each start the next one would otherwise grow the stack without end. */
static VixError run_inline(struct async_request *r, struct work_pool *p, struct err *err)
{
    struct err own;
    struct err *failed = NULL;

    if (callback_frames != NULL && (failed = alloc_zero(sizeof *failed, err)) == NULL) {
        leave(peek_async(r->d));
        free(r);
        return VIX_E_OUT_OF_MEMORY;
    }
    err_init(&own);
    VixError code = carry_out(r, &own);
    if (callback_frames == NULL) {
        finish(r, code, &own);
        return VIX_OK;
    }
    if (code != VIX_OK) {
        *failed = own;
        r->failed = failed;
    } else {
        free(failed);
    }
    r->code = code;
    r->carried_out = true;
    work_submit(p, &r->item);
    return VIX_OK;
}

/** The end of a request that the transport carried out: the callback may wait for others, so it is a worker's. */
static void io_done(struct disk_io *io, VixError result, const struct err *err)
{
    struct async_request *r = (struct async_request *)((char *)io - offsetof(struct async_request, io));

    if (__builtin_expect(r->mark.recording != 0, false)) {
        activity_request(&r->mark, io->write, io->sector, io->nsectors);
        activity_end(&r->mark);
        activity_bytes(io->write ? 0 : io->nsectors * SECTOR_SIZE, io->write ? io->nsectors * SECTOR_SIZE : 0);
    }
    r->code = result;
    if (result != VIX_OK && err != NULL && (r->failed = alloc_zero(sizeof *r->failed, NULL)) != NULL) {
        *r->failed = *err;
    }
    r->carried_out = true;
    work_submit(r->pool, &r->item);
}

/** Starts a request that was checked. */
static VixError start(struct disk *d, bool write, uint64_t sector, uint64_t nsectors, void *buf, disk_done_func *done,
                      void *data, struct err *err)
{
    struct work_pool *p;
    struct disk_async *a = peek_async(d);
    VixError code = disk_async_pool(&p, err);

    if (code == VIX_OK && a == NULL) {
        code = make_async(d, &a, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    struct async_request *r = malloc(sizeof *r);
    if (r == NULL) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "%s: no memory for a request", d->path);
    }
    r->item.run = run_request;
    r->d = d;
    r->io = (struct disk_io){.write = write, .sector = sector, .nsectors = nsectors, .buf = buf, .done = io_done};
    r->done = done;
    r->data = data;
    r->pool = p;
    r->failed = NULL;
    r->carried_out = false;
    enter(a);
    if ((d->ordered && write) || (d->sequential && !write)) {
        return run_inline(r, p, err);
    }
    if (d->starts && nsectors > 0) {
        r->mark = activity_begin(d->remote ? ACTIVITY_NETWORK : write ? ACTIVITY_WRITE : ACTIVITY_READ);
        d->ops->start(d, &r->io);
    } else {
        work_submit(p, &r->item);
    }
    return VIX_OK;
}

VixError disk_read_async(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, disk_done_func *done,
                         void *data, struct err *err)
{
    VixError code = nsectors == 0 ? VIX_OK : disk_check_read(d, sector, nsectors, err);
    return code == VIX_OK ? start(d, false, sector, nsectors, buf, done, data, err) : code;
}

VixError disk_write_async(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, disk_done_func *done,
                          void *data, struct err *err)
{
    VixError code = nsectors == 0 ? VIX_OK : disk_check_write(d, sector, nsectors, err);
    return code == VIX_OK ? start(d, true, sector, nsectors, (void *)(uintptr_t)buf, done, data, err) : code;
}

bool disk_in_callback(const struct disk *d)
{
    for (const struct callback_frame *f = callback_frames; f != NULL; f = f->outer) {
        if (f->d == d) {
            return true;
        }
    }
    return false;
}

VixError disk_wait(struct disk *d, struct err *err)
{
    struct disk_async *a = peek_async(d);

    if (disk_in_callback(d)) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY, "%s: a completion callback cannot wait for its own disk", d->path);
    }
    if (a == NULL) {
        return VIX_OK;
    }
    SCOPED_LOCK(&a->lock); /* also where nothing is in flight: the last one may still hold it */
    unsigned n = count_in_flight(a);
    if (n > 0 && callback_frames != NULL) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY,
                       "%s: %u requests are in flight, and a completion callback cannot wait", d->path, n);
    }
    wait_for_less_locked(a, 0);
    return VIX_OK;
}
