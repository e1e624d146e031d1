/* SPDX-License-Identifier: BSD-3-Clause */
/* work.h - threads that do queued work. Knows no disks. Worker threads block all signals, and are started when the
 * first work arrives, so a program may fork before that. */
#ifndef VIXDISK_WORK_WORK_H
#define VIXDISK_WORK_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/** One piece of work, embedded in the caller's request; the caller's again when run is called. */
struct work_item {
    void (*run)(struct work_item *item);
    struct work_item *next;
};

struct work_pool;

/** The number of threads to use where nothing else is said: vixdisk.threads, else the cores this process may run on;
 * 1..256. */
unsigned work_default_threads(void);

/** A pool of up to threads threads (0: work_default_threads). Nothing is started yet. */
VixError work_pool_new(unsigned threads, struct work_pool **ret_pool, struct err *err);

/** Runs what is queued, ends the threads, frees. Not from a thread of the pool. NULL is harmless. */
void work_pool_free(struct work_pool *pool);

/** How many threads it has at most. */
unsigned work_pool_threads(const struct work_pool *pool);

/** Queues an item; never blocks (bounding is the caller's). If no thread can be started, and none runs, the item is run
 * on the calling thread. */
void work_submit(struct work_pool *pool, struct work_item *item);

/** Whether the calling thread is one of any pool. */
bool work_on_worker(void);

/* An ordered pipeline: slots of caller-defined work are processed in parallel, in any order, and committed one at a
 * time in the order in which they were pushed. The result does not depend on the number of threads. */
struct work_pipe;

struct work_pipe_ops {
    /** Makes the memory of one slot (buffers, coder); called slots times by work_pipe_new. */
    VixError (*slot_new)(void *ctx, void **ret_slot, struct err *err);
    void (*slot_free)(void *ctx, void *slot);
    /** The parallel step, on any thread. */
    VixError (*process)(void *ctx, void *slot, struct err *err);
    /** The ordered step: one call at a time, in order of push, on any thread. Not called after a failure. */
    VixError (*commit)(void *ctx, void *slot, struct err *err);
};

/** @threads 0: work_default_threads; 1: everything runs inside push. @slots at least threads. */
VixError work_pipe_new(const struct work_pipe_ops *ops, void *ctx, unsigned threads, unsigned slots,
                       struct work_pipe **ret_pipe, struct err *err);

/** A free slot, waiting for one (the calling thread takes part in the work meanwhile). One thread pushes at a time.
 * Returns the first failure of any step, if there was one. */
VixError work_pipe_slot(struct work_pipe *pipe, void **ret_slot, struct err *err);

/** Gives a filled slot to the pipeline. */
void work_pipe_push(struct work_pipe *pipe, void *slot);

/** Waits until everything pushed is committed; the first failure. The pipe can be used further after success. */
VixError work_pipe_drain(struct work_pipe *pipe, struct err *err);

/** Waits for running steps, drops the rest, ends the threads, frees. NULL is harmless. */
void work_pipe_free(struct work_pipe *pipe);

#endif
