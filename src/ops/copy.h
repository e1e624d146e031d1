/* SPDX-License-Identifier: BSD-3-Clause */
/* copy.h - moves the contents of one open disk into another, or into a stream of bytes. Inside src/ops. */
#ifndef VIXDISK_OPS_COPY_H
#define VIXDISK_OPS_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/disk.h"
#include "ops/walk.h"

#define COPY_MAX_UNIT 1024u /* own: sectors */

struct copy_job {
    struct disk *src;
    struct disk *dst;  /* at least as large; open for writing */
    uint64_t unit;     /* sectors, a power of two up to COPY_MAX_UNIT: zeros are left out in this unit, and pieces begin
                          and end at multiples of it */
    bool dst_is_dirty; /* dst may hold other bytes: zeros must get there too */
    bool file_to_file; /* dst keeps zeros as it keeps data: where both sides have plain bytes the file system may copy
                          them */
    unsigned threads;  /* 0: copy_default_threads */
    struct progress_meter *meter; /* of bytes of src */
};

/** The threads that keep two disks (b may be NULL) busy: the cores, or what a server takes at once. */
unsigned copy_default_threads(const struct disk *a, const struct disk *b);

/** Copies all of src. On failure dst holds a part of it. */
VixError copy_disk(const struct copy_job *job, struct err *err);

/** Takes the next bytes of a stream; one call at a time, in order, on any thread. */
typedef VixError copy_sink_func(void *ctx, const void *buf, uint64_t len, struct err *err);

/** Gives all bytes of src, zeros too, to a sink. */
VixError copy_to_sink(struct disk *src, copy_sink_func *sink, void *ctx, unsigned threads, struct progress_meter *meter,
                      struct err *err);

/** Gives the ranges of src that hold data, in order and in large pieces, to a function that pulls them by calling
 * source, on any thread and several at once. VIX_E_NOT_SUPPORTED where src is a stream. */
typedef VixError copy_pull_func(void *ctx, uint64_t sector, uint64_t nsectors, extent_source_func *source,
                                void *source_ctx, struct err *err);
VixError copy_pull(struct disk *src, copy_pull_func *pull, void *ctx, struct progress_meter *meter, struct err *err);

/** Gives all sectors of src, zeros too, to a function, in order, from the calling thread. */
typedef VixError copy_write_func(void *ctx, uint64_t sector, uint64_t nsectors, const void *buf, struct err *err);
VixError copy_in_turn(struct disk *src, copy_write_func *write, void *ctx, struct progress_meter *meter,
                      struct err *err);

#endif
