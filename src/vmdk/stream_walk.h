/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_walk.h - goes through the records of a streamOptimized file from front to end by their markers, without its
 * tables: for files that are cut short or damaged, and to check sound ones. A struct stream_walk belongs to one thread.
 */
#ifndef VIXDISK_VMDK_STREAM_WALK_H
#define VIXDISK_VMDK_STREAM_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"
#include "vmdk/stream_format.h"

#define STREAM_WALK_BLOCK 65536u

struct stream_walk {
    struct store *store;    /* borrowed */
    struct sparse_header h; /* the front one */
    uint64_t pos, size;     /* bytes */
    uint64_t next_sector;   /* behind the last grain met */
    uint64_t block_off, block_len;
    uint8_t block[STREAM_WALK_BLOCK];
};

/** Reads the front header (which must be sound) and stands at the first record. @ret_w is the caller's memory; nothing
 * needs to be closed. Codes of sparse_header_parse; VIX_E_DISK_NOTSUPPORTED for a file without markers. */
VixError stream_walk_begin(struct store *store, struct stream_walk *ret_w, struct err *err);

/** The next record; *ret_more false behind the last byte of the file. What follows the end of the stream is told too.
 * After something that is no record, goes on at the next sector that looks like one: a grain further on in the disk
 * than those before, or metadata. Every call comes at least one sector further. */
VixError stream_walk_next(struct stream_walk *w, struct stream_item *ret_item, bool *ret_more, struct err *err);

#endif
