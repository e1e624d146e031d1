/* SPDX-License-Identifier: BSD-3-Clause */
/* whole_file.h - an output file that is there whole or not at all. */
#ifndef VIXDISK_TOOL_WHOLE_FILE_H
#define VIXDISK_TOOL_WHOLE_FILE_H

#include <stdio.h>

#include "cli.h"

/** A file that is being written. */
struct whole_file {
    const char *path; /* the caller's */
    char *temp;       /* NULL: written in place (standard output, a device, a pipe) */
    FILE *to;
};

/** Begins a file beside its place; "-" is standard output. A failure has been reported, and the status is returned; 0
 * on success. */
int whole_file_open(struct cli *cli, const char *path, struct whole_file *file);

/** Gives it its name, in the place of what had it. Returns as whole_file_open; after a failure nothing of it is left.
 */
int whole_file_finish(struct cli *cli, struct whole_file *file);

/** Removes it, unless it has been finished; harmless on a struct of zeros. */
void whole_file_drop(struct whole_file *file);

#endif
