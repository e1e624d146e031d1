/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_remote.h - an NFC connection as a disk. Inside src/disk. */
#ifndef VIXDISK_DISK_DISK_REMOTE_H
#define VIXDISK_DISK_DISK_REMOTE_H

#include "disk/disk.h"
#include "disk/queue.h"

/** What is known of the disk besides what the connection tells. */
struct disk_remote_params {
    struct queue_params queue; /* queue.path: that of the disk */
    bool ssl;
    int links;                      /* of its chain */
    bool parent_closed;             /* as in struct disk */
    VixDiskLibDiskType type;        /* UNKNOWN if it is not known */
    struct disk_hardware *hardware; /* NULL if it is not known; the disk's then, also on failure */
    /** Called with queue.ctx when the disk is about to close, with its traffic: nobody may ask the disk for it from
     * then on. */
    void (*closes)(void *ctx, struct disk *d, uint64_t in, uint64_t out);
    /** Called with queue.ctx when the connection has ended: frees ctx. */
    void (*closed)(void *ctx, struct disk *d);
};

/** Makes a disk of a connection, which is the disk's then, also on failure (neither closes nor closed is called then).
 */
VixError disk_remote_new(const struct disk_remote_params *params, struct nfc_client *client,
                         const struct nfc_disk_info *info, struct disk **ret_disk, struct err *err);

#endif
