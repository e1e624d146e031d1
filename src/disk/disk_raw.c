/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_raw.c - a raw image or a block device as a disk. The last sector of a file whose length is no multiple of 512 is
 * padded with zeros on reading; writing it makes the file whole. No lock: reads and writes go straight to the store. */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "disk/disk_int.h"

struct disk_raw {
    struct disk base;
    struct store *store;
    _Atomic uint64_t file_len; /* bytes that the file holds; the rest of the last sector is zeros */
};

static struct disk_raw *raw_of(struct disk *d)
{
    return (struct disk_raw *)d;
}

/** A read that touches the padding of the last sector. */
static __attribute__((noinline)) VixError read_tail(struct disk_raw *r, uint64_t off, uint64_t len, void *buf,
                                                    struct err *err)
{
    uint64_t file_len = atomic_load(&r->file_len);
    uint64_t have = file_len > off ? min_u64(len, file_len - off) : 0;

    if (have > 0) {
        VixError code = store_read(r->store, buf, have, off, err);
        if (code != VIX_OK) {
            return code;
        }
    }
    memset((uint8_t *)buf + have, 0, len - have);
    return VIX_OK;
}

static VixError raw_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct disk_raw *r = raw_of(d);
    uint64_t off = sector * SECTOR_SIZE;
    uint64_t len = nsectors * SECTOR_SIZE;

    if (off + len > atomic_load_explicit(&r->file_len, memory_order_acquire)) {
        return read_tail(r, off, len, buf, err);
    }
    return store_read(r->store, buf, len, off, err);
}

static VixError raw_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct disk_raw *r = raw_of(d);
    uint64_t off = sector * SECTOR_SIZE;
    uint64_t len = nsectors * SECTOR_SIZE;

    VixError code = store_write(r->store, buf, len, off, err);
    if (code == VIX_OK && off + len > atomic_load_explicit(&r->file_len, memory_order_acquire)) {
        atomic_store(&r->file_len, off + len);
    }
    return code;
}

static VixError raw_flush(struct disk *d, struct err *err)
{
    return d->writable ? raw_of(d)->store->ops->flush(raw_of(d)->store, err) : VIX_OK;
}

static VixError raw_discard(struct disk *d, uint64_t sector, uint64_t nsectors, struct err *err)
{
    struct disk_raw *r = raw_of(d);
    uint64_t off = sector * SECTOR_SIZE;
    uint64_t file_len = atomic_load(&r->file_len);

    if (r->store->is_device) {
        return disk_no_discard(d, sector, nsectors, err);
    }
    return off < file_len ? r->store->ops->punch(r->store, off, min_u64(nsectors * SECTOR_SIZE, file_len - off), err)
                          : VIX_OK;
}

/** Sectors of a run of bytes that begins at a sector: a hole counts only where it fills the sector, data as soon as it
 * touches it. Up to the end of the file everything belongs to the last sector. */
static uint64_t run_sectors(const struct store_run *run, uint64_t len, bool *ret_hole)
{
    *ret_hole = run->hole && (run->len >= len || run->len >= SECTOR_SIZE);
    if (run->len >= len) {
        return div_up(len, SECTOR_SIZE);
    }
    return *ret_hole ? run->len / SECTOR_SIZE : div_up(run->len, SECTOR_SIZE);
}

static VixError raw_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                        struct err *err)
{
    struct disk_raw *r = raw_of(d);
    uint64_t off = sector * SECTOR_SIZE;
    uint64_t file_len = atomic_load(&r->file_len);
    uint64_t found = nsectors;
    bool hole = false;

    if ((flags & (EXTENT_MAP_HOLES | EXTENT_MAP_FLAT_HOLES)) != 0 && off < file_len) {
        uint64_t len = min_u64(nsectors * SECTOR_SIZE, file_len - off);
        struct store_run run;
        VixError code = r->store->ops->map(r->store, off, len, &run, err);
        if (code != VIX_OK) {
            return code;
        }
        found = run_sectors(&run, len, &hole);
    }
    *ret_run = (struct disk_run){
        .sector = sector,
        .nsectors = found,
        .present = true,
        .zero = hole,
        .has_offset = true,
        .file_off = off,
        .path = r->store->path,
    };
    return VIX_OK;
}

static VixError raw_close(struct disk *d, struct err *err)
{
    VixError code = raw_flush(d, err);
    store_close(raw_of(d)->store);
    free(d->path);
    free(d);
    return code;
}

static const struct disk_ops raw_ops = {
    .transport = "file",
    .read = raw_read,
    .write = raw_write,
    .start = disk_no_start,
    .pull = disk_no_pull,
    .flush = raw_flush,
    .discard = raw_discard,
    .map = raw_map,
    .map_many = disk_map_one,
    .info = disk_info_from_meta,
    .meta_get = disk_no_meta_get,
    .meta_set = disk_no_meta_set,
    .meta_keys = disk_no_meta_keys,
    .close = raw_close,
};

VixError disk_raw_from_store(struct store *store, struct disk **ret_disk, struct err *err)
{
    uint64_t size;
    struct disk_raw *r = NULL;
    VixError code = store->ops->size(store, &size, err);

    if (code == VIX_OK && size > INT64_MAX - SECTOR_SIZE) {
        code = err_set(err, VIX_E_DISK_RAWTOOBIG, "%s: %" PRIu64 " bytes are more than a disk can have", store->path,
                       size);
    }
    if (code == VIX_OK && size == 0) {
        code =
            err_set(err, VIX_E_DISK_RAWTOOSMALL, "%s: the file is empty, a disk has at least one sector", store->path);
    }
    if (code == VIX_OK && (r = alloc_zero(sizeof *r, err)) == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (code == VIX_OK && (r->base.path = alloc_text(store->path, err)) == NULL) {
        code = VIX_E_OUT_OF_MEMORY;
    }
    if (code != VIX_OK) {
        free(r);
        store_close(store);
        return code;
    }
    r->base.ops = &raw_ops;
    r->base.capacity = div_up(size, SECTOR_SIZE);
    r->base.writable = store->writable;
    r->store = store;
    atomic_init(&r->file_len, size);
    *ret_disk = &r->base;
    return VIX_OK;
}

struct store *disk_raw_store(struct disk *d)
{
    return d->ops == &raw_ops ? raw_of(d)->store : NULL;
}

VixError disk_open_raw(struct store_fs *fs, const char *path, uint32_t open_flags, struct disk **ret_disk,
                       struct err *err)
{
    struct store *store;
    uint32_t flags = STORE_LOCK | STORE_DEVICE_OK;

    if ((open_flags & VIXDISKLIB_FLAG_OPEN_READ_ONLY) == 0) {
        flags |= STORE_WRITE;
    }
    if ((open_flags & VIXDISKLIB_FLAG_OPEN_UNBUFFERED) != 0) {
        flags |= STORE_UNBUFFERED;
    }
    VixError code = fs->ops->open(fs, path, flags, &store, err);
    return code == VIX_OK ? disk_raw_from_store(store, ret_disk, err) : code;
}
