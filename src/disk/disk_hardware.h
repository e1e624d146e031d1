/* SPDX-License-Identifier: BSD-3-Clause */
/* disk_hardware.h - what the hardware of its machine tells of a disk of a server, in the terms of disks. Immutable. */
#ifndef VIXDISK_DISK_DISK_HARDWARE_H
#define VIXDISK_DISK_DISK_HARDWARE_H

#include "disk/disk.h"
#include "vim/vim.h"

/** Copies what counts, of the chain from the file at path down, or all of it if that is none of its files. */
VixError disk_hardware_new(const struct vim_disk *disk, const char *path, struct disk_hardware **ret_hardware,
                           struct err *err);

/** Puts into info what the disk database does not tell, or cannot: adapter and UUID where they are missing, and of a
 * disk of more than one link its parent as the server names it. @h NULL: nothing. */
VixError disk_hardware_add(const struct disk_hardware *h, VixDiskLibInfo *info, struct err *err);

/** NULL is harmless. */
void disk_hardware_free(struct disk_hardware *hardware);

#endif
