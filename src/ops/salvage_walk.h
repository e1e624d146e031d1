/* SPDX-License-Identifier: BSD-3-Clause */
/* salvage_walk.h - which records of a streamOptimized file hold the grains of a disk, told from the records alone. */
#ifndef VIXDISK_OPS_SALVAGE_WALK_H
#define VIXDISK_OPS_SALVAGE_WALK_H

#include "ops/salvage.h"
#include "vmdk/stream_file.h"
#include "vmdk/stream_record.h"

/** What is known of a record. */
enum salvage_state {
    SALVAGE_BELIEVED, /* its size; its data was not looked at */
    SALVAGE_WHOLE,    /* its data inflates */
    SALVAGE_RESIZED,  /* its data inflates, but has another length than its marker says */
    SALVAGE_DAMAGED   /* its data does not inflate */
};

/** What the records before and behind one say of the grain that it names. */
enum salvage_place {
    SALVAGE_JOINS, /* theirs is the grain in front of it, or the one behind it */
    SALVAGE_APART, /* nothing */
    SALVAGE_STRAY  /* it is not between theirs, which are in order */
};

struct salvage_record {
    uint64_t grain;
    uint32_t sector; /* of the file */
    uint8_t state;   /* salvage_state */
    uint8_t place;   /* salvage_place */
    bool told;       /* its damage; for the reader */
};

struct salvage_records {
    struct salvage_record *at; /* freed with free() */
    size_t count, room;
};

/** Goes through a file from front to end. @f header, store, markers and length are set, tables are not needed. @ret the
 * record of each grain, in the order of the disk: of those that name the same grain a whole one, in the order of
 * salvage_place, then of the file; else a damaged one. In a file whose tables stand at its end, which is written in
 * the order of the disk, strays do not count at all: their markers are damaged, which no checksum covers. @report
 * grains, end_sector, skipped_bytes, stray_records and wrong_sizes are added to. Codes of the store;
 * VIX_E_OUT_OF_MEMORY. */
VixError salvage_walk(struct stream_file *f, struct salvage_records *ret, struct salvage_report *report,
                      struct err *err);

/** Inflates a record into out, a whole grain. Codes of stream_window_doubt. */
VixError salvage_inflate(struct stream_file *f, struct stream_window *w, const struct salvage_record *r, uint8_t *out,
                         struct err *err);

#endif
