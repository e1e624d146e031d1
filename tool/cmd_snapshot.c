/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_snapshot.c - makes a child disk on top of a parent. */
#include "commands.h"

struct snapshot_args {
    struct type_arg type;
};

static const struct option_spec options[] = {
    {.name = "type",
     .letter = 't',
     .kind = OPTION_TYPE,
     .at = offsetof(struct snapshot_args, type),
     .arg = "TYPE",
     .help = "type of the child (default: monolithicSparse)"},
    {.kind = OPTION_END},
};

int make_child(struct cli *cli, const char *parent, const char *child, struct type_arg type)
{
    VixDiskLibHandle disk = NULL;
    int status = open_disk(cli, parent, FORMAT_VMDK, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code =
        VixDiskLib_CreateChild(disk, child, type.given ? type.type : VIXDISKLIB_DISK_MONOLITHIC_SPARSE, NULL, NULL);
    if (code != VIX_OK) {
        status = fail(cli, child, code);
    }
    return close_disk(cli, parent, disk, status);
}

static int run(struct cli *cli, const void *data)
{
    const struct snapshot_args *args = data;
    return make_child(cli, cli->operands[0], cli->operands[1], args->type);
}

const struct command command_snapshot = {
    .name = "snapshot",
    .usage = "PARENT CHILD",
    .summary = "make a child disk on top of a disk",
    .details = "Writes then go to CHILD; PARENT must not be written any more.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct snapshot_args),
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
