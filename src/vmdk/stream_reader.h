/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_reader.h - reads a streamOptimized disk from a pipe: once, from front to end, by its markers. Grains are
 * inflated on several threads, some at a time. One thread at a time. */
#ifndef VIXDISK_VMDK_STREAM_READER_H
#define VIXDISK_VMDK_STREAM_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vmdk/sparse_header.h"

/** Where the bytes come from: *ret_len is less than len only at the end. */
struct stream_input {
    VixError (*read)(void *ctx, void *buf, uint64_t len, uint64_t *ret_len, struct err *err);
    void *ctx;
    const char *name; /* for messages; outlives the reader */
};

struct stream_reader;

/** Reads header and descriptor. @threads 0: work_default_threads. Codes of sparse_header_parse; VIX_E_DISK_NOTSUPPORTED
 * for what is not streamOptimized with markers; VIX_E_DISK_NEEDSREPAIR where the stream ends too early. */
VixError stream_reader_open(const struct stream_input *in, unsigned threads, struct stream_reader **ret_r,
                            struct err *err);

/** NULL is harmless. What was not read of the input stays unread. */
void stream_reader_close(struct stream_reader *r);

const struct sparse_header *stream_reader_header(const struct stream_reader *r);

/** The descriptor's text (not NUL-terminated), owned by the reader. */
const char *stream_reader_descriptor(const struct stream_reader *r, size_t *ret_len);

/** Reads sectors; each call begins where the one before ended, or further on. Absent grains are zeros.
 * VIX_E_DISK_NEEDSREPAIR for damage and for a stream that ends before its end marker, with the byte and what was found;
 * VIX_E_NOT_SUPPORTED for a call that goes back, and for a stream whose grains do not ascend. Every later call fails
 * likewise. */
VixError stream_reader_read(struct stream_reader *r, uint64_t sector, uint64_t nsectors, void *buf, struct err *err);

/** Reads the rest of the stream up to its end marker, so that a damaged end is met too. */
VixError stream_reader_finish(struct stream_reader *r, struct err *err);

#endif
