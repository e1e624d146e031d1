/* SPDX-License-Identifier: BSD-3-Clause */
/* An open regular file or block device of this host: system calls until all bytes are moved. Names and locks are
 * elsewhere. Any thread; nothing here uses the file position of the descriptor. */
#include "store/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"

/* A block of the file systems that can share blocks between files. */
#define CLONE_ALIGN 4096u

/* Bytes per copy_file_range: a signal need not wait longer than one. */
#define COPY_STEP (64u * 1024 * 1024)

static struct file_store *file_of(struct store *s)
{
    return (struct file_store *)s;
}

VixError file_fail_eof(struct file_store *f, uint64_t off, uint64_t len, struct err *err)
{
    struct stat st;
    if (!f->base.is_device && fstat(f->fd, &st) == 0) {
        return err_set(err, VIX_E_HOST_FILE_ERROR_EOF,
                       "%s: the file ends at byte %" PRIu64 ", cannot read %" PRIu64 " bytes at offset %" PRIu64,
                       f->base.path, (uint64_t)st.st_size, len, off);
    }
    return err_set(err, VIX_E_HOST_FILE_ERROR_EOF,
                   "%s: cannot read %" PRIu64 " bytes at offset %" PRIu64 ": end of file", f->base.path, len, off);
}

VixError file_fail_range(struct file_store *f, int errnum, const char *verb, uint64_t off, uint64_t len,
                         struct err *err)
{
    return err_set_errno(err, errnum, "%s: cannot %s %" PRIu64 " bytes at offset %" PRIu64, f->base.path, verb, len,
                         off);
}

static VixError check_writable(const struct file_store *f, struct err *err)
{
    if (!f->base.writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: was opened for reading only", f->base.path);
    }
    return VIX_OK;
}

/* Changes of whole ranges keep out who reads, changes and writes back a block, or cuts the file to length. */
static void lock_blocks(struct file_store *f)
{
    if (f->direct) {
        (void)pthread_rwlock_rdlock(&f->block_lock);
    }
}

/* errno stays. */
static void unlock_blocks(struct file_store *f)
{
    int e = errno;
    if (f->direct) {
        (void)pthread_rwlock_unlock(&f->block_lock);
    }
    errno = e;
}

static int allocate(struct file_store *f, int mode, uint64_t off, uint64_t len)
{
    int failed;

    lock_blocks(f);
    do {
        failed = fallocate(f->fd, mode, (off_t)off, (off_t)len);
    } while (failed != 0 && errno == EINTR);
    unlock_blocks(f);
    return failed;
}

/* The kernel's offsets are signed. */
static bool range_fits(uint64_t off, uint64_t len)
{
    uint64_t end;
    return checked_add(off, len, &end) && end <= INT64_MAX;
}

static VixError check_write_range(const struct file_store *f, uint64_t off, uint64_t len, struct err *err)
{
    VixError code = check_writable(f, err);
    if (code == VIX_OK && !range_fits(off, len)) {
        code = err_set(err, VIX_E_FILE_TOO_BIG, "%s: %" PRIu64 " bytes at offset %" PRIu64 " end beyond 2^63-1",
                       f->base.path, len, off);
    }
    return code;
}

ssize_t file_io_step(struct file_store *f, const struct iov_cursor *at, uint64_t off, bool write)
{
    ssize_t n;
    do {
        if (at->skip > 0 || at->iovcnt == 1) {
            /* the rest of a half-done entry alone; the array is the caller's and stays as it is. One piece costs the
             * kernel less this way, too */
            uint8_t *mem = (uint8_t *)at->iov[0].iov_base + at->skip;
            size_t len = at->iov[0].iov_len - at->skip;
            n = write ? pwrite(f->fd, mem, len, (off_t)off) : pread(f->fd, mem, len, (off_t)off);
        } else {
            int count = at->iovcnt < IOV_MAX ? at->iovcnt : IOV_MAX;
            n = write ? pwritev(f->fd, at->iov, count, (off_t)off) : preadv(f->fd, at->iov, count, (off_t)off);
        }
    } while (n < 0 && errno == EINTR);
    return n;
}

VixError file_io_plain(struct file_store *f, struct iov_cursor *at, uint64_t len, uint64_t off, bool write,
                       struct err *err)
{
    while (len > 0) {
        iov_advance(at, 0);
        ssize_t n = file_io_step(f, at, off, write);
        if (n < 0) {
            return file_fail_range(f, errno, write ? "write" : "read", off, len, err);
        }
        if (n == 0) {
            /* a write that moves nothing and says nothing must not be tried for ever */
            return write ? file_fail_range(f, ENOSPC, "write", off, len, err) : file_fail_eof(f, off, len, err);
        }
        iov_advance(at, (uint64_t)n);
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return VIX_OK;
}

/* Most requests are one piece that is read or written at the first try, or fails. False: all is to be done yet, as a
 * whole or again. */
static inline bool done_at_once(struct file_store *f, const struct iovec *iov, int iovcnt, uint64_t off, bool write,
                                VixError *ret_code, struct err *err)
{
    if (iovcnt != 1 || f->direct || !range_fits(off, iov->iov_len)) {
        return false;
    }
    ssize_t n = write ? pwrite(f->fd, iov->iov_base, iov->iov_len, (off_t)off)
                      : pread(f->fd, iov->iov_base, iov->iov_len, (off_t)off);
    if (n < 0 && errno != EINTR) {
        *ret_code = file_fail_range(f, errno, write ? "write" : "read", off, iov->iov_len, err);
        return true;
    }
    *ret_code = VIX_OK;
    return n >= 0 && (size_t)n == iov->iov_len;
}

static VixError file_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct file_store *f = file_of(s);
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t len;
    VixError code;

    if (done_at_once(f, iov, iovcnt, off, false, &code, err)) {
        return code;
    }
    if (!iov_total(iov, iovcnt, &len)) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: the buffers are longer than 2^64 bytes", s->path);
    }
    if (!range_fits(off, len)) {
        return file_fail_eof(f, off, len, err);
    }
    if (f->direct) {
        return file_direct_read(f, iov, iovcnt, len, off, err);
    }
    return file_io_plain(f, &at, len, off, false, err);
}

static VixError file_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct file_store *f = file_of(s);
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t len;
    VixError code;

    if (s->writable && done_at_once(f, iov, iovcnt, off, true, &code, err)) {
        return code;
    }
    if (!iov_total(iov, iovcnt, &len)) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: the buffers are longer than 2^64 bytes", s->path);
    }
    code = check_write_range(f, off, len, err);
    if (code != VIX_OK) {
        return code;
    }
    if (f->direct) {
        return file_direct_write(f, iov, iovcnt, len, off, err);
    }
    return file_io_plain(f, &at, len, off, true, err);
}

static VixError file_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    struct file_store *f = file_of(s);
    struct stat st;
    int failed;

    if (s->is_device) {
        uint64_t bytes = 0;
        failed = ioctl(f->fd, BLKGETSIZE64, &bytes);
        if (failed == 0) {
            *ret_size = bytes;
        }
    } else {
        failed = fstat(f->fd, &st);
        if (failed == 0) {
            *ret_size = (uint64_t)st.st_size;
        }
    }
    return failed == 0 ? VIX_OK : err_set_errno(err, errno, "%s: cannot get the size", s->path);
}

static VixError set_length(struct file_store *f, uint64_t size, struct err *err)
{
    int failed;

    if (f->direct) {
        (void)pthread_rwlock_wrlock(&f->block_lock);
    }
    do {
        failed = ftruncate(f->fd, (off_t)size);
    } while (failed != 0 && errno == EINTR);
    int e = errno;
    if (f->direct) {
        (void)pthread_rwlock_unlock(&f->block_lock);
    }
    if (failed != 0) {
        return err_set_errno(err, e, "%s: cannot set the length to %" PRIu64 " bytes", f->base.path, size);
    }
    return VIX_OK;
}

/* A device has the length it has. */
static VixError check_device_end(struct store *s, uint64_t end, bool exact, struct err *err)
{
    uint64_t size;
    VixError code = file_size(s, &size, err);

    if (code == VIX_OK && (end > size || (exact && end < size))) {
        code = err_set(err, end > size ? VIX_E_DISK_FULL : VIX_E_NOT_SUPPORTED,
                       "%s: the device has %" PRIu64 " bytes, %" PRIu64 " are wanted", s->path, size, end);
    }
    return code;
}

static VixError file_truncate(struct store *s, uint64_t size, struct err *err)
{
    VixError code = check_write_range(file_of(s), 0, size, err);

    if (code != VIX_OK) {
        return code;
    }
    return s->is_device ? check_device_end(s, size, true, err) : set_length(file_of(s), size, err);
}

static VixError file_preallocate(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    struct file_store *f = file_of(s);
    uint64_t size;
    VixError code = check_write_range(f, off, len, err);

    if (code != VIX_OK || len == 0) {
        return code;
    }
    if (s->is_device) {
        return check_device_end(s, off + len, false, err);
    }
    if (allocate(f, 0, off, len) == 0) {
        return VIX_OK;
    }
    if (errno != EOPNOTSUPP && errno != ENOSYS) {
        return file_fail_range(f, errno, "allocate", off, len, err);
    }
    code = file_size(s, &size, err);
    if (code == VIX_OK && size < off + len) {
        code = set_length(f, off + len, err);
    }
    return code;
}

static VixError file_punch(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    struct file_store *f = file_of(s);
    VixError code = check_write_range(f, off, len, err);

    if (code != VIX_OK || len == 0) {
        return code;
    }
    int failed = allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
    if (failed != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the file system cannot make holes", s->path);
    }
    return failed == 0 ? VIX_OK : file_fail_range(f, errno, "free", off, len, err);
}

/** How much of the run that was found last lies at off; 0: none. */
static uint64_t known_data(struct file_store *f, uint64_t off)
{
    SCOPED_LOCK(&f->data_lock);
    return off >= f->data_from && off < f->data_end ? f->data_end - off : 0;
}

static void know_data(struct file_store *f, uint64_t from, uint64_t end)
{
    if (!f->base.writable) {
        SCOPED_LOCK(&f->data_lock);
        f->data_from = from;
        f->data_end = end;
    }
}

static VixError file_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    struct file_store *f = file_of(s);
    off_t data = 0;
    off_t end = 0;
    uint64_t size;
    uint64_t known = known_data(f, off);

    if (known > 0 && len > 0) {
        *ret_run = (struct store_run){.len = min_u64(len, known)};
        return VIX_OK;
    }
    VixError code = file_size(s, &size, err);
    if (code != VIX_OK) {
        return code;
    }
    if (off >= size || len == 0) {
        return file_fail_eof(f, off, len, err);
    }
    len = min_u64(len, size - off);
    data = s->is_device ? -1 : lseek(f->fd, (off_t)off, SEEK_DATA);
    if (data < 0) {
        /* ENXIO: no data up to the end. Anything else: this file does not tell. */
        *ret_run = (struct store_run){.len = len, .hole = !s->is_device && errno == ENXIO};
        return VIX_OK;
    }
    if ((uint64_t)data > off) {
        *ret_run = (struct store_run){.len = min_u64(len, (uint64_t)data - off), .hole = true};
        return VIX_OK;
    }
    end = lseek(f->fd, (off_t)off, SEEK_HOLE);
    if (end > (off_t)off) {
        know_data(f, off, (uint64_t)end);
        len = min_u64(len, (uint64_t)end - off);
    }
    *ret_run = (struct store_run){.len = len};
    return VIX_OK;
}

/* Shares the blocks of a range: all or nothing. */
static bool share_blocks(struct file_store *f, uint64_t off, struct file_store *src, uint64_t src_off, uint64_t len)
{
    struct file_clone_range range = {.src_fd = src->fd, .src_offset = src_off, .src_length = len, .dest_offset = off};

    if ((off | src_off | len) % CLONE_ALIGN != 0) {
        return false;
    }
    return ioctl(f->fd, FICLONERANGE, &range) == 0;
}

static bool means_no_copy(int errnum)
{
    return errnum == EXDEV || errnum == EOPNOTSUPP || errnum == EINVAL || errnum == ENOSYS || errnum == EPERM ||
           errnum == ETXTBSY;
}

static VixError copy_range(struct file_store *f, uint64_t off, struct file_store *src, uint64_t src_off, uint64_t len,
                           struct err *err)
{
    bool begun = false;

    while (len > 0) {
        off_t in = (off_t)src_off;
        off_t out = (off_t)off;
        ssize_t n = copy_file_range(src->fd, &in, f->fd, &out, min_u64(len, COPY_STEP), 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0 && !begun && (n == 0 || means_no_copy(errno))) {
            return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the file system cannot copy from %s by itself", f->base.path,
                           src->base.path);
        }
        if (n < 0) {
            return file_fail_range(f, errno, "copy", off, len, err);
        }
        if (n == 0) {
            return file_fail_eof(src, src_off, len, err);
        }
        begun = true;
        src_off += (uint64_t)n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return VIX_OK;
}

static VixError file_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                          struct err *err)
{
    struct file_store *f = file_of(s);
    uint64_t src_size;
    VixError code = check_write_range(f, off, len, err);

    if (code != VIX_OK || len == 0) {
        return code;
    }
    if (src->ops != s->ops || s->is_device || src->is_device) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: only files can be copied by the file system", s->path);
    }
    code = file_size(src, &src_size, err);
    if (code != VIX_OK) {
        return code;
    }
    if (src_off > src_size || len > src_size - src_off) {
        return file_fail_eof(file_of(src), src_off, len, err);
    }
    lock_blocks(f);
    if (!share_blocks(f, off, file_of(src), src_off, len)) {
        code = copy_range(f, off, file_of(src), src_off, len, err);
    }
    unlock_blocks(f);
    return code;
}

static VixError file_flush(struct store *s, struct err *err)
{
    struct file_store *f = file_of(s);
    int failed = 0;

    SCOPED_LOCK(&f->flush_lock);
    if (f->flush_errnum != 0) {
        return err_set_errno(err, f->flush_errnum, "%s: the data was not put on stable storage earlier", s->path);
    }
    do {
        failed = fdatasync(f->fd);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        f->flush_errnum = errno;
        return err_set_errno(err, errno, "%s: cannot put the data on stable storage", s->path);
    }
    /* fdatasync writes the length too: the data could not be found without it */
    return VIX_OK;
}

static VixError file_allocated(struct store *s, uint64_t *ret_bytes, struct err *err)
{
    struct stat st;

    if (s->is_device) {
        return file_size(s, ret_bytes, err);
    }
    if (fstat(file_of(s)->fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot get the allocated size", s->path);
    }
    *ret_bytes = (uint64_t)st.st_blocks * 512;
    return VIX_OK;
}

static void file_will_need(struct store *s, uint64_t off, uint64_t len)
{
    if (!file_of(s)->direct && range_fits(off, len)) {
        (void)posix_fadvise(file_of(s)->fd, (off_t)off, (off_t)len, POSIX_FADV_WILLNEED);
    }
}

static bool file_has_writer(struct store *s)
{
    return lock_has_writer(file_of(s)->fd);
}

static void file_close(struct store *s)
{
    struct file_store *f = file_of(s);
    (void)close(f->fd);
    (void)pthread_mutex_destroy(&f->flush_lock);
    (void)pthread_mutex_destroy(&f->data_lock);
    (void)pthread_rwlock_destroy(&f->block_lock);
    free(s->path);
    free(f);
}

static const struct store_ops file_ops = {
    .readv = file_readv,
    .writev = file_writev,
    .size = file_size,
    .truncate = file_truncate,
    .preallocate = file_preallocate,
    .punch = file_punch,
    .map = file_map,
    .copy = file_copy,
    .flush = file_flush,
    .allocated = file_allocated,
    .will_need = file_will_need,
    .has_writer = file_has_writer,
    .close = file_close,
};

/* Writers of single blocks must get their turn between many writers of whole ones. */
static int init_block_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    int e = pthread_rwlockattr_init(&attr);

    if (e != 0) {
        return e;
    }
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    e = pthread_rwlock_init(lock, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
    return e;
}

VixError file_store_new(int fd, const char *path, const struct stat *st, uint32_t flags, struct store **ret_store,
                        struct err *err)
{
    CLEANUP_CLOSE int owned = fd;
    CLEANUP_FREE struct file_store *f = alloc_zero(sizeof *f, err);
    CLEANUP_FREE char *name = f != NULL ? alloc_text(path, err) : NULL;
    bool device = S_ISBLK(st->st_mode);

    if (name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (init_block_lock(&f->block_lock) != 0) {
        return err_set(err, VIX_E_OUT_OF_MEMORY, "%s: no memory for a lock", path);
    }
    (void)pthread_mutex_init(&f->data_lock, NULL);
    (void)pthread_mutex_init(&f->flush_lock, NULL);
    f->base = (struct store){
        .ops = &file_ops,
        .path = TAKE_PTR(name),
        /* a device is the same by whatever node it was opened */
        .dev = device ? st->st_rdev : st->st_dev,
        .ino = device ? UINT64_MAX : st->st_ino,
        .writable = (flags & STORE_WRITE) != 0,
        .is_device = device,
        .align = 1,
        .mode = st->st_mode & 07777,
    };
    f->fd = owned;
    owned = -1;
    if ((flags & STORE_UNBUFFERED) != 0) {
        file_direct_begin(f);
    }
    *ret_store = &TAKE_PTR(f)->base;
    return VIX_OK;
}

/* Whether places in it can be chosen: not if what is written goes to the end, or if others wrote before. */
static bool has_places(int fd, const struct stat *st)
{
    int flags = fcntl(fd, F_GETFL);

    if (S_ISBLK(st->st_mode)) {
        return true;
    }
    return S_ISREG(st->st_mode) && flags >= 0 && (flags & O_APPEND) == 0 && lseek(fd, 0, SEEK_CUR) == 0;
}

VixError store_from_fd(int fd, const char *name, bool writable, struct store **ret_store, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: not an open file", name);
    }
    if (S_ISDIR(st.st_mode)) {
        (void)close(fd);
        return err_set(err, VIX_E_INCORRECT_FILE_TYPE, "%s: is a folder", name);
    }
    if (!has_places(fd, &st)) {
        return pipe_store_new(fd, name, &st, writable, ret_store, err);
    }
    return file_store_new(fd, name, &st, writable ? STORE_WRITE : STORE_READ, ret_store, err);
}
