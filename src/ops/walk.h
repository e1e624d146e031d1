/* SPDX-License-Identifier: BSD-3-Clause */
/* walk.h - goes through the address space of a disk, or of two at once, in ascending order and hands out pieces of what
 * is not known to be zero: the unit of work of everything that reads whole disks. One thread at a time. */
#ifndef VIXDISK_OPS_WALK_H
#define VIXDISK_OPS_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"
#include "ops/ops.h"

#define WALK_MAX_SEGMENTS 64u /* own: of a piece */

/** A stretch of the address space; zero[i]: disk i is known to hold zeros there. */
struct walk_segment {
    uint64_t sector;
    uint64_t nsectors;
    bool zero[2];
};

/** Segments in ascending order, with gaps where everything is zero. */
struct walk_piece {
    unsigned count;
    uint64_t data_sectors; /* sum over the segments that are not zero everywhere */
    struct walk_segment segments[WALK_MAX_SEGMENTS];
};

struct walk_side {
    struct disk *d;
    uint64_t run_end; /* of the run that the walk is in */
    bool run_zero;
};

struct walk {
    struct walk_side sides[2];
    unsigned side_count;
    uint64_t pos, end;      /* sectors */
    uint64_t unit;          /* sectors: segments begin and end at multiples of it, or at the end */
    uint64_t piece_sectors; /* the most data of a piece, a multiple of unit */
    bool tell_zero;         /* zeros are segments too, not gaps */
};

/** Prepares a walk over all of one disk, or of two (b may be NULL); the shorter one is followed by zeros. */
void walk_init(struct walk *w, struct disk *a, struct disk *b, uint64_t unit, uint64_t piece_sectors);

/** The next piece; count 0 at the end. */
VixError walk_next(struct walk *w, struct walk_piece *ret_piece, struct err *err);

/** Tells progress, not too often. */
struct progress_meter {
    struct ops_progress progress;
    uint64_t total; /* bytes */
    uint64_t next;  /* where to tell again */
};

void meter_init(struct progress_meter *m, struct ops_progress progress, uint64_t total);

/** @done bytes so far. VIX_E_CANCELLED if the callback asks to stop. */
VixError meter_tell(struct progress_meter *m, uint64_t done, struct err *err);

/** As meter_tell, with done == total, always. */
VixError meter_end(struct progress_meter *m, struct err *err);

#endif
