/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_source.h - the disks that sync copies from: local ones, or those of one machine on a server as of a snapshot,
 * which is made for the copy and removed after it. */
#ifndef VIXDISK_TOOL_SYNC_SOURCE_H
#define VIXDISK_TOOL_SYNC_SOURCE_H

#include "changes.h"

#define SNAPSHOT_REF_MAX 256

/** The time as of which disks of a machine are copied. */
struct sync_snapshot {
    char ref[SNAPSHOT_REF_MAX]; /* "": as they are */
    bool made;                  /* ours to remove */
};

/** How disks on a server are to be read. */
struct sync_snapshot_options {
    const char *snapshot; /* NULL, "auto": make one; "none": the disks as they are; else its reference */
    const char *name;     /* of the snapshot that is made: one of the same name is left from a run that was killed */
    bool enable_tracking;
    bool quiesce;
    bool leave_alone; /* make and change nothing */
};

/** Connects to the server, makes what is needed there, and connects for reading as of it (cli->as_of). @path for
 * messages. A failure has been reported, and the status is returned; sync_snapshot_end is needed all the same. */
int sync_snapshot_begin(struct cli *cli, const char *path, const struct sync_snapshot_options *options,
                        struct sync_snapshot *ret_snapshot);

/** Removes the snapshot that was made; its disks are closed. Returns status, or that of a failure if status is 0. */
int sync_snapshot_end(struct cli *cli, struct sync_snapshot *snapshot, int status);

/** Removes snapshots of that name. Reports as sync_snapshot_begin. @ret_count how many. */
int sync_snapshot_remove_leftovers(struct cli *cli, const char *name, unsigned *ret_count);

struct sync_source {
    const char *path; /* as the user gave it */
    struct change_source changes;
    char *change_id; /* of what is read; NULL: no change tracking */
    char *vm, *uuid; /* NULL: local, or not told */
    char *file;
    int32_t key;
    char *time; /* of the snapshot, as the server tells; NULL: not told */
};

/** Opens it for reading; several threads may open several. @snapshot of a disk on a server; it must live as long. A
 * failure has been reported, and the status is returned; sync_source_close is needed all the same. */
int sync_source_open(struct cli *cli, const char *path, enum disk_format format, const struct sync_snapshot *snapshot,
                     struct sync_source *ret_source);
void sync_source_close(struct sync_source *source);

#endif
