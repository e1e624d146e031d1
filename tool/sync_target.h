/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_target.h - the copy that sync keeps up to date: a raw image, a device, a VMDK, or a disk on a server. */
#ifndef VIXDISK_TOOL_SYNC_TARGET_H
#define VIXDISK_TOOL_SYNC_TARGET_H

#include "sync_state.h"

struct sync_target {
    const char *path;
    bool remote, exists;
    bool fresh; /* made now: all of it reads as zeros */
    struct type_arg type;
    VixDiskLibHandle disk;
    char **files; /* of an open VMDK here: descriptors and extents of all links; NULL at the end. NULL: none known */
};

/** Finds out whether it is there, on a server too, to which it connects then. @type as the user gave it. Reports as
 * open_disk; sync_target_clear is needed all the same. */
int sync_target_find(struct cli *cli, const char *path, struct type_arg type, struct sync_target *ret_target);

/** Why the copy that is there is not the one that a state tells of; NULL: it is. One that is there is open, so that
 * nobody else writes to it from here on. A text, static. */
const char *sync_target_differs(const struct sync_target *target, const struct sync_state *state);

/** Opens one that is there, and changes nothing. @flags VIXDISKLIB_FLAG_OPEN_ bits. Reports as open_disk. */
int sync_target_open(struct cli *cli, struct sync_target *target, uint32 flags);

/** Gives it the source's capacity: one that was not there is made and opened for writing, one that is open is made
 * larger where it has to be. @source for the adapter of a new VMDK. Reports as open_disk. */
int sync_target_prepare(struct cli *cli, struct sync_target *target, VixDiskLibHandle source, uint64_t capacity);

/** Notes in a state what the copy is now; when it was written last only if it is closed. */
void sync_target_identify(const struct sync_target *target, bool closed, struct sync_state *state);

/** Frees what is known of it; its disk is closed. */
void sync_target_clear(struct sync_target *target);

#endif
