/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_pipe.c - a raw stream (pipe, socket, terminal) as a disk that is read once, in ascending order. What is skipped
 * is read and dropped. A mutex keeps readers apart; in order they must be by themselves. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "disk/disk_int.h"

#define SKIP_BYTES (64u * 1024u)

struct disk_pipe {
    struct disk base;
    pthread_mutex_t lock;
    int fd;            /* the caller's */
    uint64_t position; /* sector that comes next */
};

VixError disk_read_fd(int fd, void *buf, uint64_t len, uint64_t *ret_len, const char *name, uint64_t at,
                      struct err *err)
{
    uint64_t have = 0;

    while (have < len) {
        ssize_t n = read(fd, (uint8_t *)buf + have, len - have);
        if (n == 0) {
            break;
        }
        if (n < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            (void)poll(&wait, 1, -1);
            continue;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_set_errno(err, errno, "%s: reading at byte %" PRIu64, name, at + have);
        }
        have += (uint64_t)n;
    }
    *ret_len = have;
    return VIX_OK;
}

/** The next sectors. A stream may end within the last sector of the disk, nowhere else. */
static VixError read_next(struct disk_pipe *p, uint64_t nsectors, uint8_t *buf, struct err *err)
{
    uint64_t have = 0;
    uint64_t len = nsectors * SECTOR_SIZE;
    VixError code = disk_read_fd(p->fd, buf, len, &have, p->base.path, p->position * SECTOR_SIZE, err);

    if (code != VIX_OK) {
        return code;
    }
    if (p->position + div_up(have, SECTOR_SIZE) < p->position + nsectors) {
        return err_set(err, VIX_E_HOST_FILE_ERROR_EOF,
                       "%s: the stream ended after %" PRIu64 " bytes, %" PRIu64 " were announced", p->base.path,
                       p->position * SECTOR_SIZE + have, p->base.capacity * SECTOR_SIZE);
    }
    if (have < len && p->position + nsectors < p->base.capacity) {
        return err_set(err, VIX_E_HOST_FILE_ERROR_EOF, "%s: the stream ended within sector %" PRIu64 " of %" PRIu64,
                       p->base.path, p->position + nsectors - 1, p->base.capacity);
    }
    memset(buf + have, 0, len - have);
    p->position += nsectors;
    return VIX_OK;
}

static VixError skip_to(struct disk_pipe *p, uint64_t sector, struct err *err)
{
    uint8_t *drop = alloc_aligned(4096, SKIP_BYTES, err);
    VixError code = drop != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    while (code == VIX_OK && p->position < sector) {
        code = read_next(p, min_u64(sector - p->position, SKIP_BYTES / SECTOR_SIZE), drop, err);
    }
    free(drop);
    return code;
}

/** Behind the last sector a stream has to end: what goes on is not the disk that was announced. */
static VixError check_end(struct disk_pipe *p, struct err *err)
{
    uint8_t byte;
    uint64_t have = 0;
    uint64_t bytes = p->base.capacity * SECTOR_SIZE;
    VixError code = disk_read_fd(p->fd, &byte, sizeof byte, &have, p->base.path, bytes, err);

    if (code == VIX_OK && have > 0) {
        code = err_set(err, VIX_E_DISK_OUTOFRANGE, "%s: the stream goes on behind the %" PRIu64 " bytes announced",
                       p->base.path, bytes);
    }
    return code;
}

static VixError pipe_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct disk_pipe *p = (struct disk_pipe *)d;
    SCOPED_LOCK(&p->lock);

    if (sector < p->position) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: sector %" PRIu64 " is gone: a stream is read once, and sector %" PRIu64 " is next", d->path,
                       sector, p->position);
    }
    if (sector > p->position) {
        VixError code = skip_to(p, sector, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    VixError code = read_next(p, nsectors, buf, err);
    return code == VIX_OK && p->position == d->capacity ? check_end(p, err) : code;
}

static VixError pipe_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                         struct err *err)
{
    (void)flags, (void)err;
    *ret_run = (struct disk_run){.sector = sector, .nsectors = nsectors, .present = true, .path = d->path};
    return VIX_OK;
}

static VixError pipe_close(struct disk *d, struct err *err)
{
    (void)err;
    (void)pthread_mutex_destroy(&((struct disk_pipe *)d)->lock);
    free(d->path);
    free(d);
    return VIX_OK;
}

static const struct disk_ops pipe_ops = {
    .transport = "file",
    .read = pipe_read,
    .write = disk_no_write,
    .start = disk_no_start,
    .pull = disk_no_pull,
    .flush = disk_no_flush,
    .discard = disk_no_discard,
    .map = pipe_map,
    .map_many = disk_map_one,
    .info = disk_info_from_meta,
    .meta_get = disk_no_meta_get,
    .meta_set = disk_no_meta_set,
    .meta_keys = disk_no_meta_keys,
    .close = pipe_close,
};

VixError disk_open_pipe_in(int fd, uint64_t capacity, struct disk **ret_disk, struct err *err)
{
    if (fd < 0 || capacity == 0 || capacity > INT64_MAX / SECTOR_SIZE) {
        return err_set(err, VIX_E_INVALID_ARG, "file descriptor %d, %" PRIu64 " sectors: not a stream of a disk", fd,
                       capacity);
    }
    struct disk_pipe *p = alloc_zero(sizeof *p, err);
    if (p == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    p->base.path = alloc_printf(err, "file descriptor %d", fd);
    if (p->base.path == NULL) {
        free(p);
        return VIX_E_OUT_OF_MEMORY;
    }
    p->base.ops = &pipe_ops;
    p->base.capacity = capacity;
    p->base.sequential = true;
    p->fd = fd;
    (void)pthread_mutex_init(&p->lock, NULL);
    *ret_disk = &p->base;
    return VIX_OK;
}
