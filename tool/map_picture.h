/* SPDX-License-Identifier: BSD-3-Clause */
/* map_picture.h - the options of map that ask for a picture. */
#ifndef VIXDISK_TOOL_MAP_PICTURE_H
#define VIXDISK_TOOL_MAP_PICTURE_H

#include "cli.h"
#include "picture.h"

struct picture_args {
    bool text;
    const char *svg;
    const char *curve;
    const char *color;
    const char *since;
    struct number_arg cells;
};

/** Whether a picture is asked for. */
bool map_is_picture(const struct picture_args *args);

/** Finds mistakes in the options; -1 to go on, or the status. */
int map_check_picture(const struct cli *cli, const struct picture_args *args);

/** Draws a range of a disk, in bytes. 0, or the status of a reported failure. */
int map_draw(struct cli *cli, const struct picture_args *args, const char *path, VixDiskLibHandle disk, uint64_t off,
             uint64_t len);

#endif
