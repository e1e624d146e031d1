/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_rework.c - the commands that change the files of a disk: grow, shrink, defrag, commit. */
#include "commands.h"
#include "progress.h"

/* ---- grow ---- */

struct grow_args {
    struct bytes_arg size;
    bool geometry;
};

static const struct option_spec grow_options[] = {
    {.name = "size",
     .letter = 's',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct grow_args, size),
     .arg = "SIZE",
     .help = "the new capacity (must be given)"},
    {.name = "geometry",
     .letter = 'g',
     .kind = OPTION_FLAG,
     .at = offsetof(struct grow_args, geometry),
     .help = "write geometry keys that fit the new capacity"},
    {.kind = OPTION_END},
};

static int run_grow(struct cli *cli, const void *data)
{
    const struct grow_args *args = data;
    const char *path = cli->operands[0];
    if (!args->size.given) {
        return usage_error(cli, "the size is missing: -s SIZE");
    }
    VixDiskLibConnection connection = NULL;
    int status = cli_connect_for(cli, path, &connection);
    if (status != STATUS_DONE) {
        return status;
    }
    VixError code = VixDiskLib_Grow(connection, path, args->size.bytes / SECTOR_BYTES, args->geometry, NULL, NULL);
    return code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
}

const struct command command_grow = {
    .name = "grow",
    .alias = "resize",
    .usage = "-s SIZE PATH",
    .summary = "make a disk larger",
    .details = "The disk must not be open and must have no parent. A sparse disk is written anew beside the old\n"
               "file, which takes the space of its last extent once more until it is done. A disk cannot be made\n"
               "smaller.",
    .options = grow_options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct grow_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run_grow,
};

/* ---- shrink, defrag ---- */

struct percents {
    struct progress progress;
    uint64_t bytes; /* of the disk */
};

/** Progress of the public calls is in per cent; what the function returns is not looked at. */
static Bool step_percent(void *data, int percent)
{
    struct percents *p = data;
    uint64_t done = percent < 100 ? p->bytes / 100 * (uint64_t)percent : p->bytes;
    return progress_step(&p->progress, done, p->bytes);
}

typedef VixError rework_call(VixDiskLibHandle disk, VixDiskLibProgressFunc func, void *data);

static int rework(struct cli *cli, rework_call *call)
{
    const char *path = cli->operands[0];
    VixDiskLibHandle disk = NULL;
    struct percents percents = {0};

    int status = open_disk(cli, path, FORMAT_VMDK, 0, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    status = disk_bytes(cli, path, disk, &percents.bytes);
    if (status == STATUS_DONE) {
        progress_init(&percents.progress, cli);
        VixError code = call(disk, step_percent, &percents);
        progress_end(&percents.progress);
        status = code == VIX_OK ? STATUS_DONE : fail(cli, path, code);
    }
    return close_disk(cli, path, disk, status);
}

static int run_shrink(struct cli *cli, const void *data)
{
    (void)data;
    return rework(cli, VixDiskLib_Shrink);
}

const struct command command_shrink = {
    .name = "shrink",
    .usage = "PATH",
    .summary = "give the space of zeros back to the file system",
    .details = "Sparse extents are written anew without grains that are all zeros and without space that nothing\n"
               "refers to; until an extent is done that takes the space of what is left of it. Thin disks get\n"
               "holes.",
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_shrink,
};

static int run_defrag(struct cli *cli, const void *data)
{
    (void)data;
    return rework(cli, VixDiskLib_Defragment);
}

const struct command command_defrag = {
    .name = "defrag",
    .usage = "PATH",
    .summary = "put the grains of a sparse disk in order",
    .details = "Each extent is written anew beside the old file, which takes its space once more until it is\n"
               "done. Flat disks have nothing to put in order and are left as they are.",
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_defrag,
};

/* ---- commit ---- */

static int run_commit(struct cli *cli, const void *data)
{
    (void)data;
    const char *path = cli->operands[0];
    struct progress progress;

    VixDiskLibConnection connection = NULL;
    int status = cli_connect_for(cli, path, &connection);
    if (status != STATUS_DONE) {
        return status;
    }
    stop_catch_signals();
    progress_init(&progress, cli);
    VixError code = VixDiskLibExt_Commit(connection, path, progress_step, &progress);
    progress_end(&progress);
    return stop_status(code == VIX_OK ? STATUS_DONE : fail(cli, path, code));
}

const struct command command_commit = {
    .name = "commit",
    .usage = "CHILD",
    .summary = "merge a child disk into its parent",
    .details = "CHILD is removed when its parent holds everything. Cut short, the command can be given again:\n"
               "CHILD reads the same all the time. Not possible while another child of the parent lies beside\n"
               "it.",
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON | GROUP_PROGRESS,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_commit,
};
