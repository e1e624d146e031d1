/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_all.h - all disks of a machine, as of one snapshot, into one folder. */
#ifndef VIXDISK_TOOL_SYNC_ALL_H
#define VIXDISK_TOOL_SYNC_ALL_H

#include "sync_run.h"

#define SYNC_JOBS_MAX 16

/** Copies the disks of the connection's machine into the folder that is the operand, some at once; where one fails the
 * others go on. @state by which the run is known, in the folder. 0, or the status of a failure that was reported; what
 * came of each disk has been printed, and is in the report. */
int sync_all(struct cli *cli, const struct sync_options *options, const struct sync_snapshot_options *how,
             const char *state, unsigned jobs, struct run_report *report);

#endif
