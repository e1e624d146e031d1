/* SPDX-License-Identifier: BSD-3-Clause */
/* mount_exec.c - `vixdisk mount` in vixdisk: becomes vixdisk-mount, which lies beside it. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount.h"

#define PROGRAM "vixdisk-mount"

int mount_run(struct cli *cli, const void *args)
{
    static char name[] = PROGRAM;
    char path[PATH_MAX + sizeof PROGRAM];
    (void)args;
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
    char *slash = len > 0 ? memrchr(path, '/', (size_t)len) : NULL;
    if (slash == NULL) {
        return fail_errno(cli, "/proc/self/exe", errno, "cannot be read");
    }
    memcpy(slash + 1, PROGRAM, sizeof PROGRAM);
    cli->argv[0] = name;
    execv(path, cli->argv);
    if (errno == ENOENT) {
        return fail_with(cli, path, VIX_E_NOT_SUPPORTED, "the program that mounts is not installed");
    }
    return fail_errno(cli, path, errno, "cannot be started");
}
