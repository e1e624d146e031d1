/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_source.h - the disk that sync copies from: a local one, or one of a machine on a server as of a snapshot, which
 * is made for the copy and removed after it. */
#ifndef VIXDISK_TOOL_SYNC_SOURCE_H
#define VIXDISK_TOOL_SYNC_SOURCE_H

#include "changes.h"

#define SNAPSHOT_REF_MAX 256

struct sync_source {
    const char *path; /* as the user gave it */
    struct change_source changes;
    char *change_id; /* of what is read; NULL: no change tracking */
    char *vm, *uuid; /* NULL: local, or not told */
    char *file;
    int32_t key;
    char *time; /* of the snapshot, as the server tells; "" */
    /* on a server */
    VixDiskLibConnection data; /* for reading as of the snapshot */
    char snapshot[SNAPSHOT_REF_MAX];
    bool made; /* the snapshot is ours to remove */
};

/** How a disk on a server is to be read. */
struct sync_source_options {
    const char *snapshot; /* NULL, "auto": make one; "none": the disk as it is; else its reference */
    const char *name;     /* of the snapshot that is made: one of the same name is left from a run that was killed */
    enum disk_format format;
    bool enable_tracking;
    bool quiesce;
    bool leave_alone; /* make and change nothing */
};

/** Opens it for reading. A failure has been reported, and the status is returned; sync_source_close is needed all the
 * same. */
int sync_source_open(struct cli *cli, const char *path, const struct sync_source_options *options,
                     struct sync_source *ret_source);

/** Removes snapshots of that name. Reports as sync_source_open. @ret_count how many. */
int sync_source_remove_leftovers(struct cli *cli, const char *name, unsigned *ret_count);

/** Closes it, and removes the snapshot that was made. Returns status, or that of a failure if status is 0. */
int sync_source_close(struct cli *cli, struct sync_source *source, int status);

#endif
