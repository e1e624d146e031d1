/* SPDX-License-Identifier: BSD-3-Clause */
/* Files past the page cache. What is aligned goes straight from and to the caller's memory; the rest through a bounce
 * buffer of bounded size. A write that covers a block in part reads the block, changes it and writes it back, and keeps
 * all other writers out meanwhile; a file may end anywhere, so its last block is cut to length afterwards. */
#include "store/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/log.h"

#define BOUNCE_MAX ((uint64_t)1024 * 1024) /* own: bytes of a bounce buffer */
#define ALIGN_MAX 65536u                   /* limit: bytes of the alignment that a device asks for */
#define ALIGN_GUESS 4096u                  /* good for every device of today, where nothing tells */

/* ---- what the file asks for ---- */

static bool read_works(int fd, uint32_t align)
{
    CLEANUP_FREE void *buf = alloc_aligned(ALIGN_GUESS, align, NULL);
    return buf != NULL && pread(fd, buf, align, 0) >= 0;
}

static uint32_t align_by_trial(struct file_store *f)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0) {
        return 0;
    }
    if (st.st_size == 0) {
        return ALIGN_GUESS; /* an empty file answers every read */
    }
    if (read_works(f->fd, 512)) {
        return 512;
    }
    return read_works(f->fd, ALIGN_GUESS) ? ALIGN_GUESS : 0;
}

/* The alignment, or 0 if the file cannot do without the page cache. */
static uint32_t find_align(struct file_store *f)
{
    int sector = 0;

    if (f->base.is_device) {
        return ioctl(f->fd, BLKSSZGET, &sector) == 0 && sector > 0 ? (uint32_t)sector : ALIGN_GUESS;
    }
#ifdef STATX_DIOALIGN
    struct statx stx;
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN) != 0) {
        return (uint32_t)max_u64(stx.stx_dio_mem_align, stx.stx_dio_offset_align);
    }
#endif
    return align_by_trial(f);
}

void file_direct_begin(struct file_store *f)
{
    int flags = fcntl(f->fd, F_GETFL);
    /* set afterwards, not at open: an open that creates may leave a file behind when it refuses the flag */
    bool on = flags >= 0 && fcntl(f->fd, F_SETFL, flags | O_DIRECT) == 0;
    uint32_t align = on ? find_align(f) : 0;

    if (is_power_of_two(align) && align <= ALIGN_MAX) {
        f->direct = true;
        f->base.align = align;
        return;
    }
    if (on) {
        (void)fcntl(f->fd, F_SETFL, flags);
    }
    if (!f->base.is_device) {
        log_news("%s: unbuffered access is not possible on this file system, the page cache is used", f->base.path);
    } else if (ioctl(f->fd, BLKFLSBUF, 0) == 0) {
        log_news("%s: unbuffered access is not possible on this device, its page cache is emptied and used",
                 f->base.path);
    } else {
        log_news("%s: unbuffered access is not possible on this device, its page cache is used, and cannot be emptied",
                 f->base.path);
    }
}

static bool is_aligned(const struct iovec *iov, int iovcnt, uint64_t off, uint32_t align)
{
    uint64_t bits = off;

    for (int i = 0; i < iovcnt; i++) {
        bits |= iov[i].iov_len > 0 ? (uintptr_t)iov[i].iov_base | iov[i].iov_len : 0;
    }
    return (bits & (align - 1)) == 0;
}

/* ---- straight ---- */

/* Moves whole blocks until all are moved, something fails, or a step ends within a block. */
static VixError straight_io(struct file_store *f, struct iov_cursor *at, uint64_t len, uint64_t off, bool write,
                            uint64_t *ret_done, struct err *err)
{
    uint64_t done = 0;

    while (done < len) {
        iov_advance(at, 0);
        ssize_t n = file_io_step(f, at, off + done, write);
        if (n < 0) {
            return file_fail_range(f, errno, write ? "write" : "read", off + done, len - done, err);
        }
        iov_advance(at, (uint64_t)n);
        done += (uint64_t)n;
        if (n == 0 || ((uint64_t)n & (f->base.align - 1)) != 0) {
            break;
        }
    }
    *ret_done = done;
    return VIX_OK;
}

/* ---- by the bounce buffer ---- */

struct bounce {
    uint8_t *buf;
    uint64_t room;
};

static uint64_t block_start(const struct file_store *f, uint64_t off)
{
    return off & ~(uint64_t)(f->base.align - 1);
}

static uint64_t block_end(const struct file_store *f, uint64_t off)
{
    return block_start(f, off + f->base.align - 1);
}

static uint8_t *bounce_alloc(const struct file_store *f, uint64_t len, uint64_t off, uint64_t *ret_room,
                             struct err *err)
{
    uint64_t room = min_u64(BOUNCE_MAX, block_end(f, off + len) - block_start(f, off));
    *ret_room = room;
    return alloc_aligned(max_u64(f->base.align, ALIGN_GUESS), room, err);
}

static ssize_t pread_again(int fd, void *buf, uint64_t len, uint64_t off)
{
    ssize_t n;
    do {
        n = pread(fd, buf, len, (off_t)off);
    } while (n < 0 && errno == EINTR);
    return n;
}

static VixError bounce_read(struct file_store *f, struct iov_cursor *at, uint64_t len, uint64_t off, struct err *err)
{
    uint64_t room;
    CLEANUP_FREE uint8_t *buf = bounce_alloc(f, len, off, &room, err);

    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    while (len > 0) {
        uint64_t block = block_start(f, off);
        uint64_t head = off - block;
        ssize_t n = pread_again(f->fd, buf, min_u64(room, block_end(f, head + len)), block);
        if (n < 0) {
            return file_fail_range(f, errno, "read", off, len, err);
        }
        if ((uint64_t)n <= head) {
            return file_fail_eof(f, off, len, err);
        }
        uint64_t take = min_u64((uint64_t)n - head, len);
        iov_put(at, buf + head, take);
        off += take;
        len -= take;
    }
    return VIX_OK;
}

/* One block as the file has it; zeros past the end. */
static VixError load_block(struct file_store *f, uint8_t *buf, uint64_t block, struct err *err)
{
    uint64_t done = 0;

    while (done < f->base.align) {
        /* whole blocks each time: the end of the file may cut the answer anywhere */
        ssize_t n = pread_again(f->fd, buf, f->base.align, block);
        if (n < 0) {
            return file_fail_range(f, errno, "read", block, f->base.align, err);
        }
        if ((uint64_t)n <= done) {
            break;
        }
        done = (uint64_t)n;
    }
    memset(buf + done, 0, f->base.align - done);
    return VIX_OK;
}

static VixError write_blocks(struct file_store *f, const uint8_t *buf, uint64_t len, uint64_t off, struct err *err)
{
    uint64_t done = 0;

    while (done < len) {
        ssize_t n = pwrite(f->fd, buf + done, len - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        /* a step that ends within a block cannot be gone on with: what comes next is not aligned */
        uint64_t whole = n > 0 ? block_start(f, (uint64_t)n) : 0;
        if (whole == 0) {
            return file_fail_range(f, n < 0 ? errno : ENOSPC, "write", off + done, len - done, err);
        }
        done += whole;
    }
    return VIX_OK;
}

/* One bounce buffer full: *ret_take of the caller's bytes, and the blocks around them. */
static VixError bounce_write_step(struct file_store *f, const struct bounce *bounce, struct iov_cursor *at,
                                  uint64_t len, uint64_t off, uint64_t *ret_take, struct err *err)
{
    uint64_t block = block_start(f, off);
    uint64_t head = off - block;
    uint64_t span = min_u64(bounce->room, block_end(f, head + len));
    uint64_t take = min_u64(span - head, len);
    uint64_t last = span - f->base.align;
    bool load_first = head > 0;
    bool load_last = head + take < span && !(load_first && last == 0);
    VixError code = load_first ? load_block(f, bounce->buf, block, err) : VIX_OK;

    if (code == VIX_OK && load_last) {
        code = load_block(f, bounce->buf + last, block + last, err);
    }
    if (code == VIX_OK) {
        iov_get(at, bounce->buf + head, take);
        code = write_blocks(f, bounce->buf, span, block, err);
    }
    *ret_take = take;
    return code;
}

/* The last block of a file was written whole: takes off what is beyond limit. */
static VixError cut_to(struct file_store *f, uint64_t limit, struct err *err)
{
    struct stat st;
    int failed = fstat(f->fd, &st);

    if (failed == 0 && (uint64_t)st.st_size > limit) {
        do {
            failed = ftruncate(f->fd, (off_t)limit);
        } while (failed != 0 && errno == EINTR);
    }
    if (failed != 0) {
        return err_set_errno(err, errno, "%s: cannot set the length to %" PRIu64 " bytes", f->base.path, limit);
    }
    return VIX_OK;
}

static VixError bounce_write_locked(struct file_store *f, struct iov_cursor *at, uint64_t len, uint64_t off, bool edges,
                                    struct err *err)
{
    struct bounce bounce;
    struct stat st;
    VixError code = VIX_OK;
    bool cut = edges && !f->base.is_device;
    CLEANUP_FREE uint8_t *buf = bounce_alloc(f, len, off, &bounce.room, err);

    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    if (cut && fstat(f->fd, &st) != 0) {
        return err_set_errno(err, errno, "%s: cannot get the size", f->base.path);
    }
    bounce.buf = buf;
    while (code == VIX_OK && len > 0) {
        uint64_t take;
        code = bounce_write_step(f, &bounce, at, len, off, &take, err);
        off += take;
        len -= take;
    }
    if (cut) {
        /* also after a failure, which may have come between two blocks */
        VixError cut_code = cut_to(f, max_u64((uint64_t)st.st_size, off), code == VIX_OK ? err : NULL);
        code = code == VIX_OK ? cut_code : code;
    }
    return code;
}

static VixError bounce_write(struct file_store *f, struct iov_cursor *at, uint64_t len, uint64_t off, struct err *err)
{
    bool edges = ((off | len) & (f->base.align - 1)) != 0;

    if (edges) {
        (void)pthread_rwlock_wrlock(&f->block_lock);
    } else {
        (void)pthread_rwlock_rdlock(&f->block_lock);
    }
    VixError code = bounce_write_locked(f, at, len, off, edges, err);
    (void)pthread_rwlock_unlock(&f->block_lock);
    return code;
}

/* ---- both ---- */

VixError file_direct_read(struct file_store *f, const struct iovec *iov, int iovcnt, uint64_t len, uint64_t off,
                          struct err *err)
{
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t done = 0;
    VixError code = VIX_OK;

    if (is_aligned(iov, iovcnt, off, f->base.align)) {
        code = straight_io(f, &at, len, off, false, &done, err);
    }
    if (code == VIX_OK && done < len) {
        code = bounce_read(f, &at, len - done, off + done, err);
    }
    return code;
}

VixError file_direct_write(struct file_store *f, const struct iovec *iov, int iovcnt, uint64_t len, uint64_t off,
                           struct err *err)
{
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t done = 0;
    VixError code = VIX_OK;

    if (is_aligned(iov, iovcnt, off, f->base.align)) {
        (void)pthread_rwlock_rdlock(&f->block_lock);
        code = straight_io(f, &at, len, off, true, &done, err);
        (void)pthread_rwlock_unlock(&f->block_lock);
    }
    if (code == VIX_OK && done < len) {
        code = bounce_write(f, &at, len - done, off + done, err);
    }
    return code;
}
