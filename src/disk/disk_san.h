/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_san.h - a disk on the LUNs of its datastore. Inside src/disk. */
#ifndef VIXDISK_DISK_DISK_SAN_H
#define VIXDISK_DISK_DISK_SAN_H

#include "disk/disk.h"
#include "disk/lease.h"
#include "vmfs/vmfs.h"

/** What a disk by SAN is made of; all of it is the disk's, freed when it is closed. */
struct disk_san_parts {
    struct store *luns[VMFS_MAX_LUNS];
    size_t lun_count;
    struct vmfs *volume;
    struct store_fs *fs;
    struct lease *lease; /* NULL: none is held */
    struct disk *bytes;  /* of disk_open_chain, on fs; or of disk_lease_new */
    struct disk_hardware *hardware;
};

/** Frees the parts that are there. The failure of closing bytes is told. */
VixError disk_san_parts_free(struct disk_san_parts *parts, struct err *err);

/** Makes a disk. Parts are taken on success. @closed: called when the disk is closed, with ctx. */
VixError disk_san_new(const char *path, const struct disk_san_parts *parts, void (*closed)(void *ctx, struct disk *d),
                      void *ctx, struct disk **ret_disk, struct err *err);

#endif
