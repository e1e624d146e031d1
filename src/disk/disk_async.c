/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_async.c - requests in the background: carried out on the workers of the process, or started by a transport that
 * needs no thread for each; the callbacks are the workers' in both cases. One pool serves all disks and is made at
 * the first request, so that a program may fork before. Each disk has a fixed number of request structs: a caller that
 * finds none waits; a callback, which would wait for itself, gets one from the heap instead. Locks: the disk's, nothing
 * under it but the pool's own queue. Callbacks run without a lock, and never nest: what a callback starts and what must
 * end at once is finished by a worker. */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/activity.h"
#include "base/cleanup.h"
#include "disk/disk_int.h"
#include "work/work.h"

struct async_request {
    struct work_item item;
    struct async_request *next; /* in the free list */
    struct disk *d;
    struct disk_io io;
    disk_done_func *done;
    void *data;
    struct work_pool *pool;
    struct activity_mark mark; /* of a request that the transport carries out */
    struct err *failed; /* the request is done, and failed: what the callback is to be told; NULL: the code is all */
    VixError code;      /* of a request that is carried out */
    bool carried_out;   /* only the callback is left */
    bool from_heap;
};

struct disk_async {
    pthread_mutex_t lock;
    pthread_cond_t slot_free;
    pthread_cond_t idle;
    unsigned in_flight; /* accepted, callback not yet returned */
    unsigned slot_waiters;
    unsigned idle_waiters;
    struct async_request *free_list;
    struct async_request slots[DISK_ASYNC_MAX_IN_FLIGHT];
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
    return __atomic_load_n(&d->async, __ATOMIC_ACQUIRE);
}

static VixError make_async(struct disk *d, struct disk_async **ret_async, struct err *err)
{
    struct disk_async *present = NULL;
    struct disk_async *a = alloc_zero(sizeof *a, err);

    if (a == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    for (size_t i = DISK_ASYNC_MAX_IN_FLIGHT; i-- > 0;) {
        a->slots[i].next = a->free_list;
        a->free_list = &a->slots[i];
    }
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->slot_free, NULL);
    (void)pthread_cond_init(&a->idle, NULL);
    if (!__atomic_compare_exchange_n(&d->async, &present, a, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
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
        (void)pthread_cond_destroy(&a->idle);
        (void)pthread_cond_destroy(&a->slot_free);
        (void)pthread_mutex_destroy(&a->lock);
        free(a);
        d->async = NULL;
    }
}

/** A request struct, counted as in flight. */
static VixError take_request(struct disk_async *a, struct async_request **ret_r, struct err *err)
{
    struct async_request *r;
    SCOPED_LOCK(&a->lock);

    while (a->free_list == NULL && callback_frames == NULL) {
        a->slot_waiters++;
        (void)pthread_cond_wait(&a->slot_free, &a->lock);
        a->slot_waiters--;
    }
    r = a->free_list;
    if (r != NULL) {
        a->free_list = r->next;
        r->from_heap = false;
    } else {
        r = alloc_zero(sizeof *r, err);
        if (r == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        r->from_heap = true;
    }
    a->in_flight++;
    *ret_r = r;
    return VIX_OK;
}

/** Gives a request back, and wakes who waits. The disk may be gone when this returns. */
static void give_back(struct disk_async *a, struct async_request *r)
{
    bool from_heap = r->from_heap;
    {
        SCOPED_LOCK(&a->lock);
        if (!from_heap) {
            r->next = a->free_list;
            a->free_list = r;
            if (a->slot_waiters > 0) {
                (void)pthread_cond_signal(&a->slot_free);
            }
        }
        if (--a->in_flight == 0 && a->idle_waiters > 0) {
            (void)pthread_cond_broadcast(&a->idle);
        }
    }
    if (from_heap) {
        free(r);
    }
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
    give_back(a, r);
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
        give_back(peek_async(r->d), r);
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

    activity_request(&r->mark, io->write, io->sector, io->nsectors);
    activity_end(&r->mark);
    activity_bytes(io->write ? 0 : io->nsectors * SECTOR_SIZE, io->write ? io->nsectors * SECTOR_SIZE : 0);
    r->code = result;
    if (result != VIX_OK && err != NULL && (r->failed = alloc_zero(sizeof *r->failed, NULL)) != NULL) {
        *r->failed = *err;
    }
    r->carried_out = true;
    work_submit(r->pool, &r->item);
}

static VixError start(struct disk *d, const struct async_request *wanted, struct err *err)
{
    struct work_pool *p;
    struct async_request *r;
    struct disk_async *a = peek_async(d);
    VixError code = disk_async_pool(&p, err);

    if (code == VIX_OK && a == NULL) {
        code = make_async(d, &a, err);
    }
    if (code == VIX_OK) {
        code = take_request(a, &r, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    bool from_heap = r->from_heap;
    *r = *wanted;
    r->from_heap = from_heap;
    r->item.run = run_request;
    r->pool = p;
    if ((d->ordered && r->io.write) || (d->sequential && !r->io.write)) {
        return run_inline(r, p, err);
    }
    if (d->starts && r->io.nsectors > 0) {
        r->mark = activity_begin(d->remote ? ACTIVITY_NETWORK : r->io.write ? ACTIVITY_WRITE : ACTIVITY_READ);
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
    if (code != VIX_OK) {
        return code;
    }
    const struct async_request wanted = {.d = d,
                                         .io = {.sector = sector, .nsectors = nsectors, .buf = buf, .done = io_done},
                                         .done = done,
                                         .data = data};
    return start(d, &wanted, err);
}

VixError disk_write_async(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, disk_done_func *done,
                          void *data, struct err *err)
{
    VixError code = nsectors == 0 ? VIX_OK : disk_check_write(d, sector, nsectors, err);
    if (code != VIX_OK) {
        return code;
    }
    const struct async_request wanted = {
        .d = d,
        .io = {.write = true, .sector = sector, .nsectors = nsectors, .buf = (void *)(uintptr_t)buf, .done = io_done},
        .done = done,
        .data = data};
    return start(d, &wanted, err);
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
    SCOPED_LOCK(&a->lock);
    if (a->in_flight > 0 && callback_frames != NULL) {
        return err_set(err, VIX_E_OBJECT_IS_BUSY,
                       "%s: %u requests are in flight, and a completion callback cannot wait", d->path, a->in_flight);
    }
    while (a->in_flight > 0) {
        a->idle_waiters++;
        (void)pthread_cond_wait(&a->idle, &a->lock);
        a->idle_waiters--;
    }
    return VIX_OK;
}
