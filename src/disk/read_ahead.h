/* SPDX-License-Identifier: BSD-3-Clause */
/* read_ahead.h - a reader that goes over a remote disk in order, one plain read after the other, does not wait for a
 * round trip at each: what comes next is asked for ahead, more the longer it goes on. For disks that are only read.
 * Any thread may call anything but free; readers at random places, and asynchronous ones, are not touched by it. */
#ifndef VIXDISK_DISK_READ_AHEAD_H
#define VIXDISK_DISK_READ_AHEAD_H

#include <stdint.h>

#include "disk/queue.h"

#define READ_AHEAD_STEP_SECTORS 2048u /* of one request ahead: 1 MiB */
#define READ_AHEAD_STEPS 16u          /* at most so many: 16 MiB of memory for a disk */

struct read_ahead;

/** @capacity of the disk, in sectors. Memory for data is taken when a reader goes on in order. */
VixError read_ahead_new(struct queue *q, uint64_t capacity, struct read_ahead **ret_ahead, struct err *err);

/** Waits for what was asked for ahead, frees. No read may be running. NULL is harmless. */
void read_ahead_free(struct read_ahead *a);

/** Reads; as queue_run. What was fetched ahead is at most READ_AHEAD_AGE_S old: somebody else may write to the disk. */
VixError read_ahead_read(struct read_ahead *a, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);
#define READ_AHEAD_AGE_S 5 /* own: s */

#endif
