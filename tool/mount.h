/* SPDX-License-Identifier: BSD-3-Clause */
/* mount.h - the parts of `vixdisk mount`. vixdisk itself only starts vixdisk-mount, which alone needs libfuse3: so the
 * command runs where that is missing, and whoever has no use for mounts need not install it. */
#ifndef VIXDISK_TOOL_MOUNT_H
#define VIXDISK_TOOL_MOUNT_H

#include "cli.h"

struct mount_args {
    enum disk_format format;
    bool writable;
    const char *cow;
    bool foreground;
    bool allow_other;
};

/** What the command does: in vixdisk it becomes vixdisk-mount, in vixdisk-mount it mounts. @args a struct mount_args.
 */
int mount_run(struct cli *cli, const void *args);

/** A file in the mount: a part of the disk, or a text. */
struct mount_file {
    char name[16];
    uint64_t off; /* bytes of the disk */
    uint64_t len;
    const char *text; /* or NULL */
};

/** What is served. */
struct mount_job {
    VixDiskLibHandle disk;
    bool writable;
    bool allow_other;
    const char *source; /* for the table of mounts */
    const char *folder; /* absolute */
    const struct mount_file *files;
    size_t nfiles;
    uint64_t
        used; /* bytes that the disk takes at most: a file that takes less than its length is looked at for holes */
    void (*ready)(void *data); /* called once requests are answered */
    void *data;
};

/** Mounts, and serves until it is unmounted. SIGINT, SIGTERM and SIGHUP unmount it unless it is in use. The disk stays
 * open. Returns false if it could not be mounted (libfuse has said why on standard error). */
bool mount_serve(struct cli *cli, const struct mount_job *job);

#endif
