/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_record.h - one reader's window on the records of a streamOptimized file, and the memory that inflating takes.
 * A struct stream_window belongs to one thread at a time. */
#ifndef VIXDISK_VMDK_STREAM_RECORD_H
#define VIXDISK_VMDK_STREAM_RECORD_H

#include <stdint.h>

#include "base/err.h"
#include "codec/codec.h"
#include "vmdk/stream_file.h"

/** Bytes of the file, and an inflater. */
struct stream_window {
    struct stream_window *next; /* for the owner's list of idle ones */
    struct inflate_coder *coder;
    uint8_t *grain; /* room for one inflated grain */
    uint8_t *bytes; /* room for cap bytes; len of them are the file's, from off on */
    uint64_t off, len, cap;
};

/** Memory: about 1 MiB of the file, and one grain. */
VixError stream_window_new(const struct stream_file *f, struct stream_window **ret_w, struct err *err);
void stream_window_free(struct stream_window *w);

/** Where the records of grains whose entries are given end, as far as the entries tell: the number of bytes worth
 * reading at once from entries[0] on. @count entries; those from wanted on only show where the last one wanted ends. */
uint64_t stream_span(const struct stream_file *f, const uint32_t *entries, uint32_t wanted, uint32_t count);

/** Inflates one grain into out (a whole grain long). @entry its table entry, 0 and 1: zeros. @ahead end of the bytes
 * worth reading at once, an offset in the file; 0: not known. VIX_E_DISK_NEEDSREPAIR with grain, offset, value found.
 */
VixError stream_window_grain(struct stream_window *w, struct stream_file *f, uint64_t grain, uint32_t entry,
                             uint64_t ahead, uint8_t *out, struct err *err);

/** The same for a record with a marker whose size is doubted: its data may fill the last sector of that size and, with
 * any_size, be as long as the data of a grain can be. *ret_size: bytes that it takes. VIX_E_DISK_NEEDSREPAIR if the
 * marker is that of another grain, or the data is damaged. */
VixError stream_window_doubt(struct stream_window *w, struct stream_file *f, uint64_t grain, uint32_t entry,
                             bool any_size, uint64_t ahead, uint8_t *out, uint32_t *ret_size, struct err *err);

#endif
