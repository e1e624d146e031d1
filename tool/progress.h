/* SPDX-License-Identifier: BSD-3-Clause */
/* progress.h - tells how far a long command is, and stops it when a signal asks for that. One at a time per process. */
#ifndef VIXDISK_TOOL_PROGRESS_H
#define VIXDISK_TOOL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli.h"

struct progress {
    const char *label; /* name of the command */
    const struct cli *cli;
    int fd;     /* lines N/100, or -1 */
    bool lines; /* readable, on standard error */
    bool drawn; /* the cursor stands behind a line */
    bool began;
    bool ended;
    int percent;         /* last one on fd */
    uint64_t wire_start; /* bytes on the wire before it began */
    uint64_t start_ns;
    uint64_t drawn_ns;
};

/** @cli for the options. */
void progress_init(struct progress *progress, const struct cli *cli);

/** A VixDiskLibExt_ProgressFunc; data is a struct progress. False once a signal has come. */
Bool progress_step(void *data, uint64 done_bytes, uint64 total_bytes);

/** Ends the line; call before anything else is printed. */
void progress_end(struct progress *progress);

/** From now on SIGINT, SIGTERM and SIGHUP only ask to stop (a second one ends the process at once), and SIGUSR1 asks
 * for one line on how far the command is. */
void stop_catch_signals(void);

/** Lets such a signal also end a read of fd that waits for more: reading it then fails. */
void stop_ends_input(int fd);

/** The signal that asked to stop, or 0. */
int stop_signal(void);

/** The status with which a command ends that was stopped: 128 and the signal; status if there was no signal. */
int stop_status(int status);

uint64_t now_ns(void);

#endif
