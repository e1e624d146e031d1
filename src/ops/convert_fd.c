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

#include "base/cleanup.h"
#include "ops/clone_params.h"
#include "ops/convert.h"
#include "ops/copy.h"
#include "vmdk/stream_format.h"

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

static VixError sink_append(void *ctx, const struct iovec *iov, int iovcnt, struct err *err)
{
    VixError code = VIX_OK;

    for (int i = 0; i < iovcnt && code == VIX_OK; i++) {
        code = sink_write(ctx, iov[i].iov_base, iov[i].iov_len, err);
    }
    return code;
}

/* ---- streamOptimized ---- */

/** The descriptor of a disk that holds data: with a content ID of its own. */
static VixError stream_text(const struct create_params *p, char **ret_text, size_t *ret_len, struct err *err)
{
    CLEANUP_FREE char *fresh = NULL;
    size_t len = 0;
    struct descriptor *d;
    VixError code = vmdk_descriptor_text("disk.vmdk", p, &fresh, &len, err);

    if (code == VIX_OK) {
        code = descriptor_parse(fresh, len, "disk.vmdk", &d, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    code = descriptor_set_cid(d, random_cid(), err);
    if (code == VIX_OK) {
        code = descriptor_format(d, ret_text, ret_len, err);
    }
    descriptor_free(d);
    return code;
}

static VixError pull_into_writer(void *ctx, uint64_t sector, uint64_t nsectors, extent_source_func *source,
                                 void *source_ctx, struct err *err)
{
    return stream_writer_pull(ctx, sector, nsectors, source, source_ctx, err);
}

static VixError write_in_turn(void *ctx, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    return stream_writer_write(ctx, sector, nsectors, buf, err);
}

static VixError fill_stream(struct disk *src, struct stream_writer *w, struct progress_meter *meter, struct err *err)
{
    VixError code = src->sequential ? copy_in_turn(src, write_in_turn, w, meter, err)
                                    : copy_pull(src, pull_into_writer, w, meter, err);
    return code == VIX_OK ? stream_writer_finish(w, NULL, err) : code;
}

VixError convert_to_stream(struct disk *src, const struct create_params *params, const struct chain_tuning *tuning,
                           const struct stream_sink *sink, struct progress_meter *meter, struct err *err)
{
    struct clone_params clone;
    struct sparse_header h;
    struct stream_writer *w = NULL;
    CLEANUP_FREE char *text = NULL;
    size_t len = 0;
    VixError code = clone_params_make(src, params, &clone, err);

    if (code != VIX_OK) {
        return code;
    }
    code = stream_text(&clone.p, &text, &len, err);
    clone_params_done(&clone);
    stream_header_new(src->capacity, &h);
    if (code == VIX_OK) {
        code = stream_writer_new(&h, sink, tuning->level, tuning->threads, &w, err);
    }
    if (code == VIX_OK) {
        code = stream_writer_begin(w, text, len, err);
    }
    if (code == VIX_OK) {
        code = fill_stream(src, w, meter, err);
    }
    stream_writer_free(w);
    return code;
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
    if (target->raw) {
        code = copy_to_sink(src, sink_write, &sink, target->tuning.threads, meter, err);
    } else {
        const struct stream_sink bytes = {.append = sink_append, .ctx = &sink, .name = "the stream"};
        code = convert_to_stream(src, &target->params, &target->tuning, &bytes, meter, err);
    }
    return code == VIX_OK ? meter_end(meter, err) : code;
}
