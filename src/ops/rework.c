/* SPDX-License-Identifier: BSD-3-Clause */
/* rework.c - operations that change the files of a disk but not what it holds: defragment, shrink, grow, reparent. */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/config.h"
#include "codec/codec.h"
#include "ops/ops.h"
#include "ops/walk.h"

#define PUNCH_UNIT 2048u /* sectors looked at together in a thin disk: 1 MiB */
#define PUNCH_BLOCK 8u   /* sectors: what a file system can give back */

static VixError local_chain_of(struct disk *d, struct chain **ret_chain, struct err *err)
{
    struct chain *c = disk_local_chain(d);

    if (c == NULL) {
        return err_set(err, VIX_E_NOT_SUPPORTED, "%s: only local virtual disks can be reworked", d->path);
    }
    if (!d->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: the disk is open for reading only", d->path);
    }
    *ret_chain = c;
    return VIX_OK;
}

/** Whether every extent of the top link is raw bytes of a file. */
static bool is_flat(const struct chain *c)
{
    const struct link *top = c->links[0];

    for (size_t i = 0; i < top->extent_count; i++) {
        if (!top->extents[i].x->preallocated) {
            return false;
        }
    }
    return true;
}

static VixError tell_sectors(void *ctx, uint64_t done, uint64_t total, struct err *err)
{
    (void)total;
    return meter_tell(ctx, done * SECTOR_SIZE, err);
}

static VixError rebuild(struct chain *c, bool drop_zeros, struct progress_meter *meter, struct err *err)
{
    const struct rebuild_params p = {.drop_zeros = drop_zeros, .tell = tell_sectors, .ctx = meter};
    return chain_rebuild(c, &p, err);
}

VixError ops_defragment(struct disk *d, struct ops_progress progress, struct err *err)
{
    struct progress_meter meter;
    struct chain *c = NULL;

    VixError code = local_chain_of(d, &c, err);
    if (code != VIX_OK) {
        return code;
    }
    meter_init(&meter, progress, d->capacity * SECTOR_SIZE);
    code = is_flat(c) ? VIX_OK : rebuild(c, false, &meter, err);
    return code == VIX_OK ? meter_end(&meter, err) : code;
}

/* ---- shrink ---- */

/** Gives the zeros of one piece of a thin disk back. */
static VixError punch_piece(struct store *s, uint64_t off, const uint8_t *buf, uint64_t nsectors, struct err *err)
{
    for (uint64_t done = 0, n; done < nsectors; done += n) {
        n = min_u64(PUNCH_BLOCK, nsectors - done);
        if (bytes_are_zero(buf + done * SECTOR_SIZE, n * SECTOR_SIZE)) {
            while (done + n < nsectors && bytes_are_zero(buf + (done + n) * SECTOR_SIZE,
                                                         min_u64(PUNCH_BLOCK, nsectors - done - n) * SECTOR_SIZE)) {
                n += min_u64(PUNCH_BLOCK, nsectors - done - n);
            }
            VixError code = s->ops->punch(s, off + done * SECTOR_SIZE, n * SECTOR_SIZE, err);
            if (code != VIX_OK) {
                return code;
            }
        }
    }
    return VIX_OK;
}

static VixError punch_extent(const struct link_extent *e, uint8_t *buf, struct progress_meter *meter, struct err *err)
{
    struct extent *x = e->x;

    for (uint64_t sector = 0, n; sector < x->nsectors; sector += n) {
        struct extent_run run;
        VixError code = x->ops->map(x, sector, min_u64(PUNCH_UNIT, x->nsectors - sector), EXTENT_MAP_HOLES, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        n = run.nsectors;
        if (run.kind == RUN_DATA) {
            code = store_read(x->store, buf, n * SECTOR_SIZE, run.file_off, err);
            if (code == VIX_OK) {
                code = punch_piece(x->store, run.file_off, buf, n, err);
            }
        }
        if (code == VIX_OK) {
            code = meter_tell(meter, (e->first_sector + sector) * SECTOR_SIZE, err);
        }
        if (code != VIX_OK) {
            return code;
        }
    }
    return x->store->ops->flush(x->store, err);
}

static VixError punch_zeros(struct chain *c, struct progress_meter *meter, struct err *err)
{
    const struct link *top = c->links[0];
    CLEANUP_FREE uint8_t *buf = alloc_aligned(4096, (size_t)PUNCH_UNIT * SECTOR_SIZE, err);
    VixError code = buf != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;

    for (size_t i = 0; code == VIX_OK && i < top->extent_count; i++) {
        if (top->extents[i].x->store != NULL) {
            code = punch_extent(&top->extents[i], buf, meter, err);
        }
    }
    return code;
}

static VixError shrink_chain(struct chain *c, struct progress_meter *meter, struct err *err)
{
    const char *path = c->links[0]->path;

    if (c->links[0]->desc->parent_cid != CID_NO_PARENT) {
        return err_set(err, VIX_E_DISK_CANTSHRINK,
                       "%s has a parent: its zeros may hide what the parent holds, so they cannot be given back", path);
    }
    if (!is_flat(c)) {
        return rebuild(c, true, meter, err);
    }
    if (chain_disk_type(c) != VIXDISKLIB_DISK_VMFS_THIN) {
        return err_set(err, VIX_E_NOT_SUPPORTED,
                       "%s: the space of a disk of type %s is taken for good: convert it to a sparse type", path,
                       c->links[0]->desc->create_type);
    }
    return punch_zeros(c, meter, err);
}

VixError ops_shrink(struct disk *d, struct ops_progress progress, struct err *err)
{
    struct progress_meter meter;
    struct chain *c = NULL;

    VixError code = local_chain_of(d, &c, err);
    if (code != VIX_OK) {
        return code;
    }
    meter_init(&meter, progress, d->capacity * SECTOR_SIZE);
    code = shrink_chain(c, &meter, err);
    return code == VIX_OK ? meter_end(&meter, err) : code;
}

/* ---- grow, reparent ---- */

static VixError refuse_with_child(struct store_fs *fs, const char *path, struct err *err)
{
    char *child = NULL;

    VixError code = ops_find_child(fs, path, NULL, &child, err);
    if (code == VIX_OK && child != NULL) {
        code = err_set(err, VIX_E_DISK_PARTIALCHAIN, "%s is the parent of %s, which could not be opened any more", path,
                       child);
    }
    free(child);
    return code;
}

VixError ops_grow(struct store_fs *fs, const char *path, uint64_t capacity, bool update_geometry, struct err *err)
{
    struct chain *c = NULL;

    VixError code = refuse_with_child(fs, path, err);
    if (code == VIX_OK) {
        code = chain_open(fs, path, disk_local_chain_flags(0), NULL, &c, err);
    }
    if (code == VIX_OK) {
        code = chain_grow(c, capacity, update_geometry, config_bool(CONFIG_ALLOW_OVER_2TB, false), err);
    }
    VixError closed = chain_close(c, code == VIX_OK ? err : NULL);
    return code != VIX_OK ? code : closed;
}

VixError ops_reparent(struct store_fs *fs, const char *path, const char *hint, struct err *err)
{
    struct chain *c = NULL;

    VixError code = chain_open(fs, path, disk_local_chain_flags(VIXDISKLIB_FLAG_OPEN_SINGLE_LINK), NULL, &c, err);
    if (code == VIX_OK) {
        code = chain_reparent(c, hint, err);
    }
    VixError closed = chain_close(c, code == VIX_OK ? err : NULL);
    return code != VIX_OK ? code : closed;
}
