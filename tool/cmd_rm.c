/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_rm.c - removes disks with all their files. */
#include "commands.h"

static int run(struct cli *cli, const void *args)
{
    (void)args;
    int worst = STATUS_DONE;
    for (int i = 0; i < cli->noperands; i++) {
        VixDiskLibConnection connection = NULL;
        int status = cli_connect_for(cli, cli->operands[i], &connection);
        if (status != STATUS_DONE) {
            return status;
        }
        VixError code = VixDiskLib_Unlink(connection, cli->operands[i]);
        if (code != VIX_OK) {
            worst = fail(cli, cli->operands[i], code);
        }
    }
    return worst;
}

const struct command command_rm = {
    .name = "rm",
    .usage = "PATH...",
    .summary = "remove disks with all their files",
    .details = "Parents of a disk stay. A disk whose data another descriptor in its folder names too is refused.",
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .min_operands = 1,
    .max_operands = -1,
    .run = run,
};
