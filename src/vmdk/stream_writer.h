/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_writer.h - writes a streamOptimized file from front to end and never goes back: into a file, or into a pipe.
 * Grains come in ascending order, are compressed on several threads, and leave in order; the bytes are the same for any
 * number of threads and any division of the data into calls.
 *
 * Use: new, begin (or resume), then write and pull in ascending order, finish, free. One thread at a time. After a
 * failure every call but free returns that failure. */
#ifndef VIXDISK_VMDK_STREAM_WRITER_H
#define VIXDISK_VMDK_STREAM_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "vmdk/extent.h"
#include "vmdk/sparse_header.h"
#include "vmdk/stream_file.h"

#define STREAM_WRITE_MAX_TABLES (UINT64_C(1) << 21) /* limit: grain tables of a stream that is written: 64 TiB */
#define STREAM_WRITE_MAX_THREADS 32u                /* own: threads */

/** Where the bytes go, each piece right behind the one before; called on any thread, one call at a time. */
struct stream_sink {
    VixError (*append)(void *ctx, const struct iovec *iov, int iovcnt, struct err *err);
    void *ctx;
    const char *name; /* for messages; outlives the writer */
};

struct stream_writer;

/** A place behind a record where writing can go on. The owner frees gd and gt. */
struct stream_position {
    uint64_t sector;     /* where the sink stands */
    uint64_t next_grain; /* the first that may be written */
    uint32_t *gd;        /* sector of each table that is complete */
    uint32_t *gt;        /* entries of the table of grain next_grain - 1; NULL: that table begins anew */
};

/** @h as of stream_header_new, or that of the file to go on with. @level of extent_open_params: 0: the default, -1:
 * stored, 1 to 12. @threads 0: work_default_threads. VIX_E_INVALID_ARG, VIX_E_DISK_NOTSUPPORTED (capacity). */
VixError stream_writer_new(const struct sparse_header *h, const struct stream_sink *sink, int level, unsigned threads,
                           struct stream_writer **ret_w, struct err *err);

/** Stops what runs: nothing more goes to the sink. What may follow is has_written and free. */
void stream_writer_stop(struct stream_writer *w);

/** Stops what runs, frees. NULL is harmless. */
void stream_writer_free(struct stream_writer *w);

/** Begins a new file: header and descriptor. VIX_E_DISK_INVAL if the descriptor does not fit its area. */
VixError stream_writer_begin(struct stream_writer *w, const char *descriptor, size_t descriptor_len, struct err *err);

/** Goes on with a file that ends at a position, which is copied. */
void stream_writer_resume(struct stream_writer *w, const struct stream_position *p);

/** Where the writer stands; settle first. */
VixError stream_writer_position(const struct stream_writer *w, struct stream_position *ret_p, struct err *err);

/** The first sector that can still be written: that of the grain that is being filled. */
uint64_t stream_writer_next(const struct stream_writer *w);

/** Writes sectors; what is left out before them is zeros. Data may still be in memory when it returns: a failure to
 * write it shows in a later call. Before stream_writer_next: VIX_E_NOT_SUPPORTED with the figures; nothing is changed
 * then and the writer can be used further. VIX_E_FILE_TOO_BIG beyond 2^32 sectors of file. */
VixError stream_writer_write(struct stream_writer *w, uint64_t sector, uint64_t nsectors, const void *buf,
                             struct err *err);

/** Writes a range that source gives. The source is called on several threads, and not after this has returned. */
VixError stream_writer_pull(struct stream_writer *w, uint64_t sector, uint64_t nsectors, extent_source_func *source,
                            void *ctx, struct err *err);

/** Waits until all complete grains are with the sink. @all also the one that is being filled, which then is complete;
 * else it stays in memory. */
VixError stream_writer_settle(struct stream_writer *w, bool all, struct err *err);

/** The tables as they are; valid until the next call that writes; settle first. */
struct stream_live stream_writer_tables(const struct stream_writer *w);

/** The bytes of the grain that is being filled, its number in *ret_grain; NULL: there is none. */
const uint8_t *stream_writer_open_grain(const struct stream_writer *w, uint64_t *ret_grain);

/** Whether the sink was given anything since begin or resume, be it that it failed to take it. */
bool stream_writer_has_written(const struct stream_writer *w);

/** Writes the last grains, the tables and the end of the stream. @ret_sectors length of the file; may be NULL. */
VixError stream_writer_finish(struct stream_writer *w, uint64_t *ret_sectors, struct err *err);

#endif
