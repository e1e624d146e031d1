/* SPDX-License-Identifier: BSD-3-Clause */
/* stream_writer_int.h - what the two halves of the writer share: stream_writer.c (the caller's side: order, parts of
 * grains, pulling) and stream_slots.c (what happens to a slot on its way through the pipe). Nobody else includes it. */
#ifndef VIXDISK_VMDK_STREAM_WRITER_INT_H
#define VIXDISK_VMDK_STREAM_WRITER_INT_H

#include <pthread.h>

#include "codec/codec.h"
#include "vmdk/stream_format.h"
#include "vmdk/stream_writer.h"
#include "work/work.h"

#define STREAM_SLOT_GRAINS_MAX 64u                        /* own: grains of a slot */
#define STREAM_MAX_CODERS (STREAM_WRITE_MAX_THREADS + 1u) /* own: the caller's thread helps */

/** Some grains on their way. */
struct stream_slot {
    uint32_t count; /* grains */
    uint64_t grain[STREAM_SLOT_GRAINS_MAX];
    extent_source_func *source; /* NULL: in is filled */
    void *source_ctx;
    uint8_t *in;                              /* count grains */
    uint8_t *out;                             /* their records, one behind the other */
    uint32_t sectors[STREAM_SLOT_GRAINS_MAX]; /* of each record; 0: the grain is zero and has none */
};

struct stream_writer {
    struct sparse_header h;
    struct stream_sink sink;
    int level;
    unsigned threads;
    uint64_t grain_bytes, grain_count;
    size_t write_limit; /* bytes of compressed data of a grain */
    uint32_t slot_grains, slot_count;

    /* the caller's side */
    struct work_pipe *pipe;      /* made with the first grain */
    struct stream_slot *filling; /* not pushed yet; NULL: none */
    uint64_t next_grain;         /* grains before it are done with */
    uint8_t *open;               /* grain next_grain, where open_used; made when first needed */
    bool open_used;
    bool failed;
    struct err failure;

    /* the commit step's side; the caller's too while the pipe is empty */
    uint64_t pos; /* sector at which the sink stands */
    uint32_t *gd;
    uint64_t table; /* the one being filled, UINT64_MAX: none */
    uint32_t *gt;
    bool written;

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t source_idle;
    struct deflate_coder *coders[STREAM_MAX_CODERS]; /* idle ones */
    unsigned coder_count;
    unsigned source_calls; /* running */
    bool source_gone;      /* a pull has failed: its source must not be called any more */
};

/** The steps of a slot; the context is the writer. */
extern const struct work_pipe_ops stream_slot_ops;

/** Reads the grains of a slot, which follow one another, from its source; beyond the end of the disk there are zeros.
 */
VixError stream_read_slot(struct stream_writer *w, struct stream_slot *slot, struct err *err);

/* For the commit step, and for the caller's side while the pipe is empty: */

/** Gives whole sectors to the sink. */
VixError stream_put(struct stream_writer *w, const struct iovec *iov, int iovcnt, struct err *err);

/** Puts a metadata marker and what belongs to it: nsectors of payload. */
VixError stream_put_marked(struct stream_writer *w, enum stream_marker_type type, const uint8_t *payload,
                           uint64_t nsectors, struct err *err);

/** Puts the table that is being filled, if there is one. */
VixError stream_put_table(struct stream_writer *w, struct err *err);

#endif
