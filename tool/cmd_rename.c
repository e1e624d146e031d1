/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_rename.c - renames a disk with all its files. */
#include "commands.h"

static int run(struct cli *cli, const void *args)
{
    (void)args;
    for (int i = 0; i < 2; i++) {
        if (is_remote_path(cli, cli->operands[i])) {
            return fail_with(cli, cli->operands[i], VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT,
                             "disks on a server cannot be renamed from here");
        }
    }
    int status = cli_start(cli);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLib_Rename(cli->operands[0], cli->operands[1]);
    return code == VIX_OK ? STATUS_DONE : fail(cli, cli->operands[0], code);
}

const struct command command_rename = {
    .name = "rename",
    .alias = "mv",
    .usage = "OLD NEW",
    .summary = "rename a disk with all its files",
    .details = "NEW must be on the same file system and must not exist.",
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
