/* SPDX-License-Identifier: BSD-3-Clause */
/* activity.c - the recording. A stage is busy from the first thread that enters it, or request that begins, to the last
 * that leaves it; a thread is at one stage at a time, the innermost. One lock, taken some times for each piece of work,
 * and only while recording; the clock is read under it, so that times follow each other as entries do.
 */
#include "base/activity.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

atomic_bool activity_recording;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything below */
static uint64_t recording;                               /* number of the recording, 0: there was none */
static uint64_t start_ns, end_ns;
static unsigned inside[ACTIVITY_STAGES];
static uint64_t since_ns[ACTIVITY_STAGES];
static struct activity sums;

static _Thread_local uint64_t my_recording;
static _Thread_local int my_stage = ACTIVITY_WAITING;

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void enter_locked(int stage, uint64_t now)
{
    if (stage != ACTIVITY_WAITING && inside[stage]++ == 0) {
        since_ns[stage] = now;
    }
}

static void leave_locked(int stage, uint64_t now)
{
    if (stage != ACTIVITY_WAITING && inside[stage] > 0 && --inside[stage] == 0) {
        sums.busy_ns[stage] += now - since_ns[stage];
    }
}

void activity_start(void)
{
    SCOPED_LOCK(&lock);
    recording++;
    memset(inside, 0, sizeof inside);
    memset(&sums, 0, sizeof sums);
    start_ns = now_ns();
    atomic_store(&activity_recording, true);
}

void activity_stop(void)
{
    SCOPED_LOCK(&lock);
    if (atomic_exchange(&activity_recording, false)) {
        end_ns = now_ns();
    }
}

void activity_get(struct activity *ret_activity)
{
    SCOPED_LOCK(&lock);
    uint64_t now = atomic_load(&activity_recording) ? now_ns() : end_ns;

    *ret_activity = sums;
    ret_activity->elapsed_ns = recording != 0 && now > start_ns ? now - start_ns : 0;
    for (int i = 0; i < ACTIVITY_STAGES; i++) {
        if (inside[i] > 0 && now > since_ns[i]) {
            ret_activity->busy_ns[i] += now - since_ns[i];
        }
    }
}

struct activity_mark activity_enter_slow(enum activity_stage stage)
{
    SCOPED_LOCK(&lock);
    uint64_t now = now_ns();
    int before = my_recording == recording ? my_stage : ACTIVITY_WAITING;

    leave_locked(before, now);
    enter_locked(stage, now);
    my_recording = recording;
    my_stage = stage;
    return (struct activity_mark){.recording = recording, .before = before, .start_ns = now};
}

void activity_leave_slow(const struct activity_mark *mark)
{
    SCOPED_LOCK(&lock);
    uint64_t now = now_ns();

    if (mark->recording == recording) {
        leave_locked(my_stage, now);
        enter_locked(mark->before, now);
    }
    my_stage = mark->before;
}

struct activity_mark activity_begin_slow(enum activity_stage stage)
{
    SCOPED_LOCK(&lock);
    uint64_t now = now_ns();

    enter_locked(stage, now);
    return (struct activity_mark){.recording = recording, .before = stage, .start_ns = now};
}

void activity_end_slow(const struct activity_mark *mark)
{
    SCOPED_LOCK(&lock);
    uint64_t now = now_ns();

    if (mark->recording == recording) {
        leave_locked(mark->before, now);
    }
}

void activity_bytes_slow(uint64_t bytes_read, uint64_t bytes_written)
{
    SCOPED_LOCK(&lock);
    sums.bytes_read += bytes_read;
    sums.bytes_written += bytes_written;
}

void activity_request_slow(const struct activity_mark *mark, bool write, uint64_t sector, uint64_t nsectors)
{
    uint64_t ns = now_ns() - mark->start_ns;
    SCOPED_LOCK(&lock);
    unsigned at = sums.slowest_count;

    if (mark->recording != recording || (at == ACTIVITY_SLOWEST && sums.slowest[at - 1].ns >= ns)) {
        return;
    }
    if (at == ACTIVITY_SLOWEST) {
        at--;
    } else {
        sums.slowest_count++;
    }
    for (; at > 0 && sums.slowest[at - 1].ns < ns; at--) {
        sums.slowest[at] = sums.slowest[at - 1];
    }
    sums.slowest[at] = (struct activity_request){.write = write, .sector = sector, .nsectors = nsectors, .ns = ns};
}

void activity_retry_slow(void)
{
    SCOPED_LOCK(&lock);
    sums.retries++;
}
