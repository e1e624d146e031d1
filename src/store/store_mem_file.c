/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a file in memory: an array of 64 KiB pages, sorted, so that a file of terabytes takes what was written
 * of it. One lock per file: reads together, changes alone. */
#include "store/store_mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "store/store_file.h"

struct mem_store {
    struct store base;
    struct mem_file *file;
    uint32_t flags;
    void (*release)(void *ctx, struct mem_file *file, uint32_t flags);
    void *ctx;
};

static const uint8_t zeros[MEM_PAGE];

static struct mem_file *file_of(struct store *s)
{
    return ((struct mem_store *)s)->file;
}

struct mem_file *mem_store_file(struct store *s)
{
    return file_of(s);
}

struct mem_file *mem_file_new(uint64_t number, uint32_t mode, struct err *err)
{
    struct mem_file *file = alloc_zero(sizeof *file, err);

    if (file == NULL) {
        return NULL;
    }
    if (pthread_rwlock_init(&file->lock, NULL) != 0) {
        (void)err_set(err, VIX_E_OUT_OF_MEMORY, "no memory for a lock");
        free(file);
        return NULL;
    }
    file->number = number;
    file->mode = mode;
    return file;
}

void mem_file_free(struct mem_file *file)
{
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < file->npages; i++) {
        free(file->pages[i].data);
    }
    free(file->pages);
    (void)pthread_rwlock_destroy(&file->lock);
    free(file);
}

/* ---- pages ---- */

/* The first page at or behind an index, or npages. */
static size_t find_page(const struct mem_file *file, uint64_t index)
{
    size_t low = 0;
    size_t high = file->npages;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (file->pages[mid].index < index) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool has_page(const struct mem_file *file, size_t at, uint64_t index)
{
    return at < file->npages && file->pages[at].index == index;
}

static bool reserve_page(struct mem_file *file, struct err *err)
{
    if (file->npages < file->room) {
        return true;
    }
    size_t room = file->room > 0 ? file->room * 2 : 8;
    struct mem_page *pages = alloc_array(room, sizeof *pages, err);
    if (pages == NULL) {
        return false;
    }
    if (file->npages > 0) {
        memcpy(pages, file->pages, file->npages * sizeof *pages);
    }
    free(file->pages);
    file->pages = pages;
    file->room = room;
    return true;
}

/* The bytes of a page, made of zeros if it is not there yet. */
static uint8_t *make_page(struct mem_file *file, uint64_t index, struct err *err)
{
    size_t at = find_page(file, index);

    if (has_page(file, at, index)) {
        return file->pages[at].data;
    }
    if (!reserve_page(file, err)) {
        return NULL;
    }
    uint8_t *data = alloc_zero(MEM_PAGE, err);
    if (data == NULL) {
        return NULL;
    }
    memmove(&file->pages[at + 1], &file->pages[at], (file->npages - at) * sizeof file->pages[0]);
    file->pages[at] = (struct mem_page){.index = index, .data = data};
    file->npages++;
    return data;
}

/* Zeros a range: whole pages go, of others the bytes are cleared. */
static void clear_range(struct mem_file *file, uint64_t off, uint64_t len)
{
    uint64_t end = off + len;
    size_t from = find_page(file, off / MEM_PAGE);
    size_t kept = from;

    for (size_t i = from; i < file->npages; i++) {
        uint64_t start = file->pages[i].index * MEM_PAGE;
        if (start >= off && start + MEM_PAGE <= end) {
            free(file->pages[i].data);
            continue;
        }
        uint64_t low = max_u64(start, off);
        uint64_t high = min_u64(start + MEM_PAGE, end);
        if (low < high) {
            memset(file->pages[i].data + (low - start), 0, high - low);
        }
        file->pages[kept++] = file->pages[i];
    }
    file->npages = kept;
}

struct mem_file *mem_file_clone(struct mem_file *file, struct err *err)
{
    struct mem_file *copy = mem_file_new(file->number, file->mode, err);

    if (copy == NULL) {
        return NULL;
    }
    (void)pthread_rwlock_rdlock(&file->lock);
    copy->size = file->size;
    bool failed = false;
    for (size_t i = 0; i < file->npages && !failed; i++) {
        uint8_t *data = make_page(copy, file->pages[i].index, err);
        failed = data == NULL;
        if (!failed) {
            memcpy(data, file->pages[i].data, MEM_PAGE);
        }
    }
    (void)pthread_rwlock_unlock(&file->lock);
    if (failed) {
        mem_file_free(copy);
        return NULL;
    }
    return copy;
}

/* ---- the store ---- */

static VixError check_change(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    uint64_t end;

    if (!s->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: was opened for reading only", s->path);
    }
    if (!checked_add(off, len, &end) || end > INT64_MAX) {
        return err_set_errno(err, EFBIG, "%s: %" PRIu64 " bytes at offset %" PRIu64 " end beyond 2^63-1", s->path, len,
                             off);
    }
    return VIX_OK;
}

static VixError fail_eof(struct store *s, uint64_t size, uint64_t off, uint64_t len, struct err *err)
{
    return err_set(err, VIX_E_HOST_FILE_ERROR_EOF,
                   "%s: the file ends at byte %" PRIu64 ", cannot read %" PRIu64 " bytes at offset %" PRIu64, s->path,
                   size, len, off);
}

static VixError mem_readv_locked(struct store *s, struct iov_cursor *at, uint64_t len, uint64_t off, struct err *err)
{
    struct mem_file *file = file_of(s);

    if (off > file->size || len > file->size - off) {
        return fail_eof(s, file->size, off, len, err);
    }
    while (len > 0) {
        uint64_t head = off % MEM_PAGE;
        uint64_t n = min_u64(len, MEM_PAGE - head);
        size_t page = find_page(file, off / MEM_PAGE);
        iov_put(at, has_page(file, page, off / MEM_PAGE) ? file->pages[page].data + head : zeros, n);
        off += n;
        len -= n;
    }
    return VIX_OK;
}

static VixError mem_readv(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t len;

    if (!iov_total(iov, iovcnt, &len)) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: the buffers are longer than 2^64 bytes", s->path);
    }
    (void)pthread_rwlock_rdlock(&file_of(s)->lock);
    VixError code = len > 0 ? mem_readv_locked(s, &at, len, off, err) : VIX_OK;
    (void)pthread_rwlock_unlock(&file_of(s)->lock);
    return code;
}

static VixError mem_writev_locked(struct mem_file *file, struct iov_cursor *at, uint64_t len, uint64_t off,
                                  struct err *err)
{
    while (len > 0) {
        uint64_t head = off % MEM_PAGE;
        uint64_t n = min_u64(len, MEM_PAGE - head);
        uint8_t *data = make_page(file, off / MEM_PAGE, err);
        if (data == NULL) {
            return VIX_E_OUT_OF_MEMORY;
        }
        iov_get(at, data + head, n);
        off += n;
        len -= n;
        file->size = max_u64(file->size, off);
    }
    return VIX_OK;
}

static VixError mem_writev(struct store *s, const struct iovec *iov, int iovcnt, uint64_t off, struct err *err)
{
    struct iov_cursor at = {.iov = iov, .iovcnt = iovcnt};
    uint64_t len;

    if (!iov_total(iov, iovcnt, &len)) {
        return err_set(err, VIX_E_INVALID_ARG, "%s: the buffers are longer than 2^64 bytes", s->path);
    }
    VixError code = check_change(s, off, len, err);
    if (code != VIX_OK) {
        return code;
    }
    (void)pthread_rwlock_wrlock(&file_of(s)->lock);
    code = mem_writev_locked(file_of(s), &at, len, off, err);
    (void)pthread_rwlock_unlock(&file_of(s)->lock);
    return code;
}

static VixError mem_size(struct store *s, uint64_t *ret_size, struct err *err)
{
    (void)err;
    (void)pthread_rwlock_rdlock(&file_of(s)->lock);
    *ret_size = file_of(s)->size;
    (void)pthread_rwlock_unlock(&file_of(s)->lock);
    return VIX_OK;
}

static VixError mem_truncate(struct store *s, uint64_t size, struct err *err)
{
    struct mem_file *file = file_of(s);
    VixError code = check_change(s, 0, size, err);

    if (code != VIX_OK) {
        return code;
    }
    (void)pthread_rwlock_wrlock(&file->lock);
    if (size < file->size) {
        clear_range(file, size, round_up(file->size, MEM_PAGE) - size);
    }
    file->size = size;
    (void)pthread_rwlock_unlock(&file->lock);
    return VIX_OK;
}

static VixError mem_preallocate(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    struct mem_file *file = file_of(s);
    VixError code = check_change(s, off, len, err);

    if (code != VIX_OK || len == 0) {
        return code;
    }
    (void)pthread_rwlock_wrlock(&file->lock);
    file->size = max_u64(file->size, off + len);
    (void)pthread_rwlock_unlock(&file->lock);
    return VIX_OK;
}

static VixError mem_punch(struct store *s, uint64_t off, uint64_t len, struct err *err)
{
    VixError code = check_change(s, off, len, err);

    if (code != VIX_OK) {
        return code;
    }
    (void)pthread_rwlock_wrlock(&file_of(s)->lock);
    clear_range(file_of(s), off, len);
    (void)pthread_rwlock_unlock(&file_of(s)->lock);
    return VIX_OK;
}

static VixError mem_map(struct store *s, uint64_t off, uint64_t len, struct store_run *ret_run, struct err *err)
{
    struct mem_file *file = file_of(s);
    uint64_t end;

    (void)pthread_rwlock_rdlock(&file->lock);
    uint64_t size = file->size;
    uint64_t index = off / MEM_PAGE;
    size_t at = find_page(file, index);
    bool hole = !has_page(file, at, index);
    if (hole) {
        end = at < file->npages ? file->pages[at].index * MEM_PAGE : UINT64_MAX;
    } else {
        while (has_page(file, at, index)) {
            at++;
            index++;
        }
        end = index * MEM_PAGE;
    }
    (void)pthread_rwlock_unlock(&file->lock);
    if (off >= size || len == 0) {
        return fail_eof(s, size, off, len, err);
    }
    *ret_run = (struct store_run){.len = min_u64(len, min_u64(end, size) - off), .hole = hole};
    return VIX_OK;
}

static VixError mem_copy(struct store *s, uint64_t off, struct store *src, uint64_t src_off, uint64_t len,
                         struct err *err)
{
    uint8_t *buf;
    uint64_t src_size;
    VixError code = check_change(s, off, len, err);

    if (code != VIX_OK) {
        return code;
    }
    if (src->ops != s->ops) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: not a file in memory", src->path);
    }
    (void)mem_size(src, &src_size, err);
    if (src_off > src_size || len > src_size - src_off) {
        return fail_eof(src, src_size, src_off, len, err);
    }
    buf = alloc_zero(MEM_PAGE, err);
    if (buf == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    while (code == VIX_OK && len > 0) {
        uint64_t n = min_u64(len, MEM_PAGE);
        code = store_read(src, buf, n, src_off, err);
        if (code == VIX_OK) {
            code = store_write(s, buf, n, off, err);
        }
        off += n;
        src_off += n;
        len -= n;
    }
    free(buf);
    return code;
}

static VixError mem_flush(struct store *s, struct err *err)
{
    (void)s;
    (void)err;
    return VIX_OK;
}

static VixError mem_allocated(struct store *s, uint64_t *ret_bytes, struct err *err)
{
    (void)err;
    (void)pthread_rwlock_rdlock(&file_of(s)->lock);
    *ret_bytes = file_of(s)->npages * MEM_PAGE;
    (void)pthread_rwlock_unlock(&file_of(s)->lock);
    return VIX_OK;
}

static void mem_will_need(struct store *s, uint64_t off, uint64_t len)
{
    (void)s;
    (void)off;
    (void)len;
}

static void mem_close(struct store *s)
{
    struct mem_store *m = (struct mem_store *)s;
    m->release(m->ctx, m->file, m->flags);
    free(s->path);
    free(m);
}

static const struct store_ops mem_ops = {
    .readv = mem_readv,
    .writev = mem_writev,
    .size = mem_size,
    .truncate = mem_truncate,
    .preallocate = mem_preallocate,
    .punch = mem_punch,
    .map = mem_map,
    .copy = mem_copy,
    .flush = mem_flush,
    .allocated = mem_allocated,
    .will_need = mem_will_need,
    .close = mem_close,
};

VixError mem_store_new(struct mem_file *file, const char *path, uint32_t flags,
                       void (*release)(void *ctx, struct mem_file *file, uint32_t flags), void *ctx,
                       struct store **ret_store, struct err *err)
{
    CLEANUP_FREE struct mem_store *m = alloc_zero(sizeof *m, err);
    char *name = m != NULL ? alloc_text(path, err) : NULL;

    if (name == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    m->base = (struct store){
        .ops = &mem_ops,
        .path = name,
        .dev = (uintptr_t)ctx,
        .ino = file->number,
        .writable = (flags & STORE_WRITE) != 0,
        .align = 1,
        .mode = file->mode,
    };
    m->file = file;
    m->flags = flags;
    m->release = release;
    m->ctx = ctx;
    *ret_store = &TAKE_PTR(m)->base;
    return VIX_OK;
}
