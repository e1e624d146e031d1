/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_measure.c - tells how much space a conversion would need. */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "json.h"

struct measure_args {
    enum disk_format format;
    struct type_arg type;
};

static const struct option_spec options[] = {
    {.name = "type",
     .letter = 't',
     .kind = OPTION_ANY_TYPE,
     .at = offsetof(struct measure_args, type),
     .arg = "TYPE|raw",
     .help = "what would be made (must be given)"},
    {.name = "output-type",
     .letter = 'O',
     .kind = OPTION_ANY_TYPE,
     .at = offsetof(struct measure_args, type),
     .arg = "TYPE|raw",
     .help = "the same as --type"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct measure_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.kind = OPTION_END},
};

static int measure(struct cli *cli, const struct type_arg *type, const char *path, VixDiskLibHandle disk)
{
    uint64 required = 0;
    uint64 full = 0;
    VixDiskLibDiskType kind = type->raw ? VIXDISKLIB_DISK_UNKNOWN : type->type;
    VixError code = VixDiskLibExt_Measure(disk, kind, type->raw, &required, &full);
    if (code != VIX_OK) {
        return fail(cli, path, code);
    }
    if (cli->common.json) {
        struct json_object *object = json_object_new_object();
        json_add_number(object, "required", required);
        json_add_number(object, "fully-allocated", full);
        json_print(object);
    } else {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", (uint64_t)required, (uint64_t)full);
    }
    return STATUS_DONE;
}

static int run(struct cli *cli, const void *data)
{
    const struct measure_args *args = data;
    const char *path = cli->operands[0];
    VixDiskLibHandle disk = NULL;
    if (!args->type.given) {
        return usage_error(cli, "the type is missing: -t TYPE or -t raw");
    }
    int status = open_disk(cli, path, args->format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    return close_disk(cli, path, disk, measure(cli, &args->type, path, disk));
}

const struct command command_measure = {
    .name = "measure",
    .usage = "-t TYPE|raw PATH",
    .summary = "tell how much space a conversion would need",
    .details = "For streamOptimized all data is compressed to find out, which takes as long as the conversion.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct measure_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
