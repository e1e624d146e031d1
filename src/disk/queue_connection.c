/* SPDX-License-Identifier: BSD-3-Clause */
/* queue_connection.c - the connection of a queue: its loss, how it is made again (on a thread of its own, because that
 * may take long), calls that are no reads or writes, the beginning and the end. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/activity.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "disk/host_limits.h"
#include "disk/queue_int.h"
#include "work/thread.h"

#define REOPENS_MAX 3u       /* limit: connections lost in a row without a single answer between */
#define REOPEN_PAUSE_MS 250u /* own: before a connection is made again */

/* ---- connecting again ---- */

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void pause_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&t, NULL);
}

static bool may_pass(VixError code)
{
    return err_is_retryable(code) || code == VIX_E_HOST_NETBLKDEV_HANDSHAKE || code == VIX_E_HOST_TCP_CONN_LOST;
}

static VixError try_open(const struct queue *q, struct nfc_client **ret_client, struct err *err)
{
    uint64_t end = now_ms() + q->p.reopen_ms;

    for (unsigned attempt = 0;; attempt++) {
        uint64_t rest = (uint64_t)REOPEN_PAUSE_MS << (2 * attempt);
        VixError code = q->p.reopen(q->p.ctx, ret_client, err);
        if (code == VIX_OK || !may_pass(code) || attempt + 1 == REOPENS_MAX || now_ms() + rest > end) {
            return code;
        }
        pause_ms(rest);
    }
}

/** Puts what follows from a failure behind its sentence, which begins with the host. */
static void explain(struct err *err, const char *consequence)
{
    char *cause = alloc_text(err->text, NULL);

    if (cause != NULL) {
        enum err_retry retry = err->retry;
        (void)err_set_retry(err, retry, err_set(err, err->code, "%s; %s", cause, consequence));
        free(cause);
    }
}

static void close_old(struct queue *q)
{
    uint64_t in = 0;
    uint64_t out = 0;

    while (q->users > 0) {
        (void)pthread_cond_wait(&q->changed, &q->lock);
    }
    struct nfc_client *old = q->client;
    q->client = NULL;
    if (old != NULL) {
        (void)pthread_mutex_unlock(&q->lock);
        nfc_client_traffic(old, &in, &out);
        nfc_client_close(old); /* what was under way comes back to be repeated */
        (void)pthread_mutex_lock(&q->lock);
    }
    q->old_in += in;
    q->old_out += out;
}

static void reopen_once(struct queue *q, struct finished *done)
{
    struct nfc_client *client = NULL;
    struct err err = q->lost;
    VixError code = VIX_E_HOST_TCP_CONN_LOST;

    close_old(q);
    if (++q->unanswered <= REOPENS_MAX) {
        (void)pthread_mutex_unlock(&q->lock);
        err_init(&err);
        code = try_open(q, &client, &err);
        (void)pthread_mutex_lock(&q->lock);
    }
    if (code == VIX_OK) {
        nfc_client_on_pause(client, queue_paused, q);
        q->client = client;
        q->generation++;
        q->state = QUEUE_OPEN;
        activity_retry();
        log_news("%s: connected again after: %s", q->p.path, q->lost.text);
    } else {
        q->unanswered = 0;
        q->lost = err;
        q->lost.code = code;
        explain(&q->lost, "the connection was lost and could not be made again");
        queue_fail_all(q, code, &q->lost, done);
    }
    (void)pthread_cond_broadcast(&q->changed);
}

static void *run_reopen(void *arg)
{
    struct queue *q = arg;
    struct finished done = {0};

    (void)pthread_mutex_lock(&q->lock);
    do {
        reopen_once(q, &done);
        queue_pump(q, false, &done);
        (void)pthread_mutex_unlock(&q->lock);
        queue_call_done(&done);
        done = (struct finished){0};
        (void)pthread_mutex_lock(&q->lock);
    } while (q->state == QUEUE_LOST && queue_has_work(q));
    q->reopening = false;
    (void)pthread_cond_broadcast(&q->changed);
    (void)pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* ---- a lost connection ---- */

/** Without a thread to connect again everything that waits fails. */
void queue_start_reopen(struct queue *q, struct finished *done)
{
    if (q->reopened) {
        (void)pthread_join(q->thread, NULL); /* has ended, or is about to */
        q->reopened = false;
    }
    q->reopening = true;
    if (work_thread_start(&q->thread, "vixdisk-reopen", run_reopen, q) == 0) {
        q->reopened = true;
        return;
    }
    q->reopening = false;
    (void)pthread_cond_broadcast(&q->changed);
    queue_fail_all(q, VIX_E_OUT_OF_MEMORY, NULL, done);
}

/** The connection of a generation is found to be lost. */
void queue_connection_lost(struct queue *q, unsigned generation, const struct err *err, struct finished *done)
{
    if (generation != q->generation || q->state != QUEUE_OPEN) {
        return;
    }
    q->lost = *err;
    q->lost.code = VIX_E_HOST_TCP_CONN_LOST;
    if (!q->p.writable) {
        q->state = QUEUE_LOST;
        return;
    }
    q->state = QUEUE_DEAD;
    explain(&q->lost, "the disk is open for writing, so the connection is not made again");
    (void)pthread_cond_broadcast(&q->changed);
    queue_fail_all(q, VIX_E_HOST_TCP_CONN_LOST, &q->lost, done);
}

/* ---- calls ---- */

/** Waits until there is a connection, which is made again once if need be. */
static VixError await_connection(struct queue *q, struct finished *done)
{
    bool tried = false;

    q->callers++;
    while (q->state == QUEUE_LOST && (q->reopening || !tried)) {
        if (!q->reopening) {
            tried = true;
            queue_pump(q, false, done);
        } else {
            tried = true;
            (void)pthread_cond_wait(&q->changed, &q->lock);
        }
    }
    q->callers--;
    return q->state == QUEUE_OPEN ? VIX_OK : q->lost.code;
}

/** One call on the connection that there is. */
static VixError call_once(struct queue *q, queue_call_func *call, void *ctx, struct err *err)
{
    struct finished done = {0};

    (void)pthread_mutex_lock(&q->lock);
    VixError code = await_connection(q, &done);
    if (code != VIX_OK) {
        *err = q->lost;
        queue_unlock_and_call(q, &done);
        return code;
    }
    struct nfc_client *client = q->client;
    unsigned generation = q->generation;
    q->users++;
    queue_unlock_and_call(q, &done);
    code = call(client, ctx, err);
    done = (struct finished){0};
    (void)pthread_mutex_lock(&q->lock);
    q->users--;
    if (code == VIX_E_HOST_TCP_CONN_LOST) {
        queue_connection_lost(q, generation, err, &done);
    }
    if (q->state != QUEUE_OPEN) {
        (void)pthread_cond_broadcast(&q->changed);
    }
    queue_pump(q, false, &done);
    queue_unlock_and_call(q, &done);
    return code;
}

VixError queue_call(struct queue *q, queue_call_func *call, void *ctx, struct err *err)
{
    struct err own;

    err_init(&own);
    VixError code = call_once(q, call, ctx, &own);
    if (code == VIX_E_HOST_TCP_CONN_LOST && !q->p.writable) {
        err_init(&own);
        code = call_once(q, call, ctx, &own);
    }
    if (code != VIX_OK && err != NULL) {
        *err = own;
    }
    return code;
}

void queue_traffic(struct queue *q, uint64_t *ret_in, uint64_t *ret_out)
{
    uint64_t in = 0;
    uint64_t out = 0;
    SCOPED_LOCK(&q->lock);

    if (q->client != NULL) {
        nfc_client_traffic(q->client, &in, &out);
    }
    *ret_in = q->old_in + in;
    *ret_out = q->old_out + out;
}

/* ---- beginning and end ---- */

static void free_pieces(struct piece *p)
{
    while (p != NULL) {
        struct piece *next = p->next;
        free(p);
        p = next;
    }
}

static void free_memory(struct queue *q)
{
    free_pieces(q->spare);
    (void)pthread_cond_destroy(&q->changed);
    (void)pthread_mutex_destroy(&q->lock);
    free((void *)(uintptr_t)q->p.path);
    free(q);
}

VixError queue_new(const struct queue_params *params, struct nfc_client *client, struct queue **ret_queue,
                   struct err *err)
{
    struct queue *q = alloc_zero(sizeof *q, err);
    VixError code = q != NULL ? host_limits_of(params->host, &q->limits, err) : VIX_E_OUT_OF_MEMORY;

    if (code == VIX_OK) {
        q->p = *params;
        q->p.host = q->limits->host;
        q->p.path = alloc_text(params->path, err);
        code = q->p.path != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    }
    if (code != VIX_OK) {
        free(q);
        nfc_client_close(client);
        return code;
    }
    nfc_client_on_pause(client, queue_paused, q);
    q->client = client;
    q->pump_item.run = queue_run_pump;
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_cond_init(&q->changed, NULL);
    *ret_queue = q;
    return VIX_OK;
}

void queue_free(struct queue *q)
{
    if (q == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&q->lock);
    while (q->pump_queued || q->pumps > 0 || q->reopening) {
        (void)pthread_cond_wait(&q->changed, &q->lock);
    }
    (void)pthread_mutex_unlock(&q->lock);
    if (q->reopened) {
        (void)pthread_join(q->thread, NULL);
    }
    nfc_client_close(q->client);
    free_memory(q);
}
