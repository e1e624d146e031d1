/* SPDX-License-Identifier: BSD-3-Clause */
/* disk.c - what every open disk has in common: the checks before a request reaches its transport, and the end of a
 * disk. Reading and writing take no lock and no memory here. */
#include "disk/disk.h"

#include <inttypes.h>

#include "base/activity.h"
#include "disk/disk_int.h"

/** Told apart from the check itself, so that the way of a good request stays short. */
static __attribute__((noinline, cold)) VixError out_of_range(const struct disk *d, uint64_t sector, uint64_t nsectors,
                                                             struct err *err)
{
    return err_set(err, VIX_E_DISK_OUTOFRANGE,
                   "%s: %" PRIu64 " sectors at sector %" PRIu64 " reach beyond the capacity of %" PRIu64 " sectors",
                   d->path, nsectors, sector, d->capacity);
}

static __attribute__((noinline, cold)) VixError not_writable(const struct disk *d, struct err *err)
{
    return err_set(err, VIX_E_FILE_READ_ONLY, "%s: the disk is open for reading only", d->path);
}

VixError disk_check_read(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    if (nsectors > d->capacity || sector > d->capacity - nsectors) {
        return out_of_range(d, sector, nsectors, err);
    }
    return VIX_OK;
}

VixError disk_check_write(const struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    if (!d->writable) {
        return not_writable(d, err);
    }
    return disk_check_read(d, sector, nsectors, err);
}

/* While somebody records; else these are out of the way of a request. */

static __attribute__((noinline, cold)) VixError read_recorded(struct disk *d, uint64_t sector, uint64_t nsectors,
                                                              void *buf, struct err *err)
{
    struct activity_mark mark = activity_enter(d->remote ? ACTIVITY_NETWORK : ACTIVITY_READ);
    VixError code = d->ops->read(d, sector, nsectors, buf, err);

    activity_request(&mark, false, sector, nsectors);
    activity_leave(&mark);
    activity_bytes(nsectors * SECTOR_SIZE, 0);
    return code;
}

static __attribute__((noinline, cold)) VixError write_recorded(struct disk *d, uint64_t sector, uint64_t nsectors,
                                                               const void *buf, struct err *err)
{
    struct activity_mark mark = activity_enter(d->remote ? ACTIVITY_NETWORK : ACTIVITY_WRITE);
    VixError code = d->ops->write(d, sector, nsectors, buf, err);

    activity_request(&mark, true, sector, nsectors);
    activity_leave(&mark);
    /* one that is written in order counts what it makes of this (stream_slots.c) */
    activity_bytes(0, d->ordered ? 0 : nsectors * SECTOR_SIZE);
    return code;
}

VixError disk_read_checked(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    return activity_is_on() ? read_recorded(d, sector, nsectors, buf, err)
                            : d->ops->read(d, sector, nsectors, buf, err);
}

VixError disk_write_checked(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    return activity_is_on() ? write_recorded(d, sector, nsectors, buf, err)
                            : d->ops->write(d, sector, nsectors, buf, err);
}

VixError disk_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    if (nsectors == 0) {
        return VIX_OK;
    }
    VixError code = disk_check_read(d, sector, nsectors, err);
    return code == VIX_OK ? disk_read_checked(d, sector, nsectors, buf, err) : code;
}

VixError disk_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    if (nsectors == 0) {
        return VIX_OK;
    }
    VixError code = disk_check_write(d, sector, nsectors, err);
    return code == VIX_OK ? disk_write_checked(d, sector, nsectors, buf, err) : code;
}

VixError disk_discard(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    VixError code = disk_check_write(d, sector, nsectors, err);
    if (code != VIX_OK) {
        return code;
    }
    struct activity_mark mark = activity_enter(ACTIVITY_WRITE);
    code = d->ops->discard(d, sector, nsectors, err);
    activity_leave(&mark);
    return code;
}

VixError disk_close(struct disk *d, struct err *err)
{
    if (d == NULL) {
        return VIX_OK;
    }
    VixError code = disk_wait(d, err);
    if (code != VIX_OK) {
        return code;
    }
    disk_async_free(d);
    return d->ops->close(d, err);
}

/* ---- what disks without a disk database, without order, without a writer answer ---- */

VixError disk_no_pull(struct disk *d, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                      struct err *err)
{
    (void)sector, (void)nsectors, (void)source, (void)ctx;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: only disks that are written in order are filled from a source",
                   d->path);
}

VixError disk_map_one(struct disk *d, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                      struct err *err)
{
    struct disk_run run;
    VixError code = d->ops->map(d, sector, nsectors, EXTENT_MAP_STATUS | EXTENT_MAP_FLAT_HOLES, &run, err);

    if (code == VIX_OK) {
        extent_units_set_one(ret_units, run.nsectors, !run.zero);
    }
    return code;
}

VixError disk_no_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    (void)ret_value;
    return err_set(err, VIX_E_DISK_KEY_NOTFOUND, "%s: no key \"%s\": raw bytes have no disk database", d->path, key);
}

VixError disk_no_meta_set(struct disk *d, const char *key, const char *value, struct err *err)
{
    (void)value;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: key \"%s\" cannot be kept in a raw image or a stream", d->path, key);
}

VixError disk_no_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    (void)d;
    char *keys = alloc_zero(1, err);
    if (keys == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    *ret_keys = keys;
    *ret_len = 1;
    return VIX_OK;
}

VixError disk_no_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    (void)sector, (void)nsectors, (void)buf;
    return err_set(err, VIX_E_FILE_READ_ONLY, "%s: a stream is only read", d->path);
}

VixError disk_no_flush(struct disk *d, struct err *err)
{
    (void)d, (void)err;
    return VIX_OK;
}

VixError disk_no_discard(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    (void)sector, (void)nsectors;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the space of this disk cannot be given back", d->path);
}

void disk_no_start(struct disk *d, struct disk_io *io)
{
    struct err err;

    err_init(&err);
    io->done(io, err_set(&err, VIX_E_NOT_SUPPORTED, "%s: requests are carried out by the pool", d->path), &err);
}
