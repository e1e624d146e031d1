/* SPDX-License-Identifier: BSD-3-Clause */
/* extent_flat.c - raw bytes of a file or a block device: FLAT, VMFS, VMFSRDM and VMFSRAW extents. Sector x of the
 * extent is sector offset + x of the file. Nothing here is shared between calls, so no locks. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "vmdk/extent.h"

struct flat_extent {
    struct extent base;
    uint64_t off; /* bytes: where the extent begins in the file */
};

static struct flat_extent *flat_of(struct extent *x)
{
    return (struct flat_extent *)x;
}

/** The hole or data that the file system tells of. A hole that is not whole sectors counts as data. */
static VixError map_holes(struct extent *x, uint64_t off, uint64_t nsectors, struct extent_run *ret_run,
                          struct err *err)
{
    struct store_run found;

    VixError code = x->store->ops->map(x->store, off, nsectors * SECTOR_SIZE, &found, err);
    if (code != VIX_OK) {
        return code;
    }
    bool hole = found.hole && found.len >= SECTOR_SIZE;
    uint64_t whole = hole ? found.len / SECTOR_SIZE : div_up(found.len, SECTOR_SIZE);
    *ret_run = (struct extent_run){
        .kind = hole ? RUN_ZERO : RUN_DATA, .nsectors = min_u64(max_u64(whole, 1), nsectors), .file_off = off};
    return VIX_OK;
}

static VixError flat_map(struct extent *x, uint64_t sector, uint64_t nsectors, uint32_t flags,
                         struct extent_run *ret_run, struct err *err)
{
    uint64_t off = flat_of(x)->off + sector * SECTOR_SIZE;

    if ((flags & (EXTENT_MAP_HOLES | EXTENT_MAP_FLAT_HOLES)) != 0) {
        return map_holes(x, off, nsectors, ret_run, err);
    }
    *ret_run = (struct extent_run){.kind = RUN_DATA, .nsectors = nsectors, .file_off = off};
    return VIX_OK;
}

static VixError flat_read_coded(struct extent *x, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    return store_read(x->store, buf, nsectors * SECTOR_SIZE, flat_of(x)->off + sector * SECTOR_SIZE, err);
}

static VixError flat_write(struct extent *x, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    return store_write(x->store, buf, nsectors * SECTOR_SIZE, flat_of(x)->off + sector * SECTOR_SIZE, err);
}

static VixError flat_pull(struct extent *x, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                          struct err *err)
{
    (void)sector;
    (void)nsectors;
    (void)source;
    (void)ctx;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: a raw extent is written directly", x->store->path);
}

static VixError flat_flush(struct extent *x, struct err *err)
{
    return x->writable ? x->store->ops->flush(x->store, err) : VIX_OK;
}

static VixError flat_close(struct extent *x, struct err *err)
{
    VixError code = flat_flush(x, err);
    free(x);
    return code;
}

static const struct extent_ops flat_ops;

/** The file must hold the whole extent: nobody promises what a missing tail would read as. */
static VixError check_size(const struct extent_open_params *p, struct err *err)
{
    uint64_t end = 0, size = 0;

    if (!checked_add(p->offset_sectors, p->nsectors, &end) || end > INT64_MAX / SECTOR_SIZE) {
        return err_set(err, VIX_E_DISK_INVAL,
                       "%s: an extent of %" PRIu64 " sectors at sector %" PRIu64 " ends beyond 2^63 "
                       "bytes",
                       p->store->path, p->nsectors, p->offset_sectors);
    }
    VixError code = p->store->ops->size(p->store, &size, err);
    if (code == VIX_OK && size / SECTOR_SIZE < end) {
        return err_set(err, VIX_E_DISK_NEEDSREPAIR,
                       "%s: the file is too short: %" PRIu64 " bytes, the extent of %" PRIu64
                       " sectors at sector %" PRIu64 " needs %" PRIu64,
                       p->store->path, size, p->nsectors, p->offset_sectors, end * SECTOR_SIZE);
    }
    return code;
}

VixError extent_flat_open(const struct extent_open_params *p, struct extent **ret_x, struct err *err)
{
    VixError code = check_size(p, err);

    if (code != VIX_OK) {
        return code;
    }
    struct flat_extent *f = alloc_zero(sizeof *f, err);
    if (f == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    f->base.ops = &flat_ops;
    f->base.store = p->store;
    f->base.nsectors = p->nsectors;
    f->base.writable = p->writable;
    f->base.preallocated = true;
    f->off = p->offset_sectors * SECTOR_SIZE;
    *ret_x = &f->base;
    return VIX_OK;
}

static const struct extent_ops flat_ops = {
    .name = "FLAT",
    .map = flat_map,
    .map_many = extent_map_one,
    .read_coded = flat_read_coded,
    .write = flat_write,
    .pull = flat_pull,
    .flush = flat_flush,
    .close = flat_close,
};
