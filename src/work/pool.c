/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue and the threads that empty it. A thread is started when an item is queued that no waiting thread will take,
 * up to the limit. Waking is dear: one thread at a time is woken, and wakes the next if it leaves items behind; while
 * it is on its way more items need no other. One mutex, held for moments only; nothing of the caller's runs under it.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "work/thread.h"
#include "work/work.h"

struct work_pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct work_item *first;
    struct work_item **last; /* where the next item is linked in */
    size_t queued;
    unsigned idle; /* threads that wait */
    bool waking;   /* one of them has been told not to */
    unsigned nthreads;
    unsigned max_threads;
    bool ending;
    pthread_t threads[];
};

/** A mutex whose waiters try for a while before they sleep. */
static void init_spinning(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;

    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void)pthread_mutex_init(mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
}

VixError work_pool_new(unsigned threads, struct work_pool **ret_pool, struct err *err)
{
    unsigned max = threads > 0 ? threads : work_default_threads();
    struct work_pool *pool = alloc_zero(sizeof *pool + max * sizeof pool->threads[0], err);

    if (pool == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    init_spinning(&pool->mutex);
    (void)pthread_cond_init(&pool->wake, NULL);
    pool->last = &pool->first;
    pool->max_threads = max;
    *ret_pool = pool;
    return VIX_OK;
}

static struct work_item *take_locked(struct work_pool *pool)
{
    struct work_item *item = pool->first;

    if (item != NULL) {
        pool->first = item->next;
        if (pool->first == NULL) {
            pool->last = &pool->first;
        }
        pool->queued--;
    }
    return item;
}

/** Whether a thread is to be woken, which the caller does without the lock. */
static bool wake_one_locked(struct work_pool *pool)
{
    if (pool->first == NULL || pool->idle == 0 || pool->waking) {
        return false;
    }
    pool->waking = true;
    return true;
}

static void *run_thread(void *arg)
{
    struct work_pool *pool = arg;

    work_thread_mark();
    (void)pthread_mutex_lock(&pool->mutex);
    for (;;) {
        struct work_item *item = take_locked(pool);
        if (item != NULL) {
            bool wake = wake_one_locked(pool);
            (void)pthread_mutex_unlock(&pool->mutex);
            if (wake) {
                (void)pthread_cond_signal(&pool->wake);
            }
            item->run(item);
            (void)pthread_mutex_lock(&pool->mutex);
        } else if (pool->ending) {
            break;
        } else {
            pool->idle++;
            (void)pthread_cond_wait(&pool->wake, &pool->mutex);
            pool->idle--;
            pool->waking = false;
        }
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Whether somebody will come for what is queued. */
static bool ensure_thread_locked(struct work_pool *pool)
{
    if (pool->queued > pool->idle && pool->nthreads < pool->max_threads &&
        work_thread_start(&pool->threads[pool->nthreads], "vixdisk-work", run_thread, pool) == 0) {
        pool->nthreads++;
    }
    return pool->nthreads > 0;
}

void work_submit(struct work_pool *pool, struct work_item *item)
{
    bool alone;
    bool wake = false;

    item->next = NULL;
    (void)pthread_mutex_lock(&pool->mutex);
    *pool->last = item;
    pool->last = &item->next;
    pool->queued++;
    alone = !ensure_thread_locked(pool);
    if (alone) {
        item = take_locked(pool);
    } else {
        wake = wake_one_locked(pool);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    if (wake) {
        (void)pthread_cond_signal(&pool->wake);
    }
    if (alone && item != NULL) {
        item->run(item);
    }
}

void work_pool_free(struct work_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    (void)pthread_cond_broadcast(&pool->wake);
    /* an item that runs now may queue another and so start a thread: the count is read again each time */
    for (unsigned i = 0; i < pool->nthreads; i++) {
        (void)pthread_mutex_unlock(&pool->mutex);
        (void)pthread_join(pool->threads[i], NULL);
        (void)pthread_mutex_lock(&pool->mutex);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->mutex);
    free(pool);
}
