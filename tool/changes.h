/* SPDX-License-Identifier: BSD-3-Clause */
/* changes.h - which areas of a disk have changed since an earlier time, which has a change ID: a server's for the disks
 * of its machines, for local disks "CID FILE", the content ID and the file of what was the top link then. */
#ifndef VIXDISK_TOOL_CHANGES_H
#define VIXDISK_TOOL_CHANGES_H

#include "cli.h"

/** A disk whose changes are asked for. */
struct change_source {
    VixDiskLibConnection server; /* NULL: a local disk */
    const char *file;            /* on a server: of the disk as of the snapshot */
    const char *snapshot;        /* on a server: as of it; NULL: as of now */
    VixDiskLibHandle disk;       /* open; may be NULL on a server */
    uint64_t capacity;           /* bytes; 0, on a server: what the hardware tells */
};

/** Told of areas in ascending order, and, with length 0, that all before start has been told; false stops. */
typedef bool change_func(void *ctx, uint64_t start, uint64_t length);

/** Tells the areas within start..end (0: the capacity) that have changed since id. VIX_OK only if all have been told.
 * VIX_E_CANCELLED if the function stops it; VIX_E_DISK_CID_MISMATCH if a local disk has no link that the ID is of; else
 * as VixDiskLibExt_QueryChangedAreas. */
VixError changes_tell(const struct change_source *source, const char *id, uint64_t start, uint64_t end,
                      change_func *func, void *ctx);

/** As changes_tell for what the links above the one at depth hold; links: all that any link holds. */
VixError changes_above(const struct change_source *source, int depth, uint64_t start, uint64_t end, change_func *func,
                       void *ctx);

/** The change ID of an open local VMDK; *ret_id NULL for a raw image, and where QEMU has the disk open for
 * writing: what it writes from now on may leave the ID as it is. */
VixError changes_local_id(VixDiskLibHandle disk, char **ret_id);

/** Whether the disk has once been what an ID is of, and has not gone back to a time before it since: so that the
 * changes since then, and since any time before, have those in them that came up to then. @now its ID now. Of a
 * server's IDs the part before the last slash names the tracking, which may have begun anew, and the number behind it
 * grows. */
VixError changes_includes(const struct change_source *source, const char *now, const char *id, bool *ret_includes);

/** Whether a failure of changes_tell means that the changes since the ID are not known: everything may have changed. */
bool changes_is_unknown(VixError code);

/** Whether the changes since an ID can be told, by asking for those of the last sector. */
VixError changes_known(const struct change_source *source, const char *id, bool *ret_known);

/** The disk of a machine that has a file among those of its chain; NULL. */
const VixDiskLibExt_VmDisk *changes_find_disk(const VixDiskLibExt_Vm *vm, const char *file);

#endif
