/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_compare.c - tells whether two disks have the same contents. Its exit status is that of cmp. */
#include <inttypes.h>
#include <stdio.h>

#include "commands.h"
#include "json.h"
#include "progress.h"

enum { STATUS_SAME = 0, STATUS_DIFFER = 1, STATUS_TROUBLE = 2 };

struct compare_args {
    enum disk_format first_format;
    enum disk_format second_format;
    bool strict;
};

static const struct option_spec options[] = {
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct compare_args, first_format),
     .arg = "vmdk|raw",
     .help = "what A is, instead of finding out"},
    {.name = "second-format",
     .letter = 'F',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct compare_args, second_format),
     .arg = "vmdk|raw",
     .help = "what B is"},
    {.name = "strict",
     .letter = 's',
     .kind = OPTION_FLAG,
     .at = offsetof(struct compare_args, strict),
     .help = "different capacities are a difference even if the rest is zeros"},
    {.kind = OPTION_END},
};

struct verdict {
    uint64_t bytes[2]; /* capacities */
    uint64_t first;    /* byte of the first sector that differs, ~0: none */
    uint64_t count;    /* bytes in sectors that differ */
    bool same;
};

static void print_json(const struct verdict *verdict)
{
    struct json_object *object = json_object_new_object();
    json_add_bool(object, "identical", verdict->same);
    json_add_number(object, "virtual-size-a", verdict->bytes[0]);
    json_add_number(object, "virtual-size-b", verdict->bytes[1]);
    if (verdict->first != UINT64_MAX) {
        json_add_number(object, "first-difference", verdict->first);
    }
    json_add_number(object, "different-bytes", verdict->count);
    json_print(object);
}

static void print_human(const struct verdict *verdict, const char *a, const char *b)
{
    if (verdict->bytes[0] != verdict->bytes[1]) {
        printf("capacities differ: %s has %" PRIu64 " bytes, %s has %" PRIu64 "\n", a, verdict->bytes[0], b,
               verdict->bytes[1]);
    }
    if (verdict->first != UINT64_MAX) {
        printf("%s and %s differ: first at offset %" PRIu64 " (sector %" PRIu64 "); %" PRIu64
               " bytes in sectors that differ\n",
               a, b, verdict->first, verdict->first / SECTOR_BYTES, verdict->count);
    } else if (verdict->same) {
        printf("%s and %s are identical\n", a, b);
    }
}

static int compare_disks(struct cli *cli, const struct compare_args *args, VixDiskLibHandle disks[2])
{
    struct verdict verdict = {.first = UINT64_MAX};
    VixDiskLibSectorType first = 0;
    VixDiskLibSectorType count = 0;
    for (int i = 0; i < 2; i++) {
        int status = disk_bytes(cli, cli->operands[i], disks[i], &verdict.bytes[i]);
        if (status != STATUS_DONE) {
            return status;
        }
    }
    struct progress progress;
    progress_init(&progress, cli);
    VixError code = VixDiskLibExt_Compare(disks[0], disks[1], progress_step, &progress, &first, &count);
    progress_end(&progress);
    if (code != VIX_OK) {
        return stop_status(fail(cli, cli->operands[0], code));
    }
    verdict.first = count == 0 ? UINT64_MAX : first * SECTOR_BYTES;
    verdict.count = count * SECTOR_BYTES;
    verdict.same = count == 0 && (!args->strict || verdict.bytes[0] == verdict.bytes[1]);
    if (cli->common.json) {
        print_json(&verdict);
    } else if (!cli->common.quiet) {
        print_human(&verdict, cli->operands[0], cli->operands[1]);
    }
    return verdict.same ? STATUS_SAME : STATUS_DIFFER;
}

static int run(struct cli *cli, const void *data)
{
    const struct compare_args *args = data;
    VixDiskLibHandle disks[2] = {NULL, NULL};
    stop_catch_signals();
    int status = open_disk(cli, cli->operands[0], args->first_format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disks[0]);
    if (status == STATUS_DONE) {
        status = open_disk(cli, cli->operands[1], args->second_format, VIXDISKLIB_FLAG_OPEN_READ_ONLY, &disks[1]);
    }
    if (status == STATUS_DONE) {
        status = compare_disks(cli, args, disks);
    }
    for (int i = 0; i < 2; i++) {
        if (disks[i] != NULL) {
            VixDiskLib_Close(disks[i]);
        }
    }
    return status;
}

const struct command command_compare = {
    .name = "compare",
    .usage = "A B",
    .summary = "tell whether two disks have the same contents",
    .details = "A and B may be VMDKs of any type or raw images. The shorter one is taken as padded with zeros.\n"
               "Exit status: 0 same, 1 different, 2 trouble.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .args_size = sizeof(struct compare_args),
    .min_operands = 2,
    .max_operands = 2,
    .usage_status = STATUS_TROUBLE,
    .trouble_status = STATUS_TROUBLE,
    .run = run,
};
