/* SPDX-License-Identifier: BSD-3-Clause */
/* convert_fd.c - a copy of a disk as a stream of bytes into a file descriptor that may not be able to seek. The bytes
 * are the same as those of a file made in place. A reader that goes away is an error here, not a signal to the process.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "ops/convert.h"
#include "ops/copy.h"

struct fd_sink {
    int fd;
    uint64_t written; /* bytes */
};

/** Takes a SIGPIPE that is pending for this thread away. */
static void drop_sigpipe(const sigset_t *pipe_set)
{
    static const struct timespec at_once = {0, 0};

    while (sigtimedwait(pipe_set, NULL, &at_once) < 0 && errno == EINTR) {
    }
}

/** One write(2) of which a SIGPIPE does not get out: blocked for this thread, and taken away if it was not pending
 * before. Returns the bytes written or -errno. */
static ssize_t write_quietly(int fd, const void *buf, size_t len)
{
    sigset_t pipe_set;
    sigset_t old_mask;
    sigset_t pending;

    (void)sigemptyset(&pipe_set);
    (void)sigaddset(&pipe_set, SIGPIPE);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_set, &old_mask);
    ssize_t n = write(fd, buf, len);
    if (n < 0) {
        n = -errno;
    }
    if (n == -EPIPE && sigismember(&pending, SIGPIPE) == 0) {
        drop_sigpipe(&pipe_set);
    }
    (void)pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    return n;
}

static VixError sink_write(void *ctx, const void *buf, uint64_t len, struct err *err)
{
    struct fd_sink *s = ctx;
    const uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = write_quietly(s->fd, p, len);
        if (n == -EAGAIN) {
            struct pollfd wait = {.fd = s->fd, .events = POLLOUT};
            (void)poll(&wait, 1, -1);
        } else if (n < 0 && n != -EINTR) {
            return err_set_errno(err, (int)-n, "file descriptor %d: writing at byte %" PRIu64, s->fd, s->written);
        } else if (n > 0) {
            p += n;
            len -= (uint64_t)n;
            s->written += (uint64_t)n;
        }
    }
    return VIX_OK;
}

VixError convert_to_fd(struct disk *src, const struct convert_target *target, struct progress_meter *meter,
                       struct err *err)
{
    struct fd_sink sink = {.fd = target->fd};
    VixError code;

    if (target->fd < 0 || (!target->raw && target->params.type != VIXDISKLIB_DISK_STREAM_OPTIMIZED)) {
        return err_set(err, VIX_E_INVALID_ARG,
                       "file descriptor %d: only raw images and streamOptimized disks can be written to a stream",
                       target->fd);
    }
    code = copy_to_sink(src, sink_write, &sink, target->tuning.threads, meter, err);
    return code == VIX_OK ? meter_end(meter, err) : code;
}
