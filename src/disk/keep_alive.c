/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk/keep_alive.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "work/thread.h"

struct entry {
    struct entry *next;
    struct vim_session *session;
    unsigned interval_ms;
    uint64_t due_ms;
    bool busy; /* a call is under way, without the lock */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change; /* made with the thread; monotonic clock */
static struct entry *entries;
static pthread_t thread;
static bool running;
static bool ending;

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct entry *first_due(void)
{
    struct entry *first = entries;

    for (struct entry *e = entries; e != NULL; e = e->next) {
        first = e->due_ms < first->due_ms ? e : first;
    }
    return first;
}

static void wait_until(uint64_t due_ms)
{
    struct timespec until = {.tv_sec = (time_t)(due_ms / 1000), .tv_nsec = (long)(due_ms % 1000) * 1000000};

    (void)pthread_cond_timedwait(&change, &lock, &until);
}

/** One call; the lock is given back meanwhile. */
static void call(struct entry *e)
{
    struct err err;

    e->busy = true;
    (void)pthread_mutex_unlock(&lock);
    err_init(&err);
    if (vim_keep_alive(e->session, &err) != VIX_OK) {
        log_news("%s: the session could not be kept alive: %s", vim_peer(e->session), err.text);
    }
    (void)pthread_mutex_lock(&lock);
    e->busy = false;
    e->due_ms = now_ms() + e->interval_ms;
    (void)pthread_cond_broadcast(&change);
}

static void *run(void *arg)
{
    (void)arg;
    SCOPED_LOCK(&lock);
    while (!ending) {
        struct entry *e = first_due();
        if (e == NULL) {
            (void)pthread_cond_wait(&change, &lock);
        } else if (e->due_ms > now_ms()) {
            wait_until(e->due_ms);
        } else {
            call(e);
        }
    }
    return NULL;
}

static bool start_thread(void)
{
    pthread_condattr_t attr;

    if (running) {
        return true;
    }
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&change, &attr);
    (void)pthread_condattr_destroy(&attr);
    ending = false;
    running = work_thread_start(&thread, "vixdisk-alive", run, NULL) == 0;
    return running;
}

void keep_alive_add(struct vim_session *session, unsigned interval_ms)
{
    struct entry *e = alloc_zero(sizeof *e, NULL);
    SCOPED_LOCK(&lock);

    if (e == NULL || !start_thread()) {
        free(e);
        return;
    }
    *e = (struct entry){
        .next = entries, .session = session, .interval_ms = interval_ms, .due_ms = now_ms() + interval_ms};
    entries = e;
    (void)pthread_cond_broadcast(&change);
}

void keep_alive_remove(struct vim_session *session)
{
    SCOPED_LOCK(&lock);
    for (struct entry **at = &entries; *at != NULL; at = &(*at)->next) {
        struct entry *e = *at;
        if (e->session != session) {
            continue;
        }
        while (e->busy) {
            (void)pthread_cond_wait(&change, &lock);
        }
        for (at = &entries; *at != e; at = &(*at)->next) {
        }
        *at = e->next;
        free(e);
        return;
    }
}

void keep_alive_shutdown(void)
{
    {
        SCOPED_LOCK(&lock);
        if (!running) {
            return;
        }
        ending = true;
        (void)pthread_cond_broadcast(&change);
    }
    (void)pthread_join(thread, NULL);
    SCOPED_LOCK(&lock);
    running = false;
    (void)pthread_cond_destroy(&change);
}
