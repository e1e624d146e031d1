/* SPDX-License-Identifier: BSD-3-Clause */
/* A stream that has no places: pipe, socket, terminal, a file that is appended to. It is read or written once, in
 * ascending order; what a reader leaves out is skipped, what a writer leaves out becomes zeros. Offset 0 is where the
 * stream stood when it was adopted. Calls come one after the other: a mutex sees to it. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "store/store_file.h"

#define GAP_STEP 65536u

struct pipe_store {
    struct store base;
    int fd;
    pthread_mutex_t mutex;
    uint64_t pos; /* bytes moved so far */
};

static struct pipe_store *pipe_of(struct store *s)
{
    return (struct pipe_store *)s;
}

static bool wait_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

/* One read or write that moves something; 0: the end of a reading. */
static ssize_t move_some(struct pipe_store *p, uint8_t *buf, uint64_t len, bool write_it)
{
    for (;;) {
        ssize_t n = write_it ? write(p->fd, buf, len) : read(p->fd, buf, len);
        if (n >= 0) {
            return n;
        }
        bool again = errno == EINTR;
        if (errno == EAGAIN) {
            again = wait_ready(p->fd, write_it ? POLLOUT : POLLIN);
        }
        if (!again) {
            return -1;
        }
    }
}

static VixError move_locked(struct pipe_store *p, uint8_t *buf, uint64_t len, bool write_it, struct err *err)
{
    while (len > 0) {
        ssize_t n = move_some(p, buf, len, write_it);
        if (n < 0 || (n == 0 && write_it)) {
            return err_set_errno(err, n < 0 ? errno : EIO, "%s: cannot %s %" PRIu64 " bytes at offset %" PRIu64,
                                 p->base.path, write_it ? "write" : "read", len, p->pos);
        }
        if (n == 0) {
            return err_set(err, VIX_E_HOST_FILE_ERROR_EOF, "%s: the stream ends after %" PRIu64 " bytes", p->base.path,
                           p->pos);
        }
        p->pos += (uint64_t)n;
        buf += n;
        len -= (uint64_t)n;
    }
    return VIX_OK;
}

/* Comes to off by reading on, or by writing zeros. */
static VixError advance_locked(struct pipe_store *p, uint64_t off, bool write_it, struct err *err)
{
    VixError code = VIX_OK;

    if (off == p->pos) {
        return VIX_OK;
    }
    if (off < p->pos) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: a stream goes forward only, offset %" PRIu64 " is behind %" PRIu64, p->base.path, off,
                       p->pos);
    }
    CLEANUP_FREE uint8_t *buf = alloc_zero(GAP_STEP, err);
    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    while (code == VIX_OK && p->pos < off) {
        code = move_locked(p, buf, min_u64(off - p->pos, GAP_STEP), write_it, err);
    }
    return code;
}

static VixError check_direction(const struct pipe_store *p, bool write_it, struct err *err)
{
    if (p->base.writable != write_it) {
        return err_set(err, write_it ? VIX_E_FILE_READ_ONLY : VIX_E_NOT_SUPPORTED, "%s: the stream is %s only",
                       p->base.path, write_it ? "read" : "written");
    }
    return VIX_OK;
}

static VixError move_iov(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, bool write_it,
                         struct err *err)
{
    struct pipe_store *p = pipe_of(s);
    VixError code = check_direction(p, write_it, err);
    SCOPED_LOCK(&p->mutex);

    if (code == VIX_OK) {
        code = advance_locked(p, off, write_it, err);
    }
    for (int i = 0; i < iovcnt && code == VIX_OK; i++) {
        code = move_locked(p, iov[i].iov_base, iov[i].iov_len, write_it, err);
    }
    return code;
}

static VixError pipe_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    return move_iov(s, iov, iovcnt, off, false, err);
}

static VixError pipe_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    return move_iov(s, iov, iovcnt, off, true, err);
}

/* What was written so far. Of a stream that is read nobody knows. */
static VixError pipe_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    struct pipe_store *p = pipe_of(s);

    if (!s->writable) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a stream does not tell its length", s->path);
    }
    SCOPED_LOCK(&p->mutex);
    *ret_size = p->pos;
    return VIX_OK;
}

static VixError pipe_truncate(struct store *s, uint64_t size, struct err *err)
{
    return move_iov(s, NULL, 0, size, true, err);
}

/* A stream has no space of its own; the length comes with the bytes. */
static VixError pipe_preallocate(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    (void)off;
    (void)len;
    return check_direction(pipe_of(s), true, err);
}

static VixError pipe_punch(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    (void)off;
    (void)len;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a stream has no holes", s->path);
}

static VixError pipe_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    (void)s;
    (void)off;
    (void)err;
    *ret_run = (struct store_run){.len = len};
    return VIX_OK;
}

static VixError pipe_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                          struct err *err)
{
    (void)off;
    (void)src;
    (void)src_off;
    (void)len;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: only files can be copied by the file system", s->path);
}

/* A stream into a file can be flushed, one into a pipe has nothing to flush. */
static VixError pipe_flush(struct store *s, struct err *err)
{
    int failed;
    do {
        failed = fdatasync(pipe_of(s)->fd);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0 && errno != EINVAL && errno != EROFS && errno != ENOTSUP) {
        return err_set_errno(err, errno, "%s: cannot put the data on stable storage", s->path);
    }
    return VIX_OK;
}

static void pipe_will_need(struct store *s, uint64_t off, uint64_t len)
{
    (void)s;
    (void)off;
    (void)len;
}

static void pipe_close(struct store *s)
{
    struct pipe_store *p = pipe_of(s);
    (void)close(p->fd);
    (void)pthread_mutex_destroy(&p->mutex);
    free(s->path);
    free(p);
}

static const struct store_ops pipe_ops = {
    .readv = pipe_readv,
    .writev = pipe_writev,
    .size = pipe_size,
    .truncate = pipe_truncate,
    .preallocate = pipe_preallocate,
    .punch = pipe_punch,
    .map = pipe_map,
    .copy = pipe_copy,
    .flush = pipe_flush,
    .allocated = pipe_size,
    .will_need = pipe_will_need,
    .close = pipe_close,
};

VixError pipe_store_new(int fd, const char *name, const struct stat *st, bool writable, struct store **ret_store,
                        struct err *err)
{
    CLEANUP_CLOSE int owned = fd;
    CLEANUP_FREE struct pipe_store *p = alloc_zero(sizeof *p, err);
    char *path = p != NULL ? alloc_text(name, err) : NULL;

    if (path == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    p->base = (struct store){
        .ops = &pipe_ops,
        .path = path,
        .dev = st->st_dev,
        .ino = st->st_ino,
        .writable = writable,
        .align = 1,
        .mode = st->st_mode & 07777,
    };
    p->fd = owned;
    owned = -1;
    (void)pthread_mutex_init(&p->mutex, NULL);
    *ret_store = &TAKE_PTR(p)->base;
    return VIX_OK;
}
