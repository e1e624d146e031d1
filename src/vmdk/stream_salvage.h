/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_salvage.h - what is left of a streamOptimized file that is cut short or damaged: every grain that can still be
 * read, found by walking the records, whatever the tables say. Reads the whole file once. Lookups: any thread. */
#ifndef VIXDISK_VMDK_STREAM_SALVAGE_H
#define VIXDISK_VMDK_STREAM_SALVAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"

#define STREAM_SALVAGE_MAX_GRAINS (UINT64_C(1) << 25) /* limit: grains that are salvaged; 8 bytes of memory each */

/** What was found. */
struct stream_salvage_report {
    uint64_t grains;     /* sound ones */
    uint64_t damaged;    /* records whose data is damaged */
    uint64_t missing;    /* grains that tables in the file name, but that were not found sound */
    uint64_t junk_bytes; /* of the file that are no record */
    uint64_t end_sector; /* behind the last sound grain */
    bool cut;            /* the file ends within a record */
    bool complete; /* the end of the stream is there, or all tables are: nothing is lost but what is counted above;
                      else what the disk held from end_sector on is not known */
};

struct stream_salvage;

/** Walks the file and inflates every grain. @ret_h the front header, which must be sound. Codes of stream_walk_begin;
 * VIX_E_DISK_NOTSUPPORTED for more than STREAM_SALVAGE_MAX_GRAINS. */
VixError stream_salvage_new(struct store *store, struct sparse_header *ret_h, struct stream_salvage **ret_s,
                            struct err *err);

/** NULL is harmless. */
void stream_salvage_free(struct stream_salvage *s);

/** Table entries of count grains from grain on: 0 for what was not found. */
void stream_salvage_entries(const struct stream_salvage *s, uint64_t grain, uint32_t count, uint32_t *ret_entries);

/** The report on an extent that was opened with salvage set; false for any other. */
bool extent_stream_salvage_report(const struct extent *x, struct stream_salvage_report *ret_report);

const struct stream_salvage_report *stream_salvage_report(const struct stream_salvage *s);

#endif
