/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_lease.c - the bytes of a disk by the map of its lease alone, where the volume cannot be read: data from the
 * LUNs, all else zeros. It is read only. The lease tells the keys of the disk database. Any thread; no state. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "disk/disk_int.h"
#include "disk/lease.h"

struct disk_lease {
    struct disk base;
    struct lease *lease;
};

static struct lease *lease_of(struct disk *d)
{
    return ((struct disk_lease *)d)->lease;
}

static VixError lease_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct lease *l = lease_of(d);
    uint64_t off = sector * SECTOR_SIZE, len = nsectors * SECTOR_SIZE;
    VixError code = VIX_OK;

    for (uint64_t done = 0; done < len && code == VIX_OK;) {
        const struct vmfs_run *run = lease_run_at(l, off + done);
        uint64_t skip = off + done - run->off;
        uint64_t take = min_u64(len - done, run->len - skip);
        if (run->kind == VMFS_DATA) {
            code = store_read(lease_of_what(l)->luns[run->lun], (uint8_t *)buf + done, take, run->lun_off + skip, err);
        } else {
            memset((uint8_t *)buf + done, 0, take);
        }
        done += take;
    }
    return code;
}

static VixError lease_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                          struct err *err)
{
    const struct vmfs_run *run = lease_run_at(lease_of(d), sector * SECTOR_SIZE);

    (void)flags, (void)err;
    *ret_run = (struct disk_run){
        .sector = sector,
        .nsectors = min_u64(nsectors, (run->off + run->len) / SECTOR_SIZE - sector),
        .present = true,
        .zero = run->kind != VMFS_DATA,
        .path = d->path,
    };
    return VIX_OK;
}

static VixError lease_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    const char *value = lease_value(lease_of(d), key);

    if (value == NULL) {
        return err_set(err, VIX_E_DISK_KEY_NOTFOUND, "%s: the disk database has no key \"%.100s\"", d->path, key);
    }
    *ret_value = alloc_text(value, err);
    return *ret_value != NULL ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

static VixError lease_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    return lease_keys(lease_of(d), ret_keys, ret_len, err);
}

static VixError lease_close(struct disk *d, struct err *err)
{
    (void)err;
    free(d->path);
    free(d);
    return VIX_OK;
}

static const struct disk_ops lease_ops = {
    .transport = "san",
    .read = lease_read,
    .write = disk_no_write,
    .start = disk_no_start,
    .pull = disk_no_pull,
    .flush = disk_no_flush,
    .discard = disk_no_discard,
    .map = lease_map,
    .map_many = disk_map_one,
    .info = disk_info_from_meta,
    .meta_get = lease_meta_get,
    .meta_set = disk_no_meta_set,
    .meta_keys = lease_meta_keys,
    .close = lease_close,
};

VixError disk_lease_new(struct lease *l, struct disk **ret_disk, struct err *err)
{
    struct disk_lease *d = alloc_zero(sizeof *d, err);
    char *path = alloc_text(lease_of_what(l)->path, err);

    if (d == NULL || path == NULL) {
        free(path);
        free(d);
        return VIX_E_OUT_OF_MEMORY;
    }
    d->base = (struct disk){.ops = &lease_ops, .path = path, .capacity = lease_of_what(l)->capacity / SECTOR_SIZE};
    d->lease = l;
    *ret_disk = &d->base;
    return VIX_OK;
}
