/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_local.c - a chain of local VMDK links as a disk. Everything is the chain's; here are the flags of the public
 * interface, the configuration and the facts that VixDiskLibInfo tells. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/config.h"
#include "base/text.h"
#include "disk/disk_int.h"
#include "disk/remote.h"

struct disk_local {
    struct disk base;
    struct chain *chain;
};

static struct chain *chain_of(struct disk *d)
{
    return ((struct disk_local *)d)->chain;
}

static VixError local_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    return chain_read(chain_of(d), sector, nsectors, buf, err);
}

static VixError local_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    return chain_write(chain_of(d), sector, nsectors, buf, err);
}

static VixError local_pull(struct disk *d, uint64_t sector, uint64_t nsectors, extent_source_func *source, void *ctx,
                           struct err *err)
{
    return chain_pull(chain_of(d), sector, nsectors, source, ctx, err);
}

static VixError local_flush(struct disk *d, struct err *err)
{
    return chain_flush(chain_of(d), err);
}

static VixError local_discard(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    return chain_discard(chain_of(d), sector, nsectors, err);
}

/* Of a chain at most this much is looked at in one call: a long run of the top link would otherwise be gone through
 * anew for each run of the links below. */
#define CHAIN_MAP_SECTORS 16384u

static VixError local_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                          struct err *err)
{
    struct chain_run run;
    struct chain *c = chain_of(d);

    if ((c->link_count > 1 || c->base.read != NULL) && nsectors > CHAIN_MAP_SECTORS) {
        nsectors = CHAIN_MAP_SECTORS;
    }
    VixError code = chain_map(c, sector, nsectors, flags, &run, err);

    if (code != VIX_OK) {
        return code;
    }
    ret_run->sector = sector;
    ret_run->nsectors = run.nsectors;
    ret_run->present = run.kind != RUN_ABSENT;
    ret_run->zero = run.kind == RUN_ABSENT || run.kind == RUN_ZERO;
    ret_run->has_offset = run.kind == RUN_DATA || (run.kind == RUN_ZERO && run.x->preallocated && run.x->store != NULL);
    ret_run->depth = (int)run.depth;
    ret_run->file_off = run.file_off;
    ret_run->path = run.kind != RUN_ABSENT ? run.path : NULL;
    return VIX_OK;
}

static VixError local_map_many(struct disk *d, uint64_t sector, uint64_t nsectors, struct extent_units *ret_units,
                               struct err *err)
{
    struct chain *c = chain_of(d);

    return c->link_count > 1 || c->base.read != NULL ? disk_map_one(d, sector, nsectors, ret_units, err)
                                                     : chain_map_many(c, sector, nsectors, ret_units, err);
}

/* ---- what the disk database tells ---- */

static VixError take_parent_hint(struct link *top, VixDiskLibInfo *info, struct err *err)
{
    SCOPED_LOCK(&top->meta_lock);
    if (top->desc->parent_hint == NULL) {
        return VIX_OK;
    }
    info->parentFileNameHint = alloc_text(top->desc->parent_hint, err);
    return info->parentFileNameHint != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static VixError local_info(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    struct chain *c = chain_of(d);
    struct disk_info info;
    VixError code = disk_info_from_meta(d, &info, err);

    if (code != VIX_OK) {
        return code;
    }
    info.info.numLinks = (int)c->link_count + c->base.link_count;
    info.type = chain_disk_type(c);
    code = take_parent_hint(c->links[0], &info.info, err);
    if (code != VIX_OK) {
        disk_info_done(&info);
        return code;
    }
    *ret_info = info;
    return VIX_OK;
}

static VixError local_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    return chain_meta_get(chain_of(d), key, ret_value, err);
}

static VixError local_meta_set(struct disk *d, const char *key, const char *value, struct err *err)
{
    if (!d->writable) {
        return err_set(err, VIX_E_FILE_READ_ONLY, "%s: key \"%s\" cannot be written: the disk is open for reading only",
                       d->path, key);
    }
    return chain_meta_set(chain_of(d), key, value, err);
}

static VixError local_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    return chain_meta_keys(chain_of(d), ret_keys, ret_len, err);
}

static VixError local_close(struct disk *d, struct err *err)
{
    VixError code = chain_close(chain_of(d), err);
    free(d->path);
    free(d);
    return code;
}

static const struct disk_ops local_ops = {
    .transport = "file",
    .read = local_read,
    .write = local_write,
    .start = disk_no_start,
    .pull = local_pull,
    .flush = local_flush,
    .discard = local_discard,
    .map = local_map,
    .map_many = local_map_many,
    .info = local_info,
    .meta_get = local_meta_get,
    .meta_set = local_meta_set,
    .meta_keys = local_meta_keys,
    .close = local_close,
};

uint32_t disk_local_chain_flags(uint32_t open_flags)
{
    uint32_t flags = CHAIN_READ;

    if ((open_flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY) == 0) {
        flags |= CHAIN_WRITE;
    }
    if ((open_flags & VIXDISKLIB_FLAG_OPEN_UNBUFFERED) != 0) {
        flags |= CHAIN_UNBUFFERED;
    }
    if ((open_flags & VIXDISKLIB_FLAG_OPEN_SINGLE_LINK) != 0) {
        flags |= CHAIN_SINGLE_LINK;
    }
    if (config_bool(CONFIG_ALLOW_OUTSIDE_PATHS, false)) {
        flags |= CHAIN_OUTSIDE_OK;
    }
    const char *tracking = config_text(CONFIG_CHANGE_TRACKING);
    if (tracking != NULL && text_equal_nocase(tracking, "drop")) {
        flags |= CHAIN_DROP_TRACKING;
    }
    return flags;
}

/** The facts that may change when a chain is put in place. */
static void adopt_chain(struct disk_local *l)
{
    l->base.capacity = l->chain->capacity;
    l->base.writable = (l->chain->flags & CHAIN_WRITE) != 0;
    l->base.ordered = l->base.writable && chain_is_ordered(l->chain);
    l->base.parent_closed = chain_lacks_parent(l->chain);
}

VixError disk_open_local(struct store_fs *fs, const char *path, uint32_t open_flags, const struct chain_tuning *tuning,
                         struct disk **ret_disk, struct err *err)
{
    return disk_open_chain(fs, path, disk_local_chain_flags(open_flags), tuning, ret_disk, err);
}

VixError disk_open_chain(struct store_fs *fs, const char *path, uint32_t chain_flags, const struct chain_tuning *tuning,
                         struct disk **ret_disk, struct err *err)
{
    struct disk_local *l = alloc_zero(sizeof *l, err);
    if (l == NULL) {
        return VIX_E_OUT_OF_MEMORY;
    }
    l->base.ops = &local_ops;
    l->base.path = alloc_text(path, err);
    VixError code = l->base.path != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
    if (code == VIX_OK) {
        code = chain_open(fs, path, chain_flags, tuning, &l->chain, err);
    }
    if (code != VIX_OK) {
        free(l->base.path);
        free(l);
        return code;
    }
    adopt_chain(l);
    *ret_disk = &l->base;
    return VIX_OK;
}

struct chain *disk_local_chain(struct disk *d)
{
    return d->ops == &local_ops ? chain_of(d) : NULL;
}

struct store *disk_plain_bytes(struct disk *d, uint64_t sector, uint64_t nsectors, uint64_t *ret_off,
                               uint64_t *ret_nsectors)
{
    struct chain *c = disk_local_chain(d);
    struct chain_run run;

    if (c == NULL) {
        *ret_off = sector * SECTOR_SIZE;
        *ret_nsectors = nsectors;
        return disk_raw_store(d);
    }
    if (chain_map(c, sector, nsectors, 0, &run, NULL) != VIX_OK || run.kind != RUN_DATA) {
        return NULL;
    }
    *ret_off = run.file_off;
    *ret_nsectors = run.nsectors;
    return run.x->store;
}

/* ---- on top of other disks ---- */

/** The content ID of a disk is the end of its long one. */
static VixError remote_content_id(struct disk *d, uint32_t *ret_cid, struct err *err)
{
    CLEANUP_FREE char *text = NULL;
    VixError code = d->ops->meta_get(d, "longContentID", &text, err);

    if (code != VIX_OK && code != VIX_E_DISK_KEY_NOTFOUND) {
        return code;
    }
    size_t len = text != NULL ? strlen(text) : 0;
    bool known = len >= 8 && strspn(text + len - 8, "0123456789abcdefABCDEF") == 8;
    *ret_cid = known ? (uint32_t)strtoul(text + len - 8, NULL, 16) : CID_FRESH;
    return VIX_OK;
}

VixError disk_content_id(struct disk *d, uint32_t *ret_cid, struct err *err)
{
    const struct chain *c = disk_local_chain(d);

    if (c == NULL) {
        return remote_content_id(d, ret_cid, err);
    }
    *ret_cid = chain_take_cid(c);
    return VIX_OK;
}

static VixError base_read(void *ctx, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    return disk_read(ctx, sector, nsectors, buf, err);
}

static VixError base_map(void *ctx, uint64_t sector, uint64_t nsectors, bool *ret_present, uint64_t *ret_nsectors,
                         struct err *err)
{
    struct disk *d = ctx;
    struct disk_run run;
    VixError code = d->ops->map(d, sector, nsectors, 0, &run, err);

    if (code == VIX_OK) {
        *ret_present = run.present;
        *ret_nsectors = run.nsectors;
    }
    return code;
}

static VixError base_close(void *ctx, struct err *err)
{
    return disk_close(ctx, err);
}

/** A remote disk as the base of a chain. */
static VixError make_base(struct disk *d, struct chain_base *ret_base, struct err *err)
{
    struct disk_info info;
    uint32_t cid = 0;
    VixError code = disk_content_id(d, &cid, err);

    if (code == VIX_OK) {
        code = d->ops->info(d, &info, err);
    }
    if (code != VIX_OK) {
        return code;
    }
    *ret_base = (struct chain_base){.path = d->path,
                                    .capacity = d->capacity,
                                    .cid = cid,
                                    .read = base_read,
                                    .map = base_map,
                                    .close = base_close,
                                    .ctx = d,
                                    .link_count = info.info.numLinks};
    disk_info_done(&info);
    return VIX_OK;
}

static VixError check_kinds(struct disk *parent, struct disk *child, struct err *err)
{
    const char *wrong = parent == child                                               ? "they are one disk"
                        : disk_local_chain(child) == NULL                             ? "the child must be local"
                        : disk_local_chain(parent) == NULL && !disk_is_remote(parent) ? "the parent is no virtual disk"
                                                                                      : NULL;
    return wrong == NULL
               ? VIX_OK
               : err_set(err, VIX_E_INVALID_ARG, "%s cannot be put on top of %s: %s", child->path, parent->path, wrong);
}

VixError disk_local_can_attach(struct disk *parent, struct disk *child, struct err *err)
{
    struct chain_base base;
    VixError code = check_kinds(parent, child, err);

    if (code != VIX_OK) {
        return code;
    }
    if (!disk_is_remote(parent)) {
        return chain_can_attach(disk_local_chain(parent), disk_local_chain(child), err);
    }
    code = make_base(parent, &base, err);
    return code == VIX_OK ? chain_can_attach_base(&base, disk_local_chain(child), err) : code;
}

static VixError attach_to_remote(struct disk *parent, struct disk *child, struct err *err)
{
    struct chain_base base;
    VixError code = make_base(parent, &base, err);

    if (code == VIX_OK) {
        code = chain_attach_base(&base, chain_of(child), err);
    }
    if (code != VIX_OK) {
        (void)disk_close(parent, NULL);
    }
    return code;
}

static VixError attach_to_local(struct disk *parent, struct disk *child, struct err *err)
{
    disk_async_free(parent);
    VixError code = chain_attach(chain_of(parent), chain_of(child), err);
    free(parent->path);
    free(parent);
    return code;
}

VixError disk_local_attach(struct disk *parent, struct disk *child, struct err *err)
{
    VixError code = check_kinds(parent, child, err);
    if (code != VIX_OK) {
        if (parent != child) {
            (void)disk_close(parent, NULL);
        }
        return code;
    }
    code = disk_is_remote(parent) ? attach_to_remote(parent, child, err) : attach_to_local(parent, child, err);
    if (code == VIX_OK) {
        adopt_chain((struct disk_local *)child);
    }
    return code;
}
