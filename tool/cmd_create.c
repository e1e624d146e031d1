/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_create.c - makes a new disk. */
#include <string.h>

#include "commands.h"
#include "progress.h"
#include "text.h"

struct create_args {
    struct bytes_arg size;
    struct type_arg type;
    VixDiskLibAdapterType adapter;
    struct number_arg hw_version;
    const char *parent;
};

static const struct option_spec options[] = {
    {.name = "size",
     .letter = 's',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct create_args, size),
     .arg = "SIZE",
     .help = "capacity (may also be given after PATH)"},
    {.name = "type",
     .letter = 't',
     .kind = OPTION_TYPE,
     .at = offsetof(struct create_args, type),
     .arg = "TYPE",
     .help = "type of disk (default: monolithicSparse)"},
    {.name = "adapter",
     .letter = 'a',
     .kind = OPTION_ADAPTER,
     .at = offsetof(struct create_args, adapter),
     .arg = "ide|buslogic|lsilogic",
     .help = "virtual controller (default: lsilogic)"},
    {.name = "hw-version",
     .letter = 'H',
     .kind = OPTION_NUMBER,
     .at = offsetof(struct create_args, hw_version),
     .arg = "N",
     .help = "virtual hardware version (default: the current one)",
     .low = 1,
     .high = 65535},
    {.name = "backing",
     .letter = 'b',
     .kind = OPTION_TEXT,
     .at = offsetof(struct create_args, parent),
     .arg = "PARENT",
     .help = "make a child of this disk, as 'vixdisk snapshot PARENT PATH' does"},
    {.kind = OPTION_END},
};

/** The size from -s or from the second argument. -1, or the status of a mistake. */
static int find_size(const struct cli *cli, const struct create_args *args, uint64_t *ret_bytes)
{
    if (args->size.given && cli->noperands == 2) {
        return usage_error(cli, "the size is given twice");
    }
    if (!args->size.given && cli->noperands < 2) {
        return usage_error(cli, "the size is missing: -s SIZE");
    }
    *ret_bytes = args->size.bytes;
    if (!args->size.given) {
        const char *wrong = parse_bytes(cli->operands[1], ret_bytes);
        if (wrong != NULL) {
            return usage_error(cli, "size: \"%s\" %s", cli->operands[1], wrong);
        }
    }
    if (*ret_bytes == 0 || *ret_bytes % SECTOR_BYTES != 0) {
        return usage_error(cli, "size: %llu is not a positive multiple of 512 bytes", (unsigned long long)*ret_bytes);
    }
    return -1;
}

static int create_disk(struct cli *cli, const char *path, const VixDiskLibCreateParams *params)
{
    VixDiskLibConnection connection = NULL;
    int status = cli_connect_for(cli, path, &connection);
    if (status != STATUS_DONE) {
        return status;
    }
    stop_catch_signals();
    VixError code = VixDiskLib_Create(connection, path, params, NULL, NULL);
    if (code == VIX_OK && stop_signal() != 0) {
        VixDiskLib_Unlink(connection, path);
        return stop_status(STATUS_FAILED);
    }
    return code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
}

static int run_child(struct cli *cli, const struct create_args *args)
{
    if (args->size.given || cli->noperands != 1 || args->adapter != 0 || args->hw_version.given) {
        return usage_error(cli, "a child has the size and the adapter of its parent: create -b PARENT CHILD");
    }
    return make_child(cli, args->parent, cli->operands[0], args->type);
}

static int run(struct cli *cli, const void *data)
{
    const struct create_args *args = data;
    uint64_t bytes = 0;
    if (args->parent != NULL) {
        return run_child(cli, args);
    }
    int status = find_size(cli, args, &bytes);
    if (status >= 0) {
        return status;
    }
    VixDiskLibCreateParams params = {
        .diskType = args->type.given ? args->type.type : VIXDISKLIB_DISK_MONOLITHIC_SPARSE,
        .adapterType = args->adapter != 0 ? args->adapter : VIXDISKLIB_ADAPTER_SCSI_LSILOGIC,
        .hwVersion = args->hw_version.given ? (uint16)args->hw_version.value : VIXDISKLIB_HWVERSION_CURRENT,
        .capacity = bytes / SECTOR_BYTES,
    };
    return create_disk(cli, cli->operands[0], &params);
}

const struct command command_create = {
    .name = "create",
    .usage = "-s SIZE PATH | PATH SIZE",
    .summary = "make a new disk",
    .details = "An existing file is never replaced. SIZE is a multiple of 512 bytes.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct create_args),
    .min_operands = 1,
    .max_operands = 2,
    .run = run,
};
