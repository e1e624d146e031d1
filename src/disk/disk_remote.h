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
    /** Called when the disk is closed, with queue.ctx and its traffic: frees ctx. */
    void (*closed)(void *ctx, struct disk *d, uint64_t in, uint64_t out);
};

/** Makes a disk of a connection, which is the disk's then, also on failure (closed is not called then). */
VixError disk_remote_new(const struct disk_remote_params *params, struct nfc_client *client,
                         const struct nfc_disk_info *info, struct disk **ret_disk, struct err *err);

#endif
