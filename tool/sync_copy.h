/* SPDX-License-Identifier: BSD-3-Clause */
/* sync_copy.h - copies ranges of one open disk into another in place, or compares them: many reads are on their way at
 * once, also across ranges; what is written to the target are the bytes that are not zeros, and zeros where the target
 * has something else. One thread; reads end on threads of the library. */
#ifndef VIXDISK_TOOL_SYNC_COPY_H
#define VIXDISK_TOOL_SYNC_COPY_H

#include "cli.h"

struct copier;

/** What has been done. */
struct copy_totals {
    uint64_t read;            /* of the source */
    uint64_t written;         /* data */
    uint64_t zeroed;          /* where the target had something else */
    uint64_t different;       /* comparing: bytes in pieces that differ */
    uint64_t first_different; /* comparing: byte; ~0: none */
};

/** @target_is_zero the target holds zeros wherever this copier has not written. NULL: no memory. */
struct copier *copier_new(VixDiskLibHandle source, VixDiskLibHandle target, bool target_is_zero);
void copier_free(struct copier *copier);

/** From now on ranges are compared, and nothing is written. After copier_finish. */
void copier_compare(struct copier *copier);

/** Takes a range of whole sectors within both disks. The first failure ends all: it is returned from then on. */
VixError copier_range(struct copier *copier, uint64_t start, uint64_t length);

/** Waits until all ranges are done: then what was written has been given to the target, but is not flushed. */
VixError copier_finish(struct copier *copier);

const struct copy_totals *copier_totals(const struct copier *copier);

/** Whether the failure was one of the target, whether a retry can help, and what the library said of it. */
bool copier_failed_on_target(const struct copier *copier);
bool copier_may_pass(const struct copier *copier);
const char *copier_failure(const struct copier *copier);

#endif
