/* SPDX-License-Identifier: BSD-3-Clause */
/* salvage.h - reads what is left of a disk: of a streamOptimized file without its tables, because it was cut short or
 * its end is damaged; of a flat disk without its descriptor. */
#ifndef VIXDISK_OPS_SALVAGE_H
#define VIXDISK_OPS_SALVAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"

#define SALVAGE_DAMAGED_MAX 1024u /* limit: damaged grains whose numbers are kept */

/** What was found, and what was lost. */
struct salvage_report {
    uint64_t grain_sectors;
    uint64_t grains;         /* that are there, as far as is known */
    uint64_t end_sector;     /* of the disk: behind the last of them; whether more is missing nobody can tell */
    uint64_t skipped_bytes;  /* of the file: not records */
    uint64_t stray_records;  /* that name a grain which another one holds, or one out of order */
    uint64_t wrong_sizes;    /* records whose data is whole, but has another size than their markers say */
    uint64_t damaged_grains; /* read so far, and lost: they read as zeros */
    uint64_t damaged[SALVAGE_DAMAGED_MAX]; /* their numbers, as far as there is room */
};

/** Opens the file as a disk for reading. A streamOptimized file is gone through once from front to end; grains that are
 * not there read as zeros; memory: 16 bytes for each record. A file without any header is taken for the data of a flat
 * disk. VIX_E_DISK_NOTSUPPORTED where grains have no markers, and for descriptors and other extents; codes of the
 * header's parser. Closed by disk_close. */
VixError salvage_open(struct store_fs *fs, const char *path, struct disk **ret_disk, struct err *err);

/** What has been met so far of a streamOptimized file of salvage_open; false for other disks. */
bool salvage_tell(struct disk *d, struct salvage_report *ret_report);

#endif
