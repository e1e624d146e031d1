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
};

/** Finds out whether it is there. @type as the user gave it. Reports as open_disk. */
int sync_target_find(struct cli *cli, const char *path, struct type_arg type, struct sync_target *ret_target);

/** Why the copy that is there is not the one that a state tells of; NULL: it is. A text, static. */
const char *sync_target_differs(const struct sync_target *target, const struct sync_state *state);

/** Opens it for writing, with the source's capacity: made, or made larger, where it has to be. @source for the adapter
 * of a new VMDK. Reports as open_disk. */
int sync_target_open(struct cli *cli, struct sync_target *target, VixDiskLibHandle source, uint64_t capacity);

/** Notes in a state what the copy is now; mtime only if it is closed and complete. */
void sync_target_identify(const struct sync_target *target, bool complete, struct sync_state *state);

#endif
