/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues and the threads that empty them. Items from outside wait in one queue. Those that an item queues wait in one
 * of the thread it runs on: that thread takes them without a lock that others want, and has their memory at hand. So
 * that nothing waits for ever, a thread looks into the other queues now and then, and does before it sleeps. A thread
 * is started when an item is queued that no waiting thread will take, up to the limit. Waking is dear: one thread at a
 * time is woken, and wakes the next if it leaves items behind; while it is on its way more items need no other. The
 * mutexes are held for moments only; nothing of the caller's runs under them. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "work/thread.h"
#include "work/work.h"

#define OUTSIDE_TURN 2u /* every so many items a thread looks outside before into its own queue */
#define OTHERS_TURN 64u /* the same for the queues of others */

/** A queue. On a cache line of its own. */
struct lane {
    _Alignas(64) pthread_mutex_t mutex;
    struct work_item *first;
    struct work_item **last; /* where the next item is linked in */
    atomic_size_t queued;
};

struct worker {
    struct lane lane;
    struct work_pool *pool;
    pthread_t thread;
    unsigned turn;
};

struct work_pool {
    struct lane outside;
    _Alignas(64) pthread_mutex_t mutex; /* of all below */
    pthread_cond_t wake;
    atomic_uint idle; /* threads that wait, or are about to. A thread counts itself before it looks for items a last
                         time, and who queues one looks at the count afterwards: one of the two sees the other */
    bool waking;      /* one of them has been told not to */
    atomic_uint nthreads;
    unsigned max_threads;
    bool ending;
    struct worker workers[];
};

static _Thread_local struct worker *me; /* NULL: a thread of no pool */

/* ---- queues ---- */

/** A mutex whose waiters try for a while before they sleep. */
static void init_spinning(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;

    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void)pthread_mutex_init(mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
}

static void lane_init(struct lane *lane)
{
    init_spinning(&lane->mutex);
    lane->last = &lane->first;
}

static void push(struct lane *lane, struct work_item *item)
{
    item->next = NULL;
    SCOPED_LOCK(&lane->mutex);
    *lane->last = item;
    lane->last = &item->next;
    (void)atomic_fetch_add(&lane->queued, 1);
}

static struct work_item *take(struct lane *lane)
{
    if (atomic_load(&lane->queued) == 0) {
        return NULL;
    }
    SCOPED_LOCK(&lane->mutex);
    struct work_item *item = lane->first;
    if (item != NULL) {
        lane->first = item->next;
        if (lane->first == NULL) {
            lane->last = &lane->first;
        }
        (void)atomic_fetch_sub(&lane->queued, 1);
    }
    return item;
}

static struct work_item *take_from_others(const struct worker *w)
{
    struct work_pool *pool = w->pool;
    unsigned n = atomic_load(&pool->nthreads);
    struct work_item *item = NULL;

    for (unsigned i = 1, at = (unsigned)(w - pool->workers); i < n && item == NULL; i++) {
        item = take(&pool->workers[(at + i) % n].lane);
    }
    return item;
}

/** What a thread does next; NULL: there is nothing. */
static struct work_item *next_item(struct worker *w)
{
    struct work_item *item = NULL;

    w->turn++;
    if (w->turn % OTHERS_TURN == 0) {
        item = take_from_others(w);
    }
    if (item == NULL && w->turn % OUTSIDE_TURN == 0) {
        item = take(&w->pool->outside);
    }
    if (item == NULL) {
        item = take(&w->lane);
    }
    if (item == NULL) {
        item = take(&w->pool->outside);
    }
    return item != NULL ? item : take_from_others(w);
}

static bool anything_queued(struct work_pool *pool)
{
    bool any = atomic_load(&pool->outside.queued) > 0;

    for (unsigned i = 0; i < atomic_load(&pool->nthreads) && !any; i++) {
        any = atomic_load(&pool->workers[i].lane.queued) > 0;
    }
    return any;
}

/* ---- threads ---- */

/** Whether a thread is to be woken, which the caller does without the lock. */
static bool wake_one_locked(struct work_pool *pool)
{
    if (atomic_load(&pool->idle) == 0 || pool->waking) {
        return false;
    }
    pool->waking = true;
    return true;
}

/** Wakes a thread for what a woken one leaves behind. */
static void wake_next(struct work_pool *pool)
{
    bool wake;

    if (atomic_load(&pool->idle) == 0 || !anything_queued(pool)) {
        return;
    }
    {
        SCOPED_LOCK(&pool->mutex);
        wake = wake_one_locked(pool);
    }
    if (wake) {
        (void)pthread_cond_signal(&pool->wake);
    }
}

/** Waits until there may be something to do; false: the pool is ending and there is not. */
static bool wait_for_items(struct work_pool *pool)
{
    SCOPED_LOCK(&pool->mutex);
    (void)atomic_fetch_add(&pool->idle, 1);
    bool stay = anything_queued(pool) || !pool->ending;
    if (!anything_queued(pool) && !pool->ending) {
        (void)pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    (void)atomic_fetch_sub(&pool->idle, 1);
    pool->waking = false;
    return stay;
}

static void *run_thread(void *arg)
{
    struct worker *w = arg;
    bool woken = false;

    work_thread_mark();
    me = w;
    for (;;) {
        struct work_item *item = next_item(w);
        if (item != NULL) {
            if (woken) {
                wake_next(w->pool);
            }
            item->run(item);
        } else if (!wait_for_items(w->pool)) {
            return NULL;
        }
        woken = item == NULL;
    }
}

/** Sees to it that somebody comes for an item that was queued; false: there is no thread. */
static bool call_thread(struct work_pool *pool, const struct lane *lane)
{
    bool wake;
    unsigned n;

    {
        SCOPED_LOCK(&pool->mutex);
        n = atomic_load(&pool->nthreads);
        if (atomic_load(&lane->queued) > atomic_load(&pool->idle) && n < pool->max_threads &&
            work_thread_start(&pool->workers[n].thread, "vixdisk-work", run_thread, &pool->workers[n]) == 0) {
            atomic_store(&pool->nthreads, ++n);
        }
        wake = wake_one_locked(pool);
    }
    if (wake) {
        (void)pthread_cond_signal(&pool->wake);
    }
    return n > 0;
}

void work_submit(struct work_pool *pool, struct work_item *item)
{
    struct lane *lane = me != NULL && me->pool == pool ? &me->lane : &pool->outside;

    push(lane, item);
    if (atomic_load(&pool->idle) == 0 && atomic_load(&pool->nthreads) == pool->max_threads) {
        return; /* all are at work, and look before they sleep */
    }
    if (!call_thread(pool, lane)) {
        item = take(lane);
        if (item != NULL) {
            item->run(item);
        }
    }
}

/* ---- the pool ---- */

unsigned work_pool_threads(const struct work_pool *pool)
{
    return pool->max_threads;
}

VixError work_pool_new(unsigned threads, struct work_pool **ret_pool, struct err *err)
{
    unsigned max = threads > 0 ? threads : work_default_threads();
    size_t size = sizeof(struct work_pool) + max * sizeof(struct worker);
    struct work_pool *pool = alloc_aligned(_Alignof(struct work_pool), size, err);

    if (pool == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    memset(pool, 0, size);
    lane_init(&pool->outside);
    for (unsigned i = 0; i < max; i++) {
        lane_init(&pool->workers[i].lane);
        pool->workers[i].pool = pool;
    }
    init_spinning(&pool->mutex);
    (void)pthread_cond_init(&pool->wake, NULL);
    pool->max_threads = max;
    *ret_pool = pool;
    return VIX_OK;
}

void work_pool_free(struct work_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    (void)pthread_cond_broadcast(&pool->wake);
    (void)pthread_mutex_unlock(&pool->mutex);
    /* an item that runs now may queue another and so start a thread: the count is read again each time */
    for (unsigned i = 0; i < atomic_load(&pool->nthreads); i++) {
        (void)pthread_join(pool->workers[i].thread, NULL);
    }
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->mutex);
    for (unsigned i = 0; i < pool->max_threads; i++) {
        (void)pthread_mutex_destroy(&pool->workers[i].lane.mutex);
    }
    (void)pthread_mutex_destroy(&pool->outside.mutex);
    free(pool);
}
