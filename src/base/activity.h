/* SPDX-License-Identifier: BSD-3-Clause */
/* activity.h - what the process spends its time on while somebody records it: which stages are busy, how many bytes are
 * read and written, the slowest requests. One recording for the process; without one a call costs a look at a flag, and
 * all else is out of the way. What began before a recording does not count. Any thread. */
#ifndef VIXDISK_BASE_ACTIVITY_H
#define VIXDISK_BASE_ACTIVITY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum activity_stage {
    ACTIVITY_WAITING = -1, /* for another thread: none of the stages */
    ACTIVITY_READ,         /* files and devices of this machine */
    ACTIVITY_NETWORK,      /* waiting for a server: its disks and the way to them */
    ACTIVITY_CODEC,        /* compressing and inflating */
    ACTIVITY_WRITE,
    ACTIVITY_STAGES
};

#define ACTIVITY_SLOWEST 8u

/** A read or write of a disk. */
struct activity_request {
    bool write;
    uint64_t sector, nsectors;
    uint64_t ns;
};

/** What was recorded so far. */
struct activity {
    uint64_t elapsed_ns;
    uint64_t busy_ns[ACTIVITY_STAGES]; /* in which at least one thread was at it */
    uint64_t bytes_read, bytes_written, retries;
    unsigned slowest_count;
    struct activity_request slowest[ACTIVITY_SLOWEST]; /* the slowest first */
};

extern atomic_bool activity_recording;

/** Whether somebody records. One look is enough for a call that does nothing of the below then. */
static inline bool activity_is_on(void)
{
    return __builtin_expect(atomic_load_explicit(&activity_recording, memory_order_relaxed), false);
}

/** Where a thread was before it entered a stage; of activity_begin the stage. */
struct activity_mark {
    uint64_t recording; /* 0: none */
    int before;
    uint64_t start_ns;
};

/** Begins a recording; what was recorded before is forgotten. */
void activity_start(void);
void activity_stop(void);
void activity_get(struct activity *ret_activity);

/* The rest of these functions is for activity_enter and its like below. */
__attribute__((cold)) struct activity_mark activity_enter_slow(enum activity_stage stage);
__attribute__((cold)) void activity_leave_slow(const struct activity_mark *mark);
__attribute__((cold)) struct activity_mark activity_begin_slow(enum activity_stage stage);
__attribute__((cold)) void activity_end_slow(const struct activity_mark *mark);
__attribute__((cold)) void activity_bytes_slow(uint64_t bytes_read, uint64_t bytes_written);
__attribute__((cold)) void activity_request_slow(const struct activity_mark *mark, bool write, uint64_t sector,
                                                 uint64_t nsectors);
__attribute__((cold)) void activity_retry_slow(void);

/** The thread is at a stage until activity_leave; the stage that it was at before waits meanwhile. */
static inline struct activity_mark activity_enter(enum activity_stage stage)
{
    return activity_is_on() ? activity_enter_slow(stage) : (struct activity_mark){0};
}

static inline void activity_leave(const struct activity_mark *mark)
{
    if (__builtin_expect(mark->recording != 0, false)) {
        activity_leave_slow(mark);
    }
}

/** A stage is busy, but no thread is at it, until activity_end on whatever thread: a request that is on its way. */
static inline struct activity_mark activity_begin(enum activity_stage stage)
{
    return activity_is_on() ? activity_begin_slow(stage) : (struct activity_mark){0};
}

static inline void activity_end(const struct activity_mark *mark)
{
    if (__builtin_expect(mark->recording != 0, false)) {
        activity_end_slow(mark);
    }
}

static inline void activity_bytes(uint64_t bytes_read, uint64_t bytes_written)
{
    if (activity_is_on()) {
        activity_bytes_slow(bytes_read, bytes_written);
    }
}

/** A request that began with mark has ended. */
static inline void activity_request(const struct activity_mark *mark, bool write, uint64_t sector, uint64_t nsectors)
{
    if (__builtin_expect(mark->recording != 0, false)) {
        activity_request_slow(mark, write, sector, nsectors);
    }
}

/** Something is done again because it has failed. */
static inline void activity_retry(void)
{
    if (activity_is_on()) {
        activity_retry_slow();
    }
}

#endif
