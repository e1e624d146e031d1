/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_hotadd.c - a disk of a server that is attached to this machine: its bytes are those of the device, past the page
 * cache; requests of all threads go to it at once. What the device does not tell (keys of the disk database, which
 * chunks are allocated) comes over NFC, by a connection that is made when it is asked for first. Where there is none,
 * everything counts as allocated. Any thread. */
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "disk/hotadd_int.h"

#define BUSY_PIECES 16 /* of half a MiB: what a virtual controller has under way for a disk is 64 requests and more */

struct disk_hotadd {
    struct disk base;
    struct hotadd *way;
    struct disk *device;
    struct disk_hardware *hardware;
    uint32_t flags;       /* of the open */
    pthread_mutex_t lock; /* for what follows */
    bool asked;           /* NFC was tried */
    struct disk *nfc;     /* NULL: it could not be had */
};

static struct disk_hotadd *hotadd_of(struct disk *d)
{
    return (struct disk_hotadd *)d;
}

/* ---- bytes ---- */

static VixError hot_read(struct disk *d, uint64_t sector, uint64_t nsectors, void *buf, struct err *err)
{
    struct disk *device = hotadd_of(d)->device;
    return device->ops->read(device, sector, nsectors, buf, err);
}

static VixError hot_write(struct disk *d, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err)
{
    struct disk *device = hotadd_of(d)->device;
    return device->ops->write(device, sector, nsectors, buf, err);
}

static VixError hot_flush(struct disk *d, struct err *err)
{
    struct disk *device = hotadd_of(d)->device;
    return device->ops->flush(device, err);
}

/* ---- what NFC tells ---- */

static void open_nfc(struct disk_hotadd *h)
{
    struct err err;

    err_init(&err);
    VixError code = remote_open_any_nfc(h->way->r, h->base.path, h->flags, &h->nfc, &err);
    if (code != VIX_OK) {
        h->nfc = NULL;
        log_news("%s: what only NFC tells of the disk is not known: %s", h->base.path, err.text);
    }
}

/** The same disk over NFC; NULL: it cannot be had. */
static struct disk *nfc_of(struct disk_hotadd *h)
{
    SCOPED_LOCK(&h->lock);
    if (!h->asked) {
        h->asked = true;
        open_nfc(h);
    }
    return h->nfc;
}

static VixError no_nfc(const struct disk *d, struct err *err)
{
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: the disk database is read over NFC, which leads to no disk here",
                   d->path);
}

static VixError hot_map(struct disk *d, uint64_t sector, uint64_t nsectors, uint32_t flags, struct disk_run *ret_run,
                        struct err *err)
{
    struct disk *nfc = nfc_of(hotadd_of(d));

    if (nfc != NULL) {
        return nfc->ops->map(nfc, sector, nsectors, flags, ret_run, err);
    }
    *ret_run = (struct disk_run){.sector = sector, .nsectors = nsectors, .present = true, .path = d->path};
    return VIX_OK;
}

static VixError hot_meta_get(struct disk *d, const char *key, char **ret_value, struct err *err)
{
    struct disk *nfc = nfc_of(hotadd_of(d));
    return nfc != NULL ? nfc->ops->meta_get(nfc, key, ret_value, err) : no_nfc(d, err);
}

static VixError hot_meta_set(struct disk *d, const char *key, const char *value, struct err *err)
{
    (void)value;
    return err_set(err, VIX_E_NOT_SUPPORTED, "%s: \"%.100s\" cannot be set in a disk that is attached", d->path, key);
}

static VixError hot_meta_keys(struct disk *d, char **ret_keys, size_t *ret_len, struct err *err)
{
    struct disk *nfc = nfc_of(hotadd_of(d));
    return nfc != NULL ? nfc->ops->meta_keys(nfc, ret_keys, ret_len, err) : no_nfc(d, err);
}

static VixError hot_info(struct disk *d, struct disk_info *ret_info, struct err *err)
{
    struct disk_hotadd *h = hotadd_of(d);
    struct disk *nfc = nfc_of(h);
    struct disk_info info = {0};
    VixError code = nfc != NULL ? nfc->ops->info(nfc, &info, err) : disk_info_from_meta(h->device, &info, err);

    if (code == VIX_OK) {
        info.info.capacity = d->capacity;
        info.info.numLinks = h->hardware->file_count > 0 ? (int)h->hardware->file_count : 1;
        info.type = h->hardware->thin ? VIXDISKLIB_DISK_VMFS_THIN : VIXDISKLIB_DISK_VMFS_FLAT;
        *ret_info = info;
    }
    return code;
}

/* ---- the disk ---- */

static void hot_free(struct disk_hotadd *h)
{
    (void)pthread_mutex_destroy(&h->lock);
    disk_hardware_free(h->hardware);
    free(h->base.path);
    free(h);
}

static VixError hot_close(struct disk *d, struct err *err)
{
    struct disk_hotadd *h = hotadd_of(d);
    struct remote *r = h->way->r;
    VixError code = h->device->ops->close(h->device, err); /* on stable storage before it is detached */
    VixError nfc_code = h->nfc != NULL ? disk_close(h->nfc, NULL) : VIX_OK;
    VixError end_code = hotadd_end(h->way, code == VIX_OK ? err : NULL);

    if (nfc_code != VIX_OK) {
        log_news("%s: the connection that told of it did not end well", d->path);
    }
    remote_forget_disk(r, d);
    hot_free(h);
    return code == VIX_OK ? end_code : code;
}

static const struct disk_ops hotadd_ops = {
    .transport = "hotadd",
    .read = hot_read,
    .write = hot_write,
    .start = disk_no_start,
    .pull = disk_no_pull,
    .flush = hot_flush,
    .discard = disk_no_discard,
    .map = hot_map,
    .map_many = disk_map_one,
    .info = hot_info,
    .meta_get = hot_meta_get,
    .meta_set = hot_meta_set,
    .meta_keys = hot_meta_keys,
    .close = hot_close,
};

static VixError fill(struct disk_hotadd *h, struct store *device, struct err *err)
{
    VixError code = disk_raw_from_store(device, &h->device, err);

    if (code == VIX_OK && (h->base.path = alloc_text(h->way->path, err)) == NULL) {
        (void)h->device->ops->close(h->device, NULL);
        code = VIX_E_OUT_OF_MEMORY;
    }
    return code;
}

VixError disk_hotadd_new(struct hotadd *way, struct store *device, struct disk_hardware *hardware, uint32_t flags,
                         struct disk **ret_disk, struct err *err)
{
    struct disk_hotadd *h = alloc_zero(sizeof *h, err);
    VixError code = VIX_E_OUT_OF_MEMORY;

    if (h != NULL) {
        h->way = way;
        h->hardware = hardware;
        h->flags = flags;
        (void)pthread_mutex_init(&h->lock, NULL);
        code = fill(h, device, err);
        if (code != VIX_OK) {
            hot_free(h);
        }
    } else {
        store_close(device);
        disk_hardware_free(hardware);
    }
    if (code != VIX_OK) {
        (void)hotadd_end(way, NULL);
        return code;
    }
    h->base.ops = &hotadd_ops;
    h->base.capacity = h->device->capacity;
    h->base.writable = h->device->writable;
    h->base.remote = true;
    h->base.hardware = hardware;
    h->base.busy_pieces = BUSY_PIECES;
    *ret_disk = &h->base;
    return VIX_OK;
}
