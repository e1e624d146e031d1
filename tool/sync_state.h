/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_state.h - what is known of a copy that is kept up to date: a JSON file, replaced as a whole and only after the
 * copy is on stable storage.
 *
 * It tells of each part of the copy since when its source has to be looked at for changes: the part equals the source
 * as of that change ID, but where the source has changed since. That stays true while changes are being copied, for
 * they are always asked for up to a later time; so whatever kills a run, the next one is right. Only where the source
 * has gone back to an earlier time in between is it not true: then what was being copied is not of the source's past.
 */
#ifndef VIXDISK_TOOL_SYNC_STATE_H
#define VIXDISK_TOOL_SYNC_STATE_H

#include "cli.h"

#define SYNC_PARTS_MAX 32

/** A part of the copy: from the end of the one before to its own. */
struct sync_part {
    uint64_t end;    /* bytes */
    char *change_id; /* NULL: has to be copied whole */
};

struct sync_state {
    char *source, *vm, *disk_uuid; /* vm, disk_uuid NULL: a local disk */
    int32_t device_key;
    uint64_t capacity;
    bool complete;       /* the copy is the source as of one time */
    char *copying;       /* not complete: the ID of what a run was copying; parts of it may be anywhere in the copy */
    char *snapshot_time; /* when that was; "" while it is not known */
    uint64_t bytes_copied;
    struct sync_part parts[SYNC_PARTS_MAX]; /* ascending; the last one ends at the capacity */
    size_t part_count;
    /* The copy, as it was left: so that one that somebody else has written or put in its place is found out. */
    uint64_t target_device, target_inode; /* 0: not known (a device, a disk on a server) */
    uint64_t target_mtime;                /* ns; 0: not known, a run has not ended */
    uint64_t target_files;                /* of a VMDK a mark of all its files; 0: not known */
};

/** Reads a state. *ret_found false: there is none. A file that is no state is an error (reported; status returned). */
int sync_state_read(struct cli *cli, const char *path, struct sync_state *ret_state, bool *ret_found);

/** Replaces the state on stable storage. 0, or the status of a reported failure; the old one is there then. */
int sync_state_write(struct cli *cli, const char *path, const struct sync_state *state);

void sync_state_clear(struct sync_state *state);

/** All before end now equals the source as of id. Where there are too many parts, those at the end become one with the
 * oldest ID among them. False: no memory, the state is as it was. */
bool sync_state_advance(struct sync_state *state, uint64_t end, const char *id);

/** One part of the whole capacity, with this ID (NULL: to be copied whole). False: no memory. */
bool sync_state_reset(struct sync_state *state, const char *id);

#endif
