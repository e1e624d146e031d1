/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_lock.h - one run at a time for each state. */
#ifndef VIXDISK_TOOL_SYNC_LOCK_H
#define VIXDISK_TOOL_SYNC_LOCK_H

#include "cli.h"

struct sync_lock {
    char *path;
    int fd; /* -1: not held */
};

/** Takes the lock beside a state. A failure has been reported, and the status is returned; 0 on success. */
int sync_lock_take(struct cli *cli, const char *state_path, struct sync_lock *ret_lock);

/** Gives it back; harmless on one that was not taken. */
void sync_lock_drop(struct sync_lock *lock);

/** The name of the snapshots for a state: the same for each run with it on this machine, and no other's. To be freed;
 * NULL if there is no memory. */
char *sync_snapshot_name(const char *state_path);

#endif
