/* SPDX-License-Identifier: BSD-3-Clause */
/* doctor.h - the parts of doctor: the steps are told by cmd_doctor.c, the library as other programs look for it is
 * doctor_library.c's, the speed of a disk doctor_speed.c's. */
#ifndef VIXDISK_TOOL_DOCTOR_H
#define VIXDISK_TOOL_DOCTOR_H

#include "cli.h"

struct doctor;

/** Tells of a step. @why what was found; @advice what to do, NULL if it passed. Returns whether it passed. */
bool doctor_tell(struct doctor *d, const char *step, const char *why, const char *advice);

/** The programs for which doctor_library looks, as of help: "nbdkit|cdi|xo|bareos". */
#define DOCTOR_CONSUMERS "nbdkit|cdi|xo|bareos"

/** Whether a word is one of DOCTOR_CONSUMERS. */
bool doctor_knows(const char *consumer);

/** Looks for the library where a program does, and loads it in a child process; tells the steps up to the first that
 * fails. Only while this process has one thread. @consumer one of DOCTOR_CONSUMERS. @libdir the folder that the program
 * is given, NULL: where it looks by itself. Returns whether all passed. */
bool doctor_library(struct doctor *d, const char *consumer, const char *libdir);

/** What doctor_speed found. */
struct doctor_rate {
    double mb_per_s;
    VixError code; /* of the first read that failed */
    char detail[512];
};

/** Reads a disk in order for a second, or once over it, with pieces of 1 MiB, depth of them at once. @capacity in
 * bytes.
 * @depth 1 to 16. @place piece to begin with; it is moved behind the last one read, so that another run finds nothing
 * in a cache. */
void doctor_speed(VixDiskLibHandle disk, uint64_t capacity, unsigned depth, uint64_t *place, struct doctor_rate *ret);

#endif
