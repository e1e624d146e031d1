/* SPDX-License-Identifier: BSD-3-Clause */
/* cmd_map.c - shows where the contents of a disk are: runs of data, zeros and holes. The JSON is an array as qemu-img
 * map prints it: same keys, same merging. Runs are printed as they come, so memory does not grow with the disk. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "json.h"
#include "map_picture.h"

struct map_args {
    enum disk_format format;
    bool single_link;
    bool totals;
    struct picture_args picture;
    struct bytes_arg off;
    struct bytes_arg len;
};

static const struct option_spec options[] = {
    {.name = "totals",
     .kind = OPTION_FLAG,
     .at = offsetof(struct map_args, totals),
     .help = "only how many bytes there are of each kind"},
    {.name = "text",
     .kind = OPTION_FLAG,
     .at = offsetof(struct map_args, picture.text),
     .help = "draw it on the screen, the darker the more data"},
    {.name = "svg",
     .kind = OPTION_TEXT,
     .at = offsetof(struct map_args, picture.svg),
     .arg = "FILE",
     .help = "draw it as SVG; \"-\": standard output"},
    {.name = "curve",
     .kind = OPTION_TEXT,
     .at = offsetof(struct map_args, picture.curve),
     .arg = "rows|hilbert",
     .help = "--svg: how the disk goes through the picture (default: rows)"},
    {.name = "color",
     .kind = OPTION_TEXT,
     .at = offsetof(struct map_args, picture.color),
     .arg = "alloc|link|changed|ratio",
     .help = "--svg: colours for what is allocated, links, changes, compression (default: alloc)"},
    {.name = "since",
     .kind = OPTION_TEXT,
     .at = offsetof(struct map_args, picture.since),
     .arg = "LINK",
     .help = "--color changed: above which link, by number or file (default: 1, the parent)"},
    {.name = "cells",
     .kind = OPTION_NUMBER,
     .at = offsetof(struct map_args, picture.cells),
     .arg = "N",
     .help = "--svg: at most so many cells (default: 4096)",
     .low = 16,
     .high = PICTURE_CELLS_MAX},
    {.name = "offset",
     .letter = 'o',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct map_args, off),
     .arg = "OFFSET",
     .help = "begin here"},
    {.name = "length",
     .letter = 'n',
     .kind = OPTION_SECTORS,
     .at = offsetof(struct map_args, len),
     .arg = "LENGTH",
     .help = "this many bytes"},
    {.name = "format",
     .letter = 'f',
     .kind = OPTION_FORMAT,
     .at = offsetof(struct map_args, format),
     .arg = "vmdk|raw",
     .help = "what PATH is, instead of finding out"},
    {.name = "single-link",
     .kind = OPTION_FLAG,
     .at = offsetof(struct map_args, single_link),
     .help = "this link only, not its parents"},
    {.kind = OPTION_END},
};

/* The kinds, numbered as nbdinfo does. */
enum run_kind { KIND_DATA, KIND_HOLE, KIND_ZERO, KIND_HOLE_ZERO, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {"data", "hole", "zero", "hole,zero"};

struct map_output {
    VixDiskLibExt_Run last; /* grows until a run comes that cannot be merged; lengthBytes 0: none yet */
    uint64_t totals[KIND_COUNT];
    uint64_t printed;
    bool vmdk;
    void (*print)(struct map_output *out, const VixDiskLibExt_Run *run);
};

static enum run_kind kind_of(const VixDiskLibExt_Run *run)
{
    if (!run->zero) {
        return KIND_DATA;
    }
    return run->present ? KIND_ZERO : KIND_HOLE_ZERO;
}

/** What qemu-img calls data: also a hole in a flat extent, since the format has a place for those bytes; not one in a
 * raw image. */
static bool is_data(const struct map_output *out, const VixDiskLibExt_Run *run)
{
    return run->data || (out->vmdk && run->hasOffset);
}

static void print_run_json(struct map_output *out, const VixDiskLibExt_Run *run)
{
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %d, \"present\": %s, \"zero\": %s, "
           "\"data\": %s",
           out->printed == 0 ? "[" : ",\n", (uint64_t)run->startBytes, (uint64_t)run->lengthBytes, run->depth,
           run->present ? "true" : "false", run->zero ? "true" : "false", is_data(out, run) ? "true" : "false");
    if (run->hasOffset) {
        printf(", \"offset\": %" PRIu64, (uint64_t)run->offsetBytes);
    }
    putchar('}');
}

static void print_run_human(struct map_output *out, const VixDiskLibExt_Run *run)
{
    char offset[24] = "-";
    if (out->printed == 0) {
        printf("%16s %16s %-9s %5s %16s  %s\n", "START", "LENGTH", "KIND", "DEPTH", "OFFSET", "FILE");
    }
    if (run->hasOffset) {
        snprintf(offset, sizeof offset, "%" PRIu64, (uint64_t)run->offsetBytes);
    }
    printf("%16" PRIu64 " %16" PRIu64 " %-9s %5d %16s  %s\n", (uint64_t)run->startBytes, (uint64_t)run->lengthBytes,
           kind_names[kind_of(run)], run->depth, offset, run->file == NULL ? "-" : run->file);
}

static void add_run_total(struct map_output *out, const VixDiskLibExt_Run *run)
{
    out->totals[kind_of(run)] += run->lengthBytes;
}

/** Whether b goes on where a ends, in every respect that is shown. */
static bool can_merge(const VixDiskLibExt_Run *a, const VixDiskLibExt_Run *b)
{
    if (a->lengthBytes == 0 || !a->present != !b->present || !a->zero != !b->zero || !a->data != !b->data ||
        !a->hasOffset != !b->hasOffset || a->depth != b->depth) {
        return false;
    }
    if (!a->hasOffset) {
        return true;
    }
    bool same_file = a->file == b->file || (a->file != NULL && b->file != NULL && strcmp(a->file, b->file) == 0);
    return same_file && a->offsetBytes + a->lengthBytes == b->offsetBytes;
}

static void emit(struct map_output *out)
{
    if (out->last.lengthBytes != 0) {
        out->print(out, &out->last);
        out->printed++;
    }
}

static Bool take_run(void *data, const VixDiskLibExt_Run *run)
{
    struct map_output *out = data;
    if (can_merge(&out->last, run)) {
        out->last.lengthBytes += run->lengthBytes;
    } else {
        emit(out);
        out->last = *run;
    }
    return !ferror(stdout);
}

static void print_totals(const struct map_output *out, uint64_t len)
{
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        double percent = len == 0 ? 0 : (double)out->totals[kind] * 100 / (double)len;
        if (out->totals[kind] != 0) {
            printf("%16" PRIu64 " %5.1f%% %3d %s\n", out->totals[kind], percent, kind, kind_names[kind]);
        }
    }
}

static void print_totals_json(const struct map_output *out, uint64_t len)
{
    struct json_object *array = json_object_new_array();
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        if (out->totals[kind] != 0) {
            struct json_object *object = json_object_new_object();
            json_add_number(object, "size", out->totals[kind]);
            json_add_real(object, "percent", (double)out->totals[kind] * 100 / (double)len);
            json_add_number(object, "type", (uint64_t)kind);
            json_add_text(object, "description", kind_names[kind]);
            json_object_array_add(array, object);
        }
    }
    json_print(array);
}

/** Prints what stands at the end. */
static void finish(const struct cli *cli, const struct map_args *args, struct map_output *out, uint64_t len)
{
    emit(out);
    if (args->totals && cli->common.json) {
        print_totals_json(out, len);
    } else if (args->totals) {
        print_totals(out, len);
    } else if (cli->common.json) {
        printf("%s]\n", out->printed == 0 ? "[" : "");
    }
}

static int show(struct cli *cli, const struct map_args *args, const char *path, VixDiskLibHandle disk)
{
    uint64_t capacity = 0;
    uint64_t off = 0;
    uint64_t len = 0;
    int status = disk_bytes(cli, path, disk, &capacity);
    if (status == STATUS_DONE) {
        status = disk_range(cli, path, capacity, args->off, args->len, &off, &len);
    }
    if (status != STATUS_DONE) {
        return status;
    }
    if (map_is_picture(&args->picture)) {
        return map_draw(cli, &args->picture, path, disk, off, len);
    }
    VixDiskLibExt_Details *details = NULL;
    VixError code = VixDiskLibExt_GetDetails(disk, &details);
    if (code != VIX_OK) {
        return fail(cli, path, code);
    }
    bool vmdk = details->numLinks > 0;
    VixDiskLibExt_FreeDetails(details);
    struct map_output out = {.vmdk = vmdk,
                             .print = args->totals       ? add_run_total
                                      : cli->common.json ? print_run_json
                                                         : print_run_human};
    code = VixDiskLibExt_Map(disk, off / SECTOR_BYTES, len / SECTOR_BYTES, take_run, &out);
    if (code != VIX_OK && !ferror(stdout)) {
        return fail(cli, path, code);
    }
    finish(cli, args, &out, len);
    return STATUS_DONE;
}

static int run(struct cli *cli, const void *data)
{
    const struct map_args *args = data;
    const char *path = cli->operands[0];
    uint32 flags = VIXDISKLIB_FLAG_OPEN_READ_ONLY;
    VixDiskLibHandle disk = NULL;
    if (map_is_picture(&args->picture) && (cli->common.json || args->totals)) {
        return usage_error(cli, "--text and --svg do not go together with --json and --totals");
    }
    int status = map_check_picture(cli, &args->picture);
    if (status >= 0) {
        return status;
    }
    flags |= args->single_link ? (uint32)VIXDISKLIB_FLAG_OPEN_SINGLE_LINK : 0;
    status = open_disk(cli, path, args->format, flags, &disk);
    if (status != STATUS_DONE) {
        return status;
    }
    return close_disk(cli, path, disk, show(cli, args, path, disk));
}

const struct command command_map = {
    .name = "map",
    .usage = "PATH",
    .summary = "show which parts of a disk hold data, zeros, nothing",
    .details =
        "DEPTH is the link that holds a run, 0 the top one. OFFSET is where its bytes stand in FILE, \"-\" if they\n"
        "do not stand there as they are. All figures are in bytes. The JSON is that of qemu-img map; with --totals\n"
        "it is that of nbdinfo --map --totals. A picture is made of cells, each a part of the disk; colours are for\n"
        "terminals, unless NO_COLOR is set. The SVG is the same for the same disk, needs no script, and fits light "
        "and\n"
        "dark; its cells tell their place when they are pointed at.",
    .options = options,
    .groups = GROUP_DISKS | GROUP_REMOTE | GROUP_JSON,
    .args_size = sizeof(struct map_args),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
