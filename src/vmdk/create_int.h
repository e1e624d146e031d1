/* SPDX-License-Identifier: BSD-3-Clause */
/* create_int.h - what the create*.c files share. Included by no one else. */
#ifndef VIXDISK_VMDK_CREATE_INT_H
#define VIXDISK_VMDK_CREATE_INT_H

#include "vmdk/create.h"
#include "vmdk/descriptor.h"
#include "vmdk/extent.h"

/** How a disk type is laid out in files. */
struct disk_layout {
    VixDiskLibDiskType type;
    enum extent_type extent_type;
    enum extent_access access;
    const char *suffix;  /* of the extents' names; NULL: the descriptor's file is the extent */
    bool split;          /* suffix is followed by a number, extents have at most SPLIT_EXTENT_SECTORS */
    bool offset;         /* the extent line ends in an offset */
    bool preallocated;   /* raw bytes whose space is taken at once */
    bool thin;           /* raw bytes whose space is taken when written */
    uint64_t format_max; /* sectors that the format can hold */
};

/** NULL for types that cannot be made. */
const struct disk_layout *layout_of(VixDiskLibDiskType type);

/** The number of extents, and the sectors of the index-th. */
uint64_t layout_extent_count(const struct disk_layout *layout, uint64_t capacity);
uint64_t layout_extent_sectors(const struct disk_layout *layout, uint64_t capacity, uint64_t index);

/** The path of the index-th extent of a disk at path, freed by the caller. Layouts with a suffix only. */
char *layout_extent_name(const char *path, const struct disk_layout *layout, uint64_t index, struct err *err);

/** VIX_E_FILE_TOO_BIG, VIX_E_DISK_FULL, VIX_E_INVALID_ARG if the disk cannot be made at path. */
VixError create_check(struct store_fs *fs, const char *path, const struct disk_layout *layout,
                      const struct create_params *p, struct err *err);

/** The disk database of a new disk. */
VixError create_database(struct descriptor *d, const struct create_params *p, struct err *err);

#endif
