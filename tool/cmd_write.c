/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_write.c - copies standard input to a disk. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "commands.h"
#include "progress.h"
#include "stdio_copy.h"

struct write_args {
    enum disk_format format;
    struct bytes_arg off;
};

static const struct option_spec options[] = {
    {.name = "offset",
     .letter = 'o',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct write_args, off),
     .arg = "OFFSET",
     .help = "begin here (a multiple of 512; default: 0)"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct write_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.kind = OPTION_END},
};

/** A run of the command. */
struct copy {
    struct cli *cli;
    const char *path;
    VixDiskLibHandle disk;
    uint64_t off;
    uint64_t end;      /* of the disk */
    uint64_t expected; /* bytes to come, or 0 if that is not known */
    struct progress progress;
};

/** Refuses input that cannot go in whole, before anything is written, as far as its length is known. */
static int check_input(struct copy *copy)
{
    if (!input_bytes(&copy->expected)) {
        return STATUS_DONE;
    }
    if (copy->expected % SECTOR_BYTES != 0) {
        return fail_with(copy->cli, copy->path, VIX_E_INVALID_ARG,
                         "standard input has %llu bytes, not a multiple of 512; nothing was written",
                         (unsigned long long)copy->expected);
    }
    if (copy->expected > copy->end - copy->off) {
        return fail_with(copy->cli, copy->path, VIX_E_DISK_OUTOFRANGE,
                         "standard input has %llu bytes, the disk %llu from offset %llu on; nothing was written",
                         (unsigned long long)copy->expected, (unsigned long long)(copy->end - copy->off),
                         (unsigned long long)copy->off);
    }
    return STATUS_DONE;
}

/** Writes a piece; the rest of a sector at its end, or what is beyond the disk, is refused after what is before it. */
static int write_piece(struct copy *copy, const uint8 *bytes, size_t len)
{
    uint64_t whole = len - len % SECTOR_BYTES;
    uint64_t room = copy->end - copy->off;
    uint64_t take = whole < room ? whole : room;
    VixError code =
        take == 0 ? VIX_OK : VixDiskLib_Write(copy->disk, copy->off / SECTOR_BYTES, take / SECTOR_BYTES, bytes);
    if (code != VIX_OK) {
        return fail(copy->cli, copy->path, code);
    }
    copy->off += take;
    if (take < whole) {
        return fail_with(copy->cli, copy->path, VIX_E_DISK_OUTOFRANGE,
                         "standard input goes on beyond the end of the disk at %llu; all before that was written",
                         (unsigned long long)copy->end);
    }
    if (whole < len) {
        return fail_with(copy->cli, copy->path, VIX_E_INVALID_ARG,
                         "standard input ended within a sector: the last %zu bytes, at %llu, were not written",
                         (size_t)(len - whole), (unsigned long long)copy->off);
    }
    return STATUS_DONE;
}

static int copy_in(struct copy *copy, uint8 *bytes)
{
    uint64_t begin = copy->off;
    for (;;) {
        size_t len = 0;
        int errnum = read_all(STDIN_FILENO, bytes, COPY_BYTES, &len);
        if (stop_signal() != 0) {
            return stop_status(STATUS_FAILED);
        }
        if (errnum != 0) {
            return fail_errno(copy->cli, copy->path, errnum, "standard input: cannot read");
        }
        int status = write_piece(copy, bytes, len);
        if (status != STATUS_DONE || len < COPY_BYTES) {
            return status;
        }
        progress_step(&copy->progress, copy->off - begin, copy->expected != 0 ? copy->expected : copy->end - begin);
    }
}

static int write_input(struct copy *copy)
{
    uint8 *bytes = copy_buffer(1);
    if (bytes == NULL) {
        return fail_with(copy->cli, copy->path, VIX_E_OUT_OF_MEMORY, "%zu bytes", COPY_BYTES);
    }
    uint64_t begin = copy->off;
    progress_init(&copy->progress, copy->cli);
    stop_catch_signals();
    int status = copy_in(copy, bytes);
    if (status == STATUS_DONE) {
        VixError code = VixDiskLib_Flush(copy->disk);
        status = code == VIX_OK ? STATUS_DONE : fail(copy->cli, copy->path, code);
        progress_step(&copy->progress, copy->off - begin, copy->off - begin);
    }
    progress_end(&copy->progress);
    free(bytes);
    return status;
}

static int run(struct cli *cli, const void *data)
{
    const struct write_args *args = data;
    struct copy copy = {.cli = cli, .path = cli->operands[0]};
    struct bytes_arg rest = {0};
    uint64_t capacity = 0;
    uint64_t len = 0;
    int status = open_disk(cli, copy.path, args->format, 0, &copy.disk);
    if (status != STATUS_DONE) {
        return status;
    }
    status = disk_bytes(cli, copy.path, copy.disk, &capacity);
    copy.end = capacity;
    if (status == STATUS_DONE) {
        status = disk_range(cli, copy.path, capacity, args->off, rest, &copy.off, &len);
    }
    if (status == STATUS_DONE) {
        status = check_input(&copy);
    }
    if (status == STATUS_DONE) {
        status = write_input(&copy);
    }
    return close_disk(cli, copy.path, copy.disk, status);
}

const struct command command_write = {
    .name = "write",
    .usage = "PATH",
    .summary = "copy standard input to a disk",
    .details = "Input that is a file and does not fit, or is no multiple of 512 bytes, is refused before anything is\n"
               "written. Of a pipe all whole sectors up to that point are written. A streamOptimized disk can only be\n"
               "written once, in ascending order.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_PROGRESS,
    .args_size = sizeof(struct write_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
