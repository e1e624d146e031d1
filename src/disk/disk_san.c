/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_san.c - a chain of links on a VMFS volume, or the map of a lease, as a disk of a server. What it adds is the
 * I/O: large requests are cut, and several are under way at once on threads of the disk, whose number does not depend
 * on that of the cores. Where a lease is held, nothing is read or written once it has ended. */
#include "disk/disk_san.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "disk/disk_hardware.h"
#include "disk/disk_int.h"

#define THREADS 12u         /* requests under way */
#define PIECE_SECTORS 2048u /* 1 MiB */

struct disk_san {
    struct disk base;
    struct disk_san_parts parts;
    struct work_pool *io;
    void (*closed)(void *ctx, struct disk *d);
    void *ctx;
};

static struct disk_san *san_of(struct disk *d)
{
    return (struct disk_san *)d;
}

static struct disk *inner_of(struct disk *d)
{
    return san_of(d)->parts.bytes;
}

static VixError do_io(struct disk *d, bool write, uint64_t sector, uint64_t nsectors, uint8_t *buf, struct err *err)
{
    struct disk *inner = inner_of(d);
    struct lease *lease = san_of(d)->parts.lease;

    VixError code = lease != NULL ? lease_check(lease, err) : VIX_OK;
    if (code != VIX_OK) {
        return code;
    }
    code = write ? inner->ops->write(inner, sector, nsectors, buf, err)
                 : inner->ops->read(inner, sector, nsectors, buf, err);
    /* what was read after its end may be another's */
    return code == VIX_OK && lease != NULL && !write ? lease_check(lease, err) : code;
}

/* ---- one request in pieces ---- */

struct pieces {
    struct disk *d;
    bool write;
    uint64_t sector, nsectors;
    uint8_t *buf;
    pthread_mutex_t lock; /* all that follows */
    pthread_cond_t ended;
    uint64_t taken; /* sectors */
    unsigned running;
    VixError code;
    struct err *err;
};

struct piece_worker {
    struct work_item item;
    struct pieces *p;
};

/** The next piece, up to a multiple of the size of pieces; false if there is none. */
static bool take_piece(struct pieces *p, uint64_t *ret_at, uint64_t *ret_count)
{
    SCOPED_LOCK(&p->lock);
    if (p->code != VIX_OK || p->taken == p->nsectors) {
        return false;
    }
    uint64_t at = p->sector + p->taken;
    *ret_at = p->taken;
    *ret_count = min_u64(p->nsectors - p->taken, PIECE_SECTORS - at % PIECE_SECTORS);
    p->taken += *ret_count;
    return true;
}

static void do_pieces(struct pieces *p)
{
    uint64_t at, count;

    while (take_piece(p, &at, &count)) {
        struct err err;
        err_init(&err);
        VixError code = do_io(p->d, p->write, p->sector + at, count, p->buf + at * SECTOR_SIZE, &err);
        if (code != VIX_OK) {
            SCOPED_LOCK(&p->lock);
            if (p->code == VIX_OK && p->err != NULL) {
                *p->err = err;
            }
            p->code = p->code == VIX_OK ? code : p->code;
        }
    }
}

static void run_worker(struct work_item *item)
{
    struct pieces *p = ((struct piece_worker *)item)->p;

    do_pieces(p);
    SCOPED_LOCK(&p->lock);
    if (--p->running == 0) {
        (void)pthread_cond_signal(&p->ended);
    }
}

static VixError split_io(struct disk_san *s, bool write, uint64_t sector, uint64_t nsectors, uint8_t *buf,
                         struct err *err)
{
    struct piece_worker workers[THREADS];
    struct pieces p = {.d = &s->base, .write = write, .sector = sector, .nsectors = nsectors, .buf = buf, .err = err};
    unsigned count = (unsigned)min_u64(div_up(nsectors, PIECE_SECTORS), THREADS) - 1;

    (void)pthread_mutex_init(&p.lock, NULL);
    (void)pthread_cond_init(&p.ended, NULL);
    p.running = count;
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct piece_worker){.item.run = run_worker, .p = &p};
        work_submit(s->io, &workers[i].item);
    }
    do_pieces(&p);
    {
        SCOPED_LOCK(&p.lock);
        while (p.running > 0) {
            (void)pthread_cond_wait(&p.ended, &p.lock);
        }
    }
    (void)pthread_cond_destroy(&p.ended);
    (void)pthread_mutex_destroy(&p.lock);
    return p.code;
}

/** A worker does its request alone: it would wait for others of its kind. */
static VixError any_io(struct disk *d, bool write, uint64_t sector, uint64_t nsectors, uint8_t *buf, struct err *err)
{
    if (nsectors <= PIECE_SECTORS || work_on_worker()) {
        return do_io(d, write, sector, nsectors, buf, err);
    }
    return split_io(san_of(d), write, sector, nsectors, buf, err);
}

static VixError san_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    return any_io(d, false, sector, nsectors, buf, err);
}

static VixError san_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    return any_io(d, true, sector, nsectors, (uint8_t *)(uintptr_t)buf, err);
}

/* ---- requests in the background ---- */

struct background {
    struct work_item item;
    struct disk *d;
    struct disk_io *io;
};

static void finish(struct disk *d, struct disk_io *io)
{
    struct err err;

    err_init(&err);
    VixError code = do_io(d, io->write, io->sector, io->nsectors, io->buf, &err);
    io->done(io, code, &err);
}

static void run_background(struct work_item *item)
{
    struct background *b = (struct background *)item;
    struct disk *d = b->d;
    struct disk_io *io = b->io;

    free(b);
    finish(d, io);
}

static void san_start(struct disk *d, struct disk_io *io)
{
    struct background *b = alloc_zero(sizeof *b, NULL);

    if (b == NULL) {
        finish(d, io);
        return;
    }
    *b = (struct background){.item.run = run_background, .d = d, .io = io};
    work_submit(san_of(d)->io, &b->item);
}

/* ---- the rest ---- */

static VixError san_flush(struct disk *d, struct err *err)
{
    return inner_of(d)->ops->flush(inner_of(d), err);
}

/** Where bytes stand on the LUN is nobody's business. */
static VixError san_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                        struct err *err)
{
    VixError code = inner_of(d)->ops->map(inner_of(d), sector, nsectors, flags, ret_run, err);

    if (code == VIX_OK) {
        ret_run->has_offset = false;
        ret_run->path = ret_run->present ? d->path : NULL;
    }
    return code;
}

static VixError san_map_many(struct disk *d, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                             struct err *err)
{
    return inner_of(d)->ops->map_many(inner_of(d), sector, nsectors, ret_units, err);
}

/** The same as by any other transport: what the machine's hardware tells goes first. */
static VixError san_info(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    struct disk *inner = inner_of(d);
    const struct disk_hardware *h = d->hardware;
    struct disk_info info;

    VixError code = inner->ops->info(inner, &info, err);
    if (code != VIX_OK) {
        return code;
    }
    if (disk_local_chain(inner) == NULL && h->file_count > 0) {
        info.info.numLinks = (int)h->file_count; /* of links the lease tells nothing */
    }
    info.type = h->thin ? VIXDISKLIB_DISK_VMFS_THIN : VIXDISKLIB_DISK_VMFS_FLAT;
    code = disk_hardware_add(h, &info.info, err);
    if (code != VIX_OK) {
        disk_info_done(&info);
        return code;
    }
    *ret_info = info;
    return VIX_OK;
}

static VixError san_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    return inner_of(d)->ops->meta_get(inner_of(d), key, ret_value, err);
}

static VixError san_meta_set(struct disk *d, const char *key, const char *value, struct err *err)
{
    (void)value;
    return err_set(err, d->writable ? VIX_E_NOT_SUPPORTED : VIX_E_FILE_READ_ONLY,
                   "%s: key \"%s\" cannot be written by SAN: descriptors are written by the hosts; use nbdssl", d->path,
                   key);
}

static VixError san_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    return inner_of(d)->ops->meta_keys(inner_of(d), ret_keys, ret_len, err);
}

VixError disk_san_parts_free(struct disk_san_parts *parts, struct err *err)
{
    VixError code = parts->bytes != NULL ? disk_close(parts->bytes, err) : VIX_OK;

    lease_release(parts->lease);
    vmfs_fs_free(parts->fs);
    vmfs_close(parts->volume);
    for (size_t i = 0; i < parts->lun_count; i++) {
        store_close(parts->luns[i]);
    }
    disk_hardware_free(parts->hardware);
    return code;
}

static VixError san_close(struct disk *d, struct err *err)
{
    struct disk_san *s = san_of(d);

    work_pool_free(s->io);
    VixError code = disk_san_parts_free(&s->parts, err);
    s->closed(s->ctx, d);
    free(d->path);
    free(s);
    return code;
}

static const struct disk_ops san_ops = {
    .transport = "san",
    .read = san_read,
    .write = san_write,
    .start = san_start,
    .pull = disk_no_pull,
    .flush = san_flush,
    .discard = disk_no_discard,
    .map = san_map,
    .map_many = san_map_many,
    .info = san_info,
    .meta_get = san_meta_get,
    .meta_set = san_meta_set,
    .meta_keys = san_meta_keys,
    .close = san_close,
};

VixError disk_san_new(const char *path, const struct disk_san_parts *parts, void (*closed)(void *ctx, struct disk *d),
                      void *ctx, struct disk **ret_disk, struct err *err)
{
    struct disk_san *s = alloc_zero(sizeof *s, err);
    char *copy = alloc_text(path, err);
    VixError code = s != NULL && copy != NULL ? work_pool_new(THREADS, &s->io, err) : VIX_E_OUT_OF_MEMORY;

    if (code != VIX_OK) {
        free(copy);
        free(s);
        return code;
    }
    s->base = (struct disk){
        .ops = &san_ops,
        .path = copy,
        .capacity = parts->bytes->capacity,
        .writable = parts->bytes->writable,
        .remote = true,
        .parent_closed = parts->bytes->parent_closed,
        .hardware = parts->hardware,
        .starts = true,
        .busy_pieces = THREADS,
    };
    s->parts = *parts;
    s->closed = closed;
    s->ctx = ctx;
    *ret_disk = &s->base;
    return VIX_OK;
}
