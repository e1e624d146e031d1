/* SPDX-License-Identifier: BSD-3-Clause */
/* The ordered pipeline. Slots stand in a ring in the order of their push; any thread takes the next one that is
 * waiting, and whoever finds the oldest one ready commits it. A failure takes its turn like a result, so the one that
 * is reported is the one that a single thread would have met first. The pushing thread works too while it waits:
 * threads - 1 more are started. One mutex; no step of the caller's runs under it. */
#include <pthread.h>
#include <stdlib.h>

#include "base/activity.h"
#include "base/alloc.h"
#include "base/cleanup.h"
#include "work/thread.h"
#include "work/work.h"

enum slot_state { SLOT_FREE, SLOT_HELD, SLOT_WAITING, SLOT_RUNNING, SLOT_READY };

struct pipe_slot {
    void *data;
    enum slot_state state;
    struct err err; /* of process */
};

struct work_pipe {
    const struct work_pipe_ops *ops;
    void *ctx;
    pthread_mutex_t mutex;
    pthread_cond_t work;   /* for the threads: a slot waits, or the end */
    pthread_cond_t change; /* for the pusher: a slot was committed */
    struct pipe_slot *slots;
    struct pipe_slot **ring; /* the pushed ones: number n stands at n % nslots */
    unsigned nslots;
    uint64_t pushed;
    uint64_t started;
    uint64_t committed;
    bool committing;
    bool ending;
    struct err failure; /* VIX_OK: none */
    unsigned nthreads;
    unsigned max_threads;
    pthread_t *threads;
};

/* ---- steps, with the mutex held around them ---- */

static bool has_failed_locked(const struct work_pipe *pipe)
{
    return pipe->failure.code != VIX_OK;
}

static bool can_commit_locked(const struct work_pipe *pipe)
{
    return !pipe->committing && pipe->committed < pipe->pushed &&
           pipe->ring[pipe->committed % pipe->nslots]->state == SLOT_READY;
}

static void commit_one_locked(struct work_pipe *pipe)
{
    struct pipe_slot *slot = pipe->ring[pipe->committed % pipe->nslots];

    if (!has_failed_locked(pipe) && slot->err.code == VIX_OK) {
        pipe->committing = true;
        (void)pthread_mutex_unlock(&pipe->mutex);
        VixError code = pipe->ops->commit(pipe->ctx, slot->data, &slot->err);
        (void)pthread_mutex_lock(&pipe->mutex);
        pipe->committing = false;
        slot->err.code = code;
    }
    if (!has_failed_locked(pipe) && slot->err.code != VIX_OK) {
        pipe->failure = slot->err;
    }
    slot->state = SLOT_FREE;
    pipe->committed++;
    (void)pthread_cond_signal(&pipe->change);
}

static void process_one_locked(struct work_pipe *pipe)
{
    struct pipe_slot *slot = pipe->ring[pipe->started++ % pipe->nslots];

    err_init(&slot->err);
    if (!has_failed_locked(pipe) && !pipe->ending) {
        slot->state = SLOT_RUNNING;
        (void)pthread_mutex_unlock(&pipe->mutex);
        VixError code = pipe->ops->process(pipe->ctx, slot->data, &slot->err);
        (void)pthread_mutex_lock(&pipe->mutex);
        slot->err.code = code;
    }
    slot->state = SLOT_READY;
}

/* Does one step, if there is one to do. */
static bool step_locked(struct work_pipe *pipe)
{
    if (can_commit_locked(pipe)) {
        commit_one_locked(pipe);
        return true;
    }
    if (pipe->started < pipe->pushed) {
        process_one_locked(pipe);
        return true;
    }
    return false;
}

static void *run_thread(void *arg)
{
    struct work_pipe *pipe = arg;

    work_thread_mark();
    (void)pthread_mutex_lock(&pipe->mutex);
    while (!pipe->ending) {
        if (!step_locked(pipe)) {
            (void)pthread_cond_wait(&pipe->work, &pipe->mutex);
        }
    }
    (void)pthread_mutex_unlock(&pipe->mutex);
    return NULL;
}

/* ---- making and freeing ---- */

static VixError make_slots(struct work_pipe *pipe, struct err *err)
{
    for (unsigned i = 0; i < pipe->nslots; i++) {
        VixError code = pipe->ops->slot_new(pipe->ctx, &pipe->slots[i].data, err);
        if (code != VIX_OK) {
            pipe->slots[i].data = NULL;
            return code;
        }
    }
    return VIX_OK;
}

VixError work_pipe_new(const struct work_pipe_ops *ops, void *ctx, unsigned threads, unsigned slots,
                       struct work_pipe **ret_pipe, struct err *err)
{
    struct work_pipe *pipe = alloc_zero(sizeof *pipe, err);
    VixError code = VIX_E_OUT_OF_MEMORY;

    if (pipe == NULL) {
        return code;
    }
    threads = threads > 0 ? threads : work_default_threads();
    pipe->ops = ops;
    pipe->ctx = ctx;
    pipe->nslots = slots > threads ? slots : threads;
    pipe->max_threads = threads - 1;
    (void)pthread_mutex_init(&pipe->mutex, NULL);
    (void)pthread_cond_init(&pipe->work, NULL);
    (void)pthread_cond_init(&pipe->change, NULL);
    pipe->slots = alloc_array(pipe->nslots, sizeof *pipe->slots, err);
    pipe->ring = alloc_array(pipe->nslots, sizeof *pipe->ring, err);
    pipe->threads = alloc_array(threads, sizeof *pipe->threads, err);
    if (pipe->slots != NULL && pipe->ring != NULL && pipe->threads != NULL) {
        code = make_slots(pipe, err);
    }
    if (code != VIX_OK) {
        work_pipe_free(pipe);
        return code;
    }
    *ret_pipe = pipe;
    return VIX_OK;
}

void work_pipe_free(struct work_pipe *pipe)
{
    if (pipe == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&pipe->mutex);
    pipe->ending = true;
    (void)pthread_cond_broadcast(&pipe->work);
    (void)pthread_mutex_unlock(&pipe->mutex);
    for (unsigned i = 0; i < pipe->nthreads; i++) {
        (void)pthread_join(pipe->threads[i], NULL);
    }
    for (unsigned i = 0; pipe->slots != NULL && i < pipe->nslots; i++) {
        if (pipe->slots[i].data != NULL) {
            pipe->ops->slot_free(pipe->ctx, pipe->slots[i].data);
        }
    }
    free(pipe->slots);
    free(pipe->ring);
    free(pipe->threads);
    (void)pthread_cond_destroy(&pipe->work);
    (void)pthread_cond_destroy(&pipe->change);
    (void)pthread_mutex_destroy(&pipe->mutex);
    free(pipe);
}

/* ---- the pusher's side ---- */

static VixError failure_locked(const struct work_pipe *pipe, struct err *err)
{
    if (err != NULL && has_failed_locked(pipe)) {
        *err = pipe->failure;
    }
    return pipe->failure.code;
}

static struct pipe_slot *find_free_locked(struct work_pipe *pipe)
{
    for (unsigned i = 0; i < pipe->nslots; i++) {
        if (pipe->slots[i].state == SLOT_FREE) {
            return &pipe->slots[i];
        }
    }
    return NULL;
}

static void wait_for_change_locked(struct work_pipe *pipe)
{
    struct activity_mark mark = activity_enter(ACTIVITY_WAITING);

    (void)pthread_cond_wait(&pipe->change, &pipe->mutex);
    activity_leave(&mark);
}

VixError work_pipe_slot(struct work_pipe *pipe, void **ret_slot, struct err *err)
{
    struct pipe_slot *slot = NULL;
    SCOPED_LOCK(&pipe->mutex);

    while (!has_failed_locked(pipe) && (slot = find_free_locked(pipe)) == NULL) {
        if (!step_locked(pipe)) {
            wait_for_change_locked(pipe);
        }
    }
    if (has_failed_locked(pipe)) {
        return failure_locked(pipe, err);
    }
    if (can_commit_locked(pipe)) {
        (void)pthread_cond_signal(&pipe->work); /* this thread leaves: another goes on with the commits */
    }
    slot->state = SLOT_HELD;
    *ret_slot = slot->data;
    return VIX_OK;
}

static void ensure_thread_locked(struct work_pipe *pipe)
{
    if (pipe->nthreads < pipe->max_threads &&
        work_thread_start(&pipe->threads[pipe->nthreads], "vixdisk-pipe", run_thread, pipe) == 0) {
        pipe->nthreads++;
    }
}

void work_pipe_push(struct work_pipe *pipe, void *data)
{
    struct pipe_slot *slot = pipe->slots;
    SCOPED_LOCK(&pipe->mutex);

    while (slot->data != data) {
        slot++;
    }
    slot->state = SLOT_WAITING;
    pipe->ring[pipe->pushed++ % pipe->nslots] = slot;
    ensure_thread_locked(pipe);
    (void)pthread_cond_signal(&pipe->work);
    if (pipe->max_threads == 0) {
        while (step_locked(pipe)) {
        }
    }
}

VixError work_pipe_drain(struct work_pipe *pipe, struct err *err)
{
    SCOPED_LOCK(&pipe->mutex);

    while (pipe->committed < pipe->pushed) {
        if (!step_locked(pipe)) {
            wait_for_change_locked(pipe);
        }
    }
    return failure_locked(pipe, err);
}
